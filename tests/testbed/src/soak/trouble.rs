//! What goes wrong in the cloud, in the network and with the API server, and how it ends.

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use rds_simulator::{
    AccessKey, Action, Call, Fault, FaultId, SignedDuration, Target, Throttle, Timeline,
};
use serde_json::json;
use tokio::time::sleep;

use super::model::{Change, INSTANCES, Slot};
use super::oracle::RESET_TIMEOUT;
use super::plan::{ApiCall, CloudFault, Disturbance, InstanceState, Scope, Step};
use super::world::World;
use crate::bed::ACCESS_KEY_SECRET;
use crate::proxy::{ApiProxy, Matcher, Verb, failure};

/// How long something is waited for that need not happen.
pub(super) const BRIEFLY: Duration = Duration::from_secs(4);

/// How long after it came a late reset is carried out, at least. With the longest `lasts` of a step it is
/// [more than a second](EDGE) after the time-out of the first send of a value, and of the second, and well before the settling time is over.
const LATE: Duration = Duration::from_secs(5);

/// A machine with other work lets a time-out be that much later than it should be.
const EDGE: Duration = Duration::from_secs(1);

impl World {
    /// Lets a step happen, from the beginning of its disturbance to the end.
    pub(super) async fn step(&mut self, step: &Step) -> Result<()> {
        let Step {
            disturbance,
            changes,
            lasts,
        } = step;
        self.note(*disturbance);
        let began = Timestamp::now();
        let living = self.senders();
        match *disturbance {
            Disturbance::Cloud(fault, scope, times) => {
                let lasting = self.fault(fault, scope, times, *lasts);
                let (first, rest) = changes.split_at(1);
                let ended = |calls: &[Call]| {
                    let resets = calls
                        .iter()
                        .filter(|it| it.is(Action::ResetAccountPassword));
                    resets.filter(|it| it.finished.is_some()).count()
                };
                let known = ended(&self.bed.calls());
                self.changes(first).await?;
                if (fault, scope) == (CloudFault::Late, Scope::Resets) {
                    // Until the operator has given up. What users do then overtakes the first one.
                    sleep(RESET_TIMEOUT + EDGE).await;
                } else if scope == Scope::Resets {
                    // The fault, not the next change, is what the first one is to meet. It may be held up by something else.
                    let journal = self.bed.rds.journal();
                    let met = journal.wait_for(BRIEFLY / 2, |calls| ended(calls) > known);
                    let _ = met.await;
                }
                self.changes(rest).await?;
                sleep(*lasts).await;
                if let Some(fault) = lasting {
                    self.bed.rds.clear_fault(fault);
                }
            }
            Disturbance::Instance(state) => {
                self.set_instances(state)?;
                self.changes(changes).await?;
                sleep(*lasts).await;
                for instance in INSTANCES {
                    self.bed.rds.set_lock_mode(instance, Some("Unlock"))?;
                }
            }
            Disturbance::Cut(replica) => {
                self.proxies(replica).for_each(ApiProxy::cut);
                self.changes(changes).await?;
                sleep(*lasts).await;
            }
            Disturbance::DropWatches(resource, again) => {
                self.drop_watches(resource, again);
                self.changes(changes).await?;
                self.wait_for_tries(resource).await;
                sleep(*lasts).await;
            }
            Disturbance::ApiError(call, status, times) => {
                for proxy in self.proxies(None) {
                    proxy.refuse(matcher(call), times, status);
                }
                self.changes(changes).await?;
                sleep(*lasts).await;
            }
            Disturbance::LoseStatusAnswers(times) => {
                for proxy in self.proxies(None) {
                    proxy.lose_answer(matcher(ApiCall::WriteStatus), times);
                }
                self.changes(changes).await?;
                sleep(*lasts).await;
            }
            Disturbance::RestartApiServer => {
                // In the middle of the passes, or before they begin.
                if lasts.as_millis() % 2 == 0 {
                    self.proxies(None).for_each(ApiProxy::cut);
                }
                self.changes(changes).await?;
                self.bed.control_plane.stop()?;
                self.bed.control_plane.start_again().await?;
            }
            Disturbance::Terminate => {
                let leader = self.leader(BRIEFLY).await.unwrap_or_default();
                let (first, rest) = changes.split_at(1);
                self.changes(first).await?;
                self.terminate(leader).await?;
                self.changes(rest).await?;
                sleep(*lasts).await;
                self.start_replica(leader).await?;
            }
            Disturbance::Strike(point, blow) => {
                self.strike(point, blow, changes, *lasts).await?;
            }
        }
        self.proxies(None).for_each(ApiProxy::mend);
        let is_of_the_cloud = matches!(
            disturbance,
            Disturbance::Cloud(..) | Disturbance::Instance(_) | Disturbance::Terminate
        );
        if !is_of_the_cloud {
            self.note_hindrance(living, began);
        }
        Ok(())
    }

