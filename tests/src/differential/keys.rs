//! The keys that all streams share.
//!
//! Decides their names and what kind of values each has. Refuses to know commands.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Longest key, as it is sent.
const SENT_BYTES_MAX: usize = 250;

/// What values a key has, so that a difference which is listed can't spread: a padded number, for
/// one, is never appended to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Up to a few kilobytes that are never a number.
    Text,
    /// Mostly numbers.
    Counter,
    /// Up to the item limit.
    Big,
}

/// A key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: Vec<u8>,
    pub(super) family: Family,
}

impl Key {
    /// The key in base64, if that is short enough to be one.
    pub(super) fn encoded(&self) -> Option<Vec<u8>> {
        let encoded = STANDARD.encode(&self.name).into_bytes();
        (encoded.len() <= SENT_BYTES_MAX).then_some(encoded)
    }
}

/// Lengths of text keys, in bytes: short, around the longest that base64 allows, the longest.
const TEXT_LENGTHS: &[usize] = &[1, 2, 3, 8, 16, 31, 32, 33, 64, 127, 186, 187, 188, 249, 250];
const COUNTER_LENGTHS: &[usize] = &[1, 2, 5, 12, 24, 60, 187, 250];
const BIG_LENGTHS: &[usize] = &[1, 20, 250];

/// All keys; a key is known by its place here.
pub(super) fn all() -> Vec<Key> {
    let families = [
        (Family::Text, b't', TEXT_LENGTHS),
        (Family::Counter, b'n', COUNTER_LENGTHS),
        (Family::Big, b'B', BIG_LENGTHS),
    ];
    let mut keys = Vec::new();
    for (family, letter, lengths) in families {
        for &length in lengths {
            keys.push(Key {
                name: name(letter, length),
                family,
            });
        }
    }
    keys
}

/// A name that no other length or letter has; every third byte is any that a key may hold.
fn name(letter: u8, length: usize) -> Vec<u8> {
    let mut name = vec![letter];
    for at in 1..length {
        let any = 0x21 + ((at * 37 + length * 11) % (0x100 - 0x21)) as u8;
        name.push(if at % 3 == 1 && any != 0x7f {
            any
        } else {
            b'a' + (at % 26) as u8
        });
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_legal_and_differ() {
        let keys = all();
        for (at, key) in keys.iter().enumerate() {
            assert!((1..=250).contains(&key.name.len()));
            assert!(key.name.iter().all(|&byte| byte > b' ' && byte != 0x7f));
            assert!(keys[..at].iter().all(|other| other.name != key.name));
        }
        let encodable = keys.iter().filter(|key| key.encoded().is_some());
        assert!(encodable.clone().all(|key| key.name.len() <= 186));
        assert!(encodable.count() > keys.len() / 2);
    }
}
