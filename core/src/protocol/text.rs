//! The classic commands of one or many keys.
//!
//! Decides their grammar and which of a line's faults shows first. Refuses to know meta
//! commands and those that concern no key.
//!
//! A refused store line is followed by a data block all the same. It is passed over as soon as
//! its length is known; a line without a readable length has no block that could be.

use nom::Parser;

use crate::command::{Arithmetic, Delete, Expiry, Fetch, Operation, StoreMode};
use crate::time::Now;

use super::ParseLimits;
use super::key::Key;
use super::number;
use super::refusal::{ErrorLine, Refusal};
use super::request::{GetRequest, KeyCommand, KeyRequest, Meta, Request, StoreRequest};
use super::token::{Tokens, ends_in_noreply, token};

type Parsed<'a> = Result<Request<'a>, Refusal<'a>>;

/// get and gets; `keys` is the line behind the word.
#[inline]
pub(super) fn get(keys: &[u8], with_cas: bool, located: bool) -> Parsed<'_> {
    checked(GetRequest {
        with_cas,
        touch: None,
        located,
        keys,
    })
}

/// gat and gats.
pub(super) fn get_and_touch(line: &[u8], with_cas: bool, located: bool, now: Now) -> Parsed<'_> {
    let (keys, exptime) = token(line).map_err(|_| ErrorLine::BadFormat)?;
    if Tokens(keys).next().is_none() {
        return Err(ErrorLine::BadFormat.into());
    }
    let exptime = number::i32(exptime).ok_or(ErrorLine::InvalidExptime)?;
    checked(GetRequest {
        with_cas,
        touch: Some(Expiry::from_exptime(exptime, now)),
        located,
        keys,
    })
}

#[inline]
fn checked(get: GetRequest<'_>) -> Parsed<'_> {
    if get.check_keys() {
        Ok(Request::Get(get))
    } else {
        Err(ErrorLine::BadFormat.into())
    }
}

/// set, add, replace, append, prepend; cas with a compare token.
#[inline]
pub(super) fn store<'a>(
    line: &'a [u8],
    mode: StoreMode,
    is_cas: bool,
    located: bool,
    now: Now,
    limits: &ParseLimits,
) -> Parsed<'a> {
    let (tail, (key, flags, exptime, length)) = (token, token, token, token)
        .parse(line)
        .map_err(|_| ErrorLine::BadFormat)?;
    let data_bytes = number::data_bytes(length).ok_or(ErrorLine::BadFormat)?;
    let noreply = ends_in_noreply(tail);
    let refuse = |line| Refusal::new(line).silent_if(noreply).swallowing(data_bytes);
    let compare = if is_cas {
        Some(Tokens(tail).next().and_then(number::u64))
    } else {
        None
    };
    let (Some(key), Some(flags), Some(exptime)) =
        (Key::plain(key), number::u32(flags), number::i32(exptime))
    else {
        return Err(refuse(ErrorLine::BadFormat));
    };
    if compare == Some(None) {
        return Err(refuse(ErrorLine::BadFormat));
    }
    if data_bytes > limits.value_bytes_max {
        return Err(Refusal {
            evict: (mode == StoreMode::Set && !is_cas).then_some(key),
            ..refuse(ErrorLine::TooLarge)
        });
    }
    Ok(Request::Store(StoreRequest {
        key,
        mode,
        flags,
        expiry: Expiry::from_exptime(exptime, now),
        compare: compare.flatten(),
        new_cas: None,
        invalidate: false,
        vivify: None,
        data_bytes,
        noreply,
        located,
        meta: None,
    }))
}

/// delete and del. Further tokens mean nothing: old clients send a time of 0.
pub(super) fn delete(line: &[u8], located: bool) -> Parsed<'_> {
    let (_, key) = token(line).map_err(|_| ErrorLine::BadFormat)?;
    let operation = Operation::Delete(Delete::default());
    one_key(line, key, KeyCommand::Delete, located, Ok(operation))
}

/// incr and decr.
pub(super) fn arithmetic(line: &[u8], decrement: bool, located: bool) -> Parsed<'_> {
    let (_, (key, delta)) = (token, token)
        .parse(line)
        .map_err(|_| ErrorLine::BadFormat)?;
    let operation = number::u64(delta)
        .map(|delta| {
            Operation::Arithmetic(Arithmetic {
                decrement,
                delta,
                initial: None,
                touch: None,
                compare: None,
                new_cas: None,
            })
        })
        .ok_or(ErrorLine::InvalidDelta);
    one_key(line, key, KeyCommand::Arithmetic, located, operation)
}

/// touch.
pub(super) fn touch(line: &[u8], located: bool, now: Now) -> Parsed<'_> {
    let (_, (key, exptime)) = (token, token)
        .parse(line)
        .map_err(|_| ErrorLine::BadFormat)?;
    let operation = number::i32(exptime)
        .map(|exptime| {
            Operation::Fetch(Fetch {
                touch: Some(Expiry::from_exptime(exptime, now)),
                touch_only: true,
                ..Fetch::default()
            })
        })
        .ok_or(ErrorLine::InvalidExptime);
    one_key(line, key, KeyCommand::Touch, located, operation)
}

fn one_key<'a>(
    line: &'a [u8],
    key: &'a [u8],
    command: KeyCommand,
    located: bool,
    operation: Result<Operation<'static>, ErrorLine>,
) -> Parsed<'a> {
    let noreply = ends_in_noreply(line);
    let refuse = |line| Refusal::new(line).silent_if(noreply);
    let key = Key::plain(key).ok_or(refuse(ErrorLine::BadFormat))?;
    Ok(Request::Key(KeyRequest {
        key,
        operation: operation.map_err(refuse)?,
        command,
        noreply,
        located,
        meta: Meta::default(),
    }))
}
