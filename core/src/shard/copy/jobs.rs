//! What copies want of the disk: pieces of scans, and values too large for a scan.
//!
//! Decides how much is asked for at once and in which order. Refuses to know what a copy does with
//! a piece.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use super::scan::Piece;
use super::versions::KEY_BYTES;
use super::{Fingerprint, MERGES_MAX, Merge, Phase, Walk};
use crate::disk::{DiskError, Found, Load, Request, Scan, decode, disk_key};
use crate::hash::KeyHash;
use crate::id::Ticket;
use crate::shard::{Pressure, Shard, Sink};
use crate::time::{Now, Time};

/// Reads under way at once: commands have their own, and go ahead.
const READS_MAX: usize = 2;
/// Pieces that are read or wait to be handed out.
const PIECES_MAX: usize = 8;
/// Records of one piece.
const RECORDS_MAX: u32 = 1000;
/// Keys that are buried at once.
const BURIED_MAX: u32 = 256;
/// Bytes of one piece of keys and heads.
const HEADS_BYTES_MAX: u32 = 256 * 1024;
/// A piece that nobody has fetched is dropped after so long, in milliseconds, and read again: others
/// wait for its place.
const PIECE_MS_MAX: u64 = 500;
/// A scan that nobody goes on with is forgotten after so long, in milliseconds.
const SCAN_MS_MAX: u64 = 60_000;
/// The wait after a read that has failed, in milliseconds.
const RETRY_MS: u64 = 500;
/// How often what is idle is looked for, in milliseconds.
const TEND_MS: u64 = 200;
/// The memory limit is told of maps again after so many new keys.
const NOTED_MAX: u32 = 4096;
/// Marks the tickets of copies among those of commands.
const COPY_SLOT: u32 = 1 << 31;

/// What a read is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Job {
    /// Buries what is doomed.
    Purge,
    /// Finds out versions.
    Merge,
    /// Is handed out.
    Piece,
    /// One value, to be handed out.
    Value,
}

/// Whether a job's next read is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Want {
    #[default]
    Nothing,
    Queued,
    /// Under way, under this number.
    Reading(u32),
}

/// The reads of all copies of a shard.
#[derive(Default)]
pub(super) struct Jobs {
    queue: VecDeque<(u16, Job)>,
    /// Whose jobs have got further.
    scanned: BTreeSet<u16>,
    pub(super) stopped: bool,
    reads: usize,
    number: u32,
    retry_at: Time,
    spare: Vec<Scan>,
}

impl Jobs {
    /// Has a job's next piece read in its turn.
    pub(super) fn push(&mut self, partition: u16, job: Job) {
        self.queue.push_back((partition, job));
    }

    pub(super) fn note_scanned(&mut self, partition: u16) {
        self.scanned.insert(partition);
    }

    /// Takes back a scan's memory.
    pub(super) fn give_back(&mut self, mut scan: Scan) {
        if self.spare.len() < READS_MAX {
            scan.buffer.clear();
            scan.records.clear();
            scan.after.clear();
            self.spare.push(scan);
        }
    }

    /// Reads asked for so far.
    #[cfg(test)]
    pub(super) const fn number_of_reads(&self) -> u32 {
        self.number
    }

    fn ticket(&mut self, partition: u16, job: Job) -> Ticket {
        self.number = self.number.wrapping_add(1);
        Ticket {
            slot: COPY_SLOT | (job as u32) << 16 | u32::from(partition),
            generation: self.number,
        }
    }
}

/// What a ticket was for, if it is a copy's.
fn job_of(ticket: Option<Ticket>) -> Option<(u16, Job, u32)> {
    let Ticket { slot, generation } = ticket?;
    let jobs = [Job::Purge, Job::Merge, Job::Piece, Job::Value];
    let number = (slot & !COPY_SLOT) >> 16;
    let job = jobs.into_iter().find(|job| *job as u32 == number)?;
    (slot & COPY_SLOT != 0).then_some((slot as u16, job, generation))
}

/// Whether a read that comes back is a copy's.
pub(in crate::shard) fn is_copys(ticket: Option<Ticket>) -> bool {
    job_of(ticket).is_some()
}

