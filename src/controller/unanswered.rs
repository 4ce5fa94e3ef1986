//! Resets that were sent and not answered: RDS may still carry them out, also after a later reset was accepted.
//!
//! How long RDS may need for that is documented nowhere. So a send counts as open until [`ResetTiming::settling`] has passed since the
//! operator stopped waiting for its answer. While a send of another value is open, nothing is known to be the account's password. After it, one
//! more accepted reset makes it known. The functions are pure, but for [`Memory`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use moka::sync::Cache;

use super::schedule::{doubled, is_ahead};
use super::status::whole_seconds_up;
use crate::api::{DatabaseAccountPasswordStatus, StoredFingerprint, Target, UnansweredSend};
use crate::leader::FRESH_FOR;
use crate::rds::client::LONGEST_RESET_TIMEOUT;

/// With so many open sends nothing more is sent for this resource: each is of another value, so the Secret changes all the time while
/// RDS answers nothing. The status has room for one more, which stands for all that are no longer open.
pub const MOST: usize = 16;

/// How long the operator waits for a reset, and how long RDS may.
#[derive(Debug, Clone, Copy)]
pub struct ResetTiming {
    /// How long to wait for the answer to the first send of a value. It doubles with each send that had none, up to
    /// [`LONGEST_RESET_TIMEOUT`].
    pub timeout: Duration,
    /// How long after the operator stopped waiting for the answer RDS may still carry a reset out.
    pub settling: Duration,
}

impl ResetTiming {
    /// How long to wait for the answer to a reset, after this many sends of the same value had none: an instance that always needs 25 s
    /// would otherwise be sent the same value for ever.
    #[must_use]
    pub fn timeout_after(&self, unanswered: u32) -> Duration {
        doubled(
            (self.timeout, LONGEST_RESET_TIMEOUT),
            unanswered.saturating_add(1),
        )
    }
}

/// What is known of the sends without an answer of one resource, at one moment.
#[derive(Debug, Clone)]
pub struct Unanswered {
    /// One for each account and value, with the latest time.
    sends: Vec<UnansweredSend>,
    timing: ResetTiming,
}

impl Unanswered {
    /// What the status and the process' own memory tell.
    #[must_use]
    pub fn of(
        status: Option<&DatabaseAccountPasswordStatus>,
        remembered: &[UnansweredSend],
        timing: ResetTiming,
        now: Timestamp,
    ) -> Self {
        let mut sends = Vec::new();
        if let Some(status) = status {
            merge(&mut sends, &status.unanswered_sends);
        }
        merge(&mut sends, remembered);
        limit_to(&mut sends, now);
        Self { sends, timing }
    }

    /// Until when an earlier send of another value may take effect at this account. A time that has passed: it no longer can, but may
    /// have done so after the last reset that was accepted. `None`: there is no such send.
    #[must_use]
    pub fn unsettled_until(&self, target: &Target, value: &StoredFingerprint) -> Option<Timestamp> {
        let others = self
            .sends
            .iter()
            .filter(|send| send.is_of(target) && send.fingerprint != *value);
        others.map(|send| self.end(send)).max()
    }

    /// When the next reset may be sent, if there are too many open sends for one now.
    #[must_use]
    pub fn full_until(&self, now: Timestamp) -> Option<Timestamp> {
        let open = self.sends.iter().map(|send| self.end(send));
        let open: Vec<_> = open.filter(|end| *end > now).collect();
        if open.len() < MOST {
            return None;
        }
        open.into_iter().min()
    }

    /// How long the operator waits, and RDS may.
    #[must_use]
    pub fn timing(&self) -> ResetTiming {
        self.timing
    }

    /// The list for the status before `value` is sent, after this many sends of it that had no answer: as if the answer was lost, which it
    /// is to a process that finds it after a crash.
    #[must_use]
    pub fn with_intent(
        &self,
        target: &Target,
        value: &StoredFingerprint,
        unanswered: u32,
        now: Timestamp,
    ) -> Vec<UnansweredSend> {
        // The send begins within `FRESH_FOR`, or is not made.
        let gives_up = now + FRESH_FOR + self.timing.timeout_after(unanswered);
        let mut sends = self.sends.clone();
        merge(&mut sends, &[send(target, value, gives_up)]);
        self.without_settled(sends, target, value, now)
    }

    /// The list for the status after this ending of a send of `value`, on top of `base`.
    #[must_use]
    pub fn after(
        &self,
        base: &[UnansweredSend],
        (target, value): (&Target, &StoredFingerprint),
        ending: Ending,
        now: Timestamp,
    ) -> Vec<UnansweredSend> {
        let mut sends = base.to_vec();
        if ending.is_known() {
            // What this send's intent has added. An earlier send of the same value is still there, in `self`.
            sends.retain(|send| !(send.is_of(target) && send.fingerprint == *value));
        }
        merge(&mut sends, &self.sends);
        match ending {
            Ending::Accepted { sent } => {
                sends.retain(|send| !(send.is_of(target) && self.end(send) <= sent));
            }
            Ending::Unanswered => merge(&mut sends, &[send(target, value, now)]),
            Ending::Refused | Ending::Open => {}
        }
        limit_to(&mut sends, now);
        self.without_settled(sends, target, value, now)
    }

