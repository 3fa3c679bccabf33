//! Values that have memory of their own, by handle.
//!
//! Decides which handle a value gets and what it is charged. Refuses to know items.

use alloc::vec::Vec;

use bytes::Bytes;

use super::allocation::{allocation_bytes, large_value_bytes};

const NO_SLOT: u32 = u32::MAX;
const SLOT_BYTES: usize = size_of::<Slot>();

#[derive(Debug)]
enum Slot {
    Used(Bytes),
    Free { next: u32 },
}

/// The values, and the slots that are free for others.
#[derive(Debug)]
pub(super) struct LargeValues {
    slots: Vec<Slot>,
    free: u32,
    used: usize,
    value_bytes: usize,
}

impl LargeValues {
    pub(super) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: NO_SLOT,
            used: 0,
            value_bytes: 0,
        }
    }

    /// Bytes of memory that the values take.
    pub(super) fn value_bytes(&self) -> usize {
        self.value_bytes
    }

    /// Bytes of memory that the table takes.
    pub(super) fn table_bytes(&self) -> usize {
        allocation_bytes(self.slots.capacity() * SLOT_BYTES)
    }

    /// Bytes that the table will grow by if one value is added now.
    pub(super) fn growth_bytes(&self) -> usize {
        allocation_bytes(self.capacity_for_one_more() * SLOT_BYTES) - self.table_bytes()
    }

    /// The value of `handle`.
    ///
    /// # Panics
    /// If there is none.
    pub(super) fn value(&self, handle: u32) -> &Bytes {
        match &self.slots[handle as usize] {
            Slot::Used(value) => value,
            Slot::Free { .. } => panic!("handle {handle} is free"),
        }
    }

    /// Bytes of memory that the value of `handle` takes.
    pub(super) fn charge(&self, handle: u32) -> usize {
        large_value_bytes(self.value(handle).len())
    }

    /// Keeps `value`.
    pub(super) fn insert(&mut self, value: Bytes) -> u32 {
        self.used += 1;
        self.value_bytes += large_value_bytes(value.len());
        if self.free == NO_SLOT {
            let more = self.capacity_for_one_more() - self.slots.len();
            self.slots.reserve_exact(more);
            self.slots.push(Slot::Used(value));
            return u32::try_from(self.slots.len() - 1).expect("values outnumber their handles");
        }
        let handle = self.free;
        let slot = core::mem::replace(&mut self.slots[handle as usize], Slot::Used(value));
        match slot {
            Slot::Free { next } => self.free = next,
            Slot::Used(_) => panic!("handle {handle} is taken"),
        }
        handle
    }

    /// Lets go of the value of `handle`.
    pub(super) fn remove(&mut self, handle: u32) {
        self.value_bytes -= self.charge(handle);
        self.slots[handle as usize] = Slot::Free { next: self.free };
        self.free = handle;
        self.used -= 1;
        if self.used == 0 {
            *self = Self::new();
        }
    }

    fn capacity_for_one_more(&self) -> usize {
        let capacity = self.slots.capacity();
        if self.free != NO_SLOT || self.slots.len() < capacity {
            return capacity;
        }
        capacity + (capacity / 4).max(8)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn slots_are_used_again_and_counted() {
        let mut values = LargeValues::new();
        assert_eq!((values.value_bytes(), values.table_bytes()), (0, 0));
        let mut handles = Vec::new();
        for number in 0..100u8 {
            let (before, growth) = (values.table_bytes(), values.growth_bytes());
            handles.push(values.insert(Bytes::from(vec![number; 5000])));
            assert_eq!(values.table_bytes(), before + growth);
        }
        assert_eq!(values.value_bytes(), 100 * (5120 + 32));
        for &handle in &handles[10..20] {
            values.remove(handle);
        }
        assert_eq!(values.growth_bytes(), 0);
        let again = values.insert(Bytes::from(vec![200; 6000]));
        assert_eq!(again, handles[19]);
        assert_eq!(values.value(again)[0], 200);
        assert_eq!(values.value(handles[9])[0], 9);
        values.remove(again);
        for &handle in handles[..10].iter().chain(&handles[20..]) {
            values.remove(handle);
        }
        assert_eq!((values.value_bytes(), values.table_bytes()), (0, 0));
    }
}
