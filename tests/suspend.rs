//! A suspended resource makes no cloud call, and its status goes on telling the truth; what changed meanwhile is applied once,
//! when it is resumed.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use anyhow::{Context as _, Result, ensure};
use rds_password_operator::api::{DatabaseAccountPassword, Trigger};
use rds_simulator::Action;
use serde_json::json;
use testbed::bed::{ACCOUNT, INITIAL_PASSWORD, INSTANCE};
use testbed::operator::PATIENCE;
use testbed::{Testbed, condition, reason};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_it_is_suspended_is_applied_once_when_it_is_resumed() -> Result<()> {
    let (bed, operator) = Testbed::start_with_operator(OPERATOR).await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    let calls = calls(&bed);

    // As long as nothing is due, Ready stays true: the database has the value.
    suspend(&bed, true).await?;
    let resource = bed.wait_until_ready("orders-app").await?;
    is_suspended(&resource)?;
    assert_eq!(pending_since(&resource), None);

    bed.rotate("orders-db", "Second#Password2").await?;
    let resource = bed.wait_for_reason("orders-app", "Suspended").await?;
    is_suspended(&resource)?;
    assert_eq!(reason(&resource, "SecretReady"), Some("Valid"));
    let pending = pending_since(&resource).context("something is pending")?;

    // Neither a third value, nor a request, nor another process changes that.
    bed.rotate("orders-db", "Third#Password3").await?;
    bed.request_reset("orders-app", "now").await?;
    bed.settle().await?;
    operator.terminate().await?;
    let operator = bed.operator().await?.start().await?;
    operator.wait_until_leading().await?;
    bed.settle().await?;
    let resource = bed.wait_for_reason("orders-app", "Suspended").await?;
    is_suspended(&resource)?;
    assert_eq!(pending_since(&resource), Some(pending));
    assert_eq!(self::calls(&bed), calls);
    assert!(bed.rds.login(INSTANCE, ACCOUNT, "First#Password1"));

    suspend(&bed, false).await?;
    let resource = bed.wait_until_ready("orders-app").await?;
    assert_eq!(condition(&resource, "Suspended"), None);
    assert_eq!(pending_since(&resource), None);
    assert_eq!(last_trigger(&resource), Some(Trigger::SecretChanged));
    bed.settle().await?;
    let history = bed.rds.password_history(INSTANCE, ACCOUNT);
    assert_eq!(history.len(), 2, "the second value was never the password");
    assert!(bed.rds.login(INSTANCE, ACCOUNT, "Third#Password3"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_secret_lacks_is_told_of_while_it_is_suspended() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    suspend(&bed, true).await?;
    let calls = calls(&bed);

    bed.delete_secret("orders-db").await?;
    let resource = bed.wait_for_reason("orders-app", "SecretNotFound").await?;
    is_suspended_in_the_way_of_nothing(&resource)?;
    let other_key = json!({ "spec": { "passwordSecretRef": { "key": "other" } } });
    bed.patch("orders-app", other_key).await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    let resource = bed.wait_for_reason("orders-app", "KeyNotFound").await?;
    is_suspended_in_the_way_of_nothing(&resource)?;
    bed.patch_secret("orders-db", json!({ "stringData": { "other": "short" } }))
        .await?;
    let resource = bed.wait_for_reason("orders-app", "PasswordInvalid").await?;
    assert_eq!(reason(&resource, "Suspended"), Some("Suspended"));

    // The value that was applied, under another key: nothing is due any more.
    let applied = json!({ "stringData": { "other": "First#Password1" } });
    bed.patch_secret("orders-db", applied).await?;
    let resource = bed.wait_until_ready("orders-app").await?;
    is_suspended(&resource)?;
    bed.settle().await?;
    assert_eq!(self::calls(&bed), calls);

    suspend(&bed, false).await?;
    let resource = bed.wait_until_ready("orders-app").await?;
    assert_eq!(condition(&resource, "Suspended"), None);
    bed.settle().await?;
    assert_eq!(self::calls(&bed), calls);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_created_suspended_waits_for_its_first_reset() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    let mut resource = bed.resource("orders-app", "orders-db");
    resource.spec.suspend = true;
    bed.create(&resource).await?;
    let resource = bed.wait_for_reason("orders-app", "Suspended").await?;
    is_suspended(&resource)?;
    bed.settle().await?;
    assert_eq!(calls(&bed), 0);
    assert!(bed.rds.login(INSTANCE, ACCOUNT, INITIAL_PASSWORD));

    suspend(&bed, false).await?;
    let resource = bed.wait_until_ready("orders-app").await?;
    assert_eq!(last_trigger(&resource), Some(Trigger::Created));
    bed.settle().await?;
    assert_eq!(bed.rds.password_history(INSTANCE, ACCOUNT).len(), 1);
    Ok(())
}

/// Whoever suspends in a hurry means the reset that waits for its turn as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_waits_for_its_turn_is_not_sent_after_the_suspension() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    let look = bed.rds.pause(Action::DescribeDBInstanceAttribute);
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    look.wait_for_held(1, PATIENCE).await?;
    suspend(&bed, true).await?;
    look.release();
    let resource = bed.wait_for_reason("orders-app", "Suspended").await?;
    is_suspended(&resource)?;
    bed.settle().await?;
    assert!(bed.rds.password_history(INSTANCE, ACCOUNT).is_empty());
    Ok(())
}

async fn suspend(bed: &Testbed, suspend: bool) -> Result<()> {
    bed.patch("orders-app", json!({ "spec": { "suspend": suspend } }))
        .await?;
    Ok(())
}

/// Neither at work nor stuck, and up to date with the spec.
fn is_suspended(resource: &DatabaseAccountPassword) -> Result<()> {
    ensure!(reason(resource, "Stalled").is_none(), "{resource:#?}");
    ensure!(reason(resource, "Reconciling").is_none(), "{resource:#?}");
    is_suspended_in_the_way_of_nothing(resource)
}

/// Suspended beside something else that is told of first.
fn is_suspended_in_the_way_of_nothing(resource: &DatabaseAccountPassword) -> Result<()> {
    let suspended = condition(resource, "Suspended").context("it is not said to be suspended")?;
    ensure!(suspended.status == "True" && suspended.reason == "Suspended");
    let status = resource.status.as_ref().context("no status")?;
    let generation = resource.metadata.generation;
    ensure!(status.observed_generation == generation, "{resource:#?}");
    ensure!(suspended.observed_generation == generation, "{resource:#?}");
    Ok(())
}

/// How many calls were made, but for those of the settling.
fn calls(bed: &Testbed) -> usize {
    let calls = bed.calls();
    let ours = calls
        .iter()
        .filter(|call| call.instance.as_deref() == Some(INSTANCE));
    ours.count()
}

fn pending_since(resource: &DatabaseAccountPassword) -> Option<String> {
    let since = resource.status.as_ref()?.pending_since.as_ref()?;
    Some(since.0.to_string())
}

fn last_trigger(resource: &DatabaseAccountPassword) -> Option<Trigger> {
    let reset = resource.status.as_ref()?.last_reset.as_ref()?;
    Some(reset.trigger)
}
