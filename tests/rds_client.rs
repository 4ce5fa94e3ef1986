//! The RDS client speaks the documented protocol, and its errors say what is the matter without telling a secret.
//!
//! Every call goes over HTTP to the simulator, which checks signature, nonce, time and parameters as RDS does.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{process::Command, time::Duration};

use jiff::Timestamp;
use rds_password_operator::rds::{
    client::{Nonce, RdsClient, Signer, Timeouts},
    credentials::Credentials,
    endpoint::Endpoint,
    error::{CallError, Class, Reason, RequestId},
    password::Password,
    response::{AccountStatus, DbInstance, InstanceStatus, Lock},
    signature::SignatureMethod::{self, Acs3HmacSha256, HmacSha1},
    word::Word,
};
use rds_simulator::{
    AccessKey, Account, Action, DenialCode, Fault, Instance, RdsSimulator, SignedDuration,
    WaitHeaders,
};
use rstest::rstest;
use secrecy::SecretString;

const OLD: &str = "Initial#1";
const NEW: &str = "Rotated#2(%+=&)";

/// A simulator with the account `app` of the instance `rm-1`, and a client that may do everything.
struct Cloud {
    simulator: RdsSimulator,
    client: RdsClient,
    endpoint: Endpoint,
    credentials: Credentials,
}

impl Cloud {
    async fn new() -> Self {
        Self::with(AccessKey::new("testid", "testsecret"), Timeouts::default()).await
    }

    async fn with(key: AccessKey, timeouts: Timeouts) -> Self {
        Self::signing(SignatureMethod::default(), key, timeouts).await
    }

    async fn signing(method: SignatureMethod, key: AccessKey, timeouts: Timeouts) -> Self {
        // Another test may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let simulator = RdsSimulator::start().await.unwrap();
        simulator.add_access_key(key);
        simulator.add_instance(Instance::new("rm-1").account(Account::new("app", OLD)));
        Self {
            client: RdsClient::new(method, timeouts).unwrap(),
            endpoint: simulator.url().parse().unwrap(),
            credentials: Credentials {
                access_key_id: "testid".to_owned(),
                access_key_secret: SecretString::from("testsecret"),
                security_token: None,
            },
            simulator,
        }
    }

    fn signer(&self) -> Signer<'_> {
        Signer {
            credentials: &self.credentials,
            now: Timestamp::now(),
            nonce: Nonce::from_random(rand::random()),
        }
    }

    async fn reset(&self, password: &str) -> Result<RequestId, CallError> {
        self.reset_within(password, Duration::from_secs(20)).await
    }

    async fn reset_within(
        &self,
        password: &str,
        timeout: Duration,
    ) -> Result<RequestId, CallError> {
        let password = Password::from_bytes(password.as_bytes()).unwrap();
        let (endpoint, signer) = (&self.endpoint, self.signer());
        self.client
            .reset_account_password(endpoint, signer, "rm-1", "app", &password, timeout)
            .await
    }

    async fn instance(&self) -> Result<DbInstance, CallError> {
        self.client
            .describe_db_instance_attribute(&self.endpoint, self.signer(), "rm-1")
            .await
    }

    async fn account(&self, name: &str) -> Result<AccountStatus, CallError> {
        self.client
            .describe_accounts(&self.endpoint, self.signer(), "rm-1", name)
            .await
    }

    fn password(&self) -> String {
        self.simulator.password_of("rm-1", "app").unwrap()
    }
}

/// With both signature methods, permanent and temporary credentials.
#[rstest]
#[tokio::test]
async fn every_action_is_answered(
    #[values(HmacSha1, Acs3HmacSha256)] method: SignatureMethod,
    #[values(None, Some("token/+="))] security_token: Option<&str>,
) {
    let key = AccessKey::new("testid", "testsecret");
    let key = match security_token {
        Some(token) => key.security_token(token, Timestamp::now() + SignedDuration::from_hours(1)),
        None => key,
    };
    let mut cloud = Cloud::signing(method, key, Timeouts::default()).await;
    cloud.credentials.security_token = security_token.map(SecretString::from);

    assert_eq!(cloud.instance().await.unwrap().obstacle(), None);
    assert_eq!(cloud.account("app").await, Ok(AccountStatus::Available));
    for password in ["Aa1!@#$&%^*()_+-=", "Aa1%41%2B%25+&b=c"] {
        let request_id = cloud.reset(password).await.unwrap();
        assert_eq!(cloud.password(), password);
        let calls = cloud.simulator.journal().calls();
        assert_eq!(calls.last().unwrap().request_id, request_id.as_str());
    }

    let calls = cloud.simulator.journal().calls();
    assert_eq!(calls.len(), 4);
    let (signature, password_in_url) = match method {
        HmacSha1 => (rds_simulator::SignatureMethod::RpcHmacSha1, false),
        Acs3HmacSha256 => (rds_simulator::SignatureMethod::Acs3HmacSha256, true),
    };
    for call in calls {
        assert_eq!(call.http_method, "POST");
        assert_eq!(call.signature, signature);
        assert_eq!(
            call.password_in_url,
            password_in_url && call.is(Action::ResetAccountPassword)
        );
    }
}

