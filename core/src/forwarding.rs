//! Requests for partitions whose primary is on another node.
//!
//! Decides where each goes and in which order, when it is sent once more, when its time is up, and
//! that it counts once. Refuses to know links, frames, who is alive, and how a primary is found.
//!
//! Requests of one partition keep their order. All that are unfinished form a lane, and all that
//! have been sent went to one node, for one term, under one *epoch*. When that node turns out not
//! to be the primary of that term, or the link to it breaks, the epoch rises and the whole lane is
//! sent again, in its order, to where the primary is said to be. A node that has refused a request
//! of one epoch refuses every later one of that sender, partition and epoch ([`Refused`] is its
//! memory), so that none can overtake one that was refused. A request that reaches two primaries
//! one after the other is applied once, because it keeps its sequence: replication carries it.
//!
//! The target may be this very node: then whoever owns this carries the request out, and requests
//! that had been meant for elsewhere keep their order with those that come now.

mod table;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::command::owned::{CommandBuffers, OwnedCommand};
use crate::command::{Failure, Operation, Outcome, StoreMode};
use crate::figures::Figures;
use crate::hash::KeyHash;
use crate::member::{Guid, NodeId};
use crate::message::{Refusal, Token};
use crate::replication::Term;
use crate::time::Time;
use table::Table;

/// A lane that was refused so often in a row waits before it is sent again.
const REFUSALS_AT_ONCE_MAX: u32 = 2;
/// How long it then waits, and how often a lane without a target asks for one, in milliseconds.
const RETRY_MS: u64 = 10;

/// Bounds of the requests under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForwardingLimits {
    /// Requests that one worker may have under way at other nodes.
    pub(crate) requests_max: usize,
    /// Bytes of keys and values of these, above which no more are taken.
    pub(crate) bytes_max: usize,
    /// How long a request may take, in milliseconds; what came of it is unknown then.
    pub(crate) timeout_ms: u64,
}

/// One request to be put on a link.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    /// Its number: that of the first try, whichever this one is.
    pub(crate) sequence: u64,
    /// How often its lane has changed its mind.
    pub(crate) epoch: u32,
    /// The counter of the first term under which it may have been carried out; 0 if none was known.
    pub(crate) since: u64,
    pub(crate) hash: KeyHash,
    pub(crate) key: &'a [u8],
    pub(crate) operation: Operation<'a>,
}

/// What comes of handling something, besides answers.
pub(crate) trait Sink {
    /// Puts a request on the link to the node of `term`, behind all that was put there before. A
    /// term with counter 0 is a guess: the node is not known to be primary.
    fn send(&mut self, term: &Term, request: Outgoing<'_>);
    /// The request with this token could not be carried out, or nobody knows.
    fn fail(&mut self, token: Token, failure: Failure);
}

struct Pending {
    token: Token,
    command: OwnedCommand,
    began: Time,
    deadline: Time,
    /// Nobody waits for it any more, and its command is gone.
    finished: bool,
    /// The lane's epoch when it was first sent to where it may have been carried out.
    tried: Option<u32>,
    /// The counter of the term that it was sent for then; 0 as long as none was known.
    since: u64,
}

/// The unfinished requests of one partition.
#[derive(Default)]
struct Lane {
    target: Option<Term>,
    epoch: u32,
    queue: VecDeque<u64>,
    /// So many, from the front on, have been sent under the present epoch.
    sent: usize,
    refusals_in_row: u32,
    /// Refusals since the last answer.
    refusals: u32,
    /// Nothing is sent before this.
    resting_until: Option<Time>,
}

impl Lane {
    /// A new one, with the memory of an earlier one.
    fn begin(&mut self, epoch: u32) {
        let queue = core::mem::take(&mut self.queue);
        assert!(queue.is_empty(), "a lane ends with its last request");
        *self = Self {
            epoch,
            queue,
            ..Self::default()
        };
    }
}

/// All requests of one worker that are under way at other nodes.
pub(crate) struct Forwarding {
    limits: ForwardingLimits,
    /// The sequence of the oldest request in `ring`.
    first: u64,
    /// Requests by sequence; some are finished.
    ring: VecDeque<Pending>,
    unfinished: usize,
    bytes: usize,
    lanes: Table<Lane>,
    /// The last epoch of partitions that have no lane: the next one must not begin below it, for
    /// others remember what they have refused.
    epochs: BTreeMap<u16, u32>,
    /// Lanes that want to be looked at, by when.
    resting: BTreeSet<(Time, u16)>,
    buffers: CommandBuffers,
    /// What the requests that others have answered have moved.
    pub(crate) figures: Figures,
    /// Requests that were to be sent once more, since the start.
    pub(crate) resent: u64,
    /// Answers to requests that had been finished otherwise, since the start.
    pub(crate) stale_answers: u64,
    /// Microseconds that answers took, all together, since the start.
    pub(crate) answered_us: u64,
    /// The longest that one took, since the start.
    pub(crate) answered_worst_us: u64,
}

impl Forwarding {
    /// No requests; the first will have the sequence `first`. Sequences of one run of a node are
    /// never used twice, by no worker of it.
    pub(crate) fn new(limits: ForwardingLimits, first: u64) -> Self {
        Self {
            limits,
            first,
            ring: VecDeque::new(),
            unfinished: 0,
            bytes: 0,
            lanes: Table::new(),
            epochs: BTreeMap::new(),
            resting: BTreeSet::new(),
            buffers: CommandBuffers::default(),
            figures: Figures::default(),
            resent: 0,
            stale_answers: 0,
            answered_us: 0,
            answered_worst_us: 0,
        }
    }

