//! The seam to the disk: what the core asks of it, and what comes back.
//!
//! Decides the vocabulary (numbered batches, *written* and *synced*, loads, scans, notes) and
//! the order that a driver must keep. Refuses to know RocksDB, files and threads.

mod record;

pub use record::{HEAD_BYTES, Head, RecordError, decode, encode_head};

use alloc::vec::Vec;
use bytes::Bytes;

use crate::id::{Ticket, WorkerId};
use crate::notes::ClusterNotes;

/// A stretch of an arena: start and end, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes of `arena` that this span names.
    ///
    /// # Panics
    /// If the span does not lie within `arena`: a span only fits the arena that it was cut from.
    #[must_use]
    pub fn of(self, arena: &[u8]) -> &[u8] {
        &arena[self.start as usize..self.end as usize]
    }
}

/// One change of the disk.
#[derive(Clone, Debug)]
pub enum Change {
    /// Stores a record. `key` is a disk key (see [`disk_key`]); `record` an encoded record.
    Put {
        /// The disk key.
        key: Span,
        /// Head and value together.
        record: Span,
    },
    /// Stores a record whose value is too large for the arena. The disk splits a value over
    /// 1 MiB into chunks that count only once the record itself has been written.
    PutLarge {
        /// The disk key.
        key: Span,
        /// The encoded head.
        head: Span,
        /// The value.
        value: Bytes,
    },
    /// Removes a record, if there is one.
    Delete {
        /// The disk key.
        key: Span,
    },
    /// Stores a note under a short name: small facts of the node that are no items.
    Note {
        /// The note's name.
        name: Span,
        /// The note's content.
        content: Span,
    },
}

/// Changes that reach the disk together or, after a crash, not at all (chunks of large values
/// apart, which nothing refers to until then). Owned and pooled: it comes back when written.
#[derive(Debug, Default)]
pub struct Batch {
    /// Counts the batches of one worker, from 1, without gaps.
    pub number: u64,
    /// The changes, in order; a later one of a key wins.
    pub changes: Vec<Change>,
    /// The bytes that the spans name.
    pub arena: Vec<u8>,
}

impl Batch {
    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.number = 0;
        self.changes.clear();
        self.arena.clear();
    }

    /// Copies `bytes` into the arena.
    pub fn push(&mut self, bytes: &[u8]) -> Span {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        self.span_from(start)
    }

    /// The span from `start` to the arena's end.
    ///
    /// # Panics
    /// If the arena has outgrown 4 GiB; batches are cut long before.
    #[must_use]
    pub fn span_from(&self, start: usize) -> Span {
        let cut = |at: usize| u32::try_from(at).expect("a batch stays below 4 GiB");
        Span {
            start: cut(start),
            end: cut(self.arena.len()),
        }
    }
}

/// Something that a worker wants of the disk.
#[derive(Debug)]
pub enum Request {
    /// Write a batch to the write-ahead log and the memory table, not yet synced.
    Write(Batch),
    /// Sync all batches of this worker up to this number.
    Sync {
        /// The last batch that the sync must cover.
        number: u64,
    },
    /// Close the database and open it again, because a write or a sync has failed in
    /// incarnation `epoch`. Does nothing if another worker has already had it reopened.
    Reopen {
        /// The incarnation that failed.
        epoch: u64,
    },
    /// Read one record.
    Load(Load),
    /// Read a stretch of one partition, in key order.
    Scan(Scan),
    /// Rewrite the files of some partitions, so that deleted records give their room back.
    Compact {
        /// The first partition.
        first: u16,
        /// The last partition.
        last: u16,
    },
    /// Say how full the disk is.
    Measure,
}

/// Which of a driver's blocking threads a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// One thread for the whole process: requests of one worker run in the order given. Their
    /// answers may be heard in another one.
    Ordered,
    /// Any thread, in any order.
    Unordered,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Self; 2] = [Self::Ordered, Self::Unordered];

    /// How many threads perform this lane's requests.
    #[must_use]
    pub const fn threads(self) -> usize {
        match self {
            Self::Ordered => 1,
            Self::Unordered => 3,
        }
    }
}

impl Request {
    /// The lane that this request must run in.
    #[must_use]
    pub const fn lane(&self) -> Lane {
        match self {
            Self::Write(_) | Self::Sync { .. } | Self::Reopen { .. } => Lane::Ordered,
            Self::Load(_) | Self::Scan(_) | Self::Compact { .. } | Self::Measure => Lane::Unordered,
        }
    }
}

/// A read of one record.
#[derive(Debug, Default)]
pub struct Load {
    /// Comes back with the answer.
    pub ticket: Option<Ticket>,
    /// The disk key. Comes back.
    pub key: Vec<u8>,
    /// The largest value to read, in bytes; a larger one is answered by its size.
    pub value_bytes_max: u32,
    /// Receives the record if it is not larger than `crate::cache::INLINE_BYTES_MAX`. Comes back.
    pub buffer: Vec<u8>,
}

