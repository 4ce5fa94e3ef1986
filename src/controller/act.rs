//! Carries a decision out. Everything that can wait comes first, so that nothing waits with an old value in its hand.

use std::borrow::Cow;
use std::pin::pin;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tracing::warn;

use super::Context;
use super::cloud::{ResetError, Route, RouteError};
use super::decide::{Decision, Observation, SecretObservation, decide};
use super::observe::{ObserveError, observe_fresh};
use super::outcome::{Accepted, Account, Failure, Outcome};
use super::report;
use crate::api::{Target, Trigger};
use crate::credentials::CredentialsError;
use crate::rds::classification::{Class, Reason};
use crate::rds::limit::{InstanceTurn, Permit};
use crate::rds::response::{DbInstance, InstanceStatus};

/// How long a reset may wait for its turn before the status says so. Most have theirs at once, and a status write for each
/// would double the writes; beyond a second a reader must not be told that an old value is in sync.
const ANNOUNCE_AFTER: Duration = Duration::from_secs(1);

/// Carries the decision out, and returns how it ended together with the observation that it was carried out on: for a reset,
/// the one that was made right before.
///
/// # Errors
/// When the fresh look before a reset fails.
pub async fn act(
    context: &Context,
    observation: Observation,
    decision: Decision,
) -> Result<(Observation, Outcome), ObserveError> {
    match decision {
        Decision::Reset(trigger) => reset(context, observation, trigger).await,
        Decision::LookAtAccount => Ok(look(context, observation).await),
        settled => Ok((observation, Outcome::Settled(settled))),
    }
}

/// The right to send a reset: held while it is sent, and nothing waits after it.
struct Admission {
    route: Route,
    turn: InstanceTurn,
    permit: Permit,
}

/// Tries a reset; once more, from the start, where it only failed for credentials that the cloud no longer takes.
async fn reset(
    context: &Context,
    observation: Observation,
    trigger: Trigger,
) -> Result<(Observation, Outcome), ObserveError> {
    match Box::pin(attempt(context, observation, trigger)).await? {
        Attempt::Done(observation, outcome) => Ok((observation, outcome)),
        Attempt::Rejected(observation, _) => {
            // The time that it took is in none of the looks that a reset needs, so all of them are repeated.
            match Box::pin(attempt(context, observation, trigger)).await? {
                Attempt::Done(observation, outcome) => Ok((observation, outcome)),
                Attempt::Rejected(observation, failure) => {
                    Ok((observation, Outcome::Failed(failure)))
                }
            }
        }
    }
}

/// How one try to reset ended.
enum Attempt {
    /// For good.
    Done(Observation, Outcome),
    /// The cloud rejected the credentials, and others can be had.
    Rejected(Observation, Failure),
}

async fn attempt(
    context: &Context,
    observation: Observation,
    trigger: Trigger,
) -> Result<Attempt, ObserveError> {
    if let Some(accepted) = context.unrecorded.find(&observation) {
        return Ok(Attempt::Done(observation, Outcome::Accepted(accepted)));
    }
    let target = observation.resource.spec.target();
    let admission = tokio::select! {
        () = context.stop.cancelled() => return Ok(Attempt::Done(observation, Outcome::Abandoned)),
        admission = admitted(context, &observation, &target, trigger) => admission,
    };
    let admission = match admission {
        Ok(admission) => admission,
        Err(failure) => return Ok(Attempt::Done(observation, Outcome::Failed(failure))),
    };

    let Some(fresh) = observe_fresh(context, &observation.resource).await? else {
        return Ok(Attempt::Done(observation, Outcome::Abandoned));
    };
    if fresh.resource.spec != observation.resource.spec {
        // Turn, budget and look at the instance may have been another one's. The change wakes a pass of its own.
        return Ok(Attempt::Done(fresh, Outcome::Abandoned));
    }
    let trigger = match decide(&fresh, Timestamp::now()) {
        Decision::Reset(trigger) => trigger,
        settled => return Ok(Attempt::Done(fresh, Outcome::Settled(settled))),
    };
    Ok(send(context, fresh, &target, trigger, admission).await)
}

