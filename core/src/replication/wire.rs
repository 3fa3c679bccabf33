//! Messages as bytes.
//!
//! Decides the layout and the bounds that hold before anything is allocated. Refuses to know
//! links: what it is given is one frame, whole and authentic.
//!
//! ```text
//! batch   = *( length:u32 partition:u16 message )      length counts partition and message
//! message = kind:u8 fields
//! node    = length:u8 guid generation:u64
//! term    = counter:u64 node
//! record  = term count:u8 *node count:u8 *guid option(term)
//! entry   = version:u64 length:u16 key flags:u8 [ length:u32 state ] [ request ]
//! ```
//!
//! All integers are big endian. Nothing is allocated beyond what has come: entries share the
//! frame's memory. A list is as long as its bytes allow, whatever its count says.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;
use nom::bytes::complete::take;
use nom::combinator::{cond, map, map_opt, verify};
use nom::error::{Error, ErrorKind};
use nom::multi::length_data;
use nom::number::complete::{be_u8, be_u16, be_u32, be_u64};
use nom::{IResult, Parser};

use super::entry::{Entry, Request, RequestId, State};
use super::message::{Holding, Message};
use super::record::{NODES_MAX, Record, Term};
use super::requests::Origin;
use super::store::Digest;
use crate::hash::PARTITIONS;
use crate::member::{Guid, NodeId};
use crate::time::Time;

/// Longest key, in bytes: what its length field can hold.
pub const KEY_BYTES_MAX: usize = u16::MAX as usize;
/// The highest counter, version, position or number of a chunk or session. Whoever hears of one
/// can count on from there for as long as it lives.
pub const COUNT_MAX: u64 = u64::MAX >> 1;
/// Longest answer to a request that is remembered: values of items are not.
pub const ANSWER_BYTES_MAX: usize = 1024;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

type Read<'a, T> = IResult<&'a [u8], T>;

// Writing.

