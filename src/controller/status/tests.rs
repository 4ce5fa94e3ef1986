use std::collections::HashMap;

use proptest::prelude::*;
use proptest::sample::select;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::api::{FinishedTry, HISTORY_LIMIT, ReadyReason, Target, Trigger, TryOutcome};
use crate::controller::decide::{Ownership, decide};
use crate::controller::fixtures::{OTHER_PASSWORD, PASSWORD, TIMING, World, accepted, at, failure};
use crate::controller::outcome::{Account, Failure};
use crate::controller::schedule;
use crate::rds::classification::{Class, Reason, TABLE};
use crate::rds::password::PasswordRule;
use crate::rds::word::Word;
use crate::secret::SecretReadError;

const THIRD_PASSWORD: &str = "Third56word";
const VALUES: [&str; 3] = [PASSWORD, OTHER_PASSWORD, THIRD_PASSWORD];

/// What the cloud does with the next reset or look.
#[derive(Debug, Clone)]
enum Answer {
    /// The reset is accepted, and the account is like this. For a look, the account alone.
    Account(Account),
    /// The reset is accepted, and another process' came at the same time.
    Overlapped,
    /// The answer is lost, the reset took effect, or did not, and another process' came at the same time.
    OverlappedAndLost(bool),
    /// The reset fails for this reason; the instance was seen to be running, or not.
    Fails(Class, Reason, bool),
    /// The answer is lost, and the reset took effect, or did not.
    Lost(bool),
}

const AVAILABLE: Answer = Answer::Account(Account::Available);
const NOT_AVAILABLE: Answer = Answer::Account(Account::NotAvailable(None));
const LOCKED: Answer = Answer::Account(Account::Locked);
const MISSING: Answer = Answer::Account(Account::Missing { listed_as: None });
const INSTANCE_NOT_FOUND: Answer =
    Answer::Fails(Class::PersonNeeded, Reason::InstanceNotFound, false);
const ACCOUNT_NOT_FOUND: Answer = Answer::Fails(Class::PersonNeeded, Reason::AccountNotFound, true);
const ENDPOINT_NOT_FOUND: Answer = Answer::Fails(Class::Transient, Reason::EndpointNotFound, false);
const NOT_RUNNING: Answer = Answer::Fails(Class::InstanceBusy, Reason::InstanceNotRunning, false);
const THROTTLED: Answer = Answer::Fails(Class::Throttled, Reason::Throttled, true);
const REFUSED: Answer = Answer::Fails(Class::PersonNeeded, Reason::PasswordInvalid, true);

/// A resource through the passes over it, with what the accounts' passwords really are.
#[derive(Clone)]
struct Life {
    world: World,
    now: Timestamp,
    passwords: HashMap<Target, &'static str>,
    /// Resets without an answer that have not taken effect yet, and may until this time.
    open: Vec<(Target, &'static str, Timestamp)>,
}

impl Life {
    fn new() -> Self {
        Self {
            world: World::new(),
            now: at(0),
            passwords: HashMap::new(),
            open: Vec::new(),
        }
    }

    /// After a first reset that was accepted.
    fn in_sync() -> Self {
        let mut life = Self::new();
        life.pass(AVAILABLE);
        life
    }

    /// In sync, and a second value was sent after 100 s without an answer. It has not taken effect.
    fn with_a_lost_answer() -> Self {
        let mut life = Self::in_sync().after(100);
        life.world.rotate(OTHER_PASSWORD);
        life.pass(Answer::Lost(false));
        life
    }

    fn after(mut self, seconds: i64) -> Self {
        self.sleep(seconds);
        self
    }

    fn sleep(&mut self, seconds: i64) {
        self.now = at(self.now.duration_since(at(0)).as_secs() + seconds);
        self.world.now = self.now;
        self.open.retain(|(_, _, end)| *end > self.now);
    }

    fn status(&self) -> &DatabaseAccountPasswordStatus {
        self.world.resource.status.as_ref().unwrap()
    }

    fn outcome_of(&mut self, decision: Decision, answer: Answer) -> Outcome {
        let trigger = match decision {
            Decision::Reset(trigger) => trigger,
            Decision::LookAtAccount => {
                return Outcome::Looked(match answer {
                    Answer::Account(account) => account,
                    _ => Account::NotTold,
                });
            }
            settled => return Outcome::Settled(settled),
        };
        let takes_effect = match answer {
            Answer::Account(_) | Answer::Overlapped => true,
            Answer::Fails(..) => false,
            Answer::Lost(took_effect) | Answer::OverlappedAndLost(took_effect) => took_effect,
        };
        let value = self.world.secret.unwrap();
        if takes_effect {
            self.passwords.insert(self.world.target(), value);
        } else if matches!(answer, Answer::Lost(_) | Answer::OverlappedAndLost(_)) {
            let end = self.now + TIMING.settling;
            self.open.push((self.world.target(), value, end));
        }
        match answer {
            Answer::Account(account) => Outcome::Accepted(accepted(self.now, trigger, account)),
            Answer::Overlapped => {
                Outcome::Overlapped(Some(accepted(self.now, trigger, Account::Available)))
            }
            Answer::OverlappedAndLost(_) => Outcome::Overlapped(None),
            Answer::Fails(class, reason, instance_was_running) => Outcome::Failed(Failure {
                instance_was_running,
                ..failure(trigger, class, reason)
            }),
            Answer::Lost(_) => Outcome::Failed(Failure {
                instance_was_running: true,
                outcome_unknown: true,
                code: None,
                ..failure(trigger, Class::Transient, Reason::RdsUnavailable)
            }),
        }
    }

    /// One pass, as `reconcile` makes it. What the status was before.
    fn pass(&mut self, answer: Answer) -> (Decision, DatabaseAccountPasswordStatus) {
        let observation = self.world.observe();
        let decision = decide(&observation, self.now);
        let is_sent = !matches!(answer, Answer::Fails(_, _, false));
        let outcome = self.outcome_of(decision, answer);
        let before = self.status().clone();
        if is_sent && matches!(decision, Decision::Reset(_)) {
            self.intend(&observation);
        }
        self.tell(&observation, &outcome);
        (decision, before)
    }

    fn intend(&mut self, observation: &Observation) {
        let value = match &observation.secret {
            SecretObservation::Usable(value) => Some(value),
            SecretObservation::Unusable(_) | SecretObservation::Unchanged => None,
        };
        let value = value.unwrap();
        let times = Times {
            now: self.now,
            next: self.now + Duration::from_millis(500),
        };
        self.world.resource.status = Some(intending(observation, value, times));
    }

    /// A pass that ends with the process, after the value was sent and took effect, or before.
    fn killed(&mut self, took_effect: bool) {
        let observation = self.world.observe();
        if let Decision::Reset(_) = decide(&observation, self.now) {
            self.intend(&observation);
            let value = self.world.secret.unwrap();
            if took_effect {
                self.passwords.insert(self.world.target(), value);
            } else {
                let timeout = TIMING.timeout_after(unanswered(&observation));
                let end = self.now + timeout + TIMING.settling;
                self.open.push((self.world.target(), value, end));
            }
        }
    }

    fn tell(&mut self, observation: &Observation, outcome: &Outcome) {
        let wait = schedule(observation, outcome, self.now, 0.0);
        let times = Times {
            now: self.now,
            next: self.now + wait,
        };
        let status = after(self.status(), observation, outcome, times);
        // As the API server keeps it: a finer time, or a field that is not written, would be another status at each pass.
        let text = serde_json::to_string(&status).unwrap();
        let kept: DatabaseAccountPasswordStatus = serde_json::from_str(&text).unwrap();
        assert_eq!(kept, status);
        self.world.resource.status = Some(status);
    }

    /// As if the last try had to wait until then.
    fn patch_next_time(&mut self, seconds: i64) {
        let next_time = at(seconds).to_string();
        self.world
            .patch(&json!({ "status": { "lastAttempt": { "nextTime": next_time } } }));
    }

    fn queue(&mut self) {
        let observation = self.world.observe();
        let times = Times {
            now: self.now,
            next: self.now,
        };
        let status = after(self.status(), &observation, &Outcome::Queued, times);
        self.world.resource.status = Some(status);
    }

    /// `Ready False InstanceNotRunning; SecretReady True Valid; …`, and the conditions that are there only while they are true.
    fn summary(&self) -> String {
        let told: Vec<_> = self
            .status()
            .conditions
            .iter()
            .map(|condition| {
                let (type_, status, reason) =
                    (&condition.type_, &condition.status, &condition.reason);
                format!("{type_} {status} {reason}")
            })
            .collect();
        told.join("; ")
    }

    fn ready(&self) -> (&str, &str) {
        let ready = find(&self.status().conditions, ConditionType::Ready).unwrap();
        (&ready.status, &ready.reason)
    }

    fn message(&self, type_: ConditionType) -> &str {
        &find(&self.status().conditions, type_).unwrap().message
    }

    fn failures(&self) -> Option<u32> {
        let attempt = self.status().last_attempt.as_ref();
        attempt.map(|attempt| attempt.failures)
    }

