//! Large values take turns and come out whole, and what was never announced is refused.

use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::*;
use crate::protocol::link::{Direction, decode};

fn value(sequence: u64) -> ValueId {
    ValueId {
        sequence,
        direction: Direction::Request,
    }
}

/// Cuts `bytes` into frames.
fn frames(mut bytes: &[u8]) -> Vec<LinkFrame<'_>> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (frame, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        let frame = decode(frame[0], &frame[1..]).expect("well formed");
        frames.push(frame.expect("a known kind"));
        bytes = rest;
    }
    frames
}

#[test]
fn values_take_turns_and_frames_overtake_them() {
    let mut out = Outgoing::default();
    let contents: Vec<Vec<u8>> = (1..=3)
        .map(|number| vec![number; CHUNK_BYTES * usize::from(number) + 1])
        .collect();
    for (sequence, content) in (0..).zip(&contents) {
        out.push_value(value(sequence), Bytes::copy_from_slice(content));
    }
    let mut incoming = Incoming::default();
    for (sequence, content) in (0..).zip(&contents) {
        let announced = incoming.announce(value(sequence), content.len(), true);
        assert_eq!(announced, Ok(()));
    }
    let mut whole = Vec::new();
    let mut order = Vec::new();
    while out.unsent_bytes() > 0 {
        encode(&LinkFrame::Answer { body: b"small" }, out.frames());
        let mut bytes = Vec::new();
        out.take(1, &mut bytes);
        let frames = frames(&bytes);
        assert_eq!(frames[0], LinkFrame::Answer { body: b"small" });
        for frame in &frames[1..] {
            let LinkFrame::Chunk { value, bytes } = frame else {
                panic!("{frame:?}");
            };
            order.push(value.sequence);
            if let Ok(Chunk::Whole(content)) = incoming.chunk(*value, bytes) {
                whole.push((value.sequence, content));
            }
        }
    }
    assert_eq!(order, [0, 1, 2, 0, 1, 2, 1, 2, 2]);
    assert!(incoming.is_empty());
    let expected: Vec<_> = (0..).zip(contents).collect();
    assert!(whole == expected);
}

#[test]
fn a_cancelled_value_ends_at_both_ends() {
    let mut out = Outgoing::default();
    out.push_value(value(1), Bytes::from(vec![1; CHUNK_BYTES * 2]));
    let mut bytes = Vec::new();
    out.take(1, &mut bytes);
    out.cancel(value(1));
    out.cancel(value(1));
    out.take(usize::MAX, &mut bytes);
    assert_eq!(out.unsent_bytes(), 0);
    let frames = frames(&bytes);
    assert!(matches!(frames[0], LinkFrame::Chunk { .. }));
    assert_eq!(frames[1..], [LinkFrame::Cancel { value: value(1) }]);

    let mut incoming = Incoming::default();
    let whole_bytes = CHUNK_BYTES * 2;
    assert_eq!(incoming.announce(value(1), whole_bytes, true), Ok(()));
    assert_eq!(incoming.cancel(value(1)), whole_bytes);
    assert_eq!(incoming.cancel(value(1)), 0);
    assert_eq!(incoming.announce(value(1), whole_bytes, false), Ok(()));
    assert_eq!(incoming.cancel(value(1)), 0, "nothing was charged for it");
}

#[test]
fn only_what_was_announced_is_taken() {
    let mut incoming = Incoming::default();
    assert_eq!(incoming.chunk(value(1), b"x"), Err(Unannounced));
    assert_eq!(incoming.announce(value(1), 2, true), Ok(()));
    assert_eq!(incoming.announce(value(1), 2, true), Err(Unannounced));
    assert_eq!(incoming.chunk(value(1), b"xyz"), Err(Unannounced));
    let mut incoming = Incoming::default();
    assert_eq!(incoming.announce(value(1), 2, false), Ok(()));
    assert_eq!(incoming.chunk(value(1), b"x"), Ok(Chunk::Partial));
    assert_eq!(incoming.chunk(value(1), b"y"), Ok(Chunk::Unwanted));
    assert_eq!(incoming.chunk(value(1), b"z"), Err(Unannounced));
}

/// What was charged for a value is given back once, whatever else is announced by its name.
#[test]
fn a_value_that_is_announced_twice_is_charged_once() {
    let mut incoming = Incoming::default();
    assert_eq!(incoming.announce(value(1), 10, true), Ok(()));
    assert_eq!(incoming.announce(value(1), 5000, true), Err(Unannounced));
    assert_eq!(incoming.charged_bytes(), 10);
}

#[test]
fn so_many_values_come_at_a_time() {
    let mut incoming = Incoming::default();
    for sequence in 0..VALUES_MAX as u64 {
        assert_eq!(incoming.announce(value(sequence), 1, false), Ok(()));
    }
    let one_more = value(VALUES_MAX as u64);
    assert_eq!(incoming.announce(one_more, 1, false), Err(Unannounced));
    assert_eq!(incoming.chunk(value(7), b"x"), Ok(Chunk::Unwanted));
    assert_eq!(incoming.announce(one_more, 1, false), Ok(()));
}
