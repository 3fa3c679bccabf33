//! One partition's data, kept plainly.
//!
//! Decides nothing: it does what [`Store`] asks.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use zufar_core::hash::KeyHash;
use zufar_core::replication::{Arrival, Digest, Entry, Scan, State, Store};

/// A store in memory; cloned, it is what a disk has kept.
#[derive(Clone, Debug, Default)]
pub(super) struct PlainStore {
    entries: BTreeMap<Bytes, Entry>,
    aside: BTreeMap<Bytes, Entry>,
    digest: Digest,
    version_highest: u64,
    /// Says first that it has to read what it is asked for.
    pub(super) slow: bool,
    waited: bool,
}

fn hash(entry: &Entry) -> u64 {
    let mut bytes = entry.key.to_vec();
    bytes.extend_from_slice(&entry.version.to_be_bytes());
    KeyHash::of(&bytes).bits()
}

impl PlainStore {
    pub(super) fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Drops tombstones that no replica needs any more, up to `version`.
    pub(super) fn collect_tombstones(&mut self, version: u64) {
        let dead = |entry: &Entry| entry.state == State::Tombstone && entry.version <= version;
        let keys: Vec<Bytes> = self
            .iter()
            .filter(|entry| dead(entry))
            .map(|entry| entry.key.clone())
            .collect();
        for key in keys {
            self.remove(&key);
        }
    }

    /// Whether what it is asked for has to be asked for again.
    fn must_wait(&mut self) -> bool {
        self.waited = self.slow && !self.waited;
        self.waited
    }

    /// Whether somebody waits for what it reads.
    pub(super) const fn is_waited_for(&self) -> bool {
        self.waited
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(before) = self.entries.remove(key) {
            self.digest.sum = self.digest.sum.wrapping_sub(hash(&before));
            self.digest.count -= 1;
        }
    }

    /// What a disk keeps: what was set aside is still there.
    pub(super) fn on_disk(&self) -> Self {
        let mut kept = self.clone();
        kept.bring_back();
        kept
    }
}

impl Store for PlainStore {
    fn apply(&mut self, entry: &Entry, _: Arrival) -> bool {
        let newer = self
            .get(&entry.key)
            .is_none_or(|before| before.version < entry.version);
        if newer {
            self.remove(&entry.key);
            self.digest.sum = self.digest.sum.wrapping_add(hash(entry));
            self.digest.count += 1;
            self.version_highest = self.version_highest.max(entry.version);
            self.entries.insert(entry.key.clone(), entry.clone());
        }
        newer
    }

    fn scan(&mut self, cursor: u64, bytes_max: usize, into: &mut Vec<Entry>) -> Scan {
        if self.must_wait() {
            return Scan::Wait;
        }
        // The cursor is a key's number: keys of a run are `k` and one byte.
        let from = match cursor {
            0 => Bound::Unbounded,
            at => Bound::Excluded(Bytes::copy_from_slice(&[b'k', (at - 1) as u8])),
        };
        let mut bytes = 0;
        for (key, entry) in self.entries.range((from, Bound::Unbounded)) {
            if bytes >= bytes_max {
                let last: &Entry = into.last().expect("something was added");
                return Scan::Next(u64::from(last.key[1]) + 1);
            }
            bytes += key.len() + 100;
            into.push(entry.clone());
        }
        Scan::End
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    fn version_highest(&self) -> u64 {
        self.version_highest
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.aside.is_empty()
    }

    fn set_aside(&mut self) {
        for (key, entry) in std::mem::take(&mut self.entries) {
            let newer = self
                .aside
                .get(&key)
                .is_none_or(|before| before.version < entry.version);
            if newer {
                self.aside.insert(key, entry);
            }
        }
        self.digest = Digest::default();
    }

    fn bring_back(&mut self) {
        for entry in std::mem::take(&mut self.aside).into_values() {
            self.apply(&entry, Arrival::Merged);
        }
    }

    fn discard(&mut self) {
        self.aside.clear();
    }

    fn prepare_merge(&mut self) -> bool {
        !self.must_wait()
    }
}
