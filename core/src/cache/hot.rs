//! Which keys are worth having back first after a restart.
//!
//! Decides their order and a bound for finding them. Refuses to know where the list goes.

use alloc::vec::Vec;

use super::Cache;
use super::log::{Location, Queue};

/// Segments that one list walks.
const SEGMENTS_WALKED_MAX: usize = 512;

impl Cache {
    /// Appends the hottest keys to `into`, each behind its length in one byte, until the list
    /// has `bytes_max` bytes: those in demand before the others, the main queue before the
    /// newcomers, new segments before old ones.
    pub fn hot_keys(&self, bytes_max: usize, into: &mut Vec<u8>) {
        let bytes_end = into.len() + bytes_max;
        let mut segments_left = SEGMENTS_WALKED_MAX;
        let passes = [
            (Queue::Main, true),
            (Queue::Small, true),
            (Queue::Main, false),
            (Queue::Small, false),
        ];
        for (queue, in_demand) in passes {
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
