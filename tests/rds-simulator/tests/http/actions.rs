//! What the actions do and answer.

use rds_simulator::{AccessKey, Account, Action, DenialCode, Instance};
use rstest::rstest;

use crate::client::{PASSWORD, Rpc, reset, simulator};

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
    assert!(calls[0].is(Action::ResetAccountPassword));
    assert!(calls[0].succeeded() && calls[0].took_effect && !calls[0].password_in_url);
    assert!(!format!("{calls:?}").contains(PASSWORD));
}

#[rstest]
#[case::instance(
    "Rebooting",
    Some("Unlock"),
    "Available",
    403,
    "OperationDenied.DBInstanceStatus"
)]
#[case::unknown_status(
    "SOMETHING_NEW",
    Some("Unlock"),
    "Available",
    403,
    "OperationDenied.DBInstanceStatus"
)]
#[case::lock(
    "Running",
    Some("LockByDiskQuota"),
    "Available",
    404,
    "IncorrectDBInstanceLockMode"
)]
#[case::no_lock_mode("Running", None, "Available", 200, "")]
#[case::account(
    "Running",
    Some("Unlock"),
    "Unavailable",
    400,
    "IncorrectAccountStatus"
)]
#[case::locked_account("Running", Some("Unlock"), "Lock", 400, "IncorrectAccountStatus")]
#[tokio::test]
async fn a_reset_needs_the_right_state(
    #[case] instance: &str,
    #[case] lock: Option<&str>,
    #[case] account: &str,
    #[case] status: u16,
    #[case] code: &str,
) {
    let rds = simulator().await;
    rds.set_instance_status("rm-1", instance).unwrap();
    rds.set_lock_mode("rm-1", lock).unwrap();
    rds.set_account_status("rm-1", "app", account).unwrap();
    let answer = reset(PASSWORD).send(&rds).await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (status, code));
    assert_eq!(
        rds.password_history("rm-1", "app").len(),
        usize::from(status == 200)
    );
    assert_eq!(rds.journal().calls()[0].took_effect, status == 200);
}

#[rstest]
#[case::instance("DBInstanceId", None, "MissingDBInstanceId")]
#[case::account("AccountName", None, "MissingAccountName")]
#[case::password("AccountPassword", None, "MissingAccountPassword")]
#[case::empty("AccountName", Some(""), "MissingAccountName")]
#[case::short_password("AccountPassword", Some("Abc#123"), "InvalidAccountPassword.Format")]
#[case::simple_password("AccountPassword", Some("abcdefgh1"), "InvalidAccountPassword.Format")]
#[case::space("AccountPassword", Some("Abcdefg 1"), "InvalidAccountPassword.Format")]
#[case::other_instance("DBInstanceId", Some("rm-2"), "InvalidDBInstanceId.NotFound")]
#[case::other_account("AccountName", Some("App"), "InvalidAccountName.NotFound")]
#[tokio::test]
async fn a_reset_needs_the_right_parameters(
    #[case] name: &str,
    #[case] value: Option<&str>,
    #[case] code: &str,
) {
    let rds = simulator().await;
    let mut request = reset(PASSWORD);
    request.form.retain(|(known, _)| known != name);
    request
        .form
        .extend(value.map(|value| (name.to_owned(), value.to_owned())));
    let answer = request.send(&rds).await.unwrap();
    assert_eq!(answer.code(), code);
    assert_eq!(rds.password_of("rm-1", "app").as_deref(), Some("Initial#1"));
}

#[tokio::test]
async fn an_account_created_by_sql_is_not_reset() {
    let rds = simulator().await;
    rds.add_account("rm-1", Account::new("app", "Initial#1").created_by_sql())
        .unwrap();
    assert_eq!(
        reset(PASSWORD).send(&rds).await.unwrap().code(),
        "IncorrectAccount"
    );
}

#[rstest]
#[case::strings(Instance::new("rm-1"), "\"3306\"", "\"8.0\"", "\"0\"")]
#[case::numbers(Instance::new("rm-1").numbers_in_json(), "3306", "8.0", "0")]
#[tokio::test]
async fn descriptions(
    #[case] instance: Instance,
    #[case] port: &str,
    #[case] version: &str,
    #[case] exceeded: &str,
) {
    let rds = simulator().await;
    rds.add_instance(
        instance
            .category("Basic")
            .account(Account::new("app", PASSWORD).kind("Super")),
    );
    let answer = Rpc::get("DescribeDBInstanceAttribute", &[("DBInstanceId", "rm-1")])
        .send(&rds)
        .await
        .unwrap();
    let attribute = &answer.json()["Items"]["DBInstanceAttribute"][0];
    assert_eq!(attribute["DBInstanceStatus"], "Running");
    assert_eq!(attribute["LockMode"], "Unlock");
    assert_eq!(attribute["Category"], "Basic");
    assert_eq!(attribute["Port"].to_string(), port);
    assert_eq!(attribute["EngineVersion"].to_string(), version);
    let answer = Rpc::post("DescribeAccounts", &[("DBInstanceId", "rm-1")])
        .send(&rds)
        .await
        .unwrap();
    let account = &answer.json()["Accounts"]["DBInstanceAccount"][0];
    assert_eq!(account["AccountStatus"], "Available");
    assert_eq!(account["AccountType"], "Super");
    assert_eq!(account["PrivExceeded"].to_string(), exceeded);
    assert!(!answer.body.contains(PASSWORD));
}

