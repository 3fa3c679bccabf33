use alloc::string::ToString;
use alloc::vec;

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::super::testing::{alike, credentials, hex, seed};
use super::handshake::noise;
use super::records::{REKEY_RECORDS, TAG_BYTES};
use super::*;
use crate::protocol::peer::{self, Frame, Reason};
use crate::secure::Secrets;

/// What came of receiving.
#[derive(Debug, Default, PartialEq)]
struct Received {
    plaintext: Vec<u8>,
    output: Vec<u8>,
    refusal: Option<Refusal>,
    open: bool,
}

/// Receives `bytes`, cut after each of `lengths`, over and over.
fn receive_cut(stream: &mut Stream, mut bytes: &[u8], lengths: &[usize]) -> Received {
    let mut received = Received::default();
    let mut lengths = lengths.iter().cycle();
    while !bytes.is_empty() && received.refusal.is_none() {
        let length = lengths.next().copied().unwrap_or(usize::MAX);
        let (now, rest) = bytes.split_at(length.clamp(1, bytes.len()));
        let taken = stream.receive(now, &mut received.plaintext, &mut received.output);
        received.refusal = taken.err();
        bytes = rest;
    }
    received.open = stream.is_open();
    received
}

fn receive(stream: &mut Stream, bytes: &[u8]) -> Received {
    receive_cut(stream, bytes, &[])
}

fn sent(stream: &mut Stream, plaintext: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    stream.send(plaintext, &mut output);
    output
}

/// Both ends, and what they say to each other until the handshake is over or has failed.
struct Pair {
    initiator: Stream,
    responder: Stream,
    opening: Vec<u8>,
    accepted: Received,
    connected: Received,
}

impl Pair {
    fn new(initiator: &Credentials, responder: &Credentials) -> Self {
        let mut opening = Vec::new();
        let mut initiator = Stream::initiator(initiator, seed(1), &mut opening);
        let mut responder = Stream::responder(responder, seed(2));
        let accepted = receive(&mut responder, &opening);
        let connected = receive(&mut initiator, &accepted.output);
        Self {
            initiator,
            responder,
            opening,
            accepted,
            connected,
        }
    }

    fn open() -> Self {
        let credentials = credentials("c", "a");
        let pair = Self::new(&credentials, &credentials);
        assert_eq!(pair.accepted.refusal, None);
        assert_eq!(pair.connected.refusal, None);
        pair
    }

    /// Why the two ends have failed, in the words of each.
    fn refusals(&self) -> (Option<&Refusal>, Option<&Refusal>) {
        let accepted = self.accepted.refusal.as_ref();
        (accepted, self.connected.refusal.as_ref())
    }
}

fn refused(bytes: &[u8]) -> (Reason, &str) {
    match peer::decode(bytes, 1024) {
        Ok(Some((Frame::Refused { reason, text }, consumed))) if consumed == bytes.len() => {
            (reason, text)
        }
        other => panic!("no refusal: {other:?}"),
    }
}

