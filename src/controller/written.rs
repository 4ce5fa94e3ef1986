//! Remembers the operator's own last status writes until the watch has brought them back.

use std::time::Duration;

use kube::ResourceExt as _;
use moka::sync::Cache;

use crate::api::DatabaseAccountPassword;

/// Far beyond the lag of any watch that still works; one that does not is started anew, and lists.
const KEPT_FOR: Duration = Duration::from_secs(5 * 60);

/// More than the resources that anyone has. Forgetting one costs a read of the instance, never a reset: the resource is read
/// again right before.
const CAPACITY: u64 = 100_000;

/// The `resourceVersion` of the last write to each resource, by uid.
pub struct Written(Cache<String, String>);

impl Default for Written {
    fn default() -> Self {
        Self(
            Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_live(KEPT_FOR)
                .build(),
        )
    }
}

impl Written {
    /// `resource` is what the API server answered to a write.
    pub fn remember(&self, resource: &DatabaseAccountPassword) {
        if let (Some(uid), Some(version)) = (resource.uid(), resource.resource_version()) {
            self.0.insert(uid, version);
        }
    }

    /// Whether `stored` may be older than the last write. Once the write has come back, it need not be remembered.
    #[must_use]
    pub fn is_behind(&self, stored: &DatabaseAccountPassword) -> bool {
        let Some(uid) = stored.uid() else {
            return false;
        };
        match self.0.get(&uid) {
            None => false,
            Some(version) if stored.resource_version().as_ref() == Some(&version) => {
                self.0.invalidate(&uid);
                false
            }
            // Versions are opaque, so a newer one cannot be told from an older one.
            Some(_) => true,
        }
    }
}
