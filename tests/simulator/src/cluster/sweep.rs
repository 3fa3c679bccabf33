//! Many seeds.
//!
//! Decides how seeds are run side by side, which are run twice, and what is kept of them. Refuses
//! to know what a run does.

use std::collections::BTreeMap;
use std::ops::Range;

use super::plan::Scope;
use super::run::{Report, run};
use crate::Random;
use crate::sweep::{caught, difference, on_all_cores};

/// What came of many seeds.
#[derive(Debug, Default)]
pub struct Totals {
    /// Seeds that were run.
    pub seeds: u64,
    /// Things that happened in them.
    pub events: u64,
    /// Virtual time that has passed.
    pub virtual_ms: u64,
    /// Commands whose answers were checked.
    pub commands: u64,
    /// Commands whose outcomes nobody knew.
    pub unknown: u64,
    /// Commands that no node answered.
    pub unreachable: u64,
    /// Histories that were found linearizable in runs with crashes or suspensions.
    pub histories: u64,
    /// Keys for which there were too many explanations to follow.
    pub given_up: u64,
    /// Partitions of which not all was checked.
    pub cut: u64,
    /// How long it took after the last fault until all was as it should be, of each seed.
    pub settled_ms: Vec<u64>,
    /// Seeds by the number of nodes that they begin with.
    pub by_nodes: BTreeMap<usize, u64>,
    /// Faults that were met, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Seeds that failed, and why.
    pub failed: Vec<(u64, String)>,
}

impl Totals {
    /// Adds what came of one seed.
    pub fn add(&mut self, seed: u64, outcome: Result<Report, String>) {
        self.seeds += 1;
        let report = match outcome {
            Ok(report) => report,
            Err(panic) => return self.failed.push((seed, panic)),
        };
        self.events += report.events;
        self.virtual_ms += report.virtual_ms;
        self.commands += report.commands;
        self.unknown += report.unknown;
        self.unreachable += report.unreachable;
        self.histories += report.histories;
        self.given_up += report.given_up;
        self.cut += report.cut;
        self.settled_ms.push(report.settled_ms);
        *self.by_nodes.entry(report.plan.workers.len()).or_default() += 1;
        for (fault, count) in report.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        if let Some(violation) = report.violation {
            self.failed.push((seed, violation));
        }
    }
}

/// Runs `seeds` on all cores until `failures_max` of them have failed, every `twice`-th of them
/// twice.
#[must_use]
pub fn sweep(seeds: Range<u64>, scope: Scope, twice: u64, failures_max: usize) -> Totals {
    let run = |seed: u64| checked(seed, scope, false, twice > 0 && seed.is_multiple_of(twice));
    let add = |totals: &mut Totals, seed, outcome| {
        totals.add(seed, outcome);
        totals.failed.len()
    };
    let mut totals = on_all_cores(seeds, failures_max, run, add);
    totals.failed.sort();
    totals.settled_ms.sort_unstable();
    totals
}

/// Runs one seed, twice if `twice`: both must be the same. Prints its events if `told`.
///
/// # Errors
/// What a panic said: an assertion of ours, most likely.
pub fn checked(seed: u64, scope: Scope, told: bool, twice: bool) -> Result<Report, String> {
    let once = |told| {
        caught(|| run(Random::new(seed), scope, told)).map_err(|panic| format!("panicked: {panic}"))
    };
    let mut first = once(told)?;
    if twice {
        let second = once(false)?;
        let differs = difference(first.hash, second.hash);
        first.violation = first.violation.or(differs);
    }
    Ok(first)
}
