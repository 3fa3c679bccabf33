//! This worker's links to the other nodes: one connection to each that is up.
//!
//! Decides when a link is opened, and again, and which frames leave over it. Refuses to know what
//! requests and replicas say, and who belongs to the cluster, which is the node's.
//!
//! A link carries what this worker wants of another node: requests, and what its replicas say.
//! Answers come back over it. What the other node wants of this one comes over a link of its own.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;
use core::mem;
use core::net::SocketAddr;

use crate::command::{Operation, Value};
use crate::forwarding::Outgoing;
use crate::id::{ConnId, Ticket};
use crate::machine::Actions;
use crate::member::{Guid, NodeId};
use crate::membership::{Formation, Liveness};
use crate::node::ClusterView;
use crate::peering::Peering;
use crate::protocol::forward::{self, WireValue};
use crate::protocol::link::{self, Attempt, Direction, LinkFrame, ValueId};
use crate::replication::{Message, Term, wire};
use crate::time::Time;

use super::peers::Partner;

/// A link that has come to nothing is opened again after so long, in milliseconds, and twice as
/// long each time up to the second.
const RETRY_MS: u64 = 50;
const RETRY_MS_MAX: u64 = 1000;
/// How long opening a connection may take, in milliseconds.
const CONNECT_MS_MAX: u64 = 3000;
/// Messages of replicas are gathered into frames of about so many bytes. A longer one travels as
/// a large value.
const REPLICA_BYTES_MAX: usize = 32 * 1024;
/// Bytes that may wait on a link before what replicas say is dropped: they say it again.
const UNSENT_BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There is no connection before then.
    Resting(Time),
    /// One was asked for, and has to be there by then.
    Connecting(Ticket, Time),
    /// Hellos are being said.
    Greeting(ConnId),
    Open(ConnId),
}

struct Link {
    node: NodeId,
    address: SocketAddr,
    state: State,
    failures: u32,
    /// What replicas have to say and is not in a frame yet.
    replica: Vec<u8>,
}

/// The links.
pub(super) struct Nodes {
    links: BTreeMap<Guid, Link>,
    /// The cluster that this node belongs to, as a hello names it.
    formation: u64,
    next_ticket: u32,
    /// Connections that something was put on.
    touched: Vec<ConnId>,
    /// Counts what travels as a large value by itself.
    large_sequence: u64,
    /// Messages of replicas that had no link, or no room on it.
    pub(super) replica_dropped: u64,
    /// Messages of replicas that were sent.
    pub(super) replica_sent: u64,
}

/// What has become of a connection attempt.
pub(super) enum Failed {
    /// Nobody listens where this node should be.
    Refused(NodeId),
    Otherwise,
}

impl Nodes {
    pub(super) const fn new() -> Self {
        Self {
            links: BTreeMap::new(),
            next_ticket: 0,
            touched: Vec::new(),
            large_sequence: 0,
            formation: 0,
            replica_dropped: 0,
            replica_sent: 0,
        }
    }

    /// The cluster is as `view` says: links to who is new, none to who is gone. Hands the runs
    /// whose links are given up to `lost`, and their connections to `close`.
    pub(super) fn set_view(
        &mut self,
        now: Time,
        view: &ClusterView,
        lost: &mut Vec<NodeId>,
        close: &mut Vec<ConnId>,
        actions: &mut Actions,
    ) {
        let wanted = |guid: &Guid| {
            let member = view.member(guid);
            member.filter(|member| member.liveness != Liveness::Down)
        };
        let formation = Formation::to_wire(view.formation);
        if mem::replace(&mut self.formation, formation) != formation {
            // What is not sent yet is of a cluster that this node has left.
            for link in self.links.values_mut() {
                link.replica.clear();
            }
        }
        self.links.retain(|guid, link| {
            let keep = wanted(guid).is_some_and(|member| member.node == link.node);
            if !keep {
                lost.push(link.node);
                match link.state {
                    State::Resting(_) => {}
                    State::Connecting(ticket, _) => actions.give_up.push(ticket),
                    State::Greeting(conn) | State::Open(conn) => close.push(conn),
                }
            }
            keep
        });
        for member in &view.members {
            if member.liveness == Liveness::Down {
                continue;
            }
            let link = self.links.entry(member.node.guid).or_insert(Link {
                node: member.node,
                address: member.address,
                state: State::Resting(now),
                failures: 0,
                replica: Vec::new(),
            });
            link.address = member.address;
        }
        self.open_due(now, actions);
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        let at = self.links.values().filter_map(|link| match link.state {
            State::Resting(at) | State::Connecting(_, at) => Some(at),
            State::Greeting(_) | State::Open(_) => None,
        });
        at.min()
    }

