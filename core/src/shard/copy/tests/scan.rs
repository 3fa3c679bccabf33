//! Handing out without a session: what a claimant gathers.

use alloc::collections::BTreeSet;

use super::*;

/// Histories that are tried.
const SEEDS: u64 = 300;

/// Whether all that is there comes, whatever moves between the tiers, and however often something
/// is asked for again.
fn all_comes(seed: u64, broken: Option<Rule>) -> bool {
    let mut random = Random(seed);
    let mut node = Node::new(1, random.percent(80), true);
    node.shard.copies.broken = broken;
    let names = keys(1 + random.below(25));
    for (at, key) in names.iter().enumerate() {
        let bytes = *random.of(&[10, 10, 10, 5_000]);
        let mut value = format!("{at}").into_bytes();
        value.resize(bytes, b'.');
        node.set(key, &value, 0);
        node.chaos(&mut random, &names, false);
    }
    if random.percent(50) {
        node.settle();
        if node.has_disk {
            node.evict();
        }
    }
    let mut came = BTreeSet::new();
    let (mut cursor, mut before) = (0, None);
    for turn in 0.. {
        assert!(turn < 100_000, "seed {seed}: it never ends");
        for _ in 0..random.below(4) {
            node.chaos(&mut random, &names, false);
        }
        let mut entries = Vec::new();
        let bytes_max = *random.of(&[1, 300, 100_000]);
        // An answer that was lost, or one that has come late and is of no use any more.
        let late = before.filter(|_| random.percent(10));
        let lost = random.percent(20);
        let scan = node
            .copy()
            .scan(late.unwrap_or(cursor), bytes_max, &mut entries);
        node.drive();
        if late.is_some() || lost || scan == Scan::Wait {
            continue;
        }
        came.extend(entries.into_iter().map(|entry| entry.key.to_vec()));
        match scan {
            Scan::Next(next) => {
                before = Some(cursor);
                cursor = next;
            }
            Scan::End => break,
            Scan::Wait => unreachable!(),
        }
    }
    let wanted: BTreeSet<Vec<u8>> = names.into_iter().collect();
    came == wanted
}

#[test]
fn all_that_is_there_comes_at_least_once() {
    for seed in 0..SEEDS {
        assert!(all_comes(seed, None), "seed {seed}");
    }
    let broken = Some(Rule::LostIsHandedOutAgain);
    assert!((0..SEEDS * 10).any(|seed| !all_comes(seed, broken)));
}

#[test]
fn a_value_too_large_to_be_read_unasked_comes_too() {
    let mut node = Node::new(1, true, true);
    let key = &keys(1)[0];
    let entry = node.set(key, &vec![9; 2 << 20], 0);
    node.settle();
    node.evict();
    let mut entries = Vec::new();
    let mut cursor = 0;
    for _ in 0..100 {
        match node.copy().scan(cursor, 1000, &mut entries) {
            Scan::Next(next) => cursor = next,
            Scan::End => break,
            Scan::Wait => {}
        }
        node.drive();
        node.step_all();
    }
    assert!(entries == [entry]);
}

#[test]
fn nothing_is_read_where_all_is_in_memory() {
    let mut node = Node::new(1, true, true);
    for key in keys(20) {
        node.set(&key, b"value", 0);
    }
    node.settle();
    let reads = |node: &Node| node.shard.copies.jobs.number_of_reads();
    let mut entries = Vec::new();
    assert_eq!(node.copy().scan(0, 1 << 20, &mut entries), Scan::End);
    node.drive();
    assert_eq!((entries.len(), reads(&node)), (20, 0));
    node.evict();
    let mut entries = Vec::new();
    assert!(matches!(
        node.copy().scan(0, 1 << 20, &mut entries),
        Scan::Next(_)
    ));
    assert!(entries.is_empty());
}
