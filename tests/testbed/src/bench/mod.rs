//! Measures the operator's speed, memory and requests.
//!
//! Where there is something to compare with, a figure stands beside its floor, taken in the same run: what a loop costs that does
//! only the necessary, one after the other. What is shared or done at once can be below it.

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

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::operator::OperatorBuilder;
use crate::{Operator, Testbed};
use report::{Conditions, Distribution, Report, Section, progress};

/// So many calls a second that the budget holds nobody up.
const UNLIMITED: u32 = 1_000_000;

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
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

/// The measurements, in the order in which they are made and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Scenario {
    Single,
    Burst,
    Budget,
    Restart,
    Memory,
    Outage,
    ColdStart,
}

impl Scenario {
    const ALL: [Self; 7] = [
        Self::Single,
        Self::Burst,
        Self::Budget,
        Self::Restart,
        Self::Memory,
        Self::Outage,
        Self::ColdStart,
    ];

    /// What the command line calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Burst => "burst",
            Self::Budget => "budget",
            Self::Restart => "restart",
            Self::Memory => "memory",
            Self::Outage => "outage",
            Self::ColdStart => "cold-start",
        }
    }

    /// What its table is called.
    fn title(self) -> &'static str {
        match self {
            Self::Single => "One change",
            Self::Burst => "A burst",
            Self::Budget => "A burst with a budget",
            Self::Restart => "A restart with all in sync",
            Self::Memory => "Secrets that concern nobody",
            Self::Outage => "An outage",
            Self::ColdStart => "Start",
        }
    }

    async fn measure(self, bench: &Bench, section: &mut Section) -> Result<()> {
        match self {
            Self::Single => Box::pin(single::measure(bench, section)).await,
            Self::Burst => Box::pin(burst::measure(bench, section)).await,
            Self::Budget => Box::pin(burst::measure_with_budget(bench, section)).await,
            Self::Restart => Box::pin(restart::measure(bench, section)).await,
            Self::Memory => Box::pin(memory::measure(bench, section)).await,
            Self::Outage => Box::pin(outage::measure(bench, section)).await,
            Self::ColdStart => Box::pin(cold_start::measure(bench, section)).await,
        }
    }
}

/// What every measurement needs.
struct Bench {
    operator: PathBuf,
    size: Size,
    /// How long a rotation takes in the plain loop, without latency of the cloud and pauses.
    rotation: Distribution,
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

/// Runs these scenarios, and writes what each has measured into a directory when it ends: what comes later may fail.
async fn run(
    operator: PathBuf,
    size: Size,
    scenarios: impl IntoIterator<Item = Scenario>,
    directory: &Path,
) -> Result<Report> {
    let conditions = Conditions::now(size)?;
    let nothing = (Duration::ZERO, Duration::ZERO);
    let floor = floor::measure(&operator, size.pick(5, 200), &[nothing]).await?;
    let rotation = floor.into_iter().next().context("no floor")?.to_ready;
    let bench = Bench {
        operator,
        size,
        rotation,
    };
    let mut report = Report::default();
    for scenario in scenarios {
        progress(format_args!("{}: {}", Timestamp::now(), scenario.name()));
        let mut section = Section::new(scenario, conditions.clone());
        scenario.measure(&bench, &mut section).await?;
        report.push(section);
        report.write(directory)?;
    }
    Ok(report)
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
