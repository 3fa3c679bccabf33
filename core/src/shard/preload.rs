//! Reading from disk: single items on demand, and the warm-up after a start.
//!
//! Decides what a read puts into memory, and in which order a start warms up: the saved hot
//! keys first, then partition by partition, values while there is room and keys alone after, so
//! that in the end every partition knows what only the disk has. Refuses to know how the disk
//! finds a record.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::cache::{DiskState, Fields, INLINE_BYTES_MAX, NewItem, NoRoom};
use crate::command::{Failure, Outcome, Value};
use crate::disk::{DiskError, Found, Head, Load, Request, Scan, Scanned, decode, disk_key};
use crate::hash::{KeyHash, PARTITIONS};
use crate::id::WorkerId;
use crate::message::Caller;
use crate::notice::{Notice, Severity};
use crate::planted::{self, Bug};
use crate::time::Now;

use super::apply::seconds;
use super::{Shard, Sink};

/// Hot keys that are read at once during the warm-up.
const WARM_LOADS_MAX: usize = 64;
/// Records and bytes of one scan.
const SCAN_RECORDS_MAX: u32 = 1000;
const SCAN_BYTES_MAX: u32 = 1024 * 1024;
/// A partition is scanned again once so many reads of it were in vain, and at least one in so
/// many of its tags.
const STALE_TAGS_MIN: u32 = 64;
const STALE_SHARE: u32 = 8;
/// Values up to here are read without asking for their memory first.
const UNASKED_BYTES_MAX: u32 = 1024 * 1024;

/// How far the warm-up has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The hot keys, from this byte of the list on.
    Hot(usize),
    /// The partitions, from this one on.
    Scan(usize),
    Done,
}

/// The warm-up of one shard, and the scans that find out what a partition has on disk.
pub(super) struct Preload {
    stage: Stage,
    /// Saved keys of this shard, hottest first: a length byte and the key, each. Those up to that
    /// byte were in demand.
    hot: Vec<u8>,
    in_demand_until: usize,
    /// Queues that wait for one of these.
    in_demand: BTreeSet<u32>,
    scanning: bool,
    /// Tags that the scan under way has met and not taken into memory.
    disk_only: Vec<u32>,
    /// The scan's memory, between uses.
    spare: Scan,
    spare_load: Vec<Load>,
    /// Partitions with so many stale tags that a scan pays.
    stale: BTreeSet<u16>,
    first_partition: usize,
    step: usize,
}

impl Preload {
    pub(super) fn new(hot: &[Vec<u8>], worker: WorkerId, workers: u16) -> Self {
        let (hot, in_demand_until) = own_hot_keys(hot, worker, workers);
        Self {
            stage: Stage::Hot(0),
            hot,
            in_demand_until,
            in_demand: BTreeSet::new(),
            scanning: false,
            disk_only: Vec::new(),
            spare: Scan::default(),
            spare_load: Vec::new(),
            stale: BTreeSet::new(),
            first_partition: worker.0 as usize,
            step: workers as usize,
        }
    }

    /// A warm-up that has nothing to do.
    pub(super) fn done() -> Self {
        let mut done = Self::new(&[], WorkerId(0), 1);
        done.stage = Stage::Done;
        done
    }

    pub(super) fn is_scanning(&self) -> bool {
        self.scanning
    }

    /// The next hot key, and whether it was in demand.
    fn next_hot(&mut self) -> Option<(Vec<u8>, bool)> {
        let Stage::Hot(at) = self.stage else {
            return None;
        };
        let bytes = usize::from(*self.hot.get(at)?);
        let key = self.hot.get(at + 1..at + 1 + bytes)?.to_vec();
        self.stage = Stage::Hot(at + 1 + bytes);
        Some((key, at < self.in_demand_until))
    }

    fn keep_load(&mut self, mut load: Load) {
        if self.spare_load.len() < WARM_LOADS_MAX {
            load.key.clear();
            load.buffer.clear();
            self.spare_load.push(load);
        }
    }
}

