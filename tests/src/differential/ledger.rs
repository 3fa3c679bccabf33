//! Which cas unique of one server stands for which of the other.
//!
//! Decides that two cas uniques are the same one: those that were shown by the same answers. A
//! number that one server shows again must then come again from the other, and a new one must be
//! new to both. Refuses to know what makes a new one.

use std::collections::BTreeMap;

use super::Side;

/// A number that is below every cas unique and equals none: streams burn it at their start.
const LOWER: u64 = 1;
/// A number that is above every cas unique.
const HIGHER: u64 = u64::MAX - 1;

/// Which cas unique a request names.
#[derive(Clone, Copy, Debug)]
pub(super) enum CasChoice {
    /// The one that was shown last for this key, or so many before it.
    Shown { before: usize },
    /// None at all.
    Zero,
    /// One below all.
    Lower,
    /// One above all.
    Higher,
}

/// The cas uniques of one key, in the order in which they first appeared.
#[derive(Debug, Default)]
struct Known {
    pairs: Vec<(u64, u64)>,
    by_memcached: BTreeMap<u64, u64>,
    by_zufar: BTreeMap<u64, u64>,
}

/// The cas uniques of all keys.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    keys: BTreeMap<usize, Known>,
}

impl Ledger {
    /// Takes note that both have shown a cas unique for this key; whether they agree.
    pub(super) fn note(&mut self, key: usize, memcached: u64, zufar: u64) -> bool {
        if memcached == 0 || zufar == 0 {
            return memcached == zufar;
        }
        let known = self.keys.entry(key).or_default();
        match (
            known.by_memcached.get(&memcached),
            known.by_zufar.get(&zufar),
        ) {
            (Some(&expected_zufar), Some(&expected_memcached)) => {
                expected_zufar == zufar && expected_memcached == memcached
            }
            (None, None) => {
                known.by_memcached.insert(memcached, zufar);
                known.by_zufar.insert(zufar, memcached);
                known.pairs.push((memcached, zufar));
                true
            }
            _ => false,
        }
    }

    /// The number that a choice is for one of the servers.
    pub(super) fn resolve(&self, key: usize, choice: CasChoice, side: Side) -> u64 {
        match choice {
            CasChoice::Zero => 0,
            CasChoice::Lower => LOWER,
            CasChoice::Higher => HIGHER,
            CasChoice::Shown { before } => {
                let pairs = self.keys.get(&key).map_or(&[][..], |known| &known.pairs);
                let newest = pairs.iter().rev().nth(before);
                newest.map_or(LOWER, |&(memcached, zufar)| match side {
                    Side::Memcached => memcached,
                    Side::Zufar => zufar,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_equal_on_one_side_must_be_on_the_other() {
        let mut ledger = Ledger::default();
        assert!(ledger.note(0, 5, 500));
        assert!(ledger.note(0, 5, 500));
        assert!(!ledger.note(0, 5, 501));
        assert!(!ledger.note(0, 6, 500));
        assert!(ledger.note(0, 6, 501));
        assert!(!ledger.note(0, 5, 501));
        assert!(ledger.note(1, 5, 501));
        assert!(ledger.note(1, 0, 0));
        assert!(!ledger.note(1, 0, 7));
    }

    #[test]
    fn choices_count_back_from_the_newest() {
        let mut ledger = Ledger::default();
        let shown = |before| CasChoice::Shown { before };
        assert_eq!(ledger.resolve(3, shown(0), Side::Zufar), LOWER);
        ledger.note(3, 5, 500);
        ledger.note(3, 6, 600);
        assert_eq!(ledger.resolve(3, shown(0), Side::Zufar), 600);
        assert_eq!(ledger.resolve(3, shown(1), Side::Memcached), 5);
    }
}
