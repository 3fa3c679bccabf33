//! The cache as a whole, one behaviour at a time.

extern crate std;

use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use bytes::Bytes;

use super::audit::{MIB, find, owned_keys, put, small_cache};
use super::*;

fn head(version: u64) -> Fields {
    Fields {
        version,
        cas: version,
        ..Fields::default()
    }
}

fn dirty(version: u64) -> Fields {
    Fields {
        disk: DiskState::Queued,
        ..head(version)
    }
}

fn on_disk(version: u64) -> Fields {
    Fields {
        on_disk: true,
        ..head(version)
    }
}

/// Stores until nothing more goes in; returns how many did.
fn fill(cache: &mut Cache, keys: &[String], value: &[u8], fields: Fields) -> usize {
    let stored = |key: &&String| put(cache, key, Value::Small(value), fields).is_ok();
    keys.iter().take_while(stored).count()
}

#[test]
fn works_from_a_mebibyte_with_one_worker() {
    let mut cache = Cache::new(CacheSettings {
        limit_bytes: MIB,
        worker: 0,
        workers: 1,
        evict: true,
        disk: false,
    });
    for number in 0..20_000u64 {
        let key = format!("key-{number}");
        put(&mut cache, &key, Value::Small(&[1; 100]), head(number + 1)).expect("room");
        assert!(cache.used_bytes() <= MIB);
    }
    assert!(cache.items() > 2000, "{}", cache.items());
    cache.audit();
}

#[test]
fn below_any_use_it_refuses_and_does_not_panic() {
    for limit in [0, 1000, 200_000] {
        let mut cache = small_cache(limit, true, false);
        let key = &owned_keys(1)[0];
        assert_eq!(
            put(&mut cache, key, Value::Small(b"v"), head(1)),
            Err(NoRoom)
        );
        assert_eq!(cache.charge(1), Err(NoRoom));
        cache.sweep(1, 0, 10);
        cache.audit();
    }
}

#[test]
fn all_dirty_is_refused_with_little_work() {
    let keys = owned_keys(20_000);
    let mut cache = small_cache(2 * MIB, true, true);
    let stored = fill(&mut cache, &keys, &[1; 100], dirty(1));
    assert!((8000..15_000).contains(&stored), "{stored}");
    let moved = cache.figures().moved_bytes;
    for key in &keys[stored..] {
        assert_eq!(
            put(&mut cache, key, Value::Small(&[1; 100]), dirty(1)),
            Err(NoRoom)
        );
    }
    assert_eq!(cache.charge(MIB), Err(NoRoom));
    assert_eq!(
        (cache.figures().moved_bytes, cache.figures().evictions),
        (moved, 0)
    );
    assert!(cache.used_bytes() <= 2 * MIB);
    assert!(keys[..stored].iter().all(|key| find(&cache, key).is_some()));
    for key in &keys[..stored] {
        let place = find(&cache, key).expect("nothing dirty goes");
        cache.set_disk(place, DiskState::Clean, true);
    }
    assert_eq!(cache.dirty_bytes(), 0);
    let more = fill(&mut cache, &keys[stored..], &[1; 100], dirty(2));
    assert_eq!(more, keys.len() - stored);
    cache.audit();
}

#[test]
fn one_clean_item_among_dirty_ones_is_replaced_without_end_of_work() {
    let keys = owned_keys(20_000);
    for tail in 0..40 {
        let mut cache = small_cache(2 * MIB, true, true);
        let large = |bytes: usize| Value::Large(Bytes::from(vec![1; bytes]));
        put(&mut cache, &keys[0], large(8000), on_disk(1)).expect("room");
        let stored = fill(&mut cache, &keys[1..], &[1; 100], dirty(1));
        for bytes in (8000..200_000).step_by(500 + tail) {
            let before = find(&cache, &keys[0]).is_some();
            let _ = put(&mut cache, &keys[0], large(bytes), on_disk(2));
            assert_eq!(
                find(&cache, &keys[0]).is_some(),
                before || cache.items() > stored
            );
        }
        cache.audit();
    }
}

#[test]
fn without_eviction_nothing_goes_but_what_is_removed() {
    let keys = owned_keys(20_000);
    let mut cache = small_cache(2 * MIB, false, false);
    let stored = fill(&mut cache, &keys, &[1; 100], head(1));
    assert_eq!(cache.items(), stored);
    for key in keys[..stored].iter().step_by(2) {
        let place = find(&cache, key).expect("nothing is evicted");
        cache.remove(place);
    }
    let more = fill(&mut cache, &keys[stored..], &[1; 100], head(2));
    assert!(more * 100 > stored * 40, "{more} after {stored}");
    assert_eq!(cache.figures().evictions, 0);
    assert!(cache.used_bytes() <= 2 * MIB);
    cache.audit();
}

