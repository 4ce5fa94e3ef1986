//! The status: what was done, what is in the way, and when the next try is.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DatabaseAccountPassword, Target};

/// How many entries `history` keeps: enough to see a bad night, small enough not to matter in etcd.
pub const HISTORY_LIMIT: usize = 10;

/// What the operator knows about a `DatabaseAccountPassword`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseAccountPasswordStatus {
    /// The generation of the spec that this status speaks of; -1 before the operator has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// When the operator first looked at that generation of the spec. In the first five minutes an instance or account that is not
    /// found may be created yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation_time: Option<Time>,

    /// Ready, SecretReady, InstanceReady and PasswordSynced; Reconciling, Stalled and Suspended only while they are true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// The last successful reset: what Ready rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reset: Option<Reset>,

    /// The newest try while it is not a success; gone after one. It is written down before it is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<Attempt>,

    /// Resets that were sent and not answered: RDS may still carry them out. Each is written down before it is sent, and leaves
    /// once it was answered, or once a reset is accepted that was sent when it could no longer take effect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 18))]
    pub unanswered_sends: Vec<UnansweredSend>,

    /// Since when the value in the Secret, or a request, has not been applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_since: Option<Time>,

    /// The last 10 finished tries, newest first. A try that ended like the one before it replaces that one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub history: Vec<FinishedTry>,

    /// The value of the annotation `rds.password-operator.dev/requested-at` that the last reset carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_request: Option<String>,
}

/// Why a reset was made.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// The resource had never been reset.
    Created,
    /// The Secret's value differs from the one that was applied, or an answer was lost and nobody knows which of the two the
    /// database has.
    SecretChanged,
    /// The resource names another instance or account than the one that was reset.
    SpecChanged,
    /// The annotation `rds.password-operator.dev/requested-at` has a new value.
    Requested,
    /// Another reset of this account may have come after the last one, so the value is sent again: two operator processes reset
    /// it at the same time, an earlier reset with another value was not answered, or this resource did not own the account or
    /// named another one for a while.
    Overlapped,
}

impl Trigger {
    /// The word as it stands in the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::SecretChanged => "SecretChanged",
            Self::SpecChanged => "SpecChanged",
            Self::Requested => "Requested",
            Self::Overlapped => "Overlapped",
        }
    }
}

/// A reset that RDS accepted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Reset {
    /// When RDS accepted it.
    pub time: Time,
    /// RDS' `RequestId` of the call.
    pub request_id: String,
    /// Why the reset was made.
    pub trigger: Trigger,
    /// The instance that was reset (`DBInstanceId`).
    pub instance_id: String,
    /// The account that was reset (`AccountName`).
    pub account_name: String,
    /// Which version of the Secret held the value.
    pub secret: SecretVersion,
    /// A keyed fingerprint of the value. Absent where the value has to be sent again, because another reset may have come after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<StoredFingerprint>,
}

impl Reset {
    /// Whether this was a reset of `target`.
    #[must_use]
    pub fn is_of(&self, target: &Target) -> bool {
        self.instance_id == target.instance_id && self.account_name == target.account_name
    }
}

/// A version of one key of a Secret. It tells when to look, never whether the value differs.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretVersion {
    /// `metadata.uid` of the Secret.
    pub uid: String,
    /// `metadata.resourceVersion` of the Secret.
    pub resource_version: String,
    /// The key of its `data`.
    pub key: String,
}

/// A message authentication code of an account and its password. The key is in a Secret of the operator's own namespace, so
/// that the value cannot be guessed from it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct StoredFingerprint {
    /// Which key made it.
    pub key_id: String,
    /// The first 128 bits of the HMAC-SHA-256, in base64.
    pub mac: String,
}

/// A try that was not a success, or is not yet: each is written down before it is sent.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// When it ended; while there is no answer, when it began.
    pub time: Time,
    /// How many tries in a row have failed for this value, spec and request. One that has no answer counts.
    #[schemars(with = "i32", range(min = 1))]
    pub failures: u32,
    /// The cloud API's error code, where it gave a usable one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The cloud API's `RequestId`, which Alibaba Cloud's support asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// No try before this time, unless the value, the spec or the request changes.
    pub next_time: Time,
    /// The generation of the spec that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// The value of the `requested-at` annotation that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The keyed fingerprint of the value that was tried.
    pub fingerprint: StoredFingerprint,
    /// True where there is no answer yet, or it was lost, of this try or of one before it: the database may have that value, so
    /// that even the value of the last reset counts as not applied.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outcome_unknown: bool,
    /// How many sends of this value had no answer, the present one included. The time-out of the next one grows with it.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(with = "i32", range(min = 0))]
    pub unanswered: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A reset that was sent, or was about to be, and has no answer: RDS may still carry it out.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct UnansweredSend {
    /// The instance (`DBInstanceId`).
    pub instance_id: String,
    /// The account (`AccountName`).
    pub account_name: String,
    /// The keyed fingerprint of the value that was sent.
    pub fingerprint: StoredFingerprint,
    /// When the operator stopped waiting for the answer. While it waits, and after a crash: when its time-out ends.
    pub time: Time,
}

impl UnansweredSend {
    /// The account that it was sent to.
    #[must_use]
    pub fn target(&self) -> Target {
        Target {
            instance_id: self.instance_id.clone(),
            account_name: self.account_name.clone(),
        }
    }

    /// Whether this may have been a reset of `target`: some engines ignore the case of an account's name.
    #[must_use]
    pub fn is_of(&self, target: &Target) -> bool {
        target.is_named_by(&self.instance_id, &self.account_name)
    }
}

