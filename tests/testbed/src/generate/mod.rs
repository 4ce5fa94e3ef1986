//! The files of the repository that are made from others, so that each fact stands in one place:
//!
//! - `charts/…/values.yaml` → the chart's `values.schema.json` and the tables of its `README.md`;
//! - `crds/` → the definition in the chart;
//! - the chart → `deploy/`.
//!
//! `cargo run -p testbed --bin generate` writes them.

mod deploy;
mod reference;
mod schema;
mod values;

use std::fs;

use anyhow::{Context as _, Result};

use crate::install::{CRD_FILE, repository_file};

/// The chart's directory.
pub const CHART: &str = "charts/rds-password-operator";

/// What writes the files, for messages and for their heads.
pub const COMMAND: &str = "cargo run -p testbed --bin generate";

/// A file as it should be.
pub struct Generated {
    /// Its path in the repository.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// All files as they should be, the chart's before those that are made from the chart.
///
/// # Errors
/// When a source cannot be read or says something that nothing can be made of.
pub fn of_the_chart() -> Result<Vec<Generated>> {
    let values = values::parse(&read(&format!("{CHART}/values.yaml"))?)?;
    let readme = format!("{CHART}/README.md");
    Ok(vec![
        Generated {
            path: format!("{CHART}/files/databaseaccountpasswords.yaml"),
            text: read(CRD_FILE)?,
        },
        Generated {
            path: format!("{CHART}/values.schema.json"),
            text: schema::of(&values)?,
        },
        Generated {
            text: reference::put_into(&read(&readme)?, &values)?,
            path: readme,
        },
    ])
}

/// The files that Helm makes of the chart as it is now.
///
/// # Errors
/// When Helm fails, or renders what no file takes.
pub async fn of_helm() -> Result<Vec<Generated>> {
    deploy::files().await
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(repository_file(path)).with_context(|| path.to_owned())
}
