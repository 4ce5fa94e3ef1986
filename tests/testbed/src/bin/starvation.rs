//! Prints how soon rotations arrive beside five hundred resources that cannot get on, and without them, on this machine:
//! figures for a note, not a test.
//!
//! `cargo build --release && cargo run --release -p testbed --bin starvation -- target/release/rds-password-operator`

#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::SignedDuration;
use rds_password_operator::api::DatabaseAccountPassword;
use rds_simulator::{Call, Fault, Instance, Target};
use testbed::bed::{INSTANCE, with_access_key};
use testbed::{Operator, Testbed};

const STUCK: usize = 500;
const ROTATIONS: usize = 100;

/// Between two rotations, so that they do not wait for each other in the request budget.
const PAUSE: Duration = Duration::from_millis(500);

const THROTTLED_KEY: &str = "throttled-key";

/// What cannot get on.
#[derive(Clone, Copy, PartialEq)]
enum Burden {
    Nothing,
    /// One instance with many accounts that never gets to `Running`.
    Instance,
    /// One identity that is throttled at each call; half of its accounts are on the instance that is measured.
    Identity,
}

impl Burden {
    fn described(self) -> String {
        match self {
            Self::Nothing => "nothing else".to_owned(),
            Self::Instance => format!("one instance with {STUCK} accounts that never runs"),
            Self::Identity => format!("one identity with {STUCK} resources, throttled for good"),
        }
    }

    fn resource(self, bed: &Testbed, number: usize) -> Result<DatabaseAccountPassword> {
        let name = format!("crowd-{number}");
        let instance = match self {
            Self::Identity if number.is_multiple_of(2) => INSTANCE,
            _ => "rm-crowded",
        };
        let resource = bed.add_account(&name, instance, "crowd")?;
        if self == Self::Identity {
            return with_access_key(resource, THROTTLED_KEY);
        }
        Ok(resource)
    }

    async fn lay(self, bed: &Testbed) -> Result<()> {
        if self == Self::Nothing {
            return Ok(());
        }
        bed.rds
            .add_instance(Instance::new("rm-crowded").status("Rebooting"));
        throttle(bed).await?;
        bed.create_secret("crowd", "Crowd#Password1").await?;
        let stuck = (0..STUCK).map(|number| self.resource(bed, number));
        bed.create_all(&stuck.collect::<Result<Vec<_>>>()?).await?;
        // Each has been looked at, and waits.
        for number in 0..STUCK {
            bed.wait_for(&format!("crowd-{number}"), "looked at", |resource| {
                resource
                    .status
                    .as_ref()
                    .is_some_and(|status| !status.conditions.is_empty())
            })
            .await?;
        }
        Ok(())
    }
}

/// The key that is throttled, and the throttling.
async fn throttle(bed: &Testbed) -> Result<()> {
    bed.create_access_key(THROTTLED_KEY).await?;
    // The shortest time that RDS asks for, so that it is asked as often as it can be.
    let throttled = Fault::throttled("Throttling.User", Duration::from_secs(1));
    bed.rds
        .add_fault(throttled.on(Target::any().access_key(THROTTLED_KEY)));
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let binary: PathBuf = std::env::args_os()
        .nth(1)
        .context("name the operator's binary")?
        .into();
    println!(
        "{ROTATIONS} rotations, from the change of the Secret to the arrival of the reset, beside"
    );
    for burden in [Burden::Nothing, Burden::Instance, Burden::Identity] {
        measure(&binary, burden).await?;
    }
    Ok(())
}

/// With the limits that the operator has by default.
async fn start(bed: &Testbed) -> Result<Operator> {
    let builder = bed.operator().await?.flag("log-level", "info");
    let operator = builder.flag("rds-qps", "10").start().await?;
    operator.wait_until_leading().await?;
    Ok(operator)
}

async fn measure(binary: &Path, burden: Burden) -> Result<()> {
    let bed = Testbed::start(binary).await?;
    let _operator = start(&bed).await?;
    burden.lay(&bed).await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;

    let is_measured = |call: &Call| {
        call.instance.as_deref() == Some(INSTANCE)
            && call.access_key_id.as_deref() != Some(THROTTLED_KEY)
    };
    let calls_before = bed.calls().len();
    let mut times = Vec::with_capacity(ROTATIONS);
    for rotation in 0..ROTATIONS {
        let password = format!("Rotation#{rotation:08}");
        tokio::time::sleep(PAUSE).await;
        times.push(bed.time_to_arrival("orders-db", &password).await?);
    }
    times.sort();
    let milliseconds = |time: SignedDuration| time.as_secs_f64() * 1000.0;
    let calls = &bed.calls()[calls_before..];
    println!(
        "  {}: median {:.1} ms, 95 of 100 within {:.1} ms, maximum {:.1} ms; {} other calls",
        burden.described(),
        milliseconds(times[ROTATIONS / 2]),
        milliseconds(times[ROTATIONS * 95 / 100 - 1]),
        milliseconds(times[ROTATIONS - 1]),
        calls.iter().filter(|call| !is_measured(call)).count(),
    );
    Ok(())
}
