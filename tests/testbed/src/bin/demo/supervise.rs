//! Runs the demo as a process of its own, and ends everything that it started, however it ends.

use std::env;
use std::io::{Read as _, Write as _};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

/// Set in the environment of the process that is supervised.
const SUPERVISED: &str = "RDS_PASSWORD_OPERATOR_DEMO_SUPERVISED";

/// How long the demo may take to end what it started; it needs a fraction of a second.
const GRACE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(50);

/// Whether this is the supervised process.
pub(crate) fn is_supervised() -> bool {
    env::var_os(SUPERVISED).is_some()
}

/// Resolves when the supervisor is gone: it holds the other end of this process' standard input.
pub(crate) async fn supervisor_gone() {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        sender.send(())
    });
    // An error means the same: the thread is gone.
    let _ = receiver.await;
}

/// Runs this program again as the leader of a process group, into which everything falls that it starts: compilers too, which
/// a signal to this process alone would leave running. Ctrl-C in a terminal reaches only this process.
///
/// # Errors
/// When the process cannot be started.
pub(crate) async fn run() -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut demo = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(SUPERVISED, "yes")
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("the demo cannot be started")?;
    // Held until the end, and not by `demo`: waiting for a child closes its standard input.
    let _leash = demo.stdin.take();
    let group = demo
        .id()
        .and_then(|id| Pid::from_raw(id.try_into().ok()?))
        .context("the demo has no process id")?;

    let ended = tokio::select! {
        ended = demo.wait() => Ended::ByItself(ended?),
        _ = interrupt.recv() => Ended::By(Signal::INT),
        _ = terminate.recv() => Ended::By(Signal::TERM),
        _ = hang_up.recv() => Ended::By(Signal::HUP),
    };
    if matches!(ended, Ended::By(_)) {
        end(&mut demo, group).await;
    }
    end_rest(group).await;
    if matches!(ended, Ended::By(_)) {
        // Nobody may be there to read it.
        let _ = writeln!(
            std::io::stderr(),
            "\nEnded on request; nothing is left running."
        );
    }
    Ok(match ended {
        Ended::ByItself(status) if status.success() => ExitCode::SUCCESS,
        Ended::ByItself(_) => ExitCode::FAILURE,
        // As shells tell it.
        Ended::By(signal) => {
            u8::try_from(128 + signal.as_raw()).map_or(ExitCode::FAILURE, ExitCode::from)
        }
    })
}

enum Ended {
    ByItself(ExitStatus),
    By(Signal),
}

/// Lets the demo itself end what it knows of, in order.
async fn end(demo: &mut Child, group: Pid) {
    let _ = kill_process(group, Signal::TERM);
    let _ = timeout(GRACE, demo.wait()).await;
}

/// Ends what is left: after an interrupted build its compilers, after a crash the operator. Errors mean that nothing is.
async fn end_rest(group: Pid) {
    let _ = kill_process_group(group, Signal::INT);
    let deadline = Instant::now() + GRACE;
    while test_kill_process_group(group).is_ok() {
        if Instant::now() > deadline {
            let _ = kill_process_group(group, Signal::KILL);
            return;
        }
        sleep(POLL).await;
    }
}
