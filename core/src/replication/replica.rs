//! One node's part in one partition.
//!
//! Decides which role it has, and hands what happens to that role's code: `voter`, `backup`,
//! `claiming`, `primary`, `upkeep`, `fill`. Refuses to know anything outside of the partition.

mod backup;
mod claiming;
mod fill;
mod primary;
mod recovery;
mod upkeep;
mod voter;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;

use super::claim::Claim;
use super::message::Message;
use super::output::{Event, Output};
use super::planted::{self, Bug};
use super::record::{Record, Term};
use super::requests::Requests;
use super::settings::Settings;
use super::store::Store;
use super::tail::Tail;
use crate::member::{Guid, NodeId};
use crate::time::Time;
use fill::Filling;
use primary::Open;
use voter::Learned;

/// What is known of the other nodes, and what is wanted of them. May be wrong at any time: it
/// moves the protocol to act and never decides what is safe.
pub trait View {
    /// Whether the node is alive, and in which run.
    fn liveness(&self, guid: Guid) -> Liveness;
    /// When the process of a node that is [`Liveness::Dead`] was found to have died, if that is
    /// known.
    fn dead_since(&self, _guid: Guid) -> Option<Time> {
        None
    }
    /// The nodes that should hold the partition, the wanted primary first.
    fn owners(&self) -> &[Guid];
    /// The nodes that should vote, owners included.
    fn voters(&self) -> &[Guid];
    /// Whether another fill may be begun now: this node may give many already.
    fn may_fill(&self) -> bool {
        true
    }
}

/// What is believed of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Nothing is known of it.
    Unknown,
    /// This run of it answers.
    Alive(u64),
    /// It does not answer.
    Suspect,
    /// Its process has died.
    Dead,
}

/// What every call is given.
pub struct Context<'a> {
    /// The monotonic clock, sampled after what is handed in was read.
    pub now: Time,
    /// The other nodes.
    pub view: &'a dyn View,
    /// The partition's data.
    pub store: &'a mut dyn Store,
    /// What is to be done.
    pub out: &'a mut Output,
}

/// Something that has happened.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // A message is what comes nearly always, and is not kept.
pub enum Input {
    /// A message has come.
    Message {
        /// The run that has sent it.
        from: NodeId,
        /// What it says.
        message: Message,
    },
    /// The time of [`Replica::next_deadline`] has come. A spurious one is harmless.
    Deadline,
    /// The view has changed, or what it wants.
    Changed,
    /// The record of this term is synced on this node's disk.
    Kept(Term),
    /// What the store had to read has come: see [`Scan::Wait`](super::Scan) and
    /// [`Store::prepare_merge`](super::Store::prepare_merge).
    Scanned,
    /// The node has left for good: it asks for nothing any more.
    ForgetOrigin(Guid),
}

/// How a replica begins.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // One is made for each replica, once.
pub enum Start {
    /// With nothing: it may be made a voter and be filled.
    Nothing,
    /// As the only replica of a partition that has never been.
    Founder,
    /// With what an earlier run has left on disk. The store may hold data.
    Restarted {
        /// The highest term promised, as far as the disk knows.
        promised: Option<Term>,
        /// The record last accepted, as far as the disk knows.
        record: Record,
    },
}

/// Why a command can't be executed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This node is not primary. The primary is perhaps this one.
    NotPrimary(Option<NodeId>),
    /// Too much is unacknowledged, or writes are held back for a moment: ask again later.
    Busy,
    /// Fewer replicas are in sync than writes are allowed with.
    TooFewInSync,
    /// The attempt was meant for another term than this primary's, which is this one: it may be
    /// made again for this one.
    OtherTerm(Term),
}

/// Whether a value, or a negative result, may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Now.
    Now,
    /// Once [`Output::committed`] has reached this position, or this node is not primary.
    AfterPosition(u64),
    /// Once [`Output::confirmed`] is not before the time of asking, or this node is not primary;
    /// then it is to be asked again unless the key is clean.
    AfterConfirmation,
    /// Not here.
    Refused(Refused),
}

/// Whether a command that changes something is to be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Execute it.
    Execute,
    /// It has been carried out: this was answered, and may be once this position of the term is
    /// committed, if there is one.
    Done {
        /// The answer.
        answer: Bytes,
        /// [`Output::committed`] has to reach it first.
        after: Option<u64>,
    },
    /// It may have been carried out: its outcome is unknown.
    Forgotten,
    /// Not here, or not now.
    Refused(Refused),
}

