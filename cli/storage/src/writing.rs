//! Turns a batch of the core into write batches of RocksDB.
//!
//! Decides which values lie apart, what is written ahead, and what an overwritten value leaves
//! to be cleared away. Refuses to know locks, incarnations and what an error means.
//!
//! A value that lies apart is a head in `items`, chunks, and an entry in the ledger. As long as
//! they fit, all of them go into the one batch with everything else. A value that would make
//! the batch too long is written ahead, a few chunks at a time, after a note that says so;
//! nothing refers to its chunks until the batch commits head and ledger and removes the note.
//! If that never happens, the note leads the next writer to the chunks, also after a crash.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use rocksdb::{WriteBatch, WriteOptions};
use zufar_core::disk::{Batch, Change, NOTE_FLUSHED, decode};

use crate::database::{Database, Pending, is_lasting, number};
use crate::filter::Shared;
use crate::layout::{
    self, BATCH_BYTES_MAX, CHUNK_BYTES, CHUNKS, ITEMS, LEDGER, NOTES, PENDING, Parts,
    TOGETHER_BYTES_MAX,
};

/// Most chunks that are cleared away after expired and flushed items in one go.
const CLEARED_CHUNKS_MAX: u32 = 4096;

/// What outlives a batch on the writing side. Whoever holds it is the only writer.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// Chunks whose record has not been committed.
    pub(crate) pending: Vec<Pending>,
    /// The lasting notes as last written, by name.
    pub(crate) lasting: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Writer {
    /// Takes over what `database` remembers.
    pub(crate) fn resume(&mut self, database: &Database) -> Result<(), rocksdb::Error> {
        self.pending = database.pending()?;
        let lasting = &mut self.lasting;
        database.each_lasting(|name, content| {
            lasting.insert(name.to_vec(), content.to_vec());
        })
    }

    /// Gives a new database the lasting notes of the one that it replaces.
    pub(crate) fn hand_over(&self, database: &Database) -> Result<(), rocksdb::Error> {
        let notes = database.family(NOTES);
        let mut batch = WriteBatch::default();
        for (name, content) in &self.lasting {
            batch.put_cf(&notes, name, content);
        }
        commit(database, batch)
    }

    /// Clears away chunks that no record will ever refer to.
    pub(crate) fn settle(&mut self, database: &Database) -> Result<(), rocksdb::Error> {
        for pending in &self.pending {
            let mut batch = WriteBatch::default();
            let committed = database.parts(&pending.key)?;
            if committed.is_none_or(|parts| parts.version != pending.parts.version) {
                delete_chunks(database, &mut batch, &pending.key, pending.parts, 0);
            }
            let name = layout::pending_name(&pending.key, pending.parts.version);
            batch.delete_cf(&database.family(NOTES), name);
            commit(database, batch)?;
        }
        self.pending.clear();
        Ok(())
    }

    /// Deletes the dead records that compaction has met but had to leave.
    pub(crate) fn bury(&self, database: &Database, shared: &Shared) -> Result<(), rocksdb::Error> {
        let mut batch = WriteBatch::default();
        let (mut records, mut chunks) = (0, 0);
        for key in shared.take_dead_apart() {
            if chunks >= CLEARED_CHUNKS_MAX {
                // The rest is met again by the next compaction.
                break;
            }
            // It may have been written anew since.
            let record = database.db().get_pinned_cf(&database.family(ITEMS), &key)?;
            let head = record.and_then(|record| Some(decode(&record).ok()?.0));
            if !head.is_some_and(|head| shared.is_dead(&head)) {
                continue;
            }
            batch.delete_cf(&database.family(ITEMS), &key);
            batch.delete_cf(&database.family(LEDGER), &key);
            if let Some(parts) = database.parts(&key)? {
                delete_chunks(database, &mut batch, &key, parts, 0);
                chunks += parts.count;
            }
            records += 1;
        }
        if !batch.is_empty() {
            commit(database, batch)?;
        }
        shared.dropped.fetch_add(records, Ordering::Relaxed);
        Ok(())
    }

    /// Writes `batch`, all of it or none.
    pub(crate) fn write(
        &mut self,
        database: &Database,
        shared: &Shared,
        batch: &Batch,
    ) -> Result<(), rocksdb::Error> {
        self.settle(database)?;
        self.bury(database, shared)?;
        let mut pen = Pen::new(database, self);
        for change in &batch.changes {
            pen.apply(change, &batch.arena)?;
        }
        pen.commit(shared)
    }
}

/// Composes one batch.
struct Pen<'a> {
    database: &'a Database,
    writer: &'a mut Writer,
    batch: WriteBatch,
    /// What the ledger will say once the batch is in, as far as that differs.
    ledger: BTreeMap<Vec<u8>, Option<Parts>>,
    /// The lasting notes of this batch.
    lasting: BTreeMap<Vec<u8>, Vec<u8>>,
    accepted_bytes: u64,
    chunk_key: Vec<u8>,
}

impl<'a> Pen<'a> {
    fn new(database: &'a Database, writer: &'a mut Writer) -> Self {
        Self {
            database,
            lasting: BTreeMap::new(),
            writer,
            batch: WriteBatch::default(),
            ledger: BTreeMap::new(),
            accepted_bytes: 0,
            chunk_key: Vec::new(),
        }
    }

    fn apply(&mut self, change: &Change, arena: &[u8]) -> Result<(), rocksdb::Error> {
        match change {
            Change::Put { key, record } => {
                let record = record.of(arena);
                let (head, value) = record.split_at(zufar_core::disk::HEAD_BYTES);
                self.put(key.of(arena), head, value)
            }
            Change::PutLarge { key, head, value } => self.put(key.of(arena), head.of(arena), value),
            Change::Delete { key } => self.delete(key.of(arena)),
            Change::Note { name, content } => {
                self.note(name.of(arena), content.of(arena));
                Ok(())
            }
        }
    }

