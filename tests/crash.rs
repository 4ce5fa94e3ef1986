//! Nothing is lost, doubled or written to the wrong object when things end in the middle of a reset.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rds_simulator::{Account, Action, Instance};
use serde_json::json;
use testbed::Testbed;
use testbed::bed::{ACCOUNT, INITIAL_PASSWORD, INSTANCE};
use testbed::proxy::{ApiProxy, Exchange, Matcher, Verb};

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
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;

    let pause = if after_effect {
        bed.rds.pause_after_effect(Action::ResetAccountPassword)
    } else {
        bed.rds.pause(Action::ResetAccountPassword)
    };
    bed.rotate("orders-db", "Second#Password2").await?;
    pause.wait_for_held(1, PATIENCE).await?;
    let _log = operator.kill();
    pause.release();

    // The lease of the one that was killed has to run out first.
    let _operator = bed
        .operator()
        .await?
        .flag("lease-duration", "3s")
        .flag("lease-renew-deadline", "2s")
        .flag("lease-retry-period", "500ms")
        .start()
        .await?;
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

/// The operator may not write the status for a while. It knows what it did, and does it once.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_cannot_be_written_down_is_not_repeated() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let authority = bed.control_plane.certificate_authority();
    let proxy = ApiProxy::start(&bed.control_plane.server(), &authority).await?;
    let operator = bed.operator_at(&proxy.url(), None).await?.start().await?;
    operator.wait_until_leading().await?;
    let writes = || Matcher::resource("databaseaccountpasswords/status").verb(Verb::Update);
    let refusal = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403 });
    proxy.answer_instead(writes(), usize::MAX, 403, refusal.to_string());

    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    let refused = |exchanges: &[Exchange]| {
        let refused = exchanges
            .iter()
            .filter(|exchange| exchange.status == Some(403));
        refused.count() >= 3
    };
    proxy.wait_for(PATIENCE, refused).await?;
    proxy.mend();

    let resource = bed.wait_until_ready("orders-app").await?;
    let reset = resource
        .status
        .and_then(|status| status.last_reset)
        .context("no lastReset")?;
    let [call] = &bed.resets()[..] else {
        bail!("not one reset: {:#?}", bed.resets())
    };
    assert_eq!(reset.request_id, call.request_id);
    Ok(())
}

/// The answer to the status write is lost. Writing it again must not look like the reset of somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_whose_answer_was_lost_is_written_once() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let authority = bed.control_plane.certificate_authority();
    let proxy = ApiProxy::start(&bed.control_plane.server(), &authority).await?;
    let operator = bed.operator_at(&proxy.url(), None).await?.start().await?;
    operator.wait_until_leading().await?;
    let writes = Matcher::resource("databaseaccountpasswords/status").verb(Verb::Update);
    proxy.lose_answer(writes, 1);

    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    bed.settle().await?;
    let resource = bed.wait_until_ready("orders-app").await?;
    let status = resource.status.context("no status")?;
    assert_eq!(status.history.len(), 1);
    let resets = bed.resets();
    let resets = resets
        .iter()
        .filter(|call| call.account.as_deref() == Some(ACCOUNT));
    assert_eq!(resets.count(), 1);
    Ok(())
}
