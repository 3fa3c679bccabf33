//! One partition's tables: where its items lie, and what only the disk has.
//!
//! Decides what is known of the disk and what a scan in progress must not forget. Refuses to
//! know records and the memory limit.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::allocation::allocation_bytes;
use super::disk_tags::DiskTags;
use super::index::Index;

/// Index and disk knowledge of one partition.
#[derive(Debug, Default)]
pub(super) struct Partition {
    pub(super) index: Index,
    /// A superset of the tags of keys that are on disk and not in memory, if `known`.
    tags: DiskTags,
    /// During a scan: the tags of what has left memory since the scan began.
    removed: Option<Box<DiskTags>>,
    pub(super) stale_tags: u32,
    pub(super) known: bool,
    pub(super) given_up: bool,
}

impl Partition {
    /// An empty partition; one without a disk behind it is known from the start.
    pub(super) fn new(known: bool) -> Self {
        Self {
            known,
            ..Self::default()
        }
    }

    /// Bytes of memory that the tables take.
    pub(super) fn memory_bytes(&self) -> usize {
        self.index.memory_bytes() + self.tag_bytes()
    }

    /// Bytes of memory that the tag sets take.
    pub(super) fn tag_bytes(&self) -> usize {
        let removed = self.removed.as_ref().map_or(0, |removed| {
            allocation_bytes(size_of::<DiskTags>()) + removed.memory_bytes()
        });
        self.tags.memory_bytes() + removed
    }

    pub(super) fn disk_only(&self) -> usize {
        self.tags.len()
    }

    pub(super) fn is_scanning(&self) -> bool {
        self.removed.is_some()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.known && self.tags.is_empty()
    }

    pub(super) fn may_be_on_disk(&self, tag: u32) -> bool {
        !self.known || self.tags.contains(tag)
    }

    pub(super) fn removed_during_scan(&self) -> usize {
        self.removed.as_ref().map_or(0, |removed| removed.len())
    }

    pub(super) fn was_removed_during_scan(&self, tag: u32) -> bool {
        let removed = self.removed.as_ref();
        removed.is_some_and(|removed| removed.contains(tag))
    }

    /// A record has left memory. `on_disk` says that the disk has its content.
    pub(super) fn note_removed(&mut self, tag: u32, on_disk: bool) {
        if let Some(removed) = &mut self.removed {
            removed.insert(tag);
            self.note_disk_only(tag);
        } else if on_disk {
            self.note_disk_only(tag);
        }
    }

    /// A key with this tag is on disk. Only a partition that is known needs to be told.
    pub(super) fn note_disk_only(&mut self, tag: u32) {
        if self.known {
            self.tags.insert(tag);
        }
    }

    /// Replaces the tags of what only the disk has, if they are known.
    pub(super) fn set_tags(&mut self, tags: &mut Vec<u32>) {
        if self.known {
            self.tags = DiskTags::from_tags(tags);
            self.stale_tags = 0;
        }
        tags.clear();
    }

    /// Gives up knowing, for want of memory: from now on every miss asks the disk.
    pub(super) fn give_up(&mut self) {
        if !self.known {
            return;
        }
        self.tags = DiskTags::default();
        self.known = false;
        self.given_up = true;
    }

    pub(super) fn begin_scan(&mut self) {
        self.removed = Some(Box::default());
    }

    pub(super) fn abandon_scan(&mut self) {
        self.removed = None;
    }

    /// Takes the scan's result for the truth. `collected` comes back empty.
    ///
    /// # Panics
    /// If there was no scan.
    pub(super) fn end_scan(&mut self, collected: &mut Vec<u32>) {
        let removed = self.removed.take();
        collected.extend(removed.expect("a scan that ends has begun").iter());
        self.tags = DiskTags::from_tags(collected);
        collected.clear();
        self.stale_tags = 0;
        self.known = true;
        self.given_up = false;
    }
}
