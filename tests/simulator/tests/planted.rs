//! The simulator's worth: each bug that is planted in the core is found.
//!
//! Runs with `--features planted` only.
#![cfg(feature = "planted")]

use zufar_core::planted::{Bug, plant};
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
    assert!(missed.is_empty(), "not found: {missed:?}");
}
