//! One partition's data on this node, memory tier and disk, as replication sees it.
//!
//! Decides how an entry and an item become each other, what counts as absent while a partition is
//! filled and after, and which versions have to be remembered for that. Refuses to know who is
//! primary and how entries travel.
//!
//! A node that has a disk does not know which versions of its keys are there: it knows tags, and
//! not even all of those. So nothing here asks for the version of a cold record. What is needed of
//! versions is remembered where it comes up, for as long as it is needed:
//!
//! * **As target of a fill**, what has come in this session. A key of which nothing has come yet
//!   is overwritten whatever the disk has; of others the newer one stays, even if it has left
//!   memory meanwhile. When all has come, whatever the session does not name is *doomed*: it goes
//!   from memory at once, and from the disk by a scan of its keys that buries them. Until that is
//!   through, no read brings a doomed record back ([`Shard::hides`]).
//! * **As source**, what was handed out in this session: the other side of the comparison, and
//!   what tells the scan which records have gone out already or have changed since they were read.
//! * **To merge** entries of another lineage, all of the partition's versions, found by a scan of
//!   its keys.
//!
//! Such maps take about 28 bytes a key and count towards the memory limit.
//!
//! What is deleted by a command, here or elsewhere, is buried with its version. A record that is
//! doomed, or evicted from the disk, is buried with a number that is lower than any version
//! ([`Copies::burial`]): nobody else has deleted it, so its tombstone must not win over anything.
//!
//! Values are copied on their way in, large ones too: a slice of the frame that they came in
//! would keep all of it in memory, uncounted.

mod install;
mod jobs;
mod mixed;
mod scan;
mod versions;

#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bytes::Bytes;

use super::Shard;
use crate::cache::View;
use crate::command::KEY_BYTES_MAX;
use crate::disk::{Head, decode, encode_head};
use crate::hash::KeyHash;
use crate::replication::{Arrival, Digest, Entry, Scan, State, Store};
use crate::time::{Now, Time};
pub(super) use jobs::is_copys;
use jobs::{Jobs, Want};
pub(super) use mixed::Mixed;
use scan::Reader;
use versions::{Fingerprint, Versions};

/// Versions below are no versions but numbers of burials.
const BURIALS_MAX: u64 = 1 << 48;
/// No clock draws such a version in ten thousand years.
const VERSIONS_MAX: u64 = 1 << 63;
/// Bytes of keys whose deletion has found no room in memory: above, nothing is taken in.
const UNBURIED_BYTES_MAX: usize = 1024 * 1024;
/// What such a key takes beside its own bytes.
const UNBURIED_KEY_BYTES: usize = 64;
/// Merges that are prepared or under way at once, where there is a disk.
const MERGES_MAX: usize = 16;

/// A rule that can be broken, to see whether a test notices: only ever in tests, and then in one
/// shard alone, so that others may run beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// What is set aside counts as absent when an entry comes.
    AsideIsAbsent,
    /// What has come in a session is not replaced by something older, evicted or not.
    CameIsKnown,
    /// What is doomed is not read.
    DoomedIsHidden,
    /// What is doomed is buried.
    DoomedIsBuried,
    /// What is written while a partition is purged is kept.
    WrittenIsKept,
    /// A write of a doomed record that is under way is undone.
    UnderWayIsUndone,
    /// A deletion outlasts what the disk has.
    DeletedIsBuried,
    /// A read that was overtaken is made again.
    OvertakenIsReadAgain,
    /// Only what was handed out already is passed over.
    MovedIsHandedOut,
    /// An answer that may be lost is not counted.
    LostIsHandedOutAgain,
    /// Live entries count in a session.
    LiveCounts,
    /// What is written while something is merged is known.
    WrittenIsKnown,
    /// A burial wins over nothing.
    BurialWinsNothing,
}

/// What has to be kept of copies between calls.
#[derive(Default)]
pub(super) struct Copies {
    #[cfg(test)]
    broken: Option<Rule>,