/// What a load found.
#[derive(Debug)]
pub enum Found {
    /// No record.
    Nothing,
    /// A record, head and value together, in the load's buffer.
    Small,
    /// A record whose value has memory of its own.
    Large {
        /// The decoded head.
        head: Head,
        /// The value.
        value: Bytes,
    },
    /// A record with a value over `value_bytes_max`.
    Oversized {
        /// The value's length.
        value_bytes: u32,
    },
}

/// A read of records in key order. Keys and heads always come; values when asked for.
#[derive(Debug, Default)]
pub struct Scan {
    /// Comes back with the answer.
    pub ticket: Option<Ticket>,
    /// The partition.
    pub partition: u16,
    /// Start after this key (a plain key, without the partition); empty starts at the first.
    pub after: Vec<u8>,
    /// Whether values are wanted. Values over `crate::cache::INLINE_BYTES_MAX` never come.
    pub values: bool,
    /// Stop after this many records.
    pub records_max: u32,
    /// Stop once this many bytes have been gathered.
    pub bytes_max: u32,
    /// Receives what `records` names. Comes back.
    pub buffer: Vec<u8>,
    /// Receives the records. Comes back.
    pub records: Vec<Scanned>,
}

/// One record that a scan has met.
#[derive(Clone, Copy, Debug)]
pub struct Scanned {
    /// The plain key, without the partition.
    pub key: Span,
    /// The decoded head.
    pub head: Head,
    /// The value, if it was wanted and is small.
    pub value: Option<Span>,
}

/// How full the disk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that the database's files take.
    pub database_bytes: u64,
    /// Bytes free on its file system.
    pub free_bytes: u64,
    /// Bytes that its file system has in all.
    pub total_bytes: u64,
    /// Bytes that the database holds in memory: memory tables, block cache, table readers.
    pub memory_bytes: u64,
}

/// Why the disk did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// No room: tried again in place, since the database recovers by itself.
    Full,
    /// Anything else on a write, sync or open: the database is reopened.
    Failed,
    /// The record that was asked for is damaged.
    Damaged,
}

/// The answer to one [`Request`]. Buffers that the request owned come back in it.
#[derive(Debug)]
pub enum Completion {
    /// Answers [`Request::Write`].
    Written {
        /// The batch, to be used again.
        batch: Batch,
        /// The database's incarnation at that moment.
        epoch: u64,
        /// Whether it is written.
        result: Result<(), DiskError>,
    },
    /// Answers [`Request::Sync`].
    Synced {
        /// The number asked for.
        number: u64,
        /// The database's incarnation at that moment.
        epoch: u64,
        /// Whether it is synced.
        result: Result<(), DiskError>,
    },
    /// Answers [`Request::Reopen`].
    Reopened {
        /// The database's incarnation now.
        epoch: u64,
        /// Whether it is open.
        result: Result<(), DiskError>,
    },
    /// Answers [`Request::Load`].
    Loaded {
        /// The request.
        load: Load,
        /// What it found.
        result: Result<Found, DiskError>,
    },
    /// Answers [`Request::Scan`].
    Scanned {
        /// The request, filled.
        scan: Scan,
        /// Whether the partition's end was reached.
        result: Result<bool, DiskError>,
    },
    /// Answers [`Request::Compact`].
    Compacted,
    /// Answers [`Request::Measure`].
    Measured {
        /// How full the disk is.
        result: Result<Usage, DiskError>,
    },
}

/// A disk. Its methods block; a driver calls them, by way of [`perform`], on threads of its own.
pub trait Disk: Send + Sync {
    /// Writes `batch` for `worker`, all of it or none, without waiting for the device.
    ///
    /// # Errors
    /// When it could not; nothing of it may then be relied upon, nor counted as absent.
    fn write(&self, worker: WorkerId, batch: &Batch) -> Result<(), DiskError>;

    /// Waits until all that has been written is on the device.
    ///
    /// # Errors
    /// When it could not: whatever was not synced before may be gone, whoever wrote it. So that
    /// every worker learns of it, all writes and syncs of this incarnation fail from then on; or,
    /// where the disk is merely full, a new incarnation begins without being reopened.
    fn sync(&self) -> Result<(), DiskError>;

    /// The incarnation: counts the times that what was written and not synced may have been lost,
    /// by reopening or by a failed sync, from 1.
    fn epoch(&self) -> u64;

    /// Closes and opens the database if its incarnation is still `epoch`.
    ///
    /// # Errors
    /// When it can't be opened; loads and scans then fail until a later attempt succeeds.
    fn reopen(&self, epoch: u64) -> Result<(), DiskError>;

