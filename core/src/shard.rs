//! The partitions of one worker: commands in, outcomes out, writes on their way to the disk.
//!
//! Decides what each command does to an item, which commands wait behind a disk read, and when
//! a write waits for the disk. Refuses to know sockets, protocols and who asked: it hands back
//! the token that came with the command.

mod apply;
mod copy;
mod disk_evict;
mod holds;
mod notes;
mod persist;
mod preload;
mod replicas;
mod waits;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::cache::{Cache, CacheSettings, Fields, Place};
use crate::clock::VersionClock;
use crate::command::owned::OwnedCommand;
use crate::command::{Failure, Item, Operation, Outcome};
use crate::disk::{Completion, Recovery, Request, Usage};
use crate::figures::Figures;
use crate::hash::KeyHash;
use crate::id::WorkerId;
use crate::member::Guid;
use crate::message::{Caller, FlushName, Token, plain};
use crate::notice::Notice;
use crate::replication::{Message, Record, Term};
use crate::settings::{Settings, WhenFull};
use crate::time::{Now, Time};

use copy::Copies;
use holds::Holds;
use persist::{Persist, Pressure};
use preload::Preload;
use replicas::Replicas;
use waits::Waits;

/// How often expired items are looked for, in milliseconds.
const SWEEP_INTERVAL_MS: u64 = 100;
/// Segments that one sweep looks at, at least.
const SWEEP_SEGMENTS_MIN: usize = 8;
/// Longest delay of an acknowledgement while the disk lags, in milliseconds.
const HOLD_MS_MAX: u64 = 200;
/// How long a process that has not run waits for what has happened meanwhile, in milliseconds.
const PATIENCE_MS: u64 = 100;
/// Longest wait for a flush where there is no disk to wait for, in milliseconds: the other workers
/// have long answered.
const FLUSH_MS_MAX: u64 = 60_000;
/// About what a segment of the memory tier takes, in bytes.
const SEGMENT_BYTES: usize = 128 * 1024;
/// Within how many milliseconds every segment is looked at once.
const SWEEP_ROUND_MS: u64 = 30_000;