    /// Leaves out what no longer matters: what is no longer open, but for the latest send of another value to the present account. That one
    /// stands for all of them, until a reset is accepted that was sent later.
    fn without_settled(
        &self,
        sends: Vec<UnansweredSend>,
        target: &Target,
        value: &StoredFingerprint,
        now: Timestamp,
    ) -> Vec<UnansweredSend> {
        let (mut open, closed): (Vec<_>, Vec<_>) =
            sends.into_iter().partition(|send| self.end(send) > now);
        let of_others = closed
            .into_iter()
            .filter(|send| send.is_of(target) && send.fingerprint != *value);
        open.extend(of_others.max_by_key(|send| send.time.0));
        open
    }

    /// From when on the send can no longer take effect.
    fn end(&self, send: &UnansweredSend) -> Timestamp {
        let end = send.time.0.saturating_add(self.timing.settling);
        end.unwrap_or(Timestamp::MAX)
    }
}

/// How the send of a reconcile ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// RDS accepted it. Whatever was no longer open when it was sent cannot take effect after it.
    Accepted {
        /// When it was sent.
        sent: Timestamp,
    },
    /// RDS refused it.
    Refused,
    /// There is no answer, and the operator has stopped waiting.
    Unanswered,
    /// Nothing was sent, or the send is not over, or another process has written to the status meanwhile: what stands there stays.
    Open,
}

impl Ending {
    fn is_known(self) -> bool {
        match self {
            Self::Accepted { .. } | Self::Refused | Self::Unanswered => true,
            Self::Open => false,
        }
    }
}

fn send(target: &Target, value: &StoredFingerprint, time: Timestamp) -> UnansweredSend {
    UnansweredSend {
        instance_id: target.instance_id.clone(),
        account_name: target.account_name.clone(),
        fingerprint: value.clone(),
        time: Time(whole_seconds_up(time)),
    }
}

/// Adds `others` to `sends`, which keeps one for each account and value: that of the latest time.
fn merge(sends: &mut Vec<UnansweredSend>, others: &[UnansweredSend]) {
    for other in others {
        let known = sends.iter_mut().find(|send| {
            send.instance_id == other.instance_id
                && send.account_name == other.account_name
                && send.fingerprint == other.fingerprint
        });
        match known {
            Some(known) => known.time.0 = known.time.0.max(other.time.0),
            None => sends.push(other.clone()),
        }
    }
}

/// A time that is further ahead than any time-out was written by a clock that was wrong. It counts as now, so that the wait ends.
fn limit_to(sends: &mut [UnansweredSend], now: Timestamp) {
    let longest = LONGEST_RESET_TIMEOUT + FRESH_FOR + Duration::from_secs(1);
    for send in sends {
        let is_past = send.time.0 <= now;
        if !is_past && !is_ahead(send.time.0, now, longest) {
            send.time.0 = whole_seconds_up(now);
        }
    }
}

/// What this process has sent without an answer, by account and by the monotonic clock. So a clock that is set ahead ends no wait, and a
/// resource that is deleted and created again does not forget what was sent for the former one.
pub struct Memory {
    sends: Cache<Target, Arc<VecDeque<(StoredFingerprint, Instant)>>>,
    timing: ResetTiming,
}

/// More than the accounts whose resets hang at one time. Forgetting one leaves what the status tells.
const CAPACITY: u64 = 100_000;

impl Memory {
    /// An empty one.
    #[must_use]
    pub fn new(timing: ResetTiming) -> Self {
        let sends = Cache::builder()
            .max_capacity(CAPACITY)
            .time_to_live(timing.settling)
            .build();
        Self { sends, timing }
    }

    /// The operator has stopped waiting for the answer to a reset of this account.
    pub fn remember(&self, target: &Target, value: &StoredFingerprint, now: Instant) {
        self.sends
            .entry(target.without_case())
            .and_upsert_with(|known| {
                let mut sends =
                    known.map_or_else(VecDeque::new, |known| (*known.into_value()).clone());
                sends.retain(|(known, _)| known != value);
                sends.push_back((value.clone(), now));
                while sends.len() > MOST {
                    sends.pop_front();
                }
                Arc::new(sends)
            });
    }

    /// What is remembered of this account and still open, with times of the clock that reads `now` at `instant`.
    #[must_use]
    pub fn recall(&self, target: &Target, now: Timestamp, instant: Instant) -> Vec<UnansweredSend> {
        let Some(sends) = self.sends.get(&target.without_case()) else {
            return Vec::new();
        };
        let aged = sends.iter().map(|(value, ended)| {
            let age = instant.saturating_duration_since(*ended);
            (value, age)
        });
        aged.filter(|(_, age)| *age < self.timing.settling)
            .map(|(value, age)| send(target, value, now.saturating_sub(age).unwrap_or(now)))
            .collect()
    }

    /// How long the operator waits, and RDS may.
    #[must_use]
    pub fn timing(&self) -> ResetTiming {
        self.timing
    }
}
