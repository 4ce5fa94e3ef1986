//! Many Secrets change as fast as they can be written.

use anyhow::{Context as _, Result};
use jiff::Timestamp;

use super::fleet::{Fleet, resets};
use super::process::Usage;
use super::report::{Picture, Unit};
use super::requests::Requests;
use super::{Bench, UNLIMITED, start};
use crate::audit::Audit;

pub(super) const SCENARIO: &str = "A burst";

/// The name of the table with a budget.
pub(super) const WITH_BUDGET: &str = "A burst with a budget";

/// The budget of the runs that have one, in requests a second.
const BUDGET: u32 = 20;

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let bursts: &[(u32, u32)] = bench.size.pick(
        &[(4, 1), (8, 10)],
        &[(125, 1), (500, 1), (500, 10), (5_000, 1), (5_000, 10)],
    );
    let mut by_size = Vec::new();
    let mut in_sequence = Vec::new();
    for &(size, accounts) in bursts {
        let seconds = burst(bench, (size, accounts), UNLIMITED).await?;
        if accounts == 1 {
            by_size.push((f64::from(size), seconds));
            in_sequence.push((f64::from(size), bench.in_sequence(size)));
        }
    }
    bench.report.draw(Picture::Burst, "the operator", by_size);
    bench.report.draw(
        Picture::Burst,
        "the floor, one after the other",
        in_sequence,
    );
    Ok(())
}

/// The same with a budget.
pub(super) async fn measure_with_budget(bench: &mut Bench) -> Result<()> {
    let sizes: &[u32] = bench.size.pick(&[8], &[500, 5_000]);
    for &size in sizes {
        burst(bench, (size, 10), BUDGET).await?;
    }
    Ok(())
}

/// Returns the seconds until the last status was written.
async fn burst(bench: &mut Bench, (size, accounts): (u32, u32), budget: u32) -> Result<f64> {
    let bed = bench.bed().await?;
    let fleet = Fleet::new(&bed, "burst", size, accounts);
    fleet.create(0).await?;
    let operator = start(&bed, UNLIMITED).await?;
    fleet.wait_until_reset(&operator, 0.0).await?;
    operator.terminate().await?;

    let operator = start(&bed, budget).await?;
    let passes = f64::from(size);
    fleet
        .wait("the first passes", async || {
            Ok(operator
                .metric("rds_password_operator_passes_total")
                .await?
                >= passes)
        })
        .await?;
    let (calls_before, before) = (bed.calls().len(), resets(&operator).await?);
    let audit = Audit::begin(&bed.control_plane)?;
    let began = Timestamp::now();
    fleet.rotate_all(1).await?;
    let written = Timestamp::now();
    fleet.wait_until_reset(&operator, before).await?;
    let calls = fleet.calls(calls_before);
    let requests = Requests::of(audit.requests()?);
    let to_reset = Fleet::last_reset(&calls)?
        .duration_since(began)
        .as_secs_f64();
    let last_status = requests.last_status.context("no status was written")?;
    let to_ready = last_status.duration_since(began).as_secs_f64();

    let (scenario, limit) = if budget == UNLIMITED {
        (SCENARIO, String::new())
    } else {
        (WITH_BUDGET, format!(", {budget} calls a second"))
    };
    let what = format!("{size} accounts, {accounts} for each instance{limit}");
    let each = |count: u32| f64::from(count) / f64::from(size);
    let calls = u32::try_from(calls.len())?;
    // The reset and the look at the account, and for all of an instance one read of it.
    let calls_of_each = 2.0 + 1.0 / f64::from(accounts);
    let floor = if budget == UNLIMITED {
        bench.in_sequence(size)
    } else {
        // What the budget allows, after the ten that it may begin with.
        (f64::from(size) * calls_of_each - 10.0).max(0.0) / f64::from(budget)
    };
    let mut add = |name: &str, value, unit, floor| {
        bench
            .report
            .add((scenario, format!("{what}: {name}")), (value, unit), floor);
    };
    add(
        "all written",
        written.duration_since(began).as_secs_f64(),
        Unit::Seconds,
        None,
    );
    add("last reset", to_reset, Unit::Seconds, Some(floor));
    add("last Ready", to_ready, Unit::Seconds, Some(floor));
    add(
        "cloud calls for each",
        each(calls),
        Unit::Count,
        Some(calls_of_each),
    );
    add(
        "API server requests for each, without Events",
        each(requests.of_rotations()),
        Unit::Count,
        Some(3.0),
    );
    add(
        "GETs of Secrets for each",
        each(requests.count("get", "secrets")),
        Unit::Count,
        Some(1.0),
    );
    add(
        "Events for each",
        each(requests.events()),
        Unit::Count,
        None,
    );
    let usage = Usage::of(&operator)?;
    add("peak memory", usage.peak, Unit::Mebibytes, None);
    add(
        "processor seconds since the start",
        usage.processor_seconds,
        Unit::Seconds,
        None,
    );
    Ok(to_ready)
}
