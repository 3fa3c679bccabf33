//! Notes that are no items: what the node knows of its cluster, and what voters have to keep.
//!
//! Decides what is told once it is synced. Refuses to know what is in a note: `notes` has that.

#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use crate::disk::NOTE_GENERATION;
use crate::notes;
use crate::replication::{Record, Term};

use super::Shard;
use super::persist::{Kept, Note};

impl Shard {
    /// Has a note written with the next batch, in place of an older one of this name. Nobody
    /// waits for it.
    pub(crate) fn keep_note(&mut self, name: &[u8], content: Vec<u8>) {
        if let Some(persist) = &mut self.persist {
            persist.note(name.to_vec(), content, None);
        }
    }

    /// Keeps the number that this run is to have; [`take_kept_generation`] tells once it is
    /// synced. False if there is no disk, and it need not be waited for.
    ///
    /// [`take_kept_generation`]: Self::take_kept_generation
    pub(crate) fn keep_generation(&mut self, generation: u64) -> bool {
        let Some(persist) = &mut self.persist else {
            return false;
        };
        let note = Note {
            content: notes::generation(generation),
            since: None,
            then: Some(Kept::Generation(generation)),
        };
        persist.put_note(NOTE_GENERATION.to_vec(), note);
        true
    }

    /// Keeps what this node has promised and accepted as a voter of a partition, with the next
    /// batch, in place of what was to be kept before. If `awaited`, the batch is synced at once,
    /// and [`take_kept_records`] tells then. Without a record there is nothing to keep: a later
    /// run that finds none asks the other voters, whatever was promised.
    ///
    /// Without a disk this does nothing, and nobody must wait for it.
    ///
    /// [`take_kept_records`]: Self::take_kept_records
    pub(crate) fn keep_record(
        &mut self,
        partition: u16,
        promised: Option<Term>,
        record: Option<&Record>,
        awaited: bool,
    ) {
        let (Some(persist), Some(record)) = (&mut self.persist, record) else {
            return;
        };
        let name = notes::record_name(partition);
        // Who waits for the one before it is served as well by this one.
        let awaited = awaited || persist.is_awaited(&name);
        let note = Note {
            content: notes::record(promised, record),
            since: None,
            then: awaited.then_some(Kept::Record(partition, record.term)),
        };
        persist.put_note(name, note);
    }

    /// The awaited records that have been synced since the last call: partitions and terms.
    pub(crate) fn take_kept_records(&mut self) -> Vec<(u16, Term)> {
        let Some(persist) = &mut self.persist else {
            return Vec::new();
        };
        let records = persist
            .kept
            .extract_if(.., |it| matches!(it, Kept::Record(..)));
        let records = records.filter_map(|it| match it {
            Kept::Record(partition, term) => Some((partition, term)),
            Kept::Generation(_) | Kept::Mixture(_) => None,
        });
        records.collect()
    }

    /// The number that this run may have from now on, since it has been synced.
    pub(crate) fn take_kept_generation(&mut self) -> Option<u64> {
        let kept = &mut self.persist.as_mut()?.kept;
        let at = kept
            .iter()
            .position(|it| matches!(it, Kept::Generation(_)))?;
        match kept.swap_remove(at) {
            Kept::Generation(generation) => Some(generation),
            Kept::Record(..) | Kept::Mixture(_) => unreachable!("it was looked for"),
        }
    }

    /// Whether there is anything that would be lost with this worker's partitions: items, in
    /// memory or on disk.
    pub(crate) fn holds_data(&self) -> bool {
        self.cache.items() > 0
    }
}
