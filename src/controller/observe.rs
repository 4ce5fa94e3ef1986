//! Gathers what a decision rests on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::Api;
use thiserror::Error;

use super::Context;
use super::decide::{Observation, Ownership, SecretObservation, SecretProblem, SecretValue};
use super::in_sync::in_sync_with;
use super::index::{ObjectName, ObjectVersion, SeenSecret};
use super::status;
use super::unanswered::Unanswered;
use crate::api::{ConditionType, DatabaseAccountPassword, SecretVersion, Target};
use crate::api_server::ApiServerError;
use crate::fingerprint::{Comparison, Keyring};
use crate::rds::password::Password;
use crate::secret::{self, SecretReadError, SecretSnapshot};

/// How long one read of a resource may take: as long as one of a Secret.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How long after it began a look may still be the last one before a reset, while the watch tells of no other version of the
/// Secret than was read. It may be late, and the intent has to be written yet: half of [`FRESH_FOR`](crate::leader::FRESH_FOR)
/// is left for both. Whoever waited longer looks again.
pub const REUSED_FOR: Duration = Duration::from_secs(1);

/// How long such a look is believed while the watch has not told of the Secret yet, as of one that was there before anybody read it:
/// there is room for the GET of the Secret, and for a read of the instance's state at 30 ms to the cloud and back.
const REUSED_UNSEEN_FOR: Duration = Duration::from_millis(100);

