//! Commands and answers as the checkers see them, whichever protocol they were said in.
//!
//! Decides the vocabulary. Refuses to know bytes and what an item is.

pub use crate::value::Value;

/// One of the keys that a run uses.
pub type KeyNumber = u16;

/// When a store stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Always.
    Set,
    /// If there is no item.
    Add,
    /// If there is an item.
    Replace,
    /// If there is an item: behind its value.
    Append,
    /// If there is an item: before its value.
    Prepend,
}

/// What one command asks of one key. Exptimes are memcached's.
#[derive(Clone, Debug)]
pub enum Operation {
    /// get, gets, gat, mg.
    Fetch {
        /// A meta command: it may win a stale item.
        meta: bool,
        /// Give it this exptime.
        touch: Option<i32>,
        /// On a miss make an empty item with this exptime.
        vivify: Option<i32>,
    },
    /// touch.
    Touch {
        /// The new exptime.
        exptime: i32,
    },
    /// set and its kin, cas, ms.
    Store {
        /// When.
        mode: Mode,
        /// What.
        value: Value,
        /// The client's flags.
        flags: u32,
        /// The exptime.
        exptime: i32,
        /// Only over this cas unique.
        compare: Option<u64>,
        /// Over a later cas unique, too, but stale.
        invalidate: bool,
    },
    /// delete, md.
    Delete {
        /// Only this cas unique.
        compare: Option<u64>,
        /// Mark it stale rather than delete it, with this exptime if there is one.
        stale: Option<Option<i32>>,
    },
    /// incr, decr, ma.
    Count {
        /// Down rather than up.
        decrement: bool,
        /// By how much.
        delta: u64,
        /// On a miss store this number with this exptime.
        initial: Option<(u64, i32)>,
    },
    /// flush_all, as one key sees it.
    Flush {
        /// It is to come so many seconds later.
        delay_s: u32,
    },
}

/// Why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no room; a store may have removed what was there.
    OutOfMemory,
    /// incr or decr of something that is no number.
    NonNumeric,
    /// For the disk's sake; nothing was changed.
    Disk,
    /// No node answers for the key; nothing was changed.
    Unreachable,
    /// It may have been carried out, and may yet be.
    OutcomeUnknown,
}

/// What a command was answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// An item.
    Item {
        /// Its value.
        value: Value,
        /// Its flags.
        flags: u32,
        /// Its cas unique, where it was shown.
        cas: Option<u64>,
        /// W, X and Z of a meta get.
        marks: Option<Marks>,
    },
    /// There is none.
    Miss,
    /// STORED, with the cas unique where it was shown.
    Stored(Option<u64>),
    /// NOT_STORED.
    NotStored,
    /// EXISTS.
    Exists,
    /// DELETED, or TOUCHED.
    Done,
    /// A number.
    Number(u64),
    /// It was refused.
    Refused(Refusal),
    /// Nobody can say whether it was carried out, and what came of it: the connection broke, or
    /// the command asked for silence.
    Unknown,
}

impl Answer {
    /// The cas unique that it shows, if it shows one.
    #[must_use]
    pub const fn cas(&self) -> Option<u64> {
        match self {
            Self::Item { cas, .. } | Self::Stored(cas) => *cas,
            _ => None,
        }
    }
}

/// What a meta get says about an item beside its contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// W: this client shall recache it.
    pub won: bool,
    /// X: it is stale.
    pub stale: bool,
    /// Z: somebody else shall recache it.
    pub token_sent: bool,
}

impl Operation {
    /// Whether a command that was answered so has changed nothing, wherever it took effect.
    #[must_use]
    pub fn is_without_effect(&self, answer: &Answer) -> bool {
        match answer {
            Answer::Miss | Answer::NotStored | Answer::Exists => true,
            Answer::Refused(Refusal::OutOfMemory) => {
                !matches!(self, Self::Store { .. } | Self::Count { .. })
            }
            Answer::Refused(Refusal::NonNumeric | Refusal::Disk | Refusal::Unreachable) => true,
            Answer::Refused(Refusal::OutcomeUnknown) => false,
            // A meta get may win a stale item, or make one.
            Answer::Item { marks, .. } => {
                let silent = !matches!(self, Self::Fetch { meta: true, .. });
                self.only_reads() && (silent || marks.is_some_and(|marks| !marks.won))
            }
            Answer::Unknown => matches!(self, Self::Fetch { meta: false, .. }) && self.only_reads(),
            Answer::Stored(_) | Answer::Done | Answer::Number(_) => false,
        }
    }

    /// Whether it is a fetch that does not touch.
    const fn only_reads(&self) -> bool {
        matches!(self, Self::Fetch { touch: None, .. })
    }
}
