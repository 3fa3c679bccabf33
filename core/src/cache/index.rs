//! From a tag to where its records lie: an open-addressing table of eight-byte entries.
//!
//! Decides placement (Robin Hood probing around a home that follows the tag) and when a table
//! grows or shrinks. Refuses to know keys and records: it is rebuilt from its entries alone.

use alloc::boxed::Box;
use alloc::vec;

use super::allocation::{allocation_bytes, size_class};
use super::log::Location;
use crate::hash::TAG_BITS;

const ENTRY_BYTES: usize = size_of::<u64>();
const LOCATION_MASK: u64 = (1 << Location::BITS) - 1;

/// The entries of one partition. An entry is a tag above a location; 0 is an empty slot.
#[derive(Debug, Default)]
pub(super) struct Index {
    slots: Box<[u64]>,
    len: u32,
}

impl Index {
    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// Bytes of memory that the table takes.
    pub(super) fn memory_bytes(&self) -> usize {
        allocation_bytes(self.slots.len() * ENTRY_BYTES)
    }

    /// Bytes that the table will grow by if one entry is added now.
    pub(super) fn growth_bytes(&self) -> usize {
        let capacity = self.capacity_for_one_more();
        allocation_bytes(capacity * ENTRY_BYTES) - self.memory_bytes()
    }

    /// The first location with this tag that `matches`.
    #[inline]
    pub(super) fn find(&self, tag: u32, matches: impl FnMut(Location) -> bool) -> Option<Location> {
        self.slot_of(tag, matches)
            .map(|slot| location_of(self.slots[slot]))
    }

    /// The entry at the home of `tag`, whichever that is: the one that is looked for is near it.
    #[inline]
    pub(super) fn peek(&self, tag: u32) -> Option<u64> {
        let home = home(u64::from(tag), self.slots.len());
        self.slots.get(home).copied()
    }

    /// Adds an entry.
    pub(super) fn insert(&mut self, tag: u32, location: Location) {
        let capacity = self.capacity_for_one_more();
        if capacity != self.slots.len() {
            self.rebuild(capacity);
        }
        place(&mut self.slots, entry(tag, location));
        self.len += 1;
    }

    /// Points an entry elsewhere.
    ///
    /// # Panics
    /// If there is no such entry.
    pub(super) fn replace(&mut self, tag: u32, from: Location, to: Location) {
        let slot = self
            .slot_of(tag, |location| location == from)
            .expect("the index knows every live record");
        self.slots[slot] = entry(tag, to);
    }

    /// Removes an entry.
    ///
    /// # Panics
    /// If there is no such entry.
    pub(super) fn remove(&mut self, tag: u32, location: Location) {
        let mut hole = self
            .slot_of(tag, |candidate| candidate == location)
            .expect("the index knows every live record");
        loop {
            let next = following(hole, self.slots.len());
            let moved = self.slots[next];
            if moved == 0 || distance(moved, next, self.slots.len()) == 0 {
                break;
            }
            self.slots[hole] = moved;
            hole = next;
        }
        self.slots[hole] = 0;
        self.len -= 1;
        if self.len() * 5 < self.slots.len() * 2 {
            self.shrink();
        }
    }

    /// The lowest tag from `from` on that an entry has. Entries lie in the order of their homes,
    /// but for those that have wrapped around from the table's end to its beginning.
    pub(super) fn next_tag(&self, from: u32) -> Option<u32> {
        let slots = &*self.slots;
        let capacity = slots.len();
        if self.len == 0 || from >> TAG_BITS != 0 {
            return None;
        }
        let start = home(from.into(), capacity);
        let wrapped = |at: usize, entry: u64| home(entry >> Location::BITS, capacity) > at;
        let end = slots
            .iter()
            .enumerate()
            .take_while(|(at, entry)| **entry != 0 && wrapped(*at, **entry));
        let last = slots.iter().enumerate().skip(start);
        let last = last.filter(|(at, entry)| **entry != 0 && !wrapped(*at, **entry));
        let mut found: Option<(usize, u64)> = None;
        for entry in last.chain(end).map(|(_, entry)| *entry) {
            let tag = entry >> Location::BITS;
            let home = home(tag, capacity);
            match found {
                Some((lowest, _)) if home > lowest => break,
                _ if tag < from.into() => {}
                Some((_, best)) if best <= tag => {}
                _ => found = Some((home, tag)),
            }
        }
        found.map(|(_, tag)| tag as u32)
    }

    /// The tag and location of every entry, in no order that means anything.
    #[cfg(test)]
    pub(super) fn entries(&self) -> impl Iterator<Item = (u32, Location)> {
        let filled = self.slots.iter().filter(|slot| **slot != 0);
        filled.map(|&slot| ((slot >> Location::BITS) as u32, location_of(slot)))
    }

    #[inline]
    fn slot_of(&self, tag: u32, mut matches: impl FnMut(Location) -> bool) -> Option<usize> {
        let slots = &*self.slots;
        if slots.is_empty() {
            return None;
        }
        let mut at = home(u64::from(tag), slots.len());
        let mut travelled = 0;
        // A table is never full, so every probe ends.
        loop {
            let found = slots[at];
            if found == 0 {
                return None;
            }
            if found >> Location::BITS == u64::from(tag) {
                if matches(location_of(found)) {
                    return Some(at);
                }
            } else if distance(found, at, slots.len()) < travelled {
                return None;
            }
            travelled += 1;
            at = following(at, slots.len());
        }
    }

