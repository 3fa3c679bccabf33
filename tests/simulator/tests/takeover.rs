//! The replication protocol under random faults: some seeds each time, and those that once failed.
#![allow(missing_docs)]

use zufar_simulator::takeover::{one, sweep};

const SEEDS: u64 = 300;
/// Seeds that have found something: each is named for what it was.
const FOUND: &[(u64, &str)] = &[
    (
        12,
        "a request that was answered NOT_STORED was carried out when it came again",
    ),
    (
        59,
        "answers that breed answers, with messages that come twice",
    ),
    (
        139,
        "a voter that had promised and missed the record was never told it",
    ),
    (
        163,
        "a claim that comes through when another has followed already",
    ),
    (
        517,
        "blank voters without a disk that did not know that they were voters",
    ),
    (398, "a late announcement emptied the target of a fill"),
    (430, "a blank voter whose disk did not say that it was one"),
    (
        1299,
        "a recovery that was stopped again and again by one that could not recover",
    ),
    (
        2261,
        "a sole voter whose disk had not kept that it was one no longer",
    ),
    (
        3126,
        "two blank voters of five, with a majority that did not miss them",
    ),
    (5716, "versions below those that were merged after a Force"),
];

#[test]
fn seeds_hold() {
    let totals = sweep(0..SEEDS, true, 3);
    assert!(totals.failed.is_empty(), "{:#?}", totals.failed);
    assert!(totals.stuck.is_empty(), "{:#?}", totals.stuck);
    assert!(
        totals.histories >= SEEDS,
        "too few histories with crashes: {}",
        totals.histories
    );
}

#[test]
fn seeds_that_once_failed_hold() {
    for (seed, what) in FOUND {
        let report = one(*seed, false, true).expect("no panic");
        assert_eq!(
            report.violation.or(report.stuck),
            None,
            "seed {seed}: {what}"
        );
    }
}
