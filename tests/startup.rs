//! What is wrong with the command line is said before anything starts. What is missing in the cluster is said while the process
//! waits for it, in the log, in `/readyz` and in a metric, and it goes on by itself: idleness is never silent.
#![expect(clippy::tests_outside_test_module, reason = "tests")]

use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args as _;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding};
use kube::api::{Api, DeleteParams, PostParams};
use rds_password_operator::cli::RunArguments;
use serde_json::json;
use testbed::bed::{ACCOUNT, INSTANCE, NAMESPACE};
use testbed::install::{self, install_crd, install_rbac};
use testbed::proxy::{Matcher, Verb};
use testbed::{Operator, Testbed, condition, reason};
use tokio::time::{Instant, sleep};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

/// Longer than anything takes, so that only a fault runs into it.
const PATIENCE: Duration = Duration::from_secs(60);

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Output> {
    Ok(Command::new(OPERATOR)
        .arg("run")
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()?)
}

/// Arguments, environment, and a part of the sentence that they are refused with.
type BadCommandLine = (
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
    &'static str,
);

const REGION: &str = "a region's id has lower-case letters, digits and dashes only, and 64 of them at most; write it as in \"cn-shanghai\"";
const NOT_ENCRYPTED: &str = "http:// is taken only for this machine itself (127.0.0.1, [::1], localhost), since passwords are sent; write https://";

const BAD_COMMAND_LINES: &[BadCommandLine] = &[
    (&[], &[], "--region <REGION>"),
    (&["--region="], &[], REGION),
    (&["--region=cn.shanghai"], &[], REGION),
    (&["--region=cn-shanghai/evil"], &[], REGION),
    (&["--region=CN-SHANGHAI"], &[], REGION),
    (&[], &[("ALIBABA_CLOUD_REGION_ID", "evil.example/")], REGION),
    (&["--rds-endpoint=http://other-host"], &[], NOT_ENCRYPTED),
    (
        &["--rds-endpoint=http://127.0.0.1.evil.example"],
        &[],
        NOT_ENCRYPTED,
    ),
    (
        &[],
        &[("RDS_PASSWORD_OPERATOR_RDS_ENDPOINT", "http://10.0.0.1:8080")],
        NOT_ENCRYPTED,
    ),
    (
        &["--rds-endpoint=rds.aliyuncs.com"],
        &[],
        "the endpoint has to begin with https://",
    ),
    (
        &["--rds-endpoint=https://rds.aliyuncs.com/proxy"],
        &[],
        "write scheme, host and port only",
    ),
    (&["--rds-network=moon"], &[], "write \"public\" or \"vpc\""),
    (
        &["--log-level=loud"],
        &[],
        "[possible values: error, warn, info, debug, trace]",
    ),
    (&["--log-format=xml"], &[], "[possible values: text, json]"),
    (&["--concurrency=0"], &[], "--concurrency"),
    (&["--rds-qps=many"], &[], "--rds-qps"),
    (&["--listen=everywhere"], &[], "--listen"),
    (
        &["--lease-duration=15"],
        &[],
        "write a duration such as 15s, 500ms or 2m",
    ),
    (
        &["--shutdown-grace=25h"],
        &[],
        "a duration must be between 1ms and 24h",
    ),
    (
        &["--lease-duration=10s"],
        &[],
        "--lease-renew-deadline must be shorter than --lease-duration",
    ),
    (
        &["--lease-retry-period=10s"],
        &[],
        "--lease-retry-period must be shorter than --lease-renew-deadline",
    ),
    (
        &["--lease-duration=10500ms"],
        &[],
        "--lease-duration must be whole seconds",
    ),
    (&["--watch-namespace="], &[], "write a namespace's name"),
    (
        &["--watch-namespace=shop,"],
        &[],
        "write a namespace's name",
    ),
    (
        &[],
        &[("RDS_PASSWORD_OPERATOR_WATCH_NAMESPACE", "")],
        "write a namespace's name",
    ),
    (&["--namespace=a/b"], &[], "write a namespace's name"),
    (&[], &[("POD_NAMESPACE", "")], "write a namespace's name"),
    (&["--dry-run"], &[], "unexpected argument '--dry-run'"),
];

