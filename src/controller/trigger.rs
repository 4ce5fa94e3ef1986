//! Watches the resources and the Secrets, and wakes the passes that a change concerns.
//!
//! Each watch has its own back-off: kube's Controller has one for all of its triggers, so that a watch that fails would hold
//! up the other.

use std::collections::{BTreeSet, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Resource, ResourceExt as _};
use rand::RngExt as _;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::Context;
use super::backoff::Backoff;
use super::heard::telling;
use super::in_sync::in_sync_with;
use super::index::{Concerned, Facts, ObjectName, ObjectVersion};
use super::unwatched::{Failed, Unwatched};
use super::wakes::Wakes;
use super::watched::Watched;
use crate::api_server::ApiServerError;
use crate::health::Health;
use crate::metrics::fleet;

/// Seconds until a watch is opened anew. Below the four minutes after which load balancers drop idle connections silently
/// (Azure's default), since a dropped watch is only noticed at this time.
const WATCH_SECONDS: u32 = 180;

/// How many objects a page of a list has. The annotations of each, which nothing here reads, may be a quarter of a MiB: kube's
/// page of 500 would let anybody who may write Secrets fill the operator's memory.
pub const PAGE: u32 = 100;

/// How long resources may be held back for the first list of Secrets: so long, and for each of them as long as one GET of a Secret may
/// cost. Beyond that they read their Secrets themselves: in a cluster with many large Secrets the list may take minutes, and one that
/// was changed meanwhile is to be applied at once.
const PATIENCE: Duration = Duration::from_secs(2);
const PATIENCE_FOR_EACH: Duration = Duration::from_millis(1);

/// What is watched, as `/readyz` and the log call it.
const RESOURCES: &str = "DatabaseAccountPasswords";
const SECRETS: &str = "Secrets";

/// The kinds that are watched, as metrics name the watches.
pub const WATCHED_KINDS: [&str; 2] = [RESOURCE_KIND, SECRET_KIND];
const RESOURCE_KIND: &str = "DatabaseAccountPassword";
const SECRET_KIND: &str = "Secret";

/// One watched namespace, or all of them, with the names that its controller has to look at.
#[derive(Clone)]
pub struct Scope {
    /// The namespace; `None` for all.
    pub namespace: Option<String>,
    /// Where its controller takes its work from.
    pub wakes: Wakes,
    /// Told once its resources are listed, or cannot be.
    listed: Arc<Notify>,
}

/// All scopes: a change in one namespace may concern a resource in another, which names the same account.
#[derive(Clone)]
pub struct Scopes(Arc<[Scope]>);

impl Scopes {
    /// A scope for each namespace; for none, one over all.
    #[must_use]
    pub fn of(namespaces: &[String]) -> Self {
        let scope = |namespace| Scope {
            namespace,
            wakes: Wakes::default(),
            listed: Arc::default(),
        };
        if namespaces.is_empty() {
            return Self([scope(None)].into());
        }
        let distinct: BTreeSet<&String> = namespaces.iter().collect();
        Self(
            distinct
                .into_iter()
                .map(|namespace| scope(Some(namespace.clone())))
                .collect(),
        )
    }

    /// The scopes.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    fn wake(&self, mut concerned: Concerned) {
        for scope in self.iter() {
            let (ours, others) = concerned
                .into_iter()
                .partition(|name| name.is_in(scope.namespace.as_deref()));
            scope.wakes.add(ours);
            concerned = others;
        }
    }
}

/// Watches the resources of a scope for ever, and keeps the store that the returned reader reads.
///
/// This looks at the raw events after the store has taken them. kube's predicates swallow deletions, and on a list they speak
/// before the store has the new state: a change would be looked at in its old state, and then never again.
pub fn watch_resources(
    context: Arc<Context>,
    scopes: Scopes,
    scope: &Scope,
) -> (Store<Watched>, impl Future<Output = ()> + Send + use<>) {
    context.index().await_list(scope.namespace.as_deref());
    context.index().await_secrets(scope.namespace.as_deref());
    let (reader, writer) = reflector::store::<Watched>();
    let namespace = scope.namespace.clone();
    let (metrics, store) = (context.metrics.clone(), reader.clone());
    metrics.fleet.add(move || resources(&store));
    let client = telling(&context.client, metrics.watches.begin(RESOURCE_KIND));
    let events = watcher(api::<Watched>(client, scope), config()).reflect(writer);
    let part = part(RESOURCES, scope);
    let store = reader.clone();
    let first_list = scope.listed.clone();
    let watch = async move {
        let mut events = pin!(events);
        let mut backoff = Backoff::default();
        while let Some(heard) =
            next(&context, RESOURCE_KIND, &part, &mut events, &mut backoff).await
        {
            let concerned = match heard {
                Heard::Failure(_) => {
                    first_list.notify_one();
                    continue;
                }
                Heard::Event(Event::Init | Event::InitApply(_)) => continue,
                Heard::Event(Event::InitDone) => {
                    let state = store.state();
                    // Unpacked one by one, with the index locked: all at once they would take more memory than at rest.
                    let listed = state
                        .iter()
                        .map(|watched| (ObjectName::of(watched.meta()), facts(&context, watched)));
                    let concerned = context.index().replace(namespace.as_deref(), listed);
                    first_list.notify_one();
                    concerned
                }
                Heard::Event(Event::Apply(watched)) => {
                    let name = ObjectName::of(watched.meta());
                    let facts = facts(&context, &watched);
                    context.index().apply(&name, facts)
                }
                Heard::Event(Event::Delete(watched)) => {
                    context.index().delete(&ObjectName::of(watched.meta()))
                }
            };
            scopes.wake(concerned);
        }
    };
    (reader, watch)
}

