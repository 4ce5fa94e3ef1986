//! Whose cloud identity makes the calls for a resource.

use std::sync::Arc;

use kube::ResourceExt as _;

use crate::api::{AccessKeySecretRef, DatabaseAccountPassword};

/// An identity: the key of the credentials that are kept for it. What its credentials are fetched with is in
/// [`Cloud`](super::cloud::Cloud).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// The operator's own.
    Operator,
    /// The RAM role of a ServiceAccount.
    ServiceAccount {
        /// The namespace of the resource, and so of the ServiceAccount.
        namespace: String,
        /// The ServiceAccount's name.
        name: String,
    },
    /// An AccessKey in a Secret.
    Secret {
        /// The namespace of the resource, and so of the Secret.
        namespace: String,
        /// Which keys of which Secret.
        reference: AccessKeySecretRef,
    },
}

impl Identity {
    /// The identity that a resource asks for; `None` where it asks for two, or for none by name. The schema refuses both; this is
    /// for a definition that was installed without, and then nobody's identity may be guessed.
    #[must_use]
    pub fn of(resource: &DatabaseAccountPassword) -> Option<Self> {
        let Some(credentials) = &resource.spec.credentials else {
            return Some(Self::Operator);
        };
        let namespace = resource.namespace().unwrap_or_default();
        match (&credentials.service_account_name, &credentials.secret_ref) {
            (Some(name), None) => Some(Self::ServiceAccount {
                namespace,
                name: name.clone(),
            }),
            (None, Some(reference)) => Some(Self::Secret {
                namespace,
                reference: reference.clone(),
            }),
            _ => None,
        }
    }

    /// Names the request budget: the same for as long as the identity is, which a temporary AccessKey's id is not. One Secret may
    /// hold those of several.
    #[must_use]
    pub fn budget(&self) -> Arc<str> {
        match self {
            Self::Operator => "operator".into(),
            Self::ServiceAccount { namespace, name } => {
                format!("serviceaccount/{namespace}/{name}").into()
            }
            Self::Secret {
                namespace,
                reference,
            } => {
                let AccessKeySecretRef {
                    name,
                    access_key_id_key,
                    access_key_secret_key,
                    ..
                } = reference;
                format!("secret/{namespace}/{name}/{access_key_id_key}/{access_key_secret_key}")
                    .into()
            }
        }
    }
}
