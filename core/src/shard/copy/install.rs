//! Taking entries in, and letting go of what is not wanted any more.
//!
//! Decides that nothing older can return where an entry was taken in, whether or not there was
//! room for it. Refuses to know which entries are newer.

use alloc::vec::Vec;
use bytes::Bytes;

use super::{Phase, Rule, UNBURIED_KEY_BYTES, Versions};
use crate::cache::{DiskState, Fields, INLINE_BYTES_MAX, NewItem, NoRoom, Place};
use crate::command::Value;
use crate::disk::{Head, decode};
use crate::hash::KeyHash;
use crate::replication::{Entry, State};
use crate::shard::Shard;
use crate::shard::apply::tombstone;
use crate::time::Now;

use super::Fingerprint;

/// The item that an entry's state describes.
fn item_of(state: &Bytes) -> Option<(Head, Value<'_>)> {
    let (head, value) = decode(state).ok()?;
    if value.len() != head.value_bytes as usize {
        return None;
    }
    let value = if value.len() > INLINE_BYTES_MAX {
        Value::Large(Bytes::copy_from_slice(value))
    } else {
        Value::Small(value)
    };
    Some((head, value))
}

impl Shard {
    /// Puts an entry's state in the place of whatever there is of its key. Without room the key
    /// counts as evicted.
    pub(super) fn install(&mut self, now: Now, hash: KeyHash, entry: &Entry) {
        if self.copies.keeps(Rule::OvertakenIsReadAgain) {
            self.waits.overtake(hash);
        }
        self.copies.forget_unburied(&entry.key);
        let State::Item(state) = &entry.state else {
            return self.bury(now, hash, &entry.key, entry.version);
        };
        let Some((head, value)) = item_of(state) else {
            self.figures.replica_unreadable += 1;
            return self.bury(now, hash, &entry.key, entry.version);
        };
        let head = Head {
            version: entry.version,
            ..head
        };
        if head.is_dead(now.unix_s(), self.flushed) {
            return self.bury(now, hash, &entry.key, entry.version);
        }
        if self.place(now, hash, &entry.key, &head, value).is_err() {
            self.figures.replica_no_memory += 1;
            self.bury(now, hash, &entry.key, entry.version);
        }
    }

    /// Stores an item as it is elsewhere.
    fn place(
        &mut self,
        now: Now,
        hash: KeyHash,
        key: &[u8],
        head: &Head,
        value: Value<'_>,
    ) -> Result<Place, NoRoom> {
        let (on_disk, queued) = self.disk_history(hash, key);
        let value_bytes = value.len();
        let head = Fields {
            version: head.version,
            cas: head.cas,
            flags: head.flags,
            expires_s: head.expires_s,
            accessed_s: head.accessed_s,
            stale: head.stale,
            token_sent: head.token_sent,
            fetched: head.fetched,
            tombstone: false,
            on_disk,
            disk: self.dirty_state(),
        };
        let place = self.cache.insert(NewItem {
            hash,
            key,
            head,
            value,
        })?;
        if !queued {
            self.note_dirty(now, hash, value_bytes);
        }
        Ok(place)
    }

    /// Removes whatever there is of a key. Where the disk may have something, a tombstone stays
    /// until it has not.
    pub(super) fn bury(&mut self, now: Now, hash: KeyHash, key: &[u8], version: u64) {
        let found = self.cache.find(hash, key);
        let Some(place) = found else {
            let buries = self.copies.keeps(Rule::DeletedIsBuried);
            if buries && self.persist.is_some() && self.may_have_record(hash) {
                self.bury_unseen(now, hash, key, version);
            }
            return;
        };
        let old = self.cache.view(place).fields;
        let on_disk = old.on_disk || old.disk == DiskState::Submitted;
        if self.persist.is_none() || !on_disk {
            self.cache.remove(place);
            return;
        }
        let buried = self.cache.insert(tombstone(hash, key, version));
        // The search for room may have moved the record.
        if buried.is_err()
            && let Some(place) = self.cache.find(hash, key)
        {
            self.cache.entomb(place, version);
            self.cache.set_disk(place, DiskState::Queued, on_disk);
        }
        if old.disk != DiskState::Queued {
            self.note_dirty(now, hash, 0);
        }
    }

