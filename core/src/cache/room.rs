//! Making room: which records give way, which move on, which segments are emptied.
//!
//! Decides eviction (S3-FIFO over two queues of segments) and compaction. Refuses to know
//! commands. Work for one request is bounded: once it has moved [`MOVED_BYTES_MAX`], demand no
//! longer protects an item; and where all is dirty the answer is [`NoRoom`] at once.

use super::log::{Charge, Location, Queue, SEGMENT_BYTES};
use super::record::{RECORD_BYTES_MAX, Record};
use super::{Cache, NoRoom, segments_max};
use crate::hash::KeyHash;

/// Kept free for records that move while a segment is emptied: they go to two queues, each of
/// which may have to begin a segment and to leave a rest in the one before.
const RESERVE_BYTES: usize = 2 * (SEGMENT_BYTES + RECORD_BYTES_MAX);
/// Bytes that are moved for one request before frequency stops to matter.
const MOVED_BYTES_MAX: usize = 8 * SEGMENT_BYTES;
/// The queue of newcomers is emptied first while it has more than this share of all items.
const SMALL_SHARE_PERCENT: usize = 10;
/// Accesses that a newcomer needs to move on to the main queue.
const PROMOTION_FREQUENCY: u8 = 1;
/// Dead share of what is written, in percent, above which compaction comes before eviction.
const DEAD_PERCENT: usize = 8;
/// Dead share of a segment, in percent, from which on it is worth compacting.
const DEAD_SEGMENT_PERCENT: usize = 30;
/// Segments looked at for the one with the most dead bytes.
const SEARCH_SEGMENTS_MAX: u32 = 1024;
/// Segments of a queue looked at for one of which most may go.
const VICTIMS_MAX: usize = 64;
/// What a segment must gain to be emptied when nothing better is left.
const GAIN_BYTES_MIN: usize = SEGMENT_BYTES / 16;
/// Share of the limit that tag sets may take: one part in so many.
const TAGS_PART: usize = 4;

/// What room is made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    /// The queue that the record goes to.
    pub(super) queue: Queue,
    /// The record's length; 0 for none.
    pub(super) record_bytes: usize,
    /// The partition whose index gets an entry more.
    pub(super) new_key_of: Option<u16>,
    /// Memory of the value's own.
    pub(super) large_bytes: usize,
    /// Memory of a value that will be let go in exchange.
    pub(super) freed_bytes: usize,
    /// Memory for anything else.
    pub(super) other_bytes: usize,
}

impl Default for Goal {
    fn default() -> Self {
        Self {
            queue: Queue::Small,
            record_bytes: 0,
            new_key_of: None,
            large_bytes: 0,
            freed_bytes: 0,
            other_bytes: 0,
        }
    }
}

enum Fate {
    Keep(Queue, u8),
    Evict,
    Due,
}

impl Cache {
    /// Changes the limit. Where it falls, items are evicted until it is met or nothing more may
    /// go; [`used_bytes`](Self::used_bytes) tells.
    pub fn set_limit_bytes(&mut self, limit_bytes: usize) {
        self.settings.limit_bytes = limit_bytes;
        if self.ghost.misfits(limit_bytes) {
            self.ghost = super::Ghost::new(limit_bytes);
        }
        let goal = Goal::default();
        self.give_up_tags();
        self.raise_ceiling();
        let excess = self.used_bytes().saturating_sub(limit_bytes);
        let mut moves_left = MOVED_BYTES_MAX + 2 * excess;
        while !self.fits(&goal) && self.reclaim(&goal, &mut moves_left) {}
        self.log.fit_tables(segments_max(limit_bytes));
        self.trim();
    }

    /// Counts memory that the caller holds towards the limit, and evicts to make room for it.
    ///
    /// # Errors
    /// When there is no room for it; it is then not counted.
    pub fn charge(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let goal = Goal {
            other_bytes: bytes,
            ..Goal::default()
        };
        self.make_room(&goal)?;
        self.external_bytes += bytes;
        Ok(())
    }

    /// Takes back a [`charge`](Self::charge), or a part of one.
    ///
    /// # Panics
    /// If more is taken back than was charged.
    pub fn discharge(&mut self, bytes: usize) {
        assert!(bytes <= self.external_bytes, "more discharged than charged");
        self.external_bytes -= bytes;
    }

