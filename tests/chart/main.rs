//! The chart, rendered and installed by Helm, in a real cluster with the controllers that an installation needs.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]
#![expect(clippy::panic, reason = "a test fails by panicking")]

mod cluster;
mod defaults;
mod everything;
mod pod;
mod policies;
mod rendered;
mod rendering;
mod rights;
mod upgrade;
mod values;

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");
