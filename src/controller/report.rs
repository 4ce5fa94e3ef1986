//! Writes down how a pass ended: the status first, then what may fail without harm.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use thiserror::Error;
use tracing::{info, warn};

use super::Context;
use super::decide::{Decision, Observation, SecretObservation};
use super::events;
use super::index::ObjectName;
use super::observe::{ObserveError, read_resource};
use super::outcome::{Accepted, Acted, Outcome};
use super::status::{self, Times};
use crate::api::{
    ConditionType, DatabaseAccountPassword, DatabaseAccountPasswordSpec,
    DatabaseAccountPasswordStatus, Trigger,
};
use crate::fingerprint::Comparison;
use crate::metrics::resets::{self, ResetResult};

/// How long one write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a write is tried again: a conflict or two, and a little more.
pub(super) const RETRIES: usize = 3;

/// What may have changed the database is tried for five minutes at least, longer than an API server takes to restart.
const RETRIES_OF_A_RESET: usize = 40;

/// How long `/readyz` tells of a denied write. A pass that ends with one comes again within a minute, and then says it again.
pub(super) const DENIAL_LASTS: Duration = Duration::from_secs(2 * 60);

/// Why the status was not written.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The object changed since it was read. Read it again, and apply the outcome to that.
    #[error("the DatabaseAccountPassword changed while its status was written")]
    Conflict,
    /// The object is gone.
    #[error("the DatabaseAccountPassword was deleted while its status was written")]
    Gone,
    /// Another process has tried to reset the account meanwhile, so that what this pass found is out of date.
    #[error("another process has tried to reset the account meanwhile")]
    Overtaken,
    /// The installed CustomResourceDefinition is older than the operator: the API server drops what it does not know.
    #[error(
        "the installed CustomResourceDefinition is older than the operator and drops status.unansweredSends: update it with `rds-password-operator crd | kubectl apply --server-side -f -`, or by the chart"
    )]
    OldDefinition,
    /// It could not be read again after a conflict.
    #[error(transparent)]
    Read(#[from] ObserveError),
    /// The API server refused with this HTTP status.
    #[error("the API server refused the status with HTTP status {0}")]
    Refused(u16),
    /// The API server failed, could not be reached, or did not answer in time.
    #[error("the API server could not be reached")]
    Unreachable,
}

/// Writes the status if it differs, then publishes the Event, counts, and logs one line.
///
/// A reset that RDS accepted, or may have, must not be forgotten for a passing fault: its write is tried for longer than that of
/// any other outcome, which the next pass would find again by itself.
///
/// # Errors
/// When the status could not be written.
pub async fn report(context: &Context, acted: &Acted, times: Times) -> Result<(), ReportError> {
    let Acted {
        observation,
        outcome,
        latest,
    } = acted;
    if matches!(outcome, Outcome::Abandoned) {
        return Ok(());
    }
    let may_have_reset = match outcome {
        Outcome::Accepted(_) => true,
        Outcome::Failed(failure) => failure.outcome_unknown,
        _ => false,
    };
    let retries = if may_have_reset {
        RETRIES_OF_A_RESET
    } else {
        RETRIES
    };
    let before = ready_reason(observation.resource.status.as_ref());
    let written = write(context, latest, retries, |present, status| {
        if is_as(status, latest) {
            return Ok(status::after(status, observation, outcome, times));
        }
        let accepted = match outcome {
            Outcome::Accepted(accepted) => Some(accepted),
            Outcome::Failed(failure) if failure.outcome_unknown => None,
            _ => return Err(ReportError::Overtaken),
        };
        if present.target() != observation.resource.spec.target() {
            return Ok(status::told_late(status, observation, accepted));
        }
        // Which of the two came last at RDS, or will, nobody knows.
        let overlapped = Outcome::Overlapped(accepted.cloned());
        Ok(status::after(status, observation, &overlapped, times))
    });
    let has_sent = !Arc::ptr_eq(latest, &observation.resource);
    let written = if has_sent || may_have_reset {
        written.await
    } else {
        tokio::select! {
            written = written => written,
            // Whoever comes next finds the same.
            () = context.stop.cancelled() => return Ok(()),
        }
    };
    if let Outcome::Accepted(accepted) = outcome {
        match &written {
            Ok(resource) => context.unrecorded.forget(resource),
            Err(_) => context.unrecorded.remember(observation, accepted),
        }
    }
    let written = written?;
    count(context, observation, outcome);
    log(observation, outcome);
    let after = ready_reason(written.status.as_ref());
    if let Some(event) = events::of(outcome, before.as_deref() != after.as_deref(), &written) {
        context.events.publish(&written, event);
    }
    Ok(())
}

