//! What comes over links: requests of other nodes, answers to this one's, what replicas say.
//!
//! Decides in which order it is handed on while large values arrive, and to which worker. Refuses
//! to know what requests do and what replicas agree on.
//!
//! Requests of one partition that come over one link keep their order: those behind one whose
//! value is still arriving wait for it.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;

use crate::command::owned::OwnedCommand;
use crate::command::{Failure, Item, Operation, Outcome, Value};
use crate::hash::KeyHash;
use crate::id::{ConnId, WorkerId};
use crate::link::Chunk;
use crate::machine::Actions;
use crate::member::NodeId;
use crate::message::{Caller, Message, Refusal, Token, Visit, dressed_operation};
use crate::protocol::forward::{self, Malformed, WireValue};
use crate::protocol::link::{self, Attempt, Direction, LinkFrame, ValueId};
use crate::protocol::peer;
use crate::replication::wire;
use crate::shard::Execution;
use crate::time::Now;

use super::Worker;
use super::routing::{Router, large};

/// Requests whose memory is looked at together: what they need fits well into the nearest cache.
pub(super) const APPROACHED_MAX: usize = 32;

/// What a request that waits takes beside its key and value, in bytes.
const WAITING_BYTES: usize = size_of::<Waiting>();

/// A request that waits for its value, or behind one that does.
struct Waiting {
    sequence: u64,
    attempt: Attempt,
    command: OwnedCommand,
    /// Its value is still arriving.
    arrives: bool,
    /// What the cache was charged with for it, but for a value that arrives.
    charged_bytes: usize,
}

/// An answer whose value is still arriving.
type Announced = Box<Outcome<'static>>;

/// What waits for large values.
#[derive(Default)]
pub(super) struct Arriving {
    requests: BTreeMap<(ConnId, u16), VecDeque<Waiting>>,
    /// The partition of each request whose value is arriving.
    partitions: BTreeMap<(ConnId, u64), u16>,
    answers: BTreeMap<(ConnId, u64), Announced>,
}

impl Arriving {
    /// A connection is gone. Bytes that had been charged for what has waited.
    pub(super) fn forget(&mut self, conn: ConnId) -> usize {
        let mut charged_bytes = 0;
        self.requests.retain(|(own, _), waiting| {
            if *own == conn {
                charged_bytes += waiting.iter().map(|it| it.charged_bytes).sum::<usize>();
            }
            *own != conn
        });
        self.partitions.retain(|(own, _), _| *own != conn);
        self.answers.retain(|(own, _), _| *own != conn);
        charged_bytes
    }
}

impl Worker {
    /// Looks at the memory that the next requests in `input` will need, if there are several. How
    /// many frames it has looked at, which is none only where no whole one is.
    pub(super) fn approach(&self, input: &[u8]) -> usize {
        let frame_bytes_max = self.settings.limits.frame_bytes_max;
        let mut hashes = [KeyHash::default(); APPROACHED_MAX];
        let (mut at, mut frames, mut keys) = (0, 0, 0);
        while keys < APPROACHED_MAX
            && let Ok(Some(raw)) = peer::split(&input[at..], frame_bytes_max)
        {
            at += raw.frame_bytes;
            frames += 1;
            if let Some(key) = link::request_key(&raw) {
                let hash = KeyHash::of(key);
                if self.worker_of(hash) == self.id {
                    hashes[keys] = hash;
                    keys += 1;
                }
            }
        }
        if keys > 1 {
            self.shard.cache.approach(&hashes[..keys]);
        }
        frames
    }

    /// Takes a frame of a link: of one that this node has `opened`, or of one of `from`'s.
    ///
    /// # Errors
    /// When it is not of the form, or does not belong there: the link can't be used any further.
    pub(super) fn handle_link_frame(
        &mut self,
        now: Now,
        conn: ConnId,
        from: NodeId,
        opened: bool,
        frame: &LinkFrame<'_>,
        actions: &mut Actions,
    ) -> Result<(), Malformed> {
        match *frame {
            LinkFrame::Request { attempt, body } if !opened => {
                self.take_request(now, conn, from, attempt, body, actions)
            }
            LinkFrame::Answer { body } if opened => {
                self.take_answer(now, conn, from, body, actions)
            }
            LinkFrame::Refusal {
                sequence,
                epoch,
                at_once,
                hint,
            } if opened => {
                let refusal = Refusal {
                    epoch,
                    hint,
                    at_once,
                };
                self.router(now, actions).refused(sequence, refusal);
                Ok(())
            }
            LinkFrame::Chunk { value, bytes } => {
                self.take_chunk(now, conn, from, value, bytes, actions)
            }
            LinkFrame::Cancel { value } => {
                self.cancel(now, conn, from, value, actions);
                Ok(())
            }
            LinkFrame::Replica { body } if !opened => {
                self.take_replica(now, conn, from, Bytes::copy_from_slice(body), actions)
            }
            LinkFrame::Large { sequence, length } if !opened => {
                let direction = Direction::Replica;
                let value = ValueId {
                    sequence,
                    direction,
                };
                self.announce_value(conn, value, length, true).map(|_| ())
            }
            LinkFrame::Request { .. }
            | LinkFrame::Answer { .. }
            | LinkFrame::Refusal { .. }
            | LinkFrame::Replica { .. }
            | LinkFrame::Large { .. } => Err(Malformed),
        }
    }

