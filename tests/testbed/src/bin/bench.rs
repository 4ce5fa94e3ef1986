//! Prints the operator's speed, memory and requests, on this machine, each figure beside its floor where it has one.
//!
//! `cargo run --release -p testbed --bin bench`

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    testbed::bench::program::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    use std::io::Write as _;
    // The exit code says it too.
    let _ = writeln!(
        std::io::stderr(),
        "error: the benchmark needs Linux, whose accounts of processes it reads"
    );
    ExitCode::FAILURE
}
