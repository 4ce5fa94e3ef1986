//! When to look again. Exponential, with jitter, capped; every pass returns one of these.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::rds::classification::Class;

const MINUTE: Duration = Duration::from_secs(60);

/// In sync: nothing is expected to change without an event, so this only heals what a lost event left behind. Random over
/// twenty minutes, so that a fleet that started together does not re-read together.
const RESYNC: (Duration, Duration) = (Duration::from_secs(40 * 60), Duration::from_secs(60 * 60));

/// Times are rounded up to whole seconds in the status, so a wait can be that much longer than it was planned.
pub const ROUNDING: Duration = Duration::from_secs(1);

/// No wait after a failure is longer: the longest cap, and the rounding. An answer that names its own time names two minutes at
/// most.
pub const LONGEST: Duration = Duration::from_secs(10 * 60).saturating_add(ROUNDING);

/// The wait until an earlier send can no longer take effect. All resources of an outage have sends of the same age, so up to a tenth of the
/// settling time is added at random.
#[must_use]
pub fn after_settling(
    until: Timestamp,
    now: Timestamp,
    settling: Duration,
    jitter: f64,
) -> Duration {
    let wait = Duration::try_from(until.duration_since(now)).unwrap_or_default();
    wait + settling.mul_f64(jitter / 10.0)
}

/// The first and the longest wait of a class, before jitter.
#[must_use]
pub fn bounds(class: Class) -> (Duration, Duration) {
    match class {
        // Mostly over at the next try; a minute is short beside an outage, and long enough not to add to it.
        Class::Transient => (Duration::from_secs(1), MINUTE),
        // The documented rate-limit headers speak of up to two minutes.
        Class::Throttled => (Duration::from_secs(2), 2 * MINUTE),
        // A restart takes a minute or two, a class change an hour.
        Class::InstanceBusy => (Duration::from_secs(5), 2 * MINUTE),
        // A person has to act, and the operator cannot see that they did in RAM or in the RDS console.
        Class::PersonNeeded => (Duration::from_secs(30), 10 * MINUTE),
        // Within a few minutes, and a pipeline waits for it.
        Class::Awaited => (Duration::from_secs(15), Duration::from_secs(15)),
    }
}

/// The wait after the `failures`th failure in a row (1 for the first): the base doubles up to the cap, and the wait is at
/// random between half of it and all of it. `jitter` is in [0, 1).
///
/// Where the answer named its own time (`retry_after`), the wait is that long at least and half as long again at most.
#[must_use]
pub fn after_failure(
    class: Class,
    failures: u32,
    retry_after: Option<Duration>,
    jitter: f64,
) -> Duration {
    if let Some(retry_after) = retry_after {
        return retry_after.mul_f64(1.0 + jitter / 2.0);
    }
    doubled(bounds(class), failures).mul_f64(0.5 + jitter / 2.0)
}

/// The first wait, doubled with each of the `failures` in a row after the first one, up to the cap; without jitter.
#[must_use]
pub fn doubled((first, cap): (Duration, Duration), failures: u32) -> Duration {
    // 2^16 times the shortest first wait is beyond every cap.
    let doublings = failures.saturating_sub(1).min(16);
    (first * 2_u32.pow(doublings)).min(cap)
}

/// Whether `until` is ahead, by no more than `longest`. A later time was written by a clock that was ahead, and whoever has
/// corrected it must not wait until that time comes.
#[must_use]
pub fn is_ahead(until: Timestamp, now: Timestamp, longest: Duration) -> bool {
    Duration::try_from(until.duration_since(now))
        .is_ok_and(|wait| !wait.is_zero() && wait <= longest)
}

/// The wait of a resource that stands as it is until someone else acts: as long again as it has stood, within the bounds of
/// [`Class::PersonNeeded`]. Growth by age needs no counter, and so no write.
#[must_use]
pub fn after_standing(for_how_long: Duration, jitter: f64) -> Duration {
    let (first, cap) = bounds(Class::PersonNeeded);
    for_how_long.clamp(first, cap).mul_f64(0.5 + jitter / 2.0)
}

