//! What each command does to an item in memory.
//!
//! Decides memcached's item semantics, text and meta alike. Refuses to know disk reads, waiting
//! and answering: the item is either at hand or known to be absent.

use alloc::vec::Vec;
use bytes::Bytes;

use crate::cache::{DiskState, Fields, INLINE_BYTES_MAX, NewItem, NoRoom, Place};
use crate::command::{
    Arithmetic, Delete, Expiry, Failure, Fetch, Operation, Outcome, Store, StoreMode, Value,
};
use crate::hash::KeyHash;
use crate::planted::{self, Bug};
use crate::time::Now;

use super::{Applied, Met, Shard};

#[cfg(test)]
mod tests;

/// Digits of the greatest u64.
const NUMBER_DIGITS_MAX: usize = 20;
/// What C's `isspace` takes for one: memcached reads stored numbers with `strtoull`.
const SPACES: &[u8] = b" \t\n\x0b\x0c\r";

/// What a change takes in a batch beside its value: about a key and a head.
const CHANGE_BYTES: u32 = 100;

/// What a new value comes with.
struct Dress {
    flags: u32,
    expires_s: u32,
    new_cas: Option<u64>,
    stale: bool,
    token_sent: bool,
    fetched: bool,
}

impl Dress {
    fn plain(flags: u32, expires_s: u32, new_cas: Option<u64>) -> Self {
        Self {
            flags,
            expires_s,
            new_cas,
            stale: false,
            token_sent: false,
            fetched: false,
        }
    }
}

impl Shard {
    pub(super) fn apply(
        &mut self,
        now: Now,
        hash: KeyHash,
        key: &[u8],
        operation: &Operation<'_>,
        present: Option<Place>,
    ) -> Applied {
        match operation {
            Operation::Fetch(fetch) => match present {
                Some(place) => self.fetch(now, hash, place, fetch),
                None => self.vivify(now, hash, key, fetch),
            },
            Operation::Store(store) => Applied::Plain(self.store(now, hash, key, store, present)),
            Operation::Delete(delete) => {
                Applied::Plain(self.delete(now, hash, key, delete, present))
            }
            Operation::Arithmetic(arithmetic) => {
                Applied::Plain(self.count(now, hash, key, arithmetic, present))
            }
            Operation::Inspect => match present {
                Some(place) => Applied::Met(Met {
                    place,
                    before: self.cache.view(place).fields,
                    won: false,
                    vivified: false,
                    token_sent: false,
                }),
                None => Applied::Plain(Outcome::NotFound),
            },
        }
    }

    #[inline]
    fn fetch(&mut self, now: Now, hash: KeyHash, place: Place, fetch: &Fetch) -> Applied {
        let before = self.cache.view(place).fields;
        let now_s = seconds(now);
        let may_win = fetch.meta || planted::has(Bug::GetTakesToken);
        let won = may_win && !before.token_sent && recaches(fetch, &before, now_s);
        let mut met = Met {
            place,
            before,
            won,
            vivified: false,
            token_sent: before.token_sent,
        };
        if won || fetch.touch.is_some() {
            let mut fields = before;
            fields.token_sent |= won;
            if let Some(expiry) = fetch.touch {
                fields.expires_s = expiry.as_unix_s();
            }
            match self.rewrite(now, hash, place, fields) {
                Ok(place) => met.place = place,
                Err(NoRoom) => return failed(Failure::OutOfMemory),
            }
        }
        if !fetch.no_bump {
            self.cache.bump(met.place, now_s);
        }
        Applied::Met(met)
    }

    /// A miss that a meta get with `N` turns into an empty item, which the client has won.
    fn vivify(&mut self, now: Now, hash: KeyHash, key: &[u8], fetch: &Fetch) -> Applied {
        let Some(expiry) = fetch.vivify else {
            return Applied::Plain(Outcome::NotFound);
        };
        let dress = Dress {
            token_sent: true,
            ..Dress::plain(0, expiry.as_unix_s(), fetch.new_cas)
        };
        match self.put(now, hash, key, Value::Small(&[]), &dress) {
            Ok(place) => {
                let before = self.cache.view(place).fields;
                if !fetch.no_bump {
                    self.cache.bump(place, seconds(now));
                }
                Applied::Met(Met {
                    place,
                    before,
                    won: true,
                    vivified: true,
                    token_sent: false,
                })
            }
            // memcached stays silent here: the client sees a miss.
            Err(NoRoom) => Applied::Plain(Outcome::NotFound),
        }
    }