/// Adds one message of a batch to `into`.
///
/// # Panics
/// If the message is longer than 4 GiB.
pub fn encode(partition: u16, message: &Message, into: &mut Vec<u8>) {
    let start = into.len();
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&partition.to_be_bytes());
    put_message(message, into);
    let length = u32::try_from(into.len() - start - 4).expect("a message stays below 4 GiB");
    into[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Bytes of a formation's name, which each batch of messages on a link begins with.
pub const FORMATION_BYTES: usize = 8;

/// Begins a batch of messages between replicas of the cluster of this formation, as a hello has it.
pub fn begin_batch(formation: u64, into: &mut Vec<u8>) {
    put_u64(formation, into);
}

/// The formation that a batch is of, and its messages.
///
/// # Errors
/// When it is shorter than that.
pub fn formation(batch: &[u8]) -> Result<(u64, &[u8]), Malformed> {
    let (formation, messages) = batch.split_first_chunk().ok_or(Malformed)?;
    Ok((u64::from_be_bytes(*formation), messages))
}

fn put_u8(number: u8, into: &mut Vec<u8>) {
    into.push(number);
}

fn put_u64(number: u64, into: &mut Vec<u8>) {
    into.extend_from_slice(&number.to_be_bytes());
}

fn put_u32(number: usize, into: &mut Vec<u8>) {
    let number = u32::try_from(number).expect("what is counted stays below 4 Gi");
    into.extend_from_slice(&number.to_be_bytes());
}

fn put_guid(guid: Guid, into: &mut Vec<u8>) {
    let text = guid.as_str().as_bytes();
    put_u8(u8::try_from(text.len()).expect("a guid is short"), into);
    into.extend_from_slice(text);
}

fn put_node(node: NodeId, into: &mut Vec<u8>) {
    put_guid(node.guid, into);
    put_u64(node.generation, into);
}

fn put_term(term: Term, into: &mut Vec<u8>) {
    put_u64(term.counter, into);
    put_node(term.node, into);
}

fn put_option<T>(value: Option<T>, into: &mut Vec<u8>, put: impl FnOnce(T, &mut Vec<u8>)) {
    put_u8(u8::from(value.is_some()), into);
    if let Some(value) = value {
        put(value, into);
    }
}

fn put_few<T: Copy>(values: &[T], into: &mut Vec<u8>, put: impl Fn(T, &mut Vec<u8>)) {
    put_u8(u8::try_from(values.len()).expect("a record is small"), into);
    for value in values {
        put(*value, into);
    }
}

fn put_record(record: &Record, into: &mut Vec<u8>) {
    put_term(record.term, into);
    put_few(&record.in_sync, into, put_node);
    put_few(&record.voters, into, put_guid);
    put_option(record.lineage, into, put_term);
}

fn put_long(bytes: &[u8], into: &mut Vec<u8>) {
    put_u32(bytes.len(), into);
    into.extend_from_slice(bytes);
}

const HAS_STATE: u8 = 1;
const HAS_REQUEST: u8 = 2;

fn put_entry(entry: &Entry, into: &mut Vec<u8>) {
    put_u64(entry.version, into);
    let length = u16::try_from(entry.key.len()).expect("a key is short");
    into.extend_from_slice(&length.to_be_bytes());
    into.extend_from_slice(&entry.key);
    let state = u8::from(entry.state != State::Tombstone) * HAS_STATE;
    let request = u8::from(entry.request.is_some()) * HAS_REQUEST;
    put_u8(state | request, into);
    if let State::Item(bytes) = &entry.state {
        put_long(bytes, into);
    }
    if let Some(request) = &entry.request {
        put_node(request.id.origin, into);
        put_u64(request.id.sequence, into);
        put_long(&request.answer, into);
    }
}

fn put_entries(entries: &[Entry], into: &mut Vec<u8>) {
    put_u32(entries.len(), into);
    for entry in entries {
        put_entry(entry, into);
    }
}

fn put_origin(origin: &Origin, into: &mut Vec<u8>) {
    put_node(origin.node, into);
    put_u64(origin.floor, into);
    put_u32(origin.kept.len(), into);
    for (sequence, answer) in &origin.kept {
        put_u64(*sequence, into);
        put_long(answer, into);
    }
}

fn put_holding(holding: Holding, into: &mut Vec<u8>) {
    let (code, session) = match holding {
        Holding::Nothing => (0, 0),
        Holding::Something => (1, 0),
        Holding::Filled { session } => (2, session),
        Holding::Complete => (3, 0),
        Holding::Mixed => (4, 0),
    };
    put_u8(code, into);
    put_u64(session, into);
}

#[allow(clippy::too_many_lines)] // One arm a message: the layout, to be read beside the decoder's.
fn put_message(message: &Message, into: &mut Vec<u8>) {
    match message {
        Message::Prepare { term, listed } => {
            put_u8(1, into);
            put_term(*term, into);
            put_few(listed, into, put_node);
        }
        Message::Promise {
            term,
            record,
            holding,
            tail,
        } => {
            put_u8(2, into);
            put_term(*term, into);
            put_option(record.as_ref(), into, put_record);
            put_holding(*holding, into);
            put_entries(tail, into);
        }
        Message::Accept {
            record,
            newcomer,
            chosen,
        } => {
            put_u8(3, into);
            put_record(record, into);
            put_option(*newcomer, into, put_node);
            put_u8(u8::from(*chosen), into);
        }
        Message::Accepted { term } => {
            put_u8(4, into);
            put_term(*term, into);
        }
        Message::Replicate {
            term,
            position,
            committed,
            settled,
            sent,
            entry,
        } => {
            put_u8(5, into);
            put_term(*term, into);
            put_u64(*position, into);
            put_u64(*committed, into);
            put_u8(u8::from(*settled), into);
            put_u64(sent.as_nanos(), into);
            put_option(entry.as_ref(), into, put_entry);
        }
        Message::Ack {
            term,
            position,
            sent,
        } => {
            put_u8(6, into);
            put_term(*term, into);
            put_u64(*position, into);
            put_u64(sent.as_nanos(), into);
        }
        Message::Cede { term, target } => {
            put_u8(12, into);
            put_term(*term, into);
            put_node(*target, into);
        }
        Message::Learn => put_u8(13, into),
        Message::Learned {
            to,
            blank,
            promised,
            record,
        } => {
            put_u8(14, into);
            put_node(*to, into);
            put_knowledge(*blank, *promised, record.as_ref(), into);
        }
        Message::Nack {
            blank,
            promised,
            record,
        } => {
            put_u8(15, into);
            put_knowledge(*blank, *promised, record.as_ref(), into);
        }
        other => put_fill(other, into),
    }
}

fn put_knowledge(blank: bool, promised: Option<Term>, record: Option<&Record>, into: &mut Vec<u8>) {
    put_u8(u8::from(blank), into);
    put_option(promised, into, put_term);
    put_option(record, into, put_record);
}

fn put_session(kind: u8, term: Term, session: u64, number: u64, into: &mut Vec<u8>) {
    put_u8(kind, into);
    put_term(term, into);
    put_u64(session, into);
    put_u64(number, into);
}

fn put_fill(message: &Message, into: &mut Vec<u8>) {
    match message {
        Message::FillStart {
            term,
            target,
            session,
            position,
            merged,
        } => {
            put_session(7, *term, *session, *position, into);
            put_node(*target, into);
            put_u8(u8::from(*merged), into);
        }
        Message::FillChunk {
            term,
            session,
            number,
            entries,
            requests,
            last,
        } => {
            put_session(8, *term, *session, *number, into);
            put_u8(u8::from(*last), into);
            put_entries(entries, into);
            put_u32(requests.len(), into);
            for origin in requests {
                put_origin(origin, into);
            }
        }
        Message::FillAck {
            term,
            session,
            number,
            merge,
        } => {
            put_session(9, *term, *session, *number, into);
            put_u8(u8::from(*merge), into);
        }
        Message::FillVerify {
            term,
            session,
            position,
            digest,
            version,
        } => {
            put_session(10, *term, *session, *position, into);
            put_u64(digest.sum, into);
            put_u64(digest.count, into);
            put_u64(*version, into);
        }
        Message::FillVerified {
            term,
            session,
            position,
            equal,
        } => {
            put_session(11, *term, *session, *position, into);
            put_u8(u8::from(*equal), into);
        }
        Message::Gather { term, cursor } => {
            put_u8(16, into);
            put_term(*term, into);
            put_u64(*cursor, into);
        }
        Message::Gathered {
            term,
            cursor,
            entries,
            next,
        } => {
            put_u8(17, into);
            put_term(*term, into);
            put_u64(*cursor, into);
            put_entries(entries, into);
            put_option(*next, into, put_u64);
        }
        _ => unreachable!("the other messages were written before"),
    }
}

/// Adds what a voter keeps on disk to `into`.
pub(crate) fn encode_kept(promised: Option<Term>, record: Option<&Record>, into: &mut Vec<u8>) {
    put_option(promised, into, put_term);
    put_option(record, into, put_record);
}

// Reading.

/// Hands each message of a batch to `each`, with its partition, in order.
///
/// # Errors
/// When the batch, or a message in it, is malformed: those before it have been handed over.
pub fn decode(batch: &Bytes, mut each: impl FnMut(u16, Message)) -> Result<(), Malformed> {
    let mut rest: &[u8] = batch;
    while !rest.is_empty() {
        let (after, message) = length_data::<_, Error<&[u8]>, _>(be_u32)
            .parse_complete(rest)
            .map_err(|_| Malformed)?;
        rest = after;
        let (body, partition) = partition(message)?;
        let reader = Reader { frame: batch };
        match reader.message(body) {
            Ok(([], message)) => each(partition, message),
            Ok(_) | Err(_) => return Err(Malformed),
        }
    }
    Ok(())
}

/// Hands each message of a batch, with its length in front, and the partition that it is for to
/// `each`, unread.
///
/// # Errors
/// When the batch does not consist of messages.
pub fn split<'a>(
    mut batch: &'a [u8],
    mut each: impl FnMut(u16, &'a [u8]),
) -> Result<(), Malformed> {
    while !batch.is_empty() {
        let (rest, message) = length_data::<_, Error<&[u8]>, _>(be_u32)
            .parse_complete(batch)
            .map_err(|_| Malformed)?;
        let (_, partition) = partition(message)?;
        each(partition, &batch[..batch.len() - rest.len()]);
        batch = rest;
    }
    Ok(())
}

/// The partition that a message is for, and the rest of it.
fn partition(message: &[u8]) -> Result<(&[u8], u16), Malformed> {
    let exists = |partition: &u16| usize::from(*partition) < PARTITIONS;
    verify(be_u16::<&[u8], Error<&[u8]>>, exists)
        .parse_complete(message)
        .map_err(|_| Malformed)
}

/// Reads what [`encode_kept`] has written, and nothing else.
pub(crate) fn decode_kept(bytes: &[u8]) -> Result<(Option<Term>, Option<Record>), Malformed> {
    let (rest, promised) = option(bytes, term).map_err(|_| Malformed)?;
    match option(rest, record) {
        Ok(([], record)) => Ok((promised, record)),
        Ok(_) | Err(_) => Err(Malformed),
    }
}

fn flag(input: &[u8]) -> Read<'_, bool> {
    map_opt(be_u8, |byte| match byte {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    })
    .parse_complete(input)
}

