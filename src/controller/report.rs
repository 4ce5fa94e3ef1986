//! Writes down how a pass ended: the status first, then what may fail without harm.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use k8s_controller::events::{Event, EventType};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use thiserror::Error;
use tracing::{info, warn};

use super::Context;
use super::decide::{Decision, Observation};
use super::observe::{ObserveError, read_resource};
use super::outcome::{Failure, Outcome};
use super::status::{self, Times};
use crate::api::{
    ConditionType, DatabaseAccountPassword, DatabaseAccountPasswordStatus, ReadyReason,
};

/// How long one write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a write is tried again: a conflict or two, and a little more.
const RETRIES: usize = 3;

/// What may have changed the database is tried for some six minutes, longer than an API server takes to restart.
const RETRIES_OF_A_RESET: usize = 40;

/// Why the status was not written.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The object changed since it was read. Read it again, and apply the outcome to that.
    #[error("the DatabaseAccountPassword changed while its status was written")]
    Conflict,
    /// Another process has reset the account meanwhile, so that what this pass found is out of date.
    #[error("the account was reset by another process meanwhile")]
    Overtaken,
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
pub async fn report(
    context: &Context,
    observation: &Observation,
    outcome: &Outcome,
    times: Times,
) -> Result<(), ReportError> {
    if matches!(outcome, Outcome::Abandoned) {
        return Ok(());
    }
    let retries = match outcome {
        Outcome::Accepted(_) => RETRIES_OF_A_RESET,
        Outcome::Failed(failure) if failure.outcome_unknown => RETRIES_OF_A_RESET,
        _ => RETRIES,
    };
    let before = ready_reason(observation.resource.status.as_ref());
    let written = write(context, observation, outcome, times, retries);
    let written = if retries == RETRIES {
        tokio::select! {
            written = written => written,
            // Whoever comes next finds the same.
            () = context.stop.cancelled() => return Ok(()),
        }
    } else {
        written.await
    };
    if let Outcome::Accepted(accepted) = outcome {
        match &written {
            Ok(resource) => context.unrecorded.forget(resource),
            Err(_) => context.unrecorded.remember(observation, accepted),
        }
    }
    let written = written?;
    count(context, outcome);
    log(observation, outcome);
    let after = ready_reason(written.status.as_ref());
    if let Some(event) = event(outcome, before.as_deref() != after.as_deref(), &written) {
        let _write = context.writes.acquire().await;
        // Bounded by the recorder itself, to five seconds.
        if let Err(error) = context.events.publish(&written, &event).await {
            warn!(resource = %name(&written), reason = event.reason, %error, "the Event could not be published");
        }
    }
    Ok(())
}

/// Says in the status that a reset waits for its turn. Best effort: the pass goes on either way.
pub async fn announce(context: &Context, observation: &Observation) {
    let now = Timestamp::now();
    let times = Times { now, next: now };
    if let Err(error) = write(context, observation, &Outcome::Queued, times, 1).await {
        warn!(resource = %name(&observation.resource), %error, "the wait could not be written to the status");
    }
}

