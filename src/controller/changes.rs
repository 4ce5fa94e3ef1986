//! Since when the operator has known of a changed value that is not applied yet: for a metric alone, nothing is decided by it.

use std::time::{Duration, Instant};

use moka::ops::compute::Op;
use moka::sync::Cache;

use super::index::ObjectName;

/// More than the resources that anyone has. A change that is forgotten counts from its `pendingSince`, or from the next look.
const CAPACITY: u64 = 100_000;

/// Of a resource that nobody looks at any more. One that has something to apply is looked at every ten minutes at least.
const IDLE_IS_KEPT: Duration = Duration::from_secs(2 * 60 * 60);

/// The oldest change of each resource's Secret that has not been applied, by the resource's name.
///
/// A change is known from the moment at which the watch told of it. One that was found by reading the Secret, as after a
/// start, counts from the moment that the caller names, which is `status.pendingSince` where there is one.
pub struct Changes(Cache<ObjectName, Known>);

/// What is known at one moment. The Secret may change again after it was read, and while that older value is applied.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// The oldest change that the last reading of the Secret has brought.
    read: Option<Instant>,
    /// The oldest change since.
    unread: Option<Instant>,
}

impl Default for Changes {
    fn default() -> Self {
        Self(
            Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_idle(IDLE_IS_KEPT)
                .build(),
        )
    }
}

impl Changes {
    /// The watch told that the Secret of this resource has changed. The value need not have.
    pub fn told(&self, resource: &ObjectName, now: Instant) {
        self.update(resource, |known| Known {
            unread: known.unread.or(Some(now)),
            ..known
        });
    }

    /// The Secret is about to be read. If nothing is known of a change, and this reading brings one, that counts from
    /// `otherwise`.
    pub fn reading(&self, resource: &ObjectName, otherwise: Instant) {
        self.update(resource, |known| Known {
            read: Some(known.read.or(known.unread).unwrap_or(otherwise)),
            unread: None,
        });
    }

    /// Nothing of what was read last has to be applied, or can be.
    pub fn dismissed(&self, resource: &ObjectName) {
        self.applied(resource);
    }

    /// What was read last is applied. Returns since when it was known.
    #[expect(
        clippy::must_use_candidate,
        reason = "it is for what it forgets as well"
    )]
    pub fn applied(&self, resource: &ObjectName) -> Option<Instant> {
        let mut since = None;
        self.update(resource, |known| {
            since = known.read;
            Known {
                read: None,
                ..known
            }
        });
        since
    }

    fn update(&self, resource: &ObjectName, change: impl FnOnce(Known) -> Known) {
        self.0.entry(resource.clone()).and_compute_with(|entry| {
            let known = entry.map(moka::Entry::into_value).unwrap_or_default();
            match change(known) {
                Known {
                    read: None,
                    unread: None,
                } => Op::Remove,
                known => Op::Put(known),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> ObjectName {
        ObjectName {
            namespace: "shop".to_owned(),
            name: "orders-app".to_owned(),
        }
    }

    fn seconds(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_of_several_changes_counts_and_is_told_once() {
        let (changes, start) = (Changes::default(), Instant::now());
        changes.told(&name(), start);
        changes.told(&name(), seconds(start, 1));
        changes.reading(&name(), seconds(start, 2));
        changes.reading(&name(), seconds(start, 3));
        assert_eq!(changes.applied(&name()), Some(start));
        assert_eq!(changes.applied(&name()), None);
    }

    #[test]
    fn a_change_after_the_reading_stays_known() {
        let (changes, start) = (Changes::default(), Instant::now());
        changes.told(&name(), start);
        changes.reading(&name(), start);
        changes.told(&name(), seconds(start, 1));
        changes.told(&name(), seconds(start, 2));
        assert_eq!(changes.applied(&name()), Some(start));
        changes.reading(&name(), seconds(start, 3));
        assert_eq!(changes.applied(&name()), Some(seconds(start, 1)));
    }

    #[test]
    fn a_change_that_nobody_told_of_counts_from_the_first_reading() {
        let (changes, start) = (Changes::default(), Instant::now());
        changes.reading(&name(), start);
        changes.told(&name(), seconds(start, 1));
        changes.reading(&name(), seconds(start, 2));
        assert_eq!(changes.applied(&name()), Some(start));
    }

    #[test]
    fn nothing_is_kept_of_what_is_dismissed() {
        let (changes, start) = (Changes::default(), Instant::now());
        changes.reading(&name(), start);
        changes.dismissed(&name());
        changes.0.run_pending_tasks();
        assert_eq!(changes.0.entry_count(), 0);
    }
}
