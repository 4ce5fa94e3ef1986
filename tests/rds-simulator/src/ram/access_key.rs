//! Access keys and security tokens.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    DEFAULT_CLOUD_ACCOUNT,
    denial::{DenialCode, Denials, Principal},
    role::Roles,
};
use crate::{action::Action, answer::ApiError};

/// An access key: a long-term one, or with [`AccessKey::security_token`] a temporary one as STS issues it.
#[derive(Clone)]
pub struct AccessKey {
    pub(crate) id: String,
    pub(crate) secret: String,
    security_token: Option<(String, Timestamp)>,
    pub(crate) cloud_account: String,
    inactive: bool,
    denials: Denials,
    session: Option<Session>,
}

/// Of which role a temporary key is that STS issued, and what the session is called.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// The role's ARN.
    pub(crate) role: String,
    pub(crate) name: String,
}

impl AccessKey {
    /// An active long-term key of the default cloud account that may do everything.
    pub fn new(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            secret: secret.into(),
            security_token: None,
            cloud_account: DEFAULT_CLOUD_ACCOUNT.to_owned(),
            inactive: false,
            denials: Denials::default(),
            session: None,
        }
    }

    /// Makes it a temporary key: each request has to carry this token, until `expires` by the cloud's clock.
    #[must_use]
    pub fn security_token(mut self, token: impl Into<String>, expires: Timestamp) -> Self {
        self.security_token = Some((token.into(), expires));
        self
    }

    /// Makes it a key of another cloud account: it sees only that account's instances, and is throttled apart.
    #[must_use]
    pub fn cloud_account(mut self, id: impl Into<String>) -> Self {
        self.cloud_account = id.into();
        self
    }

    /// Disables it.
    #[must_use]
    pub fn inactive(mut self) -> Self {
        self.inactive = true;
        self
    }

    /// Denies an action (or all, for `None`) on an instance (or all, for `None`).
    #[must_use]
    pub fn denied(
        mut self,
        code: DenialCode,
        action: Option<Action>,
        instance: Option<&str>,
    ) -> Self {
        self.denials.add(code, action, instance);
        self
    }

    /// Makes it a key of a role: it has the role's rights, those of each moment.
    pub(crate) fn session(mut self, session: Session) -> Self {
        self.session = Some(session);
        self
    }

    /// ARN of the role whose key it is, if STS issued it.
    pub(crate) fn role(&self) -> Option<&str> {
        self.session.as_ref().map(|session| session.role.as_str())
    }

    /// Whether RAM lets this key do an action on a resource, which is `instance` if it is one of RDS.
    pub(crate) fn authorize(
        &self,
        roles: &Roles,
        action: Action,
        instance: Option<&str>,
        resource: &str,
    ) -> Result<(), ApiError> {
        let name = match &self.session {
            Some(session) => format!(
                "{}:{}",
                session.role.rsplit('/').next().unwrap_or_default(),
                session.name
            ),
            None => self.id.clone(),
        };
        let principal = Principal {
            name: &name,
            cloud_account: &self.cloud_account,
            kind: if self.security_token.is_some() {
                "AssumedRoleUser"
            } else {
                "SubUser"
            },
        };
        let check = |denials: &Denials| denials.check(&principal, action, instance, resource);
        let Some(session) = &self.session else {
            return check(&self.denials);
        };
        let Some(role) = roles.get(&session.role) else {
            // With the role its policies are gone.
            let mut everything = Denials::default();
            everything.add(DenialCode::NoPermission, None, None);
            return check(&everything);
        };
        check(&role.denials)
    }
}

/// All access keys, by id.
#[derive(Default)]
pub(crate) struct AccessKeys(BTreeMap<String, AccessKey>);

impl AccessKeys {
    /// Adds a key, or replaces the one with its id.
    pub(crate) fn add(&mut self, key: AccessKey) {
        self.0.insert(key.id.clone(), key);
    }

    pub(crate) fn remove(&mut self, id: &str) {
        self.0.remove(id);
    }

