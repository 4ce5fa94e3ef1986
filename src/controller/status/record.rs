//! What a status keeps of a try: `lastReset`, `lastAttempt`, `history`, `lastHandledRequest`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::decide::{Decision, Observation, SecretObservation, SecretValue};
use super::super::outcome::{Accepted, Account, Failure, Outcome};
use super::super::unanswered::Ending;
use super::{Times, failures, ready_reason, seconds, unanswered, whole_seconds_up};
use crate::api::{
    Attempt, DatabaseAccountPasswordStatus, FinishedTry, HISTORY_LIMIT, PasswordSyncedReason,
    Reset, StoredFingerprint, TryOutcome,
};

/// `lastReset`, `lastAttempt`, `history`, `lastHandledRequest`.
pub(super) fn record(
    status: &mut DatabaseAccountPasswordStatus,
    observation: &Observation,
    outcome: &Outcome,
    times: Times,
) {
    forget_other_account(status, observation);
    if matches!(outcome, Outcome::Settled(Decision::Conflict))
        && let Some(reset) = &mut status.last_reset
    {
        reset.fingerprint = None;
    }
    let SecretObservation::Usable(value) = &observation.secret else {
        return;
    };
    status.unanswered_sends = observation.unanswered.after(
        &status.unanswered_sends,
        (&observation.resource.spec.target(), &value.fingerprint),
        ending(outcome),
        times.now,
    );
    match outcome {
        Outcome::Overlapped(accepted) => {
            if let Some(accepted) = accepted {
                record_reset(status, observation, value, accepted);
                status.last_attempt = None;
            } else {
                status.last_attempt = Some(overlapped(
                    status.last_attempt.take(),
                    attempt(observation, value, 0, None, times),
                ));
            }
            if let Some(reset) = &mut status.last_reset {
                reset.fingerprint = None;
            }
        }
        Outcome::Accepted(accepted) => {
            record_reset(status, observation, value, accepted);
            status.last_attempt = (accepted.account.obstacle().is_some())
                .then(|| attempt(observation, value, 1, None, times));
        }
        Outcome::Looked(account)
            if *account == Account::NotSeen || account.obstacle().is_some() =>
        {
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

/// How the send of this outcome ended. A failure before the send changes nothing.
fn ending(outcome: &Outcome) -> Ending {
    match outcome {
        Outcome::Accepted(accepted) => Ending::Accepted {
            sent: accepted.sent,
        },
        Outcome::Failed(failure) if failure.outcome_unknown => Ending::Unanswered,
        Outcome::Failed(_) => Ending::Refused,
        Outcome::Overlapped(None) => Ending::UnansweredBesideAnother,
        Outcome::Looked(_) | Outcome::Settled(Decision::InSync { .. }) => Ending::InSync,
        Outcome::Overlapped(Some(_))
        | Outcome::Settled(_)
        | Outcome::Queued
        | Outcome::Abandoned => Ending::Open,
    }
}

/// An account that another resource owns, or that this one names no longer, gets its passwords from elsewhere. Should this
/// resource own it again, it must not count as in sync.
pub(super) fn forget_other_account(
    status: &mut DatabaseAccountPasswordStatus,
    observation: &Observation,
) {
    if let Some(reset) = &mut status.last_reset
        && !reset.is_of(&observation.resource.spec.target())
    {
        reset.fingerprint = None;
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
    push_history(&mut status.history, accepted_try(accepted));
}

/// How a reset that was accepted stands in the history.
pub(super) fn accepted_try(accepted: &Accepted) -> FinishedTry {
    FinishedTry {
        time: seconds(accepted.time),
        trigger: accepted.trigger,
        outcome: TryOutcome(PasswordSyncedReason::Reset.as_str().to_owned()),
        code: None,
        request_id: Some(accepted.request_id.to_string()),
    }
}

pub(super) fn attempt(
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
        unanswered: unanswered(observation).saturating_add(
            failure
                .is_some_and(|failure| failure.outcome_unknown)
                .into(),
        ),
    }
}

/// The last attempt after a reset of which nobody knows whether it came last: another one than before in any case, so that the
/// process whose reset is under way meanwhile finds that its own need not be the last.
fn overlapped(present: Option<Attempt>, otherwise: Attempt) -> Attempt {
    let attempt = present.unwrap_or(otherwise);
    Attempt {
        failures: attempt.failures.saturating_add(1),
        outcome_unknown: true,
        ..attempt
    }
}

/// Newest first. A failure that ended like the one before it replaces that one: ten different endings tell more than the same
/// one ten times. Every reset stays, and is there once: a write whose answer was lost is made again on top of itself.
pub(super) fn push_history(history: &mut Vec<FinishedTry>, finished: FinishedTry) {
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
