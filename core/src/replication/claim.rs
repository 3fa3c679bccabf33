//! One claim: what its promises come to.
//!
//! Decides the base, whether there are majorities, and the record that follows the base. Refuses
//! to know messages, timers and data.

use alloc::vec::Vec;

use super::entry::Entry;
use super::message::Holding;
use super::planted::{self, Bug};
use super::record::{Record, Term, majority};
use crate::member::{Guid, NodeId};
use crate::time::Time;

/// What a claim is to change beyond taking over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Not in sync any more.
    pub(crate) drop: Vec<NodeId>,
    /// In sync from now on: the run, and the session that has filled it.
    pub(crate) add: Option<(NodeId, u64)>,
    /// The voters from now on: one more or one less.
    pub(crate) voters: Option<Vec<Guid>>,
    /// The run that becomes a voter by that.
    pub(crate) newcomer: Option<NodeId>,
}

/// How far a claim is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waits for promises.
    Preparing,
    /// Recovery: takes in what the named nodes hold, the first of them now, from this cursor on.
    Gathering {
        sources: Vec<Guid>,
        cursor: u64,
        /// The own store knows what it has.
        prepared: bool,
        /// It is asked, or asked for, again then.
        ask_at: Time,
        /// When those who have promised were last told that it goes on.
        told_at: Time,
    },
    /// Waits for its record to be accepted.
    Accepting,
}

/// One promise.
#[derive(Clone, Debug)]
pub(crate) struct Promised {
    pub(crate) node: NodeId,
    pub(crate) record: Option<Record>,
    pub(crate) holding: Holding,
    pub(crate) tail: Vec<Entry>,
}

/// A claim under way.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) term: Term,
    pub(crate) plan: Plan,
    /// The term in which the claimant was open when it began.
    pub(crate) was_open: Option<Term>,
    /// In a recovery the runs of all voters.
    pub(crate) listed: Vec<NodeId>,
    pub(crate) phase: Phase,
    pub(crate) began: Time,
    /// Given up then.
    pub(crate) retry_at: Time,
    pub(crate) promises: Vec<Promised>,
    /// Runs that have said that they have forgotten.
    pub(crate) blanks: Vec<NodeId>,
    /// Set with the base, once there is a majority.
    pub(crate) base: Option<Record>,
    pub(crate) next: Option<Record>,
    pub(crate) accepted: Vec<NodeId>,
    /// The own vote counts only once the disk has it.
    pub(crate) unkept: bool,
}

impl Claim {
    /// Takes in a promise, once from each node; of two runs the later one counts.
    pub(crate) fn promise(&mut self, promised: Promised) {
        self.promises.retain(|other| {
            other.node.guid != promised.node.guid
                || other.node.generation > promised.node.generation
        });
        let guid = promised.node.guid;
        if !self.promises.iter().any(|other| other.node.guid == guid) {
            self.promises.push(promised);
        }
    }

    /// Whether a run of the node has promised.
    pub(crate) fn has_promised(&self, guid: Guid) -> bool {
        self.promises
            .iter()
            .any(|promised| promised.node.guid == guid)
    }

    /// The highest record among the promises.
    pub(crate) fn highest(&self) -> Option<&Record> {
        let records = self.promises.iter().flat_map(|promised| &promised.record);
        records.max_by_key(|record| record.term)
    }

    /// The highest record, if enough of its voters have promised: a majority; in a recovery all,
    /// and whoever else is listed, for one of those may know of a later record.
    pub(crate) fn base(&self) -> Option<&Record> {
        let base = self.highest()?;
        let promised = |guid| self.has_promised(guid);
        let enough = if self.listed.is_empty() {
            majority(&base.voters, promised) || planted::has(Bug::NoQuorum)
        } else {
            let listed = self.listed.iter().map(|node| node.guid);
            base.voters.iter().copied().chain(listed).all(promised)
        };
        enough.then_some(base)
    }

    /// The runs that `base` names and that have promised complete copies.
    pub(crate) fn survivors(&self, base: &Record) -> Vec<NodeId> {
        let complete = self
            .promises
            .iter()
            .filter(|promised| promised.holding == Holding::Complete && base.names(promised.node));
        let mut nodes: Vec<NodeId> = complete.map(|promised| promised.node).collect();
        nodes.sort_unstable();
        nodes
    }

    /// The target of a fill that is to be added, if it has promised with what the fill gave it.
    fn added(&self) -> Option<NodeId> {
        let (node, session) = self.plan.add?;
        let is_filled = |promised: &&Promised| {
            let is_it = if planted::has(Bug::InSyncByGuid) {
                promised.node.guid == node.guid
            } else {
                promised.node == node && promised.holding == Holding::Filled { session }
            };
            is_it || (planted::has(Bug::TargetUnverified) && promised.node == node)
        };
        let promised = self.promises.iter().find(is_filled)?;
        Some(NodeId {
            generation: promised.node.generation,
            ..node
        })
    }

    /// The record that follows `base`: in sync are those who have survived, less whoever is to be
    /// dropped, and a verified target.
    pub(crate) fn successor(&self, base: &Record) -> Record {
        let mut in_sync = self.survivors(base);
        in_sync.retain(|node| !self.plan.drop.contains(node));
        let same = self.was_open == Some(base.term);
        if let Some(added) = self.added()
            && same
            && base.votes(added.guid)
            && !in_sync.contains(&added)
        {
            in_sync.push(added);
            in_sync.sort_unstable();
        }
        let voters = match &self.plan.voters {
            Some(voters) if same => voters.clone(),
            _ => base.voters.clone(),
        };
        in_sync.retain(|node| voters.contains(&node.guid));
        Record {
            term: self.term,
            in_sync,
            voters,
            lineage: base.lineage,
        }
    }

    /// Whether majorities of the base's voters and of the new ones have accepted.
    pub(crate) fn is_chosen(&self) -> bool {
        let (Some(base), Some(next)) = (&self.base, &self.next) else {
            return false;
        };
        let accepted = |guid| {
            let own = self.unkept && guid == self.term.node.guid;
            !own && self.accepted.iter().any(|node| node.guid == guid)
        };
        let both = majority(&base.voters, accepted) && majority(&next.voters, accepted);
        both || planted::has(Bug::NoQuorum)
            || (planted::has(Bug::QuorumByView) && self.accepted.len() > 1)
            || (planted::has(Bug::VotersSwapped) && majority(&next.voters, accepted))
    }

    /// Whether all voters of the base that have not promised have said that they have forgotten,
    /// and there is no majority without them.
    pub(crate) fn is_blocked_by_blanks(&self) -> bool {
        let Some(base) = self.highest() else {
            return false;
        };
        let blank = |guid: Guid| self.blanks.iter().any(|node| node.guid == guid);
        let promised = |guid: Guid| self.has_promised(guid);
        let heard = base
            .voters
            .iter()
            .all(|guid| promised(*guid) || blank(*guid));
        heard && !majority(&base.voters, promised)
    }
}
