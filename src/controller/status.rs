//! The status that follows from an outcome. Pure: the same facts give the same status, so that "nothing changed" is seen.

use std::time::Duration;

use k8s_controller::conditions::{self, ConditionChange, ConditionStatus, DesiredCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::decide::{
    Decision, Observation, SecretObservation, SecretProblem, SecretValue, is_reset_due,
};
use super::outcome::{Accepted, Account, Failure, Outcome};
use crate::api::{
    Attempt, ConditionType, DatabaseAccountPassword, DatabaseAccountPasswordSpec,
    DatabaseAccountPasswordStatus, FinishedTry, HISTORY_LIMIT, InstanceReadyReason,
    PasswordSyncedReason, ReadyReason, Reset, SecretReadyReason, StoredFingerprint, TryOutcome,
};
use crate::rds::classification::{Reason, TABLE};
use crate::rds::identifier::Code;

/// When things happened and will happen.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Now.
    pub now: Timestamp,
    /// The next try, for an outcome that is tried again.
    pub next: Timestamp,
}

/// The status after `outcome`, on top of `base`: the status that the object has, which need not be the one that was observed.
#[must_use]
pub fn after(
    base: &DatabaseAccountPasswordStatus,
    observation: &Observation,
    outcome: &Outcome,
    times: Times,
) -> DatabaseAccountPasswordStatus {
    let resource = &*observation.resource;
    let mut status = DatabaseAccountPasswordStatus {
        observed_generation: resource.metadata.generation,
        ..base.clone()
    };
    record(&mut status, observation, outcome, times);
    let derived = States::of(&status, observation, outcome);
    set_conditions(
        &mut status.conditions,
        observation,
        outcome,
        &derived,
        times.now,
    );
    status.pending_since = pending_since(base, observation, outcome, times.now);
    status
}

/// How many tries in a row have failed for this value, spec and request.
#[must_use]
pub fn failures(observation: &Observation) -> u32 {
    let SecretObservation::Usable(value) = &observation.secret else {
        return 0;
    };
    let resource = &*observation.resource;
    resource
        .status
        .as_ref()
        .and_then(|status| status.last_attempt.as_ref())
        .filter(|attempt| {
            attempt.generation == resource.metadata.generation
                && attempt.request.as_deref() == resource.request()
                && attempt.fingerprint == value.fingerprint
        })
        .map_or(0, |attempt| attempt.failures)
}

/// For how long the resource has not been ready; nothing, where it is, or was never looked at.
#[must_use]
pub fn not_ready_for(resource: &DatabaseAccountPassword, now: Timestamp) -> Duration {
    resource
        .status
        .as_ref()
        .and_then(|status| find(&status.conditions, ConditionType::Ready))
        .filter(|ready| ready.status == ConditionStatus::False.as_str())
        .and_then(|ready| Duration::try_from(now.duration_since(ready.last_transition_time.0)).ok())
        .unwrap_or_default()
}

/// Whether a person has to act before this can change.
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
            | PasswordSyncedReason::AccountNotAvailable
            | PasswordSyncedReason::Throttled
            | PasswordSyncedReason::RdsUnavailable => false,
            PasswordSyncedReason::AccountNotFound
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
        Reason::AccountNotSupported => {
            ReadyReason::Password(PasswordSyncedReason::AccountNotSupported)
        }
        Reason::AccessDenied => ReadyReason::Password(PasswordSyncedReason::AccessDenied),
        Reason::CredentialsUnavailable => {
            ReadyReason::Password(PasswordSyncedReason::CredentialsUnavailable)
        }
        Reason::Throttled => ReadyReason::Password(PasswordSyncedReason::Throttled),
        Reason::RdsUnavailable => ReadyReason::Password(PasswordSyncedReason::RdsUnavailable),
        Reason::ClockSkew => ReadyReason::Password(PasswordSyncedReason::ClockSkew),
        Reason::Rejected => ReadyReason::Password(PasswordSyncedReason::Rejected),
    }
}

