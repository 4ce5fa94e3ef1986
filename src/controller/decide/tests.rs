use std::sync::LazyLock;

use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::controller::fixtures::{
    OTHER_PASSWORD, PASSWORD, TIMING, World, at, condition, keyring,
};
use crate::secret::SecretReadError;

const NOW: i64 = 1000;

fn now() -> Timestamp {
    at(NOW)
}

/// A resource in sync: the Secret's value was sent, and RDS accepted it.
fn in_sync() -> World {
    let mut world = World::new();
    let fingerprint = keyring(&["key-1"]).fingerprint(&world.target(), PASSWORD.as_bytes());
    world.patch(&json!({ "status": {
        "conditions": [condition("PasswordSynced", "True", "Reset")],
        "lastReset": {
            "time": at(0).to_string(),
            "requestId": "D4D4BE8A-DD46-440A-BFCD-EE31DA81C9DD",
            "trigger": "Created",
            "instanceId": "rm-1",
            "accountName": "app",
            "secret": world.version,
            "fingerprint": fingerprint,
        },
    } }));
    world
}

/// Adds a failed try of what the Secret holds, that must not be repeated for `seconds`.
fn after_a_failure(mut world: World, seconds: i64) -> World {
    let observation = world.observe();
    let SecretObservation::Usable(value) = &observation.secret else {
        unreachable!("only a usable value is tried")
    };
    world.patch(&json!({ "status": { "lastAttempt": {
        "time": at(NOW - 1).to_string(),
        "failures": 1,
        "nextTime": at(NOW + seconds).to_string(),
        "generation": world.resource.metadata.generation,
        "request": world.resource.request(),
        "fingerprint": value.fingerprint,
    } } }));
    world
}

/// Adds a try of what the Secret holds that was not answered, and is due again.
fn unanswered(world: World) -> World {
    with(after_a_failure(world, 0), |world| {
        world.patch(&json!({ "status": { "lastAttempt": { "outcomeUnknown": true } } }));
    })
}

fn not_available(mut world: World) -> World {
    world.patch(&json!({ "status": {
        "conditions": [condition("PasswordSynced", "False", "AccountNotAvailable")],
    } }));
    world
}

fn with(mut world: World, change: impl FnOnce(&mut World)) -> World {
    change(&mut world);
    world
}

fn suspended(world: World) -> World {
    with(world, |world| world.edit(&json!({ "suspend": true })))
}

fn of_another(world: World) -> World {
    with(world, |world| world.ownership = Ownership::Anothers)
}

fn rotated(world: World) -> World {
    with(world, |world| world.rotate(OTHER_PASSWORD))
}

fn requested(world: World, value: &str) -> World {
    with(world, |world| world.request(value))
}

fn held(world: World, problem: SecretProblem) -> World {
    with(world, |world| world.secret = Err(problem))
}

fn handled(mut world: World, value: &str) -> World {
    world.patch(&json!({ "status": { "lastHandledRequest": value } }));
    world
}

fn lost_key(world: World) -> World {
    with(world, |world| world.keys = vec!["key-2"])
}

const IN_SYNC: Decision = Decision::InSync {
    renew_fingerprint: false,
};
const RENEWED: Decision = Decision::InSync {
    renew_fingerprint: true,
};

fn wait(seconds: i64) -> Decision {
    Decision::Wait {
        until: at(NOW + seconds),
    }
}

// ------------------------------------------------------------------ each rule

/// Rule 1. The rules that call nobody are still told.
#[rstest]
#[case::never_reset(suspended(World::new()), Decision::Suspended)]
#[case::changed(suspended(rotated(in_sync())), Decision::Suspended)]
#[case::requested(requested(suspended(in_sync()), "a"), Decision::Suspended)]
#[case::account_to_look_at(suspended(not_available(in_sync())), Decision::Suspended)]
#[case::during_a_back_off(after_a_failure(suspended(World::new()), 30), Decision::Suspended)]
#[case::in_sync(suspended(in_sync()), IN_SYNC)]
#[case::in_conflict(of_another(suspended(World::new())), Decision::Conflict)]
#[case::held(
    held(suspended(World::new()), SecretProblem::NotFound),
    Decision::Hold(SecretProblem::NotFound)
)]
fn suspended_resources_make_no_call(#[case] world: World, #[case] expected: Decision) {
    assert_eq!(decide(&world.observe(), now()), expected);
}

