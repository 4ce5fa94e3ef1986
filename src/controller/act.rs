//! Carries a decision out. Everything that can wait comes first, so that nothing waits with an old value in its hand.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{Either, ready, select};
use k8s_openapi::jiff::Timestamp;
use rand::RngExt as _;
use thiserror::Error;
use tracing::warn;

use super::Context;
use super::cloud::{InstanceError, ResetError, Route, RouteError};
use super::decide::{Decision, Observation, SecretObservation, SecretValue, decide};
use super::index::ObjectName;
use super::intent;
use super::observe::{ObserveError, is_still_good, observe_again, observe_fresh, unanswered};
use super::outcome::{Accepted, Account, Acted, Failure, Outcome};
use super::report::{self, ReportError};
use super::status;
use crate::api::{DatabaseAccountPassword, ReadyReason, Trigger};
use crate::credentials::CredentialsError;
use crate::leader::{FRESH_FOR, NotLeader, Proof};
use crate::rds::classification::{Class, Reason};
use crate::rds::identifier::Secrets;
use crate::rds::limit::{InstanceTurn, Permit};
use crate::rds::response::{DbInstance, InstanceStatus, Lock};
use crate::rds::word::Word;

/// How long a reset may wait for its turn, and then for its answer, before the status says that it is due. Most are done at
/// once, and a status write for each would double the writes; beyond a second a reader must not be told that an old value is
/// in sync.
const ANNOUNCE_AFTER: Duration = Duration::from_secs(1);

/// How often a pass looks again because the resource changed since it was looked at. Beyond that, somebody else writes to it
/// all the time, and the pass is better made later.
const LOOKS: usize = 3;

