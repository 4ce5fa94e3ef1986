//! Many Secrets change as fast as they can be written.

use std::num::NonZeroU32;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use rds_password_operator::rds::limit::LimitSettings;

use super::fleet::{Fleet, resets};
use super::process::Usage;
use super::report::{Picture, Section, Unit};
use super::requests::Requests;
use super::{Bench, UNLIMITED, start};
use crate::audit::Audit;

/// The budget of the runs that have one, in requests a second.
const BUDGET: u32 = 20;

pub(super) async fn measure(bench: &Bench, section: &mut Section) -> Result<()> {
    let bursts: &[(u32, u32)] = bench.size.pick(
        &[(4, 1), (8, 10)],
        &[(125, 1), (500, 1), (500, 10), (5_000, 1), (5_000, 10)],
    );
    let mut by_size = Vec::new();
    let mut in_sequence = Vec::new();
    for &(size, accounts) in bursts {
        let seconds = burst(bench, section, (size, accounts), UNLIMITED).await?;
        if accounts == 1 {
            by_size.push((f64::from(size), seconds));
            in_sequence.push((f64::from(size), bench.in_sequence(size)));
        }
    }
    section.draw(Picture::Burst, "the operator", by_size);
    section.draw(
        Picture::Burst,
        "the floor, one after the other",
        in_sequence,
    );
    Ok(())
}

/// The same with a budget.
pub(super) async fn measure_with_budget(bench: &Bench, section: &mut Section) -> Result<()> {
    let sizes: &[u32] = bench.size.pick(&[8], &[500, 5_000]);
    for &size in sizes {
        burst(bench, section, (size, 10), BUDGET).await?;
    }
    Ok(())
}

/// Returns the seconds until the last status was written.
async fn burst(
    bench: &Bench,
    section: &mut Section,
    (size, accounts): (u32, u32),
    budget: u32,
) -> Result<f64> {
    let bed = bench.bed().await?;
    let fleet = Fleet::in_sync(&bed, "burst", size, accounts).await?;
    let operator = start(&bed, budget).await?;
    let passes = async || operator.metric("rds_password_operator_passes_total").await;
    let all = f64::from(size);
    fleet
        .wait("the first passes", async || Ok(passes().await? >= all))
        .await?;
    let (calls_before, before) = (bed.calls().len(), resets(&operator).await?);
    let audit = Audit::begin(&bed.control_plane)?;
    let began = Timestamp::now();
    fleet.rotate_all(1).await?;
    let written = Timestamp::now();
    fleet.wait_until_reset(&operator, before).await?;
    let calls = fleet.calls(calls_before);
    let requests = Requests::of(audit.requests()?);
    let last_reset = Fleet::last_reset(&calls)?;
    let last_status = requests.last_status.context("no status was written")?;
    let seconds = |end: Timestamp| end.duration_since(began).as_secs_f64();

    let (limit, floor) = if budget == UNLIMITED {
        (String::new(), bench.in_sequence(size))
    } else {
        let limit = format!(", {budget} calls a second");
        let calls = f64::from(size) * calls_of_each(accounts);
        (limit, with_budget(calls, budget)?)
    };
    let what = format!("{size} accounts, {accounts} for each instance{limit}");
    for (name, end, floor) in [
        ("all written", written, None),
        ("last reset", last_reset, Some(floor)),
        ("last Ready", last_status, Some(floor)),
    ] {
        let time = (seconds(end), Unit::Seconds);
        section.add(format!("{what}: {name}"), time, floor);
    }
    let calls = ("cloud calls", u32::try_from(calls.len())?);
    let of_rotations = (
        "API server requests without Events",
        requests.of_rotations(),
    );
    let reads = ("GETs of Secrets", requests.count("get", "secrets"));
    for ((name, count), floor) in [
        (calls, Some(calls_of_each(accounts))),
        (of_rotations, Some(3.0)),
        (reads, Some(1.0)),
        (("Events", requests.events()), None),
    ] {
        let each = (f64::from(count) / f64::from(size), Unit::Count);
        section.add(format!("{what}: {name} for each"), each, floor);
    }
    section.add_usage(&what, &Usage::of(&operator)?);
    Ok(seconds(last_status))
}

/// The reset and the look at the account, and for all of an instance one read of it.
fn calls_of_each(accounts: u32) -> f64 {
    2.0 + 1.0 / f64::from(accounts)
}

/// The seconds in which a budget allows so many calls.
fn with_budget(calls: f64, budget: u32) -> Result<f64> {
    let rate = NonZeroU32::new(budget).context("no budget")?;
    // How many may be under way at once is another matter.
    let burst = LimitSettings::new(rate, NonZeroU32::MAX).burst;
    Ok((calls - f64::from(burst.get())).max(0.0) / f64::from(budget))
}
