//! The chart with every feature on, for some namespaces, with a RAM role.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::Api;
use kube::ResourceExt;
use kube::api::{ListParams, PostParams};
use rds_simulator::{OidcProvider, Role};
use serde_json::{Value, json};
use testbed::bed::NAMESPACE;
use testbed::control_plane::TOKEN_ISSUER as ISSUER;
use testbed::{install, prometheus_operator, wait_until};

use crate::cluster::{Cluster, PRIVILEGED};
use crate::defaults::{OWN, WATCHED, ensure_forbidden};
use crate::pod::{self, pods};
use crate::rendered::{RELEASE, Rendered};
use crate::rights::{Rights, account, assert_exactly, may, rights, sweep};
use crate::values::{chart, file, with};

/// The second of the namespaces that are watched, and one that is not.
const BILLING: &str = "billing";
const ELSEWHERE: &str = "elsewhere";

const AUDIENCE: &str = "sts.aliyuncs.com";
const ACCOUNT_NAME: &str = "rotator";

#[tokio::test(flavor = "multi_thread")]
async fn installed_and_used() -> Result<()> {
    let cluster = Cluster::start(&[NAMESPACE, BILLING, ELSEWHERE, "monitoring"]).await?;
    let (bed, helm) = (&cluster.bed, &cluster.helm);
    prometheus_operator::install_definitions(&bed.client).await?;
    let class: PriorityClass = serde_json::from_value(json!({
        "metadata": { "name": "platform" }, "value": 1000,
    }))?;
    Api::all(bed.client.clone())
        .create(&PostParams::default(), &class)
        .await?;
    let values = with(
        file("everything")?,
        &json!({ "rds": { "endpoint": bed.rds.url() }, "sts": { "endpoint": bed.rds.url() } }),
    );
    helm.install(RELEASE, chart(), &values).await?;

    let rendered = Rendered::with(helm, &values).await?;
    cluster.validate(&rendered, RELEASE.namespace).await?;
    let otherwise = Rendered::with(helm, &file("otherwise")?).await?;
    cluster.validate(&otherwise, PRIVILEGED).await?;
    assert_eq!(pods(bed, RELEASE.namespace).await?.len(), 3);
    what_others_read_is_there(&cluster).await?;
    the_operator_is_kept_to_its_namespaces(&cluster).await?;
    tokens_are_for_the_cloud_alone(&cluster).await?;
    a_password_is_rotated(&cluster, &values).await
}

async fn what_others_read_is_there(cluster: &Cluster) -> Result<()> {
    let client = &cluster.bed.client;
    let dashboards = Api::<ConfigMap>::namespaced(client.clone(), "monitoring");
    let of_grafana = ListParams::default().labels("grafana_dashboard=yes");
    let found = dashboards.list(&of_grafana).await?.items;
    let [dashboard] = &*found else {
        anyhow::bail!("{} dashboards", found.len());
    };
    for (name, text) in dashboard.data.iter().flatten() {
        let dashboard: Value = serde_json::from_str(text).context(name.clone())?;
        ensure!(dashboard["panels"].is_array(), "{name} has no panels");
    }
    let maps = Api::<ConfigMap>::namespaced(client.clone(), RELEASE.namespace);
    for name in ["map", "text"] {
        maps.get(&format!("{}-{name}", RELEASE.name)).await?;
    }
    let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(client.clone());
    for binding in bindings.list(&ListParams::default()).await? {
        let name = binding.name_any();
        let actions = binding.spec.and_then(|it| it.validation_actions);
        let expected: &[&str] = match &*name {
            "rds-rotator-tokens" => &["Deny"],
            _ => &["Warn", "Audit"],
        };
        assert_eq!(actions.unwrap_or_default(), expected, "{name}");
    }
    Ok(())
}

