//! Whose cloud identity the operator uses.
//!
//! One file a source. The first source that is configured is the source: if it fails, that is the error shown, never a quiet
//! fall-through to another identity.

mod environment;

use thiserror::Error;

use crate::rds::credentials::Credentials;

pub use environment::Environment;

/// A configured source of credentials.
pub enum Source {
    /// The AccessKey in the environment of this process.
    Environment(Environment),
}

/// Why there are no credentials. The texts go into conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CredentialsError {
    /// No source is configured.
    #[error(
        "the operator has no cloud credentials: set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET in its environment"
    )]
    NotConfigured,
    /// One half of an AccessKey.
    #[error("the operator's cloud credentials are incomplete: {0} is not set in its environment")]
    Incomplete(&'static str),
}

impl Source {
    /// The source that the environment configures. `variable` reads one variable.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        Self::Environment(Environment::read(variable))
    }

    /// Credentials for the next request.
    ///
    /// # Errors
    /// Where none can be had.
    pub fn credentials(&self) -> Result<Credentials, CredentialsError> {
        match self {
            Self::Environment(environment) => environment.credentials(),
        }
    }
}
