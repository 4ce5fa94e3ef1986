//! Whose cloud identity makes the calls for a resource.

use std::sync::Arc;

use crate::api::DatabaseAccountPasswordSpec;

/// An identity: the key of the credentials that are kept for it. What its credentials are fetched with is in
/// [`Cloud`](super::cloud::Cloud).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// The operator's own.
    Operator,
}

impl Identity {
    /// The identity that a resource asks for.
    #[must_use]
    pub fn of(_spec: &DatabaseAccountPasswordSpec) -> Self {
        Self::Operator
    }

    /// Names the request budget: the same for as long as the identity is, which a temporary `AccessKey`'s id is not.
    #[must_use]
    pub fn budget(&self) -> Arc<str> {
        match self {
            Self::Operator => "operator".into(),
        }
    }
}