    /// Partitions with which something is going on.
    parts: BTreeMap<u16, Part>,
    /// Deletions that found no room, with their versions: what the disk has of these keys is gone.
    unburied: BTreeMap<Vec<u8>, u64>,
    unburied_bytes: usize,
    burials: u64,
    mixed: Mixed,
    /// Scans that have found out what a partition has on disk.
    rescans: u64,
    /// Scans that were begun to hand something out.
    scans: u64,
    /// Partitions that something is merged into.
    merges: usize,
    /// Partitions whose merge waits for others to end.
    crowded: BTreeSet<u16>,
    jobs: Jobs,
    /// What the cache has been charged with.
    charged_bytes: usize,
    noted: u32,
    tend_at: Time,
}

/// What is going on with one partition.
#[derive(Default)]
struct Part {
    phase: Phase,
    /// As source: what was handed out in this session.
    given: Option<Versions>,
    merge: Option<Merge>,
    reader: Option<Reader>,
}

/// What counts as absent.
#[derive(Default)]
enum Phase {
    /// Nothing.
    #[default]
    Whole,
    /// All that has not come in this session: it is set aside.
    Filling {
        came: Versions,
        /// What was doomed when it was set aside: all but these keys.
        kept_before: Option<Versions>,
        /// Nothing was set aside.
        fresh: bool,
    },
    /// All but these keys, until it is buried.
    Purging { kept: Versions, purge: Purge },
}

/// A scan of a partition's keys that goes its way without anybody asking for more.
#[derive(Default)]
struct Walk {
    after: Vec<u8>,
    want: Want,
}

type Purge = Walk;

/// What is known of a partition that something is merged into.
#[derive(Default)]
struct Merge {
    versions: Versions,
    walk: Walk,
    ready: bool,
}

impl Part {
    fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Whole)
            && self.given.is_none()
            && self.merge.is_none()
            && self.reader.is_none()
    }

    /// Whether what there is of a key counts as absent.
    fn hides(&self, key: Fingerprint) -> bool {
        match &self.phase {
            Phase::Whole => false,
            Phase::Filling { came, .. } => !came.contains(key),
            Phase::Purging { kept, .. } => !kept.contains(key),
        }
    }

    /// A key has this version from now on.
    fn note(&mut self, key: Fingerprint, version: u64) {
        match &mut self.phase {
            Phase::Whole => {}
            Phase::Filling { came: known, .. } | Phase::Purging { kept: known, .. } => {
                known.note(key, version);
            }
        }
        if let Some(given) = &mut self.given {
            given.note(key, version);
        }
        if let Some(merge) = &mut self.merge {
            merge.versions.note(key, version);
        }
    }

    /// Keys that are remembered.
    fn keys(&self) -> usize {
        let phase = match &self.phase {
            Phase::Whole => 0,
            Phase::Filling {
                came, kept_before, ..
            } => came.len() + kept_before.as_ref().map_or(0, Versions::len),
            Phase::Purging { kept, .. } => kept.len(),
        };
        let given = self.given.as_ref().map_or(0, Versions::len);
        let merge = self.merge.as_ref().map_or(0, |it| it.versions.len());
        phase + given + merge + self.reader.as_ref().map_or(0, Reader::keys)
    }
}

impl Copies {
    /// Those of a run that begins, with what the last one has left.
    pub(super) fn new(mixed: Mixed) -> Self {
        Self {
            mixed,
            ..Self::default()
        }
    }

    /// Whether a rule holds.
    #[cfg(test)]
    pub(super) fn keeps(&self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }

    /// Whether a rule holds.
    #[cfg(not(test))]
    #[inline(always)]
    pub(super) const fn keeps(&self, _: Rule) -> bool {
        true
    }

    /// A number for a tombstone that wins over nothing.
    pub(super) fn burial(&mut self) -> u64 {
        self.burials += 1;
        if !self.keeps(Rule::BurialWinsNothing) {
            return VERSIONS_MAX - 1;
        }
        self.burials
    }

    /// A scan has found out what some partition has on disk.
    pub(super) fn note_rescan(&mut self) {
        self.rescans += 1;
    }

    /// Nothing more is asked of the disk.
    pub(super) fn begin_stop(&mut self) {
        self.jobs.stopped = true;
    }