/// The vector of cacophony for this protocol, as published with snow and others.
#[test]
fn noise_is_spoken_as_others_speak_it() {
    let key = |text: &str| {
        let bytes: [u8; 32] = hex(text).try_into().expect("32 bytes");
        Zeroizing::new(bytes)
    };
    let psk = key("54686973206973206d7920417573747269616e20706572737065637469766521");
    let prologue = hex("4a6f686e2047616c74");
    let ephemeral = key("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a");
    let mut initiator = noise(&psk, &prologue, &ephemeral, true);
    let ephemeral = key("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b");
    let mut responder = noise(&psk, &prologue, &ephemeral, false);

    let opening = hex(
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944\
                       fda936bec35a8adfdff198386f7d5475880897edaaf7495314c99095a2e4d66a",
    );
    let answer = hex(
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f1448088434c\
                      d2a371993ba41ea11448024fca32766b169183c9e691a7a433279da7e729",
    );
    let mut buffer = [0; 100];
    let bytes = initiator.write_message(b"Ludwig von Mises", &mut buffer);
    assert_eq!(
        bytes.map(|bytes| buffer[..bytes].to_vec()),
        Ok(opening.clone())
    );
    let bytes = responder.read_message(&opening, &mut buffer);
    assert_eq!(
        bytes.map(|bytes| &buffer[..bytes]),
        Ok(&b"Ludwig von Mises"[..])
    );
    let bytes = responder.write_message(b"Murray Rothbard", &mut buffer);
    assert_eq!(
        bytes.map(|bytes| buffer[..bytes].to_vec()),
        Ok(answer.clone())
    );
    let bytes = initiator.read_message(&answer, &mut buffer);
    assert_eq!(
        bytes.map(|bytes| &buffer[..bytes]),
        Ok(&b"Murray Rothbard"[..])
    );

    let records = |noise: snow::HandshakeState| {
        Records::new(noise.into_transport_mode().expect("it is over"))
    };
    let (mut initiator, mut responder) = (records(initiator), records(responder));
    for (from_initiator, payload, ciphertext) in [
        (
            true,
            "462e20412e20486179656b",
            "bc44da303ae0beb08075fc4eb4e58235c67c2d1f53a4f2fff0bca7",
        ),
        (
            false,
            "4361726c204d656e676572",
            "416d1af83e9fa6966ce4e871156b131aa9bd7e9a1d6f8794f4872a",
        ),
        (
            true,
            "4a65616e2d426170746973746520536179",
            "8a7d81b77bcc6c072f2b807da066efba6b5fab9edf71a7faceb2c8454b0cfef608",
        ),
        (
            false,
            "457567656e2042f6686d20766f6e2042617765726b",
            "1e2ee010f72894824a25a867664ff298f2548a145dc4e9d27b1cad83f32fa7c54d69dc3279",
        ),
    ] {
        let (from, to) = match from_initiator {
            true => (&mut initiator, &mut responder),
            false => (&mut responder, &mut initiator),
        };
        let (mut output, mut plaintext) = (Vec::new(), Vec::new());
        from.seal(&hex(payload), &mut output);
        let (length, record) = output.split_at(2);
        assert_eq!(record, hex(ciphertext));
        assert_eq!(usize::from(length[1]), record.len());
        to.receive(&output, &mut plaintext).expect("authentic");
        assert_eq!(plaintext, hex(payload));
    }
}

/// Changing any of this locks running nodes out: it takes a new version, or a new magic. The bytes
/// are those of a second implementation, from the X25519 ladder up, that shares no code with this.
#[test]
fn a_stream_is_these_bytes_for_ever() {
    let mut pair = Pair::open();
    let opening = "fa7a7566617201016000327c7c768d00dddd2f4f22e167c373ab0a57fe42addb6\
                   ecb4c7d56495e41941f40ceb2a426c2587373eabbbf76469f43f09f99";
    assert_eq!(pair.opening, hex(opening));
    let answer = "fa7a75666172010033c8497c80ebef286614307ee3786e1b2bdfd124ada7c98854\
                  2ef47c91d3a8945528e175e52aa83743d7f68b94c750a744e32c6c";
    assert_eq!(pair.accepted.output, hex(answer));
    let record = hex("0015abd2f762d985a6a36f4646aad9f3ea120dcf4d3ee7");
    assert_eq!(sent(&mut pair.initiator, b"hello"), record);
    let record = hex("0015d53d96217bf859abc4b5ca09adedde1bfa50779606");
    assert_eq!(sent(&mut pair.responder, b"hello"), record);
}

#[test]
fn equal_seeds_give_equal_bytes_and_others_others() {
    let credentials = credentials("c", "a");
    let opening = |number| {
        let mut opening = Vec::new();
        let _ = Stream::initiator(&credentials, seed(number), &mut opening);
        opening
    };
    let answer = |number| {
        let mut responder = Stream::responder(&credentials, seed(number));
        receive(&mut responder, &opening(1)).output
    };
    assert_eq!(opening(1), opening(1));
    assert_ne!(opening(1), opening(2));
    assert_eq!(answer(3), answer(3));
    assert_ne!(answer(3), answer(4));
}

