//! A new value of the annotation `requested-at` resets the password once, even though it is in sync and ahead of any back-off.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use anyhow::{Context as _, Result, ensure};
use rds_password_operator::api::{DatabaseAccountPassword, REQUESTED_AT_ANNOTATION, Trigger};
use rds_simulator::{Action, Fault, Target};
use serde_json::{Value, json};
use testbed::bed::{ACCOUNT, INITIAL_PASSWORD, INSTANCE};
use testbed::{Operator, Testbed, reason};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

const PASSWORD: &str = "First#Password1";

/// Passes that found nothing to do.
const IN_SYNC: &str = r#"rds_password_operator_passes_total{outcome="InSync"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn each_new_value_resets_once() -> Result<()> {
    let (bed, operator) = Testbed::start_with_operator(OPERATOR).await?;
    in_sync(&bed).await?;

    // What it is for: somebody changed the password in the console.
    bed.rds.set_password(INSTANCE, ACCOUNT, INITIAL_PASSWORD)?;
    let resource = request(&bed, "2026-11-24T08:00:00Z").await?;
    assert_eq!(last_trigger(&resource), Some(Trigger::Requested));
    assert!(bed.rds.login(INSTANCE, ACCOUNT, PASSWORD));
    assert_eq!(resets(&bed), 2);

    // Anything can be a value, and each differs from the one before it.
    request(&bed, "again, please").await?;
    request(&bed, "2026-11-24T08:00:00Z").await?;
    assert_eq!(resets(&bed), 4);

    // The same one is none, be it written again, taken away, or put back.
    let version = bed.resources().get("orders-app").await?.metadata;
    bed.request_reset("orders-app", "2026-11-24T08:00:00Z")
        .await?;
    bed.settle().await?;
    let after = bed.resources().get("orders-app").await?.metadata;
    assert_eq!(after.resource_version, version.resource_version);
    for value in [Value::Null, json!("2026-11-24T08:00:00Z"), json!("")] {
        annotate(&bed, &operator, &value).await?;
    }
    let resource = bed.wait_until_ready("orders-app").await?;
    assert_eq!(handled(&resource), Some("2026-11-24T08:00:00Z"));
    bed.settle().await?;
    assert_eq!(resets(&bed), 4);

    // Nor does it become one by a restart.
    annotate(&bed, &operator, &json!("2026-11-24T08:00:00Z")).await?;
    operator.terminate().await?;
    let operator = bed.operator().await?.start().await?;
    operator.wait_for_metric(IN_SYNC, 1.0).await?;
    bed.settle().await?;
    assert_eq!(resets(&bed), 4);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_served_by_the_reset_that_is_due_anyway() -> Result<()> {
    let (bed, operator) = Testbed::start_with_operator(OPERATOR).await?;
    bed.create_secret("orders-db", PASSWORD).await?;
    let mut resource = bed.resource("orders-app", "orders-db");
    let annotation = (REQUESTED_AT_ANNOTATION.to_owned(), "1".to_owned());
    resource.metadata.annotations = Some([annotation].into());
    bed.create(&resource).await?;
    let resource = bed.wait_until_ready("orders-app").await?;
    assert_eq!(last_trigger(&resource), Some(Trigger::Created));
    assert_eq!(handled(&resource), Some("1"));

    // Both come while the operator is away.
    operator.terminate().await?;
    bed.rotate("orders-db", "Second#Password2").await?;
    bed.request_reset("orders-app", "2").await?;
    let operator = bed.operator().await?.start().await?;
    operator.wait_until_leading().await?;
    let resource = handled_by_then(&bed, "2").await?;
    assert_eq!(last_trigger(&resource), Some(Trigger::SecretChanged));
    bed.settle().await?;
    assert_eq!(resets(&bed), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_goes_ahead_of_a_back_off() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    in_sync(&bed).await?;
    let denial = bed.rds.add_fault(denial());
    bed.rotate("orders-db", "Second#Password2").await?;
    bed.wait_for_reason("orders-app", "AccessDenied").await?;

    // A request that fails is not handled, and waits like any other try.
    bed.request_reset("orders-app", "1").await?;
    let resource = bed
        .wait_for("orders-app", "tried", |resource| {
            tried(resource) == Some("1")
        })
        .await?;
    assert_eq!(handled(&resource), None);
    assert_eq!(reason(&resource, "Ready"), Some("AccessDenied"));
    let not_before = next_time(&resource).context("no next time")?;

    bed.rds.clear_fault(denial);
    let resource = request(&bed, "2").await?;
    assert!(bed.rds.login(INSTANCE, ACCOUNT, "Second#Password2"));
    assert_eq!(resets(&bed), 4);
    let reset = resource.status.and_then(|status| status.last_reset);
    let reset = reset.context("no lastReset")?.time.0.to_string();
    ensure!(
        reset < not_before,
        "{reset} is not ahead of {not_before}, so this shows nothing"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_withdrawn_is_not_tried_again() -> Result<()> {
    let (bed, operator) = Testbed::start_with_operator(OPERATOR).await?;
    in_sync(&bed).await?;
    bed.rds.add_fault(denial().times(1));
    bed.request_reset("orders-app", "1").await?;
    bed.wait_for_reason("orders-app", "AccessDenied").await?;

    annotate(&bed, &operator, &Value::Null).await?;
    let resource = bed.wait_until_ready("orders-app").await?;
    assert_eq!(next_time(&resource), None);
    assert_eq!(handled(&resource), None);
    assert_eq!(resets(&bed), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_the_secret() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    in_sync(&bed).await?;
    bed.delete_secret("orders-db").await?;
    bed.wait_for_reason("orders-app", "SecretNotFound").await?;
    bed.request_reset("orders-app", "1").await?;
    bed.settle().await?;
    let resource = bed.wait_for_reason("orders-app", "SecretNotFound").await?;
    assert_eq!(handled(&resource), None);
    assert_eq!(resets(&bed), 1);

    bed.create_secret("orders-db", PASSWORD).await?;
    let resource = handled_by_then(&bed, "1").await?;
    assert_eq!(last_trigger(&resource), Some(Trigger::Requested));
    bed.settle().await?;
    assert_eq!(resets(&bed), 2);
    Ok(())
}

/// Of the account that the tests are about. A person is needed then, so the next try would be in half a minute.
fn denial() -> Fault {
    let reset = Target::from(Action::ResetAccountPassword).instance(INSTANCE);
    Fault::error(403, "Forbidden.RAM", "No.").on(reset)
}

async fn in_sync(bed: &Testbed) -> Result<()> {
    bed.create_secret("orders-db", PASSWORD).await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    Ok(())
}

/// Asks for a reset, and returns the resource once that was made.
async fn request(bed: &Testbed, value: &str) -> Result<DatabaseAccountPassword> {
    bed.request_reset("orders-app", value).await?;
    handled_by_then(bed, value).await
}

async fn handled_by_then(bed: &Testbed, value: &str) -> Result<DatabaseAccountPassword> {
    bed.wait_for("orders-app", value, |resource| {
        handled(resource) == Some(value) && reason(resource, "Ready") == Some("InSync")
    })
    .await
}

/// Changes the annotation where that asks for nothing, and waits until the operator has found that out.
async fn annotate(bed: &Testbed, operator: &Operator, value: &Value) -> Result<()> {
    let passes = operator.metric(IN_SYNC).await?;
    let annotations = json!({ REQUESTED_AT_ANNOTATION: value });
    let patch = json!({ "metadata": { "annotations": annotations } });
    bed.patch("orders-app", patch).await?;
    operator.wait_for_metric(IN_SYNC, passes + 1.0).await
}

fn handled(resource: &DatabaseAccountPassword) -> Option<&str> {
    resource.status.as_ref()?.last_handled_request.as_deref()
}

fn tried(resource: &DatabaseAccountPassword) -> Option<&str> {
    let attempt = resource.status.as_ref()?.last_attempt.as_ref()?;
    attempt.request.as_deref()
}

fn next_time(resource: &DatabaseAccountPassword) -> Option<String> {
    let attempt = resource.status.as_ref()?.last_attempt.as_ref()?;
    Some(attempt.next_time.0.to_string())
}

fn last_trigger(resource: &DatabaseAccountPassword) -> Option<Trigger> {
    let reset = resource.status.as_ref()?.last_reset.as_ref()?;
    Some(reset.trigger)
}

/// How often the cloud was asked for a reset of the account, whether or not it did.
fn resets(bed: &Testbed) -> usize {
    let resets = bed.resets();
    let ours = resets
        .iter()
        .filter(|call| call.instance.as_deref() == Some(INSTANCE));
    ours.count()
}
