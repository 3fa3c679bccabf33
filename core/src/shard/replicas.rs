//! The replicas of one worker's partitions: which commands are carried out here, and when their
//! answers may leave.
//!
//! Decides when a command is admitted, waits or belongs elsewhere, what of it is replicated, and
//! what its answer waits for. Refuses to know what commands do, how replicas agree (which is
//! [`Replica`]'s) and how messages travel.
//!
//! Commands are executed in memory first, as on a node that is alone. What one has changed is
//! proposed, and its answer is held until every replica in sync has it. What has changed nothing
//! was a reading: its answer, taken at that moment, is held until it is certain that this node
//! was primary then, and that all that it shows is everywhere.

mod answers;
mod view;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::copy::Copy;
use super::persist::Pressure;
use super::{Applied, Command, Execution, Shard, Sink, count_detail, is_write};
use crate::cache::Place;
use crate::command::owned::{CommandBuffers, OwnedCommand};
use crate::command::{Failure, Fetch, Operation, Outcome};
use crate::disk::Recovery;
use crate::figures::Figures;
use crate::forwarding;
use crate::hash::{KeyHash, PARTITIONS};
use crate::id::WorkerId;
use crate::member::NodeId;
use crate::message::{Caller, owned};
use crate::node::ClusterView;
use crate::notice::{Notice, Seldom, Severity};
use crate::planted::{self, Bug};
use crate::replication::{
    Admission, Context, Digest, Input, Message, Output, Reading, Record, Refused, Replica, Request,
    Settings, Start, Store as _, Term,
};
use crate::time::{Now, Time};

use answers::{memory_of, remembered};
use view::PartitionView;

/// How long a command waits for its partition's replica, in milliseconds: for a claim that is
/// under way, or for others to keep up.
pub(super) const WAIT_MS_MAX: u64 = 3000;
/// Fills that one worker gives at a time.
const FILLS_MAX: usize = 64;

/// Whether a command is carried out here and now.
enum Gate {
    Open,
    /// Not before something has happened.
    Wait,
    /// The primary is elsewhere, perhaps there.
    Refused(Option<Term>),
    /// It was carried out before.
    Answered(Repeated),
}

/// The answer to a request that has come again.
pub(super) struct Repeated {
    outcome: Outcome<'static>,
    /// It may leave once everything up to here is everywhere.
    after: Option<u64>,
}

/// What an answer waits for.
#[derive(Clone, Copy, Debug)]
enum Until {
    /// The proposal is acknowledged.
    Acknowledged(u64),
    /// Everything up to this position of the term is everywhere.
    Position(u64),
    /// This node was primary at a moment after this.
    Confirmed(Time),
}

/// An answer that may not leave yet.
struct Held {
    caller: Caller,
    until: Until,
    outcome: Outcome<'static>,
    /// What is to be asked again if it never may.
    command: OwnedCommand,
}

impl Held {
    const fn is_write(&self) -> bool {
        matches!(self.until, Until::Acknowledged(_))
    }

