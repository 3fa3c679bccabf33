//! The memory tier: the items of one shard, within a byte-exact limit.
//!
//! Decides where items lie in memory, which of them give way when room is needed, and what is
//! remembered of those that only the disk still has. Refuses to know sockets, disks, clocks and
//! what commands mean: whether an item that it finds counts as expired, flushed or deleted is
//! for the shard to judge.
//!
//! Items are records in segments of 128 KiB, first in first out in two queues (S3-FIFO): one
//! for newcomers, one for what has been asked for again. An index for each partition leads from
//! a tag of the key's hash to the record; the record holds the key, so tags may collide.

mod allocation;
mod disk_tags;
mod ghost;
mod hot;
mod index;
mod large;
mod log;
mod partition;
mod record;
mod room;
mod store;
mod sweep;
mod tiers;

#[cfg(test)]
mod audit;
#[cfg(test)]
mod hit_ratio_tests;
#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use bytes::Bytes;
use core::hint::black_box;

pub use self::allocation::{allocation_bytes, large_value_bytes};
use self::ghost::Ghost;
use self::large::LargeValues;
use self::log::{Location, Log};
use self::partition::Partition;
use crate::command::Value;
use crate::hash::{KeyHash, PARTITIONS};

/// Longest value that lives in a segment; a longer one has memory of its own.
pub const INLINE_BYTES_MAX: usize = 4096;
/// What an item takes of an index, on average.
const INDEX_BYTES_PER_ITEM: u32 = 10;

/// What a cache is told at its start.
#[derive(Clone, Copy, Debug)]
pub struct CacheSettings {
    /// Bound of everything that the cache holds. At least 1 MiB is wanted to be of any use.
    pub limit_bytes: usize,
    /// Which of the workers owns the cache, from 0.
    pub worker: u16,
    /// How many workers share the partitions: worker i has those with number % workers == i.
    pub workers: u16,
    /// Whether items may be evicted for want of room.
    pub evict: bool,
    /// Whether there is a disk, so that partitions start unknown; without one they start
    /// complete.
    pub disk: bool,
}

/// What the disk has of an item's last change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskState {
    /// All of it, or there is no disk. Only such items are evicted.
    #[default]
    Clean,
    /// Nothing yet: the change waits for a batch.
    Queued,
    /// Perhaps: the change is in a batch that is under way.
    Submitted,
}

/// There is no room, and nothing that may be evicted for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// Where a record is. Holds until the next `insert`, `update`, `remove`, `charge`, `sweep`,
/// `end_scan` or `set_limit_bytes`: these move records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    location: Location,
    tag: u32,
    partition: u16,
}

impl Place {
    /// The partition of the record's key.
    #[must_use]
    pub const fn partition(self) -> u16 {
        self.partition
    }

    /// The tag of the record's key.
    #[must_use]
    pub const fn tag(self) -> u32 {
        self.tag
    }
}

/// All of an item but its key and value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Version of the last change.
    pub version: u64,
    /// What clients see as cas unique.
    pub cas: u64,
    /// The client's flags.
    pub flags: u32,
    /// Unix seconds at which the item expires; 0 is never.
    pub expires_s: u32,
    /// Unix seconds of the last access.
    pub accessed_s: u32,
    /// Marked stale by meta `I`.
    pub stale: bool,
    /// A reader has been told to recache it.
    pub token_sent: bool,
    /// It has been read since it was stored.
    pub fetched: bool,
    /// The item is deleted, and the disk has still to be told. Never evicted.
    pub tombstone: bool,
    /// The disk may hold this or an older record of the key.
    pub on_disk: bool,
    /// What the disk has of the last change.
    pub disk: DiskState,
}

/// An item to be stored.
#[derive(Clone, Debug)]
pub struct NewItem<'a> {
    /// The key's hash.
    pub hash: KeyHash,
    /// The key.
    pub key: &'a [u8],
    /// All but key and value.
    pub head: Fields,
    /// The value; empty for a tombstone.
    pub value: Value<'a>,
}

#[derive(Clone, Copy, Debug)]
enum StoredValue<'a> {
    Small(&'a [u8]),
    Large(&'a Bytes),
}

/// A record, decoded.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The key.
    pub key: &'a [u8],
    /// All but key and value.
    pub fields: Fields,
    /// Bytes that the item takes, with its share of the index.
    pub memory_bytes: u32,
    value: StoredValue<'a>,
}

impl<'a> View<'a> {
    /// The value. A large one is shared, not copied.
    #[must_use]
    #[inline]
    pub fn value(&self) -> Value<'a> {
        match self.value {
            StoredValue::Small(bytes) => Value::Small(bytes),
            StoredValue::Large(bytes) => Value::Large(bytes.clone()),
        }
    }

    /// The value's bytes.
    #[must_use]
    #[inline]
    pub fn value_slice(&self) -> &'a [u8] {
        match self.value {
            StoredValue::Small(bytes) => bytes,
            StoredValue::Large(bytes) => bytes,
        }
    }
}

