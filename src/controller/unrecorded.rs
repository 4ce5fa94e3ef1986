//! Resets that RDS accepted and that could not be written down.
//!
//! Without this, an operator that may not write the status would send the same reset at every pass, for ever.

use std::time::Duration;

use kube::ResourceExt as _;
use moka::sync::Cache;

use super::decide::{Observation, SecretObservation};
use super::outcome::Accepted;
use crate::api::{DatabaseAccountPassword, StoredFingerprint};

/// Longer than the longest wait between two passes that fail.
const KEPT_FOR: Duration = Duration::from_secs(60 * 60);

/// More than the resources that anyone has. Forgetting one costs one more reset to the same value.
const CAPACITY: u64 = 100_000;

/// The last such reset of each resource, by uid.
pub struct Unrecorded(Cache<String, Entry>);

#[derive(Clone)]
struct Entry {
    accepted: Accepted,
    /// Made over the account as well as the value, so it names both.
    fingerprint: StoredFingerprint,
    request: Option<String>,
}

impl Default for Unrecorded {
    fn default() -> Self {
        Self(
            Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_live(KEPT_FOR)
                .build(),
        )
    }
}

impl Unrecorded {
    /// `accepted` could not be written down.
    pub fn remember(&self, observation: &Observation, accepted: &Accepted) {
        if let (Some(uid), SecretObservation::Usable(value)) =
            (observation.resource.uid(), &observation.secret)
        {
            let entry = Entry {
                accepted: accepted.clone(),
                fingerprint: value.fingerprint.clone(),
                request: observation.resource.request().map(str::to_owned),
            };
            self.0.insert(uid, entry);
        }
    }

    /// The reset that makes another one for this observation needless.
    #[must_use]
    pub fn find(&self, observation: &Observation) -> Option<Accepted> {
        let SecretObservation::Usable(value) = &observation.secret else {
            return None;
        };
        let entry = self.0.get(&observation.resource.uid()?)?;
        (entry.fingerprint == value.fingerprint
            && entry.request.as_deref() == observation.resource.request())
        .then_some(entry.accepted)
    }

    /// What is to be known of the resource is in its status.
    pub fn forget(&self, resource: &DatabaseAccountPassword) {
        if let Some(uid) = resource.uid() {
            self.0.invalidate(&uid);
        }
    }
}
