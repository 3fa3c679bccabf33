//! Commands and outcomes: what a session asks of a shard, whichever protocol it was said in.
//!
//! Decides the vocabulary between the wire protocols and the memory tier, and how exptimes are
//! read. Refuses to know bytes on the wire, connections and where a key lives.

pub(crate) mod owned;

use bytes::Bytes;

use crate::time::Now;

/// Longest key, in bytes, as memcached has it.
pub const KEY_BYTES_MAX: usize = 250;
/// Exptimes up to here are relative, in seconds; greater ones are Unix times.
const RELATIVE_EXPTIME_S_MAX: i32 = 60 * 60 * 24 * 30;

/// When an item expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// Never.
    #[default]
    Never,
    /// Once this Unix second has begun; one in the past is legal and means at once.
    At(u32),
}

impl Expiry {
    /// Reads a memcached exptime: 0 never, negative at once, up to 30 days relative, greater
    /// absolute. A relative time lasts at least as long as it says, and less than a second more.
    #[must_use]
    pub fn from_exptime(exptime: i32, now: Now) -> Self {
        match exptime {
            0 => Self::Never,
            ..0 => Self::At(1),
            1..=RELATIVE_EXPTIME_S_MAX => {
                let at_ms = now.unix_ms + u64::from(exptime.unsigned_abs()) * 1000;
                Self::At(u32::try_from(at_ms.div_ceil(1000)).unwrap_or(u32::MAX))
            }
            _ => Self::At(exptime.unsigned_abs()),
        }
    }

    /// As a number: Unix seconds, 0 for never.
    #[must_use]
    pub const fn as_unix_s(self) -> u32 {
        match self {
            Self::Never => 0,
            Self::At(at) => at,
        }
    }
}

/// A value: borrowed while small, shared when it has memory of its own.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// At most [`crate::cache::INLINE_BYTES_MAX`] bytes.
    Small(&'a [u8]),
    /// More than that.
    Large(Bytes),
}

impl Value<'_> {
    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Small(bytes) => bytes,
            Self::Large(bytes) => bytes,
        }
    }

    /// The length, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Reads, touches, vivifies. The default is a plain get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetch {
    /// Give the item this expiry (gat, touch, meta `T`).
    pub touch: Option<Expiry>,
    /// The command is `touch`: no value is read, and it is not counted as a get.
    pub touch_only: bool,
    /// On a miss make an empty item with this expiry (meta `N`).
    pub vivify: Option<Expiry>,
    /// Hand out a recache token if fewer seconds than this remain (meta `R`).
    pub recache_s: Option<i32>,
    /// Hand out a recache token (meta `R` behind a `T` that leaves fewer seconds).
    pub recache: bool,
    /// The version that a vivified item shows (meta `E`).
    pub new_cas: Option<u64>,
    /// Leave recency and the fetched mark alone (meta `u`).
    pub no_bump: bool,
    /// The command is `mg`: it may get the token of a stale item, as no other may, and a miss is
    /// counted as that of a get, even with a `touch`.
    pub meta: bool,
}

/// When a [`Store`] stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreMode {
    /// Always.
    #[default]
    Set,
    /// If there is no item.
    Add,
    /// If there is an item.
    Replace,
    /// If there is an item: the value goes behind what it has.
    Append,
    /// If there is an item: the value goes before what it has.
    Prepend,
}

/// Stores a value.
#[derive(Clone, Debug)]
pub struct Store<'a> {
    /// When to store.
    pub mode: StoreMode,
    /// The client's flags; append and prepend ignore them.
    pub flags: u32,
    /// The expiry; append and prepend ignore it.
    pub expiry: Expiry,
    /// The value, without its line end.
    pub value: Value<'a>,
    /// Only if the item's cas unique is this one (cas, meta `C`).
    pub compare: Option<u64>,
    /// The cas unique to show from now on (meta `E`).
    pub new_cas: Option<u64>,
    /// With `compare` lower than the item's: store, but stale (meta `I`).
    pub invalidate: bool,
    /// On a miss append and prepend store a new item with this expiry (meta `N`).
    pub vivify: Option<Expiry>,
}

/// Deletes an item, or marks it stale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delete {
    /// Only if the item's cas unique is this one (meta `C`).
    pub compare: Option<u64>,
    /// With `stale` or `drop_value`: the cas unique to show from now on (meta `E`).
    pub new_cas: Option<u64>,
    /// Keep the item but mark it stale (meta `I`).
    pub stale: bool,
    /// Keep the item but empty it (meta `x`).
    pub drop_value: bool,
    /// With `stale` or `drop_value`: the new expiry (meta `T`).
    pub expiry: Option<Expiry>,
    /// With `drop_value`: the client's flags of what is kept (meta `F`).
    pub flags: u32,
    /// The command is a refused store of this key whose old value must go, as memcached does;
    /// no client sees the outcome and no statistic counts it.
    pub refused_store: bool,
}