/// Why a decision could not be carried out. All of these may pass, and nothing was applied.
#[derive(Debug, Error)]
pub enum ActError {
    /// The fresh look before a reset failed.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// What is about to be sent could not be written down first.
    #[error("no reset is sent, since it cannot be written down first: {0}")]
    Intent(#[from] ReportError),
    /// The resource changed at each look.
    #[error("no reset is sent, since the DatabaseAccountPassword changes all the time")]
    Unsettled,
    /// The Lease does not say that this process leads.
    #[error("no reset is sent: {0}")]
    NotLeader(#[from] NotLeader),
}

/// Carries the decision out.
///
/// # Errors
/// When the fresh look before a reset fails, or the intent cannot be written, or the Lease is not this process' own.
pub async fn act(
    context: &Context,
    observation: Observation,
    decision: Decision,
) -> Result<Acted, ActError> {
    match decision {
        Decision::Reset(trigger) => reset(context, observation, trigger).await,
        Decision::LookAtAccount => Ok(Box::pin(look(context, observation)).await),
        Decision::Conflict => {
            // Another resource resets the account now: what was accepted here before is not what it has.
            context.unrecorded.forget(&observation.resource);
            Ok(Acted::without_a_write(
                observation,
                Outcome::Settled(decision),
            ))
        }
        settled => Ok(Acted::without_a_write(
            observation,
            Outcome::Settled(settled),
        )),
    }
}

/// The right to send a reset: held while it is sent, and nothing waits after it.
struct Admission {
    route: Route,
    turn: InstanceTurn,
    permit: Permit,
}

/// Tries a reset; once more, from the start, where it only failed for credentials that the cloud no longer takes, or because the
/// looks had grown too old meanwhile.
async fn reset(
    context: &Context,
    observation: Observation,
    trigger: Trigger,
) -> Result<Acted, ActError> {
    let observation = match attempt(context, observation, trigger, Found::JustNow).await? {
        Tried::Done(acted) => return Ok(acted),
        Tried::Late(acted) => acted.observation,
        Tried::Rejected(acted) => {
            // Otherwise the intent would be found as a try that has to wait.
            Box::pin(intent::withdraw(context, &acted.observation, acted.latest)).await;
            acted.observation
        }
    };
    // The time that it took is in none of the looks that a reset needs, so all of them are repeated.
    match attempt(context, observation, trigger, Found::Before).await? {
        Tried::Done(acted) | Tried::Rejected(acted) => Ok(acted),
        Tried::Late(acted) => {
            if context.stop.is_cancelled() {
                return Ok(Acted {
                    outcome: Outcome::Abandoned,
                    ..acted
                });
            }
            warn!(
                resource = %ObjectName::of(&acted.observation.resource.metadata),
                "no reset is sent, since what is looked at and written down before takes too long; it is tried again"
            );
            Ok(acted)
        }
    }
}

/// When the observation was made that a try begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// For this try. If it is still good when its turn has come, it needs no other.
    JustNow,
    /// For an earlier try.
    Before,
}

/// How one try to reset ended.
enum Tried {
    /// For good.
    Done(Acted),
    /// The cloud rejected the credentials, and others can be had.
    Rejected(Acted),
    /// Nothing was sent, since the looks were too old, and nothing is left to take back. The value has waited for seconds by then, and
    /// whoever reads the status is to know.
    Late(Acted),
}

impl Tried {
    /// Nothing was written on the way.
    fn done(observation: Observation, outcome: Outcome) -> Self {
        Self::Done(Acted::without_a_write(observation, outcome))
    }
}

async fn attempt(
    context: &Context,
    observation: Observation,
    trigger: Trigger,
    found: Found,
) -> Result<Tried, ActError> {
    if let Some(accepted) = context.unrecorded.find(&observation) {
        return Ok(Tried::done(observation, Outcome::Accepted(accepted)));
    }
    // Boxed, like all that is in a future more than once otherwise: a thousand passes may wait here.
    let admission = Box::pin(admit(context, &observation, trigger));
    let queued = (&observation, &observation.resource);
    let admission = tokio::select! {
        () = context.stop.cancelled() => return Ok(Tried::done(observation, Outcome::Abandoned)),
        admission = announced(context, queued, admission) => admission,
    };
    match admission {
        // From here on the futures are large, and boxed, so that a thousand passes that only wait need little memory.
        Ok(admission) => Box::pin(admitted(context, observation, found, admission)).await,
        Err(failure) => Ok(Tried::done(observation, Outcome::Failed(failure))),
    }
}

/// What is done with the admission in hand: the last looks, the intent, and the reset.
async fn admitted(
    context: &Context,
    mut observation: Observation,
    found: Found,
    admission: Admission,
) -> Result<Tried, ActError> {
    let asked = observation.resource.clone();
    if found == Found::Before || !is_still_good(context, &observation) {
        match observe_again(context, asked.clone()).await? {
            Some(fresh) => observation = fresh,
            None => return Ok(Tried::done(observation, Outcome::Abandoned)),
        }
    }
    for _ in 0..LOOKS {
        if observation.resource.spec != asked.spec || context.stop.is_cancelled() {
            // Turn, budget and look at the instance may have been another one's. The change wakes a pass of its own.
            return Ok(Tried::done(observation, Outcome::Abandoned));
        }
        // While it waited, another resource of this account may have sent something.
        observation.unanswered = unanswered(context, &observation.resource);
        let (trigger, value) = match (decide(&observation, Timestamp::now()), &observation.secret) {
            (Decision::Reset(trigger), SecretObservation::Usable(value)) => (trigger, value),
            (Decision::LookAtAccount, _) => {
                drop(admission);
                return Ok(Tried::Done(look(context, observation).await));
            }
            (settled, _) => return Ok(Tried::done(observation, Outcome::Settled(settled))),
        };
        let Some((intent, proof)) = intend(context, &observation, value).await? else {
            match observe_fresh(context, &observation.resource).await? {
                Some(fresh) => observation = fresh,
                None => return Ok(Tried::done(observation, Outcome::Abandoned)),
            }
            continue;
        };
        let sent = send(context, &observation, value, trigger, proof, admission);
        let outcome = match announced(context, (&observation, &intent), sent).await {
            Ok(Sent::Ended(outcome)) => outcome,
            Ok(Sent::Rejected(failure)) => {
                return Ok(Tried::Rejected(Acted {
                    observation,
                    outcome: Outcome::Failed(failure),
                    latest: intent,
                }));
            }
            Ok(Sent::Nothing) => {
                let latest = intent::withdraw(context, &observation, intent).await;
                return Ok(Tried::Late(Acted {
                    observation,
                    outcome: Outcome::Queued,
                    latest,
                }));
            }
            Err(error) => {
                intent::withdraw(context, &observation, intent).await;
                return Err(error.into());
            }
        };
        return Ok(Tried::Done(Acted {
            observation,
            outcome,
            latest: intent,
        }));
    }
    Err(ActError::Unsettled)
}

/// Writes the intent down, and looks at the Lease meanwhile: neither waits for the other. Returns the intent with the rest of
/// that look; `None` as [`intent::write`].
///
/// The write ends whatever the look comes to, so that it is known what there is to take back. Where there is no intent, the look
/// is dropped at once: others may share it, and one that nobody goes on with would hold them up.
async fn intend<'a>(
    context: &'a Context,
    observation: &Observation,
    value: &SecretValue,
) -> Result<
    Option<(
        Arc<DatabaseAccountPassword>,
        impl Future<Output = Result<Proof, NotLeader>> + use<'a>,
    )>,
    ReportError,
