//! Helm, the real one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::ControlPlane;
use crate::go_program::GoProgram;
use crate::install::repository_file;

const HELM: GoProgram = GoProgram {
    name: "helm",
    description: "Helm (about 1 minute on 2 cores)",
    // With Kubernetes, since they share most packages.
    module: "tests/control-plane",
    package: "helm.sh/helm/v4/cmd/helm",
    build_tags: "",
    version: None,
    ready_made: "the program helm, version 4",
};

/// How long Helm waits for objects with `--wait`. It gives up before [`PATIENCE`], so that its own message is seen.
const WAIT: Duration = Duration::from_secs(90);
const PATIENCE: Duration = Duration::from_secs(120);

/// Helm for one cluster or none, with directories of its own: it sees no configuration of the person who runs the tests,
/// and changes none.
pub struct Helm {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
    directory: TempDir,
    values: AtomicUsize,
}

/// A name of a release and its namespace.
#[derive(Clone, Copy, Debug)]
pub struct Release<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
}

impl Helm {
    /// Helm for work that needs no cluster. Builds it first, when that has not been done in this checkout.
    ///
    /// # Errors
    /// When it cannot be built.
    pub async fn offline() -> Result<Self> {
        Self::start(None).await
    }

    /// Helm with the rights of a cluster's administrator. Builds it first, when that has not been done in this checkout.
    ///
    /// # Errors
    /// When it cannot be built.
    pub async fn on(control_plane: &ControlPlane) -> Result<Self> {
        Self::start(Some(control_plane.kubeconfig())).await
    }

    async fn start(kubeconfig: Option<PathBuf>) -> Result<Self> {
        let program = tokio::task::spawn_blocking(|| HELM.find()).await??;
        let directory = tempfile::Builder::new().prefix("helm-").tempdir()?;
        Ok(Self {
            program,
            kubeconfig,
            directory,
            values: AtomicUsize::new(0),
        })
    }

    /// A directory that is removed with this, for whatever a test writes.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// `helm install`, which returns when all objects are ready. Returns what it prints: the notes among it.
    ///
    /// # Errors
    /// When Helm fails, with what it says.
    pub async fn install(
        &self,
        release: Release<'_>,
        chart: impl AsRef<Path>,
        values: &Value,
    ) -> Result<String> {
        self.apply("install", release, chart, values, &["--wait"])
            .await
    }

    /// `helm upgrade` with these values and no earlier ones, which returns when all objects are ready. Returns what it
    /// prints.
    ///
    /// # Errors
    /// When Helm fails, with what it says.
    pub async fn upgrade(
        &self,
        release: Release<'_>,
        chart: impl AsRef<Path>,
        values: &Value,
    ) -> Result<String> {
        self.apply(
            "upgrade",
            release,
            chart,
            values,
            &["--reset-values", "--wait"],
        )
        .await
    }

    /// `helm template`: the objects, as YAML documents.
    ///
    /// # Errors
    /// When Helm fails, with what it says.
    pub async fn template(
        &self,
        release: Release<'_>,
        chart: impl AsRef<Path>,
        values: &Value,
    ) -> Result<String> {
        self.apply("template", release, chart, values, &[]).await
    }

    /// `helm lint --strict`.
    ///
    /// # Errors
    /// When Helm finds something, with what it says.
    pub async fn lint(&self, chart: impl AsRef<Path>, values: &Value) -> Result<String> {
        let values = self.values_file(values)?;
        self.run(&[
            "lint",
            "--strict",
            &chart_directory(chart),
            "--values",
            &values,
        ])
        .await
    }

    /// `helm uninstall`, which returns when the objects are gone.
    ///
    /// # Errors
    /// When Helm fails, with what it says.
    pub async fn uninstall(&self, release: Release<'_>) -> Result<String> {
        let wait = format!("--timeout={}s", WAIT.as_secs());
        self.run(&[
            "uninstall",
            release.name,
            "--namespace",
            release.namespace,
            "--wait",
            &wait,
        ])
        .await
    }

    async fn apply(
        &self,
        verb: &str,
        release: Release<'_>,
        chart: impl AsRef<Path>,
        values: &Value,
        flags: &[&str],
    ) -> Result<String> {
        let values = self.values_file(values)?;
        let chart = chart_directory(chart);
        let wait = format!("--timeout={}s", WAIT.as_secs());
        let mut arguments = vec![
            verb,
            release.name,
            &chart,
            "--namespace",
            release.namespace,
            "--values",
            &values,
        ];
        if verb != "template" {
            arguments.push(&wait);
        }
        arguments.extend(flags);
        self.run(&arguments).await
    }

    fn values_file(&self, values: &Value) -> Result<String> {
        let number = self.values.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.path().join(format!("values-{number}.json"));
        fs::write(&path, values.to_string())?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// Runs Helm with these arguments and returns what it prints.
    ///
    /// # Errors
    /// When Helm fails, with what it says.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.directory.path())
            // Where a chart would have it fetch something, it fails.
            .env("HTTPS_PROXY", "http://127.0.0.1:9")
            .env("HTTP_PROXY", "http://127.0.0.1:9")
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(variable, self.directory.path().join(variable));
        }
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        let output = timeout(PATIENCE, command.output())
            .await
            .with_context(|| format!("helm {arguments:?} takes too long"))??;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "helm {} failed ({}):\n{said}\n{printed}",
            arguments.first().unwrap_or(&""),
            output.status,
        );
        Ok(printed)
    }
}

/// The directory of a chart, which is given relative to the repository.
fn chart_directory(chart: impl AsRef<Path>) -> String {
    repository_file("")
        .join(chart)
        .to_string_lossy()
        .into_owned()
}
