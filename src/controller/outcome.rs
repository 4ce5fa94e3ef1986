//! How a pass ended. An expected failure is an outcome and no error.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::decide::{Decision, Observation};
use crate::api::{DatabaseAccountPassword, Trigger};
use crate::rds::classification::{Class, Reason};
use crate::rds::endpoint::Host;
use crate::rds::error::CallError;
use crate::rds::identifier::{Code, RequestId};
use crate::rds::word::Word;

/// A decision that was carried out.
pub struct Acted {
    /// What it was carried out on: for a reset, what was found right before.
    pub observation: Observation,
    /// How it ended.
    pub outcome: Outcome,
    /// The resource with the last write of this pass, which the outcome is written on top of. After a reset, the one with the
    /// intent.
    pub latest: Arc<DatabaseAccountPassword>,
}

impl Acted {
    /// Where nothing was written on the way.
    #[must_use]
    pub fn without_a_write(observation: Observation, outcome: Outcome) -> Self {
        Self {
            latest: observation.resource.clone(),
            observation,
            outcome,
        }
    }
}

/// How a pass ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The cloud was not asked, for this reason. Never [`Decision::Reset`] or [`Decision::LookAtAccount`].
    Settled(Decision),
    /// A reset is due and waits: for its turn, meanwhile, or for the next pass, since what comes before it took too long.
    Queued,
    /// RDS accepted the value.
    Accepted(Accepted),
    /// RDS accepted the value, or may have where there is no answer, and another process tried a reset at the same time. Which of
    /// the two came last at RDS, nobody knows: no value counts as applied, and the current one is sent again.
    Overlapped(Option<Accepted>),
    /// RDS had accepted the value before, and the account was looked at again.
    Looked(Account),
    /// A try that did not succeed.
    Failed(Failure),
    /// Nothing was sent: this process stopped being the leader, or is about to end.
    Abandoned,
}

/// A reset that RDS accepted.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// When the answer came.
    pub time: Timestamp,
    /// When it was sent: what could no longer take effect by then cannot come after it.
    pub sent: Timestamp,
    /// RDS' `RequestId`.
    pub request_id: RequestId,
    /// Why it was sent.
    pub trigger: Trigger,
    /// The account, right after.
    pub account: Account,
}

/// An account, as far as RDS tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// `Available`.
    Available,
    /// Something else that ends by itself: this state, where its name can be shown.
    NotAvailable(Option<Word>),
    /// `Lock`: until a person unlocks it.
    Locked,
    /// RDS lists none of exactly this name.
    Missing {
        /// The one whose name differs in case only.
        listed_as: Option<Word>,
    },
    /// Not seen: the look failed for a reason that may pass.
    NotSeen,
    /// Not told: RDS has no such list for the engine, or the identity may not read it. Whoever may only reset must not be
    /// held back by that.
    NotTold,
}

impl Account {
    /// What keeps a client from logging in with this account: how soon to look again, and what a condition says.
    /// Nothing, where it can be used as far as is known.
    #[must_use]
    pub fn obstacle(&self) -> Option<(Class, Reason)> {
        match self {
            Self::Available | Self::NotSeen | Self::NotTold => None,
            Self::NotAvailable(_) => Some((Class::InstanceBusy, Reason::AccountNotAvailable)),
            Self::Locked => Some((Class::PersonNeeded, Reason::AccountLocked)),
            Self::Missing { .. } => Some((Class::PersonNeeded, Reason::AccountNotFound)),
        }
    }
}

/// What to do about an account that is locked.
pub const UNLOCK: &str = "unlock it in the RDS console, or by UnlockAccount";

