//! Connections to other nodes, and of commands that ask this one.
//!
//! Decides what becomes of a frame: answered here, handed to the node on worker 0, or refused.
//! Refuses to know how frames are laid out, and what belongs to a cluster, which is the node's.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::id::{ConnId, Ticket, WorkerId};
use crate::machine::{Actions, Event};
use crate::member::NodeId;
use crate::message::Message;
use crate::node::{
    ClusterSettings, ClusterView, NODE_TICKET_SLOT, Node, NodeOut, Place, Say, Then,
};
use crate::notice::{Notice, Seldom, Severity};
use crate::peering::{Peering, PeeringLimits, Received};
use crate::protocol::forward::Malformed;
use crate::protocol::link;
use crate::protocol::peer::{self, Frame, PeerError, RawFrame, Reason, common_version, decode};
use crate::replication;
use crate::secure::{Credentials, Entropy, Refusal, Seed};
use crate::settings::Settings;
use crate::time::{Now, Time};

use super::Worker;
use super::gather::Purpose;
use super::routing::{Remote, Router};

/// Requests of another node that are unanswered, above which nothing more of its link is read. No
/// worker of a node has more than half as many under way at all others, but it may have sent them
/// twice.
const VISITS_MAX: u32 = 128 * 1024;

/// What is known of a peer connection.
#[derive(Debug)]
pub(super) struct Partner {
    /// This node has opened it.
    opened: bool,
    /// The run at the other end; none for a command, or before the hellos are over.
    node: Option<NodeId>,
    /// The next frame has to wait for what the node says to the one before it.
    pub(super) waits: bool,
    /// Requests that have come over it and are not answered.
    pub(super) visiting: u32,
}

impl Partner {
    const fn may_ask(&self) -> bool {
        self.visiting < VISITS_MAX
    }
}

/// The peer port of one worker, and on worker 0 the node.
pub(super) struct Cluster {
    pub(super) peering: Peering<Partner>,
    /// On worker 0 of a node that is to have others.
    pub(super) node: Option<Node>,
    /// Whether the node has been told that this worker holds data.
    pub(super) data_told: bool,
    /// What the node has found; none as long as there is nothing, or no node.
    pub(super) view: Option<Arc<ClusterView>>,
    /// What connects this worker with other nodes, on a node that is to have others.
    pub(super) remote: Option<Remote>,
    replication: Arc<replication::Settings>,
    seed: u64,
    pub(super) is_member: bool,
    says: Vec<Say>,
    /// Connections whose requests wait until some have been answered: by other workers, or those
    /// that came before them.
    held_up: Vec<ConnId>,
    /// Anybody can be refused, as often as they like.
    refusal_told: Seldom,
}

impl Cluster {
    /// That of a node without others, which only commands ask.
    pub(super) fn alone(settings: &Settings) -> Self {
        // Nothing is protected without a secret, so nothing is drawn from this.
        let entropy = Entropy::new(Seed::new([0; 32]));
        let credentials = Credentials::new("", None);
        Self {
            peering: Peering::new(credentials, entropy, limits(settings)),
            node: None,
            data_told: false,
            view: None,
            remote: None,
            replication: Arc::default(),
            seed: 0,
            is_member: false,
            says: Vec::new(),
            held_up: Vec::new(),
            refusal_told: Seldom::new(),
        }
    }

    /// This run, if it is to have others.
    pub(super) fn me(&self) -> Option<NodeId> {
        self.remote.as_ref().map(Remote::me)
    }

    /// When there is something to do.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        let deadlines = [
            self.node.as_ref().and_then(Node::next_deadline),
            self.remote.as_ref().and_then(Remote::next_deadline),
            self.peering.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }
}

const fn limits(settings: &Settings) -> PeeringLimits {
    PeeringLimits {
        unsent_bytes_max: settings.limits.output_bytes_max,
    }
}

