//! The pass: trigger → observe → decide → act → schedule → report.
//!
//! [`mod@decide`], [`mod@schedule`], [`in_sync`] and [`status`] are pure and take the time; [`mod@observe`], [`mod@act`] and [`mod@report`] do
//! the I/O.

pub mod act;
pub mod backoff;
pub mod changes;
pub mod cloud;
pub mod decide;
pub mod events;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]
mod fixtures;
pub mod heard;
pub mod identity;
pub mod in_sync;
pub mod index;
pub mod intent;
pub mod observe;
pub mod outage;
pub mod outcome;
pub mod report;
pub mod schedule;

pub mod status;
pub mod tenant;
pub mod trigger;
pub mod unreadable;
pub mod unrecorded;
pub mod unwatched;
pub mod wakes;
pub mod watched;
pub mod written;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, ResourceExt as _};
use moka::sync::Cache;
use rand::RngExt as _;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::api::DatabaseAccountPassword;
use crate::fingerprint::Keyring;
use crate::health::Health;
use crate::leader::Leadership;
use crate::metrics::Metrics;
use crate::rds::classification::Class;

use act::{ActError, act};
use changes::Changes;
use cloud::Cloud;
use decide::{Decision, Observation, decide};
use events::Events;
use index::Index;
use observe::{ObserveError, observe};
use outage::Outages;
use outcome::{Accepted, Account, Failure, Outcome};
use report::{ReportError, report};
use status::Times;
use unreadable::Unreadable;
use unrecorded::Unrecorded;
use wakes::Wakes;
use watched::Watched;
use written::Written;

/// How many first looks of passes are under way at once. After a start all resources may have to be read; without a bound, each
/// would open a connection of its own. The look right before a reset is bounded by the permit that it is made with.
const CONCURRENT_READS: usize = 16;

/// How many writes of a status are, with the reads after a conflict. Apart from the reads, so that a reset is written down
/// however many resources are waiting to be looked at.
const CONCURRENT_WRITES: usize = 16;

/// How many are that only say that a reset waits: where many wait, a reset that is to be written down comes first.
const CONCURRENT_ANNOUNCEMENTS: usize = 1;

/// How many back-offs are kept, and for how long after the last failure: far longer than the longest of them.
const FAILED_PASSES_KEPT: u64 = 100_000;
const FAILED_PASSES_KEPT_FOR: Duration = Duration::from_secs(10 * 60);

/// What the passes of all terms share.
pub struct Process {
    /// The client of the Kubernetes API. Without retries of its own: a pass has its own.
    pub client: Client,
    /// The cloud API.
    pub cloud: Arc<Cloud>,
    /// Publishes Events.
    pub events: Arc<Events>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What `/readyz` tells.
    pub health: Health,
    /// The passes that are under way, of this term and of earlier ones.
    pub passes: TaskTracker,
}

/// What all passes of one term of leadership share.
pub struct Context {
    client: Client,
    keyring: Keyring,
    cloud: Arc<Cloud>,
    leadership: Leadership,
    events: Arc<Events>,
    metrics: Arc<Metrics>,
    health: Health,
    index: Mutex<Index>,
    written: Written,
    unrecorded: Unrecorded,
    unreadable: Unreadable,
    changes: Changes,
    outages: Outages,
    reads: Arc<Semaphore>,
    writes: Semaphore,
    announcements: Semaphore,
    /// Cancelled when the term ends: passes that have sent nothing give up.
    stop: CancellationToken,
    /// Outlives the term: a pass that has sent a reset runs to its end.
    passes: TaskTracker,
    /// How many passes in a row failed, by uid: for the back-off alone, so a restart may forget it.
    failed_passes: Cache<String, u32>,
}