/// What the shard has for its parent beside outcomes.
pub(crate) trait Sink {
    /// The answer to a command that had been deferred; nobody may want it.
    fn answer(&mut self, token: Option<Token>, outcome: Outcome<'_>);
    /// Something for the disk.
    fn disk(&mut self, request: Request);
    /// Something for the operator.
    fn notice(&mut self, notice: Notice);
    /// A command that had been deferred can't be carried out on this node; `hint` may be primary.
    fn refuse(&mut self, caller: &Caller, command: Command<'_>, hint: Option<Term>);
    /// What a replica of `partition` says to the one of another node.
    fn replicate(&mut self, to: Guid, partition: u16, message: &Message);
    /// The primary of `partition` is known, and may be this node.
    fn route(&mut self, partition: u16, term: Term);
}

/// A command of one key.
#[derive(Clone, Copy)]
pub(crate) struct Command<'a> {
    pub(crate) hash: KeyHash,
    pub(crate) key: &'a [u8],
    pub(crate) operation: &'a Operation<'a>,
}

/// What came of handing a command to the shard.
pub(crate) enum Execution<'a> {
    /// It is done.
    Done(Outcome<'a>),
    /// [`Sink::answer`] will be called with its token.
    Deferred,
    /// This node is not primary of the key's partition; the other may be.
    Refused(Option<Term>),
}

/// An item as a command met it; its value is still in the memory tier.
#[derive(Clone, Copy)]
struct Met {
    place: Place,
    before: Fields,
    won: bool,
    vivified: bool,
    token_sent: bool,
}

/// An answer that is held back because the disk lags.
struct Held {
    token: Option<Token>,
    outcome: Outcome<'static>,
    /// It is given then in any case.
    until: Time,
}

/// What a command did.
enum Applied {
    Met(Met),
    Plain(Outcome<'static>),
}

/// The partitions that one worker executes.
pub(crate) struct Shard {
    settings: Arc<Settings>,
    worker: WorkerId,
    pub(crate) cache: Cache,
    pub(crate) clock: VersionClock,
    /// No version of an earlier run is above this one.
    started_at_version: u64,
    pub(crate) figures: Figures,
    /// Items up to this version are gone.
    flushed: u64,
    /// When deadlines were last looked at.
    ran_at: Time,
    /// No write is refused for waiting too long before this.
    patient_until: Time,
    /// Flushes that have asked for the last version and have not come yet.
    flushes_to_come: Holds,
    waits: Waits,
    /// Answers of writes that wait for the disk to come nearer.
    held: VecDeque<Held>,
    persist: Option<Persist>,
    preload: Preload,
    /// Loads whose items found no room in memory.
    pub(crate) load_no_memory: u64,
    disk_full: bool,
    evicting: disk_evict::Progress,
    sweep_at: Time,
    /// Where appended values and numbers are put together.
    scratch: Vec<u8>,
    /// The command under way has changed an item.
    changed: bool,
    /// The node is to have others: until it knows of which cluster it is, nothing is carried out.
    is_member: bool,
    /// The replicas of this worker's partitions, on a node that has others.
    replicas: Option<Box<Replicas>>,
    copies: Copies,
    /// What the last run has kept as voter, by partition.
    kept_records: BTreeMap<u16, (Option<Term>, Record)>,
    /// The partitions that are replicated, if not all are.
    replicated_only: Option<Arc<[u16]>>,
}

impl Shard {
    pub(crate) fn new(settings: Arc<Settings>, worker: WorkerId, recovery: &Recovery) -> Self {
        let cache = Cache::new(CacheSettings {
            limit_bytes: fair_share(settings.memory_bytes, settings.workers),
            worker: worker.0,
            workers: settings.workers,
            evict: settings.evict,
            disk: settings.disk.is_some(),
        });
        let persist = settings
            .disk
            .as_ref()
            .map(|disk| Persist::new(disk.clone(), &settings, worker));
        let preload = if persist.is_some() {
            Preload::new(&recovery.hot, worker, settings.workers)
        } else {
            Preload::done()
        };
        Self {
            cache,
            clock: VersionClock::new(recovery.version_ceiling, recovery.reached_unix_ms),
            started_at_version: recovery.version_ceiling,
            figures: Figures::default(),
            flushed: recovery.flushed,
            ran_at: Time::ZERO,
            patient_until: Time::ZERO,
            flushes_to_come: Holds::default(),
            waits: Waits::new(settings.limits.loads_max),
            held: VecDeque::new(),
            persist,
            preload,
            load_no_memory: 0,
            disk_full: false,
            evicting: disk_evict::Progress::default(),
            sweep_at: Time::ZERO,
            scratch: Vec::new(),
            changed: false,
            is_member: false,
            replicas: None,
            copies: Copies::new(copy::Mixed::own(
                &recovery.cluster.mixed,
                worker,
                settings.workers,
            )),
            kept_records: replicas::own_records(recovery, worker, settings.workers),
            replicated_only: None,
            settings,
            worker,
        }
    }

    /// Carries out one command, or takes it to be carried out later.
    pub(crate) fn execute(
        &mut self,
        now: Now,
        caller: &Caller,
        hash: KeyHash,
        key: &[u8],
        operation: &Operation<'_>,
        sink: &mut impl Sink,
    ) -> Execution<'_> {
        if let Some(slot) = self.waits.behind(hash) {
            self.waits.push(slot, caller, key, operation);
            return Execution::Deferred;
        }
        let present = self.find_live(now, hash, key, operation);
        if present.is_none() && needs_existing(operation) && !self.is_final(hash, key) {
            let slot = self.waits.begin(hash);
            self.waits.push(slot, caller, key, operation);
            self.start_load(slot, sink);
            return Execution::Deferred;
        }
        if is_write(operation)
            && let Some(persist) = &self.persist
            && self.disk_full
            && persist.settings.when_full == WhenFull::Refuse
            && matches!(operation, Operation::Store(_) | Operation::Arithmetic(_))
        {
            self.figures.refused_writes += 1;
            return Execution::Done(Outcome::Failed(Failure::DiskFull));
        }
        if self.is_member {
            let command = Command {
                hash,
                key,
                operation,
            };
            return self.execute_replicated(now, caller, command, present, sink);
        }
        if self.must_wait(now, operation) {
            self.stall(now, caller, hash, key, operation, self.stall_ms_max());
            return Execution::Deferred;
        }
        self.finish(now, caller, hash, key, operation, present)
    }

