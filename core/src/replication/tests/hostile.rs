//! What a node says that is mad, or not one of ours: it is refused, or does no harm.

use super::*;
use crate::hash::PARTITIONS;

fn record(primary: NodeId, others: &[NodeId]) -> Record {
    let mut in_sync = others.to_vec();
    in_sync.push(primary);
    in_sync.sort_unstable();
    Record {
        term: Term {
            counter: 7,
            node: primary,
        },
        voters: in_sync.iter().map(|node| node.guid).collect(),
        in_sync,
        lineage: None,
    }
}

#[test]
fn a_record_that_no_claim_has_written_is_not_sound() {
    let (a, b) = (run("a", 1), run("b", 1));
    let sound = record(a, &[b]);
    assert!(sound.is_sound());
    let turned = |mut record: Record| {
        record.voters.reverse();
        record
    };
    let unsound = [
        ("who is in sync votes", vec![a, b], vec![guid("a")]),
        (
            "the primary is in sync",
            vec![b],
            vec![guid("a"), guid("b")],
        ),
        (
            "a node is in sync once",
            vec![a, run("a", 2)],
            vec![guid("a"), guid("b")],
        ),
        (
            "a node votes once",
            vec![a],
            vec![guid("a"), guid("a"), guid("b")],
        ),
        ("somebody votes", vec![a], Vec::new()),
    ];
    for (why, in_sync, voters) in unsound {
        let record = Record {
            in_sync,
            voters,
            ..sound.clone()
        };
        assert!(!record.is_sound(), "{why}");
    }
    assert!(!turned(sound).is_sound(), "they are in order");
}

fn is_read(partition: u16, message: &Message) -> bool {
    let mut bytes = Vec::new();
    wire::encode(partition, message, &mut bytes);
    decoded(&Bytes::from(bytes)).is_ok()
}

/// A counter that could not be counted on from would end a node by an overflow.
#[test]
fn numbers_that_leave_no_room_to_count_on_are_refused() {
    let last = PARTITIONS as u16 - 1;
    assert!(is_read(last, &Message::Learn));
    assert!(!is_read(last + 1, &Message::Learn), "there is no such one");
    let term = |counter| Term {
        counter,
        node: run("a", 1),
    };
    let ack = |counter, position| Message::Ack {
        term: term(counter),
        position,
        sent: Time::ZERO,
    };
    let max = wire::COUNT_MAX;
    assert!(is_read(0, &ack(max, max)));
    assert!(!is_read(0, &ack(max + 1, 1)) && !is_read(0, &ack(1, max + 1)));
    let live = |version, answer_bytes| Message::Replicate {
        term: term(1),
        position: 1,
        committed: 0,
        settled: false,
        sent: Time::ZERO,
        entry: Some(Entry {
            request: Some(Request {
                answer: Bytes::from(vec![0; answer_bytes]),
                ..request(1)
            }),
            ..entry("key", version)
        }),
    };
    assert!(is_read(0, &live(max, wire::ANSWER_BYTES_MAX)));
    assert!(!is_read(0, &live(max + 1, 0)));
    assert!(!is_read(0, &live(1, wire::ANSWER_BYTES_MAX + 1)));
    let start = |session, position| Message::FillStart {
        term: term(1),
        target: run("b", 1),
        session,
        position,
        merged: false,
    };
    assert!(is_read(0, &start(max, max)));
    assert!(!is_read(0, &start(max + 1, 0)) && !is_read(0, &start(0, max + 1)));
}
