//! From the start of the process until it is ready.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::SignedDuration;
use tokio::time::Instant;

use super::fleet::Fleet;
use super::report::{Distribution, Section, Unit};
use super::{Bench, UNLIMITED, builder};

/// How often the operator is looked at until it is ready: a hundredth of what that takes.
const LOOK: Duration = Duration::from_millis(2);

pub(super) async fn measure(bench: &Bench, section: &mut Section) -> Result<()> {
    let (resources, starts) = bench.size.pick((2, 1), (20, 20));
    let bed = bench.bed().await?;
    Fleet::in_sync(&bed, "cold", resources, 1).await?;
    let (mut measured, mut floor) = (Distribution::default(), Distribution::default());
    for _ in 0..starts {
        let builder = builder(&bed, UNLIMITED).await?.poll_every(LOOK);
        let began = Instant::now();
        let operator = builder.start().await?;
        operator.wait_until_leading().await?;
        measured.add(SignedDuration::try_from(began.elapsed())?);
        // It gives the Lease back, so that the next one need not wait for it.
        operator.terminate().await?;

        let began = Instant::now();
        let ended = Command::new(&bench.operator)
            .arg("crd")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        ensure!(ended.success(), "the operator prints no definition");
        floor.add(SignedDuration::try_from(began.elapsed())?);
    }
    let name =
        format!("{resources} resources: until ready; the floor prints the definition and ends");
    section.add(
        name,
        (measured.quantile(0.5), Unit::Milliseconds),
        Some(floor.quantile(0.5)),
    );
    #[expect(clippy::cast_precision_loss, reason = "no program has 2^53 bytes")]
    let binary = bench.operator.metadata()?.len() as f64 / (1024.0 * 1024.0);
    section.add("size of the program", (binary, Unit::Mebibytes), None);
    Ok(())
}
