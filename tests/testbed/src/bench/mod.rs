//! Measures the operator's speed, memory and requests, each figure beside the least that the same job could cost, taken in the
//! same run.

mod burst;
mod cold_start;
mod fleet;
mod floor;
mod memory;
mod outage;
mod plot;
mod process;
pub mod program;
pub mod report;
mod requests;
mod restart;
mod single;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::operator::OperatorBuilder;
use crate::{Operator, Testbed};
use report::{Distribution, Report};

/// So many calls a second that the budget holds nobody up.
const UNLIMITED: u32 = 1_000_000;

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Enough to see that each measurement runs. The figures say nothing.
    Quick,
    /// What the documentation shows.
    Full,
}

impl Size {
    fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// The measurements, in the order in which they are made.
pub const SCENARIOS: [&str; 7] = [
    "single",
    "burst",
    "budget",
    "restart",
    "memory",
    "outage",
    "cold-start",
];

/// What every measurement needs.
struct Bench {
    operator: PathBuf,
    size: Size,
    /// How long a rotation takes in the plain loop, without latency of the cloud and pauses.
    rotation: Distribution,
    report: Report,
}

impl Bench {
    /// What so many rotations take one after the other, in seconds.
    fn in_sequence(&self, rotations: u32) -> f64 {
        self.rotation.mean() * f64::from(rotations) / 1000.0
    }

    /// How long a process rests before its memory is looked at. Caches have done their housekeeping by then.
    fn rest(&self) -> Duration {
        self.size
            .pick(Duration::from_millis(100), Duration::from_secs(5))
    }

    async fn bed(&self) -> Result<Testbed> {
        Testbed::start(&self.operator).await
    }
}

/// Runs the scenarios of these names.
///
/// # Errors
/// When one of them cannot be carried out, or there is none of a name.
pub async fn run(operator: PathBuf, size: Size, scenarios: &[String]) -> Result<Report> {
    let nothing = (Duration::ZERO, Duration::ZERO);
    let floor = floor::measure(&operator, size.pick(5, 200), &[nothing]).await?;
    let rotation = floor.into_iter().next().context("no floor")?.to_ready;
    let report = Report::new(size)?;
    let mut bench = Bench {
        operator,
        size,
        rotation,
        report,
    };
    for scenario in scenarios {
        Report::begin(scenario);
        match scenario.as_str() {
            "single" => Box::pin(single::measure(&mut bench)).await?,
            "burst" => Box::pin(burst::measure(&mut bench)).await?,
            "budget" => Box::pin(burst::measure_with_budget(&mut bench)).await?,
            "restart" => Box::pin(restart::measure(&mut bench)).await?,
            "memory" => Box::pin(memory::measure(&mut bench)).await?,
            "outage" => Box::pin(outage::measure(&mut bench)).await?,
            "cold-start" => Box::pin(cold_start::measure(&mut bench)).await?,
            other => bail!(
                "there is no scenario {other:?}, only {}",
                SCENARIOS.join(", ")
            ),
        }
    }
    Ok(bench.report)
}

/// An operator that logs what it logs by default, with this many calls a second.
async fn builder(bed: &Testbed, calls_per_second: u32) -> Result<OperatorBuilder> {
    let builder = bed.operator().await?.flag("log-level", "info");
    Ok(builder.flag("rds-qps", calls_per_second.to_string()))
}

/// Starts it, and waits until it leads and has listed everything.
async fn start(bed: &Testbed, calls_per_second: u32) -> Result<Operator> {
    let operator = builder(bed, calls_per_second).await?.start().await?;
    operator.wait_until_leading().await?;
    Ok(operator)
}