    /// Whether both are of one key and of one connection, whose requests keep their order. Of what
    /// another node has forwarded it is not known which connections it is of.
    fn follows(&self, earlier: &Self) -> bool {
        if self.command.hash != earlier.command.hash {
            return false;
        }
        match (self.caller.visit, earlier.caller.visit) {
            (Some(own), Some(theirs)) => own.origin == theirs.origin,
            (None, None) => {
                let source = |held: &Self| held.caller.token.map(|it| (it.worker, it.conn));
                source(self) == source(earlier)
            }
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

/// One partition.
#[derive(Default)]
struct Slot {
    replica: Option<Replica>,
    deadline: Option<Time>,
    held: VecDeque<Held>,
    /// It is a fill's source.
    gives: bool,
    /// The primary before this node, if it is known.
    primary: Option<NodeId>,
}

/// What has happened to the replicas of one worker.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReplicaFigures {
    /// Times that this node has followed another as primary of a partition.
    pub(crate) taken_over: u64,
    /// Recoveries and Forces: something may have been lost.
    pub(crate) forced: u64,
    /// Requests that had come before, and were answered from memory.
    pub(crate) repeated: u64,
    /// Answers that nobody can give: the command may have been carried out, or not.
    pub(crate) unknown: u64,
    /// Commands that had to wait for their partition's replica.
    pub(crate) waited: u64,
    /// Parts of fills that were not taken since the disk was too far behind.
    pub(crate) chunks_put_off: u64,
}

/// All of them.
pub(super) struct Replicas {
    me: NodeId,
    settings: Arc<Settings>,
    worker: u16,
    workers: u16,
    /// By partition, each `workers`-th.
    slots: Vec<Slot>,
    deadlines: BTreeSet<(Time, u16)>,
    view: Arc<ClusterView>,
    output: Output,
    buffers: CommandBuffers,
    refused: forwarding::Refused,
    /// Fills that are given.
    fills: usize,
    /// Partitions that are due; reused.
    due: Vec<u16>,
    forced_told: Seldom,
    pub(super) figures: ReplicaFigures,
}

impl Replicas {
    fn slot_mut(&mut self, partition: u16) -> &mut Slot {
        &mut self.slots[usize::from(partition / self.workers)]
    }

    fn replica(&self, partition: u16) -> Option<&Replica> {
        self.slots[usize::from(partition / self.workers)]
            .replica
            .as_ref()
    }

    /// Whether a command that waits may go on: be carried out, or elsewhere.
    pub(super) fn is_ready(&self, command: &OwnedCommand) -> bool {
        let partition = command.hash.partition();
        let Some(replica) = self.replica(partition) else {
            return true;
        };
        if replica.is_open() && !may_change(&command.operation()) {
            return true;
        }
        match replica.may_write() {
            Ok(()) => true,
            // A claim of this node's own is under way.
            Err(Refused::NotPrimary(hint)) => hint != Some(self.me),
            Err(Refused::Busy | Refused::TooFewInSync | Refused::OtherTerm(_)) => false,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    fn note_deadline(&mut self, partition: u16) {
        let slot = &mut self.slots[usize::from(partition / self.workers)];
        let next = slot.replica.as_ref().and_then(Replica::next_deadline);
        if next == slot.deadline {
            return;
        }
        if let Some(before) = slot.deadline {
            self.deadlines.remove(&(before, partition));
        }
        if let Some(at) = next {
            self.deadlines.insert((at, partition));
        }
        slot.deadline = next;
    }

    fn partitions(&self) -> impl Iterator<Item = u16> + use<> {
        (self.worker..PARTITIONS as u16).step_by(usize::from(self.workers))
    }
}

/// What becomes of the answer to a command that has been carried out.
enum Verdict {
    Now,
    Held,
    Refused(Option<Term>),
}

// Who is there.
impl Shard {
    /// The node is to have others.
    pub(crate) const fn join_others(&mut self) {
        self.is_member = true;
    }

    /// The cluster is as `view` says: begins with replicas, or tells those that there are.
    /// `seed` spreads their retries.
    pub(crate) fn set_view(
        &mut self,
        now: Now,
        view: &Arc<ClusterView>,
        settings: &Arc<Settings>,
        seed: u64,
        sink: &mut impl Sink,
    ) {
        let Some(formation) = view.formation else {
            return;
        };
        let begins = match &self.replicas {
            None => true,
            // It had formed a cluster of its own, held nothing, and has gone over to another; or
            // it has become another run.
            Some(it) => it.view.formation != Some(formation) || it.me != view.me,
        };
        if begins {
            self.begin_replicas(now, view, settings, seed, sink);
            return;
        }
        if let Some(replicas) = &mut self.replicas {
            replicas.view = Arc::clone(view);
            let members = &view.members;
            let is_here = |node: NodeId| members.iter().any(|member| member.node == node);
            let me = replicas.me;
            replicas.refused.retain(|node| node == me || is_here(node));
        }
        for partition in self.replicated_partitions() {
            self.feed(now, partition, Input::Changed, sink);
        }
    }

    fn replicated_partitions(&self) -> impl Iterator<Item = u16> + use<> {
        let workers = self.settings.workers;
        let WorkerId(worker) = self.worker;
        let only = self.replicated_only.clone();
        (worker..PARTITIONS as u16)
            .step_by(usize::from(workers))
            .filter(move |partition| only.as_ref().is_none_or(|only| only.contains(partition)))
    }

    /// From now on only these partitions are replicated.
    pub(crate) fn replicate_only(&mut self, partitions: &[u16]) {
        self.replicated_only = Some(partitions.into());
    }

    /// The replica of `partition`, if there is one here.
    pub(crate) fn replica_of(&self, partition: u16) -> Option<&Replica> {
        let replicas = self.replicas.as_ref()?;
        let is_here = partition % replicas.workers == replicas.worker;
        is_here.then(|| replicas.replica(partition)).flatten()
    }

    /// What tells what is held of `partition` from anything else.
    pub(crate) fn digest_of(&mut self, now: Now, partition: u16) -> Digest {
        Copy::new(self, partition, now).digest()
    }

    fn begin_replicas(
        &mut self,
        now: Now,
        view: &Arc<ClusterView>,
        settings: &Arc<Settings>,
        seed: u64,
        sink: &mut impl Sink,
    ) {
        let WorkerId(worker) = self.worker;
        let workers = self.settings.workers;
        let mut before = self.replicas.take();
        let slots = before.iter_mut().flat_map(|before| &mut before.slots);
        let held: Vec<Held> = slots.flat_map(|slot| slot.held.drain(..)).collect();
        let mut replicas = Box::new(Replicas {
            me: view.me,
            settings: Arc::clone(settings),
            worker,
            workers,
            slots: Vec::new(),
            deadlines: BTreeSet::new(),
            view: Arc::clone(view),
            output: Output::default(),
            buffers: CommandBuffers::default(),
            refused: forwarding::Refused::default(),
            fills: 0,
            due: Vec::new(),
            forced_told: Seldom::new(),
            figures: before.map(|before| before.figures).unwrap_or_default(),
        });
        replicas
            .slots
            .resize_with(replicas.partitions().count(), Slot::default);
        self.replicas = Some(replicas);
        for held in held {
            // Whatever it was, it was done in a cluster that this node is no longer of.
            sink.answer(held.caller.token, Outcome::Failed(Failure::Unknown));
        }
        for partition in self.replicated_partitions() {
            let start = self.start_of(partition, view);
            self.begin_replica(now, partition, start, seed, sink);
        }
    }

    /// How the replica of a partition begins in this run.
    fn start_of(&mut self, partition: u16, view: &ClusterView) -> Start {
        match self.kept_records.remove(&partition) {
            _ if view.is_founder() => Start::Founder,
            Some((promised, record)) => Start::Restarted { promised, record },
            None => Start::Nothing,
        }
    }

    /// What replicas have waited for has come from the disk.
    pub(super) fn tell_scanned(&mut self, now: Now, sink: &mut impl Sink) {
        if self.replicas.is_none() {
            return;
        }
        for partition in self.take_scanned() {
            self.feed(now, partition, Input::Scanned, sink);
        }
    }

    /// Records that voters waited for are on disk.
    pub(super) fn note_kept(&mut self, now: Now, sink: &mut impl Sink) {
        if self.replicas.is_none() {
            return;
        }
        for (partition, term) in self.take_kept_records() {
            self.feed(now, partition, Input::Kept(term), sink);
        }
    }

    fn begin_replica(
        &mut self,
        now: Now,
        partition: u16,
        start: Start,
        seed: u64,
        sink: &mut impl Sink,
    ) {
        let seed = seed ^ (u64::from(partition) << 32 | u64::from(partition));
        self.with_replica(now, partition, sink, |slot, context, me, settings| {
            let replica = Replica::new(me, Arc::clone(settings), seed, start, context);
            *slot = Some(replica);
        });
    }

    /// Something has happened that concerns the replica of `partition`.
    fn feed(&mut self, now: Now, partition: u16, input: Input, sink: &mut impl Sink) {
        self.with_replica(now, partition, sink, |slot, context, _, _| {
            if let Some(replica) = slot {
                replica.handle(input, context);
            }
        });
    }

    /// Another node's replica says something to the one of `partition`.
    pub(crate) fn hear(
        &mut self,
        now: Now,
        from: NodeId,
        partition: u16,
        message: Message,
        sink: &mut impl Sink,
    ) {
        let is_chunk = matches!(message, Message::FillChunk { .. });
        let put_off = is_chunk && self.pressure(now) == Pressure::Hard;
        let Some(replicas) = &mut self.replicas else {
            return;
        };
        if put_off {
            // It comes again, and nothing that is dirty can be evicted for it.
            replicas.figures.chunks_put_off += 1;
            return;
        }
        self.feed(now, partition, Input::Message { from, message }, sink);
    }

    /// Lends everything to one replica, and carries out what comes of it.
    fn with_replica(
        &mut self,
        now: Now,
        partition: u16,
        sink: &mut impl Sink,
        act: impl FnOnce(&mut Option<Replica>, &mut Context<'_>, NodeId, &Arc<Settings>),
    ) {
        let Some(mut replicas) = self.replicas.take() else {
            return;
        };
        let mut out = core::mem::take(&mut replicas.output);
        let view = Arc::clone(&replicas.view);
        let gives = replicas.slot_mut(partition).gives;
        let may_fill = gives || replicas.fills < FILLS_MAX;
        let view = PartitionView::new(&view, partition, may_fill);
        let (me, settings) = (replicas.me, Arc::clone(&replicas.settings));
        let mut context = Context {
            now: now.time,
            view: &view,
            store: &mut Copy::new(self, partition, now),
            out: &mut out,
        };
        let slot = replicas.slot_mut(partition);
        act(&mut slot.replica, &mut context, me, &settings);
        let gives_now = slot.replica.as_ref().is_some_and(Replica::is_filling);
        slot.gives = gives_now;
        replicas.fills = replicas.fills + usize::from(gives_now) - usize::from(gives);
        replicas.note_deadline(partition);
        self.replicas = Some(replicas);
        self.carry_out(now, partition, &mut out, sink);
        self.give_output_back(out);
        self.drive_copies(now, sink);
        if self.waits.has_stalled() {
            self.relieve(now, sink);
        }
    }

    /// What replicas have to do by now.
    pub(super) fn drive_replicas(&mut self, now: Now, sink: &mut impl Sink) {
        let Some(replicas) = &mut self.replicas else {
            return;
        };
        // One that is due at once again is due in the next turn.
        let mut due = core::mem::take(&mut replicas.due);
        let deadlines = replicas.deadlines.iter();
        let overdue = deadlines.take_while(|(at, _)| *at <= now.time);
        due.extend(overdue.map(|(_, partition)| *partition));
        for partition in due.drain(..) {
            self.feed(now, partition, Input::Deadline, sink);
        }
        if let Some(replicas) = &mut self.replicas {
            replicas.due = due;
        }
    }

    /// Where commands of `partition` are to be carried out: here (`None`), or elsewhere.
    #[inline]
    pub(crate) fn elsewhere(&self, partition: u16) -> Option<Option<Term>> {
        let replicas = self.replicas.as_ref()?;
        let replica = replicas.replica(partition)?;
        if replica.is_open() {
            return None;
        }
        let hint = replica.primary_hint();
        // A claim of this node's own is under way, or it hands over: that is over in a moment.
        let is_mine = hint.is_some_and(|term| term.node == replicas.me);
        (!is_mine).then_some(hint)
    }

    /// The term that this node is primary of `partition` in, if it is.
    pub(crate) fn term_of(&self, partition: u16) -> Option<Term> {
        let replica = self.replicas.as_ref()?.replica(partition)?;
        replica.is_open().then(|| replica.primary_hint()).flatten()
    }

    /// Adds how the replicas fare to the worker's figures.
    pub(super) fn add_replica_figures(&self, figures: &mut Figures) {
        let Some(replicas) = &self.replicas else {
            return;
        };
        let own = &replicas.figures;
        figures.take_overs = own.taken_over;
        figures.forced_take_overs = own.forced;
        figures.repeated_requests = own.repeated;
        figures.unknown_outcomes = own.unknown;
        figures.replica_waits = own.waited;
        figures.fill_chunks_put_off = own.chunks_put_off;
        figures.fills_given = replicas.fills as u64;
        for partition in replicas.partitions() {
            let Some(replica) = replicas.replica(partition) else {
                continue;
            };
            let items = self.cache.items_of(partition) as u64;
            if replica.is_open() {
                figures.partitions_primary += 1;
            } else {
                figures.backup_items += items;
            }
            let record = replica.record().filter(|_| replica.is_complete());
            let in_sync = record.is_some_and(|record| record.names(replicas.me));
            figures.replicas_in_sync += u64::from(in_sync);
            figures.term_highest = figures
                .term_highest
                .max(replica.primary_hint().map_or(0, |term| term.counter));
            figures.unsettled_entries += replica.unsettled() as u64;
        }
    }
}

// Commands.
impl Shard {
    /// Carries out a command where this node is primary, or takes it to be carried out later.
    #[inline(never)]
    pub(super) fn execute_replicated(
        &mut self,
        now: Now,
        caller: &Caller,
        command: Command<'_>,
        present: Option<Place>,
        sink: &mut impl Sink,
    ) -> Execution<'_> {
        let Command {
            hash,
            key,
            operation,
        } = command;
        let mut wait_ms = self.must_wait(now, operation).then(|| self.stall_ms_max());
        match self.admit(caller, hash, operation) {
            Gate::Open => {}
            Gate::Wait => wait_ms = Some(WAIT_MS_MAX),
            Gate::Refused(hint) => return Execution::Refused(hint),
            Gate::Answered(repeated) => {
                let done = self.answer_again(caller, command, repeated, present);
                return done.map_or(Execution::Deferred, Execution::Done);
            }
        }
        if let Some(wait_ms) = wait_ms {
            self.stall(now, caller, hash, key, operation, wait_ms);
            return Execution::Deferred;
        }
        self.finish_replicated(now, caller, command, present, sink)
    }

    /// Whether a command is carried out here and now.
    fn admit(&mut self, caller: &Caller, hash: KeyHash, operation: &Operation<'_>) -> Gate {
        if caller.token.is_none() {
            // The shard's own, on its way to what only the disk has.
            return Gate::Open;
        }
        let partition = hash.partition();
        if planted::has(Bug::ReadElsewhere) && !may_change(operation) {
            return Gate::Open;
        }
        if let Some(hint) = self.elsewhere(partition) {
            return self.turn_away(caller, partition, hint);
        }
        let Some(replicas) = &mut self.replicas else {
            return Gate::Wait;
        };
        if let Some(visit) = caller.visit
            && replicas
                .refused
                .covers(visit.origin, partition, visit.attempt.epoch)
            && !planted::has(Bug::IgnoreRefusedEpoch)
        {
            let hint = replicas.replica(partition).and_then(Replica::primary_hint);
            return Gate::Refused(hint);
        }
        let Some(replica) = replicas.replica(partition) else {
            return Gate::Refused(None);
        };
        if !replica.is_open() {
            replicas.figures.waited += 1;
            return Gate::Wait;
        }
        if !may_change(operation) {
            return Gate::Open;
        }
        let id = caller.request_id();
        let id = id.filter(|_| !planted::has(Bug::ForgetRequests));
        let refused = match id.zip(caller.visit) {
            None => replica.may_write().err(),
            Some((id, visit)) => {
                let counter = visit.attempt.term;
                let node = replicas.me;
                let term = Some(Term { counter, node });
                match replica.admit(id, visit.attempt.since, term) {
                    Admission::Execute => None,
                    Admission::Done { answer, after } => {
                        replicas.figures.repeated += 1;
                        let outcome = remembered(&answer);
                        return Gate::Answered(Repeated { outcome, after });
                    }
                    Admission::Forgotten => {
                        replicas.figures.unknown += 1;
                        return Gate::Answered(Repeated::unknown());
                    }
                    Admission::Refused(refused) => Some(refused),
                }
            }
        };
        match refused {
            None => Gate::Open,
            Some(Refused::NotPrimary(_)) => self.turn_away(caller, partition, None),
            Some(Refused::OtherTerm(term)) => self.turn_away(caller, partition, Some(term)),
            // A meta get hands out no token while that could not be replicated.
            Some(Refused::Busy | Refused::TooFewInSync) if !is_write(operation) => Gate::Open,
            Some(Refused::Busy | Refused::TooFewInSync) => {
                replicas.figures.waited += 1;
                Gate::Wait
            }
        }
    }

    /// Has a command go elsewhere, and all that its sender has sent behind it.
    fn turn_away(&mut self, caller: &Caller, partition: u16, hint: Option<Term>) -> Gate {
        self.note_refused(caller, partition);
        Gate::Refused(hint)
    }

    /// Nothing of `partition` is carried out any more that this one's sender has sent behind it.
    fn note_refused(&mut self, caller: &Caller, partition: u16) {
        if let (Some(visit), Some(replicas)) = (caller.visit, &mut self.replicas) {
            let epoch = visit.attempt.epoch;
            replicas.refused.note(visit.origin, partition, epoch);
        }
    }

    /// The same for a command that has waited. `None` if it is done with; otherwise whether it has
    /// to wait on.
    pub(super) fn admit_waiting(
        &mut self,
        caller: &Caller,
        command: Command<'_>,
        present: Option<Place>,
        sink: &mut impl Sink,
    ) -> Option<bool> {
        match self.admit(caller, command.hash, command.operation) {
            Gate::Open => return Some(false),
            Gate::Wait => return Some(true),
            Gate::Refused(hint) => sink.refuse(caller, command, hint),
            Gate::Answered(repeated) => {
                let done = self.answer_again(caller, command, repeated, present);
                if let Some(outcome) = done {
                    sink.answer(caller.token, outcome);
                }
            }
        }
        None
    }

    /// Whether a command that may change something may do so: a meta get otherwise only reads.
    fn may_hand_out(&self, partition: u16) -> bool {
        let replica = self.replicas.as_ref().and_then(|it| it.replica(partition));
        replica.is_none_or(|replica| replica.may_write().is_ok())
    }

    /// The operation as it may be carried out at this moment.
    fn restrained<'a>(&self, partition: u16, operation: &Operation<'a>) -> Option<Operation<'a>> {
        match operation {
            Operation::Fetch(fetch)
                if fetch.meta && !is_write(operation) && !self.may_hand_out(partition) =>
            {
                let meta = false;
                Some(Operation::Fetch(Fetch { meta, ..*fetch }))
            }
            _ => None,
        }
    }

    /// Replicates what a command has done, and finds out when its answer may leave.
    pub(super) fn finish_replicated(
        &mut self,
        now: Now,
        caller: &Caller,
        command: Command<'_>,
        present: Option<Place>,
        sink: &mut impl Sink,
    ) -> Execution<'_> {
        let Command {
            hash,
            key,
            operation,
        } = command;
        let restrained = self.restrained(hash.partition(), operation);
        let operation = restrained.as_ref().unwrap_or(operation);
        let command = Command {
            hash,
            key,
            operation,
        };
        self.changed = false;
        let applied = self.apply(now, hash, key, operation, present);
        let outcome = match &applied {
            Applied::Met(met) => Outcome::Item(met.item(&self.cache)),
            Applied::Plain(outcome) => crate::message::plain(outcome),
        };
        self.figures.count(command.operation, &outcome);
        if self.figures.detail.enabled {
            count_detail(&mut self.figures, command.key, command.operation, &outcome);
        }
        let answer = caller
            .request_id()
            .filter(|_| may_change(command.operation))
            .map(|id| Request {
                id,
                answer: memory_of(&outcome),
            });
        if caller.token.is_none() {
            return Execution::Done(Outcome::NotFound);
        }
        let changed = self.changed || self.leaves_doubt(command.operation, &outcome);
        let forgets =
            planted::has(Bug::KeepDeletes) && matches!(command.operation, Operation::Delete(_));
        let changed = changed && !forgets;
        let verdict = if changed {
            self.propose(now, caller, command, answer, &applied, sink)
        } else {
            self.take_reading(now, caller, command, answer.as_ref(), &applied, sink)
        };
        match verdict {
            Verdict::Held => Execution::Deferred,
            Verdict::Refused(hint) => Execution::Refused(hint),
            Verdict::Now => Execution::Done(match applied {
                Applied::Met(met) => Outcome::Item(met.item(&self.cache)),
                Applied::Plain(outcome) => outcome,
            }),
        }
    }

    /// Whether another replica may have what a delete has not found here: this one may have
    /// evicted it, and the deletion has to reach it all the same.
    fn leaves_doubt(&self, operation: &Operation<'_>, outcome: &Outcome<'_>) -> bool {
        matches!(operation, Operation::Delete(_))
            && matches!(outcome, Outcome::NotFound)
            && self.persist.is_none()
            && self.cache.figures().evictions > 0
    }

    fn propose(
        &mut self,
        now: Now,
        caller: &Caller,
        command: Command<'_>,
        request: Option<Request>,
        applied: &Applied,
        sink: &mut impl Sink,
    ) -> Verdict {
        let partition = command.hash.partition();
        let mut entry = self.entry_of(now, command.hash, command.key);
        entry.request = request;
        let Some(replicas) = &mut self.replicas else {
            return Verdict::Now;
        };
        let mut out = core::mem::take(&mut replicas.output);
        let Some(replica) = &mut replicas.slot_mut(partition).replica else {
            unreachable!("a command was admitted");
        };
        let number = replica.propose(now.time, entry, &mut out);
        replicas.note_deadline(partition);
        let done = out.acknowledged >= Some(number) || planted::has(Bug::AnswerUnacknowledged);
        if !done {
            self.hold(caller, command, Until::Acknowledged(number), applied);
        }
        self.carry_out(now, partition, &mut out, sink);
        self.give_output_back(out);
        if done { Verdict::Now } else { Verdict::Held }
    }

    fn take_reading(
        &mut self,
        now: Now,
        caller: &Caller,
        command: Command<'_>,
        request: Option<&Request>,
        applied: &Applied,
        sink: &mut impl Sink,
    ) -> Verdict {
        let partition = command.hash.partition();
        let Some(replicas) = &mut self.replicas else {
            return Verdict::Now;
        };
        let mut out = core::mem::take(&mut replicas.output);
        let Some(replica) = &mut replicas.slot_mut(partition).replica else {
            unreachable!("a command was admitted");
        };
        if let Some(request) = request {
            replica.note_negative(request);
        }
        if planted::has(Bug::ReadUnasked) {
            replicas.output = out;
            return Verdict::Now;
        }
        let reading = replica.read(now.time, command.key, &mut out);
        if matches!(reading, Reading::Now) && out.messages.is_empty() {
            replicas.output = out;
            return Verdict::Now;
        }
        replicas.note_deadline(partition);
        let until = match reading {
            Reading::Now => None,
            Reading::AfterPosition(position) => Some(Until::Position(position)),
            Reading::AfterConfirmation => Some(Until::Confirmed(now.time)),
            Reading::Refused(_) if planted::has(Bug::ReadElsewhere) => None,
            Reading::Refused(_) => {
                self.give_output_back(out);
                self.note_refused(caller, partition);
                return Verdict::Refused(self.elsewhere(partition).flatten());
            }
        };
        if let Some(until) = until {
            self.hold(caller, command, until, applied);
        }
        self.carry_out(now, partition, &mut out, sink);
        self.give_output_back(out);
        match until {
            Some(_) => Verdict::Held,
            None => Verdict::Now,
        }
    }

    fn give_output_back(&mut self, mut out: Output) {
        out.clear();
        if let Some(replicas) = &mut self.replicas {
            replicas.output = out;
        }
    }

    fn hold(&mut self, caller: &Caller, command: Command<'_>, until: Until, applied: &Applied) {
        let outcome = match applied {
            Applied::Met(met) => owned(&Outcome::Item(met.item(&self.cache))),
            Applied::Plain(outcome) => owned(outcome),
        };
        self.hold_outcome(caller, command, until, outcome);
    }
}

impl Repeated {
    const fn unknown() -> Self {
        Self {
            outcome: Outcome::Failed(Failure::Unknown),
            after: None,
        }
    }
}

/// What the last run has kept as voter of the partitions of `worker`.
pub(super) fn own_records(
    recovery: &Recovery,
    worker: WorkerId,
    workers: u16,
) -> BTreeMap<u16, (Option<Term>, Record)> {
    let records = recovery.cluster.records.iter();
    let own = records.filter(|(partition, ..)| partition % workers == worker.0);
    own.map(|(partition, promised, record)| (*partition, (*promised, record.clone())))
        .collect()
}

/// Whether a command may change anything: a meta get may hand out a token.
fn may_change(operation: &Operation<'_>) -> bool {
    super::draws_version(operation)
}

fn forced_notice(partition: u16) -> Notice {
    Notice {
        severity: Severity::Warning,
        event: "taken-over-without-majority",
        text: alloc::format!(
            "partition {partition}, and perhaps others, was taken over without those who held it: \
             the latest changes may be lost"
        ),
    }
}