    fn part(&mut self, partition: u16) -> &mut Part {
        self.parts.entry(partition).or_default()
    }

    fn tidy(&mut self, partition: u16) {
        if self.parts.get(&partition).is_some_and(Part::is_idle) {
            self.parts.remove(&partition);
        }
    }

    fn note(&mut self, partition: u16, key: Fingerprint, version: u64) {
        let kept = self.keeps(Rule::WrittenIsKept);
        let known = self.keeps(Rule::WrittenIsKnown);
        let counts = self.keeps(Rule::LiveCounts);
        if let Some(part) = self.parts.get_mut(&partition) {
            let is_purging = matches!(part.phase, Phase::Purging { .. });
            if (is_purging && !kept)
                || (part.merge.is_some() && !known)
                || (part.given.is_some() && !counts)
            {
                return;
            }
            part.note(key, version);
            self.noted += 1;
        }
    }

    fn forget_unburied(&mut self, key: &[u8]) {
        if !self.unburied.is_empty() && self.unburied.remove(key).is_some() {
            self.unburied_bytes -= key.len() + UNBURIED_KEY_BYTES;
        }
    }
}

impl Shard {
    /// Whether a record that only the disk has counts as absent, be it set aside or to be buried.
    pub(super) fn hides(&self, hash: KeyHash, key: &[u8]) -> bool {
        let Copies {
            parts, unburied, ..
        } = &self.copies;
        if !unburied.is_empty() && unburied.contains_key(key) {
            return true;
        }
        if parts.is_empty() {
            return false;
        }
        let part = parts.get(&hash.partition());
        self.copies.keeps(Rule::DoomedIsHidden)
            && part.is_some_and(|part| part.hides(Fingerprint::of(hash, key)))
    }

    /// Whether the disk may hold a record of a key that is not in memory, be it one that counts as
    /// absent.
    pub(super) fn may_have_record(&self, hash: KeyHash) -> bool {
        let part = self.copies.parts.get(&hash.partition());
        self.cache.may_be_on_disk(hash)
            || part.is_some_and(|part| matches!(part.phase, Phase::Purging { .. }))
    }

    /// Whether it will never come back: not even its tag is worth knowing.
    pub(super) fn dooms(&self, hash: KeyHash, key: &[u8]) -> bool {
        let part = self.copies.parts.get(&hash.partition());
        let is_purging = |part: &Part| matches!(part.phase, Phase::Purging { .. });
        part.is_some_and(is_purging) && self.hides(hash, key)
    }

    /// The entry that replicates what a command has just left of `key`: an item, or a deletion
    /// with a version of its own, since a replica may have what this one has evicted.
    pub(super) fn entry_of(&mut self, now: Now, hash: KeyHash, key: &[u8]) -> Entry {
        let place = self.cache.find(hash, key);
        let item = place.and_then(|place| self.item_entry(now, &self.cache.view(place)));
        let entry = item.unwrap_or_else(|| Entry {
            key: Bytes::copy_from_slice(key),
            version: self.clock.next(now),
            state: State::Tombstone,
            request: None,
        });
        if place.is_some() {
            self.copies.forget_unburied(key);
        }
        let fingerprint = Fingerprint::of(hash, key);
        self.copies
            .note(hash.partition(), fingerprint, entry.version);
        entry
    }

    /// The entry of an item in memory, unless it is deleted, expired or flushed.
    fn item_entry(&self, now: Now, view: &View<'_>) -> Option<Entry> {
        let head = self.item_head(now, view)?;
        Some(entry(view.key, &head, view.value_slice()))
    }

    /// The head of an item in memory, unless it is deleted, expired or flushed.
    fn item_head(&self, now: Now, view: &View<'_>) -> Option<Head> {
        let fields = &view.fields;
        let value_bytes = view.value_slice().len();
        let head = Head {
            version: fields.version,
            cas: fields.cas,
            flags: fields.flags,
            expires_s: fields.expires_s,
            accessed_s: fields.accessed_s,
            value_bytes: u32::try_from(value_bytes).expect("values stay below 4 GiB"),
            stale: fields.stale,
            token_sent: fields.token_sent,
            fetched: fields.fetched,
        };
        let dead = fields.tombstone || head.is_dead(now.unix_s(), self.flushed);
        (!dead).then_some(head)
    }

