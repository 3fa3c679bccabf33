//! Where a command of one key is carried out: by this worker's shard, or on another node.
//!
//! Decides that and nothing else, and carries what comes of it to who waits for it. Refuses to
//! know what commands do, how replicas agree, and how a primary is found out.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::command::owned::OwnedCommand;
use crate::command::{Failure, Operation, Outcome, Value};
use crate::disk::Request;
use crate::figures::Figures;
use crate::forwarding::{self, Forwarding, ForwardingLimits, Outgoing};
use crate::hash::KeyHash;
use crate::id::{ConnId, Ticket, WorkerId};
use crate::machine::Actions;
use crate::member::{Guid, NodeId};
use crate::membership::Liveness;
use crate::message::{self, Caller, NOBODY, Refusal, Token, Visit};
use crate::node::ClusterView;
use crate::notice::Notice;
use crate::peering::Peering;
use crate::protocol::forward::{self, WireValue};
use crate::protocol::link::{self, Attempt, Direction, LinkFrame, ValueId};
use crate::replication::{Message, Term};
use crate::shard::{self, Command, Execution};
use crate::time::{Now, Time};

use super::nodes::{Failed, Nodes, shared};
use super::peers::{Cluster, Partner};
use super::visits::Arriving;
use super::{Links, Worker};

/// The connection that requests of this worker to itself name: no driver hands out so many.
const OWN_CONN: ConnId = ConnId {
    slot: u32::MAX - 1,
    generation: 0,
};
/// Bounds of what is under way at other nodes.
const LIMITS: ForwardingLimits = ForwardingLimits {
    requests_max: 64 * 1024,
    bytes_max: 64 * 1024 * 1024,
    timeout_ms: 5000,
};

/// A request that this worker has forwarded to itself, behind others of its partition.
struct OwnRequest {
    sequence: u64,
    attempt: Attempt,
    command: OwnedCommand,
}

/// What connects this worker with other nodes.
pub(super) struct Remote {
    me: NodeId,
    pub(super) forwarding: Forwarding,
    pub(super) nodes: Nodes,
    own: VecDeque<OwnRequest>,
    failed: Vec<(Token, Failure)>,
    pub(super) arriving: Arriving,
    /// Requests that came from other nodes.
    pub(super) visits: u64,
    /// Requests that were sent to other nodes, each once.
    pub(super) forwarded: u64,
}

/// Where forwarded requests go.
struct Ways<'a> {
    me: NodeId,
    nodes: &'a mut Nodes,
    peering: &'a mut Peering<Partner>,
    own: &'a mut VecDeque<OwnRequest>,
    failed: &'a mut Vec<(Token, Failure)>,
}

impl forwarding::Sink for Ways<'_> {
    fn send(&mut self, term: &Term, request: Outgoing<'_>) {
        if term.node != self.me {
            self.nodes.send_request(self.peering, term, &request);
            return;
        }
        let Outgoing {
            sequence,
            epoch,
            since,
            hash,
            key,
            operation,
        } = request;
        let attempt = Attempt {
            epoch,
            term: term.counter,
            since,
        };
        let command = OwnedCommand::new(Vec::new(), hash, key, &operation);
        self.own.push_back(OwnRequest {
            sequence,
            attempt,
            command,
        });
    }

    fn fail(&mut self, token: Token, failure: Failure) {
        self.failed.push((token, failure));
    }
}

impl Remote {
    pub(super) fn new(me: NodeId, worker: WorkerId) -> Self {
        // Each worker has numbers of its own.
        let first = u64::from(worker.0) << 48 | 1;
        Self {
            me,
            forwarding: Forwarding::new(LIMITS, first),
            nodes: Nodes::new(),
            own: VecDeque::new(),
            failed: Vec::new(),
            arriving: Arriving::default(),
            visits: 0,
            forwarded: 0,
        }
    }

    pub(super) const fn me(&self) -> NodeId {
        self.me
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        if !self.own.is_empty() || !self.failed.is_empty() {
            return Some(Time::ZERO);
        }
        let deadlines = [self.forwarding.next_deadline(), self.nodes.next_deadline()];
        deadlines.into_iter().flatten().min()
    }
}