    /// Whether one more request may be taken.
    pub(crate) fn has_room(&self) -> bool {
        self.ring.len() < self.limits.requests_max && self.bytes < self.limits.bytes_max
    }

    /// Whether requests of `partition` are under way: one that comes now has to go behind them.
    #[inline]
    pub(crate) fn has_lane(&self, partition: u16) -> bool {
        self.lanes.has(partition)
    }

    /// Whether there are requests of `partition` under way that go somewhere.
    pub(crate) fn has_target(&self, partition: u16) -> bool {
        let lane = self.lanes.get(partition);
        lane.is_some_and(|lane| lane.target.is_some())
    }

    /// Requests under way.
    pub(crate) const fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// Takes a request and sends it, if its partition's lane has a target: otherwise `target`
    /// becomes that, if there is one.
    #[expect(clippy::too_many_arguments, reason = "the parts of one command")]
    pub(crate) fn push(
        &mut self,
        now: Time,
        token: Token,
        hash: KeyHash,
        key: &[u8],
        operation: &Operation<'_>,
        target: Option<Term>,
        sink: &mut impl Sink,
    ) {
        let sequence = self.first + self.ring.len() as u64;
        let command = OwnedCommand::new(self.buffers.take(), hash, key, operation);
        self.bytes += command.bytes();
        self.unfinished += 1;
        self.ring.push_back(Pending {
            token,
            command,
            began: now,
            deadline: now.plus_millis(self.limits.timeout_ms),
            finished: false,
            tried: None,
            since: 0,
        });
        let partition = hash.partition();
        if !self.lanes.has(partition) {
            let epoch = self.epochs.remove(&partition).unwrap_or_default();
            self.lanes.enter(partition).begin(epoch);
        }
        let lane = self.lanes.get_mut(partition).expect("it has one by now");
        lane.queue.push_back(sequence);
        lane.target = lane.target.or(target);
        self.drive(now, partition, sink);
    }

    /// The primary of `partition` is known to be `target`, or not known at all.
    pub(crate) fn route(
        &mut self,
        now: Time,
        partition: u16,
        target: Option<Term>,
        sink: &mut impl Sink,
    ) {
        let Some(lane) = self.lanes.get_mut(partition) else {
            return;
        };
        if lane.target == target {
            return;
        }
        lane.refusals_in_row = 0;
        self.wake(partition);
        self.give_up_passed(partition, u64::MAX, sink);
        self.retarget(partition, target);
        self.drive(now, partition, sink);
    }

