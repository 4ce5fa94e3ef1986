//! Files that are made from others are as they should be.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use std::fs;

use anyhow::{Result, ensure};
use testbed::generate::{self, CHART, COMMAND, Generated};
use testbed::install::repository_file;

fn ensure_current(files: Vec<Generated>) -> Result<()> {
    let stale: Vec<String> = files
        .into_iter()
        .filter(|file| {
            fs::read_to_string(repository_file(&file.path))
                .ok()
                .as_ref()
                != Some(&file.text)
        })
        .map(|file| file.path)
        .collect();
    ensure!(stale.is_empty(), "not current: {stale:?}. Run: {COMMAND}");
    Ok(())
}

#[test]
fn the_chart_is_what_its_values_and_the_definition_say() -> Result<()> {
    ensure_current(generate::of_the_chart()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn deploy_is_what_the_chart_renders() -> Result<()> {
    ensure_current(generate::of_helm().await?)
}

/// The chart installs this version, and says so to those who look for it.
#[test]
fn the_chart_is_of_this_version() -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let chart = fs::read_to_string(repository_file(&format!("{CHART}/Chart.yaml")))?;
    for line in [
        format!("\nappVersion: {version}\n"),
        format!("image: ghcr.io/rds-password-operator/rds-password-operator:{version}\n"),
    ] {
        ensure!(chart.contains(&line), "Chart.yaml lacks {line:?}");
    }
    Ok(())
}
