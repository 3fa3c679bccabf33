//! Write-behind: from dirty items to numbered batches, written and then synced.
//!
//! Decides when a batch is cut, when a sync is due, what a failure has rewritten, and how far
//! behind the disk may fall before writes feel it. Refuses to know how the disk does its work.
//!
//! A dirty entry names a partition and a tag, not a key: whatever is queued under that tag when
//! the batch is cut goes into it. So an item costs one entry however often it changes, and an
//! entry whose item is gone finds nothing and does no harm.

mod change;

use alloc::collections::btree_map::Entry;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::cache::{Cache, DiskState, Place};
use crate::disk::{
    Batch, Change, DiskError, NOTE_CEILING, NOTE_FLUSH_AT, NOTE_FLUSHED, NOTE_HOT, NOTE_REACHED,
    Request,
};
use crate::hash::KeyHash;
use crate::id::WorkerId;
use crate::notice::{Notice, Severity};
use crate::planted::{self, Bug};
use crate::replication::Term;
use crate::settings::{DiskSettings, Settings};
use crate::time::{Now, Time};

use super::{Shard, Sink};
use change::push_change;

/// Bound of the hot-key list that a worker saves, in bytes.
pub(super) const HOT_BYTES_MAX: usize = 1024 * 1024;
/// How often it is saved, in milliseconds.
const HOT_INTERVAL_MS: u64 = 60_000;
/// Waits between attempts while the disk is failing, in milliseconds.
const RETRY_MS_MIN: u64 = 100;
const RETRY_MS_MAX: u64 = 2_000;
/// What an entry of the dirty list or of an unsynced batch counts against the dirty bound.
const ENTRY_BYTES: usize = 32;

fn earlier(one: Option<Time>, other: Option<Time>) -> Option<Time> {
    one.into_iter().chain(other).min()
}

/// How much the disk's lag is felt by writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pressure {
    /// Not at all.
    None,
    /// Acknowledgements wait for the next batch.
    Soft,
    /// Writes wait.
    Hard,
}

/// One entry of the dirty list.
#[derive(Clone, Copy)]
struct Dirty {
    place: TagPlace,
    since: Time,
    bytes: u32,
}

/// Where an index finds the items of one tag.
#[derive(Clone, Copy)]
struct TagPlace {
    partition: u16,
    tag: u32,
}

/// One item of a batch that is not synced yet.
#[derive(Clone, Copy)]
struct Written {
    place: TagPlace,
    version: u64,
}

pub(super) struct Note {
    pub(super) content: Vec<u8>,
    /// Since when somebody relies on it; none for notes that only help.
    pub(super) since: Option<Time>,
    /// What is told once it is synced.
    pub(super) then: Option<Kept>,
}

/// Notes, by name.
type Notes = BTreeMap<Vec<u8>, Note>;

/// Something that somebody waits for is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// The record of this term, of this partition.
    Record(u16, Term),
    /// The number that the run has given itself.
    Generation(u64),
    /// That what the disk has of this partition is a mixture.
    Mixture(u16),
}

/// The ceiling of versions that is among `notes`, if one is.
fn ceiling(notes: &Notes) -> Option<u64> {
    let content = notes.get(NOTE_CEILING)?.content.as_slice();
    content.try_into().ok().map(u64::from_be_bytes)
}

/// A batch between being cut and being synced.
struct Submitted {
    number: u64,
    entries: Vec<Written>,
    notes: Notes,
    /// Somebody waits for one of the notes to be synced.
    urgent: bool,
    since: Time,
    bytes: usize,
    /// The incarnation that has written it.
    epoch: Option<u64>,
}

impl Submitted {
    /// Has one more told once the note of this name is synced, which is newer than what they wait
    /// for.
    fn tell_also(&mut self, name: &[u8], then: Option<Kept>) {
        if let Some(note) = self.notes.get_mut(name) {
            note.then = note.then.or(then);
            self.urgent |= note.then.is_some();
        }
    }
}

/// What goes on while the disk refuses.
struct Trouble {
    tries: u32,
    retry_at: Time,
    /// The next attempt closes and opens the database first.
    reopen: bool,
    reopening: bool,
}