#[test]
fn large_values_give_way_one_by_one() {
    let keys = owned_keys(200);
    let mut cache = small_cache(16 * MIB, true, false);
    for key in &keys {
        let value = Value::Large(Bytes::from(vec![1; MIB]));
        put(&mut cache, key, value, head(1)).expect("room");
        assert!(cache.used_bytes() <= 16 * MIB);
    }
    assert!((14..=16).contains(&cache.items()), "{}", cache.items());
    assert_eq!(cache.figures().evictions as usize, 200 - cache.items());
    let place = find(&cache, &keys[199]).expect("the last one is there");
    assert_eq!(cache.view(place).value().len(), MIB);
    assert!(cache.view(place).memory_bytes as usize > MIB);
    let too_large = Value::Large(Bytes::from(vec![1; 17 * MIB]));
    let before = cache.items();
    assert_eq!(put(&mut cache, &keys[0], too_large, head(1)), Err(NoRoom));
    assert_eq!(cache.items(), before, "what can't fit evicts nothing");
    cache.audit();
}

#[test]
fn small_values_take_the_room_of_large_ones_and_back() {
    let keys = owned_keys(40_000);
    let mut cache = small_cache(8 * MIB, true, false);
    for round in 0..3 {
        for key in &keys[..100] {
            let value = Value::Large(Bytes::from(vec![round; 200_000]));
            put(&mut cache, key, value, head(1)).expect("room");
        }
        assert!(cache.figures().item_bytes > 6 * MIB as u64);
        for key in &keys {
            put(&mut cache, key, Value::Small(&[round; 150]), head(1)).expect("room");
        }
        assert!(cache.items() > 30_000, "{}", cache.items());
    }
    cache.audit();
}

#[test]
fn charges_count_and_evict() {
    let keys = owned_keys(40_000);
    let mut cache = small_cache(4 * MIB, true, false);
    fill(&mut cache, &keys, &[1; 100], head(1));
    let (items, used) = (cache.items(), cache.used_bytes());
    cache.charge(2 * MIB).expect("items give way");
    assert!(cache.items() < items && cache.used_bytes() <= 4 * MIB);
    assert_eq!(cache.charge(3 * MIB), Err(NoRoom));
    cache.discharge(2 * MIB);
    assert!(cache.used_bytes() < used);
    cache.audit();
}

#[test]
fn a_lower_limit_gives_memory_back() {
    let keys = owned_keys(60_000);
    let mut cache = small_cache(8 * MIB, true, false);
    fill(&mut cache, &keys, &[1; 100], head(1));
    for limit in [6 * MIB, 2 * MIB, MIB, 8 * MIB, MIB] {
        cache.set_limit_bytes(limit);
        assert!(cache.used_bytes() <= limit && cache.limit_bytes() == limit);
        assert!(cache.items() > 1000);
        cache.audit();
    }
}

#[test]
fn room_is_promised_only_where_nothing_is_evicted() {
    let keys = owned_keys(60_000);
    let mut cache = small_cache(4 * MIB, true, false);
    let mut promised = 0;
    for key in &keys {
        if !cache.room_for(116) {
            break;
        }
        put(&mut cache, key, Value::Small(&[1; 100]), head(1)).expect("room was promised");
        promised += 1;
    }
    assert_eq!(cache.figures().evictions, 0);
    assert!(promised > 20_000, "{promised}");
    assert!(!cache.room_for(MIB));
}

#[test]
fn sweeps_give_the_memory_of_expired_items_back() {
    let keys = owned_keys(60_000);
    let mut cache = small_cache(16 * MIB, true, false);
    for (number, key) in keys.iter().enumerate() {
        let expires_s = if number % 10 == 0 { 0 } else { 100 };
        let fields = Fields {
            expires_s,
            ..head(1)
        };
        put(&mut cache, key, Value::Small(&[1; 100]), fields).expect("room");
    }
    let used = cache.used_bytes();
    assert!(!cache.sweep(99, 0, 10));
    assert_eq!(cache.items(), 60_000);
    let mut sweeps = 0;
    while cache.sweep(100, 0, 10) {
        sweeps += 1;
        assert!(sweeps < 100, "sweeps don't end");
    }
    for _ in 0..10 {
        cache.sweep(100, 0, 10);
    }
    assert_eq!(cache.items(), 6000);
    let figures = cache.figures();
    assert_eq!(
        (figures.reclaimed, figures.expired_unfetched),
        (54_000, 54_000)
    );
    assert!(
        cache.used_bytes() * 5 < used,
        "{} of {used}",
        cache.used_bytes()
    );
    cache.audit();
}

