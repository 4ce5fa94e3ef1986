//! Keeps the keyring in a Secret of the operator's own namespace: the only Secret that the operator ever writes.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, PostParams};
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

use super::{KEY_BYTES, KeyId, Keyring};
use crate::api_server::ApiServerError;
use crate::secret::{self, SecretReadError, SecretSnapshot};

/// The name of the Secret that holds the keys: one entry a key, named by its id, and `current`, which names the one in use.
pub const KEY_SECRET_NAME: &str = "rds-password-operator-fingerprint-keys";

const CURRENT: &str = "current";

/// As long as one read: see `secret`.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no keyring.
#[derive(Debug, Error)]
pub enum KeyStoreError {
    /// The Secret could not be read.
    #[error("the Secret {KEY_SECRET_NAME} could not be read: {0}")]
    Read(#[from] SecretReadError),
    /// The Secret could not be created.
    #[error("the Secret {KEY_SECRET_NAME} could not be created: {0}")]
    Create(&'static str),
    /// The Secret could not be created, since the API server did not do it.
    #[error("the Secret {KEY_SECRET_NAME} could not be created: {0}")]
    CreateUnanswered(ApiServerError),
    /// The Secret is there, but not as the operator made it.
    #[error(
        "the Secret {KEY_SECRET_NAME} is damaged: its entry `current` must name an entry of {KEY_BYTES} bytes. Restore it from a backup; if there is none, delete it and restart the operator"
    )]
    Damaged,
}

/// The keyring of this installation. The first operator that asks creates it, from `random`; whoever comes second takes what
/// is there, so that two replicas that start together agree.
///
/// # Errors
/// As [`KeyStoreError`] says; all but `Damaged` may pass.
pub async fn load_or_create(
    client: &Client,
    namespace: &str,
    random: Zeroizing<[u8; KEY_BYTES]>,
    id: KeyId,
) -> Result<Keyring, KeyStoreError> {
    if let Some(snapshot) = secret::read(client, namespace, KEY_SECRET_NAME).await? {
        return parse(&snapshot);
    }
    create(client, namespace, &random, &id).await?;
    let snapshot = secret::read(client, namespace, KEY_SECRET_NAME)
        .await?
        .ok_or(KeyStoreError::Create("it was deleted again at once"))?;
    parse(&snapshot)
}

async fn create(
    client: &Client,
    namespace: &str,
    random: &[u8; KEY_BYTES],
    id: &str,
) -> Result<(), KeyStoreError> {
    let mut secret = Secret {
        metadata: ObjectMeta {
            name: Some(KEY_SECRET_NAME.to_owned()),
            labels: Some(BTreeMap::from([(
                "app.kubernetes.io/managed-by".to_owned(),
                "rds-password-operator".to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([
            (id.to_owned(), ByteString(random.to_vec())),
            (CURRENT.to_owned(), ByteString(id.as_bytes().to_vec())),
        ])),
        ..Secret::default()
    };
    let api = Api::<Secret>::namespaced(client.clone(), namespace);
    let params = PostParams::default();
    let created = tokio::time::timeout(WRITE_TIMEOUT, api.create(&params, &secret)).await;
    for value in secret.data.iter_mut().flat_map(BTreeMap::values_mut) {
        value.0.zeroize();
    }
    match created {
        Ok(Ok(mut echo)) => {
            for value in echo.data.iter_mut().flat_map(BTreeMap::values_mut) {
                value.0.zeroize();
            }
            Ok(())
        }
        // Another replica was faster.
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(()),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => Err(KeyStoreError::Create(
            "the operator's ServiceAccount may not create Secrets in its own namespace",
        )),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Err(KeyStoreError::Create(
            "the operator's namespace does not exist",
        )),
        Ok(Err(error)) => Err(KeyStoreError::CreateUnanswered(ApiServerError::of(&error))),
        Err(_) => Err(KeyStoreError::Create(
            "the API server did not answer in time",
        )),
    }
}

fn parse(snapshot: &SecretSnapshot) -> Result<Keyring, KeyStoreError> {
    let bytes_of = |id: &str| -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyStoreError> {
        let value = snapshot.value(id)?.ok_or(KeyStoreError::Damaged)?;
        let bytes = value
            .as_slice()
            .try_into()
            .map_err(|_| KeyStoreError::Damaged)?;
        Ok(Zeroizing::new(bytes))
    };
    let current = snapshot.value(CURRENT)?.ok_or(KeyStoreError::Damaged)?;
    let current = std::str::from_utf8(&current)
        .map_err(|_| KeyStoreError::Damaged)?
        .trim();
    let older = snapshot
        .keys()
        .filter(|id| *id != current && *id != CURRENT)
        .map(|id| Ok((id.to_owned(), bytes_of(id)?)))
        .collect::<Result<Vec<_>, KeyStoreError>>()?;
    Ok(Keyring::new(
        (current.to_owned(), bytes_of(current)?),
        older,
    ))
}
