//! What is counted. Every label comes from a closed set, but for the names of resources that cannot be decoded, which leave
//! with the resource.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    passes: Family<OutcomeLabel, Counter>,
    resets: Family<OutcomeLabel, Counter>,
    cloud_calls: Family<CallLabels, Histogram, fn() -> Histogram>,
    watch_errors: Family<WatchLabel, Counter>,
    failed_passes: Counter,
    resources: Gauge,
    undecodable: Family<ResourceLabels, Gauge>,
    is_leader: Gauge<f64, AtomicU64>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    action: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WatchLabel {
    watch: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResourceLabels {
    namespace: String,
    name: String,
}

/// 5 ms to 20 s, which is the longest that a reset may take.
fn call_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 13))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers all metrics.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("rds_password_operator");
        let passes = Family::default();
        let resets = Family::default();
        let cloud_calls = Family::new_with_constructor(call_histogram as fn() -> Histogram);
        let watch_errors = Family::default();
        let failed_passes = Counter::default();
        let resources = Gauge::default();
        let undecodable = Family::default();
        let is_leader = Gauge::default();
        registry.register(
            "passes",
            "Finished passes over a resource, by outcome",
            passes.clone(),
        );
        registry.register(
            "resets",
            "Finished tries to reset a password: Reset, or the reason of the condition that they led to",
            resets.clone(),
        );
        registry.register_with_unit(
            "cloud_call_duration",
            "Calls of the cloud API, by action and by code (OK for a success)",
            Unit::Seconds,
            cloud_calls.clone(),
        );
        registry.register(
            "watch_errors",
            "Failed lists and watches of the Kubernetes API",
            watch_errors.clone(),
        );
        registry.register(
            "failed_passes",
            "Passes that could not observe, or could not write the status",
            failed_passes.clone(),
        );
        registry.register(
            "resources",
            "DatabaseAccountPasswords that are known",
            resources.clone(),
        );
        registry.register(
            "undecodable_resources",
            "DatabaseAccountPasswords that this version cannot decode, by name",
            undecodable.clone(),
        );
        registry.register(
            "leader",
            "1 while this process is the leader",
            is_leader.clone(),
        );
        registry.register(
            "build",
            "The version of the operator",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self {
            registry,
            passes,
            resets,
            cloud_calls,
            watch_errors,
            failed_passes,
            resources,
            undecodable,
            is_leader,
        }
    }

    /// A pass ended.
    pub fn pass(&self, outcome: &'static str) {
        self.passes.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// A pass ended without an outcome.
    pub fn pass_failed(&self) {
        self.failed_passes.inc();
    }

    /// A try to reset a password ended.
    pub fn reset(&self, outcome: &'static str) {
        self.resets.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// A call of the cloud API ended.
    pub fn cloud_call(&self, action: &'static str, code: &'static str, took: Duration) {
        self.cloud_calls
            .get_or_create(&CallLabels { action, code })
            .observe(took.as_secs_f64());
    }

    /// A list or watch failed.
    pub fn watch_error(&self, watch: &'static str) {
        self.watch_errors.get_or_create(&WatchLabel { watch }).inc();
    }

    /// The resources that are known, and those (namespace, name) that cannot be decoded.
    pub fn set_resources<'a>(
        &self,
        count: usize,
        undecodable: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        self.resources.set(i64::try_from(count).unwrap_or(i64::MAX));
        self.undecodable.clear();
        for (namespace, name) in undecodable {
            let labels = ResourceLabels {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            };
            self.undecodable.get_or_create(&labels).set(1);
        }
    }

    /// Whether this process leads.
    pub fn set_leader(&self, is_leader: bool) {
        self.is_leader.set(f64::from(u8::from(is_leader)));
    }

    /// The text that `/metrics` serves, in `OpenMetrics`' format.
    ///
    /// # Errors
    /// When a metric cannot be written, which a `String` never causes.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
