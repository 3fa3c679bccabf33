//! Who holds which partitions, for a command that asks.
//!
//! Decides what is said: the placement, and who is primary as far as this node knows. Refuses to
//! know how either comes about.

use alloc::collections::BTreeMap;

use crate::hash::{KeyHash, PARTITIONS};
use crate::id::ConnId;
use crate::machine::Actions;
use crate::member::Guid;
use crate::message::Answer;
use crate::node::ClusterView;
use crate::protocol::peer::{Frame, Owner, Partitions};
use crate::time::Now;

use super::Worker;
use super::gather::{Asker, Purpose};

impl Worker {
    /// A command asks who holds a key or, without one, everything.
    pub(super) fn begin_partitions(
        &mut self,
        now: Now,
        conn: ConnId,
        key: &[u8],
        actions: &mut Actions,
    ) {
        if let Some(partner) = self.cluster.peering.partner_mut(conn) {
            partner.waits = true;
        }
        if key.is_empty() {
            self.say_partitions(conn, None, None);
            return;
        }
        let partition = KeyHash::of(key).partition();
        let purpose = Purpose::Primary(partition);
        self.begin_round(now, Asker::Peer(conn), purpose, actions);
    }

    /// Who is primary of `partition`, if this worker has it and knows.
    pub(super) fn answer_primary(&self, partition: u16) -> Answer {
        let is_here = partition % self.settings.workers == self.id.0;
        let primary = match self.shard.elsewhere(partition) {
            _ if !is_here => None,
            Some(hint) => hint.map(|term| term.node.guid),
            None => self.own_guid(),
        };
        Answer::Primary(primary)
    }

    fn own_guid(&self) -> Option<Guid> {
        match &self.cluster.view {
            Some(view) => Some(view.me.guid),
            None if self.cluster.is_member => None,
            None => Guid::new(&self.settings.guid).ok(),
        }
    }

    pub(super) fn say_partitions(
        &mut self,
        conn: ConnId,
        partition: Option<u16>,
        primary: Option<Guid>,
    ) {
        let all = PARTITIONS as u16;
        let owners = match (self.cluster.view.as_deref(), partition) {
            (Some(view), Some(partition)) => owners_of(view, partition),
            (Some(view), None) => owners(view),
            (None, Some(_)) => self.own_guid().map(|own| (own, 1, 1)).into_iter().collect(),
            (None, None) => {
                let own = self.own_guid().map(|own| (own, all, all));
                own.into_iter().collect()
            }
        };
        let owners = owners.iter().map(|(guid, primaries, replicas)| Owner {
            guid: guid.as_str(),
            primaries: *primaries,
            replicas: *replicas,
        });
        let partitions = Partitions {
            partition,
            primary: primary.as_ref().map_or("", Guid::as_str),
            owners: owners.collect(),
        };
        self.send_frame(conn, &Frame::PartitionsReply(partitions));
        if let Some(partner) = self.cluster.peering.partner_mut(conn) {
            partner.waits = false;
        }
        self.runnable_peers.push(conn);
    }
}

type Row = (Guid, u16, u16);

/// The nodes that are to hold one partition, the primary first.
fn owners_of(view: &ClusterView, partition: u16) -> alloc::vec::Vec<Row> {
    let owners = view.placement.owners(partition).iter().enumerate();
    let rows = owners.map(|(rank, owner)| {
        let guid = view.placement.guid(*owner);
        (guid, u16::from(rank == 0), 1)
    });
    rows.collect()
}

/// How many partitions each node is to hold.
fn owners(view: &ClusterView) -> alloc::vec::Vec<Row> {
    let mut counts: BTreeMap<Guid, (u16, u16)> = BTreeMap::new();
    for partition in 0..PARTITIONS as u16 {
        for (guid, primaries, replicas) in owners_of(view, partition) {
            let count = counts.entry(guid).or_default();
            count.0 += primaries;
            count.1 += replicas;
        }
    }
    let rows = counts.into_iter();
    rows.map(|(guid, (primaries, replicas))| (guid, primaries, replicas))
        .collect()
}
