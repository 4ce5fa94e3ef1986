//! With the signature method `acs3` the password is in the URL of the request to RDS, and nowhere else all the same.
#![expect(clippy::tests_outside_test_module, reason = "tests")]

use anyhow::{Result, ensure};
use rds_simulator::{Action, Fault, SignatureMethod};
use testbed::Testbed;
use testbed::bed::{ACCOUNT, INSTANCE};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

/// Of letters alone, as they are the same in a URL.
const CANARY: &str = "canaryinurl";

#[tokio::test(flavor = "multi_thread")]
async fn acs3_resets_and_the_url_is_not_told() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let operator = bed.operator().await?;
    let operator = operator.env("RDS_PASSWORD_OPERATOR_RDS_SIGNATURE", "acs3");
    let operator = operator.start().await?;
    operator.wait_until_leading().await?;

    // Failures in whose text the HTTP library names the URL.
    let broken = [Fault::close_connection(), Fault::truncated_body()];
    for fault in broken {
        bed.rds
            .add_fault(fault.on(Action::ResetAccountPassword).times(1));
    }
    let password = format!("{CANARY}#+A1");
    bed.create_secret("orders-db", &password).await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    let resource = bed.wait_until_ready("orders-app").await?;
    ensure!(bed.rds.login(INSTANCE, ACCOUNT, &password));
    bed.wait_for_event("orders-app", "PasswordReset").await?;

    let resets = bed.resets();
    assert_eq!(resets.len(), 3, "{resets:#?}");
    assert!(resets.iter().all(|call| call.password_in_url));
    assert!(
        bed.calls()
            .iter()
            .all(|call| call.signature == SignatureMethod::Acs3HmacSha256)
    );
    for (place, text) in [
        ("log", operator.log()),
        ("metrics", operator.get("/metrics").await?.1),
        ("events", serde_json::to_string(&bed.events().await?)?),
        ("resource", serde_json::to_string(&resource)?),
    ] {
        ensure!(!text.contains(CANARY), "the password is in: {place}");
        ensure!(!text.contains("AccountPassword="), "a URL is in: {place}");
    }

    let (status, log) = operator.terminate().await?;
    ensure!(status.success(), "SIGTERM ends it with {status}:\n{log}");
    Ok(())
}
