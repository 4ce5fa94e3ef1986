//! A real control plane: etcd and kube-apiserver, alone on this machine, for one test.

mod config;
mod program;

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use http::Request;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    net::TcpSocket,
    time::{Instant, sleep, timeout},
};

use self::{config::Configuration, program::Program};
use crate::process::{self, LeashedProcess};

/// What kube-apiserver names as the issuer of its tokens.
pub const TOKEN_ISSUER: &str = config::SERVICE_ACCOUNT_ISSUER;

/// One start takes one to two seconds on idle cores; test runs on few cores start many at once.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
const READY_POLL: Duration = Duration::from_millis(50);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// An etcd and a kube-apiserver of their own, listening on 127.0.0.1 alone.
///
/// No controllers run, unless it is [started with them](Self::start_with_controllers): nothing collects garbage, deletes a
/// namespace's content or creates default service accounts. It ends when it is dropped, which removes its files too, or
/// with this process.
pub struct ControlPlane {
    // Dropped in this order: the processes before the files and the port that they use.
    processes: Vec<LeashedProcess>,
    program: Program,
    with_controllers: bool,
    configuration: Configuration,
    client: Client,
    _directory: TempDir,
    /// Bound, not listening: nobody else is given this port, also while the API server is down.
    _port: TcpSocket,
}

impl ControlPlane {
    /// Starts a new one and returns when it is ready. Builds it first, when that has not been done
    /// in this checkout.
    ///
    /// # Errors
    ///
    /// When neither Go nor ready-made programs are there, when the build fails, and when it does
    /// not become ready; with the end of what it logged.
    pub async fn start() -> Result<Self> {
        // kube picks the provider by itself only where a single one is compiled in.
        let _ = rustls::crypto::ring::default_provider().install_default();

        let program = tokio::task::spawn_blocking(Program::find).await??;
        let directory = tempfile::Builder::new()
            .prefix("control-plane-")
            .tempdir()
            .context("cannot create a temporary directory")?;
        let port = reserve_port().context("cannot reserve a port")?;
        let configuration = Configuration::create(directory.path(), port.local_addr()?.port())?;
        let client = Client::try_from(client_config(&configuration, true).await?)?;
        let mut control_plane = Self {
            processes: Vec::new(),
            program,
            with_controllers: false,
            configuration,
            client,
            _directory: directory,
            _port: port,
        };
        control_plane.start_again().await?;
        Ok(control_plane)
    }

    /// As [`start`](Self::start), with [controllers](Self::start_controllers).
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_with_controllers() -> Result<Self> {
        let mut control_plane = Self::start().await?;
        control_plane.start_controllers()?;
        Ok(control_plane)
    }

    /// Starts a kube-controller-manager with the controllers that the chart needs, here and wherever this starts again. It
    /// takes about 100 MB and a second more. It looks once in 30 seconds for kinds that are new since.
    ///
    /// # Errors
    ///
    /// When the program is not there.
    pub fn start_controllers(&mut self) -> Result<()> {
        let command = self.program.controller_manager(&self.configuration)?;
        let log = self.configuration.log();
        self.processes.push(LeashedProcess::start(command, &log)?);
        self.with_controllers = true;
        Ok(())
    }

    /// The address of the API server, `https://127.0.0.1:<port>`.
    #[must_use]
    pub fn server(&self) -> String {
        self.configuration.server()
    }