async fn the_operator_is_kept_to_its_namespaces(cluster: &Cluster) -> Result<()> {
    let bed = &cluster.bed;
    let (watched, own) = (rights(WATCHED), rights(OWN));
    let identities = |names: &[&str]| -> Rights {
        let of_one = names.iter().flat_map(|name| {
            [
                format!("get serviceaccounts:{name}"),
                format!("create serviceaccounts/token:{name}"),
            ]
        });
        of_one.collect()
    };
    let identity = (RELEASE.namespace, ACCOUNT_NAME);
    for (namespace, expected) in [
        (RELEASE.namespace, own.clone()),
        (
            NAMESPACE,
            &watched | &identities(&["orders-rds", "stock-rds"]),
        ),
        (BILLING, &watched | &identities(&["invoices-rds"])),
        (ELSEWHERE, Rights::new()),
        ("kube-system", Rights::new()),
    ] {
        assert_exactly(bed, identity, namespace, &expected).await?;
    }

    let client = account(bed, RELEASE.namespace, ACCOUNT_NAME).await?;
    let mut expected = Rights::new();
    for place in [NAMESPACE, BILLING] {
        expected.extend(watched.iter().map(|right| format!("{right} in {place}")));
    }
    for right in ["create secrets", "create leases.coordination.k8s.io"] {
        expected.insert(format!("{right} in {}", RELEASE.namespace));
    }
    let namespaces = [RELEASE.namespace, NAMESPACE, BILLING, ELSEWHERE, ""];
    assert_eq!(sweep(&client, &namespaces).await?, expected);
    for namespace in [RELEASE.namespace, ELSEWHERE, ""] {
        assert!(!may(&client, namespace, "get secrets:orders-db").await?);
        assert!(!may(&client, namespace, "list secrets").await?);
    }

    // Nothing over the whole cluster names the operator.
    let roles = Api::<ClusterRole>::all(bed.client.clone());
    let of_release =
        ListParams::default().labels("app.kubernetes.io/instance=rds-password-operator");
    let names: Vec<String> = roles
        .list(&of_release)
        .await?
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    assert_eq!(names, ["rds-rotator-edit", "rds-rotator-view"]);
    let bindings = Api::<ClusterRoleBinding>::all(bed.client.clone());
    for binding in bindings.list(&ListParams::default()).await? {
        let mut subjects = binding.subjects.iter().flatten();
        assert!(
            !subjects.any(|subject| subject.name == ACCOUNT_NAME),
            "{binding:?}"
        );
    }

    // And by trying.
    let token = install::issue_token(&bed.client, identity).await?;
    let client = bed.control_plane.client_with_token(&token).await?;
    for namespace in [RELEASE.namespace, ELSEWHERE] {
        let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
        ensure_forbidden(secrets.list(&ListParams::default()).await)?;
        ensure_forbidden(secrets.get("orders-db").await)?;
    }
    let everywhere = Api::<Secret>::all(client);
    ensure_forbidden(everywhere.list(&ListParams::default()).await)
}

/// RBAC lets the operator create tokens of a tenant's ServiceAccount; the policy limits what they are good for.
async fn tokens_are_for_the_cloud_alone(cluster: &Cluster) -> Result<()> {
    let bed = &cluster.bed;
    let accounts = Api::<ServiceAccount>::namespaced(bed.client.clone(), NAMESPACE);
    for name in ["orders-rds", "another"] {
        let account = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
        accounts.create(&PostParams::default(), &account).await?;
    }
    let identity = (RELEASE.namespace, ACCOUNT_NAME);
    let token = install::issue_token(&bed.client, identity).await?;
    let client = bed.control_plane.client_with_token(&token).await?;
    let accounts = Api::<ServiceAccount>::namespaced(client, NAMESPACE);
    let issue = async |name: &str, audiences: &[&str]| {
        let request: TokenRequest = serde_json::from_value(json!({
            "spec": { "audiences": audiences, "expirationSeconds": 600 },
        }))?;
        anyhow::Ok(
            accounts
                .create_token_request(name, &PostParams::default(), &request)
                .await,
        )
    };
    issue("orders-rds", &[AUDIENCE]).await??;
    wait_until("the policy is in force", async || {
        Ok(issue("orders-rds", &["another.example.com"])
            .await?
            .is_err())
    })
    .await?;
    for audiences in [
        &[][..],
        &[ISSUER],
        &["another.example.com"],
        &[AUDIENCE, ISSUER],
    ] {
        ensure_forbidden(issue("orders-rds", audiences).await?)?;
    }
    ensure_forbidden(issue("another", &[AUDIENCE]).await?)
}

/// The real program, started as the pod says, with a RAM role that trusts the token in the pod.
async fn a_password_is_rotated(cluster: &Cluster, values: &Value) -> Result<()> {
    let bed = &cluster.bed;
    let keys = bed.control_plane.token_keys().await?;
    let [provider, role] = ["oidcProviderArn", "roleArn"].map(|key| values["rrsa"][key].as_str());
    let (provider, role) = provider.zip(role).context("no ARNs")?;
    let subject = format!("system:serviceaccount:{}:{ACCOUNT_NAME}", RELEASE.namespace);
    bed.rds
        .add_oidc_provider(OidcProvider::new(provider, ISSUER, &keys)?);
    bed.rds
        .add_role(Role::new(role).trusts_oidc(provider, ISSUER, AUDIENCE, subject));

    let pods = pods(bed, RELEASE.namespace).await?;
    let pod = pods.first().context("no pod")?;
    let since = pod::audited(bed)?;
    let operator = pod::run(bed, pod, cluster.helm.directory()).await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    bed.rotate("orders-db", "Second#Password2").await?;
    bed.wait_for_password("Second#Password2").await?;
    bed.wait_for_event("orders-app", "PasswordReset").await?;
    let (status, log) = operator.terminate().await?;
    ensure!(status.success(), "{status}:\n{log}");
    pod::ensure_nothing_was_forbidden(bed, (RELEASE.namespace, ACCOUNT_NAME), since)
}