/// Says in the status that a reset waits for its turn, or for its answer. Best effort: the pass goes on either way.
pub async fn announce(
    context: &Context,
    observation: &Observation,
    latest: &DatabaseAccountPassword,
) {
    let _announcement = context.announcements.acquire().await;
    let now = Timestamp::now();
    let times = Times { now, next: now };
    let written = write(context, latest, 1, |_, status| {
        if is_as(status, latest) {
            Ok(status::after(status, observation, &Outcome::Queued, times))
        } else {
            Err(ReportError::Overtaken)
        }
    });
    if let Err(error) = written.await {
        warn!(resource = %ObjectName::of(&observation.resource.metadata), %error, "the wait could not be written to the status");
    }
}

/// Whether the last try and the last reset in this status are those of `resource`, so that nobody else has tried since.
pub(super) fn is_as(
    status: &DatabaseAccountPasswordStatus,
    resource: &DatabaseAccountPassword,
) -> bool {
    match &resource.status {
        Some(other) => have_the_same_tries(status, other),
        None => have_the_same_tries(status, &DatabaseAccountPasswordStatus::default()),
    }
}

fn have_the_same_tries(
    one: &DatabaseAccountPasswordStatus,
    other: &DatabaseAccountPasswordStatus,
) -> bool {
    one.last_reset == other.last_reset && one.last_attempt == other.last_attempt
}

/// Changes the status, if that makes a difference: on top of `latest`, and where that is not the latest any more, on top of
/// what is. Returns the resource as it is then; as it was, where it is gone, since there is nothing left to tell it to.
///
/// The first wait between two tries is short, since a conflict is over at once; the longest still tries three times a minute.
///
/// # Errors
/// When it could not be written, or `change` fails.
pub(super) async fn write(
    context: &Context,
    latest: &DatabaseAccountPassword,
    retries: usize,
    change: impl Fn(
        &DatabaseAccountPasswordSpec,
        &DatabaseAccountPasswordStatus,
    ) -> Result<DatabaseAccountPasswordStatus, ReportError>,
) -> Result<DatabaseAccountPassword, ReportError> {
    // What was sent by the try before, whose answer may have been lost.
    let sent: Mutex<Option<DatabaseAccountPasswordStatus>> = Mutex::default();
    let lock = || {
        sent.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    };
    let attempt = || async {
        let earlier = lock().take();
        let base = match &earlier {
            None => latest.clone(),
            Some(_) => match read_again(context, latest).await {
                Ok(Some(fresh)) => fresh,
                // Deleted, or another one of the same name.
                Ok(None) => return Ok(latest.clone()),
                Err(error) => {
                    *lock() = earlier;
                    return Err(error.into());
                }
            },
        };
        let old = base.status.clone().unwrap_or_default();
        if earlier
            .is_some_and(|earlier| have_the_same_tries(&old, &earlier) && !is_as(&earlier, latest))
        {
            return Ok(base);
        }
        let new = change(&base.spec, &old)?;
        if base.status.is_some() && new == old {
            return Ok(base);
        }
        *lock() = Some(new.clone());
        let resource = DatabaseAccountPassword {
            status: Some(new),
            ..base
        };
        match replace(context, &resource).await {
            Err(ReportError::Gone) => Ok(resource),
            written => written,
        }
    };
    attempt
        .retry(
            ExponentialBuilder::new()
                .with_jitter()
                .with_min_delay(Duration::from_millis(20))
                .with_max_delay(Duration::from_secs(10))
                .with_max_times(retries),
        )
        .when(|error| !matches!(error, ReportError::Refused(_) | ReportError::Overtaken))
        .await
}

/// Among the writes: a reset is written down whatever waits to be looked at.
async fn read_again(
    context: &Context,
    latest: &DatabaseAccountPassword,
) -> Result<Option<DatabaseAccountPassword>, ObserveError> {
    let _write = context.writes.acquire().await;
    read_resource(context, latest).await
}

async fn replace(
    context: &Context,
    resource: &DatabaseAccountPassword,
) -> Result<DatabaseAccountPassword, ReportError> {
    let _write = context.writes.acquire().await;
    put(context, resource).await
}