/// A try that did not succeed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Why a reset was tried.
    pub trigger: Trigger,
    /// What stands in the way.
    pub reason: Reason,
    /// How soon to try again.
    pub class: Class,
    /// What it means and what to do, in stable words of our own.
    pub explanation: Cow<'static, str>,
    /// The cloud's code, where it can be shown.
    pub code: Option<Code>,
    /// The cloud's `RequestId`.
    pub request_id: Option<RequestId>,
    /// The host that was called, where no answer of RDS came from it.
    pub host: Option<Host>,
    /// How long the cloud asked to be left alone.
    pub retry_after: Option<Duration>,
    /// When the instance is looked at again, for this account and all others that wait for it.
    pub until: Option<Timestamp>,
    /// Whether the instance was seen to be `Running` and not locked before.
    pub instance_was_running: bool,
    /// Whether the reset may have taken effect all the same.
    pub outcome_unknown: bool,
}

impl Failure {
    /// RDS refused the reset for the account's state, and the account was seen to be locked.
    #[must_use]
    pub fn since_the_account_is_locked(self) -> Self {
        Self {
            reason: Reason::AccountLocked,
            class: Class::PersonNeeded,
            explanation: Cow::Owned(format!(
                "RDS refused the reset, since the account is locked; {UNLOCK}; the operator tries again"
            )),
            ..self
        }
    }

    /// The failure that this answer to a read is.
    #[must_use]
    pub fn of_read(error: &CallError, trigger: Trigger) -> Self {
        Self {
            trigger,
            reason: error.reason(),
            class: error.class(),
            explanation: error.explanation(),
            // A code that cannot be shown is none.
            code: error.code().filter(|code| code.is_shown()).cloned(),
            request_id: error.request_id().cloned(),
            host: error.host().cloned(),
            retry_after: error.retry_after(),
            until: None,
            instance_was_running: false,
            outcome_unknown: false,
        }
    }

    /// The failure that this answer to a reset is. The instance was seen to be `Running` before.
    #[must_use]
    pub fn of_reset(error: &CallError, trigger: Trigger) -> Self {
        let failure = Self::of_read(error, trigger);
        let outcome_unknown = error.outcome_unknown();
        let explanation = if outcome_unknown {
            let explanation = failure.explanation;
            Cow::Owned(format!(
                "{explanation}; the new password may be in force already"
            ))
        } else {
            failure.explanation
        };
        Self {
            explanation,
            instance_was_running: true,
            outcome_unknown,
            ..failure
        }
    }

    /// The same for a value that was sent before, and is sent again to know what the account has. Where RDS refuses the value itself, by
    /// a password history or a minimum age, that cannot be known in this way.
    #[must_use]
    pub fn of_a_repetition(self) -> Self {
        if !matches!(self.reason, Reason::PasswordInvalid | Reason::Rejected) {
            return self;
        }
        Self {
            reason: Reason::Rejected,
            explanation: Cow::Borrowed(
                "this value was sent before, and RDS refuses to take it again, as a password history or a minimum age does; which value the account has is not known: try a login, or write another value to the Secret",
            ),
            ..self
        }
    }
}

impl Outcome {
    /// The words of passes that have ended, so of those that are counted.
    pub const LABELS: [&'static str; 11] = [
        "Accepted",
        "Failed",
        "Looked",
        "InSync",
        "Wait",
        "Unsettled",
        "Hold",
        "Conflict",
        "Suspended",
        "Overlapped",
        "Queued",
    ];

    /// One word, for metrics and logs.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Settled(decision) => match decision {
                Decision::Suspended => "Suspended",
                Decision::Conflict => "Conflict",
                Decision::Hold(_) => "Hold",
                Decision::InSync { .. } => "InSync",
                Decision::Wait { .. } => "Wait",
                Decision::Unsettled { .. } => "Unsettled",
                Decision::LookAtAccount | Decision::Reset(_) => "Due",
            },
            Self::Queued => "Queued",
            Self::Accepted(_) => "Accepted",
            Self::Overlapped(_) => "Overlapped",
            Self::Looked(_) => "Looked",
            Self::Failed(_) => "Failed",
            Self::Abandoned => "Abandoned",
        }
    }
}
