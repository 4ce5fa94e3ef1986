//! Carries a decision out. Everything that can wait comes first, so that nothing waits with an old value in its hand.

use std::borrow::Cow;
use std::pin::pin;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use thiserror::Error;

use super::Context;
use super::cloud::{InstanceError, ResetError, Route, RouteError};
use super::decide::{Decision, Observation, SecretObservation, decide};
use super::observe::{ObserveError, observe_fresh};
use super::outcome::{Accepted, Account, Failure, Outcome};
use super::report;
use crate::api::{Target, Trigger};
use crate::credentials::CredentialsError;
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
    route: Route,
    turn: InstanceTurn,
    permit: Permit,
}

/// Tries a reset; once more, from the start, where it only failed for credentials that the cloud no longer takes.
async fn reset(
    context: &Context,
    observation: Observation,
    trigger: Trigger,
) -> Result<(Observation, Outcome), ActError> {
    let observation = match attempt(context, observation, trigger).await? {
        Attempt::Done(observation, outcome) => return Ok((observation, outcome)),
        // The time that it took is in none of the looks that a reset needs, so all of them are repeated.
        Attempt::Rejected(observation, _) => observation,
    };
    Ok(match attempt(context, observation, trigger).await? {
        Attempt::Done(observation, outcome) => (observation, outcome),
        Attempt::Rejected(observation, failure) => (observation, Outcome::Failed(failure)),
    })
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
) -> Result<Attempt, ActError> {
    let done = |observation, outcome| Ok(Attempt::Done(observation, outcome));
    if let Some(accepted) = context.unrecorded.find(&observation) {
        return done(observation, Outcome::Accepted(accepted));
    }
    let target = observation.resource.spec.target();
    let admission = admit(context, &observation, &target, trigger);
    let admission = tokio::select! {
        () = context.stop.cancelled() => return done(observation, Outcome::Abandoned),
        admission = announced(context, &observation, admission) => admission,
    };
    let admission = match admission {
        Ok(admission) => admission,
        Err(failure) => return done(observation, Outcome::Failed(failure)),
    };

    // From here on the futures are large, and boxed, so that a thousand passes that only wait need little memory.
    let Some(fresh) = Box::pin(observe_fresh(context, &observation.resource)).await? else {
        return done(observation, Outcome::Abandoned);
    };
    if fresh.resource.spec != observation.resource.spec {
        // Turn, budget and look at the instance may have been another one's. The change wakes a pass of its own.
        return done(fresh, Outcome::Abandoned);
    }
    let trigger = match decide(&fresh, Timestamp::now()) {
        Decision::Reset(trigger) => trigger,
        Decision::LookAtAccount => {
            drop(admission);
            let (observation, outcome) = look(context, fresh).await;
            return done(observation, outcome);
        }
        settled => return done(fresh, Outcome::Settled(settled)),
    };
    let sent = send(context, &fresh, &target, trigger, admission);
    Ok(match announced(context, &fresh, Box::pin(sent)).await? {
        Sent::Ended(outcome) => Attempt::Done(fresh, outcome),
        Sent::Rejected(failure) => Attempt::Rejected(fresh, failure),
    })
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
    loop {
        // Before the turn as well, and the turn is given back where the budget closes meanwhile: nor must an instance be held up
        // by an identity that RDS throttles.
        cloud.budget_opened(&route).await;
        let turn = cloud.turn(&route, &target.instance_id).await;
        let instance = match cloud.instance(&route, &target.instance_id).await {
            Ok(instance) => instance,
            Err(InstanceError::BudgetClosed) => continue,
            Err(InstanceError::Call(error)) => return Err(Failure::of_read(&error, trigger)),
        };
        if let Some(failure) = obstacle(&instance, trigger) {
            return Err(failure);
        }
        if let Some(permit) = cloud.permit(&route).await {
            return Ok(Admission {
                route,
                turn,
                permit,
            });
        }
    }
}

/// How one send ended.
enum Sent {
    /// For good.
    Ended(Outcome),
    /// The cloud rejected the credentials, and others can be had.
    Rejected(Failure),
}

async fn send(
    context: &Context,
    observation: &Observation,
    target: &Target,
    trigger: Trigger,
    admission: Admission,
) -> Result<Sent, NotLeader> {
    let SecretObservation::Usable(value) = &observation.secret else {
        return Ok(Sent::Ended(Outcome::Abandoned));
    };
    let Admission {
        route,
        turn,
        permit,
    } = admission;
    let proof = context.leadership.prove().await?;
    if context.stop.is_cancelled() {
        return Ok(Sent::Ended(Outcome::Abandoned));
    }
    if !proof.is_fresh() {
        return Err(NotLeader::Unknown);
    }
    context.unrecorded.forget(&observation.resource);
    let answer = context.cloud.reset(&route, target, &value.password).await;
    drop(permit);
    drop(turn);
    Ok(match answer {
        Ok(request_id) => {
            let time = Timestamp::now();
            let account = context.cloud.account(&route, target).await;
            Sent::Ended(Outcome::Accepted(Accepted {
                time,
                request_id,
                trigger,
                account,
            }))
        }
        Err(ResetError { error, try_again }) => {
            let failure = Failure::of_reset(&error, trigger);
            if try_again {
                Sent::Rejected(failure)
            } else {
                Sent::Ended(Outcome::Failed(failure))
            }
        }
    })
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
