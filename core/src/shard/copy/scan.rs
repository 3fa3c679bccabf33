//! Handing out all that a partition has: first what is in memory, then what only the disk has.
//!
//! Decides the order and what is passed over. Refuses to know who wants it.
//!
//! Memory is walked in the order of tags. An item that is in memory when the walk comes to its tag
//! is handed out there. If it is not, the disk has it, or it is gone; and whatever changes or
//! moves from then on, the disk's turn finds it, unless its present version is known to be handed
//! out already: by this scan, or, in a fill, as a live entry. So no record of what moves between
//! the tiers is needed.

use alloc::vec::Vec;
use bytes::Bytes;

use super::jobs::{Job, Jobs, Want, value_load};
use super::{Copies, Copy, Fingerprint, Rule, Versions, Walk, entry};
use crate::disk::{self, Head, Load, Scanned};
use crate::hash::KeyHash;
use crate::id::Ticket;
use crate::replication::{Entry, Scan};
use crate::time::Time;

/// Marks cursors of the disk's part, whose low bits count what was handed out of it; those of
/// memory's part are a tag. Between the two is the number of the scan, where there is a disk.
const DISK: u64 = 1 << 63;
const SCAN_SHIFT: u32 = 40;
const SCANS_MASK: u64 = (1 << (63 - SCAN_SHIFT)) - 1;
const PLACE_MASK: u64 = (1 << SCAN_SHIFT) - 1;
/// A value up to here is read without asking for its size first.
const UNASKED_BYTES_MAX: u32 = 1024 * 1024;

/// How far a scan is, where there is a disk. Somebody who asks for another scan's cursor, be it
/// that one was forgotten or begun by a message that came twice, gets a new one that goes on there
/// and passes nothing over.
pub(super) struct Reader {
    scan: u64,
    /// What the walk through memory has handed out, where no session remembers it.
    passed: Versions,
    /// The same of the last answer, which may be lost. It has come once somebody asks for more.
    pending: Vec<(Fingerprint, u64)>,
    /// The furthest cursor that was asked for.
    asked: Option<u64>,
    /// The partition was all in memory when the scan began, and how many scans had found out
    /// such things then.
    in_memory_since: Option<u64>,
    /// What comes next has this number and lies behind that key.
    number: u64,
    /// The highest number that was asked for.
    furthest: u64,
    after: Vec<u8>,
    /// What came before it lay behind this one.
    before: Vec<u8>,
    /// It is handed out once more, up to this key: whoever has it already goes on behind that.
    until: Vec<u8>,
    /// Where the piece that is read begins, and whether it is.
    pub(super) walk: Walk,
    pub(super) piece: Option<Piece>,
    value: Option<Large>,
    pub(super) used: Time,
}

/// A stretch of the partition, read and not handed out yet.
pub(super) struct Piece {
    scan: disk::Scan,
    /// Records before this one are through.
    at: usize,
    end: bool,
}

/// A value that does not come with a scan.
struct Large {
    key: Vec<u8>,
    value_bytes_max: u32,
    want: Want,
    /// Read, if it is still there.
    found: Option<Option<(Head, Bytes)>>,
}

/// What becomes of one record.
enum Offer {
    Entry(Entry),
    Passed,
    /// Its value has to be read.
    Wait,
}

impl Piece {
    pub(super) const fn new(scan: disk::Scan, end: bool) -> Self {
        Self { scan, at: 0, end }
    }
}

impl Reader {
    fn new(scan: u64, used: Time) -> Self {
        Self {
            scan,
            passed: Versions::default(),
            pending: Vec::new(),
            asked: None,
            in_memory_since: None,
            number: 1,
            furthest: 0,
            after: Vec::new(),
            before: Vec::new(),
            until: Vec::new(),
            walk: Walk::default(),
            piece: None,
            value: None,
            used,
        }
    }

    pub(super) fn keys(&self) -> usize {
        self.passed.len()
    }

    /// Somebody asks for what comes at this cursor. What was answered to the same before may have
    /// been something else, and either answer may be the one that counts: then none does.
    fn ask(&mut self, cursor: u64) {
        if Some(cursor) > self.asked {
            for (key, version) in self.pending.drain(..) {
                self.passed.note(key, version);
            }
            self.asked = Some(cursor);
        } else {
            self.pending.clear();
        }
    }

    /// What it holds beside keys.
    pub(super) fn bytes(&self) -> usize {
        let piece = self.piece.as_ref();
        let piece = piece.map_or(0, |piece| piece.scan.buffer.capacity());
        let value = self.value.as_ref();
        let value = value.and_then(|value| value.found.as_ref()?.as_ref());
        piece + value.map_or(0, |(_, value)| value.len())
    }