impl Worker {
    /// This worker as one of a node that has others in the cluster of `settings`. The seed is for
    /// this worker alone.
    ///
    /// # Errors
    /// When what the node says of itself is too long.
    pub fn in_cluster(
        mut self,
        now: Now,
        settings: ClusterSettings,
        seed: Seed,
    ) -> Result<Self, crate::layout::TooLong> {
        let mut entropy = Entropy::new(seed);
        let node_seed = entropy.draw();
        let credentials = settings.credentials.clone();
        let remote = Remote::new(settings.id, self.id);
        let replication = Arc::new(replication::Settings {
            disk: self.settings.disk.is_some(),
            in_sync_min: settings.in_sync_min,
            split_brain: settings.split_brain,
            ..replication::Settings::default()
        });
        let retries = entropy.draw().number("retries of replicas");
        let node = match self.id {
            WorkerId(0) => {
                let mut node = Node::new(now, settings, &node_seed)?;
                node.recall_flushes(self.shard.flushed(), self.flush_at_unix_ms);
                Some(node)
            }
            _ => None,
        };
        self.shard.join_others();
        self.cluster = Cluster {
            peering: Peering::new(credentials, entropy, limits(&self.settings)),
            node,
            data_told: false,
            view: None,
            remote: Some(remote),
            replication,
            seed: retries,
            is_member: true,
            says: Vec::new(),
            held_up: Vec::new(),
            refusal_told: Seldom::new(),
        };
        Ok(self)
    }

    /// This worker as one of a node that is on its own, and that only commands may ask which know
    /// a secret. The seed is for this worker alone.
    #[must_use]
    pub fn guarded(mut self, credentials: Credentials, seed: Seed) -> Self {
        let entropy = Entropy::new(seed);
        self.cluster.peering = Peering::new(credentials, entropy, limits(&self.settings));
        self
    }

    /// Takes what concerns a peer connection.
    pub(super) fn handle_peer_event(&mut self, now: Now, event: Event<'_>, actions: &mut Actions) {
        match event {
            Event::Accepted { conn, .. } => self.begin_peer(now, conn, false),
            Event::Received { conn, bytes } => {
                self.links.figures.bytes_read += bytes.len() as u64;
                if let Received::Refused(refusal) = self.cluster.peering.receive(conn, bytes) {
                    self.note_refusal(now, conn, &refusal, actions);
                }
                self.drive_peer(now, conn, actions);
            }
            Event::Finished { conn } => {
                if let Some(refusal) = self.cluster.peering.finish_input(conn) {
                    self.note_refusal(now, conn, &refusal, actions);
                }
                self.keep_peer(now, conn, actions);
            }
            Event::Closed { conn, reset } => self.drop_peer(now, conn, reset, actions),
            Event::Connected { ticket, conn } => self.peer_connected(now, ticket, conn, actions),
            Event::ConnectFailed { ticket, refused } if ticket.slot == NODE_TICKET_SLOT => {
                self.with_node(now, actions, |node, out| {
                    node.handle_connect_failed(now, ticket, refused, out);
                });
            }
            Event::ConnectFailed { ticket, refused } => {
                self.link_failed(now, ticket, refused, actions);
            }
            Event::Datagram { from, bytes } => {
                self.with_node(now, actions, |node, out| {
                    node.handle_datagram(now, from, bytes, out);
                });
            }
            Event::Resolved { ticket, addresses } => {
                self.with_node(now, actions, |node, out| {
                    node.handle_resolved(now, ticket, addresses, out);
                });
            }
            _ => self.links.figures.stale_events += 1,
        }
    }

    /// Does what has become due on the peer port.
    pub(super) fn handle_peer_deadline(&mut self, now: Now, actions: &mut Actions) {
        while let Some(conn) = self.cluster.peering.next_overdue(now.time) {
            self.drop_peer(now, conn, false, actions);
            actions.close.push(conn);
        }
        let due = self.cluster.node.as_ref().and_then(Node::next_deadline);
        if due.is_some_and(|at| at <= now.time) {
            self.with_node(now, actions, |node, out| node.handle_deadline(now, out));
        }
    }

