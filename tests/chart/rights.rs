//! What a ServiceAccount may do, as the API server says.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::authorization::v1::{
    SelfSubjectAccessReview, SelfSubjectRulesReview, SelfSubjectRulesReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::json;
use testbed::Testbed;
use testbed::operator::PATIENCE;
use tokio::time::{Instant, sleep};

const POLL: Duration = Duration::from_millis(50);

/// How many questions are under way at once.
const AT_ONCE: usize = 8;

/// Rights as `verb resource.group`, or `verb resource.group:name` where it is for one object.
pub(crate) type Rights = BTreeSet<String>;

/// A client with the rights of a ServiceAccount.
pub(crate) async fn account(bed: &Testbed, namespace: &str, name: &str) -> Result<Client> {
    let user = format!("system:serviceaccount:{namespace}:{name}");
    let own = format!("system:serviceaccounts:{namespace}");
    let groups = ["system:serviceaccounts", &own, "system:authenticated"];
    bed.control_plane.client_as(&user, &groups).await
}

/// Splits lines of `verb,verb… resource.group:name` into rights.
pub(crate) fn rights(lines: &[&str]) -> Rights {
    let split = lines.iter().filter_map(|line| line.split_once(' '));
    split
        .flat_map(|(verbs, what)| verbs.split(',').map(move |verb| format!("{verb} {what}")))
        .collect()
}

/// What an account may do in a namespace, with what every ServiceAccount may.
async fn all(client: &Client, namespace: &str) -> Result<Rights> {
    let review = SelfSubjectRulesReview {
        spec: SelfSubjectRulesReviewSpec {
            namespace: Some(namespace.to_owned()),
        },
        ..SelfSubjectRulesReview::default()
    };
    let review = Api::all(client.clone())
        .create(&PostParams::default(), &review)
        .await?;
    let status = review.status.context("a review without an answer")?;
    ensure!(!status.incomplete, "the API server does not know all rules");
    let mut rights = Rights::new();
    for rule in status.resource_rules {
        let names = rule.resource_names.filter(|names| !names.is_empty());
        let names = names.map_or_else(
            || vec![String::new()],
            |names| names.iter().map(|name| format!(":{name}")).collect(),
        );
        for verb in &rule.verbs {
            for group in rule.api_groups.iter().flatten() {
                for resource in rule.resources.iter().flatten() {
                    for name in &names {
                        let resource = match &**group {
                            "" => resource.clone(),
                            group => format!("{resource}.{group}"),
                        };
                        rights.insert(format!("{verb} {resource}{name}"));
                    }
                }
            }
        }
    }
    for rule in status.non_resource_rules {
        for verb in &rule.verbs {
            for url in rule.non_resource_urls.iter().flatten() {
                rights.insert(format!("{verb} {url}"));
            }
        }
    }
    Ok(rights)
}

/// Waits until an account may do this in a namespace, and nothing else but what every ServiceAccount may.
///
/// # Panics
/// When it may do more, or less.
pub(crate) async fn assert_exactly(
    bed: &Testbed,
    (home, name): (&str, &str),
    namespace: &str,
    expected: &Rights,
) -> Result<()> {
    let of_all = all(&account(bed, home, "somebody-else").await?, namespace).await?;
    let client = account(bed, home, name).await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let rights: Rights = all(&client, namespace)
            .await?
            .difference(&of_all)
            .cloned()
            .collect();
        if rights == *expected || Instant::now() > deadline {
            assert_eq!(rights, *expected, "in namespace {namespace}");
            return Ok(());
        }
        sleep(POLL).await;
    }
}

/// Whether it may; `what` is `verb resource.group:name`, and an empty namespace stands for all of them.
pub(crate) async fn may(client: &Client, namespace: &str, what: &str) -> Result<bool> {
    let (verb, rest) = what.split_once(' ').context("no verb")?;
    let (resource, name) = match rest.rsplit_once(':') {
        Some((resource, name)) => (resource, name),
        None => (rest, ""),
    };
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review: SelfSubjectAccessReview = serde_json::from_value(json!({
        "spec": { "resourceAttributes": {
            "verb": verb, "group": group, "resource": resource, "subresource": subresource,
            "namespace": namespace, "name": name,
        } },
    }))?;
    let review = Api::all(client.clone())
        .create(&PostParams::default(), &review)
        .await?;
    Ok(review.status.is_some_and(|status| status.allowed))
}

/// Asks for each verb on each resource in each namespace, and returns where the answer is yes: `verb resource in namespace`.
pub(crate) async fn sweep(client: &Client, namespaces: &[&str]) -> Result<BTreeSet<String>> {
    const VERBS: [&str; 8] = [
        "get",
        "list",
        "watch",
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
    ];
    const RESOURCES: [&str; 17] = [
        "secrets",
        "configmaps",
        "pods",
        "pods/exec",
        "serviceaccounts",
        "serviceaccounts/token",
        "namespaces",
        "nodes",
        "events",
        "events.events.k8s.io",
        "leases.coordination.k8s.io",
        "deployments.apps",
        "roles.rbac.authorization.k8s.io",
        "clusterrolebindings.rbac.authorization.k8s.io",
        "customresourcedefinitions.apiextensions.k8s.io",
        "databaseaccountpasswords.rds.password-operator.dev",
        "databaseaccountpasswords/status.rds.password-operator.dev",
    ];
    let mut questions = Vec::new();
    for &namespace in namespaces {
        for resource in RESOURCES {
            for verb in VERBS {
                questions.push((namespace, format!("{verb} {resource}")));
            }
        }
    }
    let answers: Vec<Option<String>> = stream::iter(questions)
        .map(async |(namespace, what)| {
            let allowed = may(client, namespace, &what).await?;
            let place = if namespace.is_empty() {
                "all"
            } else {
                namespace
            };
            anyhow::Ok(allowed.then(|| format!("{what} in {place}")))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(answers.into_iter().flatten().collect())
}
