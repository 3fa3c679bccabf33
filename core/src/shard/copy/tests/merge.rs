//! Merging what another lineage has.

use alloc::collections::BTreeMap;

use super::*;

/// Histories that are tried.
const SEEDS: u64 = 300;

/// Whether the newest of each key stays, wherever it was.
fn newest_stays(seed: u64, broken: Option<Rule>) -> bool {
    let mut random = Random(seed);
    let mut node = Node::new(1, random.percent(80), true);
    node.shard.copies.broken = broken;
    let mut other = Node::new(random.bits() % 5, false, true);
    let names = keys(1 + random.below(12));
    let mut model: BTreeMap<Vec<u8>, (u64, Option<Vec<u8>>)> = BTreeMap::new();
    let mut theirs = Vec::new();
    for number in 0..random.below(60) {
        let key = random.of(&names).clone();
        let value = format!("{number}").into_bytes();
        if random.percent(50) {
            theirs.push((other.set(&key, &value, 0), Some(value)));
        } else {
            let entry = node.set(&key, &value, 0);
            model.insert(key, (entry.version, Some(value)));
        }
        other.now.unix_ms += random.bits() % 3;
        node.now.unix_ms += random.bits() % 3;
        node.chaos(&mut random, &names, false);
    }
    let mut turns = 0;
    while !node.copy().prepare_merge() {
        node.drive();
        node.chaos(&mut random, &names, false);
        turns += 1;
        assert!(turns < 100_000, "seed {seed}: it is never ready");
    }
    while !theirs.is_empty() {
        node.chaos(&mut random, &names, false);
        let key = random.of(&names).clone();
        if random.percent(20) {
            let entry = node.set(&key, b"between", 0);
            model.insert(key, (entry.version, Some(b"between".to_vec())));
        } else if random.percent(20) {
            let entry = node.delete(&key);
            model.insert(key, (entry.version, None));
        }
        let at = random.below(theirs.len());
        let (entry, value) = theirs.swap_remove(at);
        let known = model.get(&*entry.key).map_or(0, |it| it.0);
        let newer = node.copy().apply(&entry, Arrival::Merged);
        if newer != (entry.version > known) {
            return false;
        }
        if newer {
            model.insert(entry.key.to_vec(), (entry.version, value));
        }
    }
    node.copy().end_merge();
    assert!(node.shard.copies.parts.is_empty());
    for (key, (_, value)) in &model {
        node.chaos(&mut random, &names, false);
        if node.get(key) != *value {
            return false;
        }
    }
    true
}

#[test]
fn the_newest_of_each_key_stays_wherever_it_was() {
    for seed in 0..SEEDS {
        assert!(newest_stays(seed, None), "seed {seed}");
    }
    let broken = Some(Rule::WrittenIsKnown);
    assert!((0..SEEDS).any(|seed| !newest_stays(seed, broken)));
}

/// Not more at once than memory can bear; who has waited hears of it.
#[test]
fn merges_wait_for_each_other() {
    let mut node = Node::new(1, true, true);
    let now = node.now;
    let mut prepare = |partition| Copy::new(&mut node.shard, partition, now).prepare_merge();
    let most = MERGES_MAX as u16;
    for partition in 0..=most {
        assert!(!prepare(partition), "the disk has not been asked yet");
    }
    assert!(!prepare(most));
    node.settle();
    let came = node.shard.take_scanned();
    assert_eq!(came, (0..most).collect::<Vec<_>>());
    Copy::new(&mut node.shard, 2, now).end_merge();
    assert_eq!(node.shard.take_scanned(), [most]);
    // By now all of it is known to be in memory.
    assert!(Copy::new(&mut node.shard, most, now).prepare_merge());
}
