//! What the tests of several modules need.

use alloc::string::String;
use alloc::vec::Vec;
use core::iter;

use super::{Credentials, SECRET_BYTES_MIN, Secrets, Seed};

pub(super) fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2));
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(digits).collect()
}

/// The shortest secret, all of one letter.
pub(super) fn secret(letter: char) -> String {
    iter::repeat_n(letter, SECRET_BYTES_MIN).collect()
}

/// Secrets of one letter each.
pub(super) fn secrets(letters: &str) -> Secrets {
    let lines: Vec<String> = letters.chars().map(secret).collect();
    Secrets::parse(lines.join("\n").as_bytes()).expect("these are secrets")
}

/// With secrets of one letter each; without any in clear text.
pub(super) fn credentials(cluster: &str, letters: &str) -> Credentials {
    let secrets = (!letters.is_empty()).then(|| secrets(letters));
    Credentials::new(cluster, secrets)
}

pub(super) fn seed(number: u8) -> Seed {
    Seed::new([number; 32])
}

/// Two secrets with the same key id.
pub(super) fn alike() -> [String; 2] {
    let id = |text: &str| {
        let secrets = Secrets::parse(text.as_bytes()).expect("a secret");
        secrets.first().id
    };
    let first = secret('a');
    let others = (0..10_000).map(|number| alloc::format!("{number:032}"));
    let second = others.into_iter().find(|text| id(text) == id(&first));
    [first, second.expect("one of 256 is alike")]
}
