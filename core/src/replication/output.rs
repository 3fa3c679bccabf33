//! What a replica wants done and has found out.
//!
//! Decides its form: queues that are cleared and keep their memory. Refuses to know who reads it.

use alloc::vec::Vec;

use super::message::Message;
use super::record::{Record, Term};
use crate::member::Guid;
use crate::time::Time;

/// Filled by [`Replica`](super::Replica), read and cleared by its owner.
#[derive(Debug, Default)]
pub struct Output {
    /// Messages, to whichever run of the node there is.
    pub messages: Vec<(Guid, Message)>,
    /// All proposals with a number up to here are acknowledged, unless they were unknown before.
    pub acknowledged: Option<u64>,
    /// The outcome of all proposals up to here that are not acknowledged is unknown. Comes after
    /// `acknowledged`.
    pub unknown: Option<u64>,
    /// Everything up to this position of the term is everywhere: see
    /// [`Reading::AfterPosition`](super::Reading).
    pub committed: Option<u64>,
    /// This node was primary at a moment after this time: reads that came before it may be
    /// answered, if their keys are clean.
    pub confirmed: Option<Time>,
    /// Other things that have happened, in order.
    pub events: Vec<Event>,
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This node is primary from now on. It must draw versions above `version`.
    Opened {
        /// What is in force.
        record: Record,
        /// The highest version of any entry here.
        version: u64,
    },
    /// This node is not primary any more. Proposals may still be pending: see
    /// [`Output::unknown`]. Reads that wait are to be asked again.
    Closed {
        /// Its term.
        term: Term,
    },
    /// The record to write to disk, a while later, and who has been promised what.
    Keep {
        /// The highest term promised.
        promised: Option<Term>,
        /// The record last accepted.
        record: Option<Record>,
        /// [`Input::Kept`](super::Input) is awaited once it is synced.
        synced: bool,
    },
    /// As primary this node must draw versions above `version`: entries of the other side of a Force
    /// were taken over, or it is filled.
    DrawAbove {
        /// The highest version of any of them, or that the source has drawn.
        version: u64,
    },
    /// What this node holds is in sync no longer; it will be filled anew.
    Stale,
    /// This node's data is complete and in sync as of this term.
    Joined {
        /// The term.
        term: Term,
    },
    /// Others have taken over what this node held: it has been dropped.
    Surplus,
    /// A primary is known: whom to send requests to.
    Primary {
        /// The term.
        term: Term,
    },
    /// Force, or a recovery that did without some of the voters: what others had may be lost.
    Forced {
        /// The term.
        term: Term,
    },
    /// Recovery: all is as the disks had it of all nodes that could have something.
    Recovered {
        /// The term.
        term: Term,
    },
}

impl Output {
    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.messages.clear();
        self.acknowledged = None;
        self.unknown = None;
        self.committed = None;
        self.confirmed = None;
        self.events.clear();
    }

    pub(crate) fn send(&mut self, to: Guid, message: Message) {
        self.messages.push((to, message));
    }
}
