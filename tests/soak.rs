//! Random changes and faults, at random from a seed: every account ends with the value of its Secret, every status tells the
//! truth, and no reset is sent without a cause. `cargo run -p testbed --bin soak` does the same for hours.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use testbed::soak::plan::{Plan, Size};
use testbed::soak::run;

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

/// The seed of an earlier run; a random one where it is not set.
const SEED: &str = "SOAK_SEED";

/// How many sequences run, at the same time.
const SEQUENCES: u32 = 2;

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::print_stderr,
    reason = "whoever sees a failure needs the seed, however it came about"
)]
async fn promises_are_kept_whatever_happens() -> Result<()> {
    let seed: u64 = match std::env::var(SEED) {
        Ok(seed) => seed.parse().context(SEED)?,
        Err(_) => rand::random(),
    };
    eprintln!("{SEED}={seed}");
    let sequences = (0..SEQUENCES).map(|sequence| async move {
        let again = format!(
            "again: cargo run -p testbed --bin soak -- --seed {seed} --sequence {sequence} --short"
        );
        let plan = Plan::of(seed, sequence, Size::Short);
        let (_, failure) = run(&plan, Path::new(OPERATOR))
            .await
            .with_context(|| again.clone())?;
        if let Some(failure) = failure {
            let violations: Vec<String> =
                failure.violations.iter().map(ToString::to_string).collect();
            bail!(
                "in round {} of {plan:#?}\n{}\n{again}",
                failure.round,
                violations.join("\n")
            );
        }
        Ok(())
    });
    futures::future::try_join_all(sequences).await?;
    Ok(())
}