/// Why nothing could be observed. All of these may pass.
#[derive(Debug, Error)]
pub enum ObserveError {
    /// The Secret could not be read, for a reason that may pass.
    #[error("the Secret could not be read: {0}")]
    Secret(SecretReadError),
    /// The resource could not be read.
    #[error("the DatabaseAccountPassword could not be read: {0}")]
    Resource(&'static str),
    /// The API server did not give the resource.
    #[error("the DatabaseAccountPassword could not be read: {0}")]
    ApiServer(ApiServerError),
}

/// The resource as the store has it, and its Secret as it is now. At the first look of a term, the Secret is not read where
/// its version is the one that the resource is [in sync with](super::in_sync). `None` where there is nothing to observe (yet): the resource
/// is gone, or its account's owner is not known, or the term has ended, since nothing was sent that would have to be finished.
///
/// The store may not have the operator's own last write yet; it is asked for then, lest a reset that was just made be made again.
///
/// # Errors
/// When something could not be read.
pub async fn observe(
    context: &Context,
    stored: Arc<DatabaseAccountPassword>,
) -> Result<Option<Observation>, ObserveError> {
    if let Some(unchanged) = unchanged(context, &stored) {
        return Ok(Some(unchanged));
    }
    within_the_term(context, look(context, stored)).await
}

/// What is observed of a resource at its first look, where nothing has to be read for it: by its own status it is in sync with
/// the version that its Secret has, as the watch tells. Later looks read the Secret, since they also heal what a lost event
/// left behind.
fn unchanged(context: &Context, resource: &Arc<DatabaseAccountPassword>) -> Option<Observation> {
    if context.written.is_behind(resource) {
        return None;
    }
    let name = ObjectName::of(&resource.metadata);
    let mut index = context.index();
    let ownership = Ownership::of(index.owns(&name, &resource.spec.target())?);
    let seen = index.take_first_look(&name)?;
    let version = in_sync_with(resource, &context.keyring)?;
    is_version(version, seen).then(|| Observation {
        resource: resource.clone(),
        ownership,
        secret: SecretObservation::Unchanged,
        unanswered: unanswered(context, resource),
        looked: Instant::now(),
    })
}

/// Whether an observation serves whoever is about to send a reset as well as another look would. So it was made a moment ago,
/// the term goes on, the resource has the operator's own last write, and the account is still whose it was: that is asked of
/// the index once more, which may have learned of another resource since, or of another version of the Secret.
#[must_use]
pub fn is_still_good(context: &Context, observation: &Observation) -> bool {
    let resource = &observation.resource;
    observation.looked.elapsed() < reused_for(context, observation)
        && !context.stop.is_cancelled()
        && !context.written.is_behind(resource)
        && ownership(context, resource) == Some(observation.ownership)
}

/// For how long the look at the Secret is believed, by what its watch tells.
fn reused_for(context: &Context, observation: &Observation) -> Duration {
    let SecretObservation::Usable(SecretValue { version, .. }) = &observation.secret else {
        return Duration::ZERO;
    };
    let name = ObjectName::of(&observation.resource.metadata);
    match context.index().secret_of(&name) {
        None => REUSED_UNSEEN_FOR,
        Some(SeenSecret::There(seen)) if is_version(version, seen) => REUSED_FOR,
        Some(_) => Duration::ZERO,
    }
}

/// Whether this is the version that the watch has told of.
fn is_version(version: &SecretVersion, seen: &ObjectVersion) -> bool {
    version.uid == seen.uid && version.resource_version == seen.resource_version
}

/// Like [`observe`], for whoever is about to send a reset: it always reads the Secret. Who does that holds a permit of the cloud, and
/// waits for nobody's first look: after a start all resources may be in that queue.
///
/// # Errors
/// When something could not be read.
pub async fn observe_again(
    context: &Context,
    stored: Arc<DatabaseAccountPassword>,
) -> Result<Option<Observation>, ObserveError> {
    within_the_term(context, look(context, stored)).await
}

/// Like [`observe_again`], with the resource as the API server has it now. Another resource of the same name, or one that is
/// being deleted, counts as gone.
///
/// # Errors
/// When something could not be read.
pub async fn observe_fresh(
    context: &Context,
    known: &DatabaseAccountPassword,
) -> Result<Option<Observation>, ObserveError> {
    within_the_term(context, look_fresh(context, known)).await
}

async fn within_the_term(
    context: &Context,
    observed: impl Future<Output = Result<Option<Observation>, ObserveError>>,
) -> Result<Option<Observation>, ObserveError> {
    tokio::select! {
        observed = observed => observed,
        () = context.stop.cancelled() => Ok(None),
    }
}

async fn look(
    context: &Context,
    stored: Arc<DatabaseAccountPassword>,
) -> Result<Option<Observation>, ObserveError> {
    if context.written.is_behind(&stored) {
        look_fresh(context, &stored).await
    } else {
        with_secret(context, stored).await
    }
}

async fn look_fresh(
    context: &Context,
    known: &DatabaseAccountPassword,
) -> Result<Option<Observation>, ObserveError> {
    match read_resource(context, known).await? {
        Some(fresh) => with_secret(context, Arc::new(fresh)).await,
        None => Ok(None),
    }
}

/// The resource as the API server has it now, if it is still that one.
///
/// # Errors
/// When it could not be read.
pub async fn read_resource(
    context: &Context,
    known: &DatabaseAccountPassword,
) -> Result<Option<DatabaseAccountPassword>, ObserveError> {
    let namespace = known.namespace().unwrap_or_default();
    let api = Api::<DatabaseAccountPassword>::namespaced(context.client.clone(), &namespace);
    let name = known.name_any();
    match tokio::time::timeout(READ_TIMEOUT, api.get_opt(&name)).await {
        Ok(Ok(fresh)) => Ok(fresh.filter(|fresh| {
            fresh.metadata.uid == known.metadata.uid && fresh.metadata.deletion_timestamp.is_none()
        })),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => Err(ObserveError::Resource(
            "the operator's ServiceAccount may not get it",
        )),
        Ok(Err(kube::Error::SerdeError(_))) => {
            Err(ObserveError::Resource("this version cannot decode it"))
        }
        Ok(Err(error)) => Err(ObserveError::ApiServer(ApiServerError::of(&error))),
        Err(_) => Err(ObserveError::Resource(
            "the API server did not answer in time",
        )),
    }
}

async fn with_secret(
    context: &Context,
    resource: Arc<DatabaseAccountPassword>,
) -> Result<Option<Observation>, ObserveError> {
    let looked = Instant::now();
    let Some(ownership) = ownership(context, &resource) else {
        return Ok(None);
    };
    let name = ObjectName::of(&resource.metadata);
    context.changes.reading(&name, pending_since(&resource));
    let read = secret::read(
        &context.client,
        &name.namespace,
        &resource.spec.password_secret_ref.name,
    )
    .await;
    if let Ok(Some(snapshot)) = &read {
        context
            .index()
            .secret_read(&name, snapshot.uid(), snapshot.resource_version());
    }
    let is_unreadable = is_unreadable(context, &resource, read.as_ref().err());
    let secret = match read {
        Ok(snapshot) => interpret(&context.keyring, &resource, snapshot.as_ref()),
        Err(error) if error.is_transient() && !is_unreadable => {
            return Err(ObserveError::Secret(error));
        }
        Err(error) => SecretObservation::Unusable(SecretProblem::Unreadable(error)),
    };
    Ok(Some(Observation {
        unanswered: unanswered(context, &resource),
        resource,
        ownership,
        secret,
        looked,
    }))
}

/// Whether the API server has failed to read the Secret from its store so often that a person has to act.
fn is_unreadable(
    context: &Context,
    resource: &DatabaseAccountPassword,
    error: Option<&SecretReadError>,
) -> bool {
    let uid = resource.metadata.uid.as_deref().unwrap_or_default();
    match error {
        Some(SecretReadError::Stored(_)) => context.unreadable.failed(uid),
        // Nothing was said of this Secret.
        Some(SecretReadError::ApiServer(_) | SecretReadError::Timeout) => false,
        Some(SecretReadError::Forbidden | SecretReadError::Malformed) | None => {
            context.unreadable.answered(uid);
            false
        }
    }
}

/// Who may reset the account of this resource. `None`: the index does not know yet, and wakes the resource once it does.
fn ownership(context: &Context, resource: &DatabaseAccountPassword) -> Option<Ownership> {
    let name = ObjectName::of(&resource.metadata);
    let owns = context.index().owns(&name, &resource.spec.target());
    owns.map(Ownership::of)
}

/// The resets of this resource, and those that this process sent to its account, that RDS may still carry out.
pub(super) fn unanswered(context: &Context, resource: &DatabaseAccountPassword) -> Unanswered {
    let now = Timestamp::now();
    let target = resource.spec.target();
    let remembered = context.unanswered.recall(&target, now, Instant::now());
    let timing = context.unanswered.timing();
    Unanswered::of(resource.status.as_ref(), &remembered, timing, now)
}

/// Since when a change is pending that no watch has told of, by the status; now, where it says nothing of that. Time in which
/// the resource was suspended does not count.
fn pending_since(resource: &DatabaseAccountPassword) -> Instant {
    let now = Instant::now();
    let Some(status) = &resource.status else {
        return now;
    };
    let was_suspended = status::find(&status.conditions, ConditionType::Suspended).is_some();
    let since = status.pending_since.as_ref().filter(|_| !was_suspended);
    since
        .and_then(|since| Duration::try_from(Timestamp::now().duration_since(since.0)).ok())
        .and_then(|age| now.checked_sub(age))
        .unwrap_or(now)
}

/// What the Secret means for this resource. Pure.
fn interpret(
    keyring: &Keyring,
    resource: &DatabaseAccountPassword,
    snapshot: Option<&SecretSnapshot>,
) -> SecretObservation {
    let unusable = SecretObservation::Unusable;
    let Some(snapshot) = snapshot else {
        return unusable(SecretProblem::NotFound);
    };
    let key = &resource.spec.password_secret_ref.key;
    let value = match snapshot.value(key) {
        Ok(Some(value)) => value,
        Ok(None) => return unusable(SecretProblem::KeyNotFound),
        Err(error) => return unusable(SecretProblem::Unreadable(error)),
    };
    let password = match Password::from_bytes(&value) {
        Ok(password) => password,
        Err(rule) => return unusable(SecretProblem::Invalid(rule)),
    };
    let target = resource.spec.target();
    SecretObservation::Usable(SecretValue {
        version: SecretVersion {
            uid: snapshot.uid().to_owned(),
            resource_version: snapshot.resource_version().to_owned(),
            key: key.clone(),
        },
        fingerprint: keyring.fingerprint(&target, &value),
        compared: compared(keyring, resource, &target, &value),
        password,
    })
}

fn compared(
    keyring: &Keyring,
    resource: &DatabaseAccountPassword,
    target: &Target,
    value: &[u8],
) -> Option<Comparison> {
    let stored = resource.last_reset_of_target()?.fingerprint.as_ref()?;
    Some(keyring.compare(stored, target, value))
}
