//! The keys of a get line that is too long to be held: read as they come.
//!
//! Decides where a key ends in a line whose end may not have come yet, and tells "no more" from
//! "not yet". Refuses to know what becomes of the keys.

use memchr::memchr2;
use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::combinator::value;

use crate::command::KEY_BYTES_MAX;

use super::request::GetRequest;

/// What stands next on a get line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextKey<'a> {
    /// A legal key.
    Key {
        /// The key.
        key: &'a [u8],
        /// The bytes that it took, the spaces before it included; a carriage return behind it,
        /// too, if it belongs to the line's end.
        consumed: usize,
    },
    /// Nothing complete yet.
    Incomplete {
        /// Spaces that can be passed over.
        consumed: usize,
    },
    /// The line has no more keys.
    End {
        /// The bytes up to its end, the end included.
        consumed: usize,
    },
    /// A key of more than 250 bytes: the line is refused.
    TooLong {
        /// Bytes that can be passed over. The line's end, still to be found, is behind them.
        consumed: usize,
    },
}

/// Recognises an unfinished line that may have any length: get, gets, getd and getsd. Returns
/// the request, without keys, and where its keys begin.
#[must_use]
pub fn parse_get_prefix(input: &[u8]) -> Option<(GetRequest<'static>, usize)> {
    let word = |word: &'static str, with_cas, located| {
        value((with_cas, located), tag::<_, _, ()>(word.as_bytes()))
    };
    let (rest, (with_cas, located)) = alt((
        word("get ", false, false),
        word("gets ", true, false),
        word("getd ", false, true),
        word("getsd ", true, true),
    ))
    .parse(input)
    .ok()?;
    let head = GetRequest {
        with_cas,
        touch: None,
        located,
        keys: &[],
    };
    Some((head, input.len() - rest.len()))
}

/// Reads the next key of a get line. `input` is what has come from there on: the line's rest, its
/// end and what follows it, or as much of that as is there.
#[must_use]
#[inline]
pub fn next_key(input: &[u8]) -> NextKey<'_> {
    let spaces = input.iter().take_while(|&&byte| byte == b' ').count();
    let rest = &input[spaces..];
    let Some(length) = memchr2(b' ', b'\n', rest) else {
        return unfinished(rest, spaces);
    };
    let token = &rest[..length];
    let key = match rest[length] {
        b'\n' => without_return(token),
        _ => token,
    };
    match key.len() {
        0 => NextKey::End {
            consumed: spaces + length + 1,
        },
        // What ended the token stays: it may be the line's end.
        1..=KEY_BYTES_MAX => NextKey::Key {
            key,
            consumed: spaces + length,
        },
        _ => NextKey::TooLong {
            consumed: spaces + length,
        },
    }
}

/// A token that reaches the end of what has come. Its last byte may belong to the line's end, so
/// it does not count yet.
fn unfinished(token: &[u8], spaces: usize) -> NextKey<'_> {
    if without_return(token).len() > KEY_BYTES_MAX {
        NextKey::TooLong {
            consumed: spaces + token.len(),
        }
    } else {
        NextKey::Incomplete { consumed: spaces }
    }
}

fn without_return(token: &[u8]) -> &[u8] {
    token.strip_suffix(b"\r").unwrap_or(token)
}
