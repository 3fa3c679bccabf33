//! Where records lie: segments of one size, strung on two first-in-first-out queues.
//!
//! Decides how segments are allocated, filled, chained, spared and given back, and keeps the
//! sums of what lives in them. Refuses to know keys, policy and the memory limit.

use crate::planted::{self, Bug};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::hint::black_box;

use super::allocation::allocation_bytes;
use super::record::{ALIGN_BYTES, Header, Record};

/// Length of a segment.
pub(super) const SEGMENT_BYTES: usize = 128 * 1024;
/// Empty segments kept for the next to be opened; more are given back.
const SPARES_MAX: usize = 3;
const OFFSET_BITS: u32 = (SEGMENT_BYTES / ALIGN_BYTES).ilog2();
const NO_SEGMENT: u32 = 0;
/// Bytes that a processor fetches at a time, and how many times of a record that is looked for soon:
/// what small items take.
const LINE_BYTES: usize = 64;
const RECORD_LINES: usize = 3;

type Memory = Box<[u8; SEGMENT_BYTES]>;

/// Where a record begins: the segment's number above the offset, in units of four bytes.
/// Segments are numbered from 1, so 0 is no location.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location(u64);

impl Location {
    pub(super) const BITS: u32 = 40;
    pub(super) const NOWHERE: Self = Self(0);

    pub(super) fn new(segment: u32, offset: usize) -> Self {
        Self(u64::from(segment) << OFFSET_BITS | (offset / ALIGN_BYTES) as u64)
    }

    #[inline]
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline]
    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(super) const fn segment(self) -> u32 {
        (self.0 >> OFFSET_BITS) as u32
    }

    #[inline]
    pub(super) const fn offset(self) -> usize {
        (self.0 as usize & ((1 << OFFSET_BITS) - 1)) * ALIGN_BYTES
    }
}

/// The two queues of S3-FIFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// Newcomers.
    Small,
    /// Items that have been asked for again.
    Main,
}

/// What one live record takes, and what sums it counts in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charge {
    /// Bytes in the segment.
    pub(super) record_bytes: usize,
    /// Bytes of a value with memory of its own.
    pub(super) large_bytes: usize,
    pub(super) pinned: bool,
    pub(super) tombstone: bool,
}

impl Charge {
    pub(super) fn new(header: &Header, large_bytes: usize) -> Self {
        Self {
            record_bytes: header.record_bytes(),
            large_bytes,
            pinned: header.is_pinned(),
            tombstone: header.is_tombstone(),
        }
    }

    fn total(&self) -> usize {
        self.record_bytes + self.large_bytes
    }
}

/// What is known of a segment without reading it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    /// The queue that it is part of; none for a number that is free.
    pub(super) queue: Option<Queue>,
    /// Where the next record goes.
    pub(super) end: u32,
    /// All records before this offset are dead.
    pub(super) head: u32,
    /// Bytes of live records.
    pub(super) live: u32,
    /// Bytes of live records that must stay in memory.
    pub(super) pinned: u32,
    /// No item in it expires earlier; `u32::MAX` if none does.
    pub(super) expires_s_min: u32,
    /// No item in it has a lower version.
    pub(super) version_min: u64,
    older: u32,
    newer: u32,
}

impl Segment {
    const FREE: Self = Self {
        queue: None,
        end: 0,
        head: 0,
        live: 0,
        pinned: 0,
        expires_s_min: u32::MAX,
        version_min: u64::MAX,
        older: NO_SEGMENT,
        newer: NO_SEGMENT,
    };

    /// Bytes of dead records.
    pub(super) const fn dead(&self) -> u32 {
        self.end - self.live
    }
}

/// One queue: a chain of segments of which the newest is being filled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chain {
    pub(super) oldest: u32,
    pub(super) newest: u32,
    /// Bytes of its live records and of their large values.
    pub(super) charge: usize,
}