    fn pending_since(&self) -> Option<Timestamp> {
        self.status().pending_since.as_ref().map(|time| time.0)
    }
}

fn with(mut life: Life, change: impl FnOnce(&mut Life)) -> Life {
    change(&mut life);
    life
}

fn held(problem: SecretProblem) -> Life {
    with(Life::new(), |life| life.world.secret = Err(problem))
}

// ------------------------------------------------------------------ conditions

#[rstest]
#[case::accepted(
    AVAILABLE,
    "Ready True InSync; SecretReady True Valid; InstanceReady True Running; PasswordSynced True Reset"
)]
#[case::accepted_and_the_account_not_told(
    Answer::Account(Account::NotTold),
    "Ready True InSync; SecretReady True Valid; InstanceReady True Running; PasswordSynced True Reset"
)]
#[case::accepted_and_the_account_not_available(
    NOT_AVAILABLE,
    "Ready False AccountNotAvailable; SecretReady True Valid; InstanceReady True Running; PasswordSynced False AccountNotAvailable; Reconciling True AccountNotAvailable"
)]
#[case::accepted_and_the_account_locked(
    LOCKED,
    "Ready False AccountLocked; SecretReady True Valid; InstanceReady True Running; PasswordSynced False AccountLocked; Stalled True AccountLocked"
)]
#[case::accepted_and_the_account_not_listed(
    MISSING,
    "Ready False AccountNotFound; SecretReady True Valid; InstanceReady True Running; PasswordSynced False AccountNotFound; Reconciling True AccountNotFound"
)]
#[case::account_seen_to_be_locked(
    Answer::Fails(Class::PersonNeeded, Reason::AccountLocked, true),
    "Ready False AccountLocked; SecretReady True Valid; InstanceReady True Running; PasswordSynced False AccountLocked; Stalled True AccountLocked"
)]
#[case::no_such_host(
    ENDPOINT_NOT_FOUND,
    "Ready False EndpointNotFound; SecretReady True Valid; InstanceReady Unknown NotAsked; PasswordSynced False EndpointNotFound; Reconciling True EndpointNotFound"
)]
#[case::overlapped(
    Answer::Overlapped,
    "Ready False Pending; SecretReady True Valid; InstanceReady True Running; PasswordSynced False Pending; Reconciling True Pending"
)]
#[case::answer_lost(
    Answer::Lost(true),
    "Ready False RdsUnavailable; SecretReady True Valid; InstanceReady True Running; PasswordSynced False RdsUnavailable; Reconciling True RdsUnavailable"
)]
#[case::instance_not_running(
    NOT_RUNNING,
    "Ready False InstanceNotRunning; SecretReady True Valid; InstanceReady False InstanceNotRunning; PasswordSynced False Pending; Reconciling True InstanceNotRunning"
)]
#[case::instance_locked(
    Answer::Fails(Class::InstanceBusy, Reason::InstanceLocked, false),
    "Ready False InstanceLocked; SecretReady True Valid; InstanceReady False InstanceLocked; PasswordSynced False Pending; Reconciling True InstanceLocked"
)]
#[case::instance_not_found(
    Answer::Fails(Class::PersonNeeded, Reason::InstanceNotFound, false),
    "Ready False InstanceNotFound; SecretReady True Valid; InstanceReady False InstanceNotFound; PasswordSynced False Pending; Reconciling True InstanceNotFound"
)]
#[case::instance_stopped_meanwhile(
    Answer::Fails(Class::InstanceBusy, Reason::InstanceNotRunning, true),
    "Ready False InstanceNotRunning; SecretReady True Valid; InstanceReady False InstanceNotRunning; PasswordSynced False Pending; Reconciling True InstanceNotRunning"
)]
#[case::account_not_found(
    Answer::Fails(Class::PersonNeeded, Reason::AccountNotFound, true),
    "Ready False AccountNotFound; SecretReady True Valid; InstanceReady True Running; PasswordSynced False AccountNotFound; Reconciling True AccountNotFound"
)]
#[case::account_not_available(
    Answer::Fails(Class::InstanceBusy, Reason::AccountNotAvailable, true),
    "Ready False AccountNotAvailable; SecretReady True Valid; InstanceReady True Running; PasswordSynced False AccountNotAvailable; Reconciling True AccountNotAvailable"
)]
#[case::account_not_supported(
    Answer::Fails(Class::PersonNeeded, Reason::AccountNotSupported, true),
    "Ready False AccountNotSupported; SecretReady True Valid; InstanceReady True Running; PasswordSynced False AccountNotSupported; Stalled True AccountNotSupported"
)]
#[case::denied_before_the_instance_was_seen(
    Answer::Fails(Class::PersonNeeded, Reason::AccessDenied, false),
    "Ready False AccessDenied; SecretReady True Valid; InstanceReady Unknown NotAsked; PasswordSynced False AccessDenied; Stalled True AccessDenied"
)]
#[case::no_credentials(
    Answer::Fails(Class::PersonNeeded, Reason::CredentialsUnavailable, false),
    "Ready False CredentialsUnavailable; SecretReady True Valid; InstanceReady Unknown NotAsked; PasswordSynced False CredentialsUnavailable; Stalled True CredentialsUnavailable"
)]
#[case::throttled(
    THROTTLED,
    "Ready False Throttled; SecretReady True Valid; InstanceReady True Running; PasswordSynced False Throttled; Reconciling True Throttled"
)]
#[case::unavailable(
    Answer::Fails(Class::Transient, Reason::RdsUnavailable, false),
    "Ready False RdsUnavailable; SecretReady True Valid; InstanceReady Unknown NotAsked; PasswordSynced False RdsUnavailable; Reconciling True RdsUnavailable"
)]
#[case::clock_skew(
    Answer::Fails(Class::PersonNeeded, Reason::ClockSkew, false),
    "Ready False ClockSkew; SecretReady True Valid; InstanceReady Unknown NotAsked; PasswordSynced False ClockSkew; Stalled True ClockSkew"
)]
#[case::rejected(
    Answer::Fails(Class::PersonNeeded, Reason::Rejected, true),
    "Ready False Rejected; SecretReady True Valid; InstanceReady True Running; PasswordSynced False Rejected; Stalled True Rejected"
)]
#[case::value_refused_by_rds(
    REFUSED,
    "Ready False PasswordInvalid; SecretReady False PasswordInvalid; InstanceReady True Running; PasswordSynced False Pending; Stalled True PasswordInvalid"
)]
fn after_a_first_try(#[case] answer: Answer, #[case] expected: &str) {
    let mut life = Life::new();
    life.pass(answer);
    assert_eq!(life.summary(), expected);
}

/// What `Ready` is accompanied by: one of the two.
fn beside_ready(life: &Life) -> ConditionType {
    let mut beside = [ConditionType::Reconciling, ConditionType::Stalled]
        .into_iter()
        .filter(|type_| find(&life.status().conditions, *type_).is_some());
    let found = beside.next().unwrap();
    assert_eq!(beside.next(), None, "{}", life.summary());
    found
}

/// What may still be created, or pass, is waited for; then a person is told. Each time in a pass that tries again, in one that only
/// waits, and in one of another process, which knows nothing but the status.
#[rstest]
#[case::instance(INSTANCE_NOT_FOUND, 299, false)]
#[case::instance_for_long(INSTANCE_NOT_FOUND, 300, true)]
#[case::account(ACCOUNT_NOT_FOUND, 299, false)]
#[case::account_for_long(ACCOUNT_NOT_FOUND, 300, true)]
#[case::account_not_listed(MISSING, 299, false)]
#[case::account_not_listed_for_long(MISSING, 300, true)]
#[case::host(ENDPOINT_NOT_FOUND, 599, false)]
#[case::host_for_long(ENDPOINT_NOT_FOUND, 600, true)]
fn what_may_pass_by_itself_stalls_later(
    #[case] answer: Answer,
    #[case] seconds: i64,
    #[case] is_stalled: bool,
) {
    let expected = if is_stalled {
        ConditionType::Stalled
    } else {
        ConditionType::Reconciling
    };
    let first = with(Life::new(), |life| {
        life.pass(answer.clone());
    });
    assert_eq!(beside_ready(&first), ConditionType::Reconciling);
    let mut life = first.clone().after(seconds);
    life.pass(answer.clone());
    assert_eq!(beside_ready(&life), expected, "{}", life.summary());
    life.pass(answer);
    assert_eq!(beside_ready(&life), expected, "it waits");

    let mut waiting = first;
    waiting.patch_next_time(seconds + 9);
    waiting.sleep(seconds);
    let (decision, _) = waiting.pass(AVAILABLE);
    assert!(matches!(decision, Decision::Wait { .. }), "{decision:?}");
    assert_eq!(beside_ready(&waiting), expected, "{}", waiting.summary());
}

/// Each spec has its own five minutes, and each look in them comes 15 seconds after the one before at the latest.
#[rstest]
#[case::instance(INSTANCE_NOT_FOUND)]
#[case::account(ACCOUNT_NOT_FOUND)]
#[case::account_not_listed(MISSING)]
fn a_new_spec_is_waited_for_anew(#[case] answer: Answer) {
    let mut life = Life::new();
    for _ in 0..3 {
        let began = life.now;
        while life.now.duration_since(began).as_secs() < 300 {
            life.pass(answer.clone());
            assert_eq!(beside_ready(&life), ConditionType::Reconciling);
            let next = life.status().last_attempt.as_ref().unwrap().next_time.0;
            let wait = next.duration_since(life.now).as_secs();
            assert!((7..=15).contains(&wait), "{wait}");
            life.sleep(wait);
        }
        life.pass(answer.clone());
        assert_eq!(beside_ready(&life), ConditionType::Stalled);
        let attempt = life.status().last_attempt.as_ref().unwrap();
        let wait = attempt.next_time.0.duration_since(life.now).as_secs();
        assert!((15..=600).contains(&wait), "{wait}");
        life.sleep(wait);
        life.world.edit(&json!({ "suspend": false }));
    }
}

/// A status of an earlier version does not say since when its spec has been known: it is as old as its resource.
#[rstest]
#[case::old(-3600, ConditionType::Stalled)]
#[case::new(-60, ConditionType::Reconciling)]
fn without_that_time_a_spec_is_as_old_as_its_resource(
    #[case] created: i64,
    #[case] expected: ConditionType,
) {
    let mut life = Life::in_sync();
    life.world.patch(&json!({
        "metadata": { "creationTimestamp": at(created).to_string() },
        "status": { "observedGenerationTime": null },
    }));
    life.world.rotate(OTHER_PASSWORD);
    life.pass(INSTANCE_NOT_FOUND);
    assert_eq!(beside_ready(&life), expected);
    assert_eq!(life.status().observed_generation_time, None);
}

