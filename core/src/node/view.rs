//! What workers know of the cluster: a picture that does not change.
//!
//! Decides what is in it. Refuses to know how it comes about.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::num::NonZeroU32;

use crate::layout::{Layout, LayoutState};
use crate::member::{Guid, NodeId};
use crate::membership::{Formation, Liveness, Membership};
use crate::placement::{Placement, Share};
use crate::time::Time;

/// Another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Its run.
    pub node: NodeId,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it answers.
    pub liveness: Liveness,
    /// Of one that is down: when this node has found by itself that its process has died.
    pub died_at: Option<Time>,
}

/// The cluster as this node sees it.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// This node.
    pub me: NodeId,
    /// The others, by guid.
    pub members: Vec<MemberView>,
    /// Whose partitions are whose.
    pub placement: Placement,
    /// Whether this node serves.
    pub serving: bool,
    /// The cluster that it belongs to, once it is decided.
    pub formation: Option<Formation>,
    /// How many clusters this run has been of.
    pub formations: u64,
    /// The hello that a connection to another node begins with, as frames.
    pub hello: Vec<u8>,
}

impl ClusterView {
    pub(super) fn of(
        membership: &Membership,
        placement: &Placement,
        serving: bool,
        hello: Vec<u8>,
    ) -> Self {
        let members = membership.members().map(|known| MemberView {
            node: known.identity.id,
            address: known.identity.address,
            liveness: known.liveness,
            died_at: known.died_at,
        });
        Self {
            me: membership.identity().id,
            members: members.collect(),
            placement: placement.clone(),
            serving,
            formation: membership.formation(),
            formations: membership.formations(),
            hello,
        }
    }

    /// Whether this run has formed the cluster: then nobody else holds anything of it.
    #[must_use]
    pub fn is_founder(&self) -> bool {
        self.formation == Some(Formation::of(self.me))
    }

    /// Another node, by its name.
    #[must_use]
    pub fn member(&self, guid: &Guid) -> Option<&MemberView> {
        let at = self
            .members
            .binary_search_by_key(guid, |member| member.node.guid);
        at.ok().map(|at| &self.members[at])
    }
}

/// The nodes of a layout that are to hold partitions.
pub(super) fn shares(layout: &Layout) -> Vec<Share<'_>> {
    let entries = layout.entries().filter(|entry| match entry.state {
        LayoutState::Joining | LayoutState::Normal | LayoutState::Moving => true,
        LayoutState::Leaving | LayoutState::Left => false,
    });
    let shares = entries.filter_map(|entry| {
        let weight = NonZeroU32::new(entry.weight)?;
        Some(Share {
            guid: entry.guid,
            weight,
            rack: &entry.rack,
        })
    });
    shares.collect()
}
