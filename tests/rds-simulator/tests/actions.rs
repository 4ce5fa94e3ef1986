//! What the actions do and answer.

#![allow(clippy::unwrap_used, reason = "a test")]

mod client;

use client::{PASSWORD, Rpc, reset, simulator};

#[tokio::test]
async fn a_reset_changes_the_password() {
    let rds = simulator().await;
    let answer = reset(PASSWORD).send(&rds).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let request_id = answer.json()["RequestId"].as_str().unwrap().to_owned();
    assert_eq!(rds.password_of("rm-1", "app").as_deref(), Some(PASSWORD));
    assert_eq!(rds.password_history("rm-1", "app"), [PASSWORD]);
    assert!(rds.login("rm-1", "app", PASSWORD));
    assert!(!rds.login("rm-1", "app", "Initial#1"));
    let calls = rds.journal().calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].request_id, request_id);
    assert_eq!(calls[0].password.as_ref().unwrap(), PASSWORD);
    assert!(calls[0].succeeded() && calls[0].took_effect && !calls[0].password_in_url);
    assert!(!format!("{calls:?}").contains(PASSWORD));
}

#[tokio::test]
async fn descriptions() {
    let rds = simulator().await;
    let answer = Rpc::get("DescribeDBInstanceAttribute", &[("DBInstanceId", "rm-1")])
        .send(&rds)
        .await
        .unwrap();
    let attribute = &answer.json()["Items"]["DBInstanceAttribute"][0];
    assert_eq!(attribute["DBInstanceStatus"], "Running");
    assert_eq!(attribute["LockMode"], "Unlock");
    let answer = Rpc::post("DescribeAccounts", &[("DBInstanceId", "rm-1")])
        .send(&rds)
        .await
        .unwrap();
    assert_eq!(
        answer.json()["Accounts"]["DBInstanceAccount"][0]["AccountStatus"],
        "Available"
    );
}