    /// Asks for connections whose time has come, and gives up those that take too long.
    pub(super) fn open_due(&mut self, now: Time, actions: &mut Actions) {
        for (slot, link) in (0..).zip(self.links.values_mut()) {
            match link.state {
                State::Connecting(ticket, by) if by <= now => {
                    actions.give_up.push(ticket);
                    link.rest(now);
                }
                State::Resting(at) if at <= now => {
                    let generation = self.next_ticket;
                    self.next_ticket = self.next_ticket.wrapping_add(1);
                    let ticket = Ticket { slot, generation };
                    let by = now.plus_millis(CONNECT_MS_MAX);
                    link.state = State::Connecting(ticket, by);
                    actions.connect.push((ticket, link.address));
                }
                State::Resting(_) | State::Connecting(..) | State::Greeting(_) | State::Open(_) => {
                }
            }
        }
    }

    fn by_ticket(&mut self, ticket: Ticket) -> Option<&mut Link> {
        let mut links = self.links.values_mut();
        links.find(|link| matches!(link.state, State::Connecting(own, _) if own == ticket))
    }

    fn by_conn(&mut self, conn: ConnId) -> Option<&mut Link> {
        let mut links = self.links.values_mut();
        links.find(
            |link| matches!(link.state, State::Greeting(own) | State::Open(own) if own == conn),
        )
    }

    /// A connection is there. Whether it is still wanted.
    pub(super) fn connected(&mut self, ticket: Ticket, conn: ConnId) -> bool {
        let Some(link) = self.by_ticket(ticket) else {
            return false;
        };
        link.state = State::Greeting(conn);
        true
    }

    /// A connection has not come about.
    pub(super) fn connect_failed(&mut self, now: Time, ticket: Ticket, refused: bool) -> Failed {
        let Some(link) = self.by_ticket(ticket) else {
            return Failed::Otherwise;
        };
        link.rest(now);
        match refused {
            true => Failed::Refused(link.node),
            false => Failed::Otherwise,
        }
    }

    /// Both ends of a connection have said hello, and `node` is at the other. Whether that opens
    /// a link to it.
    pub(super) fn greeted(&mut self, conn: ConnId, node: NodeId) -> bool {
        let Some(link) = self.by_conn(conn) else {
            return false;
        };
        if link.node != node {
            // Another run, or another node has its address by now: the view will say.
            return false;
        }
        link.state = State::Open(conn);
        link.failures = 0;
        true
    }

    /// A connection is gone. The node that it led to, if it was a link, and whether it was open:
    /// no node ends one while it runs.
    pub(super) fn closed(&mut self, now: Time, conn: ConnId) -> Option<(NodeId, bool)> {
        let link = self.by_conn(conn)?;
        let was_open = matches!(link.state, State::Open(_));
        link.rest(now);
        Some((link.node, was_open))
    }

    fn open(&self, guid: &Guid) -> Option<(NodeId, ConnId)> {
        let link = self.links.get(guid)?;
        match link.state {
            State::Open(conn) => Some((link.node, conn)),
            State::Resting(_) | State::Connecting(..) | State::Greeting(_) => None,
        }
    }

