//! What workers of one process say to each other.
//!
//! Decides the forms: parcels of requests and answers, questions to all workers, budget.
//! Refuses to know how a message travels; the driver carries it as it carries bytes.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::command::{Failure, Item, Operation, Outcome, Value};
use crate::disk::{Span, Usage};
use crate::figures::Figures;
use crate::hash::KeyHash;
use crate::id::{ConnId, WorkerId};
use crate::member::{Guid, NodeId};
use crate::node::ClusterView;
use crate::protocol::link::Attempt;
use crate::protocol::peer::NodeFigures;
use crate::replication::{RequestId, Term};
use crate::worker::peers::PeerThen;

/// The sequence of a request whose answer nobody waits for.
pub(crate) const NOBODY: u64 = u64::MAX;

/// Where an answer goes: one reply slot of one connection of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The worker that has the connection.
    pub worker: WorkerId,
    /// The connection.
    pub conn: ConnId,
    /// The number of the reply slot, counted on that connection from 0.
    pub sequence: u64,
}

/// Who wants a command to be carried out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Caller {
    /// Where the answer goes; none if nobody waits for it.
    pub(crate) token: Option<Token>,
    /// It has come as a forwarded request.
    pub(crate) visit: Option<Visit>,
}

/// A request that another node has forwarded, or this one to itself. Its token has its sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit {
    /// The run that a client has sent it to.
    pub(crate) origin: NodeId,
    /// What this attempt is for.
    pub(crate) attempt: Attempt,
}

impl From<Token> for Caller {
    fn from(token: Token) -> Self {
        Self {
            token: Some(token),
            visit: None,
        }
    }
}

impl Caller {
    /// The request's name, if it was forwarded.
    pub(crate) fn request_id(&self) -> Option<RequestId> {
        let (visit, token) = (self.visit?, self.token?);
        Some(RequestId {
            origin: visit.origin,
            sequence: token.sequence,
        })
    }
}

/// What tells one flush from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushName {
    /// The run that flushes all nodes; none for a flush of this node only.
    pub(crate) node: Option<NodeId>,
    /// Counted by who flushes.
    pub(crate) number: u64,
}

/// One message between two workers. It owns what it carries.
#[derive(Debug)]
pub enum Message {
    /// Requests of one turn and answers of one turn.
    Parcel(Box<Parcel>),
    /// A question to every worker; each answers once.
    Ask {
        /// Whose slot the answers are for.
        token: Token,
        /// What is asked.
        question: Question,
    },
    /// One worker's answer to a question.
    Tell {
        /// Whose slot it is for.
        token: Token,
        /// What is answered.
        answer: Answer,
    },
    /// The sender needs memory: who can spare some gives it.
    BudgetWanted {
        /// How much would help, in bytes.
        bytes: u64,
        /// The sender's limit, in bytes.
        limit_bytes: u64,
        /// A single item waits for it: give by evicting, not only what is unused.
        urgent: bool,
    },
    /// Part of the sender's memory limit is now the receiver's; 0 when it can spare none.
    BudgetGiven {
        /// How much, in bytes.
        bytes: u64,
        /// It answers a request; otherwise it goes along with a value.
        asked: bool,
    },
    /// How full the disk is, as worker 0 has just measured it.
    Disk {
        /// The figures.
        usage: Usage,
        /// By how much it is over its limit, in bytes: evict from disk, or refuse writes.
        over_bytes: u64,
    },
    /// To worker 0: a frame of one of the sender's peer connections that is for the node.
    PeerFrame {
        /// The connection.
        conn: ConnId,
        /// This node has opened it.
        opened: bool,
        /// The frame, whole.
        frame: Vec<u8>,
    },
    /// From worker 0: what the node says on one of the receiver's peer connections.
    PeerSay {
        /// The connection.
        conn: ConnId,
        /// Whole frames.
        frames: Vec<u8>,
        /// What is to be done with it then.
        then: PeerThen,
    },
    /// To worker 0: one of the sender's peer connections is gone.
    PeerClosed {
        /// The connection.
        conn: ConnId,
        /// The run that was at its other end, if it was one.
        node: Option<NodeId>,
        /// The other host says that the connection does not exist there.
        reset: bool,
    },
    /// From worker 0: the cluster as the node sees it.
    View(Arc<ClusterView>),
    /// To worker 0: nobody listens where a node should be.
    LinkRefused(NodeId),
    /// What replicas on another node say to those of the receiver.
    Replica {
        /// The run that says it.
        node: NodeId,
        /// The sender's connection that it has come over.
        conn: ConnId,
        /// Messages, as [`crate::replication::wire`] has them, all for partitions of the receiver.
        body: Bytes,
    },
    /// What has come over a connection of the receiver, and was handed on, has not the form of its
    /// kind.
    Malformed {
        /// The connection.
        conn: ConnId,
    },
    /// To worker 0: a command asks on one of the sender's connections how all nodes fare.
    Survey {
        /// The connection.
        conn: ConnId,
        /// How this node does.
        figures: Box<NodeFigures>,
    },
    /// To worker 0: the sender has stored the first item.
    HoldsData,
    /// To worker 0: everything on all nodes is to be flushed. One answer follows.
    FlushEverywhere {
        /// Whose slot the answer is for.
        token: Token,
        /// When, in Unix milliseconds; 0 is at once.
        at_unix_ms: u64,
    },
}

