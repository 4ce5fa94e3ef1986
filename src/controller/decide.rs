//! What is to be done: the rules, in order, without I/O.

use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::jiff::Timestamp;

use super::schedule;
use super::unanswered::Unanswered;
use crate::api::{
    Attempt, ConditionType, DatabaseAccountPassword, PasswordSyncedReason, SecretVersion,
    StoredFingerprint, Trigger,
};
use crate::fingerprint::Comparison;
use crate::rds::password::{Password, PasswordRule};

/// Everything that a decision rests on, as it was at one moment.
pub struct Observation {
    /// The resource.
    pub resource: Arc<DatabaseAccountPassword>,
    /// Who may reset the account.
    pub ownership: Ownership,
    /// What the Secret holds.
    pub secret: SecretObservation,
    /// The resets that RDS may still carry out.
    pub unanswered: Unanswered,
    /// When the look at it began.
    pub looked: Instant,
}

/// Which of the resources that name the same account may reset it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// This one.
    Ours,
    /// Another one. Which, is not told: it may be in a namespace that this one's readers cannot see.
    Anothers,
}

impl Ownership {
    /// By whether this one owns the account.
    #[must_use]
    pub fn of(is_owner: bool) -> Self {
        if is_owner { Self::Ours } else { Self::Anothers }
    }
}

/// What the Secret holds.
pub enum SecretObservation {
    /// Nothing that could be sent.
    Unusable(SecretProblem),
    /// A value that RDS' password rules allow.
    Usable(SecretValue),
    /// It was not read: it is the version that the resource is [in sync with](super::in_sync). There is no value to send.
    Unchanged,
}

/// Why there is nothing to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretProblem {
    /// There is no such Secret.
    NotFound,
    /// The Secret has no such key.
    KeyNotFound,
    /// The Secret is there and cannot be read: RBAC denies it, or the answer is no Secret.
    Unreadable(crate::secret::SecretReadError),
    /// The value breaks this rule.
    Invalid(PasswordRule),
}

/// A value that could be sent, and how it compares with what was sent last.
pub struct SecretValue {
    /// Where it was read.
    pub version: SecretVersion,
    /// The value. Zeroed when dropped.
    pub password: Password,
    /// Its fingerprint, by the current key.
    pub fingerprint: StoredFingerprint,
    /// How it compares with the last reset of this account; `None` where there was none.
    pub compared: Option<Comparison>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// A reset or a look at the account is due, but `spec.suspend` forbids it.
    Suspended,
    /// Another resource owns the account.
    Conflict,
    /// There is nothing to send; the database keeps what it has.
    Hold(SecretProblem),
    /// Nothing: RDS has the value. The fingerprint may have to be made anew by the current key.
    InSync {
        /// Whether it has to.
        renew_fingerprint: bool,
    },
    /// RDS has the value, but the account was not `Available` at the last look: look again, without a reset.
    LookAtAccount,
    /// RDS accepted the value, but may still carry out an earlier reset with another one until this time; or a reset is due, and too many
    /// earlier ones are still open.
    Unsettled {
        /// When the earlier reset can no longer take effect.
        until: Timestamp,
    },
    /// Not before this time.
    Wait {
        /// `lastAttempt.nextTime`.
        until: Timestamp,
    },
    /// Send the value.
    Reset(Trigger),
}

/// Applies the rules in order; the first that fits decides.
///
/// A suspended resource takes the local rules (conflict, hold, in sync) like any other, since they call nobody; only what
/// would need the cloud is left alone.
#[must_use]
pub fn decide(observation: &Observation, now: Timestamp) -> Decision {
    let resource = &*observation.resource;
    if observation.ownership == Ownership::Anothers {
        return Decision::Conflict;
    }
    let value = match &observation.secret {
        SecretObservation::Unusable(problem) => return Decision::Hold(*problem),
        SecretObservation::Unchanged => {
            return Decision::InSync {
                renew_fingerprint: false,
            };
        }
        SecretObservation::Usable(value) => value,
    };
    let due = match applied(resource, value) {
        Applied::Yes { renew_fingerprint } if !has_new_request(resource) => {
            match unsettled_until(observation) {
                Some(until) if now < until => return Decision::Unsettled { until },
                // The earlier reset may have come after the one that was accepted.
                Some(_) => Decision::Reset(Trigger::Overlapped),
                None if account_was_not_available(resource) => Decision::LookAtAccount,
                None => return Decision::InSync { renew_fingerprint },
            }
        }
        _ => Decision::Reset(trigger(resource, value)),
    };
    if resource.spec.suspend {
        return Decision::Suspended;
    }
    if matches!(due, Decision::Reset(_))
        && let Some(until) = observation.unanswered.full_until(now)
    {
        return Decision::Unsettled { until };
    }
    let last = last_attempt_of(resource, &value.fingerprint);
    match last.map(|attempt| attempt.next_time.0) {
        Some(until) if schedule::is_ahead(until, now, schedule::LONGEST) => {
            Decision::Wait { until }
        }
        _ => due,
    }
}

