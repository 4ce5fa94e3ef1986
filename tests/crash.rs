//! Nothing is lost, doubled or written to the wrong object when things end in the middle of a reset.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rds_password_operator::api::DatabaseAccountPassword;
use rds_password_operator::leader::FRESH_FOR;
use rds_simulator::{Account, Action, Instance};
use serde_json::json;
use testbed::bed::{ACCOUNT, INITIAL_PASSWORD, INSTANCE, until_the_lease_is_looked_at_anew};
use testbed::operator::OperatorBuilder;
use testbed::proxy::{ApiProxy, Exchange, Matcher, Verb};
use testbed::{Operator, Testbed, reason};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");
const PATIENCE: Duration = Duration::from_secs(60);

/// Killed while the reset is on its way to the database, and has not got there.
#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_reset_took_effect() -> Result<()> {
    killed_in_the_middle(false).await
}

/// Killed after the database has the value, and before anybody has written that down.
#[tokio::test(flavor = "multi_thread")]
async fn killed_after_the_reset_took_effect() -> Result<()> {
    killed_in_the_middle(true).await
}

async fn killed_in_the_middle(after_effect: bool) -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let operator = bed.operator().await?.start().await?;
    create_in_sync(&bed).await?;
    kill_within_a_reset(&bed, operator, after_effect).await?;

    let _operator = successor(&bed).await?;
    let resource = bed
        .wait_for("orders-app", "reset again", |resource| {
            resource
                .status
                .as_ref()
                .is_some_and(|status| status.history.len() == 2)
        })
        .await?;
    assert!(bed.rds.login(INSTANCE, ACCOUNT, "Second#Password2"));
    let reset = resource
        .status
        .and_then(|status| status.last_reset)
        .context("no lastReset")?;
    let resets = bed.resets();
    let told = resets
        .iter()
        .find(|call| call.request_id == reset.request_id)
        .context("a RequestId that RDS never gave")?;
    assert!(
        told.succeeded(),
        "the status rests on a call that succeeded"
    );
    assert_eq!(
        resets.len(),
        3,
        "the first, the one that was cut off, and the same value again: {resets:#?}"
    );
    assert!(
        resets
            .iter()
            .skip(1)
            .all(|call| call.password == resets[2].password)
    );
    Ok(())
}

/// Rotates, and kills the operator while the reset is at RDS, which has carried it out already or does so afterwards.
async fn kill_within_a_reset(bed: &Testbed, operator: Operator, after_effect: bool) -> Result<()> {
    let pause = if after_effect {
        bed.rds.pause_after_effect(Action::ResetAccountPassword)
    } else {
        bed.rds.pause(Action::ResetAccountPassword)
    };
    bed.rotate("orders-db", "Second#Password2").await?;
    pause.wait_for_held(1, PATIENCE).await?;
    let _log = operator.kill();
    pause.release();
    Ok(())
}

/// The one that comes after an operator that was killed, whose lease has to run out first.
async fn successor(bed: &Testbed) -> Result<Operator> {
    briefly_unsettled(bed.operator().await?)
        .short_lease()
        .start()
        .await
}

/// For values that are turned back: after that the former one is unsettled, for seconds here instead of minutes.
fn briefly_unsettled(operator: OperatorBuilder) -> OperatorBuilder {
    operator
        .flag("reset-timeout", "3s")
        .flag("reset-settling-time", "1s")
}

/// An operator that reaches the API server through a proxy.
async fn behind_proxy(bed: &Testbed) -> Result<(ApiProxy, Operator)> {
    let proxy = bed.proxy().await?;
    let operator = bed.operator_at(&proxy.url(), None).await?;
    let operator = briefly_unsettled(operator).start().await?;
    operator.wait_until_leading().await?;
    Ok((proxy, operator))
}

/// A resource to which the first value was applied.
async fn create_in_sync(bed: &Testbed) -> Result<DatabaseAccountPassword> {
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await
}

fn status_writes() -> Matcher {
    Matcher::resource("databaseaccountpasswords/status").verb(Verb::Update)
}

fn looks_at_the_lease() -> Matcher {
    Matcher::resource("leases").verb(Verb::Get)
}

