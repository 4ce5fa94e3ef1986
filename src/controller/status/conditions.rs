//! The conditions that follow from an outcome, and their words.

use std::time::Duration;

use k8s_controller::conditions::{self, ConditionChange, ConditionStatus, DesiredCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;

use super::super::decide::{Decision, Observation, SecretObservation, SecretProblem};
use super::super::outcome::{Accepted, Account, Failure, Outcome, UNLOCK};
use super::super::unanswered::MOST;
use super::{awaits_reset, failures, is_due, seconds, unsettled_after};
use crate::api::{
    ConditionType, DatabaseAccountPasswordSpec, DatabaseAccountPasswordStatus, FinishedTry,
    InstanceReadyReason, PasswordSyncedReason, ReadyReason, SecretReadyReason,
};
use crate::rds::classification::{Reason, TABLE};
use crate::rds::identifier::Code;

/// How long an instance or account that a new spec names may be missing: a pipeline that creates both creates them in the same
/// minutes.
pub(super) const NEW_FOR: Duration = Duration::from_secs(5 * 60);

/// How long a change may wait for a host that does not exist: a fault of DNS can say so too, and passes.
const HOST_MISSING_FOR: Duration = Duration::from_secs(10 * 60);

/// For how long a reason may still pass by itself, though a person has to act in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grace {
    /// As long after the operator first looked at this spec.
    OfSpec(Duration),
    /// As long after the change began to wait.
    OfChange(Duration),
}

/// The moments that a [`Grace`] is counted from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Since {
    /// When the operator first looked at this spec.
    pub(super) known: Timestamp,
    /// When the change began to wait, where one does.
    pub(super) pending: Option<Timestamp>,
}

impl Grace {
    fn is_over(self, since: Since, now: Timestamp) -> bool {
        let (since, longest) = match self {
            Self::OfSpec(longest) => (Some(since.known), longest),
            Self::OfChange(longest) => (since.pending, longest),
        };
        since.is_some_and(|since| now.duration_since(since).unsigned_abs() >= longest)
    }
}

/// For how long this reason, of those that need a person, may still pass by itself.
#[must_use]
pub fn grace(reason: ReadyReason) -> Option<Grace> {
    match reason {
        ReadyReason::Instance(InstanceReadyReason::InstanceNotFound)
        | ReadyReason::Password(PasswordSyncedReason::AccountNotFound) => {
            Some(Grace::OfSpec(NEW_FOR))
        }
        ReadyReason::Password(PasswordSyncedReason::EndpointNotFound) => {
            Some(Grace::OfChange(HOST_MISSING_FOR))
        }
        _ => None,
    }
}

/// Whether a person has to act before this can change: at once, or after its [`grace`].
#[must_use]
pub fn is_stalled(reason: ReadyReason) -> bool {
    match reason {
        ReadyReason::InSync | ReadyReason::Suspended => false,
        ReadyReason::Secret(reason) => match reason {
            // A GitOps pipeline may bring them in a moment.
            SecretReadyReason::SecretNotFound
            | SecretReadyReason::KeyNotFound
            | SecretReadyReason::Valid => false,
            SecretReadyReason::SecretUnreadable | SecretReadyReason::PasswordInvalid => true,
        },
        ReadyReason::Instance(reason) => match reason {
            InstanceReadyReason::Running
            | InstanceReadyReason::NotAsked
            | InstanceReadyReason::InstanceNotRunning
            | InstanceReadyReason::InstanceLocked => false,
            InstanceReadyReason::InstanceNotFound => true,
        },
        ReadyReason::Password(reason) => match reason {
            PasswordSyncedReason::Reset
            | PasswordSyncedReason::Pending
            | PasswordSyncedReason::Unsettled
            | PasswordSyncedReason::AccountNotAvailable
            | PasswordSyncedReason::Throttled
            | PasswordSyncedReason::RdsUnavailable => false,
            PasswordSyncedReason::AccountNotFound
            | PasswordSyncedReason::AccountLocked
            | PasswordSyncedReason::EndpointNotFound
            | PasswordSyncedReason::AccountNotSupported
            | PasswordSyncedReason::AccessDenied
            | PasswordSyncedReason::CredentialsUnavailable
            | PasswordSyncedReason::ClockSkew
            | PasswordSyncedReason::Rejected
            | PasswordSyncedReason::Conflict => true,
        },
    }
}

