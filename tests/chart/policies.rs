//! The expressions of the admission policies fit the kinds that they are for.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicySpec, Validation,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::PostParams;
use kube::runtime::wait::{await_condition, conditions::is_crd_established};
use testbed::operator::PATIENCE;
use testbed::{ControlPlane, Helm, wait_until};
use tokio::time::timeout;

use crate::rendered::Rendered;
use crate::values::required;

/// The served version of the resource.
const VERSION: &str = "v1alpha1";

/// A misspelled field is one that is absent to the API server, and a policy that asks for an absent one lets all pass. A
/// controller knows better. It checks a policy that names a version, and not one for all of them, so it gets copies.
#[tokio::test(flavor = "multi_thread")]
async fn no_expression_names_what_there_is_not() -> Result<()> {
    let mut control_plane = ControlPlane::start().await?;
    let client = control_plane.client();
    let helm = Helm::offline().await?;
    let rendered = Rendered::with(&helm, &required()).await?;
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    let definition: CustomResourceDefinition = rendered.only("CustomResourceDefinition")?;
    let definition = definitions
        .create(&PostParams::default(), &definition)
        .await?;
    let name = definition.metadata.name.context("no name")?;
    let established = await_condition(definitions, &name, is_crd_established());
    timeout(PATIENCE, established).await??;
    // Otherwise they would come to know the kind only half a minute later.
    wait_until("the kind is published", async || {
        testbed::install::is_published(&client, "rds.password-operator.dev", VERSION).await
    })
    .await?;
    control_plane.start_controllers()?;

    let policies = Api::<ValidatingAdmissionPolicy>::all(client);
    let mut authors: Vec<ValidatingAdmissionPolicy> = Vec::new();
    for policy in rendered.of_kind("ValidatingAdmissionPolicy") {
        let policy = serde_json::from_value(serde_json::to_value(policy)?)?;
        if let Some(policy) = for_one_version(policy)? {
            authors.push(policy);
        }
    }
    assert_eq!(authors.len(), 3, "the policies for authors");
    // That it looks at all. It does not before it has heard of the kind, and a policy is checked once.
    let mut attempts = 0;
    wait_until("an unknown field is noticed", async || {
        attempts += 1;
        let mut wrong = authors[0].clone();
        wrong.metadata.name = Some(format!("wrong-{attempts}"));
        let spec = wrong.spec.as_mut().context("no spec")?;
        validate(spec, "object.?spec.?instance.orValue('') != ''".to_owned());
        Ok(!check(&policies, &wrong).await?.is_empty())
    })
    .await?;
    for policy in &authors {
        let warnings = check(&policies, policy).await?;
        ensure!(warnings.is_empty(), "{warnings:?}");
    }
    Ok(())
}

/// The policy for the one version of its kind, with all its expressions in validations, which are what is checked. `None`
/// if it is for a subresource: those are not.
fn for_one_version(
    mut policy: ValidatingAdmissionPolicy,
) -> Result<Option<ValidatingAdmissionPolicy>> {
    let spec = policy.spec.as_mut().context("no spec")?;
    let constraints = spec.match_constraints.as_mut();
    let rules = constraints.and_then(|it| it.resource_rules.as_mut());
    for rule in rules.context("the policy is for nothing")? {
        let mut resources = rule.resources.iter().flatten();
        if resources.any(|resource| resource.contains('/')) {
            return Ok(None);
        }
        rule.api_versions = Some(vec![VERSION.to_owned()]);
    }
    for variable in spec.variables.clone().into_iter().flatten() {
        // Whatever its type, this is a truth value.
        let expression = variable.expression;
        validate(spec, format!("({expression}) == ({expression})"));
    }
    for condition in spec.match_conditions.clone().into_iter().flatten() {
        validate(spec, condition.expression);
    }
    Ok(Some(policy))
}

fn validate(spec: &mut ValidatingAdmissionPolicySpec, expression: String) {
    spec.validations.get_or_insert_default().push(Validation {
        expression,
        ..Validation::default()
    });
}

/// What the controller says of a policy.
async fn check(
    policies: &Api<ValidatingAdmissionPolicy>,
    policy: &ValidatingAdmissionPolicy,
) -> Result<Vec<String>> {
    let name = policy.metadata.name.as_deref().context("no name")?;
    policies.create(&PostParams::default(), policy).await?;
    let mut found = Vec::new();
    wait_until("the policy is checked", async || {
        let status = policies.get(name).await?.status;
        let Some(checked) = status.and_then(|status| status.type_checking) else {
            return Ok(false);
        };
        let warnings = checked.expression_warnings.unwrap_or_default();
        found = warnings
            .into_iter()
            .map(|warning| warning.warning)
            .collect();
        Ok(true)
    })
    .await?;
    Ok(found)
}
