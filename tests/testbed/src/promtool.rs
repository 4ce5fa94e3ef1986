//! promtool, which checks and tests rules of Prometheus.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::go_program::GoProgram;

const PROMTOOL: GoProgram = GoProgram {
    name: "promtool",
    description: "promtool (about 2 minutes on 2 cores)",
    module: "tests/tools/promtool",
    package: "github.com/prometheus/prometheus/cmd/promtool",
    // What discovers targets in a dozen clouds, each with its SDK.
    build_tags: "remove_all_sd",
    version: None,
    ready_made: "the program promtool",
};

/// `promtool check rules`: the file can be loaded, and has nothing that promtool warns of. Blocks.
///
/// # Errors
/// When promtool finds something, with what it says, and when it cannot be built.
pub fn check_rules(rules: &Path) -> Result<String> {
    run(&["check", "rules", "--lint=all", "--lint-fatal"], rules)
}

/// `promtool test rules`: the file's tests of rules pass. Blocks.
///
/// # Errors
/// When one fails, with what promtool says, and when it cannot be built.
pub fn test_rules(tests: &Path) -> Result<String> {
    run(&["test", "rules"], tests)
}

fn run(arguments: &[&str], file: &Path) -> Result<String> {
    let program = PROMTOOL.find()?;
    let output = Command::new(&program)
        .args(arguments)
        .arg(file)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "promtool {} finds in {}:\n{}\n{printed}",
        arguments.join(" "),
        file.display(),
        String::from_utf8_lossy(&output.stderr),
    );
    Ok(printed)
}