    /// A large value follows. Whether there is memory for it; if not, it is passed over.
    fn announce_value(
        &mut self,
        conn: ConnId,
        value: ValueId,
        length: u32,
        wanted: bool,
    ) -> Result<bool, Malformed> {
        let bytes = length as usize;
        let wanted = wanted && self.shard.cache.charge(bytes).is_ok();
        let incoming = self.cluster.peering.incoming(conn);
        let announced = incoming.map(|it| it.announce(value, bytes, wanted));
        match announced {
            Some(Ok(())) => Ok(wanted),
            Some(Err(_)) | None => {
                if wanted {
                    self.shard.cache.discharge(bytes);
                }
                Err(Malformed)
            }
        }
    }

    fn take_request(
        &mut self,
        now: Now,
        conn: ConnId,
        from: NodeId,
        attempt: Attempt,
        body: &[u8],
        actions: &mut Actions,
    ) -> Result<(), Malformed> {
        let request = forward::decode_request(body)?;
        let hash = request.hash;
        let sequence = request.sequence;
        let value = match request.value {
            WireValue::Inline(bytes) => Value::Small(bytes),
            WireValue::Chunked(length) => {
                return self.await_value(conn, attempt, &request, hash, length);
            }
        };
        let operation = dressed_operation(&request.operation, value);
        let place = (conn, hash.partition());
        if let Some(remote) = &mut self.cluster.remote
            && let Some(waiting) = remote.arriving.requests.get_mut(&place)
        {
            let command = OwnedCommand::new(Vec::new(), hash, request.key, &operation);
            let charged_bytes = command.bytes() + WAITING_BYTES;
            if self.shard.cache.charge(charged_bytes).is_err() {
                let outcome = Outcome::Failed(Failure::OutOfMemory);
                self.answer_link(conn, sequence, &outcome);
                return Ok(());
            }
            waiting.push_back(Waiting {
                sequence,
                attempt,
                command,
                arrives: false,
                charged_bytes,
            });
            return Ok(());
        }
        let visit = Visit {
            origin: from,
            attempt,
        };
        self.receive(
            now,
            conn,
            sequence,
            visit,
            hash,
            request.key,
            &operation,
            actions,
        );
        Ok(())
    }

    fn await_value(
        &mut self,
        conn: ConnId,
        attempt: Attempt,
        request: &forward::ForwardedRequest<'_>,
        hash: KeyHash,
        length: u32,
    ) -> Result<(), Malformed> {
        let sequence = request.sequence;
        let direction = Direction::Request;
        let value = ValueId {
            sequence,
            direction,
        };
        // The other node may allow longer ones.
        let fits = length <= self.settings.value_bytes_max;
        if !self.announce_value(conn, value, length, fits)? {
            let failure = match fits {
                true => Failure::OutOfMemory,
                false => Failure::TooLarge,
            };
            self.answer_link(conn, sequence, &Outcome::Failed(failure));
            return Ok(());
        }
        let Some(remote) = &mut self.cluster.remote else {
            return Err(Malformed);
        };
        let partition = hash.partition();
        let command = OwnedCommand::new(Vec::new(), hash, request.key, &request.operation);
        let arriving = &mut remote.arriving;
        arriving.partitions.insert((conn, sequence), partition);
        let waiting = arriving.requests.entry((conn, partition)).or_default();
        waiting.push_back(Waiting {
            sequence,
            attempt,
            command,
            arrives: true,
            charged_bytes: 0,
        });
        Ok(())
    }

    fn answer_link(&mut self, conn: ConnId, sequence: u64, outcome: &Outcome<'_>) {
        if let Some(out) = self.cluster.peering.out(conn) {
            link::encode_answer(out.frames(), |into| {
                forward::encode_answer(sequence, outcome, into);
            });
        }
    }

