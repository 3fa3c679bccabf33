//! The simulator's worth: each wrong variant of the replication protocol is found.
//!
//! Runs with `--features planted` only.
#![cfg(feature = "planted")]

use zufar_core::replication::planted::{Bug, plant};
use zufar_simulator::takeover::sweep;

/// Seeds within which a wrong variant must show.
const SEEDS_MAX: u64 = 20_000;

#[test]
#[allow(clippy::print_stderr)] // With --nocapture: which seed it was.
fn every_wrong_variant_is_found() {
    let mut missed = Vec::new();
    for (name, bug) in Bug::ALL {
        plant(Some(bug));
        let totals = sweep(0..SEEDS_MAX, false, 1);
        match totals.failed.first() {
            Some((seed, words)) => {
                eprintln!("{name}: seed {seed}, after {}: {words}", totals.seeds)
            }
            None => missed.push(name),
        }
    }
    plant(None);
    assert!(missed.is_empty(), "not found: {missed:?}");
}
