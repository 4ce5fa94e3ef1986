//! What will happen, from a seed. Pure: the same seed and number give the same plan.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::model::{Change, Demand, Slot};

/// How much happens in a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// For every run of the tests.
    Short,
    /// For hours.
    Long,
}

/// One sequence, on a cluster of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How many resources there are.
    pub slots: usize,
    /// One after the other, each with a check at its end.
    pub rounds: Vec<Round>,
}

/// What happens between two checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Round {
    /// Nothing goes wrong, and each slot is changed once at most: the resets can be told exactly.
    Calm(Vec<(usize, Change)>),
    /// Things go wrong.
    Storm(Vec<Step>),
}

/// Something that goes wrong, and what users do meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What goes wrong.
    pub disturbance: Disturbance,
    /// What users do, in this order. Where the disturbance is aimed at a reset, the first is what starts it.
    pub changes: Vec<(usize, Change)>,
    /// How long it lasts after that.
    pub lasts: Duration,
}

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// The cloud answers wrongly; some of it lasts until the round ends.
    Cloud(CloudFault, Scope, u32),
    /// The instances are in another state for a while.
    Instance(InstanceState),
    /// The network between one replica (all, for `None`) and the API server is cut.
    Cut(Option<usize>),
    /// Watches of a resource are dropped, and told to list again or not.
    DropWatches(&'static str, bool),
    /// The API server answers with this status to this many requests of a kind.
    ApiError(ApiCall, u16, usize),
    /// The API server does what is asked, and this many answers to status writes are lost.
    LoseStatusAnswers(usize),
    /// The API server and etcd crash and come back.
    RestartApiServer,
    /// The leader is stopped as Kubernetes does it, and another process takes its place.
    Terminate,
    /// At this point of a pass of the first change's slot, this happens to the leader.
    Strike(Point, Blow),
}

/// How the cloud answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are those of the simulator's faults")]
pub enum CloudFault {
    Throttled,
    ServiceUnavailable,
    InternalError,
    GatewayPage,
    EmptyAnswer,
    Busy,
    Denied,
    EchoOfThePassword,
    CutBefore,
    CutAfterEffect,
    TruncatedAnswer,
    UnavailableAfterEffect,
    Slow,
    SlowAfterEffect,
    Hang,
    Late,
    KeyDisabled,
    ClockSkew,
    AccountUnavailable,
    Quota,
}

impl CloudFault {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Throttled,
        Self::ServiceUnavailable,
        Self::InternalError,
        Self::GatewayPage,
        Self::EmptyAnswer,
        Self::Busy,
        Self::Denied,
        Self::EchoOfThePassword,
        Self::CutBefore,
        Self::CutAfterEffect,
        Self::TruncatedAnswer,
        Self::UnavailableAfterEffect,
        Self::Slow,
        Self::SlowAfterEffect,
        Self::Hang,
        Self::Late,
        Self::KeyDisabled,
        Self::ClockSkew,
        Self::AccountUnavailable,
        Self::Quota,
    ];
}

/// Which calls a fault of the cloud concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Resets.
    Resets,
    /// Looks at instances.
    InstanceLooks,
    /// Looks at accounts.
    AccountLooks,
    /// All calls.
    Everything,
}

/// What an instance is doing instead of running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceState {
    /// It restarts.
    Rebooting,
    /// It changes with every look.
    Flapping,
    /// It is locked.
    Locked,
    /// Its accounts are changed for a while after each reset.
    SlowAccounts,
}

/// A kind of requests to the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ApiCall {
    ReadResource,
    ReadSecret,
    WriteStatus,
    Lease,
    Event,
}