/// What has happened here so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Claims begun.
    pub claims: u64,
    /// Times that this node has become primary.
    pub opened: u64,
    /// Members that were dropped because they did not answer.
    pub dropped: u64,
    /// Forces.
    pub forced: u64,
    /// Recoveries from disks.
    pub recovered: u64,
    /// Fills begun, as source.
    pub fills: u64,
    /// Fills whose digests differed.
    pub fills_unequal: u64,
    /// Fills given up for other reasons.
    pub fills_given_up: u64,
    /// Hand-overs begun.
    pub ceded: u64,
    /// Entries taken over from the other side of a Force.
    pub merged: u64,
    /// Entries of the other side that have lost.
    pub merge_losers: u64,
    /// Proposals whose outcome became unknown.
    pub unknown: u64,
    /// Messages that came out of turn and were ignored.
    pub ignored: u64,
}

enum Role {
    Idle,
    Claiming(Box<Claim>),
    Open(Box<Open>),
    /// Has ceded, and claims at that time if nobody else has.
    Ceded(Time),
}

/// One node's part in one partition.
pub struct Replica {
    me: NodeId,
    settings: Arc<Settings>,
    random: u64,
    started: Time,
    role: Role,

    // As voter.
    /// Has restarted and has not learned yet what it may have promised.
    blank: bool,
    promised: Option<Term>,
    record: Option<Record>,
    /// The highest record that it has heard of.
    known: Option<Record>,
    /// The highest counter that it has heard of.
    counter: u64,
    learned: Vec<Learned>,
    learn_at: Time,
    learn_hint_at: Time,
    /// While blank: the recovery that it has promised to take part in.
    recovering: Option<Term>,
    /// The record or the promise has changed since it was last handed out to be kept.
    unkept: bool,

    // As replica.
    /// It has all that was acknowledged under its record, if that names it.
    complete: bool,
    /// An earlier run was in sync as far as the disk knows, and what it left there has not been set
    /// aside: it counts, be it nothing.
    kept: bool,
    /// The lineage of what it holds.
    lineage: Option<Term>,
    tail: Tail,
    /// The last position of the present term that was applied, as backup.
    applied: u64,
    requests: Requests,
    filling: Option<Filling>,
    /// What it was asked for and could not answer yet.
    asked: Option<(NodeId, Term, u64)>,
    /// The store was told of a fill that this node gives, or of something to be merged.
    lent: bool,
    /// No claim of this node before, as backup.
    grant_until: Time,
    /// The base that has excluded it.
    stale: Option<Term>,

    // As claimant.
    /// There has been no primary since.
    uneasy: Option<Uneasy>,
    /// Claims have found no majority since.
    alone_since: Option<Time>,
    recover_since: Option<Time>,
    /// All voters are alive, and those who were in sync are other runs, since.
    gone_since: Option<Time>,
    /// No recovery of blank voters before.
    recover_after: Time,

    // As primary.
    /// The number of the last proposal.
    proposals: u64,
    sessions: u64,
    /// No hand-over before.
    cede_after: Time,

    deadline: Option<Time>,
    figures: Figures,
}

/// There seems to be no primary.
#[derive(Clone, Copy, Debug)]
struct Uneasy {
    since: Time,
    jitter_ms: u64,
}

impl Replica {
    /// The replica of one partition on this run of a node. `seed` spreads retries.
    pub fn new(
        me: NodeId,
        settings: Arc<Settings>,
        seed: u64,
        start: Start,
        cx: &mut Context<'_>,
    ) -> Self {
        let requests = Requests::new(settings.requests_max, settings.origins_max);
        let mut replica = Self {
            me,
            settings,
            random: seed,
            started: cx.now,
            role: Role::Idle,
            blank: !planted::has(Bug::ForgetfulVoter),
            promised: None,
            record: None,
            known: None,
            counter: 0,
            learned: Vec::new(),
            learn_at: cx.now,
            learn_hint_at: cx.now,
            recovering: None,
            unkept: false,
            complete: false,
            kept: false,
            lineage: None,
            tail: Tail::default(),
            applied: 0,
            requests,
            filling: None,
            asked: None,
            lent: false,
            grant_until: Time::ZERO,
            stale: None,
            uneasy: None,
            alone_since: None,
            recover_since: None,
            gone_since: None,
            recover_after: Time::ZERO,
            proposals: 0,
            sessions: 0,
            cede_after: Time::ZERO,
            deadline: None,
            figures: Figures::default(),
        };
        replica.start(start, cx);
        replica.tick(cx);
        replica
    }

