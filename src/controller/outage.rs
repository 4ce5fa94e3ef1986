//! When an instance is looked at again that can take no reset: once for all of its accounts, which wait for it together.
//!
//! Did each account count its own tries, an instance with 500 of them would be asked 500 times in each interval, and once it
//! runs, they would be applied over a whole interval.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use moka::sync::Cache;

use super::outcome::Failure;
use super::schedule;
use super::status::whole_seconds_up;
use crate::rds::classification::Class;
use crate::rds::limit::SeenInstance;

/// How many instances in an outage are known, and for how long after the last look: far longer than the longest wait. For one
/// that is forgotten, the next look is planned by what the statuses of its accounts have counted.
const KEPT: u64 = 100_000;
const KEPT_FOR: Duration = Duration::from_secs(60 * 60);

/// The instances that were found not to take a reset.
pub struct Outages(Cache<SeenInstance, Outage>);

/// What is known of one of them.
#[derive(Debug, Clone)]
struct Outage {
    /// How many looks in a row, each at the time planned for it, have found it so.
    failures: u32,
    /// When it is looked at again, in whole seconds, as the statuses of all that wait for it tell it.
    next: Timestamp,
    /// When it was last seen.
    seen: Timestamp,
    /// What was in the way then.
    failure: Failure,
}

impl Default for Outages {
    fn default() -> Self {
        Self(
            Cache::builder()
                .max_capacity(KEPT)
                .time_to_idle(KEPT_FOR)
                .build(),
        )
    }
}

impl Outages {
    /// What was in the way when the instance was looked at for all who waited until `awaited`. `None`, where nobody has looked
    /// since then, or the next look is due, or it is later than one that `is_new` may wait for it.
    ///
    /// So one look serves all of them, however long it takes until the last has read its Secret and has had its turn.
    #[must_use]
    pub fn seen_since(
        &self,
        instance: &SeenInstance,
        awaited: Timestamp,
        is_new: bool,
        now: Timestamp,
    ) -> Option<Failure> {
        let outage = self.0.get(instance)?;
        let class = match outage.failure.class {
            Class::PersonNeeded if is_new => Class::Awaited,
            class => class,
        };
        (outage.seen >= awaited && outage.is_planned(class, now)).then(|| outage.told())
    }

    /// `failure` was found in the way: returns it with the time of the next look. `failures` is for how many tries in a row the
    /// account has found something of that kind, so that a restart does not begin again with short waits.
    #[must_use]
    pub fn found(
        &self,
        instance: SeenInstance,
        failure: Failure,
        failures: u32,
        now: Timestamp,
        jitter: f64,
    ) -> Failure {
        let outage = self.0.entry(instance).and_upsert_with(|known| {
            let known = known.map(moka::Entry::into_value);
            Outage::after(known.as_ref(), failure, failures, now, jitter)
        });
        outage.into_value().told()
    }

    /// The instance takes resets. Whoever still waits finds that at its time.
    pub fn ended(&self, instance: &SeenInstance) {
        self.0.invalidate(instance);
    }
}

impl Outage {
    /// Joins the look that is planned, and plans one where none is.
    fn after(
        known: Option<&Self>,
        failure: Failure,
        failures: u32,
        now: Timestamp,
        jitter: f64,
    ) -> Self {
        let planned = known.filter(|known| known.is_planned(failure.class, now));
        let (failures, next) = if let Some(planned) = planned {
            (planned.failures, planned.next)
        } else {
            let before = known.map_or(0, |known| known.failures).max(failures);
            let failures = before.saturating_add(1);
            let wait = schedule::after_failure(failure.class, failures, None, jitter);
            // So that all find the same time in their statuses.
            (failures, whole_seconds_up(now + wait))
        };
        Self {
            failures,
            next,
            seen: now,
            failure,
        }
    }

