//! What one replica may know of the cluster.
//!
//! Decides how members and placement look to a replica. Refuses to know how they came about.

use alloc::vec::Vec;
use core::cell::OnceCell;

use crate::member::Guid;
use crate::membership;
use crate::node::ClusterView;
use crate::replication::{Liveness, NODES_MAX, View};
use crate::time::Time;

/// The cluster from the point of view of one partition.
pub(super) struct PartitionView<'a> {
    view: &'a ClusterView,
    partition: u16,
    /// Those who should vote, those who should hold it first among them. Found out when asked for:
    /// most of what a replica hears has nothing to do with it.
    wanted: OnceCell<Vec<Guid>>,
    may_fill: bool,
}

impl<'a> PartitionView<'a> {
    pub(super) const fn new(view: &'a ClusterView, partition: u16, may_fill: bool) -> Self {
        Self {
            view,
            partition,
            wanted: OnceCell::new(),
            may_fill,
        }
    }

    fn wanted(&self) -> &[Guid] {
        self.wanted.get_or_init(|| {
            let placement = &self.view.placement;
            let owners = placement.owners(self.partition).iter();
            let mut wanted: Vec<Guid> = owners.map(|node| placement.guid(*node)).collect();
            for node in placement.voters(self.partition) {
                let guid = placement.guid(*node);
                if !wanted.contains(&guid) && wanted.len() < NODES_MAX {
                    wanted.push(guid);
                }
            }
            wanted
        })
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
            membership::Liveness::Down if member.died_at.is_some() => Liveness::Dead,
            membership::Liveness::Suspected | membership::Liveness::Down => Liveness::Suspect,
        }
    }

    fn dead_since(&self, guid: Guid) -> Option<Time> {
        self.view.member(&guid)?.died_at
    }

    fn owners(&self) -> &[Guid] {
        let owners = self.view.placement.owners(self.partition).len();
        &self.wanted()[..owners]
    }

    fn voters(&self) -> &[Guid] {
        self.wanted()
    }

    fn may_fill(&self) -> bool {
        self.may_fill
    }
}
