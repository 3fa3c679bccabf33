//! A model of the disk: an ordered log of batches, of which a power cut keeps what was synced
//! and any first part of the rest.
//!
//! Decides what survives. Refuses to know time: the rig decides when a request is performed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use bytes::Bytes;
use zufar_core::cache::INLINE_BYTES_MAX;
use zufar_core::disk::{
    Batch, Change, Disk, DiskError, Found, Load, NOTE_CEILING, NOTE_FLUSH_AT, NOTE_FLUSHED,
    NOTE_HOT, NOTE_REACHED, Recovery, Scan, Scanned, Span, Usage, decode,
};
use zufar_core::id::WorkerId;
use zufar_core::notes::ClusterNotes;

/// What one batch does, owned.
type Changes = Vec<(Place, Option<Vec<u8>>)>;

/// Records by disk key, and notes by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Record(Vec<u8>),
    Note(Vec<u8>),
}

#[derive(Debug, Default)]
struct State {
    /// What a power cut leaves for certain.
    synced: BTreeMap<Place, Vec<u8>>,
    /// Batches that are written and not synced, oldest first.
    tail: VecDeque<Changes>,
    /// What reads see: all of it.
    seen: BTreeMap<Place, Vec<u8>>,
    epoch: u64,
    fail_writes: Option<DiskError>,
    fail_sync: Option<DiskError>,
    fail_loads: bool,
    /// No file system is larger than this, in bytes.
    capacity_bytes: u64,
    /// A sync has failed in this incarnation: nothing is taken any more.
    broken: bool,
    loads: u64,
}

/// The model disk.
#[derive(Debug, Default)]
pub struct ModelDisk {
    state: Mutex<State>,
}

impl ModelDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        let disk = Self::default();
        disk.with(|state| {
            state.epoch = 1;
            state.capacity_bytes = 1 << 40;
        });
        disk
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().expect("no test panics within the disk");
        act(&mut state)
    }

    /// A crash of the machine: what was synced stays, and of the written rest the first `kept`
    /// batches.
    pub fn cut_power(&self, kept: usize) {
        self.with(|state| {
            state.tail.truncate(kept);
            state.settle();
            state.seen = state.synced.clone();
            state.start_anew();
        });
    }

    /// A crash of the process: the system still has all that was written.
    pub fn crash(&self) {
        self.with(|state| {
            state.tail.clear();
            state.synced = state.seen.clone();
            state.start_anew();
        });
    }

    /// Batches that are written and not synced.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.with(|state| state.tail.len())
    }

    /// From now on writes fail so; `None` heals them.
    pub fn fail_writes(&self, error: Option<DiskError>) {
        self.with(|state| state.fail_writes = error);
    }

    /// The next sync fails, and what was not synced will not survive the next power cut. Unless
    /// the disk is merely full, this incarnation then takes nothing any more.
    pub fn fail_sync(&self, error: DiskError) {
        self.with(|state| state.fail_sync = Some(error));
    }

    /// From now on reads fail, or no longer do.
    pub fn fail_loads(&self, fail: bool) {
        self.with(|state| state.fail_loads = fail);
    }

    /// From now on the file system has room for so many bytes of records and notes.
    pub fn set_capacity(&self, bytes: u64) {
        self.with(|state| state.capacity_bytes = bytes);
    }

    /// Bytes of all records and notes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.with(|state| state.bytes())
    }

    /// Reads of single records so far.
    #[must_use]
    pub fn loads(&self) -> u64 {
        self.with(|state| state.loads)
    }

    /// Records that reads see.
    #[must_use]
    pub fn records(&self) -> usize {
        self.with(|state| {
            let record = |place: &&Place| matches!(place, Place::Record(_));
            state.seen.keys().filter(record).count()
        })
    }

    /// What a start finds.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        self.with(|state| {
            let number = |name: &[u8]| {
                let note = state.seen.get(&Place::Note(name.to_vec()));
                note.map_or(0, |content| {
                    let bytes = content.as_slice().try_into().expect("eight bytes");
                    u64::from_be_bytes(bytes)
                })
            };
            let hot = state
                .seen
                .iter()
                .filter_map(|(place, content)| match place {
                    Place::Note(name) if name.starts_with(NOTE_HOT) => Some(content.clone()),
                    Place::Note(_) | Place::Record(_) => None,
                });
            let mut cluster = ClusterNotes::default();
            for (place, content) in &state.seen {
                if let Place::Note(name) = place {
                    cluster.take(name, content);
                }
            }
            let mut places = state.seen.keys();
            Recovery {
                holds_records: places.any(|place| matches!(place, Place::Record(_))),
                cluster,
                version_ceiling: number(NOTE_CEILING),
                reached_unix_ms: number(NOTE_REACHED),
                flushed: number(NOTE_FLUSHED),
                flush_at_unix_ms: number(NOTE_FLUSH_AT),
                hot: hot.collect(),
                records_estimate: state.seen.len() as u64,
                open_ms: 0,
            }
        })
    }
}

impl State {
    fn start_anew(&mut self) {
        self.epoch = 1;
        self.fail_writes = None;
        self.fail_sync = None;
        self.fail_loads = false;
        self.broken = false;
    }

