//! How credentials are come by: what each source makes of its configuration. Data only.

use std::path::PathBuf;

use reqwest::Url;

use super::sts::Role;
use crate::rds::credentials::Credentials;
use crate::rds::endpoint::Endpoint;

/// How credentials are come by.
pub(super) enum Method {
    /// They are at hand.
    Key(Credentials),
    /// By a role that other credentials assume.
    AssumeRole {
        role: Role,
        endpoint: Endpoint,
        from: Box<Method>,
    },
    /// By a role that an OIDC token assumes.
    AssumeRoleWithOidc {
        role: Role,
        provider_arn: String,
        token_file: PathBuf,
        endpoint: Endpoint,
    },
    /// By the metadata service of the node.
    NodeRole {
        role_name: Option<String>,
        /// Whether the service may be asked without a token where it gives none.
        allow_v1: bool,
    },
    /// By a program and its arguments.
    Process(Vec<String>),
    /// By a URI.
    Uri(Url),
}
