//! The simulator's worth: what is wired wrongly between replicas, commands and links is found.
//!
//! Runs with `--features planted` only.
#![cfg(feature = "planted")]

use std::sync::{Mutex, PoisonError};

use zufar_core::planted::{Bug, plant};
use zufar_simulator::cluster::{Scope, sweep};

/// Seeds within which a wrong variant must show.
const SEEDS_MAX: u64 = 2_000;

#[test]
fn every_wrong_variant_is_found() {
    find(&Bug::CLUSTER, Scope::PLAIN);
}

#[test]
fn every_wrong_variant_of_disks_and_flushes_is_found() {
    find(&Bug::CLUSTER_FULL, Scope::ALL);
}

/// One test at a time: a bug is planted in the whole process.
static PLANTING: Mutex<()> = Mutex::new(());

#[allow(clippy::print_stderr)] // With --nocapture: which seed it was.
fn find(bugs: &[(&'static str, Bug)], scope: Scope) {
    let _alone = PLANTING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut missed = Vec::new();
    for (name, bug) in bugs {
        plant(Some(*bug));
        let totals = sweep(0..SEEDS_MAX, scope, 0, 1);
        match totals.failed.first() {
            Some((seed, words)) => {
                let words: String = words.chars().take(100).collect();
                eprintln!("{name}: seed {seed}, after {}: {words}", totals.seeds);
            }
            None => missed.push(*name),
        }
    }
    plant(None);
    assert!(missed.is_empty(), "not found: {missed:?}");
}