impl Cluster {
    /// Lends what forwarding needs to `act`.
    fn forward<T>(&mut self, act: impl FnOnce(&mut Forwarding, &mut Ways<'_>) -> T) -> Option<T> {
        let remote = self.remote.as_mut()?;
        let mut ways = Ways {
            me: remote.me,
            nodes: &mut remote.nodes,
            peering: &mut self.peering,
            own: &mut remote.own,
            failed: &mut remote.failed,
        };
        Some(act(&mut remote.forwarding, &mut ways))
    }

    /// Whether a request of `partition` has to go behind others that are under way elsewhere.
    #[inline]
    pub(super) fn has_lane(&self, partition: u16) -> bool {
        let remote = self.remote.as_ref();
        remote.is_some_and(|remote| remote.forwarding.has_lane(partition))
    }

    /// Whether sessions may ask for one more request of other nodes.
    pub(super) fn has_room(&self) -> bool {
        let remote = self.remote.as_ref();
        remote.is_none_or(|remote| remote.forwarding.has_room())
    }

    /// Sends a request to where its partition's primary is, or seems to be.
    pub(super) fn forward_command(
        &mut self,
        now: Time,
        token: Token,
        command: Command<'_>,
        hint: Option<Term>,
    ) {
        let Command {
            hash,
            key,
            operation,
        } = command;
        let partition = hash.partition();
        let remote = self.remote.as_ref();
        let target = match remote.is_some_and(|it| it.forwarding.has_target(partition)) {
            true => None,
            false => self.guess(partition, hint),
        };
        self.forward(|forwarding, ways| {
            forwarding.push(now, token, hash, key, operation, target, ways);
        });
        if let Some(remote) = &mut self.remote {
            remote.forwarded += 1;
        }
    }

    /// Where requests of `partition` go: to who is said to be primary, if it is there; otherwise
    /// to the first of those who should hold it.
    fn guess(&self, partition: u16, hint: Option<Term>) -> Option<Term> {
        let view = self.view.as_deref()?;
        let hint = hint.filter(|term| term.counter > 0 && may_answer(view, term.node));
        if hint.is_some() {
            return hint;
        }
        let owners = view.placement.owners(partition).iter();
        let guids = owners.map(|owner| view.placement.guid(*owner));
        let others = guids.filter(|guid| *guid != view.me.guid);
        let mut members = others.filter_map(|guid| view.member(&guid));
        let member = members.find(|member| member.liveness != Liveness::Down)?;
        let node = member.node;
        Some(Term { counter: 0, node })
    }
}

fn may_answer(view: &ClusterView, node: NodeId) -> bool {
    let member = view.member(&node.guid);
    let is_up = member.is_some_and(|it| it.node == node && it.liveness != Liveness::Down);
    node == view.me || is_up
}

/// The shard's sink: answers find who waits for them, the rest goes to the driver.
pub(super) struct Router<'a> {
    pub(super) links: &'a mut Links,
    pub(super) cluster: &'a mut Cluster,
    pub(super) actions: &'a mut Actions,
    pub(super) now: Now,
}

impl shard::Sink for Router<'_> {
    fn answer(&mut self, token: Option<Token>, outcome: Outcome<'_>) {
        let Some(token) = token else {
            return;
        };
        if token.worker == self.links.id {
            self.deliver(token, &outcome);
        } else {
            let parcel = self.links.outbox.parcel(token.worker);
            parcel.push_answer(token, &outcome);
        }
    }

    fn disk(&mut self, request: Request) {
        self.actions.disk.push(request);
    }

    fn notice(&mut self, notice: Notice) {
        self.actions.notices.push(notice);
    }

    fn refuse(&mut self, caller: &Caller, command: Command<'_>, hint: Option<Term>) {
        let token = caller.token.unwrap_or(Token {
            worker: self.links.id,
            conn: OWN_CONN,
            sequence: NOBODY,
        });
        match caller.visit {
            None => self
                .cluster
                .forward_command(self.now.time, token, command, hint),
            Some(visit) => self.refuse_visit(token, Refusal::late(visit, hint)),
        }
    }

    fn replicate(&mut self, to: Guid, partition: u16, message: &Message) {
        if let Some(remote) = &mut self.cluster.remote {
            let peering = &mut self.cluster.peering;
            remote.nodes.send_replica(peering, to, partition, message);
        }
    }

    fn route(&mut self, partition: u16, term: Term) {
        let now = self.now.time;
        self.cluster.forward(|forwarding, ways| {
            forwarding.route(now, partition, Some(term), ways);
        });
    }
}

