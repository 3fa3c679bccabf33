use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::replication::wire::COUNT_MAX;

const FRAME_BYTES_MAX: usize = 64 * 1024;

/// Bytes that one node takes in a frame at the least: its length, two codes, four empty texts, its
/// generation, no figures.
const NODE_BYTES_MIN: usize = 2 + 2 + 4 + 8 + 1;

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(frame, &mut bytes);
    bytes
}

fn whole(bytes: &[u8]) -> (Frame<'_>, usize) {
    let decoded = decode(bytes, FRAME_BYTES_MAX).expect("no error");
    decoded.expect("a whole frame")
}

#[test]
fn a_hello_is_these_bytes_for_ever() {
    let frame = Frame::Hello {
        lowest: 1,
        highest: 2,
        guid: "a1",
        node: None,
    };
    assert_eq!(
        encoded(&frame),
        b"\0\0\0\x0d\x01zufar\0\x01\0\x02\x02a1".to_vec()
    );
}

#[test]
fn a_reply_and_a_refusal_are_these_bytes_for_ever() {
    let reply = Frame::HelloReply {
        version: 1,
        guid: "0",
        node: None,
    };
    assert_eq!(encoded(&reply), b"\0\0\0\x0a\x02zufar\0\x01\x010".to_vec());
    let refused = Frame::Refused {
        reason: Reason::Version,
        text: "no",
    };
    assert_eq!(encoded(&refused), b"\0\0\0\x05\x03\x01\x02no".to_vec());
}

#[test]
fn an_introduction_is_these_bytes_after_the_hello_of_a_command() {
    let node = Introduction {
        cluster: "c",
        formation: 2,
        partitions: 4096,
        replication_factor: 2,
        generation: 3,
        address: "::",
        known_generation: 4,
        serving: true,
        holds_data: false,
        flushes: Flushes {
            flushed: 5,
            at_unix_ms: 6,
            noted: 7,
        },
    };
    let tail = b"\x01c\0\0\0\0\0\0\0\x02\0\0\x10\0\x02\0\0\0\0\0\0\0\x03\
        \x02::\0\0\0\0\0\0\0\x04\x01\0\
        \0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x07";
    let hello = |node| Frame::Hello {
        lowest: 1,
        highest: 2,
        guid: "a1",
        node,
    };
    let mut expected = encoded(&hello(None));
    expected.extend_from_slice(tail);
    patch_u32(0, &mut expected);
    assert_eq!(encoded(&hello(Some(node))), expected);
    // A later release may say more.
    expected.extend_from_slice(b"more");
    patch_u32(0, &mut expected);
    assert_eq!(whole(&expected).0, hello(Some(node)));
}

#[test]
fn what_a_later_release_adds_at_the_end_is_passed_over() {
    let mut node = Vec::new();
    push_node(
        &NodeStatus {
            guid: "n",
            generation: 7,
            ..NodeStatus::default()
        },
        &mut node,
    );
    node.extend_from_slice(b"later field of the node");
    let length = u16::try_from(node.len() - 2).expect("a short node");
    node[..2].copy_from_slice(&length.to_be_bytes());

    let mut bytes = vec![0, 0, 0, 0, KIND_STATUS_REPLY, 1];
    bytes.extend_from_slice(&u32::try_from(2 * node.len()).expect("short").to_be_bytes());
    bytes.extend_from_slice(&node);
    bytes.extend_from_slice(&node);
    bytes.extend_from_slice(b"later field of the body");
    patch_u32(0, &mut bytes);

    let (frame, consumed) = whole(&bytes);
    assert_eq!(consumed, bytes.len());
    let Frame::StatusReply { last: true, nodes } = frame else {
        panic!("not a status reply: {frame:?}");
    };
    assert_eq!(nodes.len(), 2);
    assert_eq!((nodes[1].guid, nodes[1].generation), ("n", 7));
}

#[test]
fn an_unknown_kind_can_be_answered_and_what_follows_it_read() {
    let mut bytes = b"\0\0\0\x04\xc8abc".to_vec();
    encode(&Frame::StatusRequest, &mut bytes);
    let (frame, consumed) = whole(&bytes);
    assert_eq!((frame, consumed), (Frame::Unknown { kind: 200 }, 8));
    assert_eq!(whole(&bytes[consumed..]), (Frame::StatusRequest, 5));
}

#[test]
fn a_length_over_the_bound_is_refused_before_the_frame_has_come() {
    let at_bound = b"\0\0\x01\0";
    assert_eq!(decode(at_bound, 256), Ok(None));
    let over = b"\0\0\x01\x01";
    assert_eq!(decode(over, 256), Err(PeerError::TooLong { bytes: 257 }));
}