    /// Partitions whose requests have nowhere to go, and how often they have been refused since
    /// the last answer.
    pub(crate) fn unrouted(&self) -> impl Iterator<Item = (u16, u32)> + '_ {
        let lanes = self.lanes.iter();
        let unrouted = lanes.filter(|(_, lane)| lane.target.is_none());
        unrouted.map(|(partition, lane)| (partition, lane.refusals))
    }

    /// Whether `outcome` may be the answer to a request: one that nobody waits for always may.
    pub(crate) fn may_be_answered(&self, sequence: u64, outcome: &Outcome<'_>) -> bool {
        let pending = self.pending(sequence);
        pending.is_none_or(|pending| outcome.can_come_of(&pending.command.operation()))
    }

    /// A request has been answered: whose it was, unless that is of no interest any more.
    pub(crate) fn finish(
        &mut self,
        now: Time,
        sequence: u64,
        outcome: &Outcome<'_>,
    ) -> Option<Token> {
        let index = self.index(sequence);
        let Some(pending) = index.map(|index| &self.ring[index]) else {
            self.stale_answers += 1;
            return None;
        };
        let (token, command) = (pending.token, &pending.command);
        let partition = command.hash.partition();
        let began = pending.began.as_nanos();
        let took_us = now.as_nanos().saturating_sub(began) / 1000;
        self.figures
            .count(command.key(), &command.operation(), outcome);
        self.answered_us += took_us;
        self.answered_worst_us = self.answered_worst_us.max(took_us);
        let lane = self.lanes.get_mut(partition).expect("a request has a lane");
        lane.refusals_in_row = 0;
        lane.refusals = 0;
        self.end(partition, sequence);
        Some(token)
    }

    /// Whether it does not count that a command has changed nothing on the node `from`: it has been
    /// sent elsewhere since, and there it may yet change something.
    pub(crate) fn is_passed(
        &mut self,
        sequence: u64,
        outcome: &Outcome<'_>,
        from: Option<&Guid>,
    ) -> bool {
        let (true, Some(index)) = (changed_nothing(outcome), self.index(sequence)) else {
            return false;
        };
        let command = &self.ring[index].command;
        if !command.operation().may_change() {
            return false;
        }
        let lane = self.lanes.get(command.hash.partition());
        let target = lane.and_then(|lane| lane.target.as_ref());
        let is_passed = target.map(|term| &term.node.guid) != from;
        self.stale_answers += u64::from(is_passed);
        is_passed
    }

    /// The node that was asked is not the primary; who the refusal names may be.
    pub(crate) fn refuse(
        &mut self,
        now: Time,
        sequence: u64,
        refusal: Refusal,
        sink: &mut impl Sink,
    ) {
        let Refusal {
            epoch,
            hint,
            at_once,
        } = refusal;
        let Some(pending) = self.pending(sequence) else {
            self.stale_answers += 1;
            return;
        };
        let partition = pending.command.hash.partition();
        let lane = self.lanes.get_mut(partition).expect("a request has a lane");
        if lane.epoch != epoch {
            return; // The lane has been sent again since.
        }
        lane.refusals_in_row += 1;
        lane.refusals += 1;
        let rests = lane.refusals_in_row > REFUSALS_AT_ONCE_MAX || hint.is_none();
        if at_once {
            self.forget_attempt(partition, sequence, epoch);
        }
        self.give_up_passed(partition, sequence, sink);
        self.retarget(partition, hint);
        if rests {
            self.rest(now, partition);
        }
        self.drive(now, partition, sink);
    }

    /// Neither the request `sequence` nor any behind it has been begun under `epoch`. Where that was
    /// the first attempt, the next one is as good as the first.
    fn forget_attempt(&mut self, partition: u16, sequence: u64, epoch: u32) {
        let Some(lane) = self.lanes.get(partition) else {
            return;
        };
        let behind = lane.queue.iter().filter(|queued| **queued >= sequence);
        for queued in behind {
            let pending = &mut self.ring[(queued - self.first) as usize];
            if pending.tried == Some(epoch) {
                pending.tried = None;
                pending.since = 0;
            }
        }
    }

