//! What should be true, judged by what users wrote and what the cloud received, without a line of the operator's own code. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::model::{Demand, Objects, slot_of};

/// How old what a reset rests on may be when it arrives: the operator reads the Secret and the Lease, and sends within two
/// seconds of that; the rest is for the way, and for a machine with other work.
const STALE_AFTER: Duration = Duration::from_millis(2500);

/// `--reset-timeout` of all processes: short, so that sequences are. It doubles with each send of the same value that has no answer.
pub const RESET_TIMEOUT: Duration = Duration::from_secs(2);

/// `--reset-settling-time` of all processes. Nothing in a sequence takes effect later than that after its sender has given up.
pub const SETTLING: Duration = Duration::from_secs(8);

/// How much later than it should a process gives up, or learns of an answer, on a machine with other work.
const PUNCTUALITY: Duration = Duration::from_millis(750);

/// How long an answer may be on its way to a process that is stopped meanwhile. It looks at the account right after it.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_millis(5);

/// How long a process may take to send what it has written down, and how much a time in a status is rounded up.
const BEFORE_SENDING: Duration = Duration::from_secs(3);

/// A status write that takes longer than this has failed in between.
const HELD_UP: SignedDuration = SignedDuration::from_secs(1);

/// The longest pause between two tries of a status write.
const WRITE_PAUSE: SignedDuration = SignedDuration::from_secs(11);

/// How long after it wakes up a process may send what it had in its hand when it was stopped.
const WAKING: Duration = Duration::from_secs(2);

/// An account of an instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    /// `DBInstanceId`
    pub instance: String,
    /// `AccountName`
    pub name: String,
}

/// A write of a user, and the objects after it.
#[derive(Clone)]
pub struct Fact {
    /// Whose objects.
    pub slot: usize,
    /// Before the request was sent.
    pub begun: Timestamp,
    /// After the answer had come.
    pub ended: Timestamp,
    /// The objects after it.
    pub objects: Objects,
}

/// A reset that the cloud received.
#[derive(Clone)]
pub struct Sent {
    /// Its number in the simulator's journal.
    pub number: u64,
    /// Of which account.
    pub account: Account,
    /// Which process sent it, by its access key.
    pub sender: String,
    /// The value.
    pub value: String,
    /// When it arrived.
    pub arrived: Timestamp,
    /// When its answer was ready.
    pub finished: Option<Timestamp>,
    /// Whether the answer says that RDS has accepted it.
    pub accepted: bool,
    /// Whether the answer says that RDS has not carried it out, and will not.
    pub refused: bool,
    /// Its place in the order in which resets were carried out; none if it was not.
    pub effect: Option<u64>,
    /// When it was carried out.
    pub effect_time: Option<Timestamp>,
    /// The id that RDS gave it.
    pub request_id: String,
}

/// A time in which a process stood still.
#[derive(Clone)]
pub struct Freeze {
    /// The process.
    pub sender: String,
    /// When it was stopped.
    pub from: Timestamp,
    /// When it went on.
    pub to: Timestamp,
    /// The slot whose pass stood before its last check, which it has to make once it goes on.
    pub before_check: Option<usize>,
}

/// A status that said for the first time, or again, that the resource is Ready.
#[derive(Clone)]
pub struct Ready {
    /// The reset that it names.
    pub request_id: String,
    /// When it was seen.
    pub from: Timestamp,
}

/// All that happened.
#[derive(Clone, Default)]
pub struct Record {
    /// Users' writes, in order.
    pub facts: Vec<Fact>,
    /// Resets, in the order of arrival.
    pub resets: Vec<Sent>,
    /// When a status was first seen that names the reset of this id.
    pub recorded: BTreeMap<String, Timestamp>,
    /// The statuses that said that a resource is Ready, in order.
    pub ready: Vec<Ready>,
    /// When a process was killed.
    pub deaths: BTreeMap<String, Timestamp>,
    /// Processes that ended when they were asked to.
    pub terminated: BTreeSet<String>,
    /// When a process stood still.
    pub freezes: Vec<Freeze>,
    /// When the API server, or the way to it, was not as it should be for a process.
    pub hindrances: Vec<Freeze>,
    /// The longest that this process itself was held up, which times cannot be more exact than.
    pub lag: Duration,
}

/// A promise that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A value was sent that nobody asked for, or no longer.
    Unwanted,
    /// A reset was sent more often than there were causes.
    WithoutCause,
    /// An older value was applied after a newer one, and stayed.
    Reordered,
    /// A resource said that it is Ready, while an earlier reset could still change the password, and did.
    Untrue,
    /// Resets in a calm round are not exactly those that its changes ask for.
    NotExact,
    /// An account, or what a resource says of it, did not become what it should.
    NotConverged,
    /// A reset was accepted, and no status told of it.
    Untold,
    /// The process that sent the last reset was killed before it could say so, and the Secret was turned back to the value
    /// before. Nobody knows then of the value that the database has.
    ForgottenReset,
    /// Something went on happening after everything was as it should be.
    NotQuiet,
    /// A secret was told.
    Leak,
}

/// A promise that was broken, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub kind: Kind,
    /// How.
    pub evidence: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.kind, self.evidence)
    }
}

/// A value that an account was to have.
struct Wanted<'a> {
    slot: usize,
    incarnation: u32,
    request: Option<&'a str>,
    value: &'a str,
    begun: Timestamp,
    /// When it was to be sent, had it not been: it is not where the resource is suspended, or the Secret is away, for a while.
    windows: Vec<(Timestamp, Option<Timestamp>)>,
    is_used: bool,
}

impl Wanted<'_> {
    fn is_open_at(&self, time: Timestamp, slack: Duration) -> bool {
        self.windows
            .iter()
            .any(|(from, to)| *from <= time && to.is_none_or(|to| time <= to + slack))
    }
}

/// Resets that were causes for others since two processes did not know of each other.
#[derive(Default)]
struct Excuses {
    /// Those that another process repeated, since it could not know them.
    unknown: BTreeSet<u64>,
    /// Those that were followed by a third, since nobody knows which of the two came last.
    overlapped: BTreeSet<u64>,
}

