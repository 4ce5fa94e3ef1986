//! The chart with little but its defaults: all namespaces, an AccessKey.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testbed::bed::{ACCOUNT, INSTANCE, NAMESPACE};
use testbed::install::{self, repository_file};
use testbed::{Testbed, wait_until};

use crate::cluster::{ACCESS_KEY, Cluster, PRIVILEGED, names};
use crate::pod::{self, pods};
use crate::rendered::{RELEASE, Rendered};
use crate::rights::{Rights, account, assert_exactly, may, rights, sweep};
use crate::values::{chart, required, with};

const FINGERPRINT_KEYS: &str = "rds-password-operator-fingerprint-keys";

/// Rights in the namespaces that are watched.
pub(crate) const WATCHED: &[&str] = &[
    "get,list,watch databaseaccountpasswords.rds.password-operator.dev",
    "update databaseaccountpasswords/status.rds.password-operator.dev",
    "get,list,watch secrets",
    "create,patch events.events.k8s.io",
];

/// Rights in the operator's own namespace.
pub(crate) const OWN: &[&str] = &[
    "get,update leases.coordination.k8s.io:rds-password-operator",
    "create leases.coordination.k8s.io",
    "get secrets:rds-password-operator-fingerprint-keys",
    "create secrets",
];

#[tokio::test(flavor = "multi_thread")]
async fn installed_used_and_uninstalled() -> Result<()> {
    let cluster = Cluster::start(&[NAMESPACE]).await?;
    let (bed, helm) = (&cluster.bed, &cluster.helm);
    let values = with(
        required(),
        &json!({
            "rds": { "endpoint": bed.rds.url() },
            "credentials": { "accessKeySecret": { "name": ACCESS_KEY } },
        }),
    );
    let rendered = Rendered::with(helm, &values).await?;
    let printed = helm.install(RELEASE, chart(), &values).await?;

    pods_are_restricted(&cluster, &rendered).await?;
    the_objects_fit_together(bed).await?;
    the_notes_are_right(bed, &printed).await?;
    the_operator_may_do_this_and_no_more(bed).await?;
    users_get_their_rights(bed).await?;
    a_password_is_rotated(&cluster).await?;
    what_is_kept_is_taken_up_again(&cluster, &values).await
}

async fn pods_are_restricted(cluster: &Cluster, rendered: &Rendered) -> Result<()> {
    let pods = pods(&cluster.bed, RELEASE.namespace).await?;
    assert_eq!(pods.len(), 2, "the ReplicaSet's pods were admitted");
    cluster.validate(rendered, RELEASE.namespace).await?;
    // The same pod with one more right is not: so something judges there.
    let escalating = |pod: &mut Pod| {
        for container in pod.spec.iter_mut().flat_map(|spec| &mut spec.containers) {
            let context = container.security_context.get_or_insert_default();
            context.allow_privilege_escalation = Some(true);
        }
    };
    let refused = cluster
        .create_pod(rendered, RELEASE.namespace, escalating)
        .await;
    let refused = format!("{:#}", refused.err().context("a pod may escalate")?);
    ensure!(refused.contains("PodSecurity"), "{refused}");
    cluster.create_pod(rendered, PRIVILEGED, escalating).await
}

/// Selectors select the pods, and ports are there.
async fn the_objects_fit_together(bed: &Testbed) -> Result<()> {
    let client = &bed.client;
    let pods = pods(bed, RELEASE.namespace).await?;
    let budgets = Api::<PodDisruptionBudget>::namespaced(client.clone(), RELEASE.namespace);
    wait_until("the budget counts both pods", async || {
        let status = budgets.get(RELEASE.name).await?.status.unwrap_or_default();
        Ok((status.expected_pods, status.disruptions_allowed) == (2, 1))
    })
    .await?;

    let slices = Api::<EndpointSlice>::namespaced(client.clone(), RELEASE.namespace);
    let of_service =
        ListParams::default().labels(&format!("kubernetes.io/service-name={}", RELEASE.name));
    wait_until("the Service has both pods", async || {
        let slices = slices.list(&of_service).await?.items;
        let ready = slices.iter().flat_map(|slice| &slice.endpoints);
        let ready = ready.filter(|endpoint| {
            let conditions = endpoint.conditions.as_ref();
            conditions.is_some_and(|conditions| conditions.ready == Some(true))
        });
        let mut ports = slices.iter().flat_map(|slice| slice.ports.iter().flatten());
        Ok(ready.count() == 2 && ports.any(|port| port.port == Some(8080)))
    })
    .await?;

    let policies = Api::<NetworkPolicy>::namespaced(client.clone(), RELEASE.namespace);
    let policy = policies.get(RELEASE.name).await?.spec.context("no spec")?;
    let selected = policy.pod_selector.and_then(|it| it.match_labels);
    let selected = selected.context("the policy selects by something else")?;
    for pod in &pods {
        let labels = pod.labels();
        assert!(
            selected
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
        );
    }
    Ok(())
}