/// Something that every worker is asked.
#[derive(Clone, Debug)]
pub enum Question {
    /// Its figures.
    Figures,
    /// Who is primary of a partition: the worker that has it says so.
    Primary(u16),
    /// To forget the figures that `stats reset` forgets.
    Reset,
    /// One line for each of its connections.
    Connections,
    /// The last version that it has drawn, for a flush that is to follow.
    BeginFlush(FlushName),
    /// To drop all items up to this version, and to draw only later ones; 0 calls the flush off.
    /// Without a name nobody has asked for the last version.
    Flush(Option<FlushName>, u64),
    /// To note a flush, unless a later one has been noted.
    FlushAt {
        /// When, in Unix milliseconds; 0 forgets a pending one.
        unix_ms: u64,
        /// The version at which it was said.
        noted: u64,
    },
    /// To work under this memory limit of the whole node, in bytes.
    MemoryLimit(u64),
    /// To count by key prefix, or to stop counting.
    Detail(bool),
    /// To take note of what the verbosity command has set.
    Verbosity(u8),
}

/// What one worker answers to a [`Question`].
#[derive(Debug)]
pub enum Answer {
    /// Done.
    Done,
    /// It had stopped waiting for the flush.
    Lapsed,
    /// Not all nodes have been reached.
    Unreached,
    /// Its figures.
    Figures(Box<Figures>),
    /// Rendered lines.
    Text(Vec<u8>),
    /// A version.
    Version(u64),
    /// A node, if it knows.
    Primary(Option<Guid>),
}

/// Requests and answers that one turn has produced for one other worker.
///
/// Its vectors come from a pool and go to the receiver's pool: where traffic flows both ways,
/// none is allocated in the long run.
#[derive(Debug, Default)]
pub struct Parcel {
    /// What the spans name.
    pub(crate) bytes: Vec<u8>,
    /// The requests, in the order of their connections.
    pub(crate) requests: Vec<CarriedRequest>,
    /// The answers, in any order.
    pub(crate) answers: Vec<CarriedAnswer>,
    /// What belongs to requests that were forwarded.
    visits: Vec<Visit>,
    /// Requests that this node can't carry out.
    refusals: Vec<Refusal>,
    /// The other nodes that have carried out requests which are answered here.
    holders: Vec<(Token, Guid)>,
}

/// A forwarded request that was not carried out, because the primary is elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    /// What the attempt was for.
    pub(crate) epoch: u32,
    /// Who is primary, as far as is known here.
    pub(crate) hint: Option<Term>,
    /// It was refused as soon as it came: neither it nor anything behind it has been begun.
    pub(crate) at_once: bool,
}

impl Refusal {
    /// Of a request that has just come.
    pub(crate) const fn at_once(visit: Visit, hint: Option<Term>) -> Self {
        Self {
            epoch: visit.attempt.epoch,
            hint,
            at_once: true,
        }
    }

