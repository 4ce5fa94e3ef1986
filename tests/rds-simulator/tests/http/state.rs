//! Instances and accounts that change.

use std::time::Duration;

use rds_simulator::{Account, Instance, RdsSimulator, Timeline};

use crate::client::{PASSWORD, Rpc, reset, simulator};

async fn instance_status(rds: &RdsSimulator) -> String {
    let answer = Rpc::post("DescribeDBInstanceAttribute", &[("DBInstanceId", "rm-1")])
        .send(rds)
        .await
        .unwrap();
    answer.json()["Items"]["DBInstanceAttribute"][0]["DBInstanceStatus"]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn account_status(rds: &RdsSimulator) -> String {
    let answer = Rpc::post(
        "DescribeAccounts",
        &[("DBInstanceId", "rm-1"), ("AccountName", "app")],
    )
    .send(rds)
    .await
    .unwrap();
    answer.json()["Accounts"]["DBInstanceAccount"][0]["AccountStatus"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn an_account_is_unavailable_for_some_reads_after_a_reset() {
    let rds = simulator().await;
    let status = Timeline::of("Unavailable").for_reads(2).then("Available");
    rds.set_account_status_after_reset("rm-1", "app", Some(status))
        .unwrap();
    for password in [PASSWORD, "Another#1"] {
        assert_eq!(reset(password).send(&rds).await.unwrap().status, 200);
        assert_eq!(
            reset(PASSWORD).send(&rds).await.unwrap().code(),
            "IncorrectAccountStatus"
        );
        assert_eq!(account_status(&rds).await, "Unavailable");
        assert_eq!(account_status(&rds).await, "Unavailable");
        assert_eq!(account_status(&rds).await, "Available");
    }
    assert_eq!(rds.password_history("rm-1", "app"), [PASSWORD, "Another#1"]);
}

#[tokio::test]
async fn an_instance_flaps() {
    let rds = simulator().await;
    let flapping = Timeline::of("Running")
        .for_reads(1)
        .then("SSL_MODIFYING")
        .for_reads(1)
        .repeating();
    rds.set_instance_status("rm-1", flapping).unwrap();
    for expected in ["Running", "SSL_MODIFYING", "Running", "SSL_MODIFYING"] {
        assert_eq!(instance_status(&rds).await, expected);
    }
}

#[tokio::test]
async fn an_instance_reboots_for_a_time() {
    let rds = simulator().await;
    rds.set_instance_status(
        "rm-1",
        Timeline::of("Rebooting")
            .lasting(Duration::from_millis(50))
            .then("Running"),
    )
    .unwrap();
    // However slow this machine is: it ends by being Running, and a reset then works.
    while instance_status(&rds).await != "Running" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(reset(PASSWORD).send(&rds).await.unwrap().status, 200);
}

#[tokio::test]
async fn unknown_targets_are_named() {
    let rds = simulator().await;
    let error = rds.set_instance_status("rm-2", "Running").unwrap_err();
    assert_eq!(error.to_string(), "the simulator has no instance rm-2");
    let error = rds.set_password("rm-1", "nobody", PASSWORD).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the simulator's instance rm-1 has no account nobody"
    );
}

#[tokio::test]
async fn login_needs_a_running_instance_and_an_unlocked_account() {
    let rds = simulator().await;
    assert!(rds.login("rm-1", "app", "Initial#1"));
    rds.set_account_status("rm-1", "app", "Lock").unwrap();
    assert!(!rds.login("rm-1", "app", "Initial#1"));
    rds.set_account_status("rm-1", "app", "Available").unwrap();
    rds.set_instance_status("rm-1", "Stopped").unwrap();
    assert!(!rds.login("rm-1", "app", "Initial#1"));
    rds.set_instance_status("rm-1", "Running").unwrap();
    rds.set_password("rm-1", "app", "ByHand#77").unwrap();
    assert!(rds.login("rm-1", "app", "ByHand#77"));
    assert!(rds.password_history("rm-1", "app").is_empty());
}

#[tokio::test]
async fn instances_and_accounts_come_and_go() {
    let rds = simulator().await;
    rds.remove_account("rm-1", "app").unwrap();
    assert_eq!(
        reset(PASSWORD).send(&rds).await.unwrap().code(),
        "InvalidAccountName.NotFound"
    );
    rds.add_account("rm-1", Account::new("app", "Initial#2"))
        .unwrap();
    assert_eq!(reset(PASSWORD).send(&rds).await.unwrap().status, 200);
    rds.remove_instance("rm-1");
    let missing = reset(PASSWORD).send(&rds).await.unwrap();
    assert_eq!(
        (missing.status, missing.code().as_str()),
        (404, "InvalidDBInstanceId.NotFound")
    );
    assert_eq!(rds.password_of("rm-1", "app"), None);
    rds.add_instance(Instance::new("rm-1").account(Account::new("app", "Initial#3")));
    assert_eq!(reset(PASSWORD).send(&rds).await.unwrap().status, 200);
}