fn facts(context: &Context, watched: &Watched) -> Facts {
    Facts::of(
        watched,
        |status| context.written.is_own(status),
        |resource| in_sync_with(resource, &context.keyring).is_some(),
    )
}

/// Watches the metadata of the Secrets of a scope for ever. Nothing of them is kept but the version of those that are read: so
/// this begins once the scope's resources are listed, or cannot be.
pub async fn watch_secrets(context: Arc<Context>, scopes: Scopes, scope: Scope) {
    let part = part(SECRETS, &scope);
    let last_heard = context.metrics.watches.begin(SECRET_KIND);
    let client = telling(&context.client, last_heard.clone());
    let events = watcher(api::<PartialObjectMeta<Secret>>(client, &scope), config())
        // `kubectl apply` keeps a copy of the whole Secret in an annotation.
        .modify(|secret| {
            secret.metadata.annotations = None;
            secret.metadata.managed_fields = None;
        });
    scope.listed.notified().await;
    let mut patience = Some(patience(&context, &scope));
    let mut events = pin!(events);
    let mut listed = HashSet::new();
    let mut has_listed = false;
    let mut backoff = Backoff::default();
    let mut unwatched = Unwatched::default();
    loop {
        let next = next(&context, SECRET_KIND, &part, &mut events, &mut backoff);
        let namespace = scope.namespace.as_deref();
        let heard = tokio::select! {
            heard = next => match heard {
                Some(heard) => heard,
                None => return,
            },
            // Its first list takes longer than the resources are held back for.
            () = at(patience) => {
                patience = None;
                scopes.wake(context.index().secrets_unlisted(namespace));
                continue;
            }
            () = at(unwatched.due()) => {
                let (now, heard) = (tokio::time::Instant::now(), last_heard.time().into());
                if let Some(is_due) = unwatched.take(now, heard) {
                    let index = context.index();
                    let due = index.readers(namespace).filter(|name| is_due(name));
                    scopes.wake(due.cloned().collect());
                }
                continue;
            }
        };
        if matches!(
            heard,
            Heard::Event(Event::InitDone | Event::Apply(_) | Event::Delete(_))
        ) {
            unwatched.restored();
        }
        let concerned = match heard {
            // One watch that fails must not hold up the other.
            Heard::Failure(failed) => {
                match failed {
                    Some(failed) => unwatched.failed(failed, tokio::time::Instant::now()),
                    // Each look would fail as well.
                    None => unwatched.restored(),
                }
                context.index().secrets_unlisted(namespace)
            }
            Heard::Event(Event::Init) => {
                listed.clear();
                continue;
            }
            Heard::Event(Event::InitApply(secret)) => {
                let name = ObjectName::of(&secret.metadata);
                let concerned = seen(&context, &name, &secret);
                if context.index().is_read(&name) {
                    listed.insert(name);
                }
                // The first list brings everything, changed or not.
                if has_listed {
                    tell_of_changes(&context, &concerned);
                }
                concerned
            }
            Heard::Event(Event::Apply(secret)) => {
                let concerned = seen(&context, &ObjectName::of(&secret.metadata), &secret);
                tell_of_changes(&context, &concerned);
                concerned
            }
            Heard::Event(Event::Delete(secret)) => context
                .index()
                .secret_gone(&ObjectName::of(&secret.metadata)),
            Heard::Event(Event::InitDone) => {
                (has_listed, patience) = (true, None);
                let listed = std::mem::take(&mut listed);
                context
                    .index()
                    .secrets_listed(scope.namespace.as_deref(), &listed)
            }
        };
        scopes.wake(concerned);
    }
}

/// Until when the resources of a scope are held back for the first list of its Secrets.
fn patience(context: &Context, scope: &Scope) -> tokio::time::Instant {
    let held_back = context.index().count_held_back(scope.namespace.as_deref());
    let for_each = PATIENCE_FOR_EACH.saturating_mul(u32::try_from(held_back).unwrap_or(u32::MAX));
    tokio::time::Instant::now() + PATIENCE.saturating_add(for_each)
}

fn tell_of_changes(context: &Context, concerned: &Concerned) {
    let now = Instant::now();
    for resource in concerned {
        context.changes.told(resource, now);
    }
}

