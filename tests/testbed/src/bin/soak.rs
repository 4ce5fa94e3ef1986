//! Runs sequences of changes and faults against the operator, for as long as it is told to, and checks the promises after each.
//!
//! `cargo build && cargo run -p testbed --bin soak -- --minutes 30`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use testbed::program::{say, until_interrupted};
use testbed::soak::plan::{Plan, Round, Size};
use testbed::soak::report::Report;
use testbed::soak::{Failure, run};
use tokio::time::Instant;

const HELP: &str = "\
Runs sequences of changes and faults against the operator, at random from a seed, and checks the promises after each round.

Usage: cargo run -p testbed --bin soak -- [--minutes N] [--seed S] [--sequence K] [--operator PATH] [--short]

      --minutes N      Begin no new sequence after so long; 10 by default.
      --seed S         The seed of an earlier run; random by default, and printed.
      --sequence K     Only this sequence of the seed.
      --operator PATH  The operator's program; by default the one beside this program, as cargo build makes it.
      --short          Short sequences, as in the tests.
      --keep-going     Go on after a sequence that failed.
";

struct Arguments {
    minutes: u64,
    seed: u64,
    sequence: Option<u32>,
    operator: PathBuf,
    size: Size,
    keep_going: bool,
}

fn arguments() -> Result<Option<Arguments>> {
    let program = std::env::current_exe()?;
    let mut arguments = Arguments {
        minutes: 10,
        seed: rand::random(),
        sequence: None,
        operator: program.with_file_name("rds-password-operator"),
        size: Size::Long,
        keep_going: false,
    };
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        let mut value = || {
            given
                .next()
                .with_context(|| format!("{flag} needs a value"))
        };
        match flag.as_str() {
            "--minutes" => arguments.minutes = value()?.parse()?,
            "--seed" => arguments.seed = value()?.parse()?,
            "--sequence" => arguments.sequence = Some(value()?.parse()?),
            "--operator" => arguments.operator = value()?.into(),
            "--short" => arguments.size = Size::Short,
            "--keep-going" => arguments.keep_going = true,
            "--help" | "-h" => return Ok(None),
            other => bail!("unknown flag {other}"),
        }
    }
    Ok(Some(arguments))
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            say(format_args!("{HELP}"));
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            say(format_args!("error: {error:#}\n\n{HELP}"));
            return ExitCode::from(2);
        }
    };
    until_interrupted(Box::pin(soak(&arguments))).await
}

async fn soak(arguments: &Arguments) -> ExitCode {
    let Arguments { seed, minutes, .. } = *arguments;
    say(format_args!("seed {seed}"));
    let end = Instant::now() + Duration::from_secs(minutes * 60);
    let mut report = Report::default();
    let mut failed = Vec::new();
    let sequences = match arguments.sequence {
        Some(sequence) => sequence..sequence + 1,
        None => 0..u32::MAX,
    };
    for sequence in sequences {
        if Instant::now() >= end {
            break;
        }
        let began = Instant::now();
        let plan = Plan::of(seed, sequence, arguments.size);
        let ended = run(&plan, &arguments.operator).await;
        let took = began.elapsed().as_secs();
        match ended {
            Ok((more, None)) => {
                say(format_args!(
                    "sequence {sequence}: ok, {took} s, {} resets for {}, {} disturbances",
                    more.resets.sent,
                    more.resets.wanted,
                    more.disturbances.values().sum::<usize>(),
                ));
                report.add(more);
            }
            Ok((more, Some(failure))) => {
                report.add(more);
                failed.push(sequence);
                say(format_args!("sequence {sequence}: FAILED after {took} s"));
                tell(&plan, &failure, arguments, sequence);
            }
            Err(error) => {
                failed.push(sequence);
                say(format_args!(
                    "sequence {sequence}: the testbed failed after {took} s: {error:#}"
                ));
            }
        }
        if !failed.is_empty() && !arguments.keep_going {
            break;
        }
    }
    say(format_args!("\nseed {seed}\n{report}"));
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    say(format_args!("failed: {failed:?}"));
    ExitCode::FAILURE
}

fn tell(plan: &Plan, failure: &Failure, arguments: &Arguments, sequence: u32) {
    for violation in &failure.violations {
        say(format_args!("{violation}"));
    }
    say(format_args!("in round {} of this plan:", failure.round));
    for (number, round) in plan.rounds.iter().enumerate().take(failure.round + 1) {
        match round {
            Round::Calm(changes) => say(format_args!("  {number}: calm {changes:?}")),
            Round::Storm(steps) => {
                say(format_args!("  {number}: storm"));
                for step in steps {
                    say(format_args!("     {step:?}"));
                }
            }
        }
    }
    let log = std::env::temp_dir().join(format!("soak-{}-{sequence}.log", arguments.seed));
    match std::fs::write(&log, &failure.logs) {
        Ok(()) => say(format_args!("the operators' log: {}", log.display())),
        Err(error) => say(format_args!(
            "the operators' log cannot be written: {error}"
        )),
    }
    let short = match arguments.size {
        Size::Short => " --short",
        Size::Long => "",
    };
    say(format_args!(
        "again: cargo run -p testbed --bin soak -- --seed {} --sequence {sequence}{short}",
        arguments.seed
    ));
}