/// Rule 2.
#[rstest]
#[case::never_reset(World::new())]
#[case::in_sync(in_sync())]
#[case::changed(rotated(in_sync()))]
#[case::requested(requested(in_sync(), "a"))]
#[case::account_to_look_at(not_available(in_sync()))]
#[case::during_a_back_off(after_a_failure(World::new(), 30))]
#[case::without_a_secret(held(World::new(), SecretProblem::NotFound))]
fn who_does_not_own_the_account_makes_no_call(#[case] world: World) {
    assert_eq!(
        decide(&of_another(world).observe(), now()),
        Decision::Conflict
    );
}

/// Rule 3.
#[rstest]
fn nothing_is_sent_where_there_is_nothing_to_send(
    #[values(
        SecretProblem::NotFound,
        SecretProblem::KeyNotFound,
        SecretProblem::Unreadable(SecretReadError::Forbidden),
        SecretProblem::Invalid(PasswordRule::Empty),
        SecretProblem::Invalid(PasswordRule::TrailingNewline)
    )]
    problem: SecretProblem,
    #[values(
        World::new(),
        in_sync(),
        rotated(in_sync()),
        requested(in_sync(), "a"),
        not_available(in_sync()),
        after_a_failure(World::new(), 30),
        after_a_failure(World::new(), 0)
    )]
    world: World,
) {
    assert_eq!(
        decide(&held(world, problem).observe(), now()),
        Decision::Hold(problem)
    );
}

/// Rule 4.
#[rstest]
#[case::untouched(in_sync(), IN_SYNC)]
#[case::request_was_handled(handled(requested(in_sync(), "a"), "a"), IN_SYNC)]
#[case::annotation_removed(handled(in_sync(), "a"), IN_SYNC)]
#[case::annotation_empty(requested(in_sync(), ""), IN_SYNC)]
#[case::labels(
    with(in_sync(), |world| world.patch(&json!({ "metadata": { "labels": { "a": "b" } } }))),
    IN_SYNC
)]
#[case::secret_was_created_again(
    with(in_sync(), |world| {
        world.version.uid = "secret-2".to_owned();
        world.version.resource_version = "99".to_owned();
    }),
    IN_SYNC
)]
#[case::same_value_in_another_key(
    with(in_sync(), |world| {
        world.edit(&json!({ "passwordSecretRef": { "key": "other" } }));
        world.version.key = "other".to_owned();
    }),
    IN_SYNC
)]
#[case::region_named(
    with(in_sync(), |world| world.edit(&json!({ "regionId": "cn-shanghai" }))),
    IN_SYNC
)]
#[case::resumed(
    with(suspended(in_sync()), |world| world.edit(&json!({ "suspend": false }))),
    IN_SYNC
)]
#[case::turned_back_after_a_failure(
    with(after_a_failure(rotated(in_sync()), 30), |world| world.rotate(PASSWORD)),
    IN_SYNC
)]
#[case::older_key(
    with(in_sync(), |world| world.keys = vec!["key-2", "key-1"]),
    RENEWED
)]
#[case::key_lost_and_secret_untouched(lost_key(in_sync()), RENEWED)]
#[case::account_to_look_at(not_available(in_sync()), Decision::LookAtAccount)]
#[case::account_to_look_at_by_older_key(
    with(not_available(in_sync()), |world| world.keys = vec!["key-2", "key-1"]),
    Decision::LookAtAccount
)]
#[case::account_to_look_at_later(after_a_failure(not_available(in_sync()), 30), wait(30))]
#[case::account_to_look_at_now(
    after_a_failure(not_available(in_sync()), 0),
    Decision::LookAtAccount
)]
fn what_was_applied_is_not_sent_again(#[case] world: World, #[case] expected: Decision) {
    assert_eq!(decide(&world.observe(), now()), expected);
}

