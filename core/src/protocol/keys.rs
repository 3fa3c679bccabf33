//! The keys of a get line that is too long to be held: read as they come.
//!
//! Decides where a key ends in a line whose end has not come yet. Refuses to know what becomes
//! of the keys. The readers are nom's streaming ones, which tell "no more" from "not yet".

use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::bytes::streaming::{take_till1, take_while};
use nom::combinator::value;
use nom::{Err, Parser};

use crate::command::KEY_BYTES_MAX;

use super::request::GetRequest;
use super::token::{Read, space_or_end, token};

/// What stands next on a get line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextKey<'a> {
    /// A legal key.
    Key {
        /// The key.
        key: &'a [u8],
        /// The bytes that it took, spaces before it included.
        consumed: usize,
    },
    /// Nothing complete yet.
    Incomplete {
        /// Spaces that can be passed over.
        consumed: usize,
    },
    /// The line has no more keys.
    End,
    /// A key of more than 250 bytes: the line is refused.
    TooLong,
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

/// Reads the next key of a get line. `input` is what has come of the line, without its end:
/// all the rest of it if `line_complete`, else there is more to come.
#[must_use]
pub fn next_key(input: &[u8], line_complete: bool) -> NextKey<'_> {
    let found = if line_complete {
        token(input)
    } else {
        streaming(input)
    };
    match found {
        Ok((_, key)) if key.len() > KEY_BYTES_MAX => NextKey::TooLong,
        Ok((rest, key)) => NextKey::Key {
            key,
            consumed: input.len() - rest.len(),
        },
        Err(Err::Incomplete(_)) => unfinished(input),
        Err(Err::Error(()) | Err::Failure(())) => NextKey::End,
    }
}

fn streaming(input: &[u8]) -> Read<'_, &[u8]> {
    let (input, _) = take_while(|byte| byte == b' ').parse(input)?;
    take_till1(|byte| byte == b' ').parse(input)
}

/// A key that reaches the end of what has come. The last byte may be the carriage return of the
/// line's end, so it does not count yet.
fn unfinished(input: &[u8]) -> NextKey<'_> {
    let spaces = input.iter().take_while(|&&byte| byte == b' ').count();
    let key = &input[spaces..];
    let key = key.strip_suffix(b"\r").unwrap_or(key);
    if space_or_end(key) > KEY_BYTES_MAX {
        NextKey::TooLong
    } else {
        NextKey::Incomplete { consumed: spaces }
    }
}