    /// Has a command wait, for so long at most.
    fn stall(
        &mut self,
        now: Now,
        caller: &Caller,
        hash: KeyHash,
        key: &[u8],
        operation: &Operation<'_>,
        wait_ms: u64,
    ) {
        let slot = self.waits.begin(hash);
        self.waits.push(slot, caller, key, operation);
        self.waits.stall(slot, now.time.plus_millis(wait_ms));
        self.figures.stalled_writes += u64::from(self.flushes_to_come.is_empty());
    }

    /// Applies `operation` and either has its outcome or holds it back.
    fn finish(
        &mut self,
        now: Now,
        caller: &Caller,
        hash: KeyHash,
        key: &[u8],
        operation: &Operation<'_>,
        present: Option<Place>,
    ) -> Execution<'_> {
        let applied = self.apply(now, hash, key, operation, present);
        let outcome = match applied {
            Applied::Met(met) => Outcome::Item(met.item(&self.cache)),
            Applied::Plain(outcome) => outcome,
        };
        self.figures.count(key, operation, &outcome);
        if is_write(operation)
            && self.pressure(now) != Pressure::None
            && !matches!(outcome, Outcome::Item(_))
        {
            self.held.push_back(Held {
                token: caller.token,
                outcome: plain(&outcome),
                until: now.time.plus_millis(HOLD_MS_MAX),
            });
            return Execution::Deferred;
        }
        Execution::Done(outcome)
    }

    /// The item of `key`, if it is in memory and neither deleted, expired nor flushed.
    fn find_live(
        &mut self,
        now: Now,
        hash: KeyHash,
        key: &[u8],
        operation: &Operation<'_>,
    ) -> Option<Place> {
        let place = self.cache.find(hash, key)?;
        let fields = self.cache.view(place).fields;
        if fields.tombstone {
            return None;
        }
        let flushed = fields.version <= self.flushed;
        let expired = fields.expires_s != 0 && u64::from(fields.expires_s) <= now.unix_s();
        if !flushed && !expired {
            return Some(place);
        }
        if !flushed {
            self.note_expired(now, fields.expires_s);
        }
        if matches!(operation, Operation::Fetch(_)) {
            if flushed {
                self.figures.get_flushed += 1;
            } else {
                self.figures.get_expired += 1;
            }
        }
        None
    }

    /// Somebody learns that an item has expired: that stays so, whatever the host's clock shows
    /// after a restart.
    fn note_expired(&mut self, now: Now, expires_s: u32) {
        if let Some(persist) = &mut self.persist {
            persist.note_expired(now, expires_s);
        }
    }

    /// Whether memory alone can say that there is no item: it holds a dead one or a tombstone,
    /// or the disk holds none that counts.
    fn is_final(&self, hash: KeyHash, key: &[u8]) -> bool {
        !self.cache.may_be_on_disk(hash)
            || self.cache.find(hash, key).is_some()
            || self.hides(hash, key)
    }

    /// Takes the disk's answer to one request.
    pub(crate) fn handle_disk(&mut self, now: Now, completion: Completion, sink: &mut impl Sink) {
        match completion {
            Completion::Written {
                batch,
                epoch,
                result,
            } => self.handle_written(now, batch, epoch, result, sink),
            Completion::Synced {
                number,
                epoch,
                result,
            } => {
                self.handle_synced(now, number, epoch, result, sink);
                self.note_kept(now, sink);
            }
            Completion::Reopened { epoch, result } => {
                self.handle_reopened(now, epoch, result, sink);
            }
            Completion::Loaded { load, result } => self.handle_loaded(now, load, result, sink),
            Completion::Scanned { scan, result } => self.handle_scanned(now, scan, result, sink),
            Completion::Compacted => self.handle_compacted(now),
            Completion::Measured { .. } => {
                unreachable!("a worker measures the disk, not its shard")
            }
        }
        self.relieve(now, sink);
        self.drive_copies(now, sink);
    }

    /// Does what has become due.
    pub(crate) fn handle_deadline(&mut self, now: Now, sink: &mut impl Sink) {
        let sweeps = now.time >= self.sweep_at;
        if sweeps {
            self.sweep(now);
        }
        self.drive_persist(now, sink);
        self.drive_copies(now, sink);
        self.tell_scanned(now, sink);
        self.drive_replicas(now, sink);
        self.flushes_to_come.lapse(now.time);
        self.give_up_stalled(now, sink);
        if sweeps && now.time >= self.patient_until {
            self.give_up_held(now, sink);
        }
        self.relieve(now, sink);
        self.drive_preload(sink);
        self.drive_disk_evict(now, sink);
        self.drive_copies(now, sink);
    }

