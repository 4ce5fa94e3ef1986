//! A reset that had no answer may be carried out after a later one was accepted. Until that is over, nothing is said to be in sync.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rds_password_operator::api::DatabaseAccountPassword;
use rds_simulator::{Action, Fault, Outcome};
use serde_json::json;
use testbed::bed::{ACCOUNT, INSTANCE, condition};
use testbed::operator::OperatorBuilder;
use testbed::{Operator, Testbed, reason};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the operator waits for the first answer.
const TIMEOUT: &str = "1s";

/// How long it counts on late resets after that.
const SETTLING: &str = "8s";

/// When a late reset is carried out: well after the operator stopped waiting, and well before the settling time is over.
const LATE: Duration = Duration::from_secs(5);

const FIRST: &str = "First#Password1";
const SECOND: &str = "Second#Password2";
const THIRD: &str = "Third#Password3";

async fn impatient(bed: &Testbed) -> Result<OperatorBuilder> {
    Ok(bed
        .operator()
        .await?
        .short_lease()
        .flag("reset-timeout", TIMEOUT)
        .flag("reset-settling-time", SETTLING))
}

/// A resource in sync with the first value, and its operator.
async fn in_sync() -> Result<(Testbed, Operator)> {
    let bed = Testbed::start(OPERATOR).await?;
    let operator = impatient(&bed).await?.start().await?;
    bed.create_secret("orders-db", FIRST).await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    Ok((bed, operator))
}

/// The same, after the reset with the second value was given up; it comes late.
async fn second_value_given_up() -> Result<(Testbed, Operator)> {
    let (bed, operator) = in_sync().await?;
    let fault = Fault::delay(LATE).on(Action::ResetAccountPassword).times(1);
    bed.rds.add_fault(fault);
    bed.rotate("orders-db", SECOND).await?;
    wait_until_given_up(&bed).await?;
    Ok((bed, operator))
}

/// Puts the first value back, and waits until RDS has accepted it.
async fn put_back(bed: &Testbed) -> Result<DatabaseAccountPassword> {
    bed.rotate("orders-db", FIRST).await?;
    bed.wait_for_reason("orders-app", "Unsettled").await
}

fn unanswered(resource: &DatabaseAccountPassword) -> usize {
    let status = resource.status.as_ref();
    status.map_or(0, |status| status.unanswered_sends.len())
}

/// Waits until the operator has given a reset up.
async fn wait_until_given_up(bed: &Testbed) -> Result<DatabaseAccountPassword> {
    let given_up = bed
        .wait_for("orders-app", "a reset without an answer", |resource| {
            reason(resource, "PasswordSynced") == Some("RdsUnavailable")
        })
        .await?;
    let message = &condition(&given_up, "Ready").context("no Ready")?.message;
    ensure!(
        message.contains("the new password may be in force already"),
        "{message}"
    );
    ensure!(unanswered(&given_up) == 1, "{given_up:#?}");
    Ok(given_up)
}

/// Waits until the resource is Ready, and the database has this value for good: no reset is under way any more.
async fn assert_settled_with(bed: &Testbed, value: &str) -> Result<DatabaseAccountPassword> {
    let settled = bed.wait_until_ready("orders-app").await?;
    let resets = bed.resets();
    ensure!(
        resets.iter().all(|call| call.outcome != Outcome::UnderWay),
        "in sync is said while a reset may still take effect: {resets:#?}"
    );
    ensure!(
        bed.rds.login(INSTANCE, ACCOUNT, value),
        "in sync is said, and the database has another value"
    );
    Ok(settled)
}

/// The values that were sent, in order.
fn sent(bed: &Testbed) -> Vec<String> {
    let resets = bed.resets();
    let passwords = resets.iter().filter_map(|call| call.password.as_ref());
    passwords
        .map(|password| password.expose().to_owned())
        .collect()
}

/// A value had no answer, and a person puts the former one back, as a runbook advises. The reset with the first value arrives
/// after that one was accepted.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_put_back_is_not_overtaken() -> Result<()> {
    let (bed, _operator) = second_value_given_up().await?;
    let unsettled = put_back(&bed).await?;
    ensure!(reason(&unsettled, "Reconciling") == Some("Unsettled"));
    bed.wait_for_password(SECOND).await?;
    let settled = assert_settled_with(&bed, FIRST).await?;
    ensure!(unanswered(&settled) == 0, "{settled:#?}");
    assert_eq!(sent(&bed), [FIRST, SECOND, FIRST, FIRST]);
    Ok(())
}

