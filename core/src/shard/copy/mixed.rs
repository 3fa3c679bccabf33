//! What the disk has of a partition while a fill replaces it, and for a while after.
//!
//! Decides whether a later run could rely on it: not between the moment at which something is set
//! aside and that at which all that was brought is synced, and all of the rest is buried. Until then
//! the disk has a mixture, with older items, deleted ones among them. Refuses to know what is made of
//! that.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Phase;
use crate::id::WorkerId;
use crate::notes;
use crate::shard::Shard;
use crate::shard::persist::{Kept, Note};
use crate::time::Time;

/// The partitions of which the disk has a mixture.
#[derive(Default)]
pub(in crate::shard) struct Mixed(BTreeMap<u16, Mixture>);

#[derive(Default)]
struct Mixture {
    /// The disk knows.
    kept: bool,
    /// Since when nothing more is to be brought or buried.
    through: Option<Time>,
}

impl Mixed {
    /// Those of `worker` among what the last run has left.
    pub(in crate::shard) fn own(all: &[u16], worker: WorkerId, workers: u16) -> Self {
        let own = all.iter().filter(|it| *it % workers == worker.0);
        let kept = |partition: &u16| {
            let mixture = Mixture {
                kept: true,
                through: None,
            };
            (*partition, mixture)
        };
        Self(own.map(kept).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, partition: u16) -> bool {
        self.0.contains_key(&partition)
    }

    /// Whether the disk knows, if there is something to know.
    pub(super) fn is_kept(&self, partition: u16) -> bool {
        self.0.get(&partition).is_none_or(|mixture| mixture.kept)
    }
}

impl Shard {
    /// What there is of `partition` is set aside.
    pub(super) fn note_mixed(&mut self, partition: u16) {
        let Some(persist) = &mut self.persist else {
            return;
        };
        let mixture = self.copies.mixed.0.entry(partition).or_default();
        mixture.through = None;
        if !mixture.kept {
            let note = Note {
                content: notes::mixed(true),
                since: None,
                then: Some(Kept::Mixture(partition)),
            };
            persist.put_note(notes::mixed_name(partition), note);
        }
    }

    /// What replicas have waited for is synced: the disk knows of these mixtures.
    pub(in crate::shard) fn note_kept_mixtures(&mut self) {
        let Some(persist) = &mut self.persist else {
            return;
        };
        let is_mixture = |it: &mut Kept| matches!(it, Kept::Mixture(_));
        for kept in persist.kept.extract_if(.., is_mixture) {
            let Kept::Mixture(partition) = kept else {
                unreachable!("it was looked for");
            };
            if let Some(mixture) = self.copies.mixed.0.get_mut(&partition) {
                mixture.kept = true;
                self.copies.jobs.note_scanned(partition);
            }
        }
    }

    /// Nothing of `partition` is set aside or doomed any more, if that is so. What has come, and
    /// what buries the rest, may not be on disk yet.
    pub(super) fn note_unmixed(&mut self, partition: u16, now: Time) {
        let part = self.copies.parts.get(&partition);
        let is_whole = part.is_none_or(|part| matches!(part.phase, Phase::Whole));
        let mixture = self.copies.mixed.0.get_mut(&partition);
        if let Some(mixture) = mixture.filter(|_| is_whole) {
            mixture.through = Some(now);
        }
    }

    /// Has those noted as whole of which everything is synced.
    pub(super) fn settle_mixed(&mut self) {
        let Some(persist) = &mut self.persist else {
            return;
        };
        let unsynced = persist.unsynced_since();
        let is_settled = |_: &u16, mixture: &mut Mixture| {
            let settled = |at| unsynced.is_none_or(|since| since > at);
            mixture.kept && mixture.through.is_some_and(settled)
        };
        let settled = self.copies.mixed.0.extract_if(.., is_settled);
        let settled: Vec<u16> = settled.map(|(partition, _)| partition).collect();
        for partition in settled {
            let content = notes::mixed(false);
            persist.note(notes::mixed_name(partition), content, None);
        }
    }
}