    /// What was sent to `node` may be lost: it is sent again, once there is a way.
    pub(crate) fn lose(&mut self, now: Time, node: NodeId, sink: &mut impl Sink) {
        let hit: Vec<u16> = self
            .lanes
            .iter()
            .filter_map(|(partition, lane)| {
                let is_hit = lane.target.is_some_and(|term| term.node == node);
                is_hit.then_some(partition)
            })
            .collect();
        for partition in hit {
            self.give_up_passed(partition, u64::MAX, sink);
            self.retarget(partition, None);
            self.rest(now, partition);
            self.drive(now, partition, sink);
        }
    }

    /// When [`handle_deadline`](Self::handle_deadline) has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        // The oldest unfinished request is the first in the ring, and all wait equally long.
        let oldest = self.ring.front();
        let resting = self.resting.first().map(|(at, _)| *at);
        oldest
            .map(|pending| pending.deadline)
            .into_iter()
            .chain(resting)
            .min()
    }

    /// Fails what has waited too long, and sends what has rested.
    pub(crate) fn handle_deadline(&mut self, now: Time, sink: &mut impl Sink) {
        while let Some(pending) = self.ring.front()
            && pending.deadline <= now
        {
            let failure = match pending.tried {
                Some(_) => pending.command.operation().unanswered(),
                None => Failure::Unreachable,
            };
            sink.fail(pending.token, failure);
            self.end(pending.command.hash.partition(), self.first);
        }
        while let Some((at, partition)) = self.resting.first().copied()
            && at <= now
        {
            self.wake(partition);
            self.drive(now, partition, sink);
        }
    }

    /// Where in the ring a request is that is not finished.
    #[inline]
    fn index(&self, sequence: u64) -> Option<usize> {
        let index = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        let pending = self.ring.get(index)?;
        (!pending.finished).then_some(index)
    }

    fn pending(&self, sequence: u64) -> Option<&Pending> {
        self.index(sequence).map(|index| &self.ring[index])
    }

    /// Finishes a request that is not, and forgets those before the oldest that is left.
    fn end(&mut self, partition: u16, sequence: u64) {
        let pending = &mut self.ring[(sequence - self.first) as usize];
        self.unfinished -= 1;
        self.bytes -= pending.command.bytes();
        pending.finished = true;
        self.buffers.empty(&mut pending.command);
        while let Some(oldest) = self.ring.front()
            && oldest.finished
        {
            self.ring.pop_front();
            self.first += 1;
        }
        self.leave(partition, sequence);
    }

    /// Takes a finished request out of its lane, which goes with its last one.
    fn leave(&mut self, partition: u16, sequence: u64) {
        let lane = self.lanes.get_mut(partition).expect("a request has a lane");
        // Answers mostly come in the order of requests.
        let at = lane.queue.iter().position(|queued| *queued == sequence);
        let at = at.expect("an unfinished request is in its lane");
        match at {
            0 => drop(lane.queue.pop_front()),
            _ => drop(lane.queue.remove(at)),
        }
        lane.sent -= usize::from(at < lane.sent);
        if lane.queue.is_empty() {
            let epoch = lane.epoch;
            self.wake(partition);
            self.lanes.leave(partition);
            if epoch > 0 {
                self.epochs.insert(partition, epoch);
            }
        }
    }

    /// Fails requests below the sequence `before` that can't be sent again: they may have been
    /// carried out without changing anything, which nobody remembers, and so may a command of the
    /// same client and key that was sent behind them, and whose answer is remembered: all that may
    /// change something, a touching get that has found nothing included (cluster seed 2035). Sent
    /// again, they would be carried out behind it.
    fn give_up_passed(&mut self, partition: u16, before: u64, sink: &mut impl Sink) {
        let Some(lane) = self
            .lanes
            .get(partition)
            .filter(|lane| lane.queue.len() > 1)
        else {
            return;
        };
        let (mut remembered, mut passed) = (Vec::new(), Vec::new());
        for sequence in lane.queue.iter().rev().copied() {
            let Some(pending) = self
                .pending(sequence)
                .filter(|pending| pending.tried.is_some())
            else {
                continue;
            };
            let source = (
                pending.token.worker,
                pending.token.conn,
                pending.command.hash,
            );
            let operation = pending.command.operation();
            if sequence < before && remembered.contains(&source) && may_change_nothing(&operation) {
                passed.push(sequence);
            }
            if operation.may_change() {
                remembered.push(source);
            }
        }
        for sequence in passed {
            if let Some(pending) = self.pending(sequence) {
                sink.fail(pending.token, pending.command.operation().unanswered());
                self.end(partition, sequence);
            }
        }
    }

    /// Whatever was sent is to be sent again, to `target`.
    fn retarget(&mut self, partition: u16, target: Option<Term>) {
        let lane = self.lanes.get_mut(partition).expect("only lanes change");
        lane.target = target;
        lane.epoch += 1;
        self.resent += core::mem::take(&mut lane.sent) as u64;
    }

    fn rest(&mut self, now: Time, partition: u16) {
        let lane = self.lanes.get_mut(partition).expect("only lanes rest");
        if lane.resting_until.is_none() {
            let until = now.plus_millis(RETRY_MS);
            lane.resting_until = Some(until);
            self.resting.insert((until, partition));
        }
    }

    fn wake(&mut self, partition: u16) {
        if let Some(lane) = self.lanes.get_mut(partition)
            && let Some(until) = lane.resting_until.take()
        {
            self.resting.remove(&(until, partition));
        }
    }

    /// Sends what a lane has to send.
    fn drive(&mut self, now: Time, partition: u16, sink: &mut impl Sink) {
        let Some(lane) = self.lanes.get_mut(partition) else {
            return;
        };
        if lane.resting_until.is_some() {
            return;
        }
        let Some(target) = &lane.target else {
            self.rest(now, partition);
            return;
        };
        for sequence in lane.queue.range(lane.sent..) {
            let pending = &mut self.ring[(*sequence - self.first) as usize];
            pending.tried.get_or_insert(lane.epoch);
            if pending.since == 0 {
                pending.since = target.counter;
            }
            sink.send(
                target,
                Outgoing {
                    sequence: *sequence,
                    epoch: lane.epoch,
                    since: pending.since,
                    hash: pending.command.hash,
                    key: pending.command.key(),
                    operation: pending.command.operation(),
                },
            );
        }
        lane.sent = lane.queue.len();
    }
}

