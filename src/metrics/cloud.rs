//! What the cloud API says, and how long it is waited for.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::computed::gauge;

/// The code of a call that succeeded.
pub const OK: &str = "OK";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    action: &'static str,
    code: &'static str,
}

/// 5 ms to 20 s, which is the longest that a reset may take.
fn call_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 13))
}

/// 1 ms to some four minutes: twice the longest time for which throttling closes a budget.
fn wait_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 10))
}

/// The calls of the cloud API.
pub struct CloudMetrics {
    calls: Family<CallLabels, Histogram, fn() -> Histogram>,
    budget_wait: Histogram,
    budget_waiting: Gauge,
    turn_wait: Histogram,
}

impl CloudMetrics {
    pub(super) fn register(
        registry: &mut Registry,
        calls_per_second: NonZeroU32,
        closed_budgets: Box<dyn Fn() -> usize + Send + Sync>,
    ) -> Self {
        let calls = Family::new_with_constructor(call_histogram as fn() -> Histogram);
        let budget_wait = wait_histogram();
        let budget_waiting = Gauge::default();
        let turn_wait = wait_histogram();
        let size = Gauge::<i64>::default();
        size.set(i64::from(calls_per_second.get()));
        registry.register_with_unit(
            "cloud_call_duration",
            "Calls of the cloud APIs (RDS and STS), by action and by code (OK for a success)",
            Unit::Seconds,
            calls.clone(),
        );
        registry.register_with_unit(
            "request_budget_wait",
            "How long calls of RDS waited for a place in the request budget and for a slot",
            Unit::Seconds,
            budget_wait.clone(),
        );
        registry.register(
            "request_budget_calls_per_second",
            "The size of each request budget",
            size,
        );
        registry.register(
            "request_budget_waiting",
            "Calls of RDS that wait for a place in the request budget or for a slot now",
            budget_waiting.clone(),
        );
        registry.register_collector(Box::new(ClosedBudgets(closed_budgets)));
        registry.register_with_unit(
            "instance_turn_wait",
            "How long resets waited for the turn of their instance, which takes one at a time",
            Unit::Seconds,
            turn_wait.clone(),
        );
        Self {
            calls,
            budget_wait,
            budget_waiting,
            turn_wait,
        }
    }

    /// A call ended.
    pub fn called(&self, action: &'static str, code: &'static str, took: Duration) {
        self.calls
            .get_or_create(&CallLabels { action, code })
            .observe(took.as_secs_f64());
    }

    /// A call waits for its place in the request budget, until the returned value is dropped.
    #[must_use = "dropping it ends the wait"]
    pub fn waiting_for_budget(&self) -> Waiting<'_> {
        self.budget_waiting.inc();
        Waiting(&self.budget_waiting)
    }

    /// A call has waited so long for its place in the request budget.
    pub fn waited_for_budget(&self, waited: Duration) {
        self.budget_wait.observe(waited.as_secs_f64());
    }

    /// A reset has waited so long for its instance's turn.
    pub fn waited_for_turn(&self, waited: Duration) {
        self.turn_wait.observe(waited.as_secs_f64());
    }
}

/// See [`CloudMetrics::waiting_for_budget`].
pub struct Waiting<'a>(&'a Gauge);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

struct ClosedBudgets(Box<dyn Fn() -> usize + Send + Sync>);

impl fmt::Debug for ClosedBudgets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClosedBudgets").finish_non_exhaustive()
    }
}

impl Collector for ClosedBudgets {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        gauge(
            &mut encoder,
            "request_budget_closed",
            "Request budgets that throttling has closed now",
            None,
            &(self.0)(),
        )
    }
}
