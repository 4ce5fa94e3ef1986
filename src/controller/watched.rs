//! A `DatabaseAccountPassword` as the watch brings it and the store keeps it: packed, or, where this version's types do not fit
//! it, reduced to what must be known all the same. One object that cannot be decoded must not stop the list for all others.

use std::borrow::Cow;
use std::sync::Arc;

use lz4_flex::block::{compress_with_dict, decompress_with_dict};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::{
    DatabaseAccountPassword, DatabaseAccountPasswordSpec, DatabaseAccountPasswordStatus,
    REQUESTED_AT_ANNOTATION, Target,
};
use crate::metrics::fleet;

/// A watched resource.
#[derive(Debug, Clone)]
pub enum Watched {
    /// It could be decoded.
    Decoded(Box<Packed>),
    /// It could not.
    Undecodable(Box<Undecodable>),
}

/// A resource at rest. Nearly all of them are at nearly all times, and decoded each would take several KiB, most of it for
/// words that all of them have in common.
#[derive(Debug, Clone)]
pub struct Packed {
    metadata: ObjectMeta,
    /// Spec and status, as compressed JSON.
    content: Box<[u8]>,
    /// The length of that JSON.
    length: usize,
    state: fleet::State,
}

/// What most resources have in common. It makes them small, and any other would do: what is packed here never leaves the
/// process.
const DICTIONARY: &[u8] = br#"{"spec":{"instanceId":"rm-","accountName":"","passwordSecretRef":{"name":"","key":"password"},"suspend":false},"status":{"observedGeneration":1,"conditions":[{"lastTransitionTime":"20","message":"RDS accepted the Secret's current value for this account","observedGeneration":1,"reason":"InSync","status":"True","type":"Ready"},{"lastTransitionTime":"","message":"the Secret's value keeps the password rules of RDS","observedGeneration":1,"reason":"Valid","status":"True","type":"SecretReady"},{"lastTransitionTime":"","message":"the instance is Running and not locked","observedGeneration":1,"reason":"Running","status":"True","type":"InstanceReady"},{"lastTransitionTime":"","message":"RDS accepted the Secret's value","observedGeneration":1,"reason":"Reset","status":"True","type":"PasswordSynced"}],"lastReset":{"time":"","requestId":"","trigger":"Created","instanceId":"","accountName":"","secret":{"uid":"","resourceVersion":"","key":"password"},"fingerprint":{"keyId":"","mac":""}},"history":[{"time":"","trigger":"SecretChanged","outcome":"Reset","requestId":""},{"time":""}]}}"#;

#[derive(Serialize)]
struct ContentRef<'a> {
    spec: &'a DatabaseAccountPasswordSpec,
    status: &'a Option<DatabaseAccountPasswordStatus>,
}

#[derive(Deserialize)]
struct Content {
    spec: DatabaseAccountPasswordSpec,
    status: Option<DatabaseAccountPasswordStatus>,
}

impl Packed {
    fn new(resource: DatabaseAccountPassword) -> serde_json::Result<Self> {
        let state = fleet::State::of(&resource);
        let DatabaseAccountPassword {
            mut metadata,
            spec,
            status,
        } = resource;
        trim(&mut metadata);
        let json = serde_json::to_vec(&ContentRef {
            spec: &spec,
            status: &status,
        })?;
        Ok(Self {
            metadata,
            content: compress_with_dict(&json, DICTIONARY).into(),
            length: json.len(),
            state,
        })
    }

    fn unpack(&self) -> Option<DatabaseAccountPassword> {
        let json = decompress_with_dict(&self.content, self.length, DICTIONARY).ok()?;
        let Content { spec, status } = serde_json::from_slice(&json).ok()?;
        Some(DatabaseAccountPassword {
            metadata: self.metadata.clone(),
            spec,
            status,
        })
    }
}

/// Leaves of a resource's metadata what is needed: a quarter of a MiB of annotations fits into each.
fn trim(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    metadata.labels = None;
    metadata.finalizers = None;
    metadata.owner_references = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|name, _| name == REQUESTED_AT_ANNOTATION);
    }
}

