//! Whole clusters under random faults: some seeds each time.
//!
//! `cargo cluster --seeds 5000` runs more; `cargo cluster --seed N --trace` replays one.
#![allow(missing_docs)]

use zufar_simulator::cases::{
    CLUSTER_ALL_FOUND, CLUSTER_FOUND, CLUSTER_FOUND_BIASED, CLUSTER_FULL_FOUND,
};
use zufar_simulator::cluster::{Scope, checked, sweep};

const SEEDS: u64 = 100;
/// Every so many-th seed is run twice.
const TWICE: u64 = 5;

#[test]
fn seeds_hold() {
    let totals = sweep(0..SEEDS, Scope::ALL, TWICE, 3);
    assert!(totals.failed.is_empty(), "{:#?}", totals.failed);
    let histories = totals.histories;
    assert!(
        histories >= SEEDS,
        "{histories} histories with crashes or suspensions are too few"
    );
}

#[test]
fn seeds_that_have_found_something_hold() {
    for (what, seed) in CLUSTER_FOUND {
        hold(what, seed, Scope::PLAIN);
    }
    for (what, seed) in CLUSTER_FULL_FOUND {
        let scope = Scope {
            full: true,
            ..Scope::PLAIN
        };
        hold(what, seed, scope);
    }
    for (what, seed) in CLUSTER_ALL_FOUND {
        hold(what, seed, Scope::ALL);
    }
    for (what, seed) in CLUSTER_FOUND_BIASED {
        let scope = Scope {
            biased: true,
            ..Scope::PLAIN
        };
        hold(what, seed, scope);
    }
}

fn hold(what: &str, seed: u64, scope: Scope) {
    let report = checked(seed, scope, false, false).expect("no assertion fails");
    assert_eq!(report.violation, None, "seed {seed}: {what}");
}
