//! STAND-IN of the branch `cluster` until `store` is merged. Never lands.
#![allow(missing_docs)]

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;

use super::Shard;
use crate::cache::{DiskState, Fields, INLINE_BYTES_MAX, NewItem};
use crate::command::Value;
use crate::disk::{Head, decode, encode_head};
use crate::hash::KeyHash;
use crate::replication::{Digest, Entry, State, Store};
use crate::time::Now;

#[derive(Default)]
pub(super) struct Copies {
    entries: BTreeMap<u16, BTreeMap<Bytes, Entry>>,
}

pub(super) struct Copy<'a> {
    shard: &'a mut Shard,
    partition: u16,
    now: Now,
}

impl<'a> Copy<'a> {
    pub(super) fn new(shard: &'a mut Shard, partition: u16, now: Now) -> Self {
        Self {
            shard,
            partition,
            now,
        }
    }
}

impl Store for Copy<'_> {
    fn apply(&mut self, entry: &Entry) -> bool {
        let _ = self.now;
        self.shard.clock.advance_past(entry.version);
        let entries = self.shard.copies.entries.entry(self.partition).or_default();
        if entries
            .get(&entry.key)
            .is_some_and(|known| known.version >= entry.version)
        {
            return false;
        }
        entries.insert(entry.key.clone(), entry.clone());
        let hash = KeyHash::of(&entry.key);
        match &entry.state {
            State::Tombstone => {
                if let Some(place) = self.shard.cache.find(hash, &entry.key) {
                    self.shard.cache.remove(place);
                }
            }
            State::Item(record) => {
                let (head, value) = decode(record).expect("a record");
                let head = Fields {
                    version: entry.version,
                    cas: head.cas,
                    flags: head.flags,
                    expires_s: head.expires_s,
                    accessed_s: head.accessed_s,
                    stale: head.stale,
                    token_sent: head.token_sent,
                    fetched: head.fetched,
                    tombstone: false,
                    on_disk: false,
                    disk: DiskState::Clean,
                };
                let value = if value.len() > INLINE_BYTES_MAX {
                    Value::Large(Bytes::copy_from_slice(value))
                } else {
                    Value::Small(value)
                };
                let _ = self.shard.cache.insert(NewItem {
                    hash,
                    key: &entry.key,
                    head,
                    value,
                });
            }
        }
        true
    }
    fn scan(&mut self, cursor: u64, bytes_max: usize, into: &mut Vec<Entry>) -> Option<u64> {
        let entries = self.shard.copies.entries.get(&self.partition)?;
        let mut bytes = 0;
        for (at, entry) in entries.values().enumerate().skip(cursor as usize) {
            if bytes >= bytes_max {
                return Some(at as u64);
            }
            bytes += entry.bytes();
            into.push(entry.clone());
        }
        None
    }
    fn digest(&self) -> Digest {
        let mut digest = Digest::default();
        let Some(entries) = self.shard.copies.entries.get(&self.partition) else {
            return digest;
        };
        for entry in entries.values() {
            digest.sum = digest.sum.wrapping_add(
                (KeyHash::of(&entry.key).bits() ^ entry.version)
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15),
            );
            digest.count += 1;
        }
        digest
    }
    fn version_highest(&self) -> u64 {
        self.shard.clock.last()
    }
    fn is_empty(&self) -> bool {
        !self.shard.copies.entries.contains_key(&self.partition)
    }
    fn set_aside(&mut self) {
        if let Some(entries) = self.shard.copies.entries.remove(&self.partition) {
            for key in entries.keys() {
                let hash = KeyHash::of(key);
                if let Some(place) = self.shard.cache.find(hash, key) {
                    self.shard.cache.remove(place);
                }
            }
        }
    }
    fn bring_back(&mut self) {}
    fn discard(&mut self) {}
}

impl Shard {
    pub(super) fn entry_of(&mut self, now: Now, hash: KeyHash, key: &[u8]) -> Entry {
        let key = Bytes::copy_from_slice(key);
        let place = self.cache.find(hash, &key);
        let view = place.map(|place| self.cache.view(place));
        let entry = match view {
            Some(view) if !view.fields.tombstone => {
                let value = view.value();
                let head = Head {
                    version: view.fields.version,
                    cas: view.fields.cas,
                    flags: view.fields.flags,
                    expires_s: view.fields.expires_s,
                    accessed_s: view.fields.accessed_s,
                    value_bytes: value.len() as u32,
                    stale: view.fields.stale,
                    token_sent: view.fields.token_sent,
                    fetched: view.fields.fetched,
                };
                let mut record = Vec::new();
                encode_head(&head, &mut record);
                record.extend_from_slice(value.as_slice());
                Entry {
                    key: key.clone(),
                    version: view.fields.version,
                    state: State::Item(Bytes::from(record)),
                    request: None,
                }
            }
            _ => Entry {
                key: key.clone(),
                version: self.clock.next(now),
                state: State::Tombstone,
                request: None,
            },
        };
        let entries = self.copies.entries.entry(hash.partition()).or_default();
        entries.insert(key, entry.clone());
        entry
    }
    pub(super) fn drive_copies(&mut self, _now: Now, _sink: &mut impl super::Sink) {}
    pub(super) fn keep_record(
        &mut self,
        _now: Now,
        _partition: u16,
        _promised: Option<crate::replication::Term>,
        _record: Option<&crate::replication::Record>,
    ) {
    }
}