/// A point of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// Anywhere.
    Anywhere,
    /// The Secret is read for the first time.
    FirstLook,
    /// The instance is looked at.
    InstanceLook,
    /// The Secret is read again, since there was something to wait for.
    SecondLook,
    /// What is about to be sent is about to be written down.
    IntentWrite,
    /// What is about to be sent is written down, and the Lease is still being read.
    LeaseLook,
    /// The reset is at RDS, and not carried out.
    BeforeEffect,
    /// The reset is carried out, and not answered.
    AfterEffect,
    /// The reset is answered, and the account is looked at.
    AccountLook,
    /// The status is about to be written.
    StatusWrite,
    /// The status is written, and the operator does not know it.
    StatusWritten,
    /// The status is written, and the Event is not.
    Event,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Anywhere,
        Self::FirstLook,
        Self::InstanceLook,
        Self::SecondLook,
        Self::IntentWrite,
        Self::LeaseLook,
        Self::BeforeEffect,
        Self::AfterEffect,
        Self::AccountLook,
        Self::StatusWrite,
        Self::StatusWritten,
        Self::Event,
    ];

    /// Whether it is still to be checked that the Lease was seen to be the process' own a moment ago.
    #[must_use]
    pub fn is_before_last_check(self) -> bool {
        matches!(
            self,
            Self::FirstLook
                | Self::InstanceLook
                | Self::SecondLook
                | Self::IntentWrite
                | Self::LeaseLook
        )
    }
}

/// What happens to the leader at a point of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blow {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, until another leads; what was held goes on at once.
    Freeze,
    /// SIGSTOP, until another leads; what was held goes on after that.
    FreezeAndHold,
    /// The network to the API server is cut, until another leads.
    Isolate,
    /// Nothing: it only takes longer.
    Delay,
}

impl Plan {
    /// The plan of the sequence of this number.
    #[must_use]
    pub fn of(seed: u64, sequence: u32, size: Size) -> Self {
        let mut planner = Planner::new(seed, sequence, size);
        let (storms, slots) = match size {
            Size::Short => (2, 3),
            Size::Long => (3, 4),
        };
        let mut rounds = vec![Round::Calm(
            (0..slots)
                .flat_map(|slot| {
                    [
                        (slot, planner.take(slot, Change::Rotate)),
                        (slot, planner.take(slot, Change::CreateResourceAgain)),
                    ]
                })
                .collect(),
        )];
        for _ in 0..storms {
            rounds.push(planner.storm());
            rounds.push(planner.calm());
        }
        Self { slots, rounds }
    }
}

struct Planner {
    random: StdRng,
    slots: Vec<Slot>,
    size: Size,
}