/// One PUT with the uid and `resourceVersion` that were read. Server-side apply and merge patches take no uid on `/status`, and
/// would write an old object's success onto a new one of the same name.
///
/// It takes no turn among the writes: this is for those who have one, or hold a permit of the cloud, and so are few and may not wait.
///
/// # Errors
/// When the resource is another version by now, or the status could not be written, or nobody knows whether it was.
pub(super) async fn put(
    context: &Context,
    resource: &DatabaseAccountPassword,
) -> Result<DatabaseAccountPassword, ReportError> {
    let namespace = resource.namespace().unwrap_or_default();
    let part = format!("status of DatabaseAccountPasswords in namespace {namespace}");
    let api = Api::<DatabaseAccountPassword>::namespaced(context.client.clone(), &namespace);
    let (name, params) = (resource.name_any(), PostParams::default());
    let unanswered = context.written.send(resource);
    let written = api.replace_status(&name, &params, resource);
    let written = tokio::time::timeout(WRITE_TIMEOUT, written).await;
    match &written {
        Ok(Ok(written)) => unanswered.written(written),
        Ok(Err(kube::Error::Api(status))) if status.code < 500 => unanswered.refused(),
        _ => drop(unanswered),
    }
    match written {
        Ok(Ok(written)) => {
            context.health.clear_obstacle(&part);
            Ok(written)
        }
        Ok(Err(kube::Error::Api(status))) => Err(match status.code {
            404 => ReportError::Gone,
            409 => ReportError::Conflict,
            code if code == 429 || code >= 500 => ReportError::Unreachable,
            code => {
                if code == 403 && context.health.is_leader() {
                    let obstacle = "the operator's ServiceAccount may not update it, so no password is reset: it needs the operator's role (deploy/rbac.yaml, or rbac.create of the chart)";
                    let lasts = Some(DENIAL_LASTS);
                    if context.health.set_obstacle(&part, obstacle, lasts) {
                        warn!(part, obstacle, "not writing");
                    }
                }
                ReportError::Refused(code)
            }
        }),
        Ok(Err(_)) | Err(_) => Err(ReportError::Unreachable),
    }
}

fn ready_reason(status: Option<&DatabaseAccountPasswordStatus>) -> Option<String> {
    let ready = status::find(&status?.conditions, ConditionType::Ready)?;
    Some(ready.reason.clone())
}

/// Measures how soon a changed value was applied: RDS has just accepted it.
pub fn measure_accepted(context: &Context, observation: &Observation, trigger: Trigger) {
    let name = ObjectName::of(&observation.resource.metadata);
    if let Some(since) = context.changes.applied(&name)
        && is_of_a_change(observation, trigger)
    {
        context
            .metrics
            .resets
            .secret_change_applied(since.elapsed());
    }
}

/// Whether the reset was made because the Secret's value has changed. After a lost answer a value is sent that is that of the
/// last reset as well, and without the key nobody knows.
fn is_of_a_change(observation: &Observation, trigger: Trigger) -> bool {
    let compared = match &observation.secret {
        SecretObservation::Usable(value) => value.compared,
        SecretObservation::Unusable(_) | SecretObservation::Unchanged => None,
    };
    trigger == Trigger::SecretChanged && compared == Some(Comparison::Different)
}

/// Whether nothing of what was read has to be applied any more, or can be, so that no time runs for it.
fn is_nothing_pending(observation: &Observation, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Accepted(_)
        | Outcome::Looked(_)
        | Outcome::Settled(
            Decision::InSync { .. } | Decision::Hold(_) | Decision::Conflict | Decision::Suspended,
        ) => true,
        // For the next look at the account, perhaps, or for the end of an earlier reset.
        Outcome::Settled(Decision::Wait { .. }) => !status::awaits_reset(observation),
        Outcome::Settled(Decision::Unsettled { .. }) => !status::is_due(observation),
        Outcome::Failed(_)
        | Outcome::Settled(Decision::LookAtAccount | Decision::Reset(_))
        | Outcome::Overlapped(_)
        | Outcome::Queued
        | Outcome::Abandoned => false,
    }
}

fn count(context: &Context, observation: &Observation, outcome: &Outcome) {
    let metrics = &context.metrics;
    metrics.pass(outcome.label());
    match outcome {
        Outcome::Accepted(Accepted { trigger, .. }) => {
            let trigger = trigger.as_str();
            metrics
                .resets
                .finished(trigger, ResetResult::Success, resets::SUCCEEDED);
        }
        Outcome::Failed(failure) => {
            let result = if failure.outcome_unknown {
                ResetResult::Unknown
            } else {
                ResetResult::Failure
            };
            let trigger = failure.trigger.as_str();
            metrics
                .resets
                .finished(trigger, result, failure.reason.as_str());
        }
        _ => {}
    }
    if is_nothing_pending(observation, outcome) {
        let name = ObjectName::of(&observation.resource.metadata);
        context.changes.dismissed(&name);
    }
}

