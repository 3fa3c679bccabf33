//! The cluster's secrets, as an operator hands them over.
//!
//! Decides what a secret is, which of several seals and which are accepted, and which keys come
//! of them. Refuses to know files, the environment, and what the keys are used for.

use alloc::vec::Vec;
use core::fmt;

use super::seed::Root;

/// Shortest secret, in bytes: 32 hexadecimal digits are 128 random bits.
pub const SECRET_BYTES_MIN: usize = 32;
/// Longest secret, in bytes.
pub const SECRET_BYTES_MAX: usize = 256;
/// Most secrets that are valid at once. A rotation takes two.
pub const SECRETS_MAX: usize = 8;
/// Longest text that secrets are read from, in bytes: what reads a file reads no more.
pub const SECRET_FILE_BYTES_MAX: usize = 16 * 1024;

/// The secrets that are valid, at least one. The first seals, all open. They are not kept: only
/// what keys are derived from is, and that is overwritten in the end.
pub struct Secrets {
    secrets: Vec<Secret>,
}

/// One secret, as what its keys are derived from.
pub(super) struct Secret {
    /// Travels in clear text, so that whoever opens knows which secret to take. Two secrets may
    /// have the same: then both are tried.
    pub(super) id: u8,
    root: Root,
}

/// Why a text holds no secrets. What it holds is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretError {
    /// It has no secret at all.
    Missing,
    /// It is longer than [`SECRET_FILE_BYTES_MAX`].
    TooLong,
    /// A secret is shorter than [`SECRET_BYTES_MIN`] or longer than [`SECRET_BYTES_MAX`].
    Length {
        /// Its line, counted from 1.
        line: usize,
        /// Its length, in bytes.
        bytes: usize,
    },
    /// A secret has something that is no printable ASCII character.
    Characters {
        /// Its line, counted from 1.
        line: usize,
    },
    /// A secret is there twice.
    Repeated {
        /// Its second line, counted from 1.
        line: usize,
    },
    /// There are more than [`SECRETS_MAX`].
    TooMany,
}

impl Secrets {
    /// Reads a secret file, or what the environment holds: one secret a line. Blank lines and
    /// those that begin with `#` are passed over, as is white space around a secret.
    ///
    /// # Errors
    /// When there is none, or one is not as it should be.
    pub fn parse(text: &[u8]) -> Result<Self, SecretError> {
        if text.len() > SECRET_FILE_BYTES_MAX {
            return Err(SecretError::TooLong);
        }
        let mut found: Vec<&[u8]> = Vec::new();
        for (index, secret) in text.split(|byte| *byte == b'\n').enumerate() {
            let (line, secret) = (index + 1, secret.trim_ascii());
            if secret.is_empty() || secret.starts_with(b"#") {
                continue;
            }
            check(line, secret)?;
            if found.contains(&secret) {
                return Err(SecretError::Repeated { line });
            }
            if found.len() == SECRETS_MAX {
                return Err(SecretError::TooMany);
            }
            found.push(secret);
        }
        if found.is_empty() {
            return Err(SecretError::Missing);
        }
        let secrets = found.into_iter().map(Secret::new).collect();
        Ok(Self { secrets })
    }

    /// The one that seals.
    pub(super) fn first(&self) -> &Secret {
        &self.secrets[0]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Secret> {
        self.secrets.iter()
    }
}

fn check(line: usize, secret: &[u8]) -> Result<(), SecretError> {
    let bytes = secret.len();
    if !secret.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(SecretError::Characters { line });
    }
    if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes) {
        return Err(SecretError::Length { line, bytes });
    }
    Ok(())
}

impl Secret {
    fn new(secret: &[u8]) -> Self {
        let root = Root::extract(b"zufar cluster secret 1", secret);
        let mut id = [0];
        root.derive("key id 1", &[], &mut id);
        Self { id: id[0], root }
    }