    /// When [`handle_deadline`](Self::handle_deadline) has something to do.
    pub(crate) fn next_deadline(&self) -> Time {
        let mut deadline = self.sweep_at;
        if let Some(persist) = &self.persist
            && let Some(at) = persist.next_deadline()
        {
            deadline = deadline.min(at);
        }
        if let Some(at) = self.waits.next_deadline() {
            deadline = deadline.min(at.max(self.patient_until));
        }
        if let Some(at) = self.flushes_to_come.next_deadline() {
            deadline = deadline.min(at);
        }
        if let Some(held) = self.held.front() {
            deadline = deadline.min(held.until);
        }
        if let Some(at) = self.replicas.as_ref().and_then(|it| it.next_deadline()) {
            deadline = deadline.min(at);
        }
        deadline
    }

    fn sweep(&mut self, now: Now) {
        self.sweep_at = now.time.plus_millis(SWEEP_INTERVAL_MS);
        let rounds = (SWEEP_ROUND_MS / SWEEP_INTERVAL_MS) as usize;
        let segments =
            SWEEP_SEGMENTS_MIN.max((self.cache.used_bytes() / SEGMENT_BYTES).div_ceil(rounds));
        let now_s = u32::try_from(now.unix_s()).unwrap_or(u32::MAX);
        self.cache.sweep(now_s, self.flushed, segments);
    }

    /// Lets answers and writes go on that waited for the disk.
    fn relieve(&mut self, now: Now, sink: &mut impl Sink) {
        let mut pressure = self.pressure(now);
        if pressure == Pressure::None {
            self.release_held(sink);
        }
        while let Some(held) = self.held.pop_front_if(|held| held.until <= now.time) {
            sink.answer(held.token, held.outcome);
        }
        while pressure != Pressure::Hard
            && self.flushes_to_come.is_empty()
            && let Some(slot) = self.next_stalled()
        {
            self.run_wait(now, slot, sink);
            pressure = self.pressure(now);
        }
    }

    /// Answers everything that was held back. Also called when a batch has been written: the
    /// delay of an acknowledgement is at most until then.
    fn release_held(&mut self, sink: &mut impl Sink) {
        for held in self.held.drain(..) {
            sink.answer(held.token, held.outcome);
        }
    }

    /// How much a write has to wait for the disk. It must not have a version that a later run
    /// could draw once more.
    #[inline]
    fn pressure(&self, now: Now) -> Pressure {
        match &self.persist {
            None => Pressure::None,
            Some(_) if !self.clock.may_draw(now) => Pressure::Hard,
            Some(persist) => persist.pressure(now, self.cache.dirty_bytes()),
        }
    }

    /// Whether a command has to wait: for the disk, or for a flush that is on its way.
    ///
    /// A flush drops what has a version up to the highest that any worker had drawn when it
    /// began. Until it comes, whatever makes a new version out of an item would carry it past
    /// the flush: neither before it nor after it.
    fn must_wait(&self, now: Now, operation: &Operation<'_>) -> bool {
        let for_flush = !self.flushes_to_come.is_empty() && operation.may_change();
        for_flush || (is_write(operation) && self.pressure(now) == Pressure::Hard)
    }

    /// Refuses writes that have waited too long for the disk.
    ///
    /// A process that has not run for a while (there is always a sweep to do) has not waited:
    /// what the disk has answered meanwhile may still be on its way.
    fn give_up_stalled(&mut self, now: Now, sink: &mut impl Sink) {
        if now.time.millis_since(self.ran_at) >= 2 * SWEEP_INTERVAL_MS {
            self.patient_until = now.time.plus_millis(PATIENCE_MS);
        }
        self.ran_at = now.time;
        if now.time < self.patient_until {
            return;
        }
        while let Some(slot) = self.waits.next_overdue(now.time) {
            let Some(pending) = self.waits.pop(slot) else {
                self.waits.end(slot);
                continue;
            };
            self.figures.refused_writes += 1;
            let failure = match self.is_member {
                true => Failure::Unreachable,
                false => Failure::Backlog,
            };
            sink.answer(pending.caller.token, Outcome::Failed(failure));
            self.waits.recycle(pending);
            self.run_wait(now, slot, sink);
        }
    }

