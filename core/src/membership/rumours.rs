//! News that ride along in datagrams: descriptors and entries of the layout.
//!
//! Decides which news go into a packet that has some room left, and when one has been told often
//! enough. Refuses to know what they say. What gets lost here is made good by an exchange.
//!
//! Not done by foca's broadcasts: its handler can't reach the state that news are merged into,
//! and what does not fit beside a header it keeps for ever.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::records::RecordKind;
use crate::member::Guid;

struct Rumour {
    record: Vec<u8>,
    told: u32,
}

/// News by what they are about: a newer one takes the place of an older one.
#[derive(Default)]
pub(super) struct Rumours {
    news: BTreeMap<(RecordKind, Guid), Rumour>,
    order: Vec<(u32, RecordKind, Guid)>,
}

impl Rumours {
    /// Begins to tell `record`, whole with its head.
    pub(super) fn add(&mut self, kind: RecordKind, guid: Guid, record: Vec<u8>) {
        self.news.insert((kind, guid), Rumour { record, told: 0 });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.news.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.news.clear();
    }

    /// Appends to `packet` what fits into `room` bytes, what was told least coming first. What
    /// has been told `times_max` times is dropped.
    pub(super) fn fill(&mut self, mut room: usize, times_max: u32, packet: &mut Vec<u8>) {
        self.order.clear();
        let order = self.news.iter();
        self.order
            .extend(order.map(|((kind, guid), rumour)| (rumour.told, *kind, *guid)));
        self.order.sort_unstable();
        for (_, kind, guid) in &self.order {
            let Some(rumour) = self.news.get_mut(&(*kind, *guid)) else {
                continue;
            };
            if rumour.record.len() > room {
                continue;
            }
            room -= rumour.record.len();
            packet.extend_from_slice(&rumour.record);
            rumour.told += 1;
            if rumour.told >= times_max {
                self.news.remove(&(*kind, *guid));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn guid(text: &str) -> Guid {
        Guid::new(text).expect("a guid")
    }

    #[test]
    fn what_was_told_least_comes_first_and_each_so_many_times() {
        let mut rumours = Rumours::default();
        rumours.add(RecordKind::Layout, guid("a"), vec![1; 30]);
        rumours.add(RecordKind::Layout, guid("b"), vec![2; 40]);
        let mut told = (0, 0);
        for _ in 0..4 {
            assert!(!rumours.is_empty());
            let mut packet = Vec::new();
            rumours.fill(45, 2, &mut packet);
            assert!(packet.len() <= 45);
            told.0 += packet.iter().filter(|byte| **byte == 1).count() / 30;
            told.1 += packet.iter().filter(|byte| **byte == 2).count() / 40;
        }
        assert_eq!(told, (2, 2));
        assert!(rumours.is_empty());
    }

    #[test]
    fn news_take_the_place_of_older_ones() {
        let mut rumours = Rumours::default();
        rumours.add(RecordKind::Descriptor, guid("a"), vec![1; 3]);
        rumours.add(RecordKind::Layout, guid("a"), vec![3; 3]);
        rumours.add(RecordKind::Descriptor, guid("a"), vec![2; 3]);
        let mut packet = Vec::new();
        rumours.fill(100, 9, &mut packet);
        assert_eq!(packet, [2, 2, 2, 3, 3, 3]);
    }
}
