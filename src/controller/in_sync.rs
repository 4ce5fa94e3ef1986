//! Whether a resource's own status tells that nothing is to be done for it, as long as its Secret is not touched. Pure.
//!
//! So a restart need not read again what nobody has changed: the same uid and resourceVersion are the same content.

use k8s_controller::conditions::ConditionStatus;

use super::decide::{account_was_not_available, has_new_request};
use super::status;
use crate::api::{ConditionType, DatabaseAccountPassword, SecretVersion};
use crate::fingerprint::Keyring;

/// The version of the Secret with which a pass would find the resource in sync and its status as it should be, whoever reads
/// it. Nothing, where a pass has more to do, or where the status is not that of an operator which found it in sync.
#[must_use]
pub fn in_sync_with<'a>(
    resource: &'a DatabaseAccountPassword,
    keyring: &Keyring,
) -> Option<&'a SecretVersion> {
    let status = resource.status.as_ref()?;
    let reset = resource.last_reset_of_target()?;
    let fingerprint = reset.fingerprint.as_ref()?;
    let ready = status::find(&status.conditions, ConditionType::Ready)?;
    let is_in_sync = resource.metadata.deletion_timestamp.is_none()
        && resource.metadata.generation.is_some()
        && status.observed_generation == resource.metadata.generation
        && !resource.spec.suspend
        && !has_new_request(resource)
        && keyring.has_made(fingerprint)
        && reset.secret.key == resource.spec.password_secret_ref.key
        && status.last_attempt.is_none()
        && status.unanswered_sends.is_empty()
        && status.pending_since.is_none()
        && ready.status == ConditionStatus::True.as_str()
        && !account_was_not_available(resource);
    is_in_sync.then_some(&reset.secret)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]
mod tests;