    /// Hands a request to the worker that has its key.
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    fn receive(
        &mut self,
        now: Now,
        conn: ConnId,
        sequence: u64,
        visit: Visit,
        hash: KeyHash,
        key: &[u8],
        operation: &Operation<'_>,
        actions: &mut Actions,
    ) {
        if let Some(remote) = &mut self.cluster.remote {
            remote.visits += 1;
        }
        if let Some(partner) = self.cluster.peering.partner_mut(conn) {
            partner.visiting += 1;
        }
        let token = Token {
            worker: self.id,
            conn,
            sequence,
        };
        let target = self.worker_of(hash);
        if target != self.id {
            self.links.outbox.spend(target);
            let parcel = self.links.outbox.parcel(target);
            parcel.push_request(token, Some(&visit), hash, key, operation);
            return;
        }
        let caller = Caller {
            token: Some(token),
            visit: Some(visit),
        };
        let mut router = Router {
            links: &mut self.links,
            cluster: &mut self.cluster,
            actions,
            now,
        };
        match self
            .shard
            .execute(now, &caller, hash, key, operation, &mut router)
        {
            Execution::Done(outcome) => router.deliver(token, &outcome),
            Execution::Deferred => {}
            Execution::Refused(hint) => {
                router.deliver_refusal(token, Refusal::at_once(visit, hint));
            }
        }
    }

    fn take_answer(
        &mut self,
        now: Now,
        conn: ConnId,
        from: NodeId,
        body: &[u8],
        actions: &mut Actions,
    ) -> Result<(), Malformed> {
        let answer = forward::decode_answer(body)?;
        let holder = Some(&from.guid);
        let sequence = answer.sequence;
        self.check_answer(sequence, &answer.outcome)?;
        match answer.value {
            WireValue::Inline(bytes) => {
                let outcome = match &answer.outcome {
                    Outcome::Item(item) => Outcome::Item(Item {
                        value: Value::Small(bytes),
                        ..*item
                    }),
                    other => crate::message::plain(other),
                };
                self.router(now, actions).finish(sequence, &outcome, holder);
            }
            WireValue::Chunked(length) => {
                let direction = Direction::Answer;
                let value = ValueId {
                    sequence,
                    direction,
                };
                if !self.announce_value(conn, value, length, true)? {
                    let outcome = Outcome::Failed(Failure::OutOfMemory);
                    self.router(now, actions).finish(sequence, &outcome, holder);
                    return Ok(());
                }
                if let Some(remote) = &mut self.cluster.remote {
                    let outcome = Box::new(answer.outcome);
                    remote.arriving.answers.insert((conn, sequence), outcome);
                }
            }
        }
        Ok(())
    }

    /// Whether an answer can be one to what was asked, if that is known.
    fn check_answer(&self, sequence: u64, outcome: &Outcome<'_>) -> Result<(), Malformed> {
        let remote = self.cluster.remote.as_ref();
        let fits = remote.is_none_or(|it| it.forwarding.may_be_answered(sequence, outcome));
        fits.then_some(()).ok_or(Malformed)
    }

    fn take_chunk(
        &mut self,
        now: Now,
        conn: ConnId,
        from: NodeId,
        value: ValueId,
        bytes: &[u8],
        actions: &mut Actions,
    ) -> Result<(), Malformed> {
        let incoming = self.cluster.peering.incoming(conn).ok_or(Malformed)?;
        let whole = match incoming.chunk(value, bytes).map_err(|_| Malformed)? {
            Chunk::Partial | Chunk::Unwanted => return Ok(()),
            Chunk::Whole(whole) => whole,
        };
        self.shard.cache.discharge(whole.len());
        let sequence = value.sequence;
        match value.direction {
            Direction::Replica => self.take_replica(now, conn, from, Bytes::from(whole), actions),
            Direction::Request => {
                self.value_arrived(now, conn, from, sequence, whole, actions);
                Ok(())
            }
            Direction::Answer => {
                let remote = self.cluster.remote.as_mut();
                let answers = remote.map(|remote| &mut remote.arriving.answers);
                let announced = answers.and_then(|it| it.remove(&(conn, sequence)));
                if let Some(announced) = announced
                    && let Outcome::Item(item) = *announced
                {
                    let value = large(whole);
                    let outcome = Outcome::Item(Item { value, ..item });
                    self.check_answer(sequence, &outcome)?;
                    self.router(now, actions)
                        .finish(sequence, &outcome, Some(&from.guid));
                }
                Ok(())
            }
        }
    }

