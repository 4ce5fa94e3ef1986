//! What Secrets cost that concern nobody.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::sleep;

use super::fleet::Fleet;
use super::process::Usage;
use super::report::{Picture, Section, Unit};
use super::{Bench, UNLIMITED, builder, floor, start};
use crate::bed::for_each;
use crate::{Operator, Testbed};

/// The size of each.
const BYTES: usize = 4096;

pub(super) async fn measure(bench: &Bench, section: &mut Section) -> Result<()> {
    let (resources, sizes, events) = bench
        .size
        .pick((2, [0, 10, 30], 100), (20, [0, 10_000, 30_000], 100_000));
    let bed = bench.bed().await?;
    let operator = start(&bed, UNLIMITED).await?;
    let usage = rested(bench, &operator).await?;
    section.add_memory("no resources, no Secrets", &usage, None);
    operator.terminate().await?;
    // Its Secrets come after those that concern nobody, in the order of lists.
    let fleet = Fleet::in_sync(&bed, "watched", resources, 1).await?;

    let mut created = 0;
    let (mut by_secrets, mut peaks) = (Vec::new(), Vec::new());
    let mut floor = None;
    for size in sizes {
        for_each(created..size, async |number| create(&bed, number).await).await?;
        created = size;
        let operator = start(&bed, UNLIMITED).await?;
        let usage = rested(bench, &operator).await?;
        let what = format!("{resources} resources, {size} Secrets");
        section.add_memory(&what, &usage, floor);
        floor = floor.or(Some(usage.resident));
        by_secrets.push((f64::from(size), usage.resident));
        peaks.push((f64::from(size), usage.peak));
        if size == sizes[2] {
            for_each(0..events, async |number| {
                touch(&bed, number % created, number).await
            })
            .await?;
            let usage = rested(bench, &operator).await?;
            let what = format!("the same, after {events} changes of them");
            section.add_memory(&what, &usage, floor);
        }
        operator.terminate().await?;
    }
    section.draw(Picture::MemoryBySecrets, "at rest", by_secrets);
    section.draw(Picture::MemoryBySecrets, "at its peak", peaks);
    restart(section, &bed, &fleet, created).await
}

/// A Secret changes while the operator is down.
async fn restart(
    section: &mut Section,
    bed: &Testbed,
    fleet: &Fleet<'_>,
    others: u32,
) -> Result<()> {
    let floor = floor::list_everything(bed).await?;
    let last = fleet.last_in_lists().context("no resource")?;
    fleet.rotate(last, 1).await?;
    let builder = builder(bed, UNLIMITED).await?;
    let calls_before = bed.calls().len();
    let began = Timestamp::now();
    let operator = builder.start().await?;
    operator.wait_until_leading().await?;
    let ready = Timestamp::now();
    fleet.wait_until_applied(last, 1).await?;
    // It has its answer then, and is in the journal as a success.
    operator.terminate().await?;
    let applied = Fleet::last_reset(&fleet.calls(calls_before))?;
    for (name, time) in [
        ("until ready", ready),
        (
            "until a Secret that was changed meanwhile is applied",
            applied,
        ),
    ] {
        let size = fleet.size();
        let name = format!("{size} resources, {others} Secrets: after a restart, {name}");
        let seconds = time.duration_since(began).as_secs_f64();
        section.add(name, (seconds, Unit::Seconds), Some(floor));
    }
    Ok(())
}

async fn rested(bench: &Bench, operator: &Operator) -> Result<Usage> {
    sleep(bench.rest()).await;
    Usage::of(operator)
}

fn name(number: u32) -> String {
    format!("unrelated-{number}")
}

async fn create(bed: &Testbed, number: u32) -> Result<()> {
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name(number)),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(
            "value".to_owned(),
            ByteString(vec![b'x'; BYTES]),
        )])),
        ..Secret::default()
    };
    bed.secrets()
        .create(&PostParams::default(), &secret)
        .await?;
    Ok(())
}

async fn touch(bed: &Testbed, number: u32, value: u32) -> Result<()> {
    let patch = json!({ "metadata": { "labels": { "touched": value.to_string() } } });
    bed.secrets()
        .patch_metadata(&name(number), &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    Ok(())
}