/// What was sent to the account, accepted or not, in order.
fn sent(bed: &Testbed) -> Vec<String> {
    let resets = bed.resets();
    let resets = resets
        .iter()
        .filter(|call| call.account.as_deref() == Some(ACCOUNT));
    resets
        .filter_map(|call| call.password.as_ref())
        .map(|password| password.expose().to_owned())
        .collect()
}

/// These values were sent, and the last one once more at most: when the value before it could no longer come late.
fn assert_sent_and_settled(bed: &Testbed, expected: &[&str]) {
    let sent = sent(bed);
    let (first, more) = sent.split_at(expected.len().min(sent.len()));
    assert_eq!(first, expected);
    let is_settled = more.len() <= 1 && more.iter().all(|value| Some(value) == first.last());
    assert!(is_settled, "{sent:?}");
}

/// Waits until the status says that a value is about to be sent.
async fn wait_for_intent(bed: &Testbed) -> Result<DatabaseAccountPassword> {
    bed.wait_for("orders-app", "about to be reset", |resource| {
        let attempt = resource
            .status
            .as_ref()
            .and_then(|status| status.last_attempt.as_ref());
        attempt.is_some_and(|attempt| attempt.outcome_unknown)
    })
    .await
}

/// Waits until the resource is in sync, with the value that the database has, and the reset of it is the last one.
async fn assert_in_sync_with(bed: &Testbed, password: &str) -> Result<()> {
    let resource = bed.wait_until_ready("orders-app").await?;
    ensure!(
        bed.rds.login(INSTANCE, ACCOUNT, password),
        "in sync is said, and the database has another value: {resource:#?}"
    );
    let status = resource.status.context("no status")?;
    let reset = status.last_reset.context("no lastReset")?;
    let resets = bed.resets();
    let told = resets
        .iter()
        .rfind(|call| call.account.as_deref() == Some(ACCOUNT));
    assert_eq!(told.map(|call| &call.request_id), Some(&reset.request_id));
    assert_eq!(status.pending_since, None);
    Ok(())
}

/// Killed while a value is on its way, which the Secret no longer has when the next operator looks. The value of the last reset
/// equals that of the Secret then, and still the database may have the other one.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_does_not_take_what_it_had_sent_with_it() -> Result<()> {
    for (after_effect, by_way_of_none) in [(true, false), (true, true), (false, false)] {
        let bed = Testbed::start(OPERATOR).await?;
        let operator = briefly_unsettled(bed.operator().await?).start().await?;
        create_in_sync(&bed).await?;
        kill_within_a_reset(&bed, operator, after_effect).await?;
        bed.delete_secret("orders-db").await?;
        if !by_way_of_none {
            bed.create_secret("orders-db", "First#Password1").await?;
        }
        let _operator = successor(&bed).await?;
        if by_way_of_none {
            bed.wait_for_reason("orders-app", "SecretNotFound").await?;
            bed.create_secret("orders-db", "First#Password1").await?;
        }
        assert_in_sync_with(&bed, "First#Password1").await?;
        let expected = ["First#Password1", "Second#Password2", "First#Password1"];
        assert_sent_and_settled(&bed, &expected);
    }
    Ok(())
}

/// Killed after it has written down what it is about to send, and before it sent that. Nobody can know, so the value that the
/// Secret has then is sent, once.
#[tokio::test(flavor = "multi_thread")]
async fn killed_between_the_intent_and_the_reset() -> Result<()> {
    for value in ["Second#Password2", "First#Password1"] {
        let bed = Testbed::start(OPERATOR).await?;
        let (proxy, operator) = behind_proxy(&bed).await?;
        let before = create_in_sync(&bed).await?;
        until_the_lease_is_looked_at_anew().await;
        // The reset waits for the look at the Lease, and the intent does not.
        let looks = proxy.hold(looks_at_the_lease());
        bed.rotate("orders-db", "Second#Password2").await?;
        let intended = wait_for_intent(&bed).await?;
        let _log = operator.kill();
        drop(looks);
        let intended = intended.status.context("no status")?;
        let before = before.status.context("no status")?;
        assert_eq!(intended.last_reset, before.last_reset);
        assert_eq!(intended.history, before.history);
        assert!(intended.pending_since.is_some());
        assert_eq!(sent(&bed), ["First#Password1"]);

        bed.rotate("orders-db", value).await?;
        let _operator = successor(&bed).await?;
        assert_in_sync_with(&bed, value).await?;
        bed.settle().await?;
        assert_sent_and_settled(&bed, &["First#Password1", value]);
    }
    Ok(())
}

