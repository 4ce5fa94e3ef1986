//! The status that follows from an outcome. Pure: the same facts give the same status, so that "nothing changed" is seen.

mod conditions;
mod record;

use std::time::Duration;

use k8s_controller::conditions::ConditionStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::decide::{
    Decision, Observation, SecretObservation, SecretProblem, SecretValue, is_reset_due,
    last_attempt_of, unsettled_until,
};
use super::outcome::{Accepted, Outcome};
use crate::api::{Attempt, ConditionType, DatabaseAccountPassword, DatabaseAccountPasswordStatus};
use crate::rds::classification::{Class, Reason};
use conditions::{Since, States, set_conditions};
use record::{accepted_try, attempt, forget_other_account, push_history, record};

pub use conditions::{Grace, find, grace, is_stalled, ready_reason};

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
        observed_generation_time: if base.observed_generation == resource.metadata.generation {
            base.observed_generation_time.clone()
        } else {
            Some(seconds(times.now))
        },
        ..base.clone()
    };
    record(&mut status, observation, outcome, times);
    status.pending_since = pending_since(base, observation, outcome, times.now);
    let derived = States::of(&status, observation, outcome);
    set_conditions(
        &mut status.conditions,
        observation,
        outcome,
        &derived,
        Since {
            known: resource.spec_known_since(times.now),
            pending: status.pending_since.as_ref().map(|time| time.0),
        },
        times.now,
    );
    status
}

/// The status right before `value` is sent: what was observed, with the try as one whose answer was lost, which it is for
/// whoever finds it after a crash. The conditions stay: they speak of the value before until there is an answer, so that an
/// ordinary rotation takes no resource out of `Ready`, and whoever finds this does not believe them.
#[must_use]
pub fn intending(
    observation: &Observation,
    value: &SecretValue,
    times: Times,
) -> DatabaseAccountPasswordStatus {
    let mut observed = observation.resource.status.clone().unwrap_or_default();
    // Now, so that no later word of this try looks like somebody else's.
    forget_other_account(&mut observed, observation);
    let failures = failures(observation).saturating_add(1);
    let unanswered = unanswered(observation);
    let unanswered_sends = observation.unanswered.with_intent(
        &observation.resource.spec.target(),
        &value.fingerprint,
        unanswered,
        times.now,
    );
    DatabaseAccountPasswordStatus {
        last_attempt: Some(Attempt {
            outcome_unknown: true,
            unanswered: unanswered.saturating_add(1),
            ..attempt(observation, value, failures, None, times)
        }),
        unanswered_sends,
        pending_since: (observed.pending_since.clone()).or_else(|| Some(seconds(times.now))),
        ..observed
    }
}

/// The status after a reset of an account that the resource names no longer, of which the word comes late: another process has
/// gone on with the account that it names now, and what that wrote stays. The reset is told of, and of its own account nobody
/// knows which reset came last.
#[must_use]
pub fn told_late(
    base: &DatabaseAccountPasswordStatus,
    observation: &Observation,
    accepted: Option<&Accepted>,
) -> DatabaseAccountPasswordStatus {
    let mut status = base.clone();
    if let Some(reset) = &mut status.last_reset
        && reset.is_of(&observation.resource.spec.target())
    {
        reset.fingerprint = None;
    }
    if let Some(accepted) = accepted {
        push_history(&mut status.history, accepted_try(accepted));
    }
    status
}

/// The status after an intent that was not carried out: the last attempt is the one before it again.
#[must_use]
pub fn without_intent(
    base: &DatabaseAccountPasswordStatus,
    observation: &Observation,
    now: Timestamp,
) -> DatabaseAccountPasswordStatus {
    let observed = observation.resource.status.as_ref();
    DatabaseAccountPasswordStatus {
        last_attempt: observed.and_then(|status| status.last_attempt.clone()),
        unanswered_sends: observation
            .unanswered
            .without_intent(&observation.resource.spec.target(), now),
        ..base.clone()
    }
}

