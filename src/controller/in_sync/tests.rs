use proptest::prelude::*;
use proptest::sample::subsequence;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::api::Trigger;
use crate::controller::decide::{Decision, Observation, Ownership, SecretObservation, decide};
use crate::controller::fixtures::{
    OTHER_PASSWORD, PASSWORD, World, accepted, at, condition, keyring,
};
use crate::controller::outcome::{Account, Outcome};
use crate::controller::status::{Times, after};

const IN_SYNC: Decision = Decision::InSync {
    renew_fingerprint: false,
};

/// A resource whose value was just accepted.
fn in_sync() -> World {
    let mut world = World::new();
    tell(
        &mut world,
        &Outcome::Accepted(accepted(at(0), Trigger::Created, Account::Available)),
    );
    world
}

/// Writes the status that follows from an outcome.
fn tell(world: &mut World, outcome: &Outcome) {
    let status = world.resource.status.clone().unwrap_or_default();
    world.resource.status = Some(after(&status, &world.observe(), outcome, times()));
}

fn times() -> Times {
    Times {
        now: at(10),
        next: at(20),
    }
}

fn is_in_sync(world: &World) -> bool {
    match in_sync_with(&world.resource, &keyring(&world.keys)) {
        Some(version) => {
            // It is told of the Secret that was read last, in these tests.
            assert_eq!(*version, world.version);
            true
        }
        None => false,
    }
}

fn status(patch: Value) -> impl Fn(&mut World) {
    move |world| world.patch(&json!({ "status": patch }))
}

fn attempt() -> Value {
    json!({
        "time": at(0).to_string(),
        "failures": 1,
        "nextTime": at(0).to_string(),
        "generation": 1,
        "fingerprint": { "keyId": "key-1", "mac": "another" },
    })
}

fn ready(status: &str, reason: &str) -> Value {
    condition("Ready", status, reason)
}

#[test]
fn a_resource_whose_value_was_accepted_is_in_sync() {
    assert!(is_in_sync(&in_sync()));
}

#[rstest]
#[case::labels(|world: &mut World| world.patch(&json!({ "metadata": { "labels": { "a": "b" } } })))]
#[case::request_that_was_handled(|world: &mut World| {
    world.request("a");
    status(json!({ "lastHandledRequest": "a" }))(world);
})]
#[case::edited_and_looked_at(|world: &mut World| {
    world.edit(&json!({ "regionId": "cn-shanghai" }));
    tell(world, &Outcome::Settled(IN_SYNC));
})]
#[case::an_older_key_is_kept(|world: &mut World| world.keys = vec!["key-1", "key-0"])]
fn it_stays_so(#[case] change: impl Fn(&mut World)) {
    let mut world = in_sync();
    change(&mut world);
    assert!(is_in_sync(&world));
}