#[test]
fn what_is_sent_arrives_in_records_that_are_short() {
    let mut pair = Pair::open();
    let plaintext: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
    let bytes = sent(&mut pair.initiator, &plaintext);
    let records = plaintext.len().div_ceil(RECORD_BYTES_MAX - TAG_BYTES);
    assert_eq!(bytes.len(), plaintext.len() + records * (2 + TAG_BYTES));
    assert_eq!(receive(&mut pair.responder, &bytes).plaintext, plaintext);
    let bytes = sent(&mut pair.responder, &plaintext);
    assert_eq!(receive(&mut pair.initiator, &bytes).plaintext, plaintext);
    assert_eq!(sent(&mut pair.initiator, b""), b"");
}

#[test]
fn it_is_open_when_the_peer_has_shown_that_it_has_the_secret() {
    let mut pair = Pair::open();
    assert!(pair.connected.open);
    assert!(!pair.accepted.open, "an opening may be a replay");
    let bytes = sent(&mut pair.initiator, b"x");
    assert!(receive(&mut pair.responder, &bytes).open);
    assert_eq!(pair.responder.peer_cluster(), Some("c"));
}

#[test]
fn what_is_sent_early_is_sent_after_the_handshake() {
    let credentials = credentials("c", "a");
    let mut bytes = Vec::new();
    let mut initiator = Stream::initiator(&credentials, seed(1), &mut bytes);
    let mut responder = Stream::responder(&credentials, seed(2));
    assert_eq!(sent(&mut initiator, b"hel"), b"");
    assert_eq!(sent(&mut initiator, b"lo"), b"");
    assert_eq!(sent(&mut responder, b"welcome"), b"");
    let accepted = receive(&mut responder, &bytes);
    let connected = receive(&mut initiator, &accepted.output);
    assert_eq!(connected.plaintext, b"welcome");
    assert_eq!(
        receive(&mut responder, &connected.output).plaintext,
        b"hello"
    );
}

#[test]
#[should_panic(expected = "65537 bytes before the answer")]
fn who_says_too_much_early_is_wrong() {
    let mut stream = Stream::responder(&credentials("c", "a"), seed(1));
    stream.send(&vec![0; EARLY_BYTES_MAX], &mut Vec::new());
    stream.send(b"x", &mut Vec::new());
}

#[test]
fn without_secrets_bytes_pass_as_they_are() {
    let credentials = credentials("c", "");
    let mut pair = Pair::new(&credentials, &credentials);
    assert_eq!(pair.opening, b"");
    assert!(!pair.initiator.is_open() && !pair.responder.is_open());
    let bytes = sent(&mut pair.initiator, b"\0\0\0\x01\x04");
    assert_eq!(bytes, b"\0\0\0\x01\x04");
    let received = receive_cut(&mut pair.responder, &bytes, &[2]);
    assert_eq!((received.plaintext, received.open), (bytes, true));
    assert_eq!(pair.responder.peer_cluster(), None);
    let bytes = sent(&mut pair.responder, b"\0x");
    assert_eq!(receive(&mut pair.initiator, &bytes).plaintext, b"\0x");
    assert_eq!(receive(&mut pair.initiator, b"GET").plaintext, b"GET");
}

#[test]
fn a_wrong_secret_is_told_at_both_ends() {
    let pair = Pair::new(&credentials("c", "a"), &credentials("c", "b"));
    assert_eq!(pair.accepted.refusal, Some(Refusal::Secret));
    let text = "your cluster secret is none of those that this node accepts";
    assert_eq!(refused(&pair.accepted.output), (Reason::Secret, text));
    let connected = pair.connected.refusal.expect("it is refused");
    assert_eq!(connected, Refusal::refused(Reason::Secret, text));
    assert_eq!(
        connected.to_string(),
        alloc::format!("the peer refuses: {text}")
    );
    assert_eq!(pair.connected.output, b"", "nothing is said to a refusal");
}

