//! Frames read as they were written; anything else is refused or unknown.

use alloc::vec::Vec;

use proptest::option;
use proptest::prelude::*;

use super::*;

fn node() -> impl Strategy<Value = NodeId> {
    ("[a-z0-9-]{1,32}", any::<u64>()).prop_map(|(name, generation)| NodeId {
        guid: Guid::new(&name).expect("a guid"),
        generation,
    })
}

fn term() -> impl Strategy<Value = Term> {
    (0..=COUNT_MAX, node()).prop_map(|(counter, node)| Term { counter, node })
}

fn value_id() -> impl Strategy<Value = ValueId> {
    let direction = prop_oneof![
        Just(Direction::Request),
        Just(Direction::Answer),
        Just(Direction::Replica),
    ];
    (any::<u64>(), direction).prop_map(|(sequence, direction)| ValueId {
        sequence,
        direction,
    })
}

/// Reads one frame, whole.
fn read(bytes: &[u8]) -> Option<LinkFrame<'_>> {
    let (length, rest) = bytes.split_first_chunk::<4>().expect("a length");
    assert_eq!(u32::from_be_bytes(*length) as usize, rest.len());
    decode(rest[0], &rest[1..]).expect("well formed")
}

fn check(frame: LinkFrame<'_>) {
    let mut bytes = Vec::new();
    encode(&frame, &mut bytes);
    assert_eq!(read(&bytes), Some(frame));
}

proptest! {
    #[test]
    fn a_frame_reads_as_it_was_written(
        epoch: u32,
        sequence: u64,
        since: u64,
        at_once: bool,
        length in 1_u32..,
        hint in option::of(term()),
        value in value_id(),
        body in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let bytes = &body[..];
        let attempt = Attempt { epoch, term: sequence, since };
        check(LinkFrame::Large { sequence, length });
        check(LinkFrame::Request { attempt, body: bytes });
        check(LinkFrame::Answer { body: bytes });
        check(LinkFrame::Refusal { sequence, epoch, at_once, hint });
        check(LinkFrame::Cancel { value });
        check(LinkFrame::Replica { body: bytes });
        if !body.is_empty() {
            check(LinkFrame::Chunk { value, bytes });
        }
        let mut pushed = Vec::new();
        encode_request(attempt, &mut pushed, |into| into.extend_from_slice(bytes));
        prop_assert_eq!(read(&pushed), Some(LinkFrame::Request { attempt, body: bytes }));
        pushed.clear();
        encode_answer(&mut pushed, |into| into.extend_from_slice(bytes));
        prop_assert_eq!(read(&pushed), Some(LinkFrame::Answer { body: bytes }));
    }

    #[test]
    fn garbage_is_read_or_refused(
        kind: u8,
        body in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let _ = decode(kind, &body);
    }
}

#[test]
fn what_does_not_have_its_form_is_refused() {
    let value = [0; 8];
    for (kind, body) in [
        (KIND_REQUEST, &value[..3]),
        (KIND_REFUSAL, &value[..]),
        (
            KIND_REFUSAL,
            &[&value[..], &value[..4], b"\x01A", &[0; 16]].concat(),
        ),
        (KIND_REFUSAL, &[&value[..], &value[..4], b"\x02a"].concat()),
        (KIND_CHUNK, &[&value[..], b"\0"].concat()),
        (KIND_CHUNK, &[&value[..], b"\x03v"].concat()),
        (KIND_LARGE, &[&value[..], &value[..4]].concat()),
        (KIND_CANCEL, &value[..]),
    ] {
        let refused = decode(kind, body).is_err();
        assert!(refused, "{kind} {body:?}");
    }
    assert_eq!(decode(200, b"anything"), Ok(None));
}

#[test]
fn a_request_shows_its_key_and_nothing_else_does() {
    let key = b"key:1";
    let operation = crate::command::Operation::Fetch(crate::command::Fetch::default());
    let mut bytes = Vec::new();
    encode_request(Attempt::default(), &mut bytes, |into| {
        let hash = crate::hash::KeyHash::of(key);
        super::super::forward::encode_request(7, hash, key, &operation, into);
    });
    let raw = super::super::peer::split(&bytes, 1000);
    let raw = raw.expect("well formed").expect("whole");
    assert_eq!(request_key(&raw), Some(&key[..]));
    let answer = RawFrame {
        kind: KIND_ANSWER,
        ..raw
    };
    assert_eq!(request_key(&answer), None);
    for cut in 0..ATTEMPT_BYTES + 11 + key.len() {
        let body = &raw.body[..cut];
        assert_eq!(request_key(&RawFrame { body, ..raw }), None);
    }
}
