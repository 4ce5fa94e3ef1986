use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::decide::SecretProblem;
use super::fixtures::{World, accepted, at, failure, keyring};
use super::outcome::Failure;
use super::*;
use crate::api::Trigger;
use crate::rds::classification::Reason;
use crate::rds::password::PasswordRule;

/// A resource that has not been ready for so many seconds, and whose value was tried so many times.
fn tried(failures: u32, not_ready_for: i64) -> World {
    let mut world = World::new();
    let fingerprint =
        keyring(&world.keys).fingerprint(&world.target(), super::fixtures::PASSWORD.as_bytes());
    if failures > 0 {
        world.patch(&json!({ "status": { "lastAttempt": {
            "time": at(0).to_string(),
            "failures": failures,
            "nextTime": at(0).to_string(),
            "generation": 1,
            "fingerprint": fingerprint,
        } } }));
    }
    world.patch(
        &json!({ "status": { "observedGeneration": 1, "conditions": [{
        "type": "Ready",
        "status": "False",
        "reason": "Pending",
        "message": "",
        "lastTransitionTime": at(-not_ready_for).to_string(),
    }] } }),
    );
    world
}

fn failed(class: Class, retry_after: Option<u64>) -> Outcome {
    Outcome::Failed(Failure {
        retry_after: retry_after.map(Duration::from_secs),
        ..failure(Trigger::Created, class, Reason::Rejected)
    })
}

const MISSING: Account = Account::Missing { listed_as: None };

/// A spec that the operator has known for a second.
fn new(mut world: World) -> World {
    world.patch(&json!({ "status": { "observedGenerationTime": at(-1).to_string() } }));
    world
}

fn not_found(reason: Reason) -> Outcome {
    Outcome::Failed(failure(Trigger::Created, Class::PersonNeeded, reason))
}

fn reset(account: Account) -> Outcome {
    Outcome::Accepted(accepted(at(0), Trigger::Created, account))
}

fn settled(decision: Decision) -> Outcome {
    Outcome::Settled(decision)
}