/// The condition reason that a cloud error leads to.
#[must_use]
pub fn ready_reason(reason: Reason) -> ReadyReason {
    match reason {
        Reason::InstanceNotRunning => {
            ReadyReason::Instance(InstanceReadyReason::InstanceNotRunning)
        }
        Reason::InstanceLocked => ReadyReason::Instance(InstanceReadyReason::InstanceLocked),
        Reason::InstanceNotFound => ReadyReason::Instance(InstanceReadyReason::InstanceNotFound),
        Reason::PasswordInvalid => ReadyReason::Secret(SecretReadyReason::PasswordInvalid),
        Reason::AccountNotFound => ReadyReason::Password(PasswordSyncedReason::AccountNotFound),
        Reason::AccountNotAvailable => {
            ReadyReason::Password(PasswordSyncedReason::AccountNotAvailable)
        }
        Reason::AccountLocked => ReadyReason::Password(PasswordSyncedReason::AccountLocked),
        Reason::AccountNotSupported => {
            ReadyReason::Password(PasswordSyncedReason::AccountNotSupported)
        }
        Reason::AccessDenied => ReadyReason::Password(PasswordSyncedReason::AccessDenied),
        Reason::CredentialsUnavailable => {
            ReadyReason::Password(PasswordSyncedReason::CredentialsUnavailable)
        }
        Reason::Throttled => ReadyReason::Password(PasswordSyncedReason::Throttled),
        Reason::RdsUnavailable => ReadyReason::Password(PasswordSyncedReason::RdsUnavailable),
        Reason::EndpointNotFound => ReadyReason::Password(PasswordSyncedReason::EndpointNotFound),
        Reason::ClockSkew => ReadyReason::Password(PasswordSyncedReason::ClockSkew),
        Reason::Rejected => ReadyReason::Password(PasswordSyncedReason::Rejected),
    }
}

/// A condition but for its type and times.
#[derive(Debug, Clone)]
struct State<R> {
    status: ConditionStatus,
    reason: R,
    message: String,
}

impl<R> State<R> {
    fn new(status: ConditionStatus, reason: R, message: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            message: message.into(),
        }
    }
}

pub(super) struct States {
    secret: State<SecretReadyReason>,
    instance: State<InstanceReadyReason>,
    password: State<PasswordSyncedReason>,
}

impl States {
    pub(super) fn of(
        status: &DatabaseAccountPasswordStatus,
        observation: &Observation,
        outcome: &Outcome,
    ) -> Self {
        Self {
            secret: secret_state(status, observation, outcome),
            instance: instance_state(status, observation, outcome),
            password: password_state(status, observation, outcome),
        }
    }
}

fn secret_state(
    status: &DatabaseAccountPasswordStatus,
    observation: &Observation,
    outcome: &Outcome,
) -> State<SecretReadyReason> {
    use ConditionStatus::{False, True};
    if let Some(message) = refused_value(status, observation, outcome) {
        return State::new(False, SecretReadyReason::PasswordInvalid, message);
    }
    let DatabaseAccountPasswordSpec {
        password_secret_ref: secret,
        ..
    } = &observation.resource.spec;
    let problem = match &observation.secret {
        SecretObservation::Usable(_) | SecretObservation::Unchanged => {
            return State::new(
                True,
                SecretReadyReason::Valid,
                "the Secret's value keeps the password rules of RDS",
            );
        }
        SecretObservation::Unusable(problem) => problem,
    };
    let (reason, message) = match problem {
        SecretProblem::NotFound => (
            SecretReadyReason::SecretNotFound,
            format!(
                "there is no Secret {:?} in this namespace; the database keeps the password that it has",
                secret.name
            ),
        ),
        SecretProblem::KeyNotFound => (
            SecretReadyReason::KeyNotFound,
            format!(
                "the Secret {:?} has no key {:?}; the database keeps the password that it has",
                secret.name, secret.key
            ),
        ),
        SecretProblem::Unreadable(error) => (
            SecretReadyReason::SecretUnreadable,
            format!("the Secret {:?} cannot be read: {error}", secret.name),
        ),
        SecretProblem::Invalid(rule) => (
            SecretReadyReason::PasswordInvalid,
            format!(
                "the value of key {:?} of the Secret {:?} cannot be a password of RDS: {rule}; the database keeps the password that it has",
                secret.key, secret.name
            ),
        ),
    };
    State::new(False, reason, message)
}

