//! What some partitions have and most have not.
//!
//! Decides where it lies, so that looking is one step and coming and going allocates nothing.
//! Refuses to know what it is.

use alloc::vec;
use alloc::vec::Vec;

use crate::hash::PARTITIONS;

/// Something that partitions may have.
pub(super) struct Table<T> {
    /// For each partition where in `entries` it has its own, counted from 1; 0 if it has none.
    places: Vec<u16>,
    entries: Vec<T>,
    /// Places that belong to no partition, and whose entries are as they were left.
    free: Vec<u16>,
}

impl<T: Default> Table<T> {
    pub(super) fn new() -> Self {
        Self {
            places: vec![0; PARTITIONS],
            entries: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn index(&self, partition: u16) -> Option<usize> {
        usize::from(self.places[usize::from(partition)]).checked_sub(1)
    }

    #[inline]
    pub(super) fn has(&self, partition: u16) -> bool {
        self.index(partition).is_some()
    }

    #[inline]
    pub(super) fn get(&self, partition: u16) -> Option<&T> {
        self.index(partition).map(|at| &self.entries[at])
    }

    #[inline]
    pub(super) fn get_mut(&mut self, partition: u16) -> Option<&mut T> {
        self.index(partition).map(|at| &mut self.entries[at])
    }

    /// Gives `partition`, which has none, an entry: a new one, or one that was left.
    pub(super) fn enter(&mut self, partition: u16) -> &mut T {
        assert!(!self.has(partition), "a partition has one");
        let at = self.free.pop().unwrap_or_else(|| {
            self.entries.push(T::default());
            u16::try_from(self.entries.len()).expect("no more than partitions")
        });
        self.places[usize::from(partition)] = at;
        &mut self.entries[usize::from(at) - 1]
    }

    /// Leaves the entry of `partition` to the next one that enters.
    pub(super) fn leave(&mut self, partition: u16) {
        let at = core::mem::take(&mut self.places[usize::from(partition)]);
        assert!(at > 0, "only what is there can go");
        self.free.push(at);
    }

    /// All of them, by partition.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, &T)> {
        let partitions = 0..PARTITIONS as u16;
        partitions.filter_map(|partition| Some((partition, self.get(partition)?)))
    }
}