fn option<'a, T>(
    input: &'a [u8],
    value: impl Parser<&'a [u8], Output = T, Error = Error<&'a [u8]>>,
) -> Read<'a, Option<T>> {
    let (input, there) = flag(input)?;
    cond(there, value).parse_complete(input)
}

fn guid(input: &[u8]) -> Read<'_, Guid> {
    let text = map_opt(length_data(be_u8), |text| core::str::from_utf8(text).ok());
    map_opt(text, |text| Guid::new(text).ok()).parse_complete(input)
}

fn node(input: &[u8]) -> Read<'_, NodeId> {
    map((guid, be_u64), |(guid, generation)| NodeId {
        guid,
        generation,
    })
    .parse_complete(input)
}

fn count(input: &[u8]) -> Read<'_, u64> {
    verify(be_u64, |count| *count <= COUNT_MAX).parse_complete(input)
}

fn term(input: &[u8]) -> Read<'_, Term> {
    map((count, node), |(counter, node)| Term { counter, node }).parse_complete(input)
}

fn time(input: &[u8]) -> Read<'_, Time> {
    map(be_u64, Time::from_nanos).parse_complete(input)
}

/// A short list: its count is bounded, and each of its parts takes bytes.
fn few<'a, T>(input: &'a [u8], one: impl Fn(&'a [u8]) -> Read<'a, T>) -> Read<'a, Vec<T>> {
    let (input, count) = verify(be_u8, |count| usize::from(*count) <= NODES_MAX).parse(input)?;
    list(input, u32::from(count), one)
}

