use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use clap::Parser;

use super::*;
use crate::args::{Arguments, Command, PeerArguments};
use crate::peer::address;
use zufar_core::protocol::peer::{Reason, encode};

fn node() -> NodeStatus<'static> {
    NodeStatus {
        up: true,
        address: "127.0.0.1:8123",
        guid: "0",
        rack: "1",
        figures: figures(0, 10),
        ..NodeStatus::default()
    }
}

fn figures(dirty_items: u64, items: u64) -> Option<NodeFigures> {
    Some(NodeFigures {
        dirty_items,
        items,
        ..NodeFigures::default()
    })
}

#[test]
fn the_table_has_this_form_to_the_byte() {
    assert_eq!(
        table(&[node()]),
        "Status=Up/Down\n\
         |/ State=Normal/Leaving/Joining/Moving\n\
         --  Address              Load       GUID                              Rack\n\
         UN  127.0.0.1:8123         0/10      0                                1\n"
    );
}

#[test]
fn columns_stay_in_line_and_long_cells_keep_a_space() {
    let row = |node: NodeStatus<'_>| table(&[node]).lines().nth(3).expect("a row").to_owned();
    let guid = "a".repeat(32);
    let wide = row(NodeStatus {
        guid: &guid,
        figures: figures(999, 1_234_567),
        ..node()
    });
    assert_eq!(wide.find(&guid), Some(37));
    assert_eq!(wide.rfind('1'), Some(70));
    assert!(wide.contains(" 999/1234567 "), "{wide}");
    let over = row(NodeStatus {
        address: "[2001:db8:aaaa:bbbb::1]:21211",
        figures: figures(123_456, 123_456_789),
        ..node()
    });
    assert_eq!(
        over.split_whitespace().collect::<Vec<_>>(),
        [
            "UN",
            "[2001:db8:aaaa:bbbb::1]:21211",
            "123456/123456789",
            "0",
            "1"
        ]
    );
}

#[test]
fn status_and_state_have_a_letter_each() {
    let letters = |up, state| {
        table(&[NodeStatus {
            up,
            state,
            ..node()
        }])
        .lines()
        .nth(3)
        .map(|row| row[..4].to_owned())
    };
    assert_eq!(letters(false, NodeState::Normal).as_deref(), Some("DN  "));
    assert_eq!(letters(true, NodeState::Leaving).as_deref(), Some("UL  "));
    assert_eq!(letters(true, NodeState::Joining).as_deref(), Some("UJ  "));
    assert_eq!(letters(false, NodeState::Moving).as_deref(), Some("DM  "));
}

#[test]
fn a_node_can_t_steer_the_terminal() {
    let table = table(&[NodeStatus {
        guid: "\x1b[2J",
        rack: "a\nUN  b",
        ..node()
    }]);
    assert_eq!(table.lines().count(), 4);
    assert!(!table.contains('\x1b'));
}

#[test]
fn disk_trouble_is_told() {
    assert_eq!(trouble(&node()), None);
    let figures = NodeFigures {
        disk: DiskState::Full,
        written_lag_ms: 70,
        ..NodeFigures::default()
    };
    let full = NodeStatus {
        figures: Some(figures),
        ..node()
    };
    let line = trouble(&full).expect("told");
    assert_eq!(line, "node-0: its disk is full; 70 ms are not written");
}

#[test]
fn a_node_that_has_not_answered_is_shown_as_it_is_known() {
    let silent = NodeStatus {
        up: false,
        figures: None,
        ..node()
    };
    let row = "DN  127.0.0.1:8123         ?/?       0                                1\n";
    assert!(table(std::slice::from_ref(&silent)).ends_with(row), "{row}");
    let text = json(&[silent]);
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let names: Vec<_> = value["nodes"][0]
        .as_object()
        .expect("a node")
        .keys()
        .collect();
    assert_eq!(
        names,
        [
            "address",
            "generation",
            "guid",
            "rack",
            "state",
            "up",
            "version"
        ]
    );
}