// Asking.
impl Shard {
    /// Asks the disk for what copies want next.
    pub(crate) fn drive_copies(&mut self, now: Now, sink: &mut impl Sink) {
        let copies = &self.copies;
        if copies.parts.is_empty() && copies.charged_bytes == 0 && copies.mixed.is_empty() {
            if !self.copies.unburied.is_empty() {
                self.bury_rest(now);
            }
            return;
        }
        self.tend_copies(now);
        if now.time < self.copies.jobs.retry_at || self.copies.jobs.stopped {
            return;
        }
        while self.copies.jobs.reads < READS_MAX {
            let pressed = self.pressure(now) != Pressure::None;
            let crowded = self.copies.pieces() >= PIECES_MAX;
            let may = |(_, job): &(u16, Job)| match job {
                Job::Purge => !pressed,
                Job::Piece => !crowded,
                Job::Merge | Job::Value => true,
            };
            let next = self.copies.jobs.queue.iter().position(may);
            let next = next.and_then(|at| self.copies.jobs.queue.remove(at));
            let Some((partition, job)) = next else {
                break;
            };
            self.ask(partition, job, now.time, sink);
        }
    }

    /// Partitions of which something has come that a replica has waited for.
    pub(crate) fn take_scanned(&mut self) -> Vec<u16> {
        let scanned = core::mem::take(&mut self.copies.jobs.scanned);
        scanned.into_iter().collect()
    }

    fn ask(&mut self, partition: u16, job: Job, now: Time, sink: &mut impl Sink) {
        let copies = &mut self.copies;
        let ticket = copies.jobs.ticket(partition, job);
        let Some(part) = copies.parts.get_mut(&partition) else {
            return;
        };
        let mut scan = copies.jobs.spare.pop().unwrap_or_default();
        let walk = match (job, &mut part.phase, &mut part.merge, &mut part.reader) {
            (Job::Purge, Phase::Purging { purge, .. }, _, _) => purge,
            (Job::Merge, _, Some(merge), _) => &mut merge.walk,
            (Job::Piece, _, _, Some(reader)) => &mut reader.walk,
            (Job::Value, _, _, Some(reader)) => {
                copies.jobs.give_back(scan);
                let Some(load) = reader.value_load(partition, ticket, now) else {
                    return;
                };
                copies.jobs.reads += 1;
                self.figures.disk_reads += 1;
                return sink.disk(Request::Load(load));
            }
            _ => return copies.jobs.give_back(scan),
        };
        if walk.want != Want::Queued {
            return copies.jobs.give_back(scan);
        }
        walk.want = Want::Reading(ticket.generation);
        copies.jobs.reads += 1;
        scan.ticket = Some(ticket);
        scan.partition = partition;
        scan.after.clear();
        scan.after.extend_from_slice(&walk.after);
        scan.values = job == Job::Piece;
        scan.records_max = if job == Job::Purge {
            BURIED_MAX
        } else {
            RECORDS_MAX
        };
        scan.bytes_max = HEADS_BYTES_MAX;
        sink.disk(Request::Scan(scan));
    }

    /// Drops what nobody goes on with, and has the maps count towards the memory limit.
    fn tend_copies(&mut self, now: Now) {
        let due = now.time >= self.copies.tend_at;
        if !due && self.copies.noted < NOTED_MAX {
            return;
        }
        self.copies.noted = 0;
        self.copies.tend_at = now.time.plus_millis(TEND_MS);
        if !self.copies.unburied.is_empty() {
            self.bury_rest(now);
        }
        self.settle_mixed();
        let mut idle = Vec::new();
        let mut bytes = 0;
        for (partition, part) in &mut self.copies.parts {
            if let Some(reader) = &mut part.reader {
                let since_ms = now.time.millis_since(reader.used);
                if since_ms > PIECE_MS_MAX && !reader.is_waited_for() {
                    reader.drop_piece(&mut self.copies.jobs);
                }
                if since_ms > SCAN_MS_MAX && part.given.is_none() {
                    part.reader = None;
                }
            }
            if part.is_idle() {
                idle.push(*partition);
            }
            bytes += part.keys() * KEY_BYTES;
            bytes += part.reader.as_ref().map_or(0, super::Reader::bytes);
        }
        for partition in idle {
            self.copies.tidy(partition);
        }
        self.charge_copies(bytes);
    }

