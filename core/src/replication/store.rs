//! The seam to a partition's data.
//!
//! Decides what replication asks of it. Refuses to know how items are kept.

use alloc::vec::Vec;

use super::entry::Entry;

/// One partition's data on this node.
///
/// Entries that are *set aside* count as absent everywhere but in [`bring_back`] and [`discard`]:
/// they are what a replica held before it is filled anew.
///
/// [`bring_back`]: Self::bring_back
/// [`discard`]: Self::discard
pub trait Store {
    /// Takes in an entry if it is newer than what there is of its key. Returns whether it was.
    fn apply(&mut self, entry: &Entry) -> bool;

    /// Adds entries to `into`, tombstones included, until about `bytes_max` have been added or all
    /// are through: at least one, if any is left. The first call passes 0, later ones what the one
    /// before returned; `None` says that it was the last. What is there during the whole scan
    /// comes at least once, whatever changes meanwhile.
    fn scan(&mut self, cursor: u64, bytes_max: usize, into: &mut Vec<Entry>) -> Option<u64>;

    /// What tells two stores of equal entries from others, tombstones included. O(1).
    fn digest(&self) -> Digest;

    /// The highest version of any entry that it has held; 0 for none.
    fn version_highest(&self) -> u64;

    /// Whether there is anything, set aside or not.
    fn is_empty(&self) -> bool;

    /// Sets everything aside.
    fn set_aside(&mut self);

    /// Brings back what is set aside, where it is newer.
    fn bring_back(&mut self);

    /// Drops what is set aside.
    fn discard(&mut self);
}

/// The sum of a hash over every (key, version), and how many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest {
    /// The sum, wrapping.
    pub sum: u64,
    /// Entries, tombstones included.
    pub count: u64,
}
