//! Many Secrets change while their instances are not Running.

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use rds_password_operator::controller::schedule;
use rds_password_operator::rds::classification::Class;
use rds_simulator::{Action, Call};
use tokio::time::sleep;

use super::fleet::{Fleet, resets};
use super::process::Usage;
use super::report::{Section, Unit, count};
use super::{Bench, UNLIMITED, start};

const ACCOUNTS_OF_AN_INSTANCE: u32 = 10;

pub(super) async fn measure(bench: &Bench, section: &mut Section) -> Result<()> {
    let (size, minutes, minute) = bench.size.pick(
        (20, 2, Duration::from_secs(3)),
        (2_000, 4, Duration::from_secs(60)),
    );
    let bed = bench.bed().await?;
    let fleet = Fleet::new(&bed, "outage", size, ACCOUNTS_OF_AN_INSTANCE);
    fleet.create(0).await?;
    let operator = start(&bed, UNLIMITED).await?;
    fleet.wait_until_reset(&operator, 0.0).await?;
    let before = resets(&operator).await?;
    for instance in fleet.instances() {
        bed.rds.set_instance_status(&instance, "Rebooting")?;
    }
    let calls_before = bed.calls().len();
    let began = Timestamp::now();
    fleet.rotate_all(1).await?;
    let end = began + minute * minutes;
    sleep(Duration::try_from(end.duration_since(Timestamp::now())).unwrap_or_default()).await;
    let over = Timestamp::now();
    for instance in fleet.instances() {
        bed.rds.set_instance_status(&instance, "Running")?;
    }
    fleet.wait_until_reset(&operator, before).await?;

    let calls = fleet.calls(calls_before);
    let instances = count(fleet.instances().count());
    let what = format!("{size} accounts of {instances} instances");
    let times = (1..=minutes).map(|number| (minute * (number - 1), minute * number));
    add_calls(section, &what, instances, (&calls, began), times);
    let reads = calls
        .iter()
        .filter(|call| call.is(Action::DescribeDBInstanceAttribute) && call.arrived < over);
    let polls = polls().into_iter().filter(|time| *time < minute * minutes);
    section.add(
        format!("{what}: reads of an instance in all that time"),
        (count(reads.count()) / instances, Unit::Count),
        Some(count(polls.count())),
    );
    let applied = Fleet::last_reset(&calls)?
        .duration_since(over)
        .as_secs_f64();
    section.add(
        format!("{what}: after it, until all are applied"),
        (applied, Unit::Seconds),
        Some(bench.in_sequence(size)),
    );
    section.add_usage(&what, &Usage::of(&operator)?);
    Ok(())
}

/// Adds how many calls came in each minute since the outage began.
fn add_calls(
    section: &mut Section,
    what: &str,
    instances: f64,
    (calls, began): (&[Call], Timestamp),
    minutes: impl Iterator<Item = (Duration, Duration)>,
) {
    let polls = polls();
    for (number, (begin, end)) in (1..).zip(minutes) {
        let is_within = |time: Duration| (begin..end).contains(&time);
        let made = calls.iter().filter(|call| {
            Duration::try_from(call.arrived.duration_since(began)).is_ok_and(is_within)
        });
        let planned = polls.iter().filter(|time| is_within(**time));
        section.add(
            format!("{what}: cloud calls in minute {number}"),
            (count(made.count()), Unit::Count),
            Some(instances * count(planned.count())),
        );
    }
}

/// When an instance is polled in the first ten minutes by who keeps to the back-off, at its mean.
fn polls() -> Vec<Duration> {
    let mut polls = vec![Duration::ZERO];
    let mut time = Duration::ZERO;
    let mut failures = 1;
    while time < Duration::from_secs(600) {
        time += schedule::after_failure(Class::InstanceBusy, failures, None, 0.5);
        failures += 1;
        polls.push(time);
    }
    polls
}
