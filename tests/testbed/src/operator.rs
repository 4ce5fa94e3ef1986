//! The operator's real binary as a child process.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tokio::time::{Instant, sleep};

/// How long a condition may take to come true: far longer than any does, so that only a fault runs into it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a child or its log is looked at, where nothing tells of a change and it is not said otherwise.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// How to start the operator.
pub struct OperatorBuilder {
    binary: PathBuf,
    directory: PathBuf,
    number: usize,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    http: reqwest::Client,
    poll: Duration,
}

impl OperatorBuilder {
    pub(crate) fn new(binary: &Path, directory: &Path, number: usize) -> Result<Self> {
        // No connection is kept for the next request: the operator would have to end it when it ends.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0);
        Ok(Self {
            binary: binary.to_owned(),
            directory: directory.to_owned(),
            number,
            arguments: Vec::new(),
            environment: Vec::new(),
            http: http.timeout(PATIENCE).build()?,
            poll: POLL,
        })
    }

    /// Looks at it so often, where a test waits for it. Each look takes processor time, from the operator too.
    #[must_use]
    pub(crate) fn poll_every(mut self, poll: Duration) -> Self {
        self.poll = poll;
        self
    }

    /// A lease that runs out soon, so that the others take over soon.
    #[must_use]
    pub fn short_lease(self) -> Self {
        self.flag("lease-duration", "3s")
            .flag("lease-renew-deadline", "2s")
            .flag("lease-retry-period", "500ms")
    }

    /// A lease that is not renewed while a test runs, so that each look at it is one for a reset.
    #[must_use]
    pub fn lease_without_renewals(self) -> Self {
        self.flag("lease-duration", "600s")
            .flag("lease-renew-deadline", "500s")
            .flag("lease-retry-period", "400s")
    }

    /// A lease of more than a test's patience: another replica can only lead where it was released, and sees that soon.
    #[must_use]
    pub fn lease_that_outlasts_the_test(self) -> Self {
        self.flag("lease-duration", "300s")
            .flag("lease-renew-deadline", "200s")
            .flag("lease-retry-period", "1s")
    }

    /// Adds a flag with its value, `--name=value`; the last one of a name counts.
    #[must_use]
    pub fn flag(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let prefix = format!("--{name}=");
        self.arguments
            .retain(|argument| !argument.to_string_lossy().starts_with(&prefix));
        self.arguments
            .push(format!("{prefix}{}", value.as_ref()).into());
        self
    }

    /// Adds a flag that may be given more than once, or has no value.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets a variable of its environment, which is empty otherwise.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Without the AccessKey in its environment, which comes before every other source.
    #[must_use]
    pub fn without_access_key(mut self) -> Self {
        self.environment.retain(|(known, _)| {
            known != "ALIBABA_CLOUD_ACCESS_KEY_ID" && known != "ALIBABA_CLOUD_ACCESS_KEY_SECRET"
        });
        self
    }

    /// Starts it, and waits until it serves its probes; it need not be ready then.
    ///
    /// # Errors
    /// When it ends before, with what it logged.
    pub async fn start(self) -> Result<Operator> {
        let log = self.directory.join(format!("operator-{}.log", self.number));
        let child = Command::new(&self.binary)
            .arg("run")
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        let mut operator = Operator {
            child,
            log,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            http: self.http,
            poll: self.poll,
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(address) = address_in(&operator.log()) {
                operator.address = address;
                return Ok(operator);
            }
            if let Some(status) = operator.child.try_wait()? {
                bail!("the operator ended with {status}:\n{}", operator.log());
            }
            if Instant::now() > deadline {
                bail!("the operator serves no probes:\n{}", operator.log());
            }
            sleep(self.poll).await;
        }
    }

    /// Runs it to its end, for a command line that it should refuse.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(self) -> Result<std::process::Output> {
        Command::new(&self.binary)
            .arg("run")
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {}", self.binary.display()))
    }
}

/// A running operator. Killed when dropped.
#[derive(Debug)]
pub struct Operator {
    child: Child,
    log: PathBuf,
    address: SocketAddr,
    http: reqwest::Client,
    poll: Duration,
}

impl Operator {
    /// The number of its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it serves its probes, as it logs that.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What a probe or `/metrics` answers: the HTTP status and the text.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        let url = format!("http://{}{path}", self.address);
        let answer = self.http.get(url).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// The value of a metric: the sum over all samples whose name and labels begin with `prefix`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metric(&self, prefix: &str) -> Result<f64> {
        let (_, text) = self.get("/metrics").await?;
        let samples = text.lines().filter(|line| line.starts_with(prefix));
        Ok(samples
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum())
    }

    /// Waits until `/readyz` says so.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn wait_until_ready(&self) -> Result<()> {
        self.wait_for("readiness", async || {
            self.get("/readyz")
                .await
                .is_ok_and(|(status, _)| status == 200)
        })
        .await
    }

    /// Waits until this process is the leader and has listed everything.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn wait_until_leading(&self) -> Result<()> {
        self.wait_for("leadership", async || {
            let leads = self.metric("rds_password_operator_leader ").await;
            leads.is_ok_and(|leads| leads > 0.0)
                && self
                    .get("/readyz")
                    .await
                    .is_ok_and(|(status, _)| status == 200)
        })
        .await
    }

    /// Waits until the log contains `text`.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn wait_for_log(&self, text: &str) -> Result<()> {
        self.wait_for(&format!("{text:?} in the log"), async || {
            self.log().contains(text)
        })
        .await
    }

    /// Waits until a [metric](Self::metric) has grown to a value.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn wait_for_metric(&self, prefix: &str, at_least: f64) -> Result<()> {
        self.wait_for(&format!("{prefix} of {at_least}"), async || {
            self.metric(prefix)
                .await
                .is_ok_and(|value| value >= at_least)
        })
        .await
    }

    async fn wait_for(&self, what: &str, condition: impl AsyncFn() -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !condition().await {
            if Instant::now() > deadline {
                bail!(
                    "no {what} of the operator in {} s:\n{}",
                    PATIENCE.as_secs(),
                    self.log()
                );
            }
            sleep(self.poll).await;
        }
        Ok(())
    }

    /// SIGSTOP: the process stands still, sockets and all. The signal alone does not say so: on a busy machine other threads than
    /// the one that got it go on for a while.
    ///
    /// # Errors
    /// When the signal cannot be sent, or does not stop it.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let stops = WaitOptions::UNTRACED | WaitOptions::NOHANG;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match waitpid(Some(Pid::from_child(&self.child)), stops)? {
                Some((_, status)) if status.stopped() => return Ok(()),
                Some(_) => bail!("the operator has ended:\n{}", self.log()),
                None if Instant::now() > deadline => bail!("the operator does not stop"),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// SIGCONT: the process goes on where it stood.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// SIGTERM, without waiting for the end.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn ask_to_end(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn terminate(mut self) -> Result<(ExitStatus, String)> {
        self.signal(Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok((status, self.log()));
            }
            if Instant::now() > deadline {
                bail!("the operator did not end:\n{}", self.log());
            }
            sleep(POLL).await;
        }
    }

    /// SIGKILL: it ends in the middle of whatever it does. Returns what it had logged.
    #[must_use]
    pub fn kill(mut self) -> String {
        self.end();
        self.log()
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).context("the operator cannot be signalled")
    }

    fn end(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.end();
    }
}

/// The address that the operator logs when it serves, in either format of the log.
fn address_in(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains("serving /livez"))?;
    if let Some((_, address)) = line.split_once(" address=") {
        return address.trim().parse().ok();
    }
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    line["address"].as_str()?.parse().ok()
}
