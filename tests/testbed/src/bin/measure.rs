//! Prints what a rotation costs and how soon it arrives, on this machine: figures for a note, not a test.
//!
//! `cargo build --release && cargo run --release -p testbed --bin measure -- target/release/rds-password-operator`

#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
use rds_simulator::{Account, Instance};
use testbed::bed::{ACCOUNT, INITIAL_PASSWORD};
use testbed::{Operator, Testbed};

const ROTATIONS: usize = 100;
const FLEET: usize = 100;

#[tokio::main]
async fn main() -> Result<()> {
    let binary: PathBuf = std::env::args_os()
        .nth(1)
        .context("name the operator's binary")?
        .into();
    let bed = Testbed::start(binary).await?;
    let operator = start(&bed).await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;

    one_rotation(&bed).await?;
    arrival(&bed).await?;
    restart_in_sync(&bed, operator).await
}

async fn start(bed: &Testbed) -> Result<Operator> {
    let operator = bed
        .operator()
        .await?
        .flag("log-level", "info")
        .start()
        .await?;
    operator.wait_until_leading().await?;
    Ok(operator)
}

/// What one rotation asks of the cloud and of the Kubernetes API. What came before is over, and what follows from it is too,
/// once another resource that was created then is settled; its requests are left out.
async fn one_rotation(bed: &Testbed) -> Result<()> {
    bed.settle().await?;
    let calls_before = bed.calls().len();
    let began = Timestamp::now();
    bed.rotate("orders-db", "Measured#Password1").await?;
    bed.wait_for_password("Measured#Password1").await?;
    bed.settle().await?;
    println!("one rotation, calls of the cloud API:");
    for call in bed.calls().iter().skip(calls_before) {
        if call.instance.as_deref() == Some(testbed::bed::INSTANCE) {
            println!("  {}", call.action);
        }
    }
    println!("one rotation, requests of the operator to the Kubernetes API:");
    for (request, count) in bed.operators_requests(began)? {
        println!("  {count} × {request}");
    }
    Ok(())
}

async fn arrival(bed: &Testbed) -> Result<()> {
    let mut times = Vec::with_capacity(ROTATIONS);
    for rotation in 0..ROTATIONS {
        let password = format!("Rotation#{rotation:08}");
        times.push(bed.time_to_arrival("orders-db", &password).await?);
    }
    times.sort();
    let milliseconds = |time: SignedDuration| time.as_secs_f64() * 1000.0;
    println!(
        "{ROTATIONS} rotations, from the change of the Secret to the arrival of the reset: median {:.1} ms, maximum {:.1} ms",
        milliseconds(times[ROTATIONS / 2]),
        milliseconds(times[ROTATIONS - 1]),
    );
    Ok(())
}

/// What a restart with a fleet in sync asks of the cloud.
async fn restart_in_sync(bed: &Testbed, operator: Operator) -> Result<()> {
    let names: Vec<String> = (0..FLEET).map(|number| format!("fleet-{number}")).collect();
    stream::iter(&names)
        .map(async |name: &String| {
            let instance = format!("rm-{name}");
            let account = Account::new(ACCOUNT, INITIAL_PASSWORD);
            bed.rds
                .add_instance(Instance::new(&instance).account(account));
            bed.create_secret(name, "Fleet#Password1").await?;
            let mut resource = bed.resource(name, name);
            resource.spec.instance_id = instance;
            bed.create(&resource).await
        })
        .buffer_unordered(8)
        .try_collect::<Vec<_>>()
        .await?;
    for name in &names {
        bed.wait_until_ready(name).await?;
    }
    operator.terminate().await?;
    let before = bed.calls().len();
    let operator = start(bed).await?;
    let in_sync = "rds_password_operator_passes_total{outcome=\"InSync\"}";
    while operator.metric(in_sync).await? < f64::from(u32::try_from(FLEET)?) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!(
        "a restart with {FLEET} resources in sync: {} calls of the cloud API",
        bed.calls().len() - before
    );
    Ok(())
}
