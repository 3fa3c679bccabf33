//! The replication protocol under random faults: some seeds each time.
//!
//! `zufar-takeover --seeds 10000` runs more; `--seed N --trace` replays one.
#![allow(missing_docs)]

use zufar_simulator::takeover::sweep;

const SEEDS: u64 = 300;

#[test]
fn seeds_hold() {
    let totals = sweep(0..SEEDS, true, 3);
    assert!(totals.failed.is_empty(), "{:#?}", totals.failed);
    assert!(totals.stuck.is_empty(), "{:#?}", totals.stuck);
    let histories = totals.histories;
    assert!(
        histories >= SEEDS,
        "{histories} histories with crashes are too few"
    );
}