/// Sums over all live records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Records, tombstones included.
    pub(super) records: usize,
    /// Their bytes in segments.
    pub(super) record_bytes: usize,
    /// Bytes of those that must stay in memory, large values included.
    pub(super) pinned_bytes: usize,
    /// Tombstones among them.
    pub(super) tombstones: usize,
    /// Bytes of these tombstones.
    pub(super) tombstone_bytes: usize,
}

/// All segments of one cache.
#[derive(Debug)]
pub(super) struct Log {
    memory: Vec<Option<Memory>>,
    segments: Vec<Segment>,
    free: Vec<u32>,
    spares: Vec<Memory>,
    chains: [Chain; 2],
    held: usize,
    written: usize,
    sums: Sums,
}

impl Log {
    pub(super) fn new(segments_max: usize) -> Self {
        let mut log = Self {
            memory: Vec::new(),
            segments: Vec::new(),
            free: Vec::new(),
            spares: Vec::with_capacity(SPARES_MAX),
            chains: [Chain::default(); 2],
            held: 0,
            written: 0,
            sums: Sums::default(),
        };
        log.fit_tables(segments_max);
        log
    }

    /// Makes the tables as large as `segments_max` segments need, so that they never grow in
    /// the midst of an insertion, and as small as the segments that are there allow.
    pub(super) fn fit_tables(&mut self, segments_max: usize) {
        while self
            .segments
            .last()
            .is_some_and(|last| last.queue.is_none())
        {
            self.segments.pop();
            self.memory.pop();
        }
        if self.segments.is_empty() {
            self.segments.push(Segment::FREE);
            self.memory.push(None);
        }
        let wanted = (segments_max + 1).max(self.segments.len());
        self.segments.shrink_to(wanted);
        self.memory.shrink_to(wanted);
        self.segments.reserve_exact(wanted - self.segments.len());
        self.memory.reserve_exact(wanted - self.memory.len());
        self.free = Vec::new();
        self.free.reserve_exact(wanted);
        let unused = (1..self.segments.len()).rev();
        let unused = unused.filter(|&number| self.segments[number].queue.is_none());
        self.free.extend(unused.map(|number| number as u32));
    }

    /// Bytes of memory that segments take, spares included.
    pub(super) fn segment_bytes(&self) -> usize {
        self.held * SEGMENT_BYTES
    }

    /// Bytes of memory that spares take.
    pub(super) fn spare_bytes(&self) -> usize {
        self.spares.len() * SEGMENT_BYTES
    }

    /// Bytes of memory that the tables take.
    pub(super) fn table_bytes(&self) -> usize {
        allocation_bytes(self.segments.capacity() * size_of::<Segment>())
            + allocation_bytes(self.memory.capacity() * size_of::<Option<Memory>>())
            + allocation_bytes(self.free.capacity() * size_of::<u32>())
    }

    pub(super) fn sums(&self) -> &Sums {
        &self.sums
    }

    /// Bytes that records have been written to, dead ones included.
    pub(super) fn written_bytes(&self) -> usize {
        self.written
    }

    /// Bytes of dead records.
    pub(super) fn dead_bytes(&self) -> usize {
        self.written - self.sums.record_bytes
    }

    /// One more than the highest segment number in use.
    pub(super) fn numbers_end(&self) -> u32 {
        self.segments.len() as u32
    }

    #[inline]
    pub(super) fn segment(&self, number: u32) -> &Segment {
        &self.segments[number as usize]
    }

    pub(super) fn segment_mut(&mut self, number: u32) -> &mut Segment {
        &mut self.segments[number as usize]
    }

    pub(super) fn chain(&self, queue: Queue) -> &Chain {
        &self.chains[queue as usize]
    }

    /// The oldest segment of a queue.
    pub(super) fn oldest(&self, queue: Queue) -> Option<u32> {
        some(self.chain(queue).oldest)
    }

    /// The newest segment of a queue, which is being filled.
    pub(super) fn newest(&self, queue: Queue) -> Option<u32> {
        some(self.chain(queue).newest)
    }

    /// The segment before this one in its queue.
    pub(super) fn older(&self, number: u32) -> Option<u32> {
        some(self.segment(number).older)
    }

    /// The segment after this one in its queue.
    pub(super) fn newer(&self, number: u32) -> Option<u32> {
        some(self.segment(number).newer)
    }

