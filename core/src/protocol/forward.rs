//! Requests that one node carries to another, and their answers, as bytes.
//!
//! Decides how operations and outcomes are laid out between nodes. Refuses to know links, frames
//! around these bytes, and why a request goes elsewhere.
//!
//! ```text
//! request = sequence:u64 partition:u16 key:(length:u8 bytes) operation value
//! answer  = sequence:u64 outcome [value]
//! value   = 0 length:u32 bytes | 1 length:u32        (1: the bytes come in chunks of their own)
//! operation, outcome = code:u8 present:u16 fields
//! ```
//!
//! All integers are big endian. `present` has a bit for each yes-or-no and for each field that
//! may be absent, in the order of the fields; only fields that are present follow. Bits and
//! fields may be added at the end: a reader that does not know a bit can't read what follows
//! it, so they are a new version of the peer protocol.

mod fields;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use nom::IResult;

use self::fields::{Reader, Writer};
use super::integers::{be_u8, be_u16, be_u32, be_u64, take};
use crate::cache::INLINE_BYTES_MAX;
use crate::command::{
    Arithmetic, Delete, Failure, Fetch, Item, KEY_BYTES_MAX, Operation, Outcome, Store, StoreMode,
    Value,
};
use crate::hash::{KeyHash, PARTITIONS};

/// Where the key begins in a request, with its length.
const KEY_AT: usize = 10;

/// A value as it stands in a request or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireValue<'a> {
    /// All of it, at most [`INLINE_BYTES_MAX`] bytes.
    Inline(&'a [u8]),
    /// So many bytes, which come in chunks.
    Chunked(u32),
}

/// One request between nodes.
#[derive(Clone, Debug)]
pub struct ForwardedRequest<'a> {
    /// The sender's number for it, by which it is answered and by which a second try is known.
    pub sequence: u64,
    /// The key, which lies in the partition that the sender names.
    pub key: &'a [u8],
    /// Its hash.
    pub hash: KeyHash,
    /// What to do. A store's own value is empty here.
    pub operation: Operation<'static>,
    /// The value of a store; empty for anything else.
    pub value: WireValue<'a>,
}

/// One answer between nodes.
#[derive(Clone, Debug)]
pub struct ForwardedAnswer<'a> {
    /// The number of the request.
    pub sequence: u64,
    /// What came of it. An item's own value is empty here.
    pub outcome: Outcome<'static>,
    /// The item's value; empty for anything else.
    pub value: WireValue<'a>,
}

/// Bytes that are no request or answer of this version. The link can't be used any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<'a> WireValue<'a> {
    /// How `value` travels.
    ///
    /// # Panics
    /// If it is longer than 4 GiB, as no value is.
    #[must_use]
    pub fn of(value: &'a Value<'_>) -> Self {
        match value.as_slice() {
            bytes if bytes.len() <= INLINE_BYTES_MAX => Self::Inline(bytes),
            bytes => {
                let length = u32::try_from(bytes.len()).expect("values stay below 4 GiB");
                Self::Chunked(length)
            }
        }
    }

    fn push(self, into: &mut Vec<u8>) {
        match self {
            Self::Inline(bytes) => {
                let length = u32::try_from(bytes.len()).expect("inline values are short");
                into.push(0);
                into.extend_from_slice(&length.to_be_bytes());
                into.extend_from_slice(bytes);
            }
            Self::Chunked(length) => {
                into.push(1);
                into.extend_from_slice(&length.to_be_bytes());
            }
        }
    }

    /// Reads a value, which is empty unless there is one.
    fn parse(input: &'a [u8], has_value: bool) -> IResult<&'a [u8], Self> {
        let (input, how) = be_u8(input)?;
        let (input, length) = be_u32(input)?;
        let is_long = length as usize > INLINE_BYTES_MAX;
        if length > 0 && !has_value {
            return Err(fields::refused(input));
        }
        match how {
            0 if !is_long => {
                let (input, bytes) = take(input, length as usize)?;
                Ok((input, Self::Inline(bytes)))
            }
            1 if is_long => Ok((input, Self::Chunked(length))),
            _ => Err(fields::refused(input)),
        }
    }
}

