//! Who may have which instance reset, with which Secret and whose cloud identity: decided when a resource is written.

mod authors;
mod operator;
mod person;
mod references;
mod roles;

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

/// The sample that is copied to give a team its instances.
const SAMPLE: &str = "deploy/samples/tenant.yaml";