/// Merges the lists of all earlier workers, and keeps what is this one's: the hottest of each
/// first, then the second of each, and so on, and those in demand before all others. Returns how
/// far those go, too. A damaged list ends where it is damaged.
fn own_hot_keys(lists: &[Vec<u8>], worker: WorkerId, workers: u16) -> (Vec<u8>, usize) {
    let mut rest: Vec<(&[u8], bool)> = lists.iter().map(|list| (&list[..], true)).collect();
    let (mut own, mut others) = (Vec::new(), Vec::new());
    loop {
        let mut any = false;
        for (list, in_demand) in &mut rest {
            let Some((&bytes, tail)) = list.split_first() else {
                continue;
            };
            let Some((key, tail)) = tail.split_at_checked(bytes.into()) else {
                *list = &[];
                continue;
            };
            *list = tail;
            any = true;
            *in_demand &= !key.is_empty();
            if KeyHash::of(key).partition() % workers == worker.0 && !key.is_empty() {
                let into = if *in_demand { &mut own } else { &mut others };
                into.push(bytes);
                into.extend_from_slice(key);
            }
        }
        if !any {
            let in_demand_until = own.len();
            own.append(&mut others);
            return (own, in_demand_until);
        }
    }
}

impl Shard {
    /// Asks the disk for the key that heads the queue `slot`, or has it wait its turn. Without one,
    /// for all that waited has gone elsewhere, the queue ends.
    pub(super) fn start_load(&mut self, slot: u32, sink: &mut impl Sink) {
        if self.waits.first_key(slot).is_none() {
            self.waits.end(slot);
            return;
        }
        let Some(ticket) = self.waits.claim_load(slot) else {
            return;
        };
        let Some((key, hash)) = self.waits.first_key(slot) else {
            unreachable!("it had one a moment ago");
        };
        let mut load = self.preload.spare_load.pop().unwrap_or_default();
        disk_key(hash.partition(), key, &mut load.key);
        load.ticket = Some(ticket);
        load.value_bytes_max = UNASKED_BYTES_MAX;
        self.figures.disk_reads += 1;
        sink.disk(Request::Load(load));
    }

    pub(super) fn handle_loaded(
        &mut self,
        now: Now,
        mut load: Load,
        result: Result<Found, DiskError>,
        sink: &mut impl Sink,
    ) {
        if super::copy::is_copys(load.ticket) {
            return self.handle_copy_loaded(now, load, result);
        }
        if let Ok(Found::Oversized { value_bytes }) = result
            && self.cache.charge(value_bytes as usize).is_ok()
        {
            load.value_bytes_max = value_bytes;
            sink.disk(Request::Load(load));
            return;
        }
        if load.value_bytes_max > UNASKED_BYTES_MAX {
            self.cache.discharge(load.value_bytes_max as usize);
        }
        let key = &load.key[size_of::<u16>()..];
        let Some((slot, overtaken)) = load
            .ticket
            .and_then(|ticket| self.waits.loaded(ticket, key))
        else {
            self.figures.stale_events += 1;
            self.preload.keep_load(load);
            return;
        };
        let hash = KeyHash::of(key);
        let in_demand = self.preload.in_demand.remove(&slot);
        let outcome = match result {
            // It may have been read before something newer came and went.
            _ if overtaken => Ok(()),
            Ok(Found::Nothing) => {
                self.figures.disk_read_misses += 1;
                self.note_stale(hash.partition());
                Ok(())
            }
            Ok(Found::Small) => match decode(&load.buffer) {
                Ok((head, value)) => self.take_in(now, hash, key, &head, Value::Small(value)),
                Err(_) => Err(Failure::DiskRead),
            },
            Ok(Found::Large { head, value }) => {
                self.take_in(now, hash, key, &head, Value::Large(value))
            }
            Ok(Found::Oversized { .. }) => Err(Failure::OutOfMemory),
            Err(DiskError::Damaged) => {
                sink.notice(damaged_notice(key));
                Ok(())
            }
            Err(DiskError::Failed | DiskError::Full) => Err(Failure::DiskRead),
        };
        if in_demand && let Some(place) = self.cache.find(hash, key) {
            // Otherwise whatever comes next, such as a fill, would have it leave again.
            let accessed_s = self.cache.view(place).fields.accessed_s;
            self.cache.note_demand(place, accessed_s);
        }
        self.preload.keep_load(load);
        match outcome {
            Ok(()) => self.run_wait(now, slot, sink),
            Err(failure) => self.refuse_wait(slot, failure, sink),
        }
        while let Some(slot) = self.waits.next_waiting() {
            self.start_load(slot, sink);
        }
        self.drive_preload(sink);
    }

