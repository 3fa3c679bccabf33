//! What an item costs in memory and a get costs in time. The time is shown, never judged.

#![expect(
    clippy::print_stdout,
    reason = "shown with --nocapture; memory is asserted"
)]

extern crate std;

use std::hint::black_box;
use std::println;
use std::string::String;
use std::time::Instant;
use std::vec::Vec;

use super::audit::{MIB, find, put};
use super::*;

const ITEMS: usize = 1_000_000;

fn head(version: u64) -> Fields {
    Fields {
        version,
        cas: version,
        ..Fields::default()
    }
}

/// The order in which keys are asked for: as good as random.
fn scattered(step: usize) -> usize {
    (step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24) % ITEMS
}

fn timed(what: &str, steps: usize, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    let each = start.elapsed().as_nanos() as f64 / steps as f64;
    println!("{what}: {each:.1} ns each");
}

#[test]
fn a_million_items_cost_little() {
    let keys: Vec<String> = (0..ITEMS)
        .map(|number| std::format!("{number:016}"))
        .collect();
    let mut cache = Cache::new(CacheSettings {
        limit_bytes: 512 * MIB,
        worker: 0,
        workers: 1,
        evict: true,
        disk: false,
    });
    let value = [1u8; 100];
    let empty = cache.used_bytes();
    timed("insert, growing", ITEMS, || {
        for (number, key) in keys.iter().enumerate() {
            put(
                &mut cache,
                key,
                Value::Small(&value),
                head(number as u64 + 1),
            )
            .expect("room");
        }
    });
    assert_eq!(cache.items(), ITEMS);
    let item = (cache.used_bytes() - empty) as f64 / ITEMS as f64;
    println!("an item of 16 + 100 bytes takes {item:.2} bytes; {empty} are fixed");
    assert!(item - 116.0 < 32.0, "{item}");
    timed("find", ITEMS, || {
        for step in 0..ITEMS {
            black_box(find(&cache, &keys[scattered(step)]));
        }
    });
    timed("find + view + bump", ITEMS, || {
        for step in 0..ITEMS {
            let place = find(&cache, &keys[scattered(step)]).expect("all are there");
            let view = cache.view(place);
            black_box((view.fields, view.value_slice()));
            cache.bump(place, 5);
        }
    });
    timed("find + view + bump of 1000 keys", ITEMS, || {
        for step in 0..ITEMS {
            let place = find(&cache, &keys[scattered(step) % 1000]).expect("all are there");
            let view = cache.view(place);
            black_box((view.fields, view.value_slice()));
            cache.bump(place, 6);
        }
    });
    timed("insert over the same length", ITEMS, || {
        for step in 0..ITEMS {
            let key = &keys[scattered(step)];
            put(&mut cache, key, Value::Small(&value), head(step as u64 + 1)).expect("room");
        }
    });
    cache.set_limit_bytes(64 * MIB);
    assert!(cache.used_bytes() <= 64 * MIB);
    timed("insert, evicting", ITEMS, || {
        for (number, key) in keys.iter().enumerate() {
            put(
                &mut cache,
                key,
                Value::Small(&value),
                head(number as u64 + 1),
            )
            .expect("room");
        }
    });
    assert!(cache.used_bytes() <= 64 * MIB);
    println!("{:?}", cache.figures());
}