/// Figures of a cache, for `stats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Items, without tombstones. Expired ones count until they are swept.
    pub items: u64,
    /// Bytes that these items take, keys, values and heads together.
    pub item_bytes: u64,
    /// Deleted items of which the disk has still to be told.
    pub tombstones: u64,
    /// Everything that counts towards the limit.
    pub used_bytes: u64,
    /// The limit.
    pub limit_bytes: u64,
    /// Bytes of items and tombstones that the disk does not have yet.
    pub dirty_bytes: u64,
    /// Tags of keys that only the disk has; a little less than there are such keys.
    pub disk_only: u64,
    /// Partitions whose disk keys took too much memory to be known.
    pub partitions_given_up: u64,
    /// Items evicted from memory.
    pub evictions: u64,
    /// Those of them that the disk still has.
    pub evicted_to_disk: u64,
    /// Those of them that had never been read.
    pub evicted_unfetched: u64,
    /// Those of them that had been read of late.
    pub evicted_active: u64,
    /// Expired and flushed items whose memory was taken back.
    pub reclaimed: u64,
    /// Those of them that had expired and had never been read.
    pub expired_unfetched: u64,
    /// Bytes of records copied to make room.
    pub moved_bytes: u64,
}

/// The items of one shard.
#[derive(Debug)]
pub struct Cache {
    settings: CacheSettings,
    log: Log,
    large: LargeValues,
    ghost: Ghost,
    partitions: Vec<Partition>,
    /// Bytes of the partitions' tables.
    tables_bytes: usize,
    /// Those of them that tag sets take.
    tag_bytes: usize,
    external_bytes: usize,
    counters: Figures,
    /// Seconds and flush watermark of the last sweep.
    now_s: u32,
    flushed_version: u64,
    keeps_flushed: bool,
    /// A record that room is being made for; it is not evicted, and followed when it moves.
    held: Location,
    /// Up to here segments may be allocated for records that move: the limit, unless that has
    /// been lowered below what must stay.
    ceiling_bytes: usize,
    /// A segment that eviction has begun to empty.
    partial: Option<u32>,
    /// Where the search for dead bytes goes on.
    search_cursor: u32,
    sweep_cursor: u32,
}

impl Cache {
    /// An empty cache.
    ///
    /// # Panics
    /// If `settings` name a worker that does not exist.
    #[must_use]
    pub fn new(settings: CacheSettings) -> Self {
        let CacheSettings {
            worker, workers, ..
        } = settings;
        assert!(worker < workers, "worker {worker} of {workers}");
        let owned = (PARTITIONS - usize::from(worker)).div_ceil(usize::from(workers));
        let mut partitions = Vec::new();
        partitions.reserve_exact(owned);
        partitions.resize_with(owned, || Partition::new(!settings.disk));
        Self {
            settings,
            log: Log::new(segments_max(settings.limit_bytes)),
            large: LargeValues::new(),
            ghost: Ghost::new(settings.limit_bytes),
            partitions,
            tables_bytes: 0,
            tag_bytes: 0,
            external_bytes: 0,
            counters: Figures::default(),
            now_s: 0,
            flushed_version: 0,
            keeps_flushed: false,
            held: Location::NOWHERE,
            ceiling_bytes: settings.limit_bytes,
            partial: None,
            search_cursor: 0,
            sweep_cursor: 0,
        }
    }

    /// The record of `key`, be it expired, flushed or a tombstone: the caller judges.
    #[must_use]
    #[inline]
    pub fn find(&self, hash: KeyHash, key: &[u8]) -> Option<Place> {
        let (partition, tag) = (hash.partition(), hash.tag());
        let index = &self.partitions[self.dense(partition)].index;
        let location = index.find(tag, |location| self.log.record(location).key() == key)?;
        Some(Place {
            location,
            tag,
            partition,
        })
    }

    /// Looks at the memory that finding these keys, a few dozen at most, will need. A processor
    /// fetches side by side what several of them need, where one `find` after the other has it wait
    /// for each piece: table, entry and record.
    pub(crate) fn approach(&self, hashes: &[KeyHash]) {
        let index_of = |hash: &KeyHash| &self.partitions[self.dense(hash.partition())].index;
        for hash in hashes {
            black_box(index_of(hash).peek(hash.tag()));
        }
        for hash in hashes {
            if let Some(location) = index_of(hash).find(hash.tag(), |_| true) {
                self.log.approach(location);
            }
        }
    }