#[test]
fn a_bad_command_line_is_refused_before_anything_starts() -> Result<()> {
    for (arguments, environment, sentence) in BAD_COMMAND_LINES {
        let mut arguments = arguments.to_vec();
        let names_region = arguments.iter().any(|it| it.starts_with("--region"))
            || environment.iter().any(|(name, _)| name.contains("REGION"));
        if !names_region && *sentence != "--region <REGION>" {
            arguments.push("--region=cn-shanghai");
        }
        let output = run(&arguments, environment)?;
        let said = String::from_utf8(output.stderr)?;
        let context = format!("{arguments:?} {environment:?}: {said}");
        assert_eq!(output.status.code(), Some(2), "{context}");
        // Lines are wrapped to the width of the terminal.
        let unwrapped = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(unwrapped.contains(sentence), "{context}");
        // It would have failed for want of a cluster, and with another code.
        assert!(!said.contains("kubeconfig"), "{context}");
    }
    Ok(())
}

#[test]
fn without_a_cluster_it_ends_and_says_so() -> Result<()> {
    let output = run(&["--region=cn-shanghai"], &[])?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("no kubeconfig and no ServiceAccount"),
        "{said}"
    );
    Ok(())
}

/// Waits until `/readyz` says no, and why.
async fn wait_until_not_ready(operator: &Operator, why: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (status, text) = operator.get("/readyz").await?;
        if status == 503 && text.contains(why) {
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "/readyz does not name {why:?} but says {status} {text:?}:\n{}",
            operator.log()
        );
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        operator.get("/livez").await?.0,
        200,
        "it lives all the same"
    );
    Ok(())
}

/// How often a list or watch of a kind has failed.
async fn watch_errors(operator: &Operator, watch: &str) -> Result<f64> {
    let metric = format!("rds_password_operator_watch_errors_total{{watch=\"{watch}\"}} ");
    operator.metric(&metric).await
}

async fn assert_works(bed: &Testbed, operator: &Operator) -> Result<()> {
    operator.wait_until_leading().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    ensure!(bed.rds.login(INSTANCE, ACCOUNT, "First#Password1"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_definition_is_named_and_waited_for() -> Result<()> {
    let bed = Testbed::start_bare(OPERATOR).await?;
    install_rbac(&bed.client).await?;
    bed.create_namespace(NAMESPACE).await?;
    let operator = bed.operator().await?.start().await?;

    let missing = "the CustomResourceDefinition is not installed: kubectl apply -f crds/";
    wait_until_not_ready(&operator, &format!("DatabaseAccountPasswords: {missing}")).await?;
    operator.wait_for_log(missing).await?;
    assert!(watch_errors(&operator, "DatabaseAccountPassword").await? > 0.0);
    assert!(
        watch_errors(&operator, "Secret").await? < 1.0,
        "the other watch is not held up"
    );

    install_crd(&bed.client).await?;
    assert_works(&bed, &operator).await
}

/// Whether the operator may do something now, as the API server sees it.
async fn may(bed: &Testbed, verb: &str, group: &str, resource: &str) -> Result<bool> {
    let name = install::OPERATOR;
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource)),
        None => (resource, None),
    };
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{name}:{name}")),
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(name.to_owned()),
                verb: Some(verb.to_owned()),
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource: subresource.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let answer = Api::all(bed.client.clone())
        .create(&PostParams::default(), &review)
        .await?;
    Ok(answer.status.context("a review without an answer")?.allowed)
}