    /// Whether an item that takes `bytes`, key and value, would need no eviction.
    #[must_use]
    pub fn room_for(&self, bytes: usize) -> bool {
        // A partition's index may grow by its own length, nearly.
        let slack = super::record::HEADER_BYTES + 20 + SEGMENT_BYTES / 4;
        self.fits(&Goal {
            record_bytes: bytes.min(RECORD_BYTES_MAX),
            other_bytes: super::large_value_bytes(bytes.saturating_sub(RECORD_BYTES_MAX)) + slack,
            ..Goal::default()
        })
    }

    /// Bytes that tag sets may take together.
    pub(super) fn tag_bytes_max(&self) -> usize {
        self.settings.limit_bytes / TAGS_PART
    }

    /// Makes room and opens the segment that the record goes to.
    pub(super) fn make_room(&mut self, goal: &Goal) -> Result<(), NoRoom> {
        if !self.fits(goal) {
            if self.is_hopeless(goal) {
                return Err(NoRoom);
            }
            self.raise_ceiling();
            let mut moves_left = MOVED_BYTES_MAX;
            while !self.fits(goal) {
                if !self.reclaim(goal, &mut moves_left) {
                    return Err(NoRoom);
                }
            }
        }
        if goal.record_bytes > self.log.open_room(goal.queue) {
            self.log.open(goal.queue);
        }
        let more = self.additional_bytes(goal);
        while self.used_bytes() + more > self.settings.limit_bytes && self.log.drop_spare() {}
        Ok(())
    }

    /// Lets records move while the limit is exceeded, since it has been lowered below what must
    /// stay: emptying a segment then takes a new one for a moment.
    fn raise_ceiling(&mut self) {
        let (used, limit) = (self.used_bytes(), self.settings.limit_bytes);
        self.ceiling_bytes = if used > limit {
            used + 2 * SEGMENT_BYTES
        } else {
            limit
        };
    }

    /// Gives spares back until the limit is met. Tables may grow where no room was made: when a
    /// record is removed during a scan.
    pub(super) fn trim(&mut self) {
        while self.used_bytes() > self.settings.limit_bytes && self.log.drop_spare() {}
    }

    /// Releases a segment without live records, or starts it afresh if it is being filled.
    pub(super) fn settle(&mut self, number: u32) {
        let segment = self.log.segment(number);
        if segment.live > 0 || segment.queue.is_none() {
            return;
        }
        if self.log.is_open(number) {
            self.log.rewind(number);
        } else {
            self.log.release(number);
        }
        if self.partial == Some(number) {
            self.partial = None;
        }
    }

    /// What a goal adds beside its record.
    fn additional_bytes(&self, goal: &Goal) -> usize {
        let index = goal.new_key_of.map_or(0, |partition| {
            self.partitions[self.dense(partition)].index.growth_bytes()
        });
        let table = if goal.large_bytes > 0 {
            self.large.growth_bytes()
        } else {
            0
        };
        goal.large_bytes.saturating_sub(goal.freed_bytes) + goal.other_bytes + index + table
    }

    /// Whether there is room, with the reserve for moving records untouched.
    pub(super) fn fits(&self, goal: &Goal) -> bool {
        let committed = self.used_bytes() - self.log.spare_bytes();
        let committed = committed.saturating_add(self.additional_bytes(goal));
        let Some(free) = self.settings.limit_bytes.checked_sub(committed) else {
            return false;
        };
        let mut segments = free / SEGMENT_BYTES;
        let mut room = self.log.open_room(Queue::Small) + self.log.open_room(Queue::Main);
        let open = self.log.open_room(goal.queue);
        if goal.record_bytes > open {
            if segments == 0 {
                return false;
            }
            segments -= 1;
            room = room - open + SEGMENT_BYTES;
        }
        segments * SEGMENT_BYTES + room >= RESERVE_BYTES + goal.record_bytes
    }