    fn bytes(&self) -> u64 {
        let bytes: usize = self.seen.values().map(Vec::len).sum();
        bytes as u64
    }

    fn settle(&mut self) {
        for changes in self.tail.drain(..) {
            apply(&mut self.synced, changes);
        }
    }
}

fn apply(records: &mut BTreeMap<Place, Vec<u8>>, changes: Changes) {
    for (place, content) in changes {
        match content {
            Some(content) => records.insert(place, content),
            None => records.remove(&place),
        };
    }
}

fn owned(batch: &Batch) -> Changes {
    let bytes = |span: &Span| span.of(&batch.arena).to_vec();
    let change = |change: &Change| match change {
        Change::Put { key, record } => (Place::Record(bytes(key)), Some(bytes(record))),
        Change::PutLarge { key, head, value } => {
            let mut record = bytes(head);
            record.extend_from_slice(value);
            (Place::Record(bytes(key)), Some(record))
        }
        Change::Delete { key } => (Place::Record(bytes(key)), None),
        Change::Note { name, content } => (Place::Note(bytes(name)), Some(bytes(content))),
    };
    batch.changes.iter().map(change).collect()
}

impl Disk for ModelDisk {
    fn write(&self, _worker: WorkerId, batch: &Batch) -> Result<(), DiskError> {
        self.with(|state| {
            if let Some(error) = state.fail_writes {
                return Err(error);
            }
            if state.broken {
                return Err(DiskError::Failed);
            }
            let bytes = batch.arena.len() as u64;
            if state.capacity_bytes < 1 << 40 && state.bytes() + bytes > state.capacity_bytes {
                return Err(DiskError::Full);
            }
            let changes = owned(batch);
            apply(&mut state.seen, changes.clone());
            state.tail.push_back(changes);
            Ok(())
        })
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.with(|state| {
            if state.broken {
                return Err(DiskError::Failed);
            }
            if let Some(error) = state.fail_sync.take() {
                if error == DiskError::Full {
                    state.epoch += 1;
                } else {
                    state.broken = true;
                }
                state.tail.clear();
                return Err(error);
            }
            state.settle();
            Ok(())
        })
    }

    fn epoch(&self) -> u64 {
        self.with(|state| state.epoch)
    }

    fn reopen(&self, epoch: u64) -> Result<(), DiskError> {
        self.with(|state| {
            if state.epoch == epoch.max(1) {
                state.epoch += 1;
                state.broken = false;
            }
            Ok(())
        })
    }

    fn load(&self, load: &mut Load) -> Result<Found, DiskError> {
        self.with(|state| {
            state.loads += 1;
            if state.fail_loads {
                return Err(DiskError::Failed);
            }
            let Some(record) = state.seen.get(&Place::Record(load.key.clone())) else {
                return Ok(Found::Nothing);
            };
            let (head, value) = decode(record).map_err(|_| DiskError::Damaged)?;
            if head.value_bytes > load.value_bytes_max {
                return Ok(Found::Oversized {
                    value_bytes: head.value_bytes,
                });
            }
            if value.len() > INLINE_BYTES_MAX {
                let value = Bytes::copy_from_slice(value);
                return Ok(Found::Large { head, value });
            }
            load.buffer.clear();
            load.buffer.extend_from_slice(record);
            Ok(Found::Small)
        })
    }

    fn scan(&self, scan: &mut Scan) -> Result<bool, DiskError> {
        self.with(|state| {
            if state.fail_loads {
                return Err(DiskError::Failed);
            }
            let prefix = scan.partition.to_be_bytes();
            let mut first = prefix.to_vec();
            first.extend_from_slice(&scan.after);
            let after = Place::Record(first);
            for (place, record) in state.seen.range(after.clone()..) {
                let Place::Record(key) = place else {
                    break;
                };
                if !key.starts_with(&prefix) {
                    break;
                }
                if *place == after {
                    continue;
                }
                let full = scan.records.len() >= scan.records_max as usize
                    || scan.buffer.len() >= scan.bytes_max as usize;
                if full {
                    return Ok(false);
                }
                push(scan, &key[prefix.len()..], record);
            }
            Ok(true)
        })
    }

    fn compact(&self, _first: u16, _last: u16) {}

    fn usage(&self) -> Result<Usage, DiskError> {
        self.with(|state| {
            let bytes = state.bytes();
            Ok(Usage {
                database_bytes: bytes,
                free_bytes: state.capacity_bytes.saturating_sub(bytes),
                total_bytes: state.capacity_bytes,
                memory_bytes: 0,
            })
        })
    }
}

fn push(scan: &mut Scan, key: &[u8], record: &[u8]) {
    let (head, value) = decode(record).expect("the core writes sound records");
    let mut put = |bytes: &[u8]| {
        let start = scan.buffer.len() as u32;
        scan.buffer.extend_from_slice(bytes);
        Span {
            start,
            end: scan.buffer.len() as u32,
        }
    };
    let key = put(key);
    let wanted = scan.values && value.len() <= INLINE_BYTES_MAX;
    let value = wanted.then(|| put(value));
    scan.records.push(Scanned { key, head, value });
}