#[test]
fn a_clock_that_was_far_ahead_does_not_hold_a_person_off_for_ever() {
    let mut life = Life::in_sync();
    life.world
        .patch(&json!({ "status": { "observedGenerationTime": at(9_999).to_string() } }));
    life.world.rotate(OTHER_PASSWORD);
    life.pass(INSTANCE_NOT_FOUND);
    assert_eq!(beside_ready(&life), ConditionType::Stalled);
}

#[test]
fn the_account_is_told_as_it_was_last_seen_until_another_look_tells() {
    for (answer, reason) in [
        (LOCKED, "AccountLocked"),
        (MISSING, "AccountNotFound"),
        (NOT_AVAILABLE, "AccountNotAvailable"),
    ] {
        let mut life = Life::new();
        life.pass(answer);
        let message = life.message(ConditionType::Ready).to_owned();
        for answer in [Answer::Account(Account::NotSeen), AVAILABLE] {
            assert_eq!(life.ready(), ("False", reason));
            assert_eq!(life.message(ConditionType::Ready), message);
            let next = life.status().last_attempt.as_ref().unwrap().next_time.0;
            // In between, a pass that waits.
            let (decision, _) = life.pass(AVAILABLE);
            assert!(matches!(decision, Decision::Wait { .. }), "{decision:?}");
            life.now = next;
            let (decision, _) = life.pass(answer);
            assert_eq!(decision, Decision::LookAtAccount);
        }
        assert_eq!(life.ready(), ("True", "InSync"));
        assert_eq!(life.status().history.len(), 1, "without another reset");
    }
}

#[rstest]
#[case(
    Account::Locked,
    "the account is locked; unlock it in the RDS console, or by UnlockAccount"
)]
#[case(Account::Missing { listed_as: None }, "lists no account of exactly this name; check spec.accountName")]
#[case(Account::Missing { listed_as: Some(Word::for_test("APP")) }, "RDS lists no account of exactly this name; it lists APP;")]
#[case(Account::NotAvailable(None), "not Available yet; ")]
#[case(
    Account::NotAvailable(Some(Word::for_test("Resetting"))),
    "not Available yet but Resetting; "
)]
fn the_message_says_what_the_account_is_like(#[case] account: Account, #[case] message: &str) {
    let mut life = Life::new();
    life.pass(Answer::Account(account));
    let told = life.message(ConditionType::Ready);
    assert!(told.contains(message), "{told}");
}

#[rstest]
#[case::without_a_secret(
    held(SecretProblem::NotFound),
    "Ready False SecretNotFound; SecretReady False SecretNotFound; InstanceReady Unknown NotAsked; PasswordSynced False Pending; Reconciling True SecretNotFound"
)]
#[case::without_the_key(
    held(SecretProblem::KeyNotFound),
    "Ready False KeyNotFound; SecretReady False KeyNotFound; InstanceReady Unknown NotAsked; PasswordSynced False Pending; Reconciling True KeyNotFound"
)]
#[case::secret_unreadable(
    held(SecretProblem::Unreadable(SecretReadError::Forbidden)),
    "Ready False SecretUnreadable; SecretReady False SecretUnreadable; InstanceReady Unknown NotAsked; PasswordSynced False Pending; Stalled True SecretUnreadable"
)]
#[case::invalid(
    held(SecretProblem::Invalid(PasswordRule::TooShort)),
    "Ready False PasswordInvalid; SecretReady False PasswordInvalid; InstanceReady Unknown NotAsked; PasswordSynced False Pending; Stalled True PasswordInvalid"
)]
#[case::in_conflict(
    with(Life::new(), |life| life.world.ownership = Ownership::Anothers),
    "Ready False Conflict; SecretReady True Valid; InstanceReady Unknown NotAsked; PasswordSynced False Conflict; Stalled True Conflict"
)]
#[case::in_conflict_without_a_secret(
    with(held(SecretProblem::NotFound), |life| life.world.ownership = Ownership::Anothers),
    "Ready False Conflict; SecretReady False SecretNotFound; InstanceReady Unknown NotAsked; PasswordSynced False Conflict; Stalled True Conflict"
)]
#[case::suspended(
    with(Life::new(), |life| life.world.edit(&json!({ "suspend": true }))),
    "Ready False Suspended; SecretReady True Valid; InstanceReady Unknown NotAsked; PasswordSynced False Pending; Suspended True Suspended"
)]
#[case::suspended_without_a_secret(
    with(held(SecretProblem::NotFound), |life| life.world.edit(&json!({ "suspend": true }))),
    "Ready False SecretNotFound; SecretReady False SecretNotFound; InstanceReady Unknown NotAsked; PasswordSynced False Pending; Reconciling True SecretNotFound; Suspended True Suspended"
)]
#[case::suspended_in_sync(
    with(Life::in_sync(), |life| life.world.edit(&json!({ "suspend": true }))),
    "Ready True InSync; SecretReady True Valid; InstanceReady True Running; PasswordSynced True Reset; Suspended True Suspended"
)]
#[case::suspended_with_an_account_to_look_at(
    with(Life::new(), |life| {
        life.pass(NOT_AVAILABLE);
        life.world.edit(&json!({ "suspend": true }));
    }),
    "Ready False Suspended; SecretReady True Valid; InstanceReady True Running; PasswordSynced False AccountNotAvailable; Suspended True Suspended"
)]
#[case::suspended_with_an_account_to_look_at_and_another_value(
    with(Life::new(), |life| {
        life.pass(NOT_AVAILABLE);
        life.world.edit(&json!({ "suspend": true }));
        life.world.rotate(OTHER_PASSWORD);
    }),
    "Ready False Suspended; SecretReady True Valid; InstanceReady True Running; PasswordSynced False Pending; Suspended True Suspended"
)]
#[case::secret_deleted_after_a_reset(
    with(Life::in_sync(), |life| life.world.secret = Err(SecretProblem::NotFound)),
    "Ready False SecretNotFound; SecretReady False SecretNotFound; InstanceReady True Running; PasswordSynced False Pending; Reconciling True SecretNotFound"
)]
fn after_a_look_that_called_nobody(#[case] mut life: Life, #[case] expected: &str) {
    let expected = expected.split("; ").collect::<Vec<_>>();
    let (decision, _) = life.pass(NOT_RUNNING);
    assert!(
        !matches!(decision, Decision::Reset(_) | Decision::LookAtAccount),
        "{decision:?}"
    );
    let mut told = life.summary();
    // The order of the conditions that come and go is theirs.
    told.push_str("; ");
    for condition in &expected {
        assert!(
            told.contains(&format!("{condition}; ")),
            "{condition}: {told}"
        );
    }
    assert_eq!(told.matches("; ").count(), expected.len(), "{told}");
}

#[rstest]
#[case::first_value(Life::new(), "Pending")]
#[case::another_value(with(Life::in_sync(), |life| life.world.rotate(OTHER_PASSWORD)), "Pending")]
#[case::request(with(Life::in_sync(), |life| life.world.request("a")), "Pending")]
#[case::another_value_after_an_account_to_look_at(
    with(Life::new(), |life| {
        life.pass(NOT_AVAILABLE);
        life.world.rotate(OTHER_PASSWORD);
    }),
    "Pending"
)]
#[case::another_value_after_a_failure(
    with(Life::new(), |life| {
        life.pass(THROTTLED);
        life.world.rotate(OTHER_PASSWORD);
    }),
    "Pending"
)]
#[case::same_value_after_a_failure(with(Life::new(), |life| { life.pass(THROTTLED); }), "Throttled")]
#[case::same_value_after_a_refusal(with(Life::new(), |life| { life.pass(REFUSED); }), "PasswordInvalid")]
#[case::another_value_after_a_refusal(
    with(Life::new(), |life| {
        life.pass(REFUSED);
        life.world.rotate(OTHER_PASSWORD);
    }),
    "Pending"
)]
#[case::same_value_while_the_instance_was_away(
    with(Life::new(), |life| { life.pass(NOT_RUNNING); }),
    "InstanceNotRunning"
)]
fn while_a_reset_waits_for_its_turn(#[case] mut life: Life, #[case] reason: &str) {
    life.sleep(700);
    life.queue();
    assert_eq!(life.ready(), ("False", reason));
    assert!(life.pending_since().is_some());
    let queued = life.status().clone();
    life.sleep(5);
    life.queue();
    assert_eq!(life.status(), &queued);
}

/// What can be done at all is done by a person exactly where the schedule says that a person is needed.
#[test]
fn stalled_is_what_needs_a_person() {
    for entry in TABLE {
        assert_eq!(
            is_stalled(ready_reason(entry.reason)),
            entry.class == Class::PersonNeeded,
            "{entry:?}"
        );
    }
}

#[rstest]
fn what_is_well_is_not_stalled(
    #[values(ReadyReason::InSync, ReadyReason::Suspended)] reason: ReadyReason,
) {
    assert!(!is_stalled(reason));
}

#[test]
fn without_a_value_nothing_has_failed_and_nothing_is_due() {
    let observation = with(Life::new(), |life| {
        life.pass(THROTTLED);
        life.world.secret = Err(SecretProblem::NotFound);
    })
    .world
    .observe();
    assert_eq!(failures(&observation), 0);
    assert_eq!(awaited(&observation), None);
    assert!(!is_due(&observation));
}

