//! Storing, changing and removing items.
//!
//! Decides when a record is changed where it lies and when it is written anew. Refuses to know
//! where room comes from.

use super::large::LargeValues;
use super::log::{Charge, Location, Queue};
use super::partition::Partition;
use super::record::{Header, Record};
use super::room::Goal;
use super::{
    Cache, DiskState, Fields, INLINE_BYTES_MAX, NewItem, NoRoom, Place, large_value_bytes,
};
use crate::command::Value;

impl Cache {
    /// Stores an item, in place of the one of that key if there is one.
    ///
    /// # Errors
    /// When there is no room; what was there before is then still there.
    ///
    /// # Panics
    /// If the key is longer than 255 bytes, or a value passed as small is not.
    pub fn insert(&mut self, item: NewItem<'_>) -> Result<Place, NoRoom> {
        let value_bytes = item.value.len();
        let large = value_bytes > INLINE_BYTES_MAX;
        assert!(
            !large || matches!(item.value, Value::Large(_)),
            "a value of {value_bytes} bytes comes as a small one"
        );
        let key_bytes = u8::try_from(item.key.len()).expect("keys are checked before");
        let value_u32 = u32::try_from(value_bytes).expect("values are checked before");
        let header = Header::new(&item.head, key_bytes, value_u32, large);
        let old = self.find(item.hash, item.key);
        if let Some(place) = old
            && self.overwrite(place, header, &item)
        {
            return Ok(place);
        }
        self.insert_anew(old, header, item)
    }

    /// Changes all of an item but its key and value.
    ///
    /// # Errors
    /// When the record has to grow and there is no room; it is then unchanged.
    ///
    /// # Panics
    /// If `fields` turn an item into a tombstone or back; only an insertion does that.
    pub fn update(&mut self, place: Place, fields: Fields) -> Result<Place, NoRoom> {
        let header = self.log.header(place.location);
        assert_eq!(header.is_tombstone(), fields.tombstone);
        if header.has_room_for(&fields) {
            self.update_in_place(place, header, &fields);
            return Ok(place);
        }
        self.update_anew(place, fields)
    }

    /// Turns a record into a tombstone where it lies, value and all, for when there is no room
    /// for a tombstone of its own.
    pub fn entomb(&mut self, place: Place, version: u64) {
        let old = self.view(place).fields;
        let fields = Fields {
            version,
            // A cas of its own has a place in the record; any other needs none.
            cas: if old.cas == old.version {
                version
            } else {
                old.cas
            },
            tombstone: true,
            disk: DiskState::Queued,
            ..old
        };
        let header = self.log.header(place.location);
        assert!(
            header.has_room_for(&fields),
            "a tombstone needs no more than its item"
        );
        self.update_in_place(place, header, &fields);
    }

    fn update_in_place(&mut self, place: Place, mut header: Header, fields: &Fields) {
        let before = self.charge_of(place.location);
        header.set_fields(fields);
        self.log.discount(place.location, before);
        let bytes = self.log.bytes_mut(place.location);
        let handle = Record::read(bytes).handle().unwrap_or_default();
        header.write(bytes);
        header.write_optional(fields, handle, bytes);
        self.count(place.location);
    }

    /// Removes a record. Unless its partition is being scanned, nothing is noted of what the
    /// disk may still hold of it.
    pub fn remove(&mut self, place: Place) {
        self.forget(place.partition, place.tag, place.location, false);
        self.settle(place.location.segment());
        self.trim();
    }

    /// Changes what the disk has of an item.
    pub fn set_disk(&mut self, place: Place, disk: DiskState, on_disk: bool) {
        let mut header = self.log.header(place.location);
        if (header.disk(), header.is_on_disk()) == (disk, on_disk) {
            return;
        }
        let before = self.charge_of(place.location);
        let pinned = header.is_pinned();
        header.set_disk(disk, on_disk);
        header.write(self.log.bytes_mut(place.location));
        if header.is_pinned() != pinned {
            self.log.discount(place.location, before);
            self.log
                .count(place.location, self.charge_of(place.location));
        }
    }

    /// Writes over a record of the same length; false if the lengths differ.
    fn overwrite(&mut self, place: Place, mut header: Header, item: &NewItem<'_>) -> bool {
        let old = self.log.header(place.location);
        if old.is_large() || header.is_large() || old.record_bytes() != header.record_bytes() {
            return false;
        }
        header.set_frequency(old.frequency() + 1);
        self.log
            .discount(place.location, self.charge_of(place.location));
        write(&mut self.log, place.location, &header, item, 0);
        self.count(place.location);
        true
    }

