//! Eviction against an exact LRU of the same bytes.

#![expect(
    clippy::print_stdout,
    reason = "shown with --nocapture; the assertions judge"
)]

extern crate std;

use std::println;
use std::string::String;
use std::vec::Vec;

use super::audit::{MIB, find, owned_keys, put, small_cache};
use super::*;

const VALUE: [u8; 100] = [7; 100];
/// What an item takes at best: its record and its share of an index.
const ITEM_BYTES: usize = 136 + INDEX_BYTES_PER_ITEM as usize;

/// Splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

struct Zipf(Vec<f64>);

impl Zipf {
    fn new(keys: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let shares = (1..=keys).map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        });
        Self(shares.collect())
    }

    fn draw(&self, random: &mut Random) -> usize {
        let at = random.unit() * self.0[self.0.len() - 1];
        self.0
            .partition_point(|&sum| sum < at)
            .min(self.0.len() - 1)
    }
}

/// Least recently used, exactly, over numbered keys.
struct Lru {
    links: Vec<(u32, u32)>,
    present: Vec<bool>,
    room: usize,
}

impl Lru {
    fn new(keys: usize, room: usize) -> Self {
        let end = keys as u32;
        let mut links = std::vec![(end, end); keys + 1];
        links[keys] = (end, end);
        Self {
            links,
            present: std::vec![false; keys],
            room,
        }
    }

    fn unlink(&mut self, key: usize) {
        let (older, newer) = self.links[key];
        self.links[older as usize].1 = newer;
        self.links[newer as usize].0 = older;
    }

    fn access(&mut self, key: usize) -> bool {
        let end = self.present.len();
        let hit = self.present[key];
        if hit {
            self.unlink(key);
        } else {
            if self.room == 0 {
                let oldest = self.links[end].1 as usize;
                self.unlink(oldest);
                self.present[oldest] = false;
            } else {
                self.room -= 1;
            }
            self.present[key] = true;
        }
        let newest = self.links[end].0;
        self.links[key] = (newest, end as u32);
        self.links[newest as usize].1 = key as u32;
        self.links[end].0 = key as u32;
        hit
    }
}

/// Hit shares of the cache and of LRU, in percent, once warm.
fn compare(keys: &[String], trace: impl Iterator<Item = usize>, limit: usize) -> (f64, f64) {
    let mut cache = small_cache(limit, true, false);
    let mut lru = Lru::new(keys.len(), limit / ITEM_BYTES);
    let (mut asked, mut hits, mut lru_hits) = (0u32, 0u32, 0u32);
    for (step, number) in trace.enumerate() {
        let key = &keys[number];
        let found = find(&cache, key);
        match found {
            Some(place) => cache.bump(place, 1),
            None => {
                let head = Fields {
                    version: 1,
                    cas: 1,
                    ..Fields::default()
                };
                put(&mut cache, key, Value::Small(&VALUE), head).expect("clean items give way");
            }
        }
        let lru_hit = lru.access(number);
        if step >= 500_000 {
            asked += 1;
            hits += u32::from(found.is_some());
            lru_hits += u32::from(lru_hit);
        }
    }
    cache.audit();
    assert!(cache.used_bytes() <= limit);
    let percent = |hits: u32| f64::from(hits) * 100.0 / f64::from(asked);
    (percent(hits), percent(lru_hits))
}

#[test]
fn beats_lru_on_zipf_with_and_without_scans() {
    const POPULAR: usize = 300_000;
    const STEPS: usize = 1_200_000;
    let keys = owned_keys(POPULAR + 400_000);
    for exponent in [0.8, 0.9, 1.0, 1.1] {
        let zipf = Zipf::new(POPULAR, exponent);
        for limit in [2 * MIB, 6 * MIB] {
            let mut random = Random(42);
            let plain = (0..STEPS).map(|_| zipf.draw(&mut random));
            let (ours, lru) = compare(&keys, plain, limit);
            println!(
                "zipf {exponent} {} MiB: {ours:.2} %, LRU {lru:.2} %",
                limit / MIB
            );
            assert!(
                ours > lru,
                "zipf {exponent} at {limit}: {ours} against {lru}"
            );

            let mut random = Random(43);
            let mut scanned = 0;
            let mixed = (0..STEPS).map(|step| {
                if step / 20_000 % 4 == 3 {
                    scanned = (scanned + 1) % 400_000;
                    POPULAR + scanned
                } else {
                    zipf.draw(&mut random)
                }
            });
            let (ours, lru) = compare(&keys, mixed, limit);
            println!(
                "zipf {exponent} {} MiB, scans: {ours:.2} %, LRU {lru:.2} %",
                limit / MIB
            );
            assert!(
                ours > lru,
                "scans, zipf {exponent} at {limit}: {ours} against {lru}"
            );
        }
    }
}