impl Router<'_> {
    /// Brings an outcome to whom it is for, on this worker.
    pub(super) fn deliver(&mut self, token: Token, outcome: &Outcome<'_>) {
        if token.sequence == NOBODY {
            return;
        }
        if token.conn == OWN_CONN {
            self.finish(token.sequence, outcome, None);
        } else {
            self.answer_waiting(token, outcome, None);
        }
    }

    /// Brings an outcome to the session or link that waits for it, and says which other node has
    /// carried it out.
    fn answer_waiting(&mut self, token: Token, outcome: &Outcome<'_>, holder: Option<&Guid>) {
        let links = &mut self.links;
        if !links.answer(self.now, token, outcome, holder, self.actions)
            && !self.cluster.push_answer(token, outcome)
        {
            self.links.figures.stale_events += 1;
        }
    }

    /// A request that was forwarded is answered, by another node or by this one.
    pub(super) fn finish(&mut self, sequence: u64, outcome: &Outcome<'_>, holder: Option<&Guid>) {
        let now = self.now.time;
        let me = match holder {
            Some(_) => None,
            None => self.cluster.me(),
        };
        let from = holder.or(me.as_ref().map(|me| &me.guid));
        let finished = self.cluster.forward(|forwarding, _| {
            if forwarding.is_passed(sequence, outcome, from) {
                return None;
            }
            forwarding.finish(now, sequence, outcome)
        });
        let Some(token) = finished.flatten() else {
            return;
        };
        match holder {
            Some(_) if token.worker == self.links.id && token.sequence != NOBODY => {
                self.answer_waiting(token, outcome, holder);
                return;
            }
            Some(holder) if token.worker != self.links.id => {
                let parcel = self.links.outbox.parcel(token.worker);
                parcel.push_holder(token, *holder);
            }
            Some(_) | None => {}
        }
        self.pass_on(token, outcome);
    }

    /// Brings an outcome to whom it is for, on whichever worker.
    fn pass_on(&mut self, token: Token, outcome: &Outcome<'_>) {
        if token.worker == self.links.id {
            self.deliver(token, outcome);
        } else {
            let parcel = self.links.outbox.parcel(token.worker);
            parcel.push_answer(token, outcome);
        }
    }

    /// Brings a refusal to whom it is for, on whichever worker.
    pub(super) fn refuse_visit(&mut self, token: Token, refusal: Refusal) {
        if token.worker == self.links.id {
            self.deliver_refusal(token, refusal);
        } else {
            let parcel = self.links.outbox.parcel(token.worker);
            parcel.push_refusal(token, refusal);
        }
    }

    /// Brings a refusal to whom it is for, on this worker.
    pub(super) fn deliver_refusal(&mut self, token: Token, refusal: Refusal) {
        let sequence = token.sequence;
        if token.conn == OWN_CONN {
            self.refused(sequence, refusal);
            return;
        }
        let Refusal {
            epoch,
            hint,
            at_once,
        } = refusal;
        let Some(out) = self.cluster.end_visit(token.conn) else {
            self.links.figures.stale_events += 1;
            return;
        };
        let frame = LinkFrame::Refusal {
            sequence,
            epoch,
            at_once,
            hint,
        };
        link::encode(&frame, out.frames());
        self.cluster.touch(token.conn);
    }

    /// A request that was forwarded is refused.
    pub(super) fn refused(&mut self, sequence: u64, refusal: Refusal) {
        let now = self.now.time;
        let hint = refusal.hint.filter(|term| {
            let view = self.cluster.view.as_deref();
            view.is_some_and(|view| may_answer(view, term.node))
        });
        let refusal = Refusal { hint, ..refusal };
        self.cluster.forward(|forwarding, ways| {
            forwarding.refuse(now, sequence, refusal, ways);
        });
    }
}