    fn store(
        &mut self,
        now: Now,
        hash: KeyHash,
        key: &[u8],
        store: &Store<'_>,
        present: Option<Place>,
    ) -> Outcome<'static> {
        let Some(place) = present else {
            return self.store_absent(now, hash, key, store);
        };
        let old = self.cache.view(place).fields;
        let mut dress = Dress::plain(store.flags, store.expiry.as_unix_s(), store.new_cas);
        match store.mode {
            StoreMode::Add => {
                self.cache.note_demand(place, seconds(now));
                return Outcome::NotStored;
            }
            StoreMode::Set | StoreMode::Replace => match store.compare {
                Some(cas) if cas != old.cas => {
                    if !store.invalidate || cas > old.cas || cas == 0 {
                        return Outcome::Exists;
                    }
                    dress.stale = true;
                    dress.expires_s = old.expires_s;
                    dress.token_sent = old.token_sent;
                }
                Some(_) | None => {}
            },
            StoreMode::Append | StoreMode::Prepend => {
                if store.compare.is_some_and(|cas| cas != 0 && cas != old.cas) {
                    return Outcome::Exists;
                }
                return self.extend(now, hash, key, store, place);
            }
        }
        self.put_or_drop(now, hash, key, store.value.clone(), &dress)
    }

    fn store_absent(
        &mut self,
        now: Now,
        hash: KeyHash,
        key: &[u8],
        store: &Store<'_>,
    ) -> Outcome<'static> {
        let expiry = match store.mode {
            StoreMode::Add => store.expiry,
            StoreMode::Set if store.compare.is_some() => return Outcome::NotFound,
            StoreMode::Set => store.expiry,
            StoreMode::Replace if store.compare.is_some() => return Outcome::NotFound,
            StoreMode::Replace => return Outcome::NotStored,
            StoreMode::Append | StoreMode::Prepend => match store.vivify {
                Some(expiry) => expiry,
                None => return Outcome::NotStored,
            },
        };
        let dress = Dress::plain(store.flags, expiry.as_unix_s(), store.new_cas);
        self.put_or_drop(now, hash, key, store.value.clone(), &dress)
    }

    /// append and prepend: the old flags and expiry stay.
    fn extend(
        &mut self,
        now: Now,
        hash: KeyHash,
        key: &[u8],
        store: &Store<'_>,
        place: Place,
    ) -> Outcome<'static> {
        let view = self.cache.view(place);
        let dress = Dress::plain(view.fields.flags, view.fields.expires_s, store.new_cas);
        let old = view.value();
        let (head, tail) = if store.mode == StoreMode::Append {
            (old.as_slice(), store.value.as_slice())
        } else {
            (store.value.as_slice(), old.as_slice())
        };
        let total = head.len() + tail.len();
        if total > self.settings.value_bytes_max as usize {
            return Outcome::NotStored;
        }
        if total > INLINE_BYTES_MAX {
            let mut joined = Vec::with_capacity(total);
            joined.extend_from_slice(head);
            joined.extend_from_slice(tail);
            return self.put_or_drop(now, hash, key, Value::Large(Bytes::from(joined)), &dress);
        }
        let mut joined = core::mem::take(&mut self.scratch);
        joined.clear();
        joined.extend_from_slice(head);
        joined.extend_from_slice(tail);
        let outcome = self.put_or_drop(now, hash, key, Value::Small(&joined), &dress);
        self.scratch = joined;
        outcome
    }

    fn delete(
        &mut self,
        now: Now,
        hash: KeyHash,
        key: &[u8],
        delete: &Delete,
        present: Option<Place>,
    ) -> Outcome<'static> {
        let Some(place) = present else {
            return Outcome::NotFound;
        };
        let old = self.cache.view(place).fields;
        if delete.compare.is_some_and(|cas| cas != old.cas) {
            return Outcome::Exists;
        }
        if !delete.stale && !delete.drop_value {
            self.drop_item(now, hash, key, place);
            return Outcome::Deleted;
        }
        let expires_s = match delete.expiry {
            Some(expiry) => expiry.as_unix_s(),
            None if delete.drop_value => 0,
            None => old.expires_s,
        };
        if delete.drop_value {
            let new_cas = match delete.new_cas {
                None if !delete.stale => Some(old.cas),
                other => other,
            };
            let dress = Dress {
                stale: delete.stale,
                ..Dress::plain(delete.flags, expires_s, new_cas)
            };
            return match self.put(now, hash, key, Value::Small(&[]), &dress) {
                Ok(_) => Outcome::Deleted,
                Err(NoRoom) => Outcome::NotStored,
            };
        }
        let version = self.clock.next(now);
        let fields = Fields {
            version,
            cas: delete.new_cas.unwrap_or(version),
            expires_s,
            stale: true,
            token_sent: false,
            ..old
        };
        match self.rewrite_as(now, hash, place, fields) {
            Ok(_) => Outcome::Deleted,
            Err(NoRoom) => Outcome::NotStored,
        }
    }

    fn count(
        &mut self,
        now: Now,
        hash: KeyHash,
        key: &[u8],
        arithmetic: &Arithmetic,
        present: Option<Place>,
    ) -> Outcome<'static> {
        let Some(place) = present else {
            return self.count_absent(now, hash, key, arithmetic);
        };
        let view = self.cache.view(place);
        let old = view.fields;
        let value = view.value();
        // memcached looks at the cas unique ahead of the number, but not of an empty value.
        let is_other = arithmetic
            .compare
            .is_some_and(|cas| cas != 0 && cas != old.cas);
        if is_other && !value.is_empty() {
            return Outcome::Exists;
        }
        let Some(number) = parse_number(value.as_slice()) else {
            return Outcome::Failed(Failure::NonNumeric);
        };
        let number = if arithmetic.decrement {
            number.saturating_sub(arithmetic.delta)
        } else {
            number.wrapping_add(arithmetic.delta)
        };
        // It stays the same item: a stale number is as stale as before.
        let dress = Dress {
            flags: old.flags,
            expires_s: arithmetic.touch.map_or(old.expires_s, Expiry::as_unix_s),
            new_cas: arithmetic.new_cas,
            stale: old.stale,
            token_sent: old.token_sent,
            fetched: old.fetched,
        };
        match self.put_number(now, hash, key, number, &dress) {
            Ok(cas) => Outcome::Number {
                number,
                cas,
                expired_s_before: old.expires_s,
                expires_s: dress.expires_s,
                vivified: false,
            },
            Err(NoRoom) => Outcome::Failed(Failure::OutOfMemory),
        }
    }

    fn count_absent(
        &mut self,
        now: Now,
        hash: KeyHash,
        key: &[u8],
        arithmetic: &Arithmetic,
    ) -> Outcome<'static> {
        let Some((number, expiry)) = arithmetic.initial else {
            return Outcome::NotFound;
        };
        let dress = Dress::plain(0, expiry.as_unix_s(), arithmetic.new_cas);
        match self.put_number(now, hash, key, number, &dress) {
            Ok(cas) => Outcome::Number {
                number,
                cas,
                expired_s_before: 0,
                expires_s: dress.expires_s,
                vivified: true,
            },
            Err(NoRoom) => Outcome::NotStored,
        }
    }

    /// Stores a number; returns its cas unique.
    fn put_number(
        &mut self,
        now: Now,
        hash: KeyHash,
        key: &[u8],
        number: u64,
        dress: &Dress,
    ) -> Result<u64, NoRoom> {
        let mut digits = [0; NUMBER_DIGITS_MAX];
        let digits = write_number(number, &mut digits);
        let place = self.put(now, hash, key, Value::Small(digits), dress)?;
        Ok(self.cache.view(place).fields.cas)
    }

    /// Stores a value; without room the old one goes, as memcached has it.
    fn put_or_drop(
        &mut self,
        now: Now,
        hash: KeyHash,
        key: &[u8],
        value: Value<'_>,
        dress: &Dress,
    ) -> Outcome<'static> {
        let value_bytes = u32::try_from(value.len()).expect("values stay below 4 GiB");
        match self.put(now, hash, key, value, dress) {
            Ok(place) => Outcome::Stored {
                cas: self.cache.view(place).fields.cas,
                value_bytes,
            },
            Err(NoRoom) => {
                match self.cache.find(hash, key) {
                    Some(place) => self.drop_item(now, hash, key, place),
                    None => self.bury_record(now, hash, key),
                }
                Outcome::Failed(Failure::OutOfMemory)
            }
        }
    }

    /// Puts a value in the place of whatever the key has, and has it written.
    fn put(
        &mut self,
        now: Now,
        hash: KeyHash,
        key: &[u8],
        value: Value<'_>,
        dress: &Dress,
    ) -> Result<Place, NoRoom> {
        let version = self.clock.next(now);
        let (on_disk, queued) = self.disk_history(hash, key);
        let head = Fields {
            version,
            cas: dress.new_cas.unwrap_or(version),
            flags: dress.flags,
            expires_s: dress.expires_s,
            accessed_s: seconds(now),
            stale: dress.stale,
            token_sent: dress.token_sent,
            fetched: dress.fetched,
            tombstone: false,
            on_disk,
            disk: self.dirty_state(),
        };
        let value_bytes = value.len();
        let place = self.cache.insert(NewItem {
            hash,
            key,
            head,
            value,
        })?;
        self.figures.total_items += 1;
        self.changed = true;
        if !queued {
            self.note_dirty(now, hash, value_bytes);
        }
        Ok(place)
    }

    /// Whether the disk may hold a record of this key, and whether it is queued already.
    pub(super) fn disk_history(&self, hash: KeyHash, key: &[u8]) -> (bool, bool) {
        match self.cache.find(hash, key) {
            Some(place) => {
                let old = self.cache.view(place).fields;
                let on_disk = old.on_disk || old.disk == DiskState::Submitted;
                (on_disk, old.disk == DiskState::Queued)
            }
            None => (self.may_have_record(hash), false),
        }
    }

    /// Gives an item new fields and a new version; its cas stays what it was.
    fn rewrite(
        &mut self,
        now: Now,
        hash: KeyHash,
        place: Place,
        fields: Fields,
    ) -> Result<Place, NoRoom> {
        let version = self.clock.next(now);
        self.rewrite_as(now, hash, place, Fields { version, ..fields })
    }

    fn rewrite_as(
        &mut self,
        now: Now,
        hash: KeyHash,
        place: Place,
        mut fields: Fields,
    ) -> Result<Place, NoRoom> {
        let queued = fields.disk == DiskState::Queued;
        fields.on_disk |= fields.disk == DiskState::Submitted;
        fields.disk = self.dirty_state();
        let place = self.cache.update(place, fields)?;
        self.changed = true;
        if !queued {
            self.note_dirty(now, hash, 0);
        }
        Ok(place)
    }

    /// Removes an item; where the disk may hold a record of it, a tombstone stays until the
    /// disk holds none.
    fn drop_item(&mut self, now: Now, hash: KeyHash, key: &[u8], place: Place) {
        self.changed = true;
        let old = self.cache.view(place).fields;
        let on_disk = old.on_disk || old.disk == DiskState::Submitted;
        if self.persist.is_none() || !on_disk || planted::has(Bug::ForgetTombstone) {
            self.cache.remove(place);
            return;
        }
        let version = self.clock.next(now);
        let buried = self.cache.insert(tombstone(hash, key, version));
        // The search for room may have moved the item.
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

    /// Buries what only the disk may have of a key. It stays where there is no room even for a
    /// tombstone.
    fn bury_record(&mut self, now: Now, hash: KeyHash, key: &[u8]) {
        if self.persist.is_none() || !self.may_have_record(hash) {
            return;
        }
        let version = self.clock.next(now);
        if self.cache.insert(tombstone(hash, key, version)).is_ok() {
            self.changed = true;
            self.note_dirty(now, hash, 0);
        }
    }

    pub(super) fn dirty_state(&self) -> DiskState {
        if self.persist.is_some() {
            DiskState::Queued
        } else {
            DiskState::Clean
        }
    }

    pub(super) fn note_dirty(&mut self, now: Now, hash: KeyHash, value_bytes: usize) {
        if let Some(persist) = &mut self.persist {
            let bytes = u32::try_from(value_bytes).unwrap_or(u32::MAX);
            persist.note_dirty(now.time, hash, bytes.saturating_add(CHANGE_BYTES));
        }
    }
}

