//! SIGTERM: resets that are under way end, are written down, and the lease is handed over.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use rds_simulator::Action;
use testbed::Testbed;
use testbed::bed::{ACCOUNT, INSTANCE};
use testbed::install;

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_is_under_way_ends_and_is_written_down() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let operator = bed.operator().await?.start().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    let pause = bed.rds.pause(Action::ResetAccountPassword);
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    pause.wait_for_held(1, PATIENCE).await?;

    let stopping = tokio::spawn(operator.terminate());
    let leases = Api::<Lease>::namespaced(bed.client.clone(), install::OPERATOR);
    let lease = leases.get("rds-password-operator").await?;
    let holder = lease
        .spec
        .and_then(|spec| spec.holder_identity)
        .unwrap_or_default();
    ensure!(
        !holder.is_empty(),
        "the lease is held while the reset is under way"
    );
    pause.release();

    let (status, log) = stopping.await??;
    ensure!(status.success(), "ended with {status}:\n{log}");
    ensure!(bed.rds.login(INSTANCE, ACCOUNT, "First#Password1"));
    let resource = bed.resources().get("orders-app").await?;
    let reset = resource
        .status
        .and_then(|status| status.last_reset)
        .context("not written down")?;
    assert_eq!(reset.request_id, bed.resets()[0].request_id);
    assert_eq!(bed.resets().len(), 1);
    let lease = leases.get("rds-password-operator").await?;
    let holder = lease
        .spec
        .and_then(|spec| spec.holder_identity)
        .unwrap_or_default();
    ensure!(holder.is_empty(), "the lease is released: {holder}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_waits_is_given_up() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let operator = bed.operator().await?.start().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    let pause = bed.rds.pause(Action::DescribeDBInstanceAttribute);
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    pause.wait_for_held(1, PATIENCE).await?;

    let (status, log) = operator.terminate().await?;
    ensure!(status.success(), "ended with {status}:\n{log}");
    pause.release();
    ensure!(bed.resets().is_empty(), "nothing is sent after SIGTERM");

    let _operator = bed.operator().await?.start().await?;
    bed.wait_until_ready("orders-app").await?;
    assert_eq!(bed.resets().len(), 1);
    Ok(())
}

/// With a lease of more than the test's patience, the second replica can only lead where the first one released it.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_replica_takes_over_at_once() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let long = |builder: testbed::operator::OperatorBuilder| {
        builder
            .flag("lease-duration", "300s")
            .flag("lease-renew-deadline", "200s")
            .flag("lease-retry-period", "1s")
    };
    let first = long(bed.operator().await?).start().await?;
    first.wait_until_leading().await?;
    let second = long(bed.operator().await?).start().await?;
    second.wait_until_ready().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    first.terminate().await?;
    second.wait_until_leading().await?;
    bed.rotate("orders-db", "Second#Password2").await?;
    bed.wait_for_password("Second#Password2").await?;
    Ok(())
}