    pub(super) fn holds_piece(&self) -> bool {
        self.piece.is_some() || matches!(self.walk.want, Want::Reading(_))
    }

    pub(super) fn is_waited_for(&self) -> bool {
        let value = self.value.as_ref();
        let value_is_read = value.is_some_and(|value| value.want != Want::Nothing);
        self.walk.want != Want::Nothing || value_is_read
    }

    /// Lets go of what was read; it is read again when somebody asks.
    pub(super) fn drop_piece(&mut self, jobs: &mut Jobs) {
        if let Some(piece) = self.piece.take() {
            jobs.give_back(piece.scan);
        }
        self.value = None;
        self.walk.want = Want::Nothing;
    }

    /// Takes its stand before what has this number. What it has not kept begins at the beginning:
    /// some of it comes twice. False for one that nobody can want any more: whoever has asked for
    /// a later one has had the answer.
    fn stand_at(&mut self, number: u64, jobs: &mut Jobs) -> bool {
        if number < self.furthest {
            return false;
        }
        self.furthest = number;
        if number == self.number {
            return true;
        }
        self.drop_piece(jobs);
        self.until.clear();
        if number + 1 == self.number {
            core::mem::swap(&mut self.until, &mut self.after);
            self.after.clone_from(&self.before);
        } else {
            self.after.clear();
            self.before.clear();
        }
        self.number = number;
        true
    }

    /// Something was handed out, up to this key.
    fn step(&mut self, last: &[u8]) {
        self.before.clone_from(&self.after);
        if !last.is_empty() {
            self.after.clear();
            self.after.extend_from_slice(last);
        }
        self.until.clear();
        self.number += 1;
    }

    /// Has the next piece read, unless it is there or on its way.
    fn want_piece(&mut self, partition: u16, jobs: &mut Jobs) {
        if self.piece.is_none() && self.walk.want == Want::Nothing {
            let after = core::mem::take(&mut self.after);
            self.walk.start(&after);
            self.after = after;
            self.walk.want = Want::Queued;
            jobs.push(partition, Job::Piece);
        }
    }

    /// The value of `key`, if it was read; otherwise it will be.
    fn value_of(
        &mut self,
        partition: u16,
        key: &[u8],
        jobs: &mut Jobs,
    ) -> Option<Option<(Head, Bytes)>> {
        let known = self.value.as_mut().filter(|value| value.key == key);
        if let Some(found) = known.and_then(|value| value.found.take()) {
            self.value = None;
            return Some(found);
        }
        let value = match &mut self.value {
            Some(value) if value.key == key => value,
            other => other.insert(Large {
                key: key.to_vec(),
                value_bytes_max: UNASKED_BYTES_MAX,
                want: Want::Nothing,
                found: None,
            }),
        };
        if value.want == Want::Nothing {
            value.want = Want::Queued;
            jobs.push(partition, Job::Value);
        }
        None
    }

    /// The read of the value that is wanted.
    pub(super) fn value_load(&mut self, partition: u16, ticket: Ticket, now: Time) -> Option<Load> {
        self.used = now;
        let value = self.value.as_mut()?;
        if value.want != Want::Queued {
            return None;
        }
        value.want = Want::Reading(ticket.generation);
        let load = value_load(partition, &value.key, value.value_bytes_max, ticket);
        Some(load)
    }

    fn value_read(&mut self, number: u32) -> Option<&mut Large> {
        let value = self.value.as_mut();
        let value = value.filter(|value| value.want == Want::Reading(number))?;
        value.want = Want::Nothing;
        Some(value)
    }

    /// The value is larger than was asked for.
    pub(super) fn value_needs(&mut self, number: u32, value_bytes: u32) {
        if let Some(value) = self.value_read(number) {
            value.value_bytes_max = value_bytes;
        }
    }

    /// The value was read; `None` asks for it again.
    pub(super) fn value_found(&mut self, number: u32, found: Option<Option<(Head, Bytes)>>) {
        if let Some(value) = self.value_read(number) {
            value.found = found;
        }
    }
}

