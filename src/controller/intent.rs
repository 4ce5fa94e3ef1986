//! Writes down what is about to be sent, so that whoever comes after a process that was killed knows that the database may have
//! another value than that of the last reset.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use rand::RngExt as _;
use tracing::warn;

use super::Context;
use super::decide::{Observation, SecretValue};
use super::index::ObjectName;
use super::observe::read_resource;
use super::report::{self, DENIAL_LASTS, ReportError};
use super::schedule;
use super::status::{self, Times};
use crate::api::DatabaseAccountPassword;
use crate::rds::classification::Class;

/// What `/readyz` calls the definition of the kind.
const DEFINITION: &str =
    "CustomResourceDefinition databaseaccountpasswords.rds.password-operator.dev";

/// Writes to `status.lastAttempt` what is about to be sent, and returns the resource with it. `None` where the resource is no
/// longer as it was observed, and has to be looked at again.
///
/// So this is the last look at the resource as well: the API server takes the write for that very version of it alone.
///
/// # Errors
/// When it cannot be written.
pub async fn write(
    context: &Context,
    observation: &Observation,
    value: &SecretValue,
) -> Result<Option<Arc<DatabaseAccountPassword>>, ReportError> {
    let now = Timestamp::now();
    // That of a lost answer, which is what it comes to for whoever finds it.
    let wait = schedule::after_failure(
        Class::Transient,
        status::failures(observation).saturating_add(1),
        None,
        rand::rng().random(),
    );
    let times = Times {
        now,
        next: status::whole_seconds_up(now + wait),
    };
    let intended = status::intending(observation, value, times);
    let attempt = intended.last_attempt.clone();
    let resource = DatabaseAccountPassword {
        status: Some(intended),
        ..DatabaseAccountPassword::clone(&observation.resource)
    };
    // Among those who hold a permit, who are few: behind everybody's statuses, the looks would be too old in the end.
    match report::put(context, &resource).await {
        Ok(written) => {
            let written = Arc::new(written);
            if keeps_sends(&written, &resource) {
                context.health.clear_obstacle(DEFINITION);
                return Ok(Some(written));
            }
            // Nothing would remember the send beyond this process.
            withdraw(context, observation, written).await;
            let error = ReportError::OldDefinition;
            context
                .health
                .set_obstacle(DEFINITION, &error.to_string(), Some(DENIAL_LASTS));
            Err(error)
        }
        Err(ReportError::Conflict | ReportError::Gone) => Ok(None),
        Err(ReportError::Unreachable) => {
            // It may have been written, and only the answer lost.
            let fresh = read_resource(context, &resource).await?;
            let own = fresh.filter(|fresh| {
                let last_attempt = fresh.status.as_ref().map(|status| &status.last_attempt);
                last_attempt == Some(&attempt)
                    && fresh.metadata.generation == resource.metadata.generation
                    && fresh.request() == resource.request()
            });
            Ok(own.map(Arc::new))
        }
        Err(error) => Err(error),
    }
}

/// Whether what was written holds the sends that were to be written: a definition without that field drops them.
fn keeps_sends(written: &DatabaseAccountPassword, resource: &DatabaseAccountPassword) -> bool {
    let sends = |it: &DatabaseAccountPassword| {
        let status = it.status.as_ref();
        status.map_or(0, |status| status.unanswered_sends.len())
    };
    sends(written) == sends(resource)
}

/// Takes an intent back of which it is known that it was not carried out. Best effort: where that fails, or the process is
/// killed before, the Secret's value is sent once more than it had to be. Returns the resource as it is then.
pub async fn withdraw(
    context: &Context,
    observation: &Observation,
    intent: Arc<DatabaseAccountPassword>,
) -> Arc<DatabaseAccountPassword> {
    let written = report::write(context, &intent, report::RETRIES, |_, status| {
        if report::is_as(status, &intent) {
            Ok(status::without_intent(
                status,
                observation,
                Timestamp::now(),
            ))
        } else {
            Err(ReportError::Overtaken)
        }
    });
    // Boxed, like all that only some passes come to.
    match Box::pin(written).await {
        Ok(written) => Arc::new(written),
        Err(error) => {
            warn!(resource = %ObjectName::of(&observation.resource.metadata), %error, "a reset that was not sent could not be taken back in the status");
            intent
        }
    }
}
