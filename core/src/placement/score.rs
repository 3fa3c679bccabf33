//! How much a partition is drawn to a node: the score of weighted rendezvous hashing.
//!
//! Decides the hash, the logarithm, and how two scores compare: by integers alone, since a float's
//! logarithm may differ between two hosts, and then so would their maps. Refuses to know racks,
//! and how many replicas there are.

use core::cmp::Ordering;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::member::{GUID_BYTES_MAX, Guid};

/// Spreads the partition's number over the 64 bits of the seed: 2^64 divided by the golden ratio.
const SEED_STEP: u64 = 0x9e37_79b9_7f4a_7c15;
/// Binary places of a logarithm.
const FRACTION_BITS: u32 = 32;

/// What is hashed of a node: its guid, padded with zeros. Neither its address nor its generation,
/// so that a node that moves or restarts keeps its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name([u8; GUID_BYTES_MAX]);

impl Name {
    pub(super) fn of(guid: &Guid) -> Self {
        let text = guid.as_str().as_bytes();
        let mut name = [0; GUID_BYTES_MAX];
        name[..text.len()].copy_from_slice(text);
        Self(name)
    }

    pub(super) const fn bytes(&self) -> &[u8; GUID_BYTES_MAX] {
        &self.0
    }

    /// XXH3 (64 bits) of the name, seeded with the partition: so the partition takes part in
    /// each multiplication, and names that are alike still draw independently.
    fn draw(&self, partition: u16) -> u64 {
        xxh3_64_with_seed(&self.0, u64::from(partition).wrapping_mul(SEED_STEP))
    }
}

/// A node's score for a partition, `-log2(u) / weight` for a uniform draw `u` in (0, 1): the
/// smallest wins, and each node wins as often as its weight is part of all weights.
#[derive(Clone, Copy, Debug)]
pub(super) struct Score {
    /// `-log2(u)` in units of 2^-32: 1 to 64 · 2^32.
    surprisal: u64,
    weight: u32,
}

impl Score {
    #[cfg(test)]
    pub(super) const fn new(surprisal: u64, weight: u32) -> Self {
        Self { surprisal, weight }
    }

    pub(super) fn of(name: &Name, weight: u32, partition: u16) -> Self {
        // An odd number of 2^64ths is never 0, and its logarithm, rounded down, is below 64.
        let log2 = log2(name.draw(partition) | 1);
        Self {
            surprisal: (64 << FRACTION_BITS) - log2,
            weight,
        }
    }

    /// Which of the two goes first. The quotients compare by products: below 2^39 · 2^32.
    pub(super) fn compare(self, other: Self) -> Ordering {
        let product = |surprisal, weight| u128::from(surprisal) * u128::from(weight);
        product(self.surprisal, other.weight).cmp(&product(other.surprisal, self.weight))
    }
}

/// The binary logarithm of `x` > 0 in units of 2^-32, digit by digit: of a mantissa in [1, 2) the
/// square is in [1, 4), and whether it reaches 2 is the next digit. Each square is rounded down to
/// 64 bits, which is part of the definition: the digits are the same everywhere, the result never
/// falls as `x` rises, and it is at most one unit below the true one.
fn log2(x: u64) -> u64 {
    let leading_zeros = x.leading_zeros();
    let mut log2 = u64::from(63 - leading_zeros);
    let mut mantissa = x << leading_zeros;
    for _ in 0..FRACTION_BITS {
        let square = ((u128::from(mantissa) * u128::from(mantissa)) >> 64) as u64;
        let digit = square >> 63;
        mantissa = square << (1 - digit);
        log2 = log2 << 1 | digit;
    }
    log2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UNIT: u64 = 1 << FRACTION_BITS;

    #[test]
    fn powers_of_two_have_whole_logarithms() {
        for exponent in 0..64 {
            assert_eq!(log2(1 << exponent), exponent * UNIT);
        }
        assert_eq!(log2(u64::MAX), 64 * UNIT - 1);
    }

    #[test]
    fn known_logarithms() {
        // log2(3) and log2(10), rounded down: 1.58496250072115618… and 3.32192809488736234….
        assert_eq!(log2(3), 6_807_362_105);
        assert_eq!(log2(10), 14_267_572_527);
    }

    #[test]
    fn no_score_overflows() {
        // With the first weight the greater product would be 2^64, and leave nothing of 64 bits.
        for weight in [1 << 26, u32::MAX] {
            let [least, most] = [(1, weight), (64 << FRACTION_BITS, 1)]
                .map(|(surprisal, weight)| Score::new(surprisal, weight));
            assert_eq!(least.compare(most), Ordering::Less);
            assert_eq!(most.compare(least), Ordering::Greater);
            assert_eq!(most.compare(most), Ordering::Equal);
        }
    }

    proptest! {
        #[test]
        fn logarithms_never_fall(x in 1..=u64::MAX, y in 1..=u64::MAX, step in 0..1000u64) {
            prop_assert!(log2(x.min(y)) <= log2(x.max(y)));
            prop_assert!(log2(x) <= log2(x.saturating_add(step)));
        }

        /// The logarithm of a product is the sum of the logarithms, but for what was rounded off.
        #[test]
        fn logarithms_add_up(x in 1..=u64::from(u32::MAX), y in 1..=u64::from(u32::MAX)) {
            let difference = log2(x * y).abs_diff(log2(x) + log2(y));
            prop_assert!(difference <= 3, "{difference} units of 2^-32");
        }
    }
}
