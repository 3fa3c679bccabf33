//! For tests: every sum of a cache, worked out anew from what it holds, and helpers.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::log::{Chain, Location, Queue, SEGMENT_BYTES, Sums};
use super::record::Header;
use super::room::Goal;
use super::{Cache, CacheSettings, Fields, NewItem, NoRoom, Place};
use crate::command::Value;
use crate::hash::KeyHash;

pub(super) const MIB: usize = 1 << 20;

/// A cache that owns a sixteenth of the partitions, so that its fixed part is small.
pub(super) fn small_cache(limit_bytes: usize, evict: bool, disk: bool) -> Cache {
    Cache::new(CacheSettings {
        limit_bytes,
        worker: 0,
        workers: 16,
        evict,
        disk,
    })
}

/// The first `count` keys of 16 bytes that a [`small_cache`] owns.
pub(super) fn owned_keys(count: usize) -> Vec<String> {
    (0..)
        .map(|number: u32| format!("key-{number:012}"))
        .filter(|key| KeyHash::of(key.as_bytes()).partition().is_multiple_of(16))
        .take(count)
        .collect()
}

pub(super) fn put(
    cache: &mut Cache,
    key: &str,
    value: Value<'_>,
    head: Fields,
) -> Result<Place, NoRoom> {
    let key = key.as_bytes();
    cache.insert(NewItem {
        hash: KeyHash::of(key),
        key,
        head,
        value,
    })
}

pub(super) fn find(cache: &Cache, key: &str) -> Option<Place> {
    cache.find(KeyHash::of(key.as_bytes()), key.as_bytes())
}

impl Cache {
    /// Checks every sum and every invariant.
    pub(super) fn audit(&self) {
        let (mut sums, mut large_bytes) = (Sums::default(), 0);
        let (mut written, mut segments) = (0, 0);
        for queue in [Queue::Small, Queue::Main] {
            let chain: &Chain = self.log.chain(queue);
            let mut charge = 0;
            let mut next = self.log.oldest(queue);
            let mut last = 0;
            while let Some(number) = next {
                assert_eq!(self.log.segment(number).queue, Some(queue));
                charge += self.audit_segment(number, &mut sums, &mut large_bytes);
                written += self.log.segment(number).end as usize;
                segments += 1;
                last = number;
                next = self.log.newer(number);
                assert_eq!(
                    next.and_then(|next| self.log.older(next)),
                    next.map(|_| number)
                );
            }
            assert_eq!(last, chain.newest);
            assert_eq!(charge, chain.charge);
        }
        assert_eq!(sums, *self.log.sums());
        assert_eq!(large_bytes, self.large.value_bytes());
        assert_eq!(written, self.log.written_bytes());
        let held = segments * SEGMENT_BYTES + self.log.spare_bytes();
        assert_eq!(held, self.log.segment_bytes());
        self.audit_partitions(sums.records);
        assert_eq!(self.held, Location::NOWHERE);
        assert_eq!(self.used_bytes(), held + large_bytes + self.fixed_bytes());
    }

    fn audit_segment(&self, number: u32, sums: &mut Sums, large_bytes: &mut usize) -> usize {
        let segment = *self.log.segment(number);
        let (mut offset, mut live, mut pinned, mut charges) = (0, 0, 0, 0);
        while offset < segment.end {
            let location = Location::new(number, offset as usize);
            let record = self.log.record(location);
            let header: Header = record.header;
            let bytes = header.record_bytes();
            offset += bytes as u32;
            if header.is_dead() {
                continue;
            }
            assert!(
                location.offset() >= segment.head as usize,
                "alive before the head"
            );
            let hash = KeyHash::of(record.key());
            let place = self
                .find(hash, record.key())
                .expect("a live record is indexed");
            assert_eq!(place.location, location, "one key has two live records");
            let large = self.charge_of(location).large_bytes;
            live += bytes;
            charges += bytes + large;
            *large_bytes += large;
            sums.records += 1;
            sums.record_bytes += bytes;
            if header.is_pinned() {
                pinned += bytes;
                sums.pinned_bytes += bytes + large;
            }
            if header.is_tombstone() {
                sums.tombstones += 1;
                sums.tombstone_bytes += bytes + large;
            } else {
                assert!(segment.version_min <= header.version);
                let expires_s = record.expires_s();
                assert!(expires_s == 0 || segment.expires_s_min <= expires_s);
            }
        }
        assert_eq!(offset, segment.end);
        assert!(
            live > 0 || self.log.is_open(number),
            "an empty segment is kept"
        );
        assert_eq!(
            (live, pinned),
            (segment.live as usize, segment.pinned as usize)
        );
        charges
    }

    fn audit_partitions(&self, records: usize) {
        let (mut entries, mut tables_bytes, mut tag_bytes) = (0, 0, 0);
        for (dense, partition) in self.partitions.iter().enumerate() {
            for (tag, location) in partition.index.entries() {
                let hash = KeyHash::of(self.log.record(location).key());
                assert!(!self.log.header(location).is_dead());
                assert_eq!((self.dense(hash.partition()), hash.tag()), (dense, tag));
                entries += 1;
            }
            tables_bytes += partition.memory_bytes();
            tag_bytes += partition.tag_bytes();
        }
        assert_eq!(entries, records);
        assert_eq!(
            (tables_bytes, tag_bytes),
            (self.tables_bytes, self.tag_bytes)
        );
    }
}

impl Cache {
    /// Whether the reserve is whole, from which tables grow where no room is made for them. It is
    /// not where the limit has been lowered to what must stay.
    pub(super) fn has_reserve(&self) -> bool {
        self.fits(&Goal::default())
    }

    /// Whether more than scraps could still be evicted.
    pub(super) fn has_evictable(&self) -> bool {
        self.find_gain().is_some()
    }
}
