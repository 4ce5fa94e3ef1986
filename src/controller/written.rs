//! Remembers the operator's own status writes until the watch has brought them back.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::time::Duration;

use kube::ResourceExt as _;
use moka::sync::Cache;

use crate::api::DatabaseAccountPassword;

/// Far beyond the lag of any watch that still works; one that does not is started anew, and lists.
const KEPT_FOR: Duration = Duration::from_secs(5 * 60);

/// More than the resources that anyone has. Forgetting one costs a look at the Secret and the instance, never a reset: the intent
/// is written on the version that was observed, or not at all.
const CAPACITY: u64 = 100_000;

/// No object has this `resourceVersion`: whoever is looked up finds that it may be behind.
const NO_VERSION: &str = "";

/// What this process has written.
pub struct Written {
    /// The `resourceVersion` of the last write to each resource, by uid.
    versions: Cache<String, String>,
    /// The digests of the statuses that were sent, whether an answer came or not.
    statuses: Cache<u64, ()>,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            versions: kept(),
            statuses: kept(),
        }
    }
}

fn kept<K, V>() -> Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    Cache::builder()
        .max_capacity(CAPACITY)
        .time_to_live(KEPT_FOR)
        .build()
}

/// Tells a status of a resource from its others. No secret: it stays in memory, and a status has none.
#[must_use]
pub fn digest(resource: &DatabaseAccountPassword) -> u64 {
    let mut hasher = DefaultHasher::new();
    resource.metadata.uid.hash(&mut hasher);
    // What the operator writes is what comes back. If a status could not be written as JSON, none could be sent.
    serde_json::to_vec(&resource.status)
        .unwrap_or_default()
        .hash(&mut hasher);
    hasher.finish()
}

impl Written {
    /// `resource` is about to be sent with this status. Said before, since the watch can be faster than the answer. Where that never
    /// comes, the status may have been written or not, and whatever the store has may be older.
    #[must_use]
    pub fn send(&self, resource: &DatabaseAccountPassword) -> Unanswered<'_> {
        self.statuses.insert(digest(resource), ());
        Unanswered {
            written: self,
            uid: resource.uid(),
        }
    }

    /// Whether the status of this [`digest`] was sent by this process, and not by another that leads no more, or a person.
    #[must_use]
    pub fn is_own(&self, status: u64) -> bool {
        self.statuses.contains_key(&status)
    }

    fn remember(&self, resource: &DatabaseAccountPassword) {
        if let (Some(uid), Some(version)) = (resource.uid(), resource.resource_version()) {
            self.versions.insert(uid, version);
        }
    }

    /// Whether `stored` may be older than the last write. Once the write has come back, it need not be remembered.
    #[must_use]
    pub fn is_behind(&self, stored: &DatabaseAccountPassword) -> bool {
        let Some(uid) = stored.uid() else {
            return false;
        };
        match self.versions.get(&uid) {
            None => false,
            Some(version) if stored.resource_version().as_ref() == Some(&version) => {
                self.versions.invalidate(&uid);
                false
            }
            // Versions are opaque, so a newer one cannot be told from an older one.
            Some(_) => true,
        }
    }
}
/// A write whose answer has not come.
pub struct Unanswered<'a> {
    written: &'a Written,
    uid: Option<String>,
}

impl Unanswered<'_> {
    /// `resource` is what the API server answered.
    pub fn written(mut self, resource: &DatabaseAccountPassword) {
        self.uid = None;
        self.written.remember(resource);
    }

    /// It was not written, and what was known before is still known.
    pub fn refused(mut self) {
        self.uid = None;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(uid) = self.uid.take() {
            self.written.versions.insert(uid, NO_VERSION.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::controller::fixtures::World;

    /// How a write ends.
    #[derive(Clone, Copy)]
    enum End {
        Written,
        Refused,
        Unanswered,
    }

    /// The store has version 1, which is that of an earlier write or not; a write is sent, and its answer, if it is a success, is
    /// version 2.
    #[rstest]
    #[case::written(End::Written, None, true)]
    #[case::refused(End::Refused, None, false)]
    #[case::refused_after_one_that_has_come_back(End::Refused, Some("1"), false)]
    #[case::refused_after_one_that_has_not(End::Refused, Some("0"), true)]
    #[case::unanswered(End::Unanswered, None, true)]
    #[case::unanswered_after_one_that_has_come_back(End::Unanswered, Some("1"), true)]
    fn the_store_is_behind_what_may_have_been_written(
        #[case] end: End,
        #[case] earlier: Option<&str>,
        #[case] is_behind: bool,
    ) {
        let in_version = |version: &str| {
            let mut resource = World::new().resource;
            resource.metadata.uid = Some("uid".to_owned());
            resource.metadata.resource_version = Some(version.to_owned());
            resource
        };
        let written = Written::default();
        if let Some(earlier) = earlier {
            written.send(&in_version("")).written(&in_version(earlier));
        }
        let stored = in_version("1");
        let unanswered = written.send(&stored);
        match end {
            End::Written => unanswered.written(&in_version("2")),
            End::Refused => unanswered.refused(),
            End::Unanswered => drop(unanswered),
        }
        assert_eq!(written.is_behind(&stored), is_behind);
        assert!(written.is_own(digest(&stored)));
    }
}
