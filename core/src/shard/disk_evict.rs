//! Eviction from disk: what goes when the disk is at its limit.
//!
//! Decides which records go: partition by partition, the coldest quarter of those that are not
//! in memory, by the last access that the disk knows of. Refuses to know how the limit is
//! measured and who decides that it is reached.

use alloc::vec::Vec;

use crate::cache::{DiskState, Fields, NewItem};
use crate::command::Value;
use crate::disk::{DiskError, Request, Scan};
use crate::hash::{KeyHash, PARTITIONS};
use crate::settings::WhenFull;
use crate::time::{Now, Time};

use super::{Shard, Sink};

/// Records of one partition that are compared with each other at most.
const CANDIDATES_MAX: u32 = 4096;
/// How long after an eviction its partition is compacted, in milliseconds.
const COMPACT_AFTER_MS: u64 = 500;
/// One in so many of the candidates goes.
const EVICTED_SHARE: usize = 4;

/// Where eviction from disk is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Partitions of this shard that have been looked at.
    turn: usize,
    scanning: bool,
    compacting: bool,
    /// A partition whose evicted records are to be compacted away, and when: not before their
    /// deletion has been written.
    compact: Option<(u16, Time)>,
    spare: Scan,
    victims: Vec<(u32, u32)>,
}

impl Progress {
    pub(super) fn is_scanning(&self) -> bool {
        self.scanning
    }
}

impl Shard {
    /// Looks at one more partition while the disk is over its limit. One at a time, and only
    /// while no other scan is under way, so that the disk has room for what matters more.
    pub(super) fn drive_disk_evict(&mut self, now: Now, sink: &mut impl Sink) {
        let evicts = self
            .persist
            .as_ref()
            .is_some_and(|persist| persist.settings.when_full == WhenFull::Evict);
        if let Some((partition, at)) = self.evicting.compact
            && now.time >= at
            && !self.evicting.compacting
        {
            self.evicting.compact = None;
            self.evicting.compacting = true;
            sink.disk(Request::Compact { partition });
        }
        if !self.disk_full || !evicts || !self.is_warm() || self.evicting.compact.is_some() {
            return;
        }
        if self.evicting.scanning
            || self.evicting.compacting
            || self.is_scanning()
            || self.pressure(now) != super::Pressure::None
        {
            return;
        }
        let workers = usize::from(self.settings.workers);
        let own = (PARTITIONS - usize::from(self.worker.0)).div_ceil(workers);
        let partition = (self.evicting.turn % own) * workers + usize::from(self.worker.0);
        self.evicting.turn += 1;
        let mut scan = core::mem::take(&mut self.evicting.spare);
        scan.partition = partition as u16;
        scan.after.clear();
        scan.values = false;
        scan.records_max = CANDIDATES_MAX;
        scan.bytes_max = u32::MAX;
        scan.buffer.clear();
        scan.records.clear();
        self.evicting.scanning = true;
        sink.disk(Request::Scan(scan));
    }

    pub(super) fn handle_evict_scanned(
        &mut self,
        now: Now,
        scan: Scan,
        result: Result<bool, DiskError>,
    ) {
        self.evicting.scanning = false;
        if result.is_err() {
            self.evicting.spare = scan;
            return;
        }
        let mut victims = core::mem::take(&mut self.evicting.victims);
        victims.clear();
        for (index, record) in scan.records.iter().enumerate() {
            let key = record.key.of(&scan.buffer);
            let hash = KeyHash::of(key);
            if self.cache.find(hash, key).is_none() && self.waits.behind(hash).is_none() {
                victims.push((record.head.accessed_s, index as u32));
            }
        }
        victims.sort_unstable();
        let count = victims.len().div_ceil(EVICTED_SHARE);
        for (_, index) in &victims[..count] {
            let record = &scan.records[*index as usize];
            self.evict_from_disk(now, record.key.of(&scan.buffer));
        }
        victims.clear();
        self.evicting.victims = victims;
        if count > 0 {
            let at = now.time.plus_millis(COMPACT_AFTER_MS);
            self.evicting.compact = Some((scan.partition, at));
        }
        self.evicting.spare = scan;
    }

    /// Buries one record that is only on disk.
    fn evict_from_disk(&mut self, now: Now, key: &[u8]) {
        let hash = KeyHash::of(key);
        let version = self.clock.next(now);
        let head = Fields {
            version,
            cas: version,
            tombstone: true,
            on_disk: true,
            disk: DiskState::Queued,
            ..Fields::default()
        };
        let buried = self.cache.insert(NewItem {
            hash,
            key,
            head,
            value: Value::Small(&[]),
        });
        if buried.is_ok() {
            self.figures.disk_evictions += 1;
            self.note_stale(hash.partition());
            if let Some(persist) = &mut self.persist {
                persist.note_dirty(now.time, hash, 0);
            }
        }
    }

    pub(super) fn handle_compacted(&mut self) {
        self.evicting.compacting = false;
    }

    fn is_scanning(&self) -> bool {
        self.preload.is_scanning()
    }
}
