//! What was done for the resources, and how soon.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The reason of a try that succeeded.
pub const SUCCEEDED: &str = "Reset";

/// In seconds. The promise is a second, so most of the buckets are about that; the rest follows the back-off, of which the
/// longest waits are ten minutes, and the outages that people remember.
const BUCKETS: [f64; 17] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
    1800.0, 3600.0,
];

/// How a try to reset a password ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResetResult {
    /// RDS accepted the value.
    Success,
    /// It did not, or was not asked.
    Failure,
    /// The answer was lost, or does not tell: the database may have the value.
    Unknown,
}

impl ResetResult {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Success, Self::Failure, Self::Unknown];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Unknown => "unknown",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResetLabels {
    trigger: &'static str,
    result: &'static str,
    reason: &'static str,
}

/// The resets.
pub struct ResetMetrics {
    tries: Family<ResetLabels, Counter>,
    secret_change_to_reset: Histogram,
}

impl ResetMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let tries = Family::default();
        let secret_change_to_reset = Histogram::new(BUCKETS);
        registry.register(
            "resets",
            "Finished tries to reset a password, by what made them necessary, how they ended, and the reason of the condition that they led to",
            tries.clone(),
        );
        registry.register_with_unit(
            "secret_change_to_reset",
            "From when the operator learned of a changed value to when RDS accepted it",
            Unit::Seconds,
            secret_change_to_reset.clone(),
        );
        Self {
            tries,
            secret_change_to_reset,
        }
    }

    /// A try ended, and that was written down. `reason` is [`SUCCEEDED`], or that of the condition that it led to.
    pub fn finished(&self, trigger: &'static str, result: ResetResult, reason: &'static str) {
        let labels = ResetLabels {
            trigger,
            result: result.as_str(),
            reason,
        };
        self.tries.get_or_create(&labels).inc();
    }

    /// RDS accepted a changed value, so long after the operator had learned of the change.
    pub fn secret_change_applied(&self, after: Duration) {
        self.secret_change_to_reset.observe(after.as_secs_f64());
    }
}
