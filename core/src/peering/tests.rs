//! Two ends that talk: with a secret, without, with the wrong one, and with a reader that is slow.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::*;
use crate::link::Chunk;
use crate::protocol::link::{Direction, LinkFrame, ValueId, encode};
use crate::secure::{Secrets, Seed};

const LIMITS: PeeringLimits = PeeringLimits {
    unsent_bytes_max: 4096,
};
const CONN: ConnId = ConnId {
    slot: 3,
    generation: 1,
};

fn end(secret: Option<&str>, seed: u8) -> Peering<()> {
    let secrets = secret.map(|text| Secrets::parse(text.as_bytes()).expect("long enough"));
    let credentials = Credentials::new("cluster", secrets);
    Peering::new(credentials, Entropy::new(Seed::new([seed; 32])), LIMITS)
}

/// Two ends of one connection.
struct Pair {
    opener: Peering<()>,
    accepter: Peering<()>,
}

const SECRET: &str = "a secret that is long enough for a cluster\n";
const OTHER: &str = "another secret that is long enough, as well\n";

impl Pair {
    fn new(opener: Option<&str>, accepter: Option<&str>) -> Self {
        let mut pair = Self {
            opener: end(opener, 1),
            accepter: end(accepter, 2),
        };
        pair.opener.insert(Time::ZERO, CONN, true, ());
        pair.accepter.insert(Time::ZERO, CONN, false, ());
        pair
    }

    /// Carries bytes both ways until nothing moves, in pieces of at most `piece` bytes.
    fn settle(&mut self, piece: usize) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        loop {
            let there = carry(&mut self.opener, &mut self.accepter, piece);
            let back = carry(&mut self.accepter, &mut self.opener, piece);
            let moved = there.is_some() || back.is_some();
            for received in [there, back].into_iter().flatten() {
                if let Received::Refused(refusal) = received {
                    refusals.push(refusal);
                }
            }
            if !moved {
                return refusals;
            }
        }
    }
}

/// Carries one piece from one end to the other, if there is any.
fn carry(from: &mut Peering<()>, to: &mut Peering<()>, piece: usize) -> Option<Received> {
    from.upkeep(CONN);
    let bytes = from.unsent(CONN);
    let bytes = bytes[..bytes.len().min(piece)].to_vec();
    if bytes.is_empty() {
        return None;
    }
    from.sent(CONN, bytes.len());
    Some(to.receive(CONN, &bytes))
}

fn say(end: &mut Peering<()>, body: &[u8]) {
    let out = end.out(CONN).expect("it is open");
    encode(&LinkFrame::Answer { body }, out.frames());
}

/// The frames in the input, whole.
fn heard(end: &mut Peering<()>) -> Vec<u8> {
    let input = end.take_input(CONN);
    let all = input.clone();
    end.keep_input(CONN, input, all.len());
    all
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&LinkFrame::Answer { body }, &mut bytes);
    bytes
}

#[test]
fn both_ends_hear_what_was_said() {
    for secret in [None, Some(SECRET)] {
        for piece in [1, 7, 100_000] {
            let mut pair = Pair::new(secret, secret);
            say(&mut pair.opener, b"hello");
            assert_eq!(pair.settle(piece), []);
            assert!(pair.accepter.may_carry_out(CONN).is_some());
            assert_eq!(heard(&mut pair.accepter), framed(b"hello"));
            say(&mut pair.accepter, b"hello to you");
            assert_eq!(pair.settle(piece), []);
            assert!(pair.opener.may_carry_out(CONN).is_some());
            assert_eq!(heard(&mut pair.opener), framed(b"hello to you"));
        }
    }
}