/// Until when the next try has to wait, in seconds, and how many failures the next look at the instance is planned by.
#[rstest]
#[case::new(Life::new(), None, 0)]
#[case::in_sync(Life::in_sync(), None, 0)]
#[case::once(with(Life::new(), |life| { life.pass(NOT_RUNNING); }), Some(3), 1)]
#[case::again(
    with(Life::new(), |life| {
        life.pass(NOT_RUNNING);
        life.sleep(100);
        life.pass(NOT_RUNNING);
    }),
    Some(105),
    2
)]
#[case::after_another_failure(
    with(Life::new(), |life| {
        life.pass(THROTTLED);
        life.sleep(100);
        life.pass(NOT_RUNNING);
    }),
    Some(105),
    2
)]
#[case::and_then_another_failure(
    with(Life::new(), |life| {
        life.pass(NOT_RUNNING);
        life.sleep(100);
        life.pass(THROTTLED);
    }),
    Some(102),
    0
)]
#[case::with_another_value(
    with(Life::new(), |life| {
        life.pass(NOT_RUNNING);
        life.world.rotate(OTHER_PASSWORD);
    }),
    None,
    0
)]
#[case::on_request(
    with(Life::new(), |life| {
        life.pass(NOT_RUNNING);
        life.world.request("now");
    }),
    None,
    0
)]
#[case::with_another_instance(
    with(Life::new(), |life| {
        life.pass(NOT_RUNNING);
        life.world.edit(&json!({ "instanceId": "rm-2" }));
    }),
    None,
    0
)]
fn what_waits_for_the_instance(
    #[case] life: Life,
    #[case] until: Option<i64>,
    #[case] failures: u32,
) {
    let observation = life.world.observe();
    assert_eq!(awaited(&observation), until.map(at));
    assert_eq!(failures_for_the_instance(&observation), failures);
}

#[rstest]
#[case(0, 0)]
#[case(1, 1)]
#[case(999_999_999, 1)]
fn a_time_is_rounded_up(#[case] nanoseconds: u64, #[case] seconds: i64) {
    let time = at(0) + Duration::from_nanos(nanoseconds);
    assert_eq!(whole_seconds_up(time), at(seconds));
}

/// A pass may find that the account has to be looked at, and end before it does.
#[test]
fn an_account_that_was_not_looked_at_is_not_available_still() {
    let mut life = Life::new();
    life.pass(NOT_AVAILABLE);
    let told = life.summary();
    let observation = life.world.observe();
    life.tell(&observation, &Outcome::Settled(Decision::LookAtAccount));
    assert_eq!(life.summary(), told);
}

/// The account was not available for another value, which the Secret has no longer.
#[test]
fn a_value_that_rds_has_is_not_told_of_in_the_words_of_anothers_failure() {
    let mut life = Life::in_sync();
    life.world.rotate(OTHER_PASSWORD);
    life.pass(Answer::Fails(
        Class::InstanceBusy,
        Reason::AccountNotAvailable,
        true,
    ));
    life.world.rotate(PASSWORD);
    life.world.edit(&json!({ "suspend": true }));
    life.pass(AVAILABLE);
    let message = life.message(ConditionType::PasswordSynced);
    assert!(message.starts_with("RDS accepted"), "{message}");
}

/// The table tells what the metrics, the history and the conditions call it by one name.
#[test]
fn a_reason_has_one_name() {
    for entry in TABLE {
        assert_eq!(
            entry.reason.as_str(),
            ready_reason(entry.reason).as_str(),
            "{entry:?}"
        );
    }
}

/// A refused value is told of in the pass after the refusal too, in the words of the one table entry that there is for it.
#[test]
fn there_is_one_explanation_for_a_refused_value() {
    let entries: Vec<_> = TABLE
        .iter()
        .filter(|entry| entry.reason == Reason::PasswordInvalid)
        .collect();
    assert_eq!(entries.len(), 1);
    let mut life = Life::new();
    life.pass(REFUSED);
    life.sleep(700);
    life.queue();
    assert_eq!(
        life.message(ConditionType::SecretReady),
        format!("{} (code Some.Code)", entries[0].explanation)
    );
}

#[rstest]
#[case(
    THROTTLED,
    ConditionType::PasswordSynced,
    "what it means and what to do (code Some.Code)"
)]
#[case(
    NOT_RUNNING,
    ConditionType::InstanceReady,
    "what it means and what to do (code Some.Code)"
)]
#[case(
    Answer::Lost(false),
    ConditionType::PasswordSynced,
    "what it means and what to do"
)]
fn the_message_explains_a_failure_and_names_its_code(
    #[case] answer: Answer,
    #[case] type_: ConditionType,
    #[case] told: &str,
) {
    let mut life = Life::new();
    life.pass(answer);
    assert_eq!(life.message(type_), told);
    assert_eq!(life.message(ConditionType::Ready), told);
}

#[rstest]
#[case(SecretProblem::NotFound, "\"orders-db\"")]
#[case(SecretProblem::KeyNotFound, "no key \"password\"")]
#[case(
    SecretProblem::Unreadable(SecretReadError::Forbidden),
    "ServiceAccount may not get"
)]
#[case(
    SecretProblem::Invalid(PasswordRule::TrailingNewline),
    "ends with a newline"
)]
fn the_message_says_what_is_wrong_with_the_secret(
    #[case] problem: SecretProblem,
    #[case] told: &str,
) {
    let mut life = held(problem);
    life.pass(AVAILABLE);
    for type_ in [ConditionType::Ready, ConditionType::SecretReady] {
        assert!(
            life.message(type_).contains(told),
            "{}",
            life.message(type_)
        );
    }
}

// ------------------------------------------------------------------ what was done

#[test]
fn a_reset_is_recorded() {
    let mut life = Life::new();
    life.world.request("now");
    life.pass(AVAILABLE);
    let status = life.status();
    let reset = status.last_reset.as_ref().unwrap();
    assert_eq!(reset.time.0, at(0));
    assert_eq!(reset.request_id, "D4D4BE8A-DD46-440A-BFCD-EE31DA81C9DD");
    assert_eq!(reset.trigger, Trigger::Created);
    assert!(reset.is_of(&life.world.target()));
    assert_eq!(reset.secret, life.world.version);
    assert!(reset.fingerprint.is_some());
    assert_eq!(status.last_handled_request.as_deref(), Some("now"));
    assert_eq!(status.last_attempt, None);
    assert_eq!(status.pending_since, None);
    assert_eq!(status.observed_generation, Some(1));
    let finished = &status.history[0];
    assert_eq!(finished.outcome.0, "Reset");
    assert_eq!(finished.request_id.as_ref(), Some(&reset.request_id));
}

#[test]
fn a_failure_is_recorded() {
    let mut life = Life::in_sync().after(100);
    let reset = life.status().last_reset.clone();
    life.world.rotate(OTHER_PASSWORD);
    life.world.request("now");
    life.pass(THROTTLED);
    let status = life.status();
    assert_eq!(status.last_reset, reset);
    assert_eq!(status.last_handled_request, None);
    assert_eq!(life.pending_since(), Some(at(100)));
    let attempt = status.last_attempt.as_ref().unwrap();
    assert_eq!((attempt.time.0, attempt.next_time.0), (at(100), at(101)));
    assert_eq!(attempt.failures, 1);
    assert_eq!(attempt.code.as_deref(), Some("Some.Code"));
    assert!(attempt.request_id.is_some());
    assert_eq!(attempt.generation, Some(1));
    assert_eq!(attempt.request.as_deref(), Some("now"));
    assert!(!attempt.outcome_unknown);
    let finished = &status.history[0];
    assert_eq!(finished.outcome.0, "Throttled");
    assert_eq!(finished.code, attempt.code);
    assert_eq!(finished.trigger, Trigger::SecretChanged);
}

#[test]
fn failures_are_counted_for_one_value_spec_and_request() {
    let mut life = Life::new();
    for failures in 1..=3 {
        life.pass(THROTTLED);
        assert_eq!(life.failures(), Some(failures));
        life.sleep(700);
    }
    life.world.rotate(OTHER_PASSWORD);
    life.pass(THROTTLED);
    assert_eq!(life.failures(), Some(1));
    life.world.request("a");
    life.pass(THROTTLED);
    assert_eq!(life.failures(), Some(1));
    life.world.edit(&json!({ "regionId": "cn-hangzhou" }));
    life.pass(THROTTLED);
    assert_eq!(life.failures(), Some(1));
    life.sleep(700);
    life.pass(AVAILABLE);
    assert_eq!(life.failures(), None);
}

#[test]
fn an_account_that_is_not_available_is_looked_at_until_it_is() {
    let mut life = Life::new();
    life.pass(NOT_AVAILABLE);
    for failures in 1..=3 {
        assert_eq!(life.failures(), Some(failures));
        assert_eq!(life.pending_since(), None);
        let (decision, before) = life.pass(AVAILABLE);
        assert!(matches!(decision, Decision::Wait { .. }));
        assert_eq!(life.status(), &before);
        life.sleep(700);
        let (decision, _) = life.pass(NOT_AVAILABLE);
        assert_eq!(decision, Decision::LookAtAccount);
    }
    life.sleep(700);
    life.pass(AVAILABLE);
    assert_eq!(life.ready(), ("True", "InSync"));
    assert_eq!(life.failures(), None);
    assert_eq!(life.status().history.len(), 1);
}

#[test]
fn the_history_keeps_the_last_ten_and_one_of_each_run_of_failures() {
    let mut life = Life::new();
    for _ in 0..5 {
        life.pass(THROTTLED);
        life.sleep(700);
    }
    assert_eq!(life.status().history.len(), 1);
    assert_eq!(life.status().history[0].time.0, at(4 * 700));
    life.pass(NOT_RUNNING);
    life.sleep(700);
    life.pass(THROTTLED);
    life.sleep(700);
    life.pass(AVAILABLE);
    let outcomes = |life: &Life| -> Vec<String> {
        let history = life.status().history.iter();
        history.map(|finished| finished.outcome.0.clone()).collect()
    };
    assert_eq!(
        outcomes(&life),
        ["Reset", "Throttled", "InstanceNotRunning", "Throttled"]
    );
    for number in 0..20 {
        life.sleep(1);
        life.world.request(&number.to_string());
        life.pass(AVAILABLE);
    }
    assert_eq!(outcomes(&life), ["Reset"; HISTORY_LIMIT]);
    assert_eq!(life.status().history[0].time.0, life.now);
}