#[rstest]
#[tokio::test]
async fn temporary_credentials_need_their_token(
    #[values(HmacSha1, Acs3HmacSha256)] method: SignatureMethod,
) {
    let expires = Timestamp::now() + SignedDuration::from_hours(1);
    let key = AccessKey::new("testid", "testsecret").security_token("token", expires);
    let mut cloud = Cloud::signing(method, key, Timeouts::default()).await;
    for token in [None, Some("another's")] {
        cloud.credentials.security_token = token.map(SecretString::from);
        let error = cloud.reset(NEW).await.unwrap_err();
        assert_eq!(error.reason(), Reason::CredentialsUnavailable);
        assert!(error.credentials_rejected());
    }
    assert_eq!(cloud.password(), OLD);
}

#[tokio::test]
async fn an_instance_is_described_as_it_is() {
    let cloud = Cloud::new().await;
    let seen = cloud.instance().await.unwrap();
    assert_eq!(
        (seen.status, seen.lock),
        (InstanceStatus::Running, Lock::Unlocked)
    );
    cloud.simulator.set_lock_mode("rm-1", None).unwrap();
    assert_eq!(cloud.instance().await.unwrap().obstacle(), None);
    cloud
        .simulator
        .set_lock_mode("rm-1", Some("LockByDiskQuota"))
        .unwrap();
    let locked = cloud.instance().await.unwrap().lock;
    assert_eq!(locked.to_string(), "LockByDiskQuota");
    cloud
        .simulator
        .set_instance_status("rm-1", "Rebooting")
        .unwrap();
    let status = cloud.instance().await.unwrap().status;
    assert_eq!(status.to_string(), "Rebooting");
    cloud
        .simulator
        .add_instance(Instance::new("rm-1").omitted_from_descriptions());
    assert_eq!(cloud.instance().await.unwrap().status, InstanceStatus::Gone);
    cloud
        .simulator
        .add_instance(Instance::new("rm-1").numbers_in_json());
    assert_eq!(cloud.instance().await.unwrap().obstacle(), None);
    cloud.simulator.remove_instance("rm-1");
    let error = cloud.instance().await.unwrap_err();
    assert_eq!(
        (error.class(), error.reason()),
        (Class::PersonNeeded, Reason::InstanceNotFound)
    );
}

#[tokio::test]
async fn an_account_is_found_by_its_exact_name() {
    let cloud = Cloud::new().await;
    cloud
        .simulator
        .add_account("rm-1", Account::new("app2", OLD))
        .unwrap();
    assert_eq!(cloud.account("app").await, Ok(AccountStatus::Available));
    cloud
        .simulator
        .set_account_status("rm-1", "app", "Unavailable")
        .unwrap();
    let state = cloud.account("app").await.unwrap();
    let is_unavailable = |state: &Word| state.as_str() == "Unavailable";
    assert!(
        matches!(&state, AccountStatus::NotAvailable(Some(state)) if is_unavailable(state)),
        "{state:?}"
    );
    cloud
        .simulator
        .set_account_status("rm-1", "app", "Lock")
        .unwrap();
    assert_eq!(cloud.account("app").await, Ok(AccountStatus::Locked));
    let missing = AccountStatus::Missing { listed_as: None };
    assert_eq!(cloud.account("ap").await, Ok(missing));
}

#[rstest]
#[tokio::test]
async fn a_wrong_secret_is_told_without_the_string_to_sign(
    #[values(HmacSha1, Acs3HmacSha256)] method: SignatureMethod,
) {
    let key = AccessKey::new("testid", "testsecret");
    let mut cloud = Cloud::signing(method, key, Timeouts::default()).await;
    cloud.credentials.access_key_secret = SecretString::from("wrong");
    let error = cloud.reset(NEW).await.unwrap_err();
    assert_eq!(error.code().unwrap().as_str(), "SignatureDoesNotMatch");
    assert_eq!(
        (error.class(), error.reason()),
        (Class::PersonNeeded, Reason::AccessDenied)
    );
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("Rotated") && !shown.contains("string to sign"));
    assert_eq!(cloud.password(), OLD);
}

