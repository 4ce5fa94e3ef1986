//! How the resources are: counted at each scrape from what the watches have in memory anyway, so that nothing has to be kept
//! or cleared for it, and a resource that is gone is gone from here.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::{Registry, Unit};

use super::computed::{gauge, gauges};
use crate::api::{ConditionType, DatabaseAccountPassword, ReadyReason};

/// The reason of a resource that has no condition `Ready` yet, or one with a reason of another version.
pub const UNKNOWN: &str = "Unknown";

/// The reason of a resource that this version cannot decode.
pub const UNDECODABLE: &str = "Undecodable";

/// A resource as it is now.
pub struct Resource {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: State,
}

/// How a resource is. Small, since it is kept for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// This version can decode it.
    Decoded {
        /// The reason of its condition `Ready`, from the closed set.
        reason: &'static str,
        /// Whether that is true.
        is_ready: bool,
        /// Whether a person has to act for it.
        is_stalled: bool,
        /// Whether `spec.suspend` is set.
        is_suspended: bool,
        /// `status.pendingSince`.
        pending_since: Option<Timestamp>,
        /// When RDS last accepted a password for it.
        last_reset: Option<Timestamp>,
    },
    /// It cannot.
    Undecodable,
}

impl State {
    /// The state of a resource that could be decoded.
    #[must_use]
    pub fn of(resource: &DatabaseAccountPassword) -> Self {
        let status = resource.status.as_ref();
        let last_reset = status.and_then(|status| status.last_reset.as_ref());
        Self::Decoded {
            reason: reason(resource),
            is_ready: is(resource, ConditionType::Ready),
            is_stalled: is(resource, ConditionType::Stalled),
            is_suspended: resource.spec.suspend,
            pending_since: status
                .and_then(|status| status.pending_since.as_ref())
                .map(|since| since.0),
            last_reset: last_reset.map(|reset| reset.time.0),
        }
    }
}

/// Gives the resources of one watch.
pub type Source = Box<dyn Fn() -> Vec<Resource> + Send + Sync>;

/// How the resources are. Without samples while this process does not lead.
#[derive(Clone)]
pub struct FleetMetrics {
    /// `None` while this process does not lead.
    sources: Arc<Mutex<Option<Vec<Source>>>>,
}

impl FleetMetrics {
    pub(super) fn register(registry: &mut Registry, has_resource_series: bool) -> Self {
        let sources = Arc::new(Mutex::new(None));
        registry.register_collector(Box::new(Fleet {
            sources: sources.clone(),
            has_resource_series,
        }));
        Self { sources }
    }

    pub(super) fn begin(&self) {
        *lock(&self.sources) = Some(Vec::new());
    }

    pub(super) fn end(&self) {
        *lock(&self.sources) = None;
    }

    /// Adds the resources of a watch, until the leadership ends.
    pub fn add(&self, source: impl Fn() -> Vec<Resource> + Send + Sync + 'static) {
        if let Some(sources) = &mut *lock(&self.sources) {
            sources.push(Box::new(source));
        }
    }
}

fn lock(sources: &Mutex<Option<Vec<Source>>>) -> MutexGuard<'_, Option<Vec<Source>>> {
    // A list of functions is whole after any panic.
    sources.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every reason that the metric `resources` has a series for.
pub fn reasons() -> impl Iterator<Item = &'static str> {
    let known = ReadyReason::all().map(ReadyReason::as_str);
    known.chain([UNDECODABLE, UNKNOWN])
}

struct Fleet {
    sources: Arc<Mutex<Option<Vec<Source>>>>,
    has_resource_series: bool,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").finish_non_exhaustive()
    }
}

impl Collector for Fleet {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let resources: Vec<Resource> = match &*lock(&self.sources) {
            None => return Ok(()),
            Some(sources) => sources.iter().flat_map(|source| source()).collect(),
        };
        let summary = Summary::of(&resources, Timestamp::now());
        summary.encode(&mut encoder)?;
        let undecodable = resources
            .iter()
            .filter(|resource| resource.state == State::Undecodable)
            .map(|resource| (labels(resource), 1_i64));
        gauges(
            &mut encoder,
            "undecodable_resources",
            "1 for each DatabaseAccountPassword that this version cannot decode",
            None,
            undecodable,
        )?;
        if !self.has_resource_series {
            return Ok(());
        }
        gauges(
            &mut encoder,
            "resource_ready",
            "1 if the DatabaseAccountPassword is Ready, else 0",
            None,
            resources
                .iter()
                .filter_map(|resource| match resource.state {
                    State::Decoded { is_ready, .. } => {
                        Some((labels(resource), i64::from(is_ready)))
                    }
                    State::Undecodable => None,
                }),
        )?;
        gauges(
            &mut encoder,
            "resource_last_reset_timestamp",
            "When RDS last accepted a password for the DatabaseAccountPassword",
            Some(&Unit::Seconds),
            resources
                .iter()
                .filter_map(|resource| match resource.state {
                    State::Decoded { last_reset, .. } => {
                        Some((labels(resource), last_reset?.as_second()))
                    }
                    State::Undecodable => None,
                }),
        )
    }
}

