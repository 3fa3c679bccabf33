//! The simulator's worth: each bug that is planted in the core is found, by the seed that is
//! known to find it.
//!
//! Runs with `--features planted` only.
#![cfg(feature = "planted")]

use zufar_core::planted::{Bug, plant};
use zufar_simulator::cases::PLANTED;
use zufar_simulator::sweep::checked;

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
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