fn many<'a, T>(input: &'a [u8], one: impl Fn(&'a [u8]) -> Read<'a, T>) -> Read<'a, Vec<T>> {
    let (input, count) = be_u32(input)?;
    list(input, count, one)
}

/// Reads one after the other, so that a count that lies allocates nothing.
fn list<'a, T>(
    mut input: &'a [u8],
    count: u32,
    one: impl Fn(&'a [u8]) -> Read<'a, T>,
) -> Read<'a, Vec<T>> {
    let mut all = Vec::new();
    for _ in 0..count {
        let (rest, value) = one(input)?;
        all.push(value);
        input = rest;
    }
    Ok((input, all))
}

fn record(input: &[u8]) -> Read<'_, Record> {
    let (input, term_read) = term(input)?;
    let (input, in_sync) = few(input, node)?;
    let (input, voters) = few(input, guid)?;
    let (input, lineage) = option(input, term)?;
    let record = Record {
        term: term_read,
        in_sync,
        voters,
        lineage,
    };
    if record.is_sound() {
        Ok((input, record))
    } else {
        Err(nom::Err::Error(Error::new(input, ErrorKind::Verify)))
    }
}

fn holding(input: &[u8]) -> Read<'_, Holding> {
    map_opt((be_u8, be_u64), |(code, session)| match code {
        0 => Some(Holding::Nothing),
        1 => Some(Holding::Something),
        2 => Some(Holding::Filled { session }),
        3 => Some(Holding::Complete),
        4 => Some(Holding::Mixed),
        _ => None,
    })
    .parse_complete(input)
}