    /// The process is to stop: other nodes hear of it at once.
    pub(super) fn leave_cluster(&mut self, now: Now, actions: &mut Actions) {
        self.with_node(now, actions, |node, out| node.leave(now, out));
    }

    /// This worker with replicas of these partitions only, each of which it has a part in: nobody
    /// executes the commands of any other. For the simulator, whose keys lie in few of them, and
    /// which has no time for 4096.
    #[doc(hidden)]
    #[must_use]
    pub fn replicating_only(mut self, partitions: &[u16]) -> Self {
        self.shard.replicate_only(partitions);
        self
    }

    /// This worker's replica of `partition`, if it has one.
    #[doc(hidden)]
    #[must_use]
    pub fn replica_of(&self, partition: u16) -> Option<&replication::Replica> {
        self.shard.replica_of(partition)
    }

    /// What tells what this worker holds of `partition` from anything else.
    #[doc(hidden)]
    pub fn digest_of(&mut self, now: Now, partition: u16) -> replication::Digest {
        self.shard.digest_of(now, partition)
    }

    /// The cluster as this node sees it, on worker 0 once there is one.
    #[must_use]
    pub fn cluster_view(&self) -> Option<&ClusterView> {
        self.cluster.view.as_deref()
    }

    /// Whether this node's cluster holds data, as far as worker 0 knows: then it is not given up for
    /// another one.
    #[doc(hidden)]
    #[must_use]
    pub fn cluster_holds_data(&self) -> bool {
        self.cluster.node.as_ref().is_some_and(Node::holds_data)
    }

    fn begin_peer(&mut self, now: Now, conn: ConnId, opened: bool) {
        let partner = Partner {
            opened,
            node: None,
            waits: false,
            visiting: 0,
        };
        self.cluster.peering.insert(now.time, conn, opened, partner);
        self.links.open += 1;
        self.links.figures.total_connections += 1;
    }

    fn peer_connected(&mut self, now: Now, ticket: Ticket, conn: ConnId, actions: &mut Actions) {
        self.begin_peer(now, conn, true);
        let mut wanted = false;
        if ticket.slot == NODE_TICKET_SLOT {
            self.with_node(now, actions, |node, out| {
                wanted = node.handle_connected(ticket, conn, out);
            });
        } else if let Some(remote) = &mut self.cluster.remote {
            wanted = remote.nodes.connected(ticket, conn);
            if wanted
                && let Some(view) = &self.cluster.view
                && let Some(out) = self.cluster.peering.out(conn)
            {
                out.frames().extend_from_slice(&view.hello);
            }
        }
        if !wanted {
            self.cluster.peering.finish(conn);
        }
        self.keep_peer(now, conn, actions);
    }

    /// Carries out the frames that have come, as far as may be.
    pub(super) fn drive_peer(&mut self, now: Now, conn: ConnId, actions: &mut Actions) {
        let frame_bytes_max = self.settings.limits.frame_bytes_max;
        let input = self.cluster.peering.take_input(conn);
        let (mut consumed, mut approached) = (0, 0_usize);
        while let Some((partner, settled)) = self.cluster.peering.may_carry_out(conn) {
            if partner.waits {
                break;
            }
            if !self.links.outbox.has_credit() || !partner.may_ask() {
                if !self.cluster.held_up.contains(&conn) {
                    self.cluster.held_up.push(conn);
                }
                self.cluster.peering.hold_up(conn, true);
                break;
            }
            let rest = &input[consumed..];
            let raw = match peer::split(rest, frame_bytes_max) {
                Ok(Some(raw)) => raw,
                Ok(None) => break,
                Err(error) => {
                    self.refuse_peer(conn, &error);
                    break;
                }
            };
            consumed += raw.frame_bytes;
            if settled && raw.kind >= link::KIND_LOWEST {
                let (opened, from) = (partner.opened, partner.node);
                if !opened && approached == 0 {
                    approached = self.approach(rest);
                }
                approached = approached.saturating_sub(1);
                self.hear_link(now, conn, opened, from, &raw, actions);
                continue;
            }
            match peer::decode_body(&raw) {
                Ok(frame) => {
                    self.handle_frame(now, conn, &frame, &rest[..raw.frame_bytes], actions);
                }
                Err(error) => self.refuse_peer(conn, &error),
            }
        }
        self.cluster.peering.keep_input(conn, input, consumed);
        self.keep_peer(now, conn, actions);
    }

