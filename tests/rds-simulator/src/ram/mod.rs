//! RAM: who there is, who trusts whom, and what is denied.

pub(crate) mod access_key;
pub(crate) mod arn;
pub(crate) mod denial;
pub(crate) mod oidc_provider;
pub(crate) mod role;
pub(crate) mod temporary_key;

/// Owner of access keys and instances that name none.
pub(crate) const DEFAULT_CLOUD_ACCOUNT: &str = "1000000000000001";