> {
    let write = Box::pin(intent::write(context, observation, value));
    let prove = Box::pin(context.leadership.prove());
    let (intent, proof) = match select(write, prove).await {
        Either::Left((intent, prove)) => (intent, Either::Left(prove)),
        Either::Right((proof, write)) => (write.await, Either::Right(ready(proof))),
    };
    Ok(intent?.map(|intent| (intent, proof)))
}

/// Carries `work` out, and says in the status that a reset is due if that takes long.
async fn announced<T>(
    context: &Context,
    (observation, latest): (&Observation, &Arc<DatabaseAccountPassword>),
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    if let Ok(done) = tokio::time::timeout(ANNOUNCE_AFTER, &mut work).await {
        return done;
    }
    tokio::select! {
        // Whatever this leads to is written on top of what stands there then, announced or not.
        done = &mut work => return done,
        () = Box::pin(report::announce(context, observation, latest)) => {}
    }
    work.await
}

/// In this order everywhere, so that nobody can wait for each other in a circle.
async fn admit(
    context: &Context,
    observation: &Observation,
    trigger: Trigger,
) -> Result<Admission, Failure> {
    let (cloud, outages) = (&context.cloud, &context.outages);
    let instance_id = &observation.resource.spec.instance_id;
    // Before the turn: an instance must not be held up by an identity whose credentials cannot be had.
    let route = cloud
        .route(&observation.resource)
        .await
        .map_err(|error| unroutable(&error, trigger))?;
    let seen_instance = route.seen_instance(instance_id);
    loop {
        // Before the turn as well, and the turn is given back where the budget closes meanwhile: nor must an instance be held up
        // by an identity that RDS throttles.
        cloud.budget_opened(&route).await;
        let turn = cloud.turn(&route, instance_id).await;
        // What comes for the first time looks for itself, lest it waits for the end of an outage that is over.
        if let Some(awaited) = status::awaited(observation)
            && let Some(seen) = {
                let now = Timestamp::now();
                let is_new = status::is_new(&observation.resource, now);
                outages.seen_since(&seen_instance, awaited, is_new, now)
            }
        {
            return Err(Failure { trigger, ..seen });
        }
        let failure = match cloud.instance(&route, instance_id).await {
            Ok(instance) => obstacle(&instance, &observation.secret, trigger),
            Err(InstanceError::BudgetClosed) => continue,
            Err(InstanceError::Call(error)) => Some(Failure::of_read(&error, trigger)),
        };
        match failure {
            None => outages.ended(&seen_instance),
            Some(failure) if is_the_instance_in_the_way(&failure) => {
                let failures = status::failures_for_the_instance(observation);
                let (now, jitter) = (Timestamp::now(), rand::rng().random());
                let class =
                    status::class_of(failure.class, failure.reason, &observation.resource, now);
                let failure = Failure { class, ..failure };
                return Err(outages.found(seen_instance, failure, failures, now, jitter));
            }
            // Whether it would be in the way of the other accounts is not known.
            Some(failure) => return Err(failure),
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
    /// Nothing was sent, since the term is over, or a look too old.
    Nothing,
}

async fn send(
    context: &Context,
    observation: &Observation,
    value: &SecretValue,
    trigger: Trigger,
    proof: impl Future<Output = Result<Proof, NotLeader>>,
    admission: Admission,
) -> Result<Sent, NotLeader> {
    let Admission {
        route,
        turn,
        permit,
    } = admission;
    let target = observation.resource.spec.target();
    let proof = proof.await?;
    // The intent is written between the looks and here, and that may take long. Of the Secret, unlike of the resource, its
    // resourceVersion tells nothing.
    if context.stop.is_cancelled() || observation.looked.elapsed() >= FRESH_FOR || !proof.is_fresh()
    {
        return Ok(Sent::Nothing);
    }
    context.unrecorded.forget(&observation.resource);
    let sent = Timestamp::now();
    let timing = observation.unanswered.timing();
    let timeout = timing.timeout_after(status::unanswered(observation));
    // From the beginning: another resource of this account may be looked at before there is an answer.
    let (memory, fingerprint) = (&context.unanswered, &value.fingerprint);
    let earlier = memory.remember(&target, fingerprint, Instant::now() + timeout);
    let answer = context
        .cloud
        .reset(&route, &target, &value.password, timeout);
    let answer = answer.await;
    match &answer {
        Err(ResetError { error, .. }) if error.outcome_unknown() => {
            memory.remember(&target, fingerprint, Instant::now());
        }
        Ok(_) | Err(_) => memory.answered(&target, fingerprint, earlier),
    }
    drop(turn);
    Ok(match answer {
        Ok(request_id) => {
            let time = Timestamp::now();
            report::measure_accepted(context, observation, trigger);
            let look = context.cloud.account(&route, &target, Some(permit));
            let account = without_secret(look.await, &observation.secret);
            Sent::Ended(Outcome::Accepted(Accepted {
                time,
                sent,
                request_id,
                trigger,
                account,
            }))
        }
        Err(ResetError { error, try_again }) => {
            let mut failure = Failure::of_reset(&error, trigger);
            if !failure.outcome_unknown && status::is_repetition(observation) {
                failure = failure.of_a_repetition();
            }
            if try_again {
                Sent::Rejected(failure)
            } else if failure.reason == Reason::AccountNotAvailable {
                // RDS has one code for a state that ends by itself and for a lock, which only a person ends.
                let look = context.cloud.account(&route, &target, Some(permit));
                let is_locked = Box::pin(look).await == Account::Locked;
                Sent::Ended(Outcome::Failed(if is_locked {
                    failure.since_the_account_is_locked()
                } else {
                    failure
                }))
            } else {
                Sent::Ended(Outcome::Failed(failure))
            }
        }
    })
}

async fn look(context: &Context, observation: Observation) -> Acted {
    let cloud = &context.cloud;
    let look = async {
        match cloud.route(&observation.resource).await {
            Ok(route) => {
                let target = observation.resource.spec.target();
                let account = cloud.account(&route, &target, None).await;
                without_secret(account, &observation.secret)
            }
            // Credentials that can be had later can tell more then.
            Err(RouteError::Credentials(error)) if error.class() != Class::PersonNeeded => {
                Account::NotSeen
            }
            // The value was applied; without credentials nobody can say more.
            Err(_) => Account::NotTold,
        }
    };
    let outcome = tokio::select! {
        () = context.stop.cancelled() => Outcome::Abandoned,
        account = look => Outcome::Looked(account),
    };
    Acted::without_a_write(observation, outcome)
}

fn unroutable(error: &RouteError, trigger: Trigger) -> Failure {
    let credentials = match error {
        RouteError::Credentials(error) => Some(error),
        RouteError::Region(_) | RouteError::Identity => None,
    };
    Failure {
        trigger,
        reason: credentials.map_or(Reason::Rejected, CredentialsError::reason),
        class: credentials.map_or(Class::PersonNeeded, CredentialsError::class),
        explanation: Cow::Owned(error.to_string()),
        code: credentials.and_then(|error| error.code().cloned()),
        request_id: credentials.and_then(|error| error.request_id().cloned()),
        host: credentials.and_then(|error| error.host().cloned()),
        retry_after: credentials.and_then(CredentialsError::retry_after),
        until: None,
        instance_was_running: false,
        outcome_unknown: false,
    }
}

/// And so in that of all of its accounts.
fn is_the_instance_in_the_way(failure: &Failure) -> bool {
    matches!(
        status::ready_reason(failure.reason),
        ReadyReason::Instance(_)
    )
}

/// The account, without the name of a state that holds a piece of the value: it is RDS' own word, and is shown.
fn without_secret(account: Account, secret: &SecretObservation) -> Account {
    match account {
        Account::NotAvailable(Some(state)) if !may_be_shown(&state, secret) => {
            Account::NotAvailable(None)
        }
        account => account,
    }
}

fn may_be_shown(word: &Word, secret: &SecretObservation) -> bool {
    match secret {
        SecretObservation::Usable(value) => word.is_free_of(&Secrets(&[value.password.expose()])),
        SecretObservation::Unusable(_) | SecretObservation::Unchanged => true,
    }
}

fn obstacle(
    instance: &DbInstance,
    secret: &SecretObservation,
    trigger: Trigger,
) -> Option<Failure> {
    let (class, reason) = instance.obstacle()?;
    let explanation = match (&instance.status, &instance.lock) {
        (InstanceStatus::Running, lock) => {
            let lock = match lock {
                Lock::Locked(name) if !may_be_shown(name, secret) => &Lock::LockedOtherwise,
                lock => lock,
            };
            format!("the instance is locked ({lock}); the password is sent once it is unlocked")
        }
        (InstanceStatus::Gone, _) => {
            "RDS has no such instance for this cloud identity; check spec.instanceId, the region and the RAM policy".to_owned()
        }
        (status, _) => {
            let status = match status {
                InstanceStatus::NotRunning(name) if !may_be_shown(name, secret) => {
                    &InstanceStatus::Unknown
                }
                status => status,
            };
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
        host: None,
        retry_after: None,
        until: None,
        instance_was_running: false,
        outcome_unknown: false,
    })
}