    /// Lets users do something, one after the other.
    pub(super) async fn changes(&mut self, changes: &[(usize, Change)]) -> Result<()> {
        for (slot, change) in changes {
            self.change(*slot, *change).await?;
        }
        Ok(())
    }

    /// Ends all trouble.
    pub(super) fn calm_down(&mut self) -> Result<()> {
        let rds = &self.bed.rds;
        rds.clear_faults();
        rds.clear_throttles();
        rds.set_clock_skew(SignedDuration::ZERO);
        for instance in INSTANCES {
            rds.set_instance_status(instance, "Running")?;
            rds.set_lock_mode(instance, Some("Unlock"))?;
            for account in (0..self.slots.len()).flat_map(Slot::accounts) {
                rds.set_account_status(instance, &account, "Available")?;
                rds.set_account_status_after_reset(instance, &account, None)?;
            }
        }
        for process in self.replicas.iter().filter_map(|it| it.process.as_ref()) {
            rds.add_access_key(AccessKey::new(&process.access_key, ACCESS_KEY_SECRET));
        }
        self.proxies(None).for_each(ApiProxy::mend);
        Ok(())
    }

    fn note(&mut self, disturbance: Disturbance) {
        let name = match disturbance {
            Disturbance::Cloud(fault, ..) => format!("cloud: {fault:?}"),
            Disturbance::Instance(state) => format!("instance: {state:?}"),
            Disturbance::Cut(None) => "network: cut for all replicas".to_owned(),
            Disturbance::Cut(Some(_)) => "network: cut for one replica".to_owned(),
            Disturbance::DropWatches(resource, false) => format!("watch of {resource} dropped"),
            Disturbance::DropWatches(resource, true) => {
                format!("watch of {resource} dropped, then 410")
            }
            Disturbance::ApiError(call, status, _) => format!("API server: {status} to {call:?}"),
            Disturbance::LoseStatusAnswers(_) => "API server: lost status answers".to_owned(),
            Disturbance::RestartApiServer => "API server: restart".to_owned(),
            Disturbance::Terminate => "SIGTERM".to_owned(),
            // Counted once it is known whether the point was reached.
            Disturbance::Strike(..) => return,
        };
        self.count(name);
    }

    /// Counts something that went wrong.
    pub(super) fn count(&mut self, name: String) {
        *self.report.disturbances.entry(name).or_default() += 1;
    }

    fn proxies(&self, replica: Option<usize>) -> impl Iterator<Item = &ApiProxy> {
        let numbered = self.replicas.iter().enumerate();
        numbered
            .filter(move |(number, _)| replica.is_none_or(|it| it == *number))
            .map(|(_, replica)| &replica.proxy)
    }

    fn drop_watches(&self, resource: &str, again: bool) {
        for proxy in self.proxies(None) {
            if again {
                let event = json!({ "type": "ERROR", "object": failure(410) });
                let watch = Matcher::resource(resource).verb(Verb::Watch);
                proxy.answer_instead(watch, 1, 200, format!("{event}\n"));
            }
            proxy.cut_watches(resource);
        }
    }

    /// Waits until a watch that was dropped was tried again, by whoever watches.
    async fn wait_for_tries(&self, resource: &str) {
        let Some(leader) = self.leader(BRIEFLY).await else {
            return;
        };
        let proxy = &self.replicas[leader].proxy;
        let known = proxy.exchanges().len();
        let watch = Matcher::resource(resource).verb(Verb::Watch);
        let tried = proxy.wait_for(BRIEFLY, |exchanges| {
            let later = exchanges.get(known..).unwrap_or_default();
            later.iter().any(|it| watch.matches(&it.request))
        });
        // It may be backing off for longer than that.
        let _ = tried.await;
    }

