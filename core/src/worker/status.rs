//! How this node fares, for other nodes and for commands that ask it.
//!
//! Decides what is said of this node. Refuses to know how others fare: the node asks them.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::id::{ConnId, WorkerId};
use crate::machine::Actions;
use crate::message::Message;
use crate::node::Place;
use crate::protocol::peer::{
    self, DiskState, Frame, NodeFigures, NodeState, NodeStatus, VERSION_HIGHEST, VERSION_LOWEST,
};
use crate::time::Now;

use super::Worker;
use super::gather::{Asker, Gathered, Purpose};

impl Worker {
    /// Somebody asks on a peer connection how nodes fare, or how this one does.
    pub(super) fn begin_status(
        &mut self,
        now: Now,
        conn: ConnId,
        purpose: Purpose,
        actions: &mut Actions,
    ) {
        // What follows is answered, or refused, after it.
        if let Some(partner) = self.cluster.peering.partner_mut(conn) {
            partner.waits = true;
        }
        self.begin_round(now, Asker::Peer(conn), purpose, actions);
    }

    /// The figures of this node have been gathered: answers, or lets the node ask `all` others
    /// first.
    pub(super) fn say_status(
        &mut self,
        now: Now,
        conn: ConnId,
        gathered: &Gathered,
        all: bool,
        actions: &mut Actions,
    ) {
        let figures = self.node_figures(gathered);
        if all && self.cluster.is_member {
            let worker = self.id;
            match worker {
                WorkerId(0) => self.survey(now, Place { worker, conn }, figures, actions),
                _ => {
                    let figures = Box::new(figures);
                    let message = Message::Survey { conn, figures };
                    actions.messages.push((WorkerId(0), message));
                }
            }
            return;
        }
        let frames = self.status_frame(figures);
        if let Some(out) = self.cluster.peering.out(conn) {
            out.frames().extend_from_slice(&frames);
        }
        if let Some(partner) = self.cluster.peering.partner_mut(conn) {
            partner.waits = false;
        }
        self.runnable_peers.push(conn);
    }

    /// Lets the node ask the others.
    pub(super) fn survey(
        &mut self,
        now: Now,
        place: Place,
        figures: NodeFigures,
        actions: &mut Actions,
    ) {
        self.with_node(now, actions, |node, out| {
            node.handle_survey(now, place, figures, out);
        });
    }

    fn status_frame(&self, figures: NodeFigures) -> Vec<u8> {
        let settings = &self.settings;
        let view = self.cluster.view.as_ref();
        let node = NodeStatus {
            up: true,
            state: NodeState::Normal,
            address: &settings.peer_address,
            guid: &settings.guid,
            rack: &settings.rack,
            version: &settings.version,
            generation: view.map_or(0, |view| view.me.generation),
            figures: Some(figures),
        };
        let (last, nodes) = (true, alloc::vec![node]);
        let mut bytes = Vec::new();
        peer::encode(&Frame::StatusReply { last, nodes }, &mut bytes);
        bytes
    }

    fn node_figures(&self, gathered: &Gathered) -> NodeFigures {
        let figures = &gathered.figures;
        let view = self.cluster.view.as_ref();
        NodeFigures {
            disk: self.disk_state(),
            versions: (VERSION_LOWEST, VERSION_HIGHEST),
            items: figures.curr_items,
            dirty_items: figures.dirty_items,
            dirty_bytes: figures.dirty_bytes,
            written_lag_ms: figures.written_lag_ms,
            synced_lag_ms: figures.synced_lag_ms,
            disk_items: figures.disk_items,
            disk_bytes: figures.disk_bytes,
            memory_bytes: figures.memory_bytes,
            memory_bytes_max: self.memory_bytes,
            layout_digest: view.map(|view| view.placement.digest().0),
            replicas_in_sync: view.map(|_| figures.replicas_in_sync),
        }
    }

    /// How the disk fares.
    fn disk_state(&self) -> DiskState {
        if self.settings.disk.is_none() {
            DiskState::Absent
        } else if self.shard.is_disk_failing() {
            DiskState::Failing
        } else if self.shard.is_disk_full() {
            DiskState::Full
        } else {
            DiskState::Healthy
        }
    }
}