    /// Puts a request on the link to the node of `term`; it is lost if there is none, and found
    /// again when there is one.
    pub(super) fn send_request(
        &mut self,
        peering: &mut Peering<Partner>,
        term: &Term,
        request: &Outgoing<'_>,
    ) {
        let Some((node, conn)) = self.open(&term.node.guid) else {
            return;
        };
        if node != term.node {
            return;
        }
        let Some(out) = peering.out(conn) else {
            return;
        };
        let attempt = Attempt {
            epoch: request.epoch,
            term: term.counter,
            since: request.since,
        };
        link::encode_request(attempt, out.frames(), |into| {
            let Outgoing {
                sequence,
                hash,
                key,
                operation,
                ..
            } = request;
            forward::encode_request(*sequence, *hash, key, operation, into);
        });
        if let Operation::Store(store) = &request.operation
            && let WireValue::Chunked(_) = WireValue::of(&store.value)
        {
            let direction = Direction::Request;
            let sequence = request.sequence;
            let value = ValueId {
                sequence,
                direction,
            };
            out.push_value(value, shared(&store.value));
        }
        self.touched.push(conn);
    }

    /// Has something said to the replica of another node.
    pub(super) fn send_replica(
        &mut self,
        peering: &mut Peering<Partner>,
        to: Guid,
        partition: u16,
        message: &Message,
    ) {
        let open = self.open(&to);
        let room = |conn| peering.unsent_bytes(conn) < UNSENT_BYTES_MAX;
        let Some((_, conn)) = open.filter(|(_, conn)| room(*conn)) else {
            self.replica_dropped += 1;
            return;
        };
        self.replica_sent += 1;
        self.touched.push(conn);
        let Some(link) = self.links.get_mut(&to) else {
            return;
        };
        if link.replica.is_empty() {
            wire::begin_batch(self.formation, &mut link.replica);
        }
        let start = link.replica.len();
        wire::encode(partition, message, &mut link.replica);
        if link.replica.len() <= REPLICA_BYTES_MAX {
            return;
        }
        // What came before has its frame; a message that is too long for one goes by itself.
        let mut last = Vec::new();
        wire::begin_batch(self.formation, &mut last);
        last.extend(link.replica.drain(start..));
        flush(link, peering, conn);
        if last.len() <= REPLICA_BYTES_MAX {
            link.replica = last;
            return;
        }
        let Some(out) = peering.out(conn) else {
            return;
        };
        self.large_sequence += 1;
        let sequence = self.large_sequence;
        let length = u32::try_from(last.len()).expect("a message stays below 4 GiB");
        link::encode(&LinkFrame::Large { sequence, length }, out.frames());
        let direction = Direction::Replica;
        let value = ValueId {
            sequence,
            direction,
        };
        out.push_value(value, Bytes::from(last));
    }

    /// Something was put on a connection from elsewhere.
    pub(super) fn touch(&mut self, conn: ConnId) {
        if self.touched.last() != Some(&conn) {
            self.touched.push(conn);
        }
    }

    /// Ends the frames of this turn. The connections that something was put on, each once.
    pub(super) fn take_touched(&mut self, peering: &mut Peering<Partner>) -> Vec<ConnId> {
        if self.touched.is_empty() {
            return Vec::new();
        }
        for link in self.links.values_mut() {
            if let State::Open(conn) = link.state {
                flush(link, peering, conn);
            }
        }
        let mut touched = mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        touched
    }

    /// Takes back the memory of [`take_touched`](Self::take_touched).
    pub(super) fn keep_touched(&mut self, mut touched: Vec<ConnId>) {
        touched.clear();
        if self.touched.is_empty() {
            self.touched = touched;
        }
    }

    /// Links that are open.
    pub(super) fn open_links(&self) -> usize {
        let links = self.links.values();
        links
            .filter(|link| matches!(link.state, State::Open(_)))
            .count()
    }
}

impl Link {
    fn rest(&mut self, now: Time) {
        let wait_ms = RETRY_MS << self.failures.min(8);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Resting(now.plus_millis(wait_ms.min(RETRY_MS_MAX)));
        self.replica.clear();
    }
}

fn flush(link: &mut Link, peering: &mut Peering<Partner>, conn: ConnId) {
    if link.replica.len() > wire::FORMATION_BYTES
        && let Some(out) = peering.out(conn)
    {
        let body = &link.replica[..];
        link::encode(&LinkFrame::Replica { body }, out.frames());
    }
    link.replica.clear();
}

/// A large value's memory, shared if it can be.
pub(super) fn shared(value: &Value<'_>) -> Bytes {
    match value {
        Value::Small(bytes) => Bytes::copy_from_slice(bytes),
        Value::Large(bytes) => bytes.clone(),
    }
}