/// The commands name what there is, the resource is a valid one, and the links lead to a heading.
async fn the_notes_are_right(bed: &Testbed, printed: &str) -> Result<()> {
    let (_, notes) = printed.split_once("NOTES:").context("no notes")?;
    let deployment = format!("deployment/{}", RELEASE.name);
    let namespace = format!("--namespace {}", RELEASE.namespace);
    ensure!(
        notes
            .lines()
            .any(|line| line.contains(&deployment) && line.contains(&namespace)),
        "{notes}"
    );
    let (_, resource) = notes.split_once("<<EOF\n").context("no resource")?;
    let (resource, _) = resource.split_once("EOF").context("no end")?;
    let resource: DynamicObject = serde_yaml_ng::from_str(resource)?;
    install::validate(&bed.client, &resource).await?;

    for link in notes
        .split_whitespace()
        .filter(|word| word.contains("/blob/main/"))
    {
        let (_, path) = link.split_once("/blob/main/").context("no path")?;
        let (path, anchor) = path.split_once('#').unwrap_or((path, ""));
        let text = std::fs::read_to_string(repository_file(path)).context(link.to_owned())?;
        let found = text
            .lines()
            .filter_map(|line| line.strip_prefix('#'))
            .any(|line| slug(line) == anchor);
        ensure!(found || anchor.is_empty(), "{link}: no such heading");
    }
    Ok(())
}

/// The name that a heading gets in a link.
fn slug(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|character| character.is_alphanumeric() || [' ', '-', '_'].contains(character))
        .map(|character| if character == ' ' { '-' } else { character })
        .collect()
}

async fn the_operator_may_do_this_and_no_more(bed: &Testbed) -> Result<()> {
    let watched = rights(WATCHED);
    let own: Rights = watched.union(&rights(OWN)).cloned().collect();
    let identity = (RELEASE.namespace, RELEASE.name);
    assert_exactly(bed, identity, RELEASE.namespace, &own).await?;
    assert_exactly(bed, identity, NAMESPACE, &watched).await?;

    // The same by single questions, which the rules are not the only ones to decide.
    let client = account(bed, RELEASE.namespace, RELEASE.name).await?;
    let mut expected = Rights::new();
    for place in [RELEASE.namespace, NAMESPACE, "all"] {
        expected.extend(watched.iter().map(|right| format!("{right} in {place}")));
    }
    for right in ["create secrets", "create leases.coordination.k8s.io"] {
        expected.insert(format!("{right} in {}", RELEASE.namespace));
    }
    let namespaces = [RELEASE.namespace, NAMESPACE, ""];
    assert_eq!(sweep(&client, &namespaces).await?, expected);
    for (allowed, right) in [
        (true, "get leases.coordination.k8s.io:rds-password-operator"),
        (
            true,
            "update leases.coordination.k8s.io:rds-password-operator",
        ),
        (false, "update leases.coordination.k8s.io:another"),
        (
            false,
            "delete leases.coordination.k8s.io:rds-password-operator",
        ),
        (
            false,
            "update secrets:rds-password-operator-fingerprint-keys",
        ),
        (
            false,
            "patch secrets:rds-password-operator-fingerprint-keys",
        ),
        (
            false,
            "delete secrets:rds-password-operator-fingerprint-keys",
        ),
        (false, "impersonate users:admin"),
        (false, "escalate clusterroles.rbac.authorization.k8s.io"),
        (false, "bind clusterroles.rbac.authorization.k8s.io"),
        (
            false,
            "reset rdsinstances.rds.password-operator.dev:rm-shop",
        ),
        (false, "create serviceaccounts/token:rds-password-operator"),
    ] {
        assert_eq!(
            may(&client, RELEASE.namespace, right).await?,
            allowed,
            "{right}"
        );
    }

    // And by trying, with the token that the pod has.
    bed.create_secret("orders-db", "First#Password1").await?;
    let token = install::issue_token(&bed.client, identity).await?;
    let client = bed.control_plane.client_with_token(&token).await?;
    let secrets = Api::<Secret>::namespaced(client, NAMESPACE);
    secrets.get("orders-db").await?;
    let change = Patch::Merge(json!({ "stringData": { "password": "x" } }));
    let patched = secrets
        .patch("orders-db", &PatchParams::default(), &change)
        .await;
    ensure_forbidden(patched)?;
    ensure_forbidden(secrets.delete("orders-db", &DeleteParams::default()).await)
}

pub(crate) fn ensure_forbidden<T>(answer: kube::Result<T>) -> Result<()> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => anyhow::bail!("the operator may do what it must not"),
    }
}