    fn start(&mut self, start: Start, cx: &mut Context<'_>) {
        match start {
            Start::Nothing => {}
            Start::Founder => {
                let term = self.next_term();
                let record = Record {
                    term,
                    in_sync: alloc::vec![self.me],
                    voters: alloc::vec![self.me.guid],
                    lineage: Some(term),
                };
                self.blank = false;
                self.take_unasked(record, cx);
            }
            Start::Restarted { promised, record } => {
                self.hear(promised.map_or(0, |term| term.counter));
                self.hear(record.term.counter);
                self.promised = promised.max(Some(record.term));
                self.known = Some(record.clone());
                self.lineage = record.lineage;
                self.kept = record.names_guid(self.me.guid);
                self.record = Some(record);
                if planted::has(Bug::StaleRestartInSync) {
                    self.blank = false;
                    self.complete = true;
                }
            }
        }
    }

    /// Takes what has happened and adds what is to be done.
    pub fn handle(&mut self, input: Input, cx: &mut Context<'_>) {
        self.note_pause(cx.now);
        match input {
            Input::Message { from, message } => {
                if self.message(from, message, cx) {
                    return;
                }
            }
            Input::Kept(term) => self.kept(term, cx),
            Input::Scanned => self.scanned(cx),
            Input::ForgetOrigin(guid) => self.requests.forget_origin(guid),
            Input::Deadline | Input::Changed => {}
        }
        self.tick(cx);
    }

    /// When [`Input::Deadline`] is due, if ever.
    #[must_use]
    pub const fn next_deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// A process that did not run can't have waited for anything.
    fn note_pause(&mut self, now: Time) {
        let pause_ms = self.settings.pause_ms;
        if self
            .deadline
            .is_some_and(|at| now > at.plus_millis(pause_ms))
        {
            self.alone_since = self.alone_since.map(|_| now);
            self.recover_since = self.recover_since.map(|_| now);
        }
    }

    /// Takes a message. Returns whether that was all: nothing else can be due because of it.
    fn message(&mut self, from: NodeId, message: Message, cx: &mut Context<'_>) -> bool {
        match message {
            Message::Replicate {
                term,
                position,
                committed,
                settled,
                sent,
                entry,
            } => {
                let progress = backup::Progress {
                    position,
                    committed,
                    settled,
                    sent,
                };
                return self.replicate(from, term, progress, entry, cx);
            }
            Message::Ack {
                term,
                position,
                sent,
            } => return self.ack(from, term, position, sent, cx),
            Message::Prepare { term, listed } => self.prepare(from, term, &listed, cx),
            Message::Promise {
                term,
                record,
                holding,
                tail,
            } => self.promise(from, term, record, holding, tail, cx),
            Message::Accept {
                record,
                newcomer,
                chosen,
            } => self.accept(from, record, newcomer, chosen, cx),
            Message::Accepted { term } => self.accepted(from, term, cx),
            Message::Cede { term, target } => self.cede(from, term, target, cx),
            Message::Learn => self.learn(from, cx),
            Message::Learned {
                to,
                blank,
                promised,
                record,
            } if to == self.me => self.learned(from, blank, promised, record, cx),
            Message::Learned { .. } => self.figures.ignored += 1,
            Message::Nack {
                blank,
                promised,
                record,
            } => self.nacked(from, blank, promised, record, cx),
            filling => self.fill_message(from, filling, cx),
        }
        false
    }

    fn fill_message(&mut self, from: NodeId, message: Message, cx: &mut Context<'_>) {
        match message {
            Message::FillStart {
                term,
                target,
                session,
                position,
                merged,
            } if target == self.me => self.fill_start(from, term, session, position, merged, cx),
            Message::FillChunk {
                term,
                session,
                number,
                entries,
                requests,
                last,
            } => {
                let chunk = fill::Chunk {
                    number,
                    entries,
                    requests,
                    last,
                };
                self.fill_chunk(from, term, session, &chunk, cx);
            }
            Message::FillAck {
                term,
                session,
                number,
                merge,
            } => self.fill_ack(from, term, session, number, merge, cx),
            Message::FillVerify {
                term,
                session,
                position,
                digest,
                version,
            } => self.fill_verify(from, (term, session, position), digest, version, cx),
            Message::FillVerified {
                term,
                session,
                position,
                equal,
            } => self.fill_verified(from, term, session, position, equal, cx),
            Message::Gather { term, cursor } => self.gather(from, term, cursor, cx),
            Message::Gathered {
                term,
                cursor,
                entries,
                next,
            } => self.gathered(from, term, cursor, entries, next, cx),
            _ => self.figures.ignored += 1,
        }
    }

