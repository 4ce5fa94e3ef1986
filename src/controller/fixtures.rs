//! What the tests of the pure steps are made of.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::decide::{Observation, Ownership, SecretObservation, SecretProblem, SecretValue};
use super::outcome::{Accepted, Account, Failure};
use super::unanswered::{ResetTiming, Unanswered};
use crate::api::{DatabaseAccountPassword, SecretVersion, Target, Trigger};
use crate::fingerprint::{KEY_BYTES, Keyring};
use crate::rds::classification::{Class, Reason};
use crate::rds::identifier::{Code, RequestId};
use crate::rds::password::Password;

pub(super) const PASSWORD: &str = "Secret12word";
pub(super) const OTHER_PASSWORD: &str = "Other34word";

pub(super) const TIMING: ResetTiming = ResetTiming {
    timeout: Duration::from_secs(20),
    settling: Duration::from_secs(180),
};

/// A moment, in seconds after the tests' beginning of time.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_507_200 + seconds).unwrap()
}

/// A resource that names the account `app` of `rm-1` and the Secret `orders-db`, overlaid with `patch` (as a JSON merge patch).
pub(super) fn resource(patch: &Value) -> DatabaseAccountPassword {
    let mut resource = json!({
        "apiVersion": "rds.password-operator.dev/v1alpha1",
        "kind": "DatabaseAccountPassword",
        "metadata": { "name": "orders-app", "namespace": "shop", "uid": "uid-1", "generation": 1 },
        "spec": {
            "instanceId": "rm-1",
            "accountName": "app",
            "passwordSecretRef": { "name": "orders-db" },
        },
        "status": { "observedGeneration": -1 },
    });
    merge(&mut resource, patch);
    serde_json::from_value(resource).unwrap()
}

/// RFC 7386.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut target[name.as_str()], value);
        }
    }
}

/// A keyring whose first key is the current one. Keys of the same name are the same.
pub(super) fn keyring(ids: &[&str]) -> Keyring {
    let key = |id: &&str| {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        for (byte, letter) in bytes.iter_mut().zip(id.bytes()) {
            *byte = letter;
        }
        ((*id).to_owned(), bytes)
    };
    Keyring::new(key(&ids[0]), ids[1..].iter().map(key))
}

/// What an observation is made of, so that a test can change one thing and look again.
#[derive(Clone)]
pub(super) struct World {
    pub(super) resource: DatabaseAccountPassword,
    pub(super) ownership: Ownership,
    pub(super) secret: Result<&'static str, SecretProblem>,
    pub(super) version: SecretVersion,
    pub(super) keys: Vec<&'static str>,
    pub(super) now: Timestamp,
}

impl World {
    /// A resource that nobody has looked at yet, and its Secret.
    pub(super) fn new() -> Self {
        Self {
            resource: resource(&json!({})),
            ownership: Ownership::Ours,
            secret: Ok(PASSWORD),
            version: SecretVersion {
                uid: "secret-1".to_owned(),
                resource_version: "7".to_owned(),
                key: "password".to_owned(),
            },
            keys: vec!["key-1"],
            now: at(0),
        }
    }

    pub(super) fn observe(&self) -> Observation {
        let keyring = keyring(&self.keys);
        let target = self.resource.spec.target();
        let secret = match self.secret {
            Err(problem) => SecretObservation::Unusable(problem),
            Ok(value) => SecretObservation::Usable(SecretValue {
                version: self.version.clone(),
                password: Password::from_bytes(value.as_bytes()).unwrap(),
                fingerprint: keyring.fingerprint(&target, value.as_bytes()),
                compared: self
                    .resource
                    .last_reset_of_target()
                    .and_then(|reset| reset.fingerprint.as_ref())
                    .map(|stored| keyring.compare(stored, &target, value.as_bytes())),
            }),
        };
        Observation {
            resource: Arc::new(self.resource.clone()),
            ownership: self.ownership,
            secret,
            unanswered: Unanswered::of(self.resource.status.as_ref(), &[], TIMING, self.now),
            looked: Instant::now(),
        }
    }

    /// Writes another value to the Secret.
    pub(super) fn rotate(&mut self, value: &'static str) {
        self.secret = Ok(value);
        let version: u64 = self.version.resource_version.parse().unwrap();
        self.version.resource_version = (version + 1).to_string();
    }

    /// Changes the spec, as the API server would store it.
    pub(super) fn edit(&mut self, patch: &Value) {
        self.patch(&json!({ "spec": patch }));
        self.resource.metadata.generation =
            self.resource.metadata.generation.map(|number| number + 1);
    }

    pub(super) fn patch(&mut self, patch: &Value) {
        let mut resource = serde_json::to_value(&self.resource).unwrap();
        merge(&mut resource, patch);
        self.resource = serde_json::from_value(resource).unwrap();
    }

    pub(super) fn request(&mut self, value: &str) {
        let annotation = crate::api::REQUESTED_AT_ANNOTATION;
        self.patch(&json!({ "metadata": { "annotations": { annotation: value } } }));
    }

    pub(super) fn target(&self) -> Target {
        self.resource.spec.target()
    }
}

pub(super) fn accepted(time: Timestamp, trigger: Trigger, account: Account) -> Accepted {
    Accepted {
        time,
        sent: time,
        request_id: RequestId::for_test("D4D4BE8A-DD46-440A-BFCD-EE31DA81C9DD"),
        trigger,
        account,
    }
}

pub(super) fn failure(trigger: Trigger, class: Class, reason: Reason) -> Failure {
    Failure {
        trigger,
        reason,
        class,
        explanation: Cow::Borrowed("what it means and what to do"),
        code: Some(Code::for_test("Some.Code")),
        request_id: Some(RequestId::for_test("11111111-DD46-440A-BFCD-EE31DA81C9DD")),
        host: None,
        retry_after: None,
        until: None,
        instance_was_running: false,
        outcome_unknown: false,
    }
}

/// A condition of a status, as JSON.
pub(super) fn condition(type_: &str, status: &str, reason: &str) -> Value {
    json!({
        "type": type_,
        "status": status,
        "reason": reason,
        "message": "",
        "lastTransitionTime": at(0).to_string(),
    })
}