    /// Puts a record into memory as a clean item, unless it is dead. Without room it stays on
    /// disk only; who asked for it must not be told that there is none.
    fn take_in(
        &mut self,
        now: Now,
        hash: KeyHash,
        key: &[u8],
        head: &Head,
        value: Value<'_>,
    ) -> Result<(), Failure> {
        if self.hides(hash, key) {
            return Ok(());
        }
        if head.is_dead(now.unix_s(), self.flushed) && !planted::has(Bug::ResurrectAtPreload) {
            self.note_expired(now, head.expires_s);
            return Ok(());
        }
        if self.cache.find(hash, key).is_some() {
            return Ok(());
        }
        self.clock.advance_past(head.version);
        let head = Fields {
            version: if planted::has(Bug::ResurrectAtPreload) {
                self.clock.last()
            } else {
                head.version
            },
            cas: head.cas,
            flags: head.flags,
            expires_s: head.expires_s,
            accessed_s: head.accessed_s.min(seconds(now)),
            stale: head.stale,
            token_sent: head.token_sent,
            fetched: head.fetched,
            tombstone: false,
            on_disk: true,
            disk: DiskState::Clean,
        };
        let taken = self.cache.insert(NewItem {
            hash,
            key,
            head,
            value,
        });
        taken.map(drop).map_err(|NoRoom| {
            self.load_no_memory += 1;
            Failure::OutOfMemory
        })
    }

    /// Refuses every command that waits in `slot`.
    fn refuse_wait(&mut self, slot: u32, failure: Failure, sink: &mut impl Sink) {
        while let Some(pending) = self.waits.pop(slot) {
            sink.answer(pending.caller.token, Outcome::Failed(failure));
            self.waits.recycle(pending);
        }
        self.waits.end(slot);
    }

    /// Goes on warming up, or scanning a partition whose tags have gone stale.
    pub(super) fn drive_preload(&mut self, sink: &mut impl Sink) {
        if self.persist.as_ref().is_none_or(super::Persist::is_failing) {
            return;
        }
        while matches!(self.preload.stage, Stage::Hot(_)) {
            if self.waits.loads() >= WARM_LOADS_MAX {
                return;
            }
            match self.preload.next_hot() {
                Some((key, in_demand)) if self.cache.room_for(INLINE_BYTES_MAX) => {
                    self.warm(&key, in_demand, sink);
                }
                Some(_) | None => {
                    self.preload.stage = Stage::Scan(self.preload.first_partition);
                    self.preload.hot = Vec::new();
                }
            }
        }
        if self.preload.scanning || self.evicting.is_scanning() {
            return;
        }
        if let Stage::Scan(partition) = self.preload.stage {
            if partition < PARTITIONS {
                self.begin_scan(partition as u16, sink);
            } else {
                self.preload.stage = Stage::Done;
                self.note_warm(sink);
            }
        } else if let Some(partition) = self.preload.stale.pop_first() {
            self.begin_scan(partition, sink);
        }
    }

    /// A tag of `partition` has led to nothing on disk, or will from now on.
    pub(super) fn note_stale(&mut self, partition: u16) {
        self.cache.note_stale_tag(partition);
        let state = self.cache.partition(partition);
        let bearable = STALE_TAGS_MIN.max(state.disk_only / STALE_SHARE);
        if state.known && state.stale_tags > bearable {
            self.preload.stale.insert(partition);
        }
    }

    /// Whether the shard has read all that it wants to after the start.
    pub(crate) fn is_warm(&self) -> bool {
        self.preload.stage == Stage::Done
    }

    fn note_warm(&mut self, sink: &mut impl Sink) {
        let items = self.cache.items();
        if self.figures.recovered_items == 0 {
            return;
        }
        sink.notice(Notice {
            severity: Severity::Info,
            event: "warm",
            text: alloc::format!(
                "worker {} is warm: {items} items in memory, {} on disk only",
                self.worker.0,
                self.cache.figures().disk_only,
            ),
        });
    }

    /// Reads one key into memory that nobody has asked for.
    fn warm(&mut self, key: &[u8], in_demand: bool, sink: &mut impl Sink) {
        let hash = KeyHash::of(key);
        if self.cache.find(hash, key).is_some() || self.waits.behind(hash).is_some() {
            return;
        }
        let slot = self.waits.begin(hash);
        if in_demand {
            self.preload.in_demand.insert(slot);
        }
        self.waits.push(
            slot,
            &Caller::default(),
            key,
            &crate::command::Operation::Inspect,
        );
        self.start_load(slot, sink);
    }