    fn handle_frame(
        &mut self,
        now: Now,
        conn: ConnId,
        frame: &Frame<'_>,
        raw: &[u8],
        actions: &mut Actions,
    ) {
        let settled = self.cluster.peering.is_settled(conn);
        let opened = self.is_opened(conn);
        match frame {
            Frame::Hello {
                lowest,
                highest,
                node: None,
                ..
            } if !settled && !opened => self.greet_command(conn, *lowest, *highest),
            Frame::Hello { .. } if !settled && !opened && !self.cluster.is_member => {
                let text = "this node has not been told to have others: start it with a cluster";
                self.refuse_frame(conn, Reason::Cluster, text);
            }
            Frame::Hello { .. } if !settled && !opened => {
                self.hand_to_node(now, conn, frame, raw, actions);
            }
            Frame::HelloReply { .. } if !settled && opened => {
                self.hand_to_node(now, conn, frame, raw, actions);
            }
            Frame::Refused { .. } if opened => {
                self.hand_to_node(now, conn, frame, raw, actions);
            }
            Frame::StatusRequest if settled => {
                self.begin_status(now, conn, Purpose::Status, actions);
            }
            Frame::FiguresRequest if settled && self.partner_node(conn).is_some() => {
                self.begin_status(now, conn, Purpose::OwnStatus, actions);
            }
            Frame::PartitionsRequest { key } if settled => {
                self.begin_partitions(now, conn, key, actions);
            }
            Frame::Flush { number, step } if settled && self.partner_node(conn).is_some() => {
                self.begin_flush_step(now, conn, *number, *step, actions);
            }
            Frame::StatusReply { .. }
            | Frame::FlushReply { .. }
            | Frame::StateRequest { .. }
            | Frame::StateReply { .. }
            | Frame::DeathQuestion { .. }
            | Frame::DeathAnswer { .. }
                if settled && self.partner_node(conn).is_some() =>
            {
                self.hand_to_node(now, conn, frame, raw, actions);
            }
            Frame::Unknown { .. } => {
                self.refuse_frame(conn, Reason::Frame, "a frame of an unknown kind");
            }
            Frame::StatusRequest
            | Frame::PartitionsRequest { .. }
            | Frame::FiguresRequest
            | Frame::Flush { .. }
            | Frame::StateRequest { .. }
            | Frame::DeathQuestion { .. }
                if !settled =>
            {
                self.refuse_frame(conn, Reason::Order, "a hello comes first");
            }
            _ => self.refuse_frame(conn, Reason::Order, "an answer to no question"),
        }
    }

    /// A frame of a link between nodes, which this one has `opened`, or `from` has.
    fn hear_link(
        &mut self,
        now: Now,
        conn: ConnId,
        opened: bool,
        from: Option<NodeId>,
        raw: &RawFrame<'_>,
        actions: &mut Actions,
    ) {
        let frame = link::decode(raw.kind, raw.body);
        let taken = match (frame, from) {
            (Ok(Some(frame)), Some(from)) => {
                self.handle_link_frame(now, conn, from, opened, &frame, actions)
            }
            (Ok(None), Some(_)) => {
                self.refuse_frame(conn, Reason::Frame, "a frame of an unknown kind");
                return;
            }
            (_, None) | (Err(_), _) => Err(Malformed),
        };
        if taken.is_err() {
            self.refuse_malformed(conn);
        }
    }

