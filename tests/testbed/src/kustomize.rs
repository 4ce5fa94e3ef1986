//! kustomize, which builds what its users apply.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize as _;
use serde_json::Value;

use crate::go_program::GoProgram;

const KUSTOMIZE: GoProgram = GoProgram {
    name: "kustomize",
    description: "kustomize (less than a minute on 2 cores)",
    module: "tests/tools/kustomize",
    package: "sigs.k8s.io/kustomize/kustomize/v5",
    build_tags: "",
    version: None,
    ready_made: "the program kustomize",
};

/// `kustomize build`: the resources that a directory with a kustomization makes. Blocks.
///
/// # Errors
/// When kustomize refuses the directory, with what it says, and when it cannot be built.
pub fn build(directory: &Path) -> Result<Vec<Value>> {
    let program = KUSTOMIZE.find()?;
    let output = Command::new(&program)
        .arg("build")
        .arg(directory)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    ensure!(
        output.status.success(),
        "kustomize cannot build {}:\n{}",
        directory.display(),
        String::from_utf8_lossy(&output.stderr),
    );
    serde_yaml_ng::Deserializer::from_slice(&output.stdout)
        .map(|document| Ok(Value::deserialize(document)?))
        .collect()
}
