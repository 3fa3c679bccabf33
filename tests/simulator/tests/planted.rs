//! The simulator's worth: each bug that is planted in the core is found.
//!
//! Runs with `--features planted` only.
#![cfg(feature = "planted")]

use std::panic::catch_unwind;

use zufar_core::planted::{Bug, plant};
use zufar_simulator::gossip::{Plan, run};
use zufar_simulator::sweep::sweep;

/// Seeds within which a bug must show.
const SEEDS_MAX: u64 = 3000;

#[test]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    for (name, bug) in Bug::ALL {
        plant(Some(bug));
        let totals = sweep(0..SEEDS_MAX, true, 1);
        if totals.failed.is_empty() {
            missed.push(name);
        }
    }
    plant(None);
    missed.extend(missed_in_gossip());
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// Whether a run fails, by what does not hold or by an assertion.
fn fails(seed: u64) -> bool {
    let result = catch_unwind(|| run(&Plan::draw(seed), seed, false));
    !matches!(result, Ok(Ok(_)))
}

/// In one test with the above, since a bug is planted for the whole process.
fn missed_in_gossip() -> Vec<&'static str> {
    let mut missed = Vec::new();
    for (name, bug) in Bug::GOSSIP {
        plant(Some(bug));
        if !(0..SEEDS_MAX).any(fails) {
            missed.push(name);
        }
    }
    plant(None);
    missed
}
