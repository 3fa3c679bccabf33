//! What links between nodes carry, as bytes: frames, requests and answers in them, and what
//! replicas say.
//!
//! Decides that any bytes are refused, or are something that reads the same when it is written
//! again, and that what was read holds no more than what came.

use bytes::Bytes;
use zufar_core::command::KEY_BYTES_MAX;
use zufar_core::hash::{KeyHash, PARTITIONS};
use zufar_core::protocol::forward::{
    ForwardedRequest, WireValue, decode_answer, decode_request, encode_answer, encode_request,
};
use zufar_core::protocol::link::{self, LinkFrame};
use zufar_core::replication::{Entry, Message, NODES_MAX, Origin, Record, State, wire};

/// What one message of a batch has in front of it: its length and its partition.
const MESSAGE_HEAD_BYTES: usize = 4 + 2;
/// The shortest entry: its version, the length of its key, its flags.
const ENTRY_BYTES_MIN: usize = 8 + 2 + 1;
/// The shortest node: the length of its guid, one byte of that, its generation.
const NODE_BYTES_MIN: usize = 1 + 1 + 8;
/// The shortest origin: a node, a floor, a count.
const ORIGIN_BYTES_MIN: usize = NODE_BYTES_MIN + 8 + 4;
/// The shortest request of an origin: its sequence and the length of its answer.
const KEPT_BYTES_MIN: usize = 8 + 4;

/// Fields that were left out of an operation or an outcome and that this release writes, in bytes.
const DEFAULTS_BYTES_MAX: usize = 32;

/// Reads `input` as the body of a frame of the kind that its first byte says, and as whatever
/// such bodies have in them.
pub fn link_frames(input: &[u8]) {
    let Some((&kind, body)) = input.split_first() else {
        return;
    };
    // All kinds that there are, and some that there are not.
    check_frame(link::KIND_LOWEST + kind % 8, body);
    match kind % 4 {
        0 => check_request(body),
        1 => check_answer(body),
        _ => check_batch(body),
    }
}

fn check_frame(kind: u8, body: &[u8]) {
    let Ok(Some(frame)) = link::decode(kind, body) else {
        return;
    };
    let mut written = b"before".to_vec();
    link::encode(&frame, &mut written);
    let written = &written[b"before".len()..];
    let (length, rest) = written.split_at(4);
    assert_eq!(length, (rest.len() as u32).to_be_bytes());
    assert!(rest.len() <= 1 + body.len());
    assert_eq!(link::decode(rest[0], &rest[1..]), Ok(Some(frame)));
    match frame {
        LinkFrame::Request { body, .. } => check_request(body),
        LinkFrame::Answer { body } => check_answer(body),
        LinkFrame::Replica { body } => check_batch(body),
        LinkFrame::Chunk { bytes, .. } => assert!(!bytes.is_empty()),
        LinkFrame::Large { length, .. } => assert!(length > 0),
        LinkFrame::Refusal { .. } | LinkFrame::Cancel { .. } => {}
    }
}

fn check_request(body: &[u8]) {
    let Ok(request) = decode_request(body) else {
        return;
    };
    assert!((1..=KEY_BYTES_MAX).contains(&request.key.len()));
    assert!(usize::from(KeyHash::of(request.key).partition()) < PARTITIONS);
    let inline = bytes_of(request.value);
    assert!(request.key.len() + inline.len() <= body.len());
    let written = request_as_bytes(&request);
    assert!(written.len() <= body.len() + DEFAULTS_BYTES_MAX);
    match decode_request(&written) {
        Ok(again) => assert_eq!(shown(&again), shown(&request)),
        Err(_) => panic!("{request:?} can't be read again"),
    }
}

/// A request as this node would send it, but for a value that comes in chunks: that is not here.
fn request_as_bytes(request: &ForwardedRequest<'_>) -> Vec<u8> {
    let mut written = Vec::new();
    encode_request(
        request.sequence,
        KeyHash::of(request.key),
        request.key,
        &request.operation,
        &mut written,
    );
    with_value(&mut written, request.value);
    written
}

fn check_answer(body: &[u8]) {
    let Ok(answer) = decode_answer(body) else {
        return;
    };
    assert!(bytes_of(answer.value).len() <= body.len());
    let mut written = Vec::new();
    encode_answer(answer.sequence, &answer.outcome, &mut written);
    with_value(&mut written, answer.value);
    assert!(written.len() <= body.len() + DEFAULTS_BYTES_MAX);
    match decode_answer(&written) {
        Ok(again) => assert_eq!(shown(&again), shown(&answer)),
        Err(_) => panic!("{answer:?} can't be read again"),
    }
}

/// Puts `value` in the place of the empty one that ends `written`.
fn with_value(written: &mut Vec<u8>, value: WireValue<'_>) {
    assert!(
        written.ends_with(&[0; 5]),
        "an operation and an outcome as they were read have no value of their own"
    );
    written.truncate(written.len() - 5);
    let (how, length, bytes) = match value {
        WireValue::Inline(bytes) => (0, bytes.len() as u32, bytes),
        WireValue::Chunked(length) => (1, length, &[][..]),
    };
    written.push(how);
    written.extend_from_slice(&length.to_be_bytes());
    written.extend_from_slice(bytes);
}

