//! Roles: who may assume them, for how long, and what is denied to them.

use std::{collections::BTreeMap, time::Duration};

use super::{
    DEFAULT_CLOUD_ACCOUNT, arn,
    denial::{DenialCode, Denials},
};
use crate::action::Action;

/// A RAM role. It trusts nobody until told to, and may do everything but what is denied.
#[derive(Debug, Clone)]
pub struct Role {
    pub(crate) arn: String,
    trusts: Vec<Trust>,
    pub(crate) max_session: Duration,
    pub(crate) denials: Denials,
}

/// One statement of a trust policy.
#[derive(Debug, Clone)]
enum Trust {
    /// `Federated` principal with `StringEquals` on `oidc:iss`, `oidc:aud` and `oidc:sub`.
    Oidc {
        provider: String,
        issuer: String,
        audience: String,
        subject: String,
    },
    /// `RAM` principal, with `StringEquals` on `sts:ExternalId` if there is one.
    Account {
        id: String,
        external_id: Option<String>,
    },
}

/// What an OIDC token says that a trust policy looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenIdentity<'a> {
    /// ARN of the identity provider that vouches for it.
    pub(crate) provider: &'a str,
    pub(crate) issuer: &'a str,
    pub(crate) audiences: &'a [String],
    pub(crate) subject: &'a str,
}

impl Role {
    /// A role of this ARN, `acs:ram::<account>:role/<name>`, whose sessions last an hour at most (as RAM's default has it).
    pub fn new(arn: impl Into<String>) -> Self {
        Self {
            arn: arn.into(),
            trusts: Vec::new(),
            max_session: Duration::from_secs(3600),
            denials: Denials::default(),
        }
    }

    /// Lets whoever has a token of this identity provider (by ARN) with exactly this issuer, audience and subject assume it.
    #[must_use]
    pub fn trusts_oidc(
        mut self,
        provider: impl Into<String>,
        issuer: impl Into<String>,
        audience: impl Into<String>,
        subject: impl Into<String>,
    ) -> Self {
        self.trusts.push(Trust::Oidc {
            provider: provider.into(),
            issuer: issuer.into(),
            audience: audience.into(),
            subject: subject.into(),
        });
        self
    }

    /// Lets keys of this cloud account assume it.
    #[must_use]
    pub fn trusts_account(mut self, id: impl Into<String>) -> Self {
        self.trusts.push(Trust::Account {
            id: id.into(),
            external_id: None,
        });
        self
    }

    /// Lets keys of this cloud account assume it if they send this `ExternalId`.
    #[must_use]
    pub fn trusts_account_with_external_id(
        mut self,
        id: impl Into<String>,
        external_id: impl Into<String>,
    ) -> Self {
        self.trusts.push(Trust::Account {
            id: id.into(),
            external_id: Some(external_id.into()),
        });
        self
    }

    /// `MaxSessionDuration`: the longest `DurationSeconds` that may be asked for.
    #[must_use]
    pub fn max_session(mut self, longest: Duration) -> Self {
        self.max_session = longest;
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

    /// The account that owns it.
    pub(crate) fn cloud_account(&self) -> &str {
        arn::parse(&self.arn, "role").map_or(DEFAULT_CLOUD_ACCOUNT, |(account, _)| account)
    }

    pub(crate) fn name(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or_default()
    }

    pub(crate) fn lets_in_token(&self, token: TokenIdentity<'_>) -> bool {
        self.trusts.iter().any(|trust| match trust {
            Trust::Oidc {
                provider,
                issuer,
                audience,
                subject,
            } => {
                provider == token.provider
                    && issuer == token.issuer
                    && token.audiences.contains(audience)
                    && subject == token.subject
            }
            Trust::Account { .. } => false,
        })
    }

    pub(crate) fn lets_in_account(&self, account: &str, sent: Option<&str>) -> bool {
        self.trusts.iter().any(|trust| match trust {
            Trust::Account { id, external_id } => {
                id == account && (external_id.is_none() || external_id.as_deref() == sent)
            }
            Trust::Oidc { .. } => false,
        })
    }
}

/// All roles, by ARN.
pub(crate) type Roles = BTreeMap<String, Role>;

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn role() -> Role {
        Role::new("acs:ram::1:role/app")
            .trusts_oidc(
                "provider",
                "https://issuer",
                "sts.aliyuncs.com",
                "system:serviceaccount:a:b",
            )
            .trusts_account("2")
            .trusts_account_with_external_id("3", "secret handshake")
    }

    #[rstest]
    #[case::right(
        "provider",
        "https://issuer",
        "sts.aliyuncs.com",
        "system:serviceaccount:a:b",
        true
    )]
    #[case::provider(
        "other",
        "https://issuer",
        "sts.aliyuncs.com",
        "system:serviceaccount:a:b",
        false
    )]
    #[case::issuer(
        "provider",
        "https://issuer/",
        "sts.aliyuncs.com",
        "system:serviceaccount:a:b",
        false
    )]
    #[case::audience(
        "provider",
        "https://issuer",
        "vault",
        "system:serviceaccount:a:b",
        false
    )]
    #[case::subject(
        "provider",
        "https://issuer",
        "sts.aliyuncs.com",
        "system:serviceaccount:a:bb",
        false
    )]
    fn trusts_exactly_one_subject(
        #[case] provider: &str,
        #[case] issuer: &str,
        #[case] audience: &str,
        #[case] subject: &str,
        #[case] let_in: bool,
    ) {
        let audiences = ["another".to_owned(), audience.to_owned()];
        let token = TokenIdentity {
            provider,
            issuer,
            audiences: &audiences,
            subject,
        };
        assert_eq!(role().lets_in_token(token), let_in);
        assert!(!Role::new("acs:ram::1:role/app").lets_in_token(token));
    }

    #[rstest]
    #[case("2", None, true)]
    #[case("2", Some("anything"), true)]
    #[case("3", Some("secret handshake"), true)]
    #[case("3", Some("x"), false)]
    #[case("3", None, false)]
    #[case("1", None, false)]
    fn trusts_accounts(
        #[case] account: &str,
        #[case] external: Option<&str>,
        #[case] let_in: bool,
    ) {
        assert_eq!(role().lets_in_account(account, external), let_in);
    }
}