#[test]
fn a_wrong_secret_or_none_is_refused_and_both_know_why() {
    for (opener, accepter, why, told) in [
        (
            Some(OTHER),
            Some(SECRET),
            "secret is none of those",
            "your cluster secret",
        ),
        (None, Some(SECRET), "clear text", "has a cluster secret"),
        (
            Some(SECRET),
            None,
            "has a cluster secret",
            "has no cluster secret",
        ),
    ] {
        let mut pair = Pair::new(opener, accepter);
        say(&mut pair.opener, b"hello");
        let refusals = pair.settle(100_000);
        assert!(refusals[0].to_string().contains(why), "{refusals:?}");
        assert!(pair.accepter.may_carry_out(CONN).is_none());
        assert!(pair.accepter.upkeep(CONN).close, "all has been said");
        if opener.is_some() {
            assert!(refusals[1].to_string().contains(told), "{refusals:?}");
        }
    }
}

#[test]
fn who_never_says_hello_is_overdue() {
    let mut pair = Pair::new(Some(SECRET), Some(SECRET));
    assert_eq!(
        pair.accepter.next_deadline(),
        Some(Time::from_millis(HANDSHAKE_MS_MAX))
    );
    let just_before = Time::from_millis(HANDSHAKE_MS_MAX - 1);
    assert_eq!(pair.accepter.next_overdue(just_before), None);
    let then = Time::from_millis(HANDSHAKE_MS_MAX);
    assert_eq!(pair.accepter.next_overdue(then), Some(CONN));
    pair.opener.settle(CONN);
    assert_eq!(pair.opener.next_overdue(then), None, "it has begun");
    assert_eq!(pair.opener.next_deadline(), None);
}

#[test]
fn a_slow_reader_is_read_no_further_until_it_has_read() {
    let mut pair = Pair::new(None, None);
    say(&mut pair.opener, b"hello");
    pair.settle(100_000);
    heard(&mut pair.accepter);
    say(&mut pair.accepter, &[b'x'; 5000]);
    assert!(pair.accepter.may_carry_out(CONN).is_none());
    let upkeep = pair.accepter.upkeep(CONN);
    assert_eq!((upkeep.write, upkeep.pause), (true, Some(true)));
    assert_eq!(pair.accepter.upkeep(CONN).pause, None, "told once");
    pair.accepter.sent(CONN, 1000);
    assert_eq!(pair.accepter.upkeep(CONN).pause, None, "not enough");
    pair.accepter.sent(CONN, 2000);
    assert_eq!(pair.accepter.upkeep(CONN).pause, Some(false));
}

#[test]
fn a_large_value_comes_whole_through_a_protected_stream() {
    let mut pair = Pair::new(Some(SECRET), Some(SECRET));
    say(&mut pair.opener, b"hello");
    pair.settle(100_000);
    heard(&mut pair.accepter);
    let value = ValueId {
        sequence: 1,
        direction: Direction::Request,
    };
    let content = vec![b'v'; 1_000_000];
    let out = pair.opener.out(CONN).expect("it is open");
    out.push_value(value, Bytes::from(content.clone()));
    let incoming = pair.accepter.incoming(CONN).expect("it is open");
    assert_eq!(incoming.announce(value, content.len(), true), Ok(()));
    pair.settle(10_000);
    let input = pair.accepter.take_input(CONN);
    let mut rest = &input[..];
    let mut whole = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (frame, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        let frame = crate::protocol::link::decode(frame[0], &frame[1..]);
        let Ok(Some(LinkFrame::Chunk { value, bytes })) = frame else {
            panic!("{frame:?}");
        };
        let incoming = pair.accepter.incoming(CONN).expect("it is open");
        if let Ok(Chunk::Whole(bytes)) = incoming.chunk(value, bytes) {
            whole = bytes;
        }
        rest = after;
    }
    assert!(whole == content);
    assert_eq!(pair.accepter.remove(CONN), Some(((), 0)));
    assert!(!pair.accepter.has(CONN));
}

#[test]
fn what_was_charged_for_a_value_that_never_came_is_told() {
    let mut pair = Pair::new(None, None);
    for (sequence, wanted) in [(1, true), (2, false), (3, true)] {
        let value = ValueId {
            sequence,
            direction: Direction::Answer,
        };
        let incoming = pair.opener.incoming(CONN).expect("it is open");
        assert_eq!(incoming.announce(value, 10_000, wanted), Ok(()));
    }
    assert_eq!(pair.opener.remove(CONN), Some(((), 20_000)));
}