impl Cluster {
    fn touch(&mut self, conn: ConnId) {
        if let Some(remote) = &mut self.remote {
            remote.nodes.touch(conn);
        }
    }

    /// A request that has come over a link has been answered, one way or the other: where the
    /// answer goes.
    fn end_visit(&mut self, conn: ConnId) -> Option<&mut crate::link::Outgoing> {
        let (partner, out) = self.peering.partner_and_out(conn)?;
        partner.visiting = partner.visiting.saturating_sub(1);
        out
    }

    /// Answers a request that has come over a link. Whether the connection is one.
    fn push_answer(&mut self, token: Token, outcome: &Outcome<'_>) -> bool {
        let Some(out) = self.end_visit(token.conn) else {
            return false;
        };
        let sequence = token.sequence;
        link::encode_answer(out.frames(), |into| {
            forward::encode_answer(sequence, outcome, into);
        });
        if let Outcome::Item(item) = outcome
            && let WireValue::Chunked(_) = WireValue::of(&item.value)
        {
            let direction = Direction::Answer;
            let value = ValueId {
                sequence,
                direction,
            };
            out.push_value(value, shared(&item.value));
        }
        self.touch(token.conn);
        true
    }
}

impl Worker {
    /// Whether a command of a client of this node has to be carried out elsewhere, or behind
    /// others that are: then, who may be primary.
    #[inline]
    pub(super) fn elsewhere(&self, partition: u16) -> Option<Option<Term>> {
        if self.cluster.has_lane(partition) {
            return Some(None);
        }
        match self.cluster.remote {
            Some(_) => self.shard.elsewhere(partition),
            None => None,
        }
    }

    /// Carries out what this worker has forwarded to itself, tells who waits for what has failed,
    /// and ends the frames of this turn.
    pub(super) fn drive_remote(&mut self, now: Now, actions: &mut Actions) {
        if self.cluster.remote.is_none() {
            return;
        }
        self.drive_own(now, actions);
        let Some(remote) = &mut self.cluster.remote else {
            return;
        };
        let touched = remote.nodes.take_touched(&mut self.cluster.peering);
        for conn in &touched {
            self.keep_peer(now, *conn, actions);
        }
        if let Some(remote) = &mut self.cluster.remote {
            remote.nodes.keep_touched(touched);
        }
        if self.links.outbox.has_credit() && self.cluster.has_room() {
            self.wake_waiting();
        }
    }

    fn drive_own(&mut self, now: Now, actions: &mut Actions) {
        while let Some(remote) = &mut self.cluster.remote {
            let Some(own) = remote.own.pop_front() else {
                break;
            };
            let visit = Visit {
                origin: remote.me,
                attempt: own.attempt,
            };
            let caller = Caller {
                token: Some(Token {
                    worker: self.id,
                    conn: OWN_CONN,
                    sequence: own.sequence,
                }),
                visit: Some(visit),
            };
            let operation = own.command.operation();
            let (hash, key) = (own.command.hash, own.command.key());
            let mut router = Router {
                links: &mut self.links,
                cluster: &mut self.cluster,
                actions,
                now,
            };
            match self
                .shard
                .execute(now, &caller, hash, key, &operation, &mut router)
            {
                Execution::Done(outcome) => router.finish(own.sequence, &outcome, None),
                Execution::Deferred => {}
                Execution::Refused(hint) => {
                    router.refused(own.sequence, Refusal::at_once(visit, hint));
                }
            }
        }
        let Some(remote) = &mut self.cluster.remote else {
            return;
        };
        for (token, failure) in core::mem::take(&mut remote.failed) {
            let mut router = self.router(now, actions);
            router.pass_on(token, &Outcome::Failed(failure));
        }
    }

    /// What the shard is lent to say things by.
    pub(super) fn router<'a>(&'a mut self, now: Now, actions: &'a mut Actions) -> Router<'a> {
        Router {
            links: &mut self.links,
            cluster: &mut self.cluster,
            actions,
            now,
        }
    }

