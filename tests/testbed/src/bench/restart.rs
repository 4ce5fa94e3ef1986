//! A restart while everything is in sync.

use anyhow::Result;
use tokio::time::{Instant, sleep};

use super::fleet::Fleet;
use super::process::Usage;
use super::report::{Picture, Section, Unit};
use super::requests::Requests;
use super::{Bench, UNLIMITED, builder, floor, start};
use crate::Testbed;
use crate::audit::Audit;

pub(super) async fn measure(bench: &Bench, section: &mut Section) -> Result<()> {
    let sizes = bench.size.pick([2, 4, 8], [100, 1_000, 10_000]);
    let bed = bench.bed().await?;
    let (mut times, mut floors) = (Vec::new(), Vec::new());
    let (mut rest, mut peak) = (Vec::new(), Vec::new());
    let mut created = 0;
    for size in sizes {
        let fleet = Fleet::new(&bed, "restart", size, 1);
        let operator = start(&bed, UNLIMITED).await?;
        fleet.create(created).await?;
        let added = Fleet::new(&bed, "restart", size - created, 1);
        added.wait_until_reset(&operator, 0.0).await?;
        created = size;
        operator.terminate().await?;
        let floor = floor::list_everything(&bed).await?;
        let (passed, usage) = restart(bench, section, &bed, (size, floor)).await?;
        let size = f64::from(size);
        times.push((size, passed));
        floors.push((size, floor));
        rest.push((size, usage.resident));
        peak.push((size, usage.peak));
    }
    section.draw(
        Picture::Restart,
        "the operator, until each was looked at",
        times,
    );
    section.draw(Picture::Restart, "the floor: to list everything", floors);
    section.draw(Picture::MemoryByResources, "at rest", rest);
    section.draw(Picture::MemoryByResources, "at its peak", peak);
    Ok(())
}

/// Returns the seconds until each resource was looked at, and what the operator has used.
async fn restart(
    bench: &Bench,
    section: &mut Section,
    bed: &Testbed,
    (size, floor): (u32, f64),
) -> Result<(f64, Usage)> {
    let (calls, audit) = (bed.calls().len(), Audit::begin(&bed.control_plane)?);
    let builder = builder(bed, UNLIMITED)
        .await?
        // So that to look at the metrics takes no time that is measured.
        .argument("--no-resource-metrics");
    let began = Instant::now();
    let operator = builder.start().await?;
    operator.wait_until_leading().await?;
    let ready = began.elapsed().as_secs_f64();
    operator
        .wait_for_metric("rds_password_operator_passes_total", f64::from(size))
        .await?;
    let passed = began.elapsed().as_secs_f64();
    sleep(bench.rest()).await;
    let usage = Usage::of(&operator)?;
    let requests = Requests::of(audit.requests()?);
    let calls = u32::try_from(bed.calls().len() - calls)?;

    let what = format!("{size} resources");
    for (name, seconds, floor) in [
        ("until ready", ready, Some(floor)),
        ("until each was looked at", passed, Some(floor)),
        ("processor seconds", usage.processor_seconds, None),
    ] {
        section.add(format!("{what}: {name}"), (seconds, Unit::Seconds), floor);
    }
    let resources = requests.count("get", "databaseaccountpasswords");
    for (name, count) in [
        ("cloud calls", calls),
        ("writes to the API server", requests.writes()),
        ("GETs of Secrets", requests.count("get", "secrets")),
        ("GETs of resources", resources),
    ] {
        let count = (f64::from(count), Unit::Count);
        section.add(format!("{what}: {name}"), count, Some(0.0));
    }
    section.add_memory(&what, &usage, None);
    Ok((passed, usage))
}
