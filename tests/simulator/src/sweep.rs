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

/// Runs `seeds` on all cores. What comes of each is handed to `add`, in no order, which says how
/// many have failed so far: none is begun any more once that are `failures_max`.
pub fn on_all_cores<T: Default + Send, R>(
    seeds: Range<u64>,
    failures_max: usize,
    run: impl Fn(u64) -> R + Sync,
    add: impl Fn(&mut T, u64, R) -> usize + Sync,
) -> T {
    let next = AtomicU64::new(seeds.start);
    let totals = Mutex::new(T::default());
    let cores = std::thread::available_parallelism().map_or(1, Into::into);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = run(seed);
                    let mut totals = totals.lock().expect("no thread panics with it");
                    if add(&mut totals, seed, outcome) >= failures_max {
                        next.store(seeds.end, Relaxed);
                    }
                }
            });
        }
    });
    totals.into_inner().expect("no thread panics with it")
}

/// What `run` returns, or what it has panicked with: an assertion of ours, most likely.
///
/// # Errors
/// The panic's words.
pub fn caught<R>(run: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        text.unwrap_or("no words").to_owned()
    })
}

/// What to say of two runs of one seed, if they were not the same.
#[must_use]
pub fn difference(first: u64, second: u64) -> Option<String> {
    (first != second).then(|| format!("two runs differ: {first:016x}, {second:016x}"))
}

/// Runs `seeds` on all cores, until so many have failed.
#[must_use]
pub fn sweep(seeds: Range<u64>, once: bool, failures_max: usize) -> Totals {
    let run = |seed| checked(seed, false, once);
    let add = |totals: &mut Totals, seed, report| {
        totals.add(seed, report);
        totals.failed.len()
    };
    let mut totals = on_all_cores(seeds, failures_max, run, add);
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
    let violation = difference(first.hash, one(seed, false).hash);
    Report { violation, ..first }
}

/// Runs a seed; a panic is a violation, too.
fn one(seed: u64, told: bool) -> Report {
    caught(|| run(Random::new(seed), told)).unwrap_or_else(|panic| Report::of_panic(seed, &panic))
}
