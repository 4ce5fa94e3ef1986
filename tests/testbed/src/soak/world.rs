//! The cluster and the cloud of one sequence, two replicas of the operator, and users.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, PostParams};
use rds_password_operator::api::{DatabaseAccountPassword, REQUESTED_AT_ANNOTATION};
use rds_simulator::{AccessKey, Account as CloudAccount, Action, Instance, Outcome, RdsSimulator};
use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep, timeout};

use super::expect::problem;
use super::model::{self, CANARY, Change, Demand, INSTANCES, KEYS, Objects, Slot, Write};
use super::oracle::{
    Account, Fact, Freeze, Kind, RESET_TIMEOUT, Record, SETTLING, Sent, Violation,
};
use super::report::Report;
use super::witness::Witness;
use crate::bed::{ACCESS_KEY_SECRET, INITIAL_PASSWORD, NAMESPACE};
use crate::operator::POLL;
use crate::{ApiProxy, Operator, Search, Testbed, install};

/// How many replicas there are.
pub(super) const REPLICAS: usize = 2;

/// How long everything may take to become as it should be, after the last trouble has ended: longer than the lease, a restart
/// and a few tries take on a machine with other work.
const CONVERGENCE: Duration = Duration::from_secs(90);

/// Times in a status are rounded up to whole seconds.
const SECOND: Duration = Duration::from_secs(1);

/// A wait that is longer than this is cut short by a request, as a person would.
const LONG_WAIT: Duration = Duration::from_secs(4);

/// One replica, and the network between it and the API server.
pub(super) struct Replica {
    pub(super) proxy: ApiProxy,
    pub(super) process: Option<Process>,
}

/// A process of the operator.
pub(super) struct Process {
    pub(super) operator: Operator,
    /// Tells its calls from those of other processes.
    pub(super) access_key: String,
    pub(super) frozen_since: Option<Timestamp>,
    /// See [`Freeze::before_check`].
    pub(super) before_check: Option<usize>,
}

/// Everything.
pub(super) struct World {
    pub(super) bed: Testbed,
    pub(super) slots: Vec<Slot>,
    pub(super) replicas: Vec<Replica>,
    pub(super) report: Report,
    record: Record,
    witness: Witness,
    /// What processes that have ended had logged.
    logs: Vec<String>,
    processes: usize,
    labels: usize,
}

impl World {
    /// A cluster with two replicas, of which one leads, and no resources.
    pub(super) async fn start(operator: &Path, slots: usize) -> Result<Self> {
        let bed = Testbed::start_bare(operator).await?;
        tokio::try_join!(
            install::install_crd(&bed.client),
            install::install_rbac(&bed.client),
            bed.create_namespace(NAMESPACE),
        )?;
        for instance in INSTANCES {
            let accounts = (0..slots).flat_map(Slot::accounts);
            bed.rds
                .add_instance(accounts.fold(Instance::new(instance), |instance, name| {
                    instance.account(CloudAccount::new(name, INITIAL_PASSWORD))
                }));
        }
        let mut replicas = Vec::new();
        for _ in 0..REPLICAS {
            replicas.push(Replica {
                proxy: bed.proxy().await?,
                process: None,
            });
        }
        let client = bed.control_plane.client_without_retries().await?;
        let witness = Witness::of(Api::namespaced(client, NAMESPACE))?;
        let mut world = Self {
            bed,
            slots: (0..slots).map(Slot::new).collect(),
            replicas,
            report: Report::default(),
            record: Record::default(),
            witness,
            logs: Vec::new(),
            processes: 0,
            labels: 0,
        };
        for replica in 0..REPLICAS {
            world.start_replica(replica).await?;
        }
        world.leader(CONVERGENCE).await.context("nobody leads")?;
        Ok(world)
    }

    /// Starts a replica that does not run.
    pub(super) async fn start_replica(&mut self, replica: usize) -> Result<()> {
        self.processes += 1;
        let access_key = format!("process{}", self.processes);
        let key = AccessKey::new(&access_key, ACCESS_KEY_SECRET);
        self.bed.rds.add_access_key(key);
        let url = self.replicas[replica].proxy.url();
        let operator = self
            .bed
            .operator_at(&url, None)
            .await?
            .env("ALIBABA_CLOUD_ACCESS_KEY_ID", &access_key)
            .short_lease()
            .flag("reset-timeout", format!("{}s", RESET_TIMEOUT.as_secs()))
            .flag("reset-settling-time", format!("{}s", SETTLING.as_secs()))
            .start()
            .await?;
        self.replicas[replica].process = Some(Process {
            operator,
            access_key,
            frozen_since: None,
            before_check: None,
        });
        Ok(())
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self, replica: usize) {
        if let Some(process) = self.replicas[replica].process.take() {
            self.logs.push(process.operator.kill());
            let now = Timestamp::now();
            self.record.deaths.insert(process.access_key, now);
        }
    }