pub(super) struct Persist {
    pub(super) settings: DiskSettings,
    worker: WorkerId,
    batch_bytes_max: usize,
    soft_bytes: usize,
    hard_bytes: usize,
    queue: VecDeque<Dirty>,
    queued_bytes: usize,
    notes: Notes,
    /// Since when somebody relies on one of them.
    noted_since: Option<Time>,
    /// What is synced, and has not been told.
    pub(super) kept: Vec<Kept>,
    /// The time that the last batch has noted.
    reached_unix_ms: u64,
    submitted: VecDeque<Submitted>,
    submitted_bytes: usize,
    next_number: u64,
    writing: bool,
    syncing: bool,
    synced_at: Time,
    epoch: u64,
    trouble: Option<Trouble>,
    stopping: bool,
    hot_at: Time,
    spare: Option<Batch>,
    spare_entries: Vec<Vec<Written>>,
    written_lag_ms_worst: u64,
    synced_lag_ms_worst: u64,
}

impl Persist {
    pub(super) fn new(settings: DiskSettings, node: &Settings, worker: WorkerId) -> Self {
        let share = |bytes: u64| super::fair_share(bytes, node.workers);
        Self {
            soft_bytes: share(settings.dirty_bytes_soft),
            hard_bytes: share(settings.dirty_bytes_hard),
            settings,
            worker,
            batch_bytes_max: node.limits.batch_bytes_max,
            queue: VecDeque::new(),
            queued_bytes: 0,
            notes: Notes::new(),
            noted_since: None,
            kept: Vec::new(),
            reached_unix_ms: 0,
            submitted: VecDeque::new(),
            submitted_bytes: 0,
            next_number: 1,
            writing: false,
            syncing: false,
            synced_at: Time::ZERO,
            epoch: 0,
            trouble: None,
            stopping: false,
            hot_at: Time::ZERO,
            spare: None,
            spare_entries: Vec::new(),
            written_lag_ms_worst: 0,
            synced_lag_ms_worst: 0,
        }
    }

    /// Puts the items of a tag on the dirty list; they are marked as queued already.
    pub(super) fn note_dirty(&mut self, since: Time, hash: KeyHash, bytes: u32) {
        let place = TagPlace {
            partition: hash.partition(),
            tag: hash.tag(),
        };
        self.queued_bytes += bytes as usize;
        self.queue.push_back(Dirty {
            place,
            since,
            bytes,
        });
    }

    pub(super) fn note_flushed(&mut self, now: Now, version: u64) {
        let content = version.to_be_bytes().to_vec();
        self.note(NOTE_FLUSHED.to_vec(), content, Some(now.time));
    }

    pub(super) fn note_flush_at(&mut self, now: Now, unix_ms: u64) {
        let content = unix_ms.to_be_bytes().to_vec();
        self.note(NOTE_FLUSH_AT.to_vec(), content, Some(now.time));
    }

    /// Has the time noted if the last note leaves it open whether `expires_s` has come.
    pub(super) fn note_expired(&mut self, now: Now, expires_s: u32) {
        if u64::from(expires_s) * 1000 > self.reached_unix_ms {
            self.note_reached(now, Some(now.time));
        }
    }

    fn note_reached(&mut self, now: Now, since: Option<Time>) {
        let content = now.unix_ms.to_be_bytes().to_vec();
        self.note(NOTE_REACHED.to_vec(), content, since);
    }

    /// Has `content` written under `name` with the next batch, in place of an older one.
    pub(super) fn note(&mut self, name: Vec<u8>, content: Vec<u8>, since: Option<Time>) {
        let then = None;
        let note = Note {
            content,
            since,
            then,
        };
        self.put_note(name, note);
    }

    /// Has a note written with the next batch, in place of an older one.
    pub(super) fn put_note(&mut self, name: Vec<u8>, mut note: Note) {
        if let Some(older) = self.notes.get(&name) {
            note.since = earlier(older.since, note.since);
        }
        self.noted_since = earlier(self.noted_since, note.since);
        self.notes.insert(name, note);
    }

    /// Whether somebody waits for the note of this name that has not been written yet.
    pub(super) fn is_awaited(&self, name: &[u8]) -> bool {
        self.notes.get(name).is_some_and(|note| note.then.is_some())
    }

    pub(super) fn save_hot(&mut self, cache: &Cache, bytes_max: usize) {
        let mut name = NOTE_HOT.to_vec();
        name.extend_from_slice(&self.worker.0.to_be_bytes());
        let mut content = Vec::new();
        cache.hot_keys(bytes_max, &mut content);
        self.note(name, content, None);
    }