#[test]
fn a_peer_without_a_secret_is_told() {
    let mut pair = Pair::new(&credentials("c", ""), &credentials("c", "a"));
    let mut hello = Vec::new();
    let (lowest, highest, guid) = (1, 1, "n");
    peer::encode(
        &Frame::Hello {
            lowest,
            highest,
            guid,
            node: None,
        },
        &mut hello,
    );
    let hello = sent(&mut pair.initiator, &hello);
    let accepted = receive(&mut pair.responder, &hello);
    assert_eq!(accepted.refusal, Some(Refusal::ClearText));
    let (reason, text) = refused(&accepted.output);
    assert_eq!(reason, Reason::Secret);
    assert!(text.contains("secret-file"), "{text}");
    // Who speaks in clear text reads the refusal as the frame that it is.
    let connected = receive(&mut pair.initiator, &accepted.output);
    assert_eq!(
        (connected.refusal, connected.plaintext),
        (None, accepted.output)
    );
}

#[test]
fn a_secret_for_a_peer_without_one_is_told() {
    let pair = Pair::new(&credentials("c", "a"), &credentials("c", ""));
    assert_eq!(pair.accepted.refusal, Some(Refusal::Encrypted));
    let (reason, text) = refused(&pair.accepted.output);
    assert_eq!(reason, Reason::Secret);
    let expected = Refusal::refused(reason, text);
    assert_eq!(pair.connected.refusal, Some(expected));
    assert!(text.contains("secret-file"), "{text}");
}

/// A release that knows nothing of streams takes the magic for a length.
#[test]
fn the_refusal_of_an_older_release_is_read() {
    let mut opening = Vec::new();
    let mut initiator = Stream::initiator(&credentials("c", "a"), seed(1), &mut opening);
    let error = peer::decode(&opening, 64 * 1024).expect_err("it is no frame");
    let text = &*error.to_string();
    let mut output = Vec::new();
    let reason = Reason::Frame;
    peer::encode(&Frame::Refused { reason, text }, &mut output);
    let connected = receive(&mut initiator, &output);
    assert_eq!(connected.refusal, Some(Refusal::refused(reason, text)));
}

#[test]
fn an_answer_in_clear_text_is_no_answer() {
    for (answer, refusal) in [
        (&b"\0\0\0\x01\x04"[..], Refusal::ClearText),
        (b"\0\0\0\0", Refusal::ClearText),
        (b"\0\x01\0\0", Refusal::ClearText),
        (b"ERROR\r\n", Refusal::Protocol),
        (b"\xfaZUFAR", Refusal::Protocol),
    ] {
        let mut initiator = Stream::initiator(&credentials("c", "a"), seed(1), &mut Vec::new());
        let received = receive(&mut initiator, answer);
        assert_eq!(received.refusal, Some(refusal), "{answer:?}");
        assert_eq!((received.output, received.open), (vec![], false));
    }
}

#[test]
fn other_protocols_are_told_what_this_is() {
    for letters in ["", "a"] {
        for other in [
            &b"get a\r\n"[..],
            b"GET / HTTP/1.1\r\n",
            b"SSH-2.0-x\r\n",
            b"\x16\x03\x01\x02\0\x01",
            b"\x80\x0b\0\0\0\0\0\0",
        ] {
            let mut responder = Stream::responder(&credentials("c", letters), seed(2));
            let received = receive(&mut responder, other);
            assert_eq!(received.refusal, Some(Refusal::Protocol), "{other:?}");
            assert_eq!(refused(&received.output).0, Reason::Frame);
            assert_eq!(received.plaintext, b"");
        }
    }
}

#[test]
fn a_refusal_can_not_write_to_a_terminal() {
    let refusal = Refusal::refused(Reason::Busy, "a\x1b[2Jb\nc\u{9b}d");
    assert_eq!(refusal.to_string(), "the peer refuses: a?[2Jb?c?d");
}

