//! What a node that is mad, or not one of ours, may say over a link: frames of the right form.
//!
//! Decides how bytes become messages, and that most of what they name has been heard of before:
//! terms, runs, records, sessions. Refuses to know who hears them.

use std::collections::VecDeque;

use bytes::Bytes;
use zufar_core::command::{
    Arithmetic, Delete, Expiry, Failure, Fetch, Item, Operation, Outcome, Store, StoreMode, Value,
};
use zufar_core::disk::{Head, encode_head};
use zufar_core::hash::{KeyHash, PARTITIONS};
use zufar_core::member::{Guid, NodeId};
use zufar_core::protocol::forward;
use zufar_core::protocol::link::{self, Attempt, Direction, LinkFrame, ValueId};
use zufar_core::protocol::peer::{
    self, DeathVerdict, FlushStep, Frame, NodeStatus, Partitions, Reason,
};
use zufar_core::replication::{
    Digest, Entry, Holding, Message, Origin, Record, Request, RequestId, State, Term, wire,
};
use zufar_core::time::{Now, Time};

use crate::cluster::{cluster_formation, node_id};

/// Keys that are asked for. Each of the first three has a partition that is replicated.
pub(crate) const KEYS: &[&str] = &["a", "b", "n", "foo"];
/// Things that were heard of, of each kind, that are remembered.
const HEARD_MAX: usize = 16;
/// The longest value that is said in one piece.
const LARGE_BYTES: usize = 6000;

