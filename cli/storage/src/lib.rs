//! Zufar's disk: the core's [`Disk`] on RocksDB.
//!
//! Decides how records lie in the database, what happens to a damaged one, and when it is
//! closed and opened. Refuses to know when anything is written, synced or evicted: the core
//! says so. No other crate names RocksDB.
//!
//! *Layout.* `items` holds heads, each with its value when that is at most 64 KiB. Longer
//! values lie in `chunks` of at most 1 MiB, so that scans for heads and the compaction filter
//! never read them, and `ledger` has an entry for each, so that whoever overwrites or deletes
//! such an item finds what to clear away without keeping a map of them in memory. `notes` holds
//! small facts. See `writing` for the order in which a large value becomes visible, and
//! `tuning` for the options and the reasons for them.
//!
//! *Damage.* A database that can't be opened is renamed to `db.damaged.<unix seconds>`, never
//! deleted, and an empty one takes its place. Damage met while reading is the answer to that
//! read. Damage met by compaction stops RocksDB from writing; opening it again helps for as
//! long as compaction does not come across the place, so after [`CORRUPTIONS_MAX`] such stops
//! the database is set aside as well.
//!
//! *No room.* RocksDB refuses writes and looks every five seconds for room. Should it go on
//! refusing although there is room, the error turns into one that has the core reopen it.
#![forbid(unsafe_code)]

mod database;
mod directory;
mod error;
mod filter;
mod layout;
mod reading;
#[cfg(test)]
mod tests;
mod tuning;
mod usage;
mod writing;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use rocksdb::{CompactOptions, ErrorKind};
use zufar_core::disk::{Batch, Disk, DiskError, Found, Load, Recovery, Scan, Usage};
use zufar_core::id::WorkerId;

use crate::database::Database;
use crate::directory::Directory;
use crate::error::{Trouble, one_line};
use crate::filter::Shared;
use crate::layout::{CHUNKS, ITEMS, LEDGER};
use crate::tuning::Tuning;
use crate::writing::Writer;

pub use crate::error::OpenError;
pub use crate::usage::Figures;

/// Memory that RocksDB may take unless told otherwise.
pub const MEMORY_BYTES_MAX_DEFAULT: u64 = 128 * 1024 * 1024;
/// A database that damage has stopped from writing so many times is set aside.
pub const CORRUPTIONS_MAX: u32 = 3;
/// With so many bytes free a file system is not full.
const ROOM_BYTES: u64 = 32 * 1024 * 1024;
/// A database that says for so long that there is no room, although there is, is reopened.
const STUCK_AFTER: Duration = Duration::from_secs(7);

/// What a storage needs to be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory. Created if absent, for this user only.
    pub directory: PathBuf,
    /// Bound of RocksDB's memory: memory tables, blocks, indexes, filters. Raised to 32 MiB if
    /// less. What one write or one compaction needs for a moment comes on top.
    pub memory_bytes_max: u64,
}

impl Options {
    /// The defaults, for `directory`.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            memory_bytes_max: MEMORY_BYTES_MAX_DEFAULT,
        }
    }
}

/// What happened while the storage was opened, apart from what it found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Where the database was put that could not be opened. An operator should be told.
    pub set_aside: Option<PathBuf>,
}

/// The core's disk. Closes when dropped; [`Storage::close`] also says whether that went well.
pub struct Storage {
    directory: Directory,
    tuning: Tuning,
    shared: Arc<Shared>,
    state: RwLock<State>,
    /// Locked after `state`, never before.
    writer: Mutex<Writer>,
    epoch: AtomicU64,
    /// Whether damage has stopped this incarnation from writing.
    is_corrupt: AtomicBool,
    /// Whether a sync has failed in this incarnation: what was written before it may be gone, and
    /// a later sync that succeeds would hide that, so nothing more is taken.
    has_lost_sync: AtomicBool,
    /// How many incarnations that has happened to.
    corruptions: AtomicU32,
    set_aside: Mutex<Vec<PathBuf>>,
    /// Since when the database has been refusing writes for room that is there.
    stuck_since: Mutex<Option<Instant>>,
}