#[test]
fn a_flush_empties_everything() {
    let keys = owned_keys(20_000);
    let mut cache = small_cache(8 * MIB, true, true);
    let empty = cache.used_bytes();
    fill(&mut cache, &keys[..10_000], &[1; 100], dirty(5));
    fill(&mut cache, &keys[10_000..], &[1; 100], on_disk(5));
    put(&mut cache, &keys[0], Value::Small(b"later"), head(6)).expect("room");
    for _ in 0..30 {
        cache.sweep(1, 5, 10);
    }
    assert_eq!((cache.items(), cache.dirty_bytes()), (1, 0));
    let place = find(&cache, &keys[0]).expect("it is newer than the flush");
    cache.remove(place);
    for _ in 0..5 {
        cache.sweep(1, 5, 10);
    }
    assert_eq!(cache.used_bytes(), empty);
    cache.audit();
}

#[test]
fn an_expired_change_stays_while_the_disk_may_hold_what_it_replaced() {
    let key = &owned_keys(1)[0];
    let states = [
        (DiskState::Clean, true, false),
        (DiskState::Queued, false, false),
        (DiskState::Queued, true, true),
        (DiskState::Submitted, true, true),
        (DiskState::Submitted, false, true),
    ];
    for (disk, on_disk, stays) in states {
        let mut cache = small_cache(MIB, true, true);
        let fields = Fields {
            expires_s: 10,
            disk,
            on_disk,
            ..head(1)
        };
        put(&mut cache, key, Value::Small(b"v"), fields).expect("room");
        cache.sweep(10, 0, 10);
        assert_eq!(find(&cache, key).is_some(), stays, "{disk:?} {on_disk}");
        if let Some(place) = find(&cache, key) {
            cache.set_disk(place, DiskState::Clean, true);
            cache.sweep(10, 0, 10);
            assert_eq!(find(&cache, key), None);
        }
    }
}

#[test]
fn steady_overwrites_of_changing_length_keep_what_is_in_demand() {
    let keys = owned_keys(12_000);
    let mut cache = small_cache(4 * MIB, true, false);
    let value = [1; 400];
    let mut misses = 0;
    for step in 0..400_000usize {
        // A fifth of the keys is read and rewritten all the time; the others pass by.
        let hot = step % 2 == 0;
        let key = &keys[if hot {
            step * 7 / 2 % 2400
        } else {
            2400 + step % 9600
        }];
        match find(&cache, key) {
            Some(place) => cache.bump(place, 1),
            None => misses += usize::from(hot && step > 100_000),
        }
        let length = 100 + step * 31 % 300;
        put(&mut cache, key, Value::Small(&value[..length]), head(1)).expect("room");
        assert!(cache.used_bytes() <= 4 * MIB);
    }
    assert!(misses < 1500, "{misses} of 150000");
    let written = 400_000 * 290;
    let moved = cache.figures().moved_bytes;
    assert!(
        moved < 2 * written,
        "{moved} bytes moved for {written} written"
    );
    cache.audit();
}

/// Keys that no index can tell apart: partition and tag of their hashes are the same.
fn colliding_keys() -> Vec<String> {
    let mut placed: Vec<(u16, u32, u32)> = (0..1_500_000u32)
        .map(|number| {
            let hash = KeyHash::of(format!("{number}").as_bytes());
            (hash.partition(), hash.tag(), number)
        })
        .collect();
    placed.sort_unstable();
    let pair = placed
        .windows(2)
        .find(|pair| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1))
        .expect("so many keys collide somewhere");
    pair.iter().map(|key| format!("{}", key.2)).collect()
}

#[test]
fn keys_of_one_tag_are_told_apart_and_walked_while_they_change() {
    let keys = colliding_keys();
    let mut cache = Cache::new(CacheSettings {
        limit_bytes: 2 * MIB,
        worker: 0,
        workers: 1,
        evict: true,
        disk: true,
    });
    for key in &keys {
        let value = Value::Small(key.as_bytes());
        put(&mut cache, key, value, dirty(1)).expect("room");
    }
    assert_eq!(cache.items(), 2);
    for key in &keys {
        let place = find(&cache, key).expect("it was stored");
        assert_eq!(cache.view(place).value_slice(), key.as_bytes());
    }
    let hash = KeyHash::of(keys[0].as_bytes());
    let (partition, tag) = (hash.partition(), hash.tag());
    let mut met = Vec::new();
    let mut after = None;
    while let Some(place) = cache.find_tag(partition, tag, after) {
        met.push(String::from_utf8_lossy(cache.view(place).key).into_owned());
        cache.set_disk(place, DiskState::Submitted, false);
        after = Some(place);
    }
    assert_eq!(met, keys);

    let first = cache
        .find_tag(partition, tag, None)
        .expect("both are there");
    cache.remove(first);
    let second = cache
        .find_tag(partition, tag, Some(first))
        .expect("one is left");
    assert_eq!(cache.view(second).key, keys[1].as_bytes());
    assert_eq!(find(&cache, &keys[0]), None);
    cache.remove(second);
    assert_eq!(cache.find_tag(partition, tag, None), None);
    assert_eq!((cache.items(), cache.dirty_bytes()), (0, 0));
    cache.audit();
}

