//! The log: lines of this program on standard error, and of nobody else.

use std::io::IsTerminal as _;

use tracing::error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::cli::{LogFormat, LogLevel};

/// Starts the log, which panics go to as well.
///
/// The targets are a list of what may speak. What the libraries underneath would say at their lower levels, and kube-client
/// at warn even, can hold whole objects and requests.
///
/// # Errors
/// When there is a log already.
pub fn start(format: LogFormat, level: LogLevel) -> Result<(), TryInitError> {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let targets = Targets::new()
        .with_target("rds_password_operator", level)
        // The election, which speaks of leases alone.
        .with_target("k8s_controller::leader_election", level);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let layer = match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(targets))
        .try_init()?;
    std::panic::set_hook(Box::new(|panic| {
        // Its message may quote what was handled: slicing a text out of its bounds prints the text.
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        error!(place, "a panic, whose message is withheld");
    }));
    Ok(())
}
