//! Temporary keys of roles, whoever gives them out.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use rand::Rng;

use super::{
    access_key::{AccessKey, Session},
    role::Role,
};
use crate::answer::Fields;

/// A key that someone may have.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) session: Session,
    /// The role's.
    pub(crate) cloud_account: String,
    pub(crate) duration: Duration,
}

impl Grant {
    pub(crate) fn new(role: &Role, session_name: impl Into<String>, duration: Duration) -> Self {
        Self {
            session: Session {
                role: role.arn.clone(),
                name: session_name.into(),
            },
            cloud_account: role.cloud_account().to_owned(),
            duration,
        }
    }
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

    /// What of it nobody else may see.
    pub(crate) fn secrets(&self) -> [String; 2] {
        [self.secret.clone(), self.token.clone()]
    }

    /// The key that requests are checked with.
    pub(crate) fn to_access_key(&self, grant: &Grant) -> AccessKey {
        AccessKey::new(&self.id, &self.secret)
            .security_token(&self.token, self.expires)
            .cloud_account(&grant.cloud_account)
            .session(grant.session.clone())
    }
}