    /// SIGTERM, and waits for the end.
    pub(super) async fn terminate(&mut self, replica: usize) -> Result<()> {
        if let Some(process) = self.replicas[replica].process.take() {
            let (status, log) = process.operator.terminate().await?;
            ensure!(status.success(), "SIGTERM ended with {status}:\n{log}");
            self.logs.push(log);
            self.record.terminated.insert(process.access_key);
        }
        Ok(())
    }

    /// SIGSTOP, with the pass of this slot before its last check.
    pub(super) fn freeze(&mut self, replica: usize, before_check: Option<usize>) -> Result<()> {
        if let Some(process) = &mut self.replicas[replica].process {
            process.before_check = before_check;
            process.frozen_since = Some(Timestamp::now());
            process.operator.pause()?;
        }
        Ok(())
    }

    /// SIGCONT.
    pub(super) fn thaw(&mut self, replica: usize) -> Result<()> {
        if let Some(process) = &mut self.replicas[replica].process
            && let Some(from) = process.frozen_since.take()
        {
            process.operator.resume()?;
            self.record.freezes.push(Freeze {
                sender: process.access_key.clone(),
                from,
                to: Timestamp::now(),
                before_check: process.before_check,
            });
        }
        Ok(())
    }

    /// The access keys of the processes that live.
    pub(super) fn senders(&self) -> Vec<String> {
        let processes = self.replicas.iter().filter_map(|it| it.process.as_ref());
        processes.map(|it| it.access_key.clone()).collect()
    }

    /// Notes that the API server was not as it should be for these processes since then.
    pub(super) fn note_hindrance(&mut self, senders: Vec<String>, from: Timestamp) {
        let to = Timestamp::now();
        let noted = senders.into_iter().map(|sender| Freeze {
            sender,
            from,
            to,
            before_check: None,
        });
        self.record.hindrances.extend(noted);
    }

    /// The replica that leads, if one does within this time. Who stands still cannot be asked.
    pub(super) async fn leader(&self, limit: Duration) -> Option<usize> {
        let found = async {
            loop {
                for (number, replica) in self.replicas.iter().enumerate() {
                    let awake = replica
                        .process
                        .as_ref()
                        .filter(|it| it.frozen_since.is_none());
                    if let Some(process) = awake {
                        let metric = process.operator.metric("rds_password_operator_leader ");
                        if metric.await.is_ok_and(|leads| leads > 0.0) {
                            return number;
                        }
                    }
                }
                sleep(POLL).await;
            }
        };
        timeout(limit, found).await.ok()
    }

    /// Waits until another replica than this one leads, for so long.
    pub(super) async fn wait_for_another_leader(&self, than: usize, limit: Duration) -> bool {
        let other = async {
            while self.leader(limit).await.is_none_or(|it| it == than) {
                sleep(POLL).await;
            }
        };
        timeout(limit, other).await.is_ok()
    }

    /// Lets a user do something.
    pub(super) async fn change(&mut self, slot: usize, change: Change) -> Result<()> {
        *self
            .report
            .changes
            .entry(format!("{change:?}"))
            .or_default() += 1;
        for (write, objects) in self.slots[slot].change(change) {
            let begun = Timestamp::now();
            self.write(&model::name(slot), write, &objects)
                .await
                .with_context(|| format!("{change:?} of {slot}"))?;
            self.record.facts.push(Fact {
                slot,
                begun,
                ended: Timestamp::now(),
                objects,
            });
        }
        Ok(())
    }

