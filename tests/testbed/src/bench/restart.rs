//! A restart while everything is in sync.

use anyhow::Result;
use tokio::time::{Instant, sleep};

use super::fleet::Fleet;
use super::process::Usage;
use super::report::{Picture, Unit};
use super::requests::Requests;
use super::{Bench, UNLIMITED, builder, floor, start};
use crate::audit::Audit;

pub(super) const SCENARIO: &str = "A restart with all in sync";

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
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

        let (calls, audit) = (bed.calls().len(), Audit::begin(&bed.control_plane)?);
        let builder = builder(&bed, UNLIMITED)
            .await?
            // So that to look at the metrics takes no time that is measured.
            .argument("--no-resource-metrics");
        let began = Instant::now();
        let operator = builder.start().await?;
        operator.wait_until_leading().await?;
        let ready = began.elapsed().as_secs_f64();
        let all = f64::from(size);
        operator
            .wait_for_metric("rds_password_operator_passes_total", all)
            .await?;
        let passed = began.elapsed().as_secs_f64();
        sleep(bench.rest()).await;
        let usage = Usage::of(&operator)?;
        let requests = Requests::of(audit.requests()?);
        let calls = u32::try_from(bed.calls().len() - calls)?;

        let mut add = |name: &str, value, unit, floor| {
            bench.report.add(
                (SCENARIO, format!("{size} resources: {name}")),
                (value, unit),
                floor,
            );
        };
        add("until ready", ready, Unit::Seconds, Some(floor));
        add(
            "until each was looked at",
            passed,
            Unit::Seconds,
            Some(floor),
        );
        add("cloud calls", f64::from(calls), Unit::Count, Some(0.0));
        add(
            "writes to the API server",
            f64::from(requests.writes()),
            Unit::Count,
            Some(0.0),
        );
        add(
            "GETs of Secrets",
            f64::from(requests.count("get", "secrets")),
            Unit::Count,
            Some(0.0),
        );
        add(
            "GETs of resources",
            f64::from(requests.count("get", "databaseaccountpasswords")),
            Unit::Count,
            Some(0.0),
        );
        add(
            "processor seconds",
            usage.processor_seconds,
            Unit::Seconds,
            None,
        );
        add("memory at rest", usage.resident, Unit::Mebibytes, None);
        add("memory at its peak", usage.peak, Unit::Mebibytes, None);
        let size = f64::from(size);
        times.push((size, passed));
        floors.push((size, floor));
        rest.push((size, usage.resident));
        peak.push((size, usage.peak));
    }
    bench.report.draw(
        Picture::Restart,
        "the operator, until each was looked at",
        times,
    );
    bench
        .report
        .draw(Picture::Restart, "the floor: to list everything", floors);
    bench
        .report
        .draw(Picture::MemoryByResources, "at rest", rest);
    bench
        .report
        .draw(Picture::MemoryByResources, "at its peak", peak);
    Ok(())
}