impl Planner {
    fn new(seed: u64, sequence: u32, size: Size) -> Self {
        let slots = match size {
            Size::Short => 3,
            Size::Long => 4,
        };
        // Any mixing that keeps neighbours apart will do.
        let mixed = seed ^ u64::from(sequence).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            random: StdRng::seed_from_u64(mixed),
            slots: (0..slots).map(Slot::new).collect(),
            size,
        }
    }

    fn take(&mut self, slot: usize, change: Change) -> Change {
        let _ = self.slots[slot].change(change);
        change
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn pick<T: Copy>(&mut self, weighted: &[(u32, T)]) -> Option<T> {
        let chosen = weighted.choose_weighted(&mut self.random, |(weight, _)| *weight);
        chosen.ok().map(|(_, item)| *item)
    }

    fn any_slot(&mut self) -> usize {
        self.random.random_range(0..self.slots.len())
    }

    fn change_of(&mut self, slot: usize) -> (usize, Change) {
        let weights: Vec<(u32, Change)> = Change::ALL
            .into_iter()
            .filter(|change| self.slots[slot].allows(*change))
            .map(|change| {
                let weight = match change {
                    Change::Rotate => 12,
                    Change::TurnBack => 8,
                    Change::Request | Change::CreateSecretAgain | Change::LabelSecret => 4,
                    Change::MoveAccount | Change::CreateSecretWithNewValue => 3,
                    Change::ToggleSuspend if self.is_suspended(slot) => 12,
                    Change::CreateResourceAgain if self.slots[slot].objects.resource.is_none() => {
                        20
                    }
                    _ => 2,
                };
                (weight, change)
            })
            .collect();
        let change = self.pick(&weights).unwrap_or(Change::Rotate);
        (slot, self.take(slot, change))
    }

    fn is_suspended(&self, slot: usize) -> bool {
        matches!(self.slots[slot].objects.demand(), Demand::Suspended(..))
    }

    fn calm(&mut self) -> Round {
        let mut changes = Vec::new();
        for slot in 0..self.slots.len() {
            if self.chance(75) {
                changes.push(self.change_of(slot));
            }
        }
        Round::Calm(changes)
    }

    fn storm(&mut self) -> Round {
        let steps = match self.size {
            Size::Short => self.random.random_range(2..=3),
            Size::Long => self.random.random_range(3..=5),
        };
        let mut steps: Vec<Step> = (1..steps).map(|_| self.step()).collect();
        steps.push(self.ambush());
        Round::Storm(steps)
    }

    fn step(&mut self) -> Step {
        let disturbance = self.disturbance();
        self.step_of(disturbance, 30)
    }

    /// What chance brings about too seldom: a reset whose outcome nobody knows, or a process that goes on with an old value, and
    /// then the Secret is turned back or changed again.
    fn ambush(&mut self) -> Step {
        let hidden = |fault| Disturbance::Cloud(fault, Scope::Resets, 2);
        let disturbance = self.pick(&[
            (2, hidden(CloudFault::CutAfterEffect)),
            (1, hidden(CloudFault::TruncatedAnswer)),
            (1, hidden(CloudFault::UnavailableAfterEffect)),
            // Only the first: what comes after it is to be accepted before it is carried out.
            (4, Disturbance::Cloud(CloudFault::Late, Scope::Resets, 1)),
            (3, Disturbance::Strike(Point::AfterEffect, Blow::Kill)),
            (2, Disturbance::Strike(Point::StatusWrite, Blow::Kill)),
            (3, Disturbance::Strike(Point::SecondLook, Blow::Freeze)),
            (1, Disturbance::Strike(Point::LeaseLook, Blow::Freeze)),
            (
                2,
                Disturbance::Strike(Point::BeforeEffect, Blow::FreezeAndHold),
            ),
            (1, Disturbance::Strike(Point::AfterEffect, Blow::Freeze)),
        ]);
        self.step_of(disturbance.unwrap_or(Disturbance::RestartApiServer), 50)
    }

    /// A step, in which an aimed disturbance is followed by turning back in so many of a hundred cases, and by another value in
    /// as many.
    fn step_of(&mut self, disturbance: Disturbance, overtaken: u32) -> Step {
        let mut changes: Vec<(usize, Change)> = Vec::new();
        // Whose end is left as it is: another change would hide what became of it.
        let mut overtaken_slot = None;
        let is_aimed = matches!(
            disturbance,
            Disturbance::Strike(..) | Disturbance::Cloud(_, Scope::Resets, _)
        );
        if is_aimed {
            let (slot, stimulus) = self.stimulus();
            changes.push((slot, stimulus));
            // What is hit while it is under way is most telling where it is overtaken.
            let chance = self.random.random_range(0..100);
            let next = if chance < overtaken && self.slots[slot].allows(Change::TurnBack) {
                Some(Change::TurnBack)
            } else {
                (chance < 2 * overtaken).then_some(Change::Rotate)
            };
            overtaken_slot = next.map(|_| slot);
            changes.extend(next.map(|next| (slot, self.take(slot, next))));
        }
        for _ in 0..self.random.random_range(1..=3) {
            // Rather more of the same slot than of another: what comes fast is what goes wrong.
            let slot = match changes.last() {
                Some((slot, _)) if self.chance(60) => *slot,
                _ => self.any_slot(),
            };
            if overtaken_slot != Some(slot) {
                changes.push(self.change_of(slot));
            }
        }
        Step {
            disturbance,
            changes,
            lasts: Duration::from_millis(self.random.random_range(0..1500)),
        }
    }

    /// A change of a slot whose value is applied, that makes a reset due.
    fn stimulus(&mut self) -> (usize, Change) {
        let able: Vec<usize> = (0..self.slots.len())
            .filter(|slot| matches!(self.slots[*slot].objects.demand(), Demand::Apply(..)))
            .collect();
        let slot = able.choose(&mut self.random).copied();
        let slot = slot.unwrap_or_else(|| self.any_slot());
        let change = match self.random.random_range(0..10) {
            0 if self.slots[slot].allows(Change::Request) => Change::Request,
            1 => Change::CreateResourceAgain,
            _ => Change::Rotate,
        };
        (slot, self.take(slot, change))
    }

    fn disturbance(&mut self) -> Disturbance {
        let scope = self
            .pick(&[
                (7, Scope::Resets),
                (2, Scope::InstanceLooks),
                (2, Scope::AccountLooks),
                (1, Scope::Everything),
            ])
            .unwrap_or(Scope::Resets);
        let fault = CloudFault::ALL.choose(&mut self.random);
        let fault = fault.copied().unwrap_or(CloudFault::Slow);
        let times = self.random.random_range(1..=3);
        let state = self.pick(&[
            (1, InstanceState::Rebooting),
            (1, InstanceState::Flapping),
            (1, InstanceState::Locked),
            (1, InstanceState::SlowAccounts),
        ]);
        let call = self.pick(&[
            (1, ApiCall::ReadResource),
            (1, ApiCall::ReadSecret),
            (2, ApiCall::WriteStatus),
            (1, ApiCall::Lease),
            (1, ApiCall::Event),
        ]);
        let status = self.pick(&[(2, 500), (1, 429), (1, 503)]);
        let replica = self.pick(&[(1, None), (1, Some(0)), (1, Some(1))]);
        let resource = self.pick(&[(1, "secrets"), (1, "databaseaccountpasswords")]);
        let again = self.chance(50);
        let point = Point::ALL.choose(&mut self.random);
        let blow = self.pick(&[
            (5, Blow::Kill),
            (2, Blow::Freeze),
            (2, Blow::FreezeAndHold),
            (1, Blow::Isolate),
            (1, Blow::Delay),
        ]);
        let restart = match self.size {
            Size::Short => 1,
            Size::Long => 2,
        };
        self.pick(&[
            (16, Disturbance::Cloud(fault, scope, times)),
            (
                3,
                Disturbance::Instance(state.unwrap_or(InstanceState::Rebooting)),
            ),
            (3, Disturbance::Cut(replica.flatten())),
            (
                4,
                Disturbance::DropWatches(resource.unwrap_or("secrets"), again),
            ),
            (
                4,
                Disturbance::ApiError(
                    call.unwrap_or(ApiCall::WriteStatus),
                    status.unwrap_or(500),
                    times as usize,
                ),
            ),
            (2, Disturbance::LoseStatusAnswers(times as usize)),
            (restart, Disturbance::RestartApiServer),
            (2, Disturbance::Terminate),
            (
                16,
                Disturbance::Strike(
                    point.copied().unwrap_or(Point::Anywhere),
                    blow.unwrap_or(Blow::Kill),
                ),
            ),
        ])
        .unwrap_or(Disturbance::RestartApiServer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_plan_again_and_others_give_others() {
        for sequence in 0..20 {
            let plan = Plan::of(7, sequence, Size::Long);
            assert_eq!(plan, Plan::of(7, sequence, Size::Long));
            assert_ne!(plan, Plan::of(8, sequence, Size::Long));
            assert_ne!(plan, Plan::of(7, sequence + 1, Size::Long));
        }
    }

    #[test]
    fn everything_happens() {
        let plans: Vec<Plan> = (0..400).map(|it| Plan::of(1, it, Size::Long)).collect();
        let text = format!("{plans:?}");
        let changes = Change::ALL.map(|change| format!("{change:?}"));
        let faults = CloudFault::ALL.map(|fault| format!("Cloud({fault:?}"));
        let points = Point::ALL.map(|point| format!("Strike({point:?}, Kill)"));
        for word in changes.iter().chain(&faults).chain(&points) {
            assert!(text.contains(word), "{word}");
        }
    }

    #[test]
    fn in_a_calm_round_each_slot_changes_once() {
        for sequence in 0..100 {
            let plan = Plan::of(1, sequence, Size::Long);
            for round in &plan.rounds[1..] {
                if let Round::Calm(changes) = round {
                    let mut slots: Vec<usize> = changes.iter().map(|(slot, _)| *slot).collect();
                    slots.dedup();
                    assert_eq!(slots.len(), changes.len());
                }
            }
        }
    }
}
