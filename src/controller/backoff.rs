//! How long a watch waits after a failure. Pure.
//!
//! Not kube's `default_backoff`: that begins anew with each event, and so with each list that is begun. One that fails at its
//! last page would be made again from its first within a second or two, for ever.

use std::time::Duration;

use tokio::time::Instant;

use super::schedule;

/// The first and the longest wait, before jitter, which may double each. The longest is how much later than it could the operator
/// notices that the API server is back, or that the definition was installed; a request in that time is no load.
const BOUNDS: (Duration, Duration) = (Duration::from_millis(800), Duration::from_secs(8));

/// After so long without a failure the next one counts as the first. A quiet watch brings no event that would say that it works.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(2 * 60);

/// How long a try to open a watch may take to fail.
const TRY: Duration = Duration::from_secs(2);

/// What a watch has seen of failures.
#[derive(Debug, Default)]
pub struct Backoff {
    /// How many in a row.
    failures: u32,
    last: Option<Instant>,
    wait: Duration,
}

impl Backoff {
    /// It failed. `jitter` is in [0, 1).
    pub fn failed(&mut self, now: Instant, jitter: f64) {
        let is_forgotten = self
            .last
            .is_none_or(|last| now.duration_since(last) >= FORGOTTEN_AFTER);
        self.failures = if is_forgotten {
            1
        } else {
            self.failures.saturating_add(1)
        };
        self.last = Some(now);
        self.wait = self.base().mul_f64(1.0 + jitter);
    }

    /// It has brought all of a list, or a change.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Until when nothing is tried; `None` where there is nothing to wait for.
    #[must_use]
    pub fn until(&self) -> Option<Instant> {
        self.last.map(|last| last + self.wait)
    }

    /// For how long the last failure to open a watch holds, where nothing is said: a watch that could be opened says nothing until
    /// there is an event. So until the next try, which comes after a wait, has had its time to fail as well: a passing failure is
    /// then forgotten at once, and a lasting one is always said again before it would be.
    #[must_use]
    pub fn unsaid_for(&self) -> Duration {
        self.base() * 2 + TRY
    }

    fn base(&self) -> Duration {
        schedule::doubled(BOUNDS, self.failures)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// After so many failures, each a second after the one before.
    fn after(failures: u32, jitter: f64) -> (Backoff, Instant) {
        let mut now = Instant::now();
        let mut backoff = Backoff::default();
        for _ in 0..failures {
            now += Duration::from_secs(1);
            backoff.failed(now, jitter);
        }
        (backoff, now)
    }

    #[rstest]
    #[case::the_first(1, 800, 1_600)]
    #[case::the_second(2, 1_600, 3_200)]
    #[case::the_fourth(4, 6_400, 12_800)]
    #[case::the_fifth(5, 8_000, 16_000)]
    #[case::of_many(1_000, 8_000, 16_000)]
    fn it_doubles(#[case] failures: u32, #[case] shortest: u64, #[case] longest: u64) {
        for (jitter, milliseconds) in [(0.0, shortest), (1.0, longest)] {
            let (backoff, now) = after(failures, jitter);
            let wait = Duration::from_millis(milliseconds);
            assert_eq!(backoff.until().unwrap().duration_since(now), wait);
        }
    }

    #[test]
    fn nothing_is_waited_for_before_a_failure_and_after_a_success() {
        let (mut backoff, now) = after(9, 0.5);
        assert!(Backoff::default().until().is_none());
        backoff.succeeded();
        assert!(backoff.until().is_none());
        backoff.failed(now, 0.0);
        assert_eq!(backoff.until(), Some(now + BOUNDS.0), "as the first");
    }

    #[rstest]
    #[case(119, 8_000)]
    #[case(120, 800)]
    fn what_is_long_ago_does_not_count(#[case] seconds: u64, #[case] milliseconds: u64) {
        let (mut backoff, now) = after(9, 0.0);
        let now = now + Duration::from_secs(seconds);
        backoff.failed(now, 0.0);
        let wait = Duration::from_millis(milliseconds);
        assert_eq!(backoff.until(), Some(now + wait));
    }

    proptest! {
        /// Whatever fails again is said again before it would be forgotten.
        #[test]
        fn a_lasting_failure_is_always_said(failures in 1_u32..40, jitter in 0.0..1.0) {
            let (backoff, now) = after(failures, jitter);
            prop_assert!(backoff.until().unwrap() + TRY <= now + backoff.unsaid_for() + Duration::from_nanos(1));
        }
    }
}
