//! flush_all through one node empties all of them.

use zufar_core::machine::Listener;
use zufar_simulator::world::{Crash, HostId, World};

use super::{DISK, NODE, Node, agree_within, ask, pass, start, world};

const KEYS: u16 = 20;
const UNREACHED: &str = "SERVER_ERROR flush_all has not reached every node, try again\r\n";

/// Three nodes with some keys, each of which has been caught up with.
fn filled(seed: u64, node: Node<'_>) -> World {
    let mut world = world(seed, 3);
    for host in 0..3 {
        start(&mut world, HostId(host), node);
        pass(&mut world, 300);
    }
    agree_within(&mut world, &[0, 1, 2], 10_000);
    pass(&mut world, 3000);
    fill(&mut world, &[0, 1, 2]);
    world
}

fn fill(world: &mut World, hosts: &[u16]) {
    for (at, host) in (0..KEYS).zip(hosts.iter().cycle()) {
        let line = format!("set key{at} 0 0 3\r\nold\r\n");
        let answer = ask(world, HostId(*host), &line, 6000);
        assert_eq!(answer, "STORED\r\n", "key{at}");
    }
}

/// How many of the keys a node finds.
fn found(world: &mut World, host: u16) -> usize {
    let keys = 0..KEYS;
    let answers = keys.map(|at| ask(world, HostId(host), &format!("get key{at}\r\n"), 6000));
    let answers: Vec<String> = answers.collect();
    let missing = answers.iter().filter(|answer| *answer == "END\r\n").count();
    let hits = answers.iter().filter(|it| it.starts_with("VALUE")).count();
    assert_eq!(hits + missing, usize::from(KEYS), "{answers:?}");
    hits
}

fn flush(world: &mut World, host: u16, line: &str) -> String {
    ask(world, HostId(host), line, 3000)
}

#[test]
fn flush_all_empties_all_nodes_also_those_that_take_over() {
    for seed in 0..2 {
        let mut world = filled(seed, NODE);
        assert_eq!(found(&mut world, 2), usize::from(KEYS));
        assert_eq!(flush(&mut world, 1, "flush_all\r\n"), "OK\r\n");
        for host in 0..3 {
            assert_eq!(found(&mut world, host), 0, "seed {seed}");
        }
        let set = "set after 0 0 1\r\nx\r\n";
        assert_eq!(ask(&mut world, HostId(0), set, 6000), "STORED\r\n");
        world.crash_host(HostId(1), Crash::Process);
        agree_within(&mut world, &[0, 2], 10_000);
        pass(&mut world, 3000);
        for host in [0, 2] {
            assert_eq!(found(&mut world, host), 0, "seed {seed}");
            let answer = ask(&mut world, HostId(host), "get after\r\n", 6000);
            assert_eq!(answer, "VALUE after 0 1\r\nx\r\nEND\r\n", "seed {seed}");
        }
    }
}

#[test]
fn nothing_is_carried_past_a_flush() {
    let mut world = filled(3, NODE);
    for round in 0..6 {
        let links: Vec<_> = (0..3)
            .map(|host| world.connect_to(HostId(host), Listener::Client))
            .collect();
        let flusher = world.connect_to(HostId(round % 3), Listener::Client);
        pass(&mut world, 5);
        let mut answer = Vec::new();
        for turn in 0..500 {
            for link in &links {
                let lines = (0..KEYS).map(|at| format!("append key{at} 0 0 1 noreply\r\nx\r\n"));
                world.send(*link, lines.collect::<String>().as_bytes());
            }
            if turn == 5 {
                world.send(flusher, b"flush_all\r\n");
            }
            pass(&mut world, 1);
            answer.extend(world.receive(flusher, 100).0);
            if !answer.is_empty() {
                break;
            }
        }
        assert_eq!(answer, b"OK\r\n", "round {round}");
        pass(&mut world, 1000);
        assert_eq!(found(&mut world, 0), 0, "round {round}");
        fill(&mut world, &[0, 1, 2]);
    }
}