#[test]
fn secrets_are_rotated_without_a_gap() {
    for (initiator, responder, accepted) in [
        ("a", "a", true),
        // The new one is added behind the old one.
        ("a", "ab", true),
        ("ab", "a", true),
        // The new one goes first.
        ("ba", "ab", true),
        ("ab", "ba", true),
        // The old one goes.
        ("b", "ba", true),
        ("ba", "b", true),
        // Who has missed all that is out.
        ("a", "b", false),
        ("ba", "a", false),
    ] {
        let pair = Pair::new(&credentials("c", initiator), &credentials("c", responder));
        let expected = (!accepted).then_some(Refusal::Secret);
        assert_eq!(
            pair.accepted.refusal, expected,
            "{initiator} to {responder}"
        );
        assert_eq!(pair.connected.refusal.is_none(), accepted);
    }
}

#[test]
fn secrets_with_the_same_key_id_are_both_tried() {
    let [first, second] = alike();
    let set = |text: &str| Credentials::new("c", Secrets::parse(text.as_bytes()).ok());
    let both = set(&[&*first, &*second].join("\n"));
    for one in [&first, &second] {
        let pair = Pair::new(&set(one), &both);
        assert_eq!(pair.refusals(), (None, None), "{one}");
    }
    let pair = Pair::new(&set(&first), &set(&second));
    assert_eq!(pair.accepted.refusal, Some(Refusal::Secret));
}

#[test]
fn another_cluster_is_told_at_both_ends() {
    let pair = Pair::new(&credentials("one", "a"), &credentials("two", "a"));
    assert_eq!(pair.accepted.refusal, Some(Refusal::Cluster));
    let (reason, text) = refused(&pair.accepted.output);
    assert_eq!(reason, Reason::Cluster);
    assert_eq!(pair.connected.refusal, Some(Refusal::refused(reason, text)));
    let shown = alloc::format!("{:?}", pair.accepted.output);
    assert!(!shown.contains("two"), "names stay under cover");
}

#[test]
fn who_does_not_know_the_cluster_is_told_its_name() {
    let pair = Pair::new(&credentials("", "a"), &credentials("two", "a"));
    assert_eq!(pair.refusals(), (None, None));
    assert_eq!(pair.initiator.peer_cluster(), Some("two"));
    assert_eq!(pair.responder.peer_cluster(), Some(""));
}

#[test]
fn a_version_that_is_not_spoken_is_told() {
    let pair = Pair::open();
    for (lowest, highest) in [(2, 3), (0, 0), (3, 2)] {
        let mut opening = pair.opening.clone();
        opening[6..8].copy_from_slice(&[lowest, highest]);
        let mut responder = Stream::responder(&credentials("c", "a"), seed(2));
        let received = receive(&mut responder, &opening);
        assert_eq!(
            received.refusal,
            Some(Refusal::Version),
            "{lowest} to {highest}"
        );
        assert_eq!(refused(&received.output).0, Reason::Version);
    }
}

/// Whatever byte is altered, the stream does not open.
#[test]
fn an_altered_handshake_is_refused() {
    let pair = Pair::open();
    let credentials = credentials("c", "a");
    for at in 0..pair.opening.len() {
        for mask in [1, 0x80, 0xff] {
            let mut opening = pair.opening.clone();
            opening[at] ^= mask;
            let mut responder = Stream::responder(&credentials, seed(2));
            let received = receive(&mut responder, &opening);
            assert!(received.refusal.is_some() || responder.finish().is_err());
            if received.refusal.is_some() {
                refused(&received.output);
            } else {
                assert!([9, 10].contains(&at), "byte {at} does not matter");
            }
        }
    }
    for at in 0..pair.accepted.output.len() {
        for mask in [1, 0x80, 0xff] {
            let mut answer = pair.accepted.output.clone();
            answer[at] ^= mask;
            let mut initiator = Stream::initiator(&credentials, seed(1), &mut Vec::new());
            let received = receive(&mut initiator, &answer);
            assert!(received.refusal.is_some() || initiator.finish().is_err());
            assert!(received.refusal.is_some() || [7, 8].contains(&at));
            assert!(!received.open);
        }
    }
}