enum State {
    Open(Database),
    /// The last attempt to reopen failed; if for want of room, that is what writes answer.
    Down(DiskError),
    /// Closed for good.
    Closed,
}

impl State {
    const fn database(&self) -> Result<&Database, DiskError> {
        match self {
            Self::Open(database) => Ok(database),
            Self::Down(error) => Err(*error),
            Self::Closed => Err(DiskError::Failed),
        }
    }
}

impl Storage {
    /// Takes hold of the data directory and opens the database in it.
    ///
    /// # Errors
    /// When the directory can't be used. Damage is no error: see [`Opened`].
    pub fn open(options: Options) -> Result<(Self, Recovery, Opened), OpenError> {
        let start = Instant::now();
        let (directory, set_aside) = Directory::open(&options.directory)?;
        let shared = Arc::new(Shared::default());
        let storage = Self {
            directory,
            tuning: Tuning::new(options.memory_bytes_max, Arc::clone(&shared)),
            shared,
            state: RwLock::new(State::Closed),
            writer: Mutex::default(),
            epoch: AtomicU64::new(1),
            is_corrupt: AtomicBool::new(false),
            has_lost_sync: AtomicBool::new(false),
            corruptions: AtomicU32::new(0),
            set_aside: Mutex::new(Vec::from_iter(set_aside)),
            stuck_since: Mutex::default(),
        };
        let (database, mut recovery) = storage.open_whole()?;
        *storage.state_mut() = State::Open(database);
        recovery.open_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let set_aside = storage.set_aside().pop();
        Ok((storage, recovery, Opened { set_aside }))
    }

    /// The data directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The damaged databases that were set aside since the storage was first opened.
    #[must_use]
    pub fn set_aside(&self) -> Vec<PathBuf> {
        lock(&self.set_aside).clone()
    }