    async fn write(&mut self, name: &str, write: Write, objects: &Objects) -> Result<()> {
        self.labels += 1;
        let labels = json!({ "metadata": { "labels": { "number": self.labels.to_string() } } });
        let bed = &self.bed;
        match write {
            Write::PutSecret => {
                let secret = objects.secret.iter().flatten();
                let mut data: serde_json::Map<String, Json> = secret
                    .map(|(key, value)| {
                        let text = BASE64_STANDARD.encode(&value.text);
                        ((*key).to_owned(), text.into())
                    })
                    .collect();
                if bed.secrets().get_opt(name).await?.is_none() {
                    let secret = json!({ "metadata": { "name": name }, "data": data });
                    bed.secrets()
                        .create(&PostParams::default(), &serde_json::from_value(secret)?)
                        .await?;
                } else {
                    for key in KEYS {
                        data.entry(key).or_insert(Json::Null);
                    }
                    bed.patch_secret(name, json!({ "data": data })).await?;
                }
            }
            Write::LabelSecret => drop(bed.patch_secret(name, labels).await?),
            Write::DeleteSecret => bed.delete_secret(name).await?,
            Write::LabelResource => drop(bed.patch(name, labels).await?),
            Write::DeleteResource => bed.delete(name).await?,
            Write::CreateResource => {
                let mut resource = bed.resource(name, name);
                if let Some(wanted) = &objects.resource {
                    wanted.instance.clone_into(&mut resource.spec.instance_id);
                    resource.spec.account_name.clone_from(&wanted.account);
                    wanted
                        .key
                        .clone_into(&mut resource.spec.password_secret_ref.key);
                }
                bed.create(&resource).await?;
            }
            Write::PatchResource => {
                if let Some(wanted) = &objects.resource {
                    let patch = json!({
                        "metadata": { "annotations": { REQUESTED_AT_ANNOTATION: wanted.request } },
                        "spec": {
                            "instanceId": wanted.instance,
                            "accountName": wanted.account,
                            "passwordSecretRef": { "key": wanted.key },
                            "suspend": wanted.suspend,
                        },
                    });
                    bed.patch(name, patch).await?;
                }
            }
        }
        Ok(())
    }

    /// All that happened so far.
    pub(super) fn record(&self) -> Record {
        let mut record = self.record.clone();
        record.resets = resets(&self.bed.rds);
        record.recorded = self.witness.recorded();
        record.ready = self.witness.ready();
        record.lag = self.witness.lag();
        for process in self.replicas.iter().filter_map(|it| it.process.as_ref()) {
            record
                .freezes
                .extend(process.frozen_since.map(|from| Freeze {
                    sender: process.access_key.clone(),
                    from,
                    to: Timestamp::MAX,
                    before_check: process.before_check,
                }));
        }
        record.doubt_late_answers();
        record
    }

    /// Waits until everything is as it should be, and returns what is not in the end. What waits long is asked for, as a person
    /// would.
    pub(super) async fn converge(&mut self) -> Result<Vec<Violation>> {
        let deadline = Instant::now() + CONVERGENCE;
        let mut asked_for = BTreeSet::new();
        loop {
            let found = self.resources().await?;
            for resource in found.values() {
                self.witness.look(resource);
            }
            let sent = resets(&self.bed.rds);
            let mut problems = Vec::new();
            let mut requests = Vec::new();
            for (slot, state) in self.slots.iter().enumerate() {
                let resource = found.get(&model::name(slot));
                let account = account_of(&state.objects);
                let password = account
                    .as_ref()
                    .and_then(|it| self.bed.rds.password_of(&it.instance, &it.name));
                let Some(problem) = problem(&state.objects, resource, password.as_deref(), &sent)
                else {
                    continue;
                };
                if waits_long(resource) && !asked_for.contains(&slot) {
                    requests.push(slot);
                }
                let is_forgotten = account.is_some_and(|it| self.record().is_forgotten(&it));
                problems.push(Violation {
                    kind: if is_forgotten {
                        Kind::ForgottenReset
                    } else {
                        Kind::NotConverged
                    },
                    evidence: format!("{}: {problem}", model::name(slot)),
                });
            }
            if problems.is_empty() || Instant::now() > deadline {
                return Ok(problems);
            }
            for slot in requests {
                if matches!(self.slots[slot].objects.demand(), Demand::Apply(..)) {
                    self.change(slot, Change::Request).await?;
                    asked_for.insert(slot);
                }
            }
            sleep(POLL * 5).await;
        }
    }

    /// Waits until each reset that was accepted is told of, and returns those that are not.
    pub(super) async fn untold(&self) -> Vec<Violation> {
        let deadline = Instant::now() + CONVERGENCE;
        loop {
            let record = self.record();
            let untold = record.unwritten();
            if untold.is_empty() || Instant::now() > deadline {
                let evidence = untold.into_iter().map(|it| record.evidence(it));
                return evidence
                    .map(|evidence| Violation {
                        kind: Kind::Untold,
                        evidence,
                    })
                    .collect();
            }
            sleep(POLL * 5).await;
        }
    }

