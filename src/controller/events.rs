//! Tells people what happened: an Event for each outcome that is news. Best effort, and apart from the passes, which do not wait for
//! it.

use std::sync::Arc;
use std::time::Duration;

use k8s_controller::events::{Event, EventRecorder, EventType};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use kube::core::PartialObjectMetaExt as _;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::decide::Decision;
use super::index::ObjectName;
use super::outcome::Outcome;
use super::status;
use crate::api::{ConditionType, DatabaseAccountPassword, ReadyReason};

/// How many are sent at once: one, since where there are many, a reset that is to be written down comes first.
const CONCURRENT_SENDS: usize = 1;

/// How many wait to be sent, at most; what comes on top is left out. That takes some seconds where all goes well.
const WAITING: usize = 1_000;

/// How long the end of the process may wait for them.
const AT_THE_END: Duration = Duration::from_secs(5);

/// The reason of the Event of a success.
const PASSWORD_RESET: &str = "PasswordReset";

/// The Events of a process, of all of its terms.
pub struct Events {
    recorder: Arc<EventRecorder>,
    places: Arc<Semaphore>,
    sends: Arc<Semaphore>,
    waiting: TaskTracker,
}

impl Events {
    /// Sends with this recorder.
    #[must_use]
    pub fn new(recorder: EventRecorder) -> Self {
        Self {
            recorder: Arc::new(recorder),
            places: Arc::new(Semaphore::new(WAITING)),
            sends: Arc::new(Semaphore::new(CONCURRENT_SENDS)),
            waiting: TaskTracker::new(),
        }
    }

    /// Publishes an Event about a resource, in its turn.
    pub fn publish(&self, resource: &DatabaseAccountPassword, event: Event) {
        let name = ObjectName::of(&resource.metadata);
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            warn!(
                resource = %name,
                reason = event.reason,
                "too many Events wait; this one is not published"
            );
            return;
        };
        let regarding = ObjectMeta {
            namespace: resource.namespace(),
            name: Some(resource.name_any()),
            uid: resource.uid(),
            resource_version: resource.resource_version(),
            ..ObjectMeta::default()
        };
        let regarding = regarding.into_response_partial::<DatabaseAccountPassword>();
        let (recorder, sends) = (self.recorder.clone(), self.sends.clone());
        self.waiting.spawn(async move {
            let _place = place;
            let _send = sends.acquire().await;
            // Bounded by the recorder itself, to five seconds.
            if let Err(error) = recorder.publish(&regarding, &event).await {
                warn!(resource = %name, reason = event.reason, %error, "the Event could not be published");
            }
            if event.reason == PASSWORD_RESET {
                // No two are alike, and the recorder looks through all that it remembers each time.
                recorder.forget(&regarding);
            }
        });
    }

    /// Waits for those that wait to be sent, for a moment: the process ends.
    pub async fn finish(&self) {
        self.waiting.close();
        if tokio::time::timeout(AT_THE_END, self.waiting.wait())
            .await
            .is_err()
        {
            warn!(
                left = self.waiting.len(),
                "the last Events are not published"
            );
        }
    }
}

/// The Event of an outcome: each reset has one, everything else only where the reason of `Ready` changed.
#[must_use]
pub fn of(outcome: &Outcome, is_news: bool, resource: &DatabaseAccountPassword) -> Option<Event> {
    let ready = status::find(&resource.status.as_ref()?.conditions, ConditionType::Ready)?;
    let (type_, reason, note) = match outcome {
        Outcome::Accepted(accepted) => (
            EventType::Normal,
            PASSWORD_RESET,
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
        // A person asked for it, or it ends by itself and the condition says when.
        Outcome::Settled(Decision::Suspended | Decision::Unsettled { .. }) => return None,
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
