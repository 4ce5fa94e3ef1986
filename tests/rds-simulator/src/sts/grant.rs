//! A session that may be had, and the temporary key that it is given.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use rand::Rng;
use serde_json::{Value, json};

use super::token::Claims;
use crate::{
    answer::Fields,
    ram::access_key::{AccessKey, Session},
};

/// A session that may be had.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) session: Session,
    /// The role's.
    pub(crate) cloud_account: String,
    pub(crate) duration: Duration,
    /// The OIDC token's, if it is by one.
    pub(crate) token: Option<Claims>,
}

/// A key that lives for a while, hence no `Debug`.
pub(crate) struct TemporaryKey {
    id: String,
    secret: String,
    token: String,
    expires: Timestamp,
}

impl TemporaryKey {
    /// A key that lives this long from this time of the cloud's clock on.
    pub(crate) fn issue(duration: Duration, cloud_time: Timestamp, random: &mut dyn Rng) -> Self {
        let mut text = |bytes: usize| {
            let mut buffer = vec![0; bytes];
            random.fill_bytes(&mut buffer);
            STANDARD.encode(buffer)
        };
        let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        let expires = cloud_time.checked_add(duration).unwrap_or(Timestamp::MAX);
        Self {
            // An id has no special characters, the others have those of base64, which clients must encode.
            id: format!("STS.{}", text(18).replace(['+', '/', '='], "N")),
            secret: text(33).replace(['+', '/', '='], "S"),
            token: format!("CAIS{}", text(500)),
            // To the second, as it is told.
            expires: Timestamp::from_second(expires.as_second()).unwrap_or(expires),
        }
    }

    /// `AccessKeyId`, `AccessKeySecret`, `SecurityToken` and `Expiration`, as STS and others give it out.
    pub(crate) fn fields(&self) -> Fields {
        let mut fields = Fields::new();
        let mut insert = |name: &str, value: &str| fields.insert(name.to_owned(), value.into());
        insert("AccessKeyId", &self.id);
        insert("AccessKeySecret", &self.secret);
        insert("SecurityToken", &self.token);
        insert("Expiration", &self.expires.to_string());
        fields
    }

    /// The key that requests are checked with.
    pub(crate) fn to_access_key(&self, cloud_account: &str, session: Session) -> AccessKey {
        AccessKey::new(&self.id, &self.secret)
            .security_token(&self.token, self.expires)
            .cloud_account(cloud_account)
            .session(session)
    }
}

impl Grant {
    /// STS' answer to whoever is given this key.
    pub(crate) fn answer(&self, key: &TemporaryKey) -> Fields {
        let Session { role, name } = &self.session;
        let mut fields = Fields::new();
        let mut insert = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        insert("Credentials", key.fields().into());
        insert(
            "AssumedRoleUser",
            json!({
                "Arn": format!("{role}/{name}"),
                // The role's own number, which the simulator does not have.
                "AssumedRoleId": format!("300000000000000000:{name}"),
            }),
        );
        if let Some(claims) = &self.token {
            insert(
                "OIDCTokenInfo",
                json!({
                    "Subject": claims.subject,
                    "Issuer": claims.issuer,
                    "ClientIds": claims.audiences.join(","),
                    "VerificationInfo": "Success",
                    "ExpirationTime": claims.expires.to_string(),
                }),
            );
        }
        fields
    }
}