    /// The capacity that holds one entry more at a load of at most nine tenths. Capacities are
    /// size classes, so that no table wastes part of its allocation.
    fn capacity_for_one_more(&self) -> usize {
        let mut capacity = self.slots.len();
        while (self.len() + 1) * 10 > capacity * 9 {
            capacity = size_class((capacity * ENTRY_BYTES + 1).max(2 * ENTRY_BYTES)) / ENTRY_BYTES;
        }
        capacity
    }

    fn shrink(&mut self) {
        let wanted = (self.len() * ENTRY_BYTES * 4).div_ceil(3);
        let least = if self.len == 0 { 0 } else { 2 * ENTRY_BYTES };
        let capacity = size_class(wanted.max(least)) / ENTRY_BYTES;
        if capacity < self.slots.len() {
            self.rebuild(capacity);
        }
    }

    fn rebuild(&mut self, capacity: usize) {
        let old = core::mem::replace(&mut self.slots, vec![0; capacity].into_boxed_slice());
        for &entry in old.iter().filter(|entry| **entry != 0) {
            place(&mut self.slots, entry);
        }
    }
}

/// Puts `carried` where it belongs: nobody sits further from home than whom it has displaced.
fn place(slots: &mut [u64], mut carried: u64) {
    let mut at = home(carried >> Location::BITS, slots.len());
    let mut travelled = 0;
    while slots[at] != 0 {
        let theirs = distance(slots[at], at, slots.len());
        if theirs < travelled {
            core::mem::swap(&mut slots[at], &mut carried);
            travelled = theirs;
        }
        travelled += 1;
        at = following(at, slots.len());
    }
    slots[at] = carried;
}

#[inline]
fn entry(tag: u32, location: Location) -> u64 {
    u64::from(tag) << Location::BITS | location.bits()
}

#[inline]
fn location_of(entry: u64) -> Location {
    Location::from_bits(entry & LOCATION_MASK)
}

#[inline]
fn home(tag: u64, capacity: usize) -> usize {
    ((tag * capacity as u64) >> TAG_BITS) as usize
}

#[inline]
fn following(slot: usize, capacity: usize) -> usize {
    if slot + 1 == capacity { 0 } else { slot + 1 }
}

/// How far the entry in slot `at` sits from its home.
#[inline]
fn distance(entry: u64, at: usize, capacity: usize) -> usize {
    let home = home(entry >> Location::BITS, capacity);
    if at >= home {
        at - home
    } else {
        at + capacity - home
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn location(number: u64) -> Location {
        Location::from_bits(number)
    }

    fn all(index: &Index, tag: u32) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        index.find(tag, |location| {
            assert!(found.insert(location.bits()), "met twice");
            false
        });
        found
    }

    #[test]
    fn an_empty_table_has_no_memory() {
        let mut index = Index::default();
        assert_eq!(index.memory_bytes(), 0);
        assert_eq!(index.find(7, |_| true), None);
        index.insert(7, location(1));
        assert_eq!(index.memory_bytes(), 16);
        index.remove(7, location(1));
        assert_eq!((index.len(), index.memory_bytes()), (0, 0));
    }

    #[test]
    fn load_stays_between_bounds() {
        let mut index = Index::default();
        for number in 1..=50_000u32 {
            let tag = number.wrapping_mul(2_654_435_761) >> 8;
            let growth = index.growth_bytes();
            let before = index.memory_bytes();
            index.insert(tag, location(u64::from(number)));
            assert_eq!(index.memory_bytes(), before + growth);
            assert!(index.len() * 10 <= index.slots.len() * 9);
            assert!(number < 20 || index.len() * 10 >= index.slots.len() * 7);
        }
        for number in 1..=50_000u32 {
            let tag = number.wrapping_mul(2_654_435_761) >> 8;
            index.remove(tag, location(u64::from(number)));
            assert!(index.len() < 20 || index.len() * 10 >= index.slots.len() * 4);
        }
        assert_eq!(index.memory_bytes(), 0);
    }

    proptest! {
        /// Tags crowd at both ends, so that clusters wrap around and collide.
        #[test]
        fn agrees_with_a_set(
            steps in proptest::collection::vec((0..24u32, any::<bool>(), 1..40u64), 1..400),
        ) {
            let mut index = Index::default();
            let mut model: Vec<(u32, u64)> = Vec::new();
            let spread = |tag: u32| match tag {
                0..8 => (1 << TAG_BITS) - 1 - tag,
                8..12 => tag - 8,
                _ => tag * 699_050,
            };
            for (tag, add, number) in steps {
                let tag = spread(tag);
                match model.iter().position(|known| *known == (tag, number)) {
                    None if add => {
                        index.insert(tag, location(number));
                        model.push((tag, number));
                    }
                    Some(at) if add => {
                        index.replace(tag, location(number), location(number + 1000));
                        index.replace(tag, location(number + 1000), location(number));
                        prop_assert_eq!(model[at], (tag, number));
                    }
                    Some(at) => {
                        index.remove(tag, location(number));
                        model.swap_remove(at);
                    }
                    None => {}
                }
                prop_assert_eq!(index.len(), model.len());
                for tag in (0..24).map(spread) {
                    let expected: BTreeSet<u64> =
                        model.iter().filter(|known| known.0 == tag).map(|known| known.1).collect();
                    prop_assert_eq!(all(&index, tag), expected);
                }
                let first = index.next_tag(0);
                let walk = core::iter::successors(first, |tag| index.next_tag(tag + 1));
                let tags: BTreeSet<u32> = model.iter().map(|known| known.0).collect();
                prop_assert!(walk.eq(tags), "in order, each once");
            }
        }
    }
}
