//! The rotation by a `CronJob`: its script, run with the rights that the recipe gives it.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, Patch, PatchParams, PostParams};
use rds_password_operator::rds::password::Password;
use serde_json::{Value, json};
use testbed::Testbed;
use testbed::bed::NAMESPACE;
use testbed::install::issue_token;
use testbed::operator::PATIENCE;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::OPERATOR;
use crate::examples::{apply, document};

/// The name of all four resources.
const NAME: &str = "rotate-orders-db";

/// Where a pod has its ServiceAccount's token, and where it finds the API server.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const API_SERVER: &str = "https://kubernetes.default.svc";

/// How often the API server is asked whether it has come to know the Role.
const POLL: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread")]
async fn the_cron_job_rotates_and_may_do_nothing_else() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create_secret("payments-db", "Other#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    for kind in ["ServiceAccount", "Role", "RoleBinding", "CronJob"] {
        apply(&bed.client, &document(kind, NAME)?, false).await?;
    }
    wait_until_allowed(&bed, "patch", "orders-db").await?;
    for (verb, secret) in [
        ("get", "orders-db"),
        ("update", "orders-db"),
        ("delete", "orders-db"),
        ("patch", "payments-db"),
        ("patch", ""),
        ("list", ""),
        ("create", ""),
    ] {
        ensure!(!allowed(&bed, verb, secret).await?, "{verb} {secret}");
    }

    let values = [rotate(&bed).await?, rotate(&bed).await?];
    assert_ne!(values[0], values[1]);
    bed.wait_for_password(&values[1]).await?;
    bed.wait_until_ready("orders-app").await?;
    Ok(())
}

/// Runs the script of the `CronJob`'s container as a pod would, and returns the value that it has put into the Secret.
async fn rotate(bed: &Testbed) -> Result<String> {
    let directory = bed.directory();
    let token = issue_token(&bed.client, (NAMESPACE, NAME)).await?;
    fs::write(directory.join("token"), &token)?;
    fs::copy(
        bed.control_plane.certificate_authority(),
        directory.join("ca.crt"),
    )?;

    let container = &pod_template()?["spec"]["containers"][0];
    let script = container["args"][0].as_str().context("no script")?;
    ensure!(script.contains(ACCOUNT) && script.contains(API_SERVER));
    let script = script
        .replace(ACCOUNT, &directory.to_string_lossy())
        .replace(API_SERVER, &bed.control_plane.server());
    let command: Vec<String> = serde_json::from_value(container["command"].clone())?;
    let (program, options) = command.split_first().context("no command")?;
    let mut run = Command::new(program);
    run.args(options).arg(script).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, run.output())
        .await
        .context("the script does not end")??;
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    ensure!(output.status.success(), "{}: {printed}", output.status);

    let secret = bed.secrets().get("orders-db").await?;
    let value = secret.data.context("no data")?["password"].0.clone();
    ensure!(Password::from_bytes(&value).is_ok());
    let value = String::from_utf8(value)?;
    ensure!(value.len() == 32 && !printed.contains(&value), "{printed}");
    Ok(value)
}

fn pod_template() -> Result<Value> {
    Ok(document("CronJob", NAME)?["spec"]["jobTemplate"]["spec"]["template"].clone())
}

/// Whether the `CronJob`'s ServiceAccount may do this with a Secret of this name, or with any.
async fn allowed(bed: &Testbed, verb: &str, secret: &str) -> Result<bool> {
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{NAMESPACE}:{NAME}")),
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(NAMESPACE.to_owned()),
                verb: Some(verb.to_owned()),
                version: Some("v1".to_owned()),
                resource: Some("secrets".to_owned()),
                name: Some(secret.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews = Api::<SubjectAccessReview>::all(bed.client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.context("a review without an answer")?.allowed)
}

async fn wait_until_allowed(bed: &Testbed, verb: &str, secret: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !allowed(bed, verb, secret).await? {
        ensure!(Instant::now() < deadline, "{verb} {secret} is not allowed");
        sleep(POLL).await;
    }
    Ok(())
}

/// A cluster that lets in nothing but restricted pods lets this one in.
#[tokio::test(flavor = "multi_thread")]
async fn its_pod_is_restricted() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let restricted = json!({
        "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "restricted" } }
    });
    Api::<Namespace>::all(bed.client.clone())
        .patch(
            NAMESPACE,
            &PatchParams::default(),
            &Patch::Merge(restricted),
        )
        .await?;
    apply(&bed.client, &document("ServiceAccount", NAME)?, false).await?;
    let mut pod = pod_template()?;
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"] = json!({ "name": NAME, "namespace": NAMESPACE });
    apply(&bed.client, &pod, true).await?;

    pod["spec"]["containers"][0]["securityContext"] = Value::Null;
    let refusal = apply(&bed.client, &pod, true).await;
    let refusal = refusal.err().context("any pod is let in")?;
    ensure!(
        format!("{refusal:#}").contains("violates PodSecurity"),
        "{refusal:#}"
    );
    Ok(())
}