/// Rule 5.
#[rstest]
#[case::ahead(after_a_failure(World::new(), 30), wait(30))]
#[case::ahead_after_a_change(after_a_failure(rotated(in_sync()), 1), wait(1))]
#[case::ahead_after_a_request(after_a_failure(requested(in_sync(), "a"), 600), wait(600))]
#[case::longest(after_a_failure(World::new(), 601), wait(601))]
#[case::now(after_a_failure(World::new(), 0), Decision::Reset(Trigger::Created))]
#[case::past(after_a_failure(World::new(), -5), Decision::Reset(Trigger::Created))]
#[case::clock_was_ahead(after_a_failure(World::new(), 602), Decision::Reset(Trigger::Created))]
#[case::clock_was_years_ahead(
    after_a_failure(World::new(), 300_000_000),
    Decision::Reset(Trigger::Created)
)]
#[case::another_value(
    rotated(after_a_failure(World::new(), 30)),
    Decision::Reset(Trigger::Created)
)]
#[case::another_generation(
    with(after_a_failure(World::new(), 30), |world| world.edit(&json!({ "regionId": "cn-hangzhou" }))),
    Decision::Reset(Trigger::Created)
)]
#[case::another_account(
    with(after_a_failure(World::new(), 30), |world| world.edit(&json!({ "accountName": "other" }))),
    Decision::Reset(Trigger::Created)
)]
#[case::first_request(
    requested(after_a_failure(World::new(), 30), "a"),
    Decision::Reset(Trigger::Created)
)]
#[case::another_request(
    requested(after_a_failure(requested(in_sync(), "a"), 30), "b"),
    Decision::Reset(Trigger::Requested)
)]
#[case::request_withdrawn(
    with(after_a_failure(requested(rotated(in_sync()), "a"), 30), |world| {
        world.resource.metadata.annotations = None;
    }),
    Decision::Reset(Trigger::SecretChanged)
)]
#[case::another_key(
    lost_key(after_a_failure(World::new(), 30)),
    Decision::Reset(Trigger::Created)
)]
#[case::written_without_a_generation(
    with(after_a_failure(World::new(), 30), |world| {
        world.patch(&json!({ "status": { "lastAttempt": { "generation": null } } }));
    }),
    Decision::Reset(Trigger::Created)
)]
fn only_the_very_same_try_waits(#[case] world: World, #[case] expected: Decision) {
    assert_eq!(decide(&world.observe(), now()), expected);
}

