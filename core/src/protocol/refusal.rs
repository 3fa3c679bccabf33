//! Lines that say no.
//!
//! Decides their words, to the byte as memcached 1.6.45 has them where it has them, and what a
//! refusal means for the bytes behind the line. Refuses to know which command earned one.

use super::key::Key;
use crate::command::Failure;

macro_rules! error_lines {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Everything that a client can be told instead of an answer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ErrorLine {
            $($(#[$doc])* $name,)*
        }

        impl ErrorLine {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The line, with its end.
            #[must_use]
            pub const fn as_bytes(self) -> &'static [u8] {
                match self {
                    $(Self::$name => concat!($text, "\r\n").as_bytes(),)*
                }
            }
        }
    };
}

error_lines! {
    /// An unknown command.
    UnknownCommand = "ERROR",
    /// Tokens are missing, or one is not what it must be.
    BadFormat = "CLIENT_ERROR bad command line format",
    /// A data block does not end where the command said.
    BadDataChunk = "CLIENT_ERROR bad data chunk",
    /// The exptime is no number.
    InvalidExptime = "CLIENT_ERROR invalid exptime argument",
    /// The delta of incr or decr is no number.
    InvalidDelta = "CLIENT_ERROR invalid numeric delta argument",
    /// A meta flag is given twice.
    DuplicateFlag = "CLIENT_ERROR duplicate flag",
    /// A meta flag does not exist.
    InvalidFlag = "CLIENT_ERROR invalid flag",
    /// Anything wrong with the flags of `ma`.
    InvalidOrDuplicateFlag = "CLIENT_ERROR invalid or duplicate flag",
    /// A meta command has too many tokens.
    TooManyFlags = "CLIENT_ERROR options flags are too long",
    /// The number of a meta flag is none.
    BadToken = "CLIENT_ERROR bad token in command line format",
    /// The number of meta flag `J` is none.
    InvalidMetaInitial = "CLIENT_ERROR invalid numeric initial value",
    /// The number of meta flag `D` is none.
    InvalidMetaDelta = "CLIENT_ERROR invalid numeric delta value",
    /// A base64 key is none.
    KeyDecoding = "CLIENT_ERROR error decoding key",
    /// A meta opaque is longer than 31 bytes.
    OpaqueTooLong = "CLIENT_ERROR opaque token too long",
    /// The mode of `ms` does not exist.
    InvalidStoreMode = "CLIENT_ERROR invalid mode for ms M token",
    /// The mode of `ma` does not exist.
    InvalidArithmeticMode = "CLIENT_ERROR invalid mode for ma M token",
    /// incr or decr of something that is no number.
    NonNumeric = "CLIENT_ERROR cannot increment or decrement non-numeric value",
    /// The value is over the item limit.
    TooLarge = "SERVER_ERROR object too large for cache",
    /// A store has found no room.
    StoreOutOfMemory = "SERVER_ERROR out of memory storing object",
    /// Another command has found no room.
    OutOfMemory = "SERVER_ERROR out of memory",
    /// A write had to wait for the disk for too long.
    Backlog = "SERVER_ERROR disk is too far behind, nothing was changed",
    /// The item is only on disk, and the disk can't be read.
    DiskRead = "SERVER_ERROR disk can not be read",
    /// The disk is at its limit and writes are refused there.
    DiskFull = "SERVER_ERROR disk is full, nothing was changed",
    /// No node that could answer for the key was found in time.
    Unreachable = "SERVER_ERROR no node answers for this key, nothing was changed",
    /// A node was asked for the key and has not answered in time.
    Unknown = "SERVER_ERROR outcome unknown",
    /// flush_all has missed a node that is not known to be down.
    FlushUnreached = "SERVER_ERROR flush_all has not reached every node, try again",
    /// flush_all is switched off.
    FlushNotAllowed = "CLIENT_ERROR flush_all not allowed",
    /// shutdown is not switched on.
    ShutdownNotEnabled = "SERVER_ERROR: shutdown not enabled",
    /// A word behind shutdown that is not `graceful`.
    InvalidShutdownMode = "CLIENT_ERROR invalid shutdown mode",
    /// cache_memlimit below 8 MiB.
    MemlimitTooSmall = "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m",
    /// cache_memlimit above any sense.
    MemlimitNotMegabytes = "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes",
    /// cache_memlimit that can't be carried out.
    MemlimitNotAdjusted = "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust",
    /// `stats detail` without a word that it knows.
    DetailUsage = "CLIENT_ERROR usage: stats detail on|off|dump",
    /// `stats cachedump` without its arguments.
    BadLine = "CLIENT_ERROR bad command line",
    /// `stats cachedump` of a class that can't exist.
    IllegalSlabId = "CLIENT_ERROR Illegal slab id",
    /// `stats cachedump`: Zufar does not list keys.
    CachedumpNotAllowed = "CLIENT_ERROR stats cachedump not allowed",
    /// Zufar has no LRU crawler.
    CrawlerDisabled = "CLIENT_ERROR lru crawler disabled",
    /// Zufar has no LRU crawler to start.
    CrawlerNotStarted = "ERROR failed to start lru crawler thread",
    /// Zufar has no slab pages to move.
    ReassignDisabled = "CLIENT_ERROR slab reassignment disabled",
    /// Zufar has no log stream for clients.
    WatchNotAllowed = "CLIENT_ERROR watch commands not allowed",
    /// The connection limit is reached.
    TooManyConnections = "ERROR Too many open connections",
}

impl ErrorLine {
    /// What a failed command says; `store` for set and its kin, whose words differ.
    #[must_use]
    pub const fn of_failure(failure: Failure, store: bool) -> Self {
        match failure {
            Failure::TooLarge => Self::TooLarge,
            Failure::OutOfMemory if store => Self::StoreOutOfMemory,
            Failure::OutOfMemory => Self::OutOfMemory,
            Failure::NonNumeric => Self::NonNumeric,
            Failure::Backlog => Self::Backlog,
            Failure::DiskRead => Self::DiskRead,
            Failure::DiskFull => Self::DiskFull,
            Failure::Unreachable => Self::Unreachable,
            Failure::Unknown => Self::Unknown,
        }
    }
}

/// What to do once a refusal has been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next command follows at once.
    Continue,
    /// Pass over so many bytes, a data block with its line end, before the next command.
    Swallow(u64),
    /// Close the connection.
    Close,
}

/// A line that is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// What is wrong.
    pub line: ErrorLine,
    /// The client has asked not to be told, or must not be.
    pub silent: bool,
    /// What becomes of the bytes behind the line.
    pub then: Then,
    /// The key whose old value must go: `Operation::Delete` with `refused_store`.
    pub evict: Option<Key<'a>>,
}

impl Refusal<'_> {
    /// The bytes to answer, none when it is silent.
    #[must_use]
    pub const fn reply(&self) -> &'static [u8] {
        if self.silent {
            b""
        } else {
            self.line.as_bytes()
        }
    }

    pub(super) const fn new(line: ErrorLine) -> Self {
        Self {
            line,
            silent: false,
            then: Then::Continue,
            evict: None,
        }
    }

    pub(super) const fn silent_if(self, silent: bool) -> Self {
        Self { silent, ..self }
    }

    /// A store line is refused and its data block passed over.
    pub(super) const fn swallowing(self, data_bytes: u32) -> Self {
        Self {
            then: Then::Swallow(data_bytes as u64 + 2),
            ..self
        }
    }
}

impl From<ErrorLine> for Refusal<'_> {
    fn from(line: ErrorLine) -> Self {
        Self::new(line)
    }
}
