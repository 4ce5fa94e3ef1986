//! The kinds of the Prometheus operator, without what acts on them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::Api;
use kube::runtime::wait::{await_condition, conditions::is_crd_established};

use crate::go_program::ASSETS_VARIABLE;
use crate::install::{apply_file, repository_file};
use crate::operator::PATIENCE;

/// Where the version is written down.
const MODULE_DIRECTORY: &str = "tests/tools/prometheus-operator";
const MODULE: &str = "github.com/prometheus-operator/prometheus-operator";
const DEFINITIONS: &str = "example/prometheus-operator-crd";

/// Applies the definitions of `ServiceMonitor`, `PodMonitor` and `PrometheusRule`, and waits until they are served.
///
/// # Errors
/// When they are not to be had, or the API server refuses them.
pub async fn install_definitions(client: &Client) -> Result<()> {
    let directory = tokio::task::spawn_blocking(definitions).await??;
    for plural in ["servicemonitors", "podmonitors", "prometheusrules"] {
        let file = directory.join(format!("monitoring.coreos.com_{plural}.yaml"));
        apply_file(client, &file).await?;
        let crds = Api::<CustomResourceDefinition>::all(client.clone());
        let name = format!("{plural}.monitoring.coreos.com");
        tokio::time::timeout(PATIENCE, await_condition(crds, &name, is_crd_established()))
            .await
            .with_context(|| format!("{name} is not served"))??;
    }
    Ok(())
}

/// The directory of the ready-made programs can have them too, for machines without Go.
fn definitions() -> Result<PathBuf> {
    if let Some(assets) = env::var_os(ASSETS_VARIABLE) {
        let ready_made = Path::new(&assets).join("prometheus-operator-crd");
        if ready_made.is_dir() {
            return Ok(ready_made);
        }
    }
    let output = Command::new("go")
        .args(["mod", "download", "-json", MODULE])
        .current_dir(repository_file(MODULE_DIRECTORY))
        .env("GOWORK", "off")
        .output()
        .with_context(|| {
            format!(
                "the definitions of the Prometheus operator come with its Go module, and go cannot be started: install \
                 it, or put them into the directory prometheus-operator-crd of {ASSETS_VARIABLE}"
            )
        })?;
    ensure!(
        output.status.success(),
        "{MODULE} cannot be had: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let directory = answer["Dir"].as_str().context("go names no directory")?;
    Ok(Path::new(directory).join(DEFINITIONS))
}
