//! One sequence, from an empty cluster to the last check.

use std::path::Path;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use rds_simulator::Outcome;

use super::model::{Change, INSTANCES};
use super::oracle::{Account, Kind, Violation};
use super::plan::{Plan, Round};
use super::report::Report;
use super::world::{World, account_of};

/// How often a storm's end may have to be waited for again: a process that woke up late has something to say, which is then
/// answered.
const AFTERMATHS: usize = 5;

/// A sequence that did not end well.
#[derive(Debug)]
pub struct Failure {
    /// In which round, counted from 0.
    pub round: usize,
    /// What was broken.
    pub violations: Vec<Violation>,
    /// What all processes had logged.
    pub logs: String,
}

/// Runs a plan, with the operator's program.
///
/// # Errors
/// When the testbed itself fails.
pub async fn run(plan: &Plan, operator: &Path) -> Result<(Report, Option<Failure>)> {
    let mut world = World::start(operator, plan.slots).await?;
    for (number, round) in plan.rounds.iter().enumerate() {
        let violations = play(&mut world, round)
            .await
            .with_context(|| format!("round {number}: {round:?}"))?;
        if !violations.is_empty() {
            let failure = Failure {
                round: number,
                violations,
                logs: world.logs(),
            };
            return Ok((told(world), Some(failure)));
        }
    }
    let mut report = told(world);
    report.sequences += 1;
    Ok((report, None))
}

fn told(world: World) -> Report {
    let (_, counts) = world.record().judge();
    let calls = world.bed.calls();
    let mut report = world.report;
    report.resets = counts;
    for call in calls {
        let is_ours = call
            .instance
            .as_deref()
            .is_some_and(|instance| INSTANCES.contains(&instance));
        if !is_ours {
            continue;
        }
        let is_hidden = call.took_effect && !call.succeeded();
        let answer = match call.outcome {
            Outcome::Answered if call.succeeded() => "accepted".to_owned(),
            Outcome::Answered => call
                .code
                .unwrap_or_else(|| format!("HTTP {}", call.status.unwrap_or_default())),
            Outcome::UnderWay => "under way".to_owned(),
            Outcome::Cut => "no answer".to_owned(),
            Outcome::ClientGone => "client gone".to_owned(),
        };
        let effect = if is_hidden { ", carried out" } else { "" };
        let name = format!("{}: {answer}{effect}", call.action);
        *report.calls.entry(name).or_default() += 1;
    }
    report
}

async fn play(world: &mut World, round: &Round) -> Result<Vec<Violation>> {
    if matches!(round, Round::Calm(_)) {
        // What is still unsettled would be a cause for resets that the changes of this round are not.
        world.settled().await?;
    }
    let began = Timestamp::now();
    let known = world.record().resets.len();
    let is_calm = match round {
        Round::Calm(changes) => {
            world.changes(changes).await?;
            true
        }
        Round::Storm(steps) => {
            for step in steps {
                world.step(step).await?;
            }
            world.calm_down()?;
            false
        }
    };
    let untold = world.untold().await;
    let mut left = if is_calm { 1 } else { AFTERMATHS };
    let mut violations = loop {
        // Until the operator has looked at what was changed, it may be as it should be by what was before.
        world.is_quiet().await?;
        let problems = world.converge().await?;
        if !problems.is_empty() {
            break problems;
        }
        if world.is_quiet().await? {
            break Vec::new();
        }
        left -= 1;
        if left == 0 {
            break vec![Violation {
                kind: Kind::NotQuiet,
                evidence: "calls or status writes after everything was as it should be".to_owned(),
            }];
        }
    };
    world.report.checks += 1;
    let record = world.record();
    violations.extend(untold);
    violations.extend(record.judge().0);
    if is_calm && violations.is_empty() {
        violations.extend(inexact(world, round, began, known));
    }
    let leaks = world.leaks().await?.into_iter();
    violations.extend(leaks.map(|evidence| Violation {
        kind: Kind::Leak,
        evidence,
    }));
    Ok(violations)
}

/// In a calm round each change leads to exactly the resets that it asks for.
fn inexact(world: &World, round: &Round, began: Timestamp, known: usize) -> Vec<Violation> {
    let Round::Calm(changes) = round else {
        return Vec::new();
    };
    let record = world.record();
    let resets = &record.resets[known..];
    let mut violations = Vec::new();
    let expected = |account: &Account| record.causes_since(account, began);
    for (slot, change) in changes {
        let Some(account) = account_of(&world.slots[*slot].objects) else {
            continue;
        };
        let sent = resets.iter().filter(|it| it.account == account);
        let sent: Vec<_> = sent.collect();
        let causes = expected(&account);
        // A value that was wanted for a moment in a storm may never have been sent, so that the one before is still there.
        let at_least = match change {
            Change::TurnBack => 0,
            _ => *causes.start(),
        };
        let is_exact =
            (at_least..=*causes.end()).contains(&sent.len()) && sent.iter().all(|it| it.accepted);
        if !is_exact {
            violations.push(Violation {
                kind: Kind::NotExact,
                evidence: format!(
                    "{change:?} of {account:?}: {} resets, not {causes:?}",
                    sent.len()
                ),
            });
        }
    }
    violations
}
