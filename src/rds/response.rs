//! What RDS' answers mean: read leniently, believed conservatively.
//!
//! RDS is loose with JSON types (a number here, a string there), and new states appear without notice. So nothing
//! that is unknown fails to parse, and nothing that is unknown counts as good.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny},
};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    endpoint::Host,
    error::{CallError, Class, Reason, Refusal, RequestId},
    identifier::Secrets,
    requested_wait::RequestedWait,
    word::Word,
};

/// Most accounts on one page of `DescribeAccounts`.
pub(super) const ACCOUNTS_PER_PAGE: &str = "200";
const FULL_PAGE: usize = 200;

/// What an instance is like, as far as it matters for changing its accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DbInstance {
    /// `DBInstanceStatus`.
    pub status: InstanceStatus,
    /// `LockMode`.
    pub lock: Lock,
    /// RDS' name for the request that told it.
    pub request_id: RequestId,
}

/// An instance's state. RDS documents some (<https://www.alibabacloud.com/help/doc-detail/26315.html>), its official Terraform
/// provider knows others, and new ones appear without notice. So each is told by the name that RDS gives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum InstanceStatus {
    /// Usable.
    Running,
    /// A state of this name, that is expected to end.
    NotRunning(Word),
    /// A text that is not the name of a state, or none.
    Unknown,
    /// Deleting, released, or not listed.
    Gone,
}

/// Whether an instance is locked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Lock {
    /// Not locked; also if the answer does not say.
    Unlocked,
    /// Locked, for the reason of this name.
    Locked(Word),
    /// Locked, for a reason that cannot be shown.
    LockedOtherwise,
}

/// An account's state, as `DescribeAccounts` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AccountStatus {
    /// Usable, and done with its last change.
    Available,
    /// `Lock`: locked by `LockAccount` or in the console, until it is unlocked in the same way.
    Locked,
    /// A state of this name, or of none that can be shown; or the list does not tell.
    NotAvailable(Option<Word>),
    /// RDS lists no account of exactly this name, but perhaps one whose name differs in upper and lower case only.
    Missing {
        /// That one's name.
        listed_as: Option<Word>,
    },
}

impl DbInstance {
    /// What keeps accounts from being changed, if anything does.
    #[must_use]
    pub fn obstacle(&self) -> Option<(Class, Reason)> {
        match (&self.status, &self.lock) {
            (InstanceStatus::Gone, _) => Some((Class::PersonNeeded, Reason::InstanceNotFound)),
            (InstanceStatus::NotRunning(_) | InstanceStatus::Unknown, _) => {
                Some((Class::InstanceBusy, Reason::InstanceNotRunning))
            }
            (InstanceStatus::Running, Lock::Unlocked) => None,
            (InstanceStatus::Running, _) => Some((Class::InstanceBusy, Reason::InstanceLocked)),
        }
    }
}

impl fmt::Display for InstanceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "Running",
            Self::NotRunning(name) => name.as_str(),
            Self::Unknown => "an unknown state",
            Self::Gone => "deleted",
        })
    }
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unlocked => "Unlock",
            Self::Locked(name) => name.as_str(),
            Self::LockedOtherwise => "an unknown lock",
        })
    }
}