#[test]
fn an_altered_record_is_refused_and_nothing_of_it_is_read() {
    let bytes = {
        let mut pair = Pair::open();
        let first = sent(&mut pair.initiator, b"first");
        [first, sent(&mut pair.initiator, b"second")].concat()
    };
    for at in 0..bytes.len() {
        let mut pair = Pair::open();
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        let received = receive(&mut pair.responder, &altered);
        let whole = if at < bytes.len() / 2 {
            &b""[..]
        } else {
            b"first"
        };
        assert_eq!(received.plaintext, whole, "byte {at}");
        assert!(received.refusal.is_some() || pair.responder.finish().is_err());
        // It stays refused, whatever comes.
        let again = receive(&mut pair.responder, &bytes);
        assert!(again.refusal.is_some() && again.plaintext.is_empty());
        assert_eq!(sent(&mut pair.responder, b"x"), b"");
        assert_eq!(
            received.output, b"",
            "a record is not answered in clear text"
        );
    }
}

#[test]
fn records_are_taken_in_their_order_once() {
    let mut pair = Pair::open();
    let (first, second) = (
        sent(&mut pair.initiator, b"first"),
        sent(&mut pair.initiator, b"second"),
    );
    for bytes in [&second[..], &[&*first, &first].concat()] {
        let mut pair = Pair::open();
        let received = receive(&mut pair.responder, bytes);
        assert_eq!(received.refusal, Some(Refusal::Forged));
    }
    // Nor is what one has said taken for what the other says.
    assert_eq!(
        receive(&mut pair.initiator, &first).refusal,
        Some(Refusal::Forged)
    );
}

#[test]
fn a_recorded_conversation_can_not_be_played_again() {
    let mut pair = Pair::open();
    let record = sent(&mut pair.initiator, b"x");
    let mut responder = Stream::responder(&credentials("c", "a"), seed(3));
    assert_eq!(receive(&mut responder, &pair.opening).refusal, None);
    let received = receive(&mut responder, &record);
    assert_eq!(received.refusal, Some(Refusal::Forged));
    assert!(!received.open);
}

#[test]
fn lengths_are_bounded_before_anything_is_kept() {
    let head = |length: u16| {
        let mut head = b"\xfazufar\x01\x01\0".to_vec();
        head.extend_from_slice(&length.to_be_bytes());
        head
    };
    let most = u16::try_from(HANDSHAKE_BYTES_MAX - 11).expect("short");
    for (length, refusal) in [
        (most, None),
        (most + 1, Some(Refusal::Malformed)),
        (48, None),
        (47, Some(Refusal::Malformed)),
        (0, Some(Refusal::Malformed)),
    ] {
        let mut responder = Stream::responder(&credentials("c", "a"), seed(2));
        let received = receive(&mut responder, &head(length));
        assert_eq!(received.refusal, refusal, "{length}");
    }
    for (length, refusal) in [
        (RECORD_BYTES_MAX, None),
        (RECORD_BYTES_MAX + 1, Some(Refusal::Malformed)),
        (TAG_BYTES + 1, None),
        (TAG_BYTES, Some(Refusal::Malformed)),
        (0, Some(Refusal::Malformed)),
    ] {
        let length = u16::try_from(length).expect("short").to_be_bytes();
        let received = receive(&mut Pair::open().responder, &length);
        assert_eq!(received.refusal, refusal, "{length:?}");
    }
}

#[test]
fn an_end_in_the_middle_is_told() {
    let mut pair = Pair::open();
    let bytes = sent(&mut pair.initiator, b"x");
    assert_eq!(pair.responder.finish(), Ok(()));
    receive(&mut pair.responder, &bytes[..5]);
    assert_eq!(pair.responder.finish(), Err(Refusal::Truncated));
    for letters in ["", "a"] {
        let mut responder = Stream::responder(&credentials("c", letters), seed(2));
        assert_eq!(responder.finish(), Err(Refusal::Truncated));
        assert!(receive(&mut responder, b"x").refusal.is_some());
    }
}