/// The built-in roles take in the chart's, which a controller has to do.
async fn users_get_their_rights(bed: &Testbed) -> Result<()> {
    const RESOURCE: &str = "databaseaccountpasswords.rds.password-operator.dev";
    const STATUS: &str = "databaseaccountpasswords/status.rds.password-operator.dev";
    for (role, may_read, may_write) in [
        ("view", true, false),
        ("edit", true, true),
        ("admin", true, true),
    ] {
        let binding = serde_json::from_value(json!({
            "metadata": { "name": format!("everybody-{role}") },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": format!("{role}ers") }],
        }))?;
        Api::<ClusterRoleBinding>::all(bed.client.clone())
            .create(&PostParams::default(), &binding)
            .await?;
        let client = bed
            .control_plane
            .client_as("jane", &[&format!("{role}ers"), "system:authenticated"])
            .await?;
        wait_until(&format!("{role} takes in the resource"), async || {
            Ok(
                may(&client, NAMESPACE, &format!("get {RESOURCE}")).await? == may_read
                    && may(&client, NAMESPACE, &format!("create {RESOURCE}")).await? == may_write,
            )
        })
        .await?;
        for verb in ["list", "watch"] {
            assert!(may(&client, NAMESPACE, &format!("{verb} {RESOURCE}")).await?);
        }
        for verb in ["update", "patch", "delete", "deletecollection"] {
            let allowed = may(&client, NAMESPACE, &format!("{verb} {RESOURCE}")).await?;
            assert_eq!(allowed, may_write, "{role}: {verb}");
            assert!(!may(&client, NAMESPACE, &format!("{verb} {STATUS}")).await?);
        }
        let reset = "reset rdsinstances.rds.password-operator.dev:rm-shop";
        assert!(!may(&client, NAMESPACE, reset).await?, "{role}");
    }
    Ok(())
}

/// The real program, started as the pod says.
async fn a_password_is_rotated(cluster: &Cluster) -> Result<()> {
    let bed = &cluster.bed;
    let pods = pods(bed, RELEASE.namespace).await?;
    let pod = pods.first().context("no pod")?;
    let since = pod::audited(bed)?;
    let operator = pod::run(bed, pod, cluster.helm.directory()).await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    bed.rotate("orders-db", "Second#Password2").await?;
    bed.wait_for_password("Second#Password2").await?;
    bed.wait_until_ready("orders-app").await?;
    bed.wait_for_event("orders-app", "PasswordReset").await?;
    let (status, log) = operator.terminate().await?;
    ensure!(status.success(), "{status}:\n{log}");
    pod::ensure_nothing_was_forbidden(bed, (RELEASE.namespace, RELEASE.name), since)
}

/// Uninstalling leaves what cannot be had again, and installing anew goes on with it.
async fn what_is_kept_is_taken_up_again(cluster: &Cluster, values: &Value) -> Result<()> {
    let (bed, helm) = (&cluster.bed, &cluster.helm);
    let before = bed.resources().get("orders-app").await?;
    let keys = Api::<Secret>::namespaced(bed.client.clone(), RELEASE.namespace);
    let key = keys.get(FINGERPRINT_KEYS).await?;
    helm.uninstall(RELEASE).await?;

    let of_release =
        ListParams::default().labels("app.kubernetes.io/instance=rds-password-operator");
    let gone: BTreeMap<&str, Vec<String>> = BTreeMap::from([
        ("Deployment", left::<Deployment>(bed, &of_release).await?),
        (
            "ServiceAccount",
            left::<ServiceAccount>(bed, &of_release).await?,
        ),
        ("ClusterRole", left::<ClusterRole>(bed, &of_release).await?),
        (
            "ClusterRoleBinding",
            left::<ClusterRoleBinding>(bed, &of_release).await?,
        ),
        (
            "policy",
            left::<ValidatingAdmissionPolicy>(bed, &of_release).await?,
        ),
    ]);
    assert!(gone.values().all(Vec::is_empty), "{gone:?}");
    wait_until("the pods are gone", async || {
        Ok(pods(bed, RELEASE.namespace).await?.is_empty())
    })
    .await?;
    let definitions = left::<CustomResourceDefinition>(bed, &of_release).await?;
    assert_eq!(
        definitions,
        ["databaseaccountpasswords.rds.password-operator.dev"]
    );
    let kept = bed.resources().get("orders-app").await?;
    assert_eq!(kept.metadata, before.metadata);
    assert_eq!((kept.spec, kept.status), (before.spec, before.status));
    assert_eq!(keys.get(FINGERPRINT_KEYS).await?.data, key.data);
    assert!(bed.rds.login(INSTANCE, ACCOUNT, "Second#Password2"));

    helm.install(RELEASE, chart(), values).await?;
    let of_instance = || {
        let resets = bed.resets().into_iter();
        resets
            .filter(|call| call.instance.as_deref() == Some(INSTANCE))
            .count()
    };
    let resets = of_instance();
    let pods = pods(bed, RELEASE.namespace).await?;
    let pod = pods.first().context("no pod")?;
    let operator = pod::run(bed, pod, helm.directory()).await?;
    bed.settle().await?;
    assert_eq!(of_instance(), resets, "nothing has changed");
    bed.rotate("orders-db", "Third#Password3").await?;
    bed.wait_for_password("Third#Password3").await?;
    drop(operator);
    Ok(())
}

async fn left<K>(bed: &Testbed, of_release: &ListParams) -> Result<Vec<String>>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let objects = Api::<K>::all(bed.client.clone()).list(of_release).await?;
    Ok(names(&objects.items))
}