    fn refuse_malformed(&mut self, conn: ConnId) {
        self.refuse_frame(conn, Reason::Frame, "a frame that is not of its form");
    }

    /// Goes on with connections that waited until some requests had been answered.
    pub(super) fn wake_held_up(&mut self) {
        let peering = &mut self.cluster.peering;
        self.cluster.held_up.retain(|conn| {
            let waits = peering.partner(*conn).is_some_and(|it| !it.may_ask());
            if !waits {
                peering.hold_up(*conn, false);
                self.runnable_peers.push(*conn);
            }
            waits
        });
    }

    /// The cluster looks different from now on.
    fn set_view(&mut self, now: Now, view: Arc<ClusterView>, actions: &mut Actions) {
        self.cluster.view = Some(Arc::clone(&view));
        let (mut lost, mut close) = (Vec::new(), Vec::new());
        if let Some(remote) = &mut self.cluster.remote {
            remote
                .nodes
                .set_view(now.time, &view, &mut lost, &mut close, actions);
        }
        for conn in close {
            self.drop_peer(now, conn, false, actions);
            actions.close.push(conn);
        }
        for node in lost {
            self.lose_node(now.time, node);
        }
        let settings = Arc::clone(&self.cluster.replication);
        let seed = self.cluster.seed;
        let mut router = Router {
            links: &mut self.links,
            cluster: &mut self.cluster,
            actions,
            now,
        };
        self.shard
            .set_view(now, &view, &settings, seed, &mut router);
    }

    fn is_opened(&self, conn: ConnId) -> bool {
        let partner = self.cluster.peering.partner(conn);
        partner.is_some_and(|partner| partner.opened)
    }

    pub(super) fn partner_node(&self, conn: ConnId) -> Option<NodeId> {
        self.cluster.peering.partner(conn)?.node
    }

    fn greet_command(&mut self, conn: ConnId, lowest: u16, highest: u16) {
        let Some(version) = common_version(lowest, highest) else {
            let text = "no peer protocol version that both speak";
            self.refuse_frame(conn, Reason::Version, text);
            return;
        };
        self.cluster.peering.settle(conn);
        let settings = Arc::clone(&self.settings);
        let reply = Frame::HelloReply {
            version,
            guid: &settings.guid,
            node: None,
        };
        self.send_frame(conn, &reply);
    }

    /// Hands a frame to the node, here or on worker 0.
    fn hand_to_node(
        &mut self,
        now: Now,
        conn: ConnId,
        frame: &Frame<'_>,
        raw: &[u8],
        actions: &mut Actions,
    ) {
        let opened = self.is_opened(conn);
        if self.id != WorkerId(0) {
            if let Some(partner) = self.cluster.peering.partner_mut(conn) {
                partner.waits = matches!(frame, Frame::Hello { .. } | Frame::HelloReply { .. });
            }
            let message = Message::PeerFrame {
                conn,
                opened,
                frame: raw.to_vec(),
            };
            actions.messages.push((WorkerId(0), message));
            return;
        }
        let worker = self.id;
        self.with_node(now, actions, |node, out| {
            node.handle_frame(now, Place { worker, conn }, opened, frame, out);
        });
    }