impl Excuses {
    /// Finds a reset that excuses `call`, and uses it up.
    fn take(&mut self, record: &Record, call: &Sent, earlier: &[&Sent]) -> bool {
        let unknown = earlier
            .iter()
            .find(|it| !self.unknown.contains(&it.number) && record.was_unknown(it, call));
        if let Some(unknown) = unknown {
            return self.unknown.insert(unknown.number);
        }
        // Only who is alive tells of it.
        // A late word of another account of the same resource takes the place of the word of this one.
        let slot = |it: &Sent| slot_of(&it.account.name);
        let of_resource = record.resets.iter().filter(|it| slot(it) == slot(call));
        let overlapped = of_resource.into_iter().find(|it| {
            it.arrived <= call.arrived
                && it.number != call.number
                && !self.overlapped.contains(&it.number)
                && record.recorded.contains_key(&it.request_id)
                && earlier.iter().any(|other| record.overlaps(it, other))
        });
        overlapped.is_some_and(|it| self.overlapped.insert(it.number))
    }
}

/// How many of what there was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Values that an account was to have, each time that it was to have one.
    pub wanted: usize,
    /// Resets that were sent.
    pub sent: usize,
    /// Of these, first ones of a wanted value.
    pub first: usize,
    /// Of these, further ones, after a failure or an unknown outcome.
    pub repeated: usize,
    /// Of these, those that a frozen process sent or RDS carried out late.
    pub late: usize,
    /// Of these, those that RDS carried out after a newer value, and that were overridden.
    pub overtaken: usize,
}

impl Record {
    /// The broken promises about resets, and what was counted.
    #[must_use]
    pub fn judge(&self) -> (Vec<Violation>, Counts) {
        let mut violations = Vec::new();
        let mut counts = Counts::default();
        let mut accounts: BTreeSet<&Account> = self.resets.iter().map(|it| &it.account).collect();
        let demanded = self.accounts_in_demand();
        accounts.extend(&demanded);
        for account in accounts {
            let mut wanted = self.wanted(account);
            counts.wanted += wanted.len();
            let sent: Vec<&Sent> = self
                .resets
                .iter()
                .filter(|it| it.account == *account)
                .collect();
            self.account_for(&sent, &mut wanted, &mut violations, &mut counts);
            self.check_order(&sent, &wanted, &mut violations, &mut counts);
            self.check_ready(&sent, &wanted, &mut violations);
        }
        (violations, counts)
    }

    /// How many resets of the account there were causes for since then, if nothing went wrong since: at least, and at most.
    #[must_use]
    pub fn causes_since(&self, account: &Account, since: Timestamp) -> RangeInclusive<usize> {
        let mut wanted = self.wanted(account);
        let new = wanted.iter().filter(|it| it.begun >= since).count();
        let before: Vec<&Sent> = self
            .resets
            .iter()
            .filter(|it| it.account == *account && it.arrived < since)
            .collect();
        let doubts = self.account_for(
            &before,
            &mut wanted,
            &mut Vec::new(),
            &mut Counts::default(),
        );
        // What was held back before it could be sent, or is in doubt, is sent now. It need not be: it may be what was there
        // before, or came back meanwhile.
        let is_asked_for = |it: &&Wanted<'_>| it.windows.last().is_some_and(|(_, to)| to.is_none());
        let last = wanted.last().filter(is_asked_for);
        let was_held_back = last.is_some_and(|it| it.begun < since && !it.is_used);
        let is_certain = |it: &&Sent| it.accepted && self.recorded.contains_key(&it.request_id);
        let is_of_another = |it: &&Sent| last.is_some_and(|last| last.value != it.value);
        let is_in_doubt = (last.is_some() && !before.last().is_none_or(is_certain))
            || doubts.iter().any(is_of_another);
        new..=new + usize::from(was_held_back || (is_in_doubt && new == 0))
    }

    /// Resets that RDS accepted and that no status has told of, although their resource is there and their sender lives.
    #[must_use]
    pub fn unwritten(&self) -> Vec<&Sent> {
        let lives = |sender: &String| {
            !self.deaths.contains_key(sender) && !self.terminated.contains(sender)
        };
        self.resets
            .iter()
            .filter(|it| {
                it.accepted
                    && lives(&it.sender)
                    && !self.recorded.contains_key(&it.request_id)
                    && self.is_of_present_object(it)
            })
            .collect()
    }

