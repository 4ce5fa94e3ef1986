//! Client of the `ApsaraDB` RDS `OpenAPI` (product `Rds`, version `2014-08-15`): the three actions that this operator needs.
//!
//! A request is signed by [`signature`], sent by [`client`] to an [`endpoint`], and answered by a [`response`]
//! or an [`error`], whose class comes from the one table in [`classification`]. [`limit`] holds what all callers
//! share. Nothing here knows Kubernetes.
//!
//! No password leaves this module but in a TLS-protected request (in its body or in its URL: [`signature`]): errors keep
//! no URL, and nothing that the cloud wrote except identifiers and words that [`identifier`] and [`word`] found harmless.

pub mod classification;
pub mod client;
pub mod credentials;
pub mod endpoint;
pub mod error;
pub mod identifier;
pub mod limit;
#[cfg(test)]
pub(crate) mod near_json;
pub mod password;
pub(crate) mod requested_wait;
pub mod resolver;
pub mod response;
pub mod signature;
pub mod word;