/// The resources that the watch has brought, for their metrics.
fn resources(store: &Store<Watched>) -> Vec<fleet::Resource> {
    let state = store.state();
    let resource = |watched: &Arc<Watched>| {
        let ObjectName { namespace, name } = ObjectName::of(watched.meta());
        let state = watched.state();
        fleet::Resource {
            namespace,
            name,
            state,
        }
    };
    state.iter().map(resource).collect()
}

fn seen(context: &Context, name: &ObjectName, secret: &PartialObjectMeta<Secret>) -> Concerned {
    let version = ObjectVersion {
        uid: secret.uid().unwrap_or_default(),
        resource_version: secret.resource_version().unwrap_or_default(),
    };
    context.index().secret_seen(name, version)
}

/// What comes of a watch.
enum Heard<K> {
    /// An event.
    Event(Event<K>),
    /// It failed, and goes on after its back-off; and what failed, where the API server answers others.
    Failure(Option<Failed>),
}

/// Waits until then; for ever, where there is no such time.
async fn at(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// What comes next, after the wait that a failure has left. Errors go to the log, the metrics and `/readyz`. May be dropped and called
/// again.
async fn next<K>(
    context: &Context,
    watch: &'static str,
    part: &str,
    events: &mut (impl Stream<Item = watcher::Result<Event<K>>> + Unpin),
    backoff: &mut Backoff,
) -> Option<Heard<K>> {
    if let Some(until) = backoff.until() {
        tokio::time::sleep_until(until).await;
    }
    Some(match events.next().await? {
        Ok(event) => {
            // A list that has begun may still fail at its second page.
            if !matches!(event, Event::Init | Event::InitApply(_)) {
                backoff.succeeded();
                if context.health.clear_obstacle(part) {
                    info!(part, "watching");
                }
            }
            Heard::Event(event)
        }
        Err(error) => {
            context.metrics.watches.failed(watch);
            backoff.failed(tokio::time::Instant::now(), rand::rng().random());
            if let Some((obstacle, lasts)) = obstacle(&error, backoff)
                && context.health.set_obstacle(part, &obstacle, lasts)
            {
                warn!(part, obstacle, "not watching");
            }
            Heard::Failure(failed(&error))
        }
    })
}

/// What has failed, where other requests than this one may be answered all the same.
fn failed(error: &watcher::Error) -> Option<Failed> {
    let (failed, cause) = match error {
        watcher::Error::InitialListFailed(cause) => (Failed::List, cause),
        watcher::Error::WatchStartFailed(cause) | watcher::Error::WatchFailed(cause) => {
            (Failed::Watch, cause)
        }
        watcher::Error::WatchError(_) => return Some(Failed::Watch),
        watcher::Error::NoResourceVersion => return Some(Failed::List),
    };
    ApiServerError::of(cause)
        .is_of_the_request()
        .then_some(failed)
}

/// What is wrong with a watch, in our own words, since the error may carry a piece of an object; and for how long that holds
/// without being said again.
fn obstacle(error: &watcher::Error, backoff: &Backoff) -> Option<(String, Option<Duration>)> {
    let (cause, lasts) = match error {
        watcher::Error::InitialListFailed(cause) => (cause, None),
        watcher::Error::WatchStartFailed(cause) => (cause, Some(backoff.unsaid_for())),
        // A watch that ended, as each does now and then, or whose place in history is gone: the next thing is another watch
        // or a list, and if that fails it says so.
        watcher::Error::WatchFailed(_) | watcher::Error::WatchError(_) => return None,
        watcher::Error::NoResourceVersion => {
            return Some((
                "the API server's list has no resourceVersion".to_owned(),
                None,
            ));
        }
    };
    let obstacle = match cause {
        kube::Error::Api(status) if status.code == 404 => {
            "the CustomResourceDefinition is not installed: kubectl apply -f crds/".to_owned()
        }
        kube::Error::Api(status) if status.code == 403 => {
            "the operator's ServiceAccount may not list and watch them: it needs the operator's role (deploy/rbac.yaml, or rbac.create and scope.watchNamespaces of the chart)".to_owned()
        }
        cause => ApiServerError::of(cause).to_string(),
    };
    Some((obstacle, lasts))
}

/// What `/readyz` and the log call a watch.
fn part(watch: &str, scope: &Scope) -> String {
    match &scope.namespace {
        None => watch.to_owned(),
        Some(namespace) => format!("{watch} in namespace {namespace}"),
    }
}

impl Scopes {
    /// Says in `/readyz` that nothing has been listed yet.
    pub fn not_listed_yet(&self, health: &Health) {
        for scope in self.iter() {
            for watch in [RESOURCES, SECRETS] {
                health.set_obstacle(&part(watch, scope), "not listed yet", None);
            }
        }
    }
}

fn api<K>(client: Client, scope: &Scope) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    match &scope.namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    }
}

fn config() -> watcher::Config {
    watcher::Config::default()
        .timeout(WATCH_SECONDS)
        .page_size(PAGE)
}