    fn set_instances(&self, state: InstanceState) -> Result<()> {
        let rds = &self.bed.rds;
        let brief = Duration::from_millis(1200);
        for instance in INSTANCES {
            match state {
                InstanceState::Rebooting => {
                    let timeline = Timeline::of("Rebooting").lasting(brief).then("Running");
                    rds.set_instance_status(instance, timeline)?;
                }
                InstanceState::Flapping => {
                    let timeline = Timeline::of("Running").for_reads(1);
                    let timeline = timeline.then("SSL_MODIFYING").for_reads(1).repeating();
                    rds.set_instance_status(instance, timeline)?;
                }
                InstanceState::Locked => {
                    rds.set_lock_mode(instance, Some("LockByDiskQuota"))?;
                }
                InstanceState::SlowAccounts => {
                    for account in (0..self.slots.len()).flat_map(Slot::accounts) {
                        let timeline = Timeline::of("Unavailable").lasting(brief);
                        let timeline = Some(timeline.then("Available"));
                        rds.set_account_status_after_reset(instance, &account, timeline)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Begins a fault of the cloud. Returned: one that must not outlast its step.
    fn fault(
        &self,
        fault: CloudFault,
        scope: Scope,
        times: u32,
        lasts: Duration,
    ) -> Option<FaultId> {
        let rds = &self.bed.rds;
        let target = match scope {
            Scope::Resets => Target::from(Action::ResetAccountPassword),
            Scope::InstanceLooks => Target::from(Action::DescribeDBInstanceAttribute),
            Scope::AccountLooks => Target::from(Action::DescribeAccounts),
            Scope::Everything => Target::any(),
        };
        let add = |fault: Fault| rds.add_fault(fault.on(target.clone()).times(times));
        let error = |status, code: &str| Fault::error(status, code, "scripted");
        match fault {
            CloudFault::Throttled => {
                // Longer than anything may wait with an old value in its hand.
                add(Fault::throttled("Throttling.User", BRIEFLY));
            }
            CloudFault::ServiceUnavailable => drop(add(error(503, "ServiceUnavailable"))),
            CloudFault::InternalError => drop(add(error(500, "InternalError"))),
            CloudFault::GatewayPage => {
                add(Fault::garbage(502, "text/html", "<html></html>"));
            }
            CloudFault::EmptyAnswer => drop(add(Fault::garbage(200, "application/json", ""))),
            CloudFault::Busy => drop(add(error(403, "OperationDenied.DBInstanceStatus"))),
            CloudFault::Denied => drop(add(error(403, "Forbidden.RAM"))),
            CloudFault::EchoOfThePassword => drop(add(Fault::echo_password(400))),
            CloudFault::CutBefore => drop(add(Fault::close_connection())),
            CloudFault::CutAfterEffect => drop(add(Fault::close_connection().after_effect())),
            CloudFault::TruncatedAnswer => drop(add(Fault::truncated_body())),
            CloudFault::UnavailableAfterEffect => {
                add(error(503, "ServiceUnavailable").after_effect());
            }
            // Shorter than the operator waits for an answer.
            CloudFault::Slow => drop(add(Fault::delay(RESET_TIMEOUT / 2))),
            // Longer than it waits for the first answer, and shorter than for the second.
            CloudFault::SlowAfterEffect => {
                add(Fault::delay(RESET_TIMEOUT + EDGE).after_effect());
            }
            CloudFault::Late => drop(add(Fault::delay(LATE + lasts))),
            CloudFault::Hang => return Some(add(Fault::hang())),
            CloudFault::KeyDisabled => {
                for process in self.replicas.iter().filter_map(|it| it.process.as_ref()) {
                    let key = AccessKey::new(&process.access_key, ACCESS_KEY_SECRET);
                    rds.add_access_key(key.inactive());
                }
            }
            CloudFault::ClockSkew => rds.set_clock_skew(SignedDuration::from_mins(20)),
            CloudFault::AccountUnavailable => {
                for instance in INSTANCES {
                    for account in (0..self.slots.len()).flat_map(Slot::accounts) {
                        let brief = Timeline::of("Unavailable").lasting(Duration::from_secs(1));
                        // It is there: this instance was made with all of them.
                        let _ = rds.set_account_status(instance, &account, brief.then("Available"));
                    }
                }
            }
            CloudFault::Quota => rds.add_throttle(Throttle::user(2, Duration::from_secs(2))),
        }
        None
    }
}

/// Which requests these are.
pub(super) fn matcher(call: ApiCall) -> Matcher {
    match call {
        ApiCall::ReadResource => Matcher::resource("databaseaccountpasswords").verb(Verb::Get),
        ApiCall::ReadSecret => Matcher::resource("secrets").verb(Verb::Get),
        ApiCall::WriteStatus => {
            Matcher::resource("databaseaccountpasswords/status").verb(Verb::Update)
        }
        ApiCall::Lease => Matcher::resource("leases"),
        ApiCall::Event => Matcher::resource("events"),
    }
}