#[tokio::test]
async fn an_unknown_or_disabled_key_is_told() {
    let mut cloud = Cloud::with(
        AccessKey::new("testid", "testsecret").inactive(),
        Timeouts::default(),
    )
    .await;
    assert_eq!(
        cloud.reset(NEW).await.unwrap_err().reason(),
        Reason::AccessDenied
    );
    cloud.credentials.access_key_id = "nobody".to_owned();
    assert_eq!(
        cloud.reset(NEW).await.unwrap_err().reason(),
        Reason::AccessDenied
    );
}

#[rstest]
#[case(DenialCode::ForbiddenRam)]
#[case(DenialCode::NoPermission)]
#[tokio::test]
async fn a_denial_is_told(#[case] code: DenialCode) {
    let key = AccessKey::new("testid", "testsecret").denied(
        code,
        Some(Action::ResetAccountPassword),
        None,
    );
    let cloud = Cloud::with(key, Timeouts::default()).await;
    cloud.instance().await.unwrap();
    let error = cloud.reset(NEW).await.unwrap_err();
    assert_eq!(
        (error.class(), error.reason()),
        (Class::PersonNeeded, Reason::AccessDenied)
    );
}

#[rstest]
#[tokio::test]
async fn a_clock_that_is_off_is_told(#[values(HmacSha1, Acs3HmacSha256)] method: SignatureMethod) {
    let key = AccessKey::new("testid", "testsecret");
    let cloud = Cloud::signing(method, key, Timeouts::default()).await;
    cloud
        .simulator
        .set_clock_skew(SignedDuration::from_mins(20));
    assert_eq!(
        cloud.reset(NEW).await.unwrap_err().reason(),
        Reason::ClockSkew
    );
}

#[rstest]
#[tokio::test]
async fn a_nonce_counts_once(#[values(HmacSha1, Acs3HmacSha256)] method: SignatureMethod) {
    let key = AccessKey::new("testid", "testsecret");
    let cloud = Cloud::signing(method, key, Timeouts::default()).await;
    let signer = || Signer {
        credentials: &cloud.credentials,
        now: Timestamp::now(),
        nonce: Nonce::from_random([1; 16]),
    };
    let describe = |signer| {
        cloud
            .client
            .describe_db_instance_attribute(&cloud.endpoint, signer, "rm-1")
    };
    describe(signer()).await.unwrap();
    let error = describe(signer()).await.unwrap_err();
    assert_eq!(error.code().unwrap().as_str(), "SignatureNonceUsed");
    assert_eq!(error.class(), Class::Transient);
}

#[tokio::test]
async fn an_instance_that_is_busy_is_told() {
    let cloud = Cloud::new().await;
    cloud
        .simulator
        .set_instance_status("rm-1", "Rebooting")
        .unwrap();
    let error = cloud.reset(NEW).await.unwrap_err();
    assert_eq!(
        (error.class(), error.reason()),
        (Class::InstanceBusy, Reason::InstanceNotRunning)
    );
    cloud
        .simulator
        .set_instance_status("rm-1", "Running")
        .unwrap();
    cloud
        .simulator
        .set_lock_mode("rm-1", Some("ManualLock"))
        .unwrap();
    let error = cloud.reset(NEW).await.unwrap_err();
    assert_eq!(
        (error.class(), error.reason()),
        (Class::InstanceBusy, Reason::InstanceLocked)
    );
    assert!(!error.outcome_unknown());
}

#[tokio::test]
async fn an_account_that_is_missing_is_told() {
    let cloud = Cloud::new().await;
    cloud.simulator.remove_account("rm-1", "app").unwrap();
    let error = cloud.reset(NEW).await.unwrap_err();
    assert_eq!(
        (error.class(), error.reason()),
        (Class::PersonNeeded, Reason::AccountNotFound)
    );
}

#[rstest]
#[case::closed(Fault::close_connection(), "broken")]
#[case::cut_short(Fault::truncated_body(), "broken")]
#[case::page(
    Fault::garbage(200, "text/html", "<html>Rotated#2(%+=&)</html>"),
    "unreadable"
)]
#[case::hang(Fault::hang(), "timeout")]
#[tokio::test]
async fn a_lost_answer_leaves_the_outcome_open(#[case] fault: Fault, #[case] label: &str) {
    let cloud = Cloud::new().await;
    cloud.simulator.add_fault(
        fault
            .after_effect()
            .on(Action::ResetAccountPassword)
            .times(1),
    );
    let answer = cloud.reset_within(NEW, Duration::from_secs(1)).await;
    let error = answer.unwrap_err();
    assert_eq!(error.label(), label);
    let host = error.host().unwrap().to_string();
    assert!(
        host.starts_with("127.0.0.1:") && error.to_string().contains(&host),
        "{error}"
    );
    assert!(error.outcome_unknown());
    assert_eq!(cloud.password(), NEW, "it took effect all the same");
    cloud.reset(NEW).await.unwrap();
}

