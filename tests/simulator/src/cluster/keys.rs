//! Which keys lie in which partition.
//!
//! Decides nothing: it looks them up. Refuses to know what they are for.

use std::sync::OnceLock;

use zufar_core::hash::{KeyHash, PARTITIONS};

use crate::Random;
use crate::operation::KeyNumber;
use crate::request::key_name;

/// The partition of a key.
pub(super) fn partition_of(key: KeyNumber) -> u16 {
    KeyHash::of(key_name(key).as_bytes()).partition()
}

/// All keys that there can be, by partition.
fn by_partition() -> &'static [Vec<KeyNumber>] {
    static KEYS: OnceLock<Vec<Vec<KeyNumber>>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let mut all = vec![Vec::new(); PARTITIONS];
        for key in 0..KeyNumber::MAX {
            all[usize::from(partition_of(key))].push(key);
        }
        all
    })
}

/// So many keys in each of so many partitions.
pub(super) fn draw(random: &mut Random, partitions: u64, keys: usize) -> Vec<KeyNumber> {
    let mut drawn: Vec<KeyNumber> = Vec::new();
    for _ in 0..partitions {
        let partition = random.below(PARTITIONS as u64) as usize;
        let some = by_partition()[partition].iter().take(keys);
        drawn.extend(some);
    }
    drawn.sort_unstable();
    drawn.dedup();
    drawn
}