/// Rule 6.
#[rstest]
#[case::never_reset(World::new(), Trigger::Created)]
#[case::never_reset_and_requested(requested(World::new(), "a"), Trigger::Created)]
#[case::value_changed(rotated(in_sync()), Trigger::SecretChanged)]
#[case::value_changed_during_a_look(rotated(not_available(in_sync())), Trigger::SecretChanged)]
#[case::value_changed_and_requested(requested(rotated(in_sync()), "a"), Trigger::SecretChanged)]
#[case::requested(requested(in_sync(), "a"), Trigger::Requested)]
#[case::requested_anew(handled(requested(in_sync(), "b"), "a"), Trigger::Requested)]
#[case::requested_during_a_look(requested(not_available(in_sync()), "a"), Trigger::Requested)]
#[case::another_instance(
    with(in_sync(), |world| world.edit(&json!({ "instanceId": "rm-2" }))),
    Trigger::SpecChanged
)]
#[case::another_account(
    with(in_sync(), |world| world.edit(&json!({ "accountName": "other" }))),
    Trigger::SpecChanged
)]
#[case::another_key_with_another_value(
    with(rotated(in_sync()), |world| {
        world.edit(&json!({ "passwordSecretRef": { "key": "other" } }));
        world.version.key = "other".to_owned();
    }),
    Trigger::SpecChanged
)]
#[case::overlapped(
    with(in_sync(), |world| world.patch(&json!({ "status": { "lastReset": { "fingerprint": null } } }))),
    Trigger::Overlapped
)]
#[case::fingerprint_damaged(
    with(in_sync(), |world| world.patch(&json!({ "status": { "lastReset": { "fingerprint": { "mac": "?" } } } }))),
    Trigger::SecretChanged
)]
#[case::key_lost_and_requested(requested(lost_key(in_sync()), "a"), Trigger::Requested)]
#[case::key_lost_and_secret_touched(
    lost_key(with(in_sync(), |world| world.version.resource_version = "8".to_owned())),
    Trigger::SecretChanged
)]
#[case::key_lost_and_secret_created_again(
    lost_key(with(in_sync(), |world| world.version.uid = "secret-2".to_owned())),
    Trigger::SecretChanged
)]
#[case::key_lost_and_another_key_of_the_secret(
    lost_key(with(in_sync(), |world| world.version.key = "other".to_owned())),
    Trigger::SpecChanged
)]
#[case::answer_was_lost(
    with(after_a_failure(rotated(in_sync()), 30), |world| {
        world.patch(&json!({ "status": { "lastAttempt": { "outcomeUnknown": true } } }));
        world.rotate(PASSWORD);
    }),
    Trigger::SecretChanged
)]
#[case::requested_and_answer_was_lost(unanswered(requested(in_sync(), "a")), Trigger::Requested)]
#[case::requested_and_answer_was_lost_and_another_key(
    with(unanswered(requested(in_sync(), "a")), |world| world.keys = vec!["key-2", "key-1"]),
    Trigger::Requested
)]
#[case::requested_and_changed_and_answer_was_lost(
    unanswered(requested(rotated(in_sync()), "a")),
    Trigger::SecretChanged
)]
#[case::request_was_handled_and_answer_was_lost(
    unanswered(handled(requested(in_sync(), "a"), "a")),
    Trigger::SecretChanged
)]
fn what_was_not_applied_is_sent(#[case] world: World, #[case] expected: Trigger) {
    assert_eq!(decide(&world.observe(), now()), Decision::Reset(expected));
}

#[test]
fn a_lost_answer_waits_like_any_failure() {
    let world = with(after_a_failure(rotated(in_sync()), 30), |world| {
        world.patch(&json!({ "status": { "lastAttempt": { "outcomeUnknown": true } } }));
    });
    assert_eq!(decide(&world.observe(), now()), wait(30));
}

// ------------------------------------------------------------------ the law

/// What is known of the value that was sent last.
#[derive(Debug, Clone, Copy, PartialEq)]
enum LastReset {
    Never,
    OfAnotherAccount,
    Voided,
    Compared(Comparison, Version),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Version {
    Same,
    AnotherUid,
    Touched,
    AnotherKey,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Request {
    None,
    Handled,
    New,
}

/// What of the newest try is still the same.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tried {
    generation: bool,
    request: bool,
    value: bool,
    answer_lost: bool,
    /// Seconds from now.
    next: i64,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Clone, Copy)]
struct Situation {
    suspend: bool,
    owned: bool,
    usable: bool,
    last_reset: LastReset,
    request: Request,
    account_was_not_available: bool,
    tried: Option<Tried>,
}

impl Situation {
    /// The law in a sentence: a reset is made if and only if this resource may make one, there is something to send, it is not
    /// what RDS has already or was asked for anew, and this very try need not wait.
    fn wants_a_reset(self) -> bool {
        let may = self.owned && !self.suspend;
        may && self.usable && self.is_due() && !self.must_wait()
    }

    fn is_due(self) -> bool {
        let answer_lost = self.tried.is_some_and(|tried| tried.answer_lost);
        let rds_has_it = !answer_lost
            && match self.last_reset {
                LastReset::Never | LastReset::OfAnotherAccount | LastReset::Voided => false,
                LastReset::Compared(comparison, version) => match comparison {
                    Comparison::Same | Comparison::SameByOlderKey => true,
                    Comparison::Different => false,
                    Comparison::KeyLost => version == Version::Same,
                },
            };
        !rds_has_it || self.request == Request::New
    }