/// A write whose answer was lost is made again, on top of what it wrote.
#[test]
fn an_outcome_that_is_written_twice_is_there_once() {
    for answer in [AVAILABLE, NOT_AVAILABLE, THROTTLED, REFUSED] {
        let mut life = Life::new();
        let observation = life.world.observe();
        let decision = decide(&observation, life.now);
        let outcome = life.outcome_of(decision, answer);
        life.tell(&observation, &outcome);
        let once = life.status().clone();
        life.tell(&observation, &outcome);
        assert_eq!(life.status(), &once);
    }
}

#[test]
fn an_older_key_is_replaced_where_the_reset_is_the_one_that_was_seen() {
    let mut life = Life::in_sync();
    life.world.keys = vec!["key-2", "key-1"];
    life.pass(AVAILABLE);
    let fingerprint = |life: &Life| {
        let reset = life.status().last_reset.as_ref().unwrap();
        reset.fingerprint.clone().unwrap().key_id
    };
    assert_eq!(fingerprint(&life), "key-2");

    let mut life = Life::in_sync();
    life.world.keys = vec!["key-2", "key-1"];
    let observation = life.world.observe();
    let reset_by_another = life.world.resource.status.as_mut().unwrap();
    reset_by_another.last_reset.as_mut().unwrap().time.0 = at(1);
    let in_sync = Decision::InSync {
        renew_fingerprint: true,
    };
    life.tell(&observation, &Outcome::Settled(in_sync));
    assert_eq!(fingerprint(&life), "key-1");
}

#[rstest]
#[case::not_sent(|life: &mut Life| { life.pass(NOT_RUNNING); })]
#[case::not_told(|life: &mut Life| life.killed(true))]
#[case::suspended(|life: &mut Life| {
    life.world.edit(&json!({ "suspend": true }));
    life.pass(AVAILABLE);
    life.world.edit(&json!({ "suspend": false }));
})]
fn an_account_that_was_not_named_for_a_while_is_not_in_sync(#[case] meanwhile: fn(&mut Life)) {
    let mut life = Life::in_sync();
    life.world.edit(&json!({ "accountName": "another" }));
    meanwhile(&mut life);
    assert_eq!(life.status().last_reset.as_ref().unwrap().fingerprint, None);
    life.world.edit(&json!({ "accountName": "app" }));
    let (decision, _) = life.pass(AVAILABLE);
    assert_eq!(decision, Decision::Reset(Trigger::Overlapped));
    assert_eq!(life.ready(), ("True", "InSync"));
}

/// The word of a reset comes after another process has gone on, with the same account again or with another one.
#[rstest]
fn late_word_of_a_reset_is_told_and_leaves_no_account_in_sync_that_it_may_not_be(
    #[values("app", "another")] reset_since: &str,
    #[values(true, false)] is_accepted: bool,
) {
    let mut life = Life::in_sync();
    let late = life.world.observe();
    let trigger = Trigger::SecretChanged;
    let accepted = is_accepted.then(|| accepted(at(5), trigger, Account::Available));
    life.world.edit(&json!({ "accountName": reset_since }));
    life.world.request("again");
    life.sleep(10);
    life.pass(AVAILABLE);
    let base = life.status();
    assert_eq!(base.history.len(), 2);

    let told = told_late(base, &late, accepted.as_ref());

    let mut expected = base.clone();
    if reset_since == "app" {
        expected.last_reset.as_mut().unwrap().fingerprint = None;
    }
    let accepted = accepted.map(|_| FinishedTry {
        time: Time(at(5)),
        trigger,
        outcome: TryOutcome("Reset".to_owned()),
        code: None,
        request_id: Some("D4D4BE8A-DD46-440A-BFCD-EE31DA81C9DD".to_owned()),
    });
    expected.history.splice(0..0, accepted);
    assert_eq!(told, expected);
}

/// A value had no answer, the former one was put back and accepted, and the first one comes late. After the settling time the Secret has that
/// one again for a while in which nothing can be sent, and then the former one: that is not what the database has.
#[rstest]
#[case::suspended(None)]
#[case::not_running(Some(NOT_RUNNING))]
#[case::throttled(Some(THROTTLED))]
#[case::refused(Some(REFUSED))]
#[case::queued(Some(Answer::Overlapped))]
fn a_doubt_outlives_a_detour_of_the_secret(#[case] answer: Option<Answer>) {
    let mut life = Life::with_a_lost_answer();
    life.world.rotate(PASSWORD);
    life.sleep(6);
    life.pass(AVAILABLE);
    assert_eq!(life.ready(), ("False", "Unsettled"));
    life.sleep(60);
    let mut keys = 0;
    life.happens(&Event::ComesLate, &mut keys);
    life.sleep(200);
    life.world.rotate(OTHER_PASSWORD);
    match answer {
        Some(Answer::Overlapped) => life.queue(),
        Some(answer) => {
            life.pass(answer);
        }
        None => {
            life.world.edit(&json!({ "suspend": true }));
            life.pass(AVAILABLE);
        }
    }
    life.world.rotate(PASSWORD);
    life.sleep(1);
    let (decision, before) = life.pass(AVAILABLE);
    life.check(decision, &before);
}

/// A process that was paused between its intent and the answer, so that its send ends long after the intent's estimate; another one has
/// gone on meanwhile.
#[test]
fn a_send_that_overlaps_without_an_answer_is_in_the_list() {
    let mut life = Life::in_sync().after(100);
    life.world.rotate(OTHER_PASSWORD);
    let mine = life.world.observe();
    life.intend(&mine);
    // It is paused. The other leader finds the intent.
    life.sleep(30);
    life.world.rotate(THIRD_PASSWORD);
    life.pass(AVAILABLE);
    assert_eq!(life.ready(), ("False", "Unsettled"));
    life.sleep(300);
    life.pass(AVAILABLE);
    assert_eq!(life.ready(), ("True", "InSync"));
    life.sleep(300);
    // It goes on, sends, and has no answer.
    let end = life.now + TIMING.settling;
    life.open.push((life.world.target(), OTHER_PASSWORD, end));
    life.tell(&mine, &Outcome::Overlapped(None));
    life.sleep(2);
    let (decision, before) = life.pass(AVAILABLE);
    life.check(decision, &before);
}

// ------------------------------------------------------------------ pending since

#[test]
fn pending_since_the_value_changed_and_until_it_is_applied() {
    let mut life = Life::in_sync().after(10);
    life.world.rotate(OTHER_PASSWORD);
    life.pass(THROTTLED);
    assert_eq!(life.pending_since(), Some(at(10)));
    life.sleep(700);
    life.world.rotate(THIRD_PASSWORD);
    life.pass(NOT_RUNNING);
    assert_eq!(life.pending_since(), Some(at(10)));
    life.world.secret = Err(SecretProblem::NotFound);
    life.pass(AVAILABLE);
    assert_eq!(life.pending_since(), Some(at(10)));
    life.world.secret = Ok(THIRD_PASSWORD);
    life.sleep(700);
    life.pass(AVAILABLE);
    assert_eq!(life.pending_since(), None);
}

#[rstest]
#[case::secret_deleted(|life: &mut Life| life.world.secret = Err(SecretProblem::NotFound), false)]
#[case::key_removed(|life: &mut Life| life.world.secret = Err(SecretProblem::KeyNotFound), false)]
#[case::secret_unreadable(
    |life: &mut Life| {
        life.world.secret = Err(SecretProblem::Unreadable(SecretReadError::Forbidden));
    },
    false
)]
#[case::emptied(
    |life: &mut Life| life.world.secret = Err(SecretProblem::Invalid(PasswordRule::Empty)),
    true
)]
#[case::suspended(|life: &mut Life| life.world.edit(&json!({ "suspend": true })), false)]
#[case::suspended_and_changed(
    |life: &mut Life| {
        life.world.edit(&json!({ "suspend": true }));
        life.world.rotate(OTHER_PASSWORD);
    },
    true
)]
#[case::suspended_and_requested(
    |life: &mut Life| {
        life.world.edit(&json!({ "suspend": true }));
        life.world.request("a");
    },
    true
)]
#[case::ownership_lost(|life: &mut Life| life.world.ownership = Ownership::Anothers, true)]
fn pending_only_if_there_is_something_to_apply(
    #[case] change: fn(&mut Life),
    #[case] is_pending: bool,
    #[values(AVAILABLE, NOT_AVAILABLE)] before: Answer,
) {
    let mut life = Life::new();
    life.pass(before);
    change(&mut life);
    life.sleep(5);
    life.pass(AVAILABLE);
    assert_eq!(life.pending_since(), is_pending.then(|| at(5)));
}

// ------------------------------------------------------------------ one after the other

#[rstest]
#[case::throttled(THROTTLED, "Throttled")]
#[case::instance_not_running(NOT_RUNNING, "InstanceNotRunning")]
#[case::refused(REFUSED, "PasswordInvalid")]
#[case::denied(
    Answer::Fails(Class::PersonNeeded, Reason::AccessDenied, false),
    "AccessDenied"
)]
#[case::account_not_available(
    Answer::Fails(Class::InstanceBusy, Reason::AccountNotAvailable, true),
    "AccountNotAvailable"
)]
#[case::answer_lost(Answer::Lost(false), "RdsUnavailable")]
#[case::accepted_and_not_available(NOT_AVAILABLE, "AccountNotAvailable")]
fn a_failure_is_told_until_the_next_try(#[case] answer: Answer, #[case] reason: &str) {
    let mut life = Life::in_sync();
    life.world.rotate(OTHER_PASSWORD);
    life.pass(answer);
    let failed = life.status().clone();
    assert_eq!(life.ready(), ("False", reason));
    let (decision, _) = life.pass(AVAILABLE);
    assert!(matches!(decision, Decision::Wait { .. }));
    assert_eq!(life.status(), &failed);
    // The Secret is deleted and comes back.
    let value = std::mem::replace(&mut life.world.secret, Err(SecretProblem::NotFound));
    life.pass(AVAILABLE);
    assert_eq!(life.ready(), ("False", "SecretNotFound"));
    life.world.secret = value;
    life.pass(AVAILABLE);
    assert_eq!(life.ready(), ("False", reason));
    assert_eq!(life.status().last_attempt, failed.last_attempt);
    assert_eq!(life.status().pending_since, failed.pending_since);
}

