//! Randomness that was brought in from outside, and keys that are derived from it.
//!
//! Decides how many secrets come of one: HKDF-SHA256 (RFC 5869), each for one purpose. Refuses to
//! know where the first one comes from.

use core::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes of a root.
pub(super) const ROOT_BYTES: usize = 32;

/// A uniformly random key that keys are derived from, and that is used for nothing else.
#[derive(Clone)]
pub(super) struct Root(Zeroizing<[u8; ROOT_BYTES]>);

impl Root {
    /// Out of something that is hard to guess but not uniform.
    pub(super) fn extract(salt: &[u8], material: &[u8]) -> Self {
        let (root, _) = Hkdf::<Sha256>::extract(Some(salt), material);
        Self(Zeroizing::new(root.into()))
    }

    /// Fills `key` for a purpose. Keys of different purposes or contexts say nothing of each
    /// other. A purpose has no NUL.
    pub(super) fn derive(&self, purpose: &str, context: &[&[u8]], key: &mut [u8]) {
        let expand = Hkdf::<Sha256>::from_prk(&*self.0).expect("a root is as long as a hash");
        let mut info = [&[] as &[u8]; CONTEXT_PARTS_MAX + 2];
        info[0] = purpose.as_bytes();
        info[1] = b"\0";
        info[2..2 + context.len()].copy_from_slice(context);
        expand
            .expand_multi_info(&info, key)
            .expect("keys are shorter than 255 hashes");
    }
}

/// Most parts that the context of a key may have.
const CONTEXT_PARTS_MAX: usize = 3;

/// Randomness for one use. It can't be copied: what is drawn from it would not be random twice.
pub struct Seed(Root);

impl Seed {
    /// Out of the system's entropy, or of whatever a simulator wants to happen again.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Root(Zeroizing::new(bytes)))
    }

    /// A number for `purpose`, which nothing else is drawn for.
    pub(crate) fn number(&self, purpose: &str) -> u64 {
        let mut bytes = [0; 8];
        self.0.derive(purpose, &[], &mut bytes);
        u64::from_be_bytes(bytes)
    }

    pub(super) fn derive(&self, purpose: &str, context: &[&[u8]], key: &mut [u8]) {
        self.0.derive(purpose, context, key);
    }
}

/// Makes many seeds of one. Each draw replaces the key that it was made with, so a later look at
/// the memory does not tell what was drawn before ("fast key erasure", Bernstein 2017).
pub struct Entropy(Root);

impl Entropy {
    /// Starts from a seed that is used for nothing else: one for each worker.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self(seed.0)
    }

    /// The next seed.
    pub fn draw(&mut self) -> Seed {
        let mut both = Zeroizing::new([0; 2 * ROOT_BYTES]);
        self.0.derive("entropy 1", &[], &mut *both);
        let (next, drawn) = both.split_at(ROOT_BYTES);
        self.0.0.copy_from_slice(next);
        let mut seed = Seed::new([0; ROOT_BYTES]);
        seed.0.0.copy_from_slice(drawn);
        seed
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Seed")
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Entropy")
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::format;
    use alloc::vec::Vec;

    use super::super::testing::hex;
    use super::*;

    fn key(seed: &Seed, purpose: &str, context: &[&[u8]]) -> [u8; 16] {
        let mut key = [0; 16];
        seed.derive(purpose, context, &mut key);
        key
    }

    /// RFC 5869, A.1; its info takes the place of purpose and context.
    #[test]
    fn roots_are_extracted_as_the_rfc_has_it() {
        let root = Root::extract(&hex("000102030405060708090a0b0c"), &[0x0b; 22]);
        let expected = "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5";
        assert_eq!(root.0.to_vec(), hex(expected));
        let expand = Hkdf::<Sha256>::from_prk(&*root.0).expect("long enough");
        let mut key = [0; 42];
        let info = hex("f0f1f2f3f4f5f6f7f8f9");
        expand.expand(&info, &mut key).expect("short enough");
        let expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf\
                        34007208d5b887185865";
        assert_eq!(key.to_vec(), hex(expected));
    }

    #[test]
    fn a_key_is_the_expansion_of_its_purpose_and_context() {
        let root = Root::extract(b"salt", b"material");
        let mut key = [0; 32];
        root.derive("purpose", &[b"con", b"text"], &mut key);
        let expand = Hkdf::<Sha256>::from_prk(&*root.0).expect("long enough");
        let mut expected = [0; 32];
        expand
            .expand(b"purpose\0context", &mut expected)
            .expect("short enough");
        assert_eq!(key, expected);
    }

    #[test]
    fn keys_differ_by_purpose_context_and_seed() {
        let (one, two) = (Seed::new([1; 32]), Seed::new([2; 32]));
        let keys = BTreeSet::from([
            key(&one, "a", &[]),
            key(&one, "b", &[]),
            key(&one, "a", &[b"c"]),
            key(&one, "ac", &[]),
            key(&two, "a", &[]),
        ]);
        assert_eq!(keys.len(), 5);
    }

    #[test]
    fn draws_differ_and_happen_again() {
        let draw = |seed: u8| {
            let mut entropy = Entropy::new(Seed::new([seed; 32]));
            let keys = (0..100).map(|_| key(&entropy.draw(), "a", &[]));
            keys.collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        let all: BTreeSet<_> = draw(1).into_iter().chain(draw(2)).collect();
        assert_eq!(all.len(), 200);
    }

    #[test]
    fn they_are_not_shown() {
        let seed = Seed::new([0x41; 32]);
        assert_eq!(format!("{seed:?}"), "Seed");
        assert_eq!(format!("{:?}", Entropy::new(seed)), "Entropy");
    }
}
