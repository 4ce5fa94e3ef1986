//! STS, API version 2015-04-01: temporary keys of roles.
//!
//! Pages: <https://www.alibabacloud.com/help/en/ram/developer-reference/api-sts-2015-04-01-assumerole>,
//! <https://www.alibabacloud.com/help/en/ram/developer-reference/api-sts-2015-04-01-assumerolewithoidc>, and the table of
//! error codes <https://help.aliyun.com/zh/ram/developer-reference/api-sts-2015-04-01-errorcodes>. What none of them says is
//! marked "not documented" where it is decided.

mod assume_role;
mod assume_role_with_oidc;
mod assumed;
mod errors;
mod parameters;
mod token;
mod token_signature;

pub(crate) use self::{
    assume_role::admit as admit_assume_role,
    assume_role_with_oidc::admit as admit_assume_role_with_oidc, assumed::Assumed,
    token::claimed_subject,
};

/// The API's version.
pub(crate) const VERSION: &str = "2015-04-01";
