//! Whether the Kubernetes API is heard.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

use super::computed::gauges;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WatchLabel {
    watch: &'static str,
}

/// When a watch was last heard. A clone is the same watch.
#[derive(Debug, Clone)]
pub struct LastHeard(Arc<Mutex<Instant>>);

impl LastHeard {
    fn now() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// It was heard now.
    pub fn heard(&self) {
        *self.lock() = Instant::now();
    }

    /// When it was heard last.
    #[must_use]
    pub fn time(&self) -> Instant {
        *self.lock()
    }

    fn age(&self) -> Duration {
        self.time().elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All watches of this term of leadership, by label; one for each watched namespace.
type Watches = BTreeMap<&'static str, Vec<LastHeard>>;

/// The watches of the Kubernetes API.
pub struct WatchMetrics {
    errors: Family<WatchLabel, Counter>,
    unauthorized: Counter,
    watches: Arc<Mutex<Watches>>,
}

impl WatchMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let errors = Family::default();
        let unauthorized = Counter::default();
        let watches = Arc::default();
        registry.register(
            "watch_errors",
            "Failed lists and watches of the Kubernetes API",
            errors.clone(),
        );
        registry.register(
            "kubernetes_unauthorized",
            "Answers of the Kubernetes API that refuse the operator's credentials, HTTP status 401",
            unauthorized.clone(),
        );
        registry.register_collector(Box::new(Ages(Arc::clone(&watches))));
        Self {
            errors,
            unauthorized,
            watches,
        }
    }

    pub(super) fn end(&self) {
        lock(&self.watches).clear();
    }

    /// A watch begins. Its age counts from now.
    #[must_use]
    pub fn begin(&self, watch: &'static str) -> LastHeard {
        let last_heard = LastHeard::now();
        let mut watches = lock(&self.watches);
        watches.entry(watch).or_default().push(last_heard.clone());
        last_heard
    }

    /// The API server does not accept the operator's credentials.
    pub fn unauthorized(&self) {
        self.unauthorized.inc();
    }

    /// A list or watch failed.
    pub fn failed(&self, watch: &'static str) {
        self.errors.get_or_create(&WatchLabel { watch }).inc();
    }
}

fn lock(watches: &Mutex<Watches>) -> MutexGuard<'_, Watches> {
    watches.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Ages(Arc<Mutex<Watches>>);

impl Collector for Ages {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let watches = lock(&self.0);
        let oldest = watches.iter().filter_map(|(watch, heard)| {
            let oldest = heard.iter().map(LastHeard::age).max()?;
            Some((WatchLabel { watch }, oldest.as_secs_f64()))
        });
        gauges(
            &mut encoder,
            "watch_age",
            "Time since the API server was last heard on this watch: an event, a bookmark, or the success of a list or of the watch's start",
            Some(&Unit::Seconds),
            oldest,
        )
    }
}
