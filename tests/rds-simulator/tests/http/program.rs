//! The simulator as a program.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
    time::timeout,
};

use crate::client::{PASSWORD, PATIENCE, Rpc, reset};

#[tokio::test]
async fn it_prints_its_url_and_each_call_without_passwords() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_rds-simulator"))
        .args(["--access-key", "testid:testsecret"])
        .args([
            "--instance",
            "rm-1:app:Initial#1",
            "--instance",
            "rm-1:other:with:colon",
        ])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let mut line = async || {
        timeout(PATIENCE, lines.next_line())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
    };
    let url = line().await;
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    for (instance, found) in [("rm-1", true), ("rm-2", false)] {
        let mut request = reset(PASSWORD);
        request.form[0].1 = instance.to_owned();
        let answer = request.prepare_for(&url).send().await.unwrap();
        assert_eq!(answer.status().is_success(), found);
        let line = line().await;
        assert!(
            line.contains("POST ResetAccountPassword RpcHmacSha1 key=testid"),
            "{line}"
        );
        assert!(
            line.contains(&format!("instance={instance} account=app")),
            "{line}"
        );
        assert!(
            line.contains(&format!("effect={found} password-in-url=false")),
            "{line}"
        );
        assert!(!line.contains(PASSWORD), "{line}");
    }
    program.kill().await.unwrap();
}

#[tokio::test]
async fn it_has_roles() {
    const ROLE: &str = "acs:ram::1000000000000001:role/app";
    let mut program = Command::new(env!("CARGO_BIN_EXE_rds-simulator"))
        .args(["--instance", "rm-1:app:Initial#1", "--role", ROLE])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let mut line = async || {
        timeout(PATIENCE, lines.next_line())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
    };
    let url = line().await;
    let form = [("RoleArn", ROLE), ("RoleSessionName", "operator")];
    let request = Rpc::post("AssumeRole", &form).with("Version", "2015-04-01");
    let answer = request.prepare_for(&url).send().await.unwrap();
    assert!(answer.status().is_success());
    let line = line().await;
    assert!(
        line.contains(&format!(
            "AssumeRole RpcHmacSha1 key=testid role={ROLE} subject=-"
        )),
        "{line}"
    );
    program.kill().await.unwrap();
}

#[tokio::test]
async fn it_refuses_arguments_with_a_sentence() {
    for (flag, sentence) in [
        ("--access-key", "an access key is given as ID:SECRET"),
        ("--instance", "an instance is given as ID:ACCOUNT:PASSWORD"),
        ("--oidc-role", "a role for tokens is given as ROLE_ARN,"),
    ] {
        let program = Command::new(env!("CARGO_BIN_EXE_rds-simulator"))
            .args([flag, "x"])
            .output();
        let output = timeout(PATIENCE, program).await.unwrap().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(sentence));
    }
}