#[rstest]
#[case::never_looked_at(|world: &mut World| world.resource = World::new().resource)]
#[case::without_a_status(|world: &mut World| world.resource.status = None)]
#[case::is_being_deleted(|world: &mut World| {
    world.patch(&json!({ "metadata": { "deletionTimestamp": at(0).to_string() } }));
})]
#[case::edited(|world: &mut World| world.edit(&json!({ "regionId": "cn-shanghai" })))]
#[case::no_generations(|world: &mut World| {
    world.resource.metadata.generation = None;
    status(json!({ "observedGeneration": null }))(world);
})]
#[case::suspended(|world: &mut World| {
    world.edit(&json!({ "suspend": true }));
    tell(world, &Outcome::Settled(IN_SYNC));
})]
#[case::requested(|world: &mut World| world.request("a"))]
#[case::never_reset(status(json!({ "lastReset": null })))]
#[case::of_another_account(status(json!({ "lastReset": { "accountName": "other" } })))]
#[case::another_reset_may_have_followed(status(json!({ "lastReset": { "fingerprint": null } })))]
#[case::another_key(|world: &mut World| world.keys = vec!["key-2", "key-1"])]
#[case::lost_key(|world: &mut World| world.keys = vec!["key-2"])]
#[case::another_entry_of_the_secret(status(json!({ "lastReset": { "secret": { "key": "other" } } })))]
#[case::something_was_tried(status(json!({ "lastAttempt": attempt() })))]
#[case::something_is_pending(status(json!({ "pendingSince": at(0).to_string() })))]
#[case::not_ready(status(json!({ "conditions": [ready("False", "Pending")] })))]
#[case::readiness_not_known(status(json!({ "conditions": [ready("Unknown", "Pending")] })))]
#[case::without_conditions(status(json!({ "conditions": [] })))]
#[case::account_to_look_at(status(json!({ "conditions": [
    ready("True", "InSync"),
    condition("PasswordSynced", "False", "AccountNotAvailable"),
] })))]
#[case::locked_account_to_look_at(status(json!({ "conditions": [
    ready("True", "InSync"),
    condition("PasswordSynced", "False", "AccountLocked"),
] })))]
#[case::missing_account_to_look_at(status(json!({ "conditions": [
    ready("True", "InSync"),
    condition("PasswordSynced", "False", "AccountNotFound"),
] })))]
fn it_is_not_in_sync(#[case] change: impl Fn(&mut World)) {
    let mut world = in_sync();
    change(&mut world);
    assert!(!is_in_sync(&world));
}

/// One thing that can happen to a resource and its status.
fn happen(world: &mut World, what: usize) {
    match what {
        0 => world.edit(&json!({ "regionId": "cn-shanghai" })),
        1 => world.edit(&json!({ "accountName": "other" })),
        2 => world.edit(&json!({ "suspend": true })),
        3 => world.edit(&json!({ "suspend": false })),
        4 => world.edit(&json!({ "passwordSecretRef": { "key": "other" } })),
        5 => world.request("a"),
        6 => world.rotate(OTHER_PASSWORD),
        7 => world.rotate(PASSWORD),
        8 => world.ownership = Ownership::Anothers,
        9 => world.ownership = Ownership::Ours,
        10 => world.keys = vec!["key-2", "key-1"],
        11 => world.keys = vec!["key-2"],
        _ => pass(world),
    }
    world.version.key = world.resource.spec.password_secret_ref.key.clone();
}

/// A pass whose reset is accepted.
fn pass(world: &mut World) {
    let outcome = match decide(&world.observe(), at(0)) {
        Decision::Reset(trigger) => Outcome::Accepted(accepted(at(0), trigger, Account::Available)),
        settled => Outcome::Settled(settled),
    };
    tell(world, &outcome);
}

const LOOK: usize = 12;

proptest! {
    /// Whatever has happened: whoever reads the Secret of such a resource, while it is that version, finds it in sync and
    /// writes nothing, and neither does who does not read it.
    #[test]
    fn nothing_is_to_be_done_for_who_is_in_sync(what in proptest::collection::vec(0..=LOOK, 0..12), looks in subsequence(vec![LOOK; 2], 0..=2)) {
        let mut world = World::new();
        for what in what.into_iter().chain(looks) {
            happen(&mut world, what);
        }
        let Some(version) = in_sync_with(&world.resource, &keyring(&world.keys)) else {
            return Ok(());
        };
        if *version != world.version {
            return Ok(());
        }
        world.ownership = Ownership::Ours;
        let read = world.observe();
        let unread = Observation { secret: SecretObservation::Unchanged, ..world.observe() };
        let status = world.resource.status.clone().unwrap();
        for observation in [read, unread] {
            prop_assert_eq!(decide(&observation, at(0)), IN_SYNC);
            let later = Times { now: at(1000), next: at(2000) };
            prop_assert_eq!(&after(&status, &observation, &Outcome::Settled(IN_SYNC), later), &status);
        }
    }
}
