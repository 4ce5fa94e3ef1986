//! Which Secrets the API server fails to read from its store, time after time.

use std::time::Duration;

use moka::sync::Cache;

/// How many failures in a row mean that the Secret cannot be read until a person acts. A pass that fails is tried again after 1,
/// 2 and 4 s, so a fault that passes within some seconds, such as that of an encryption provider that restarts, is in no status.
const LASTING_AFTER: u32 = 4;

/// How many resources are remembered, and for how long after the last failure: longer than the longest wait for the next look.
const KEPT: u64 = 100_000;
const KEPT_FOR: Duration = Duration::from_secs(2 * 60 * 60);

/// Failures in a row, by the resource's uid. In memory alone: a restart begins to count anew, and changes no status by that.
pub struct Unreadable {
    failures: Cache<String, u32>,
}

impl Default for Unreadable {
    fn default() -> Self {
        let failures = Cache::builder().max_capacity(KEPT).time_to_idle(KEPT_FOR);
        Self {
            failures: failures.build(),
        }
    }
}

impl Unreadable {
    /// The API server failed to read the Secret of the resource with this uid. Whether it has failed so often that it will not
    /// pass by itself.
    #[must_use]
    pub fn failed(&self, uid: &str) -> bool {
        let failures = self.failures.get(uid).unwrap_or_default();
        let failures = failures.saturating_add(1);
        self.failures.insert(uid.to_owned(), failures);
        failures >= LASTING_AFTER
    }

    /// The API server has read it, or has refused for another reason.
    pub fn answered(&self, uid: &str) {
        self.failures.invalidate(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_in_a_row_and_for_one_resource() {
        let unreadable = Unreadable::default();
        for _ in 1..LASTING_AFTER {
            assert!(!unreadable.failed("a"));
        }
        assert!(!unreadable.failed("b"), "another one");
        assert!(unreadable.failed("a"));
        assert!(unreadable.failed("a"), "it lasts");
        unreadable.answered("a");
        assert!(!unreadable.failed("a"), "counted anew");
    }
}