#[test]
fn a_value_that_is_turned_back_while_the_instance_is_away_is_in_sync() {
    let mut life = Life::in_sync();
    life.world.rotate(OTHER_PASSWORD);
    life.pass(NOT_RUNNING);
    life.world.rotate(PASSWORD);
    let (decision, _) = life.pass(NOT_RUNNING);
    assert!(matches!(decision, Decision::InSync { .. }));
    assert_eq!(life.ready(), ("True", "InSync"));
    assert!(!life.summary().contains("InstanceNotRunning"));
    assert_eq!(life.failures(), None);
    assert_eq!(life.pending_since(), None);
}

/// The instance may be away still, but nobody knows; what is known to be in the way is another thing.
#[test]
fn the_newest_failure_is_the_one_that_is_told() {
    let mut life = Life::new();
    life.pass(NOT_RUNNING);
    life.sleep(700);
    life.pass(Answer::Fails(
        Class::PersonNeeded,
        Reason::AccessDenied,
        false,
    ));
    assert_eq!(life.ready(), ("False", "AccessDenied"));
    assert!(life.summary().contains("InstanceReady Unknown NotAsked"));
}

#[test]
fn what_was_in_the_way_of_one_instance_is_not_told_of_another() {
    let mut life = Life::in_sync();
    life.world.edit(&json!({ "instanceId": "rm-2" }));
    life.pass(Answer::Fails(
        Class::PersonNeeded,
        Reason::InstanceNotFound,
        false,
    ));
    assert_eq!(life.ready(), ("False", "InstanceNotFound"));
    life.world.edit(&json!({ "instanceId": "rm-1" }));
    life.world.rotate(OTHER_PASSWORD);
    life.queue();
    assert_eq!(life.ready(), ("False", "Pending"));
}

#[test]
fn a_conflict_that_is_over_is_followed_by_a_reset() {
    let mut life = with(Life::new(), |life| {
        life.world.ownership = Ownership::Anothers;
    });
    life.pass(AVAILABLE);
    life.world.ownership = Ownership::Ours;
    let (decision, _) = life.pass(AVAILABLE);
    assert_eq!(decision, Decision::Reset(Trigger::Created));
    assert_eq!(life.ready(), ("True", "InSync"));
}

/// Another resource became the owner, so it reset the account; when that one is deleted, the account still has its password.
#[test]
fn an_account_that_was_lost_and_won_again_is_not_in_sync() {
    let mut life = Life::in_sync();
    life.world.ownership = Ownership::Anothers;
    life.pass(AVAILABLE);
    assert_eq!(life.ready(), ("False", "Conflict"));
    life.world.ownership = Ownership::Ours;
    let (decision, _) = life.pass(AVAILABLE);
    assert_eq!(decision, Decision::Reset(Trigger::Overlapped));
}

#[test]
fn two_overlapping_resets_are_followed_by_a_third() {
    let mut life = Life::new();
    life.pass(Answer::Overlapped);
    assert!(life.status().last_reset.is_some());
    assert_eq!(life.pending_since(), Some(at(0)));
    let (decision, _) = life.pass(AVAILABLE);
    assert_eq!(decision, Decision::Reset(Trigger::Overlapped));
    assert_eq!(life.ready(), ("True", "InSync"));
}

/// What is about to be sent is written down, and the conditions speak of what was before until there is an answer.
#[test]
fn an_intent_is_recorded_and_taken_back() {
    let mut life = Life::in_sync().after(100);
    life.world.rotate(OTHER_PASSWORD);
    life.world.request("now");
    let observation = life.world.observe();
    let before = life.status().clone();
    life.killed(false);
    let status = life.status();
    let attempt = status.last_attempt.as_ref().unwrap();
    assert!(attempt.outcome_unknown);
    assert_eq!((attempt.time.0, attempt.next_time.0), (at(100), at(101)));
    assert_eq!(attempt.failures, 1);
    assert_eq!(attempt.generation, Some(1));
    assert_eq!(attempt.request.as_deref(), Some("now"));
    assert_eq!(status.pending_since.as_ref().unwrap().0, at(100));
    assert_eq!(attempt.unanswered, 1);
    assert_eq!(status.unanswered_sends.len(), 1);
    let send = &status.unanswered_sends[0];
    assert!(send.is_of(&life.world.target()));
    // The send begins within two seconds, and is given up 20 s later.
    assert_eq!(
        (send.time.0, &send.fingerprint),
        (at(122), &attempt.fingerprint)
    );
    let unchanged = DatabaseAccountPasswordStatus {
        last_attempt: None,
        unanswered_sends: Vec::new(),
        pending_since: None,
        ..status.clone()
    };
    assert_eq!(unchanged, before);

    let withdrawn = without_intent(status, &observation, life.now);
    assert_eq!(withdrawn.last_attempt, None);
    assert_eq!(withdrawn.unanswered_sends, []);
    assert_eq!(withdrawn.conditions, before.conditions);
}

#[test]
fn an_intent_that_is_found_counts_as_a_failure_and_one_that_is_answered_does_not() {
    let mut life = Life::in_sync();
    life.world.rotate(OTHER_PASSWORD);
    for failures in 1..=3 {
        life.killed(false);
        assert_eq!(life.failures(), Some(failures));
        let (decision, _) = life.pass(AVAILABLE);
        assert!(matches!(decision, Decision::Wait { .. }), "{decision:?}");
        life.sleep(1);
    }
    // Answered, and refused: the doubt that the earlier ones left remains.
    life.pass(REFUSED);
    assert_eq!(life.failures(), Some(4));
    let doubt = |life: &Life| life.status().last_attempt.as_ref().unwrap().outcome_unknown;
    assert!(doubt(&life));

    let mut life = Life::in_sync();
    life.world.rotate(OTHER_PASSWORD);
    life.pass(REFUSED);
    assert_eq!(life.failures(), Some(1));
    assert!(!doubt(&life), "its own intent leaves none");
}

#[rstest]
fn a_value_that_is_turned_back_after_a_kill_is_sent(#[values(false, true)] took_effect: bool) {
    let mut life = Life::in_sync();
    life.world.rotate(OTHER_PASSWORD);
    life.killed(took_effect);
    life.world.rotate(PASSWORD);
    let (decision, _) = life.pass(AVAILABLE);
    assert_eq!(decision, Decision::Reset(Trigger::SecretChanged));
    assert_eq!(life.ready(), ("False", "Unsettled"));
    assert_eq!(life.status().last_attempt, None);
    assert_eq!(life.pending_since(), None);
    life.sleep(201);
    let (decision, _) = life.pass(AVAILABLE);
    assert_eq!(decision, Decision::Unsettled { until: at(202) });
    life.sleep(1);
    let (decision, _) = life.pass(AVAILABLE);
    assert_eq!(decision, Decision::Reset(Trigger::Overlapped));
    assert_eq!(life.ready(), ("True", "InSync"));
    assert_eq!(life.status().unanswered_sends, []);
}

// ------------------------------------------------------------------ resets that may still take effect

/// A value that had no answer, and the Secret is turned back: the one that was accepted is not the last word.
#[test]
fn an_accepted_value_is_unsettled_while_an_earlier_one_may_come_late() {
    let mut life = Life::with_a_lost_answer();
    life.world.rotate(PASSWORD);
    life.sleep(6);
    let (decision, _) = life.pass(AVAILABLE);
    assert_eq!(decision, Decision::Reset(Trigger::SecretChanged));
    assert_eq!(
        life.summary(),
        "Ready False Unsettled; SecretReady True Valid; InstanceReady True Running; PasswordSynced False Unsettled; Reconciling True Unsettled"
    );
    let message = life.message(ConditionType::Ready);
    assert!(message.contains(&at(280).to_string()), "{message}");
    // A login or another look settles nothing before the time, and nothing is sent for it.
    life.sleep(173);
    let (decision, before) = life.pass(AVAILABLE);
    assert_eq!(decision, Decision::Unsettled { until: at(280) });
    assert_eq!(life.status(), &before);
    life.sleep(1);
    let (decision, _) = life.pass(AVAILABLE);
    assert_eq!(decision, Decision::Reset(Trigger::Overlapped));
    assert_eq!(life.ready(), ("True", "InSync"));
}

/// Accepted at the second send, the first one still open: that matters once the Secret has a third value.
#[test]
fn a_send_is_remembered_beyond_a_later_success() {
    let mut life = Life::with_a_lost_answer();
    life.sleep(2);
    life.pass(AVAILABLE);
    assert_eq!(life.ready(), ("True", "InSync"));
    assert_eq!(life.status().unanswered_sends.len(), 1);
    life.sleep(10);
    life.world.rotate(THIRD_PASSWORD);
    life.pass(AVAILABLE);
    assert_eq!(life.ready(), ("False", "Unsettled"));
    life.sleep(300);
    life.pass(AVAILABLE);
    assert_eq!(life.ready(), ("True", "InSync"));
    assert_eq!(life.status().unanswered_sends, []);
}

