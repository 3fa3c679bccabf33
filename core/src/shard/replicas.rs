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
mod commands;
mod standing;
mod view;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::copy::Copy;
use super::persist::Pressure;
use super::{Shard, Sink};
use crate::command::owned::{CommandBuffers, OwnedCommand};
use crate::command::{Failure, Outcome};
use crate::disk::Recovery;
use crate::figures::Figures;
use crate::forwarding;
use crate::hash::PARTITIONS;
use crate::id::WorkerId;
use crate::member::NodeId;
use crate::message::Caller;
use crate::node::ClusterView;
use crate::notes;
use crate::notice::{Notice, Seldom, Severity};
use crate::replication::{
    Context, Digest, Input, Message, Output, Record, Refused, Replica, Settings, Start, Store as _,
    Term,
};
use crate::time::{Now, Time};

use standing::Standings;
use view::PartitionView;

/// How long a command waits for its partition's replica, in milliseconds: for a claim that is
/// under way, which takes three seconds where there is no majority, or for others to keep up.
pub(super) const WAIT_MS_MAX: u64 = 5000;
/// How long an answer is held, in milliseconds: as long as another node waits for it.
const HELD_MS_MAX: u64 = 5000;
/// Fills that one worker gives at a time.
const FILLS_MAX: usize = 64;

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
    /// A later write of the same sender has been answered: asked again, a reading would see it.
    passed: bool,
    /// Nobody waits for it any longer.
    by: Time,
}

impl Held {
    const fn is_write(&self) -> bool {
        matches!(self.until, Until::Acknowledged(_))
    }

    /// What can be said if it never may leave. Of a write the command is not kept.
    fn unanswered(&self) -> Failure {
        match self.is_write() {
            true => Failure::Unknown,
            false => self.command.operation().unanswered(),
        }
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
    /// Times that this node has gone on without a majority: something may have been lost.
    pub(crate) forced: u64,
    /// Partitions that were brought back from the disks of all their nodes.
    pub(crate) recovered: u64,
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
    /// How each of them stands.
    standings: Standings,
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
    recovered_told: Seldom,
    pub(super) figures: ReplicaFigures,
}

impl Replicas {
    fn slot_mut(&mut self, partition: u16) -> &mut Slot {
        let index = self.index(partition);
        &mut self.slots[index]
    }

    fn replica(&self, partition: u16) -> Option<&Replica> {
        self.slots[self.index(partition)].replica.as_ref()
    }

    /// Whether a command that waits may go on: be carried out, or elsewhere.
    pub(super) fn is_ready(&self, command: &OwnedCommand) -> bool {
        let partition = command.hash.partition();
        let Some(replica) = self.replica(partition) else {
            return true;
        };
        if replica.is_open() && !command.operation().may_change() {
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

    /// The place of a partition.
    #[inline]
    fn index(&self, partition: u16) -> usize {
        usize::from(partition / self.workers)
    }

    fn is_primary(&self, partition: u16) -> bool {
        self.standings.is_primary(self.index(partition))
    }

    /// Whether a reading may be answered at this moment, whatever it is of.
    fn may_read(&self, partition: u16, now: Time) -> bool {
        self.standings.may_read(self.index(partition), now)
    }

    /// Something has happened to the replica of `partition`.
    fn note_change(&mut self, partition: u16) {
        let index = self.index(partition);
        let slot = &mut self.slots[index];
        self.standings.note(index, slot.replica.as_ref(), self.me);
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

// Who is there.
impl Shard {
    /// The node is to have others.
    pub(crate) const fn join_others(&mut self) {
        self.is_member = true;
        self.cache.keep_flushed();
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
        if let Some(formation) = view.formation {
            // Ahead of all items of that cluster: a run that finds items and not the cluster that
            // they are of would take them for a cluster of their own.
            let content = notes::formation(view.me.generation, view.formations, formation);
            self.keep_note(&notes::formation_name(self.worker), content);
        }
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
            standings: Standings::default(),
            deadlines: BTreeSet::new(),
            view: Arc::clone(view),
            output: Output::default(),
            buffers: CommandBuffers::default(),
            refused: forwarding::Refused::default(),
            fills: 0,
            due: Vec::new(),
            forced_told: Seldom::new(),
            recovered_told: Seldom::new(),
            figures: before.map(|before| before.figures).unwrap_or_default(),
        });
        let partitions = replicas.partitions().count();
        replicas.slots.resize_with(partitions, Slot::default);
        replicas.standings = Standings::of(partitions);
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
        self.note_kept_mixtures();
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

    /// Whether its replicas are of the cluster whose formation is called so on the wire.
    pub(crate) fn is_of(&self, formation: u64) -> bool {
        let own = self.replicas.as_ref().and_then(|it| it.view.formation);
        own.is_some_and(|own| own.is_named(formation))
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
        let index = replicas.index(partition);
        let was_here = replicas.standings.elsewhere(index).is_none();
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
        replicas.note_change(partition);
        let has_gone = was_here && replicas.standings.elsewhere(index).is_some();
        self.replicas = Some(replicas);
        self.carry_out(now, partition, &mut out, sink);
        self.give_output_back(out);
        if has_gone && !self.waits.is_empty() {
            self.turn_away_waiting(now, partition, sink);
        }
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
        replicas.standings.elsewhere(replicas.index(partition))
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
        figures.partitions_recovered = own.recovered;
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

fn recovered_notice(partition: u16) -> Notice {
    Notice {
        severity: Severity::Info,
        event: "recovered-from-disks",
        text: alloc::format!(
            "partition {partition}, and perhaps others, had no node left that was running: it is as \
             the disks of all its nodes have it"
        ),
    }
}
