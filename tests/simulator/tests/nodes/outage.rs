//! One of two nodes is gone: the other one has no majority of anything, and goes on alone.

use zufar_core::member::NodeId;
use zufar_simulator::world::{Crash, HostId, World};

use super::{NODE, agree_within, ask, pass, start, view, world};

const KEYS: u16 = 60;

/// Two nodes that both hold all keys, and the second one's run.
fn pair(seed: u64) -> (World, NodeId) {
    let mut world = world(seed, 2);
    for host in 0..2 {
        start(&mut world, HostId(host), NODE);
        pass(&mut world, 300);
    }
    agree_within(&mut world, &[0, 1], 10_000);
    pass(&mut world, 5000);
    for at in 0..KEYS {
        let line = format!("set key{at} 0 0 1\r\n0\r\n");
        assert_eq!(ask(&mut world, HostId(0), &line, 5000), "STORED\r\n");
    }
    let other = view(&world, HostId(1)).me;
    (world, other)
}

/// One client writes and reads all keys, one after the other. How long that takes all together, in
/// milliseconds, and the longest of it.
fn ask_all(world: &mut World) -> (u64, u64) {
    let began = world.time().as_millis();
    let mut longest = 0;
    for at in 0..KEYS {
        let before = world.time().as_millis();
        let (line, answer) = match at % 2 {
            0 => (
                format!("set key{at} 0 0 1\r\n1\r\n"),
                String::from("STORED\r\n"),
            ),
            _ => (
                format!("get key{at}\r\n"),
                format!("VALUE key{at} 0 1\r\n0\r\nEND\r\n"),
            ),
        };
        let told = ask(world, HostId(0), &line, 6000);
        // What was on its way to the other node may have been carried out there.
        if at > 0 || !told.ends_with("outcome unknown\r\n") {
            assert_eq!(told, answer, "key{at}");
        }
        longest = longest.max(world.time().as_millis() - before);
    }
    (world.time().as_millis() - began, longest)
}

#[test]
fn all_keys_wait_at_once_when_the_other_node_dies() {
    let (mut world, other) = pair(1);
    world.crash_host(HostId(1), Crash::Process);
    pass(&mut world, 100);
    let seen = view(&world, HostId(0)).member(&other.guid);
    assert!(
        seen.is_some_and(|member| member.died_at.is_some()),
        "its port is closed"
    );
    let (all_ms, longest_ms) = ask_all(&mut world);
    assert!(longest_ms <= 1000, "{longest_ms} ms");
    assert!(all_ms <= 2000, "{all_ms} ms for {KEYS} keys");
}

#[test]
fn all_keys_wait_at_once_when_the_other_node_hangs() {
    let (mut world, _) = pair(2);
    world.suspend_host(HostId(1), 60_000);
    let (all_ms, longest_ms) = ask_all(&mut world);
    assert!(longest_ms <= 5000, "{longest_ms} ms");
    assert!(all_ms <= 6000, "{all_ms} ms for {KEYS} keys");
}