    fn insert_anew(
        &mut self,
        old: Option<Place>,
        mut header: Header,
        item: NewItem<'_>,
    ) -> Result<Place, NoRoom> {
        let (partition, tag) = (item.hash.partition(), item.hash.tag());
        let queue = match old {
            Some(place) => self.queue_of(place.location),
            None if self.ghost.recall(item.hash) => Queue::Main,
            None => Queue::Small,
        };
        let old = old.map(|place| place.location);
        let old_large = old.map_or(0, |old| self.charge_of(old).large_bytes);
        let goal = Goal {
            queue,
            record_bytes: header.record_bytes(),
            new_key_of: old.is_none().then_some(partition),
            large_bytes: if header.is_large() {
                large_value_bytes(item.value.len())
            } else {
                0
            },
            freed_bytes: old_large,
            ..Goal::default()
        };
        let old = self.make_room_holding(old.unwrap_or_default(), &goal)?;
        let old = (old != Location::NOWHERE).then_some(old);

        let frequency = old.map_or(0, |old| self.log.header(old).frequency() + 1);
        header.set_frequency(frequency);
        let location = self.log.append(queue, header.record_bytes());
        match old {
            Some(old) => {
                self.alter(partition, |altered| {
                    altered.index.replace(tag, old, location)
                });
                self.bury(old);
            }
            None => self.alter(partition, |altered| altered.index.insert(tag, location)),
        }
        let handle = keep(&mut self.large, &header, &item.value);
        write(&mut self.log, location, &header, &item, handle);
        self.count(location);
        if let Some(old) = old {
            self.settle(old.segment());
        }
        self.trim();
        Ok(Place {
            location,
            tag,
            partition,
        })
    }

    /// Writes a record anew that has no room for `fields` where it lies.
    fn update_anew(&mut self, place: Place, fields: Fields) -> Result<Place, NoRoom> {
        let old = self.log.header(place.location);
        let mut header = Header::new(&fields, old.key_bytes, old.value_bytes, old.is_large());
        header.set_frequency(old.frequency());
        let goal = Goal {
            queue: self.queue_of(place.location),
            record_bytes: header.record_bytes(),
            ..Goal::default()
        };
        let from = self.make_room_holding(place.location, &goal)?;
        let to = self.log.append(goal.queue, goal.record_bytes);
        let handle = self.log.record(from).handle().unwrap_or_default();
        let charge = self.charge_of(from);
        let old = self.log.header(from);
        self.log.copy(
            (from, old.key_start()),
            (to, header.key_start()),
            old.body_bytes(),
        );
        let bytes = self.log.bytes_mut(to);
        header.write(bytes);
        header.write_optional(&fields, handle, bytes);
        self.alter(place.partition, |altered| {
            altered.index.replace(place.tag, from, to)
        });
        self.log.discount(from, charge);
        self.mark_dead(from);
        self.count(to);
        self.settle(from.segment());
        Ok(Place {
            location: to,
            ..place
        })
    }

    /// Makes room while `held` stays in memory; returns where it is now.
    fn make_room_holding(&mut self, held: Location, goal: &Goal) -> Result<Location, NoRoom> {
        self.held = held;
        let room = self.make_room(goal);
        let held = core::mem::take(&mut self.held);
        room.map(|()| held)
    }

    /// Takes a record out of memory altogether.
    pub(super) fn forget(&mut self, partition: u16, tag: u32, location: Location, on_disk: bool) {
        let tags_max = self.tag_bytes_max();
        self.alter(partition, |altered| {
            altered.index.remove(tag, location);
            altered.note_removed(tag, on_disk);
        });
        if self.tag_bytes > tags_max {
            self.alter(partition, Partition::give_up);
        }
        self.bury(location);
    }

    /// Marks a record as dead that no index leads to any more, and lets its value go.
    fn bury(&mut self, location: Location) {
        self.log.discount(location, self.charge_of(location));
        if let Some(handle) = self.log.record(location).handle() {
            self.large.remove(handle);
        }
        self.mark_dead(location);
    }

    pub(super) fn mark_dead(&mut self, location: Location) {
        let mut header = self.log.header(location);
        header.set_dead();
        header.write(self.log.bytes_mut(location));
    }

    /// Counts the record in `location` as live, and notes when it falls due.
    pub(super) fn count(&mut self, location: Location) {
        let charge = self.charge_of(location);
        self.log.count(location, charge);
        if !charge.tombstone {
            let record = self.log.record(location);
            let (expires_s, version) = (record.expires_s(), record.header.version);
            self.log.note_due(location, expires_s, version);
        }
    }

    pub(super) fn charge_of(&self, location: Location) -> Charge {
        let record = self.log.record(location);
        let large_bytes = record
            .handle()
            .map_or(0, |handle| self.large.charge(handle));
        Charge::new(&record.header, large_bytes)
    }

    pub(super) fn queue_of(&self, location: Location) -> Queue {
        let queue = self.log.segment(location.segment()).queue;
        queue.expect("a record lies in a segment in use")
    }
}

/// Keeps a value that needs memory of its own; a small one has handle 0, which goes unread.
fn keep(large: &mut LargeValues, header: &Header, value: &Value<'_>) -> u32 {
    match value {
        Value::Large(bytes) if header.is_large() => large.insert(bytes.clone()),
        Value::Large(_) | Value::Small(_) => 0,
    }
}

fn write(
    log: &mut super::log::Log,
    location: Location,
    header: &Header,
    item: &NewItem<'_>,
    handle: u32,
) {
    let bytes = log.bytes_mut(location);
    header.write(bytes);
    header.write_optional(&item.head, handle, bytes);
    let start = header.key_start();
    let value_start = start + item.key.len();
    bytes[start..value_start].copy_from_slice(item.key);
    if !header.is_large() {
        let value = item.value.as_slice();
        bytes[value_start..value_start + value.len()].copy_from_slice(value);
    }
}