/// Counts up or down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arithmetic {
    /// Down, with a floor of 0, rather than up, modulo 2⁶⁴.
    pub decrement: bool,
    /// By how much.
    pub delta: u64,
    /// On a miss store this number with this expiry (meta `N` and `J`).
    pub initial: Option<(u64, Expiry)>,
    /// Give the item this expiry (meta `T`).
    pub touch: Option<Expiry>,
    /// Only if the item's cas unique is this one; 0 compares nothing (meta `C`).
    pub compare: Option<u64>,
    /// The cas unique to show from now on (meta `E`).
    pub new_cas: Option<u64>,
}

/// What to do with one key.
#[derive(Clone, Debug)]
pub enum Operation<'a> {
    /// get, gat, touch, mg.
    Fetch(Fetch),
    /// set, add, replace, append, prepend, cas, ms.
    Store(Store<'a>),
    /// delete, md.
    Delete(Delete),
    /// incr, decr, ma.
    Arithmetic(Arithmetic),
    /// me: an item's figures, without touching it.
    Inspect,
}

impl Operation<'_> {
    /// Whether it may change anything: a meta get may, for the token that it hands out.
    #[must_use]
    pub fn may_change(&self) -> bool {
        match self {
            Self::Fetch(fetch) => fetch.meta || fetch.touch.is_some() || fetch.vivify.is_some(),
            Self::Store(_) | Self::Delete(_) | Self::Arithmetic(_) => true,
            Self::Inspect => false,
        }
    }

    /// What can be said of it if a node was asked and nobody knows whether that has carried it out.
    #[must_use]
    pub fn unanswered(&self) -> Failure {
        match self.may_change() {
            true => Failure::Unknown,
            false => Failure::Unreachable,
        }
    }
}

/// An item as one command met it.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    /// The value.
    pub value: Value<'a>,
    /// The client's flags.
    pub flags: u32,
    /// The cas unique.
    pub cas: u64,
    /// Unix seconds of its expiry before this command, 0 for never and for a vivified one.
    pub expired_s_before: u32,
    /// Unix seconds of its expiry now, 0 for never.
    pub expires_s: u32,
    /// Unix seconds of the access before this one.
    pub accessed_s: u32,
    /// Whether it had been fetched before this command.
    pub fetched: bool,
    /// Marked stale (meta `X`).
    pub stale: bool,
    /// Somebody else has been told to recache it (meta `Z`).
    pub token_sent: bool,
    /// This client shall recache it (meta `W`).
    pub won: bool,
    /// This command has made it (meta `N`).
    pub vivified: bool,
    /// Bytes that it takes in memory, bookkeeping included.
    pub memory_bytes: u32,
}

/// Why a command could not be carried out. Each has its error line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The value, or what append would make of it, is over the item limit.
    TooLarge,
    /// No memory and nothing to evict, or eviction is off.
    OutOfMemory,
    /// incr or decr of something that is no number.
    NonNumeric,
    /// The disk is too far behind; nothing was changed.
    Backlog,
    /// The item is only on disk, and the disk can't be read.
    DiskRead,
    /// The disk is at its limit and `when-full` is `refuse`.
    DiskFull,
    /// No node that could answer for the partition was found in time, or it has not answered;
    /// nothing was changed.
    Unreachable,
    /// Another node was asked and has not answered in time: it may or may not have been done.
    Unknown,
}

/// What came of a command.
#[derive(Clone, Debug)]
pub enum Outcome<'a> {
    /// A fetch or an inspection found the item, or vivified it.
    Item(Item<'a>),
    /// There is no such item: END, EN, NOT_FOUND, NF.
    NotFound,
    /// STORED, HD.
    Stored {
        /// The new cas unique.
        cas: u64,
        /// The value's length now.
        value_bytes: u32,
    },
    /// NOT_STORED, NS.
    NotStored,
    /// The cas unique differs: EXISTS, EX.
    Exists,
    /// DELETED, HD.
    Deleted,
    /// The number that incr or decr left.
    Number {
        /// The number.
        number: u64,
        /// The new cas unique.
        cas: u64,
        /// Unix seconds of the expiry before this command, 0 for never and for a new item.
        expired_s_before: u32,
        /// Unix seconds of the expiry now, 0 for never.
        expires_s: u32,
        /// This command has made the item (meta `N`).
        vivified: bool,
    },
    /// It could not be carried out.
    Failed(Failure),
}

impl Outcome<'_> {
    /// Whether it can come of `operation`. What can't, another node has made up: no client could be
    /// told.
    #[must_use]
    pub const fn can_come_of(&self, operation: &Operation<'_>) -> bool {
        match (self, operation) {
            (Self::Failed(_) | Self::NotFound, _)
            | (Self::Item(_), Operation::Fetch(_) | Operation::Inspect)
            | (Self::Stored { .. } | Self::NotStored | Self::Exists, Operation::Store(_))
            | (Self::Deleted, Operation::Delete(_))
            | (Self::Number { .. }, Operation::Arithmetic(_)) => true,
            (Self::Exists, Operation::Delete(delete)) => delete.compare.is_some(),
            (Self::NotStored, Operation::Delete(delete)) => delete.stale || delete.drop_value,
            (Self::Exists, Operation::Arithmetic(arithmetic)) => arithmetic.compare.is_some(),
            (Self::NotStored, Operation::Arithmetic(arithmetic)) => arithmetic.initial.is_some(),
            _ => false,
        }
    }
}