    /// Waits until no reset can take effect any more that its sender had no answer to, by the statuses and by the calls.
    pub(super) async fn settled(&self) -> Result<()> {
        let settling = SETTLING + SECOND;
        let deadline = Instant::now() + CONVERGENCE;
        loop {
            let resources = self.resources().await?;
            let statuses = resources.values().filter_map(|it| it.status.as_ref());
            let open = statuses.flat_map(|it| &it.unanswered_sends);
            let record = self.record();
            let unanswered = record.unanswered().map(|it| it.finished);
            // One that is still under way ends by itself.
            let unanswered = unanswered.map(|it| it.unwrap_or_else(Timestamp::now));
            let last = open.map(|it| it.time.0).chain(unanswered).max();
            let age = last.map(|it| Timestamp::now().duration_since(it));
            if age.is_none_or(|age| Duration::try_from(age).is_ok_and(|age| age > settling)) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "resets do not settle");
            sleep(POLL * 5).await;
        }
    }

    /// Waits until the operator has looked at everything, and tells whether nothing happened meanwhile.
    pub(super) async fn is_quiet(&self) -> Result<bool> {
        let before = self.traces().await?;
        self.bed.settle().await?;
        Ok(before == self.traces().await?)
    }

    /// The version of each resource, and how many calls there were of our instances.
    async fn traces(&self) -> Result<(BTreeMap<String, Option<String>>, usize)> {
        let resources = self.resources().await?.into_iter();
        let versions = resources.map(|(name, it)| (name, it.resource_version()));
        let calls = self.bed.calls();
        let ours = calls.iter().filter(|call| {
            let instance = call.instance.as_deref();
            instance.is_some_and(|instance| INSTANCES.contains(&instance))
        });
        Ok((versions.collect(), ours.count()))
    }

    async fn resources(&self) -> Result<BTreeMap<String, DatabaseAccountPassword>> {
        let listed = self.bed.resources().list(&ListParams::default()).await?;
        let named = listed.into_iter().map(|it| (it.name_any(), it));
        let ours = 0..self.slots.len();
        let ours: BTreeSet<String> = ours.map(model::name).collect();
        Ok(named.filter(|(name, _)| ours.contains(name)).collect())
    }

    /// The secrets that were told: in logs, metrics, Events, and at any time in a resource.
    pub(super) async fn leaks(&self) -> Result<Vec<String>> {
        let search = Search::of([CANARY, ACCESS_KEY_SECRET])?;
        let mut leaks = self.witness.leaks();
        for log in &self.logs {
            leaks.extend(search.find(log));
        }
        for process in self.replicas.iter().filter_map(|it| it.process.as_ref()) {
            leaks.extend(search.find(&process.operator.log()));
            let (_, metrics) = process.operator.get("/metrics").await?;
            leaks.extend(search.find(&metrics));
        }
        let events = serde_json::to_string(&self.bed.events().await?)?;
        leaks.extend(search.find(&events));
        let in_url = self.bed.calls().into_iter().any(|it| it.password_in_url);
        leaks.extend(in_url.then(|| "a password in a URL".to_owned()));
        Ok(leaks)
    }

    /// What the processes have logged, without the lines of passes that did nothing.
    pub(super) fn logs(&self) -> String {
        let living = self.replicas.iter().filter_map(|it| it.process.as_ref());
        let logs = self.logs.iter().cloned();
        let logs = logs.chain(living.map(|it| it.operator.log()));
        logs.collect::<Vec<_>>().join("\n----\n")
    }
}

/// The account that a slot's resource names.
pub(super) fn account_of(objects: &Objects) -> Option<Account> {
    objects.resource.as_ref().map(|resource| Account {
        instance: resource.instance.to_owned(),
        name: resource.account.clone(),
    })
}

/// The resets that the cloud has received, those that it refused before it knew who sent them included.
fn resets(rds: &RdsSimulator) -> Vec<Sent> {
    let calls = rds.journal().calls().into_iter();
    let resets = calls.filter(|call| call.is(Action::ResetAccountPassword));
    resets
        .filter_map(|call| {
            let accepted = call.took_effect && call.succeeded();
            Some(Sent {
                number: call.number,
                account: Account {
                    instance: call
                        .instance
                        .filter(|it| INSTANCES.contains(&it.as_str()))?,
                    name: call.account?,
                },
                sender: call.access_key_id?,
                value: call.password?.expose().to_owned(),
                arrived: call.arrived,
                finished: call.finished,
                accepted,
                refused: call.outcome == Outcome::Answered
                    && call.status.is_some_and(|it| (400..500).contains(&it)),
                effect: call.effect,
                effect_time: call.effect_time,
                request_id: call.request_id,
            })
        })
        .collect()
}

fn waits_long(resource: Option<&DatabaseAccountPassword>) -> bool {
    let status = resource.and_then(|it| it.status.as_ref());
    let attempt = status.and_then(|it| it.last_attempt.as_ref());
    attempt.is_some_and(|it| {
        let wait = it.next_time.0.duration_since(Timestamp::now());
        Duration::try_from(wait).is_ok_and(|wait| wait > LONG_WAIT)
    })
}