    /// A connection to another node has not come about.
    pub(super) fn link_failed(
        &mut self,
        now: Now,
        ticket: Ticket,
        refused: bool,
        actions: &mut Actions,
    ) {
        let Some(remote) = &mut self.cluster.remote else {
            self.links.figures.stale_events += 1;
            return;
        };
        let Failed::Refused(node) = remote.nodes.connect_failed(now.time, ticket, refused) else {
            return;
        };
        if self.id == WorkerId(0) {
            self.with_node(now, actions, |it, out| {
                it.handle_link_refused(now, node, out)
            });
        } else {
            let message = message::Message::LinkRefused(node);
            actions.messages.push((WorkerId(0), message));
        }
    }

    /// Does what has become due for requests that are under way elsewhere.
    pub(super) fn handle_remote_deadline(&mut self, now: Now, actions: &mut Actions) {
        let Some(remote) = &mut self.cluster.remote else {
            return;
        };
        if remote
            .nodes
            .next_deadline()
            .is_some_and(|at| at <= now.time)
        {
            remote.nodes.open_due(now.time, actions);
        }
        let due = remote.forwarding.next_deadline();
        if due.is_none_or(|at| at > now.time) {
            return;
        }
        self.cluster
            .forward(|forwarding, ways| forwarding.handle_deadline(now.time, ways));
        self.find_ways(now.time);
    }

    /// Requests that have nowhere to go are told who may be primary by now.
    pub(super) fn find_ways(&mut self, now: Time) {
        let Some(remote) = &self.cluster.remote else {
            return;
        };
        let unrouted: Vec<(u16, u32)> = remote.forwarding.unrouted().collect();
        for (partition, refusals) in unrouted {
            let target = match self.shard.elsewhere(partition) {
                // What this node knows may be as old as what it was just told: every other time
                // those are asked who should hold the partition by now.
                Some(hint) => {
                    let hint = hint.filter(|_| refusals % 2 == 0);
                    self.cluster.guess(partition, hint)
                }
                None => self.shard.term_of(partition),
            };
            if target.is_some() {
                self.cluster.forward(|forwarding, ways| {
                    forwarding.route(now, partition, target, ways);
                });
            }
        }
    }

    /// Adds what goes to and comes from other nodes to the worker's figures.
    pub(super) fn add_remote_figures(&self, figures: &mut Figures) {
        let Some(remote) = &self.cluster.remote else {
            return;
        };
        figures.merge(&remote.forwarding.figures);
        figures.forwarded_requests = remote.forwarded;
        figures.forwarded_unanswered = remote.forwarding.unfinished() as u64;
        figures.resent_requests = remote.forwarding.resent;
        figures.stale_answers = remote.forwarding.stale_answers;
        figures.hops_us = remote.forwarding.answered_us;
        figures.hop_worst_us = remote.forwarding.answered_worst_us;
        figures.visiting_requests = remote.visits;
        figures.links_open = remote.nodes.open_links() as u64;
        figures.replica_messages = remote.nodes.replica_sent;
        figures.replica_messages_dropped = remote.nodes.replica_dropped;
    }

    /// What the requests that other nodes have answered have moved.
    pub(super) fn forwarded_figures(&mut self) -> Option<&mut Figures> {
        let remote = self.cluster.remote.as_mut()?;
        Some(&mut remote.forwarding.figures)
    }

    /// What was on the way to a run is lost.
    pub(super) fn lose_node(&mut self, now: Time, node: NodeId) {
        self.cluster
            .forward(|forwarding, ways| forwarding.lose(now, node, ways));
    }

    /// Sends a command of a client of this node to the primary.
    pub(super) fn forward_command(
        &mut self,
        now: Now,
        token: Token,
        command: Command<'_>,
        hint: Option<Term>,
    ) {
        self.cluster.forward_command(now.time, token, command, hint);
    }
}

/// A command's parts, together.
pub(super) const fn command<'a>(
    hash: KeyHash,
    key: &'a [u8],
    operation: &'a Operation<'a>,
) -> Command<'a> {
    Command {
        hash,
        key,
        operation,
    }
}

/// A value that has come in chunks.
pub(super) fn large(bytes: Vec<u8>) -> Value<'static> {
    Value::Large(bytes::Bytes::from(bytes))
}