#[tokio::test]
async fn lock_mode_and_the_whole_description_can_be_absent() {
    let rds = simulator().await;
    rds.add_instance(Instance::new("rm-1").lock_mode(None));
    let describe = || Rpc::post("DescribeDBInstanceAttribute", &[("DBInstanceId", "rm-1")]);
    let answer = describe().send(&rds).await.unwrap();
    assert!(
        answer.json()["Items"]["DBInstanceAttribute"][0]
            .get("LockMode")
            .is_none()
    );
    rds.add_instance(Instance::new("rm-1").omitted_from_descriptions());
    let answer = describe().send(&rds).await.unwrap();
    assert_eq!(
        answer.json()["Items"]["DBInstanceAttribute"],
        serde_json::json!([])
    );
}

#[rstest]
#[case(&[], 200, 30)]
#[case(&[("PageNumber", "2")], 200, 5)]
#[case(&[("PageNumber", "3")], 200, 0)]
#[case(&[("PageSize", "200")], 200, 35)]
#[case(&[("PageSize", "29")], 400, 0)]
#[case(&[("PageSize", "201")], 400, 0)]
#[case(&[("PageNumber", "0")], 400, 0)]
#[case(&[("PageNumber", "x")], 400, 0)]
#[case(&[("AccountName", "user07")], 200, 1)]
#[case(&[("AccountName", "user")], 200, 0)]
#[tokio::test]
async fn accounts_come_in_pages(
    #[case] parameters: &[(&str, &str)],
    #[case] status: u16,
    #[case] count: usize,
) {
    let rds = simulator().await;
    let accounts = (0..35).map(|number| Account::new(format!("user{number:02}"), PASSWORD));
    rds.add_instance(accounts.fold(Instance::new("rm-1"), Instance::account));
    let request = Rpc::post(
        "DescribeAccounts",
        &[parameters, &[("DBInstanceId", "rm-1")]].concat(),
    );
    let answer = request.send(&rds).await.unwrap();
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(
        answer.json()["Accounts"]["DBInstanceAccount"]
            .as_array()
            .map_or(0, Vec::len),
        count
    );
}

#[tokio::test]
async fn sql_server_2017_clusters_have_no_account_management() {
    let rds = simulator().await;
    let cluster = Instance::new("rm-1")
        .engine("SQLServer", "2017_ent")
        .category("AlwaysOn");
    rds.add_instance(cluster.account(Account::new("app", "Initial#1")));
    let describe = Rpc::post("DescribeAccounts", &[("DBInstanceId", "rm-1")])
        .send(&rds)
        .await
        .unwrap();
    assert_eq!(
        (describe.status, describe.code().as_str()),
        (403, "IncorrectDBInstanceType")
    );
    assert_eq!(
        reset(PASSWORD).send(&rds).await.unwrap().code(),
        "IncorrectDBInstanceType"
    );
}

#[tokio::test]
async fn accounts_cannot_be_listed_while_there_is_no_database() {
    let rds = simulator().await;
    rds.set_instance_status("rm-1", "Creating").unwrap();
    let describe = Rpc::post("DescribeAccounts", &[("DBInstanceId", "rm-1")])
        .send(&rds)
        .await
        .unwrap();
    assert_eq!(
        (describe.status, describe.code().as_str()),
        (400, "InvalidDBInstanceStatus.NotSupport")
    );
    let missing = Rpc::post("DescribeAccounts", &[("DBInstanceId", "rm-2")])
        .send(&rds)
        .await
        .unwrap();
    assert_eq!(
        (missing.status, missing.code().as_str()),
        (404, "InvalidDBInstanceName.NotFound")
    );
}

#[tokio::test]
async fn ram_denies_by_action_and_instance() {
    let rds = simulator().await;
    let key = AccessKey::new("testid", "testsecret");
    rds.add_access_key(key.denied(
        DenialCode::ForbiddenRam,
        Some(Action::ResetAccountPassword),
        Some("rm-1"),
    ));
    let denied = reset(PASSWORD).send(&rds).await.unwrap();
    assert_eq!(
        (denied.status, denied.code().as_str()),
        (403, "Forbidden.RAM")
    );
    assert_eq!(
        denied.json()["AccessDeniedDetail"]["AuthAction"],
        "rds:ResetAccountPassword"
    );
    let describe = Rpc::post("DescribeAccounts", &[("DBInstanceId", "rm-1")])
        .send(&rds)
        .await
        .unwrap();
    assert_eq!(describe.status, 200);
}

#[tokio::test]
async fn another_cloud_accounts_instance_does_not_exist() {
    let rds = simulator().await;
    rds.add_access_key(AccessKey::new("testid", "testsecret").cloud_account("2000000000000002"));
    assert_eq!(
        reset(PASSWORD).send(&rds).await.unwrap().code(),
        "InvalidDBInstanceId.NotFound"
    );
}
