//! What the tests share: batches with less ceremony, values, and child processes.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use zufar_core::disk::{
    Batch, Change, Disk, DiskError, Found, HEAD_BYTES, Head, Load, Recovery, disk_key, encode_head,
};
use zufar_core::id::WorkerId;

use crate::{Opened, Options, Storage};

pub(super) const WORKER: WorkerId = WorkerId(0);
pub(super) const MIB: usize = 1024 * 1024;
/// Tells a test binary that it has been started by a test, and with which directory.
pub(super) const CHILD: &str = "ZUFAR_STORAGE_TEST_DIRECTORY";

/// Bytes that do not compress and differ from seed to seed.
pub(super) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A batch under construction.
#[derive(Default)]
pub(super) struct Changes(pub(super) Batch);

impl Changes {
    fn key(&mut self, partition: u16, key: &[u8]) -> zufar_core::disk::Span {
        let start = self.0.arena.len();
        disk_key(partition, key, &mut self.0.arena);
        self.0.span_from(start)
    }

    /// Stores `value` under a head that fits it.
    pub(super) fn put(self, partition: u16, key: &[u8], version: u64, value: &[u8]) -> Self {
        let head = Head {
            version,
            ..Head::default()
        };
        self.put_head(partition, key, head, value)
    }

    pub(super) fn put_head(mut self, partition: u16, key: &[u8], head: Head, value: &[u8]) -> Self {
        let key = self.key(partition, key);
        let start = self.0.arena.len();
        let head = Head {
            value_bytes: value.len() as u32,
            ..head
        };
        encode_head(&head, &mut self.0.arena);
        if value.len() > 4096 {
            let head = self.0.span_from(start);
            let value = Bytes::copy_from_slice(value);
            self.0.changes.push(Change::PutLarge { key, head, value });
        } else {
            self.0.arena.extend_from_slice(value);
            let record = self.0.span_from(start);
            self.0.changes.push(Change::Put { key, record });
        }
        self
    }

    pub(super) fn delete(mut self, partition: u16, key: &[u8]) -> Self {
        let key = self.key(partition, key);
        self.0.changes.push(Change::Delete { key });
        self
    }

    pub(super) fn note(mut self, name: &[u8], content: &[u8]) -> Self {
        let name = self.0.push(name);
        let content = self.0.push(content);
        self.0.changes.push(Change::Note { name, content });
        self
    }

    pub(super) fn write(self, storage: &Storage) {
        storage
            .write(WORKER, &self.0)
            .expect("the disk takes the batch");
    }
}

pub(super) fn open_all(directory: &Path) -> (Storage, Recovery, Opened) {
    Storage::open(Options::new(directory)).expect("the directory can be used")
}

/// Opens a directory in which nothing is amiss.
pub(super) fn open(directory: &Path) -> Storage {
    let (storage, _, opened) = open_all(directory);
    assert_eq!(opened.set_aside, None, "nothing was damaged");
    storage
}

/// What is stored under a key: head and value.
pub(super) type Loaded = Result<Option<(Head, Vec<u8>)>, DiskError>;

pub(super) fn load(storage: &Storage, partition: u16, key: &[u8]) -> Loaded {
    let mut request = Load {
        value_bytes_max: u32::MAX,
        ..Load::default()
    };
    disk_key(partition, key, &mut request.key);
    Ok(match storage.load(&mut request)? {
        Found::Nothing => None,
        Found::Small => {
            let (head, value) = zufar_core::disk::decode(&request.buffer).expect("a record");
            assert_eq!(request.buffer.len(), HEAD_BYTES + head.value_bytes as usize);
            Some((head, value.to_vec()))
        }
        Found::Large { head, value } => Some((head, value.to_vec())),
        Found::Oversized { .. } => panic!("no value is over 4 GiB"),
    })
}

/// The value of a key that must be there.
pub(super) fn value(storage: &Storage, partition: u16, key: &[u8]) -> Vec<u8> {
    let (_, value) = load(storage, partition, key)
        .expect("a load")
        .expect("a record");
    value
}

/// How many keys a column family holds.
pub(super) fn count(storage: &Storage, family: &str) -> usize {
    let state = storage.state();
    let database = state.database().expect("open");
    let family = database.family(family);
    let keys = database
        .db()
        .iterator_cf(&family, rocksdb::IteratorMode::Start);
    keys.inspect(|entry| assert!(entry.is_ok(), "{entry:?}"))
        .count()
}

/// Moves everything from the memory tables to files.
pub(super) fn flush(storage: &Storage) {
    let state = storage.state();
    let database = state.database().expect("open");
    for name in crate::layout::FAMILIES {
        database
            .db()
            .flush_cf(&database.family(name))
            .expect("a flush");
    }
}

/// Runs one test of this binary again, in a process of its own that plays the child's part.
pub(super) fn child(test: &str, directory: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", test, "--test-threads=1"])
        .env(CHILD, directory)
        .stdout(Stdio::null())
        .spawn()
        .expect("a child process")
}

/// Waits until `done` says so, and gives up loudly.
pub(super) fn wait_for(what: &str, limit: Duration, mut done: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < limit,
            "waited {limit:?} in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    start.elapsed()
}