    /// The same for a key that is not in memory. Returns whether there was room; if not, the key
    /// is remembered, and buried later.
    pub(super) fn bury_unseen(
        &mut self,
        now: Now,
        hash: KeyHash,
        key: &[u8],
        version: u64,
    ) -> bool {
        self.waits.overtake(hash);
        if self.cache.insert(tombstone(hash, key, version)).is_ok() {
            self.note_dirty(now, hash, 0);
            return true;
        }
        let before = self.copies.unburied.insert(key.to_vec(), version);
        if before.is_none() {
            self.copies.unburied_bytes += key.len() + UNBURIED_KEY_BYTES;
        }
        false
    }

    /// Tries again to bury what found no room.
    pub(super) fn bury_rest(&mut self, now: Now) {
        while let Some((key, version)) = self.copies.unburied.pop_first() {
            self.copies.unburied_bytes -= key.len() + UNBURIED_KEY_BYTES;
            let hash = KeyHash::of(&key);
            let is_gone = self.cache.find(hash, &key).is_some();
            if !is_gone && !self.bury_unseen(now, hash, &key, version) {
                return;
            }
        }
    }

    /// Takes everything of a partition out of memory but `kept`. What the disk has of it, the
    /// purge buries; but a write of it that is under way could come behind that.
    pub(super) fn forget_all_but(&mut self, now: Now, partition: u16, kept: &Versions) {
        let mut from = 0;
        let mut key = Vec::new();
        while let Some(tag) = self.cache.next_tag(partition, from) {
            from = tag + 1;
            while let Some((place, hash)) = self.next_unwanted(partition, tag, kept, &mut key) {
                let fields = self.cache.view(place).fields;
                let undoes = self.copies.keeps(Rule::UnderWayIsUndone);
                if undoes && self.persist.is_some() && fields.disk == DiskState::Submitted {
                    let version = self.copies.burial();
                    self.bury(now, hash, &key, version);
                } else {
                    self.cache.remove(place);
                }
            }
        }
        if self.persist.is_none() {
            return;
        }
        let mut tags = Vec::new();
        for fingerprint in kept.keys() {
            if tags.last() != Some(&fingerprint.tag()) && !self.is_in_memory(partition, fingerprint)
            {
                tags.push(fingerprint.tag());
            }
        }
        self.cache.set_disk_tags(partition, &mut tags);
    }

    /// The next record with a tag that is neither among `kept` nor a tombstone, and its key.
    fn next_unwanted(
        &self,
        partition: u16,
        tag: u32,
        kept: &Versions,
        key: &mut Vec<u8>,
    ) -> Option<(Place, KeyHash)> {
        let mut at = self.cache.find_tag(partition, tag, None);
        while let Some(place) = at {
            let view = self.cache.view(place);
            let hash = KeyHash::of(view.key);
            if !view.fields.tombstone && !kept.contains(Fingerprint::of(hash, view.key)) {
                key.clear();
                key.extend_from_slice(view.key);
                return Some((place, hash));
            }
            at = self.cache.find_tag(partition, tag, at);
        }
        None
    }

    fn is_in_memory(&self, partition: u16, fingerprint: Fingerprint) -> bool {
        let tag = fingerprint.tag();
        let mut at = self.cache.find_tag(partition, tag, None);
        while let Some(place) = at {
            let key = self.cache.view(place).key;
            if Fingerprint::of(KeyHash::of(key), key) == fingerprint {
                return true;
            }
            at = self.cache.find_tag(partition, tag, at);
        }
        false
    }

    /// Buries a record that only the disk has, if it is doomed. Returns whether that is done.
    pub(super) fn bury_doomed(&mut self, now: Now, key: &[u8]) -> bool {
        let hash = KeyHash::of(key);
        let part = self.copies.parts.get(&hash.partition());
        let is_doomed = part.is_some_and(|part| {
            matches!(part.phase, Phase::Purging { .. }) && part.hides(Fingerprint::of(hash, key))
        });
        let is_doomed = is_doomed && self.copies.keeps(Rule::DoomedIsBuried);
        if !is_doomed || self.cache.find(hash, key).is_some() {
            return true;
        }
        let version = self.copies.burial();
        self.waits.overtake(hash);
        let buried = self.cache.insert(tombstone(hash, key, version)).is_ok();
        if buried {
            self.note_dirty(now, hash, 0);
        }
        buried
    }
}