    /// Whether there is a next look to wait for, no later than a failure of `class` may wait. It can be later where a person was
    /// needed before and is not any more, or the clock was ahead when it was planned.
    fn is_planned(&self, class: Class, now: Timestamp) -> bool {
        let (_, longest) = schedule::bounds(class);
        schedule::is_ahead(self.next, now, longest + schedule::ROUNDING)
    }

    fn told(self) -> Failure {
        Failure {
            until: Some(self.next),
            ..self.failure
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::api::Trigger;
    use crate::controller::fixtures::{at, failure as failed};
    use crate::rds::classification::Reason;
    use crate::rds::limit::BudgetKey;

    fn failure(class: Class) -> Failure {
        failed(Trigger::Created, class, Reason::InstanceNotRunning)
    }

    fn known(failures: u32, next: i64) -> Outage {
        Outage {
            failures,
            next: at(next),
            seen: at(-1),
            failure: failure(Class::InstanceBusy),
        }
    }

    /// How many looks have failed then, and the shortest and the longest time until the next one. It is second 0.
    #[rstest]
    #[case::the_first(None, Class::InstanceBusy, 0, 1, (3, 5))]
    #[case::the_second(Some(known(1, 0)), Class::InstanceBusy, 0, 2, (5, 10))]
    #[case::late(Some(known(2, -99)), Class::InstanceBusy, 0, 3, (10, 20))]
    #[case::of_many(Some(known(98, 0)), Class::InstanceBusy, 0, 99, (60, 120))]
    #[case::joined(Some(known(1, 1)), Class::InstanceBusy, 0, 1, (1, 1))]
    #[case::joined_at_the_end(Some(known(7, 121)), Class::InstanceBusy, 0, 7, (121, 121))]
    #[case::joined_with_more_failures(Some(known(1, 4)), Class::InstanceBusy, 9, 1, (4, 4))]
    #[case::after_a_restart(None, Class::InstanceBusy, 9, 10, (60, 120))]
    #[case::some_counted_more(Some(known(2, 0)), Class::InstanceBusy, 3, 4, (20, 40))]
    #[case::some_counted_less(Some(known(3, 0)), Class::InstanceBusy, 2, 4, (20, 40))]
    #[case::gone(None, Class::PersonNeeded, 0, 1, (15, 30))]
    #[case::gone_meanwhile(Some(known(1, 4)), Class::PersonNeeded, 0, 1, (4, 4))]
    #[case::gone_for_long(Some(known(9, 600)), Class::PersonNeeded, 0, 9, (600, 600))]
    #[case::back_and_not_running(Some(known(9, 600)), Class::InstanceBusy, 0, 10, (60, 120))]
    #[case::may_be_created_any_moment(Some(known(9, 600)), Class::Awaited, 0, 10, (8, 15))]
    #[case::the_clock_was_ahead(Some(known(1, 9_999)), Class::InstanceBusy, 0, 2, (5, 10))]
    fn a_look_is_joined_or_planned(
        #[case] known: Option<Outage>,
        #[case] class: Class,
        #[case] counted: u32,
        #[case] failures: u32,
        #[case] (shortest, longest): (i64, i64),
    ) {
        for (jitter, expected) in [(0.0, shortest), (1.0, longest)] {
            let outage = Outage::after(known.as_ref(), failure(class), counted, at(0), jitter);
            assert_eq!((outage.failures, outage.next), (failures, at(expected)));
            assert_eq!((outage.seen, outage.failure.class), (at(0), class));
        }
    }

    fn instance(identity: &str, id: &str) -> SeenInstance {
        let budget = BudgetKey {
            identity: identity.into(),
            region: "cn-shanghai".parse().unwrap(),
        };
        SeenInstance::new(&budget, id)
    }

    /// An instance was looked at in second 0, and the next look is due in second 5.
    #[rstest]
    #[case::waited_until_then(0, 0, true)]
    #[case::waited_until_before_and_came_late(-9, 4, true)]
    #[case::came_when_the_next_is_due(0, 5, false)]
    #[case::waited_for_later(1, 2, false)]
    fn one_look_serves_all_who_waited_for_it(
        #[case] awaited: i64,
        #[case] now: i64,
        #[case] served: bool,
    ) {
        let outages = Outages::default();
        let instance = instance("a", "rm-1");
        let busy = failure(Class::InstanceBusy);
        let told = outages.found(instance.clone(), busy.clone(), 0, at(0), 1.0);
        assert_eq!(told.until, Some(at(5)));
        let seen = outages.seen_since(&instance, at(awaited), false, at(now));
        assert_eq!(
            seen.map(|seen| (seen.until, seen.request_id)),
            served.then_some((Some(at(5)), busy.request_id))
        );
    }

    /// What an old resource waits ten minutes for may be created any moment for a new one: that looks for itself, and all come then.
    #[test]
    fn a_new_resource_does_not_wait_for_the_next_look_of_an_old_one() {
        let outages = Outages::default();
        let instance = instance("a", "rm-1");
        let gone = failure(Class::PersonNeeded);
        let told = outages.found(instance.clone(), gone, 9, at(0), 1.0);
        assert_eq!(told.until, Some(at(600)));
        let seen = |is_new, now| outages.seen_since(&instance, at(0), is_new, at(now));
        assert!(seen(false, 1).is_some() && seen(true, 1).is_none());
        let told = outages.found(instance.clone(), failure(Class::Awaited), 0, at(1), 1.0);
        assert_eq!(told.until, Some(at(16)));
        assert_eq!(seen(true, 2).and_then(|seen| seen.until), Some(at(16)));
        assert_eq!(seen(false, 2).and_then(|seen| seen.until), Some(at(16)));
    }

    #[test]
    fn each_instance_and_identity_has_its_own_and_a_running_one_has_none() {
        let outages = Outages::default();
        let busy = || failure(Class::InstanceBusy);
        let one = instance("a", "rm-1");
        let next = |instance: &SeenInstance, jitter| {
            outages
                .found(instance.clone(), busy(), 0, at(0), jitter)
                .until
        };
        assert_eq!(next(&one, 1.0), Some(at(5)));
        for other in [instance("b", "rm-1"), instance("a", "rm-2")] {
            assert!(outages.seen_since(&other, at(0), false, at(1)).is_none());
            assert_eq!(next(&other, 0.0), Some(at(3)));
            outages.ended(&other);
        }
        assert_eq!(next(&one, 0.0), Some(at(5)), "the others' end is not its");
        outages.ended(&one);
        assert!(outages.seen_since(&one, at(0), false, at(1)).is_none());
        assert_eq!(next(&one, 0.0), Some(at(3)), "the first again");
    }

    proptest! {
        /// However often and whenever accounts come: each planned time has one look that plans the next, all wait until the same
        /// time, and never longer than they would alone.
        #[test]
        fn there_is_one_next_look(
            comings in proptest::collection::vec((0_i32..40_000, 0_u32..4, 0.0..1.0), 1..60),
        ) {
            let outages = Outages::default();
            let instance = instance("a", "rm-1");
            let (_, longest) = schedule::bounds(Class::InstanceBusy);
            let mut now = at(0);
            let mut next = None;
            let mut looks = 0;
            for (milliseconds, counted, jitter) in comings {
                now += Duration::from_millis(u64::try_from(milliseconds).unwrap());
                let told = outages.found(instance.clone(), failure(Class::InstanceBusy), counted, now, jitter);
                let until = told.until.unwrap();
                prop_assert!(until > now && until <= now + longest + schedule::ROUNDING);
                prop_assert_eq!(until.subsec_nanosecond(), 0);
                match next {
                    Some(planned) if planned > now => prop_assert_eq!(until, planned),
                    _ => looks += 1,
                }
                next = Some(until);
                let failures = outages.0.get(&instance).unwrap().failures;
                prop_assert!(looks <= failures && failures <= looks + 3);
                prop_assert!(outages.seen_since(&instance, now, false, now).is_some());
            }
        }
    }
}