/// The shortest and the longest wait, in seconds.
#[rstest]
#[case::reset(tried(0, 0), reset(Account::Available), 2400.0, 3600.0)]
#[case::reset_and_not_told(tried(9, 0), reset(Account::NotTold), 2400.0, 3600.0)]
#[case::reset_and_not_available(tried(9, 0), reset(Account::NotAvailable(None)), 2.5, 5.0)]
#[case::reset_and_locked(tried(9, 0), reset(Account::Locked), 15.0, 30.0)]
#[case::reset_and_not_listed(tried(9, 0), reset(MISSING), 15.0, 30.0)]
#[case::reset_and_not_listed_with_a_new_spec(new(tried(9, 0)), reset(MISSING), 7.5, 15.0)]
#[case::looked_and_locked(tried(1, 0), Outcome::Looked(Account::Locked), 30.0, 60.0)]
#[case::looked_and_locked_for_long(tried(99, 0), Outcome::Looked(Account::Locked), 300.0, 600.0)]
#[case::looked_and_not_listed(tried(1, 0), Outcome::Looked(MISSING), 30.0, 60.0)]
#[case::looked_and_not_listed_with_a_new_spec(
    new(tried(1, 0)),
    Outcome::Looked(MISSING),
    7.5,
    15.0
)]
#[case::looked_and_not_seen(tried(2, 0), Outcome::Looked(Account::NotSeen), 10.0, 20.0)]
#[case::not_found(tried(0, 0), not_found(Reason::AccountNotFound), 15.0, 30.0)]
#[case::not_found_with_a_new_spec(new(tried(9, 0)), not_found(Reason::AccountNotFound), 7.5, 15.0)]
#[case::no_instance_with_a_new_spec(
    new(tried(9, 0)),
    not_found(Reason::InstanceNotFound),
    7.5,
    15.0
)]
#[case::denied_with_a_new_spec(new(tried(0, 0)), not_found(Reason::AccessDenied), 15.0, 30.0)]
#[case::looked(tried(9, 0), Outcome::Looked(Account::Available), 2400.0, 3600.0)]
#[case::looked_and_not_available(
    tried(2, 0),
    Outcome::Looked(Account::NotAvailable(None)),
    10.0,
    20.0
)]
#[case::in_sync(tried(9, 0), settled(Decision::InSync { renew_fingerprint: false }), 2400.0, 3600.0)]
#[case::suspended(tried(9, 0), settled(Decision::Suspended), 2400.0, 3600.0)]
#[case::held_of_late(
    tried(9, 0),
    settled(Decision::Hold(SecretProblem::NotFound)),
    15.0,
    30.0
)]
#[case::held_for_long(
    tried(0, 100_000),
    settled(Decision::Hold(SecretProblem::Invalid(PasswordRule::Empty))),
    300.0,
    600.0
)]
#[case::in_conflict_for_a_while(tried(0, 100), settled(Decision::Conflict), 50.0, 100.0)]
#[case::waiting(tried(9, 0), settled(Decision::Wait { until: at(77) }), 77.0, 77.0)]
#[case::waited(tried(9, 0), settled(Decision::Wait { until: at(-1) }), 0.0, 0.0)]
#[case::not_this_pass(tried(9, 0), settled(Decision::LookAtAccount), 0.5, 1.0)]
#[case::abandoned(tried(9, 0), Outcome::Abandoned, 0.5, 1.0)]
#[case::first_failure(tried(0, 0), failed(Class::Transient, None), 0.5, 1.0)]
#[case::third_failure(tried(2, 0), failed(Class::Transient, None), 2.0, 4.0)]
#[case::many_failures(tried(99, 0), failed(Class::Transient, None), 30.0, 60.0)]
#[case::throttled(tried(0, 0), failed(Class::Throttled, None), 1.0, 2.0)]
#[case::throttled_with_a_time(tried(9, 0), failed(Class::Throttled, Some(8)), 8.0, 12.0)]
#[case::busy(tried(1, 0), failed(Class::InstanceBusy, None), 5.0, 10.0)]
#[case::waiting_with_others(
    tried(9, 0),
    Outcome::Failed(Failure {
        until: Some(at(77)),
        ..failure(Trigger::Created, Class::InstanceBusy, Reason::InstanceNotRunning)
    }),
    77.0,
    77.0
)]
#[case::person_needed(tried(0, 0), failed(Class::PersonNeeded, None), 15.0, 30.0)]
#[case::person_needed_for_long(tried(99, 0), failed(Class::PersonNeeded, None), 300.0, 600.0)]
#[case::another_value_starts_anew(
    {
        let mut world = tried(99, 0);
        world.rotate(super::fixtures::OTHER_PASSWORD);
        world
    },
    failed(Class::Transient, None),
    0.5,
    1.0
)]
fn every_outcome_has_its_wait(
    #[case] world: World,
    #[case] outcome: Outcome,
    #[case] shortest: f64,
    #[case] longest: f64,
) {
    let observation = world.observe();
    let wait = |jitter| schedule(&observation, &outcome, at(0), jitter).as_secs_f64();
    assert_eq!((wait(0.0), wait(1.0)), (shortest, longest));
}

proptest! {
    /// What the status names as the next try is not before the pass that comes for it, so that no pass comes for nothing again
    /// and again; and the pass is no more than a second early.
    #[test]
    fn the_next_pass_comes_for_the_next_try(failures in 0_u32..100, nanoseconds in 0_i32..1_000_000_000, jitter in 0.0..1.0) {
        let now = Timestamp::new(at(0).as_second(), nanoseconds).unwrap();
        let observation = tried(failures, 0).observe();
        let outcome = failed(Class::Transient, None);
        let wait = schedule(&observation, &outcome, now, jitter);
        let times = Times { now, next: now + wait };
        let old = observation.resource.status.clone().unwrap();
        let attempt = status::after(&old, &observation, &outcome, times).last_attempt.unwrap();
        prop_assert_eq!(attempt.failures, failures + 1);
        let early = attempt.next_time.0.duration_since(now + wait);
        prop_assert!(!early.is_negative() && early.as_secs() < 1);
    }
}
