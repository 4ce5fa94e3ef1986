//! Since when the Secrets of a scope are not watched, and which resources are looked at meanwhile. Pure.
//!
//! One Secret that the API server cannot decrypt fails every list of Secrets, and so the watch, for as long as it is there: a
//! change of any other Secret would be noticed at the next resync only, up to an hour later. So each resource is looked at once a
//! minute while that lasts. A watch that works costs nothing.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use super::index::ObjectName;

/// For how long a watch may fail before anything is read in its place: most failures end with the first or second try, and
/// what changed meanwhile comes with the next list.
const GRACE: Duration = Duration::from_secs(10);

/// How many parts the resources are divided into, at random, and how long after each other the parts are looked at. Together with
/// [`GRACE`], each resource is looked at within a minute of the first failure, and once a minute at least from then on.
const SLOTS: u64 = 50;
const SLOT: Duration = Duration::from_secs(1);

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// A list. It may fail at its last page, when others have been heard.
    List,
    /// A watch was not opened, or broke off.
    Watch,
}

/// The watch of the Secrets of one scope.
#[derive(Debug, Default)]
pub struct Unwatched {
    failing: Option<Failing>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Failing {
    what: Failed,
    last: Instant,
    /// When the next slot is due.
    due: Instant,
    slot: u64,
}

impl Unwatched {
    /// The watch has failed.
    pub fn failed(&mut self, what: Failed, now: Instant) {
        let failing = self.failing.get_or_insert(Failing {
            what,
            last: now,
            due: now + GRACE,
            slot: 0,
        });
        failing.last = now;
        // A list that has failed may be followed by a watch only once a list is complete.
        if what == Failed::List {
            failing.what = what;
        }
    }

    /// A list is complete, or the watch has told of a change. Or nothing is answered any more, so that looks would be in vain.
    pub fn restored(&mut self) {
        self.failing = None;
    }

    /// When resources are due next, where the watch fails.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.failing.as_ref().map(|failing| failing.due)
    }

    /// The resources that are due now tell it by their names; `None` where the watch works again. The API server was last heard on
    /// the watch at `heard`: a watch that was opened says nothing else until there is a change.
    pub fn take(&mut self, now: Instant, heard: Instant) -> Option<impl Fn(&ObjectName) -> bool> {
        self.failing
            .take_if(|failing| failing.what == Failed::Watch && heard > failing.last);
        let failing = self.failing.as_mut()?;
        let slot = failing.slot;
        failing.slot = (slot + 1) % SLOTS;
        // A process that was paused does not make up for it.
        failing.due = (failing.due + SLOT).max(now);
        let hasher = self.hasher.clone();
        Some(move |name: &ObjectName| hasher.hash_one(name) % SLOTS == slot)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]
mod tests {
    use rstest::rstest;

    use super::*;

    fn names() -> Vec<ObjectName> {
        let name = |number| ObjectName {
            namespace: "shop".to_owned(),
            name: format!("orders-{number}"),
        };
        (0..200).map(name).collect()
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// How often each name is looked at in the time after the first failure, of which there is one every eight seconds.
    fn looks(failed: Failed, time: Duration, heard: impl Fn(Instant) -> Instant) -> Vec<usize> {
        let start = Instant::now() + seconds(1000);
        let names = names();
        let mut looks = vec![0; names.len()];
        let mut unwatched = Unwatched::default();
        let mut now = start;
        while now < start + time {
            if (now - start).as_secs().is_multiple_of(8) {
                unwatched.failed(failed, now);
            }
            if unwatched.due().is_some_and(|due| due <= now)
                && let Some(is_due) = unwatched.take(now, heard(now))
            {
                for (name, looks) in names.iter().zip(&mut looks) {
                    *looks += usize::from(is_due(name));
                }
            }
            now += seconds(1);
        }
        looks
    }

    #[rstest]
    #[case::a_list(Failed::List)]
    #[case::a_watch(Failed::Watch)]
    fn each_is_looked_at_once_a_minute(#[case] failed: Failed) {
        let never_heard = |now: Instant| now - seconds(500);
        let within_a_minute = looks(failed, seconds(60), never_heard);
        assert!(within_a_minute.iter().all(|looks| *looks == 1));
        let in_ten_minutes = looks(failed, seconds(600), never_heard);
        assert!(in_ten_minutes.iter().all(|looks| (10..=12).contains(looks)));
        assert_eq!(looks(failed, GRACE, never_heard), vec![0; names().len()]);
    }

    /// The first page of each list is heard.
    #[test]
    fn a_list_that_fails_at_its_last_page_is_one_that_fails() {
        let looks = looks(Failed::List, seconds(60), |now| now);
        assert!(looks.iter().all(|looks| *looks == 1));
    }

    #[test]
    fn a_watch_that_was_opened_again_needs_no_looks() {
        assert_eq!(
            looks(Failed::Watch, seconds(600), |now| now + seconds(1)),
            vec![0; names().len()]
        );
    }

    #[test]
    fn a_watch_that_works_costs_nothing() {
        let mut unwatched = Unwatched::default();
        assert_eq!(unwatched.due(), None);
        unwatched.failed(Failed::List, Instant::now());
        assert!(unwatched.due().is_some());
        unwatched.restored();
        assert_eq!(unwatched.due(), None);
        assert!(unwatched.take(Instant::now(), Instant::now()).is_none());
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let start = Instant::now();
        let mut unwatched = Unwatched::default();
        unwatched.failed(Failed::List, start);
        let later = start + seconds(3600);
        assert!(unwatched.take(later, start).is_some());
        assert_eq!(unwatched.due().unwrap(), later);
        assert!(unwatched.take(later, start).is_some());
        assert_eq!(unwatched.due().unwrap(), later + SLOT);
    }
}