    fn must_wait(self) -> bool {
        self.tried.is_some_and(|tried| {
            tried.generation && tried.request && tried.value && (1..=601).contains(&tried.next)
        })
    }

    fn observation(self) -> Observation {
        static PLAIN: LazyLock<DatabaseAccountPassword> = LazyLock::new(|| in_sync().resource);
        static LOOKED: LazyLock<DatabaseAccountPassword> =
            LazyLock::new(|| not_available(in_sync()).resource);
        let mut resource = if self.account_was_not_available {
            LOOKED.clone()
        } else {
            PLAIN.clone()
        };
        let fingerprint = |mac: &str| StoredFingerprint {
            key_id: "key-1".to_owned(),
            mac: mac.to_owned(),
        };
        let mut version = SecretVersion {
            uid: "secret-1".to_owned(),
            resource_version: "7".to_owned(),
            key: "password".to_owned(),
        };
        resource.spec.suspend = self.suspend;
        let status = resource.status.as_mut().unwrap();
        let mut compared = None;
        match self.last_reset {
            LastReset::Never => status.last_reset = None,
            LastReset::OfAnotherAccount => {
                status.last_reset.as_mut().unwrap().account_name = "other".to_owned();
            }
            LastReset::Voided => status.last_reset.as_mut().unwrap().fingerprint = None,
            LastReset::Compared(comparison, same) => {
                compared = Some(comparison);
                match same {
                    Version::Same => {}
                    Version::AnotherUid => version.uid = "secret-2".to_owned(),
                    Version::Touched => version.resource_version = "8".to_owned(),
                    Version::AnotherKey => version.key = "other".to_owned(),
                }
            }
        }
        let request = match self.request {
            Request::None => None,
            Request::Handled => {
                status.last_handled_request = Some("r".to_owned());
                Some("r".to_owned())
            }
            Request::New => {
                status.last_handled_request = Some("older".to_owned());
                Some("r".to_owned())
            }
        };
        status.last_attempt = self.tried.map(|tried| crate::api::Attempt {
            time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(NOW - 1)),
            failures: 1,
            code: None,
            request_id: None,
            next_time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(NOW + tried.next)),
            generation: Some(if tried.generation { 1 } else { 2 }),
            request: if tried.request {
                request.clone()
            } else {
                Some("another".to_owned())
            },
            fingerprint: fingerprint(if tried.value { "mac" } else { "another" }),
            outcome_unknown: tried.answer_lost,
            unanswered: tried.answer_lost.into(),
        });
        resource.metadata.annotations =
            request.map(|value| [(crate::api::REQUESTED_AT_ANNOTATION.to_owned(), value)].into());
        Observation {
            resource: Arc::new(resource),
            ownership: if self.owned {
                Ownership::Ours
            } else {
                Ownership::Anothers
            },
            secret: if self.usable {
                SecretObservation::Usable(SecretValue {
                    version,
                    password: Password::from_bytes(PASSWORD.as_bytes()).unwrap(),
                    fingerprint: fingerprint("mac"),
                    compared,
                })
            } else {
                SecretObservation::Unusable(SecretProblem::NotFound)
            },
            unanswered: Unanswered::of(None, &[], TIMING, now()),
            looked: Instant::now(),
        }
    }

    /// Every situation there is, with these times for the next try.
    fn all(times: &[i64]) -> Vec<Self> {
        let bools = [false, true];
        let comparisons = [
            Comparison::Same,
            Comparison::SameByOlderKey,
            Comparison::Different,
            Comparison::KeyLost,
        ];
        let versions = [
            Version::Same,
            Version::AnotherUid,
            Version::Touched,
            Version::AnotherKey,
        ];
        let mut last_resets = vec![
            LastReset::Never,
            LastReset::OfAnotherAccount,
            LastReset::Voided,
        ];
        for comparison in comparisons {
            last_resets.extend(versions.map(|version| LastReset::Compared(comparison, version)));
        }
        let mut tries = vec![None];
        for &next in times {
            for bits in 0..16 {
                tries.push(Some(Tried {
                    generation: bits & 1 != 0,
                    request: bits & 2 != 0,
                    value: bits & 4 != 0,
                    answer_lost: bits & 8 != 0,
                    next,
                }));
            }
        }
        let mut all = Vec::new();
        for suspend in bools {
            for owned in bools {
                for usable in bools {
                    for &last_reset in &last_resets {
                        for request in [Request::None, Request::Handled, Request::New] {
                            for account_was_not_available in bools {
                                all.extend(tries.iter().map(|&tried| Self {
                                    suspend,
                                    owned,
                                    usable,
                                    last_reset,
                                    request,
                                    account_was_not_available,
                                    tried,
                                }));
                            }
                        }
                    }
                }
            }
        }
        all
    }
}

