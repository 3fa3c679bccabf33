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
    assert_eq!(totals.given_up, 0, "every history is followed to its end");
    for fault in ["kills", "power cuts", "failed syncs", "clocks set back"] {
        assert!(totals.faults.contains_key(fault), "no {fault}");
    }
}