    pub(super) fn begin_stop(&mut self) {
        self.stopping = true;
    }

    /// Nothing is left to write, and nothing that is written waits for a sync.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.notes.is_empty() && self.submitted.is_empty()
    }

    /// How much the disk's lag is felt.
    #[inline]
    pub(super) fn pressure(&self, now: Now, dirty_bytes: usize) -> Pressure {
        let entries = self.queue.len() * ENTRY_BYTES;
        let bytes = dirty_bytes + entries;
        let age_ms = self.written_lag_ms(now.time);
        if bytes > self.hard_bytes || age_ms > self.settings.dirty_age_hard_ms {
            Pressure::Hard
        } else if bytes > self.soft_bytes || age_ms > self.settings.dirty_age_soft_ms {
            Pressure::Soft
        } else {
            Pressure::None
        }
    }

    /// Age of the oldest acknowledged change that is not yet written.
    pub(super) fn written_lag_ms(&self, now: Time) -> u64 {
        let unwritten = self
            .submitted
            .back()
            .filter(|batch| batch.epoch.is_none())
            .map(|batch| batch.since);
        earlier(unwritten, self.waiting_since()).map_or(0, |since| now.millis_since(since))
    }

    /// Age of the oldest acknowledged change that is not yet synced.
    pub(super) fn synced_lag_ms(&self, now: Time) -> u64 {
        if planted::has(Bug::LagForgetsSync) {
            return self.written_lag_ms(now);
        }
        self.unsynced_since()
            .map_or(0, |since| now.millis_since(since))
    }

    /// When the oldest change was that is not synced.
    pub(super) fn unsynced_since(&self) -> Option<Time> {
        let unsynced = self.submitted.iter().map(|batch| batch.since).min();
        earlier(unsynced, self.waiting_since())
    }

    /// The oldest change that is in no batch.
    fn waiting_since(&self) -> Option<Time> {
        let queued = self.queue.front().map(|dirty| dirty.since);
        let noted = self
            .noted_since
            .filter(|_| !planted::has(Bug::LagForgetsFlush));
        earlier(queued, noted)
    }

    /// Items whose last change has not been written.
    pub(super) fn unwritten_items(&self) -> u64 {
        let unwritten = self.submitted.back().filter(|batch| batch.epoch.is_none());
        (self.queue.len() + unwritten.map_or(0, |batch| batch.entries.len())) as u64
    }

    /// The worst lags so far, written and synced.
    pub(super) fn worst_lags_ms(&self, now: Time) -> (u64, u64) {
        (
            self.written_lag_ms_worst.max(self.written_lag_ms(now)),
            self.synced_lag_ms_worst.max(self.synced_lag_ms(now)),
        )
    }

    pub(super) fn is_failing(&self) -> bool {
        self.trouble.is_some()
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        if let Some(trouble) = &self.trouble {
            return (!trouble.reopening && !self.writing).then_some(trouble.retry_at);
        }
        earlier(self.write_due_at(), self.sync_due_at())
    }

    /// When the next batch is to be cut; one is written at a time, so that changes of a key
    /// that come meanwhile coalesce.
    fn write_due_at(&self) -> Option<Time> {
        if self.writing {
            return None;
        }
        if self.stopping && !(self.queue.is_empty() && self.notes.is_empty()) {
            return Some(Time::ZERO);
        }
        if self.queued_bytes >= self.batch_bytes_max.min(self.soft_bytes / 2) {
            return Some(Time::ZERO);
        }
        let interval_ms = self.settings.write_interval_ms;
        match self.queue.front() {
            Some(dirty) => Some(dirty.since.plus_millis(interval_ms)),
            None => (!self.notes.is_empty()).then_some(Time::ZERO),
        }
    }

    fn sync_due_at(&self) -> Option<Time> {
        let mut written = self
            .submitted
            .iter()
            .filter(|batch| batch.epoch.is_some())
            .peekable();
        if self.syncing || written.peek().is_none() {
            return None;
        }
        if written.any(|batch| batch.urgent) {
            return Some(Time::ZERO);
        }
        let all_written = self.queue.is_empty() && self.notes.is_empty() && !self.writing;
        if self.submitted_bytes >= self.soft_bytes / 2 || (self.stopping && all_written) {
            return Some(Time::ZERO);
        }
        Some(self.synced_at.plus_millis(self.settings.sync_interval_ms))
    }

    /// Moves queued items into a batch, oldest first.
    fn cut(&mut self, now: Now, cache: &mut Cache) -> Batch {
        let mut batch = self.spare.take().unwrap_or_default();
        let mut entries = self.spare_entries.pop().unwrap_or_default();
        batch.number = self.next_number;
        self.next_number += 1;
        let since = self.waiting_since().unwrap_or(now.time);
        self.note_reached(now, None);
        self.reached_unix_ms = now.unix_ms;
        let mut large_bytes = 0;
        while batch.arena.len() + large_bytes < self.batch_bytes_max {
            let Some(dirty) = self.queue.pop_front() else {
                break;
            };
            self.queued_bytes -= dirty.bytes as usize;
            let TagPlace { partition, tag } = dirty.place;
            let mut at = cache.find_tag(partition, tag, None);
            while let Some(place) = at {
                let view = cache.view(place);
                if view.fields.disk == DiskState::Queued {
                    large_bytes += push_change(&mut batch, partition, &view);
                    entries.push(Written {
                        place: dirty.place,
                        version: view.fields.version,
                    });
                    cache.set_disk(place, DiskState::Submitted, true);
                }
                at = cache.find_tag(partition, tag, Some(place));
            }
        }
        for (name, note) in &self.notes {
            let name = batch.push(name);
            let content = batch.push(&note.content);
            batch.changes.push(Change::Note { name, content });
        }
        let bytes = batch.arena.len() + large_bytes;
        self.submitted_bytes += bytes;
        self.noted_since = None;
        // No version is drawn above a ceiling that is not safe: writes would wait for it.
        let awaited = self.notes.values().any(|note| note.then.is_some());
        let urgent = awaited || self.notes.contains_key(NOTE_CEILING);
        self.submitted.push_back(Submitted {
            number: batch.number,
            entries,
            notes: core::mem::take(&mut self.notes),
            urgent,
            since,
            bytes,
            epoch: None,
        });
        batch
    }

    /// Puts the items of batches that can't be relied upon back on the dirty list.
    fn requeue(&mut self, cache: &mut Cache, lost: impl Fn(&Submitted) -> bool) {
        let mut kept = VecDeque::new();
        let mut again = Vec::new();
        for batch in self.submitted.drain(..) {
            if lost(&batch) {
                again.push(batch);
            } else {
                kept.push_back(batch);
            }
        }
        self.submitted = kept;
        for batch in again.into_iter().rev() {
            self.submitted_bytes -= batch.bytes;
            if planted::has(Bug::ForgetDirty) && batch.epoch.is_some() {
                continue;
            }
            // What has replaced a change since may be on its way already: until that is safe, the
            // disk lags by the age of the change.
            for later in &mut self.submitted {
                if later.number > batch.number {
                    later.since = later.since.min(batch.since);
                }
            }
            for entry in batch.entries.iter().rev() {
                if let Some(place) = submitted_place(cache, entry) {
                    cache.set_disk(place, DiskState::Queued, true);
                }
                // Where a later change has taken the item's place, the entry stays all the same:
                // until that one is safe, the disk lags by this one's age. And the front
                // has to stay the oldest: it is what the lag is read from.
                let front = self.queue.front().map_or(batch.since, |dirty| dirty.since);
                self.queue.push_front(Dirty {
                    place: entry.place,
                    since: batch.since.min(front),
                    bytes: 0,
                });
            }
            for (name, mut note) in batch.notes {
                // Entries whose items a flush has taken are in no list any more: until the
                // flush is safe, the disk lags by their age.
                note.since = note.since.map(|since| since.min(batch.since));
                // A newer one is on its way already: written behind it, this one would undo it.
                let overtaken = |later: &&mut Submitted| {
                    later.number > batch.number && later.notes.contains_key(&name)
                };
                if let Some(later) = self.submitted.iter_mut().find(overtaken) {
                    later.tell_also(&name, note.then);
                    continue;
                }
                self.noted_since = earlier(self.noted_since, note.since);
                match self.notes.entry(name) {
                    Entry::Occupied(mut newer) => {
                        let newer = newer.get_mut();
                        newer.since = earlier(newer.since, note.since);
                        // It was to be told when this one is synced; the newer one will do.
                        newer.then = newer.then.or(note.then);
                    }
                    Entry::Vacant(place) => {
                        place.insert(note);
                    }
                }
            }
            self.keep_entries(batch.entries);
        }
    }

    fn keep_entries(&mut self, mut entries: Vec<Written>) {
        if self.spare_entries.len() < 4 {
            entries.clear();
            self.spare_entries.push(entries);
        }
    }

    /// Takes note that something was done by incarnation `epoch`. What an earlier one has
    /// written and not synced may be gone with it.
    fn note_epoch(&mut self, cache: &mut Cache, epoch: u64) {
        if epoch > self.epoch {
            self.epoch = epoch;
            self.requeue(cache, |batch| batch.epoch.is_some_and(|by| by < epoch));
        }
    }

    /// Marks everything up to batch `number` as safe on the device. Returns the highest ceiling
    /// of versions among it, or 0.
    fn settle(&mut self, cache: &mut Cache, number: u64, now: Time) -> u64 {
        let mut highest = 0;
        self.synced_lag_ms_worst = self.synced_lag_ms_worst.max(self.synced_lag_ms(now));
        while let Some(batch) = self.submitted.pop_front() {
            if batch.number > number {
                self.submitted.push_front(batch);
                break;
            }
            self.submitted_bytes -= batch.bytes;
            for entry in &batch.entries {
                let Some(place) = submitted_place(cache, entry) else {
                    continue;
                };
                if cache.view(place).fields.tombstone {
                    cache.remove(place);
                } else {
                    cache.set_disk(place, DiskState::Clean, true);
                }
            }
            highest = highest.max(ceiling(&batch.notes).unwrap_or(0));
            let kept = batch.notes.values().filter_map(|note| note.then);
            self.kept.extend(kept);
            self.keep_entries(batch.entries);
        }
        highest
    }

    /// Something went wrong: try again later, and later each time.
    fn note_trouble(&mut self, now: Time, error: DiskError) -> Option<Notice> {
        let first = self.trouble.is_none();
        let trouble = self.trouble.get_or_insert(Trouble {
            tries: 0,
            retry_at: now,
            reopen: false,
            reopening: false,
        });
        trouble.tries += 1;
        trouble.reopening = false;
        let wait_ms = RETRY_MS_MIN << trouble.tries.min(8);
        trouble.retry_at = now.plus_millis(wait_ms.min(RETRY_MS_MAX));
        // A full disk recovers in place, or says that it has failed.
        trouble.reopen |= error != DiskError::Full;
        first.then(|| trouble_notice(error))
    }

    fn note_recovery(&mut self) -> Option<Notice> {
        self.trouble.take().map(|_| Notice {
            severity: Severity::Info,
            event: "disk-recovered",
            text: "the disk takes writes again; everything held back is being written".into(),
        })
    }
}

