//! An item as a change of the disk.
//!
//! Decides the record's bytes in a batch. Refuses to know when items are written.

use crate::cache::View;
use crate::command::Value;
use crate::disk::{Batch, Change, Head, disk_key, encode_head};

/// Adds one item to a batch; the bytes of its value if that does not lie in the arena.
pub(super) fn push_change(batch: &mut Batch, partition: u16, view: &View<'_>) -> usize {
    let start = batch.arena.len();
    disk_key(partition, view.key, &mut batch.arena);
    let key = batch.span_from(start);
    if view.fields.tombstone {
        batch.changes.push(Change::Delete { key });
        return 0;
    }
    let value = view.value();
    let head = Head {
        version: view.fields.version,
        cas: view.fields.cas,
        flags: view.fields.flags,
        expires_s: view.fields.expires_s,
        accessed_s: view.fields.accessed_s,
        value_bytes: u32::try_from(value.len()).expect("values stay below 4 GiB"),
        stale: view.fields.stale,
        token_sent: view.fields.token_sent,
        fetched: view.fields.fetched,
    };
    let start = batch.arena.len();
    encode_head(&head, &mut batch.arena);
    match value {
        Value::Small(bytes) => {
            batch.arena.extend_from_slice(bytes);
            let record = batch.span_from(start);
            batch.changes.push(Change::Put { key, record });
            0
        }
        Value::Large(value) => {
            let head = batch.span_from(start);
            let bytes = value.len();
            batch.changes.push(Change::PutLarge { key, head, value });
            bytes
        }
    }
}
