//! Lies that would have ended a node, each by itself.

use zufar_core::command::{Item, Outcome, Value};
use zufar_core::member::NodeId;
use zufar_core::protocol::forward::encode_answer;
use zufar_core::protocol::link::{Direction, ValueId};
use zufar_core::replication::{Message, Term};

use super::*;

/// Two nodes of one worker, and the link over which the first asks the second.
struct Pair {
    run: Run,
    /// The second's link to the first.
    back: usize,
}

impl Pair {
    fn new() -> Self {
        let mut run = Run::new(0);
        let all = run.cluster.between_nodes();
        let is_back = |connection: &usize| run.cluster.at_end(*connection, true) == Some(0);
        let back = all.into_iter().find(is_back).expect("there is one");
        run.listen();
        Self { run, back }
    }

    /// What the second says to the first over its link.
    fn say(&mut self, frame: &LinkFrame<'_>) {
        let mut bytes = Vec::new();
        link::encode(frame, &mut bytes);
        self.run.cluster.inject(self.back, true, &bytes);
    }

    fn say_to_replica(&mut self, partition: u16, message: &Message) {
        let mut body = Vec::new();
        wire::begin_batch(cluster_formation(), &mut body);
        wire::encode(partition, message, &mut body);
        self.say(&LinkFrame::Replica { body: &body });
    }

    fn is_ended(&self) -> bool {
        self.run.cluster.at_end(self.back, true).is_none()
    }

    fn check(mut self, refused: u64) {
        assert_eq!(self.run.refused(0), refused);
        self.run.end();
    }
}

#[test]
fn a_partition_that_there_is_not_ends_the_link() {
    let mut pair = Pair::new();
    pair.say_to_replica(4096, &Message::Learn);
    assert!(pair.is_ended());
    pair.check(1);
}

#[test]
fn a_term_that_can_not_be_followed_by_another_ends_the_link() {
    for (counter, refused) in [(u64::MAX >> 1, 0), (u64::MAX, 1)] {
        let mut pair = Pair::new();
        let node: NodeId = node_id(1);
        let term = Term { counter, node };
        let listed = Vec::new();
        for partition in partitions() {
            let prepare = Message::Prepare {
                term,
                listed: listed.clone(),
            };
            pair.say_to_replica(partition, &prepare);
        }
        assert_eq!(pair.is_ended(), refused > 0);
        assert_eq!(pair.run.refused(0), refused);
        pair.run.end();
    }
}

#[test]
fn a_value_that_is_announced_twice_is_given_back_once() {
    let mut pair = Pair::new();
    for length in [10, 1 << 20] {
        let sequence = 7;
        pair.say(&LinkFrame::Large { sequence, length });
    }
    assert!(pair.is_ended());
    pair.check(1);
}

#[test]
fn what_waits_behind_a_value_that_never_comes_goes_on() {
    let mut pair = Pair::new();
    let mut request = |sequence: u64, body: &[u8]| {
        let attempt = link::Attempt::default();
        pair.say(&LinkFrame::Request { attempt, body });
        sequence
    };
    let key = KEYS[0].as_bytes();
    let hash = zufar_core::hash::KeyHash::of(key);
    let store = zufar_core::command::Store {
        mode: Default::default(),
        flags: 0,
        expiry: Default::default(),
        value: Value::Large(bytes::Bytes::from(vec![b'v'; 6000])),
        compare: None,
        new_cas: None,
        invalidate: false,
        vivify: None,
    };
    let store = zufar_core::command::Operation::Store(store);
    let mut body = Vec::new();
    zufar_core::protocol::forward::encode_request(9, hash, key, &store, &mut body);
    request(9, &body);
    body.clear();
    let get = zufar_core::command::Operation::Inspect;
    zufar_core::protocol::forward::encode_request(10, hash, key, &get, &mut body);
    request(10, &body);
    pair.run.cluster.passed();
    let value = ValueId {
        sequence: 9,
        direction: Direction::Request,
    };
    pair.say(&LinkFrame::Cancel { value });
    let answered = pair
        .run
        .cluster
        .passed()
        .into_iter()
        .any(|(_, forth, bytes)| {
            let kind = link::decode(bytes[4], &bytes[5..]);
            let is_one = matches!(
                kind,
                Ok(Some(LinkFrame::Answer { .. } | LinkFrame::Refusal { .. }))
            );
            !forth && is_one
        });
    assert!(answered, "it waits for ever");
    pair.check(0);
}

/// The sequence of a request that has just left over a connection, and that connection.
fn sent(passed: &[Passed]) -> Option<(usize, u64)> {
    passed.iter().find_map(|(connection, forth, bytes)| {
        let (_, length) = peer::decode(bytes, usize::MAX).ok()??;
        match link::decode(bytes[4], &bytes[5..length]) {
            Ok(Some(LinkFrame::Request { body, .. })) if *forth => {
                Some((*connection, decode_request(body).ok()?.sequence))
            }
            _ => None,
        }
    })
}

fn item(value: &[u8]) -> Outcome<'_> {
    Outcome::Item(Item {
        value: Value::Small(value),
        flags: 0,
        cas: 1,
        expired_s_before: 0,
        expires_s: 0,
        accessed_s: 0,
        fetched: false,
        stale: false,
        token_sent: false,
        won: false,
        vivified: false,
        memory_bytes: 60,
    })
}

#[test]
fn an_answer_that_can_not_come_of_what_was_asked_ends_the_link() {
    for (request, lie) in [
        (&b"get a\r\n"[..], Outcome::Deleted),
        (b"delete a\r\n", item(b"v")),
        (b"delete a\r\n", Outcome::Exists),
        (b"incr a 1\r\n", Outcome::NotStored),
        (b"set a 0 0 1\r\nx\r\n", Outcome::Deleted),
    ] {
        let mut run = Run::new(0);
        // All that is said is late, so that the request is unanswered; one of the nodes forwards.
        for connection in run.cluster.between_nodes() {
            run.cluster.hold(connection, true);
        }
        run.cluster.passed();
        for client in run.clients.clone() {
            run.cluster.say(client, request);
        }
        let (connection, sequence) = sent(&run.cluster.passed()).expect("one has forwarded it");
        let asks = run.cluster.at_end(connection, false).expect("it is there");
        let mut bytes = Vec::new();
        let mut body = Vec::new();
        encode_answer(sequence, &lie, &mut body);
        link::encode(&LinkFrame::Answer { body: &body }, &mut bytes);
        run.cluster.inject(connection, false, &bytes);
        assert!(run.cluster.at_end(connection, false).is_none(), "{lie:?}");
        assert_eq!(run.refused(asks), 1);
        run.end();
    }
}
