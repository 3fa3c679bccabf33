//! What can keep the storage from opening, and what RocksDB's messages mean.
//!
//! Decides which failures are the operator's to mend and which mean that the database is
//! damaged. Refuses to know what is done about either.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rocksdb::ErrorKind;

/// Why the storage could not be opened. Its `Display` is one line that names the thing.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has the data directory.
    InUse {
        /// The data directory.
        directory: PathBuf,
        /// That process, if it has said so.
        process_id: Option<u32>,
    },
    /// The data directory has been written by a newer program.
    Newer {
        /// The data directory.
        directory: PathBuf,
        /// The format version found there.
        found: u64,
        /// The newest one that this program knows.
        known: u64,
    },
    /// The data directory can't be created or written.
    Unwritable {
        /// The path that could not be written.
        path: PathBuf,
        /// What the system says.
        cause: String,
    },
    /// There is no room on the file system.
    Full {
        /// The data directory.
        directory: PathBuf,
    },
    /// The system lacks something else that opening needs, such as file descriptors.
    Failed {
        /// The path that was being opened.
        path: PathBuf,
        /// What the system says.
        cause: String,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse {
                directory,
                process_id: Some(process_id),
            } => {
                let directory = directory.display();
                write!(
                    f,
                    "data directory {directory} is in use by process {process_id}"
                )
            }
            Self::InUse { directory, .. } => {
                let directory = directory.display();
                write!(f, "data directory {directory} is in use by another process")
            }
            Self::Newer {
                directory,
                found,
                known,
            } => write!(
                f,
                "data directory {} has format version {found}; this program knows up to {known}",
                directory.display()
            ),
            Self::Unwritable { path, cause } => {
                write!(f, "can't write {}: {cause}", path.display())
            }
            Self::Full { directory } => {
                let directory = directory.display();
                write!(
                    f,
                    "no room on the file system of data directory {directory}"
                )
            }
            Self::Failed { path, cause } => write!(f, "can't open {}: {cause}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {}

impl OpenError {
    /// What an I/O error at `path` in the data directory `directory` amounts to.
    pub(crate) fn from_io(directory: &Path, path: &Path, error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        let path = path.to_path_buf();
        let cause = error.to_string();
        match error.kind() {
            Kind::StorageFull | Kind::QuotaExceeded => Self::Full {
                directory: directory.to_path_buf(),
            },
            Kind::PermissionDenied
            | Kind::ReadOnlyFilesystem
            | Kind::NotADirectory
            | Kind::AlreadyExists
            | Kind::IsADirectory => Self::Unwritable { path, cause },
            _ => Self::Failed { path, cause },
        }
    }
}

/// What an error of RocksDB amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No room.
    Full,
    /// The files may not be written.
    Unwritable,
    /// Somebody else has the database.
    InUse,
    /// The system lacks memory or file descriptors.
    Starved,
    /// The files do not hold what they should.
    Damaged,
    /// Anything else.
    Other,
}

impl Trouble {
    /// Reads RocksDB's message: its C interface passes on nothing else.
    pub(crate) fn of(error: &rocksdb::Error) -> Self {
        const MESSAGES: [(&str, Trouble); 8] = [
            ("No space left on device", Trouble::Full),
            ("Disk quota exceeded", Trouble::Full),
            ("Permission denied", Trouble::Unwritable),
            ("Operation not permitted", Trouble::Unwritable),
            ("Read-only file system", Trouble::Unwritable),
            ("While lock file", Trouble::InUse),
            ("Too many open files", Trouble::Starved),
            ("Cannot allocate memory", Trouble::Starved),
        ];
        let text = error.as_ref();
        if let Some((_, trouble)) = MESSAGES.iter().find(|(part, _)| text.contains(part)) {
            return *trouble;
        }
        match error.kind() {
            ErrorKind::Corruption => Self::Damaged,
            _ => Self::Other,
        }
    }
}

/// RocksDB's message as one line.
pub(crate) fn one_line(error: &rocksdb::Error) -> String {
    error.as_ref().replace(['\n', '\r'], " ")
}
