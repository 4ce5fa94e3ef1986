//! Resets that were sent and not answered: RDS may still carry them out, also after a later reset was accepted.
//!
//! How long RDS may need for that is documented nowhere. So a send counts as open until [`ResetTiming::settling`] has passed since the
//! operator stopped waiting for its answer. While a send of another value is open, nothing is known to be the account's password. After it, one
//! more accepted reset makes it known. The functions are pure, but for [`Memory`].

use std::cmp::Reverse;
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
/// RDS answers nothing.
pub const MOST: usize = 16;

/// How many sends of the present account that are no longer open are kept beside those.
const CLOSED: usize = 2;

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

    /// The list for the status after an intent that was not carried out.
    #[must_use]
    pub fn without_intent(&self, target: &Target, now: Timestamp) -> Vec<UnansweredSend> {
        self.without_settled(self.sends.clone(), target, now)
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
        self.without_settled(sends, target, now)
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
            Ending::Unanswered | Ending::UnansweredBesideAnother => {
                merge(&mut sends, &[send(target, value, now)]);
            }
            Ending::InSync => sends.retain(|send| self.end(send) > now),
            Ending::Refused | Ending::Open => {}
        }
        limit_to(&mut sends, now);
        self.without_settled(sends, target, now)
    }

    /// Leaves out what no longer matters: what is no longer open, but for the two latest sends to the present account. Each may have come
    /// after the last reset that was accepted, and stays until one is accepted that was sent later. Two stand for all of them: whatever value
    /// the Secret gets, one of them differs from it.
    fn without_settled(
        &self,
        sends: Vec<UnansweredSend>,
        target: &Target,
        now: Timestamp,
    ) -> Vec<UnansweredSend> {
        let (mut open, mut closed): (Vec<_>, Vec<_>) =
            sends.into_iter().partition(|send| self.end(send) > now);
        closed.retain(|send| send.is_of(target));
        closed.sort_by_key(|send| Reverse(send.time.0));
        closed.truncate(CLOSED);
        open.extend(closed);
        // Those of the present account first: of another one that the spec named before, too many may be open as well.
        open.sort_by_key(|send| (!send.is_of(target), Reverse(send.time.0)));
        open.truncate(MOST + CLOSED);
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
    /// The same, and another process has written to the status meanwhile: what stands there of the same value may be its own.
    UnansweredBesideAnother,
    /// Nothing was sent, and the account has the value: whatever is no longer open did not come after it.
    InSync,
    /// Nothing was sent, or the send is not over, or another process has written to the status meanwhile: what stands there stays.
    Open,
}

