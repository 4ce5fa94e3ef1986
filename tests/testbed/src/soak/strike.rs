//! Blows at the leader, at a chosen point of a pass.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Result;
use rds_password_operator::controller::observe::REUSED_FOR;
use rds_password_operator::leader::SHARED_FOR;
use rds_simulator::{Action, Pause, Target};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::model::{self, Change};
use super::plan::{ApiCall, Blow, Point};
use super::trouble::{BRIEFLY, matcher};
use super::world::{World, account_of};
use crate::proxy::Hold;

/// How long another replica may take to lead: the lease, and some.
const TAKEOVER: Duration = Duration::from_secs(12);

/// How long a reset may be held on its way to RDS: less than the settling time, after which the operator counts on it that nothing comes.
const HELD: Duration = Duration::from_secs(6);

/// What keeps a pass at a point.
enum Trap {
    Nothing,
    Cloud(Pause),
    Api(Hold),
}

/// A trap that lets go when it is dropped, or by itself.
struct BoundedTrap {
    _api: Option<Trap>,
    _cloud: Option<oneshot::Sender<Infallible>>,
}

impl Trap {
    /// Lets go of a call of the cloud after [`HELD`] at the latest.
    fn for_a_while(self) -> BoundedTrap {
        let Self::Cloud(pause) = self else {
            return BoundedTrap {
                _api: Some(self),
                _cloud: None,
            };
        };
        let (sender, dropped) = oneshot::channel();
        tokio::spawn(async move {
            let _ = timeout(HELD, dropped).await;
            drop(pause);
        });
        BoundedTrap {
            _api: None,
            _cloud: Some(sender),
        }
    }
}

impl World {
    /// Starts a pass, waits until it is at a point, and strikes. Then users do the rest of their changes.
    pub(super) async fn strike(
        &mut self,
        point: Point,
        blow: Blow,
        changes: &[(usize, Change)],
        lasts: Duration,
    ) -> Result<()> {
        let Some(leader) = self.leader(TAKEOVER).await else {
            self.count("strike: nobody led".to_owned());
            return self.changes(changes).await;
        };
        let (first, rest) = changes.split_at(1);
        let slot = first[0].0;
        let trap = self.set_trap(point, slot, leader);
        if point == Point::LeaseLook {
            // What was seen of the Lease before would serve the pass.
            sleep(SHARED_FOR).await;
        }
        let known = self.replicas[leader].proxy.exchanges().len();
        self.changes(first).await?;
        let (trap, reached) = self.wait_at(trap, point, slot, leader, known).await;
        let before_check = (reached && point.is_before_last_check()).then_some(slot);
        let was_reached = if reached { "" } else { " (not reached)" };
        self.count(format!("strike: {blow:?} at {point:?}{was_reached}"));
        match blow {
            Blow::Kill => {
                self.kill(leader);
                drop(trap);
                self.changes(rest).await?;
                sleep(lasts).await;
                self.start_replica(leader).await?;
            }
            Blow::Freeze => {
                self.freeze(leader, before_check)?;
                drop(trap);
                self.wait_for_another_leader(leader, TAKEOVER).await;
                self.changes(rest).await?;
                sleep(lasts).await;
                self.thaw(leader)?;
            }
            Blow::FreezeAndHold => {
                self.freeze(leader, before_check)?;
                let trap = trap.for_a_while();
                self.wait_for_another_leader(leader, TAKEOVER).await;
                self.changes(rest).await?;
                sleep(lasts).await;
                drop(trap);
                self.thaw(leader)?;
            }
            Blow::Isolate => {
                self.replicas[leader].proxy.cut();
                drop(trap);
                self.wait_for_another_leader(leader, TAKEOVER).await;
                self.changes(rest).await?;
                sleep(lasts).await;
            }
            Blow::Delay => {
                self.changes(rest).await?;
                sleep(lasts + BRIEFLY).await;
                drop(trap);
            }
        }
        Ok(())
    }

