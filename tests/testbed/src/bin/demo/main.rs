//! `cargo demo`: the way of a changed password, to watch.
//!
//! Everything runs on this machine: a real kube-apiserver with etcd, the operator's real program, and a simulator of the RDS
//! API in place of Alibaba Cloud.

mod page;
mod story;
mod supervise;
mod table;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

const HELP: &str = "\
Shows the operator at work, on this machine alone: with a real kube-apiserver, and a simulator of the RDS API in place of
Alibaba Cloud.

Usage: cargo demo [-- --keep]

      --keep  Leave everything running at the end, and print the KUBECONFIG to look around with. Ctrl-C ends it.
  -h, --help  Print this.

Needs Rust, and Go for the API server, which is built once (about 4 minutes on 2 cores). Without Go, set KUBEBUILDER_ASSETS to
a directory with the programs etcd and kube-apiserver. Nothing but the registries of Rust and Go is called outside this
machine, for what the builds need.
";

/// The arguments make no sense: the code that clap has for that.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // The alias ends with the `--` that separates cargo's flags from these; whoever types another one is right too.
    if arguments.first().is_some_and(|first| first == "--") {
        arguments.remove(0);
    }
    let keep = match &arguments[..] {
        [] => false,
        [flag] if flag == "--keep" => true,
        [flag] if flag == "--help" || flag == "-h" => {
            return print(std::io::stdout(), HELP, ExitCode::SUCCESS);
        }
        _ => {
            let text = format!("error: the only flags are --keep and --help\n\n{HELP}");
            return print(std::io::stderr(), &text, ExitCode::from(USAGE));
        }
    };
    match run(keep) {
        Ok(code) => code,
        Err(error) => print(
            std::io::stderr(),
            &format!("\nerror: {error:#}\n"),
            ExitCode::FAILURE,
        ),
    }
}

fn print(mut stream: impl Write, text: &str, code: ExitCode) -> ExitCode {
    // A stream that is closed has no reader to miss anything; the exit code says it all the same.
    let _ = stream.write_all(text.as_bytes());
    code
}

/// Supervises the story, or tells it.
fn run(keep: bool) -> Result<ExitCode> {
    let runtime = Runtime::new().context("no threads")?;
    if !supervise::is_supervised() {
        return runtime.block_on(supervise::run());
    }
    let told = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            told = story::tell(keep) => told.map(|()| ExitCode::SUCCESS),
            // What the story had started has been dropped by then, and so ended.
            _ = terminate.recv() => Ok(ExitCode::FAILURE),
            () = supervise::supervisor_gone() => Ok(ExitCode::FAILURE),
        }
    });
    // A build of the API server may be under way on another thread; the supervisor ends its compilers.
    runtime.shutdown_background();
    told
}