    /// The entry that stands for a record in memory: none for one that is dead without anybody
    /// having deleted it.
    fn memory_entry(&self, now: Now, view: &View<'_>) -> Option<Entry> {
        let fields = &view.fields;
        if fields.tombstone && fields.version >= BURIALS_MAX {
            return Some(Entry {
                key: Bytes::copy_from_slice(view.key),
                version: fields.version,
                state: State::Tombstone,
                request: None,
            });
        }
        self.item_entry(now, view)
    }
}

/// An item's entry: its state is what the disk has of it, head and value.
fn entry(key: &[u8], head: &Head, value: &[u8]) -> Entry {
    let mut state = Vec::with_capacity(crate::disk::HEAD_BYTES + value.len());
    encode_head(head, &mut state);
    state.extend_from_slice(value);
    Entry {
        key: Bytes::copy_from_slice(key),
        version: head.version,
        state: State::Item(Bytes::from(state)),
        request: None,
    }
}

/// The data of one partition, lent to its replica for one call.
pub(super) struct Copy<'a> {
    shard: &'a mut Shard,
    partition: u16,
    now: Now,
}

impl<'a> Copy<'a> {
    /// The data of `partition`, at this moment.
    pub(super) fn new(shard: &'a mut Shard, partition: u16, now: Now) -> Self {
        Self {
            shard,
            partition,
            now,
        }
    }

    fn part(&mut self) -> &mut Part {
        self.shard.copies.part(self.partition)
    }

    /// Whether an entry is newer than what there is of its key.
    fn is_newer(&self, hash: KeyHash, entry: &Entry, arrival: Arrival) -> bool {
        let key = Fingerprint::of(hash, &entry.key);
        let part = self.shard.copies.parts.get(&self.partition);
        let copies = &self.shard.copies;
        if let Some(Phase::Filling { came, .. }) = part.map(|part| &part.phase)
            && copies.keeps(Rule::AsideIsAbsent)
        {
            return came.is_newer(key, entry.version) || !copies.keeps(Rule::CameIsKnown);
        }
        if let Some(place) = self.shard.cache.find(hash, &entry.key) {
            let known = self.shard.cache.view(place).fields.version;
            return known < entry.version;
        }
        let merge = part.and_then(|part| part.merge.as_ref());
        match arrival {
            Arrival::Live | Arrival::Listed => true,
            Arrival::Merged => merge.is_none_or(|it| it.versions.is_newer(key, entry.version)),
        }
    }

    /// Whether memory holds just this state of a key, set aside: it stays as it is, as warm as it is,
    /// and is not written again. Two sides of a Force may have drawn the same version.
    fn has_already(&self, hash: KeyHash, entry: &Entry) -> bool {
        let place = self.shard.cache.find(hash, &entry.key);
        let (Some(place), State::Item(state)) = (place, &entry.state) else {
            return false;
        };
        let view = self.shard.cache.view(place);
        let held = self.shard.item_head(self.now, &view);
        let (Some(held), Ok((head, value))) = (held, decode(state)) else {
            return false;
        };
        // When it was read is each replica's own business.
        let head = Head {
            version: entry.version,
            accessed_s: held.accessed_s,
            fetched: held.fetched,
            ..head
        };
        head == held && value == view.value_slice()
    }

    /// Whether neither tier has anything.
    fn has_nothing(&self) -> bool {
        let state = self.shard.cache.partition(self.partition);
        let is_known = self.shard.persist.is_none() || state.complete;
        state.records == 0 && is_known
    }
}