    /// Whether the object that a reset was sent for is still there. Where one took the place of another right before, it may have
    /// been sent for either.
    fn is_of_present_object(&self, reset: &Sent) -> bool {
        let wanted = self.wanted(&reset.account);
        let slack = STALE_AFTER + self.lag;
        let stood = |it: &&Wanted<'_>| {
            let end = it.windows.last().and_then(|(_, to)| *to);
            end.is_none_or(|end| {
                end.saturating_add(slack)
                    .is_ok_and(|end| end >= reset.arrived)
            })
        };
        let mut wishes = wanted
            .iter()
            .rev()
            .filter(|it| it.value == reset.value && it.begun <= reset.arrived);
        let is_present = |wish: &Wanted<'_>| {
            let of_slot = self.facts.iter().rev().find(|it| it.slot == wish.slot);
            let resource = of_slot.and_then(|it| it.objects.resource.as_ref());
            resource.is_some_and(|it| it.incarnation == wish.incarnation)
        };
        wishes.next().is_some_and(is_present) && wishes.filter(stood).all(is_present)
    }

    /// Whether the last reset that the account was given is one that only a killed process knew of, before its Secret was given
    /// the value that it has now.
    #[must_use]
    pub fn is_forgotten(&self, account: &Account) -> bool {
        let of_account = self.resets.iter().filter(|it| it.account == *account);
        let Some(last) = of_account.max_by_key(|it| it.effect) else {
            return false;
        };
        let is_known = self.recorded.contains_key(&last.request_id);
        let died = self.deaths.get(&last.sender);
        let wanted = self.wanted(account);
        let came_later = wanted
            .last()
            .is_some_and(|it| it.begun > last.arrived && it.value != last.value);
        last.effect.is_some()
            && !is_known
            && died.is_some_and(|died| *died >= last.arrived)
            && came_later
    }

    fn accounts_in_demand(&self) -> BTreeSet<Account> {
        let named = |fact: &Fact| match fact.objects.demand() {
            Demand::Apply(resource, _) => Some(Account {
                instance: resource.instance.to_owned(),
                name: resource.account.clone(),
            }),
            _ => None,
        };
        self.facts.iter().filter_map(named).collect()
    }

    /// The values that the account was to have, one after the other.
    fn wanted(&self, account: &Account) -> Vec<Wanted<'_>> {
        let mut wanted: Vec<Wanted<'_>> = Vec::new();
        // Whether the last one still stands: nobody has pointed the resource elsewhere since.
        let mut stands = false;
        for fact in &self.facts {
            let demand = fact.objects.demand();
            let resource = match demand {
                Demand::Nothing => None,
                Demand::Hold(it, _) | Demand::Suspended(it, _) | Demand::Apply(it, _) => Some(it),
            };
            let names = resource
                .is_some_and(|it| it.instance == account.instance && it.account == account.name);
            let is_same_slot = wanted.last().is_some_and(|last| last.slot == fact.slot);
            let close = |wanted: &mut Vec<Wanted<'_>>| {
                if let Some((_, to @ None)) = wanted.last_mut().and_then(|it| it.windows.last_mut())
                {
                    *to = Some(fact.ended);
                }
            };
            if !names {
                if is_same_slot {
                    close(&mut wanted);
                    stands = false;
                }
                continue;
            }
            let (Demand::Apply(resource, value), window) = (demand, (fact.begun, None)) else {
                close(&mut wanted);
                continue;
            };
            let request = resource.request.as_deref();
            let same = wanted.last_mut().filter(|last| {
                stands
                    && last.incarnation == resource.incarnation
                    && last.value == value
                    && last.request == request
            });
            if let Some(same) = same {
                if same.windows.last().is_none_or(|(_, to)| to.is_some()) {
                    same.windows.push(window);
                }
                continue;
            }
            close(&mut wanted);
            stands = true;
            wanted.push(Wanted {
                slot: fact.slot,
                incarnation: resource.incarnation,
                request,
                value,
                begun: fact.begun,
                windows: vec![window],
                is_used: false,
            });
        }
        wanted
    }

    /// Each reset needs a cause: a value that came to be wanted and was not sent since; or a failure, or an outcome that the
    /// sender could not know, of a reset before.
    ///
    /// Returns the resets whose outcome is not known, and that nothing has followed yet that came too late for them.
    fn account_for<'a>(
        &self,
        sent: &[&'a Sent],
        wanted: &mut [Wanted<'_>],
        violations: &mut Vec<Violation>,
        counts: &mut Counts,
    ) -> Vec<&'a Sent> {
        let slack = STALE_AFTER + self.lag;
        // How many resets failed that nothing has followed yet.
        let mut failed: Vec<&Sent> = Vec::new();
        let mut doubts: Vec<&Sent> = Vec::new();
        let mut excuses = Excuses::default();
        for (index, call) in sent.iter().enumerate() {
            counts.sent += 1;
            let mut open: Vec<&mut Wanted<'_>> = wanted
                .iter_mut()
                .filter(|it| it.value == call.value && it.is_open_at(call.arrived, slack))
                .collect();
            let is_wanted = !open.is_empty();
            let unused = open.iter_mut().find(|it| !it.is_used);
            let violated = if let Some(unused) = unused {
                unused.is_used = true;
                counts.first += 1;
                None
            } else if is_wanted
                && (excuses.take(self, call, &sent[..index])
                    || self.take_failed(call, &mut failed, &mut doubts)
                    || self.take_interrupted(call, wanted)
                    || self.take_doubts(call, &mut doubts))
            {
                counts.repeated += 1;
                None
            } else if self.was_frozen(call) {
                counts.late += 1;
                None
            } else if is_wanted {
                Some((
                    Kind::WithoutCause,
                    "it had been sent, and nothing had happened since",
                ))
            } else {
                Some((Kind::Unwanted, "nobody wanted this value at that time"))
            };
            if let Some((kind, what)) = violated {
                let evidence = self.tell(call, sent, what);
                violations.push(Violation { kind, evidence });
            }
            if call.accepted && self.recorded.contains_key(&call.request_id) {
                doubts.retain(|it| !self.is_settled_by(it, call, sent));
            }
            if self.is_doubtful(call) {
                doubts.push(call);
            }
            if !call.accepted {
                failed.push(call);
            } else if self.recorded.contains_key(&call.request_id) {
                // What is written down as accepted ends the doubts about all that had ended, and was told, before.
                failed.retain(|failed| {
                    failed.finished.is_none_or(|it| it > call.arrived)
                        || (failed.sender != call.sender
                            && self
                                .told_by(failed, call.arrived)
                                .is_some_and(|until| until >= call.arrived))
                });
            }
        }
        doubts
    }

    /// Finds a failure that nothing has followed yet, and uses it up.
    fn take_failed<'a>(
        &self,
        call: &Sent,
        failed: &mut Vec<&'a Sent>,
        doubts: &mut Vec<&'a Sent>,
    ) -> bool {
        let Some(taken) = failed.pop() else {
            return false;
        };
        doubts.retain(|it| it.number != taken.number || !self.has_settled(it, call));
        true
    }

    /// Finds resets of other values whose outcome is not known and that can no longer come, and uses them up: the value is sent once
    /// more after all of them.
    fn take_doubts(&self, call: &Sent, doubts: &mut Vec<&Sent>) -> bool {
        let known = doubts.len();
        doubts.retain(|it| !self.has_settled(it, call));
        doubts.len() < known
    }

    /// Whether a reset may have settled a doubt about an earlier one of another value: it came when the settling time was over, counted
    /// from the earliest time at which the sender of that one can have given up.
    fn has_settled(&self, doubt: &Sent, by: &Sent) -> bool {
        let gave_up = doubt.arrived.saturating_add(RESET_TIMEOUT);
        let gave_up = gave_up.unwrap_or(Timestamp::MAX);
        let ended = doubt.finished.map_or(gave_up, |it| it.min(gave_up));
        let end = ended.saturating_add(SETTLING.saturating_sub(self.lag));
        doubt.value != by.value && end.is_ok_and(|end| end <= by.arrived)
    }

    /// Whether an accepted reset certainly ends a doubt about an earlier one: it was sent when the settling time was over, counted from
    /// the latest time that any process can have taken for its end.
    fn is_settled_by(&self, doubt: &Sent, by: &Sent, sent: &[&Sent]) -> bool {
        let misses = sent.iter().filter(|it| {
            it.value == doubt.value && it.arrived < doubt.arrived && !it.accepted && !it.refused
        });
        let misses = u32::try_from(misses.count()).unwrap_or(u32::MAX).min(6);
        let gave_up = doubt
            .arrived
            .saturating_add(RESET_TIMEOUT * 2_u32.pow(misses) + BEFORE_SENDING)
            .unwrap_or(Timestamp::MAX);
        let gave_up = gave_up.max(doubt.finished.unwrap_or(gave_up));
        let told = self.told_by(doubt, gave_up).unwrap_or(gave_up);
        let slack = SETTLING + PUNCTUALITY + self.lag;
        let end = gave_up.max(told).saturating_add(slack);
        end.is_ok_and(|end| end < by.arrived)
    }

    /// Whether no process may know how a reset ended: there was no answer, or its sender was killed or held up before it could write
    /// down what it was.
    fn is_doubtful(&self, reset: &Sent) -> bool {
        let finished = reset.finished.unwrap_or(Timestamp::MAX);
        if reset.accepted {
            let recorded = self.recorded.get(&reset.request_id);
            return recorded.is_none_or(|recorded| {
                recorded.duration_since(finished) > HELD_UP
                    || self.told_by(reset, *recorded).is_some()
            });
        }
        let died = self
            .deaths
            .get(&reset.sender)
            .is_some_and(|died| *died >= finished && died.duration_since(finished) <= WRITE_PAUSE);
        !reset.refused || died || self.told_by(reset, finished).is_some()
    }

    /// The resets whose senders had no answer.
    pub fn unanswered(&self) -> impl Iterator<Item = &Sent> {
        self.resets.iter().filter(|it| !it.accepted && !it.refused)
    }

    /// Takes an answer of which no status tells for one that was lost, where its sender may have given up before it saw it: the answer came
    /// at about that time, or the sender stood still until then.
    pub fn doubt_late_answers(&mut self) {
        let early = RESET_TIMEOUT.saturating_sub(PUNCTUALITY);
        for reset in &mut self.resets {
            let Some(finished) = reset.finished else {
                continue;
            };
            let stood_still = self.freezes.iter().filter(|it| {
                it.sender == reset.sender
                    && it.to >= reset.arrived
                    && it.from.duration_since(finished) <= ON_ITS_WAY
            });
            let seen = stood_still.map(|it| it.to).max();
            let seen = seen.map_or(finished, |it| it.max(finished));
            let took = Duration::try_from(seen.duration_since(reset.arrived));
            if took.is_ok_and(|took| took > early) && !self.recorded.contains_key(&reset.request_id)
            {
                reset.accepted = false;
            }
        }
    }

    /// Finds a value that was not sent although it was to be, while there was trouble, and uses it up: a process may have written
    /// down that it was about to send it, and come no further. Nobody knows then what the database has.
    fn take_interrupted(&self, call: &Sent, wanted: &mut [Wanted<'_>]) -> bool {
        let troubles: Vec<(Timestamp, Timestamp)> = self
            .freezes
            .iter()
            .chain(&self.hindrances)
            .map(|it| (it.from, it.to))
            .chain(self.deaths.values().map(|died| (*died, *died)))
            .collect();
        let interrupted = wanted.iter_mut().find(|it| {
            !it.is_used
                && it.begun <= call.arrived
                && troubles.iter().any(|(from, to)| {
                    *to >= it.begun && it.is_open_at(*from.max(&it.begun), STALE_AFTER + self.lag)
                })
        });
        if let Some(interrupted) = interrupted {
            interrupted.is_used = true;
            return true;
        }
        false
    }

    /// Whether the sender of a reset could not know of another one before: it was not written down. Of two terms of the same
    /// process, the second cannot know it either, where the write of the first was held up.
    fn was_unknown(&self, reset: &Sent, to: &Sent) -> bool {
        if !reset.accepted || reset.arrived > to.arrived {
            return false;
        }
        match self.recorded.get(&reset.request_id) {
            Some(recorded) => {
                let finished = reset.finished.unwrap_or(*recorded);
                let was_held_up = recorded.duration_since(finished) > HELD_UP;
                to.arrived <= *recorded && (reset.sender != to.sender || was_held_up)
            }
            // Who is told to end writes it down before.
            None => reset.sender != to.sender && !self.terminated.contains(&reset.sender),
        }
    }

    /// Whether the sender of a reset may have found out only after another process' reset that its own was written down. It
    /// cannot tell then which of the two came first.
    fn overlaps(&self, reset: &Sent, other: &Sent) -> bool {
        if self.was_unknown(reset, other) {
            return true;
        }
        let Some(recorded) = self.recorded.get(&reset.request_id).copied() else {
            return false;
        };
        reset.accepted
            && reset.sender != other.sender
            && other.arrived >= reset.arrived
            && self
                .told_by(reset, recorded)
                .is_some_and(|until| other.arrived <= until)
    }

    /// Until when the sender of a reset may have gone on trying to write down how it ended, if something held it up when it had
    /// ended, or until `last` at the latest.
    fn told_by(&self, reset: &Sent, last: Timestamp) -> Option<Timestamp> {
        let finished = reset.finished.unwrap_or(last);
        let held_up = self.freezes.iter().chain(&self.hindrances).filter(|it| {
            it.sender == reset.sender && it.from <= last + HELD_UP && it.to >= finished
        });
        let until = held_up.map(|it| it.to).max()?;
        Some(until.saturating_add(WRITE_PAUSE).unwrap_or(until))
    }

    /// Of two values, the one that was wanted later must have come later, if it came. A reset that had no answer may come at any time; then
    /// the newer value has to come once more.
    fn check_order(
        &self,
        sent: &[&Sent],
        wanted: &[Wanted<'_>],
        violations: &mut Vec<Violation>,
        counts: &mut Counts,
    ) {
        let mut effects: Vec<&&Sent> = sent.iter().filter(|it| it.effect.is_some()).collect();
        effects.sort_by_key(|it| it.effect);
        let is_wanted = |last: &Wanted<'_>| last.windows.last().is_some_and(|(_, to)| to.is_none());
        let mut newest = 0;
        for (place, call) in effects.iter().enumerate() {
            let is_overridden = || {
                let newer = &wanted[newest..];
                let mut after = effects[place + 1..].iter();
                !wanted.last().is_some_and(is_wanted)
                    || after.any(|it| newer.iter().any(|wanted| wanted.value == it.value))
            };
            let later = wanted
                .iter()
                .enumerate()
                .skip(newest)
                .find(|(_, it)| it.value == call.value && it.begun <= call.arrived);
            match later {
                Some((index, _)) => newest = index,
                None if self.was_frozen(call) => {}
                None if !wanted.iter().any(|it| it.value == call.value) => {}
                None if !call.accepted && is_overridden() => counts.overtaken += 1,
                None => violations.push(Violation {
                    kind: Kind::Reordered,
                    evidence: self.tell(call, sent, "a newer value had been applied"),
                }),
            }
        }
    }

    /// What says that it is Ready by the reset of a value says that nothing that was sent before can change that. Only what users have
    /// changed since ends the promise.
    fn check_ready(&self, sent: &[&Sent], wanted: &[Wanted<'_>], violations: &mut Vec<Violation>) {
        let incarnation = |call: &Sent| {
            let mut wishes = wanted.iter().rev();
            let wish = wishes.find(|it| it.value == call.value && it.begun <= call.arrived);
            wish.map(|it| it.incarnation)
        };
        for call in sent {
            let Some(effect) = call.effect_time else {
                continue;
            };
            let broken = self.ready.iter().find(|ready| {
                let mut named = sent.iter().filter(|it| it.request_id == ready.request_id);
                named.next().is_some_and(|named| {
                    named.value != call.value
                        && call.arrived < ready.from
                        && ready.from < effect
                        && !self.was_changed(slot_of(&call.account.name), named.arrived, effect)
                        // Of what another process has sent for an object that is gone, with its status, nothing tells.
                        && (named.sender == call.sender || incarnation(named) == incarnation(call))
                })
            });
            if let Some(ready) = broken {
                let what = format!(
                    "it was carried out at {effect}, after a resource had been seen Ready by reset {} of another value at {}",
                    ready.request_id, ready.from
                );
                violations.push(Violation {
                    kind: Kind::Untrue,
                    evidence: self.tell(call, sent, &what),
                });
            }
        }
    }

    /// Whether a user has changed what the objects of a slot ask for in this time.
    fn was_changed(&self, slot: Option<usize>, since: Timestamp, until: Timestamp) -> bool {
        let mut before = None;
        self.facts
            .iter()
            .filter(|it| Some(it.slot) == slot)
            .any(|fact| {
                let is_change = before.replace(&fact.objects) != Some(&fact.objects);
                is_change && since < fact.ended && fact.begun <= until
            })
    }

    /// Whether the sender stood still while it sent this, or right before.
    fn was_frozen(&self, call: &Sent) -> bool {
        let finished = call.finished.unwrap_or(Timestamp::MAX);
        self.freezes.iter().any(|freeze| {
            freeze.sender == call.sender
                && (freeze.before_check.is_none()
                    || freeze.before_check != slot_of(&call.account.name))
                && freeze.from <= finished
                && freeze
                    .to
                    .saturating_add(WAKING + self.lag)
                    .is_ok_and(|to| to >= call.arrived)
        })
    }

    /// All that is known of the account of a reset that nobody was told of.
    #[must_use]
    pub fn evidence(&self, reset: &Sent) -> String {
        let of_account = self.resets.iter();
        let sent: Vec<&Sent> = of_account
            .filter(|it| it.account == reset.account)
            .collect();
        self.tell(reset, &sent, "it was accepted, and no status told of it")
    }

    /// A reset among all that its account was given, with values by number.
    fn tell(&self, call: &Sent, sent: &[&Sent], what: &str) -> String {
        let mut values: Vec<&str> = Vec::new();
        let mut number = |value| {
            let known = values.iter().position(|it| *it == value);
            known.unwrap_or_else(|| {
                values.push(value);
                values.len() - 1
            })
        };
        let mut lines = vec![format!(
            "reset {} of {}/{}: {what}",
            call.number, call.account.instance, call.account.name
        )];
        for it in self.wanted(&call.account) {
            let windows: Vec<String> = it
                .windows
                .iter()
                .map(|(from, to)| {
                    let to = to.map_or_else(String::new, |to| to.to_string());
                    format!("{from}..{to}")
                })
                .collect();
            lines.push(format!(
                "  wanted: value {} by object {} ({:?}) {}",
                number(it.value),
                it.incarnation,
                it.request,
                windows.join(" ")
            ));
        }
        for it in sent {
            lines.push(format!(
                "  reset {} ({}): value {} by {}, arrived {}, finished {:?}, accepted {}, effect {:?} at {:?}, recorded {:?}",
                it.number,
                it.request_id,
                number(&it.value),
                it.sender,
                it.arrived,
                it.finished.map(|it| it.to_string()),
                it.accepted,
                it.effect,
                it.effect_time.map(|it| it.to_string()),
                self.recorded.get(&it.request_id).map(ToString::to_string),
            ));
        }
        for (sender, died) in &self.deaths {
            lines.push(format!("  {sender} was killed at {died}"));
        }
        for freeze in &self.freezes {
            lines.push(format!(
                "  {} stood still {}..{}",
                freeze.sender, freeze.from, freeze.to
            ));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]
mod tests {
    use std::collections::BTreeMap;

    use super::super::model::{INSTANCES, KEYS, Resource, Value};
    use super::*;

    const ACCOUNT: &str = "app0";

    /// A time in seconds.
    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn account() -> Account {
        Account {
            instance: INSTANCES[0].to_owned(),
            name: ACCOUNT.to_owned(),
        }
    }

    #[derive(Default)]
    struct Story {
        record: Record,
        objects: Objects,
    }

    impl Story {
        /// A resource whose Secret has the value `a` from the start, sent and written down at second 1.
        fn begin() -> Self {
            let mut story = Self::default();
            story.objects.resource = Some(Resource {
                incarnation: 1,
                instance: INSTANCES[0],
                account: ACCOUNT.to_owned(),
                key: KEYS[0],
                suspend: false,
                request: None,
            });
            story.secret(0, "a").sent(1, "p", "a").known(1)
        }

        fn fact(mut self, second: i64) -> Self {
            self.record.facts.push(Fact {
                slot: 0,
                begun: at(second),
                ended: at(second),
                objects: self.objects.clone(),
            });
            self
        }

        fn secret(mut self, second: i64, value: &str) -> Self {
            let value = Value {
                text: value.to_owned(),
                valid: true,
            };
            self.objects.secret = Some(BTreeMap::from([(KEYS[0], value)]));
            self.fact(second)
        }

        fn no_secret(mut self, second: i64) -> Self {
            self.objects.secret = None;
            self.fact(second)
        }

        fn resource(mut self, second: i64, change: impl FnOnce(&mut Resource)) -> Self {
            change(self.objects.resource.as_mut().unwrap());
            self.fact(second)
        }

        fn sent(mut self, second: i64, sender: &str, value: &str) -> Self {
            let number = self.record.resets.len() as u64 + 1;
            self.record.resets.push(Sent {
                number,
                account: account(),
                sender: sender.to_owned(),
                value: value.to_owned(),
                arrived: at(second),
                finished: Some(at(second)),
                accepted: true,
                refused: false,
                effect: Some(number),
                effect_time: Some(at(second)),
                request_id: number.to_string(),
            });
            self
        }

        /// The last reset is in the status.
        fn known(mut self, second: i64) -> Self {
            let id = self.last().request_id.clone();
            self.record.recorded.insert(id, at(second));
            self
        }

        fn refused(mut self) -> Self {
            self.last().accepted = false;
            self.last().refused = true;
            self.last().effect = None;
            self.last().effect_time = None;
            self
        }

        /// The last reset had no answer, and is carried out so late, as the one of this number in the order of effects.
        fn late(mut self, second: i64, effect: u64) -> Self {
            self.last().accepted = false;
            self.last().finished = Some(at(second));
            self.last().effect = Some(effect);
            self.last().effect_time = Some(at(second));
            self
        }

        /// The place of the last reset in the order of effects.
        fn effect(mut self, effect: u64) -> Self {
            self.last().effect = Some(effect);
            self
        }

        /// The last reset is named by a status that says Ready.
        fn ready(mut self, second: i64) -> Self {
            let ready = Ready {
                request_id: self.last().request_id.clone(),
                from: at(second),
            };
            self.record.ready.push(ready);
            self
        }

        fn lost(mut self) -> Self {
            self.last().accepted = false;
            self
        }

        fn killed(mut self, second: i64, sender: &str) -> Self {
            self.record.deaths.insert(sender.to_owned(), at(second));
            self
        }

        fn frozen(mut self, from: i64, to: i64, sender: &str) -> Self {
            self.record.freezes.push(Freeze {
                sender: sender.to_owned(),
                from: at(from),
                to: at(to),
                before_check: None,
            });
            self
        }

        fn last(&mut self) -> &mut Sent {
            self.record.resets.last_mut().unwrap()
        }

        fn violations(&self) -> Vec<Kind> {
            let (violations, _) = self.record.judge();
            violations.iter().map(|it| it.kind).collect()
        }
    }

    #[test]
    fn one_reset_for_each_value() {
        let story = Story::begin().secret(10, "b").sent(11, "p", "b").known(11);
        assert_eq!(story.violations(), []);
        let (_, counts) = story.record.judge();
        assert_eq!((counts.wanted, counts.sent, counts.first), (2, 2, 2));
    }

    #[test]
    fn a_second_reset_needs_a_cause() {
        let again = Story::begin().sent(5, "p", "a").known(5);
        assert_eq!(again.violations(), [Kind::WithoutCause]);
        let labelled = Story::begin().secret(4, "a").sent(5, "p", "a");
        assert_eq!(labelled.violations(), [Kind::WithoutCause]);
        let created_again = Story::begin().no_secret(3).secret(4, "a").sent(5, "p", "a");
        assert_eq!(created_again.violations(), [Kind::WithoutCause]);
        let another_process = Story::begin().sent(5, "q", "a").known(5);
        assert_eq!(another_process.violations(), [Kind::WithoutCause]);
    }

    #[test]
    fn a_request_a_new_object_and_a_way_back_are_causes() {
        let requested = Story::begin().resource(4, |it| it.request = Some("1".to_owned()));
        assert_eq!(requested.sent(5, "p", "a").violations(), []);
        let anew = Story::begin().resource(4, |it| it.incarnation = 2);
        assert_eq!(anew.sent(5, "p", "a").violations(), []);
        let back = Story::begin()
            .resource(4, |it| "spare0".clone_into(&mut it.account))
            .resource(6, |it| ACCOUNT.clone_into(&mut it.account));
        assert_eq!(back.sent(7, "p", "a").violations(), []);
    }

    #[test]
    fn a_failure_is_a_cause_for_one_more() {
        let begin = || Story::begin().secret(10, "b").sent(11, "p", "b").refused();
        assert_eq!(begin().sent(12, "p", "b").known(12).violations(), []);
        let twice = begin().sent(12, "p", "b").known(12).sent(13, "p", "b");
        assert_eq!(twice.violations(), [Kind::WithoutCause]);
        // An answer that was lost leaves open what the database has, so turning back sends the former value.
        let lost = Story::begin().secret(10, "b").sent(11, "p", "b").lost();
        let back = lost.secret(12, "a").sent(13, "p", "a").known(13);
        assert_eq!(back.violations(), []);
        assert_eq!(
            back.sent(14, "p", "a").violations(),
            [Kind::WithoutCause],
            "the first one was for the new wish, and ended the doubt"
        );
    }

    #[test]
    fn what_a_killed_process_did_may_be_repeated_once() {
        let begin = || {
            let story = Story::begin().secret(10, "b").sent(11, "p", "b");
            story.killed(12, "p").sent(15, "q", "b").known(15)
        };
        assert_eq!(begin().violations(), []);
        assert_eq!(
            begin().sent(17, "q", "b").violations(),
            [Kind::WithoutCause]
        );
    }

    #[test]
    fn two_that_overlap_are_followed_by_a_third() {
        let begin = || {
            let story = Story::begin().secret(10, "b").sent(11, "p", "b");
            let story = story.secret(14, "c").sent(15, "q", "c").known(15);
            // The first is written down after the second was sent.
            let mut story = story.sent(18, "q", "c").known(18);
            story.record.recorded.insert("2".to_owned(), at(17));
            story.frozen(11, 16, "p")
        };
        assert_eq!(begin().violations(), []);
        assert_eq!(
            begin().sent(18, "q", "c").violations(),
            [Kind::WithoutCause]
        );
        // Whether the first was answered, the second process could not know, so it may send once more when that is settled.
        let settled = begin().sent(23, "q", "c").known(23);
        assert_eq!(settled.violations(), []);
        let twice = settled.sent(24, "q", "c");
        assert_eq!(twice.violations(), [Kind::WithoutCause]);
    }

    #[test]
    fn a_value_that_is_wanted_no_longer_must_not_be_sent() {
        let old = Story::begin().secret(10, "b").secret(20, "c");
        assert_eq!(old.sent(21, "p", "b").violations(), [], "on its way");
        let old = Story::begin().secret(10, "b").secret(20, "c");
        assert_eq!(old.sent(26, "p", "b").violations(), [Kind::Unwanted]);
        let suspended = Story::begin()
            .secret(10, "b")
            .resource(11, |it| it.suspend = true);
        assert_eq!(suspended.sent(20, "p", "b").violations(), [Kind::Unwanted]);
        let never = Story::begin();
        assert_eq!(never.sent(20, "p", "x").violations(), [Kind::Unwanted]);
        let frozen = Story::begin().secret(10, "b").secret(20, "c");
        let mut frozen = frozen.frozen(11, 26, "p").sent(26, "p", "b");
        assert_eq!(frozen.violations(), []);
        frozen.record.freezes[0].before_check = Some(1);
        assert_eq!(frozen.violations(), []);
        frozen.record.freezes[0].before_check = Some(0);
        assert_eq!(
            frozen.violations(),
            [Kind::Unwanted],
            "it had to look once more"
        );
    }

    #[test]
    fn an_older_value_must_not_come_after_a_newer_one() {
        let turned = |frozen: bool| {
            let story = Story::begin().secret(10, "b").sent(10, "p", "b");
            let mut story = story.secret(11, "c").sent(12, "q", "c").known(12);
            // The first is carried out last.
            story.record.resets[1].effect = Some(4);
            story.record.resets[1].finished = Some(at(13));
            if frozen {
                story.frozen(10, 20, "p")
            } else {
                story
            }
        };
        assert_eq!(turned(false).violations(), [Kind::Reordered]);
        assert_eq!(turned(true).violations(), []);
        let back = Story::begin().secret(10, "b").sent(10, "p", "b").known(10);
        let back = back.secret(11, "a").sent(12, "p", "a").known(12);
        assert_eq!(back.violations(), [], "wanted again");
    }

    #[test]
    fn a_reset_is_forgotten_with_the_process_that_knew_of_it() {
        let begin = |known: bool| {
            let story = Story::begin().secret(10, "b").sent(11, "p", "b");
            let story = if known { story.known(11) } else { story };
            story.killed(12, "p").secret(13, "a")
        };
        assert!(begin(false).record.is_forgotten(&account()));
        assert!(!begin(true).record.is_forgotten(&account()));
        let forgotten = begin(false).sent(15, "q", "a").known(15);
        assert!(!forgotten.record.is_forgotten(&account()));
    }

    #[test]
    fn what_a_process_may_have_been_about_to_send_is_a_cause_for_one_more() {
        let begin = |killed: bool| {
            let story = Story::begin().secret(10, "b");
            let story = if killed { story.killed(11, "p") } else { story };
            story.secret(12, "a").sent(15, "q", "a").known(15)
        };
        // The way back to `a` is a cause by itself.
        assert_eq!(begin(false).violations(), []);
        let again = begin(false).sent(16, "q", "a");
        assert_eq!(again.violations(), [Kind::WithoutCause]);
        assert_eq!(begin(true).sent(16, "q", "a").violations(), []);
        let twice = begin(true).sent(16, "q", "a").known(16).sent(17, "q", "a");
        assert_eq!(twice.violations(), [Kind::WithoutCause]);
    }

    #[test]
    fn who_could_not_know_that_its_word_was_written_down_may_doubt_it() {
        let begin = |hindered: bool| {
            let story = Story::begin().secret(10, "b").sent(11, "p", "b").known(11);
            let story = story.secret(12, "c").sent(15, "q", "c").known(15);
            let mut story = story.sent(18, "q", "c").known(18);
            if hindered {
                story.record.hindrances.push(Freeze {
                    sender: "p".to_owned(),
                    from: at(10),
                    to: at(16),
                    before_check: None,
                });
            }
            story
        };
        assert_eq!(begin(false).violations(), [Kind::WithoutCause]);
        assert_eq!(begin(true).violations(), []);
    }

    #[test]
    fn a_lost_answer_may_be_told_late() {
        let begin = |frozen: bool| {
            let story = Story::begin().secret(10, "b").sent(11, "p", "b").lost();
            let story = story.secret(12, "c").sent(15, "q", "c").known(15);
            let story = story.sent(18, "q", "c").known(18);
            if frozen {
                story.frozen(11, 16, "p")
            } else {
                story
            }
        };
        assert_eq!(begin(false).violations(), [Kind::WithoutCause]);
        assert_eq!(begin(true).violations(), []);
    }

    #[test]
    fn what_a_calm_round_owes() {
        let since = at(20);
        let owes = |story: Story| story.record.causes_since(&account(), since);
        assert_eq!(owes(Story::begin()), 0..=0);
        assert_eq!(owes(Story::begin().secret(21, "b")), 1..=1);
        assert_eq!(owes(Story::begin().secret(21, "a")), 0..=0);
        let suspended = Story::begin()
            .resource(10, |it| it.suspend = true)
            .secret(11, "b")
            .resource(21, |it| it.suspend = false);
        assert_eq!(owes(suspended), 1..=1);
        let held_back = Story::begin().secret(10, "b").no_secret(10).secret(21, "b");
        assert_eq!(owes(held_back), 0..=1, "it was wanted before, and not sent");
        let in_doubt = Story::begin().secret(10, "b").sent(11, "p", "b").lost();
        let in_doubt = in_doubt.no_secret(12).secret(21, "b");
        assert_eq!(owes(in_doubt), 0..=1);
        let unsettled = Story::begin().secret(10, "b").sent(11, "p", "b").lost();
        let unsettled = unsettled.secret(12, "a").sent(12, "p", "a").known(12);
        let unsettled = unsettled.no_secret(13).secret(21, "a");
        assert_eq!(owes(unsettled), 0..=1);
    }

    #[test]
    fn every_success_is_told() {
        let begin = || Story::begin().secret(10, "b").sent(11, "p", "b");
        assert_eq!(begin().record.unwritten().len(), 1);
        assert_eq!(begin().known(11).record.unwritten().len(), 0);
        assert_eq!(begin().killed(12, "p").record.unwritten().len(), 0);
        let of_another = begin().resource(12, |it| it.incarnation = 2);
        assert_eq!(of_another.record.unwritten().len(), 0);
        assert_eq!(begin().lost().record.unwritten().len(), 0);
        let again = |second: i64| {
            let story = Story::begin().secret(10, "b");
            let story = story.resource(20, |it| it.incarnation = 2);
            story.sent(second, "p", "b").record.unwritten().len()
        };
        assert_eq!(again(21), 0, "it may be the one that is gone");
        assert_eq!(again(30), 1);
    }

    #[test]
    fn ready_is_untrue_where_an_earlier_reset_comes_after_it() {
        // `b` has no answer, `a` is put back and accepted, and then `b` is carried out.
        let begin = || {
            Story::begin()
                .secret(10, "b")
                .sent(10, "p", "b")
                .late(17, 9)
        };
        let back = || begin().secret(13, "a").sent(13, "p", "a").known(14);
        let again = |story: Story| story.sent(21, "p", "a").effect(10).known(21).ready(22);
        assert_eq!(again(back().ready(14)).violations(), [Kind::Untrue]);
        assert_eq!(again(back()).violations(), [], "it was not Ready before");
        let labelled = back().ready(14).secret(15, "a");
        assert_eq!(again(labelled).violations(), [Kind::Untrue]);
        let changed = back().ready(14).secret(15, "c").sent(18, "p", "c");
        assert_eq!(
            changed.effect(10).violations(),
            [],
            "it is no longer Ready for what is wanted"
        );
        let by_another = begin().secret(13, "a").sent(13, "q", "a").known(14);
        let by_another = again(by_another.ready(14));
        assert_eq!(by_another.violations(), [Kind::Untrue]);
    }

    #[test]
    fn ready_is_true_where_the_same_value_comes_once_more_or_nothing_does() {
        let same = Story::begin()
            .secret(10, "b")
            .sent(10, "p", "b")
            .late(17, 9);
        let same = same.sent(13, "p", "b").known(13).ready(13);
        assert_eq!(same.violations(), []);
        let refused = Story::begin().secret(10, "b").sent(10, "p", "b").refused();
        let refused = refused.secret(13, "a").sent(13, "p", "a");
        assert_eq!(refused.known(13).ready(13).violations(), []);
    }

    #[test]
    fn nothing_tells_of_what_a_killed_process_sent_for_an_object_that_is_gone() {
        let begin = |sender: &str| {
            let story = Story::begin()
                .secret(10, "b")
                .sent(10, "p", "b")
                .late(17, 9);
            let story = story.killed(11, "p").secret(12, "a");
            let story = story.resource(13, |it| it.incarnation = 2);
            let story = story.sent(14, sender, "a").known(14).ready(14);
            story.sent(21, sender, "a").effect(10).known(21)
        };
        assert_eq!(begin("q").violations(), []);
        assert_eq!(begin("p").violations(), [Kind::Untrue]);
    }

    #[test]
    fn a_value_is_sent_once_more_after_an_earlier_one_is_settled() {
        let begin = || {
            let story = Story::begin().secret(10, "b").sent(10, "p", "b").lost();
            story.secret(12, "a").sent(13, "p", "a").known(13)
        };
        let early = begin().sent(16, "p", "a").known(16);
        assert_eq!(early.violations(), [Kind::WithoutCause], "too early");
        let once = || begin().sent(22, "p", "a").known(22);
        assert_eq!(once().violations(), []);
        let twice = once().sent(40, "p", "a").known(40);
        assert_eq!(twice.violations(), [Kind::WithoutCause]);
        let by_another = begin().killed(15, "p").sent(22, "q", "a").known(22);
        assert_eq!(by_another.violations(), []);
        let of_the_same = Story::begin().secret(10, "b").sent(10, "p", "b").lost();
        let of_the_same = of_the_same.sent(13, "p", "b").known(13);
        let of_the_same = of_the_same.sent(22, "p", "b").known(22);
        assert_eq!(of_the_same.violations(), [Kind::WithoutCause]);
    }

    #[test]
    fn what_is_sent_after_an_earlier_one_is_settled_ends_the_doubt() {
        let story = Story::begin().secret(10, "b").sent(10, "p", "b").lost();
        let story = story.secret(30, "a").sent(30, "p", "a").known(30);
        assert_eq!(story.violations(), []);
        let again = story.sent(45, "p", "a").known(45);
        assert_eq!(again.violations(), [Kind::WithoutCause]);
    }

    #[test]
    fn a_success_that_a_killed_process_could_not_tell_of_is_doubted_as_well() {
        let begin = |killed: bool| {
            let story = Story::begin().secret(10, "b").sent(10, "p", "b");
            let story = if killed {
                story.killed(11, "p")
            } else {
                story.known(10)
            };
            let story = story.sent(14, "q", "b").known(14);
            let story = story.secret(15, "c").sent(15, "q", "c").known(15);
            story.sent(23, "q", "c").known(23)
        };
        assert_eq!(begin(true).violations(), []);
        assert!(begin(false).violations().contains(&Kind::WithoutCause));
    }

    #[test]
    fn an_older_value_without_an_answer_may_come_late_if_it_does_not_stay() {
        let begin = || {
            let story = Story::begin()
                .secret(10, "b")
                .sent(10, "p", "b")
                .late(17, 9);
            story.secret(13, "c").sent(13, "p", "c").known(14)
        };
        assert_eq!(begin().violations(), [Kind::Reordered]);
        let overridden = begin().sent(21, "p", "c").effect(10).known(21);
        assert_eq!(overridden.violations(), []);
        assert_eq!(overridden.record.judge().1.overtaken, 1);
        let elsewhere = begin().resource(15, |it| "spare0".clone_into(&mut it.account));
        assert_eq!(elsewhere.violations(), [], "it is wanted no longer");
    }

    #[test]
    fn an_answer_that_came_when_its_sender_gave_up_may_be_lost() {
        let begin = |took: i64| {
            let mut story = Story::begin().secret(10, "b").sent(11, "p", "b");
            story.last().finished = Some(at(11 + took));
            story.record.doubt_late_answers();
            story.record.unwritten().len()
        };
        assert_eq!(begin(0), 1);
        assert_eq!(begin(2), 0);
        let begin = |from: i64, to: i64| {
            let story = Story::begin().secret(10, "b").sent(11, "p", "b");
            let mut story = story.frozen(from, to, "p");
            story.record.doubt_late_answers();
            story.record.unwritten().len()
        };
        assert_eq!(begin(11, 12), 1, "it can still see the answer");
        assert_eq!(begin(11, 14), 0);
        assert_eq!(begin(13, 20), 1, "it had seen the answer before");
    }
}