/// The first send had no answer, the second one of the same value was accepted, and so was a third value, before the first send arrives.
#[tokio::test(flavor = "multi_thread")]
async fn a_success_does_not_make_an_earlier_send_forgotten() -> Result<()> {
    let (bed, _operator) = second_value_given_up().await?;
    let again = bed.wait_until_ready("orders-app").await?;
    ensure!(unanswered(&again) == 1, "{again:#?}");
    bed.rotate("orders-db", THIRD).await?;
    bed.wait_for_reason("orders-app", "Unsettled").await?;
    assert_settled_with(&bed, THIRD).await?;
    assert_eq!(sent(&bed), [FIRST, SECOND, SECOND, THIRD, THIRD]);
    Ok(())
}

/// What was sent is known to the process that comes after a kill, and to a replica that takes over.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_and_a_hand_over_do_not_forget_it() -> Result<()> {
    for hands_over in [false, true] {
        let (bed, operator) = second_value_given_up().await?;
        put_back(&bed).await?;
        let _standby;
        if hands_over {
            _standby = impatient(&bed).await?.start().await?;
            operator.terminate().await?;
        } else {
            let _log = operator.kill();
            _standby = impatient(&bed).await?.start().await?;
        }
        assert_settled_with(&bed, FIRST).await?;
        assert_eq!(sent(&bed), [FIRST, SECOND, FIRST, FIRST]);
    }
    Ok(())
}

/// The resource is deleted while a reset has no answer, and another one of the same account is created.
#[tokio::test(flavor = "multi_thread")]
async fn a_resource_that_is_created_again_does_not_forget_it() -> Result<()> {
    let (bed, _operator) = second_value_given_up().await?;
    bed.delete("orders-app").await?;
    bed.rotate("orders-db", THIRD).await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_for_reason("orders-app", "Unsettled").await?;
    assert_settled_with(&bed, THIRD).await?;
    Ok(())
}

/// An instance that needs longer than the first time-out for each reset.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_out_grows_until_an_answer_comes() -> Result<()> {
    let (bed, _operator) = in_sync().await?;
    let slow = Fault::delay(Duration::from_millis(2500)).on(Action::ResetAccountPassword);
    bed.rds.add_fault(slow);
    bed.rotate("orders-db", SECOND).await?;
    let in_sync = bed
        .wait_for("orders-app", "in sync with the second value", |resource| {
            reason(resource, "Ready") == Some("InSync")
                && bed
                    .resets()
                    .last()
                    .is_some_and(rds_simulator::Call::succeeded)
                && bed.resets().len() > 1
        })
        .await?;
    ensure!(
        in_sync
            .status
            .is_some_and(|status| status.last_attempt.is_none())
    );
    // 1 s and 2 s are too short, 4 s are not.
    assert_eq!(sent(&bed), [FIRST, SECOND, SECOND, SECOND]);
    Ok(())
}

/// RDS refuses to take a value again that it has accepted, as a password history does: only a person can say what the account has.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_repetition_says_what_is_not_known() -> Result<()> {
    let (bed, _operator) = second_value_given_up().await?;
    put_back(&bed).await?;
    let history = Fault::error(400, "InvalidAccountPassword.Reused", "scripted");
    bed.rds.add_fault(history.on(Action::ResetAccountPassword));
    let stalled = bed.wait_for_reason("orders-app", "Rejected").await?;
    ensure!(reason(&stalled, "Stalled") == Some("Rejected"));
    let message = &condition(&stalled, "Ready").context("no Ready")?.message;
    ensure!(
        message.contains("RDS refuses to take it again"),
        "{message}"
    );
    // Another value is a way out.
    bed.rds.clear_faults();
    bed.rotate("orders-db", THIRD).await?;
    assert_settled_with(&bed, THIRD).await?;
    Ok(())
}

/// A suspended resource says so, and sends nothing when the time is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_resource_is_not_settled_by_a_reset() -> Result<()> {
    let (bed, _operator) = second_value_given_up().await?;
    put_back(&bed).await?;
    bed.patch("orders-app", json!({ "spec": { "suspend": true } }))
        .await?;
    tokio::time::timeout(PATIENCE, bed.wait_for_reason("orders-app", "Suspended")).await??;
    assert_eq!(sent(&bed), [FIRST, SECOND, FIRST]);
    bed.patch("orders-app", json!({ "spec": { "suspend": false } }))
        .await?;
    assert_settled_with(&bed, FIRST).await?;
    Ok(())
}
