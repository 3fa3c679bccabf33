//! From a key to its place: one 64-bit hash, cut into partition and tag.
//!
//! Decides the hash function, which every node and every data directory must share.
//! Refuses to know who owns a partition.

use xxhash_rust::xxh3::xxh3_64;

/// The number of partitions: a constant of the cluster and of the disk format.
pub const PARTITIONS: usize = 1 << PARTITION_BITS;
const PARTITION_BITS: u32 = 12;
/// Bits of the hash that an index keeps of a key, beside its partition.
pub const TAG_BITS: u32 = 24;

/// The XXH3 64-bit hash of a key, seed 0, as its specification gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(u64);

impl KeyHash {
    /// Hashes `key`.
    #[must_use]
    #[inline]
    pub fn of(key: &[u8]) -> Self {
        Self(xxh3_64(key))
    }

    /// The partition that the key lies in: the top 12 bits.
    #[must_use]
    #[inline]
    pub const fn partition(self) -> u16 {
        (self.0 >> (64 - PARTITION_BITS)) as u16
    }

    /// What an index of one partition keeps of the key: the 24 bits below the partition's.
    #[must_use]
    #[inline]
    pub const fn tag(self) -> u32 {
        ((self.0 >> (64 - PARTITION_BITS - TAG_BITS)) & ((1 << TAG_BITS) - 1)) as u32
    }

    /// All 64 bits.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u64 {
        self.0
    }
}
