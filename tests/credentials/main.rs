//! The operator's credentials come from every source that it knows, and what goes wrong is told apart without telling a secret.
//!
//! Everything goes over HTTP to the simulator, which issues temporary keys as STS does, and takes no others.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod issuer;
mod lifetime;
mod operator;
mod refusals;
mod sources;
mod world;