    /// What has been written and met so far. Cheap.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let mut figures = Figures {
            accepted_bytes: self.shared.accepted_bytes.load(Ordering::Relaxed),
            damaged_records: self.shared.damaged.load(Ordering::Relaxed),
            dropped_records: self.shared.dropped.load(Ordering::Relaxed),
            set_aside: lock(&self.set_aside).len() as u64,
            ..Figures::default()
        };
        figures.count(&self.tuning);
        figures
    }

    /// Syncs what has been written and closes the database for good; waits for reads and for
    /// background work. The data directory stays locked until the storage is dropped.
    ///
    /// # Errors
    /// When the sync failed: what was not synced before may be lost in a power cut.
    pub fn close(&self) -> Result<(), DiskError> {
        self.interrupt(None);
        let mut state = self.state_mut();
        let result = match &*state {
            State::Open(database) => {
                let synced = database.db().flush_wal(true);
                database.db().cancel_all_background_work(true);
                synced.map_err(|error| self.write_failure(&error))
            }
            State::Down(error) => Err(*error),
            State::Closed => Ok(()),
        };
        *state = State::Closed;
        result
    }

    /// Opens the database; one that is damaged makes way for an empty one.
    fn open_whole(&self) -> Result<(Database, Recovery), OpenError> {
        if !self.directory.is_whole()? {
            self.put_aside()?;
        }
        match self.open_database() {
            Ok(opened) => return Ok(opened),
            Err(error) => self.refuse_unless_damaged(&error)?,
        }
        self.put_aside()?;
        self.open_database().map_err(|error| {
            let refused = self.refuse_unless_damaged(&error).err();
            refused.unwrap_or_else(|| OpenError::Failed {
                path: self.directory.database(),
                cause: one_line(&error),
            })
        })
    }

    fn open_database(&self) -> Result<(Database, Recovery), rocksdb::Error> {
        let database = Database::open(&self.tuning, &self.directory.database())?;
        let mut writer = lock(&self.writer);
        writer.resume(&database)?;
        let recovery = database.recovery()?;
        self.shared
            .flushed
            .fetch_max(recovery.flushed, Ordering::Relaxed);
        // With no room left the chunks have to stay where they are for a while.
        match writer.settle(&database) {
            Err(error) if Trouble::of(&error) != Trouble::Full => return Err(error),
            _ => {}
        }
        Ok((database, recovery))
    }

    fn refuse_unless_damaged(&self, error: &rocksdb::Error) -> Result<(), OpenError> {
        let directory = self.directory.path().to_path_buf();
        let path = self.directory.database();
        let cause = one_line(error);
        Err(match Trouble::of(error) {
            Trouble::Full => OpenError::Full { directory },
            Trouble::Unwritable => OpenError::Unwritable { path, cause },
            Trouble::Starved => OpenError::Failed { path, cause },
            Trouble::InUse => OpenError::InUse {
                directory,
                process_id: None,
            },
            Trouble::Damaged | Trouble::Other => return Ok(()),
        })
    }

    fn put_aside(&self) -> Result<(), OpenError> {
        let moved = self.directory.set_aside()?;
        lock(&self.set_aside).push(moved);
        self.corruptions.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Opens the database anew, with the lasting notes if it had to be replaced.
    fn open_again(&self) -> Result<Database, DiskError> {
        let failure = |error: OpenError| match error {
            OpenError::Full { .. } => DiskError::Full,
            _ => DiskError::Failed,
        };
        if self.is_corrupt.swap(false, Ordering::Relaxed) {
            self.corruptions.fetch_add(1, Ordering::Relaxed);
        }
        if self.corruptions.load(Ordering::Relaxed) >= CORRUPTIONS_MAX {
            self.put_aside().map_err(failure)?;
        }
        let (database, _) = self.open_whole().map_err(failure)?;
        let handed_over = lock(&self.writer).hand_over(&database);
        handed_over.map_err(|error| self.write_failure(&error))?;
        Ok(database)
    }

    /// Has compactions under way stop, so that they do not hold up who wants to close.
    fn interrupt(&self, epoch: Option<u64>) {
        let state = self.state();
        if let State::Open(database) = &*state
            && epoch.is_none_or(|epoch| epoch == self.epoch())
        {
            database.db().cancel_all_background_work(false);
        }
    }

    fn refuse_after_lost_sync(&self) -> Result<(), DiskError> {
        if self.has_lost_sync.load(Ordering::Acquire) {
            return Err(DiskError::Failed);
        }
        Ok(())
    }

    fn write_failure(&self, error: &rocksdb::Error) -> DiskError {
        if Trouble::of(error) == Trouble::Full {
            return self.unless_stuck(DiskError::Full);
        }
        if error.kind() == ErrorKind::Corruption {
            self.is_corrupt.store(true, Ordering::Relaxed);
            return DiskError::Failed;
        }
        // Once stopped for want of room, RocksDB may name another cause. Reopening it now would
        // fail, and take the reads along.
        let room = usage::room(self.directory.path());
        if room.is_ok_and(|(free_bytes, _)| free_bytes < ROOM_BYTES) {
            return DiskError::Full;
        }
        DiskError::Failed
    }

    /// The core waits for a full disk to recover by itself; a database that does not has to be
    /// reopened.
    fn unless_stuck(&self, error: DiskError) -> DiskError {
        match error {
            DiskError::Full if self.is_stuck() => DiskError::Failed,
            error => error,
        }
    }

    /// Whether the database goes on seeing no room where there is some.
    fn is_stuck(&self) -> bool {
        let mut since = lock(&self.stuck_since);
        let room = usage::room(self.directory.path());
        if room.is_ok_and(|(free_bytes, _)| free_bytes >= ROOM_BYTES) {
            since.get_or_insert_with(Instant::now).elapsed() >= STUCK_AFTER
        } else {
            *since = None;
            false
        }
    }

    fn is_well(&self) {
        *lock(&self.stuck_since) = None;
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn compact_families(&self, database: &Database, first: u16, last: u16, families: &[&str]) {
        let (start, _) = layout::partition_bounds(first);
        let (_, end) = layout::partition_bounds(last);
        let mut options = CompactOptions::default();
        // Automatic compaction goes on meanwhile, or writes would stall behind this.
        options.set_exclusive_manual_compaction(false);
        for name in families {
            let family = database.family(name);
            database
                .db()
                .compact_range_cf_opt(&family, Some(start), end, &options);
        }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        // Who wants to know how it went has called `close` before.
        let _ = self.close();
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage")
            .field("directory", &self.directory)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl Disk for Storage {
    fn write(&self, _worker: WorkerId, batch: &Batch) -> Result<(), DiskError> {
        let state = self.state();
        let database = state.database().map_err(|error| self.unless_stuck(error))?;
        self.refuse_after_lost_sync()?;
        let written = lock(&self.writer).write(database, &self.shared, batch);
        written.map_err(|error| self.write_failure(&error))?;
        self.is_well();
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        let state = self.state();
        let database = state.database().map_err(|error| self.unless_stuck(error))?;
        self.refuse_after_lost_sync()?;
        let synced = database.db().flush_wal(true);
        synced.map_err(|error| {
            let failure = self.write_failure(&error);
            if failure == DiskError::Full {
                // The database recovers in place; a new incarnation without reopening tells every
                // worker to write again what it has not synced.
                self.epoch.fetch_add(1, Ordering::Release);
            } else {
                self.has_lost_sync.store(true, Ordering::Release);
            }
            failure
        })
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    fn reopen(&self, epoch: u64) -> Result<(), DiskError> {
        self.interrupt(Some(epoch));
        let mut state = self.state_mut();
        if epoch != self.epoch() {
            // Another worker was first.
            return Ok(());
        }
        if matches!(*state, State::Closed) {
            return Err(DiskError::Failed);
        }
        // RocksDB lets nobody open a database twice, so the old one has to go first.
        *state = State::Down(DiskError::Failed);
        match self.open_again() {
            Ok(database) => {
                *state = State::Open(database);
                self.has_lost_sync.store(false, Ordering::Release);
                self.epoch.fetch_add(1, Ordering::Release);
                self.is_well();
                Ok(())
            }
            Err(error) => {
                *state = State::Down(error);
                Err(error)
            }
        }
    }

    fn load(&self, load: &mut Load) -> Result<Found, DiskError> {
        let state = self.state();
        let database = state.database().map_err(|_| DiskError::Failed)?;
        reading::load(database, load)
    }

    fn scan(&self, scan: &mut Scan) -> Result<bool, DiskError> {
        let state = self.state();
        let database = state.database().map_err(|_| DiskError::Failed)?;
        reading::scan(database, &self.shared, scan)
    }

    fn compact(&self, first: u16, last: u16) {
        let state = self.state();
        let Ok(database) = state.database() else {
            return;
        };
        self.compact_families(database, first, last, &[ITEMS]);
        if database.has_apart() {
            let buried = lock(&self.writer).bury(database, &self.shared);
            // A writer meets the same error before long, and answers it.
            if buried.is_ok() {
                self.compact_families(database, first, last, &[ITEMS, LEDGER, CHUNKS]);
            }
        }
    }

    fn usage(&self) -> Result<Usage, DiskError> {
        let state = self.state();
        let database = state.database().ok();
        let measure = || -> std::io::Result<Usage> {
            let (free_bytes, total_bytes) = usage::room(self.directory.path())?;
            Ok(Usage {
                database_bytes: usage::file_bytes(&self.directory.database(), database)?,
                free_bytes,
                total_bytes,
                memory_bytes: usage::memory_bytes(&self.tuning, database),
            })
        };
        measure().map_err(|_| DiskError::Failed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