    /// The next record of `partition` with `tag`, after the one in `after`; the first, without
    /// one. Records may change their disk state, or go, between two calls.
    #[must_use]
    pub fn find_tag(&self, partition: u16, tag: u32, after: Option<Place>) -> Option<Place> {
        let past = after.map_or(Location::NOWHERE, |place| place.location);
        let mut next: Option<Location> = None;
        let index = &self.partitions[self.dense(partition)].index;
        index.find(tag, |location| {
            if location > past && next.is_none_or(|next| location < next) {
                next = Some(location);
            }
            false
        });
        next.map(|location| Place {
            location,
            tag,
            partition,
        })
    }

    /// The lowest tag from `from` on that a record of `partition` has.
    #[must_use]
    pub fn next_tag(&self, partition: u16, from: u32) -> Option<u32> {
        self.partitions[self.dense(partition)].index.next_tag(from)
    }

    /// Reads a record.
    #[must_use]
    #[inline]
    pub fn view(&self, place: Place) -> View<'_> {
        let record = self.log.record(place.location);
        let (value, large_bytes) = match record.handle() {
            None => (StoredValue::Small(record.small_value()), 0),
            Some(handle) => (
                StoredValue::Large(self.large.value(handle)),
                self.large.charge(handle),
            ),
        };
        let record_bytes = record.header.record_bytes() as u32 + INDEX_BYTES_PER_ITEM;
        View {
            key: record.key(),
            fields: record.fields(),
            memory_bytes: u32::try_from(large_bytes)
                .unwrap_or(u32::MAX)
                .saturating_add(record_bytes),
            value,
        }
    }

    /// Counts an access: the item is fetched, in demand, and was accessed at `now_s`.
    #[inline]
    pub fn bump(&mut self, place: Place, now_s: u32) {
        let mut header = self.log.header(place.location);
        if header.bump(now_s) {
            header.write(self.log.bytes_mut(place.location));
        }
    }

    /// As [`bump`](Self::bump), but nobody has fetched the item.
    pub fn note_demand(&mut self, place: Place, now_s: u32) {
        let mut header = self.log.header(place.location);
        if header.note_demand(now_s) {
            header.write(self.log.bytes_mut(place.location));
        }
    }

    /// Bytes that count towards the limit: everything that the cache holds, and what it has
    /// been charged with.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.log.segment_bytes() + self.fixed_bytes() + self.large.value_bytes()
    }

    /// The limit.
    #[must_use]
    pub fn limit_bytes(&self) -> usize {
        self.settings.limit_bytes
    }

    /// Bytes of items and tombstones that the disk does not have yet.
    #[must_use]
    pub fn dirty_bytes(&self) -> usize {
        self.log.sums().pinned_bytes
    }

    /// Items, without tombstones.
    #[must_use]
    pub fn items(&self) -> usize {
        self.log.sums().records - self.log.sums().tombstones
    }

    /// Figures for `stats`.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let sums = self.log.sums();
        let item_bytes = sums.record_bytes + self.large.value_bytes() - sums.tombstone_bytes;
        let disk_only = self
            .partitions
            .iter()
            .map(Partition::disk_only)
            .sum::<usize>();
        let given_up = self
            .partitions
            .iter()
            .filter(|partition| partition.given_up);
        Figures {
            items: self.items() as u64,
            item_bytes: item_bytes as u64,
            tombstones: sums.tombstones as u64,
            used_bytes: self.used_bytes() as u64,
            limit_bytes: self.settings.limit_bytes as u64,
            dirty_bytes: sums.pinned_bytes as u64,
            disk_only: disk_only as u64,
            partitions_given_up: given_up.count() as u64,
            ..self.counters
        }
    }

    /// Sets the counters of evictions and the like back to 0.
    pub fn reset_counters(&mut self) {
        self.counters = Figures::default();
    }

    /// What is used beside segments and large values.
    fn fixed_bytes(&self) -> usize {
        allocation_bytes(self.partitions.capacity() * size_of::<Partition>())
            + self.tables_bytes
            + self.ghost.memory_bytes()
            + self.log.table_bytes()
            + self.large.table_bytes()
            + self.external_bytes
    }

    #[inline]
    fn dense(&self, partition: u16) -> usize {
        let CacheSettings {
            worker, workers, ..
        } = self.settings;
        debug_assert_eq!(partition % workers, worker, "another worker's partition");
        usize::from(partition / workers)
    }

    /// Changes a partition's tables and keeps the sums.
    fn alter<R>(&mut self, partition: u16, change: impl FnOnce(&mut Partition) -> R) -> R {
        let dense = self.dense(partition);
        let altered = &mut self.partitions[dense];
        let (bytes, tag_bytes) = (altered.memory_bytes(), altered.tag_bytes());
        let result = change(altered);
        self.tables_bytes = self.tables_bytes + altered.memory_bytes() - bytes;
        self.tag_bytes = self.tag_bytes + altered.tag_bytes() - tag_bytes;
        result
    }
}

/// Segments that a limit can hold at once.
fn segments_max(limit_bytes: usize) -> usize {
    limit_bytes / log::SEGMENT_BYTES + 1
}
