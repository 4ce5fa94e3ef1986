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
    use rstest::rstest;
    use serde_json::json;

    use super::*;

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