    fn put(&mut self, key: &[u8], head: &[u8], value: &[u8]) -> Result<(), rocksdb::Error> {
        let (fields, _) = decode(head).expect("the core encodes every record that it writes");
        assert_eq!(
            fields.value_bytes as usize,
            value.len(),
            "a head names its value's length"
        );
        self.accepted_bytes += (key.len() + head.len() + value.len()) as u64;
        let items = self.database.family(ITEMS);
        if value.len() <= TOGETHER_BYTES_MAX {
            self.replace_parts(key, None)?;
            if value.is_empty() {
                self.batch.put_cf(&items, key, head);
            } else {
                self.batch.put_cf(&items, key, [head, value].concat());
            }
            return Ok(());
        }
        let parts = Parts::of(fields.version, fields.value_bytes);
        self.replace_parts(key, Some(parts))?;
        if self.batch.size_in_bytes() + value.len() <= BATCH_BYTES_MAX {
            for (index, chunk) in (0..).zip(value.chunks(CHUNK_BYTES)) {
                layout::chunk_key(key, parts.version, index, &mut self.chunk_key);
                let chunks = self.database.family(CHUNKS);
                self.batch.put_cf(&chunks, &self.chunk_key, chunk);
            }
        } else {
            self.write_ahead(key, parts, value)?;
        }
        self.batch.put_cf(&items, key, head);
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), rocksdb::Error> {
        self.accepted_bytes += key.len() as u64;
        self.replace_parts(key, None)?;
        let items = self.database.family(ITEMS);
        self.batch.delete_cf(&items, key);
        Ok(())
    }

    fn note(&mut self, name: &[u8], content: &[u8]) {
        assert!(!name.starts_with(PENDING), "this name is the storage's own");
        self.accepted_bytes += (name.len() + content.len()) as u64;
        let mut content = content;
        if name == NOTE_FLUSHED {
            let kept = self.lasting.get(name).or(self.writer.lasting.get(name));
            let kept = kept.map(Vec::as_slice);
            // Otherwise what a flush has hidden could come back.
            if kept.and_then(number) > number(content) {
                content = kept.unwrap_or(content);
            }
        }
        let content = content.to_vec();
        self.batch
            .put_cf(&self.database.family(NOTES), name, &content);
        if is_lasting(name) {
            self.lasting.insert(name.to_vec(), content);
        }
    }

    /// Enters `new` in the ledger and has the chunks deleted that it does not share.
    fn replace_parts(&mut self, key: &[u8], new: Option<Parts>) -> Result<(), rocksdb::Error> {
        let old = match self.ledger.get(key) {
            Some(parts) => *parts,
            None => self.database.parts(key)?,
        };
        if old.is_none() && new.is_none() {
            return Ok(());
        }
        if let Some(old) = old {
            // A batch that is written again finds its own chunks: a version has one value.
            let shared = new.filter(|new| new.version == old.version);
            let from = shared.map_or(0, |new| new.count);
            delete_chunks(self.database, &mut self.batch, key, old, from);
        }
        let ledger = self.database.family(LEDGER);
        match new {
            Some(parts) => {
                // Before the entry is there: none may be overlooked if the write half succeeds.
                self.database.set_apart();
                self.batch.put_cf(&ledger, key, parts.encode());
            }
            None => self.batch.delete_cf(&ledger, key),
        }
        self.ledger.insert(key.to_vec(), new);
        Ok(())
    }

    fn write_ahead(
        &mut self,
        key: &[u8],
        parts: Parts,
        value: &[u8],
    ) -> Result<(), rocksdb::Error> {
        let name = layout::pending_name(key, parts.version);
        let (notes, chunks) = (self.database.family(NOTES), self.database.family(CHUNKS));
        self.writer.pending.push(Pending {
            key: key.to_vec(),
            parts,
        });
        let mut ahead = WriteBatch::default();
        ahead.put_cf(&notes, &name, parts.count.to_be_bytes());
        for (index, chunk) in (0..).zip(value.chunks(CHUNK_BYTES)) {
            layout::chunk_key(key, parts.version, index, &mut self.chunk_key);
            ahead.put_cf(&chunks, &self.chunk_key, chunk);
            if ahead.size_in_bytes() + CHUNK_BYTES > BATCH_BYTES_MAX {
                commit(self.database, std::mem::take(&mut ahead))?;
            }
        }
        commit(self.database, ahead)?;
        self.batch.delete_cf(&notes, &name);
        Ok(())
    }

    fn commit(self, shared: &Shared) -> Result<(), rocksdb::Error> {
        commit(self.database, self.batch)?;
        self.writer.pending.clear();
        self.writer.lasting.extend(self.lasting);
        shared
            .accepted_bytes
            .fetch_add(self.accepted_bytes, Ordering::Relaxed);
        let flushed = self.writer.lasting.get(NOTE_FLUSHED);
        let flushed = flushed.and_then(|content| number(content));
        shared
            .flushed
            .fetch_max(flushed.unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }
}

fn delete_chunks(database: &Database, batch: &mut WriteBatch, key: &[u8], parts: Parts, from: u32) {
    let chunks = database.family(CHUNKS);
    let mut chunk_key = Vec::new();
    for index in from..parts.count {
        layout::chunk_key(key, parts.version, index, &mut chunk_key);
        batch.delete_cf(&chunks, &chunk_key);
    }
}

fn commit(database: &Database, batch: WriteBatch) -> Result<(), rocksdb::Error> {
    let mut options = WriteOptions::default();
    options.set_sync(false);
    options.disable_wal(false);
    database.db().write_opt(batch, &options)
}