fn knowledge(input: &[u8]) -> Read<'_, (bool, Option<Term>, Option<Record>)> {
    let (input, blank) = flag(input)?;
    let (input, promised) = option(input, term)?;
    let (input, record) = option(input, record)?;
    Ok((input, (blank, promised, record)))
}

fn session(input: &[u8]) -> Read<'_, (Term, u64, u64)> {
    (term, count, count).parse_complete(input)
}

/// Cuts parts out of a frame without copying them.
#[derive(Clone, Copy)]
struct Reader<'f> {
    frame: &'f Bytes,
}

impl<'f> Reader<'f> {
    fn long(self, input: &'f [u8]) -> Read<'f, Bytes> {
        map(length_data(be_u32), |part| self.frame.slice_ref(part)).parse_complete(input)
    }

    fn answer(self, input: &'f [u8]) -> Read<'f, Bytes> {
        verify(
            |input| self.long(input),
            |answer: &Bytes| answer.len() <= ANSWER_BYTES_MAX,
        )
        .parse_complete(input)
    }

    fn request(self, input: &'f [u8]) -> Read<'f, Request> {
        let (input, (origin, sequence)) = (node, be_u64).parse_complete(input)?;
        let (input, answer) = self.answer(input)?;
        let id = RequestId { origin, sequence };
        Ok((input, Request { id, answer }))
    }

    fn entry(self, input: &'f [u8]) -> Read<'f, Entry> {
        let (input, (version, length)) = (count, be_u16).parse_complete(input)?;
        let (input, key) = take(length).parse_complete(input)?;
        let known = |flags: &u8| *flags <= HAS_STATE | HAS_REQUEST;
        let (input, flags) = verify(be_u8, known).parse_complete(input)?;
        let (input, state) =
            cond(flags & HAS_STATE != 0, |input| self.long(input)).parse_complete(input)?;
        let (input, request) =
            cond(flags & HAS_REQUEST != 0, |input| self.request(input)).parse_complete(input)?;
        let entry = Entry {
            key: self.frame.slice_ref(key),
            version,
            state: state.map_or(State::Tombstone, State::Item),
            request,
        };
        Ok((input, entry))
    }

    fn origin(self, input: &'f [u8]) -> Read<'f, Origin> {
        let (input, (node, floor)) = (node, be_u64).parse_complete(input)?;
        let (input, kept) = many(input, |input| {
            let (input, sequence) = be_u64(input)?;
            let (input, answer) = self.answer(input)?;
            Ok((input, (sequence, answer)))
        })?;
        let kept = VecDeque::from(kept);
        let ordered = kept
            .iter()
            .zip(kept.iter().skip(1))
            .all(|(one, next)| one.0 < next.0);
        if !ordered {
            return Err(nom::Err::Error(Error::new(input, ErrorKind::Verify)));
        }
        Ok((input, Origin { node, floor, kept }))
    }

    #[allow(clippy::too_many_lines)] // As the encoder's.
    fn message(self, input: &'f [u8]) -> Read<'f, Message> {
        let (input, kind) = be_u8(input)?;
        match kind {
            1 => {
                let (input, term) = term(input)?;
                let (input, listed) = few(input, node)?;
                Ok((input, Message::Prepare { term, listed }))
            }
            2 => {
                let (input, term) = term(input)?;
                let (input, record) = option(input, record)?;
                let (input, holding) = holding(input)?;
                let (input, tail) = many(input, |input| self.entry(input))?;
                let promise = Message::Promise {
                    term,
                    record,
                    holding,
                    tail,
                };
                Ok((input, promise))
            }
            3 => {
                let (input, record) = record(input)?;
                let (input, newcomer) = option(input, node)?;
                let (input, chosen) = flag(input)?;
                let accept = Message::Accept {
                    record,
                    newcomer,
                    chosen,
                };
                Ok((input, accept))
            }
            4 => map(term, |term| Message::Accepted { term }).parse_complete(input),
            5 => {
                let (input, (term, position, committed)) = session(input)?;
                let (input, (settled, sent)) = (flag, time).parse_complete(input)?;
                let (input, entry) = option(input, |input| self.entry(input))?;
                let replicate = Message::Replicate {
                    term,
                    position,
                    committed,
                    settled,
                    sent,
                    entry,
                };
                Ok((input, replicate))
            }
            6 => map((term, count, time), |(term, position, sent)| Message::Ack {
                term,
                position,
                sent,
            })
            .parse_complete(input),
            12 => map((term, node), |(term, target)| Message::Cede {
                term,
                target,
            })
            .parse_complete(input),
            13 => Ok((input, Message::Learn)),
            14 => map((node, knowledge), |(to, (blank, promised, record))| {
                Message::Learned {
                    to,
                    blank,
                    promised,
                    record,
                }
            })
            .parse_complete(input),
            15 => map(knowledge, |(blank, promised, record)| Message::Nack {
                blank,
                promised,
                record,
            })
            .parse_complete(input),
            kind => self.fill(kind, input),
        }
    }

    fn fill(self, kind: u8, input: &'f [u8]) -> Read<'f, Message> {
        if kind == 16 || kind == 17 {
            return self.gathering(kind, input);
        }
        let (input, (term, session, number)) = session(input)?;
        let position = number;
        match kind {
            7 => map((node, flag), |(target, merged)| Message::FillStart {
                term,
                target,
                session,
                position,
                merged,
            })
            .parse_complete(input),
            8 => {
                let (input, last) = flag(input)?;
                let (input, entries) = many(input, |input| self.entry(input))?;
                let (input, requests) = many(input, |input| self.origin(input))?;
                let chunk = Message::FillChunk {
                    term,
                    session,
                    number,
                    entries,
                    requests,
                    last,
                };
                Ok((input, chunk))
            }
            9 => map(flag, |merge| Message::FillAck {
                term,
                session,
                number,
                merge,
            })
            .parse_complete(input),
            10 => map((be_u64, be_u64, count), |(sum, count, version)| {
                Message::FillVerify {
                    term,
                    session,
                    position,
                    digest: Digest { sum, count },
                    version,
                }
            })
            .parse_complete(input),
            11 => map(flag, |equal| Message::FillVerified {
                term,
                session,
                position,
                equal,
            })
            .parse_complete(input),
            _ => Err(nom::Err::Error(Error::new(input, ErrorKind::Alt))),
        }
    }

    fn gathering(self, kind: u8, input: &'f [u8]) -> Read<'f, Message> {
        let (input, (term, cursor)) = (term, be_u64).parse_complete(input)?;
        if kind == 16 {
            return Ok((input, Message::Gather { term, cursor }));
        }
        let (input, entries) = many(input, |input| self.entry(input))?;
        let (input, next) = option(input, be_u64)?;
        let gathered = Message::Gathered {
            term,
            cursor,
            entries,
            next,
        };
        Ok((input, gathered))
    }
}
