//! Installs the operator as a user does: the definition, the rights and the policies that are kept in the repository.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, ValidationDirective,
};
use kube::core::{GroupVersionKind, TypeMeta};
use kube::discovery::{Scope, pinned_kind};
use kube::runtime::wait::{await_condition, conditions::is_crd_established};
use kube::{Client, ResourceExt as _};
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::operator::{PATIENCE, POLL};

/// The namespace and the name that `deploy/` installs under.
pub const OPERATOR: &str = "rds-password-operator";

/// The definition, and the one name in it.
pub const CRD_FILE: &str = "crds/databaseaccountpasswords.yaml";
const CRD_NAME: &str = "databaseaccountpasswords.rds.password-operator.dev";

/// The rights of the operator's ServiceAccount.
pub const RBAC_FILE: &str = "deploy/rbac.yaml";

/// What the built-in roles take in.
pub const USER_ROLES_FILE: &str = "deploy/user-roles.yaml";

/// The admission policies.
pub const ADMISSION_FILE: &str = "deploy/admission.yaml";

/// An admission policy of the testbed alone, and the one object that it refuses.
const CANARY: &str = "testbed-canary";
const CANARY_DENIED: &str = "ValidatingAdmissionPolicy 'testbed-canary'";

/// A file of the repository.
#[must_use]
pub fn repository_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// Applies the definition and waits until it is served.
///
/// # Errors
/// When the API server refuses it.
pub async fn install_crd(client: &Client) -> Result<()> {
    apply_file(client, &repository_file(CRD_FILE)).await?;
    let crds = Api::<CustomResourceDefinition>::all(client.clone());
    let established = await_condition(crds, CRD_NAME, is_crd_established());
    tokio::time::timeout(PATIENCE, established)
        .await
        .context("the definition is not served")??;
    Ok(())
}

/// Applies the namespace, the ServiceAccount and its rights.
///
/// # Errors
/// When the API server refuses them.
pub async fn install_rbac(client: &Client) -> Result<()> {
    apply_file(client, &repository_file(RBAC_FILE)).await
}

/// Applies what users get to do with resources. No controller runs that would add it to the built-in roles.
///
/// # Errors
/// When the API server refuses it.
pub async fn install_user_roles(client: &Client) -> Result<()> {
    apply_file(client, &repository_file(USER_ROLES_FILE)).await
}

/// Applies the admission policies and waits until they are in force.
///
/// # Errors
/// When the API server refuses them.
pub async fn install_admission(client: &Client) -> Result<()> {
    apply_file(client, &repository_file(ADMISSION_FILE)).await?;
    wait_until_policies_are_in_force(client).await
}

/// Waits until the policies that have been applied are in force.
///
/// The API server says nothing of that. It looks about once a second whether its watches have brought changes, and takes
/// all of them up together. So a policy that is created last, and refuses something, shows that those before it are in force.
async fn wait_until_policies_are_in_force(client: &Client) -> Result<()> {
    let canary = |kind: &str, spec: Value| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": { "name": CANARY },
            "spec": spec,
        })
    };
    let policy = canary(
        "ValidatingAdmissionPolicy",
        json!({
            "matchConstraints": { "resourceRules": [{
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "resources": ["configmaps"],
                "operations": ["CREATE"],
            }] },
            "validations": [{ "expression": format!("object.metadata.name != '{CANARY}'") }],
        }),
    );
    let binding = canary(
        "ValidatingAdmissionPolicyBinding",
        json!({ "policyName": CANARY, "validationActions": ["Deny"] }),
    );
    let canaries: Vec<DynamicObject> = [policy, binding]
        .into_iter()
        .map(serde_json::from_value)
        .collect::<Result<_, _>>()?;
    for object in &canaries {
        apply(client, object).await?;
    }
    let config_maps = Api::<ConfigMap>::default_namespaced(client.clone());
    let mut refused = ConfigMap::default();
    refused.metadata.name = Some(CANARY.to_owned());
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = config_maps.create(&dry_run, &refused).await;
        match &answer {
            Err(kube::Error::Api(status)) if status.message.contains(CANARY_DENIED) => break,
            _ => ensure!(
                Instant::now() < deadline,
                "the policies are not in force; the answer is {answer:?}"
            ),
        }
        sleep(POLL).await;
    }
    for object in canaries.iter().rev() {
        let api = api_of(client, object).await?;
        api.delete(&object.name_any(), &DeleteParams::default())
            .await?;
    }
    Ok(())
}

/// Applies all objects of a file, as `kubectl apply --server-side` does.
///
/// # Errors
/// When one of them is refused.
pub async fn apply_file(client: &Client, path: &Path) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let object = DynamicObject::deserialize(document)?;
        apply(client, &object)
            .await
            .with_context(|| format!("{} of {}", object.name_any(), path.display()))?;
    }
    Ok(())
}

/// Has the API server validate an object without storing it: types, rules and admission, and no field that it does not know.
///
/// # Errors
/// When it refuses the object.
pub async fn validate(client: &Client, object: &DynamicObject) -> Result<()> {
    let mut parameters = PatchParams::apply("testbed").force();
    parameters.dry_run = true;
    parameters.field_validation = Some(ValidationDirective::Strict);
    let api = api_of(client, object).await?;
    api.patch(&object.name_any(), &parameters, &Patch::Apply(object))
        .await?;
    Ok(())
}

async fn apply(client: &Client, object: &DynamicObject) -> Result<()> {
    let parameters = PatchParams::apply("testbed").force();
    let api = api_of(client, object).await?;
    api.patch(&object.name_any(), &parameters, &Patch::Apply(object))
        .await?;
    Ok(())
}

/// The collection that an object belongs to.
async fn api_of(client: &Client, object: &DynamicObject) -> Result<Api<DynamicObject>> {
    let types: TypeMeta = object.types.clone().context("an object without kind")?;
    let kind = GroupVersionKind::try_from(&types)?;
    let (resource, capabilities) = pinned_kind(client, &kind).await?;
    Ok(match (capabilities.scope, object.namespace()) {
        (Scope::Namespaced, namespace) => Api::namespaced_with(
            client.clone(),
            namespace.as_deref().unwrap_or("default"),
            &resource,
        ),
        (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
    })
}

/// Has the API server issue a token of a ServiceAccount, for the API server itself.
///
/// # Errors
/// When it does not.
pub async fn issue_token(
    client: &Client,
    (namespace, service_account): (&str, &str),
) -> Result<String> {
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            expiration_seconds: Some(3600),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let issued = accounts
        .create_token_request(service_account, &PostParams::default(), &request)
        .await?;
    let status = issued.status.context("a token request without a token")?;
    Ok(status.token)
}

/// Writes a kubeconfig for a ServiceAccount, with a token that the API server issues.
///
/// # Errors
/// When there is no token, or the file cannot be written.
pub async fn write_kubeconfig(
    client: &Client,
    identity: (&str, &str),
    (server, certificate_authority): (&str, Option<&Path>),
    path: &Path,
) -> Result<()> {
    let (namespace, _) = identity;
    let token = issue_token(client, identity).await?;
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "operator",
        "contexts": [{
            "name": "operator",
            "context": { "cluster": "operator", "user": "operator", "namespace": namespace },
        }],
        "clusters": [{
            "name": "operator",
            "cluster": { "server": server, "certificate-authority": certificate_authority },
        }],
        "users": [{ "name": "operator", "user": { "token": token } }],
    });
    fs::write(path, config.to_string())?;
    Ok(())
}
