//! What RAM denies an access key or a role.

use serde_json::json;

use crate::{action::Action, answer::ApiError};

/// With which code RAM denies; both are met in practice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenialCode {
    /// `Forbidden.RAM`
    ForbiddenRam,
    /// `NoPermission`
    NoPermission,
}

/// Everything is allowed but this.
#[derive(Debug, Clone, Default)]
pub(crate) struct Denials(Vec<Denial>);

#[derive(Debug, Clone)]
struct Denial {
    code: DenialCode,
    action: Option<Action>,
    instance: Option<String>,
}

/// Who calls, as RAM names them.
pub(crate) struct Principal<'a> {
    pub(crate) name: &'a str,
    pub(crate) cloud_account: &'a str,
    pub(crate) kind: &'static str,
}

impl Denials {
    /// Denies an action (or all, for `None`) on an instance (or all, for `None`).
    pub(crate) fn add(&mut self, code: DenialCode, action: Option<Action>, instance: Option<&str>) {
        self.0.push(Denial {
            code,
            action,
            instance: instance.map(str::to_owned),
        });
    }

    /// Whether an action on a resource is allowed; `instance` is what the resource is, if it is one of RDS.
    pub(crate) fn check(
        &self,
        principal: &Principal<'_>,
        action: Action,
        instance: Option<&str>,
        resource: &str,
    ) -> Result<(), ApiError> {
        let applies = |denial: &&Denial| {
            denial.action.is_none_or(|denied| denied == action)
                && denial
                    .instance
                    .as_deref()
                    .is_none_or(|denied| Some(denied) == instance)
        };
        let Some(denial) = self.0.iter().find(applies) else {
            return Ok(());
        };
        let product = action.service().product().unwrap_or_default();
        let ram_action = format!("{}:{}", product.to_ascii_lowercase(), action.name());
        let (code, message) = match denial.code {
            DenialCode::ForbiddenRam => (
                "Forbidden.RAM",
                "User not authorized to operate on the specified resource, or this API doesn't support RAM.".to_owned(),
            ),
            DenialCode::NoPermission => (
                "NoPermission",
                format!("You are not authorized to do this operation. Action: {ram_action} Resource: {resource}"),
            ),
        };
        let mut error = ApiError::new(403, code, message);
        error.access_denied_detail = Some(json!({
            "AuthAction": ram_action,
            "AuthPrincipalDisplayName": principal.name,
            "AuthPrincipalOwnerId": principal.cloud_account,
            "AuthPrincipalType": principal.kind,
            "NoPermissionType": if denial.instance.is_some() { "ExplicitDeny" } else { "ImplicitDeny" },
            "PolicyType": "AccountLevelIdentityBasedPolicy",
        }));
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

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
        let mut denials = Denials::default();
        denials.add(DenialCode::NoPermission, action, instance);
        let principal = Principal {
            name: "id",
            cloud_account: "1",
            kind: "SubUser",
        };
        let answer = denials.check(
            &principal,
            Action::ResetAccountPassword,
            Some("rm-1"),
            "acs:rds:cn-hangzhou:1:dbinstance/rm-1",
        );
        assert_eq!(answer.is_err(), denied);
        if let Err(error) = answer {
            assert_eq!((error.status, error.code.as_str()), (403, "NoPermission"));
            assert!(
                error.message.ends_with("dbinstance/rm-1"),
                "{}",
                error.message
            );
            assert_eq!(
                error.access_denied_detail.unwrap_or_default()["AuthAction"],
                "rds:ResetAccountPassword"
            );
        }
    }
}
