//! Whole runs from seeds: the first few hundred, and those that once failed.

use zufar_simulator::sweep::{Totals, sweep};

/// Seeds that every test run takes; `cargo sim --seeds` takes more.
const SEEDS: u64 = 300;

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
    // A key whose history has too many explanations is checked only up to there: 38 were met in
    // the first 120 seeds, of a few thousand keys.
    assert!(totals.given_up < SEEDS, "{} keys given up", totals.given_up);
    for fault in ["kills", "power cuts", "failed syncs", "clocks set back"] {
        assert!(totals.faults.contains_key(fault), "no {fault}");
    }
}
