//! Sees every state of every resource, and how punctual this process is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::watcher as watch;
use kube::runtime::watcher::{self, Event};
use rds_password_operator::api::DatabaseAccountPassword;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::model::CANARY;
use super::oracle::Ready;
use crate::Search;
use crate::bed::condition;

/// How often the clock is looked at.
const TICK: Duration = Duration::from_millis(20);

/// How long after a failure the API server is asked again.
const RETRY: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Seen {
    recorded: BTreeMap<String, Timestamp>,
    ready: Vec<Ready>,
    /// By the uid of the object: its version, and the reset of which it says that it is Ready by it.
    current: BTreeMap<String, (u64, Option<String>)>,
    leaks: Vec<String>,
    lag: Duration,
}

/// Looks on until it is dropped.
pub(super) struct Witness {
    seen: Arc<Mutex<Seen>>,
    search: Search,
    tasks: [AbortHandle; 2],
}

impl Witness {
    /// Begins to look at the resources of this collection.
    pub(super) fn of(resources: Api<DatabaseAccountPassword>) -> anyhow::Result<Self> {
        let seen = Arc::<Mutex<Seen>>::default();
        let watching = {
            let seen = Arc::clone(&seen);
            let search = Search::of([CANARY])?;
            async move {
                let events = watch(resources, watcher::Config::default());
                let mut events = std::pin::pin!(events);
                while let Some(event) = events.next().await {
                    match event {
                        Ok(Event::Apply(it) | Event::InitApply(it) | Event::Delete(it)) => {
                            note(&mut lock(&seen), &search, &it);
                        }
                        Ok(_) => {}
                        // The API server is away. A pause that grew would miss what comes right after.
                        Err(_) => sleep(RETRY).await,
                    }
                }
            }
        };
        let ticking = {
            let seen = Arc::clone(&seen);
            async move {
                loop {
                    let began = Instant::now();
                    sleep(TICK).await;
                    let late = began.elapsed().saturating_sub(TICK);
                    let mut seen = lock(&seen);
                    seen.lag = seen.lag.max(late);
                }
            }
        };
        Ok(Self {
            seen,
            search: Search::of([CANARY])?,
            tasks: [
                tokio::spawn(watching).abort_handle(),
                tokio::spawn(ticking).abort_handle(),
            ],
        })
    }

    /// Looks at a resource that another has read: after a relist, a watch may come later than that.
    pub(super) fn look(&self, resource: &DatabaseAccountPassword) {
        note(&mut lock(&self.seen), &self.search, resource);
    }

    /// When a status was first seen that names the reset of an id.
    pub(super) fn recorded(&self) -> BTreeMap<String, Timestamp> {
        lock(&self.seen).recorded.clone()
    }

    /// When a resource began to say that it is Ready, and by which reset.
    pub(super) fn ready(&self) -> Vec<Ready> {
        lock(&self.seen).ready.clone()
    }

    /// The secrets that a resource told.
    pub(super) fn leaks(&self) -> Vec<String> {
        lock(&self.seen).leaks.clone()
    }

    /// The longest that this process was held up.
    pub(super) fn lag(&self) -> Duration {
        lock(&self.seen).lag
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note(seen: &mut Seen, search: &Search, resource: &DatabaseAccountPassword) {
    let text = serde_json::to_string(resource).unwrap_or_default();
    seen.leaks.extend(search.find(&text));
    let Some(status) = &resource.status else {
        return;
    };
    let last = status.last_reset.iter().map(|it| it.request_id.clone());
    let accepted = status.history.iter().filter(|it| it.outcome.0 == "Reset");
    let earlier = accepted.filter_map(|it| it.request_id.clone());
    let now = Timestamp::now();
    note_ready(seen, resource, now);
    for id in last.chain(earlier) {
        seen.recorded.entry(id).or_insert(now);
    }
}

fn note_ready(seen: &mut Seen, resource: &DatabaseAccountPassword, now: Timestamp) {
    let version = resource.resource_version();
    let version = version.and_then(|it| it.parse().ok()).unwrap_or(u64::MAX);
    let is_ready = condition(resource, "Ready").is_some_and(|it| it.status == "True");
    let reset = resource
        .status
        .as_ref()
        .and_then(|it| it.last_reset.as_ref());
    let by = reset.filter(|_| is_ready).map(|it| it.request_id.clone());
    let uid = resource.uid().unwrap_or_default();
    let (known, before) = seen.current.entry(uid).or_default();
    // A list may have told of it before the watch does.
    if version < *known {
        return;
    }
    *known = version;
    if *before != by {
        before.clone_from(&by);
        let ready = by.map(|request_id| Ready {
            request_id,
            from: now,
        });
        seen.ready.extend(ready);
    }
}