#[test]
fn a_node_that_does_not_answer_is_said_and_holds_nobody_up() {
    let mut world = filled(4, NODE);
    world.suspend_host(HostId(1), 2500);
    assert_eq!(flush(&mut world, 0, "flush_all\r\n"), UNREACHED);
    // Whatever has waited on the woken node has lapsed by then.
    pass(&mut world, 500 + 3100);
    agree_within(&mut world, &[0, 1, 2], 10_000);
    fill(&mut world, &[0, 1, 2]);
    assert_eq!(found(&mut world, 1), usize::from(KEYS));
    assert_eq!(flush(&mut world, 0, "flush_all\r\n"), "OK\r\n");
    assert_eq!(found(&mut world, 1), 0);
}

#[test]
fn a_node_that_waits_in_vain_goes_on_by_itself() {
    let mut world = filled(5, NODE);
    // The one that flushes is gone as soon as others wait for it.
    let link = world.connect_to(HostId(0), Listener::Client);
    pass(&mut world, 5);
    world.suspend_host(HostId(1), 1000);
    world.send(link, b"flush_all\r\n");
    pass(&mut world, 100);
    world.crash_host(HostId(0), Crash::Process);
    agree_within(&mut world, &[1, 2], 10_000);
    pass(&mut world, 3000);
    fill(&mut world, &[1, 2]);
    assert_eq!(found(&mut world, 2), usize::from(KEYS));
}

#[test]
fn a_delayed_flush_comes_without_who_was_asked_for_it() {
    let mut world = filled(6, NODE);
    assert_eq!(flush(&mut world, 0, "flush_all 12\r\n"), "OK\r\n");
    world.crash_host(HostId(0), Crash::Process);
    agree_within(&mut world, &[1, 2], 5000);
    pass(&mut world, 2000);
    assert_eq!(found(&mut world, 1), usize::from(KEYS));
    pass(&mut world, 12_000);
    for host in [1, 2] {
        assert_eq!(found(&mut world, host), 0);
    }
    fill(&mut world, &[1, 2]);
    assert_eq!(found(&mut world, 1), usize::from(KEYS));
}

#[test]
fn a_flush_forgets_the_one_that_was_to_come() {
    let mut world = filled(7, NODE);
    assert_eq!(flush(&mut world, 0, "flush_all 6\r\n"), "OK\r\n");
    assert_eq!(flush(&mut world, 1, "flush_all\r\n"), "OK\r\n");
    fill(&mut world, &[0, 1, 2]);
    pass(&mut world, 7000);
    assert_eq!(found(&mut world, 2), usize::from(KEYS));
}

#[test]
fn who_was_not_there_learns_what_was_flushed_and_what_will_be() {
    let mut world = world(8, 3);
    for host in 0..3 {
        start(&mut world, HostId(host), DISK);
    }
    agree_within(&mut world, &[0, 1, 2], 10_000);
    pass(&mut world, 1000);
    world.crash_host(HostId(2), Crash::Process);
    agree_within(&mut world, &[0, 1], 10_000);
    assert_eq!(flush(&mut world, 0, "flush_all\r\n"), "OK\r\n");
    assert_eq!(flush(&mut world, 0, "flush_all 600\r\n"), "OK\r\n");
    pass(&mut world, 1000);
    let known = |world: &World, host: u16| {
        let notes = world.disk_of(HostId(host)).recovery();
        (notes.flushed, notes.flush_at_unix_ms)
    };
    assert_eq!(known(&world, 2), (0, 0));
    start(&mut world, HostId(2), DISK);
    agree_within(&mut world, &[0, 1, 2], 10_000);
    pass(&mut world, 1000);
    let expected = known(&world, 0);
    assert!(expected.0 > 0 && expected.1 > 0);
    assert_eq!(known(&world, 1), expected);
    assert_eq!(known(&world, 2), expected);
}