#[test]
fn an_update_keeps_the_value_and_moves_only_for_new_fields() {
    let key = &owned_keys(1)[0];
    let mut cache = small_cache(MIB, true, true);
    let large = Value::Large(Bytes::from(vec![3; 9000]));
    for value in [Value::Small(b"value"), large] {
        let place = put(&mut cache, key, value.clone(), head(1)).expect("room");
        let changed = Fields {
            token_sent: true,
            stale: true,
            ..dirty(1)
        };
        assert_eq!(cache.update(place, changed), Ok(place));
        let touched = Fields {
            expires_s: 50,
            version: 2,
            flags: 9,
            ..changed
        };
        let moved = cache.update(place, touched).expect("room");
        assert_ne!(moved, place);
        let view = cache.view(moved);
        assert_eq!((view.fields, view.key), (touched, key.as_bytes()));
        assert_eq!(view.value_slice(), value.as_slice());
        assert_eq!(cache.update(moved, changed), Ok(moved));
        assert_eq!(cache.view(moved).fields, changed);
        assert_eq!(cache.items(), 1);
        cache.audit();
    }
}

#[test]
fn tag_sets_that_outgrow_their_share_are_given_up() {
    let mut cache = small_cache(MIB, true, true);
    let mut all: Vec<u32> = (0..4000).collect();
    for partition in (0..PARTITIONS as u16).step_by(16) {
        assert!(!cache.partition(partition).known);
        cache.begin_scan(partition);
        assert!(cache.partition(partition).scanning);
        let known = cache.end_scan(partition, &mut all);
        let state = cache.partition(partition);
        assert_eq!((state.known, state.given_up), (known, !known));
        assert_eq!(state.disk_only, if known { 4000 } else { 0 });
        all.extend(0..4000);
        assert!(cache.used_bytes() <= MIB);
    }
    let figures = cache.figures();
    assert!(
        (235..256).contains(&figures.partitions_given_up),
        "{figures:?}"
    );
    let key = &owned_keys(1)[0];
    put(&mut cache, key, Value::Small(b"v"), head(1)).expect("room is left for items");
    cache.set_limit_bytes(MIB / 2);
    assert!(cache.figures().disk_only < figures.disk_only);
    cache.audit();
}

#[test]
fn a_known_partition_answers_for_the_disk() {
    let key = &owned_keys(1)[0];
    let hash = KeyHash::of(key.as_bytes());
    let mut cache = small_cache(MIB, true, true);
    assert!(cache.may_be_on_disk(hash));
    cache.begin_scan(hash.partition());
    cache.end_scan(hash.partition(), &mut Vec::new());
    assert!(cache.partition(hash.partition()).complete && !cache.may_be_on_disk(hash));
    cache.note_disk_only(hash.partition(), &[hash.tag()]);
    assert!(!cache.partition(hash.partition()).complete && cache.may_be_on_disk(hash));
    cache.note_stale_tag(hash.partition());
    assert_eq!(cache.stale_tags(hash.partition()), 1);
    cache.begin_scan(hash.partition());
    assert!(
        cache.may_be_on_disk(hash),
        "what was known holds until the scan's end"
    );
    cache.abandon_scan(hash.partition());
    assert!(cache.may_be_on_disk(hash));
    cache.begin_scan(hash.partition());
    cache.end_scan(hash.partition(), &mut Vec::new());
    assert!(cache.partition(hash.partition()).complete);
    assert_eq!(cache.stale_tags(hash.partition()), 0);
}

#[test]
fn hot_keys_come_first_and_within_bounds() {
    let keys = owned_keys(30_000);
    let mut cache = small_cache(4 * MIB, true, true);
    for key in &keys {
        put(&mut cache, key, Value::Small(&[1; 100]), head(1)).expect("room");
        for hot in &keys[..50] {
            if let Some(place) = find(&cache, hot) {
                cache.bump(place, 1);
            }
        }
    }
    let mut list = vec![9];
    cache.hot_keys(1700, &mut list);
    assert_eq!((list.len(), list[0]), (1 + 50 * 17 + 1 + 49 * 17, 9));
    let hot: Vec<&[u8]> = list[1..].chunks(17).map(|entry| &entry[1..]).collect();
    for key in &keys[..50] {
        assert!(hot[..50].contains(&key.as_bytes()), "{key} is missing");
    }
    assert_eq!(list[1 + 50 * 17], 0, "the others follow");
    list.clear();
    cache.hot_keys(usize::MAX / 2, &mut list);
    assert_eq!(list.len(), cache.items() * 17 + 1);
}