/// The partitions that are replicated.
pub(crate) fn partitions() -> Vec<u16> {
    let mut all: Vec<u16> = KEYS[..3].iter().map(|key| partition_of(key)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn partition_of(key: &str) -> u16 {
    KeyHash::of(key.as_bytes()).partition()
}

/// What was said on the links so far.
#[derive(Default)]
pub(crate) struct Heard {
    terms: VecDeque<Term>,
    records: VecDeque<Record>,
    /// Positions, sessions, numbers of chunks, cursors, sequences.
    numbers: VecDeque<u64>,
    versions: VecDeque<u64>,
    digests: VecDeque<Digest>,
    entries: VecDeque<Entry>,
}

fn keep<T: PartialEq>(all: &mut VecDeque<T>, one: T) {
    if !all.contains(&one) {
        all.push_front(one);
        all.truncate(HEARD_MAX);
    }
}

impl Heard {
    /// Takes note of whole frames that have passed.
    pub(crate) fn note(&mut self, mut frames: &[u8]) {
        while let Ok(Some((_, bytes))) = peer::decode(frames, usize::MAX) {
            self.note_frame(frames[4], &frames[5..bytes]);
            frames = &frames[bytes..];
        }
    }

    fn note_frame(&mut self, kind: u8, body: &[u8]) {
        match link::decode(kind, body) {
            Ok(Some(LinkFrame::Request { attempt, body })) => {
                keep(&mut self.numbers, attempt.term);
                if let Ok(request) = forward::decode_request(body) {
                    keep(&mut self.numbers, request.sequence);
                }
            }
            Ok(Some(LinkFrame::Large { sequence, .. })) => keep(&mut self.numbers, sequence),
            Ok(Some(LinkFrame::Replica { body })) => {
                let Ok((_, messages)) = wire::formation(body) else {
                    return;
                };
                let batch = Bytes::copy_from_slice(messages);
                // What is not a message was not said by a node of ours.
                let _ = wire::decode(&batch, |_, message| self.note_message(message));
            }
            _ => {}
        }
    }

    fn note_message(&mut self, message: Message) {
        match message {
            Message::Prepare { term, .. }
            | Message::Accepted { term }
            | Message::Cede { term, .. } => keep(&mut self.terms, term),
            Message::Accept { record, .. } => self.note_record(record),
            Message::Promise {
                record: Some(record),
                ..
            }
            | Message::Nack {
                record: Some(record),
                ..
            } => self.note_record(record),
            Message::Replicate {
                term,
                position,
                entry,
                ..
            } => {
                keep(&mut self.terms, term);
                keep(&mut self.numbers, position);
                if let Some(entry) = entry {
                    keep(&mut self.versions, entry.version);
                    keep(&mut self.entries, entry);
                }
            }
            Message::FillChunk {
                session, entries, ..
            } => {
                keep(&mut self.numbers, session);
                for entry in entries {
                    keep(&mut self.entries, entry);
                }
            }
            Message::FillVerify { digest, .. } => keep(&mut self.digests, digest),
            Message::Gathered {
                next: Some(next), ..
            } => keep(&mut self.numbers, next),
            _ => {}
        }
    }

    fn note_record(&mut self, record: Record) {
        keep(&mut self.terms, record.term);
        keep(&mut self.records, record);
    }
}

/// Makes messages of bytes; when there are none left, of zeros.
pub(crate) struct Says<'a> {
    pub(crate) heard: &'a Heard,
    pub(crate) bytes: &'a mut dyn Iterator<Item = u8>,
    pub(crate) now: Now,
    /// The run that the receiver takes the sender for.
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
}

impl Says<'_> {
    fn byte(&mut self) -> u8 {
        self.bytes.next().unwrap_or_default()
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    fn yes(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number that is small, or known, or next to one that is known, or enormous.
    fn number(&mut self) -> u64 {
        let byte = self.byte();
        let known = &self.heard.numbers;
        let near = known.get(usize::from(byte >> 2 & 15)).copied();
        match (byte, near) {
            (0..0x40, _) => u64::from(byte),
            (0x40..0xe0, Some(near)) => near.wrapping_add(u64::from(byte & 3)).wrapping_sub(1),
            (0x40..0xe0, None) => u64::from(byte & 7),
            (0xe0..0xf0, _) => u64::MAX - u64::from(byte & 1),
            (0xf0..0xf8, _) => 1 << (u32::from(byte & 7) * 8 + 7),
            (0xf8.., _) => {
                let eight = std::array::from_fn(|_| self.byte());
                u64::from_be_bytes(eight)
            }
        }
    }

    fn version(&mut self) -> u64 {
        let now = self.now.unix_ms << 16;
        match self.byte() {
            byte @ 0..0x80 => now + u64::from(byte),
            byte @ 0x80..0xe0 => {
                let at = usize::from(byte & 15);
                let known = self.heard.versions.get(at).copied();
                known.unwrap_or(now).wrapping_add(u64::from(byte >> 4 & 1))
            }
            0xe0..0xf0 => (1 << 63) - 1,
            _ => self.number(),
        }
    }

    fn time(&mut self) -> Time {
        let now = self.now.time.as_nanos();
        Time::from_nanos(match self.byte() {
            0..0xe0 => now,
            0xe0..0xf0 => now.saturating_sub(300_000_000),
            _ => self.number(),
        })
    }

    fn guid(&mut self) -> Guid {
        match self.byte() % 8 {
            0..3 => self.from.guid,
            3..5 => self.to.guid,
            number @ 5..7 => node_id(usize::from(number) - 4).guid,
            _ => Guid::new("stranger").expect("a guid"),
        }
    }

    fn node(&mut self) -> NodeId {
        match self.byte() % 8 {
            0..3 => self.from,
            3..6 => self.to,
            6 => NodeId {
                guid: self.guid(),
                generation: self.from.generation + 1,
            },
            _ => NodeId {
                guid: self.guid(),
                generation: self.number(),
            },
        }
    }

    fn term(&mut self) -> Term {
        let byte = self.byte();
        let at = usize::from(byte & 7);
        let known = self.heard.terms.get(at).copied();
        match (byte, known) {
            (0..0x80, Some(term)) => term,
            // One that the sender may claim.
            (0x80..0xc0, Some(term)) => Term {
                counter: term.counter.wrapping_add(1 + u64::from(byte >> 3 & 7)),
                node: self.from,
            },
            (0xc0..0xe0, Some(term)) => Term {
                node: self.from,
                ..term
            },
            _ => Term {
                counter: self.number(),
                node: self.node(),
            },
        }
    }

    fn record(&mut self) -> Record {
        let byte = self.byte();
        let known = self.heard.records.get(usize::from(byte & 3)).cloned();
        let Some(mut record) = known else {
            return Record {
                term: self.term(),
                in_sync: self.few(Self::node),
                voters: self.few(Self::guid),
                lineage: self.yes().then(|| self.term()),
            };
        };
        if byte & 0x80 != 0 {
            record.term = self.term();
        }
        if byte & 0x40 != 0 {
            record.in_sync = self.few(Self::node);
        }
        if byte & 0x20 != 0 {
            record.voters = self.few(Self::guid);
        }
        if byte & 0x10 != 0 {
            record.lineage = self.yes().then(|| self.term());
        }
        record
    }

    fn few<T>(&mut self, one: impl Fn(&mut Self) -> T) -> Vec<T> {
        let count = match self.byte() {
            byte @ 0..0xf0 => usize::from(byte) % 4,
            byte => usize::from(byte & 15) + 2,
        };
        (0..count).map(|_| one(self)).collect()
    }

    fn maybe<T>(&mut self, one: impl Fn(&mut Self) -> T) -> Option<T> {
        self.yes().then(|| one(self))
    }

    fn key(&mut self) -> Bytes {
        match self.byte() {
            byte @ 0..0xf0 => Bytes::from_static(KEYS[usize::from(byte) % KEYS.len()].as_bytes()),
            0xf0..0xf8 => Bytes::new(),
            _ => Bytes::from(vec![b'k'; 300]),
        }
    }

    /// An item as a node keeps it, or something else.
    fn state(&mut self) -> State {
        let byte = self.byte();
        if byte & 3 == 0 {
            return State::Tombstone;
        }
        if byte & 0xf0 == 0xf0 {
            return State::Item(Bytes::from(self.few(Self::byte)));
        }
        let value = self.value();
        let off_by = u32::from(byte & 0xc0 == 0xc0);
        let head = Head {
            version: self.version(),
            cas: self.number(),
            flags: self.number() as u32,
            expires_s: self.seconds(),
            accessed_s: self.seconds(),
            value_bytes: value.len() as u32 + off_by,
            stale: byte & 4 != 0,
            token_sent: byte & 8 != 0,
            fetched: byte & 16 != 0,
        };
        let mut state = Vec::new();
        encode_head(&head, &mut state);
        state.extend_from_slice(&value);
        State::Item(Bytes::from(state))
    }

    fn value(&mut self) -> Vec<u8> {
        match self.byte() {
            byte @ 0..0xe0 => vec![b'0' + byte % 10; usize::from(byte >> 5)],
            0xe0.. => vec![b'l'; LARGE_BYTES],
        }
    }

    fn seconds(&mut self) -> u32 {
        match self.byte() {
            0..0xa0 => 0,
            byte @ 0xa0..0xe0 => (self.now.unix_ms / 1000) as u32 + u32::from(byte & 15) - 7,
            _ => self.number() as u32,
        }
    }

    fn entry(&mut self) -> Entry {
        let byte = self.byte();
        let known = self.heard.entries.get(usize::from(byte & 7)).cloned();
        match known {
            Some(entry) if byte < 0x40 => entry,
            Some(entry) if byte < 0x80 => Entry {
                version: self.version(),
                ..entry
            },
            _ => Entry {
                key: self.key(),
                version: self.version(),
                state: self.state(),
                request: self.maybe(Self::request),
            },
        }
    }

    fn request(&mut self) -> Request {
        let id = RequestId {
            origin: self.node(),
            sequence: self.number(),
        };
        let answer = Bytes::from(self.answer_body());
        Request { id, answer }
    }

    fn origin(&mut self) -> Origin {
        let kept = self.few(|it| (it.number(), Bytes::from(it.answer_body())));
        Origin {
            node: self.node(),
            floor: self.number(),
            kept: kept.into(),
        }
    }

    fn holding(&mut self) -> Holding {
        match self.byte() % 5 {
            0 => Holding::Complete,
            1 => Holding::Something,
            2 => Holding::Mixed,
            3 => Holding::Filled {
                session: self.number(),
            },
            _ => Holding::Nothing,
        }
    }

    fn digest(&mut self) -> Digest {
        let known = self.heard.digests.front().copied();
        known.filter(|_| self.yes()).unwrap_or_else(|| Digest {
            sum: self.number(),
            count: self.number(),
        })
    }

    fn partition(&mut self) -> u16 {
        match self.byte() {
            byte @ 0..0xe0 => partition_of(KEYS[usize::from(byte) % 3]),
            0xe0..0xf0 => self.number() as u16 % PARTITIONS as u16,
            _ => self.number() as u16,
        }
    }

    fn message(&mut self) -> Message {
        match self.byte() % 17 {
            0 => Message::Prepare {
                term: self.term(),
                listed: self.few(Self::node),
            },
            1 => Message::Promise {
                term: self.term(),
                record: self.maybe(Self::record),
                holding: self.holding(),
                tail: self.few(Self::entry),
            },
            2 => Message::Accept {
                record: self.record(),
                newcomer: self.maybe(Self::node),
                chosen: self.yes(),
            },
            3 => Message::Accepted { term: self.term() },
            4 => Message::Replicate {
                term: self.term(),
                position: self.number(),
                committed: self.number(),
                settled: self.yes(),
                sent: self.time(),
                entry: self.maybe(Self::entry),
            },
            5 => Message::Ack {
                term: self.term(),
                position: self.number(),
                sent: self.time(),
            },
            6 => Message::Cede {
                term: self.term(),
                target: self.node(),
            },
            7 => Message::Learn,
            8 => Message::Learned {
                to: self.node(),
                blank: self.yes(),
                promised: self.maybe(Self::term),
                record: self.maybe(Self::record),
            },
            9 => Message::Nack {
                blank: self.yes(),
                promised: self.maybe(Self::term),
                record: self.maybe(Self::record),
            },
            _ => self.fill_message(),
        }
    }

    fn fill_message(&mut self) -> Message {
        let kind = self.byte() % 7;
        let (term, session, number) = (self.term(), self.number(), self.number());
        match kind {
            0 => Message::FillStart {
                term,
                target: self.node(),
                session,
                position: number,
                merged: self.yes(),
            },
            1 => Message::FillChunk {
                term,
                session,
                number,
                entries: self.few(Self::entry),
                requests: self.few(Self::origin),
                last: self.yes(),
            },
            2 => Message::FillAck {
                term,
                session,
                number,
                merge: self.yes(),
            },
            3 => Message::FillVerify {
                term,
                session,
                position: number,
                digest: self.digest(),
                version: self.version(),
            },
            4 => Message::FillVerified {
                term,
                session,
                position: number,
                equal: self.yes(),
            },
            5 => Message::Gather {
                term,
                cursor: number,
            },
            _ => Message::Gathered {
                term,
                cursor: number,
                entries: self.few(Self::entry),
                next: self.maybe(Self::number),
            },
        }
    }

    fn expiry(&mut self) -> Expiry {
        match self.seconds() {
            0 => Expiry::Never,
            at => Expiry::At(at),
        }
    }

    fn operation<'v>(&mut self, value: &'v [u8]) -> Operation<'v> {
        let kind = self.byte() % 5;
        let (compare, new_cas) = (self.maybe(Self::number), self.maybe(Self::number));
        let bits = self.byte();
        match kind {
            0 => Operation::Fetch(Fetch {
                touch: self.maybe(Self::expiry),
                touch_only: bits & 1 != 0,
                vivify: self.maybe(Self::expiry),
                recache_s: self.maybe(|it| it.number() as i32),
                recache: bits & 2 != 0,
                new_cas,
                no_bump: bits & 4 != 0,
                meta: bits & 8 != 0,
            }),
            1 => Operation::Delete(Delete {
                compare,
                new_cas,
                stale: bits & 1 != 0,
                drop_value: bits & 2 != 0,
                expiry: self.maybe(Self::expiry),
                flags: self.number() as u32,
                refused_store: bits & 4 != 0,
            }),
            2 => Operation::Arithmetic(Arithmetic {
                decrement: bits & 1 != 0,
                delta: self.number(),
                initial: self.maybe(|it| (it.number(), it.expiry())),
                touch: self.maybe(Self::expiry),
                compare,
                new_cas,
            }),
            3 => Operation::Inspect,
            _ => Operation::Store(Store {
                mode: [
                    StoreMode::Set,
                    StoreMode::Add,
                    StoreMode::Replace,
                    StoreMode::Append,
                    StoreMode::Prepend,
                ][usize::from(bits >> 4) % 5],
                flags: self.number() as u32,
                expiry: self.expiry(),
                value: Value::Small(value),
                compare,
                new_cas,
                invalidate: bits & 1 != 0,
                vivify: self.maybe(Self::expiry),
            }),
        }
    }

    fn outcome<'v>(&mut self, value: &'v [u8]) -> Outcome<'v> {
        match self.byte() % 8 {
            0 => {
                let bits = self.byte();
                Outcome::Item(Item {
                    value: Value::Small(value),
                    flags: self.number() as u32,
                    cas: self.number(),
                    expired_s_before: self.seconds(),
                    expires_s: self.seconds(),
                    accessed_s: self.seconds(),
                    fetched: bits & 1 != 0,
                    stale: bits & 2 != 0,
                    token_sent: bits & 4 != 0,
                    won: bits & 8 != 0,
                    vivified: bits & 16 != 0,
                    memory_bytes: self.number() as u32,
                })
            }
            1 => Outcome::NotFound,
            2 => Outcome::Stored {
                cas: self.number(),
                value_bytes: self.number() as u32,
            },
            3 => Outcome::NotStored,
            4 => Outcome::Exists,
            5 => Outcome::Deleted,
            6 => Outcome::Number {
                number: self.number(),
                cas: self.number(),
                expired_s_before: self.seconds(),
                expires_s: self.seconds(),
                vivified: self.yes(),
            },
            _ => Outcome::Failed(
                [Failure::OutOfMemory, Failure::Unknown, Failure::TooLarge][self.below(3)],
            ),
        }
    }

    /// A value that is said to come in chunks, whatever has been said before it.
    fn chunked(&mut self, body: &mut Vec<u8>) {
        if self.byte() >= 0xd0 {
            let length = match self.byte() {
                0..0xc0 => LARGE_BYTES as u32,
                _ => self.number() as u32,
            };
            // The last value's head: how it comes, and how long it is.
            let end = body.len().saturating_sub(5);
            body.truncate(end);
            body.push(1);
            body.extend_from_slice(&length.to_be_bytes());
        }
    }

    fn answer_body(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        let value = self.value();
        let inline = &value[..value.len().min(4096)];
        let (sequence, outcome) = (self.number(), self.outcome(inline));
        forward::encode_answer(sequence, &outcome, &mut body);
        self.chunked(&mut body);
        body
    }

    fn request_body(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        let value = self.value();
        let inline = &value[..value.len().min(4096)];
        let key = KEYS[self.below(KEYS.len())].as_bytes();
        let (sequence, operation) = (self.number(), self.operation(inline));
        let hash = KeyHash::of(key);
        forward::encode_request(sequence, hash, key, &operation, &mut body);
        self.chunked(&mut body);
        body
    }

    fn value_id(&mut self) -> ValueId {
        let directions = [Direction::Request, Direction::Answer, Direction::Replica];
        ValueId {
            sequence: self.number(),
            direction: directions[self.below(3)],
        }
    }

    /// A frame, or several, as bytes.
    pub(crate) fn frames(&mut self) -> Vec<u8> {
        let mut into = Vec::new();
        match self.byte() {
            0..0x98 => {
                let mut body = Vec::new();
                wire::begin_batch(self.formation(), &mut body);
                for _ in 0..=self.below(3) {
                    let (partition, message) = (self.partition(), self.message());
                    wire::encode(partition, &message, &mut body);
                }
                self.replica(&body, &mut into);
            }
            0x98..0xb0 => {
                let attempt = Attempt {
                    epoch: self.number() as u32,
                    term: self.number(),
                    since: self.number(),
                };
                let body = &self.request_body();
                link::encode(&LinkFrame::Request { attempt, body }, &mut into);
            }
            0xb0..0xc8 => {
                let body = &self.answer_body();
                link::encode(&LinkFrame::Answer { body }, &mut into);
            }
            0xc8..0xd0 => {
                let refusal = LinkFrame::Refusal {
                    sequence: self.number(),
                    epoch: self.number() as u32,
                    at_once: self.yes(),
                    hint: self.maybe(Self::term),
                };
                link::encode(&refusal, &mut into);
            }
            0xd0..0xe0 => {
                let value = self.value_id();
                let bytes = &vec![b'c'; [1, 100, LARGE_BYTES, LARGE_BYTES / 2][self.below(4)]];
                link::encode(&LinkFrame::Chunk { value, bytes }, &mut into);
            }
            0xe0..0xe8 => {
                let value = self.value_id();
                link::encode(&LinkFrame::Cancel { value }, &mut into);
            }
            0xe8.. => self.node_frame(&mut into),
        }
        into
    }

    /// That of the cluster, nearly always.
    fn formation(&mut self) -> u64 {
        match self.byte() {
            0..0xf8 => cluster_formation(),
            _ => self.number(),
        }
    }

    /// What replicas say, in a frame of its own or as a large value.
    fn replica(&mut self, body: &[u8], into: &mut Vec<u8>) {
        if self.byte() < 0xe0 {
            return link::encode(&LinkFrame::Replica { body }, into);
        }
        let (sequence, direction) = (self.number(), Direction::Replica);
        let length = body.len() as u32;
        link::encode(&LinkFrame::Large { sequence, length }, into);
        let value = ValueId {
            sequence,
            direction,
        };
        let at = self.below(body.len());
        let (first, second) = body.split_at(at);
        for bytes in [first, second].into_iter().filter(|it| !it.is_empty()) {
            link::encode(&LinkFrame::Chunk { value, bytes }, into);
        }
    }

    /// Frames of whole nodes, which links may carry, too.
    fn node_frame(&mut self, into: &mut Vec<u8>) {
        let guid = self.guid();
        let guid = guid.as_str();
        let generation = self.number();
        let frame = match self.byte() % 10 {
            0 => Frame::Flush {
                number: self.number(),
                step: match self.byte() % 3 {
                    0 => FlushStep::Hold,
                    1 => FlushStep::Drop {
                        version: self.version(),
                    },
                    _ => FlushStep::At {
                        unix_ms: self.number(),
                        noted: self.version(),
                    },
                },
            },
            1 => Frame::FlushReply {
                version: self.version(),
                held: self.yes(),
            },
            2 => Frame::DeathQuestion { guid, generation },
            3 => Frame::DeathAnswer {
                guid,
                generation,
                verdict: DeathVerdict::Dead,
            },
            4 => Frame::FiguresRequest,
            5 => Frame::StatusRequest,
            6 => Frame::StatusReply {
                last: self.yes(),
                nodes: vec![NodeStatus {
                    guid,
                    generation,
                    ..NodeStatus::default()
                }],
            },
            7 => Frame::PartitionsReply(Partitions::default()),
            8 => Frame::Refused {
                reason: Reason::Formation,
                text: "no",
            },
            _ => Frame::StateReply {
                last: self.yes(),
                records: &self.few(Self::byte),
            },
        };
        peer::encode(&frame, into);
    }
}
