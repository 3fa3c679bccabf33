//! What a later run would find at any moment of a fill.

use super::*;

/// Whenever the disk does not say that it has a mixture, it has none: whether the power fails
/// before a fill, in it or long after it.
#[test]
fn a_disk_that_has_a_mixture_says_so() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let mut one = Node::new(1, false, true);
        let mut other = Node::new(2, true, true);
        let names = keys(8);
        let (older, newer) = names.split_at(4);
        for key in older {
            other.set(key, b"older", 0);
        }
        other.settle();
        let is_sound = |other: &Node| {
            let has = |names: &[Vec<u8>]| names.iter().any(|key| other.has_on_disk(key));
            other.is_noted_mixed() || !(has(older) && has(newer))
        };
        other.copy().set_aside();
        for key in newer {
            let entry = one.set(key, b"newer", 0);
            other.copy().apply(&entry, Arrival::Listed);
            for _ in 0..random.below(20) {
                other.chaos(&mut random, &names, false);
                assert!(is_sound(&other), "{seed}");
            }
        }
        other.copy().discard();
        let mut steps = 0;
        while other.copy().is_mixed() {
            other.chaos(&mut random, &names, false);
            assert!(is_sound(&other), "{seed}");
            steps += 1;
            assert!(steps < 10_000, "{seed}: it never ends");
        }
        other.settle();
        assert!(!other.is_noted_mixed() && is_sound(&other));
        assert_eq!(other.on_disk(), newer.len());
    }
}

/// What is buried in memory is on disk for as long as nothing is written.
#[test]
fn a_mixture_lasts_until_what_buries_it_is_synced() {
    let mut node = Node::new(1, true, true);
    for key in keys(5) {
        node.set(&key, b"older", 0);
    }
    node.settle();
    node.copy().set_aside();
    node.copy().discard();
    for _ in 0..10 {
        node.purge_all();
        node.pass(300);
        assert!(node.copy().is_mixed() && node.on_disk() == 5);
    }
    assert!(node.shard.copies.parts.is_empty(), "all is buried");
    node.write_all();
    assert!(!node.copy().is_mixed() && node.on_disk() == 0);
}

/// A fill that comes to nothing leaves a mixture, and the next run knows.
#[test]
fn a_mixture_outlasts_the_run() {
    let mut node = Node::new(1, true, true);
    let names = keys(2);
    node.set(&names[0], b"older", 0);
    node.settle();
    assert!(!node.copy().is_mixed());
    node.copy().set_aside();
    node.settle();
    let entry = Node::new(2, false, true).set(&names[1], b"newer", 0);
    node.copy().apply(&entry, Arrival::Listed);
    node.settle();
    let mut next = node.restarted();
    assert!(next.copy().is_mixed());
    next.settle();
    assert!(next.copy().is_mixed(), "nobody has filled it");
    next.copy().set_aside();
    next.copy().discard();
    next.settle();
    assert!(!next.restarted().copy().is_mixed());
}

/// Who fills it relies on it once its disk knows, and not before.
#[test]
fn nobody_relies_on_what_the_disk_does_not_know_of() {
    let mut node = Node::new(1, true, true);
    node.settle();
    node.copy().set_aside();
    assert!(node.copy().is_mixed() && !node.copy().may_vouch());
    node.pass(1000);
    assert!(!node.copy().may_vouch(), "the disk has not answered");
    node.write_all();
    assert!(node.copy().is_mixed() && node.copy().may_vouch());
    assert!(node.is_noted_mixed());
    let mut memory = Node::new(2, false, true);
    memory.set(&keys(1)[0], b"value", 0);
    memory.copy().set_aside();
    assert!(memory.copy().may_vouch() && !memory.copy().is_mixed());
}