    /// A request's value is here: it goes on, and those that have waited behind it.
    fn value_arrived(
        &mut self,
        now: Now,
        conn: ConnId,
        from: NodeId,
        sequence: u64,
        value: Vec<u8>,
        actions: &mut Actions,
    ) {
        let Some(remote) = &mut self.cluster.remote else {
            return;
        };
        let arriving = &mut remote.arriving;
        let Some(partition) = arriving.partitions.remove(&(conn, sequence)) else {
            return;
        };
        if let Some(waiting) = arriving.requests.get_mut(&(conn, partition))
            && let Some(it) = waiting
                .iter_mut()
                .find(|it| it.arrives && it.sequence == sequence)
        {
            it.arrives = false;
            it.command.set_value(Bytes::from(value));
        }
        self.go_on_behind(now, conn, partition, from, actions);
    }

    /// Hands on what waits for nothing any more.
    fn go_on_behind(
        &mut self,
        now: Now,
        conn: ConnId,
        partition: u16,
        from: NodeId,
        actions: &mut Actions,
    ) {
        let place = (conn, partition);
        while let Some(remote) = &mut self.cluster.remote
            && let Some(waiting) = remote.arriving.requests.get_mut(&place)
        {
            let Some(next) = waiting.pop_front_if(|next| !next.arrives) else {
                if waiting.is_empty() {
                    remote.arriving.requests.remove(&place);
                }
                return;
            };
            self.shard.cache.discharge(next.charged_bytes);
            let visit = Visit {
                origin: from,
                attempt: next.attempt,
            };
            let operation = next.command.operation();
            let (hash, key) = (next.command.hash, next.command.key());
            self.receive(
                now,
                conn,
                next.sequence,
                visit,
                hash,
                key,
                &operation,
                actions,
            );
        }
    }

    /// The rest of a value will not come: its request is as good as never sent.
    fn cancel(
        &mut self,
        now: Now,
        conn: ConnId,
        from: NodeId,
        value: ValueId,
        actions: &mut Actions,
    ) {
        let Some(incoming) = self.cluster.peering.incoming(conn) else {
            return;
        };
        let charged_bytes = incoming.cancel(value);
        self.shard.cache.discharge(charged_bytes);
        let Some(remote) = &mut self.cluster.remote else {
            return;
        };
        let arriving = &mut remote.arriving;
        let place = (conn, value.sequence);
        match value.direction {
            Direction::Answer => drop(arriving.answers.remove(&place)),
            Direction::Request => {
                let Some(partition) = arriving.partitions.remove(&place) else {
                    return;
                };
                if let Some(waiting) = arriving.requests.get_mut(&(conn, partition)) {
                    waiting.retain(|it| !(it.arrives && it.sequence == value.sequence));
                }
                self.go_on_behind(now, conn, partition, from, actions);
            }
            Direction::Replica => {}
        }
    }

    /// Hands what replicas say to those of this worker, and the rest to its worker.
    fn take_replica(
        &mut self,
        now: Now,
        conn: ConnId,
        from: NodeId,
        body: Bytes,
        actions: &mut Actions,
    ) -> Result<(), Malformed> {
        let workers = self.settings.workers;
        if workers == 1 {
            return self.hear_replica(now, from, &body, actions);
        }
        let mut parts: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
        let (formation, messages) = wire::formation(&body).map_err(|_| Malformed)?;
        wire::split(messages, |partition, message| {
            let part = parts.entry(partition % workers).or_default();
            if part.is_empty() {
                wire::begin_batch(formation, part);
            }
            part.extend_from_slice(message);
        })
        .map_err(|_| Malformed)?;
        for (worker, part) in parts {
            let body = Bytes::from(part);
            if WorkerId(worker) == self.id {
                self.hear_replica(now, from, &body, actions)?;
            } else {
                let message = Message::Replica {
                    node: from,
                    conn,
                    body,
                };
                actions.messages.push((WorkerId(worker), message));
            }
        }
        Ok(())
    }

    /// Hands on what replicas of another node say to those of this worker, if both are of one
    /// cluster. Each worker goes over to another one in a turn of its own: what those of the
    /// cluster that a node has left still say would be believed by those of the new one.
    pub(super) fn hear_replica(
        &mut self,
        now: Now,
        from: NodeId,
        body: &Bytes,
        actions: &mut Actions,
    ) -> Result<(), Malformed> {
        let (formation, _) = wire::formation(body).map_err(|_| Malformed)?;
        if !self.shard.is_of(formation) {
            self.links.figures.stale_events += 1;
            return Ok(());
        }
        let mut router = Router {
            links: &mut self.links,
            cluster: &mut self.cluster,
            actions,
            now,
        };
        let shard = &mut self.shard;
        wire::decode(
            &body.slice(wire::FORMATION_BYTES..),
            |partition, message| {
                shard.hear(now, from, partition, message, &mut router);
            },
        )
        .map_err(|_| Malformed)
    }
}