/// What is told of all resources together.
#[derive(Debug, PartialEq)]
struct Summary {
    by_reason: Vec<(&'static str, OfReason)>,
    stalled: u64,
    pending: u64,
}

/// What is told of the resources with one reason of `Ready`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct OfReason {
    count: u64,
    /// In seconds.
    oldest_pending: f64,
}

impl Summary {
    fn of(resources: &[Resource], now: Timestamp) -> Self {
        let mut summary = Self {
            by_reason: reasons()
                .map(|reason| (reason, OfReason::default()))
                .collect(),
            stalled: 0,
            pending: 0,
        };
        for resource in resources {
            let (reason, pending) = summary.add(resource.state, now);
            let mut known = summary.by_reason.iter_mut();
            if let Some((_, of_reason)) = known.find(|(known, _)| *known == reason) {
                of_reason.count += 1;
                of_reason.oldest_pending = of_reason.oldest_pending.max(pending);
            }
        }
        summary
    }

    /// Returns the reason, and for how many seconds somebody has waited for the resource.
    fn add(&mut self, state: State, now: Timestamp) -> (&'static str, f64) {
        let State::Decoded {
            reason,
            is_stalled,
            is_suspended,
            pending_since,
            ..
        } = state
        else {
            return (UNDECODABLE, 0.0);
        };
        self.stalled += u64::from(is_stalled);
        self.pending += u64::from(pending_since.is_some());
        let waiting = pending_since.filter(|_| !is_suspended);
        // The clock may have been set back.
        let age = waiting.map_or(0.0, |since| {
            now.duration_since(since).as_secs_f64().max(0.0)
        });
        (reason, age)
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let by_reason = || self.by_reason.iter();
        gauges(
            encoder,
            "resources",
            "DatabaseAccountPasswords by the reason of their condition Ready",
            None,
            by_reason().map(|(reason, of_reason)| ([("reason", *reason)], of_reason.count)),
        )?;
        gauge(
            encoder,
            "stalled_resources",
            "DatabaseAccountPasswords that a person has to act for",
            None,
            &self.stalled,
        )?;
        gauge(
            encoder,
            "pending_changes",
            "DatabaseAccountPasswords with a value or a request that has not been applied",
            None,
            &self.pending,
        )?;
        gauges(
            encoder,
            "oldest_pending_change_age",
            "For how long the oldest of them that is not suspended has waited, by the reason of the condition Ready; 0 if there is none",
            Some(&Unit::Seconds),
            by_reason()
                .map(|(reason, of_reason)| ([("reason", *reason)], of_reason.oldest_pending)),
        )
    }
}

/// The reason of `Ready`, from the closed set.
fn reason(resource: &DatabaseAccountPassword) -> &'static str {
    let ready = condition(resource, ConditionType::Ready);
    let reason = ready.map_or("", |(_, reason)| reason);
    ReadyReason::all()
        .map(ReadyReason::as_str)
        .find(|known| *known == reason)
        .unwrap_or(UNKNOWN)
}

fn is(resource: &DatabaseAccountPassword, type_: ConditionType) -> bool {
    condition(resource, type_).is_some_and(|(status, _)| status == "True")
}

/// Status and reason of a condition.
fn condition(resource: &DatabaseAccountPassword, type_: ConditionType) -> Option<(&str, &str)> {
    let conditions = &resource.status.as_ref()?.conditions;
    let mut found = conditions.iter();
    let found = found.find(|condition| condition.type_ == type_.as_str())?;
    Some((&found.status, &found.reason))
}