/// What RDS said of a value that keeps its documented rules, where it did not take it. That holds until the next try of this
/// value, which is what this outcome is or waits for.
fn refused_value(
    status: &DatabaseAccountPasswordStatus,
    observation: &Observation,
    outcome: &Outcome,
) -> Option<String> {
    let newest = match outcome {
        Outcome::Failed(_) => status.history.first(),
        Outcome::Queued | Outcome::Settled(Decision::Wait { .. }) => last_ended(observation),
        _ => None,
    };
    let newest =
        newest.filter(|newest| newest.outcome.0 == SecretReadyReason::PasswordInvalid.as_str())?;
    let entry = TABLE
        .iter()
        .find(|entry| entry.reason == Reason::PasswordInvalid)?;
    Some(told(entry.explanation, newest.code.as_deref()))
}

/// How the last try of this value, spec and request ended. Nothing, where it has not: an intent of a process that was killed
/// counts as a try, and says nothing of the value.
fn last_ended(observation: &Observation) -> Option<&FinishedTry> {
    if failures(observation) == 0 {
        return None;
    }
    let status = observation.resource.status.as_ref()?;
    let attempt = status.last_attempt.as_ref()?;
    status.history.iter().find(|finished| {
        finished.time == attempt.time
            && finished.code == attempt.code
            && finished.request_id == attempt.request_id
    })
}

fn instance_state(
    status: &DatabaseAccountPasswordStatus,
    observation: &Observation,
    outcome: &Outcome,
) -> State<InstanceReadyReason> {
    use ConditionStatus::{False, True, Unknown};
    let running = || {
        State::new(
            True,
            InstanceReadyReason::Running,
            "the instance is Running and not locked",
        )
    };
    let not_asked = || {
        State::new(
            Unknown,
            InstanceReadyReason::NotAsked,
            "RDS has not been asked yet",
        )
    };
    match outcome {
        Outcome::Accepted(_) | Outcome::Overlapped(_) => running(),
        Outcome::Failed(failure) => match ready_reason(failure.reason) {
            ReadyReason::Instance(reason) => State::new(False, reason, told_by(failure)),
            _ if failure.instance_was_running => running(),
            _ => kept(status, observation)
                .filter(|state| state.status == True)
                .unwrap_or_else(not_asked),
        },
        // Nobody asks while nothing has to be sent, so a state that was in the way of an older try would stay for ever.
        Outcome::Looked(_) | Outcome::Settled(Decision::InSync { .. }) => kept(status, observation)
            .filter(|state| state.status == True)
            .unwrap_or_else(not_asked),
        Outcome::Settled(_) | Outcome::Queued | Outcome::Abandoned => {
            kept(status, observation).unwrap_or_else(not_asked)
        }
    }
}

/// The `InstanceReady` that stands in the status, if it speaks of the instance that the spec names now.
fn kept(
    status: &DatabaseAccountPasswordStatus,
    observation: &Observation,
) -> Option<State<InstanceReadyReason>> {
    let resource = &*observation.resource;
    let condition = find(&status.conditions, ConditionType::InstanceReady)?;
    let same_spec = condition.observed_generation == resource.metadata.generation;
    // After an edit, what was in the way may have been in the way of another instance.
    let was_reset = || {
        condition.status == ConditionStatus::True.as_str()
            && status
                .last_reset
                .as_ref()
                .is_some_and(|reset| reset.instance_id == resource.spec.instance_id)
    };
    if !same_spec && !was_reset() {
        return None;
    }
    let reason = InstanceReadyReason::ALL
        .iter()
        .copied()
        .find(|reason| reason.as_str() == condition.reason)?;
    let status = condition.status.parse().ok()?;
    Some(State::new(status, reason, condition.message.clone()))
}

