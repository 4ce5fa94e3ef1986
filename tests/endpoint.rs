//! A region that does not exist gives a host that does not exist: that is told in its own words, and a person is told in the end.
//!
//! The names here have a part of 64 letters. No DNS can have them, so that they are answered without asking a name server.
#![expect(clippy::tests_outside_test_module, reason = "tests")]

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;
use testbed::bed::{ACCOUNT, INSTANCE};
use testbed::{Testbed, condition, reason};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

fn absent(name: &str) -> String {
    format!("{name}.{}.example", "a".repeat(64))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_exist_is_told_and_stalls_after_ten_minutes() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let host = absent("rds");
    let operator = bed.operator().await?;
    let operator = operator.flag("rds-endpoint", format!("https://{host}"));
    let first = operator.start().await?;
    first.wait_until_leading().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;

    let waiting = bed
        .wait_for_reason("orders-app", "EndpointNotFound")
        .await?;
    let ready = condition(&waiting, "Ready").context("no Ready")?;
    for part in [
        &format!("there is no host {host}"),
        "check spec.regionId, and the operator's --region",
    ] {
        assert!(ready.message.contains(part), "{ready:?}");
    }
    assert_eq!(reason(&waiting, "Reconciling"), Some("EndpointNotFound"));
    assert_eq!(reason(&waiting, "Stalled"), None, "DNS may be wrong");
    let status = waiting.status.as_ref().context("no status")?;
    let attempt = status.last_attempt.as_ref().context("no lastAttempt")?;
    ensure!(!attempt.outcome_unknown, "nothing was sent");
    ensure!(status.pending_since.is_some());
    // In the line of the try.
    let line = format!("\"request_id\":\"\",\"host\":\"{host}\"");
    first.wait_for_log(&line).await?;

    // Ten minutes later.
    let since = Timestamp::now() - SignedDuration::from_mins(11);
    let since = Timestamp::from_second(since.as_second())?;
    bed.patch_status("orders-app", json!({ "pendingSince": since }))
        .await?;
    let stalled = bed
        .wait_for("orders-app", "stalled", |resource| {
            reason(resource, "Stalled") == Some("EndpointNotFound")
        })
        .await?;
    assert_eq!(reason(&stalled, "Reconciling"), None);

    // It is corrected.
    first.terminate().await?;
    let second = bed.operator().await?.start().await?;
    second.wait_until_leading().await?;
    bed.wait_until_ready("orders-app").await?;
    ensure!(bed.rds.login(INSTANCE, ACCOUNT, "First#Password1"));
    Ok(())
}

/// STS has a host of its own, by which a role that cannot be assumed is found.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_sts_that_does_not_exist_is_told() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let host = absent("sts");
    let token = bed.directory().join("token");
    std::fs::write(&token, "a.b.c")?;
    let operator = bed.operator().await?.without_access_key();
    let operator = operator
        .env("ALIBABA_CLOUD_ROLE_ARN", "acs:ram::1:role/resets")
        .env(
            "ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
            "acs:ram::1:oidc-provider/p",
        )
        .env("ALIBABA_CLOUD_OIDC_TOKEN_FILE", &token)
        .flag("sts-endpoint", format!("https://{host}"))
        .start()
        .await?;
    operator.wait_until_leading().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    let waiting = bed
        .wait_for_reason("orders-app", "CredentialsUnavailable")
        .await?;
    let ready = condition(&waiting, "Ready").context("no Ready")?;
    let message = format!("STS could not be reached, since there is no host {host}");
    assert!(ready.message.contains(&message), "{ready:?}");
    let line = format!("\"host\":\"{host}\"");
    operator.wait_for_log(&line).await
}
