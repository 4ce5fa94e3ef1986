//! Credentials as a source gives them.

use std::fmt;

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::error::{CredentialsError, SourceName};
use super::key::PartNames;
use super::text::{plain, secret};
use crate::rds::credentials::Credentials;

/// Credentials, and until when they are good.
#[derive(Clone)]
pub struct IssuedCredentials {
    /// Where they come from.
    pub origin: SourceName,
    /// The `AccessKey`.
    pub credentials: Credentials,
    /// When it expires; `None` for a permanent one, and for one whose source does not say.
    pub expiration: Option<Timestamp>,
}

impl IssuedCredentials {
    /// An `AccessKey` without an end that is known.
    #[must_use]
    pub fn without_expiration(origin: SourceName, credentials: Credentials) -> Self {
        Self {
            origin,
            credentials,
            expiration: None,
        }
    }
}

impl fmt::Debug for IssuedCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedCredentials")
            .field("origin", &self.origin)
            .field("credentials", &self.credentials)
            .field("expiration", &self.expiration)
            .finish()
    }
}

/// The object that STS, the metadata service and a credentials URI answer with alike.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TemporaryKey {
    #[serde(default, deserialize_with = "plain")]
    access_key_id: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    access_key_secret: Option<SecretString>,
    #[serde(default, deserialize_with = "secret")]
    security_token: Option<SecretString>,
    #[serde(default, deserialize_with = "plain")]
    expiration: Option<String>,
}

const NAMES: PartNames<'_> = PartNames {
    id: "AccessKeyId of the answer",
    secret: "AccessKeySecret of the answer",
    token: "SecurityToken of the answer",
};

impl TemporaryKey {
    /// `None` unless all four are there.
    pub(super) fn issued(
        &self,
        origin: SourceName,
    ) -> Result<Option<IssuedCredentials>, CredentialsError> {
        let (Some(id), Some(secret), Some(token), Some(expiration)) = (
            &self.access_key_id,
            &self.access_key_secret,
            &self.security_token,
            self.expiration.as_ref().and_then(|time| time.parse().ok()),
        ) else {
            return Ok(None);
        };
        let credentials = Credentials::new(id, secret.expose_secret(), Some(token.expose_secret()))
            .map_err(|malformed| NAMES.explain(origin, malformed))?;
        Ok(Some(IssuedCredentials {
            origin,
            credentials,
            expiration: Some(expiration),
        }))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::complete(r#"{"AccessKeyId":"STS.1","AccessKeySecret":"s","SecurityToken":"t","Expiration":"2026-11-24T08:00:00Z","More":{}}"#, true)]
    #[case::no_id(
        r#"{"AccessKeySecret":"s","SecurityToken":"t","Expiration":"2026-11-24T08:00:00Z"}"#,
        false
    )]
    #[case::empty_secret(r#"{"AccessKeyId":"STS.1","AccessKeySecret":"","SecurityToken":"t","Expiration":"2026-11-24T08:00:00Z"}"#, false)]
    #[case::no_token(r#"{"AccessKeyId":"STS.1","AccessKeySecret":"s","SecurityToken":null,"Expiration":"2026-11-24T08:00:00Z"}"#, false)]
    #[case::no_time(
        r#"{"AccessKeyId":"STS.1","AccessKeySecret":"s","SecurityToken":"t"}"#,
        false
    )]
    #[case::strange_time(r#"{"AccessKeyId":"STS.1","AccessKeySecret":"s","SecurityToken":"t","Expiration":"tomorrow"}"#, false)]
    fn all_four_are_needed(#[case] json: &str, #[case] complete: bool) {
        let issued =
            serde_json::from_str::<TemporaryKey>(json).map(|key| key.issued(SourceName::Uri));
        assert!(issued.is_ok_and(|issued| issued.is_ok_and(|issued| issued.is_some() == complete)));
    }

    #[rstest]
    #[case::ends(r#"{"AccessKeyId":"STS.1\n","AccessKeySecret":"s\n","SecurityToken":" t\n","Expiration":"2026-11-24T08:00:00Z\n"}"#, None)]
    #[case::id(r#"{"AccessKeyId":"STS 1","AccessKeySecret":"s","SecurityToken":"t","Expiration":"2026-11-24T08:00:00Z"}"#, Some("AccessKeyId "))]
    #[case::secret(r#"{"AccessKeyId":"STS.1","AccessKeySecret":"canary\ns","SecurityToken":"t","Expiration":"2026-11-24T08:00:00Z"}"#, Some("AccessKeySecret "))]
    #[case::token(r#"{"AccessKeyId":"STS.1","AccessKeySecret":"s","SecurityToken":"canary t","Expiration":"2026-11-24T08:00:00Z"}"#, Some("SecurityToken "))]
    fn white_space(#[case] json: &str, #[case] named: Option<&str>) {
        let issued =
            serde_json::from_str::<TemporaryKey>(json).map(|key| key.issued(SourceName::Uri));
        let told = issued.map(|issued| issued.err().map(|error| error.to_string()));
        assert!(told.is_ok_and(|told| match (&told, named) {
            (None, None) => true,
            (Some(told), Some(named)) => told.starts_with(named) && !told.contains("canary"),
            _ => false,
        }));
    }

    #[test]
    fn debug_tells_no_secret() {
        let issued = IssuedCredentials::without_expiration(
            SourceName::File,
            Credentials {
                access_key_id: "id".to_owned(),
                access_key_secret: SecretString::from("canary1"),
                security_token: Some(SecretString::from("canary2")),
            },
        );
        assert!(!format!("{issued:?}").contains("canary"));
    }
}