#[test]
fn json_has_every_figure() {
    let figures = NodeFigures {
        disk: DiskState::Healthy,
        versions: (1, 2),
        items: 10,
        dirty_items: 3,
        memory_bytes_max: 64,
        layout_digest: Some(0xabc),
        ..NodeFigures::default()
    };
    let with = |figures| {
        let text = json(&[NodeStatus {
            figures: Some(figures),
            ..node()
        }]);
        assert!(text.ends_with("}\n"));
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        value["nodes"][0].clone()
    };
    let node = with(figures);
    assert_eq!(node["up"], true);
    assert_eq!(node["state"], "normal");
    assert_eq!(node["address"], "127.0.0.1:8123");
    assert_eq!(node["disk"], "healthy");
    assert_eq!(
        (&node["items"], &node["dirty_items"]),
        (&10.into(), &3.into())
    );
    assert_eq!(node["memory_bytes_max"], 64);
    assert_eq!(node["versions"]["lowest"], 1);
    assert_eq!(node["versions"]["highest"], 2);
    assert_eq!(node["layout_digest"], "0000000000000abc");
    // What is not known is left out.
    assert_eq!(node.as_object().map(serde_json::Map::len), Some(19));
    let node = with(NodeFigures {
        replicas_in_sync: Some(5),
        ..figures
    });
    assert_eq!(node["replicas_in_sync"], 5);
}

fn ask_at(port: u16) -> Result<Vec<u8>, String> {
    ask(&mut Conversation::begin("127.0.0.1", port, None)?)
}

fn arguments(line: &str) -> PeerArguments {
    let words = ["zufar", "status"]
        .into_iter()
        .chain(line.split_whitespace());
    match Arguments::try_parse_from(words).expect(line).command {
        Command::Status(arguments) => arguments.peer,
        Command::Serve(_) | Command::Partitions(_) => unreachable!("`status` was said"),
    }
}

#[test]
fn a_node_is_named_in_one_word_or_two() {
    for (line, host, port) in [
        ("", "127.0.0.1", 21211),
        ("10.0.0.1", "10.0.0.1", 21211),
        ("10.0.0.1 8123", "10.0.0.1", 8123),
        ("10.0.0.1:8123 --json", "10.0.0.1", 8123),
        ("[::1]:8123", "::1", 8123),
        ("::1 8123", "::1", 8123),
    ] {
        assert_eq!(
            address(&arguments(line)),
            Ok((host.to_owned(), port)),
            "{line}"
        );
    }
    assert!(address(&arguments("a:1 2")).is_err());
    assert!(address(&arguments("a:x")).is_err());
}

/// A node that takes the question and then says `answer`.
fn node_that_says(answer: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody asks");
        let mut expected = Vec::new();
        encode(
            &Frame::Hello {
                lowest: 1,
                highest: 1,
                guid: "",
                node: None,
            },
            &mut expected,
        );
        encode(&Frame::StatusRequest, &mut expected);
        let mut question = vec![0; expected.len()];
        stream.read_exact(&mut question).expect("a question");
        assert_eq!(question, expected);
        stream.write_all(&answer).expect("somebody listens");
    });
    port
}

fn frames(frames: &[Frame<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        encode(frame, &mut bytes);
    }
    bytes
}

#[test]
fn a_node_s_answer_is_found_behind_its_hello() {
    let reply = |last| Frame::StatusReply {
        last,
        nodes: vec![node()],
    };
    let hello = Frame::HelloReply {
        version: 1,
        guid: "0",
        node: None,
    };
    let port = node_that_says(frames(&[hello, reply(false), reply(true), reply(true)]));
    let replies = ask_at(port);
    assert_eq!(replies, Ok(frames(&[reply(false), reply(true)])));
    let replies = replies.expect("it was compared");
    assert_eq!(nodes_of(&replies), [node(), node()]);
}

#[test]
fn what_goes_wrong_is_one_line() {
    let refused = Frame::Refused {
        reason: Reason::Version,
        text: "too\nold",
    };
    for (answer, part) in [
        (frames(&[refused]), "it refuses: too?old"),
        (Vec::new(), "it has closed the connection"),
        (b"ERROR\r\n".to_vec(), "it does not speak the peer protocol"),
    ] {
        let error = ask_at(node_that_says(answer)).expect_err(part);
        assert!(error.starts_with(part), "{error}");
        assert!(!error.contains('\n'));
    }
    let unused = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = unused.local_addr().expect("bound").port();
    drop(unused);
    let refused = Err("connection refused".to_owned());
    assert_eq!(ask_at(port), refused);
}