    // What every role needs.

    fn hear(&mut self, counter: u64) {
        self.counter = self.counter.max(counter);
    }

    fn hear_record(&mut self, record: &Record) {
        self.hear(record.term.counter);
        let higher = self
            .known
            .as_ref()
            .is_none_or(|known| known.term < record.term);
        if higher && record.is_sound() {
            self.known = Some(record.clone());
        }
    }

    /// A term of this run above all that it has heard of.
    fn next_term(&mut self) -> Term {
        let promised = self.promised.map_or(0, |term| term.counter);
        self.counter = self.counter.max(promised) + 1;
        Term {
            counter: self.counter,
            node: self.me,
        }
    }

    /// The term that this node follows: it has accepted its record and promised nothing higher.
    fn follows(&self) -> Option<Term> {
        let term = self.record.as_ref()?.term;
        (self.promised == Some(term) && !self.blank).then_some(term)
    }

    /// Whether this run is in sync as far as its own record says, and has what that takes.
    fn is_in_sync(&self) -> bool {
        let named = |record: &Record| record.names(self.me);
        self.complete && self.record.as_ref().is_some_and(named)
    }

    /// Splitmix64: the core has no entropy, and retries need little.
    fn random_below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % bound.max(1)
    }

    fn wake(&mut self, at: Time) {
        self.deadline = Some(self.deadline.map_or(at, |before| before.min(at)));
    }

    fn nack(&mut self, to: Guid, out: &mut Output) {
        self.figures.ignored += 1;
        let nack = Message::Nack {
            blank: self.blank,
            promised: self.promised,
            record: self.record.clone(),
        };
        out.send(to, nack);
    }

    /// Whether the view has this very run alive.
    fn is_alive(node: NodeId, view: &dyn View) -> bool {
        view.liveness(node.guid) == Liveness::Alive(node.generation)
    }

    /// The run that the view has alive.
    fn run_of(guid: Guid, view: &dyn View) -> Option<NodeId> {
        match view.liveness(guid) {
            Liveness::Alive(generation) => Some(NodeId { guid, generation }),
            Liveness::Unknown | Liveness::Suspect | Liveness::Dead => None,
        }
    }

    /// Not primary and not claimant any more. What is pending may still come about.
    fn stand_back(&mut self, cx: &mut Context<'_>) {
        if let Role::Open(open) = &self.role {
            cx.out.events.push(Event::Closed { term: open.term });
        }
        self.role = Role::Idle;
        self.give_up_pending(cx.out);
    }

    fn give_up_pending(&mut self, out: &mut Output) {
        let pending = self.tail.iter().filter(|placed| placed.proposal > 0);
        let pending = pending.count() as u64;
        if pending > 0 {
            self.figures.unknown += pending;
            out.unknown = Some(self.proposals);
            self.tail.forget_proposals();
        }
    }

    // For whoever looks in from outside.

    /// Which run this is.
    #[must_use]
    pub const fn me(&self) -> NodeId {
        self.me
    }

    /// Whether this node is primary.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.role, Role::Open(_))
    }

    /// The record last accepted.
    #[must_use]
    pub const fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// The highest term promised.
    #[must_use]
    pub const fn promised(&self) -> Option<Term> {
        self.promised
    }

    /// Whether it has restarted and does not vote yet.
    #[must_use]
    pub const fn is_blank(&self) -> bool {
        self.blank
    }

    /// Whether it has all that was acknowledged under its record, if that names it.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Entries that are not known to be everywhere.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.tail.len()
    }

    /// Whether it gives a fill at the moment.
    #[must_use]
    pub fn is_filling(&self) -> bool {
        matches!(&self.role, Role::Open(open) if open.fill.is_some())
    }

    /// What has happened so far.
    #[must_use]
    pub const fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The term of this node as primary, or of the primary that it knows.
    #[must_use]
    pub fn primary_hint(&self) -> Option<Term> {
        let known = self.known.as_ref().map(|record| record.term);
        known.max(self.record.as_ref().map(|record| record.term))
    }
}