/// Appends a request to `into`. A large value is only announced: its chunks are the caller's.
///
/// # Panics
/// If the key is longer than [`KEY_BYTES_MAX`], which no session lets through.
pub fn encode_request(
    sequence: u64,
    hash: KeyHash,
    key: &[u8],
    operation: &Operation<'_>,
    into: &mut Vec<u8>,
) {
    assert!(key.len() <= KEY_BYTES_MAX, "no key is longer than 250");
    let length = u8::try_from(key.len()).expect("250 at most");
    into.extend_from_slice(&sequence.to_be_bytes());
    into.extend_from_slice(&hash.partition().to_be_bytes());
    into.push(length);
    into.extend_from_slice(key);
    push_operation(operation, into);
    match operation {
        Operation::Store(store) => WireValue::of(&store.value).push(into),
        Operation::Fetch(_)
        | Operation::Delete(_)
        | Operation::Arithmetic(_)
        | Operation::Inspect => WireValue::Inline(&[]).push(into),
    }
}

/// Reads what [`encode_request`] wrote; what follows it is passed over.
///
/// # Errors
/// When `body` does not begin with a request, or names a partition that its key is not in.
pub fn decode_request(body: &[u8]) -> Result<ForwardedRequest<'_>, Malformed> {
    let (_later, request) = request(body).map_err(|_| Malformed)?;
    Ok(request)
}

/// The key of what [`encode_request`] wrote, unchecked.
pub(super) fn key(body: &[u8]) -> Option<&[u8]> {
    let (&key_bytes, rest) = body.get(KEY_AT..)?.split_first()?;
    rest.get(..usize::from(key_bytes))
}

fn request(input: &[u8]) -> IResult<&[u8], ForwardedRequest<'_>> {
    let (input, sequence) = be_u64(input)?;
    let (input, partition) = be_u16(input)?;
    let (input, key_bytes) = be_u8(input)?;
    let (input, key) = take(input, usize::from(key_bytes))?;
    let hash = KeyHash::of(key);
    let fits = (1..=KEY_BYTES_MAX).contains(&key.len())
        && usize::from(partition) < PARTITIONS
        && hash.partition() == partition;
    if !fits {
        return Err(fields::refused(input));
    }
    let (input, operation) = operation(input)?;
    let has_value = matches!(operation, Operation::Store(_));
    let (input, value) = WireValue::parse(input, has_value)?;
    let request = ForwardedRequest {
        sequence,
        key,
        hash,
        operation,
        value,
    };
    Ok((input, request))
}

/// Appends an answer to `into`. A large value is only announced: its chunks are the caller's.
pub fn encode_answer(sequence: u64, outcome: &Outcome<'_>, into: &mut Vec<u8>) {
    into.extend_from_slice(&sequence.to_be_bytes());
    push_outcome(outcome, into);
    match outcome {
        Outcome::Item(item) => WireValue::of(&item.value).push(into),
        Outcome::NotFound
        | Outcome::Stored { .. }
        | Outcome::NotStored
        | Outcome::Exists
        | Outcome::Deleted
        | Outcome::Number { .. }
        | Outcome::Failed(_) => WireValue::Inline(&[]).push(into),
    }
}

/// Reads what [`encode_answer`] wrote; what follows it is passed over.
///
/// # Errors
/// When `body` does not begin with an answer.
pub fn decode_answer(body: &[u8]) -> Result<ForwardedAnswer<'_>, Malformed> {
    let (_later, answer) = answer(body).map_err(|_| Malformed)?;
    Ok(answer)
}

fn answer(input: &[u8]) -> IResult<&[u8], ForwardedAnswer<'_>> {
    let (input, sequence) = be_u64(input)?;
    let (input, outcome) = outcome(input)?;
    let has_value = matches!(outcome, Outcome::Item(_));
    let (input, value) = WireValue::parse(input, has_value)?;
    let answer = ForwardedAnswer {
        sequence,
        outcome,
        value,
    };
    Ok((input, answer))
}

const FETCH: u8 = 1;
const STORE: u8 = 2;
const DELETE: u8 = 3;
const ARITHMETIC: u8 = 4;
const INSPECT: u8 = 5;

fn push_operation(operation: &Operation<'_>, into: &mut Vec<u8>) {
    match operation {
        Operation::Fetch(fetch) => push_fetch(fetch, into),
        Operation::Store(store) => push_store(store, into),
        Operation::Delete(delete) => push_delete(delete, into),
        Operation::Arithmetic(arithmetic) => push_arithmetic(arithmetic, into),
        Operation::Inspect => Writer::new(INSPECT, into).end(),
    }
}

fn operation(input: &[u8]) -> IResult<&[u8], Operation<'static>> {
    let (code, mut reader) = Reader::new(input)?;
    let operation = match code {
        FETCH => Operation::Fetch(fetch(&mut reader)?),
        STORE => Operation::Store(store(&mut reader)?),
        DELETE => Operation::Delete(delete(&mut reader)?),
        ARITHMETIC => Operation::Arithmetic(arithmetic(&mut reader)?),
        INSPECT => Operation::Inspect,
        _ => return Err(fields::refused(input)),
    };
    Ok((reader.end()?, operation))
}

