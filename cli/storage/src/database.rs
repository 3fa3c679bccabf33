//! One incarnation of the database, from opening it to closing it.
//!
//! Decides how families are reached and what is read back when it opens. Refuses to know when
//! it is opened again, and what to do about damage.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rocksdb::{ColumnFamilyRef, DB, Direction, IteratorMode, properties};
use zufar_core::disk::{
    NOTE_CEILING, NOTE_FLUSH_AT, NOTE_FLUSHED, NOTE_HOT, NOTE_REACHED, NOTES_OF_CLUSTER, Recovery,
};
use zufar_core::notes::ClusterNotes;

use crate::layout::{self, FAMILIES, ITEMS, LEDGER, NOTES, PENDING, Parts};
use crate::tuning::Tuning;

/// An open database.
pub(crate) struct Database {
    db: DB,
    /// Whether any value lies apart, or has since it was opened: while none does, writers need
    /// not ask the ledger.
    has_apart: AtomicBool,
}

/// Chunks that have been, or may have been, written ahead of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    /// The disk key.
    pub(crate) key: Vec<u8>,
    /// The chunks.
    pub(crate) parts: Parts,
}

/// What the names of notes begin with that a new database needs at once if it takes the place of
/// a damaged one.
const LASTING_NOTES: [&[u8]; 6] = [
    NOTE_FLUSHED,
    NOTE_CEILING,
    NOTE_REACHED,
    NOTE_FLUSH_AT,
    NOTES_OF_CLUSTER[0],
    NOTES_OF_CLUSTER[1],
];

/// Whether a database that takes the place of another one needs this note of it.
pub(crate) fn is_lasting(name: &[u8]) -> bool {
    LASTING_NOTES.iter().any(|start| name.starts_with(start))
}

impl Database {
    /// Opens the database at `path`, or creates it.
    pub(crate) fn open(tuning: &Tuning, path: &Path) -> Result<Self, rocksdb::Error> {
        let db = DB::open_cf_descriptors(tuning.database(), path, tuning.families())?;
        let mut database = Self {
            db,
            has_apart: AtomicBool::new(false),
        };
        let mut ledger = database.db.raw_iterator_cf(&database.family(LEDGER));
        ledger.seek_to_first();
        ledger.status()?;
        let has_apart = ledger.valid();
        drop(ledger);
        database.has_apart = AtomicBool::new(has_apart);
        Ok(database)
    }

    /// RocksDB's own handle.
    pub(crate) const fn db(&self) -> &DB {
        &self.db
    }

    /// A column family.
    pub(crate) fn family(&self, name: &str) -> ColumnFamilyRef<'_> {
        self.db
            .cf_handle(name)
            .expect("every family is opened with the database")
    }

    /// Whether the ledger may hold anything.
    pub(crate) fn has_apart(&self) -> bool {
        self.has_apart.load(Ordering::Relaxed)
    }

    /// Remembers that the ledger holds something.
    pub(crate) fn set_apart(&self) {
        self.has_apart.store(true, Ordering::Relaxed);
    }

    /// The chunks that the ledger knows of `disk_key`.
    pub(crate) fn parts(&self, disk_key: &[u8]) -> Result<Option<Parts>, rocksdb::Error> {
        if !self.has_apart() {
            return Ok(None);
        }
        let entry = self.db.get_pinned_cf(&self.family(LEDGER), disk_key)?;
        Ok(entry.and_then(|entry| Parts::decode(&entry)))
    }

    /// Hands over each note that [`is_lasting`].
    pub(crate) fn each_lasting(
        &self,
        mut each: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), rocksdb::Error> {
        for start in LASTING_NOTES {
            self.each_note(start, &mut each)?;
        }
        Ok(())
    }

    /// The content of a note.
    fn note(&self, name: &[u8]) -> Result<Option<Vec<u8>>, rocksdb::Error> {
        self.db.get_cf(&self.family(NOTES), name)
    }

    /// Chunks that a crash or a failed write has left without their record.
    pub(crate) fn pending(&self) -> Result<Vec<Pending>, rocksdb::Error> {
        let mut pending = Vec::new();
        self.each_note(PENDING, |name, content| {
            if let Some((key, parts)) = layout::decode_pending(name, content) {
                pending.push(Pending { key, parts });
            }
        })?;
        Ok(pending)
    }

    /// What the core wants to know at a start; `open_ms` is left at 0.
    pub(crate) fn recovery(&self) -> Result<Recovery, rocksdb::Error> {
        let number = |name: &[u8]| -> Result<u64, rocksdb::Error> {
            let content = self.note(name)?;
            Ok(content.and_then(|content| number(&content)).unwrap_or(0))
        };
        let mut hot = Vec::new();
        self.each_note(NOTE_HOT, |_, content| hot.push(content.to_vec()))?;
        let mut cluster = ClusterNotes::default();
        for start in NOTES_OF_CLUSTER {
            self.each_note(start, |name, content| {
                cluster.take(name, content);
            })?;
        }
        let mut items = self.db.raw_iterator_cf(&self.family(ITEMS));
        items.seek_to_first();
        items.status()?;
        let holds_records = items.valid();
        drop(items);
        Ok(Recovery {
            version_ceiling: number(NOTE_CEILING)?,
            reached_unix_ms: number(NOTE_REACHED)?,
            flushed: number(NOTE_FLUSHED)?,
            flush_at_unix_ms: number(NOTE_FLUSH_AT)?,
            hot,
            holds_records,
            cluster,
            records_estimate: self.property(ITEMS, properties::ESTIMATE_NUM_KEYS)?,
            open_ms: 0,
        })
    }

    /// The sum of a property over all families.
    pub(crate) fn sum(&self, property: &properties::PropName) -> Result<u64, rocksdb::Error> {
        let families = FAMILIES.iter();
        families.map(|name| self.property(name, property)).sum()
    }

    fn property(
        &self,
        family: &str,
        property: &properties::PropName,
    ) -> Result<u64, rocksdb::Error> {
        let value = self
            .db
            .property_int_value_cf(&self.family(family), property)?;
        Ok(value.unwrap_or(0))
    }

    fn each_note(
        &self,
        prefix: &[u8],
        mut each: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), rocksdb::Error> {
        let from = IteratorMode::From(prefix, Direction::Forward);
        for note in self.db.iterator_cf(&self.family(NOTES), from) {
            let (name, content) = note?;
            if !name.starts_with(prefix) {
                break;
            }
            each(&name, &content);
        }
        Ok(())
    }
}

/// A note's content as a number, if it is one.
pub(crate) fn number(content: &[u8]) -> Option<u64> {
    content.try_into().ok().map(u64::from_be_bytes)
}