fn labels(resource: &Resource) -> [(&'static str, &str); 2] {
    [("namespace", &resource.namespace), ("name", &resource.name)]
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]
mod tests {
    use std::time::Duration;

    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn resource(suspend: bool, status: &Value) -> Resource {
        let resource = json!({
            "apiVersion": "rds.password-operator.dev/v1alpha1",
            "kind": "DatabaseAccountPassword",
            "metadata": { "name": "a", "namespace": "n" },
            "spec": {
                "instanceId": "rm-1",
                "accountName": "app",
                "passwordSecretRef": { "name": "s", "key": "password" },
                "suspend": suspend,
            },
            "status": status,
        });
        named("a", State::of(&serde_json::from_value(resource).unwrap()))
    }

    fn named(name: &str, state: State) -> Resource {
        Resource {
            namespace: "n".to_owned(),
            name: name.to_owned(),
            state,
        }
    }

    fn status(type_: &str, status: &str, reason: &str, pending_since: Option<&str>) -> Value {
        json!({
            "conditions": [{
                "type": type_,
                "status": status,
                "reason": reason,
                "message": "",
                "lastTransitionTime": "2026-11-25T00:00:00Z",
            }],
            "pendingSince": pending_since,
        })
    }

    fn of_reason(summary: &Summary, reason: &str) -> OfReason {
        let mut known = summary.by_reason.iter();
        known.find(|(known, _)| *known == reason).unwrap().1
    }

    fn count(summary: &Summary, reason: &str) -> u64 {
        of_reason(summary, reason).count
    }

    #[rstest]
    #[case::in_sync(status("Ready", "True", "InSync", None), "InSync")]
    #[case::suspended(status("Ready", "False", "Suspended", None), "Suspended")]
    #[case::of_the_secret(status("Ready", "False", "SecretNotFound", None), "SecretNotFound")]
    #[case::of_the_instance(
        status("Ready", "False", "InstanceNotRunning", None),
        "InstanceNotRunning"
    )]
    #[case::of_the_password(status("Ready", "False", "Throttled", None), "Throttled")]
    #[case::of_another_version(status("Ready", "False", "Brand.New", None), UNKNOWN)]
    #[case::of_a_condition_that_is_never_in_the_way(
        status("Ready", "False", "Valid", None),
        UNKNOWN
    )]
    #[case::new(json!({ "observedGeneration": -1 }), UNKNOWN)]
    fn by_reason(#[case] status: Value, #[case] expected: &str) {
        let summary = Summary::of(&[resource(false, &status)], NOW);
        assert_eq!(count(&summary, expected), 1);
        let all: u64 = summary
            .by_reason
            .iter()
            .map(|(_, of_reason)| of_reason.count)
            .sum();
        assert_eq!(all, 1);
    }

    #[test]
    fn undecodable_ones_are_counted_as_such() {
        let summary = Summary::of(&[named("a", State::Undecodable)], NOW);
        assert_eq!(count(&summary, UNDECODABLE), 1);
    }

    #[test]
    fn stalled_and_pending() {
        let pending = |suspend, type_, reason, seconds| {
            let since = (NOW - Duration::from_secs(seconds)).to_string();
            resource(suspend, &status(type_, "False", reason, Some(&since)))
        };
        let stalled = resource(false, &status("Stalled", "True", "Conflict", None));
        let summary = Summary::of(
            &[
                pending(false, "Ready", "Throttled", 90),
                pending(false, "Ready", "Throttled", 60),
                pending(false, "Ready", "InstanceNotRunning", 500),
                pending(true, "Ready", "Suspended", 999),
                stalled,
            ],
            NOW,
        );
        assert_eq!((summary.stalled, summary.pending), (1, 4));
        let ages = [
            ("Throttled", 90.0),
            ("InstanceNotRunning", 500.0),
            ("Suspended", 0.0),
            ("InSync", 0.0),
        ];
        for (reason, expected) in ages {
            let age = of_reason(&summary, reason).oldest_pending;
            assert!((age - expected).abs() < 1e-6, "{reason}: {age}");
        }
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_negative_age() {
        let since = (NOW + Duration::from_secs(5)).to_string();
        let pending = resource(false, &status("Ready", "False", "Pending", Some(&since)));
        let summary = Summary::of(&[pending], NOW);
        assert!(of_reason(&summary, "Pending").oldest_pending.abs() < 1e-6);
    }

    #[rstest]
    #[case::with(true, 1)]
    #[case::without(false, 0)]
    fn series_of_single_resources(#[case] has_resource_series: bool, #[case] expected: usize) {
        let mut registry = Registry::default();
        let fleet = FleetMetrics::register(&mut registry, has_resource_series);
        let render = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        assert_eq!(render(), "# EOF\n", "nobody leads");
        fleet.begin();
        fleet.add(|| vec![resource(false, &json!({})), named("b", State::Undecodable)]);
        let text = render();
        let ready = "\nresource_ready{namespace=\"n\",name=\"a\"} 0\n";
        assert_eq!(text.matches(ready).count(), expected, "{text}");
        assert_eq!(text.matches("name=\"a\"").count(), expected, "{text}");
        let undecodable = "\nundecodable_resources{namespace=\"n\",name=\"b\"} 1\n";
        assert_eq!(text.matches(undecodable).count(), 1, "{text}");
        fleet.end();
        assert_eq!(render(), "# EOF\n", "nobody leads");
    }
}