#[rstest]
#[case(400)]
#[case(500)]
#[tokio::test]
async fn an_answer_that_repeats_the_password_does_not_get_through(#[case] status: u16) {
    let cloud = Cloud::new().await;
    cloud.simulator.add_fault(Fault::echo_password(status));
    for password in ["Rotated2Rotated3", NEW] {
        let error = cloud.reset(password).await.unwrap_err();
        assert_eq!(error.code().unwrap().as_str(), "other");
        assert_eq!(error.label(), "other");
        assert!(!format!("{error} {error:?}").contains(password));
    }
}

/// In the answer to the reset itself, and in one of which the secrets are those that the request was signed with.
#[tokio::test]
async fn no_part_of_the_signing_secret_gets_through() {
    let cloud = Cloud::new().await;
    for code in ["Brand.testsec", "Brand.tercestset", "Brand.Tsecret"] {
        for action in [
            Action::ResetAccountPassword,
            Action::DescribeDBInstanceAttribute,
        ] {
            let fault = Fault::error(400, code, "Message");
            cloud.simulator.add_fault(fault.on(action).times(1));
        }
        let reset = cloud.reset(NEW).await.unwrap_err();
        let read = cloud.instance().await.unwrap_err();
        for error in [reset, read] {
            assert_eq!(error.code().unwrap().as_str(), "other");
            assert!(!format!("{error} {error:?}").contains(code));
        }
    }
}

#[rstest]
#[case::both(Fault::throttled("Throttling.User", Duration::from_millis(1500)))]
#[case::the_newer_one(Fault::throttled_by(
    WaitHeaders::RetryAfter,
    "Throttling.User",
    Duration::from_millis(1500)
))]
#[case::the_older_one(Fault::throttled_by(
    WaitHeaders::TimeLeft,
    "Throttling.User",
    Duration::from_millis(1500)
))]
#[case::the_newer_one_first(Fault::throttled("Throttling.User", Duration::from_secs(60)).retry_after(Duration::from_millis(1500)))]
#[case::whatever_the_code(Fault::error(500, "Something.New", "Message").retry_after(Duration::from_millis(1500)))]
#[tokio::test]
async fn a_throttled_answer_says_for_how_long(#[case] fault: Fault) {
    let cloud = Cloud::new().await;
    cloud.simulator.add_fault(fault);
    let error = cloud.reset(NEW).await.unwrap_err();
    assert_eq!(
        (error.class(), error.reason()),
        (Class::Throttled, Reason::Throttled)
    );
    assert_eq!(error.retry_after(), Some(Duration::from_millis(1500)));
}

#[rstest]
#[case(503, "ServiceUnavailable", Class::Transient, Reason::RdsUnavailable)]
#[case(400, "Throttling.User", Class::Throttled, Reason::Throttled)]
#[case(
    403,
    "ConcurrentTaskExceeded",
    Class::InstanceBusy,
    Reason::RdsUnavailable
)]
#[case(
    400,
    "InvalidAccountPassword.Format",
    Class::PersonNeeded,
    Reason::PasswordInvalid
)]
#[case(500, "Something.New", Class::Transient, Reason::RdsUnavailable)]
#[case(400, "Something.New", Class::PersonNeeded, Reason::Rejected)]
#[tokio::test]
async fn codes_decide(
    #[case] status: u16,
    #[case] code: &str,
    #[case] class: Class,
    #[case] reason: Reason,
) {
    let cloud = Cloud::new().await;
    cloud
        .simulator
        .add_fault(Fault::error(status, code, "Message"));
    let error = cloud.reset(NEW).await.unwrap_err();
    assert_eq!((error.class(), error.reason()), (class, reason));
    assert_eq!(
        (error.code().unwrap().as_str(), error.status()),
        (code, Some(status))
    );
    let calls = cloud.simulator.journal().calls();
    assert_eq!(error.request_id().unwrap().as_str(), calls[0].request_id);
}

/// A proxy would read a password that is sent to an `http://` endpoint; so none is used there, whatever the environment
/// says. The environment is that of a process, hence another one.
#[test]
fn nothing_unencrypted_goes_through_a_proxy() {
    let test = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "an_account_is_found_by_its_exact_name"])
        // Nobody listens there.
        .envs(
            ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]
                .map(|name| (name, "http://127.0.0.1:1")),
        )
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&test.stdout);
    assert!(
        test.status.success() && output.contains("1 passed"),
        "{output}"
    );
}