impl Store for Copy<'_> {
    fn apply(&mut self, entry: &Entry, arrival: Arrival) -> bool {
        let hash = KeyHash::of(&entry.key);
        let bytes = entry.key.len();
        let is_sound = hash.partition() == self.partition
            && (1..=KEY_BYTES_MAX).contains(&bytes)
            && (BURIALS_MAX..VERSIONS_MAX).contains(&entry.version);
        if !is_sound {
            self.shard.figures.replica_unreadable += 1;
            return false;
        }
        self.shard.clock.advance_past(entry.version);
        if !self.is_newer(hash, entry, arrival) {
            return false;
        }
        let key = Fingerprint::of(hash, &entry.key);
        self.shard.copies.note(self.partition, key, entry.version);
        if !self.has_already(hash, entry) {
            self.shard.install(self.now, hash, entry);
        }
        true
    }

    fn scan(&mut self, cursor: u64, bytes_max: usize, into: &mut Vec<Entry>) -> Scan {
        self.hand_out(cursor, bytes_max, into)
    }

    fn digest(&self) -> Digest {
        let Some(part) = self.shard.copies.parts.get(&self.partition) else {
            return Digest::default();
        };
        match &part.phase {
            Phase::Filling { came, .. } => came.digest(),
            Phase::Whole | Phase::Purging { .. } => part
                .given
                .as_ref()
                .map_or(Digest::default(), Versions::digest),
        }
    }

    fn version_highest(&self) -> u64 {
        self.shard.clock.last()
    }

    fn is_empty(&self) -> bool {
        let part = self.shard.copies.parts.get(&self.partition);
        match part.map(|part| &part.phase) {
            None | Some(Phase::Whole) => self.has_nothing(),
            Some(Phase::Filling { came, fresh, .. }) => *fresh && came.is_empty(),
            // Whatever has come since is kept, and the rest is as good as gone.
            Some(Phase::Purging { kept, .. }) => kept.is_empty(),
        }
    }

    fn has_room(&self) -> bool {
        self.shard.copies.unburied_bytes < UNBURIED_BYTES_MAX
    }

    fn is_mixed(&self) -> bool {
        self.shard.copies.mixed.contains(self.partition)
    }

    fn may_vouch(&self) -> bool {
        self.shard.copies.mixed.is_kept(self.partition)
    }

    fn set_aside(&mut self) {
        self.shard.note_mixed(self.partition);
        let nothing = self.has_nothing();
        let part = self.part();
        let (kept_before, fresh) = match core::mem::take(&mut part.phase) {
            Phase::Whole => (None, nothing),
            Phase::Filling {
                came,
                kept_before,
                fresh,
            } => (kept_before, fresh && came.is_empty()),
            Phase::Purging { kept, .. } => (Some(kept), false),
        };
        part.phase = Phase::Filling {
            came: Versions::default(),
            kept_before,
            fresh,
        };
    }

    fn bring_back(&mut self) {
        let partition = self.partition;
        let part = self.part();
        let phase = core::mem::take(&mut part.phase);
        part.phase = match phase {
            Phase::Filling {
                came,
                kept_before: Some(mut kept),
                ..
            } => {
                kept.merge(&came);
                Phase::Purging {
                    kept,
                    purge: Purge::default(),
                }
            }
            Phase::Filling { .. } => Phase::Whole,
            other => other,
        };
        self.shard.begin_purge(partition);
        self.shard.copies.tidy(partition);
    }

    fn discard(&mut self) {
        let partition = self.partition;
        let is_persistent = self.shard.persist.is_some();
        let part = self.part();
        match core::mem::take(&mut part.phase) {
            Phase::Filling { came, fresh, .. } if !fresh => {
                self.shard.forget_all_but(self.now, partition, &came);
                if is_persistent {
                    self.part().phase = Phase::Purging {
                        kept: came,
                        purge: Purge::default(),
                    };
                    self.shard.begin_purge(partition);
                }
            }
            Phase::Filling { .. } => {}
            other => part.phase = other,
        }
        self.shard.note_unmixed(partition, self.now.time);
        self.shard.copies.tidy(partition);
    }

    fn begin_fill(&mut self) {
        let part = self.part();
        part.given = Some(Versions::default());
        part.reader = None;
    }

    fn end_fill(&mut self) {
        let part = self.part();
        if part.given.take().is_some() {
            part.reader = None;
        }
        self.shard.copies.tidy(self.partition);
    }

    fn prepare_merge(&mut self) -> bool {
        self.shard.prepare_merge(self.partition)
    }

    fn end_merge(&mut self) {
        self.shard.end_merge(self.partition);
    }
}