    /// Without room the maps stay as they are: the next try may evict something for them.
    fn charge_copies(&mut self, bytes: usize) {
        let charged = self.copies.charged_bytes;
        if bytes < charged {
            self.cache.discharge(charged - bytes);
            self.copies.charged_bytes = bytes;
        } else if bytes > charged && self.cache.charge(bytes - charged).is_ok() {
            self.copies.charged_bytes = bytes;
        }
    }
}

impl super::Copies {
    /// Pieces that are read or wait to be handed out.
    fn pieces(&self) -> usize {
        let readers = self.parts.values().flat_map(|part| &part.reader);
        readers.filter(|reader| reader.holds_piece()).count()
    }
}

// What comes back.
impl Shard {
    pub(in crate::shard) fn handle_copy_scanned(
        &mut self,
        now: Now,
        mut scan: Scan,
        result: Result<bool, DiskError>,
    ) {
        self.copies.jobs.reads -= 1;
        let Some((partition, job, number)) = job_of(scan.ticket.take()) else {
            return;
        };
        let retries = result.is_err();
        if retries {
            self.copies.jobs.retry_at = now.time.plus_millis(RETRY_MS);
        }
        let Some(part) = self.copies.parts.get_mut(&partition) else {
            return self.copies.jobs.give_back(scan);
        };
        let walk = match (job, &mut part.phase, &mut part.merge, &mut part.reader) {
            (Job::Purge, Phase::Purging { purge, .. }, _, _) => purge,
            (Job::Merge, _, Some(merge), _) => &mut merge.walk,
            (Job::Piece, _, _, Some(reader)) => &mut reader.walk,
            _ => return self.copies.jobs.give_back(scan),
        };
        if walk.want != Want::Reading(number) {
            return self.copies.jobs.give_back(scan);
        }
        let Ok(end) = result else {
            walk.want = Want::Queued;
            self.copies.jobs.push(partition, job);
            return self.copies.jobs.give_back(scan);
        };
        walk.want = Want::Nothing;
        match job {
            Job::Purge => self.purge_on(now, scan, end),
            Job::Merge => self.learn_versions(scan, end),
            Job::Piece | Job::Value => {
                if let Some(reader) = &mut part.reader {
                    reader.piece = Some(Piece::new(scan, end));
                }
                self.copies.jobs.note_scanned(partition);
            }
        }
    }

    pub(in crate::shard) fn handle_copy_loaded(
        &mut self,
        now: Now,
        mut load: Load,
        result: Result<Found, DiskError>,
    ) {
        self.copies.jobs.reads -= 1;
        let Some((partition, _, number)) = job_of(load.ticket.take()) else {
            return;
        };
        if matches!(result, Err(DiskError::Failed | DiskError::Full)) {
            self.copies.jobs.retry_at = now.time.plus_millis(RETRY_MS);
        }
        let part = self.copies.parts.get_mut(&partition);
        let Some(reader) = part.and_then(|part| part.reader.as_mut()) else {
            return;
        };
        if let Ok(Found::Oversized { value_bytes }) = &result {
            reader.value_needs(number, *value_bytes);
        } else {
            let found = match result {
                Ok(Found::Small) => match decode(&load.buffer) {
                    Ok((head, value)) => Some(Some((head, bytes::Bytes::copy_from_slice(value)))),
                    Err(_) => Some(None),
                },
                Ok(Found::Large { head, value }) => Some(Some((head, value))),
                Ok(Found::Nothing | Found::Oversized { .. }) | Err(DiskError::Damaged) => {
                    Some(None)
                }
                Err(DiskError::Failed | DiskError::Full) => None,
            };
            reader.value_found(number, found);
        }
        self.copies.jobs.note_scanned(partition);
    }

    // Burying what is doomed.

    /// Begins, or begins anew, to bury what a partition has on disk and must not have.
    pub(super) fn begin_purge(&mut self, partition: u16) {
        let part = self.copies.parts.get_mut(&partition);
        if let Some(Phase::Purging { purge, .. }) = part.map(|part| &mut part.phase)
            && purge.want == Want::Nothing
        {
            purge.want = Want::Queued;
            self.copies.jobs.push(partition, Job::Purge);
        }
    }

