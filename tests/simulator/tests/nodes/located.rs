//! Words with a `d` name the node that has carried them out, whoever was asked.

use std::collections::{BTreeMap, BTreeSet};

use zufar_core::machine::Listener;
use zufar_simulator::world::{HostId, World};

use super::{NODE, agree_within, ask, guid, pass, start, world};

const KEYS: u16 = 24;

/// The nodes that the last line of an answer names.
fn named(answer: &str) -> BTreeSet<String> {
    let line = answer.trim_end().lines().last().expect("a line");
    let (nodes, time) = line.split_once(" in ").expect("where and how long");
    assert!(time.ends_with("ms"), "{answer}");
    let named = nodes.split(',').map(|node| {
        let guid = node.strip_prefix("node-").expect("a node");
        guid.to_owned()
    });
    named.collect()
}

/// What a node says to `line`, with the line that names nodes.
fn located(world: &mut World, host: u16, line: &str) -> String {
    let link = world.connect_to(HostId(host), Listener::Client);
    pass(world, 2);
    assert_eq!(world.send(link, line.as_bytes()), line.len());
    let mut answer = Vec::new();
    for _ in 0..5000 {
        pass(world, 1);
        answer.extend(world.receive(link, 1 << 20).0);
        if answer.ends_with(b"ms\r\n") {
            return String::from_utf8(answer).expect("text");
        }
    }
    panic!("{line:?}: {:?}", String::from_utf8_lossy(&answer));
}

#[test]
fn all_nodes_name_the_same_one() {
    let mut world = world(1, 3);
    for host in 0..3 {
        start(&mut world, HostId(host), NODE);
        pass(&mut world, 300);
    }
    agree_within(&mut world, &[0, 1, 2], 10_000);
    pass(&mut world, 5000);
    let mut holders = BTreeMap::new();
    for at in 0..KEYS {
        let answer = located(&mut world, at % 3, &format!("setd key{at} 0 0 1\r\n1\r\n"));
        assert!(answer.starts_with("STORED\r\n"), "{answer}");
        holders.insert(at, named(&answer));
    }
    let all: BTreeSet<String> = holders.values().flatten().cloned().collect();
    let nodes = (0..3).map(|host| guid(HostId(host)).to_string());
    assert_eq!(all, nodes.collect());
    for (at, holder) in &holders {
        assert_eq!(holder.len(), 1);
        for host in 0..3 {
            let answer = located(&mut world, host, &format!("getd key{at}\r\n"));
            assert_eq!(named(&answer), *holder, "key{at} asked of {host}");
            let answer = located(&mut world, host, &format!("incrd key{at} 1\r\n"));
            assert_eq!(named(&answer), *holder, "key{at} asked of {host}");
            let missing = located(&mut world, host, &format!("addd key{at} 0 0 1\r\n1\r\n"));
            assert!(missing.starts_with("NOT_STORED\r\n"), "{missing}");
        }
    }
    for host in 0..3 {
        let keys: String = (0..KEYS).map(|at| format!(" key{at}")).collect();
        let answer = located(&mut world, host, &format!("getd{keys}\r\n"));
        assert_eq!(named(&answer), all);
        let one = located(&mut world, host, "getd key0 key0\r\n");
        assert_eq!(named(&one), holders[&0]);
    }
    assert_eq!(
        ask(&mut world, HostId(0), "get nothing\r\n", 1000),
        "END\r\n"
    );
}
