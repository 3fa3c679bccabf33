//! Frames between nodes, once both have said hello and seen that they belong together.
//!
//! Decides the layout of what is carried: requests, answers, refusals, chunks of large values and
//! what replicas say to each other. Refuses to know what the carried bytes mean; the frame around
//! them is that of [`peer`](super::peer), and the kinds of both are told apart by number.
//!
//! ```text
//! frame   = length:u32 kind:u8 body
//! request = epoch:u32 term:u64 since:u64 forwarded-request   kind 32
//! answer  = forwarded-answer                                 kind 33
//! refusal = sequence:u64 epoch:u32 at-once:u8 hint           kind 34
//! chunk   = sequence:u64 direction:u8 bytes                  kind 35
//! cancel  = sequence:u64 direction:u8                        kind 36
//! replica = replication messages                             kind 37
//! large   = sequence:u64 length:u32                          kind 38
//! hint    = 0 | length:u8 guid generation:u64 counter:u64
//! ```

#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use nom::combinator::{map_opt, rest, verify};
use nom::multi::length_data;
use nom::{IResult, Parser};

use super::integers::{be_u8, be_u32, be_u64};
use super::peer::RawFrame;
use crate::member::{Guid, NodeId};
use crate::replication::Term;
use crate::replication::wire::COUNT_MAX;

const KIND_REQUEST: u8 = 32;
const KIND_ANSWER: u8 = 33;
const KIND_REFUSAL: u8 = 34;
const KIND_CHUNK: u8 = 35;
const KIND_CANCEL: u8 = 36;
const KIND_REPLICA: u8 = 37;
const KIND_LARGE: u8 = 38;

/// Bytes of an [`Attempt`].
const ATTEMPT_BYTES: usize = 20;

/// The lowest kind of these frames; those of [`peer`](super::peer) are below.
pub const KIND_LOWEST: u8 = KIND_REQUEST;

/// Which way a large value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// With a request.
    Request,
    /// With an answer.
    Answer,
    /// It is what replicas say to each other: see [`LinkFrame::Large`].
    Replica,
}

/// Which large value a chunk is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId {
    /// The request's sequence, or that of the announcement.
    pub sequence: u64,
    /// Whose value it is.
    pub direction: Direction,
}

/// What one attempt of a request is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// How often the sender has sent this partition's requests anew.
    pub epoch: u32,
    /// The counter of the receiver's term that it is meant for; 0 if the sender knows none.
    pub term: u64,
    /// The counter of the term that the first attempt was meant for; 0 if none was known yet.
    pub since: u64,
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkFrame<'a> {
    /// A request ([`super::forward`]) for a partition whose primary the receiver is said to be.
    Request {
        /// For what.
        attempt: Attempt,
        /// The request.
        body: &'a [u8],
    },
    /// An answer ([`super::forward`]).
    Answer {
        /// The answer.
        body: &'a [u8],
    },
    /// The sender is not the primary of the request's partition.
    Refusal {
        /// The request.
        sequence: u64,
        /// The epoch that it came under.
        epoch: u32,
        /// It was refused as soon as it came: neither it nor anything that came behind it under
        /// this epoch has been begun. Otherwise both may have been carried out.
        at_once: bool,
        /// The term of who is, as far as the sender knows; counter 0 is a guess.
        hint: Option<Term>,
    },
    /// The next bytes of a large value, which has been announced.
    Chunk {
        /// The value.
        value: ValueId,
        /// The bytes, at least one.
        bytes: &'a [u8],
    },
    /// The rest of a large value will not come.
    Cancel {
        /// The value.
        value: ValueId,
    },
    /// What replicas of some partitions say to each other.
    Replica {
        /// The messages.
        body: &'a [u8],
    },
    /// The same, but too long for a frame: the bytes come in chunks.
    Large {
        /// Counted by the sender, for [`ValueId::sequence`].
        sequence: u64,
        /// How many bytes, at least one.
        length: u32,
    },
}

/// Reads a frame's body; none for a kind that this release does not know.
///
/// # Errors
/// When the body does not have the form of its kind: the link can't be used any further.
pub fn decode(kind: u8, body: &[u8]) -> Result<Option<LinkFrame<'_>>, super::forward::Malformed> {
    let frame = match kind {
        KIND_REQUEST => (attempt, rest)
            .map(|(attempt, body)| LinkFrame::Request { attempt, body })
            .parse(body),
        KIND_ANSWER => Ok((&[][..], LinkFrame::Answer { body })),
        KIND_REFUSAL => (be_u64, be_u32, yes_or_no, hint)
            .map(|(sequence, epoch, at_once, hint)| LinkFrame::Refusal {
                sequence,
                epoch,
                at_once,
                hint,
            })
            .parse(body),
        KIND_CHUNK => (value_id, map_opt(rest, not_empty))
            .map(|(value, bytes)| LinkFrame::Chunk { value, bytes })
            .parse(body),
        KIND_CANCEL => value_id
            .map(|value| LinkFrame::Cancel { value })
            .parse(body),
        KIND_REPLICA => Ok((&[][..], LinkFrame::Replica { body })),
        KIND_LARGE => (
            be_u64,
            map_opt(be_u32, |length| (length > 0).then_some(length)),
        )
            .map(|(sequence, length)| LinkFrame::Large { sequence, length })
            .parse(body),
        _ => return Ok(None),
    };
    match frame {
        Ok((_later, frame)) => Ok(Some(frame)),
        Err(_) => Err(super::forward::Malformed),
    }
}