    /// ARN of the role whose key this id names, if it does.
    pub(crate) fn role_of(&self, id: &str) -> Option<&str> {
        self.0.get(id)?.role()
    }

    /// Lets every key that STS issued expire at this time of the cloud's clock, if it does not earlier.
    pub(crate) fn expire_issued(&mut self, at: Timestamp) {
        for key in self.0.values_mut().filter(|key| key.session.is_some()) {
            if let Some((_, expires)) = &mut key.security_token {
                *expires = at.min(*expires);
            }
        }
    }

    /// The key with this id, if it may be used with this security token at this time of the cloud's clock.
    pub(crate) fn find(
        &self,
        id: &str,
        token: Option<&str>,
        cloud_time: Timestamp,
    ) -> Result<&AccessKey, ApiError> {
        let key = self.0.get(id).ok_or_else(|| {
            ApiError::new(
                404,
                "InvalidAccessKeyId.NotFound",
                "Specified access key is not found.",
            )
        })?;
        if key.inactive {
            return Err(ApiError::new(
                400,
                "InvalidAccessKeyId.Inactive",
                "Specified access key is disabled.",
            ));
        }
        match (&key.security_token, token) {
            (None, None) => Ok(key),
            (Some(_), None) => Err(ApiError::new(
                400,
                "MissingSecurityToken",
                "SecurityToken is mandatory for this action.",
            )),
            (Some((known, expires)), Some(sent)) if known == sent => {
                if cloud_time < *expires {
                    Ok(key)
                } else {
                    Err(ApiError::new(
                        400,
                        "InvalidSecurityToken.Expired",
                        "Specified SecurityToken is expired.",
                    ))
                }
            }
            (_, Some(sent)) => Err(self.foreign_token(sent)),
        }
    }

    /// A token that is not this key's: another key's, or none that was ever issued.
    fn foreign_token(&self, sent: &str) -> ApiError {
        let issued = self
            .0
            .values()
            .filter_map(|key| key.security_token.as_ref())
            .any(|(token, _)| token == sent);
        if issued {
            ApiError::new(
                400,
                "InvalidSecurityToken.MismatchWithAccessKey",
                "Specified SecurityToken mismatch with the AccessKey.",
            )
        } else {
            ApiError::new(
                400,
                "InvalidSecurityToken.Malformed",
                "Specified SecurityToken is malformed.",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;
    use rstest::rstest;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn keys() -> AccessKeys {
        let mut keys = AccessKeys::default();
        keys.add(AccessKey::new("long", "s"));
        keys.add(AccessKey::new("disabled", "s").inactive());
        keys.add(AccessKey::new("STS.fresh", "s").security_token("token", NOW + 1.second()));
        keys.add(AccessKey::new("STS.old", "s").security_token("old", NOW));
        keys
    }

    #[rstest]
    #[case("long", None, None)]
    #[case("none", None, Some("InvalidAccessKeyId.NotFound"))]
    #[case("disabled", None, Some("InvalidAccessKeyId.Inactive"))]
    #[case("STS.fresh", Some("token"), None)]
    #[case("STS.fresh", None, Some("MissingSecurityToken"))]
    #[case(
        "STS.fresh",
        Some("old"),
        Some("InvalidSecurityToken.MismatchWithAccessKey")
    )]
    #[case("STS.fresh", Some("garbage"), Some("InvalidSecurityToken.Malformed"))]
    #[case("STS.old", Some("old"), Some("InvalidSecurityToken.Expired"))]
    #[case(
        "long",
        Some("token"),
        Some("InvalidSecurityToken.MismatchWithAccessKey")
    )]
    fn finds_a_usable_key(
        #[case] id: &str,
        #[case] token: Option<&str>,
        #[case] code: Option<&str>,
    ) {
        let found = keys()
            .find(id, token, NOW)
            .map(|_| ())
            .map_err(|error| error.code);
        assert_eq!(found, code.map_or(Ok(()), |code| Err(code.to_owned())));
    }
}
