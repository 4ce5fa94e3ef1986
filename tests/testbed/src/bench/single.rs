//! One Secret changes: how soon the reset arrives, and how soon the status is Ready.

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watcher};
use rds_password_operator::api::DatabaseAccountPassword;
use rds_password_operator::rds::limit::RUNNING_IS_KEPT;
use rds_simulator::Action;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::fleet::Fleet;
use super::floor::{self, LATENCIES, PACES, Rotations, answer_after};
use super::report::{Picture, Section, Unit};
use super::requests::Requests;
use super::{Bench, UNLIMITED, start};
use crate::audit::Audit;
use crate::operator::PATIENCE;
use crate::{Testbed, condition};

pub(super) async fn measure(bench: &Bench, section: &mut Section) -> Result<()> {
    let changes: u32 = bench.size.pick(5, 200);
    let conditions = LATENCIES.map(|latency| PACES.map(|(_, pause)| (latency, pause)));
    let floors = floor::measure(&bench.operator, changes, conditions.as_flattened()).await?;
    let mut floors = floors.iter();
    let bed = bench.bed().await?;
    // An instance for each, whose state nobody else reads.
    let fleet = Fleet::new(&bed, "single", changes, 1);
    fleet.create(0).await?;
    let operator = start(&bed, UNLIMITED).await?;
    fleet.wait_until_reset(&operator, 0.0).await?;
    let mut watch = Watch::begin(&bed).await?;
    let mut round = 0;
    for latency in LATENCIES {
        answer_after(&bed, latency);
        for (pace, pause) in PACES {
            let floor = floors.next().context("no floor")?;
            round += 1;
            // None finds the state of its instance known from the reset before: changes are rarer than that.
            sleep(RUNNING_IS_KEPT).await;
            let (calls, audit) = (bed.calls().len(), Audit::begin(&bed.control_plane)?);
            let mut rotations = Rotations::default();
            for number in 0..changes {
                sleep(pause).await;
                change(&bed, &fleet, (number, round), &mut watch, &mut rotations).await?;
            }
            let what = format!("cloud {} ms, {pace}", latency.as_millis());
            add_times(section, &what, &rotations, floor);
            if latency.is_zero() {
                for (who, rotations) in [("the operator", &rotations), ("the floor", floor)] {
                    let name = format!("{who}, {pace}, to Ready");
                    section.draw(Picture::SingleChange, &name, rotations.to_ready.shares());
                }
                let calls = u32::try_from(fleet.calls(calls).len())?;
                let requests = Requests::of(audit.requests()?).of_rotations();
                for (what, count) in [
                    ("cloud calls", calls),
                    ("API server requests without Events", requests),
                ] {
                    let each = f64::from(count) / f64::from(changes);
                    let name = format!("{pace}: {what} for each");
                    section.add(name, (each, Unit::Count), Some(3.0));
                }
            }
        }
    }
    Ok(())
}

fn add_times(section: &mut Section, what: &str, measured: &Rotations, floor: &Rotations) {
    for (to, measured, floor) in [
        ("the reset", &measured.to_reset, &floor.to_reset),
        ("Ready", &measured.to_ready, &floor.to_ready),
    ] {
        for (name, share) in [("median", 0.5), ("p90", 0.9), ("p99", 0.99)] {
            section.add(
                format!("{what}: to {to}, {name}"),
                (measured.quantile(share), Unit::Milliseconds),
                Some(floor.quantile(share)),
            );
        }
    }
}

/// Changes one Secret. Time counts from the API server's answer to the write, as it does for the floor.
async fn change(
    bed: &Testbed,
    fleet: &Fleet<'_>,
    (number, round): (u32, u32),
    watch: &mut Watch,
    measured: &mut Rotations,
) -> Result<()> {
    let before = bed.calls().len();
    fleet.rotate(number, round).await?;
    let began = Timestamp::now();
    let ready = watch.ready(&fleet.name(number), round).await?;
    let calls = fleet.calls(before);
    let reset = calls
        .iter()
        .find(|call| call.is(Action::ResetAccountPassword))
        .context("no reset")?;
    measured.to_reset.add(reset.arrived.duration_since(began));
    measured.to_ready.add(ready.duration_since(began));
    Ok(())
}

/// Tells when resources come to be Ready, as `kubectl wait` would.
struct Watch {
    resets: mpsc::UnboundedReceiver<(String, String, Timestamp)>,
    known: std::collections::HashMap<String, String>,
    _task: AbortOnDropHandle<()>,
}

impl Watch {
    async fn begin(bed: &Testbed) -> Result<Self> {
        let (sender, resets) = mpsc::unbounded_channel();
        let mut known = std::collections::HashMap::new();
        for resource in bed
            .resources()
            .list(&kube::api::ListParams::default())
            .await?
        {
            if let Some((name, request_id)) = reset(&resource) {
                known.insert(name, request_id);
            }
        }
        let mut events = watcher(bed.resources(), watcher::Config::default())
            .default_backoff()
            .applied_objects()
            .boxed();
        let watch = tokio::spawn(async move {
            while let Some(resource) = events.next().await {
                let now = Timestamp::now();
                if let Ok(resource) = resource
                    && let Some((name, request_id)) = reset(&resource)
                    && sender.send((name, request_id, now)).is_err()
                {
                    return;
                }
            }
        });
        Ok(Self {
            resets,
            known,
            _task: AbortOnDropHandle::new(watch),
        })
    }

    /// When a resource became Ready by another reset than the last that was seen of it.
    async fn ready(&mut self, name: &str, round: u32) -> Result<Timestamp> {
        let known = self.known.get(name).cloned().unwrap_or_default();
        let other = async {
            loop {
                let (of, request_id, time) =
                    self.resets.recv().await.context("the watch has ended")?;
                if of == name && request_id != known {
                    return anyhow::Ok((request_id, time));
                }
            }
        };
        let (request_id, time) = tokio::time::timeout(PATIENCE, other)
            .await
            .with_context(|| format!("{name} is not Ready in round {round}"))??;
        self.known.insert(name.to_owned(), request_id);
        Ok(time)
    }
}

/// The name and the last reset's request of a resource that is Ready, with nothing under way.
fn reset(resource: &DatabaseAccountPassword) -> Option<(String, String)> {
    let status = resource
        .status
        .as_ref()
        .filter(|status| status.last_attempt.is_none())?;
    condition(resource, "Ready").filter(|ready| ready.status == "True")?;
    Some((
        resource.metadata.name.clone()?,
        status.last_reset.as_ref()?.request_id.clone(),
    ))
}