#[test]
fn other_protocols_are_refused_by_their_first_bytes() {
    for other in [
        &b"get a\r\n"[..],
        b"GET / HTTP/1.1\r\n",
        b"SSH-2.0-x\r\n",
        b"\x16\x03\x01\x02\0\x01",
        b"\x80\x0b\0\0\0\0\0\0",
    ] {
        assert!(decode(other, FRAME_BYTES_MAX).is_err(), "{other:?}");
    }
}

#[test]
fn malformed_bodies_name_their_kind() {
    let cases: [(&[u8], u8); 9] = [
        (b"\0\0\0\x0e\x01zufar\0\x01\0\x02\x02a1\x01", 1),
        (b"\0\0\0\x06\x10\x02\0\0\0\0", 16),
        (b"\0\0\0\x0b\x13\0\0\0\0\0\0\0\0\0\x03", 19),
        (b"\0\0\0\x0a\x01zufaR\0\x01\0\x01", 1),
        (b"\0\0\0\x0a\x01zufar\0\x01\0\x01", 1),
        (b"\0\0\0\x09\x02zufar\0\x01\x05", 2),
        (b"\0\0\0\x05\x03\x01\x02\xff\xfe", 3),
        (b"\0\0\0\x06\x05\x01\xff\xff\xff\xff", 5),
        (b"\0\0\0\x09\x05\x01\0\0\0\x03\0\x01\x02", 5),
    ];
    for (bytes, kind) in cases {
        assert_eq!(
            decode(bytes, FRAME_BYTES_MAX),
            Err(PeerError::Malformed { kind }),
            "{bytes:?}"
        );
    }
    assert_eq!(decode(b"\0\0\0\0", FRAME_BYTES_MAX), Err(PeerError::Empty));
}

#[test]
fn the_common_version_is_the_highest_of_both_or_none() {
    assert_eq!(common_version(1, 1), Some(1));
    assert_eq!(common_version(0, 9), Some(VERSION_HIGHEST));
    assert_eq!(common_version(VERSION_HIGHEST + 1, 9), None);
    assert_eq!(common_version(0, VERSION_LOWEST - 1), None);
    assert_eq!(common_version(3, 2), None);
}

/// What the texts of a frame are borrowed from.
#[derive(Clone, Debug)]
struct Node {
    codes: (bool, u8, u8),
    texts: [String; 4],
    generation: u64,
    versions: (u16, u16),
    counts: Option<[u64; 9]>,
    more: [Option<u64>; 2],
}

impl Node {
    fn status(&self) -> NodeStatus<'_> {
        NodeStatus {
            up: self.codes.0,
            state: NodeState::of(self.codes.1).expect("a known code"),
            address: &self.texts[0],
            guid: &self.texts[1],
            rack: &self.texts[2],
            version: &self.texts[3],
            generation: self.generation,
            figures: self.counts.map(|counts| self.figures(counts)),
        }
    }

    fn figures(&self, counts: [u64; 9]) -> NodeFigures {
        NodeFigures {
            disk: DiskState::of(self.codes.2).expect("a known code"),
            versions: self.versions,
            items: counts[0],
            dirty_items: counts[1],
            dirty_bytes: counts[2],
            written_lag_ms: counts[3],
            synced_lag_ms: counts[4],
            disk_items: counts[5],
            disk_bytes: counts[6],
            memory_bytes: counts[7],
            memory_bytes_max: counts[8],
            layout_digest: self.more[0],
            replicas_in_sync: self.more[1],
        }
    }
}

fn any_text() -> impl Strategy<Value = String> {
    proptest::string::string_regex(".{0,60}").expect("a regex")
}

fn any_node() -> impl Strategy<Value = Node> {
    (
        (any::<bool>(), 0..4_u8, 0..4_u8),
        proptest::array::uniform4(any_text()),
        any::<(u64, (u16, u16))>(),
        proptest::option::of(proptest::array::uniform9(any::<u64>())),
        proptest::array::uniform2(any::<Option<u64>>()),
    )
        .prop_map(
            |(codes, texts, (generation, versions), counts, more)| Node {
                codes,
                texts,
                generation,
                versions,
                counts,
                more,
            },
        )
}