/// The first wait is short, since a conflict is over at once; the longest still tries six times a minute.
async fn write(
    context: &Context,
    observation: &Observation,
    outcome: &Outcome,
    times: Times,
    retries: usize,
) -> Result<DatabaseAccountPassword, ReportError> {
    let current =
        std::sync::Mutex::new(Some(DatabaseAccountPassword::clone(&observation.resource)));
    let take = || {
        current
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take()
    };
    let attempt = || async {
        let base = match take() {
            Some(observed) => observed,
            None => match read_resource(context, &observation.resource).await? {
                Some(fresh) => fresh,
                // Deleted, or another one of the same name: there is nothing left to tell it to.
                None => return Ok(DatabaseAccountPassword::clone(&observation.resource)),
            },
        };
        put(context, base, observation, outcome, times).await
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

/// One PUT with the uid and `resourceVersion` that were read. Server-side apply and merge patches take no uid on `/status`, and
/// would write an old object's success onto a new one of the same name.
async fn put(
    context: &Context,
    base: DatabaseAccountPassword,
    observation: &Observation,
    outcome: &Outcome,
    times: Times,
) -> Result<DatabaseAccountPassword, ReportError> {
    let old = base.status.clone().unwrap_or_default();
    let new = match outcome {
        outcome if !was_reset_meanwhile(&old, observation, outcome) => {
            status::after(&old, observation, outcome, times)
        }
        Outcome::Accepted(accepted) => {
            let overlapped = Outcome::Overlapped(accepted.clone());
            status::after(&old, observation, &overlapped, times)
        }
        _ => return Err(ReportError::Overtaken),
    };
    if base.status.is_some() && new == old {
        return Ok(base);
    }
    let resource = DatabaseAccountPassword {
        status: Some(new),
        ..base
    };
    let api = Api::<DatabaseAccountPassword>::namespaced(
        context.client.clone(),
        &resource.namespace().unwrap_or_default(),
    );
    let (name, params) = (resource.name_any(), PostParams::default());
    let written = api.replace_status(&name, &params, &resource);
    let written = {
        let _write = context.writes.acquire().await;
        tokio::time::timeout(WRITE_TIMEOUT, written).await
    };
    match written {
        Ok(Ok(written)) => {
            context.written.remember(&written);
            Ok(written)
        }
        Ok(Err(kube::Error::Api(status))) => match status.code {
            404 => Ok(resource),
            409 => Err(ReportError::Conflict),
            code if code == 429 || code >= 500 => Err(ReportError::Unreachable),
            code => Err(ReportError::Refused(code)),
        },
        Ok(Err(_)) | Err(_) => Err(ReportError::Unreachable),
    }
}

/// Whether another process has reset the account since it was observed: `lastReset` is neither the one that was observed nor,
/// where the answer to an earlier write of this very outcome was lost, the one that is being written.
fn was_reset_meanwhile(
    status: &DatabaseAccountPasswordStatus,
    observation: &Observation,
    outcome: &Outcome,
) -> bool {
    let observed = observation
        .resource
        .status
        .as_ref()
        .and_then(|status| status.last_reset.as_ref());
    let last_reset = status.last_reset.as_ref();
    let is_own = match outcome {
        Outcome::Accepted(accepted) => last_reset.is_some_and(|reset| {
            // Without a fingerprint it is this one, written as one that overlapped, and stays so.
            reset.request_id == accepted.request_id.as_str() && reset.fingerprint.is_some()
        }),
        _ => false,
    };
    last_reset != observed && !is_own
}

fn ready_reason(status: Option<&DatabaseAccountPasswordStatus>) -> Option<String> {
    let ready = status::find(&status?.conditions, ConditionType::Ready)?;
    Some(ready.reason.clone())
}

/// The Event of an outcome: each reset has one, everything else only where the reason of `Ready` changed.
fn event(outcome: &Outcome, is_news: bool, resource: &DatabaseAccountPassword) -> Option<Event> {
    let ready = status::find(&resource.status.as_ref()?.conditions, ConditionType::Ready)?;
    let (type_, reason, note) = match outcome {
        Outcome::Accepted(accepted) => (
            EventType::Normal,
            "PasswordReset",
            format!(
                "RDS accepted the password of account {} of instance {} ({:?}, RequestId {})",
                resource.spec.account_name,
                resource.spec.instance_id,
                accepted.trigger,
                accepted.request_id
            ),
        ),
        _ if !is_news || ready.status == "True" => return None,
        Outcome::Failed(failure) => {
            let reason = match status::ready_reason(failure.reason) {
                reason @ ReadyReason::Instance(_) if !status::is_stalled(reason) => {
                    "WaitingForInstance"
                }
                _ => "ResetFailed",
            };
            (
                EventType::Warning,
                reason,
                format!("{}: {}", ready.reason, ready.message),
            )
        }
        // A person asked for it.
        Outcome::Settled(Decision::Suspended) => return None,
        Outcome::Settled(_) => (
            EventType::Warning,
            "NotReset",
            format!("{}: {}", ready.reason, ready.message),
        ),
        Outcome::Queued | Outcome::Overlapped(_) | Outcome::Looked(_) | Outcome::Abandoned => {
            return None;
        }
    };
    Some(Event {
        type_,
        reason: reason.to_owned(),
        action: "ResetAccountPassword".to_owned(),
        note: Some(note),
        related: None,
    })
}

fn count(context: &Context, outcome: &Outcome) {
    context.metrics.pass(outcome.label());
    match outcome {
        Outcome::Accepted(_) => context.metrics.reset("Reset"),
        Outcome::Failed(Failure { reason, .. }) => {
            context.metrics.reset(reason.as_str());
        }
        _ => {}
    }
}

/// The audit line. It names the resource, the account and the request, and nothing that was written by the cloud or is secret.
fn log(observation: &Observation, outcome: &Outcome) {
    let resource = &*observation.resource;
    let (instance, account) = (&resource.spec.instance_id, &resource.spec.account_name);
    match outcome {
        Outcome::Accepted(accepted) => info!(
            resource = %name(resource),
            instance,
            account,
            request_id = %accepted.request_id,
            trigger = ?accepted.trigger,
            "password reset"
        ),
        Outcome::Failed(failure) => warn!(
            resource = %name(resource),
            instance,
            account,
            reason = failure.reason.as_str(),
            code = failure.code.as_ref().map_or("", |code| code.as_str()),
            request_id = failure.request_id.as_ref().map_or("", |id| id.as_str()),
            "password not reset"
        ),
        _ => {
            tracing::debug!(resource = %name(resource), instance, account, outcome = outcome.label(), "looked at");
        }
    }
}

fn name(resource: &DatabaseAccountPassword) -> String {
    format!(
        "{}/{}",
        resource.namespace().unwrap_or_default(),
        resource.name_any()
    )
}