/// An answer as it came.
pub(super) struct Answer {
    /// The host that was called.
    pub(super) host: Host,
    pub(super) status: u16,
    /// What the headers ask for.
    pub(super) wait: RequestedWait,
    /// Zeroed: an error's message can hold the password.
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Answer {
    /// The request id of an answer that says yes.
    ///
    /// A yes without one is not believed: it may come from something on the way, and then what RDS did is unknown.
    pub(super) fn accepted(&self, secrets: &Secrets<'_>) -> Result<RequestId, CallError> {
        let envelope = self.envelope().ok_or_else(|| self.unreadable())?;
        let request_id = envelope.request_id.as_ref().map(|text| text.as_str());
        match envelope.code {
            Some(code) if !code.is_empty() => Err(CallError::Refused(Refusal::new(
                &code,
                request_id,
                self.status,
                self.wait,
                secrets,
            ))),
            _ if (200..300).contains(&self.status) => request_id
                .and_then(|text| RequestId::new(text, secrets))
                .ok_or_else(|| self.unreadable()),
            _ => Err(self.unreadable()),
        }
    }

    /// Reads an answer to `DescribeDBInstanceAttribute`.
    pub(super) fn db_instance(
        &self,
        instance_id: &str,
        secrets: &Secrets<'_>,
    ) -> Result<DbInstance, CallError> {
        let request_id = self.accepted(secrets)?;
        let instances = self.list("/Items/DBInstanceAttribute")?;
        let (status, lock) = if instances.is_empty() {
            (InstanceStatus::Gone, Lock::Unlocked)
        } else {
            let of_this_instance = |attributes: &&Value| {
                text_of(attributes, "DBInstanceId").is_none_or(|id| id == instance_id)
            };
            let attributes = instances
                .iter()
                .find(of_this_instance)
                .ok_or_else(|| self.unreadable())?;
            (
                instance_status(text_of(attributes, "DBInstanceStatus"), secrets),
                lock(text_of(attributes, "LockMode"), secrets),
            )
        };
        Ok(DbInstance {
            status,
            lock,
            request_id,
        })
    }

    /// Reads an answer to `DescribeAccounts`.
    pub(super) fn account(
        &self,
        account_name: &str,
        secrets: &Secrets<'_>,
    ) -> Result<AccountStatus, CallError> {
        self.accepted(secrets)?;
        let accounts = self.list("/Accounts/DBInstanceAccount")?;
        // How the API's own filter by name compares is not documented.
        let account = accounts
            .iter()
            .find(|account| text_of(account, "AccountName") == Some(account_name));
        if let Some(account) = account {
            return Ok(match text_of(account, "AccountStatus") {
                Some("Available") => AccountStatus::Available,
                Some("Lock") => AccountStatus::Locked,
                other => AccountStatus::NotAvailable(
                    other.and_then(|text| Word::of_state(text, secrets)),
                ),
            });
        }
        // It could be on the next page.
        if accounts.len() >= FULL_PAGE {
            return Ok(AccountStatus::NotAvailable(None));
        }
        let names = accounts
            .iter()
            .filter_map(|account| text_of(account, "AccountName"));
        let mut alike = names.filter_map(|name| Word::of_account(name, account_name));
        Ok(AccountStatus::Missing {
            listed_as: alike.next(),
        })
    }

    fn envelope(&self) -> Option<Envelope> {
        // Serde would also take a list for a structure.
        let object = self.body.trim_ascii_start().starts_with(b"{");
        object
            .then(|| serde_json::from_slice(&self.body).ok())
            .flatten()
    }

    fn list(&self, path: &str) -> Result<Vec<Value>, CallError> {
        let mut answer: Value =
            serde_json::from_slice(&self.body).map_err(|_| self.unreadable())?;
        match answer.pointer_mut(path).map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Err(self.unreadable()),
        }
    }

    fn unreadable(&self) -> CallError {
        CallError::Unreadable {
            status: self.status,
            host: self.host.clone(),
        }
    }
}

/// What answers have in common. The rest is skipped without being copied, messages above all.
#[derive(Deserialize)]
struct Envelope {
    // Some gateways write the names in lower case; the official SDKs take both.
    // One that is something else than text, a number or null makes the answer none of RDS: it must not pass for an answer without a code.
    #[serde(rename = "Code", alias = "code", default, deserialize_with = "strict")]
    code: Option<Zeroizing<String>>,
    #[serde(
        rename = "RequestId",
        alias = "requestId",
        default,
        deserialize_with = "loose"
    )]
    request_id: Option<Zeroizing<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Loose {
    Text(String),
    Number(serde_json::Number),
    Null(()),
    Other(IgnoredAny),
}

fn loose<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Zeroizing<String>>, D::Error> {
    Ok(match Loose::deserialize(deserializer)? {
        Loose::Text(text) => Some(Zeroizing::new(text)),
        Loose::Number(number) => Some(Zeroizing::new(number.to_string())),
        Loose::Null(()) | Loose::Other(IgnoredAny) => None,
    })
}

/// As [`loose`], but only for what is text, a number or null.
fn strict<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Zeroizing<String>>, D::Error> {
    Ok(match Loose::deserialize(deserializer)? {
        Loose::Text(text) => Some(Zeroizing::new(text)),
        Loose::Number(number) => Some(Zeroizing::new(number.to_string())),
        Loose::Null(()) => None,
        Loose::Other(IgnoredAny) => return Err(D::Error::custom("neither text nor a number")),
    })
}

fn text_of<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str()
}

fn instance_status(text: Option<&str>, secrets: &Secrets<'_>) -> InstanceStatus {
    match text {
        Some("Running") => InstanceStatus::Running,
        Some("Deleting" | "Released") => InstanceStatus::Gone,
        other => other
            .and_then(|text| Word::of_state(text, secrets))
            .map_or(InstanceStatus::Unknown, InstanceStatus::NotRunning),
    }
}

