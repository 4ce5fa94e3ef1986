//! Errors that STS answers with. Codes, statuses and texts are those of its error table but where a comment says otherwise.

use serde_json::json;

use crate::answer::ApiError;

/// A parameter that `AssumeRoleWithOIDC` cannot do without is absent. The table has this code for the sibling
/// `AssumeRoleWithSAML` only.
pub(super) fn missing(parameter: &str) -> ApiError {
    ApiError::new(
        400,
        format!("MissingParameter.{parameter}"),
        format!("Parameter {parameter} is required."),
    )
}

pub(super) fn wrongly_formed(parameter: &str) -> ApiError {
    ApiError::new(
        400,
        format!("InvalidParameter.{parameter}"),
        format!("The parameter {parameter} is wrongly formed."),
    )
}

/// The text says an hour whatever the role's `MaxSessionDuration` is.
pub(super) fn duration() -> ApiError {
    ApiError::new(
        400,
        "InvalidParameter.DurationSeconds",
        "The Min/Max value of DurationSeconds is 15min/1hr.",
    )
}

pub(super) fn policy_size() -> ApiError {
    ApiError::new(
        400,
        "InvalidParameter.PolicySize",
        "The size of Policy must be smaller than 2048 bytes.",
    )
}

pub(super) fn policy_grammar() -> ApiError {
    ApiError::new(
        400,
        "InvalidParameter.PolicyGrammar",
        "The parameter Policy has not passed grammar check.",
    )
}

/// Seen by Alibaba Cloud's own SDK tests; the table has the code with other texts.
pub(super) fn provider_arn() -> ApiError {
    ApiError::new(
        401,
        "AuthenticationFail.NoPermission",
        "Parameter OIDCProviderArn is not valid",
    )
}

pub(super) fn no_such_provider() -> ApiError {
    ApiError::new(
        401,
        "AuthenticationFail.NoPermission",
        "No such OIDC Provider registered.",
    )
}

pub(super) fn no_such_role(arn: &str) -> ApiError {
    ApiError::new(
        404,
        "EntityNotExist.Role",
        format!("The role not exists: {arn}."),
    )
}

/// The role's trust policy does not let the token's subject in.
pub(super) fn token_not_trusted() -> ApiError {
    let mut error = ApiError::new(
        401,
        "AuthenticationFail.NoPermission",
        "There is no permission",
    );
    error.access_denied_detail = Some(trust_policy_detail("OIDCUser"));
    error
}

/// The role's trust policy does not let the caller's account in.
pub(super) fn caller_not_trusted(principal: &str) -> ApiError {
    let mut error = ApiError::new(
        403,
        "NoPermission",
        "You are not authorized to do this action. You should be authorized by RAM.",
    );
    error.access_denied_detail = Some(trust_policy_detail(principal));
    error
}

fn trust_policy_detail(principal: &str) -> serde_json::Value {
    json!({
        "AuthAction": "sts:AssumeRole",
        "AuthPrincipalDisplayName": principal,
        "NoPermissionType": "ImplicitDeny",
        "PolicyType": "AssumeRolePolicy",
    })
}