    fn begin_scan(&mut self, partition: u16, sink: &mut impl Sink) {
        self.preload.scanning = true;
        self.preload.disk_only.clear();
        self.cache.begin_scan(partition);
        let mut scan = core::mem::take(&mut self.preload.spare);
        scan.partition = partition;
        scan.after.clear();
        self.send_scan(scan, sink);
    }

    fn send_scan(&mut self, mut scan: Scan, sink: &mut impl Sink) {
        scan.values = self.cache.room_for(SCAN_BYTES_MAX as usize);
        scan.records_max = SCAN_RECORDS_MAX;
        scan.bytes_max = SCAN_BYTES_MAX;
        scan.buffer.clear();
        scan.records.clear();
        sink.disk(Request::Scan(scan));
    }

    pub(super) fn handle_scanned(
        &mut self,
        now: Now,
        mut scan: Scan,
        result: Result<bool, DiskError>,
        sink: &mut impl Sink,
    ) {
        if super::copy::is_copys(scan.ticket) {
            return self.handle_copy_scanned(now, scan, result);
        }
        if self.evicting.is_scanning() {
            self.handle_evict_scanned(now, scan, result, sink);
            return;
        }
        let partition = scan.partition;
        let Ok(end) = result else {
            self.preload.scanning = false;
            self.cache.abandon_scan(partition);
            self.preload.spare = scan;
            return;
        };
        for record in &scan.records {
            self.meet_scanned(now, record, &scan.buffer);
        }
        if let Some(last) = scan.records.last() {
            scan.after.clear();
            scan.after.extend_from_slice(last.key.of(&scan.buffer));
        }
        if !end {
            self.send_scan(scan, sink);
            return;
        }
        self.cache.end_scan(partition, &mut self.preload.disk_only);
        self.copies.note_rescan();
        self.preload.scanning = false;
        self.preload.spare = scan;
        if let Stage::Scan(at) = &mut self.preload.stage {
            *at += self.preload.step;
        }
        self.drive_preload(sink);
    }

    /// A record that a scan has met: into memory if it comes with its value and there is room,
    /// else among the tags of what only the disk has.
    fn meet_scanned(&mut self, now: Now, record: &Scanned, buffer: &[u8]) {
        let key = record.key.of(buffer);
        let hash = KeyHash::of(key);
        let dead = record.head.is_dead(now.unix_s(), self.flushed);
        if dead && !planted::has(Bug::ResurrectAtPreload) {
            return;
        }
        // What this run has stored meanwhile was not recovered.
        if !self.is_warm() && record.head.version <= self.started_at_version {
            self.figures.recovered_items += 1;
            self.figures.recovered_bytes += u64::from(record.head.value_bytes);
        }
        if self.cache.find(hash, key).is_some() || self.dooms(hash, key) {
            return;
        }
        let removed = self
            .cache
            .tag_removed_during_scan(hash.partition(), hash.tag());
        let waited_for = self.waits.behind(hash).is_some();
        if let Some(value) = record.value
            && !removed
            && !waited_for
            && !self.hides(hash, key)
            && self.cache.room_for(INLINE_BYTES_MAX)
        {
            let value = Value::Small(value.of(buffer));
            if self.take_in(now, hash, key, &record.head, value).is_ok() {
                return;
            }
        }
        self.preload.disk_only.push(hash.tag());
    }
}

fn damaged_notice(key: &[u8]) -> Notice {
    Notice {
        severity: Severity::Error,
        event: "record-damaged",
        text: alloc::format!(
            "the record of key {} is damaged on disk and counts as missing",
            alloc::string::String::from_utf8_lossy(key),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_in_demand_for_any_worker_goes_before_all_else() {
        let lists = [b"\x01a\x01b\0\x01c".to_vec(), b"\x01d\x09cut".to_vec()];
        let (own, in_demand_until) = own_hot_keys(&lists, WorkerId(0), 1);
        assert_eq!(own, b"\x01a\x01d\x01b\x01c");
        assert_eq!(in_demand_until, 6);
    }
}