/// Waits to be admitted, and says so in the status if that takes long.
async fn admitted(
    context: &Context,
    observation: &Observation,
    target: &Target,
    trigger: Trigger,
) -> Result<Admission, Failure> {
    let mut admission = pin!(admit(context, observation, target, trigger));
    if let Ok(admission) = tokio::time::timeout(ANNOUNCE_AFTER, &mut admission).await {
        return admission;
    }
    let (admission, ()) = tokio::join!(admission, report::announce(context, observation));
    admission
}

/// In this order everywhere, so that nobody can wait for each other in a circle.
async fn admit(
    context: &Context,
    observation: &Observation,
    target: &Target,
    trigger: Trigger,
) -> Result<Admission, Failure> {
    let cloud = &context.cloud;
    // Before the turn: an instance must not be held up by an identity whose credentials cannot be had.
    let route = cloud
        .route(&observation.resource)
        .await
        .map_err(|error| unroutable(&error, trigger))?;
    let turn = cloud.turn(&target.instance_id).await;
    let instance = cloud
        .instance(&route, &target.instance_id)
        .await
        .map_err(|error| Failure::of_read(&error, trigger))?;
    if let Some(failure) = obstacle(&instance, trigger) {
        return Err(failure);
    }
    let permit = cloud.permit(&route).await;
    Ok(Admission {
        route,
        turn,
        permit,
    })
}

async fn send(
    context: &Context,
    observation: Observation,
    target: &Target,
    trigger: Trigger,
    admission: Admission,
) -> Attempt {
    let SecretObservation::Usable(value) = &observation.secret else {
        return Attempt::Done(observation, Outcome::Abandoned);
    };
    let Admission {
        route,
        turn,
        permit,
    } = admission;
    match context.leadership.prove().await {
        Ok(proof) if proof.is_fresh() && !context.stop.is_cancelled() => {}
        Ok(_) => return Attempt::Done(observation, Outcome::Abandoned),
        Err(error) => {
            warn!(%error, "no reset is sent");
            return Attempt::Done(observation, Outcome::Abandoned);
        }
    }
    let answer = context.cloud.reset(&route, target, &value.password).await;
    drop(permit);
    drop(turn);
    match answer {
        Ok(request_id) => {
            let time = Timestamp::now();
            let account = context.cloud.account(&route, target).await;
            let accepted = Accepted {
                time,
                request_id,
                trigger,
                account,
            };
            Attempt::Done(observation, Outcome::Accepted(accepted))
        }
        Err(ResetError { error, try_again }) => {
            let failure = Failure::of_reset(&error, trigger);
            if try_again {
                Attempt::Rejected(observation, failure)
            } else {
                Attempt::Done(observation, Outcome::Failed(failure))
            }
        }
    }
}

async fn look(context: &Context, observation: Observation) -> (Observation, Outcome) {
    let cloud = &context.cloud;
    let look = async {
        match cloud.route(&observation.resource).await {
            Ok(route) => {
                let target = observation.resource.spec.target();
                match cloud.account(&route, &target).await {
                    // It was not available when it was last seen.
                    Account::NotSeen => Account::NotAvailable,
                    account => account,
                }
            }
            // Credentials that can be had later can tell more then.
            Err(RouteError::Credentials(error)) if error.class() != Class::PersonNeeded => {
                Account::NotAvailable
            }
            // The value was applied; without credentials nobody can say more.
            Err(_) => Account::NotTold,
        }
    };
    let outcome = tokio::select! {
        () = context.stop.cancelled() => Outcome::Abandoned,
        account = look => Outcome::Looked(account),
    };
    (observation, outcome)
}

fn unroutable(error: &RouteError, trigger: Trigger) -> Failure {
    let credentials = match error {
        RouteError::Credentials(error) => Some(error),
        RouteError::Region | RouteError::Identity => None,
    };
    Failure {
        trigger,
        reason: credentials.map_or(Reason::Rejected, CredentialsError::reason),
        class: credentials.map_or(Class::PersonNeeded, CredentialsError::class),
        explanation: Cow::Owned(error.to_string()),
        code: credentials.and_then(|error| error.code().cloned()),
        request_id: credentials.and_then(|error| error.request_id().cloned()),
        retry_after: credentials.and_then(CredentialsError::retry_after),
        instance_was_running: false,
        outcome_unknown: false,
    }
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