fn trouble_notice(error: DiskError) -> Notice {
    let (event, text) = match error {
        DiskError::Full => (
            "disk-full",
            "the disk is full: memory goes on serving, new writes wait and are then refused; \
             what is held back is written once there is room",
        ),
        DiskError::Failed | DiskError::Damaged => (
            "disk-failed",
            "the disk fails: memory goes on serving, new writes wait and are then refused; \
             the database is reopened and everything unsynced written again",
        ),
    };
    Notice {
        severity: Severity::Error,
        event,
        text: text.into(),
    }
}

/// The record that went into a batch, unless it has changed or gone since.
fn submitted_place(cache: &Cache, entry: &Written) -> Option<Place> {
    let TagPlace { partition, tag } = entry.place;
    let mut at = cache.find_tag(partition, tag, None);
    while let Some(place) = at {
        let fields = cache.view(place).fields;
        if fields.disk == DiskState::Submitted && fields.version == entry.version {
            return Some(place);
        }
        at = cache.find_tag(partition, tag, Some(place));
    }
    None
}

impl Shard {
    /// Cuts a batch and asks for a sync, where either is due.
    pub(super) fn drive_persist(&mut self, now: Now, sink: &mut impl Sink) {
        let Some(persist) = &mut self.persist else {
            return;
        };
        if let Some(trouble) = &mut persist.trouble {
            if trouble.reopening || persist.writing || now.time < trouble.retry_at {
                return;
            }
            if trouble.reopen {
                trouble.reopening = true;
                let epoch = persist.epoch;
                self.figures.reopens += 1;
                sink.disk(Request::Reopen { epoch });
                return;
            }
        }
        if now.time >= persist.hot_at {
            if persist.hot_at != Time::ZERO {
                persist.save_hot(&self.cache, HOT_BYTES_MAX);
            }
            persist.hot_at = now.time.plus_millis(HOT_INTERVAL_MS);
        }
        if let Some(ceiling) = self.clock.raise_ceiling(now) {
            let content = ceiling.to_be_bytes().to_vec();
            persist.note(NOTE_CEILING.to_vec(), content, None);
        }
        let retrying = persist.trouble.is_some();
        if retrying || persist.write_due_at().is_some_and(|at| at <= now.time) {
            let batch = persist.cut(now, &mut self.cache);
            persist.writing = true;
            sink.disk(Request::Write(batch));
        } else if persist.sync_due_at().is_some_and(|at| at <= now.time) {
            let last = persist
                .submitted
                .iter()
                .rfind(|batch| batch.epoch.is_some());
            if let Some(number) = last.map(|batch| batch.number) {
                persist.syncing = true;
                sink.disk(Request::Sync { number });
            }
        }
    }

