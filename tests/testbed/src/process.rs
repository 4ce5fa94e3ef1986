//! Child processes that can neither fail unheard nor outlive the test.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// Every program here leaves within milliseconds; the rest is for a loaded machine.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);
const EXIT_POLL: Duration = Duration::from_millis(2);

/// The end of a log is where the reason stands; the whole of it would bury the message.
const LOG_TAIL_LINES: usize = 20;

/// A program that ends by itself when its standard input does.
///
/// This process holds the other end of that pipe, and the kernel closes it however this process
/// ends. So the program needs no clean-up to run in order to end.
#[derive(Debug)]
pub(crate) struct LeashedProcess {
    child: Child,
    leash: Option<ChildStdin>,
}

impl LeashedProcess {
    /// Starts `command` and appends what it writes to the file `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self> {
        let stderr = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write to {}", log.display()))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let leash = child.stdin.take();
        Ok(Self { child, leash })
    }

    /// How the program ended, if it did.
    pub(crate) fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Ends the program and waits until it is gone. Blocks, usually for a few milliseconds.
    pub(crate) fn stop(&mut self) -> Result<ExitStatus> {
        drop(self.leash.take());
        if let Some(status) = wait(&mut self.child, EXIT_TIMEOUT)? {
            return Ok(status);
        }
        self.child.kill()?;
        Ok(self.child.wait()?)
    }
}

impl Drop for LeashedProcess {
    fn drop(&mut self) {
        // A failure leaves nothing to do: the closed pipe ends the program even so.
        let _ = self.stop();
    }
}

/// Waits for the child's end; `None` when it is not there in time.
pub(crate) fn wait(child: &mut Child, timeout: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(EXIT_POLL);
    }
}

/// The last lines of a log file, ready to stand at the end of an error message.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return "it wrote nothing to standard error".to_owned();
    }
    let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
    format!("the end of its standard error:\n{}", tail.join("\n"))
}