    /// Takes what another worker says about its peer connections.
    pub(super) fn handle_peer_message(
        &mut self,
        now: Now,
        from: WorkerId,
        message: Message,
        actions: &mut Actions,
    ) {
        match message {
            Message::PeerFrame {
                conn,
                opened,
                frame,
            } => {
                let place = Place { worker: from, conn };
                let frame_bytes_max = self.settings.limits.frame_bytes_max;
                let Ok(Some((frame, _))) = decode(&frame, frame_bytes_max) else {
                    unreachable!("it was decoded before it was handed on");
                };
                self.with_node(now, actions, |node, out| {
                    node.handle_frame(now, place, opened, &frame, out);
                });
            }
            Message::PeerSay { conn, frames, then } => {
                let worker = self.id;
                let place = Place { worker, conn };
                let say = Say {
                    place,
                    frames,
                    then: then.0,
                };
                self.carry_out_say(now, say, actions);
            }
            Message::PeerClosed { conn, node, reset } => {
                let place = Place { worker: from, conn };
                self.with_node(now, actions, |it, out| {
                    it.handle_closed(now, place, out);
                    if let Some(node) = node {
                        it.handle_link_lost(now, node, reset, out);
                    }
                });
            }
            Message::View(view) => self.set_view(now, view, actions),
            Message::LinkRefused(node) => {
                self.with_node(now, actions, |it, out| {
                    it.handle_link_refused(now, node, out)
                });
            }
            Message::Replica { node, conn, body } => {
                // What one message of a batch can't say, those before it have said.
                if self.hear_replica(now, node, &body, actions).is_err() {
                    actions.messages.push((from, Message::Malformed { conn }));
                }
            }
            Message::Malformed { conn } => {
                if self.cluster.peering.out(conn).is_some() {
                    self.refuse_malformed(conn);
                    self.keep_peer(now, conn, actions);
                }
            }
            Message::Survey { conn, figures } => {
                let place = Place { worker: from, conn };
                self.survey(now, place, *figures, actions);
            }
            Message::HoldsData => self.note_data(now, actions),
            _ => unreachable!("the parent hands over what concerns peers"),
        }
    }

