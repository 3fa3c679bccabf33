//! The simulator's worth: each wrong variant of the replication protocol is found, by the seed that
//! is known to find it.
//!
//! Runs with `--features planted` only. `zufar-takeover --bug NAME --seeds 20000 --failures 1` looks
//! for another seed.
#![cfg(feature = "planted")]

use zufar_core::replication::planted::{Bug, plant};
use zufar_simulator::cases::TAKEOVER_PLANTED;
use zufar_simulator::takeover::one;

/// What is wrong in a run, if anything: a panic counts.
fn wrong(seed: u64) -> Option<String> {
    match one(seed, false, false) {
        Ok(report) => report.violation,
        Err(panic) => Some(panic),
    }
}

#[test]
fn every_wrong_variant_is_found() {
    let mut missed = Vec::new();
    for (name, bug) in Bug::ALL {
        let (_, seed) = TAKEOVER_PLANTED
            .into_iter()
            .find(|(planted, _)| *planted == name)
            .unwrap_or_else(|| panic!("{name} has no seed"));
        plant(None);
        if let Some(words) = wrong(seed) {
            missed.push(format!("seed {seed} fails without {name}: {words}"));
        }
        plant(Some(bug));
        if wrong(seed).is_none() {
            missed.push(format!("seed {seed} no longer finds {name}"));
        }
    }
    plant(None);
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
