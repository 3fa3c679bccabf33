//! Which tags a partition's keys on disk have: a sorted set, three bytes a tag.
//!
//! Decides how the set is packed. Refuses to know why a tag is in it. There is no way to remove
//! one tag, since two keys may share it: a set is only ever replaced as a whole.

use alloc::vec::Vec;

use super::allocation::{allocation_bytes, size_class};

/// What a tag takes.
pub(super) const TAG_BYTES: usize = 3;

/// A set of tags, big endian and ascending, so that bytes compare as tags do.
#[derive(Debug, Default)]
pub(super) struct DiskTags {
    packed: Vec<u8>,
}

impl DiskTags {
    /// The set of all `tags`, which are sorted for it.
    pub(super) fn from_tags(tags: &mut Vec<u32>) -> Self {
        tags.sort_unstable();
        tags.dedup();
        let mut packed = Vec::new();
        packed.reserve_exact(tags.len() * TAG_BYTES);
        for &tag in &*tags {
            packed.extend_from_slice(&pack(tag));
        }
        Self { packed }
    }

    /// How many tags there are.
    pub(super) fn len(&self) -> usize {
        self.packed.len() / TAG_BYTES
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// Bytes of memory that the set takes.
    pub(super) fn memory_bytes(&self) -> usize {
        allocation_bytes(self.packed.capacity())
    }

    /// Whether `tag` is in the set.
    pub(super) fn contains(&self, tag: u32) -> bool {
        self.search(pack(tag)).is_ok()
    }

    /// Adds `tag`.
    pub(super) fn insert(&mut self, tag: u32) {
        let tag = pack(tag);
        let Err(at) = self.search(tag) else {
            return;
        };
        let len = self.packed.len();
        if len + TAG_BYTES > self.packed.capacity() {
            let wanted = size_class(len + TAG_BYTES.max(len / 16));
            self.packed.reserve_exact(wanted - len);
        }
        let at = at * TAG_BYTES;
        self.packed.extend_from_slice(&tag);
        self.packed.copy_within(at..len, at + TAG_BYTES);
        self.packed[at..at + TAG_BYTES].copy_from_slice(&tag);
    }

    /// The tags, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let (tags, _) = self.packed.as_chunks::<TAG_BYTES>();
        tags.iter()
            .map(|[high, middle, low]| u32::from_be_bytes([0, *high, *middle, *low]))
    }

    fn search(&self, tag: [u8; TAG_BYTES]) -> Result<usize, usize> {
        let (tags, _) = self.packed.as_chunks::<TAG_BYTES>();
        tags.binary_search(&tag)
    }
}

fn pack(tag: u32) -> [u8; TAG_BYTES] {
    let [_, packed @ ..] = tag.to_be_bytes();
    packed
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_set(
            bulk in proptest::collection::vec(0..1u32 << 24, 0..50),
            single in proptest::collection::vec(0..1u32 << 24, 0..300),
        ) {
            let mut tags = DiskTags::from_tags(&mut bulk.clone());
            let mut model: BTreeSet<u32> = bulk.into_iter().collect();
            prop_assert!(tags.iter().eq(model.iter().copied()));
            for tag in single {
                prop_assert_eq!(tags.contains(tag), model.contains(&tag));
                tags.insert(tag);
                model.insert(tag);
                tags.insert(tag);
                prop_assert!(tags.contains(tag) && !tags.is_empty());
                prop_assert_eq!(tags.len(), model.len());
            }
            prop_assert!(tags.iter().eq(model.iter().copied()));
        }
    }

    #[test]
    fn a_tag_costs_little_over_three_bytes() {
        let mut tags = DiskTags::default();
        assert_eq!(tags.memory_bytes(), 0);
        for tag in 0..20_000 {
            tags.insert(tag * 7);
        }
        let bytes = tags.memory_bytes();
        assert!((60_000..75_000).contains(&bytes), "{bytes}");
        let bulk = DiskTags::from_tags(&mut (0..20_000).rev().collect::<Vec<u32>>());
        assert!(bulk.memory_bytes() < 64_000);
    }
}