    /// Lets the node do something, and carries out what comes of it.
    pub(super) fn with_node(
        &mut self,
        now: Now,
        actions: &mut Actions,
        act: impl FnOnce(&mut Node, &mut NodeOut<'_>),
    ) {
        let mut says = core::mem::take(&mut self.cluster.says);
        let Some(node) = &mut self.cluster.node else {
            self.cluster.says = says;
            self.links.figures.stale_events += 1;
            return;
        };
        let mut out = NodeOut {
            actions,
            says: &mut says,
        };
        act(node, &mut out);
        let view = node.take_view();
        let orders = node.take_flush_orders();
        self.keep_notes(now, actions);
        for say in says.drain(..) {
            self.carry_out_say(now, say, actions);
        }
        if self.cluster.says.is_empty() {
            self.cluster.says = says;
        }
        for order in orders {
            self.carry_out_flush(now, order, actions);
        }
        let Some(view) = view else {
            return;
        };
        for worker in 1..self.settings.workers {
            let message = Message::View(Arc::clone(&view));
            actions.messages.push((WorkerId(worker), message));
        }
        self.set_view(now, view, actions);
    }

    fn carry_out_say(&mut self, now: Now, say: Say, actions: &mut Actions) {
        let Say {
            place: Place { worker, conn },
            frames,
            then,
        } = say;
        if worker != self.id {
            let then = PeerThen(then);
            let message = Message::PeerSay { conn, frames, then };
            actions.messages.push((worker, message));
            return;
        }
        let peering = &mut self.cluster.peering;
        if let Some(out) = peering.out(conn) {
            out.frames().extend_from_slice(&frames);
        }
        let mut goes_on = false;
        match then {
            Then::Nothing => {}
            Then::Finish => peering.finish(conn),
            Then::GoOn => {
                let partner = peering.partner_mut(conn);
                goes_on = partner.is_some_and(|it| core::mem::take(&mut it.waits));
            }
            Then::Settle(node) => {
                peering.settle(conn);
                if let Some(partner) = peering.partner_mut(conn) {
                    partner.node = node;
                    goes_on = core::mem::take(&mut partner.waits);
                }
                if let (Some(node), Some(remote)) = (node, &mut self.cluster.remote)
                    && remote.nodes.greeted(conn, node)
                {
                    // What was meant for it had no link: it is sent now.
                    self.lose_node(now.time, node);
                    self.find_ways(now.time);
                }
            }
        }
        match goes_on {
            true => self.drive_peer(now, conn, actions),
            false => self.keep_peer(now, conn, actions),
        }
    }

    /// Has the driver write, pause, resume or close.
    pub(super) fn keep_peer(&mut self, now: Now, conn: ConnId, actions: &mut Actions) {
        let upkeep = self.cluster.peering.upkeep(conn);
        if let Some(paused) = upkeep.pause {
            super::requests::note_paused(actions, conn, paused);
        }
        if upkeep.close {
            self.drop_peer(now, conn, false, actions);
            actions.close.push(conn);
        } else if upkeep.write {
            actions.write.push(conn);
        }
    }

    /// What was to be written has been: there is room for more.
    pub(super) fn peer_sent(&mut self, conn: ConnId, bytes: usize) {
        self.cluster.peering.sent(conn, bytes);
        self.runnable_peers.push(conn);
    }

    /// Goes on with peer connections that have room again.
    pub(super) fn drive_runnable_peers(&mut self, now: Now, actions: &mut Actions) {
        let mut runnable = core::mem::take(&mut self.runnable_peers);
        for conn in runnable.drain(..) {
            self.drive_peer(now, conn, actions);
        }
        self.runnable_peers = runnable;
    }

    fn drop_peer(&mut self, now: Now, conn: ConnId, reset: bool, actions: &mut Actions) {
        let Some((partner, charged_bytes)) = self.cluster.peering.remove(conn) else {
            self.links.figures.stale_events += 1;
            return;
        };
        self.links.open -= 1;
        let mut charged_bytes = charged_bytes;
        let mut reset = reset;
        if let Some(remote) = &mut self.cluster.remote {
            charged_bytes += remote.arriving.forget(conn);
            if let Some((node, was_open)) = remote.nodes.closed(now.time, conn) {
                reset |= was_open;
                self.lose_node(now.time, node);
            }
        }
        self.shard.cache.discharge(charged_bytes);
        if !self.cluster.is_member {
            return;
        }
        let node = partner.node;
        if self.id != WorkerId(0) {
            let message = Message::PeerClosed { conn, node, reset };
            actions.messages.push((WorkerId(0), message));
            return;
        }
        let worker = self.id;
        self.with_node(now, actions, |it, out| {
            it.handle_closed(now, Place { worker, conn }, out);
            if let Some(node) = node {
                it.handle_link_lost(now, node, reset, out);
            }
        });
    }

    fn note_refusal(&mut self, now: Now, conn: ConnId, refusal: &Refusal, actions: &mut Actions) {
        self.links.figures.refused_peers += 1;
        if self.id == WorkerId(0) && self.is_opened(conn) && refusal.is_meant() {
            let worker = self.id;
            self.with_node(now, actions, |node, out| {
                node.handle_stream_refused(now, Place { worker, conn }, refusal, out);
            });
            return;
        }
        if self.cluster.is_member && self.cluster.refusal_told.is_due(now.time) {
            actions.notices.push(Notice {
                severity: Severity::Warning,
                event: "peer-refused",
                text: alloc::format!("a connection to the peer port: {refusal}"),
            });
        }
    }

    fn refuse_peer(&mut self, conn: ConnId, error: &PeerError) {
        let text = alloc::format!("{error}");
        self.refuse_frame(conn, Reason::Frame, &text);
    }

    fn refuse_frame(&mut self, conn: ConnId, reason: Reason, text: &str) {
        self.links.figures.refused_frames += 1;
        self.send_frame(conn, &Frame::Refused { reason, text });
        self.cluster.peering.finish(conn);
    }

    pub(super) fn send_frame(&mut self, conn: ConnId, frame: &Frame<'_>) {
        if let Some(out) = self.cluster.peering.out(conn) {
            peer::encode(frame, out.frames());
        }
    }
}

/// What is to be done with a connection, on its way to another worker.
#[derive(Clone, Copy, Debug)]
pub struct PeerThen(Then);
