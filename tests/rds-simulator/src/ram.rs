//! Access keys, security tokens and what RAM denies.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use crate::{answer::ApiError, rds::Action};

/// Owner of access keys and instances that name none.
pub(crate) const DEFAULT_CLOUD_ACCOUNT: &str = "1000000000000001";

/// An access key: a long-term one, or with [`AccessKey::security_token`] a temporary one as STS issues it.
#[derive(Clone)]
pub struct AccessKey {
    id: String,
    pub(crate) secret: String,
    security_token: Option<(String, Timestamp)>,
    pub(crate) cloud_account: String,
    inactive: bool,
    denials: Vec<Denial>,
}

#[derive(Clone)]
struct Denial {
    code: DenialCode,
    action: Option<Action>,
    instance: Option<String>,
}

/// With which code RAM denies; both are met in practice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenialCode {
    /// `Forbidden.RAM`
    ForbiddenRam,
    /// `NoPermission`
    NoPermission,
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
            denials: Vec::new(),
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
        self.denials.push(Denial {
            code,
            action,
            instance: instance.map(str::to_owned),
        });
        self
    }

    /// Whether RAM lets this key do an action on an instance.
    pub(crate) fn authorize(
        &self,
        action: Action,
        instance: &str,
        region: &str,
    ) -> Result<(), ApiError> {
        let applies = |denial: &&Denial| {
            denial.action.is_none_or(|denied| denied == action)
                && denial
                    .instance
                    .as_deref()
                    .is_none_or(|denied| denied == instance)
        };
        let Some(denial) = self.denials.iter().find(applies) else {
            return Ok(());
        };
        let (code, message) = match denial.code {
            DenialCode::ForbiddenRam => (
                "Forbidden.RAM",
                "User not authorized to operate on the specified resource, or this API doesn't support RAM.".to_owned(),
            ),
            DenialCode::NoPermission => (
                "NoPermission",
                format!(
                    "You are not authorized to do this operation. Action: rds:{} Resource: acs:rds:{region}:{}:dbinstance/{instance}",
                    action.name(),
                    self.cloud_account,
                ),
            ),
        };
        let mut error = ApiError::new(403, code, message);
        error.access_denied_detail = Some(json!({
            "AuthAction": format!("rds:{}", action.name()),
            "AuthPrincipalDisplayName": self.id,
            "AuthPrincipalOwnerId": self.cloud_account,
            "AuthPrincipalType": if self.security_token.is_some() { "AssumedRoleUser" } else { "SubUser" },
            "NoPermissionType": if denial.instance.is_some() { "ExplicitDeny" } else { "ImplicitDeny" },
            "PolicyType": "AccountLevelIdentityBasedPolicy",
        }));
        Err(error)
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

    #[rstest]
    #[case(None, None, true)]
    #[case(Some(Action::ResetAccountPassword), None, true)]
    #[case(Some(Action::DescribeAccounts), None, false)]
    #[case(None, Some("rm-1"), true)]
    #[case(None, Some("rm-2"), false)]
    #[case(Some(Action::DescribeAccounts), Some("rm-1"), false)]
    fn denies_what_it_was_told_to(
        #[case] action: Option<Action>,
        #[case] instance: Option<&str>,
        #[case] denied: bool,
    ) {
        let key = AccessKey::new("id", "secret").denied(DenialCode::NoPermission, action, instance);
        let answer = key.authorize(Action::ResetAccountPassword, "rm-1", "cn-hangzhou");
        assert_eq!(answer.is_err(), denied);
        if let Err(error) = answer {
            assert_eq!((error.status, error.code.as_str()), (403, "NoPermission"));
            assert_eq!(
                error.access_denied_detail.unwrap_or_default()["AuthAction"],
                "rds:ResetAccountPassword"
            );
        }
    }
}