/// The audit line. It names the resource, the account and the request, and nothing that was written by the cloud or is secret.
fn log(observation: &Observation, outcome: &Outcome) {
    let resource = &*observation.resource;
    let (instance, account) = (&resource.spec.instance_id, &resource.spec.account_name);
    match outcome {
        Outcome::Accepted(accepted) => info!(
            resource = %ObjectName::of(&resource.metadata),
            instance,
            account,
            request_id = %accepted.request_id,
            trigger = ?accepted.trigger,
            "password reset"
        ),
        Outcome::Failed(failure) => warn!(
            resource = %ObjectName::of(&resource.metadata),
            instance,
            account,
            reason = failure.reason.as_str(),
            code = failure.code.as_ref().map_or("", |code| code.as_str()),
            request_id = failure.request_id.as_ref().map_or("", |id| id.as_str()),
            host = failure.host.as_ref().map(tracing::field::display),
            "password not reset"
        ),
        _ => {
            tracing::debug!(resource = %ObjectName::of(&resource.metadata), instance, account, outcome = outcome.label(), "looked at");
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::controller::fixtures::{OTHER_PASSWORD, PASSWORD, World, accepted, at, failure};
    use crate::controller::outcome::Account;
    use crate::controller::status::{Times, after};
    use crate::rds::classification::{Class, Reason};

    /// A resource whose value was accepted, and the account left like this.
    fn reset(account: Account) -> World {
        let mut world = World::new();
        let outcome = Outcome::Accepted(accepted(at(0), Trigger::Created, account));
        let times = Times {
            now: at(0),
            next: at(5),
        };
        let status = world.resource.status.clone().unwrap_or_default();
        let status = after(&status, &world.observe(), &outcome, times);
        world.resource.status = Some(status);
        world
    }

    fn rotated(mut world: World, value: &'static str) -> World {
        world.rotate(value);
        world
    }

    fn with_key(mut world: World, keys: &[&'static str]) -> World {
        world.keys = keys.to_vec();
        world
    }

    #[rstest]
    #[case::changed(
        rotated(reset(Account::Available), OTHER_PASSWORD),
        Trigger::SecretChanged,
        true
    )]
    #[case::first(World::new(), Trigger::Created, false)]
    #[case::requested(reset(Account::Available), Trigger::Requested, false)]
    #[case::answer_lost_and_turned_back(
        rotated(reset(Account::Available), PASSWORD),
        Trigger::SecretChanged,
        false
    )]
    #[case::answer_lost_and_another_key(
        with_key(reset(Account::Available), &["key-2", "key-1"]),
        Trigger::SecretChanged,
        false
    )]
    #[case::key_lost(with_key(rotated(reset(Account::Available), PASSWORD), &["key-2"]), Trigger::SecretChanged, false)]
    fn only_another_value_is_a_change(
        #[case] world: World,
        #[case] trigger: Trigger,
        #[case] expected: bool,
    ) {
        assert_eq!(is_of_a_change(&world.observe(), trigger), expected);
    }

    const WAIT: Outcome = Outcome::Settled(Decision::Wait {
        until: Timestamp::UNIX_EPOCH,
    });

    #[rstest]
    #[case::accepted(
        World::new(),
        Outcome::Accepted(accepted(at(0), Trigger::Created, Account::Available)),
        true
    )]
    #[case::looked(
        reset(Account::NotAvailable(None)),
        Outcome::Looked(Account::NotAvailable(None)),
        true
    )]
    #[case::suspended(World::new(), Outcome::Settled(Decision::Suspended), true)]
    #[case::waits_for_the_account(reset(Account::NotAvailable(None)), WAIT, true)]
    #[case::waits_with_another_value(
        rotated(reset(Account::NotAvailable(None)), OTHER_PASSWORD),
        WAIT,
        false
    )]
    #[case::waits_for_the_first_reset(World::new(), WAIT, false)]
    #[case::failed(
        World::new(),
        Outcome::Failed(failure(Trigger::Created, Class::Transient, Reason::RdsUnavailable)),
        false
    )]
    #[case::overlapped(World::new(), Outcome::Overlapped(None), false)]
    fn no_time_runs_where_nothing_is_pending(
        #[case] world: World,
        #[case] outcome: Outcome,
        #[case] expected: bool,
    ) {
        assert_eq!(is_nothing_pending(&world.observe(), &outcome), expected);
    }
}
