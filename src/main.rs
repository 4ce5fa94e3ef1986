//! The program: parses the command line and runs what it names.

use std::io::Write as _;
use std::process::ExitCode;

use rds_password_operator::cli::{Cli, Command, RunArguments};
use rds_password_operator::{api, run, telemetry};
use tracing::error;

/// The arguments contradict each other; clap's own code for what it refuses.
const USAGE: u8 = 2;

/// By default there would be one for each core of the node. More than two gain nothing (docs/performance.md), and each takes
/// memory; with one, whatever takes long would hold up the renewal of the lease.
const WORKER_THREADS: usize = 2;

fn main() -> ExitCode {
    match Cli::of_this_process().command {
        Command::Crd => print_crd(),
        Command::Run(arguments) => run_operator(*arguments),
    }
}

fn print_crd() -> ExitCode {
    let printed = api::crd_yaml()
        .map_err(|error| error.to_string())
        .and_then(|yaml| {
            std::io::stdout()
                .write_all(yaml.as_bytes())
                .map_err(|error| error.to_string())
        });
    printed.map_or_else(|error| fail(&error, 1), |()| ExitCode::SUCCESS)
}

fn run_operator(arguments: RunArguments) -> ExitCode {
    let timings = match arguments.lease_timings() {
        Ok(timings) => timings,
        Err(sentence) => return fail(&sentence, USAGE),
    };
    // First of all, since passwords will be in memory: a crash must leave no core that holds them.
    #[cfg(target_os = "linux")]
    if let Err(error) =
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        return fail(&format!("core dumps cannot be turned off: {error}"), 1);
    }
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        return fail("there is another cryptographic provider already", 1);
    }
    if let Err(error) = telemetry::start(arguments.log_format, arguments.log_level) {
        return fail(&format!("the log cannot be started: {error}"), 1);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("no threads: {error}"), 1),
    };
    let ended = runtime.block_on(run::run(arguments, timings));
    // Not waited for: a name that is looked up, or a file on a volume that hangs, would hold the process up for as long.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(%error, "ended");
            ExitCode::FAILURE
        }
    }
}

fn fail(sentence: &str, code: u8) -> ExitCode {
    // Standard error may be closed; the exit code says it all the same.
    let _ = writeln!(std::io::stderr(), "error: {sentence}");
    ExitCode::from(code)
}
