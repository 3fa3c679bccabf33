//! What replicas of one partition say to each other.
//!
//! Decides the messages and what each carries. Refuses to know bytes, links and batches.

use alloc::vec::Vec;

use super::entry::Entry;
use super::record::{Record, Term};
use super::requests::Origin;
use super::store::Digest;
use crate::member::NodeId;
use crate::time::Time;

/// One message. Who has sent it, and from which run, the link says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Asks a voter to promise that it takes part in no lower term.
    Prepare {
        /// The claim.
        term: Term,
        /// In a recovery the run of every voter: one that has forgotten promises all the same if
        /// it is listed. Otherwise empty.
        listed: Vec<NodeId>,
    },
    /// Answers it.
    Promise {
        /// The claim.
        term: Term,
        /// The record that this node has last accepted.
        record: Option<Record>,
        /// What it holds.
        holding: Holding,
        /// The entries that it does not know to be everywhere.
        tail: Vec<Entry>,
    },
    /// Asks a voter to accept a record, or tells a node what is in force.
    Accept {
        /// The record.
        record: Record,
        /// This run becomes a voter only now: what it may have forgotten is no longer asked.
        newcomer: Option<NodeId>,
        /// Whether it is in force already.
        chosen: bool,
    },
    /// Answers it.
    Accepted {
        /// The record's term.
        term: Term,
    },
    /// An entry on its way to a backup, or a heartbeat.
    Replicate {
        /// The primary's term.
        term: Term,
        /// The entry's position, or that of the last one, if it carries none.
        position: u64,
        /// The position that all backups have applied.
        committed: u64,
        /// All that the primary has merged at its claim is everywhere.
        settled: bool,
        /// The primary's clock at sending.
        sent: Time,
        /// The entry.
        entry: Option<Entry>,
    },
    /// Answers it: everything up to `position` is applied, and the term's primary has a lease.
    Ack {
        /// The term.
        term: Term,
        /// The last position that was applied.
        position: u64,
        /// What the message carried.
        sent: Time,
    },
    /// Begins to fill a node. Live entries beyond `position` follow.
    FillStart {
        /// The primary's term.
        term: Term,
        /// The run that is to be filled.
        target: NodeId,
        /// Counted by the primary in its term.
        session: u64,
        /// The last position that does not come as a live entry.
        position: u64,
        /// What the target held apart has been taken over, or there was nothing.
        merged: bool,
    },
    /// Part of what the source holds.
    FillChunk {
        /// The primary's term.
        term: Term,
        /// The fill.
        session: u64,
        /// Counted from 1.
        number: u64,
        /// Entries, tombstones included.
        entries: Vec<Entry>,
        /// Requests that have been carried out, in the last chunk.
        requests: Vec<Origin>,
        /// Whether it is the last.
        last: bool,
    },
    /// Answers both: everything up to `number` is in; 0 is the start.
    FillAck {
        /// The primary's term.
        term: Term,
        /// The fill.
        session: u64,
        /// The last number that is in.
        number: u64,
        /// The target holds what the source may not have: it wants that gathered first.
        merge: bool,
    },
    /// Asks the target whether it has the same.
    FillVerify {
        /// The primary's term.
        term: Term,
        /// The fill.
        session: u64,
        /// The source has executed up to here.
        position: u64,
        /// What the source has.
        digest: Digest,
        /// It has drawn no version above this one.
        version: u64,
    },
    /// Answers it.
    FillVerified {
        /// The primary's term.
        term: Term,
        /// The fill.
        session: u64,
        /// Where it was compared.
        position: u64,
        /// Whether it was the same.
        equal: bool,
    },
    /// The primary serves no more: the receiver may claim at once.
    Cede {
        /// The primary's term.
        term: Term,
        /// The run that is meant.
        target: NodeId,
    },
    /// Asks what a node has promised and accepted: the sender has forgotten.
    Learn,
    /// Answers it.
    Learned {
        /// The run that has asked: what an earlier one was told may be older than what that one
        /// then did.
        to: NodeId,
        /// The one who answers has forgotten, too: this is what its disk says.
        blank: bool,
        /// The highest term that it has promised.
        promised: Option<Term>,
        /// The record that it has last accepted.
        record: Option<Record>,
    },
    /// Something was not done. A hint only.
    Nack {
        /// The sender has forgotten, and neither votes nor follows until it has learned.
        blank: bool,
        /// The highest term that it has promised.
        promised: Option<Term>,
        /// The record that it has last accepted.
        record: Option<Record>,
    },
    /// Asks for all that a node holds, to be merged.
    Gather {
        /// The claim, or the primary's term.
        term: Term,
        /// 0, or what came last.
        cursor: u64,
    },
    /// Answers it.
    Gathered {
        /// The claim, or the primary's term.
        term: Term,
        /// What was asked for.
        cursor: u64,
        /// Entries, tombstones included.
        entries: Vec<Entry>,
        /// What to ask for next; none at the end. Without entries, and the same as `cursor`: it is
        /// still being read and will come.
        next: Option<u64>,
    },
}

/// What a node holds of the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// Nothing, and it does not know that there ever was something.
    Nothing,
    /// Something, such as what its disk had; or nothing, where that is what an earlier run had.
    Something,
    /// The same, and a fill has not replaced all of it: what was deleted long ago may be among it.
    Mixed,
    /// It was filled in this session of the present term, and that was verified.
    Filled {
        /// The session.
        session: u64,
    },
    /// All that the record that it has accepted says it has, if that names it.
    Complete,
}