/// How a finished try ended: `Reset`, or the reason of the condition that it led to.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(transparent)]
pub struct TryOutcome(pub String);

/// One entry of the history.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct FinishedTry {
    /// When it ended.
    pub time: Time,
    /// Why it was made.
    pub trigger: Trigger,
    /// `Reset`, or the reason of the condition that it led to.
    pub outcome: TryOutcome,
    /// The cloud API's error code, where it gave a usable one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The cloud API's `RequestId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl DatabaseAccountPassword {
    /// The last reset, if it was of the account that the spec names now.
    #[must_use]
    pub fn last_reset_of_target(&self) -> Option<&Reset> {
        self.status
            .as_ref()?
            .last_reset
            .as_ref()
            .filter(|reset| reset.is_of(&self.spec.target()))
    }

    /// Since when the operator has known the present spec; `now`, where it has not looked at it yet. A status without that time,
    /// such as an earlier version has written, is as old as its resource.
    #[must_use]
    pub fn spec_known_since(&self, now: Timestamp) -> Timestamp {
        let status = self.status.as_ref();
        let status = status.filter(|status| status.observed_generation == self.metadata.generation);
        let Some(status) = status else {
            return now;
        };
        let created = self.metadata.creation_timestamp.as_ref();
        let known = status.observed_generation_time.as_ref().or(created);
        known.map_or(Timestamp::UNIX_EPOCH, |time| time.0)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use proptest::collection::vec;
    use proptest::option::of;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    /// The API has whole seconds.
    fn any_time() -> impl Strategy<Value = Time> {
        let second = -62_000_000_000_i64..250_000_000_000;
        second.prop_map(|second| Time(Timestamp::from_second(second).unwrap()))
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![Just(String::new()), any::<String>(), "true|null|1|~|- a"]
    }

    fn any_trigger() -> impl Strategy<Value = Trigger> {
        use Trigger::{Created, Overlapped, Requested, SecretChanged, SpecChanged};
        select(vec![
            Created,
            SecretChanged,
            SpecChanged,
            Requested,
            Overlapped,
        ])
    }

    prop_compose! {
        fn any_fingerprint()(key_id in any_text(), mac in any_text()) -> StoredFingerprint {
            StoredFingerprint { key_id, mac }
        }
    }

    prop_compose! {
        fn any_condition()(
            (type_, status, reason, message) in (any_text(), any_text(), any_text(), any_text()),
            last_transition_time in any_time(),
            observed_generation in of(any::<i64>()),
        ) -> Condition {
            Condition { type_, status, reason, message, last_transition_time, observed_generation }
        }
    }

    prop_compose! {
        fn any_reset()(
            time in any_time(),
            (request_id, instance_id, account_name) in (any_text(), any_text(), any_text()),
            (uid, resource_version, key) in (any_text(), any_text(), any_text()),
            trigger in any_trigger(),
            fingerprint in of(any_fingerprint()),
        ) -> Reset {
            let secret = SecretVersion { uid, resource_version, key };
            Reset { time, request_id, trigger, instance_id, account_name, secret, fingerprint }
        }
    }

    prop_compose! {
        fn any_attempt()(
            (time, next_time) in (any_time(), any_time()),
            failures in any::<u32>(),
            (code, request_id, request) in (of(any_text()), of(any_text()), of(any_text())),
            generation in of(any::<i64>()),
            fingerprint in any_fingerprint(),
            outcome_unknown in any::<bool>(),
            unanswered in any::<u32>(),
        ) -> Attempt {
            Attempt { time, failures, code, request_id, next_time, generation, request, fingerprint, outcome_unknown, unanswered }
        }
    }

    prop_compose! {
        fn any_send()(
            (instance_id, account_name) in (any_text(), any_text()),
            fingerprint in any_fingerprint(),
            time in any_time(),
        ) -> UnansweredSend {
            UnansweredSend { instance_id, account_name, fingerprint, time }
        }
    }

    prop_compose! {
        fn any_finished_try()(
            time in any_time(),
            trigger in any_trigger(),
            outcome in any_text(),
            (code, request_id) in (of(any_text()), of(any_text())),
        ) -> FinishedTry {
            FinishedTry { time, trigger, outcome: TryOutcome(outcome), code, request_id }
        }
    }

    prop_compose! {
        fn any_status()(
            observed_generation in of(any::<i64>()),
            observed_generation_time in of(any_time()),
            conditions in vec(any_condition(), 0..3),
            last_reset in of(any_reset()),
            last_attempt in of(any_attempt()),
            unanswered_sends in vec(any_send(), 0..3),
            pending_since in of(any_time()),
            history in vec(any_finished_try(), 0..3),
            last_handled_request in of(any_text()),
        ) -> DatabaseAccountPasswordStatus {
            DatabaseAccountPasswordStatus {
                observed_generation,
                observed_generation_time,
                conditions,
                last_reset,
                last_attempt,
                unanswered_sends,
                pending_since,
                history,
                last_handled_request,
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// What is written is read again as it was: a pass that finds a difference writes, and the next one must not.
        #[test]
        fn what_is_written_is_read_again(status in any_status()) {
            let written = serde_json::to_string(&status).unwrap();
            let read: DatabaseAccountPasswordStatus = serde_json::from_str(&written).unwrap();
            prop_assert_eq!(&read, &status);
            prop_assert_eq!(serde_json::to_string(&read).unwrap(), written);
        }
    }
}
