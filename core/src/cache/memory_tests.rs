//! What an item costs in memory.

extern crate std;

use std::string::String;
use std::vec::Vec;

use super::audit::{MIB, put};
use super::*;

const ITEMS: usize = 1_000_000;
/// Bytes of a key and a value.
const ITEM_BYTES: f64 = 116.0;
/// What an item takes beside these, at most.
const BESIDE_BYTES_MAX: f64 = 32.0;

fn put_all(cache: &mut Cache, keys: &[String]) {
    for (version, key) in (1..).zip(keys) {
        let head = Fields {
            version,
            cas: version,
            ..Fields::default()
        };
        put(cache, key, Value::Small(&[1; 100]), head).expect("room");
    }
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
    let empty = cache.used_bytes();
    put_all(&mut cache, &keys);
    assert_eq!(cache.items(), ITEMS);
    let each = (cache.used_bytes() - empty) as f64 / ITEMS as f64;
    assert!(each - ITEM_BYTES < BESIDE_BYTES_MAX, "{each}");
    cache.set_limit_bytes(64 * MIB);
    assert!(cache.used_bytes() <= 64 * MIB);
    put_all(&mut cache, &keys);
    assert!(cache.used_bytes() <= 64 * MIB);
}
