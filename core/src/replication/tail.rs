//! The entries that are not known to be at every in-sync replica.
//!
//! Decides their order and which of them a watermark settles. Refuses to know who acknowledges.
//!
//! On a primary, positions run from 1 in each term and every entry has one. On a backup, entries
//! of earlier terms come first and have none: they stay until the primary says that all that it
//! has merged at its claim is settled, for that includes them.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;

use super::entry::{Entry, RequestId};

/// An entry and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    /// Counted in the present term from 1; 0 for an entry of an earlier term.
    pub(crate) position: u64,
    /// The number of the proposal that waits for it here; 0 for none.
    pub(crate) proposal: u64,
    pub(crate) entry: Entry,
}

/// Entries in the order in which they were executed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    entries: VecDeque<Placed>,
    bytes: usize,
    /// The highest version that a watermark has settled.
    settled_version: u64,
}

impl Tail {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the entries take, in bytes.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(&mut self, position: u64, proposal: u64, entry: Entry) {
        self.bytes += entry.bytes();
        self.entries.push_back(Placed {
            position,
            proposal,
            entry,
        });
    }

    /// A new term begins: positions of the one before mean nothing any more.
    pub(crate) fn begin_term(&mut self) {
        for placed in &mut self.entries {
            placed.position = 0;
        }
    }

    /// Nobody here waits for proposals any more.
    pub(crate) fn forget_proposals(&mut self) {
        for placed in &mut self.entries {
            placed.proposal = 0;
        }
    }

    /// Removes the entries up to position `committed`; those of earlier terms, too, if they are
    /// `settled`. Hands each to `each`.
    pub(crate) fn commit(&mut self, committed: u64, settled: bool, mut each: impl FnMut(&Placed)) {
        let goes = |placed: &Placed| match placed.position {
            0 => settled,
            position => position <= committed,
        };
        while let Some(placed) = self.entries.pop_front_if(|placed| goes(placed)) {
            self.bytes -= placed.entry.bytes();
            if placed.entry.request.is_some() {
                self.settled_version = self.settled_version.max(placed.entry.version);
            }
            each(&placed);
        }
    }

    /// The entries from `position` on, for a primary, whose entries all have one.
    pub(crate) fn from(&self, position: u64) -> impl Iterator<Item = &Placed> {
        let first = self.entries.front().map_or(0, |placed| placed.position);
        let skip = usize::try_from(position.saturating_sub(first)).unwrap_or(usize::MAX);
        self.entries.range(skip.min(self.entries.len())..)
    }

    /// Whether an entry was here and is known to be everywhere. Versions grow with positions, but
    /// for entries that a primary has taken over from another lineage: those name no request.
    pub(crate) fn is_everywhere(&self, entry: &Entry) -> bool {
        entry.request.is_some() && entry.version <= self.settled_version
    }

    /// Of each key the newest entry.
    pub(crate) fn newest(&self) -> impl Iterator<Item = &Entry> {
        let mut newest: BTreeMap<&Bytes, &Entry> = BTreeMap::new();
        for Placed { entry, .. } in &self.entries {
            let known = newest.entry(&entry.key).or_insert(entry);
            if known.version < entry.version {
                *known = entry;
            }
        }
        newest.into_values()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Placed> {
        self.entries.iter()
    }

    /// Where the entry of a request is, if it is here.
    pub(crate) fn position_of(&self, id: RequestId) -> Option<u64> {
        let mut found = self.entries.iter().rev();
        let placed = found.find(|placed| placed.entry.request_id() == Some(id))?;
        Some(placed.position)
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
        self.settled_version = 0;
    }

    /// Takes in what others hold and puts everything in the order of versions, each entry once,
    /// with positions from 1: the beginning of a primary's term. Returns the last position.
    pub(crate) fn merge(&mut self, others: impl Iterator<Item = Entry>) -> u64 {
        let mut all: Vec<Placed> = self.entries.drain(..).collect();
        all.extend(others.map(|entry| Placed {
            position: 0,
            proposal: 0,
            entry,
        }));
        let rank = |placed: &Placed| {
            let entry = &placed.entry;
            (entry.version, entry.key.clone(), entry.request_id())
        };
        // A stable sort: of equals the one that somebody waits for comes first.
        all.sort_by_cached_key(rank);
        all.dedup_by(|later, first| rank(later) == rank(first));
        self.bytes = 0;
        let mut position = 0;
        for placed in all {
            position += 1;
            self.push(position, placed.proposal, placed.entry);
        }
        position
    }
}