impl Watched {
    /// The resource, if it can be decoded.
    #[must_use]
    pub fn resource(&self) -> Option<Arc<DatabaseAccountPassword>> {
        match self {
            Self::Decoded(packed) => packed.unpack().map(Arc::new),
            Self::Undecodable(_) => None,
        }
    }

    /// What metrics tell of it.
    #[must_use]
    pub fn state(&self) -> fleet::State {
        match self {
            Self::Decoded(packed) => packed.state,
            Self::Undecodable(_) => fleet::State::Undecodable,
        }
    }
}

/// What is known of a resource that cannot be decoded.
#[derive(Debug, Clone)]
pub struct Undecodable {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// The account that it names, where that much can be read: it still owns it.
    pub target: Option<Target>,
    /// When it last reset this very account. Without it, an older resource would count as the owner, and take the account over.
    pub last_reset: Option<Timestamp>,
}

impl<'de> Deserialize<'de> for Watched {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if let Ok(packed) = DatabaseAccountPassword::deserialize(&value).and_then(Packed::new) {
            return Ok(Self::Decoded(Box::new(packed)));
        }
        let target = target_in(&value["spec"]);
        let last_reset = &value["status"]["lastReset"];
        let last_reset = last_reset["time"]
            .as_str()
            .and_then(|time| time.parse().ok())
            .filter(|_| target_in(last_reset) == target);
        let mut metadata = ObjectMeta::deserialize(&value["metadata"]).map_err(D::Error::custom)?;
        trim(&mut metadata);
        Ok(Self::Undecodable(Box::new(Undecodable {
            metadata,
            target,
            last_reset,
        })))
    }
}

/// The account that this object (a spec, or a `lastReset`) names.
fn target_in(object: &Value) -> Option<Target> {
    let text = |field: &str| object[field].as_str().map(str::to_owned);
    Some(Target {
        instance_id: text("instanceId")?,
        account_name: text("accountName")?,
    })
}

impl Resource for Watched {
    type DynamicType = ();
    type Scope = <DatabaseAccountPassword as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        DatabaseAccountPassword::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        DatabaseAccountPassword::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        DatabaseAccountPassword::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        DatabaseAccountPassword::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Decoded(packed) => &packed.metadata,
            Self::Undecodable(resource) => &resource.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Decoded(packed) => &mut packed.metadata,
            Self::Undecodable(resource) => &mut resource.metadata,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::api::Trigger;
    use crate::controller::fixtures::{World, accepted, at};
    use crate::controller::outcome::{Account, Outcome};
    use crate::controller::status::{Times, after};
    use crate::rds::near_json::near;

    /// A resource that was reset this often, and is in sync.
    fn at_rest(resets: i64) -> DatabaseAccountPassword {
        let mut world = World::new();
        for reset in 0..resets {
            let outcome = Outcome::Accepted(accepted(
                at(reset),
                Trigger::SecretChanged,
                Account::Available,
            ));
            let times = Times {
                now: at(reset),
                next: at(reset + 3000),
            };
            let status = world.resource.status.clone().unwrap_or_default();
            world.resource.status = Some(after(&status, &world.observe(), &outcome, times));
        }
        world.resource
    }

    #[rstest]
    #[case::once(1)]
    #[case::often(12)]
    fn at_rest_it_is_small(#[case] resets: i64) {
        let resource = at_rest(resets);
        let packed = Packed::new(resource.clone()).unwrap();
        assert!(
            packed.content.len() * 4 < packed.length,
            "{} of {} bytes: is the dictionary still like what most resources are?",
            packed.content.len(),
            packed.length,
        );
        assert_eq!(packed.unpack().unwrap().status, resource.status);
    }