/// Bytes that are often nearly a frame: random ones hardly get past the length.
fn nearly_a_frame() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..300)).prop_map(|(kind, body)| {
        let known = [0, 1, 2, 3, 4, 5, 6, 16, 17, 18, 19, 20];
        let whole = kind.is_multiple_of(2);
        let kind = known[usize::from(kind) % known.len()];
        let mut bytes = vec![0, 0, 0, 0, kind];
        if whole && matches!(kind, KIND_HELLO | KIND_HELLO_REPLY) {
            bytes.extend_from_slice(MAGIC);
        }
        if matches!(
            kind,
            KIND_STATUS_REPLY | KIND_STATE_REQUEST | KIND_STATE_REPLY
        ) {
            bytes.push(u8::from(whole));
        }
        if matches!(
            kind,
            KIND_STATUS_REPLY | KIND_STATE_REQUEST | KIND_STATE_REPLY
        ) {
            let length = u32::try_from(body.len()).expect("short");
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        bytes.extend_from_slice(&body);
        patch_u32(0, &mut bytes);
        bytes
    })
}

fn check_round_trip(frame: &Frame<'_>) -> Result<(), TestCaseError> {
    let bytes = encoded(frame);
    let mut followed = bytes.clone();
    followed.extend_from_slice(b"\xff\xff");
    let (decoded, consumed) = whole(&followed);
    prop_assert_eq!(&decoded, frame);
    prop_assert_eq!(consumed, bytes.len());
    for cut in 0..bytes.len() {
        prop_assert_eq!(decode(&bytes[..cut], FRAME_BYTES_MAX), Ok(None));
    }
    Ok(())
}

proptest! {
    #[test]
    fn small_frames_come_back_as_they_were(
        lowest: u16, highest: u16, code: u8, kind in 24..=u8::MAX, text in any_text(),
        number: u64, flags: (bool, bool), records in proptest::collection::vec(any::<u8>(), 0..99),
    ) {
        let introduction = Introduction {
            cluster: &text,
            formation: number,
            partitions: u32::from(lowest),
            replication_factor: lowest as u8,
            generation: number.rotate_left(9),
            address: &text,
            known_generation: number.rotate_left(23),
            serving: flags.0,
            holds_data: flags.1,
            flushes: Flushes { flushed: number & COUNT_MAX, at_unix_ms: number / 3, noted: number / 5 },
        };
        for node in [None, Some(introduction)] {
            check_round_trip(&Frame::Hello { lowest, highest, guid: &text, node })?;
            check_round_trip(&Frame::HelloReply { version: lowest, guid: &text, node })?;
        }
        check_round_trip(&Frame::StateRequest { last: flags.0, records: &records })?;
        check_round_trip(&Frame::StateReply { last: flags.0, records: &records })?;
        check_round_trip(&Frame::DeathQuestion { guid: &text, generation: number })?;
        for verdict in [DeathVerdict::Dead, DeathVerdict::Alive, DeathVerdict::Unknown] {
            let (guid, generation) = (&*text, number);
            check_round_trip(&Frame::DeathAnswer { guid, generation, verdict })?;
        }
        check_round_trip(&Frame::Refused { reason: Reason::of(code), text: &text })?;
        let (unix_ms, noted) = (number / 3, number / 5);
        for step in [
            FlushStep::Hold,
            FlushStep::Drop { version: number & COUNT_MAX },
            FlushStep::At { unix_ms, noted },
        ] {
            check_round_trip(&Frame::Flush { number: noted, step })?;
        }
        check_round_trip(&Frame::PartitionsRequest { key: &records })?;
        for partition in [None, Some(lowest)] {
            let owner = Owner { guid: &text, primaries: lowest, replicas: highest };
            check_round_trip(&Frame::PartitionsReply(Partitions {
                partition,
                primary: &text,
                owners: vec![owner; usize::from(code) % 4],
            }))?;
        }
        let version = number & COUNT_MAX;
        check_round_trip(&Frame::FlushReply { version, held: flags.0 })?;
        check_round_trip(&Frame::StatusRequest)?;
        check_round_trip(&Frame::FiguresRequest)?;
        check_round_trip(&Frame::Unknown { kind })?;
    }

    #[test]
    fn a_status_comes_back_as_it_was(
        last: bool, nodes in proptest::collection::vec(any_node(), 0..8),
    ) {
        let nodes = nodes.iter().map(Node::status).collect();
        check_round_trip(&Frame::StatusReply { last, nodes })?;
    }

    #[test]
    fn arbitrary_bytes_neither_panic_nor_make_more_than_they_are(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            nearly_a_frame(),
        ],
    ) {
        if let Ok(Some((frame, consumed))) = decode(&bytes, FRAME_BYTES_MAX) {
            prop_assert!(consumed <= bytes.len());
            let mut again = Vec::new();
            encode(&frame, &mut again);
            prop_assert!(again.len() <= consumed);
            if let Frame::StatusReply { nodes, .. } = frame {
                prop_assert!(nodes.len() * NODE_BYTES_MIN <= bytes.len());
            }
        }
    }
}