    /// Performs `load`.
    ///
    /// # Errors
    /// When the database can't be read or the record is damaged.
    fn load(&self, load: &mut Load) -> Result<Found, DiskError>;

    /// Performs `scan`; true when the partition's end was reached. A damaged record is passed
    /// over and counted by the disk.
    ///
    /// # Errors
    /// When the database can't be read.
    fn scan(&self, scan: &mut Scan) -> Result<bool, DiskError>;

    /// Rewrites the files that hold the partitions from `first` to `last`.
    fn compact(&self, first: u16, last: u16);

    /// Says how full the disk is.
    ///
    /// # Errors
    /// When the file system does not say.
    fn usage(&self) -> Result<Usage, DiskError>;
}

/// Performs one request of `worker`, whatever it is.
pub fn perform(disk: &dyn Disk, worker: WorkerId, request: Request) -> Completion {
    match request {
        Request::Write(batch) => {
            let result = disk.write(worker, &batch);
            let epoch = disk.epoch();
            Completion::Written {
                batch,
                epoch,
                result,
            }
        }
        Request::Sync { number } => {
            let result = disk.sync();
            let epoch = disk.epoch();
            Completion::Synced {
                number,
                epoch,
                result,
            }
        }
        Request::Reopen { epoch } => {
            let result = disk.reopen(epoch);
            let epoch = disk.epoch();
            Completion::Reopened { epoch, result }
        }
        Request::Load(mut load) => {
            let result = disk.load(&mut load);
            Completion::Loaded { load, result }
        }
        Request::Scan(mut scan) => {
            let result = disk.scan(&mut scan);
            Completion::Scanned { scan, result }
        }
        Request::Compact { first, last } => {
            disk.compact(first, last);
            Completion::Compacted
        }
        Request::Measure => Completion::Measured {
            result: disk.usage(),
        },
    }
}

/// Appends the disk key of `key`: its partition, big endian, then the key itself, so that a
/// partition is one contiguous range.
pub fn disk_key(partition: u16, key: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(&partition.to_be_bytes());
    into.extend_from_slice(key);
}

/// The note that holds the version below which every item has been flushed (u64, big endian).
/// The disk drops such records when it comes across them.
pub const NOTE_FLUSHED: &[u8] = b"flushed";
/// The note that holds a version that no earlier run has reached (u64, big endian).
pub const NOTE_CEILING: &[u8] = b"ceiling";
/// The note that holds a time that has been reached, in Unix milliseconds (u64, big endian).
pub const NOTE_REACHED: &[u8] = b"reached";
/// The note that holds a pending flush: Unix milliseconds (u64, big endian), 0 for none.
pub const NOTE_FLUSH_AT: &[u8] = b"flush-at";
/// What the names of hot-key lists begin with; the worker's number follows.
pub const NOTE_HOT: &[u8] = b"hot/";
/// What the names of the notes begin with that hold the cluster that the node belongs to; the
/// worker's number follows (u16, big endian).
pub const NOTE_FORMATION: &[u8] = b"cluster/formation";
/// The note that holds the number that a run has given itself since others knew a higher one.
pub const NOTE_GENERATION: &[u8] = b"cluster/generation";
/// The note that holds the layout.
pub const NOTE_LAYOUT: &[u8] = b"cluster/layout";
/// The note that holds where the other nodes are reached.
pub const NOTE_MEMBERS: &[u8] = b"cluster/members";
/// What the names of voters' records begin with; the partition follows (u16, big endian).
pub const NOTE_RECORD: &[u8] = b"replica/";
/// What the names of the notes begin with that say whether what the disk has of a partition may be
/// relied upon; the partition follows (u16, big endian).
pub const NOTE_MIXED: &[u8] = b"mixed/";
/// What the names of all notes begin with that [`ClusterNotes`] takes.
pub const NOTES_OF_CLUSTER: [&[u8]; 3] = [b"cluster/", NOTE_RECORD, NOTE_MIXED];

/// What a start has found on disk.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// No version of an earlier run is above this one.
    pub version_ceiling: u64,
    /// Unix milliseconds that an earlier run has reached: what had expired then has expired.
    pub reached_unix_ms: u64,
    /// Items up to this version have been flushed.
    pub flushed: u64,
    /// Unix milliseconds of a flush that was still to come; 0 for none.
    pub flush_at_unix_ms: u64,
    /// The hot-key lists that earlier workers have saved, hottest first in each.
    pub hot: Vec<Vec<u8>>,
    /// Whether there is any record, dead ones included.
    pub holds_records: bool,
    /// What the last run knew of its cluster.
    pub cluster: ClusterNotes,
    /// Records that the database believes it holds.
    pub records_estimate: u64,
    /// How long opening took.
    pub open_ms: u64,
}
