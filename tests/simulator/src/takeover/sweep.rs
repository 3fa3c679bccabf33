//! Many seeds.
//!
//! Decides how they are spread over threads and what is kept of them. Refuses to know what a run
//! does.

use std::collections::BTreeMap;
use std::ops::Range;

use zufar_core::replication::Figures;

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
    /// Operations whose outcome is known.
    pub known: u64,
    /// Operations whose outcome is not.
    pub unknown: u64,
    /// Histories found linearizable, in runs with crashes or pauses.
    pub histories: u64,
    /// Histories with too many orders to follow.
    pub given_up: u64,
    /// Faults, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// What the replicas have counted, by name.
    pub figures: BTreeMap<&'static str, u64>,
    /// Seeds in which something happened that must never happen, and what.
    pub failed: Vec<(u64, String)>,
    /// Seeds in which something did not happen that must happen in the end, and what.
    pub stuck: Vec<(u64, String)>,
}

impl Totals {
    fn add(&mut self, seed: u64, outcome: Result<Report, String>) {
        self.seeds += 1;
        let report = match outcome {
            Ok(report) => report,
            Err(panic) => return self.failed.push((seed, panic)),
        };
        self.events += report.events;
        self.known += report.known;
        self.unknown += report.unknown;
        self.histories += report.histories;
        self.given_up += report.given_up;
        for (fault, count) in report.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        self.count(&report.figures);
        let story = report.plan.story;
        if let Some(violation) = report.violation {
            self.failed.push((seed, format!("{story:?}: {violation}")));
        } else if let Some(stuck) = report.stuck {
            self.stuck.push((
                seed,
                format!("{story:?}: not as wanted in the end: {stuck}"),
            ));
        }
    }

    fn count(&mut self, figures: &Figures) {
        let counts = [
            ("claims", figures.claims),
            ("opened", figures.opened),
            ("dropped", figures.dropped),
            ("forced", figures.forced),
            ("recovered", figures.recovered),
            ("fills", figures.fills),
            ("fills unequal", figures.fills_unequal),
            ("fills given up", figures.fills_given_up),
            ("ceded", figures.ceded),
            ("merged", figures.merged),
            ("merge losers", figures.merge_losers),
            ("proposals unknown", figures.unknown),
        ];
        for (name, count) in counts {
            *self.figures.entry(name).or_default() += count;
        }
    }
}

/// Runs one seed, twice if `twice`: both must be the same. A panic is a violation, too.
///
/// # Errors
/// What the panic said.
pub fn one(seed: u64, told: bool, twice: bool) -> Result<Report, String> {
    let once =
        |told| caught(|| run(Random::new(seed), told)).map_err(|panic| format!("panic: {panic}"));
    let mut first = once(told)?;
    if twice {
        let second = once(false)?;
        let differs = difference(first.hash, second.hash);
        first.violation = first.violation.or(differs);
    }
    Ok(first)
}

/// Runs `seeds` on all cores until `failures_max` of them have failed.
#[must_use]
pub fn sweep(seeds: Range<u64>, twice: bool, failures_max: usize) -> Totals {
    let run = |seed: u64| one(seed, false, twice);
    let add = |totals: &mut Totals, seed, outcome| {
        totals.add(seed, outcome);
        totals.failed.len()
    };
    let mut totals = on_all_cores(seeds, failures_max, run, add);
    totals.failed.sort();
    totals.stuck.sort();
    totals
}