fn password_state(
    status: &DatabaseAccountPasswordStatus,
    observation: &Observation,
    outcome: &Outcome,
) -> State<PasswordSyncedReason> {
    use ConditionStatus::False;
    // What the last look at the account found stands until another one tells.
    let as_last_seen = || {
        last_failure(status)
            .filter(|_| is_last_tried(status, observation))
            .unwrap_or_else(|| account_state(&Account::NotAvailable(None)))
    };
    let pending = |message| State::new(False, PasswordSyncedReason::Pending, message);
    let due = || pending("a reset is due, and has not been made");
    if let Some(until) = unsettled_after(observation, outcome) {
        let accepted = matches!(outcome, Outcome::Accepted(_)) || !is_due(observation);
        let message = if accepted {
            format!(
                "RDS accepted the Secret's value, but gave no answer to an earlier reset with another value, which may still take effect until {until}; then the operator sends the value once more"
            )
        } else {
            format!(
                "a reset is due and waits until {until}: RDS gave no answer to {MOST} earlier resets, which may still take effect"
            )
        };
        return State::new(False, PasswordSyncedReason::Unsettled, message);
    }
    match outcome {
        Outcome::Looked(Account::NotSeen) | Outcome::Settled(Decision::LookAtAccount) => {
            as_last_seen()
        }
        Outcome::Accepted(Accepted { account, .. }) | Outcome::Looked(account) => {
            account_state(account)
        }
        Outcome::Failed(failure) => match ready_reason(failure.reason) {
            ReadyReason::Password(reason) => State::new(False, reason, told_by(failure)),
            _ => due(),
        },
        Outcome::Settled(Decision::InSync { .. }) => account_state(&Account::Available),
        Outcome::Settled(Decision::Conflict) => State::new(
            False,
            PasswordSyncedReason::Conflict,
            "another DatabaseAccountPassword owns this account of this instance; delete one of the two",
        ),
        Outcome::Settled(Decision::Hold(_)) => last_failure(status)
            .unwrap_or_else(|| pending("the Secret has no value that could be sent")),
        Outcome::Settled(Decision::Wait { .. } | Decision::Suspended)
            if !awaits_reset(observation) =>
        {
            as_last_seen()
        }
        Outcome::Queued | Outcome::Settled(Decision::Wait { .. })
            if last_ended(observation).is_some() =>
        {
            last_failure(status).unwrap_or_else(due)
        }
        Outcome::Settled(
            Decision::Wait { .. }
            | Decision::Suspended
            | Decision::Unsettled { .. }
            | Decision::Reset(_),
        )
        | Outcome::Overlapped(_)
        | Outcome::Queued
        | Outcome::Abandoned => due(),
    }
}

/// What is told of an account for which RDS accepted the value.
fn account_state(account: &Account) -> State<PasswordSyncedReason> {
    use ConditionStatus::{False, True};
    const AGAIN: &str = "the operator looks again, without another reset";
    match account {
        Account::Available | Account::NotSeen | Account::NotTold => State::new(
            True,
            PasswordSyncedReason::Reset,
            "RDS accepted the Secret's value",
        ),
        Account::NotAvailable(state) => State::new(
            False,
            PasswordSyncedReason::AccountNotAvailable,
            match state {
                None => format!(
                    "RDS accepted the Secret's value, and the account is not Available yet; {AGAIN}"
                ),
                Some(state) => format!(
                    "RDS accepted the Secret's value, and the account is not Available yet but {state}; {AGAIN}"
                ),
            },
        ),
        Account::Locked => State::new(
            False,
            PasswordSyncedReason::AccountLocked,
            format!(
                "RDS accepted the Secret's value, and the account is locked; {UNLOCK}; {AGAIN}"
            ),
        ),
        Account::Missing { listed_as } => State::new(
            False,
            PasswordSyncedReason::AccountNotFound,
            match listed_as {
                None => format!(
                    "RDS accepted the Secret's value, and lists no account of exactly this name; check spec.accountName, or create the account in RDS; {AGAIN}"
                ),
                Some(name) => format!(
                    "RDS lists no account of exactly this name; it lists {name}; correct spec.accountName; {AGAIN}"
                ),
            },
        ),
    }
}

/// Whether the last try, or the last look at the account, was with the value that the Secret has.
fn is_last_tried(status: &DatabaseAccountPasswordStatus, observation: &Observation) -> bool {
    let SecretObservation::Usable(value) = &observation.secret else {
        return false;
    };
    let attempt = status.last_attempt.as_ref();
    attempt.is_some_and(|attempt| attempt.fingerprint == value.fingerprint)
}

/// The failure that `PasswordSynced` tells, as long as it still is one.
fn last_failure(status: &DatabaseAccountPasswordStatus) -> Option<State<PasswordSyncedReason>> {
    let condition = find(&status.conditions, ConditionType::PasswordSynced)?;
    let reason = PasswordSyncedReason::ALL
        .iter()
        .copied()
        .find(|reason| reason.as_str() == condition.reason)?;
    match reason {
        PasswordSyncedReason::Reset
        | PasswordSyncedReason::Pending
        | PasswordSyncedReason::Unsettled
        | PasswordSyncedReason::Conflict => None,
        _ => Some(State::new(
            ConditionStatus::False,
            reason,
            condition.message.clone(),
        )),
    }
}