    /// Of a request that had been taken: it may have been carried out.
    pub(crate) const fn late(visit: Visit, hint: Option<Term>) -> Self {
        Self {
            epoch: visit.attempt.epoch,
            hint,
            at_once: false,
        }
    }
}

impl Parcel {
    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.answers.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.requests.clear();
        self.answers.clear();
        self.visits.clear();
        self.refusals.clear();
        self.holders.clear();
    }

    fn push(&mut self, bytes: &[u8]) -> Span {
        let cut = |at: usize| u32::try_from(at).expect("a turn's parcel stays below 4 GiB");
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Span {
            start: cut(start),
            end: cut(self.bytes.len()),
        }
    }

    pub(crate) fn push_request(
        &mut self,
        token: Token,
        visit: Option<&Visit>,
        hash: KeyHash,
        key: &[u8],
        operation: &Operation<'_>,
    ) {
        let key = self.push(key);
        let (operation, value) = self.carry_operation(operation);
        let visit = visit.map(|visit| {
            self.visits.push(*visit);
            u32::try_from(self.visits.len()).expect("fewer than requests")
        });
        self.requests.push(CarriedRequest {
            token,
            visit: visit.unwrap_or_default(),
            hash,
            key,
            operation,
            value,
        });
    }

    fn carry_operation(&mut self, operation: &Operation<'_>) -> (Operation<'static>, Carried) {
        let (bare, value) = bare_operation(operation);
        let value = value.map_or(Carried::None, |value| self.carry(value));
        (bare, value)
    }

    fn carry(&mut self, value: &Value<'_>) -> Carried {
        match value {
            Value::Small(bytes) => Carried::Small(self.push(bytes)),
            Value::Large(bytes) => Carried::Large(bytes.clone()),
        }
    }

    pub(crate) fn push_answer(&mut self, token: Token, outcome: &Outcome<'_>) {
        let (outcome, value) = match outcome {
            Outcome::Item(item) => {
                let value = self.carry(&item.value);
                (Outcome::Item(with_value(item, Value::Small(&[]))), value)
            }
            other => (plain(other), Carried::None),
        };
        self.answers.push(CarriedAnswer {
            token,
            outcome,
            value,
            refusal: 0,
        });
    }

    /// The answer that follows comes from another node.
    pub(crate) fn push_holder(&mut self, token: Token, holder: Guid) {
        self.holders.push((token, holder));
    }

    /// Which answers come from other nodes.
    pub(crate) fn holders(&self) -> &[(Token, Guid)] {
        &self.holders
    }

    pub(crate) fn push_refusal(&mut self, token: Token, refusal: Refusal) {
        self.refusals.push(refusal);
        let refusal = u32::try_from(self.refusals.len()).expect("fewer than requests");
        self.answers.push(CarriedAnswer {
            token,
            outcome: Outcome::Failed(Failure::Unreachable),
            value: Carried::None,
            refusal,
        });
    }

    /// Who wants a request of this parcel.
    pub(crate) fn caller(&self, request: &CarriedRequest) -> Caller {
        let visit = (request.visit as usize).checked_sub(1);
        Caller {
            token: Some(request.token),
            visit: visit.map(|at| self.visits[at]),
        }
    }

    /// Whether an answer of this parcel is a refusal.
    pub(crate) fn refusal(&self, answer: &CarriedAnswer) -> Option<Refusal> {
        let at = (answer.refusal as usize).checked_sub(1)?;
        Some(self.refusals[at])
    }
}

/// A request on its way to the worker that has the key.
#[derive(Debug)]
pub(crate) struct CarriedRequest {
    pub(crate) token: Token,
    /// Where in `visits` it has its part, counted from 1; 0 if it was not forwarded.
    visit: u32,
    pub(crate) hash: KeyHash,
    pub(crate) key: Span,
    operation: Operation<'static>,
    value: Carried,
}

