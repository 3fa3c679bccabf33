//! What compaction leaves out: items that have expired or been flushed.
//!
//! Decides when a record on disk is dead for good. Refuses to know when compaction runs.
//!
//! A record whose value lies apart is never left out here: its chunks are in another family,
//! which a filter can't reach, and would be lost track of. Its key is handed to the next writer
//! instead, who deletes both in one batch; a key that does not fit in the queue is met again by
//! a later compaction.

use std::ffi::CStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rocksdb::CompactionDecision;
use rocksdb::compaction_filter::CompactionFilter;
use rocksdb::compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory};
use zufar_core::disk::{Head, decode};

/// A record has to be expired for so long, since the core's clock slews behind the system's.
const EXPIRED_FOR_S: u64 = 60;
/// Most keys that wait for a writer.
const DEAD_APART_MAX: usize = 1024;

/// What compaction threads, readers and writers tell each other.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Items up to this version have been flushed. Never goes down.
    pub(crate) flushed: AtomicU64,
    /// Times that an unreadable record has been met.
    pub(crate) damaged: AtomicU64,
    /// Dead records that have been left out or deleted.
    pub(crate) dropped: AtomicU64,
    /// Bytes of keys, records and notes that have been written.
    pub(crate) accepted_bytes: AtomicU64,
    dead_apart: Mutex<Vec<Vec<u8>>>,
}

impl Shared {
    /// Whether nobody should get `head` any more, by the clock at this moment.
    pub(crate) fn is_dead(&self, head: &Head) -> bool {
        head.is_dead(expired_before_s(), self.flushed.load(Ordering::Relaxed))
    }

    /// Takes the disk keys of dead records whose values lie apart.
    pub(crate) fn take_dead_apart(&self) -> Vec<Vec<u8>> {
        std::mem::take(
            &mut *self
                .dead_apart
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    fn push_dead_apart(&self, key: &[u8]) {
        let mut waiting = self
            .dead_apart
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < DEAD_APART_MAX {
            waiting.push(key.to_vec());
        }
    }
}

fn expired_before_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs().saturating_sub(EXPIRED_FOR_S))
}

/// Makes one [`Filter`] for each compaction.
pub(crate) struct Factory(pub(crate) Arc<Shared>);

impl CompactionFilterFactory for Factory {
    type Filter = Filter;

    fn create(&mut self, _: CompactionFilterContext) -> Filter {
        Filter {
            flushed: self.0.flushed.load(Ordering::Relaxed),
            expired_before_s: expired_before_s(),
            shared: Arc::clone(&self.0),
        }
    }

    fn name(&self) -> &CStr {
        c"zufar-dead-items"
    }
}

/// Decides for one compaction, by the watermark and the clock at its start.
pub(crate) struct Filter {
    shared: Arc<Shared>,
    flushed: u64,
    expired_before_s: u64,
}

impl CompactionFilter for Filter {
    fn filter(&mut self, _level: u32, key: &[u8], record: &[u8]) -> CompactionDecision {
        let Ok((head, value)) = decode(record) else {
            self.shared.damaged.fetch_add(1, Ordering::Relaxed);
            return CompactionDecision::Keep;
        };
        if !head.is_dead(self.expired_before_s, self.flushed) {
            return CompactionDecision::Keep;
        }
        if value.len() != head.value_bytes as usize {
            self.shared.push_dead_apart(key);
            return CompactionDecision::Keep;
        }
        self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        CompactionDecision::Remove
    }

    fn name(&self) -> &CStr {
        c"zufar-dead-items"
    }
}