/// `Ready`: the first thing in the way, in the order in which a person would look.
fn ready_state(states: &States, outcome: &Outcome) -> State<ReadyReason> {
    use ConditionStatus::{False, True};
    let States {
        secret,
        instance,
        password,
    } = states;
    if password.reason == PasswordSyncedReason::Conflict {
        // Whatever else is in the way, only a person can end this.
        return State::new(
            False,
            ReadyReason::Password(password.reason),
            password.message.clone(),
        );
    }
    if secret.status != True {
        return State::new(
            False,
            ReadyReason::Secret(secret.reason),
            secret.message.clone(),
        );
    }
    if matches!(outcome, Outcome::Settled(Decision::Suspended)) {
        return State::new(
            False,
            ReadyReason::Suspended,
            "spec.suspend is true; what is due waits until it is false",
        );
    }
    if instance.status == False {
        return State::new(
            False,
            ReadyReason::Instance(instance.reason),
            instance.message.clone(),
        );
    }
    if password.status != True {
        return State::new(
            False,
            ReadyReason::Password(password.reason),
            password.message.clone(),
        );
    }
    State::new(
        True,
        ReadyReason::InSync,
        "RDS accepted the Secret's current value for this account",
    )
}

pub(super) fn set_conditions(
    conditions: &mut Vec<Condition>,
    observation: &Observation,
    outcome: &Outcome,
    states: &States,
    since: Since,
    now: Timestamp,
) {
    let ready = ready_state(states, outcome);
    let generation = observation.resource.metadata.generation;
    let mut put = |type_, status, reason: &str, message: &str| {
        set(conditions, generation, type_, status, reason, message, now);
    };
    put(
        ConditionType::Ready,
        ready.status,
        ready.reason.as_str(),
        &ready.message,
    );
    put(
        ConditionType::SecretReady,
        states.secret.status,
        states.secret.reason.as_str(),
        &states.secret.message,
    );
    put(
        ConditionType::InstanceReady,
        states.instance.status,
        states.instance.reason.as_str(),
        &states.instance.message,
    );
    put(
        ConditionType::PasswordSynced,
        states.password.status,
        states.password.reason.as_str(),
        &states.password.message,
    );
    let is_open = ready.status != ConditionStatus::True && ready.reason != ReadyReason::Suspended;
    let may_pass = grace(ready.reason).is_some_and(|grace| !grace.is_over(since, now));
    let stalled = is_stalled(ready.reason) && !may_pass;
    for (type_, present) in [
        (ConditionType::Reconciling, is_open && !stalled),
        (ConditionType::Stalled, is_open && stalled),
    ] {
        if present {
            let reason = ready.reason.as_str();
            set(
                conditions,
                generation,
                type_,
                ConditionStatus::True,
                reason,
                &ready.message,
                now,
            );
        } else {
            conditions::remove(conditions, type_.as_str());
        }
    }
    if observation.resource.spec.suspend {
        set(
            conditions,
            generation,
            ConditionType::Suspended,
            ConditionStatus::True,
            "Suspended",
            "spec.suspend is true: no cloud call is made for this resource",
            now,
        );
    } else {
        conditions::remove(conditions, ConditionType::Suspended.as_str());
    }
}

fn set(
    conditions: &mut Vec<Condition>,
    generation: Option<i64>,
    type_: ConditionType,
    status: ConditionStatus,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let desired = DesiredCondition::new(type_.as_str(), status, reason, message)
        .observed_generation(generation);
    if conditions::set(conditions, desired) == ConditionChange::Transitioned
        && let Some(condition) = conditions
            .iter_mut()
            .find(|condition| condition.type_ == type_.as_str())
    {
        // The library reads the clock by itself; here the time of the pass is given.
        condition.last_transition_time = seconds(now);
    }
}

/// The condition of this type.
#[must_use]
pub fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions::find(conditions, type_.as_str())
}

fn told_by(failure: &Failure) -> String {
    told(
        &failure.explanation,
        failure.code.as_ref().map(Code::as_str),
    )
}

fn told(explanation: &str, code: Option<&str>) -> String {
    match code {
        Some(code) => format!("{explanation} (code {code})"),
        None => explanation.to_owned(),
    }
}