    /// Whether records are still added to this segment.
    pub(super) fn is_open(&self, number: u32) -> bool {
        let queue = self.segment(number).queue;
        queue.is_some_and(|queue| self.chain(queue).newest == number)
    }

    /// Bytes that the segment being filled has left.
    #[inline]
    pub(super) fn open_room(&self, queue: Queue) -> usize {
        match self.newest(queue) {
            Some(number) => SEGMENT_BYTES - self.segment(number).end as usize,
            None => 0,
        }
    }

    /// Whether [`open`](Self::open) would do without an allocation.
    pub(super) fn has_spare(&self) -> bool {
        !self.spares.is_empty()
    }

    /// Adds an empty segment to a queue, to be filled from now on.
    pub(super) fn open(&mut self, queue: Queue) {
        let memory = self.spares.pop().unwrap_or_else(|| {
            self.held += 1;
            let zeroed = vec![0; SEGMENT_BYTES].into_boxed_slice();
            zeroed.try_into().expect("the length is a segment's")
        });
        let number = self.free.pop().unwrap_or_else(|| {
            self.segments.push(Segment::FREE);
            self.memory.push(None);
            self.segments.len() as u32 - 1
        });
        let newest = self.chain(queue).newest;
        self.memory[number as usize] = Some(memory);
        self.segments[number as usize] = Segment {
            queue: Some(queue),
            older: newest,
            ..Segment::FREE
        };
        let chain = &mut self.chains[queue as usize];
        chain.newest = number;
        if newest == NO_SEGMENT {
            chain.oldest = number;
        } else {
            self.segment_mut(newest).newer = number;
        }
    }

    /// Takes a segment without live records out of its queue; its memory becomes a spare or is
    /// given back.
    pub(super) fn release(&mut self, number: u32) {
        let segment = *self.segment(number);
        let queue = segment.queue.expect("only a segment in use is released");
        assert_eq!(segment.live, 0, "a segment with live records is released");
        match some(segment.older) {
            Some(older) => self.segment_mut(older).newer = segment.newer,
            None => self.chains[queue as usize].oldest = segment.newer,
        }
        match some(segment.newer) {
            Some(newer) => self.segment_mut(newer).older = segment.older,
            None => self.chains[queue as usize].newest = segment.older,
        }
        self.written -= segment.end as usize;
        *self.segment_mut(number) = Segment::FREE;
        self.free.push(number);
        let memory = self.memory[number as usize].take();
        let memory = memory.expect("a segment in use has memory");
        if self.spares.len() < SPARES_MAX {
            self.spares.push(memory);
        } else {
            self.held -= 1;
        }
    }

    /// Empties an open segment without live records.
    pub(super) fn rewind(&mut self, number: u32) {
        let segment = self.segment_mut(number);
        assert_eq!(segment.live, 0, "a segment with live records is rewound");
        let (written, kept) = (segment.end as usize, *segment);
        *segment = Segment {
            queue: kept.queue,
            older: kept.older,
            newer: kept.newer,
            ..Segment::FREE
        };
        self.written -= written;
    }

    /// Releases segments that are being filled and have no live records.
    pub(super) fn release_open(&mut self) {
        for queue in [Queue::Small, Queue::Main] {
            if let Some(number) = self.newest(queue)
                && self.segment(number).live == 0
            {
                self.release(number);
            }
        }
    }

    /// Gives one spare back; false if there is none.
    pub(super) fn drop_spare(&mut self) -> bool {
        let dropped = self.spares.pop().is_some();
        self.held -= usize::from(dropped);
        dropped
    }

    /// Takes the next `bytes` of the segment being filled.
    ///
    /// # Panics
    /// If they don't fit: room is made beforehand.
    pub(super) fn append(&mut self, queue: Queue, bytes: usize) -> Location {
        let number = self.chain(queue).newest;
        let segment = self.segment_mut(number);
        let offset = segment.end as usize;
        assert!(offset + bytes <= SEGMENT_BYTES, "no room was made");
        segment.end += bytes as u32;
        self.written += bytes;
        Location::new(number, offset)
    }