    /// Carries out what waited for `slot`, until it is empty or must wait again.
    fn run_wait(&mut self, now: Now, slot: u32, sink: &mut impl Sink) {
        while let Some(pending) = self.waits.pop(slot) {
            let operation = pending.command.operation();
            let key = pending.command.key();
            let hash = pending.command.hash;
            let present = self.find_live(now, hash, key, &operation);
            if present.is_none() && needs_existing(&operation) && !self.is_final(hash, key) {
                // A second read is needed only if the first one did not bring this very key.
                if !self.waits.has_read(slot, key) {
                    self.waits.unpop(slot, pending);
                    self.start_load(slot, sink);
                    return;
                }
            }
            let command = Command {
                hash,
                key,
                operation: &operation,
            };
            let mut wait_ms = self.must_wait(now, &operation).then(|| self.stall_ms_max());
            let caller = pending.caller;
            if self.is_member {
                match self.admit_waiting(now, &caller, command, present, sink) {
                    None => {
                        drop(operation);
                        self.waits.recycle(pending);
                        continue;
                    }
                    Some(true) => wait_ms = Some(replicas::WAIT_MS_MAX),
                    Some(false) => {}
                }
            }
            if let Some(wait_ms) = wait_ms {
                let until = now.time.plus_millis(wait_ms);
                self.waits.unpop(slot, pending);
                self.waits.stall(slot, until);
                return;
            }
            let execution = match self.replicas {
                Some(_) => self.finish_replicated(now, &caller, command, present, sink),
                None => self.finish(now, &caller, hash, key, &operation, present),
            };
            match execution {
                Execution::Done(outcome) => sink.answer(caller.token, outcome),
                Execution::Deferred => {}
                Execution::Refused(hint) => sink.refuse(&caller, command, hint),
            }
            drop(operation);
            self.waits.recycle(pending);
        }
        self.waits.end(slot);
    }

    /// The longest stalled queue that its partition's replica does not hold up.
    fn next_stalled(&mut self) -> Option<u32> {
        let replicas = self.replicas.as_deref();
        let is_alone = !self.is_member;
        let ready = |command: &OwnedCommand| match replicas {
            Some(replicas) => replicas.is_ready(command),
            None => is_alone,
        };
        self.waits.next_stalled(ready)
    }

    fn stall_ms_max(&self) -> u64 {
        self.persist
            .as_ref()
            .map_or(FLUSH_MS_MAX, |persist| persist.settings.stall_ms_max)
    }

    /// The last version that was drawn here, for a flush that [`flush`](Self::flush) ends.
    pub(crate) fn begin_flush(&mut self, now: Now, name: FlushName) -> u64 {
        self.flushes_to_come.begin(now.time, name);
        self.clock.last()
    }

    /// Drops all items up to `version`; the disk is told with the next batch. Whether everything
    /// that draws versions has waited since the flush of that name has begun.
    pub(crate) fn flush(
        &mut self,
        now: Now,
        name: Option<FlushName>,
        version: u64,
        sink: &mut impl Sink,
    ) -> bool {
        if version > self.flushed {
            self.clock.advance_past(version);
            self.flushed = version;
            if let Some(persist) = &mut self.persist {
                persist.note_flushed(now, version);
            }
        }
        let held = name.is_some_and(|name| self.flushes_to_come.end(now.time, name));
        self.relieve(now, sink);
        held
    }

    /// Items up to this version are gone.
    pub(crate) const fn flushed(&self) -> u64 {
        self.flushed
    }

    /// Has a pending flush survive a restart; 0 forgets it.
    pub(crate) fn note_flush_at(&mut self, now: Now, unix_ms: u64) {
        if let Some(persist) = &mut self.persist {
            persist.note_flush_at(now, unix_ms);
        }
    }

    pub(crate) fn is_disk_full(&self) -> bool {
        self.disk_full
    }

    /// Takes note of how full the disk is.
    pub(crate) fn handle_usage(&mut self, usage: Usage, over_bytes: u64) {
        self.disk_full = over_bytes > 0;
        self.evicting.note_usage(usage, over_bytes);
        self.figures.disk_bytes = usage.database_bytes;
        self.figures.disk_free_bytes = usage.free_bytes;
    }