/// Against the same keys where they are never replaced.
#[test]
fn keys_are_replaced_by_both_ends_at_once() {
    let [initiator, responder, reader] = [true, false, false].map(|initiator| {
        let key = |number| Zeroizing::new([number; 32]);
        let (mut one, mut two) = (
            noise(&key(1), b"", &key(2), true),
            noise(&key(1), b"", &key(3), false),
        );
        let mut message = [0; 48];
        one.write_message(b"", &mut message).expect("an opening");
        two.read_message(&message, &mut []).expect("an opening");
        two.write_message(b"", &mut message).expect("an answer");
        one.read_message(&message, &mut []).expect("an answer");
        let over = if initiator { one } else { two };
        over.into_transport_mode().expect("it is over")
    });
    let (mut initiator, mut responder) = (Records::new(initiator), Records::new(responder));
    let mut reader = reader;
    for number in 0..REKEY_RECORDS + 2 {
        let (mut output, mut plaintext) = (Vec::new(), Vec::new());
        initiator.seal(b"x", &mut output);
        let opened = responder.receive(&output, &mut plaintext);
        assert_eq!(
            (opened, &*plaintext),
            (Ok(()), &b"x"[..]),
            "record {number}"
        );
        let read = reader.read_message(&output[2..], &mut [0; 1]);
        assert_eq!(read.is_ok(), number < REKEY_RECORDS, "record {number}");
    }
}

/// What a run of both ends says, each way.
fn conversation(letters: &str, messages: &[(bool, Vec<u8>)]) -> (Vec<u8>, Vec<u8>) {
    let credentials = credentials("c", letters);
    let mut pair = Pair::new(&credentials, &credentials);
    let (mut there, mut back) = (pair.opening, pair.accepted.output);
    for (to_responder, plaintext) in messages {
        match to_responder {
            true => pair.initiator.send(plaintext, &mut there),
            false => pair.responder.send(plaintext, &mut back),
        }
    }
    (there, back)
}

fn messages() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
    let length = prop_oneof![4 => 0..100_usize, 1 => 16_000..40_000_usize];
    let message = (any::<bool>(), length, any::<u8>());
    prop::collection::vec(
        message.prop_map(|(to, length, byte)| (to, vec![byte; length])),
        0..8,
    )
}

fn check_cuts(there: &[u8], back: &[u8], letters: &str, lengths: &[usize]) {
    let credentials = credentials("c", letters);
    let responder = || Stream::responder(&credentials, seed(2));
    let whole = receive(&mut responder(), there);
    let cut = receive_cut(&mut responder(), there, lengths);
    assert_eq!(whole, cut);
    let initiator = || Stream::initiator(&credentials, seed(1), &mut Vec::new());
    let whole = receive(&mut initiator(), back);
    let cut = receive_cut(&mut initiator(), back, lengths);
    assert_eq!(whole, cut);
}

proptest! {
    #[test]
    fn however_it_is_cut_the_same_arrives(
        messages in messages(),
        lengths in prop::collection::vec(prop_oneof![1..20_usize, 1..30_000_usize], 1..10),
    ) {
        let (there, back) = conversation("a", &messages);
        check_cuts(&there, &back, "a", &lengths);
        let mut responder = Stream::responder(&credentials("c", "a"), seed(2));
        let received = receive_cut(&mut responder, &there, &lengths);
        let sent = messages.iter().filter(|(to_responder, _)| *to_responder);
        let sent: Vec<u8> = sent.flat_map(|(_, plaintext)| plaintext.clone()).collect();
        prop_assert_eq!((received.plaintext, received.refusal), (sent, None));
    }

    #[test]
    fn however_it_is_cut_the_same_is_refused(
        messages in messages(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        lengths in prop::collection::vec(1..100_usize, 1..10),
    ) {
        let (mut there, mut back) = conversation("a", &messages);
        *at.get_mut(&mut there) = byte;
        *at.get_mut(&mut back) = byte;
        check_cuts(&there, &back, "a", &lengths);
    }

    #[test]
    fn any_bytes_are_refused_the_same_however_they_are_cut(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        first in prop::sample::select(vec![&b""[..], b"\0\0\0", b"\xfazufar", b"\xfazufar\x01\0\x30"]),
        lengths in prop::collection::vec(1..20_usize, 1..10),
        letters in prop::sample::select(vec!["", "a"]),
    ) {
        let bytes = [first, &bytes].concat();
        check_cuts(&bytes, &bytes, letters, &lengths);
    }
}
