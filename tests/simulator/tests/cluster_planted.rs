//! The simulator's worth: what is wired wrongly between replicas, commands and links is found.
//!
//! Runs with `--features planted` only.
#![cfg(feature = "planted")]

use zufar_core::planted::{Bug, plant};
use zufar_simulator::cluster::sweep;

/// Seeds within which a wrong variant must show.
const SEEDS_MAX: u64 = 2_000;

#[test]
#[allow(clippy::print_stderr)] // With --nocapture: which seed it was.
fn every_wrong_variant_is_found() {
    let mut missed = Vec::new();
    for (name, bug) in Bug::CLUSTER {
        plant(Some(bug));
        let totals = sweep(0..SEEDS_MAX, 0, 1);
        match totals.failed.first() {
            Some((seed, words)) => {
                let words: String = words.chars().take(100).collect();
                eprintln!("{name}: seed {seed}, after {}: {words}", totals.seeds);
            }
            None => missed.push(name),
        }
    }
    plant(None);
    assert!(missed.is_empty(), "not found: {missed:?}");
}