    /// Everything is written and synced from now on without waiting for an interval.
    pub(crate) fn begin_stop(&mut self) {
        let hot_bytes_max = persist::HOT_BYTES_MAX;
        if let Some(persist) = &mut self.persist {
            persist.save_hot(&self.cache, hot_bytes_max);
            persist.begin_stop();
        }
        self.preload = Preload::done();
        self.copies.begin_stop();
    }

    /// Whether nothing is left to write or sync.
    pub(crate) fn is_persisted(&self) -> bool {
        self.persist.as_ref().is_none_or(Persist::is_idle)
    }

    pub(crate) fn is_disk_failing(&self) -> bool {
        self.persist.as_ref().is_some_and(Persist::is_failing)
    }

    /// The counters, and how things stand at the moment.
    pub(crate) fn figures(&self, now: Now) -> Figures {
        let mut figures = self.figures.clone();
        let cache = self.cache.figures();
        figures.curr_items = cache.items;
        figures.bytes = cache.item_bytes;
        figures.memory_bytes = cache.used_bytes;
        figures.limit_bytes = cache.limit_bytes;
        figures.evictions = cache.evictions;
        figures.evicted_unfetched = cache.evicted_unfetched;
        figures.evicted_active = cache.evicted_active;
        figures.reclaimed = cache.reclaimed;
        figures.expired_unfetched = cache.expired_unfetched;
        figures.dirty_bytes = cache.dirty_bytes;
        figures.preloading_workers = u64::from(!self.is_warm());
        figures.load_no_memory = self.load_no_memory;
        (figures.partitions_known, figures.partitions_complete) = self.cache.known_partitions();
        if let Some(persist) = &self.persist {
            figures.dirty_items = persist.unwritten_items();
            (figures.written_lag_ms, figures.synced_lag_ms) = self.disk_lags_ms(now);
            let (written, synced) = persist.worst_lags_ms(now.time);
            figures.written_lag_worst_ms = written;
            figures.synced_lag_worst_ms = synced;
            figures.disk_items = cache.items.saturating_sub(figures.dirty_items) + cache.disk_only;
        }
        self.add_replica_figures(&mut figures);
        figures
    }

    /// The age of the oldest change that is not written, and of the oldest that is not synced.
    pub(crate) fn disk_lags_ms(&self, now: Now) -> (u64, u64) {
        let persist = self.persist.as_ref();
        persist.map_or((0, 0), |persist| {
            let written = persist.written_lag_ms(now.time);
            (written, persist.synced_lag_ms(now.time))
        })
    }

    /// Items that are not on disk yet.
    pub(crate) fn dirty_items(&self) -> u64 {
        self.persist.as_ref().map_or(0, Persist::unwritten_items)
    }
}

/// Even shares of the memory limit, in bytes.
pub(crate) fn fair_share(memory_bytes: u64, workers: u16) -> usize {
    usize::try_from(memory_bytes / u64::from(workers)).unwrap_or(usize::MAX)
}

/// Whether the outcome depends on what is stored: then an item that is only on disk is read.
fn needs_existing(operation: &Operation<'_>) -> bool {
    match operation {
        Operation::Store(store) => {
            store.mode != crate::command::StoreMode::Set || store.compare.is_some()
        }
        Operation::Fetch(_)
        | Operation::Delete(_)
        | Operation::Arithmetic(_)
        | Operation::Inspect => true,
    }
}

/// Whether it changes anything by itself. The tokens that a meta get may hand out are not held
/// back: they are few, and a reader must not wait for the disk.
fn is_write(operation: &Operation<'_>) -> bool {
    match operation {
        Operation::Fetch(fetch) => fetch.touch.is_some() || fetch.vivify.is_some(),
        Operation::Store(_) | Operation::Delete(_) | Operation::Arithmetic(_) => true,
        Operation::Inspect => false,
    }
}

impl Met {
    fn item<'a>(&self, cache: &'a Cache) -> Item<'a> {
        let view = cache.view(self.place);
        Item {
            value: view.value(),
            flags: view.fields.flags,
            cas: view.fields.cas,
            expired_s_before: if self.vivified {
                0
            } else {
                self.before.expires_s
            },
            expires_s: view.fields.expires_s,
            accessed_s: self.before.accessed_s,
            fetched: self.before.fetched,
            stale: view.fields.stale,
            token_sent: self.token_sent,
            won: self.won,
            vivified: self.vivified,
            memory_bytes: view.memory_bytes,
        }
    }
}
