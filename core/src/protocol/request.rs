//! What a client can ask for, whichever text command it was said in.
//!
//! Decides the vocabulary between the text protocols and a session. Refuses to know shards,
//! and bytes on the wire beyond the slices of the line that an answer has to echo.

use crate::command::{Expiry, Fetch, Operation, Store, StoreMode, Value};

use super::key::Key;
use super::refusal::{ErrorLine, Refusal};
use super::token::Tokens;

/// One complete command line, read.
#[derive(Clone, Debug)]
pub enum Request<'a> {
    /// get, gets, gat, gats: any number of keys.
    Get(GetRequest<'a>),
    /// set and its kin, `ms`: a data block follows the line.
    Store(StoreRequest<'a>),
    /// Any other command of one key.
    Key(KeyRequest<'a>),
    /// flush_all.
    FlushAll {
        /// In how many seconds; 0 is now.
        delay_s: u32,
        /// The client wants no answer.
        noreply: bool,
    },
    /// version.
    Version,
    /// verbosity.
    Verbosity {
        /// 0 to 2.
        level: u8,
        /// The client wants no answer.
        noreply: bool,
    },
    /// cache_memlimit.
    CacheMemlimit {
        /// The new limit of the whole node.
        memory_bytes: u64,
        /// The client wants no answer.
        noreply: bool,
    },
    /// quit: close without an answer.
    Quit,
    /// shutdown, where it is enabled: close and stop.
    Shutdown {
        /// The word `graceful` was given.
        graceful: bool,
    },
    /// stats.
    Stats(StatsRequest),
    /// mn: answer `MN`.
    MetaNoop,
    /// A setting that already is what was asked for: answer `OK`.
    Settled {
        /// The client wants no answer.
        noreply: bool,
    },
}

impl Request<'_> {
    /// Whether a line that says where the record lives is to follow the answer.
    #[must_use]
    #[inline]
    pub const fn is_located(&self) -> bool {
        match self {
            Self::Get(get) => get.located,
            Self::Store(store) => store.located && !store.noreply,
            Self::Key(command) => command.located && !command.noreply,
            _ => false,
        }
    }
}

/// Which stats are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatsRequest {
    /// The general ones.
    General,
    /// What the node was started with.
    Settings,
    /// By slab class: items.
    Items,
    /// By slab class: memory and commands.
    Slabs,
    /// By item size.
    Sizes,
    /// By connection.
    Connections,
    /// Forget what can be forgotten.
    Reset,
    /// Count by key prefix from now on.
    DetailOn,
    /// Count by key prefix no more.
    DetailOff,
    /// What was counted by key prefix.
    DetailDump,
    /// Zufar's own.
    Zufar,
}

/// get, gets, gat, gats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetRequest<'a> {
    /// Show cas uniques.
    pub with_cas: bool,
    /// Give each item this expiry.
    pub touch: Option<Expiry>,
    /// Say where the records live.
    pub located: bool,
    pub(super) keys: &'a [u8],
}

impl<'a> GetRequest<'a> {
    /// The keys, in order; duplicates are answered twice. All are legal.
    #[inline]
    pub fn keys(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        Tokens(self.keys)
    }

    /// Length of the keys as they stand at the line's end, in bytes.
    #[must_use]
    pub const fn keys_bytes(&self) -> usize {
        self.keys.len()
    }

    /// What is asked of each key.
    #[must_use]
    #[inline]
    pub fn operation(&self) -> Operation<'static> {
        Operation::Fetch(Fetch {
            touch: self.touch,
            ..Fetch::default()
        })
    }

    /// Whether there is a key and each has at most 250 bytes. [`parse`](super::parse) has made
    /// sure of it.
    #[must_use]
    #[inline]
    pub fn check_keys(&self) -> bool {
        // Most lines are shorter than one key may be: then one byte that is no space decides.
        if self.keys.len() <= crate::command::KEY_BYTES_MAX {
            return self.keys.iter().any(|&byte| byte != b' ');
        }
        let mut keys = self.keys().peekable();
        keys.peek().is_some() && keys.all(|key| Key::plain(key).is_some())
    }
}

/// set, add, replace, append, prepend, cas, ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreRequest<'a> {
    /// The key.
    pub key: Key<'a>,
    /// When to store.
    pub mode: StoreMode,
    /// The client's flags.
    pub flags: u32,
    /// The expiry.
    pub expiry: Expiry,
    /// Only if the item's cas unique is this one.
    pub compare: Option<u64>,
    /// The cas unique to show from now on.
    pub new_cas: Option<u64>,
    /// With `compare` lower than the item's: store, but stale.
    pub invalidate: bool,
    /// On a miss append and prepend store a new item with this expiry.
    pub vivify: Option<Expiry>,
    /// Length of the data block, without its line end.
    pub data_bytes: u32,
    /// The client wants no answer, not even an error. Never with meta.
    pub noreply: bool,
    /// Say where the record lives.
    pub located: bool,
    /// How to answer `ms`.
    pub meta: Option<Meta<'a>>,
}

impl<'a> StoreRequest<'a> {
    /// What is asked of the key, now that its data block has come.
    #[must_use]
    #[inline]
    pub fn operation<'v>(&self, value: Value<'v>) -> Operation<'v> {
        Operation::Store(Store {
            mode: self.mode,
            flags: self.flags,
            expiry: self.expiry,
            value,
            compare: self.compare,
            new_cas: self.new_cas,
            invalidate: self.invalidate,
            vivify: self.vivify,
        })
    }

    /// The answer when the data block does not end in a line end. Nothing is swallowed: what
    /// follows the announced bytes and two more is the next command, as memcached has it.
    #[must_use]
    pub fn bad_data_chunk(&self) -> Refusal<'a> {
        Refusal::new(ErrorLine::BadDataChunk).silent_if(self.noreply)
    }
}

/// A command of one key that brings no data block.
#[derive(Clone, Debug)]
pub struct KeyRequest<'a> {
    /// The key.
    pub key: Key<'a>,
    /// What is asked of it.
    pub operation: Operation<'static>,
    /// Which command it was, for the form of the answer.
    pub command: KeyCommand,
    /// The client wants no answer, not even an error. Never with meta.
    pub noreply: bool,
    /// Say where the record lives.
    pub located: bool,
    /// How to answer a meta command; empty for the others.
    pub meta: Meta<'a>,
}

/// The commands of [`KeyRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyCommand {
    /// delete, del.
    Delete,
    /// incr, decr.
    Arithmetic,
    /// touch.
    Touch,
    /// mg.
    MetaGet,
    /// md.
    MetaDelete,
    /// ma.
    MetaArithmetic,
    /// me.
    MetaInspect,
}

/// How a meta command wants its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta<'a> {
    /// All flags, as sent: the answer follows their order.
    pub(super) flags: &'a [u8],
    /// Hide the nominal answer (`q`).
    pub(super) quiet: bool,
    /// Show the value (`v`).
    pub(super) value: bool,
    /// Show the value only if the cas unique is another one (`C` of `mg`).
    pub(super) unless_cas: Option<u64>,
}

impl<'a> Meta<'a> {
    /// All flags, as they were sent, with the spaces between them.
    #[must_use]
    pub const fn flags(&self) -> &'a [u8] {
        self.flags
    }
}
