//! The simulator as a client meets it: over HTTP.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says so where something is not as it should be"
)]

mod actions;
mod assume_role;
mod assume_role_with_oidc;
mod client;
mod connection;
mod faults;
mod issuer;
mod metadata;
mod program;
mod protocol;
mod state;
mod temporary_keys;
mod throttling;