    pub(super) fn handle_written(
        &mut self,
        now: Now,
        mut batch: Batch,
        epoch: u64,
        result: Result<(), DiskError>,
        sink: &mut impl Sink,
    ) {
        let Some(persist) = &mut self.persist else {
            return;
        };
        persist.writing = false;
        let number = batch.number;
        match result {
            Ok(()) => {
                let lag_ms = persist.written_lag_ms(now.time);
                persist.written_lag_ms_worst = persist.written_lag_ms_worst.max(lag_ms);
                self.figures.batches_written += 1;
                persist.note_epoch(&mut self.cache, epoch);
                let written = persist.submitted.iter_mut().rfind(|b| b.number == number);
                if let Some(written) = written {
                    written.epoch = Some(epoch);
                    self.figures.bytes_written_to_disk += written.bytes as u64;
                }
                if epoch < persist.epoch {
                    // The answer that told of a later incarnation has overtaken this one.
                    persist.requeue(&mut self.cache, |batch| batch.number == number);
                } else if let Some(notice) = persist.note_recovery() {
                    sink.notice(notice);
                }
            }
            Err(error) => {
                self.figures.disk_errors += 1;
                persist.requeue(&mut self.cache, |batch| batch.number == number);
                if let Some(notice) = persist.note_trouble(now.time, error) {
                    sink.notice(notice);
                }
                persist.note_epoch(&mut self.cache, epoch);
            }
        }
        batch.clear();
        persist.spare = Some(batch);
        if result.is_ok() {
            self.release_held(sink);
        }
        self.drive_persist(now, sink);
    }

