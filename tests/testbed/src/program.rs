//! What the programs of this package have in common.

use std::fmt::Arguments as Text;
use std::io::Write as _;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

/// Writes a line. Whoever has closed the output does not want to read it, and the exit code tells the rest.
pub fn say(line: Text<'_>) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Works until that ends, or the program is asked to. What the work has started ends when it is dropped.
pub async fn until_interrupted(work: impl Future<Output = ExitCode>) -> ExitCode {
    tokio::select! {
        ended = work => ended,
        () = interrupted() => {
            say(format_args!("ended on request"));
            ExitCode::from(130)
        }
    }
}

async fn interrupted() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