/// Whether a meta get finds an item that one client shall recache.
fn recaches(fetch: &Fetch, before: &Fields, now_s: u32) -> bool {
    let is_due = fetch.recache_s.is_some_and(|limit_s| {
        before.expires_s != 0 && i64::from(before.expires_s) - i64::from(now_s) < i64::from(limit_s)
    });
    before.stale || is_due || fetch.recache
}

/// What stands for a deleted item until the disk has no record of its key.
pub(super) fn tombstone(hash: KeyHash, key: &[u8], version: u64) -> NewItem<'_> {
    let head = Fields {
        version,
        cas: version,
        tombstone: true,
        on_disk: true,
        disk: DiskState::Queued,
        ..Fields::default()
    };
    NewItem {
        hash,
        key,
        head,
        value: Value::Small(&[]),
    }
}

fn failed(failure: Failure) -> Applied {
    Applied::Plain(Outcome::Failed(failure))
}

pub(super) fn seconds(now: Now) -> u32 {
    u32::try_from(now.unix_s()).unwrap_or(u32::MAX)
}

/// Reads a stored number as memcached does: spaces, a plus sign, digits, and nothing behind them
/// or a space and whatever.
fn parse_number(value: &[u8]) -> Option<u64> {
    let start = value.iter().position(|byte| !SPACES.contains(byte))?;
    let value = &value[start..];
    let value = value.strip_prefix(b"+").unwrap_or(value);
    let digits = value
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(value.len());
    let (digits, rest) = value.split_at(digits);
    if digits.is_empty() || rest.first().is_some_and(|byte| !SPACES.contains(byte)) {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

fn write_number(mut number: u64, into: &mut [u8; NUMBER_DIGITS_MAX]) -> &[u8] {
    let mut start = into.len();
    loop {
        start -= 1;
        into[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &into[start..];
        }
    }
}