    /// A kubeconfig file of the cluster's administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.configuration.kubeconfig()
    }

    /// The file with the certificate that the API server's is signed with.
    #[must_use]
    pub fn certificate_authority(&self) -> PathBuf {
        self.configuration.certificate_authority()
    }

    /// The file with the API server's own certificate.
    #[must_use]
    pub fn server_certificate(&self) -> PathBuf {
        self.configuration.server_certificate()
    }

    /// A file with the certificate of an authority that has signed nothing.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn other_certificate_authority(&self) -> Result<PathBuf> {
        self.configuration.write_other_authority()
    }

    /// From its next start, encrypts each Secret that is written with the first of these keys, and decrypts with all of them.
    /// What was never encrypted can be read all the same.
    ///
    /// # Errors
    ///
    /// When the configuration cannot be written.
    pub fn encrypt_secrets(&self, keys: &[&str]) -> Result<()> {
        self.configuration.write_encryption(keys)
    }

    /// A client with the rights of the cluster's administrator.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// As [`client`](Self::client), but a request that fails is not tried again, with growing pauses, behind the caller's back.
    ///
    /// # Errors
    ///
    /// When the kubeconfig is not there.
    pub async fn client_without_retries(&self) -> Result<Client> {
        let config = client_config(&self.configuration, false).await?;
        Ok(Client::try_from(config)?)
    }

    /// A client that acts as another user. Its rights are those of that user, not the administrator's.
    ///
    /// # Errors
    ///
    /// When the names do not fit into a header.
    pub async fn client_as(&self, user: &str, groups: &[&str]) -> Result<Client> {
        let mut config = client_config(&self.configuration, true).await?;
        config.auth_info.impersonate = Some(user.to_owned());
        let groups = groups.iter().map(|&group| group.to_owned());
        config.auth_info.impersonate_groups = Some(groups.collect());
        Ok(Client::try_from(config)?)
    }

    /// A client that a token authenticates.
    ///
    /// # Errors
    ///
    /// When the token does not fit into a header.
    pub async fn client_with_token(&self, token: &str) -> Result<Client> {
        let mut config = client_config(&self.configuration, true).await?;
        config.auth_info = serde_json::from_value(json!({ "token": token }))?;
        Ok(Client::try_from(config)?)
    }

    /// The public keys of the tokens that the API server issues, as JSON.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn token_keys(&self) -> Result<String> {
        let question = Request::get("/openid/v1/jwks").body(Vec::new())?;
        Ok(self.client.request_text(question).await?)
    }

    /// The API server's audit log: one JSON object a line for each request that was answered, a
    /// watch twice, with metadata only and without what the API server asks itself.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.configuration.audit_log()
    }

    /// Stops it as a crash would: connections break off and the port refuses new ones.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn stop(&mut self) -> Result<()> {
        ensure!(!self.processes.is_empty(), "the control plane is stopped");
        // The controllers before the API server, and that before etcd, if they are two.
        while let Some(mut process) = self.processes.pop() {
            process.stop()?;
        }
        Ok(())
    }

    /// Starts it again after [`stop`](Self::stop), on the same port and with the same content.
    ///
    /// # Errors
    ///
    /// When it runs, and when it does not become ready; with the end of what it logged.
    pub async fn start_again(&mut self) -> Result<()> {
        self.start_until("/readyz").await
    }

    /// As [`start_again`](Self::start_again), and returns when it is live: it never becomes ready where it cannot list a kind that
    /// it keeps a cache of.
    ///
    /// # Errors
    ///
    /// As [`start_again`](Self::start_again).
    pub async fn start_again_without_readiness(&mut self) -> Result<()> {
        self.start_until("/livez").await
    }

    async fn start_until(&mut self, probe: &str) -> Result<()> {
        ensure!(self.processes.is_empty(), "the control plane is running");
        let log = self.configuration.log();
        let mut processes = Vec::new();
        for command in self.program.apiserver(&self.configuration) {
            processes.push(LeashedProcess::start(command, &log)?);
        }
        wait_until(probe, &mut processes, &self.configuration).await?;
        self.processes = processes;
        if self.with_controllers {
            // It waits ten seconds for the API server, which is not enough on a loaded machine.
            self.start_controllers()?;
        }
        Ok(())
    }
}

/// Two sockets can share a port only if both ask for it, and a port that is chosen for somebody
/// is never a shared one. So this one stays ours, and the API server's to take.
fn reserve_port() -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    Ok(socket)
}

async fn client_config(configuration: &Configuration, retry: bool) -> Result<Config> {
    let kubeconfig = Kubeconfig::read_from(configuration.kubeconfig())?;
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = retry;
    Ok(config)
}

async fn wait_until(
    probe: &str,
    processes: &mut [LeashedProcess],
    configuration: &Configuration,
) -> Result<()> {
    // Retries with growing pauses would only make this slower.
    let client = Client::try_from(client_config(configuration, false).await?)?;
    let deadline = Instant::now() + READY_TIMEOUT;
    let mut last_answer = String::new();
    while Instant::now() < deadline {
        for process in &mut *processes {
            if let Some(status) = process.exit_status()? {
                bail!(
                    "the control plane ended while it started ({status}); {}",
                    process::tail(&configuration.log())
                );
            }
        }
        let question = Request::get(probe).body(Vec::new())?;
        last_answer = match timeout(ANSWER_TIMEOUT, client.request_text(question)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "nothing".to_owned(),
        };
        sleep(READY_POLL).await;
    }
    bail!(
        "the control plane was not ready after {} s, and said last: {last_answer}; {}",
        READY_TIMEOUT.as_secs(),
        process::tail(&configuration.log())
    );
}
