//! A `DatabaseAccountPassword` as the watch brings it: decoded, or, where this version's types do not fit it, reduced to what
//! must be known all the same. One object that cannot be decoded must not stop the list for all others.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::Value;

use crate::api::{DatabaseAccountPassword, Target};

/// A watched resource.
#[derive(Debug, Clone)]
pub enum Watched {
    /// It could be decoded.
    Decoded(Arc<DatabaseAccountPassword>),
    /// It could not.
    Undecodable(Box<Undecodable>),
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
        if let Ok(resource) = DatabaseAccountPassword::deserialize(&value) {
            return Ok(Self::Decoded(Arc::new(resource)));
        }
        let target = target_in(&value["spec"]);
        let last_reset = &value["status"]["lastReset"];
        let last_reset = last_reset["time"]
            .as_str()
            .and_then(|time| time.parse().ok())
            .filter(|_| target_in(last_reset) == target);
        let metadata = ObjectMeta::deserialize(&value["metadata"]).map_err(D::Error::custom)?;
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
            Self::Decoded(resource) => &resource.metadata,
            Self::Undecodable(resource) => &resource.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Decoded(resource) => &mut Arc::make_mut(resource).metadata,
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
    use crate::rds::near_json::near;

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
                Ok(Watched::Decoded(resource)) => {
                    prop_assert!(is_resource);
                    prop_assert_eq!(Some(resource.spec.instance_id.as_str()), object["spec"]["instanceId"].as_str());
                }
                Ok(Watched::Undecodable(resource)) => {
                    prop_assert!(!is_resource);
                    prop_assert_eq!(&resource.metadata, &metadata.unwrap());
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
