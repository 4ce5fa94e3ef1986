//! Carries a decision out. Everything that can wait comes first, so that nothing waits with an old value in its hand.

use std::borrow::Cow;
use std::pin::pin;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use thiserror::Error;

use super::Context;
use super::cloud::{Route, RouteError};
use super::decide::{Decision, Observation, SecretObservation, decide};
use super::observe::{ObserveError, observe_fresh};
use super::outcome::{Accepted, Account, Failure, Outcome};
use super::report;
use crate::api::{Target, Trigger};
use crate::leader::NotLeader;
use crate::rds::classification::{Class, Reason};
use crate::rds::limit::{InstanceTurn, Permit};
use crate::rds::response::{DbInstance, InstanceStatus};

/// How long a reset may wait for its turn, and then for its answer, before the status says that it is due. Most are done at
/// once, and a status write for each would double the writes; beyond a second a reader must not be told that an old value is
/// in sync.
const ANNOUNCE_AFTER: Duration = Duration::from_secs(1);

/// Why a decision could not be carried out. All of these may pass, and nothing was sent.
#[derive(Debug, Error)]
pub enum ActError {
    /// The fresh look before a reset failed.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// The Lease does not say that this process leads.
    #[error("no reset is sent: {0}")]
    NotLeader(#[from] NotLeader),
}

/// Carries the decision out, and returns how it ended together with the observation that it was carried out on: for a reset,
/// the one that was made right before.
///
/// # Errors
/// When the fresh look before a reset fails, or the one at the Lease.
pub async fn act(
    context: &Context,
    observation: Observation,
    decision: Decision,
) -> Result<(Observation, Outcome), ActError> {
    match decision {
        Decision::Reset(trigger) => reset(context, observation, trigger).await,
        Decision::LookAtAccount => Ok(look(context, observation).await),
        Decision::Conflict => {
            // Another resource resets the account now: what was accepted here before is not what it has.
            context.unrecorded.forget(&observation.resource);
            Ok((observation, Outcome::Settled(decision)))
        }
        settled => Ok((observation, Outcome::Settled(settled))),
    }
}

/// The right to send a reset: held while it is sent, and nothing waits after it.
struct Admission {
    turn: InstanceTurn,
    permit: Permit,
}

async fn reset(
    context: &Context,
    observation: Observation,
    trigger: Trigger,
) -> Result<(Observation, Outcome), ActError> {
    if let Some(accepted) = context.unrecorded.find(&observation) {
        return Ok((observation, Outcome::Accepted(accepted)));
    }
    let route = match context.cloud.route(&observation.resource.spec) {
        Ok(route) => route,
        Err(error) => return Ok((observation, unroutable(error, trigger))),
    };
    let target = observation.resource.spec.target();
    let admission = admit(context, &route, &target, trigger);
    let admission = tokio::select! {
        () = context.stop.cancelled() => return Ok((observation, Outcome::Abandoned)),
        admission = announced(context, &observation, admission) => admission,
    };
    let admission = match admission {
        Ok(admission) => admission,
        Err(failure) => return Ok((observation, Outcome::Failed(failure))),
    };

    // From here on the futures are large, and boxed, so that a thousand passes that only wait need little memory.
    let Some(fresh) = Box::pin(observe_fresh(context, &observation.resource)).await? else {
        return Ok((observation, Outcome::Abandoned));
    };
    if fresh.resource.spec != observation.resource.spec {
        // Turn, budget and look at the instance may have been another one's. The change wakes a pass of its own.
        return Ok((fresh, Outcome::Abandoned));
    }
    let trigger = match decide(&fresh, Timestamp::now()) {
        Decision::Reset(trigger) => trigger,
        settled => return Ok((fresh, Outcome::Settled(settled))),
    };
    let sent = send(context, &fresh, &route, &target, trigger, admission);
    let outcome = announced(context, &fresh, Box::pin(sent)).await;
    Ok((fresh, outcome?))
}

/// Carries `work` out, and says in the status that a reset is due if that takes long.
async fn announced<T>(
    context: &Context,
    observation: &Observation,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    if let Ok(done) = tokio::time::timeout(ANNOUNCE_AFTER, &mut work).await {
        return done;
    }
    tokio::select! {
        // Whatever this leads to is written on top of what stands there then, announced or not.
        done = &mut work => return done,
        () = Box::pin(report::announce(context, observation)) => {}
    }
    work.await
}

/// In this order everywhere, so that nobody can wait for each other in a circle.
async fn admit(
    context: &Context,
    route: &Route,
    target: &Target,
    trigger: Trigger,
) -> Result<Admission, Failure> {
    let turn = context.cloud.turn(&target.instance_id).await;
    let instance = context
        .cloud
        .instance(route, &target.instance_id)
        .await
        .map_err(|error| Failure::of_read(&error, trigger))?;
    if let Some(failure) = obstacle(&instance, trigger) {
        return Err(failure);
    }
    let permit = context.cloud.permit(route).await;
    Ok(Admission { turn, permit })
}

async fn send(
    context: &Context,
    observation: &Observation,
    route: &Route,
    target: &Target,
    trigger: Trigger,
    admission: Admission,
) -> Result<Outcome, NotLeader> {
    let SecretObservation::Usable(value) = &observation.secret else {
        return Ok(Outcome::Abandoned);
    };
    let Admission { turn, permit } = admission;
    let proof = context.leadership.prove().await?;
    if context.stop.is_cancelled() {
        return Ok(Outcome::Abandoned);
    }
    if !proof.is_fresh() {
        return Err(NotLeader::Unknown);
    }
    context.unrecorded.forget(&observation.resource);
    let answer = context.cloud.reset(route, target, &value.password).await;
    drop(permit);
    drop(turn);
    Ok(match answer {
        Ok(request_id) => {
            let time = Timestamp::now();
            let account = context.cloud.account(route, target).await;
            Outcome::Accepted(Accepted {
                time,
                request_id,
                trigger,
                account,
            })
        }
        Err(error) => Outcome::Failed(Failure::of_reset(&error, trigger)),
    })
}

async fn look(context: &Context, observation: Observation) -> (Observation, Outcome) {
    let outcome = match context.cloud.route(&observation.resource.spec) {
        Ok(route) => {
            let target = observation.resource.spec.target();
            tokio::select! {
                () = context.stop.cancelled() => Outcome::Abandoned,
                account = Box::pin(context.cloud.account(&route, &target)) => Outcome::Looked(match account {
                    // It was not available when it was last seen.
                    Account::NotSeen => Account::NotAvailable,
                    account => account,
                }),
            }
        }
        // The value was applied; without credentials nobody can say more.
        Err(_) => Outcome::Looked(Account::NotTold),
    };
    (observation, outcome)
}

fn unroutable(error: RouteError, trigger: Trigger) -> Outcome {
    let reason = match error {
        RouteError::Credentials(_) => Reason::CredentialsUnavailable,
        RouteError::Region => Reason::Rejected,
    };
    Outcome::Failed(Failure {
        trigger,
        reason,
        class: Class::PersonNeeded,
        explanation: Cow::Owned(error.to_string()),
        code: None,
        request_id: None,
        retry_after: None,
        instance_was_running: false,
        outcome_unknown: false,
    })
}

fn obstacle(instance: &DbInstance, trigger: Trigger) -> Option<Failure> {
    let (class, reason) = instance.obstacle()?;
    let explanation = match (instance.status, instance.lock) {
        (InstanceStatus::Running, lock) => {
            format!("the instance is locked ({lock}); the password is sent once it is unlocked")
        }
        (InstanceStatus::Gone, _) => {
            "RDS has no such instance for this cloud identity; check spec.instanceId, the region and the RAM policy".to_owned()
        }
        (status, _) => {
            format!("the instance is not Running but {status}; the password is sent once it is Running")
        }
    };
    Some(Failure {
        trigger,
        reason,
        class,
        explanation: Cow::Owned(explanation),
        code: None,
        request_id: Some(instance.request_id.clone()),
        retry_after: None,
        instance_was_running: false,
        outcome_unknown: false,
    })
}
