//! Eviction from disk: what goes when the disk is over its limit.
//!
//! Decides which records go: partition by partition, the coldest of those that are not in
//! memory, by the last access that the disk knows of, until the excess is made good. Then the
//! partitions are compacted together, and the disk is measured again. Refuses to know how the
//! limit is measured.

use alloc::vec::Vec;

use crate::disk::{DiskError, HEAD_BYTES, Request, Scan, Usage};
use crate::hash::{KeyHash, PARTITIONS};
use crate::settings::WhenFull;
use crate::time::{Now, Time};

use super::apply::tombstone;
use super::{Shard, Sink};

/// Records of one partition that are compared with each other at most.
const CANDIDATES_MAX: u32 = 4096;
/// The least and the greatest share of them that goes at once: one in so many.
const SHARE_MIN: u64 = 64;
const SHARE_MAX: u64 = 4;
/// How long after an eviction the partitions are compacted, in milliseconds: not before the
/// deletions have been written.
const COMPACT_AFTER_MS: u64 = 300;
/// How long after that the disk has been measured again, in milliseconds.
const MEASURED_AFTER_MS: u64 = 2_500;
/// The pause after a round that has found nothing to evict, in milliseconds.
const NOTHING_FOUND_MS: u64 = 10_000;

/// Where eviction from disk is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Partitions of this shard that have been looked at.
    turn: usize,
    database_bytes: u64,
    over_bytes: u64,
    scanning: bool,
    compacting: bool,
    /// The partitions that this round has evicted from, first and last.
    touched: Option<(u16, u16)>,
    /// What this round has evicted, in bytes, and the partitions that it has looked at.
    freed_bytes: u64,
    looked_at: usize,
    /// Nothing is done before then.
    pause_until: Time,
    spare: Scan,
    victims: Vec<(u32, u32)>,
}

impl Progress {
    pub(super) fn is_scanning(&self) -> bool {
        self.scanning
    }

    pub(super) fn note_usage(&mut self, usage: Usage, over_bytes: u64) {
        self.database_bytes = usage.database_bytes;
        self.over_bytes = over_bytes;
    }

    /// How many of `candidates` go, for the excess to be made good in one round.
    fn share(&self, candidates: usize) -> usize {
        let database_bytes = self.database_bytes.max(1);
        let least = candidates as u64 / SHARE_MIN;
        let most = (candidates as u64).div_ceil(SHARE_MAX);
        let wanted = u128::from(self.over_bytes) * candidates as u128 / u128::from(database_bytes);
        let wanted = u64::try_from(wanted).unwrap_or(u64::MAX).saturating_add(1);
        wanted.clamp(least.min(most), most) as usize
    }
}

impl Shard {
    /// Goes on evicting while the disk is over its limit. One partition at a time, and only
    /// while no other scan is under way, so that the disk has room for what matters more.
    pub(super) fn drive_disk_evict(&mut self, now: Now, sink: &mut impl Sink) {
        let evicts = self
            .persist
            .as_ref()
            .is_some_and(|persist| persist.settings.when_full == WhenFull::Evict);
        let busy = self.evicting.scanning || self.evicting.compacting || self.preload.is_scanning();
        if !evicts || busy || now.time < self.evicting.pause_until || !self.is_warm() {
            return;
        }
        if self.ends_round() {
            if let Some((first, last)) = self.evicting.touched.take() {
                self.evicting.compacting = true;
                sink.disk(Request::Compact { first, last });
            } else {
                self.evicting.pause_until = now.time.plus_millis(NOTHING_FOUND_MS);
            }
            self.evicting.freed_bytes = 0;
            self.evicting.looked_at = 0;
            return;
        }
        if self.disk_full {
            self.look_at_next(sink);
        }
    }

    /// Whether this round has evicted enough, or has looked at everything.
    fn ends_round(&self) -> bool {
        let excess = self.evicting.over_bytes / u64::from(self.settings.workers);
        let some = self.evicting.touched.is_some();
        let enough = some && (self.evicting.freed_bytes > excess || !self.disk_full);
        enough || self.evicting.looked_at >= self.own_partitions()
    }

    fn own_partitions(&self) -> usize {
        let workers = usize::from(self.settings.workers);
        (PARTITIONS - usize::from(self.worker.0)).div_ceil(workers)
    }

    fn look_at_next(&mut self, sink: &mut impl Sink) {
        let turn = self.evicting.turn % self.own_partitions();
        let workers = usize::from(self.settings.workers);
        let partition = turn * workers + usize::from(self.worker.0);
        self.evicting.turn += 1;
        self.evicting.looked_at += 1;
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
        sink: &mut impl Sink,
    ) {
        self.evicting.scanning = false;
        if result.is_ok() {
            self.evict_coldest(now, &scan);
        }
        self.evicting.spare = scan;
        if self.ends_round() {
            self.evicting.pause_until = now.time.plus_millis(COMPACT_AFTER_MS);
        } else if self.pressure(now) == super::Pressure::None {
            self.drive_disk_evict(now, sink);
        }
    }

    fn evict_coldest(&mut self, now: Now, scan: &Scan) {
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
        let count = self.evicting.share(victims.len()).min(victims.len());
        for (_, index) in &victims[..count] {
            let record = &scan.records[*index as usize];
            let key = record.key.of(&scan.buffer);
            self.evict_from_disk(now, key);
            let bytes = key.len() + HEAD_BYTES + record.head.value_bytes as usize;
            self.evicting.freed_bytes += bytes as u64;
        }
        if count > 0 {
            let partition = scan.partition;
            let (first, last) = self.evicting.touched.unwrap_or((partition, partition));
            self.evicting.touched = Some((first.min(partition), last.max(partition)));
        }
        self.evicting.victims = victims;
    }

    /// Buries one record that is only on disk.
    fn evict_from_disk(&mut self, now: Now, key: &[u8]) {
        let hash = KeyHash::of(key);
        let version = self.copies.burial();
        let buried = self.cache.insert(tombstone(hash, key, version));
        if buried.is_ok() {
            self.figures.disk_evictions += 1;
            self.note_stale(hash.partition());
            if let Some(persist) = &mut self.persist {
                persist.note_dirty(now.time, hash, 0);
            }
        }
    }

    pub(super) fn handle_compacted(&mut self, now: Now) {
        self.evicting.compacting = false;
        self.evicting.pause_until = now.time.plus_millis(MEASURED_AFTER_MS);
    }
}
