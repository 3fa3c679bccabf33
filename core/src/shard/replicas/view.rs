//! What one replica may know of the cluster.
//!
//! Decides how members and placement look to a replica. Refuses to know how they came about.

use alloc::vec::Vec;

use crate::member::Guid;
use crate::membership;
use crate::node::ClusterView;
use crate::replication::{Liveness, NODES_MAX, View};

/// The cluster from the point of view of one partition.
pub(super) struct PartitionView<'a> {
    view: &'a ClusterView,
    /// Those who should vote, those who should hold it first among them.
    wanted: Vec<Guid>,
    owners: usize,
    may_fill: bool,
}

impl<'a> PartitionView<'a> {
    pub(super) fn new(view: &'a ClusterView, partition: u16, may_fill: bool) -> Self {
        let placement = &view.placement;
        let owners = placement.owners(partition);
        let mut wanted: Vec<Guid> = owners.iter().map(|node| placement.guid(*node)).collect();
        let owners = wanted.len();
        for node in placement.voters(partition) {
            let guid = placement.guid(*node);
            if !wanted.contains(&guid) && wanted.len() < NODES_MAX {
                wanted.push(guid);
            }
        }
        Self {
            view,
            wanted,
            owners,
            may_fill,
        }
    }
}

impl View for PartitionView<'_> {
    fn liveness(&self, guid: Guid) -> Liveness {
        if guid == self.view.me.guid {
            return Liveness::Alive(self.view.me.generation);
        }
        let Some(member) = self.view.member(&guid) else {
            return Liveness::Unknown;
        };
        match member.liveness {
            membership::Liveness::Up => Liveness::Alive(member.node.generation),
            membership::Liveness::Suspected | membership::Liveness::Down => Liveness::Suspect,
        }
    }

    fn owners(&self) -> &[Guid] {
        &self.wanted[..self.owners]
    }

    fn voters(&self) -> &[Guid] {
        &self.wanted
    }

    fn may_fill(&self) -> bool {
        self.may_fill
    }
}
