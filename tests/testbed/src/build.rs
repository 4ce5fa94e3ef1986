//! Builds the operator's program, as it is in this checkout.

use std::env;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tokio::process::Command;

use crate::install::repository_file;

const PROGRAM: &str = "rds-password-operator";

/// The arguments of cargo.
///
/// This package is named too so that the operator's dependencies get the same features as in this program, and need not be
/// compiled twice.
const ARGUMENTS: &[&str] = &["build", "-p", PROGRAM, "-p", "testbed", "--bin", PROGRAM];

/// What `cargo run` tells this program about its own package. Some build scripts (ring's) read variables of these names, and
/// cargo would run them again, and compile everything anew that rests on them.
const RUN_VARIABLES: &[&str] = &["CARGO_PKG_", "CARGO_MANIFEST_"];

/// How it is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// As for the tests: quickly.
    Debug,
    /// As it is installed.
    Release,
}

impl Profile {
    fn arguments(self) -> impl Iterator<Item = &'static str> {
        let profile = match self {
            Self::Debug => None,
            Self::Release => Some("--release"),
        };
        ARGUMENTS.iter().copied().chain(profile)
    }
}

/// The command line, for people.
#[must_use]
pub fn command_line(profile: Profile) -> String {
    let arguments: Vec<&str> = profile.arguments().collect();
    format!("cargo {}", arguments.join(" "))
}

/// A line of cargo's output.
#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Builds the operator and returns where its program is. What cargo has to say goes to standard error as it comes.
///
/// # Errors
/// When cargo is not there, or the build fails.
pub async fn operator(profile: Profile) -> Result<PathBuf> {
    // Set by `cargo run`, to the very cargo that it is.
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(cargo);
    for (name, _) in env::vars_os() {
        if RUN_VARIABLES
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            cargo.env_remove(name);
        }
    }
    let cargo = cargo
        .args(profile.arguments())
        .arg("--message-format=json-render-diagnostics")
        .current_dir(repository_file(""))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo cannot be started")?;
    let output = cargo.wait_with_output().await?;
    ensure!(
        output.status.success(),
        "the build failed ({})",
        output.status
    );
    String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.reason == "compiler-artifact")
        .filter(|message| {
            message
                .target
                .as_ref()
                .is_some_and(|target| target.name == PROGRAM)
        })
        .find_map(|message| message.executable)
        .context("cargo does not say where it put the program")
}