    fn set_trap(&self, point: Point, slot: usize, leader: usize) -> Trap {
        let Some(account) = account_of(&self.slots[slot].objects) else {
            return Trap::Nothing;
        };
        let name = model::name(slot);
        let proxy = &self.replicas[leader].proxy;
        let rds = &self.bed.rds;
        let of_account = |action: Action| {
            Target::from(action)
                .instance(&account.instance)
                .account(&account.name)
        };
        match point {
            Point::Anywhere => Trap::Nothing,
            Point::FirstLook | Point::SecondLook => {
                Trap::Api(proxy.hold(matcher(ApiCall::ReadSecret).name(&name)))
            }
            Point::InstanceLook => {
                let looks = Target::from(Action::DescribeDBInstanceAttribute);
                Trap::Cloud(rds.pause(looks.instance(&account.instance)))
            }
            Point::LeaseLook => Trap::Api(proxy.hold(matcher(ApiCall::Lease))),
            // What is about to be sent is written to the status, and then how it ended.
            Point::IntentWrite | Point::StatusWrite | Point::StatusWritten => {
                Trap::Api(proxy.hold(matcher(ApiCall::WriteStatus).name(&name)))
            }
            Point::BeforeEffect => Trap::Cloud(rds.pause(of_account(Action::ResetAccountPassword))),
            Point::AfterEffect => {
                Trap::Cloud(rds.pause_after_effect(of_account(Action::ResetAccountPassword)))
            }
            Point::AccountLook => Trap::Cloud(rds.pause(of_account(Action::DescribeAccounts))),
            Point::Event => Trap::Api(proxy.hold(matcher(ApiCall::Event))),
        }
    }

    /// Waits until the pass is in the trap. It need not come: it may be held up by something else.
    async fn wait_at(
        &self,
        trap: Trap,
        point: Point,
        slot: usize,
        leader: usize,
        known: usize,
    ) -> (Trap, bool) {
        match trap {
            Trap::Nothing => (trap, point == Point::Anywhere),
            Trap::Cloud(pause) => {
                let reached = pause.wait_for_held(1, BRIEFLY).await.is_ok();
                (Trap::Cloud(pause), reached)
            }
            Trap::Api(hold) => {
                if hold.wait_for_held(1, BRIEFLY).await.is_err() {
                    return (Trap::Api(hold), false);
                }
                self.wait_further(hold, point, slot, leader, known).await
            }
        }
    }

    /// Where the first request of its kind is not the one to strike at, lets it pass and waits for the next.
    async fn wait_further(
        &self,
        hold: Hold,
        point: Point,
        slot: usize,
        leader: usize,
        known: usize,
    ) -> (Trap, bool) {
        let proxy = &self.replicas[leader].proxy;
        let name = model::name(slot);
        let status = || matcher(ApiCall::WriteStatus).name(&name);
        let secret = || matcher(ApiCall::ReadSecret).name(&name);
        let (passing, next) = match point {
            Point::SecondLook => {
                // Then the first one is too old.
                sleep(REUSED_FOR).await;
                (secret(), secret())
            }
            Point::LeaseLook => {
                // Renewals look at the Lease as well. Once it has written, the pass waits for nothing but its own look.
                let written = proxy.wait_for(BRIEFLY, |exchanges| {
                    let mut since = exchanges.get(known..).unwrap_or_default().iter();
                    since.any(|it| status().matches(&it.request) && it.status == Some(200))
                });
                let reached = written.await.is_ok();
                return (Trap::Api(hold), reached);
            }
            Point::StatusWrite | Point::StatusWritten => (status(), status()),
            _ => return (Trap::Api(hold), true),
        };
        let known = proxy.exchanges().len();
        hold.release();
        let passed = proxy.wait_for(BRIEFLY, |exchanges| {
            let mut before = exchanges.iter().take(known).rev();
            let first = before.find(|it| passing.matches(&it.request));
            first.is_none_or(|it| it.status.is_some())
        });
        let passed = passed.await.is_ok();
        if point == Point::StatusWritten {
            let known = proxy.exchanges().len();
            proxy.lose_answer(next.clone(), 1);
            let written = proxy.wait_for(BRIEFLY, |exchanges| {
                let mut since = exchanges.get(known..).unwrap_or_default().iter();
                since.any(|it| next.matches(&it.request) && it.status == Some(200))
            });
            return (Trap::Nothing, written.await.is_ok());
        }
        let hold = proxy.hold(next);
        let reached = hold.wait_for_held(1, BRIEFLY).await.is_ok();
        (Trap::Api(hold), passed && reached)
    }
}
