//! What is known of the disk: which partitions are complete in memory, which tags are not.
//!
//! Decides when a miss is final. Refuses to know how the disk is read.

use alloc::vec::Vec;

use super::disk_tags::TAG_BYTES;
use super::partition::Partition;
use super::room::Goal;
use super::{Cache, allocation_bytes};
use crate::hash::{KeyHash, PARTITIONS};

/// What is known of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// Its disk keys have been scanned: what is neither in memory nor among the disk-only tags
    /// does not exist.
    pub known: bool,
    /// A scan is under way.
    pub scanning: bool,
    /// Known, and nothing is on disk only: a miss is final.
    pub complete: bool,
    /// Not known because its tags took too much memory; a scan is worth while only once there
    /// is more.
    pub given_up: bool,
    /// Its records in memory, tombstones included.
    pub records: u32,
    /// Tags of its keys that only the disk has.
    pub disk_only: u32,
    /// Disk reads that found nothing since the last scan.
    pub stale_tags: u32,
}

impl Cache {
    /// What is known of `partition`.
    #[must_use]
    pub fn partition(&self, partition: u16) -> PartitionState {
        let found = &self.partitions[self.dense(partition)];
        PartitionState {
            known: found.known,
            scanning: found.is_scanning(),
            complete: found.is_complete(),
            given_up: found.given_up,
            records: found.index.len() as u32,
            disk_only: found.disk_only() as u32,
            stale_tags: found.stale_tags,
        }
    }

    /// Items of a partition that are in memory, tombstones included.
    #[must_use]
    pub fn items_of(&self, partition: u16) -> usize {
        self.partitions[self.dense(partition)].index.len()
    }

    /// How many partitions are known, and how many of them complete.
    #[must_use]
    pub fn known_partitions(&self) -> (u64, u64) {
        let known = self
            .partitions
            .iter()
            .filter(|partition| partition.known)
            .count();
        let complete = self
            .partitions
            .iter()
            .filter(|partition| partition.is_complete());
        (known as u64, complete.count() as u64)
    }

    /// Whether the disk may hold a key that is not in memory.
    #[must_use]
    #[inline]
    pub fn may_be_on_disk(&self, hash: KeyHash) -> bool {
        self.partitions[self.dense(hash.partition())].may_be_on_disk(hash.tag())
    }

    /// From now until [`end_scan`](Self::end_scan), whatever leaves memory in `partition` is
    /// remembered. A scan that is under way starts over.
    pub fn begin_scan(&mut self, partition: u16) {
        self.alter(partition, |altered| altered.begin_scan());
        self.trim();
    }

    /// Gives a scan up; what was known before still is.
    pub fn abandon_scan(&mut self, partition: u16) {
        self.alter(partition, |altered| altered.abandon_scan());
    }

    /// Whether a record with `tag` has left memory since the scan of `partition` began. What
    /// the scan brings of it may be older and is not to be taken.
    #[must_use]
    pub fn tag_removed_during_scan(&self, partition: u16, tag: u32) -> bool {
        self.partitions[self.dense(partition)].was_removed_during_scan(tag)
    }

    /// The scan of `partition` has met all its keys on disk; `collected` has the tags of those
    /// that were not in memory. It comes back empty. False if there is no memory for the tags:
    /// the partition is then given up.
    ///
    /// # Panics
    /// If no scan was under way.
    pub fn end_scan(&mut self, partition: u16, collected: &mut Vec<u32>) -> bool {
        let before = self.partitions[self.dense(partition)].tag_bytes();
        let removed = self.partitions[self.dense(partition)].removed_during_scan();
        let wanted = allocation_bytes((collected.len() + removed) * TAG_BYTES);
        let goal = Goal {
            other_bytes: wanted,
            ..Goal::default()
        };
        let room = self.tag_bytes - before + wanted <= self.tag_bytes_max()
            && self.make_room(&goal).is_ok();
        if room {
            self.alter(partition, |altered| altered.end_scan(collected));
        } else {
            collected.clear();
            self.alter(partition, |altered| {
                altered.abandon_scan();
                altered.give_up();
                altered.given_up = true;
            });
        }
        self.trim();
        room
    }

    /// Of a partition that is known, these are now all the tags of keys that only the disk has;
    /// `tags` comes back empty.
    pub fn set_disk_tags(&mut self, partition: u16, tags: &mut Vec<u32>) {
        self.alter(partition, |altered| altered.set_tags(tags));
        if self.tag_bytes > self.tag_bytes_max() {
            self.alter(partition, Partition::give_up);
        }
        self.trim();
    }

    /// Keys with these tags are on disk and not in memory.
    pub fn note_disk_only(&mut self, partition: u16, tags: &[u32]) {
        for &tag in tags {
            self.alter(partition, |altered| altered.note_disk_only(tag));
            if self.tag_bytes > self.tag_bytes_max() {
                self.alter(partition, Partition::give_up);
            }
        }
        self.trim();
    }

    /// Gives partitions up until the tag sets take no more than their share of the limit.
    pub(super) fn give_up_tags(&mut self) {
        let (worker, workers) = (self.settings.worker, self.settings.workers);
        for partition in (worker..PARTITIONS as u16).step_by(usize::from(workers)) {
            if self.tag_bytes <= self.tag_bytes_max() {
                break;
            }
            self.alter(partition, Partition::give_up);
        }
    }

    /// A disk read for a disk-only tag has found nothing.
    pub fn note_stale_tag(&mut self, partition: u16) {
        let dense = self.dense(partition);
        let stale_tags = &mut self.partitions[dense].stale_tags;
        *stale_tags = stale_tags.saturating_add(1);
    }

    /// Disk reads of `partition` that have found nothing since its last scan.
    #[must_use]
    pub fn stale_tags(&self, partition: u16) -> u32 {
        self.partitions[self.dense(partition)].stale_tags
    }
}