#[derive(Clone, Copy)]
enum Applied {
    Yes { renew_fingerprint: bool },
    No,
}

fn applied(resource: &DatabaseAccountPassword, value: &SecretValue) -> Applied {
    let attempt = resource
        .status
        .as_ref()
        .and_then(|status| status.last_attempt.as_ref());
    // After a lost answer the database may have the value that was tried then, and not that of the last reset.
    if attempt.is_some_and(|attempt| attempt.outcome_unknown) {
        return Applied::No;
    }
    accepted_last(resource, value)
}

/// Whether the value is the one that RDS accepted last for this account, whatever was sent since.
fn accepted_last(resource: &DatabaseAccountPassword, value: &SecretValue) -> Applied {
    let Some(reset) = resource.last_reset_of_target() else {
        return Applied::No;
    };
    match value.compared {
        Some(Comparison::Same) => Applied::Yes {
            renew_fingerprint: false,
        },
        Some(Comparison::SameByOlderKey) => Applied::Yes {
            renew_fingerprint: true,
        },
        // Without the key only the Secret's version is left to go by: the very object that was applied, untouched since,
        // holds the value that was applied.
        Some(Comparison::KeyLost) if reset.secret == value.version => Applied::Yes {
            renew_fingerprint: true,
        },
        Some(Comparison::KeyLost | Comparison::Different) | None => Applied::No,
    }
}

/// Until when an earlier reset of the account with another value than the Secret's may take effect; see
/// [`Unanswered::unsettled_until`].
#[must_use]
pub fn unsettled_until(observation: &Observation) -> Option<Timestamp> {
    let SecretObservation::Usable(value) = &observation.secret else {
        return None;
    };
    let target = observation.resource.spec.target();
    observation
        .unanswered
        .unsettled_until(&target, &value.fingerprint)
}

/// Whether the value has to be sent, whatever may forbid that for now.
#[must_use]
pub fn is_reset_due(resource: &DatabaseAccountPassword, value: &SecretValue) -> bool {
    has_new_request(resource) || matches!(applied(resource, value), Applied::No)
}

fn trigger(resource: &DatabaseAccountPassword, value: &SecretValue) -> Trigger {
    let last_reset = resource
        .status
        .as_ref()
        .and_then(|status| status.last_reset.as_ref());
    match last_reset {
        None => Trigger::Created,
        Some(reset) if !reset.is_of(&resource.spec.target()) => Trigger::SpecChanged,
        // Also where an earlier try of the same request was not answered: the Secret has not changed.
        Some(_)
            if has_new_request(resource)
                && matches!(accepted_last(resource, value), Applied::Yes { .. }) =>
        {
            Trigger::Requested
        }
        Some(reset) if reset.fingerprint.is_none() => Trigger::Overlapped,
        Some(reset) if reset.secret.key != value.version.key => Trigger::SpecChanged,
        Some(_) => Trigger::SecretChanged,
    }
}

/// Whether the annotation asks for a reset that has not been made.
#[must_use]
pub fn has_new_request(resource: &DatabaseAccountPassword) -> bool {
    let handled = resource
        .status
        .as_ref()
        .and_then(|status| status.last_handled_request.as_deref());
    resource
        .request()
        .is_some_and(|request| Some(request) != handled)
}

/// Whether the account was not `Available` at the last look: in another state, locked, or not listed.
pub(super) fn account_was_not_available(resource: &DatabaseAccountPassword) -> bool {
    resource
        .status
        .iter()
        .flat_map(|status| &status.conditions)
        .any(|condition| {
            condition.type_ == ConditionType::PasswordSynced.as_str()
                && [
                    PasswordSyncedReason::AccountNotAvailable,
                    PasswordSyncedReason::AccountLocked,
                    PasswordSyncedReason::AccountNotFound,
                ]
                .iter()
                .any(|reason| condition.reason == reason.as_str())
        })
}

/// The last try, if it was of this very value, spec and request. Before its `nextTime` they must not be tried again.
#[must_use]
pub fn last_attempt_of<'a>(
    resource: &'a DatabaseAccountPassword,
    fingerprint: &StoredFingerprint,
) -> Option<&'a Attempt> {
    let attempt = resource.status.as_ref()?.last_attempt.as_ref()?;
    (attempt.generation == resource.metadata.generation
        && attempt.request.as_deref() == resource.request()
        && attempt.fingerprint == *fingerprint)
        .then_some(attempt)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]
mod tests;