/// `lastReset`, `lastAttempt`, `history`, `lastHandledRequest`.
fn record(
    status: &mut DatabaseAccountPasswordStatus,
    observation: &Observation,
    outcome: &Outcome,
    times: Times,
) {
    if let Some(reset) = &mut status.last_reset
        && (matches!(outcome, Outcome::Settled(Decision::Conflict))
            || !reset.is_of(&observation.resource.spec.target()))
    {
        // An account that another resource owns, or that this one names no longer, gets its passwords from elsewhere. Should
        // this resource own it again, it must not count as in sync.
        reset.fingerprint = None;
    }
    let SecretObservation::Usable(value) = &observation.secret else {
        return;
    };
    match outcome {
        Outcome::Overlapped(accepted) => {
            record_reset(status, observation, value, accepted);
            status.last_attempt = None;
            if let Some(reset) = &mut status.last_reset {
                reset.fingerprint = None;
            }
        }
        Outcome::Accepted(accepted) => {
            record_reset(status, observation, value, accepted);
            status.last_attempt = (accepted.account == Account::NotAvailable)
                .then(|| attempt(observation, value, 1, None, times));
        }
        Outcome::Looked(Account::NotAvailable) => {
            let failures = failures(observation).saturating_add(1);
            status.last_attempt = Some(attempt(observation, value, failures, None, times));
        }
        Outcome::Looked(_) => status.last_attempt = None,
        Outcome::Failed(failure) => {
            let failures = failures(observation).saturating_add(1);
            status.last_attempt = Some(attempt(observation, value, failures, Some(failure), times));
            push_history(
                &mut status.history,
                FinishedTry {
                    time: seconds(times.now),
                    trigger: failure.trigger,
                    outcome: TryOutcome(ready_reason(failure.reason).as_str().to_owned()),
                    code: failure.code.as_ref().map(ToString::to_string),
                    request_id: failure.request_id.as_ref().map(ToString::to_string),
                },
            );
        }
        Outcome::Settled(Decision::InSync { renew_fingerprint }) => {
            status.last_attempt = None;
            let observed = observation.resource.last_reset_of_target();
            if *renew_fingerprint
                && let Some(reset) = &mut status.last_reset
                // Another process' reset, of which this observation knows nothing, may have sent another value.
                && Some(&*reset) == observed
            {
                reset.fingerprint = Some(value.fingerprint.clone());
            }
        }
        Outcome::Settled(_) | Outcome::Queued | Outcome::Abandoned => {}
    }
}

fn record_reset(
    status: &mut DatabaseAccountPasswordStatus,
    observation: &Observation,
    value: &SecretValue,
    accepted: &Accepted,
) {
    let resource = &*observation.resource;
    status.last_reset = Some(Reset {
        time: seconds(accepted.time),
        request_id: accepted.request_id.to_string(),
        trigger: accepted.trigger,
        instance_id: resource.spec.instance_id.clone(),
        account_name: resource.spec.account_name.clone(),
        secret: value.version.clone(),
        fingerprint: Some(value.fingerprint.clone()),
    });
    if let Some(request) = resource.request() {
        status.last_handled_request = Some(request.to_owned());
    }
    push_history(
        &mut status.history,
        FinishedTry {
            time: seconds(accepted.time),
            trigger: accepted.trigger,
            outcome: TryOutcome(PasswordSyncedReason::Reset.as_str().to_owned()),
            code: None,
            request_id: Some(accepted.request_id.to_string()),
        },
    );
}

fn attempt(
    observation: &Observation,
    value: &SecretValue,
    failures: u32,
    failure: Option<&Failure>,
    times: Times,
) -> Attempt {
    let resource = &*observation.resource;
    let earlier = resource
        .status
        .as_ref()
        .and_then(|status| status.last_attempt.as_ref());
    Attempt {
        time: seconds(times.now),
        failures,
        code: failure
            .and_then(|failure| failure.code.as_ref())
            .map(ToString::to_string),
        request_id: failure
            .and_then(|failure| failure.request_id.as_ref())
            .map(ToString::to_string),
        next_time: Time(whole_seconds_up(times.next)),
        generation: resource.metadata.generation,
        request: resource.request().map(str::to_owned),
        fingerprint: StoredFingerprint::clone(&value.fingerprint),
        // Only a reset that is accepted makes it known again what the database has.
        outcome_unknown: failure.is_some_and(|failure| {
            failure.outcome_unknown || earlier.is_some_and(|earlier| earlier.outcome_unknown)
        }),
    }
}

/// Newest first. A failure that ended like the one before it replaces that one: ten different endings tell more than the same
/// one ten times. Every reset stays, and is there once: a write whose answer was lost is made again on top of itself.
fn push_history(history: &mut Vec<FinishedTry>, finished: FinishedTry) {
    let repeats = history.first().is_some_and(|last| {
        let failed_alike = last.outcome == finished.outcome
            && last.outcome.0 != PasswordSyncedReason::Reset.as_str()
            && last.code == finished.code
            && last.trigger == finished.trigger;
        failed_alike || *last == finished
    });
    if repeats {
        history.remove(0);
    }
    history.insert(0, finished);
    history.truncate(HISTORY_LIMIT);
}

