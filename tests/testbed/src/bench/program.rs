//! The command line of the benchmark.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use tokio::runtime::Runtime;

use super::{Scenario, Size, run};
use crate::build::{self, Profile};
use crate::program::{say, until_interrupted};

fn help() -> String {
    let scenarios = Scenario::ALL.map(Scenario::name).join(", ");
    format!(
        "\
Measures the operator against an API server and a simulator of RDS on this machine, and prints a table.

Usage: cargo run --release -p testbed --bin bench -- [--quick] [--only NAME]... [--operator PATH] [--output DIRECTORY]

      --quick             See that each measurement runs, with the debug build; the figures say nothing. Takes two minutes.
                          Without it, about 40 minutes: leave the machine alone meanwhile.
      --only NAME         Only this one of {scenarios}. May be repeated.
      --operator PATH     The operator's program; by default it is built.
      --output DIRECTORY  Where results.json and the plots are written; by default target/bench. What is there of an
                          earlier run and was not measured now stays, with its date.
"
    )
}

struct Arguments {
    size: Size,
    only: BTreeSet<Scenario>,
    operator: Option<PathBuf>,
    output: PathBuf,
}

fn arguments() -> Result<Option<Arguments>> {
    let mut arguments = Arguments {
        size: Size::Full,
        only: BTreeSet::new(),
        operator: None,
        output: "target/bench".into(),
    };
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        let mut value = || {
            given
                .next()
                .with_context(|| format!("{flag} needs a value"))
        };
        match flag.as_str() {
            "--quick" => arguments.size = Size::Quick,
            "--only" => {
                let name = value()?;
                let scenario = Scenario::ALL.into_iter().find(|it| it.name() == name);
                let scenario = scenario.with_context(|| format!("there is no {name:?} to measure"));
                arguments.only.insert(scenario?);
            }
            "--operator" => arguments.operator = Some(value()?.into()),
            "--output" => arguments.output = value()?.into(),
            "--help" | "-h" => return Ok(None),
            other => bail!("unknown flag {other}"),
        }
    }
    if arguments.only.is_empty() {
        arguments.only = Scenario::ALL.into();
    }
    Ok(Some(arguments))
}

/// Runs the benchmark, and returns how it ended.
#[must_use]
pub fn main() -> ExitCode {
    match Runtime::new() {
        Ok(runtime) => runtime.block_on(run_arguments()),
        Err(error) => {
            say(format_args!("error: no threads: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run_arguments() -> ExitCode {
    let arguments = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            say(format_args!("{}", help()));
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            say(format_args!("error: {error:#}\n\n{}", help()));
            return ExitCode::from(2);
        }
    };
    until_interrupted(async {
        match measure(arguments).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(format_args!("error: {error:#}"));
                ExitCode::FAILURE
            }
        }
    })
    .await
}

async fn measure(arguments: Arguments) -> Result<()> {
    let operator = if let Some(operator) = arguments.operator {
        operator
    } else {
        let profile = match arguments.size {
            Size::Quick => Profile::Debug,
            Size::Full => Profile::Release,
        };
        build::operator(profile).await?
    };
    let run = run(operator, arguments.size, arguments.only, &arguments.output);
    let report = Box::pin(run).await?;
    say(format_args!("{}", report.table()));
    say(format_args!("Also in {}.", arguments.output.display()));
    Ok(())
}