impl CarriedRequest {
    /// The operation, with its value out of the parcel's `bytes`.
    pub(crate) fn operation<'a>(&'a self, bytes: &'a [u8]) -> Operation<'a> {
        dressed_operation(&self.operation, self.value.of(bytes))
    }
}

/// An answer on its way back.
#[derive(Debug)]
pub(crate) struct CarriedAnswer {
    pub(crate) token: Token,
    outcome: Outcome<'static>,
    value: Carried,
    /// Where in `refusals` it has its part, counted from 1; 0 for an outcome.
    refusal: u32,
}

impl CarriedAnswer {
    /// The outcome, with its value out of the parcel's `bytes`.
    pub(crate) fn outcome<'a>(&'a self, bytes: &'a [u8]) -> Outcome<'a> {
        match &self.outcome {
            Outcome::Item(item) => Outcome::Item(with_value(item, self.value.of(bytes))),
            other => plain(other),
        }
    }
}

#[derive(Debug)]
enum Carried {
    None,
    Small(Span),
    Large(Bytes),
}

impl Carried {
    fn of<'a>(&'a self, bytes: &'a [u8]) -> Value<'a> {
        match self {
            Self::None => Value::Small(&[]),
            Self::Small(span) => Value::Small(span.of(bytes)),
            Self::Large(bytes) => Value::Large(bytes.clone()),
        }
    }
}

/// `operation` without its value, and the value.
pub(crate) fn bare_operation<'a>(
    operation: &'a Operation<'_>,
) -> (Operation<'static>, Option<&'a Value<'a>>) {
    match operation {
        Operation::Store(store) => (
            Operation::Store(crate::command::Store {
                value: Value::Small(&[]),
                ..*store
            }),
            Some(&store.value),
        ),
        Operation::Fetch(fetch) => (Operation::Fetch(*fetch), None),
        Operation::Delete(delete) => (Operation::Delete(*delete), None),
        Operation::Arithmetic(arithmetic) => (Operation::Arithmetic(*arithmetic), None),
        Operation::Inspect => (Operation::Inspect, None),
    }
}

/// A bare `operation` with `value`, which only a store takes.
pub(crate) fn dressed_operation<'a>(
    operation: &Operation<'static>,
    value: Value<'a>,
) -> Operation<'a> {
    match operation {
        Operation::Store(store) => Operation::Store(crate::command::Store { value, ..*store }),
        Operation::Fetch(fetch) => Operation::Fetch(*fetch),
        Operation::Delete(delete) => Operation::Delete(*delete),
        Operation::Arithmetic(arithmetic) => Operation::Arithmetic(*arithmetic),
        Operation::Inspect => Operation::Inspect,
    }
}

fn with_value<'a>(item: &Item<'_>, value: Value<'a>) -> Item<'a> {
    Item { value, ..*item }
}

/// An outcome free of any lifetime: an item's value is copied, unless it is shared anyhow.
pub(crate) fn owned(outcome: &Outcome<'_>) -> Outcome<'static> {
    match outcome {
        Outcome::Item(item) => {
            let value = match &item.value {
                Value::Small(bytes) => Bytes::copy_from_slice(bytes),
                Value::Large(bytes) => bytes.clone(),
            };
            Outcome::Item(with_value(item, Value::Large(value)))
        }
        other => plain(other),
    }
}

/// An outcome that carries no item, free of any lifetime.
pub(crate) fn plain(outcome: &Outcome<'_>) -> Outcome<'static> {
    match *outcome {
        Outcome::Item(_) => unreachable!("an item travels with its value"),
        Outcome::NotFound => Outcome::NotFound,
        Outcome::Stored { cas, value_bytes } => Outcome::Stored { cas, value_bytes },
        Outcome::NotStored => Outcome::NotStored,
        Outcome::Exists => Outcome::Exists,
        Outcome::Deleted => Outcome::Deleted,
        Outcome::Number {
            number,
            cas,
            expired_s_before,
            expires_s,
            vivified,
        } => Outcome::Number {
            number,
            cas,
            expired_s_before,
            expires_s,
            vivified,
        },
        Outcome::Failed(failure) => Outcome::Failed(failure),
    }
}