#[test]
fn a_failure_that_may_have_taken_effect_while_unsettled_is_sent_again() {
    let mut life = Life::with_a_lost_answer();
    life.world.rotate(PASSWORD);
    life.pass(AVAILABLE);
    life.sleep(200);
    life.pass(Answer::Lost(false));
    assert_eq!(life.ready(), ("False", "RdsUnavailable"));
    life.sleep(60);
    life.pass(AVAILABLE);
    assert_eq!(life.ready(), ("True", "InSync"));
}

/// RDS refuses to take the value again that settles the doubt: what is told of it stays until the next send.
#[test]
fn a_refused_repetition_is_told_until_the_next_send() {
    let mut life = Life::with_a_lost_answer();
    life.world.rotate(PASSWORD);
    life.pass(AVAILABLE);
    life.sleep(200);
    let refused = Answer::Fails(Class::PersonNeeded, Reason::Rejected, true);
    let (decision, _) = life.pass(refused);
    assert_eq!(decision, Decision::Reset(Trigger::Overlapped));
    assert_eq!(life.ready(), ("False", "Rejected"));
    let told = life.status().clone();
    let (decision, _) = life.pass(AVAILABLE);
    assert!(matches!(decision, Decision::Wait { .. }));
    assert_eq!(life.status(), &told);
    life.world.edit(&json!({ "suspend": true }));
    life.pass(AVAILABLE);
    assert_eq!(life.ready(), ("False", "Suspended"));
    assert!(life.pending_since().is_some());
}

#[test]
fn the_sends_in_a_row_without_an_answer_are_counted() {
    let mut life = Life::in_sync();
    life.world.rotate(OTHER_PASSWORD);
    let count = |life: &Life| life.status().last_attempt.as_ref().unwrap().unanswered;
    for sends in 1..=3 {
        life.pass(Answer::Lost(false));
        assert_eq!(count(&life), sends);
        life.sleep(61);
    }
    life.pass(NOT_RUNNING);
    assert_eq!(count(&life), 3, "nothing was sent");
    life.sleep(700);
    life.pass(AVAILABLE);
    life.world.rotate(THIRD_PASSWORD);
    life.pass(Answer::Lost(false));
    assert_eq!(count(&life), 1, "another value");
}

/// The Secret changes all the time while RDS answers nothing.
#[test]
fn too_many_open_sends_hold_further_ones() {
    let mut life = Life::in_sync().after(100);
    let values: Vec<&'static str> = (0..17)
        .map(|number| &*String::leak(format!("Value{number:02}word")))
        .collect();
    for value in &values[..16] {
        life.world.rotate(value);
        let (decision, _) = life.pass(Answer::Lost(false));
        assert!(matches!(decision, Decision::Reset(_)));
        life.sleep(1);
    }
    life.world.rotate(values[16]);
    let (decision, _) = life.pass(AVAILABLE);
    assert_eq!(decision, Decision::Unsettled { until: at(280) });
    assert_eq!(life.ready(), ("False", "Unsettled"));
    assert!(life.pending_since().is_some());
    life.sleep(165);
    let (decision, _) = life.pass(AVAILABLE);
    assert!(matches!(decision, Decision::Reset(_)));
    assert!(life.status().unanswered_sends.len() <= 17);
}

/// An intent alone tells nothing of the value: it is not refused because another one was, in the same second even.
#[rstest]
fn a_value_whose_reset_was_not_answered_is_pending(
    #[values(OTHER_PASSWORD, PASSWORD)] next: &'static str,
    #[values(0, 5)] later: i64,
    #[values(false, true)] is_queued: bool,
) {
    let mut life = Life::new();
    life.pass(REFUSED);
    life.sleep(700);
    life.pass(REFUSED);
    if next == PASSWORD {
        life.sleep(700);
    } else {
        life.world.rotate(next);
    }
    life.sleep(later);
    life.killed(false);
    if is_queued {
        life.sleep(5);
        life.queue();
    } else {
        let (decision, _) = life.pass(AVAILABLE);
        assert!(matches!(decision, Decision::Wait { .. }), "{decision:?}");
    }
    assert_eq!(life.ready(), ("False", "Pending"));
    assert!(life.summary().contains("SecretReady True Valid"));
    assert!(!life.summary().contains("Stalled"));
}

#[test]
fn a_lost_answer_that_overlaps_leaves_nothing_applied() {
    let mut life = Life::in_sync();
    life.world.rotate(OTHER_PASSWORD);
    life.pass(Answer::OverlappedAndLost(true));
    assert_eq!(life.ready(), ("False", "Pending"));
    life.world.rotate(PASSWORD);
    life.sleep(1);
    let (decision, _) = life.pass(AVAILABLE);
    assert!(matches!(decision, Decision::Reset(_)), "{decision:?}");
}

/// Whatever stands there, so that the leader whose reset is under way does not take its own for the last one.
#[rstest]
#[case::nothing(Life::new())]
#[case::reset(Life::in_sync())]
#[case::reset_without_a_fingerprint(with(Life::new(), |life| { life.pass(Answer::Overlapped); }))]
fn a_lost_answer_that_overlaps_leaves_a_mark(
    #[case] mut life: Life,
    #[values(false, true)] is_under_way: bool,
) {
    let observation = life.world.observe();
    if is_under_way {
        life.intend(&observation);
    }
    let before = life.world.resource.clone();
    life.tell(&observation, &Outcome::Overlapped(None));
    assert!(!crate::controller::report::is_as(life.status(), &before));
    assert!(life.status().last_attempt.as_ref().unwrap().outcome_unknown);
    // Nor does a second one look like the first.
    let before = life.world.resource.clone();
    life.tell(&observation, &Outcome::Overlapped(None));
    assert!(!crate::controller::report::is_as(life.status(), &before));
}

#[test]
fn after_a_lost_answer_a_value_that_is_turned_back_is_sent() {
    let mut life = Life::in_sync();
    life.world.rotate(OTHER_PASSWORD);
    life.pass(Answer::Lost(true));
    // What fails afterwards does not make it known what the database has.
    life.sleep(700);
    life.pass(THROTTLED);
    life.world.rotate(PASSWORD);
    let (decision, _) = life.pass(AVAILABLE);
    assert_eq!(decision, Decision::Reset(Trigger::SecretChanged));
    assert_eq!(life.ready(), ("True", "InSync"));
}

/// Kubernetes keeps whole seconds. A finer time would differ from what is read back.
#[rstest]
fn times_are_kept_as_they_are_written(
    #[values(
        AVAILABLE,
        NOT_AVAILABLE,
        THROTTLED,
        Answer::Overlapped,
        Answer::OverlappedAndLost(true)
    )]
    answer: Answer,
) {
    let mut life = Life::new();
    life.now = Timestamp::new(at(0).as_second(), 999_999_999).unwrap();
    // Each pass compares what it wrote with what is read back.
    life.pass(answer.clone());
    life.world.secret = Err(SecretProblem::NotFound);
    life.pass(answer);
    if let Some(attempt) = &life.status().last_attempt {
        assert!(attempt.next_time.0 > life.now);
    }
}

#[test]
fn the_time_of_a_transition_is_that_of_the_status_alone() {
    let time = |life: &Life, type_| {
        let condition = find(&life.status().conditions, type_).unwrap();
        condition.last_transition_time.0
    };
    let mut life = Life::new();
    life.pass(THROTTLED);
    life.sleep(700);
    life.pass(NOT_RUNNING);
    // Another reason, the same status.
    assert_eq!(time(&life, ConditionType::Ready), at(0));
    assert_eq!(time(&life, ConditionType::Reconciling), at(0));
    assert_eq!(time(&life, ConditionType::InstanceReady), at(700));
    life.sleep(700);
    life.pass(AVAILABLE);
    assert_eq!(time(&life, ConditionType::Ready), at(1400));
    life.world.edit(&json!({ "suspend": true }));
    life.sleep(1);
    life.pass(AVAILABLE);
    // Another generation, the same status.
    assert_eq!(time(&life, ConditionType::Ready), at(1400));
    assert_eq!(time(&life, ConditionType::Suspended), at(1401));
    let generations = life.status().conditions.iter();
    let mut generations = generations.map(|condition| condition.observed_generation);
    assert!(generations.all(|generation| generation == Some(2)));
}

#[rstest]
#[case::never_looked_at(Life::new(), 0)]
#[case::in_sync(Life::in_sync().after(50), 0)]
#[case::held(with(held(SecretProblem::NotFound), |life| { life.pass(AVAILABLE); }).after(50), 50)]
#[case::clock_turned_back(with(held(SecretProblem::NotFound), |life| { life.pass(AVAILABLE); }).after(-50), 0)]
fn not_ready_for_how_long(#[case] life: Life, #[case] seconds: u64) {
    assert_eq!(
        not_ready_for(&life.world.resource, life.now),
        Duration::from_secs(seconds)
    );
}

// ------------------------------------------------------------------ whatever happens

