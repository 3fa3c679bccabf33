//! The data directory: who may use it, which format it has, and where the database lies in it.
//!
//! ```text
//! LOCK                        held by flock while the storage is open; names the process
//! FORMAT                      the version of all that lies beside it
//! db/                         the database
//! db.damaged.<unix seconds>   a database that could not be opened; never deleted by Zufar
//! ```
//!
//! Decides these names and the order in which they come into being. Refuses to know what is
//! inside the database.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::OpenError;

/// The format version that this program writes.
pub(crate) const FORMAT_VERSION: u64 = 1;

const LOCK: &str = "LOCK";
const FORMAT: &str = "FORMAT";
const FORMAT_NEW: &str = "FORMAT.new";
const FORMAT_PREFIX: &str = "zufar-data ";
/// A format file is one short line; more is not read.
const FORMAT_BYTES_MAX: u64 = 64;
const DATABASE: &str = "db";
const CURRENT: &str = "CURRENT";
const DAMAGED: &str = "db.damaged";

/// A data directory that this process has to itself until this is dropped.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    lock: File,
}

enum Format {
    Absent,
    Known,
    Newer(u64),
    Unreadable,
}

impl Directory {
    /// Takes hold of `path`, creating it if absent. The second value names a database that was
    /// set aside because it is not known to be in this program's format.
    pub(crate) fn open(path: &Path) -> Result<(Self, Option<PathBuf>), OpenError> {
        let refuse = |at: &Path, error: &io::Error| OpenError::from_io(path, at, error);
        // Before anything is touched: a newer program's directory stays as it is.
        let found = format(path).map_err(|error| refuse(path, &error))?;
        if let Format::Newer(found) = found {
            return Err(OpenError::Newer {
                directory: path.to_path_buf(),
                found,
                known: FORMAT_VERSION,
            });
        }
        create(path).map_err(|error| refuse(path, &error))?;
        let directory = Self {
            path: path.to_path_buf(),
            lock: lock(path)?,
        };
        let mut aside = None;
        if !matches!(found, Format::Known) {
            if directory.has_data()? {
                aside = Some(directory.set_aside()?);
            }
            let written = write_format(path);
            written.map_err(|error| refuse(&path.join(FORMAT), &error))?;
        }
        let database = directory.database();
        create(&database).map_err(|error| refuse(&database, &error))?;
        Ok((directory, aside))
    }

    /// The data directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the database lies.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Whether RocksDB may open the database as it is: empty, or with the file that it goes by.
    /// Without `CURRENT` it would take it for a new one and delete the tables in it.
    pub(crate) fn is_whole(&self) -> Result<bool, OpenError> {
        Ok(self.database().join(CURRENT).exists() || !self.has_data()?)
    }

    /// Renames the database out of the way and makes room for a new one.
    pub(crate) fn set_aside(&self) -> Result<PathBuf, OpenError> {
        self.rename_database()
            .map_err(|error| OpenError::from_io(&self.path, &self.database(), &error))
    }

    fn rename_database(&self) -> io::Result<PathBuf> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let stem = format!("{DAMAGED}.{}", now.map_or(0, |now| now.as_secs()));
        let mut target = self.path.join(&stem);
        let mut attempt = 0;
        while target.try_exists()? {
            attempt += 1;
            target = self.path.join(format!("{stem}.{attempt}"));
        }
        fs::rename(self.database(), &target)?;
        create(&self.database())?;
        File::open(&self.path)?.sync_all()?;
        Ok(target)
    }

    /// Whether there is anything in the database's place that could hold records.
    fn has_data(&self) -> Result<bool, OpenError> {
        let database = self.database();
        let names = match fs::read_dir(&database) {
            Ok(entries) => entries.map(|entry| Ok(entry?.file_name())).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        let names: io::Result<Vec<OsString>> = names;
        let names = names.map_err(|error| OpenError::from_io(&self.path, &database, &error))?;
        Ok(names.iter().any(|name| {
            let name = name.to_string_lossy();
            let of_records = [".sst", ".log"].iter().any(|end| name.ends_with(end));
            of_records || name == CURRENT || name.starts_with("MANIFEST-")
        }))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing the file alone would leave the lock with a process that is being spawned at
        // this moment, until it executes its program.
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}

fn create(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join(LOCK);
    let refuse = |error: io::Error| OpenError::from_io(directory, &path, &error);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(refuse)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            // Only a courtesy: the lock itself has already said no.
            let read = file.take(FORMAT_BYTES_MAX).read_to_string(&mut holder);
            let process_id = read.ok().and_then(|_| holder.trim().parse().ok());
            return Err(OpenError::InUse {
                directory: directory.to_path_buf(),
                process_id,
            });
        }
        Err(error) => return Err(refuse(error.into())),
    }
    file.set_len(0).map_err(refuse)?;
    writeln!(file, "{}", std::process::id()).map_err(refuse)?;
    Ok(file)
}

fn format(directory: &Path) -> io::Result<Format> {
    let file = match File::open(directory.join(FORMAT)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Format::Absent),
        Err(error) => return Err(error),
    };
    let mut content = Vec::new();
    file.take(FORMAT_BYTES_MAX).read_to_end(&mut content)?;
    let version = std::str::from_utf8(&content)
        .ok()
        .and_then(|text| text.strip_prefix(FORMAT_PREFIX))
        .and_then(|text| text.trim_end().parse::<u64>().ok());
    Ok(match version {
        Some(version) if version > FORMAT_VERSION => Format::Newer(version),
        Some(FORMAT_VERSION) => Format::Known,
        _ => Format::Unreadable,
    })
}

fn write_format(directory: &Path) -> io::Result<()> {
    let new = directory.join(FORMAT_NEW);
    let mut file = File::create(&new)?;
    writeln!(file, "{FORMAT_PREFIX}{FORMAT_VERSION}")?;
    file.sync_all()?;
    fs::rename(&new, directory.join(FORMAT))?;
    File::open(directory)?.sync_all()
}
