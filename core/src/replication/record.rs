//! Terms, and the record that a partition's voters keep.
//!
//! Decides what orders claims and what a record says. Refuses to know messages, time and data.

use alloc::vec::Vec;

use crate::member::{Guid, NodeId};

/// Most nodes that a record may name as voters, or as in-sync replicas.
pub const NODES_MAX: usize = 16;

/// A claim's place in the order of all claims of one partition.
///
/// It contains the run that made it, and a run never makes one twice: so two primaries of one
/// term cannot be, whatever else goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    /// Above the counters of all terms that the claimant knew.
    pub counter: u64,
    /// The claimant: the term's only possible primary.
    pub node: NodeId,
}

/// What the voters agree on. The record with the highest term that a majority has accepted is in
/// force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The claim that wrote it. Its node is the primary.
    pub term: Term,
    /// The replicas that hold all acknowledged writes, in order. Runs, not nodes: one that has
    /// restarted has lost its memory. Each is a voter, too.
    pub in_sync: Vec<NodeId>,
    /// Who votes on the next record, in order. A voter that restarts remains one.
    pub voters: Vec<Guid>,
    /// The last term that did not continue the one before from memory: by [Force] or from disks.
    ///
    /// [Force]: super::SplitBrain::Available
    pub lineage: Option<Term>,
}

impl Record {
    /// The node that executes commands in this term.
    #[must_use]
    pub const fn primary(&self) -> NodeId {
        self.term.node
    }

    /// Whether this very run is in sync.
    #[must_use]
    pub fn names(&self, node: NodeId) -> bool {
        if super::planted::has(super::planted::Bug::InSyncByGuid)
            || super::planted::has(super::planted::Bug::StaleRestartInSync)
        {
            return self.names_guid(node.guid);
        }
        self.in_sync.contains(&node)
    }

    /// Whether any run of this node is in sync.
    #[must_use]
    pub fn names_guid(&self, guid: Guid) -> bool {
        self.in_sync.iter().any(|member| member.guid == guid)
    }

    /// Whether the node votes.
    #[must_use]
    pub fn votes(&self, guid: Guid) -> bool {
        self.voters.contains(&guid)
    }

    /// Whether it is one that a claim may have written: the bounds hold, everybody is named once and
    /// in order, who is in sync votes, and so does the primary, which is in sync.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let bounded = (1..=NODES_MAX).contains(&self.voters.len())
            && (1..=NODES_MAX).contains(&self.in_sync.len());
        let in_order = self.voters.is_sorted_by(|one, next| one < next)
            && self.in_sync.is_sorted_by(|one, next| one.guid < next.guid);
        let votes = self.in_sync.iter().all(|member| self.votes(member.guid));
        bounded && in_order && votes && self.names(self.primary())
    }
}

/// Whether `yes` holds for more than half of `voters`.
pub(crate) fn majority(voters: &[Guid], yes: impl Fn(Guid) -> bool) -> bool {
    let count = voters.iter().filter(|guid| yes(**guid)).count();
    count * 2 > voters.len()
}

/// Whether two sets of voters, both in order, differ by at most one node.
pub(crate) fn one_apart(one: &[Guid], other: &[Guid]) -> bool {
    let lacking = |these: &[Guid], those: &[Guid]| {
        let lacks = these.iter().filter(|guid| !those.contains(guid));
        lacks.count()
    };
    lacking(one, other) + lacking(other, one) <= 1
}
