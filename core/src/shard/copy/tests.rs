//! Random histories on shards with a model disk or none, driven by hand: what a fill, a scan and
//! a merge leave behind must be what they promise.

mod fill;
mod merge;
mod mixed;
mod node;
mod scan;

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use super::versions::{Fingerprint, Versions};
use super::*;
use crate::replication::Digest;
use node::{Node, Random, keys};

/// The partition that all of it is about: a low one, which a warm-up comes to soon.
const PARTITION: u16 = 3;

#[test]
fn two_have_the_same_digest_if_they_know_the_same() {
    let key = |number: u64| {
        let key = number.to_be_bytes();
        Fingerprint::of(KeyHash::of(&key), &key)
    };
    let (mut one, mut other) = (Versions::default(), Versions::default());
    assert_eq!(one.digest(), Digest::default());
    for (number, version) in [(1, 5), (2, 9), (1, 7), (3, 1)] {
        assert!(one.note(key(number), version));
    }
    for (number, version) in [(3, 1), (1, 7), (2, 9)] {
        assert!(other.note(key(number), version));
    }
    assert!(!other.note(key(1), 5) && !other.note(key(1), 7));
    assert_eq!(one.digest(), other.digest());
    assert!(other.note(key(2), 10));
    assert_ne!(one.digest(), other.digest());
}

#[test]
fn fingerprints_have_the_order_of_tags() {
    let mut all: Vec<Fingerprint> = keys(100)
        .iter()
        .map(|key| {
            let hash = KeyHash::of(key);
            let fingerprint = Fingerprint::of(hash, key);
            assert_eq!(fingerprint.tag(), hash.tag());
            fingerprint
        })
        .collect();
    all.sort();
    assert!(all.is_sorted_by_key(|fingerprint| fingerprint.tag()));
}

#[test]
fn an_entry_comes_out_as_it_went_in() {
    let mut one = Node::new(1, false, true);
    let mut other = Node::new(2, false, true);
    for (key, value_bytes) in keys(3).iter().zip([0, 100, 100_000]) {
        let value = vec![7; value_bytes];
        let entry = one.set(key, &value, 0);
        assert!(other.copy().apply(&entry, Arrival::Live));
        assert_eq!(other.entry_of(key), entry);
        assert_eq!(other.get(key), Some(value));
        assert!(!other.copy().apply(&entry, Arrival::Live), "it is there");
        let gone = one.delete(key);
        assert!(gone.version > entry.version && gone.state == State::Tombstone);
        assert!(other.copy().apply(&gone, Arrival::Live));
        assert_eq!(other.get(key), None);
        let again = one.delete(key);
        assert!(again.version > gone.version, "a miss is deleted elsewhere");
    }
}

#[test]
fn what_makes_no_sense_is_counted_and_left_alone() {
    let mut node = Node::new(1, false, true);
    let entry = node.set(&keys(1)[0], b"value", 0);
    let strange = [
        Entry {
            key: Bytes::from_static(b"elsewhere"),
            ..entry.clone()
        },
        Entry {
            key: Bytes::new(),
            ..entry.clone()
        },
        Entry {
            version: u64::MAX,
            ..entry.clone()
        },
    ];
    for entry in &strange {
        assert!(!node.copy().apply(entry, Arrival::Live));
    }
    assert_eq!(node.get(&keys(1)[0]), Some(b"value".to_vec()));
    let torn = Entry {
        version: entry.version + 1,
        state: State::Item(Bytes::from_static(b"torn")),
        ..entry
    };
    assert!(node.copy().apply(&torn, Arrival::Live));
    assert_eq!(node.get(&keys(1)[0]), None, "as good as evicted");
    assert_eq!(node.shard.figures.replica_unreadable, 4);
}

/// A value that finds no room counts as evicted: what the disk has of the key must not return.
#[test]
fn without_room_nothing_older_returns() {
    let mut source = Node::new(1, false, true);
    let mut node = Node::new(2, true, false);
    let names = keys(40);
    let old = node.set(&names[0], b"old", 0);
    node.settle();
    node.evict();
    let large = vec![1; 600_000];
    for key in &names[1..] {
        let entry = source.set(key, &large, 0);
        node.copy().apply(&entry, Arrival::Live);
    }
    let mut newer = source.set(&names[0], &large, 0);
    newer.version = newer.version.max(old.version + 1);
    assert!(node.copy().apply(&newer, Arrival::Live));
    assert!(node.shard.figures.replica_no_memory > 0);
    assert_eq!(node.get(&names[0]), None);
    node.settle();
    node.evict();
    assert_eq!(node.get(&names[0]), None);
    assert!(node.copy().has_room());
}

#[test]
fn a_number_of_a_burial_wins_over_nothing() {
    let mut copies = Copies::default();
    assert!(copies.burial() < copies.burial() && copies.burial() < BURIALS_MAX);
}