/// The wait of a resource that is in sync.
#[must_use]
pub fn resync(jitter: f64) -> Duration {
    RESYNC.0 + RESYNC.1.saturating_sub(RESYNC.0).mul_f64(jitter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Class::Transient, 1, 1.0)]
    #[case(Class::Transient, 3, 4.0)]
    #[case(Class::Transient, 99, 60.0)]
    #[case(Class::Throttled, 1, 2.0)]
    #[case(Class::Throttled, 99, 120.0)]
    #[case(Class::InstanceBusy, 1, 5.0)]
    #[case(Class::InstanceBusy, 99, 120.0)]
    #[case(Class::PersonNeeded, 1, 30.0)]
    #[case(Class::PersonNeeded, 99, 600.0)]
    #[case(Class::Awaited, 1, 15.0)]
    #[case(Class::Awaited, 99, 15.0)]
    fn base(#[case] class: Class, #[case] failures: u32, #[case] seconds: f64) {
        assert_eq!(
            after_failure(class, failures, None, 0.0),
            Duration::from_secs_f64(seconds / 2.0)
        );
    }

    #[rstest]
    #[case(0.0, 40)]
    #[case(0.5, 50)]
    fn resync_is_within_the_hour(#[case] jitter: f64, #[case] minutes: u32) {
        assert_eq!(resync(jitter), minutes * MINUTE);
    }

    #[test]
    fn the_header_rules() {
        let header = Duration::from_secs(7);
        assert_eq!(
            after_failure(Class::Throttled, 9, Some(header), 0.0),
            header
        );
    }

    fn any_class() -> impl Strategy<Value = Class> {
        prop_oneof![
            Just(Class::Transient),
            Just(Class::Throttled),
            Just(Class::InstanceBusy),
            Just(Class::PersonNeeded),
            Just(Class::Awaited),
        ]
    }

    /// Mostly few, since the base grows by the first ten only.
    fn any_failures() -> impl Strategy<Value = u32> {
        prop_oneof![4 => 1_u32..12, 1 => 1_u32..]
    }

    proptest! {
        #[test]
        fn within_bounds_and_never_shrinking(class in any_class(), failures in any_failures(), jitter in 0.0..1.0) {
            let (first, cap) = bounds(class);
            let wait = after_failure(class, failures, None, jitter);
            prop_assert!(first / 2 <= wait && wait <= cap && cap < LONGEST);
            prop_assert!(wait <= after_failure(class, failures.saturating_add(1), None, jitter));
        }

        /// The base, which the wait without jitter is half of, doubles up to the cap; the jitter at most doubles the wait.
        #[test]
        fn the_base_doubles(class in any_class(), failures in any_failures(), jitter in 0.0..1.0) {
            let (first, cap) = bounds(class);
            let base = |failures| after_failure(class, failures, None, 0.0) * 2;
            prop_assert_eq!(base(1), first);
            prop_assert_eq!(base(failures.saturating_add(1)), (base(failures) * 2).min(cap));
            let wait = after_failure(class, failures, None, jitter);
            prop_assert!(base(failures) / 2 <= wait && wait <= base(failures));
        }

        #[test]
        fn never_before_the_header(seconds in 0_u64..=120, jitter in 0.0..1.0) {
            let header = Duration::from_secs(seconds);
            let wait = after_failure(Class::Throttled, 1, Some(header), jitter);
            prop_assert!(header <= wait && wait <= header.mul_f64(1.5) && wait < LONGEST);
        }

        #[test]
        fn standing_and_resync_within_bounds(
            seconds in prop_oneof![3 => 0_u64..1000, 1 => any::<u64>()],
            jitter in 0.0..1.0,
        ) {
            let (first, cap) = bounds(Class::PersonNeeded);
            let wait = after_standing(Duration::from_secs(seconds), jitter);
            prop_assert!(first / 2 <= wait && wait <= cap);
            // As long again as it has stood, where the bounds allow it.
            let stood = Duration::from_secs(seconds);
            if (first..=cap).contains(&stood) {
                prop_assert!(stood / 2 <= wait && wait <= stood);
            }
            prop_assert!(RESYNC.0 <= resync(jitter) && resync(jitter) < RESYNC.1);
        }
    }
}