impl Ending {
    fn is_known(self) -> bool {
        match self {
            Self::Accepted { .. } | Self::Refused | Self::Unanswered => true,
            Self::UnansweredBesideAnother | Self::InSync | Self::Open => false,
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
        let target = other.target();
        let known = sends
            .iter_mut()
            .find(|send| send.is_of(&target) && send.fingerprint == other.fingerprint);
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
            .time_to_live(timing.settling + LONGEST_RESET_TIMEOUT)
            .build();
        Self { sends, timing }
    }

    /// A reset of this account is sent, and is given up at `until` at the latest. Returns what was remembered of the same value before.
    #[expect(
        clippy::must_use_candidate,
        reason = "where a reset has no answer, what was before does not matter"
    )]
    pub fn remember(
        &self,
        target: &Target,
        value: &StoredFingerprint,
        until: Instant,
    ) -> Option<Instant> {
        self.replace(target, value, Some(until))
    }

    /// The reset was answered: `earlier` is what was remembered before it was sent.
    pub fn answered(&self, target: &Target, value: &StoredFingerprint, earlier: Option<Instant>) {
        self.replace(target, value, earlier);
    }

    fn replace(
        &self,
        target: &Target,
        value: &StoredFingerprint,
        time: Option<Instant>,
    ) -> Option<Instant> {
        let mut earlier = None;
        self.sends
            .entry(target.without_case())
            .and_upsert_with(|known| {
                let mut sends =
                    known.map_or_else(VecDeque::new, |known| (*known.into_value()).clone());
                let known = sends.iter().find(|(known, _)| known == value);
                earlier = known.map(|(_, time)| *time);
                sends.retain(|(known, _)| known != value);
                sends.extend(time.map(|time| (value.clone(), time)));
                while sends.len() > MOST {
                    sends.pop_front();
                }
                Arc::new(sends)
            });
        earlier
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::controller::fixtures::{TIMING, at};

    fn target(account: &str) -> Target {
        Target {
            instance_id: "rm-1".to_owned(),
            account_name: account.to_owned(),
        }
    }

    fn value(name: &str) -> StoredFingerprint {
        StoredFingerprint {
            key_id: "key-1".to_owned(),
            mac: name.to_owned(),
        }
    }

    fn known(sends: &[(&str, &str, i64)], now: i64) -> Unanswered {
        let sends: Vec<_> = sends
            .iter()
            .map(|(account, name, time)| send(&target(account), &value(name), at(*time)))
            .collect();
        Unanswered::of(None, &sends, TIMING, at(now))
    }

    #[rstest]
    #[case(0, 20)]
    #[case(1, 40)]
    #[case(2, 80)]
    #[case(3, 120)]
    #[case(u32::MAX, 120)]
    fn the_time_out_doubles(#[case] unanswered: u32, #[case] seconds: u64) {
        assert_eq!(
            TIMING.timeout_after(unanswered),
            Duration::from_secs(seconds)
        );
    }

    #[rstest]
    #[case::none(&[], None)]
    #[case::the_same_value(&[("app", "b", 0)], None)]
    #[case::another_account(&[("other", "a", 0)], None)]
    #[case::another_value(&[("app", "a", 10)], Some(190))]
    #[case::of_a_name_in_another_case(&[("App", "a", 10)], Some(190))]
    #[case::the_latest_counts(&[("app", "a", 10), ("app", "c", 30), ("app", "b", 50)], Some(210))]
    #[case::no_longer_open(&[("app", "a", -500)], Some(-320))]
    // No time-out is that long: the clock that wrote it was wrong.
    #[case::far_ahead(&[("app", "a", 5000)], Some(280))]
    fn until_when_a_value_is_unsettled(
        #[case] sends: &[(&str, &str, i64)],
        #[case] until: Option<i64>,
    ) {
        let known = known(sends, 100);
        assert_eq!(
            known.unsettled_until(&target("app"), &value("b")),
            until.map(at)
        );
    }

    /// What was open when the accepted reset was sent may come after it; what was not cannot.
    #[rstest]
    #[case::still_open(&[("app", "a", 0)], 179, 1)]
    #[case::no_longer(&[("app", "a", 0)], 180, 0)]
    #[case::another_account(&[("other", "a", 0)], 170, 1)]
    #[case::its_own(&[("app", "b", 0)], 170, 1)]
    fn what_an_accepted_reset_leaves(
        #[case] sends: &[(&str, &str, i64)],
        #[case] sent: i64,
        #[case] left: usize,
    ) {
        let known = known(sends, sent);
        let (target, value) = (target("app"), value("b"));
        let intended = known.with_intent(&target, &value, 0, at(sent));
        let ending = Ending::Accepted { sent: at(sent) };
        let after = known.after(&intended, (&target, &value), ending, at(sent + 1));
        assert_eq!(after.len(), left, "{after:?}");
    }

    #[test]
    fn a_clock_that_is_set_ahead_ends_no_wait() {
        let memory = Memory::new(TIMING);
        let began = Instant::now();
        memory.remember(&target("app"), &value("a"), began);
        let later = began + Duration::from_secs(10);
        // An hour later by the wall clock, ten seconds by the other.
        let recalled = memory.recall(&target("App"), at(3600), later);
        let known = Unanswered::of(None, &recalled, TIMING, at(3600));
        let until = known.unsettled_until(&target("app"), &value("b"));
        assert_eq!(until, Some(at(3590 + 180)));
        let over = began + TIMING.settling;
        assert_eq!(memory.recall(&target("app"), at(0), over), []);
        assert_eq!(memory.recall(&target("other"), at(0), later), []);
    }

    /// The case of the account's name is corrected while sends are open, and the process remembers them too.
    #[test]
    fn the_list_fits_after_the_case_of_the_name_is_corrected() {
        let memory = Memory::new(TIMING);
        let began = Instant::now();
        let names: Vec<String> = (0..10).map(|number| number.to_string()).collect();
        for name in &names {
            memory.remember(&target("App"), &value(name), began);
        }
        let listed: Vec<_> = names.iter().map(|name| ("App", name.as_str(), 0)).collect();
        let listed = known(&listed, 1).sends;
        let status = DatabaseAccountPasswordStatus {
            unanswered_sends: listed.clone(),
            ..DatabaseAccountPasswordStatus::default()
        };
        let remembered = memory.recall(&target("app"), at(1), began);
        let known = Unanswered::of(Some(&status), &remembered, TIMING, at(1));
        let after = known.after(
            &listed,
            (&target("app"), &value("other")),
            Ending::Open,
            at(1),
        );
        assert_eq!(after.len(), 10, "{after:?}");
    }

    /// Another resource of the account may be looked at while a reset hangs.
    #[test]
    fn a_send_is_remembered_from_its_beginning_until_it_is_answered() {
        let memory = Memory::new(TIMING);
        let now = Instant::now();
        let (target, value) = (target("app"), value("a"));
        let earlier = memory.remember(&target, &value, now + Duration::from_secs(20));
        assert_eq!(earlier, None);
        assert_eq!(memory.recall(&target, at(0), now).len(), 1);
        memory.answered(&target, &value, earlier);
        assert_eq!(memory.recall(&target, at(0), now), []);
        // One that had no answer is still known after a later one had.
        memory.remember(&target, &value, now);
        let earlier = memory.remember(&target, &value, now + Duration::from_secs(40));
        memory.answered(&target, &value, earlier);
        assert_eq!(memory.recall(&target, at(0), now).len(), 1);
    }

    #[test]
    fn a_memory_is_bounded() {
        let memory = Memory::new(TIMING);
        let now = Instant::now();
        for number in 0..100 {
            memory.remember(&target("app"), &value(&number.to_string()), now);
        }
        let recalled = memory.recall(&target("app"), at(0), now);
        assert_eq!(recalled.len(), MOST);
        assert_eq!(recalled[MOST - 1].fingerprint, value("99"));
    }

    proptest! {
        /// Whatever is sent and whenever: the list fits into the status, and no open send is forgotten.
        #[test]
        fn the_list_fits_and_forgets_nothing_that_is_open(
            steps in proptest::collection::vec((0_u32..30, 0_i64..90, any::<bool>()), 1..80),
        ) {
            let mut list = Vec::new();
            let mut open: Vec<(StoredFingerprint, Timestamp)> = Vec::new();
            let mut time = 0;
            for (name, pause, is_answered) in steps {
                time += pause;
                let now = at(time);
                let status = DatabaseAccountPasswordStatus {
                    unanswered_sends: list.clone(),
                    ..DatabaseAccountPasswordStatus::default()
                };
                let known = Unanswered::of(Some(&status), &[], TIMING, now);
                if known.full_until(now).is_some() {
                    continue;
                }
                let (target, value) = (target("app"), value(&name.to_string()));
                list = known.with_intent(&target, &value, 0, now);
                prop_assert!(list.len() <= MOST + CLOSED);
                let ending = if is_answered {
                    Ending::Refused
                } else {
                    open.push((value.clone(), now + TIMING.settling));
                    Ending::Unanswered
                };
                list = known.after(&list, (&target, &value), ending, now);
                prop_assert!(list.len() <= MOST + CLOSED);
                for (value, end) in open.iter().filter(|(_, end)| *end > now) {
                    let is_known = |send: &UnansweredSend| {
                        send.fingerprint == *value && send.time.0 + TIMING.settling >= *end
                    };
                    prop_assert!(list.iter().any(is_known));
                }
            }
        }
    }
}
