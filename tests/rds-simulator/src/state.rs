//! All that the simulator knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use rand::Rng;

use crate::{
    fault::Faults,
    journal::Journal,
    metadata::MetadataTokens,
    ram::{
        access_key::AccessKeys,
        oidc_provider::OidcProviders,
        role::Roles,
        temporary_key::{Grant, TemporaryKey},
    },
    rds::{Instances, instance::Instance},
    throttle::Throttle,
};

/// All that the simulator knows.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) access_keys: AccessKeys,
    pub(crate) roles: Roles,
    pub(crate) oidc_providers: OidcProviders,
    /// Temporary keys live this long at most, whatever was asked for.
    pub(crate) token_lifetime: Option<Duration>,
    pub(crate) metadata_tokens: MetadataTokens,
    /// Secrets of temporary keys and tokens of all kinds, as they were given out or sent.
    pub(crate) secrets: BTreeSet<String>,
    pub(crate) instances: Instances,
    pub(crate) faults: Faults,
    pub(crate) journal: Journal,
    pub(crate) throttles: Vec<Throttle>,
    /// How far the cloud's clock is ahead of this machine's.
    pub(crate) clock_skew: SignedDuration,
    /// Nonces by access key, and when the cloud's clock showed what as they were used.
    pub(crate) nonces: BTreeMap<(String, String), Timestamp>,
}

impl State {
    /// What the cloud's clock shows.
    pub(crate) fn cloud_time(&self, now: Timestamp) -> Timestamp {
        now.checked_add(self.clock_skew).unwrap_or(now)
    }

    /// A new temporary key, which requests may be signed with from now on.
    pub(crate) fn issue_key(
        &mut self,
        grant: &Grant,
        now: Timestamp,
        random: &mut dyn Rng,
    ) -> TemporaryKey {
        let duration = self
            .token_lifetime
            .map_or(grant.duration, |longest| grant.duration.min(longest));
        let key = TemporaryKey::issue(duration, self.cloud_time(now), random);
        self.access_keys.add(key.to_access_key(grant));
        self.secrets.extend(key.secrets());
        key
    }

    /// Adds an instance, or replaces the one with its id.
    pub(crate) fn add_instance(&mut self, mut instance: Instance, now: Timestamp) {
        instance.begin(now);
        self.instances.insert(instance.id.clone(), instance);
    }
}
