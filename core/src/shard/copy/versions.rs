//! Which version of which key: what a fill or a merge has to remember.
//!
//! Decides how keys are told apart and what two ends compare. Refuses to know what the versions
//! are of.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry as Slot;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::hash::{KeyHash, TAG_BITS};
use crate::replication::Digest;

/// Bits of a key's hash that are the same all over its partition.
const PARTITION_BITS: u32 = 12;
/// What one key takes of a map, in bytes: keys come in no order, so nodes are two thirds full.
pub(super) const KEY_BYTES: usize = 28;

/// What a key is told by within its partition: the hash without the partition's bits, and as many
/// bits of a second one in their place. Of a million keys two have the same once in 30 million
/// partitions.
///
/// Its order is that of tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    pub(super) fn of(hash: KeyHash, key: &[u8]) -> Self {
        let second = xxh3_64_with_seed(key, 1) >> (64 - PARTITION_BITS);
        Self(hash.bits() << PARTITION_BITS | second)
    }

    /// The key's tag.
    pub(super) const fn tag(self) -> u32 {
        (self.0 >> (64 - TAG_BITS)) as u32
    }
}

/// The newest version of each key that was met.
#[derive(Debug, Default)]
pub(super) struct Versions {
    newest: BTreeMap<Fingerprint, u64>,
    sum: u64,
}

fn mixed(key: Fingerprint, version: u64) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&key.0.to_be_bytes());
    bytes[8..].copy_from_slice(&version.to_be_bytes());
    xxh3_64(&bytes)
}

impl Versions {
    /// Takes note of a version. Returns whether it is newer than what was known.
    pub(super) fn note(&mut self, key: Fingerprint, version: u64) -> bool {
        match self.newest.entry(key) {
            Slot::Vacant(slot) => {
                slot.insert(version);
            }
            Slot::Occupied(slot) if *slot.get() >= version => return false,
            Slot::Occupied(mut slot) => {
                let older = slot.insert(version);
                self.sum = self.sum.wrapping_sub(mixed(key, older));
            }
        }
        self.sum = self.sum.wrapping_add(mixed(key, version));
        true
    }

    pub(super) fn newest(&self, key: Fingerprint) -> Option<u64> {
        self.newest.get(&key).copied()
    }

    /// Whether `version` of the key is newer than what is known.
    pub(super) fn is_newer(&self, key: Fingerprint, version: u64) -> bool {
        self.newest(key).is_none_or(|known| known < version)
    }

    pub(super) fn contains(&self, key: Fingerprint) -> bool {
        self.newest.contains_key(&key)
    }

    pub(super) fn len(&self) -> usize {
        self.newest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.newest.is_empty()
    }

    /// All keys, in the order of their tags.
    pub(super) fn keys(&self) -> impl Iterator<Item = Fingerprint> {
        self.newest.keys().copied()
    }

    /// Takes in what another one knows.
    pub(super) fn merge(&mut self, other: &Self) {
        for (key, version) in &other.newest {
            self.note(*key, *version);
        }
    }

    pub(super) fn digest(&self) -> Digest {
        Digest {
            sum: self.sum,
            count: self.newest.len() as u64,
        }
    }
}
