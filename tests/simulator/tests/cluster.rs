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
    let scope = |full, biased| Scope { full, biased };
    let cases: [(Scope, &[(&str, u64)]); 4] = [
        (Scope::PLAIN, &CLUSTER_FOUND),
        (scope(true, false), &CLUSTER_FULL_FOUND),
        (scope(false, true), &CLUSTER_FOUND_BIASED),
        (Scope::ALL, &CLUSTER_ALL_FOUND),
    ];
    for (scope, seeds) in cases {
        for (what, seed) in seeds {
            let report = checked(*seed, scope, false, false).expect("no assertion fails");
            assert_eq!(report.violation, None, "seed {seed}: {what}");
        }
    }
}