/// The key of a request, without reading the rest.
#[must_use]
pub fn request_key<'a>(raw: &RawFrame<'a>) -> Option<&'a [u8]> {
    match raw.kind {
        KIND_REQUEST => super::forward::key(raw.body.get(ATTEMPT_BYTES..)?),
        _ => None,
    }
}

fn not_empty(bytes: &[u8]) -> Option<&[u8]> {
    (!bytes.is_empty()).then_some(bytes)
}

fn yes_or_no(input: &[u8]) -> IResult<&[u8], bool> {
    map_opt(be_u8, |code| match code {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    })
    .parse(input)
}

fn attempt(input: &[u8]) -> IResult<&[u8], Attempt> {
    (be_u32, be_u64, be_u64)
        .map(|(epoch, term, since)| Attempt { epoch, term, since })
        .parse(input)
}

fn value_id(input: &[u8]) -> IResult<&[u8], ValueId> {
    let direction = map_opt(be_u8, |code| match code {
        0 => Some(Direction::Request),
        1 => Some(Direction::Answer),
        2 => Some(Direction::Replica),
        _ => None,
    });
    (be_u64, direction)
        .map(|(sequence, direction)| ValueId {
            sequence,
            direction,
        })
        .parse(input)
}

fn hint(input: &[u8]) -> IResult<&[u8], Option<Term>> {
    let (input, name) = length_data(be_u8).parse(input)?;
    if name.is_empty() {
        return Ok((input, None));
    }
    let guid = |name| {
        core::str::from_utf8(name)
            .ok()
            .and_then(|text| Guid::new(text).ok())
    };
    let (_, guid) = map_opt(rest, guid).parse(name)?;
    let counter = verify(be_u64, |counter| *counter <= COUNT_MAX);
    let (input, (generation, counter)) = (be_u64, counter).parse(input)?;
    let node = NodeId { guid, generation };
    Ok((input, Some(Term { counter, node })))
}

/// Appends `frame` to `into`.
///
/// # Panics
/// If its body is longer than 4 GiB, as no frame is.
pub fn encode(frame: &LinkFrame<'_>, into: &mut Vec<u8>) {
    encode_with(kind(frame), into, |into| push_body(frame, into));
}

/// Appends a request frame whose body `push` appends.
pub fn encode_request(attempt: Attempt, into: &mut Vec<u8>, push: impl FnOnce(&mut Vec<u8>)) {
    encode_with(KIND_REQUEST, into, |into| {
        push_attempt(attempt, into);
        push(into);
    });
}

/// Appends an answer frame whose body `push` appends.
pub fn encode_answer(into: &mut Vec<u8>, push: impl FnOnce(&mut Vec<u8>)) {
    encode_with(KIND_ANSWER, into, push);
}

fn encode_with(kind: u8, into: &mut Vec<u8>, push: impl FnOnce(&mut Vec<u8>)) {
    let start = into.len();
    into.extend_from_slice(&[0; 4]);
    into.push(kind);
    push(into);
    let length = u32::try_from(into.len() - start - 4).expect("a frame stays below 4 GiB");
    into[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

const fn kind(frame: &LinkFrame<'_>) -> u8 {
    match frame {
        LinkFrame::Request { .. } => KIND_REQUEST,
        LinkFrame::Answer { .. } => KIND_ANSWER,
        LinkFrame::Refusal { .. } => KIND_REFUSAL,
        LinkFrame::Chunk { .. } => KIND_CHUNK,
        LinkFrame::Cancel { .. } => KIND_CANCEL,
        LinkFrame::Replica { .. } => KIND_REPLICA,
        LinkFrame::Large { .. } => KIND_LARGE,
    }
}

fn push_body(frame: &LinkFrame<'_>, into: &mut Vec<u8>) {
    match frame {
        LinkFrame::Request { attempt, body } => {
            push_attempt(*attempt, into);
            into.extend_from_slice(body);
        }
        LinkFrame::Answer { body } | LinkFrame::Replica { body } => into.extend_from_slice(body),
        LinkFrame::Refusal {
            sequence,
            epoch,
            at_once,
            hint,
        } => {
            into.extend_from_slice(&sequence.to_be_bytes());
            into.extend_from_slice(&epoch.to_be_bytes());
            into.push(u8::from(*at_once));
            push_hint(*hint, into);
        }
        LinkFrame::Chunk { value, bytes } => {
            push_value_id(*value, into);
            into.extend_from_slice(bytes);
        }
        LinkFrame::Cancel { value } => push_value_id(*value, into),
        LinkFrame::Large { sequence, length } => {
            into.extend_from_slice(&sequence.to_be_bytes());
            into.extend_from_slice(&length.to_be_bytes());
        }
    }
}

fn push_attempt(attempt: Attempt, into: &mut Vec<u8>) {
    into.extend_from_slice(&attempt.epoch.to_be_bytes());
    into.extend_from_slice(&attempt.term.to_be_bytes());
    into.extend_from_slice(&attempt.since.to_be_bytes());
}

fn push_value_id(value: ValueId, into: &mut Vec<u8>) {
    into.extend_from_slice(&value.sequence.to_be_bytes());
    into.push(match value.direction {
        Direction::Request => 0,
        Direction::Answer => 1,
        Direction::Replica => 2,
    });
}

fn push_hint(hint: Option<Term>, into: &mut Vec<u8>) {
    let Some(Term { counter, node }) = hint else {
        into.push(0);
        return;
    };
    let name = node.guid.as_str().as_bytes();
    into.push(u8::try_from(name.len()).expect("a guid has 32 bytes at most"));
    into.extend_from_slice(name);
    into.extend_from_slice(&node.generation.to_be_bytes());
    into.extend_from_slice(&counter.to_be_bytes());
}