    /// The memory from a location to the segment's end.
    #[inline]
    fn bytes(&self, location: Location) -> &[u8] {
        let memory = self.memory[location.segment() as usize].as_deref();
        &memory.expect("a segment in use has memory")[location.offset()..]
    }

    /// Looks at the first cache lines of a record.
    #[inline]
    pub(super) fn approach(&self, location: Location) {
        let bytes = self.bytes(location);
        for line in bytes.chunks(LINE_BYTES).take(RECORD_LINES) {
            black_box(line[0]);
        }
    }

    /// The memory from a location to the segment's end.
    #[inline]
    pub(super) fn bytes_mut(&mut self, location: Location) -> &mut [u8] {
        let memory = self.memory[location.segment() as usize].as_deref_mut();
        &mut memory.expect("a segment in use has memory")[location.offset()..]
    }

    #[inline]
    pub(super) fn record(&self, location: Location) -> Record<'_> {
        Record::read(self.bytes(location))
    }

    #[inline]
    pub(super) fn header(&self, location: Location) -> Header {
        Header::read(self.bytes(location))
    }

    /// Copies `bytes` that lie `from_skip` behind `from` to `to_skip` behind `to`.
    pub(super) fn copy(
        &mut self,
        (from, from_skip): (Location, usize),
        (to, to_skip): (Location, usize),
        bytes: usize,
    ) {
        let (source, target) = (from.segment() as usize, to.segment() as usize);
        let (start, place) = (from.offset() + from_skip, to.offset() + to_skip);
        let present = "a segment in use has memory";
        if source == target {
            let memory = self.memory[source].as_deref_mut().expect(present);
            memory.copy_within(start..start + bytes, place);
            return;
        }
        let [source, target] = self
            .memory
            .get_disjoint_mut([source, target])
            .expect("both segments exist");
        let source = source.as_deref().expect(present);
        let target = target.as_deref_mut().expect(present);
        target[place..place + bytes].copy_from_slice(&source[start..start + bytes]);
    }

    /// Counts a record as live.
    pub(super) fn count(&mut self, location: Location, charge: Charge) {
        let segment = &mut self.segments[location.segment() as usize];
        segment.live += charge.record_bytes as u32;
        let queue = segment.queue.expect("a record lies in a segment in use");
        self.chains[queue as usize].charge += charge.total();
        self.sums.records += 1;
        self.sums.record_bytes += charge.record_bytes;
        if charge.pinned {
            segment.pinned += charge.record_bytes as u32;
            self.sums.pinned_bytes += charge.total();
        }
        if charge.tombstone {
            self.sums.tombstones += 1;
            self.sums.tombstone_bytes += charge.total();
        }
    }

    /// Undoes [`count`](Self::count).
    pub(super) fn discount(&mut self, location: Location, charge: Charge) {
        let segment = &mut self.segments[location.segment() as usize];
        segment.live -= charge.record_bytes as u32;
        let queue = segment.queue.expect("a record lies in a segment in use");
        self.chains[queue as usize].charge -= charge.total();
        self.sums.records -= 1;
        self.sums.record_bytes -= if planted::has(Bug::CountBytesWrong) {
            charge.record_bytes / 2
        } else {
            charge.record_bytes
        };
        if charge.pinned {
            segment.pinned -= charge.record_bytes as u32;
            self.sums.pinned_bytes -= charge.total();
        }
        if charge.tombstone {
            self.sums.tombstones -= 1;
            self.sums.tombstone_bytes -= charge.total();
        }
    }

    /// Takes note of when a record falls due, for sweeps.
    pub(super) fn note_due(&mut self, location: Location, expires_s: u32, version: u64) {
        let segment = self.segment_mut(location.segment());
        if expires_s != 0 {
            segment.expires_s_min = segment.expires_s_min.min(expires_s);
        }
        segment.version_min = segment.version_min.min(version);
    }
}

fn some(number: u32) -> Option<u32> {
    (number != NO_SEGMENT).then_some(number)
}