fn push_fetch(fetch: &Fetch, into: &mut Vec<u8>) {
    let mut writer = Writer::new(FETCH, into);
    writer.expiry(fetch.touch);
    writer.flag(fetch.touch_only);
    writer.expiry(fetch.vivify);
    writer.number(fetch.recache_s.map(i32::cast_unsigned));
    writer.flag(fetch.recache);
    writer.long(fetch.new_cas);
    writer.flag(fetch.no_bump);
    writer.flag(fetch.meta);
    writer.end();
}

fn fetch<'a>(reader: &mut Reader<'a>) -> Result<Fetch, fields::Refused<'a>> {
    Ok(Fetch {
        touch: reader.expiry()?,
        touch_only: reader.flag(),
        vivify: reader.expiry()?,
        recache_s: reader.number()?.map(u32::cast_signed),
        recache: reader.flag(),
        new_cas: reader.long()?,
        no_bump: reader.flag(),
        meta: reader.flag(),
    })
}

fn push_store(store: &Store<'_>, into: &mut Vec<u8>) {
    let mut writer = Writer::new(STORE, into);
    writer.byte(match store.mode {
        StoreMode::Set => 0,
        StoreMode::Add => 1,
        StoreMode::Replace => 2,
        StoreMode::Append => 3,
        StoreMode::Prepend => 4,
    });
    writer.number(Some(store.flags));
    writer.expiry(Some(store.expiry));
    writer.long(store.compare);
    writer.long(store.new_cas);
    writer.flag(store.invalidate);
    writer.expiry(store.vivify);
    writer.end();
}

fn store<'a>(reader: &mut Reader<'a>) -> Result<Store<'static>, fields::Refused<'a>> {
    let mode = match reader.byte()? {
        0 => StoreMode::Set,
        1 => StoreMode::Add,
        2 => StoreMode::Replace,
        3 => StoreMode::Append,
        4 => StoreMode::Prepend,
        _ => return Err(reader.refused()),
    };
    Ok(Store {
        mode,
        flags: reader.number()?.unwrap_or_default(),
        expiry: reader.expiry()?.unwrap_or_default(),
        value: Value::Small(&[]),
        compare: reader.long()?,
        new_cas: reader.long()?,
        invalidate: reader.flag(),
        vivify: reader.expiry()?,
    })
}

fn push_delete(delete: &Delete, into: &mut Vec<u8>) {
    let mut writer = Writer::new(DELETE, into);
    writer.long(delete.compare);
    writer.long(delete.new_cas);
    writer.flag(delete.stale);
    writer.flag(delete.drop_value);
    writer.expiry(delete.expiry);
    writer.number((delete.flags != 0).then_some(delete.flags));
    writer.flag(delete.refused_store);
    writer.end();
}

fn delete<'a>(reader: &mut Reader<'a>) -> Result<Delete, fields::Refused<'a>> {
    Ok(Delete {
        compare: reader.long()?,
        new_cas: reader.long()?,
        stale: reader.flag(),
        drop_value: reader.flag(),
        expiry: reader.expiry()?,
        flags: reader.number()?.unwrap_or_default(),
        refused_store: reader.flag(),
    })
}

fn push_arithmetic(arithmetic: &Arithmetic, into: &mut Vec<u8>) {
    let mut writer = Writer::new(ARITHMETIC, into);
    writer.flag(arithmetic.decrement);
    writer.long(Some(arithmetic.delta));
    let (number, expiry) = arithmetic.initial.unzip();
    writer.long(number);
    writer.expiry(expiry);
    writer.expiry(arithmetic.touch);
    writer.long(arithmetic.compare);
    writer.long(arithmetic.new_cas);
    writer.end();
}

fn arithmetic<'a>(reader: &mut Reader<'a>) -> Result<Arithmetic, fields::Refused<'a>> {
    Ok(Arithmetic {
        decrement: reader.flag(),
        delta: reader.long()?.unwrap_or_default(),
        initial: reader.long()?.zip(reader.expiry()?),
        touch: reader.expiry()?,
        compare: reader.long()?,
        new_cas: reader.long()?,
    })
}

const ITEM: u8 = 1;
const NOT_FOUND: u8 = 2;
const STORED: u8 = 3;
const NOT_STORED: u8 = 4;
const EXISTS: u8 = 5;
const DELETED: u8 = 6;
const NUMBER: u8 = 7;
const FAILED: u8 = 8;

