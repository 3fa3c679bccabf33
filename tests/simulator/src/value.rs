//! Values as the checkers see them.
//!
//! Decides when two values are the same, and what of a value is kept: a checker joins long ones
//! over and over, and compares them more often still. Refuses to know commands.

use std::cmp::Ordering;
use std::fmt;
use std::rc::Rc;

use crate::trace::Excerpt;

/// A joined value keeps no more than this of its bytes.
const JOINED_BYTES_MAX: usize = 256;

/// A value, which prints short. Two are the same if their lengths and 128 bits of digest are.
#[derive(Clone)]
pub struct Value {
    digest: Digest,
    len: usize,
    /// All bytes, or the first of a long joined value.
    start: Rc<[u8]>,
}

impl Value {
    /// A value of these bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self {
            digest: Digest::of(bytes),
            len: bytes.len(),
            start: Rc::from(bytes),
        }
    }

    /// This value with another one behind it.
    #[must_use]
    pub fn joined(&self, tail: &Self) -> Self {
        let mut start = self.start.to_vec();
        if self.start.len() == self.len {
            start.extend_from_slice(&tail.start[..tail.start.len().min(JOINED_BYTES_MAX)]);
        }
        start.truncate(JOINED_BYTES_MAX);
        Self {
            digest: self.digest.joined(tail.digest, tail.len),
            len: self.len + tail.len,
            start: Rc::from(start),
        }
    }

    /// Its length, in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its bytes; none of a long one that was joined.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        (self.start.len() == self.len).then_some(&self.start)
    }

    /// The number that it is, if it is one.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        std::str::from_utf8(self.bytes()?).ok()?.parse().ok()
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.digest, self.len).cmp(&(other.digest, other.len))
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Excerpt(&self.start).fmt(formatter)?;
        if self.start.len() < self.len {
            write!(formatter, " of {} bytes", self.len)?;
        }
        Ok(())
    }
}

/// Two polynomials of the bytes, modulo 2^64: that of a joined value follows from its parts'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Digest([u64; 2]);

const BASES: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93];
/// Bytes that are taken at once.
const BLOCK_BYTES: usize = 8;
const POWERS: [[u64; BLOCK_BYTES + 1]; 2] = [powers(BASES[0]), powers(BASES[1])];

const fn powers(base: u64) -> [u64; BLOCK_BYTES + 1] {
    let mut powers = [1; BLOCK_BYTES + 1];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = base.wrapping_mul(powers[at - 1]);
        at += 1;
    }
    powers
}

impl Digest {
    fn of(bytes: &[u8]) -> Self {
        let mut digest = [0_u64; 2];
        let mut blocks = bytes.chunks_exact(BLOCK_BYTES);
        for block in &mut blocks {
            for (digest, powers) in digest.iter_mut().zip(&POWERS) {
                let mut sum = digest.wrapping_mul(powers[BLOCK_BYTES]);
                for (byte, power) in block.iter().zip(powers[..BLOCK_BYTES].iter().rev()) {
                    sum = sum.wrapping_add(power.wrapping_mul(u64::from(*byte) + 1));
                }
                *digest = sum;
            }
        }
        for byte in blocks.remainder() {
            for (digest, base) in digest.iter_mut().zip(BASES) {
                *digest = digest.wrapping_mul(base).wrapping_add(u64::from(*byte) + 1);
            }
        }
        Self(digest)
    }

    fn joined(self, tail: Self, tail_bytes: usize) -> Self {
        let mut joined = tail.0;
        for ((joined, head), base) in joined.iter_mut().zip(self.0).zip(BASES) {
            let shift = base.wrapping_pow(tail_bytes as u32);
            *joined = joined.wrapping_add(head.wrapping_mul(shift));
        }
        Self(joined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joined_value_is_the_same_as_one_of_its_bytes() {
        let bytes: Vec<u8> = (0..2000_u32).map(|at| (at * at / 7) as u8).collect();
        for cut in [0, 1, 7, 8, 300, 1999, 2000] {
            let joined = Value::new(&bytes[..cut]).joined(&Value::new(&bytes[cut..]));
            assert_eq!(joined, Value::new(&bytes));
            assert_eq!(joined.bytes(), None);
            let again = joined.joined(&Value::new(b"7"));
            assert_eq!(again, Value::new(&[&bytes, b"7".as_slice()].concat()));
            assert_ne!(again, joined);
        }
    }

    #[test]
    fn values_differ_by_one_byte_and_by_order() {
        assert_ne!(Value::new(b"abcdefghi"), Value::new(b"abcdefgih"));
        assert_ne!(Value::new(b"\0"), Value::new(b""));
        assert_ne!(Value::new(b"12345678"), Value::new(b"12345679"));
    }

    #[test]
    fn short_joined_values_are_numbers() {
        let joined = Value::new(b"12").joined(&Value::new(b"3"));
        assert_eq!(joined.number(), Some(123));
        assert_eq!(joined.joined(&Value::new(b".")).number(), None);
    }
}
