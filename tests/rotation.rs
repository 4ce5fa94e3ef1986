//! A changed Secret reaches the database, and the status tells the truth about it.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use anyhow::{Context as _, Result, ensure};
use rds_simulator::Action;
use testbed::bed::{ACCOUNT, INITIAL_PASSWORD, INSTANCE};
use testbed::{Testbed, condition};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

#[tokio::test(flavor = "multi_thread")]
async fn first_reset_and_rotation() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let operator = bed.operator().await?.start().await?;
    operator.wait_until_leading().await?;

    let secret = bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    let resource = bed.wait_until_ready("orders-app").await?;

    ensure!(bed.rds.login(INSTANCE, ACCOUNT, "First#Password1"));
    ensure!(!bed.rds.login(INSTANCE, ACCOUNT, INITIAL_PASSWORD));
    let status = resource.status.clone().context("no status")?;
    let reset = status.last_reset.context("no lastReset")?;
    let [call] = &bed.resets()[..] else {
        anyhow::bail!("not one reset: {:#?}", bed.resets())
    };
    assert_eq!(
        reset.request_id, call.request_id,
        "the RequestId is that of the call"
    );
    assert_eq!(format!("{:?}", reset.trigger), "Created");
    assert_eq!(Some(reset.secret.uid), secret.metadata.uid);
    assert!(!call.password_in_url);
    assert_eq!(status.observed_generation, resource.metadata.generation);
    for (type_, expected) in [
        ("SecretReady", "Valid"),
        ("InstanceReady", "Running"),
        ("PasswordSynced", "Reset"),
    ] {
        assert_eq!(
            condition(&resource, type_).map(|condition| &*condition.reason),
            Some(expected),
            "{type_}"
        );
    }
    assert!(
        condition(&resource, "Reconciling").is_none() && condition(&resource, "Stalled").is_none()
    );

    bed.rotate("orders-db", "Second#Password2").await?;
    let resource = bed
        .wait_for("orders-app", "reset again", |resource| {
            resource
                .status
                .as_ref()
                .is_some_and(|status| status.history.len() == 2)
        })
        .await?;
    ensure!(bed.rds.login(INSTANCE, ACCOUNT, "Second#Password2"));
    let reset = resource
        .status
        .and_then(|status| status.last_reset)
        .context("no lastReset")?;
    assert_eq!(format!("{:?}", reset.trigger), "SecretChanged");

    // One rotation: the instance within the last seconds was known, so a reset and a look at the account.
    let calls = bed.calls();
    let actions = |action| calls.iter().filter(|call| call.is(action)).count();
    assert_eq!(actions(Action::ResetAccountPassword), 2);
    assert_eq!(actions(Action::DescribeAccounts), 2);
    assert!(
        calls
            .iter()
            .all(|call| call.succeeded() && !call.password_in_url)
    );

    let (status, log) = operator.terminate().await?;
    ensure!(status.success(), "SIGTERM ends it with {status}:\n{log}");
    Ok(())
}