    pub(super) fn handle_synced(
        &mut self,
        now: Now,
        number: u64,
        epoch: u64,
        result: Result<(), DiskError>,
        sink: &mut impl Sink,
    ) {
        let Some(persist) = &mut self.persist else {
            return;
        };
        persist.syncing = false;
        persist.synced_at = now.time;
        persist.note_epoch(&mut self.cache, epoch);
        match result {
            Ok(()) => {
                self.figures.syncs += 1;
                let ceiling = persist.settle(&mut self.cache, number, now.time);
                self.clock.note_safe(ceiling);
            }
            Err(error) => {
                // After a failed fsync the kernel may have dropped the pages: nothing that was
                // not synced before counts as written any more.
                self.figures.disk_errors += 1;
                persist.requeue(&mut self.cache, |batch| batch.epoch.is_some());
                if let Some(notice) = persist.note_trouble(now.time, error) {
                    sink.notice(notice);
                }
            }
        }
        self.drive_persist(now, sink);
    }

    pub(super) fn handle_reopened(
        &mut self,
        now: Now,
        epoch: u64,
        result: Result<(), DiskError>,
        sink: &mut impl Sink,
    ) {
        let Some(persist) = &mut self.persist else {
            return;
        };
        if let Some(trouble) = &mut persist.trouble {
            trouble.reopening = false;
            trouble.reopen = false;
        }
        match result {
            Ok(()) => persist.note_epoch(&mut self.cache, epoch),
            Err(error) => {
                self.figures.disk_errors += 1;
                if let Some(notice) = persist.note_trouble(now.time, error) {
                    sink.notice(notice);
                }
                if let Some(trouble) = &mut persist.trouble {
                    trouble.reopen = true;
                }
            }
        }
        self.drive_persist(now, sink);
    }
}
