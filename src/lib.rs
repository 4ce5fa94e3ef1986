//! rds-password-operator carries changed passwords from Kubernetes Secrets into `ApsaraDB` RDS accounts.
//!
//! `docs/architecture.md` follows a changed password through these modules.

pub mod api;
pub mod api_server;
pub mod cli;
pub mod controller;
pub mod credentials;
pub mod fingerprint;
pub mod health;
pub mod kubernetes;
pub mod leader;
pub mod metrics;
pub mod proxy;
pub mod rds;
pub mod run;
pub mod secret;
pub mod server;
pub mod shutdown;
pub mod telemetry;