#[test]
fn a_reset_is_made_exactly_where_the_law_says() {
    let all = Situation::all(&[-1, 0, 1, 602]);
    assert!(all.len() > 50_000);
    for situation in all {
        let decision = decide(&situation.observation(), now());
        assert_eq!(
            matches!(decision, Decision::Reset(_)),
            situation.wants_a_reset(),
            "{situation:?}: {decision:?}"
        );
        // The cloud is called for nothing but what is due, and never for one who may not.
        if decision == Decision::LookAtAccount {
            assert!(
                situation.owned
                    && !situation.suspend
                    && situation.usable
                    && situation.account_was_not_available
                    && !situation.is_due()
                    && !situation.must_wait(),
                "{situation:?}"
            );
        }
        // Nobody is told that all is well who has something to come.
        if matches!(decision, Decision::InSync { .. }) {
            assert!(
                situation.owned
                    && situation.usable
                    && !situation.is_due()
                    && !situation.account_was_not_available,
                "{situation:?}"
            );
        }
        // A wait ends at the time that the status names, and is for something.
        if let Decision::Wait { until } = decision {
            assert!(situation.must_wait(), "{situation:?}");
            assert!(situation.is_due() || situation.account_was_not_available);
            assert_eq!(until, at(NOW + situation.tried.unwrap().next));
        }
    }
}

proptest! {
    /// Whatever times stand in a status and on the clock: a try waits for ten minutes at most, and is then made.
    #[test]
    fn nobody_is_locked_out_by_a_time(
        written in any::<i32>(),
        ahead in prop_oneof![3 => -700_i64..700, 1 => any::<i32>().prop_map(i64::from)],
    ) {
        let clock = i64::from(written) - ahead;
        let mut world = after_a_failure(World::new(), 0);
        let attempt = world.resource.status.as_mut().unwrap().last_attempt.as_mut().unwrap();
        attempt.next_time.0 = at(written.into());
        let observation = world.observe();
        let clock = at(clock);
        prop_assert_eq!(
            matches!(decide(&observation, clock), Decision::Wait { .. }),
            (1..=601).contains(&ahead)
        );
        match decide(&observation, clock) {
            Decision::Wait { until } => {
                prop_assert_eq!(until, at(written.into()));
                prop_assert!(clock < until && until.duration_since(clock).as_secs() <= 601);
                prop_assert_eq!(decide(&observation, until), Decision::Reset(Trigger::Created));
            }
            decision => prop_assert_eq!(decision, Decision::Reset(Trigger::Created)),
        }
    }

    /// Time alone never makes a reset of what is in sync.
    #[test]
    fn time_resets_nothing(clock in any::<i32>(), back_off in any::<i32>()) {
        let world = after_a_failure(in_sync(), back_off.into());
        prop_assert_eq!(decide(&world.observe(), at(clock.into())), IN_SYNC);
    }
}

/// Whatever stands in the status: where the Secret was not read there is nothing to send, and nobody is asked.
#[test]
fn an_unchanged_secret_is_never_sent() {
    for situation in Situation::all(&[-1, 0, 1]) {
        let observation = Observation {
            secret: SecretObservation::Unchanged,
            ..situation.observation()
        };
        let expected = match observation.ownership {
            Ownership::Ours => IN_SYNC,
            Ownership::Anothers => Decision::Conflict,
        };
        assert_eq!(decide(&observation, now()), expected, "{situation:?}");
    }
}