/// Why a pass has no outcome.
#[derive(Debug, Error)]
pub enum PassError {
    /// It could not observe.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// It could not carry the decision out.
    #[error(transparent)]
    Act(#[from] ActError),
    /// It could not write the status.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// It panicked, or the process ends.
    #[error("the pass ended early")]
    Ended,
}

impl Context {
    /// The context of a term that is about to begin.
    #[must_use]
    pub fn new(
        process: &Process,
        keyring: Keyring,
        leadership: Leadership,
        stop: CancellationToken,
    ) -> Self {
        Self {
            client: process.client.clone(),
            keyring,
            cloud: process.cloud.clone(),
            leadership,
            events: process.events.clone(),
            metrics: process.metrics.clone(),
            health: process.health.clone(),
            index: Mutex::default(),
            written: Written::default(),
            unrecorded: Unrecorded::default(),
            unreadable: Unreadable::default(),
            changes: Changes::default(),
            outages: Outages::default(),
            reads: Arc::new(Semaphore::new(CONCURRENT_READS)),
            writes: Semaphore::new(CONCURRENT_WRITES),
            announcements: Semaphore::new(CONCURRENT_ANNOUNCEMENTS),
            stop,
            passes: process.passes.clone(),
            failed_passes: Cache::builder()
                .max_capacity(FAILED_PASSES_KEPT)
                .time_to_idle(FAILED_PASSES_KEPT_FOR)
                .build(),
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // A panic inside the index would be a fault of its own; its maps are still maps, and the next list repairs them.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs passes over the resources of one watch (a namespace, or all) until it is dropped.
pub async fn run(context: Arc<Context>, reader: Store<Watched>, wakes: Wakes) {
    let woken = wakes
        .take()
        .map(|name| ObjectRef::new(&name.name).within(&name.namespace));
    Controller::for_stream(futures::stream::pending(), reader)
        .reconcile_on(woken)
        .run(whole_pass, after_error, context)
        // Both ways that a pass can end were dealt with inside.
        .for_each(|_| async {})
        .await;
}

/// Runs a pass as a task of its own, so that it ends as a whole where the controller is dropped with the leadership: a reset
/// that was sent is also written down.
async fn whole_pass(watched: Arc<Watched>, context: Arc<Context>) -> Result<Action, PassError> {
    let uid = watched.uid();
    let passes = context.passes.clone();
    // Before there is a pass: it is a hundred times as large as what waits here, and a start wakes all at once. The semaphore is
    // never closed.
    let read = context.reads.clone().acquire_owned().await.ok();
    let pass = {
        let context = context.clone();
        passes.spawn(async move { reconcile(&context, &watched, read).await })
    };
    let action = pass.await.map_err(|_| PassError::Ended)??;
    if let Some(uid) = &uid {
        context.failed_passes.invalidate(uid);
    }
    Ok(action)
}

/// One pass over one resource, with leave to read for it.
async fn reconcile(
    context: &Context,
    watched: &Watched,
    read: Option<OwnedSemaphorePermit>,
) -> Result<Action, PassError> {
    // A change wakes what has to wait for one, and the resync what a lost event would leave behind.
    let look_again = Action::requeue(schedule::resync(rand::rng().random()));
    let Some(resource) = workable(watched) else {
        return Ok(look_again);
    };
    // Each step is boxed, so that a pass that waits in one has no room for the others.
    let observed = Box::pin(observe(context, resource)).await;
    drop(read);
    let Some(observation) = observed? else {
        return Ok(look_again);
    };
    let decision = decide(&observation, Timestamp::now());
    let acted = Box::pin(act(context, observation, decision)).await?;
    let (now, decided) = (Timestamp::now(), Instant::now());
    let wait = schedule(
        &acted.observation,
        &acted.outcome,
        now,
        rand::rng().random(),
    );
    // The status keeps whole seconds, and a pass before the time that it tells would be one for nothing.
    let next = status::whole_seconds_up(now + wait);
    Box::pin(report(context, &acted, Times { now, next })).await?;
    // Less what the writing took, which is long where many are written: all who wait for one time come together. The clock may have
    // been set meanwhile.
    let wait = Duration::try_from(next.duration_since(now)).unwrap_or(wait);
    Ok(Action::requeue(wait.saturating_sub(decided.elapsed())))
}

/// The resource, unless there is nothing to do for it: it is being deleted, which changes no database, or cannot be decoded.
fn workable(watched: &Watched) -> Option<Arc<DatabaseAccountPassword>> {
    let resource = watched.resource();
    if resource.is_none() {
        warn!(
            resource = %ObjectRef::from(watched),
            "this version of the operator cannot decode this DatabaseAccountPassword, and leaves it alone; its account stays its own"
        );
    }
    resource.filter(|resource| resource.metadata.deletion_timestamp.is_none())
}

/// How long until the next look.
fn schedule(observation: &Observation, outcome: &Outcome, now: Timestamp, jitter: f64) -> Duration {
    let failures = status::failures(observation);
    match outcome {
        Outcome::Failed(Failure {
            until: Some(until), ..
        })
        | Outcome::Settled(Decision::Wait { until }) => {
            Duration::try_from(until.duration_since(now)).unwrap_or_default()
        }
        Outcome::Failed(failure) => schedule::after_failure(
            failure.class,
            failures.saturating_add(1),
            failure.retry_after,
            jitter,
        ),
        Outcome::Accepted(Accepted {
            account: Account::NotAvailable,
            ..
        }) => schedule::after_failure(Class::InstanceBusy, 1, None, jitter),
        Outcome::Looked(Account::NotAvailable) => schedule::after_failure(
            Class::InstanceBusy,
            failures.saturating_add(1),
            None,
            jitter,
        ),
        Outcome::Accepted(_)
        | Outcome::Looked(_)
        | Outcome::Settled(Decision::InSync { .. } | Decision::Suspended) => {
            schedule::resync(jitter)
        }
        Outcome::Settled(Decision::Hold(_) | Decision::Conflict) => {
            schedule::after_standing(status::not_ready_for(&observation.resource, now), jitter)
        }
        // Something is due, and this pass was not the one to do it.
        Outcome::Settled(Decision::LookAtAccount | Decision::Reset(_))
        | Outcome::Overlapped(_)
        | Outcome::Queued
        | Outcome::Abandoned => schedule::after_failure(Class::Transient, 1, None, jitter),
    }
}

/// A pass without an outcome is tried again like any call that fails for a moment.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that kube's Controller asks for"
)]
fn after_error(watched: Arc<Watched>, error: &PassError, context: Arc<Context>) -> Action {
    let uid = watched.uid().unwrap_or_default();
    let failures = context
        .failed_passes
        .get(&uid)
        .unwrap_or_default()
        .saturating_add(1);
    context.failed_passes.insert(uid, failures);
    context.metrics.pass_failed();
    warn!(resource = %ObjectRef::from(&*watched), %error, failures, "the pass had no outcome");
    Action::requeue(schedule::after_failure(
        Class::Transient,
        failures,
        None,
        rand::rng().random(),
    ))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]
mod tests;
