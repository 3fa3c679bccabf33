//! What has been evicted of late: fingerprints of keys that went unread.
//!
//! Decides how many evictions are remembered and for how long. Refuses to know what a memory
//! of one leads to. An entry ages out when another takes its slot.

use alloc::boxed::Box;
use alloc::vec;

use super::allocation::allocation_bytes;
use crate::hash::KeyHash;

/// One slot for so many bytes of the memory limit.
const LIMIT_BYTES_PER_SLOT: usize = 256;
/// Slots of the largest table: half a GiB.
const SLOTS_MAX: usize = 1 << 28;

/// A direct-mapped table of 16-bit fingerprints; 0 is an empty slot.
#[derive(Debug)]
pub(super) struct Ghost {
    slots: Box<[u16]>,
}

impl Ghost {
    /// A table for a memory limit.
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self {
            slots: vec![0; slots_for(limit_bytes)].into_boxed_slice(),
        }
    }

    /// Whether a table for `limit_bytes` would be of quite another size. One that follows every
    /// small change of the limit would forget all too often.
    pub(super) fn misfits(&self, limit_bytes: usize) -> bool {
        let fit = slots_for(limit_bytes);
        let slots = self.slots.len();
        slots > fit + fit / 4 || slots < fit - fit / 4
    }

    /// Bytes of memory that the table takes.
    pub(super) fn memory_bytes(&self) -> usize {
        allocation_bytes(self.slots.len() * size_of::<u16>())
    }

    /// Remembers a key.
    pub(super) fn remember(&mut self, hash: KeyHash) {
        let (slot, fingerprint) = self.place(hash);
        self.slots[slot] = fingerprint;
    }

    /// Whether the key is remembered; it is forgotten by being asked for.
    pub(super) fn recall(&mut self, hash: KeyHash) -> bool {
        let (slot, fingerprint) = self.place(hash);
        let known = self.slots[slot] == fingerprint;
        if known {
            self.slots[slot] = 0;
        }
        known
    }

    fn place(&self, hash: KeyHash) -> (usize, u16) {
        let low = hash.bits() & u64::from(u32::MAX);
        let slot = (low * self.slots.len() as u64) >> 32;
        (slot as usize, ((hash.bits() >> 32) as u16).max(1))
    }
}

fn slots_for(limit_bytes: usize) -> usize {
    (limit_bytes / LIMIT_BYTES_PER_SLOT).clamp(1, SLOTS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u32) -> KeyHash {
        KeyHash::of(&number.to_le_bytes())
    }

    #[test]
    fn remembers_and_ages() {
        let mut ghost = Ghost::new(1 << 20);
        assert_eq!(ghost.memory_bytes(), 8192);
        assert!(!ghost.recall(hash(1)));
        ghost.remember(hash(1));
        assert!(ghost.recall(hash(1)));
        assert!(!ghost.recall(hash(1)));
        for number in 0..40_000 {
            ghost.remember(hash(number));
        }
        let recent = (39_000..40_000)
            .filter(|&number| ghost.recall(hash(number)))
            .count();
        let ancient = (0..1000)
            .filter(|&number| ghost.recall(hash(number)))
            .count();
        assert!(recent > 800 && ancient < 5, "{recent} {ancient}");
    }

    #[test]
    fn follows_large_changes_of_the_limit_only() {
        let ghost = Ghost::new(1 << 20);
        assert!(!ghost.misfits((1 << 20) + 100_000));
        assert!(!ghost.misfits((1 << 20) - 100_000));
        assert!(ghost.misfits(2 << 20));
        assert!(ghost.misfits(1 << 19));
        assert!(ghost.misfits(0));
    }

    #[test]
    fn has_a_largest_size() {
        assert_eq!(slots_for(usize::MAX), SLOTS_MAX);
        assert_eq!(slots_for(1 << 20), 4096);
    }
}