    #[test]
    fn of_the_metadata_is_kept_what_is_needed() {
        let pairs = [(REQUESTED_AT_ANNOTATION, "1"), ("long", "text")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut metadata = ObjectMeta {
            name: Some("a".to_owned()),
            annotations: Some(pairs.clone().into()),
            labels: Some(pairs.into()),
            managed_fields: Some(Vec::new()),
            finalizers: Some(vec!["a/b".to_owned()]),
            owner_references: Some(Vec::new()),
            ..ObjectMeta::default()
        };
        trim(&mut metadata);
        let kept = ObjectMeta {
            name: Some("a".to_owned()),
            annotations: Some([(REQUESTED_AT_ANNOTATION.to_owned(), "1".to_owned())].into()),
            ..ObjectMeta::default()
        };
        assert_eq!(metadata, kept);
    }

    #[test]
    fn an_undecodable_object_keeps_its_name_and_target() {
        let watched: Watched = serde_json::from_value(json!({
            "apiVersion": "rds.password-operator.dev/v1alpha1",
            "kind": "DatabaseAccountPassword",
            "metadata": { "name": "a", "namespace": "n", "uid": "u" },
            "spec": { "instanceId": "rm-1", "accountName": "app", "suspend": "yes" },
        }))
        .unwrap();
        let Watched::Undecodable(resource) = watched else {
            unreachable!("suspend is no boolean")
        };
        assert_eq!(resource.metadata.name.as_deref(), Some("a"));
        assert_eq!(resource.target.unwrap().account_name, "app");
        assert_eq!(resource.last_reset, None);
    }

    proptest! {
        /// Whatever is stored: it is decoded, or its name and, where it can be read, its account are known; one object fails the
        /// list only if its metadata is none.
        #[test]
        fn whatever_is_stored_is_taken_in(object in near(
            json!({
                "metadata": { "name": "a", "namespace": "n", "uid": "u", "generation": 1 },
                "spec": {
                    "instanceId": "rm-1",
                    "accountName": "app",
                    "passwordSecretRef": { "name": "s", "key": "password" },
                    "suspend": false,
                },
                "status": {
                    "observedGeneration": 1,
                    "lastReset": {
                        "time": "2026-11-24T08:00:00Z", "requestId": "1", "trigger": "Created", "instanceId": "rm-1",
                        "accountName": "app", "secret": { "uid": "u", "resourceVersion": "1", "key": "password" },
                    },
                },
            }),
            &["", "app", "rm-1", "2026-11-24T08:00:00Z", "Created", "status", "spec"],
        )) {
            let metadata = ObjectMeta::deserialize(&object["metadata"]);
            let watched: Result<Watched, _> = serde_json::from_value(object.clone());
            let is_resource = DatabaseAccountPassword::deserialize(&object).is_ok();
            match watched {
                Ok(watched @ Watched::Decoded(_)) => {
                    prop_assert!(is_resource);
                    let mut resource = DatabaseAccountPassword::deserialize(&object).unwrap();
                    trim(&mut resource.metadata);
                    let unpacked = watched.resource().unwrap();
                    prop_assert_eq!(serde_json::to_value(&*unpacked).unwrap(), serde_json::to_value(&resource).unwrap());
                }
                Ok(Watched::Undecodable(resource)) => {
                    prop_assert!(!is_resource);
                    let mut metadata = metadata.unwrap();
                    trim(&mut metadata);
                    prop_assert_eq!(&resource.metadata, &metadata);
                    let spec = &object["spec"];
                    let names_an_account = spec["instanceId"].is_string() && spec["accountName"].is_string();
                    prop_assert_eq!(resource.target.is_some(), names_an_account);
                }
                Err(_) => prop_assert!(metadata.is_err()),
            }
        }
    }

    #[rstest]
    #[case::of_the_account_that_it_names("app", Some("2026-11-24T08:00:00Z".parse().unwrap()))]
    #[case::of_another_one("other", None)]
    fn an_undecodable_object_keeps_the_time_of_its_last_reset(
        #[case] account: &str,
        #[case] last_reset: Option<Timestamp>,
    ) {
        let watched: Watched = serde_json::from_value(json!({
            "metadata": { "name": "a", "namespace": "n", "uid": "u" },
            "spec": {
                "instanceId": "rm-1",
                "accountName": "app",
                "passwordSecretRef": { "name": "s", "key": "password" },
            },
            "status": { "lastReset": {
                "time": "2026-11-24T08:00:00Z",
                "trigger": "ATriggerOfALaterVersion",
                "instanceId": "rm-1",
                "accountName": account,
            } },
        }))
        .unwrap();
        let Watched::Undecodable(resource) = watched else {
            unreachable!("this version does not know the trigger")
        };
        assert_eq!(resource.last_reset, last_reset);
    }
}