const fn bytes_of(value: WireValue<'_>) -> &[u8] {
    match value {
        WireValue::Inline(bytes) => bytes,
        WireValue::Chunked(_) => &[],
    }
}

/// Neither of the two can be compared, but all that is in them can be shown.
fn shown(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}")
}

fn check_batch(batch: &[u8]) {
    let Ok((formation, body)) = wire::formation(batch) else {
        return;
    };
    let mut written = Vec::new();
    wire::begin_batch(formation, &mut written);
    written.extend_from_slice(body);
    assert_eq!(written, batch);
    let frame = Bytes::copy_from_slice(body);
    let mut messages = Vec::new();
    let result = wire::decode(&frame, |partition, message| {
        messages.push((partition, message));
    });
    assert!(messages.len() * MESSAGE_HEAD_BYTES <= body.len());
    let mut written = Vec::new();
    for (partition, message) in &messages {
        let start = written.len();
        wire::encode(*partition, message, &mut written);
        check_size(message, &frame, written.len() - start);
    }
    assert!(written.len() <= body.len());
    let mut again = Vec::new();
    let rewritten = Bytes::from(written);
    let reread = wire::decode(&rewritten, |partition, message| {
        again.push((partition, message));
    });
    assert_eq!(reread, Ok(()), "{messages:?} can't be read again");
    assert_eq!(again, messages);
    check_split(body, result.is_ok());
}

/// A batch can be split into messages if it can be read, and is the same if it is put together
/// again: otherwise a node with several workers would hear something else than one with one.
fn check_split(body: &[u8], is_read: bool) {
    let mut joined = Vec::new();
    let split = wire::split(body, |partition, message| {
        assert!(usize::from(partition) < PARTITIONS);
        joined.extend_from_slice(message);
    });
    assert!(body.starts_with(&joined));
    if is_read {
        assert_eq!(split, Ok(()), "what can be read can be split");
    }
    assert_eq!(split.is_ok(), joined.len() == body.len());
}

/// What a message holds was there in the frame: no list is longer than its bytes allow, and
/// what is long shares the frame's memory.
fn check_size(message: &Message, frame: &Bytes, bytes: usize) {
    let held = match message {
        Message::Prepare { listed, .. } => {
            assert!(listed.len() <= NODES_MAX);
            listed.len() * NODE_BYTES_MIN
        }
        Message::Promise { record, tail, .. } => of_record(record.as_ref()) + of_all(tail, frame),
        Message::Accept { record, .. } => of_record(Some(record)),
        Message::Replicate { entry, .. } => entry.iter().map(|it| of_entry(it, frame)).sum(),
        Message::FillChunk {
            entries, requests, ..
        } => {
            let requests = requests.iter().map(|origin| of_origin(origin, frame));
            of_all(entries, frame) + requests.sum::<usize>()
        }
        Message::Gathered { entries, .. } => of_all(entries, frame),
        Message::Learned { record, .. } | Message::Nack { record, .. } => {
            of_record(record.as_ref())
        }
        Message::Accepted { .. }
        | Message::Ack { .. }
        | Message::FillStart { .. }
        | Message::FillAck { .. }
        | Message::FillVerify { .. }
        | Message::FillVerified { .. }
        | Message::Cede { .. }
        | Message::Learn
        | Message::Gather { .. } => 0,
    };
    assert!(held <= bytes, "{message:?} holds {held} of {bytes} bytes");
}

fn of_record(record: Option<&Record>) -> usize {
    let Some(record) = record else {
        return 0;
    };
    assert!(record.is_sound());
    record.in_sync.len() * NODE_BYTES_MIN + record.voters.len() * 2
}

fn of_all(entries: &[Entry], frame: &Bytes) -> usize {
    entries.iter().map(|entry| of_entry(entry, frame)).sum()
}

fn of_entry(entry: &Entry, frame: &Bytes) -> usize {
    let state = match &entry.state {
        State::Item(state) => shared(state, frame),
        State::Tombstone => 0,
    };
    let answer = entry.request.as_ref().map(|it| shared(&it.answer, frame));
    ENTRY_BYTES_MIN + shared(&entry.key, frame) + state + answer.unwrap_or_default()
}

fn of_origin(origin: &Origin, frame: &Bytes) -> usize {
    let kept = origin.kept.iter();
    let kept = kept.map(|(_, answer)| KEPT_BYTES_MIN + shared(answer, frame));
    ORIGIN_BYTES_MIN + kept.sum::<usize>()
}

/// The length of a part of `frame`, which it is without having been copied.
fn shared(part: &Bytes, frame: &Bytes) -> usize {
    let within = frame.as_ptr_range();
    let is_within = within.start <= part.as_ptr() && part.as_ptr_range().end <= within.end;
    assert!(part.is_empty() || is_within, "a part was copied");
    part.len()
}
