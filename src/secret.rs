//! Reads a Secret without letting anyone print it.
//!
//! kube-client logs the whole text of an object that it cannot decode (kube-client 5.0.0, `Client::request`, at warn), so the
//! text is taken here, parsed here, and the parser's details are thrown away.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kube::core::Request;
use kube::{Client, Resource as _};
use serde::Deserialize;
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

use crate::api_server::{ApiServerError, Refusal};

/// How long one read may take. The API server answers a GET in milliseconds; ten seconds outlast a leader change of etcd.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// One version of a Secret. Its values are zeroed when it is dropped, and it has no `Debug`.
#[derive(Deserialize)]
pub struct SecretSnapshot {
    metadata: Metadata,
    #[serde(default)]
    data: Option<BTreeMap<String, Encoded>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    uid: String,
    resource_version: String,
}

/// A value in base64, as the API server sends it.
#[derive(Deserialize)]
#[serde(transparent)]
struct Encoded(String);

impl Drop for Encoded {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Why a Secret could not be read. None of the variants carries a word of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SecretReadError {
    /// RBAC denies it.
    #[error("the operator's ServiceAccount may not get this Secret")]
    Forbidden,
    /// The API server answered with something that is not a Secret.
    #[error("the API server's answer is not a Secret")]
    Malformed,
    /// The API server cannot read this one Secret from its store.
    #[error(
        "the API server fails to read it from its store, with HTTP status {0}; if it was encrypted with a key that the API server no longer has, put that key back into the EncryptionConfiguration; the API server's log says more"
    )]
    Stored(Refusal),
    /// The API server refused for another reason, or failed, or could not be reached.
    #[error(transparent)]
    ApiServer(ApiServerError),
    /// No answer in time.
    #[error("the API server did not answer within {} s", READ_TIMEOUT.as_secs())]
    Timeout,
}

impl SecretReadError {
    fn of(error: &kube::Error) -> Self {
        match ApiServerError::of(error) {
            ApiServerError::Malformed => Self::Malformed,
            ApiServerError::Status(refusal) if refusal.is_of_the_object() => Self::Stored(refusal),
            error => Self::ApiServer(error),
        }
    }

    /// Whether it may be gone at the next look. The other kind lasts until a person acts.
    #[must_use]
    pub fn is_transient(self) -> bool {
        match self {
            Self::Forbidden | Self::Malformed => false,
            Self::Stored(_) | Self::ApiServer(_) | Self::Timeout => true,
        }
    }
}

impl SecretSnapshot {
    /// `metadata.uid`.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.metadata.uid
    }

    /// `metadata.resourceVersion`.
    #[must_use]
    pub fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }

    /// The keys of `data`.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.data
            .iter()
            .flat_map(|data| data.keys().map(String::as_str))
    }

    /// The decoded value of a key of `data`, where there is one.
    ///
    /// # Errors
    /// [`SecretReadError::Malformed`] where the value is not base64, which the API server itself never sends.
    pub fn value(&self, key: &str) -> Result<Option<Zeroizing<Vec<u8>>>, SecretReadError> {
        let Some(Encoded(encoded)) = self.data.as_ref().and_then(|data| data.get(key)) else {
            return Ok(None);
        };
        STANDARD
            .decode(encoded)
            .map(|value| Some(Zeroizing::new(value)))
            .map_err(|_| SecretReadError::Malformed)
    }

    fn parse(text: &str) -> Result<Self, SecretReadError> {
        serde_json::from_str(text).map_err(|_| SecretReadError::Malformed)
    }
}

/// The Secret as the API server has it now (a quorum read: no `resourceVersion` is given), or `None` where there is none.
///
/// # Errors
/// As [`SecretReadError`] says.
pub async fn read(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<SecretSnapshot>, SecretReadError> {
    let request = Request::new(Secret::url_path(&(), Some(namespace)))
        .get(name, &kube::api::GetParams::default())
        .map_err(|_| SecretReadError::Malformed)?;
    let answer = tokio::time::timeout(READ_TIMEOUT, client.request_text(request))
        .await
        .map_err(|_| SecretReadError::Timeout)?;
    match answer {
        Ok(text) => SecretSnapshot::parse(&Zeroizing::new(text)).map(Some),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 403 => Err(SecretReadError::Forbidden),
        Err(error) => Err(SecretReadError::of(&error)),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_version_and_value() {
        let snapshot = SecretSnapshot::parse(
            r#"{"kind":"Secret","metadata":{"name":"a","uid":"u","resourceVersion":"7"},"data":{"password":"cGFzcw=="}}"#,
        )
        .unwrap();
        assert_eq!((snapshot.uid(), snapshot.resource_version()), ("u", "7"));
        assert_eq!(
            snapshot.value("password").unwrap().unwrap().as_slice(),
            b"pass"
        );
        assert!(snapshot.value("other").unwrap().is_none());
    }

    #[rstest::rstest]
    #[case::empty("")]
    #[case::other_kind(r#"{"kind":"Status"}"#)]
    #[case::data_of_numbers(
        r#"{"metadata":{"uid":"u","resourceVersion":"7"},"data":{"password":5}}"#
    )]
    fn an_answer_that_is_no_secret_is_malformed(#[case] text: &str) {
        assert_eq!(
            SecretSnapshot::parse(text).err(),
            Some(SecretReadError::Malformed)
        );
    }

    proptest! {
        #[test]
        fn every_value_comes_out_as_it_was(
            data in proptest::collection::btree_map("[a-z.-]{1,4}", proptest::collection::vec(any::<u8>(), 0..40), 0..4),
            absent in "[A-Z]{1,4}",
        ) {
            let encoded: BTreeMap<_, _> =
                data.iter().map(|(key, value)| (key, STANDARD.encode(value))).collect();
            let text = serde_json::json!({
                "metadata": { "uid": "u", "resourceVersion": "7", "name": "a" }, "data": encoded, "type": "Opaque",
            });
            let snapshot = SecretSnapshot::parse(&text.to_string()).unwrap();
            prop_assert!(snapshot.keys().eq(data.keys()));
            for (key, value) in &data {
                prop_assert_eq!(&*snapshot.value(key).unwrap().unwrap(), value);
            }
            prop_assert!(snapshot.value(&absent).unwrap().is_none());
        }

        /// Cut off or with another letter somewhere: malformed, or some other text, and never a panic.
        #[test]
        fn no_text_makes_it_panic(cut in 0_usize..100, at in 0_usize..100, letter in any::<char>()) {
            let text = r#"{"metadata":{"uid":"u","resourceVersion":"7"},"data":{"password":"cGFzcw=="},"kind":"Secret"}"#;
            let mut text: Vec<char> = text.chars().collect();
            let at = at % text.len();
            text[at] = letter;
            text.truncate(cut.max(40));
            let text: String = text.into_iter().collect();
            if let Ok(snapshot) = SecretSnapshot::parse(&text) {
                let _ = snapshot.value("password");
            }
        }
    }

    #[test]
    fn a_secret_without_data_has_no_value() {
        let snapshot =
            SecretSnapshot::parse(r#"{"metadata":{"uid":"u","resourceVersion":"7"}}"#).unwrap();
        assert!(snapshot.value("password").unwrap().is_none());
    }
}
