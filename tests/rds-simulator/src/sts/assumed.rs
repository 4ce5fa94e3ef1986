//! What STS answers to whoever may assume a role.

use serde_json::{Value, json};

use super::token::Claims;
use crate::{
    answer::Fields,
    ram::{
        access_key::Session,
        temporary_key::{Grant, TemporaryKey},
    },
};

/// A role that may be assumed.
#[derive(Debug, Clone)]
pub(crate) struct Assumed {
    pub(crate) grant: Grant,
    /// The OIDC token's, if it is by one.
    pub(super) token: Option<Claims>,
}

impl Assumed {
    /// The answer with this key.
    pub(crate) fn answer(&self, key: &TemporaryKey) -> Fields {
        let Session { role, name } = &self.grant.session;
        let mut fields = Fields::new();
        let mut insert = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        insert("Credentials", key.fields().into());
        insert(
            "AssumedRoleUser",
            json!({
                "Arn": format!("{role}/{name}"),
                // Before the colon is the role's own number, which the simulator does not have.
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
