//! Figures by key prefix, as `stats detail` has them.
//!
//! Decides what a prefix is and that their number is bounded. Refuses to know items.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::protocol::{Decimal, END, Sink};

/// Ends a prefix.
pub(super) const DELIMITER: u8 = b':';
/// Most prefixes that are counted; commands of further ones are counted as overlooked.
pub const PREFIXES_MAX: usize = 4096;

/// The figures of one prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DetailFigures {
    /// Keys asked for by get and its kin.
    pub gets: u64,
    /// Of these, keys that had an item.
    pub hits: u64,
    /// set and its kin.
    pub sets: u64,
    /// delete.
    pub deletes: u64,
}

/// Figures by key prefix. Only classic commands count, as in memcached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// Whether anything is counted.
    pub enabled: bool,
    /// Commands whose prefix was one too many.
    pub overlooked: u64,
    prefixes: BTreeMap<Vec<u8>, DetailFigures>,
}

impl Detail {
    /// Counts a get of `key`, if counting is on.
    #[inline]
    pub fn count_get(&mut self, key: &[u8], hit: bool) {
        if self.enabled {
            self.count(key, |figures| {
                figures.gets += 1;
                figures.hits += u64::from(hit);
            });
        }
    }

    /// Counts a store to `key`, if counting is on.
    #[inline]
    pub fn count_set(&mut self, key: &[u8]) {
        if self.enabled {
            self.count(key, |figures| figures.sets += 1);
        }
    }

    /// Counts a delete of `key`, if counting is on.
    #[inline]
    pub fn count_delete(&mut self, key: &[u8]) {
        if self.enabled {
            self.count(key, |figures| figures.deletes += 1);
        }
    }

    fn count(&mut self, key: &[u8], change: impl FnOnce(&mut DetailFigures)) {
        let Some(end) = key.iter().position(|&byte| byte == DELIMITER) else {
            return;
        };
        match self.of(&key[..end]) {
            Some(figures) => change(figures),
            None => self.overlooked += 1,
        }
    }

    fn of(&mut self, prefix: &[u8]) -> Option<&mut DetailFigures> {
        if !self.prefixes.contains_key(prefix) {
            if self.prefixes.len() >= PREFIXES_MAX {
                return None;
            }
            self.prefixes
                .insert(prefix.to_vec(), DetailFigures::default());
        }
        self.prefixes.get_mut(prefix)
    }

    /// Takes in what another worker has counted.
    pub fn merge(&mut self, other: &Self) {
        self.enabled |= other.enabled;
        self.overlooked += other.overlooked;
        for (prefix, more) in &other.prefixes {
            match self.of(prefix) {
                Some(figures) => {
                    figures.gets += more.gets;
                    figures.hits += more.hits;
                    figures.sets += more.sets;
                    figures.deletes += more.deletes;
                }
                None => self.overlooked += more.gets + more.sets + more.deletes,
            }
        }
    }

    /// Forgets the counts, not whether to count.
    pub fn reset(&mut self) {
        self.overlooked = 0;
        self.prefixes.clear();
    }

    /// The answer to `stats detail dump`.
    pub fn render(&self, sink: &mut impl Sink) {
        let mut decimal = Decimal::new();
        for (prefix, figures) in &self.prefixes {
            sink.put(b"PREFIX ");
            sink.put(prefix);
            for (name, number) in [
                (" get ", figures.gets),
                (" hit ", figures.hits),
                (" set ", figures.sets),
                (" del ", figures.deletes),
            ] {
                sink.put(name.as_bytes());
                sink.put(decimal.write(number));
            }
            sink.put(b"\r\n");
        }
        sink.put(END);
    }
}
