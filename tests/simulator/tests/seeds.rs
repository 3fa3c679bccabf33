//! Whole runs from seeds: the first two thousand, and those that once found something.

use zufar_simulator::cases::{FOUND, PLANTED};
use zufar_simulator::plan::Fault;
use zufar_simulator::sweep::{Totals, checked, sweep};

/// Seeds that every test run takes; `cargo sim --seeds` takes more.
const SEEDS: u64 = 2000;
/// What befalls a run without being planned as a fault of its own.
const BEFALLS: [&str; 9] = [
    "batches lost or torn by a power cut",
    "databases reopened",
    "failed reads",
    "failed syncs",
    "failed writes",
    "segments cut small",
    "segments held up",
    "short reads",
    "short writes",
];

fn demand(totals: &Totals) {
    let failed: Vec<String> = totals
        .failed
        .iter()
        .map(|(seed, violation)| format!("cargo sim --seed {seed}\n{violation}"))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn nothing_goes_wrong_in_any_seed() {
    let totals = sweep(0..SEEDS, false, 3);
    demand(&totals);
    assert_eq!(totals.seeds, SEEDS);
    // A key whose history has too many explanations is checked only up to there: 42 were met
    // in these seeds.
    assert!(totals.given_up < SEEDS / 30, "{}", totals.given_up);
    for fault in Fault::all().map(Fault::name).chain(BEFALLS) {
        assert!(totals.faults.contains_key(fault), "no {fault}");
    }
}

#[test]
fn seeds_that_once_found_something_pass() {
    let mut totals = Totals::default();
    for (_, seed) in PLANTED.into_iter().chain(FOUND) {
        totals.add(seed, checked(seed, false, false));
    }
    demand(&totals);
}
