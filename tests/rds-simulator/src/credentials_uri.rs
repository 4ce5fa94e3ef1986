//! A credentials URI: an HTTP server of someone's own that hands out keys, which official SDKs read where
//! `ALIBABA_CLOUD_CREDENTIALS_URI` says.

use std::time::Duration;

use crate::{
    action::Action,
    answer::ApiError,
    ram::temporary_key::Grant,
    request::ParsedRequest,
    state::State,
    work::{Admitted, Work},
};

/// Where on its server the keys are.
pub(crate) const PATH: &str = "/credentials";
/// How long the keys live.
const KEY_LIFETIME: Duration = Duration::from_secs(3600);

/// A server that gives each request a new key of a role. It asks for nothing in return, as SDKs send nothing.
#[derive(Debug, Clone)]
pub struct CredentialsUri {
    role: String,
    with_code: bool,
}

impl CredentialsUri {
    /// Of this role (by ARN).
    pub fn of_role(arn: impl Into<String>) -> Self {
        Self {
            role: arn.into(),
            with_code: false,
        }
    }

    /// Answers with `"Code": "Success"` beside the key, as some such servers do.
    #[must_use]
    pub fn with_code(mut self) -> Self {
        self.with_code = true;
        self
    }

    pub(crate) fn action(request: &ParsedRequest) -> Result<Action, ApiError> {
        if request.path == PATH && request.method == "GET" {
            Ok(Action::GetCredentialsUri)
        } else {
            Err(not_found())
        }
    }

    pub(crate) fn admit(
        &self,
        state: &State,
        request: &ParsedRequest,
    ) -> Result<Admitted, ApiError> {
        let action = Self::action(request)?;
        let role = state.roles.get(&self.role).ok_or_else(not_found)?;
        Ok(Admitted {
            action,
            role: Some(role.arn.clone()),
            work: Work::GiveKey {
                grant: Grant::new(role, "credentials-uri", KEY_LIFETIME),
                with_code: self.with_code,
            },
        })
    }
}

fn not_found() -> ApiError {
    ApiError::new(404, "NotFound", "There are no credentials here.")
}