fn push_outcome(outcome: &Outcome<'_>, into: &mut Vec<u8>) {
    match outcome {
        Outcome::Item(item) => push_item(item, into),
        Outcome::NotFound => Writer::new(NOT_FOUND, into).end(),
        Outcome::Stored { cas, value_bytes } => {
            let mut writer = Writer::new(STORED, into);
            writer.long(Some(*cas));
            writer.number(Some(*value_bytes));
            writer.end();
        }
        Outcome::NotStored => Writer::new(NOT_STORED, into).end(),
        Outcome::Exists => Writer::new(EXISTS, into).end(),
        Outcome::Deleted => Writer::new(DELETED, into).end(),
        Outcome::Number {
            number,
            cas,
            expired_s_before,
            expires_s,
            vivified,
        } => {
            let mut writer = Writer::new(NUMBER, into);
            writer.long(Some(*number));
            writer.long(Some(*cas));
            writer.number(Some(*expired_s_before));
            writer.number(Some(*expires_s));
            writer.flag(*vivified);
            writer.end();
        }
        Outcome::Failed(failure) => {
            let mut writer = Writer::new(FAILED, into);
            writer.byte(failure_code(*failure));
            writer.end();
        }
    }
}

fn outcome(input: &[u8]) -> IResult<&[u8], Outcome<'static>> {
    let (code, mut reader) = Reader::new(input)?;
    let outcome = match code {
        ITEM => Outcome::Item(item(&mut reader)?),
        NOT_FOUND => Outcome::NotFound,
        STORED => Outcome::Stored {
            cas: reader.long()?.unwrap_or_default(),
            value_bytes: reader.number()?.unwrap_or_default(),
        },
        NOT_STORED => Outcome::NotStored,
        EXISTS => Outcome::Exists,
        DELETED => Outcome::Deleted,
        NUMBER => Outcome::Number {
            number: reader.long()?.unwrap_or_default(),
            cas: reader.long()?.unwrap_or_default(),
            expired_s_before: reader.number()?.unwrap_or_default(),
            expires_s: reader.number()?.unwrap_or_default(),
            vivified: reader.flag(),
        },
        FAILED => match failure(reader.byte()?) {
            Some(failure) => Outcome::Failed(failure),
            None => return Err(reader.refused()),
        },
        _ => return Err(fields::refused(input)),
    };
    Ok((reader.end()?, outcome))
}

fn push_item(item: &Item<'_>, into: &mut Vec<u8>) {
    let mut writer = Writer::new(ITEM, into);
    let some = |number: u32| (number != 0).then_some(number);
    writer.number(some(item.flags));
    writer.long(Some(item.cas));
    writer.number(some(item.expired_s_before));
    writer.number(some(item.expires_s));
    writer.number(some(item.accessed_s));
    writer.flag(item.fetched);
    writer.flag(item.stale);
    writer.flag(item.token_sent);
    writer.flag(item.won);
    writer.flag(item.vivified);
    writer.number(some(item.memory_bytes));
    writer.end();
}

fn item<'a>(reader: &mut Reader<'a>) -> Result<Item<'static>, fields::Refused<'a>> {
    Ok(Item {
        value: Value::Small(&[]),
        flags: reader.number()?.unwrap_or_default(),
        cas: reader.long()?.unwrap_or_default(),
        expired_s_before: reader.number()?.unwrap_or_default(),
        expires_s: reader.number()?.unwrap_or_default(),
        accessed_s: reader.number()?.unwrap_or_default(),
        fetched: reader.flag(),
        stale: reader.flag(),
        token_sent: reader.flag(),
        won: reader.flag(),
        vivified: reader.flag(),
        memory_bytes: reader.number()?.unwrap_or_default(),
    })
}

const fn failure_code(failure: Failure) -> u8 {
    match failure {
        Failure::TooLarge => 1,
        Failure::OutOfMemory => 2,
        Failure::NonNumeric => 3,
        Failure::Backlog => 4,
        Failure::DiskRead => 5,
        Failure::DiskFull => 6,
        Failure::Unreachable => 7,
        Failure::Unknown => 8,
    }
}

const fn failure(code: u8) -> Option<Failure> {
    match code {
        1 => Some(Failure::TooLarge),
        2 => Some(Failure::OutOfMemory),
        3 => Some(Failure::NonNumeric),
        4 => Some(Failure::Backlog),
        5 => Some(Failure::DiskRead),
        6 => Some(Failure::DiskFull),
        7 => Some(Failure::Unreachable),
        8 => Some(Failure::Unknown),
        _ => None,
    }
}