/// Whether a request may turn out to change nothing.
fn may_change_nothing(operation: &Operation<'_>) -> bool {
    !matches!(operation, Operation::Store(store)
        if store.mode == StoreMode::Set && store.compare.is_none())
}

/// Whether a command with this outcome has left everything as it was.
const fn changed_nothing(outcome: &Outcome<'_>) -> bool {
    matches!(
        outcome,
        Outcome::NotFound | Outcome::NotStored | Outcome::Exists | Outcome::Failed(_)
    )
}

/// What the requests of other nodes have been refused, at the node that refuses.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    /// The latest refused epoch of each sender and partition.
    epochs: BTreeMap<(NodeId, u16), u32>,
}

impl Refused {
    /// Takes note that a request was refused.
    pub(crate) fn note(&mut self, sender: NodeId, partition: u16, epoch: u32) {
        let latest = self.epochs.entry((sender, partition)).or_default();
        *latest = epoch.max(*latest);
    }

    /// Whether a request must be refused because one before it was.
    pub(crate) fn covers(&self, sender: NodeId, partition: u16, epoch: u32) -> bool {
        self.epochs
            .get(&(sender, partition))
            .is_some_and(|latest| epoch <= *latest)
    }

    /// Forgets runs that are gone.
    pub(crate) fn retain(&mut self, keep: impl Fn(NodeId) -> bool) {
        self.epochs.retain(|(sender, _), _| keep(*sender));
    }
}