/// The resource changes right before a value would be sent for it: another Secret is named, so the value is not sent; or nothing
/// that matters changes, so it is, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_resource_that_changes_before_the_intent_is_looked_at_again() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let (proxy, _operator) = behind_proxy(&bed).await?;
    create_in_sync(&bed).await?;
    bed.create_secret("orders-db-v2", "Third#Password3").await?;
    for (value, patch, expected) in [
        (
            "Second#Password2",
            json!({ "metadata": { "labels": { "team": "orders" } } }),
            "Second#Password2",
        ),
        (
            "Never#Password",
            json!({ "spec": { "passwordSecretRef": { "name": "orders-db-v2" } } }),
            "Third#Password3",
        ),
    ] {
        let before = sent(&bed).len();
        let writes = proxy.hold(status_writes());
        bed.rotate("orders-db", value).await?;
        writes.wait_for_held(1, PATIENCE).await?;
        bed.patch("orders-app", patch).await?;
        writes.release();
        bed.wait_for_password(expected).await?;
        assert_in_sync_with(&bed, expected).await?;
        bed.settle().await?;
        assert_eq!(sent(&bed)[before..], [expected]);
    }
    Ok(())
}

/// What was written down as about to be sent, and is known not to have been, is taken back: should the Secret have its former
/// value by then, that need not be sent.
#[tokio::test(flavor = "multi_thread")]
async fn an_intent_that_was_not_carried_out_is_taken_back() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let (proxy, operator) = behind_proxy(&bed).await?;
    let before = create_in_sync(&bed).await?;
    until_the_lease_is_looked_at_anew().await;
    proxy.refuse(looks_at_the_lease(), usize::MAX, 500);
    bed.rotate("orders-db", "Second#Password2").await?;
    operator.wait_for_log("no reset is sent: the lease").await?;
    bed.rotate("orders-db", "First#Password1").await?;
    let after = bed
        .wait_for("orders-app", "in sync", |resource| {
            let status = resource.status.as_ref();
            status.is_some_and(|status| {
                status.last_attempt.is_none() && status.pending_since.is_none()
            })
        })
        .await?;
    assert_eq!(reason(&after, "Ready"), Some("InSync"));
    proxy.mend();
    bed.settle().await?;
    assert_in_sync_with(&bed, "First#Password1").await?;
    assert_eq!(sent(&bed), ["First#Password1"]);
    let [before, after] = [before, after].map(|resource| resource.status.unwrap_or_default());
    assert_eq!(after.history, before.history);
    Ok(())
}

/// A reset is under way when its resource is deleted, and another one of the same name, for another instance, takes its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_success_is_not_written_to_another_object_of_the_same_name() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let _operator = bed.operator().await?.start().await?;
    bed.rds
        .add_instance(Instance::new("rm-other").account(Account::new(ACCOUNT, INITIAL_PASSWORD)));
    bed.create_secret("orders-db", "First#Password1").await?;

    let pause = bed.rds.pause(Action::ResetAccountPassword);
    let old = bed.create(&bed.resource("orders-app", "orders-db")).await?;
    pause.wait_for_held(1, PATIENCE).await?;
    bed.delete("orders-app").await?;
    let mut other = bed.resource("orders-app", "orders-db");
    other.spec.instance_id = "rm-other".to_owned();
    let new = bed.create(&other).await?;
    assert_ne!(old.metadata.uid, new.metadata.uid);
    pause.release();

    let resource = bed.wait_until_ready("orders-app").await?;
    assert_eq!(resource.metadata.uid, new.metadata.uid);
    let status = resource.status.context("no status")?;
    let reset = status.last_reset.context("no lastReset")?;
    assert_eq!(reset.instance_id, "rm-other");
    assert_eq!(format!("{:?}", reset.trigger), "Created");
    assert_eq!(
        status.history.len(),
        1,
        "the old object's reset is not in the new one's history"
    );
    let [first, second] = &bed.resets()[..] else {
        bail!("not two resets: {:#?}", bed.resets())
    };
    assert_eq!(first.instance.as_deref(), Some(INSTANCE));
    assert_eq!(second.instance.as_deref(), Some("rm-other"));
    assert_eq!(second.request_id, reset.request_id);
    Ok(())
}