/// How many tries in a row have failed for this value, spec and request.
#[must_use]
pub fn failures(observation: &Observation) -> u32 {
    last_attempt(observation).map_or(0, |attempt| attempt.failures)
}

/// How many sends of this value, spec and request had no answer.
#[must_use]
pub fn unanswered(observation: &Observation) -> u32 {
    last_attempt(observation).map_or(0, |attempt| attempt.unanswered)
}

/// Until when the account is not known to have the value that RDS accepted, since an earlier reset with another one may still take
/// effect. `None` for every other outcome.
#[must_use]
pub fn unsettled_after(observation: &Observation, outcome: &Outcome) -> Option<Timestamp> {
    match outcome {
        Outcome::Settled(Decision::Unsettled { until }) => Some(*until),
        Outcome::Accepted(accepted) => {
            unsettled_until(observation).filter(|until| *until > accepted.sent)
        }
        _ => None,
    }
}

/// How many of these tries, and maybe others before, the instance was in the way of: none, unless it was in that of the last.
#[must_use]
pub fn failures_for_the_instance(observation: &Observation) -> u32 {
    let status = observation.resource.status.as_ref();
    let was_in_the_way = status
        .and_then(|status| find(&status.conditions, ConditionType::InstanceReady))
        .is_some_and(|ready| ready.status == ConditionStatus::False.as_str());
    if was_in_the_way {
        failures(observation)
    } else {
        0
    }
}

/// Until when this value, spec and request had to wait; `None` where it was not tried yet.
#[must_use]
pub fn awaited(observation: &Observation) -> Option<Timestamp> {
    last_attempt(observation).map(|attempt| attempt.next_time.0)
}

/// The last try, if it was of this value, spec and request.
fn last_attempt(observation: &Observation) -> Option<&Attempt> {
    let SecretObservation::Usable(value) = &observation.secret else {
        return None;
    };
    last_attempt_of(&observation.resource, &value.fingerprint)
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

/// How soon to look again at what is in the way for this reason: a missing instance or account of a spec that is new may be
/// created at any moment.
#[must_use]
pub fn class_of(
    class: Class,
    reason: Reason,
    resource: &DatabaseAccountPassword,
    now: Timestamp,
) -> Class {
    match grace(ready_reason(reason)) {
        Some(Grace::OfSpec(_)) if class == Class::PersonNeeded && is_new(resource, now) => {
            Class::Awaited
        }
        _ => class,
    }
}

/// Whether what the spec names may still be about to be created. A time far ahead of now was written by a clock that was wrong.
#[must_use]
pub fn is_new(resource: &DatabaseAccountPassword, now: Timestamp) -> bool {
    let age = now.duration_since(resource.spec_known_since(now));
    age.unsigned_abs() < conditions::NEW_FOR
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
        Outcome::Settled(Decision::Unsettled { .. }) => is_due(observation),
        Outcome::Settled(Decision::Wait { .. } | Decision::Suspended) => awaits_reset(observation),
        Outcome::Overlapped(_)
        | Outcome::Failed(_)
        | Outcome::Settled(_)
        | Outcome::Queued
        | Outcome::Abandoned => true,
    };
    pending.then(|| base.pending_since.clone().unwrap_or_else(|| seconds(now)))
}

/// Whether a reset is what a resource that has to wait waits for, and not only a look at the account: one that is due, or one more of the value
/// that RDS accepted, since an earlier reset may have come after that.
#[must_use]
pub fn awaits_reset(observation: &Observation) -> bool {
    is_due(observation) || unsettled_until(observation).is_some()
}

/// Whether the value of the next reset was sent before, and is sent again to know what the account has.
#[must_use]
pub fn is_repetition(observation: &Observation) -> bool {
    !is_due(observation) && unsettled_until(observation).is_some()
}

/// Whether a reset is due, and not only a look at the account.
#[must_use]
pub fn is_due(observation: &Observation) -> bool {
    match &observation.secret {
        SecretObservation::Usable(value) => is_reset_due(&observation.resource, value),
        SecretObservation::Unusable(_) | SecretObservation::Unchanged => false,
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
