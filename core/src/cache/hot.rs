//! Which keys are worth having back first after a restart.
//!
//! Decides their order and a bound for finding them. Refuses to know where the list goes.

use alloc::vec::Vec;

use super::log::{Location, Queue};
use super::{Cache, Partition};

/// Segments that one list walks.
const SEGMENTS_WALKED_MAX: usize = 512;

impl Cache {
    /// Appends the hottest keys to `into`, each behind its length in one byte, until the list
    /// has `bytes_max` bytes: those in demand before the others, the main queue before the
    /// newcomers, new segments before old ones. An empty key parts the two. Where all that the disk
    /// has is in memory, only those in demand: the others will all find room again.
    pub fn hot_keys(&self, bytes_max: usize, into: &mut Vec<u8>) {
        let bytes_end = into.len() + bytes_max;
        let mut segments_left = SEGMENTS_WALKED_MAX;
        for in_demand in [true, false] {
            for queue in [Queue::Main, Queue::Small] {
                let mut next = self.log.newest(queue);
                while let Some(number) = next
                    && segments_left > 0
                {
                    if !self.push_keys(number, in_demand, bytes_end, into) {
                        return;
                    }
                    segments_left -= 1;
                    next = self.log.older(number);
                }
            }
            if self.partitions.iter().all(Partition::is_complete) || into.len() >= bytes_end {
                return;
            }
            if in_demand {
                into.push(0);
            }
        }
    }

    /// Appends a segment's keys, of items in demand or of the others; false once the list is
    /// full.
    fn push_keys(&self, number: u32, in_demand: bool, end: usize, into: &mut Vec<u8>) -> bool {
        let segment = self.log.segment(number);
        let mut offset = segment.head;
        while offset < segment.end {
            let record = self.log.record(Location::new(number, offset as usize));
            let header = record.header;
            offset += header.record_bytes() as u32;
            let wanted = (header.frequency() > 0) == in_demand;
            if header.is_dead() || header.is_tombstone() || !wanted {
                continue;
            }
            if into.len() + 1 + record.key().len() > end {
                return false;
            }
            into.push(header.key_bytes);
            into.extend_from_slice(record.key());
        }
        true
    }
}
