//! Giving memory back without being pressed: what has expired or been flushed, and the dead
//! bytes that remain.
//!
//! Decides which due items may leave memory and how much of the log one step walks. Refuses to
//! know the clock.

use super::Cache;
use super::log::{Location, SEGMENT_BYTES};
use super::record::Record;
use crate::hash::KeyHash;

/// Segments whose summary one sweep looks at.
const LOOKED_AT_MAX: u32 = 4096;
/// A closed segment with no more live bytes than this is compacted.
const SPARSE_BYTES_MAX: usize = SEGMENT_BYTES / 2;
/// Unused bytes of the limit from which on a spare segment is not worth keeping.
const PLENTY_BYTES: usize = 4 * SEGMENT_BYTES;

impl Cache {
    /// Removes expired items and those up to `flushed_version` from up to `segments_max`
    /// segments, and compacts sparse ones among them. Segments with nothing to do are passed
    /// over. True if there may be more to do at once.
    ///
    /// An item of which the disk may hold an older record stays until the disk has its last change,
    /// lest the older one comes back. A flush does not see to that: where the item has come from
    /// another node, the older record may have the higher version.
    pub fn sweep(&mut self, now_s: u32, flushed_version: u64, segments_max: usize) -> bool {
        self.now_s = now_s;
        self.flushed_version = flushed_version;
        self.ceiling_bytes = self.settings.limit_bytes;
        let mut walked = 0;
        let mut more = false;
        for _ in 0..self.log.numbers_end().min(LOOKED_AT_MAX) {
            if walked == segments_max {
                more = true;
                break;
            }
            self.sweep_cursor = (self.sweep_cursor + 1) % self.log.numbers_end();
            walked += usize::from(self.sweep_segment(self.sweep_cursor));
        }
        self.give_back();
        more
    }

    /// Whether a record is due and nothing is lost if it leaves memory now.
    pub(super) fn is_removable(&self, record: &Record<'_>) -> bool {
        let header = &record.header;
        if header.is_tombstone() {
            return false;
        }
        let expires_s = record.expires_s();
        let expired = expires_s != 0 && expires_s <= self.now_s;
        let submitted = header.disk() == super::DiskState::Submitted;
        let superseded = header.is_pinned() && (header.is_on_disk() || submitted);
        (header.version <= self.flushed_version || expired) && !superseded
    }

    /// Takes a due record out of memory.
    pub(super) fn drop_due(&mut self, location: Location) {
        let record = self.log.record(location);
        let hash = KeyHash::of(record.key());
        let unfetched = !record.header.is_fetched();
        let expired = record.header.version > self.flushed_version;
        self.counters.reclaimed += 1;
        self.counters.expired_unfetched += u64::from(expired && unfetched);
        self.forget(hash.partition(), hash.tag(), location, false);
    }

    /// Sweeps one segment; false if it had nothing to do.
    fn sweep_segment(&mut self, number: u32) -> bool {
        let segment = *self.log.segment(number);
        if segment.queue.is_none() {
            return false;
        }
        let due =
            segment.expires_s_min <= self.now_s || segment.version_min <= self.flushed_version;
        if due {
            self.remove_due(number);
        }
        let segment = self.log.segment(number);
        let sparse = segment.queue.is_some() && segment.live as usize <= SPARSE_BYTES_MAX;
        let compacted = sparse && !self.log.is_open(number) && self.compact(number);
        due || compacted
    }

    /// Removes what is due in a segment and sums up anew when the rest will be.
    fn remove_due(&mut self, number: u32) {
        let end = self.log.segment(number).end;
        let mut offset = self.log.segment(number).head;
        let segment = self.log.segment_mut(number);
        segment.expires_s_min = u32::MAX;
        segment.version_min = u64::MAX;
        while offset < end {
            let location = Location::new(number, offset as usize);
            let record = self.log.record(location);
            let header = record.header;
            offset += header.record_bytes() as u32;
            if header.is_dead() || header.is_tombstone() {
                continue;
            }
            if self.is_removable(&record) {
                self.drop_due(location);
            } else {
                let expires_s = record.expires_s();
                self.log.note_due(location, expires_s, header.version);
            }
        }
        self.settle(number);
    }

    /// Gives empty segments back that nothing will need soon.
    fn give_back(&mut self) {
        self.log.release_open();
        self.trim();
        if self.used_bytes() + PLENTY_BYTES < self.settings.limit_bytes {
            self.log.drop_spare();
        }
    }
}
