//! What was done, counted.

use std::collections::BTreeMap;
use std::fmt;

use super::oracle::Counts;

/// What was done, and how often.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Sequences that ran to their end.
    pub sequences: usize,
    /// Checks, one at the end of each round.
    pub checks: usize,
    /// What users did.
    pub changes: BTreeMap<String, usize>,
    /// What went wrong.
    pub disturbances: BTreeMap<String, usize>,
    /// Calls of the cloud API, by action and answer.
    pub calls: BTreeMap<String, usize>,
    /// Resets.
    pub resets: Counts,
}

impl Report {
    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        self.sequences += other.sequences;
        self.checks += other.checks;
        for (all, more) in [
            (&mut self.changes, other.changes),
            (&mut self.disturbances, other.disturbances),
            (&mut self.calls, other.calls),
        ] {
            for (name, count) in more {
                *all.entry(name).or_default() += count;
            }
        }
        self.resets.wanted += other.resets.wanted;
        self.resets.sent += other.resets.sent;
        self.resets.first += other.resets.first;
        self.resets.repeated += other.resets.repeated;
        self.resets.late += other.resets.late;
        self.resets.overtaken += other.resets.overtaken;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut section = |title: &str, counts: &BTreeMap<String, usize>| {
            let total: usize = counts.values().sum();
            writeln!(formatter, "{title}: {total}")?;
            counts
                .iter()
                .try_for_each(|(name, count)| writeln!(formatter, "  {count:6}  {name}"))
        };
        section("changes by users", &self.changes)?;
        section("disturbances", &self.disturbances)?;
        section("calls of the cloud API", &self.calls)?;
        let Counts {
            wanted,
            sent,
            first,
            repeated,
            late,
            overtaken,
        } = self.resets;
        writeln!(
            formatter,
            "resets: {wanted} asked for, {sent} sent: {first} first ones, {repeated} again after a failure or an unknown outcome, {late} late by a process that had stood still; {overtaken} carried out after a newer value"
        )?;
        writeln!(
            formatter,
            "sequences: {}, checks: {}",
            self.sequences, self.checks
        )
    }
}
