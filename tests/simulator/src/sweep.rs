//! Many seeds.
//!
//! Decides how seeds are run side by side, that each is run twice, and what is kept of them.
//! Refuses to know what a run does.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::Random;
use crate::run::{Report, run};

/// What came of many seeds.
#[derive(Debug, Default)]
pub struct Totals {
    /// Seeds that were run.
    pub seeds: u64,
    /// Things that happened in them.
    pub events: u64,
    /// Commands whose answers were checked.
    pub commands: u64,
    /// Keys for which there were too many explanations to follow.
    pub given_up: u64,
    /// Virtual time that has passed.
    pub virtual_ms: u64,
    /// Faults that were met, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Seeds that failed, and why.
    pub failed: Vec<(u64, String)>,
}

impl Totals {
    /// Adds what came of one seed.
    pub fn add(&mut self, seed: u64, report: Report) {
        self.seeds += 1;
        self.events += report.events;
        self.commands += report.commands;
        self.given_up += report.given_up;
        self.virtual_ms += report.virtual_ms;
        for (fault, count) in report.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        if let Some(violation) = report.violation {
            self.failed.push((seed, violation));
        }
    }
}

/// Runs `seeds` on all cores, until so many have failed.
#[must_use]
pub fn sweep(seeds: Range<u64>, once: bool, failures_max: u64) -> Totals {
    let next = AtomicU64::new(seeds.start);
    let totals = Mutex::new(Totals::default());
    let cores = std::thread::available_parallelism().map_or(1, Into::into);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let report = checked(seed, false, once);
                    let mut totals = totals.lock().expect("no thread panics with it");
                    totals.add(seed, report);
                    if totals.failed.len() as u64 >= failures_max {
                        next.store(seeds.end, Relaxed);
                    }
                }
            });
        }
    });
    let mut totals = totals.into_inner().expect("no thread panics with it");
    totals.failed.sort();
    totals
}

/// Runs a seed, twice unless told otherwise: both must be the same. Prints its events if `told`.
#[must_use]
pub fn checked(seed: u64, told: bool, once: bool) -> Report {
    let first = one(seed, told);
    if once || first.violation.is_some() {
        return first;
    }
    let second = one(seed, false);
    if first.hash == second.hash {
        return first;
    }
    let differs = format!("two runs differ: {:016x}, {:016x}", first.hash, second.hash);
    Report {
        violation: Some(differs),
        ..first
    }
}

/// Runs a seed; a panic is a violation, too.
fn one(seed: u64, told: bool) -> Report {
    catch_unwind(AssertUnwindSafe(|| run(Random::new(seed), told))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Report::of_panic(seed, text.unwrap_or("no words"))
    })
}