    fn purge_on(&mut self, now: Now, scan: Scan, end: bool) {
        let partition = scan.partition;
        let mut after = scan.after.clone();
        let mut through = true;
        for record in &scan.records {
            let key = record.key.of(&scan.buffer);
            through = self.bury_doomed(now, key);
            if !through {
                break;
            }
            after.clear();
            after.extend_from_slice(key);
        }
        self.copies.jobs.give_back(scan);
        let part = self.copies.part(partition);
        if through && end {
            part.phase = Phase::Whole;
            self.note_unmixed(partition, now.time);
            return self.copies.tidy(partition);
        }
        if let Phase::Purging { purge, .. } = &mut part.phase {
            purge.after = after;
        }
        if !through {
            self.copies.jobs.retry_at = now.time.plus_millis(RETRY_MS);
        }
        self.begin_purge(partition);
    }

    // Finding out versions.

    /// Whether all versions of a partition are known; has them found out.
    pub(super) fn prepare_merge(&mut self, partition: u16) -> bool {
        let part = self.copies.parts.get(&partition);
        if let Some(merge) = part.and_then(|part| part.merge.as_ref()) {
            return merge.ready;
        }
        // Where memory has all of it, the disk need not be asked.
        let reads = self.persist.is_some() && !self.cache.partition(partition).complete;
        if self.persist.is_some() && self.copies.merges >= MERGES_MAX {
            self.copies.crowded.insert(partition);
            return false;
        }
        self.copies.crowded.remove(&partition);
        self.copies.merges += 1;
        let mut merge = Merge::default();
        let mut from = 0;
        // What is in memory now may leave it before the scan is where it will be.
        while let Some(tag) = self.cache.next_tag(partition, from) {
            from = tag + 1;
            let mut at = self.cache.find_tag(partition, tag, None);
            while let Some(place) = at {
                let view = self.cache.view(place);
                let key = Fingerprint::of(KeyHash::of(view.key), view.key);
                merge.versions.note(key, view.fields.version);
                at = self.cache.find_tag(partition, tag, at);
            }
        }
        merge.ready = !reads;
        if reads {
            merge.walk.want = Want::Queued;
            self.copies.jobs.push(partition, Job::Merge);
        }
        self.copies.part(partition).merge = Some(merge);
        !reads
    }

    fn learn_versions(&mut self, mut scan: Scan, end: bool) {
        let partition = scan.partition;
        let part = self.copies.part(partition);
        for record in &scan.records {
            let key = record.key.of(&scan.buffer);
            let fingerprint = Fingerprint::of(KeyHash::of(key), key);
            if !part.hides(fingerprint)
                && let Some(merge) = &mut part.merge
            {
                merge.versions.note(fingerprint, record.head.version);
            }
        }
        if let Some(merge) = &mut part.merge {
            merge.ready = end;
            if let Some(last) = scan.records.last() {
                merge.walk.after.clear();
                merge
                    .walk
                    .after
                    .extend_from_slice(last.key.of(&scan.buffer));
            }
            if !end {
                merge.walk.want = Want::Queued;
            }
        }
        scan.records.clear();
        self.copies.jobs.give_back(scan);
        if end {
            self.copies.jobs.note_scanned(partition);
        } else {
            self.copies.jobs.push(partition, Job::Merge);
        }
    }

    pub(super) fn end_merge(&mut self, partition: u16) {
        let part = self.copies.parts.get_mut(&partition);
        self.copies.crowded.remove(&partition);
        if part.and_then(|part| part.merge.take()).is_some() {
            self.copies.merges -= 1;
            self.copies.tidy(partition);
            if let Some(next) = self.copies.crowded.pop_first() {
                self.copies.jobs.note_scanned(next);
            }
        }
    }
}

impl Walk {
    /// Goes on from here, once somebody asks.
    pub(super) fn start(&mut self, after: &[u8]) {
        self.after.clear();
        self.after.extend_from_slice(after);
        self.want = Want::Nothing;
    }
}

/// A read of one record for a copy.
pub(super) fn value_load(partition: u16, key: &[u8], value_bytes_max: u32, ticket: Ticket) -> Load {
    let mut load = Load::default();
    disk_key(partition, key, &mut load.key);
    load.ticket = Some(ticket);
    load.value_bytes_max = value_bytes_max;
    load
}
