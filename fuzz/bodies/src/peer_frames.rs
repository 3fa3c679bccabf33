//! What comes over the peer port: frames, whoever sent them.
//!
//! Decides that a frame is bounded before it is held, reads the same however it is cut, and is
//! answered the same by a node.

use zufar_core::machine::Listener;
use zufar_core::protocol::peer::{Frame, PeerError, TEXT_BYTES_MAX, decode, encode};

use crate::sessions::Session;

/// Longest frame that is accepted here: a few nodes.
const FRAME_BYTES_MAX: usize = 4096;
/// The length before each frame, in bytes.
const LENGTH_BYTES: usize = 4;
/// The shortest node: its length, two states, four empty texts, its generation, no figures.
const NODE_BYTES_MIN: usize = 2 + 2 + 4 + 8 + 1;

/// Reads `input` as frames, and has a node read it.
pub fn peer_frames(input: &[u8]) {
    check_frames(input);
    if let Some(session) = Session::of(input) {
        let whole = session.answer(Listener::Peer, false);
        let cut = session.answer(Listener::Peer, true);
        assert_eq!(whole, cut);
        check_answers(&whole.bytes);
    }
}

/// Reads one frame after the other until there is none.
fn check_frames(mut input: &[u8]) {
    loop {
        let found = decode(input, FRAME_BYTES_MAX);
        check_cuts(input, &found);
        match found {
            Ok(Some((frame, consumed))) => {
                check_frame(&frame, &input[..consumed]);
                input = &input[consumed..];
            }
            Ok(None) => {
                assert!(input.len() < LENGTH_BYTES + FRAME_BYTES_MAX);
                return;
            }
            Err(_) => return,
        }
    }
}

/// A first part of a frame is no frame yet, and no error unless its length is.
fn check_cuts(input: &[u8], whole: &Result<Option<(Frame<'_>, usize)>, PeerError>) {
    let length = input
        .first_chunk()
        .map(|length| u32::from_be_bytes(*length));
    let needed = length.map_or(usize::MAX, |length| length as usize + LENGTH_BYTES);
    if let Err(PeerError::TooLong { bytes }) = whole {
        assert_eq!(length, Some(*bytes));
        assert!(*bytes as usize > FRAME_BYTES_MAX);
        assert_eq!(decode(&input[..LENGTH_BYTES], FRAME_BYTES_MAX), *whole);
        assert_eq!(
            decode(&input[..LENGTH_BYTES - 1], FRAME_BYTES_MAX),
            Ok(None)
        );
        return;
    }
    for end in 0..=input.len().min(needed) {
        let cut = decode(&input[..end], FRAME_BYTES_MAX);
        if end < needed {
            assert_eq!(cut, Ok(None), "{end} of {needed} bytes");
        } else {
            assert_eq!(cut, *whole, "what follows the frame matters");
        }
    }
}

/// What was read is no larger than what was sent, and says the same when sent again.
fn check_frame(frame: &Frame<'_>, sent: &[u8]) {
    if let Frame::StatusReply { nodes, .. } = frame {
        assert!(nodes.len() * NODE_BYTES_MIN <= sent.len());
        for node in nodes {
            for text in [node.address, node.guid, node.rack, node.version] {
                assert!(text.len() <= TEXT_BYTES_MAX);
            }
        }
    }
    let mut written = b"before".to_vec();
    encode(frame, &mut written);
    let written = &written[b"before".len()..];
    assert!(written.len() <= sent.len());
    if written.len() == sent.len() {
        assert_eq!(written, sent);
    }
    match decode(written, FRAME_BYTES_MAX) {
        Ok(Some((again, consumed))) => {
            assert_eq!((&again, consumed), (frame, written.len()));
        }
        other => panic!("{frame:?} is read as {other:?}"),
    }
}

/// A node speaks in whole frames, each of which it would understand.
fn check_answers(mut answers: &[u8]) {
    while !answers.is_empty() {
        match decode(answers, FRAME_BYTES_MAX) {
            Ok(Some((frame, consumed))) => {
                assert!(!matches!(frame, Frame::Unknown { .. }));
                answers = &answers[consumed..];
            }
            other => panic!("a node answered {other:?}"),
        }
    }
}