/// Since when something that could be applied, or a request, has waited.
fn pending_since(
    base: &DatabaseAccountPasswordStatus,
    observation: &Observation,
    outcome: &Outcome,
    now: Timestamp,
) -> Option<Time> {
    let pending = match outcome {
        Outcome::Accepted(_)
        | Outcome::Looked(_)
        | Outcome::Settled(Decision::InSync { .. } | Decision::LookAtAccount) => false,
        // There is no value, or none that can be seen.
        Outcome::Settled(Decision::Hold(
            SecretProblem::NotFound | SecretProblem::KeyNotFound | SecretProblem::Unreadable(_),
        )) => return base.pending_since.clone(),
        Outcome::Settled(Decision::Wait { .. } | Decision::Suspended) => is_due(observation),
        Outcome::Overlapped(_)
        | Outcome::Failed(_)
        | Outcome::Settled(_)
        | Outcome::Queued
        | Outcome::Abandoned => true,
    };
    pending.then(|| base.pending_since.clone().unwrap_or_else(|| seconds(now)))
}

/// Whether a reset is due, and not only a look at the account.
fn is_due(observation: &Observation) -> bool {
    match &observation.secret {
        SecretObservation::Usable(value) => is_reset_due(&observation.resource, value),
        SecretObservation::Unusable(_) => false,
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

struct States {
    secret: State<SecretReadyReason>,
    instance: State<InstanceReadyReason>,
    password: State<PasswordSyncedReason>,
}

impl States {
    fn of(
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
        SecretObservation::Usable(_) => {
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
    let was_tried = match outcome {
        Outcome::Failed(_) => true,
        Outcome::Queued | Outcome::Settled(Decision::Wait { .. }) => failures(observation) > 0,
        _ => false,
    };
    let newest = status.history.first().filter(|newest| {
        was_tried && newest.outcome.0 == SecretReadyReason::PasswordInvalid.as_str()
    })?;
    let entry = TABLE
        .iter()
        .find(|entry| entry.reason == Reason::PasswordInvalid)?;
    Some(told(entry.explanation, newest.code.as_deref()))
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
    use ConditionStatus::{False, True};
    let synced = || {
        State::new(
            True,
            PasswordSyncedReason::Reset,
            "RDS accepted the Secret's value",
        )
    };
    let not_available = || {
        State::new(
            False,
            PasswordSyncedReason::AccountNotAvailable,
            "RDS accepted the Secret's value, and the account is not Available yet; the operator looks again, without another reset",
        )
    };
    let pending = |message| State::new(False, PasswordSyncedReason::Pending, message);
    let due = || pending("a reset is due, and has not been made");
    match outcome {
        Outcome::Accepted(Accepted { account, .. }) | Outcome::Looked(account) => match account {
            Account::NotAvailable => not_available(),
            Account::Available | Account::NotSeen | Account::NotTold => synced(),
        },
        Outcome::Failed(failure) => match ready_reason(failure.reason) {
            ReadyReason::Password(reason) => State::new(False, reason, told_by(failure)),
            _ => due(),
        },
        Outcome::Settled(Decision::InSync { .. }) => synced(),
        Outcome::Settled(Decision::LookAtAccount) => not_available(),
        Outcome::Settled(Decision::Conflict) => State::new(
            False,
            PasswordSyncedReason::Conflict,
            "another DatabaseAccountPassword owns this account of this instance; delete one of the two",
        ),
        Outcome::Settled(Decision::Hold(_)) => last_failure(status)
            .unwrap_or_else(|| pending("the Secret has no value that could be sent")),
        Outcome::Settled(Decision::Wait { .. } | Decision::Suspended) if !is_due(observation) => {
            not_available()
        }
        Outcome::Queued | Outcome::Settled(Decision::Wait { .. }) if failures(observation) > 0 => {
            last_failure(status).unwrap_or_else(due)
        }
        Outcome::Settled(Decision::Wait { .. } | Decision::Suspended | Decision::Reset(_))
        | Outcome::Overlapped(_)
        | Outcome::Queued
        | Outcome::Abandoned => due(),
    }
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

fn set_conditions(
    conditions: &mut Vec<Condition>,
    observation: &Observation,
    outcome: &Outcome,
    states: &States,
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
    let stalled = is_stalled(ready.reason);
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

/// Kubernetes keeps whole seconds; a finer time would never equal the one that is read back.
fn seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// Rounded up to whole seconds, for a time that must not come too soon.
#[must_use]
pub fn whole_seconds_up(time: Timestamp) -> Timestamp {
    let whole = time.as_second() + i64::from(time.subsec_nanosecond() > 0);
    Timestamp::from_second(whole).unwrap_or(time)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]
mod tests;
