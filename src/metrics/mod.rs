//! What is counted and measured. Every label comes from a closed set, but for the namespace and name in the series that
//! single resources have, which leave with the resource.
//!
//! One file for each subject: [`fleet`] tells how the resources are, [`resets`] what was done for them, [`cloud`] what the
//! cloud API says and how long it is waited for, [`credentials`] whether the operator can identify itself, [`watches`]
//! whether the Kubernetes API is heard. Nothing here decides anything.

pub mod cloud;
mod computed;
pub mod credentials;
pub mod fleet;
pub mod resets;
pub mod watches;

use std::num::NonZeroU32;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use cloud::CloudMetrics;
use credentials::CredentialMetrics;
use fleet::FleetMetrics;
use resets::ResetMetrics;
use watches::WatchMetrics;

/// What the metrics need to know.
pub struct Settings {
    /// Whether each resource has series of its own.
    pub has_resource_series: bool,
    /// The size of a request budget.
    pub calls_per_second: NonZeroU32,
    /// Counts the request budgets that are closed now.
    pub closed_budgets: Box<dyn Fn() -> usize + Send + Sync>,
}

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    passes: Family<OutcomeLabel, Counter>,
    failed_passes: Counter,
    is_leader: Gauge,
    /// The resources.
    pub fleet: FleetMetrics,
    /// The resets.
    pub resets: ResetMetrics,
    /// The calls of the cloud API.
    pub cloud: CloudMetrics,
    /// The cloud credentials.
    pub credentials: CredentialMetrics,
    /// The watches of the Kubernetes API.
    pub watches: WatchMetrics,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

impl Metrics {
    /// Registers all metrics.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let mut registry = Registry::with_prefix("rds_password_operator");
        let passes = Family::default();
        let failed_passes = Counter::default();
        let is_leader = Gauge::default();
        registry.register(
            "passes",
            "Finished passes over a resource, by outcome",
            passes.clone(),
        );
        registry.register(
            "failed_passes",
            "Passes that could not observe, or could not write the status",
            failed_passes.clone(),
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
            passes,
            failed_passes,
            is_leader,
            fleet: FleetMetrics::register(&mut registry, settings.has_resource_series),
            resets: ResetMetrics::register(&mut registry),
            cloud: CloudMetrics::register(
                &mut registry,
                settings.calls_per_second,
                settings.closed_budgets,
            ),
            credentials: CredentialMetrics::register(&mut registry),
            watches: WatchMetrics::register(&mut registry),
            registry,
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

    /// This process leads from now on, until the returned value is dropped. Only a leader watches, so only a leader knows how
    /// the resources and the watches are.
    #[must_use = "dropping it ends the leadership"]
    pub fn lead(&self) -> Leading<'_> {
        self.is_leader.set(1);
        self.fleet.begin();
        Leading(self)
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

/// A term of leadership, see [`Metrics::lead`].
pub struct Leading<'a>(&'a Metrics);

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        // In this order, so that no scrape has a resource of a process that does not lead.
        self.0.fleet.end();
        self.0.watches.end();
        self.0.is_leader.set(0);
    }
}
