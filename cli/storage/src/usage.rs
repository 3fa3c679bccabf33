//! How much room and memory the database takes, and how much it has written.
//!
//! Decides what is counted and where the numbers come from; cheap enough for every second.
//! Refuses to know limits.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use rocksdb::properties;
use rocksdb::statistics::Ticker;
use rustix::fs::statvfs;

use crate::database::Database;
use crate::tuning::Tuning;

/// What this process has written and met since the storage was first opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Bytes of keys, records and notes that the core has had written.
    pub accepted_bytes: u64,
    /// Bytes written to the write-ahead log.
    pub log_bytes: u64,
    /// Bytes written by flushes of memory tables.
    pub flush_bytes: u64,
    /// Bytes written by compaction.
    pub compaction_bytes: u64,
    /// Milliseconds that RocksDB has made writers wait.
    pub stall_ms: u64,
    /// Times that an unreadable record was met by a scan or by compaction.
    pub damaged_records: u64,
    /// Expired and flushed records that compaction has got rid of.
    pub dropped_records: u64,
    /// Databases that were set aside since they were damaged.
    pub set_aside: u64,
}

impl Figures {
    /// Bytes written to disk for each byte accepted; 0 before the first.
    #[must_use]
    pub fn write_amplification(&self) -> f64 {
        if self.accepted_bytes == 0 {
            return 0.0;
        }
        let written = self.log_bytes + self.flush_bytes + self.compaction_bytes;
        written as f64 / self.accepted_bytes as f64
    }

    /// Adds what RocksDB has counted.
    pub(crate) fn count(&mut self, tuning: &Tuning) {
        self.log_bytes = tuning.ticker(Ticker::WalFileBytes);
        self.flush_bytes = tuning.ticker(Ticker::FlushWriteBytes);
        self.compaction_bytes = tuning.ticker(Ticker::CompactWriteBytes);
        self.stall_ms = tuning.ticker(Ticker::StallMicros) / 1000;
    }
}

/// Bytes free for an ordinary user and bytes in all on the file system of `path`.
pub(crate) fn room(path: &Path) -> io::Result<(u64, u64)> {
    let file_system = statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(file_system.f_frsize);
    Ok((bytes(file_system.f_bavail), bytes(file_system.f_blocks)))
}

/// Bytes that the files in `path` take. The tables, of which there can be many thousands, are
/// counted by `database` if it is open, and one by one if not.
pub(crate) fn file_bytes(path: &Path, database: Option<&Database>) -> io::Result<u64> {
    let tables = database.map(|database| database.sum(properties::TOTAL_SST_FILES_SIZE));
    let tables = tables.transpose().map_err(io::Error::other)?;
    let mut bytes = tables.unwrap_or(0);
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let is_table = Path::new(&entry.file_name()).extension() == Some(OsStr::new("sst"));
        if is_table && tables.is_some() {
            continue;
        }
        match entry.metadata() {
            Ok(metadata) => bytes += metadata.len(),
            // RocksDB deletes files at any time.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// Bytes that the database holds in memory.
pub(crate) fn memory_bytes(tuning: &Tuning, database: Option<&Database>) -> u64 {
    let readers = database.map(|database| database.sum(properties::ESTIMATE_TABLE_READERS_MEM));
    // The cache also counts the memory tables, by way of the write buffer manager.
    tuning.cached_bytes() + readers.transpose().ok().flatten().unwrap_or(0)
}