    /// Whether there would be no room even if all that may go were gone.
    fn is_hopeless(&self, goal: &Goal) -> bool {
        let sums = self.log.sums();
        let kept = if self.settings.evict {
            sums.pinned_bytes
        } else {
            sums.record_bytes + self.large.value_bytes()
        };
        // Index and handle tables may shrink meanwhile; that little is not counted upon.
        let least = self.fixed_bytes() + kept + RESERVE_BYTES + goal.record_bytes;
        least.saturating_add(self.additional_bytes(goal)) > self.settings.limit_bytes
    }

    /// One step towards room; false if there is nothing left to do. Every step evicts a record,
    /// or uses up some of `moves_left`, or gives back at least [`GAIN_BYTES_MIN`] dead bytes.
    fn reclaim(&mut self, goal: &Goal, moves_left: &mut usize) -> bool {
        if let Some(number) = self.partial {
            return self.drain(number, goal, *moves_left == 0, moves_left);
        }
        if self.log.dead_bytes() * 100 > self.log.written_bytes() * DEAD_PERCENT
            && let Some(number) = self.find_dead()
            && self.compact(number)
        {
            return true;
        }
        if self.settings.evict
            && *moves_left > 0
            && let Some(number) = self.next_victim()
        {
            return self.drain(number, goal, false, moves_left);
        }
        match self.find_gain() {
            Some(number) => self.drain(number, goal, true, moves_left),
            None => false,
        }
    }

    /// The segment to evict from: the oldest of the queue whose turn it is of which most may go.
    fn next_victim(&self) -> Option<u32> {
        let small = self.log.chain(Queue::Small).charge;
        let all = small + self.log.chain(Queue::Main).charge;
        let turns = if small * 100 > all * SMALL_SHARE_PERCENT {
            [Queue::Small, Queue::Main]
        } else {
            [Queue::Main, Queue::Small]
        };
        turns.into_iter().find_map(|queue| {
            let oldest = self.log.oldest(queue);
            core::iter::successors(oldest, |&number| self.log.newer(number))
                .take(VICTIMS_MAX)
                .find(|&number| {
                    let segment = self.log.segment(number);
                    segment.live > 0 && segment.pinned * 2 <= segment.live
                })
        })
    }

    /// A closed segment with many dead bytes, the one with the most of those looked at.
    fn find_dead(&mut self) -> Option<u32> {
        let end = self.log.numbers_end();
        let mut most = (DEAD_SEGMENT_PERCENT * SEGMENT_BYTES / 100) as u32;
        let mut best = None;
        for _ in 0..end.min(SEARCH_SEGMENTS_MAX) {
            self.search_cursor = (self.search_cursor + 1) % end;
            let segment = self.log.segment(self.search_cursor);
            if segment.dead() >= most && !self.log.is_open(self.search_cursor) {
                most = segment.dead();
                best = Some(self.search_cursor);
            }
        }
        best
    }

    /// The segment that gains the most if all that may go is evicted from it.
    pub(super) fn find_gain(&self) -> Option<u32> {
        let gain = |number: u32| {
            let segment = self.log.segment(number);
            let evictable = if self.settings.evict {
                segment.live - segment.pinned - self.held_bytes(number)
            } else {
                0
            };
            let closed_dead = if self.log.is_open(number) {
                0
            } else {
                segment.dead()
            };
            // Large values weigh more than their records show.
            let worth = (evictable + closed_dead) as usize;
            (worth >= GAIN_BYTES_MIN || evictable > 0 && self.large.value_bytes() > 0)
                .then_some((worth, number))
        };
        let best = (1..self.log.numbers_end()).filter_map(gain).max();
        best.map(|(_, number)| number)
    }

    /// Bytes of the record in a segment that is held, if nothing else keeps it there.
    fn held_bytes(&self, number: u32) -> u32 {
        if self.held == Location::NOWHERE || self.held.segment() != number {
            return 0;
        }
        let header = self.log.header(self.held);
        if header.is_pinned() {
            0
        } else {
            header.record_bytes() as u32
        }
    }