impl Copy<'_> {
    pub(super) fn hand_out(
        &mut self,
        cursor: u64,
        bytes_max: usize,
        into: &mut Vec<Entry>,
    ) -> Scan {
        let place = cursor & PLACE_MASK;
        let from = u32::try_from(place).unwrap_or(u32::MAX);
        if self.shard.persist.is_none() {
            let next = self.hand_out_memory(from, bytes_max, into);
            return next.map_or(Scan::End, |next| Scan::Next(next.into()));
        }
        let scan = self.go_on_with(cursor);
        if cursor & DISK != 0 {
            return self.hand_out_disk(place, bytes_max, into);
        }
        let reader = self.reader();
        let is_first = Some(place) > reader.asked;
        reader.ask(place);
        let is_first = is_first || !self.shard.copies.keeps(Rule::LostIsHandedOutAgain);
        let next = self.hand_out_memory(from, bytes_max, into);
        if !is_first {
            self.reader().pending.clear();
        }
        if let Some(next) = next {
            return Scan::Next(scan << SCAN_SHIFT | u64::from(next));
        }
        if self.is_all_in_memory() {
            self.end_scan();
            return Scan::End;
        }
        Scan::Next(DISK | scan << SCAN_SHIFT | self.reader().number)
    }

    fn reader(&mut self) -> &mut Reader {
        let now = self.now.time;
        let part = self.part();
        part.reader.get_or_insert_with(|| Reader::new(0, now))
    }

    /// Finds the scan that a cursor belongs to, or begins it. Returns its number.
    fn go_on_with(&mut self, cursor: u64) -> u64 {
        let now = self.now.time;
        let mut scan = cursor >> SCAN_SHIFT & SCANS_MASK;
        if cursor == 0 {
            self.shard.copies.scans = self.shard.copies.scans % SCANS_MASK + 1;
            scan = self.shard.copies.scans;
        }
        let reader = self.part().reader.as_mut();
        if let Some(reader) = reader.filter(|reader| reader.scan == scan) {
            reader.used = now;
            return scan;
        }
        let mut reader = Reader::new(scan, now);
        // Nothing is known of what somebody has who does not come from the beginning.
        reader.asked = (cursor != 0).then_some(u64::MAX);
        let complete = self.shard.cache.partition(self.partition).complete;
        let rescans = self.shard.copies.rescans;
        reader.in_memory_since = (complete && cursor == 0).then_some(rescans);
        if let Some(mut before) = self.part().reader.replace(reader) {
            before.drop_piece(&mut self.shard.copies.jobs);
        }
        scan
    }

    /// Whether nothing was on disk only at any time since the scan began: what is known to be
    /// there grows, but for a scan that finds it out anew.
    fn is_all_in_memory(&mut self) -> bool {
        let complete = self.shard.cache.partition(self.partition).complete;
        let rescans = self.shard.copies.rescans;
        complete && self.reader().in_memory_since == Some(rescans)
    }

    fn end_scan(&mut self) {
        let part = self.part();
        if part.given.is_none() {
            part.reader = None;
        }
        self.shard.copies.tidy(self.partition);
    }

    /// Hands out what is in memory from a tag on; the next tag, if it goes on.
    fn hand_out_memory(
        &mut self,
        mut from: u32,
        bytes_max: usize,
        into: &mut Vec<Entry>,
    ) -> Option<u32> {
        let mut bytes = 0;
        while let Some(tag) = self.shard.cache.next_tag(self.partition, from) {
            if bytes >= bytes_max {
                return Some(from);
            }
            from = tag + 1;
            let mut at = self.shard.cache.find_tag(self.partition, tag, None);
            while let Some(place) = at {
                let view = self.shard.cache.view(place);
                let key = Fingerprint::of(KeyHash::of(view.key), view.key);
                let hidden = self.part_hides(key);
                let entry = self.shard.memory_entry(self.now, &view);
                if let Some(entry) = entry.filter(|_| !hidden) {
                    bytes += entry.bytes();
                    self.note_handed_out(key, entry.version);
                    into.push(entry);
                }
                at = self.shard.cache.find_tag(self.partition, tag, at);
            }
        }
        None
    }

    fn part_hides(&self, key: Fingerprint) -> bool {
        let part = self.shard.copies.parts.get(&self.partition);
        part.is_some_and(|part| part.hides(key))
    }

    fn note_handed_out(&mut self, key: Fingerprint, version: u64) {
        let Some(part) = self.shard.copies.parts.get_mut(&self.partition) else {
            return;
        };
        match (&mut part.given, &mut part.reader) {
            (Some(given), _) => given.note(key, version),
            (None, Some(reader)) => {
                reader.pending.push((key, version));
                true
            }
            (None, None) => false,
        };
        self.shard.copies.noted += 1;
    }

    fn hand_out_disk(&mut self, number: u64, bytes_max: usize, into: &mut Vec<Entry>) -> Scan {
        let partition = self.partition;
        let Copies { parts, jobs, .. } = &mut self.shard.copies;
        let Some(reader) = parts.get_mut(&partition).and_then(|it| it.reader.as_mut()) else {
            return Scan::Wait;
        };
        reader.ask(DISK);
        if !reader.stand_at(number, jobs) {
            return Scan::Wait;
        }
        let Some(mut piece) = reader.piece.take() else {
            reader.want_piece(partition, jobs);
            return Scan::Wait;
        };
        let until = core::mem::take(&mut reader.until);
        let mut bytes = 0;
        let mut waits = false;
        while let Some(record) = piece.scan.records.get(piece.at)
            && bytes < bytes_max
            && (until.is_empty() || record.key.of(&piece.scan.buffer) <= &until[..])
        {
            match self.offer(record, &piece.scan.buffer) {
                Offer::Entry(entry) => {
                    bytes += entry.bytes();
                    into.push(entry);
                }
                Offer::Passed => {}
                Offer::Wait => {
                    waits = true;
                    break;
                }
            }
            piece.at += 1;
        }
        self.after_piece(piece, until, waits && into.is_empty())
    }

    /// Puts the rest of a piece back, or has the next one read.
    fn after_piece(&mut self, piece: Piece, until: Vec<u8>, waits: bool) -> Scan {
        let partition = self.partition;
        let Copies { parts, jobs, .. } = &mut self.shard.copies;
        let Some(reader) = parts.get_mut(&partition).and_then(|it| it.reader.as_mut()) else {
            return Scan::Wait;
        };
        if waits {
            reader.piece = Some(piece);
            reader.until = until;
            return Scan::Wait;
        }
        let last = piece.at.checked_sub(1).map(|at| piece.scan.records[at].key);
        let last = last.map_or(&[][..], |key| key.of(&piece.scan.buffer));
        reader.step(last);
        if piece.at < piece.scan.records.len() {
            reader.piece = Some(piece);
        } else if piece.end {
            jobs.give_back(piece.scan);
            return Scan::End;
        } else {
            jobs.give_back(piece.scan);
            reader.want_piece(partition, jobs);
        }
        Scan::Next(DISK | reader.scan << SCAN_SHIFT | reader.number)
    }

    /// What is to be handed out of a record that the disk has, or had when it was read.
    fn offer(&mut self, record: &Scanned, buffer: &[u8]) -> Offer {
        let key = record.key.of(buffer);
        let hash = KeyHash::of(key);
        let fingerprint = Fingerprint::of(hash, key);
        let place = self.shard.cache.find(hash, key);
        let version = place.map_or(record.head.version, |place| {
            self.shard.cache.view(place).fields.version
        });
        let moved = place.is_some() && !self.shard.copies.keeps(Rule::MovedIsHandedOut);
        if moved || self.shard.hides(hash, key) || !self.is_unknown(fingerprint, version) {
            return Offer::Passed;
        }
        if let Some(place) = place {
            let view = self.shard.cache.view(place);
            return match self.shard.memory_entry(self.now, &view) {
                Some(entry) => self.hand(fingerprint, entry),
                None => Offer::Passed,
            };
        }
        if record.head.is_dead(self.now.unix_s(), self.shard.flushed) {
            return Offer::Passed;
        }
        match record.value {
            Some(value) => self.hand(fingerprint, entry(key, &record.head, value.of(buffer))),
            None if record.head.value_bytes == 0 => {
                self.hand(fingerprint, entry(key, &record.head, &[]))
            }
            None => self.offer_large(key, fingerprint),
        }
    }

    /// Whether this version of a key has not been handed out yet.
    fn is_unknown(&self, key: Fingerprint, version: u64) -> bool {
        let part = self.shard.copies.parts.get(&self.partition);
        part.is_none_or(|part| match (&part.given, &part.reader) {
            (Some(given), _) => given.is_newer(key, version),
            (None, Some(reader)) => reader.passed.is_newer(key, version),
            (None, None) => true,
        })
    }

    fn hand(&mut self, key: Fingerprint, entry: Entry) -> Offer {
        if let Some(given) = &mut self.part().given {
            given.note(key, entry.version);
        }
        Offer::Entry(entry)
    }

    fn offer_large(&mut self, key: &[u8], fingerprint: Fingerprint) -> Offer {
        let partition = self.partition;
        let Copies { parts, jobs, .. } = &mut self.shard.copies;
        let Some(reader) = parts.get_mut(&partition).and_then(|it| it.reader.as_mut()) else {
            return Offer::Wait;
        };
        match reader.value_of(partition, key, jobs) {
            None => Offer::Wait,
            Some(None) => Offer::Passed,
            Some(Some((head, value))) => {
                if !self.is_unknown(fingerprint, head.version) {
                    return Offer::Passed;
                }
                self.hand(fingerprint, entry(key, &head, &value))
            }
        }
    }
}