fn lock(text: Option<&str>, secrets: &Secrets<'_>) -> Lock {
    match text {
        None | Some("" | "Unlock") => Lock::Unlocked,
        Some(text) => Word::of_state(text, secrets).map_or(Lock::LockedOtherwise, Lock::Locked),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::rds::near_json::near;

    const ID: &str = "D4D4BE8A-DD46-440A-BFCD-EE31DA81C9DD";
    const NO_SECRETS: Secrets<'static> = Secrets(&[]);

    fn answer(status: u16, body: impl AsRef<[u8]>) -> Answer {
        Answer {
            host: Host::for_test("rds.aliyuncs.com"),
            status,
            wait: RequestedWait::None,
            body: Zeroizing::new(body.as_ref().to_vec()),
        }
    }

    fn unreadable(status: u16) -> CallError {
        CallError::Unreadable {
            status,
            host: Host::for_test("rds.aliyuncs.com"),
        }
    }

    fn instance(attributes: &Value) -> Result<DbInstance, CallError> {
        let body = json!({"RequestId": ID, "Items": {"DBInstanceAttribute": attributes}});
        answer(200, body.to_string()).db_instance("rm-1", &NO_SECRETS)
    }

    #[rstest]
    #[case(json!([{"DBInstanceStatus": "Running", "LockMode": "Unlock"}]), None)]
    #[case(json!([{"DBInstanceId": "rm-1", "DBInstanceStatus": "Running"}]), None)]
    #[case(json!([{"DBInstanceStatus": "Running", "LockMode": null, "Port": 3306}]), None)]
    #[case(json!([{"DBInstanceStatus": "Running", "LockMode": "", "Port": "3306"}]), None)]
    #[case(json!([{"DBInstanceId": "rm-2", "DBInstanceStatus": "Stopped"}, {"DBInstanceId": "rm-1", "DBInstanceStatus": "Running"}]), None)]
    #[case(json!([{"DBInstanceStatus": "Running", "LockMode": "LockByDiskQuota"}]), Some((Class::InstanceBusy, Reason::InstanceLocked)))]
    #[case(json!([{"DBInstanceStatus": "Running", "LockMode": "NewLock"}]), Some((Class::InstanceBusy, Reason::InstanceLocked)))]
    #[case(json!([{"DBInstanceStatus": "Rebooting", "LockMode": "ManualLock"}]), Some((Class::InstanceBusy, Reason::InstanceNotRunning)))]
    #[case(json!([{"DBInstanceStatus": "running"}]), Some((Class::InstanceBusy, Reason::InstanceNotRunning)))]
    #[case(json!([{"DBInstanceStatus": 1}]), Some((Class::InstanceBusy, Reason::InstanceNotRunning)))]
    #[case(json!([{}]), Some((Class::InstanceBusy, Reason::InstanceNotRunning)))]
    #[case(json!([{"DBInstanceStatus": "Deleting"}]), Some((Class::PersonNeeded, Reason::InstanceNotFound)))]
    #[case(json!([{"DBInstanceStatus": "Released"}]), Some((Class::PersonNeeded, Reason::InstanceNotFound)))]
    #[case(json!([]), Some((Class::PersonNeeded, Reason::InstanceNotFound)))]
    fn instances(#[case] attributes: Value, #[case] obstacle: Option<(Class, Reason)>) {
        assert_eq!(instance(&attributes).unwrap().obstacle(), obstacle);
    }

    #[rstest]
    #[case(json!(null))]
    #[case(json!({"DBInstanceStatus": "Running"}))]
    #[case(json!("Running"))]
    #[case(json!([{"DBInstanceId": "rm-2", "DBInstanceStatus": "Running"}]))]
    fn answers_about_nothing_are_not_believed(#[case] attributes: Value) {
        assert_eq!(instance(&attributes), Err(unreadable(200)));
    }

    #[rstest]
    #[case("TRANSING", "LockByExpiration", "TRANSING, LockByExpiration")]
    #[case(
        "INS_MAINTAINING",
        "LockBySomething",
        "INS_MAINTAINING, LockBySomething"
    )]
    #[case("<script>", "a b", "an unknown state, an unknown lock")]
    #[case("xSecret12word", "Ecret1", "an unknown state, an unknown lock")]
    #[case("Released", "Unlock", "deleted, Unlock")]
    fn states_are_shown_by_their_names(
        #[case] state: &str,
        #[case] lock: &str,
        #[case] shown: &str,
    ) {
        let attributes = json!([{"DBInstanceStatus": state, "LockMode": lock}]);
        let body = json!({"RequestId": ID, "Items": {"DBInstanceAttribute": attributes}});
        let answer = answer(200, body.to_string());
        let instance = answer
            .db_instance("rm-1", &Secrets(&["Secret12word"]))
            .unwrap();
        assert_eq!(format!("{}, {}", instance.status, instance.lock), shown);
    }

    fn missing(listed_as: Option<&str>) -> AccountStatus {
        let word = |name: &str| Word::of_account(name, name).unwrap();
        AccountStatus::Missing {
            listed_as: listed_as.map(word),
        }
    }

    fn not_available(state: Option<&str>) -> AccountStatus {
        AccountStatus::NotAvailable(state.map(Word::for_test))
    }

    #[rstest]
    #[case(json!([{"AccountName": "app", "AccountStatus": "Available", "PrivExceeded": 0}]), AccountStatus::Available)]
    #[case(json!([{"AccountName": "app2", "AccountStatus": "Available"}, {"AccountName": "app", "AccountStatus": "Unavailable"}]), not_available(Some("Unavailable")))]
    #[case(json!([{"AccountName": "app", "AccountStatus": "Lock"}]), AccountStatus::Locked)]
    #[case(json!([{"AccountName": "app", "AccountStatus": "Resetting"}]), not_available(Some("Resetting")))]
    #[case(json!([{"AccountName": "app", "AccountStatus": "<script>"}]), not_available(None))]
    #[case(json!([{"AccountName": "app"}]), not_available(None))]
    #[case(json!([{"AccountName": "APP", "AccountStatus": "Available"}]), missing(Some("APP")))]
    #[case(json!([{"AccountName": "APP", "AccountStatus": "Available"}, {"AccountName": "app", "AccountStatus": "Lock"}]), AccountStatus::Locked)]
    #[case(json!([{"AccountName": "app2", "AccountStatus": "Available"}]), missing(None))]
    #[case(json!([{"AccountName": 1}]), missing(None))]
    #[case(json!([]), missing(None))]
    #[case(json!(vec![json!({"AccountName": "APP"}); FULL_PAGE]), not_available(None))]
    fn account_states(#[case] accounts: Value, #[case] status: AccountStatus) {
        let body = json!({"RequestId": ID, "Accounts": {"DBInstanceAccount": accounts}});
        assert_eq!(
            answer(200, body.to_string()).account("app", &NO_SECRETS),
            Ok(status)
        );
    }

    #[test]
    fn a_page_is_as_long_as_was_asked_for() {
        assert_eq!(ACCOUNTS_PER_PAGE, FULL_PAGE.to_string());
    }

    #[rstest]
    #[case(format!(r#"{{"RequestId":"{ID}"}}"#), ID)]
    #[case(format!(r#" {{"requestId":"{ID}","Code":""}}"#), ID)]
    #[case(r#"{"RequestId":42,"Extra":[{}]}"#.to_owned(), "42")]
    fn a_yes_has_a_request_id(#[case] body: String, #[case] id: &str) {
        assert_eq!(
            answer(200, body).accepted(&NO_SECRETS).unwrap().as_str(),
            id
        );
    }

    #[rstest]
    #[case(200, "")]
    #[case(200, "OK")]
    #[case(200, "{}")]
    #[case(200, r#"{"RequestId":null}"#)]
    #[case(200, r#"{"RequestId":"not an id"}"#)]
    #[case(200, r#"["D4D4BE8A", "D4D4BE8A"]"#)]
    #[case(200, r#"{"RequestId":"1","RequestId":"2"}"#)]
    #[case(
        200,
        "<ResetAccountPasswordResponse><RequestId>1</RequestId></ResetAccountPasswordResponse>"
    )]
    #[case(200, r#"{"RequestId":"1","Code":[]}"#)]
    #[case(200, r#"{"RequestId":"1","Code":{"Code":"Throttling"}}"#)]
    #[case(302, r#"{"RequestId":"1"}"#)]
    #[case(403, "<html>blocked by the proxy</html>")]
    #[case(502, "Bad Gateway")]
    #[case(500, r#"{"RequestId":"1"}"#)]
    fn anything_else_is_not_believed(#[case] status: u16, #[case] body: &str) {
        assert_eq!(
            answer(status, body).accepted(&NO_SECRETS),
            Err(unreadable(status))
        );
    }

    #[rstest]
    #[case(r#"{"Code":"Throttling.User","Message":"m","RequestId":"R-1"}"#)]
    #[case(r#"{"code":"Throttling.User","message":"m","requestId":"R-1","AccessDeniedDetail":{}}"#)]
    fn a_no_has_code_id_and_time_left(#[case] body: &str) {
        let mut answer = answer(429, body);
        answer.wait = RequestedWait::TimeLeft(Duration::from_secs(3));
        let error = answer.accepted(&NO_SECRETS).unwrap_err();
        assert_eq!(error.code().unwrap().as_str(), "Throttling.User");
        assert_eq!(error.request_id().unwrap().as_str(), "R-1");
        assert_eq!(error.status(), Some(429));
        assert_eq!(error.class(), Class::Throttled);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
    }

    /// An answer to each of the three actions.
    fn any_valid_answer() -> impl Strategy<Value = Value> {
        const ID: &str = "D4D4BE8A-DD46-440A-BFCD-EE31DA81C9DD";
        proptest::sample::select(vec![
            serde_json::json!({ "RequestId": ID, "Code": "", "Message": "" }),
            serde_json::json!({ "RequestId": ID, "Code": "InternalError", "Message": "m" }),
            serde_json::json!({ "RequestId": ID, "Items": { "DBInstanceAttribute": [
                { "DBInstanceId": "rm-1", "DBInstanceStatus": "Running", "LockMode": "Unlock" },
            ] } }),
            serde_json::json!({ "RequestId": ID, "Accounts": { "DBInstanceAccount": [
                { "AccountName": "app", "AccountStatus": "Available", "DBInstanceId": "rm-1" },
            ] } }),
        ])
    }

    const TEXTS: &[&str] = &[
        "Secret12word",
        "SECRET12WORD",
        "a.Secret12word.b",
        "Running",
        "Stopped",
        "Deleting",
        "Unlock",
        "ManualLock",
        "Available",
        "Unavailable",
        "Lock",
        "rm-1",
        "rm-2",
        "app",
        "Throttling",
        "Items",
        "Accounts",
        "Code",
        "RequestId",
    ];

    proptest! {
        /// An instance or account that is not said to be usable, in so many words, is not believed to be.
        #[test]
        fn what_is_nearly_an_answer_is_read_conservatively(
            status in prop_oneof![3 => Just(200), 1 => 100..600_u16],
            body in any_valid_answer().prop_flat_map(|valid| near(valid, TEXTS)),
        ) {
            let secrets = Secrets(&["Secret12word"]);
            let answer = answer(status, body.to_string());
            let (accepted, instance, account) = (
                answer.accepted(&secrets),
                answer.db_instance("rm-1", &secrets),
                answer.account("app", &secrets),
            );
            let shown = format!("{accepted:?} {instance:?} {account:?}").to_lowercase();
            prop_assert!(!shown.contains("secret12word"), "{}", shown);
            if let Err(error) = &accepted {
                prop_assert!(!error.to_string().to_lowercase().contains("secret12word"));
                prop_assert!(instance.is_err() && account.is_err());
            } else {
                prop_assert!((200..300).contains(&status));
                prop_assert!(matches!(body["Code"], Value::Null) || body["Code"] == "");
            }
            let says = |text: &str| body.to_string().contains(text);
            if instance.is_ok_and(|instance| instance.obstacle().is_none()) {
                prop_assert!(says("\"Running\""));
            }
            if account.is_ok_and(|account| account == AccountStatus::Available) {
                prop_assert!(says("\"Available\""));
            }
        }

        #[test]
        fn no_answer_panics_or_leaks(
            status in 100..600_u16,
            body in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                r#"\{"(Code|Message|RequestId|Items|Accounts)": ?("[A-Za-z.]{0,9}Secret12word[A-Za-z0-9.-]{0,9}"|[0-9]{1,9}|\[\]|null),"(Code|RequestId)":"[ -~]{0,12}secret12WORD"\}"#.prop_map(String::into_bytes),
            ],
        ) {
            let secrets = Secrets(&["Secret12word"]);
            let answer = answer(status, body);
            let shown = format!(
                "{:?} {:?} {:?}",
                answer.accepted(&secrets),
                answer.db_instance("rm-1", &secrets),
                answer.account("app", &secrets)
            );
            prop_assert!(!shown.to_lowercase().contains("secret12word"));
            if let Err(error) = answer.accepted(&secrets) {
                prop_assert!(!error.to_string().to_lowercase().contains("secret12word"));
            }
        }
    }
}