    /// Empties a segment from its oldest record on, or as much of it as `goal` needs. With
    /// `force` all goes that may.
    fn drain(&mut self, number: u32, goal: &Goal, force: bool, moves_left: &mut usize) -> bool {
        let stop = self.log.segment(number).end;
        let mut progress = false;
        self.partial = None;
        loop {
            let offset = self.log.segment(number).head;
            if offset >= stop {
                break;
            }
            let location = Location::new(number, offset as usize);
            let record = self.log.record(location);
            let bytes = record.header.record_bytes();
            let large = record.header.is_large();
            let pinned = record.header.is_pinned() || location == self.held;
            let pinned = pinned || !self.settings.evict;
            if !record.header.is_dead() {
                match self.fate(location, &record, force) {
                    Fate::Keep(queue, frequency) => {
                        if self.relocate(location, queue, frequency) {
                            *moves_left = moves_left.saturating_sub(bytes);
                        } else if pinned {
                            return progress;
                        } else {
                            self.evict(location);
                        }
                    }
                    Fate::Evict => self.evict(location),
                    Fate::Due => self.drop_due(location),
                }
            }
            progress = true;
            self.log.segment_mut(number).head += bytes as u32;
            if large && self.fits(goal) {
                self.partial = Some(number);
                break;
            }
        }
        self.settle(number);
        progress
    }

    fn fate(&self, location: Location, record: &Record<'_>, force: bool) -> Fate {
        let (header, queue) = (&record.header, self.queue_of(location));
        let frequency = header.frequency();
        if location == self.held {
            return Fate::Keep(queue, frequency);
        }
        if self.is_removable(record) {
            return Fate::Due;
        }
        if header.is_pinned() || !self.settings.evict {
            return Fate::Keep(queue, frequency);
        }
        match queue {
            _ if force => Fate::Evict,
            Queue::Small if frequency >= PROMOTION_FREQUENCY => Fate::Keep(Queue::Main, 0),
            Queue::Main if frequency > 0 => Fate::Keep(Queue::Main, frequency - 1),
            Queue::Small | Queue::Main => Fate::Evict,
        }
    }

    /// Moves what lives in a segment to the one being filled in its queue.
    pub(super) fn compact(&mut self, number: u32) -> bool {
        let mut offset = self.log.segment(number).head;
        let end = self.log.segment(number).end;
        let queue = self.log.segment(number).queue.expect("a segment in use");
        while offset < end {
            let location = Location::new(number, offset as usize);
            let record = self.log.record(location);
            let header = record.header;
            if !header.is_dead() {
                if location != self.held && self.is_removable(&record) {
                    self.drop_due(location);
                } else if !self.relocate(location, queue, header.frequency()) {
                    return false;
                }
            }
            offset += header.record_bytes() as u32;
        }
        self.settle(number);
        true
    }

    /// Moves a record to the newest segment of a queue; false if there is no room even there.
    fn relocate(&mut self, from: Location, queue: Queue, frequency: u8) -> bool {
        let mut header = self.log.header(from);
        let bytes = header.record_bytes();
        if bytes > self.log.open_room(queue) {
            if !self.log.has_spare() && self.used_bytes() + SEGMENT_BYTES > self.ceiling_bytes {
                return false;
            }
            self.log.open(queue);
        }
        let hash = KeyHash::of(self.log.record(from).key());
        let charge: Charge = self.charge_of(from);
        let to = self.log.append(queue, bytes);
        self.log.copy((from, 0), (to, 0), bytes);
        header.set_frequency(frequency);
        header.write(self.log.bytes_mut(to));
        let dense = self.dense(hash.partition());
        self.partitions[dense].index.replace(hash.tag(), from, to);
        self.log.discount(from, charge);
        self.mark_dead(from);
        self.count(to);
        if self.held == from {
            self.held = to;
        }
        self.counters.moved_bytes += bytes as u64;
        true
    }

    fn evict(&mut self, location: Location) {
        let record = self.log.record(location);
        let (hash, header) = (KeyHash::of(record.key()), record.header);
        if self.queue_of(location) == Queue::Small {
            self.ghost.remember(hash);
        }
        self.counters.evictions += 1;
        self.counters.evicted_to_disk += u64::from(header.is_on_disk());
        self.counters.evicted_unfetched += u64::from(!header.is_fetched());
        self.counters.evicted_active += u64::from(header.frequency() > 0);
        self.forget(hash.partition(), hash.tag(), location, header.is_on_disk());
    }
}