/// Waits until the API server has taken up that the operator may no longer do something.
async fn wait_until_denied(bed: &Testbed, verb: &str, group: &str, resource: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while may(bed, verb, group, resource).await? {
        ensure!(Instant::now() < deadline, "{verb} {resource} is not denied");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Takes the rights in all namespaces from the operator.
async fn unbind_everywhere(bed: &Testbed) -> Result<()> {
    Api::<ClusterRoleBinding>::all(bed.client.clone())
        .delete(install::OPERATOR, &DeleteParams::default())
        .await?;
    let group = "rds.password-operator.dev";
    wait_until_denied(bed, "list", group, "databaseaccountpasswords").await
}

/// Takes the rights in its own namespace from the operator.
async fn unbind_at_home(bed: &Testbed) -> Result<()> {
    Api::<RoleBinding>::namespaced(bed.client.clone(), install::OPERATOR)
        .delete(install::OPERATOR, &DeleteParams::default())
        .await?;
    wait_until_denied(bed, "create", "coordination.k8s.io", "leases").await
}

/// Takes the right to one resource in all namespaces from the operator.
async fn forbid(bed: &Testbed, verb: &str, group: &str, resource: &str) -> Result<()> {
    let roles = Api::<ClusterRole>::all(bed.client.clone());
    let mut role = roles.get(install::OPERATOR).await?;
    role.rules
        .iter_mut()
        .flatten()
        .filter(|rule| {
            let resources = rule.resources.iter().flatten();
            resources.into_iter().any(|it| it == resource)
        })
        .for_each(|rule| rule.verbs.retain(|it| it != verb));
    role.rules
        .iter_mut()
        .for_each(|rules| rules.retain(|rule| !rule.verbs.is_empty()));
    roles
        .replace(install::OPERATOR, &PostParams::default(), &role)
        .await?;
    wait_until_denied(bed, verb, group, resource).await
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_rights_to_the_watched_kinds_are_named_and_waited_for() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    unbind_everywhere(&bed).await?;
    let operator = bed.operator().await?.start().await?;

    let missing =
        "the operator's ServiceAccount may not list and watch them: it needs the operator's role";
    for kind in ["DatabaseAccountPassword", "Secret"] {
        wait_until_not_ready(&operator, &format!("{kind}s: {missing}")).await?;
        assert!(watch_errors(&operator, kind).await? > 0.0, "{kind}");
    }
    operator.wait_for_log(missing).await?;

    install_rbac(&bed.client).await?;
    assert_works(&bed, &operator).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_to_the_fingerprint_key_is_named_and_waited_for() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    unbind_at_home(&bed).await?;
    forbid(&bed, "get", "", "secrets").await?;
    let operator = bed
        .operator()
        .await?
        .argument("--no-leader-election")
        .start()
        .await?;

    let missing = "the Secret rds-password-operator-fingerprint-keys could not be read: the operator's ServiceAccount may not get this Secret";
    wait_until_not_ready(&operator, &format!("fingerprint key: {missing}")).await?;
    operator.wait_for_log(missing).await?;

    install_rbac(&bed.client).await?;
    assert_works(&bed, &operator).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_reset_where_the_status_may_not_be_written() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let (group, resource) = (
        "rds.password-operator.dev",
        "databaseaccountpasswords/status",
    );
    forbid(&bed, "update", group, resource).await?;
    let operator = bed.operator().await?.start().await?;
    operator.wait_until_leading().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;

    let deadline = Instant::now() + PATIENCE;
    while operator
        .metric("rds_password_operator_failed_passes_total ")
        .await?
        < 3.0
    {
        ensure!(
            Instant::now() < deadline,
            "no failed passes: {}",
            operator.log()
        );
        sleep(Duration::from_millis(20)).await;
    }
    operator
        .wait_for_log("no reset is sent, since it cannot be written down first: the API server refused the status with HTTP status 403")
        .await?;
    let missing = "status of DatabaseAccountPasswords in namespace shop: the operator's ServiceAccount may not update it, so no password is reset";
    wait_until_not_ready(&operator, missing).await?;
    operator
        .wait_for_log("so no password is reset: it needs the operator's role")
        .await?;
    assert!(bed.resets().is_empty(), "{:#?}", bed.resets());

    install_rbac(&bed.client).await?;
    bed.wait_until_ready("orders-app").await?;
    operator.wait_until_ready().await?;
    assert_eq!(bed.resets().len(), 1, "{:#?}", bed.resets());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_may_not_be_read_is_told_in_the_status() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    forbid(&bed, "get", "", "secrets").await?;
    let operator = bed.operator().await?.start().await?;
    operator.wait_until_leading().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    let stalled = bed
        .wait_for_reason("orders-app", "SecretUnreadable")
        .await?;
    assert_eq!(reason(&stalled, "Stalled"), Some("SecretUnreadable"));
    let ready = condition(&stalled, "Ready").context("no Ready")?;
    assert!(
        ready
            .message
            .contains("the operator's ServiceAccount may not get this Secret"),
        "{ready:?}"
    );
    assert!(bed.calls().is_empty(), "{:#?}", bed.calls());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_publish_events_passwords_are_reset() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    forbid(&bed, "create", "events.k8s.io", "events").await?;
    let operator = bed.operator().await?.start().await?;
    assert_works(&bed, &operator).await?;
    operator
        .wait_for_log("the Event could not be published")
        .await?;
    assert_eq!(bed.resets().len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_fails_once_is_forgotten() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let proxy = bed.proxy().await?;
    // As a watch cache answers that has just been started.
    let refusal = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "message": "storage is (re)initializing", "reason": "TooManyRequests", "code": 429,
    });
    let watch = Matcher::resource("databaseaccountpasswords").verb(Verb::Watch);
    proxy.answer_instead(watch, 1, 429, refusal.to_string());
    let operator = bed.operator_at(&proxy.url(), None).await?.start().await?;

    wait_until_not_ready(
        &operator,
        "DatabaseAccountPasswords: the API server answered with HTTP status 429 (TooManyRequests)",
    )
    .await?;
    // The next try works, and has nothing to say: no resource is there that could change.
    let forgotten = operator.wait_until_ready();
    tokio::time::timeout(PATIENCE / 3, forgotten)
        .await
        .context("it is remembered for longer than the next try takes")??;
    assert!(watch_errors(&operator, "DatabaseAccountPassword").await? > 0.0);
    assert_works(&bed, &operator).await
}

#[test]
fn a_password_in_the_command_line_is_not_repeated() -> Result<()> {
    let bad = "--rds-endpoint=https://user:Canary#Password1@rds.aliyuncs.com";
    let output = run(&["--region=cn-shanghai", bad], &[])?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!said.contains("Canary"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_away_is_waited_for() -> Result<()> {
    let mut bed = Testbed::start(OPERATOR).await?;
    let operator = bed.operator().await?;
    bed.control_plane.stop()?;
    let operator = operator.start().await?;
    wait_until_not_ready(&operator, "").await?;
    bed.control_plane.start_again().await?;
    assert_works(&bed, &operator).await
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_rights_to_the_lease_are_named_and_waited_for() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    unbind_everywhere(&bed).await?;
    unbind_at_home(&bed).await?;
    let operator = bed.operator().await?.start().await?;

    operator
        .wait_for_log("not permitted to access the leadership lease")
        .await?;
    wait_until_not_ready(&operator, "lease").await?;

    install_rbac(&bed.client).await?;
    assert_works(&bed, &operator).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_accepted_is_named() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let unauthorized =
        "the API server does not accept the operator's credentials (HTTP status 401 Unauthorized)";
    for (argument, part) in [
        (
            "--no-leader-election",
            "fingerprint key: the Secret rds-password-operator-fingerprint-keys could not be read",
        ),
        ("--lease-duration=15s", "lease"),
    ] {
        let user = json!({ "token": "of another cluster" });
        let operator = bed.operator_with([], Some(user)).await?;
        let operator = operator.argument(argument).start().await?;
        wait_until_not_ready(&operator, &format!("{part}: {unauthorized}")).await?;
        operator.wait_for_log(unauthorized).await?;
        let metric = "rds_password_operator_kubernetes_unauthorized_total ";
        assert!(operator.metric(metric).await? > 0.0);
    }
    Ok(())
}

/// What is wrong with the certificate or with what the operator knows of it is said in words of its own.
#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_it_from_a_tls_connection_is_named() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let proxy = bed.proxy().await?;
    let plain = proxy.url().replace("http://", "https://");
    let unknown = "no certificate authority that the operator knows has signed its certificate";
    for (entry, value, sentence) in [
        (
            "certificate-authority",
            json!(bed.control_plane.server_certificate()),
            unknown,
        ),
        (
            "certificate-authority",
            json!(bed.control_plane.other_certificate_authority()?),
            unknown,
        ),
        (
            "tls-server-name",
            json!("api.example"),
            "its certificate is for another name or address than the one that the operator calls",
        ),
        (
            "server",
            json!(plain),
            "what answers at its address does not speak TLS",
        ),
    ] {
        for (argument, part) in [
            ("--lease-duration=15s", "lease"),
            (
                "--no-leader-election",
                "fingerprint key: the Secret rds-password-operator-fingerprint-keys could not be read",
            ),
        ] {
            let operator = bed.operator_with([(entry, value.clone())], None).await?;
            let operator = operator.argument(argument).start().await?;
            let named = format!("{part}: no TLS connection to the API server: {sentence}");
            wait_until_not_ready(&operator, &named).await?;
            operator.wait_for_log(sentence).await?;
        }
    }
    Ok(())
}

/// With the default address, but for the port, which another process may have.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "what is left out has to be said")]
async fn probes_are_served_on_both_families() -> Result<()> {
    let bed = Testbed::start_bare(OPERATOR).await?;
    install_rbac(&bed.client).await?;
    let command = RunArguments::augment_args(clap::Command::new("run"));
    let listen = command.get_arguments().find(|it| it.get_id() == "listen");
    let default = listen.and_then(|it| it.get_default_values().first()?.to_str());
    let (address, port) = default
        .and_then(|default| default.rsplit_once(':'))
        .context("--listen has no default")?;
    assert_eq!((address, port), ("[::]", "8080"));
    let operator = bed.operator().await?;
    let operator = operator.flag("listen", format!("{address}:0"));
    let operator = operator.start().await?;
    let port = operator.address().port();

    let mut hosts = vec!["127.0.0.1"];
    if TcpListener::bind("[::1]:0").is_ok() {
        hosts.push("[::1]");
    } else {
        eprintln!("left out: probes on ::1, since this machine has no IPv6");
    }
    for host in hosts {
        let answer = reqwest::get(format!("http://{host}:{port}/livez")).await;
        assert_eq!(answer?.status().as_u16(), 200, "{host}");
    }
    Ok(())
}