async fn wait_for_refused(proxy: &ApiProxy, times: usize) -> Result<()> {
    let refused = |exchanges: &[Exchange]| {
        let refused = exchanges
            .iter()
            .filter(|exchange| exchange.status == Some(403));
        refused.count() >= times
    };
    proxy.wait_for(PATIENCE, refused).await?;
    Ok(())
}

/// Writing down what is about to be sent takes so long that the Secret has another value meanwhile: nothing is sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_grew_old_before_it_was_sent_is_not_sent() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let proxy = bed.proxy().await?;
    let operator = bed.operator_at(&proxy.url(), None).await?.start().await?;
    operator.wait_until_leading().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;

    let write = Matcher::resource("databaseaccountpasswords/status").verb(Verb::Update);
    let hold = proxy.hold(write);
    bed.rotate("orders-db", "Second#Password2").await?;
    hold.wait_for_held(1, PATIENCE).await?;
    bed.rotate("orders-db", "First#Password1").await?;
    // It is the passing of time that is tried here.
    tokio::time::sleep(FRESH_FOR).await;
    hold.release();

    bed.settle().await?;
    bed.wait_until_ready("orders-app").await?;
    let resets = bed.resets().into_iter();
    let resets: Vec<_> = resets
        .filter(|call| call.account.as_deref() == Some(ACCOUNT))
        .collect();
    assert_eq!(resets.len(), 1, "{resets:#?}");
    Ok(())
}

/// Writing down what is about to be sent takes that long each time. The status and the log say that the reset waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_is_always_too_late_is_told() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let (proxy, operator) = behind_proxy(&bed).await?;
    create_in_sync(&bed).await?;

    let mut hold = proxy.hold(status_writes());
    bed.rotate("orders-db", "Second#Password2").await?;
    // Twice the intent, and that it is taken back.
    for _ in 0..4 {
        hold.wait_for_held(1, PATIENCE).await?;
        // It is the passing of time that is tried here.
        tokio::time::sleep(FRESH_FOR).await;
        let next = proxy.hold(status_writes());
        hold.release();
        hold = next;
    }
    operator
        .wait_for_log("no reset is sent, since what")
        .await?;
    hold.wait_for_held(1, PATIENCE).await?;
    let intent = proxy.hold(status_writes());
    hold.release();
    bed.wait_for_reason("orders-app", "Pending").await?;
    assert_eq!(sent(&bed), ["First#Password1"]);
    intent.release();
    assert_in_sync_with(&bed, "Second#Password2").await
}

/// The operator may not write the status any more after it has sent a value. It knows what it did, and does it once.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_cannot_be_written_down_is_not_repeated() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let (proxy, _operator) = behind_proxy(&bed).await?;
    let pause = bed.rds.pause(Action::ResetAccountPassword);
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    pause.wait_for_held(1, PATIENCE).await?;
    proxy.refuse(status_writes(), usize::MAX, 403);
    pause.release();
    wait_for_refused(&proxy, 3).await?;
    proxy.mend();

    assert_in_sync_with(&bed, "First#Password1").await?;
    assert_eq!(sent(&bed), ["First#Password1"]);
    Ok(())
}

/// The answer to a status write is lost: to that of the intent, and to that of the reset as well. Writing it again must not look
/// like the reset of somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_whose_answer_was_lost_is_written_once() -> Result<()> {
    for lost in [1, 2] {
        let bed = Testbed::start(OPERATOR).await?;
        let (proxy, _operator) = behind_proxy(&bed).await?;
        proxy.lose_answer(status_writes(), lost);
        let resource = create_in_sync(&bed).await?;
        bed.settle().await?;
        assert_in_sync_with(&bed, "First#Password1").await?;
        let status = resource.status.context("no status")?;
        assert_eq!(status.history.len(), 1);
        assert_eq!(sent(&bed), ["First#Password1"]);
    }
    Ok(())
}