    /// Fills `key` for a purpose of this secret.
    pub(super) fn derive(&self, purpose: &str, context: &[&[u8]], key: &mut [u8]) {
        self.root.derive(purpose, context, key);
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Secrets({})", self.secrets.len())
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(formatter, "there is no cluster secret in it"),
            Self::TooLong => write!(
                formatter,
                "it is longer than {SECRET_FILE_BYTES_MAX} bytes: is it a file of secrets?"
            ),
            Self::Length { line, bytes } => write!(
                formatter,
                "line {line}: a cluster secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} \
                 characters, and this one has {bytes}; `openssl rand -hex 32` makes one"
            ),
            Self::Characters { line } => write!(
                formatter,
                "line {line}: a cluster secret is made of printable ASCII characters"
            ),
            Self::Repeated { line } => {
                write!(formatter, "line {line}: this cluster secret is there twice")
            }
            Self::TooMany => write!(
                formatter,
                "there are more than {SECRETS_MAX} cluster secrets: take the oldest away"
            ),
        }
    }
}

impl core::error::Error for SecretError {}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::{String, ToString};
    use alloc::vec;

    use super::super::testing::{hex, secret};
    use super::*;

    fn error(text: &str) -> SecretError {
        Secrets::parse(text.as_bytes()).expect_err(text)
    }

    fn key(secret: &Secret) -> [u8; 32] {
        let mut key = [0; 32];
        secret.derive("test", &[], &mut key);
        key
    }

    #[test]
    fn comments_blanks_and_white_space_are_passed_over() {
        let (a, b) = (secret('a'), secret('b'));
        let plain = Secrets::parse(format!("{a}\n{b}").as_bytes()).expect("two secrets");
        let decorated = format!("# old and new\r\n\n  {a}\t\r\n   \n#{b}\n{b}\n");
        let decorated = Secrets::parse(decorated.as_bytes()).expect("two secrets");
        let keys = |secrets: &Secrets| secrets.iter().map(key).collect::<Vec<_>>();
        assert_eq!(keys(&plain), keys(&decorated));
        assert_eq!(keys(&plain).len(), 2);
        assert_eq!(
            key(plain.first()),
            key(Secrets::parse(a.as_bytes()).expect("one").first())
        );
    }

    #[test]
    fn what_is_no_secret_is_refused_by_its_line() {
        let a = secret('a');
        let short = "b".repeat(SECRET_BYTES_MIN - 1);
        let long = "b".repeat(SECRET_BYTES_MAX + 1);
        assert_eq!(error(""), SecretError::Missing);
        assert_eq!(error("\n# nothing\n"), SecretError::Missing);
        assert_eq!(
            error(&format!("{a}\n{short}")),
            SecretError::Length { line: 2, bytes: 31 }
        );
        assert_eq!(
            error(&format!("\n{long}")),
            SecretError::Length {
                line: 2,
                bytes: 257
            }
        );
        assert_eq!(
            error(&format!("{a}\u{e4}")),
            SecretError::Characters { line: 1 }
        );
        assert_eq!(
            error(&format!("{a}\n\n {a}")),
            SecretError::Repeated { line: 3 }
        );
        let many: Vec<String> = ('a'..='i').map(secret).collect();
        assert_eq!(error(&many.join("\n")), SecretError::TooMany);
        let most = many[1..].join("\n");
        assert!(Secrets::parse(most.as_bytes()).is_ok());
        let large = vec![b'#'; SECRET_FILE_BYTES_MAX + 1];
        assert!(matches!(Secrets::parse(&large), Err(SecretError::TooLong)));
    }

    #[test]
    fn nothing_shows_a_secret() {
        let a = secret('a');
        let secrets = Secrets::parse(a.as_bytes()).expect("a secret");
        assert_eq!(format!("{secrets:?}"), "Secrets(1)");
        let error = error(&format!("{a}\n{a}"));
        assert!(!error.to_string().contains("aaa"), "{error}");
    }

    /// Changing any of these locks running nodes out.
    #[test]
    fn keys_stay_what_they_are() {
        let secrets = Secrets::parse(secret('a').as_bytes()).expect("a secret");
        assert_eq!(secrets.first().id, 96);
        let expected = "99ee293cabcd3b9a26798d26949f5ddc3100e0a9069276c5f211354f201d57a2";
        assert_eq!(key(secrets.first()).to_vec(), hex(expected));
    }
}
