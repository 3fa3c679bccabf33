//! The simulator's worth: each bug that is planted in the core is found, by the seed that is
//! known to find it.
//!
//! Runs with `--features planted` only.
#![cfg(feature = "planted")]

use std::panic::catch_unwind;

use zufar_core::planted::{Bug, plant};
use zufar_simulator::cases::PLANTED;
use zufar_simulator::gossip::{Plan, run};
use zufar_simulator::sweep::checked;

/// Seeds within which a bug of gossip must show.
const SEEDS_MAX: u64 = 3000;

/// One test, as the bug is planted in the whole process.
#[test]
fn every_planted_bug_is_found() {
    let mut wrong = Vec::new();
    for (name, bug) in Bug::ALL {
        let (_, seed) = PLANTED
            .into_iter()
            .find(|(planted, _)| *planted == name)
            .unwrap_or_else(|| panic!("{name} has no seed"));
        plant(None);
        if let Some(violation) = checked(seed, false, true).violation {
            wrong.push(format!("seed {seed} fails without {name}: {violation}"));
        }
        plant(Some(bug));
        if checked(seed, false, true).violation.is_none() {
            wrong.push(format!("seed {seed} no longer finds {name}"));
        }
    }
    plant(None);
    let missed = missed_in_gossip();
    wrong.extend(missed.iter().map(|name| format!("no seed finds {name}")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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