#[derive(Debug, Clone)]
enum Event {
    Rotate(&'static str),
    SecretIs(SecretProblem),
    SecretIsBack(&'static str),
    SecretIsCreatedAnew,
    Suspend(bool),
    /// The resource names another account; the one that it leaves is taken over by another resource.
    Account(&'static str),
    Request(&'static str),
    NoRequest,
    /// Another resource becomes the owner, and resets the account to a password of its own.
    OwnershipIsLost,
    OwnershipIsBack,
    KeyIsRotated,
    KeyIsLost,
    Queued,
    /// A reset that had no answer takes effect now, if one still can.
    ComesLate,
    Sleep(i64),
    Pass(Answer),
    /// The process is killed in the middle of a pass, and the value was sent, or not.
    Killed(bool),
}

fn any_answer() -> impl Strategy<Value = Answer> {
    let entries: Vec<usize> = (0..TABLE.len()).collect();
    let failure = (select(entries), any::<bool>()).prop_map(|(index, was_running)| {
        let entry = &TABLE[index];
        Answer::Fails(entry.class, entry.reason, was_running)
    });
    prop_oneof![
        3 => Just(AVAILABLE),
        1 => Just(Answer::Account(Account::NotTold)),
        1 => Just(Answer::Account(Account::NotSeen)),
        2 => Just(NOT_AVAILABLE),
        1 => Just(LOCKED),
        1 => Just(MISSING),
        1 => Just(Answer::Overlapped),
        1 => any::<bool>().prop_map(Answer::OverlappedAndLost),
        5 => any::<bool>().prop_map(Answer::Lost),
        4 => failure,
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => select(&VALUES).prop_map(Event::Rotate),
        2 => select(&[
            SecretProblem::NotFound,
            SecretProblem::KeyNotFound,
            SecretProblem::Unreadable(SecretReadError::Malformed),
            SecretProblem::Invalid(PasswordRule::Empty),
        ])
        .prop_map(Event::SecretIs),
        2 => select(&VALUES).prop_map(Event::SecretIsBack),
        1 => Just(Event::SecretIsCreatedAnew),
        2 => any::<bool>().prop_map(Event::Suspend),
        1 => select(&["app", "other"]).prop_map(Event::Account),
        2 => select(&["1", "2"]).prop_map(Event::Request),
        1 => Just(Event::NoRequest),
        1 => Just(Event::OwnershipIsLost),
        2 => Just(Event::OwnershipIsBack),
        1 => Just(Event::KeyIsRotated),
        1 => Just(Event::KeyIsLost),
        1 => Just(Event::Queued),
        6 => Just(Event::ComesLate),
        4 => select(&[0, 1, 3, 40, 185, 700]).prop_map(Event::Sleep),
        12 => any_answer().prop_map(Event::Pass),
        2 => any::<bool>().prop_map(Event::Killed),
    ]
}

impl Life {
    fn happens(&mut self, event: &Event, keys: &mut u32) {
        match event.clone() {
            Event::Rotate(value) => {
                if self.world.secret != Ok(value) {
                    self.world.rotate(value);
                }
            }
            Event::SecretIs(problem) => self.world.secret = Err(problem),
            Event::SecretIsBack(value) => {
                if self.world.secret.is_err() {
                    self.world.rotate(value);
                }
            }
            Event::SecretIsCreatedAnew => self.world.version.uid.push('x'),
            Event::Suspend(suspend) => {
                if self.world.resource.spec.suspend != suspend {
                    self.world.edit(&json!({ "suspend": suspend }));
                }
            }
            Event::Account(account) => {
                if self.world.resource.spec.account_name != account {
                    let left = self.world.target();
                    self.world.edit(&json!({ "accountName": account }));
                    self.world.ownership = Ownership::Ours;
                    self.pass(THROTTLED);
                    self.passwords.insert(left, "somebody else's");
                }
            }
            Event::Request(value) => self.world.request(value),
            Event::NoRequest => self.world.resource.metadata.annotations = None,
            Event::OwnershipIsLost => {
                self.world.ownership = Ownership::Anothers;
                self.pass(AVAILABLE);
                self.passwords
                    .insert(self.world.target(), "somebody else's");
            }
            Event::OwnershipIsBack => self.world.ownership = Ownership::Ours,
            Event::KeyIsRotated => {
                *keys += 1;
                self.world
                    .keys
                    .insert(0, ["a", "b", "c", "d"][*keys as usize % 4]);
                self.world.keys.dedup();
            }
            Event::KeyIsLost => {
                *keys += 1;
                self.world.keys = vec![["a", "b", "c", "d"][*keys as usize % 4]];
            }
            Event::Queued => {
                if matches!(decide(&self.world.observe(), self.now), Decision::Reset(_)) {
                    self.queue();
                }
            }
            Event::ComesLate => {
                if let Some((target, value, _)) = self.open.pop() {
                    self.passwords.insert(target, value);
                }
            }
            Event::Sleep(seconds) => self.sleep(seconds),
            Event::Pass(answer) => {
                let (decision, before) = self.pass(answer);
                self.check(decision, &before);
            }
            Event::Killed(took_effect) => self.killed(took_effect),
        }
    }

    /// What must hold after any pass.
    fn check(&self, decision: Decision, before: &DatabaseAccountPasswordStatus) {
        let status = self.status();
        let text = serde_json::to_string(status).unwrap();
        for value in VALUES {
            assert!(!text.contains(value), "a password: {text}");
        }

        // The conditions are those of kstatus, and speak of this generation.
        let is_there = |type_| find(&status.conditions, type_).is_some();
        for type_ in [
            ConditionType::Ready,
            ConditionType::SecretReady,
            ConditionType::InstanceReady,
            ConditionType::PasswordSynced,
        ] {
            assert!(is_there(type_));
        }
        let (ready, reason) = self.ready();
        let reconciling = is_there(ConditionType::Reconciling);
        let stalled = is_there(ConditionType::Stalled);
        let suspended = is_there(ConditionType::Suspended);
        assert_eq!(suspended, self.world.resource.spec.suspend);
        let is_open = ready != "True" && reason != "Suspended";
        assert_eq!(u8::from(reconciling) + u8::from(stalled), u8::from(is_open));
        let generation = self.world.resource.metadata.generation;
        assert_eq!(status.observed_generation, generation);
        for condition in &status.conditions {
            assert_eq!(condition.observed_generation, generation);
            let older = k8s_controller::conditions::find(&before.conditions, &condition.type_);
            let kept = older.filter(|older| older.status == condition.status);
            let expected = kept.map_or(self.now, |older| older.last_transition_time.0);
            assert_eq!(condition.last_transition_time.0, expected);
            // What changes from try to try has fields of its own.
            let message = &condition.message;
            assert!(!message.contains("DD46-440A"), "{message}");
        }

        // Ready is true exactly where the database has the Secret's value, as far as anyone can know.
        if ready == "True" {
            let password = self.passwords.get(&self.world.target()).copied();
            assert_eq!(password, self.world.secret.ok());
            let target = self.world.target();
            let mut open = self.open.iter().filter(|(of, ..)| *of == target);
            assert!(
                open.all(|(_, value, _)| Some(*value) == password),
                "may come late"
            );
            assert_eq!(self.world.ownership, Ownership::Ours);
            let reset = status.last_reset.as_ref().unwrap();
            assert!(reset.is_of(&self.world.target()) && !reset.request_id.is_empty());
            assert_eq!(status.pending_since, None);
            assert_eq!(status.last_attempt, None);
            assert!(!crate::controller::decide::has_new_request(
                &self.world.resource
            ));
        }
        if matches!(decision, Decision::Reset(_))
            && ready != "True"
            // Of the account, RDS may have accepted the value all the same.
            && !["AccountNotAvailable", "AccountLocked", "AccountNotFound", "Unsettled"]
                .contains(&reason)
        {
            assert!(status.pending_since.is_some());
        }
        if let Some(pending_since) = self.pending_since() {
            assert!(pending_since <= self.now);
        }
        assert!(status.history.len() <= HISTORY_LIMIT);
        let times = status.history.iter().map(|finished| finished.time.0);
        assert!(times.rev().is_sorted());

        // A later pass that finds everything as it was writes nothing, but for a fingerprint by a new key.
        let mut later = self.clone();
        later.sleep(1);
        match decide(&later.world.observe(), later.now) {
            Decision::Reset(_)
            | Decision::LookAtAccount
            | Decision::InSync {
                renew_fingerprint: true,
            } => {}
            settled => {
                later.pass(AVAILABLE);
                let is_stalled =
                    |life: &Self| find(&life.status().conditions, ConditionType::Stalled).is_some();
                if is_stalled(&later) != is_stalled(self) {
                    // The time is over in which it could have passed by itself.
                    assert!(is_stalled(&later), "{settled:?}");
                    return;
                }
                assert_eq!(later.status(), status, "{settled:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn the_status_is_true(events in proptest::collection::vec(any_event(), 1..30)) {
        let mut life = Life::new();
        let mut keys = 0;
        for event in &events {
            life.happens(event, &mut keys);
        }
        // Whatever happened: once nothing stands in the way any more, the value gets there.
        life.happens(&Event::Suspend(false), &mut keys);
        life.happens(&Event::OwnershipIsBack, &mut keys);
        life.happens(&Event::SecretIsBack(THIRD_PASSWORD), &mut keys);
        for _ in 0..2 {
            life.sleep(602);
            life.happens(&Event::Pass(AVAILABLE), &mut keys);
        }
        prop_assert_eq!(life.ready(), ("True", "InSync"));
        // And stays there, without another call.
        let (decision, before) = life.after(100_000).pass(NOT_RUNNING);
        prop_assert_eq!(decision, Decision::InSync { renew_fingerprint: false });
        prop_assert_eq!(before.pending_since, None);
    }

    /// Nothing but another value, a request, or doubt about what the database has makes a second reset.
    #[test]
    fn nothing_resets_what_is_in_sync(
        events in proptest::collection::vec(
            any_event().prop_filter("no cause", |event| !matches!(
                event,
                Event::Rotate(_) | Event::SecretIsBack(_) | Event::Account(_) | Event::Request(_)
                    | Event::OwnershipIsLost | Event::KeyIsLost
            )),
            1..30,
        ),
    ) {
        let mut life = Life::in_sync();
        let mut keys = 0;
        for event in &events {
            life.happens(event, &mut keys);
            if matches!(event, Event::SecretIs(_)) {
                life.pass(AVAILABLE);
                life.world.secret = Ok(PASSWORD);
            }
            let decision = decide(&life.world.observe(), life.now);
            prop_assert!(matches!(decision, Decision::InSync { .. }), "{:?}", decision);
        }
        prop_assert_eq!(life.status().history.len(), 1);
    }
}
