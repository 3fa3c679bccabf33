//! Told to stop, a node writes everything and ends with 0, whatever goes on around it.
#![allow(missing_docs)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use zufar_tests::program::Program;
use zufar_tests::{Client, Node, PATIENCE, wait_for};

const WRITERS: usize = 4;

/// Signals the process and does not wait for its end.
fn signal(node: &Node, signal: Signal) {
    let id = i32::try_from(node.id()).expect("an id is small");
    let id = Pid::from_raw(id).expect("an id is positive");
    kill_process(id, signal).expect("a child can be signalled");
}

#[test]
fn under_load_nothing_acknowledged_is_lost() {
    if Program::is_stand_in() {
        return;
    }
    // Long, so that much is not written yet.
    let mut node = Node::options().flags(["--write-interval", "1000"]).start();
    let port = node.port();
    let acknowledged: Vec<AtomicU64> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        for (writer, acknowledged) in acknowledged.iter().enumerate() {
            scope.spawn(move || {
                let mut client = Client::connect(port);
                for number in 1.. {
                    let key = format!("w{writer}:{number}");
                    match client.try_set(&key, number.to_string().as_bytes()) {
                        Ok(answer) if answer == "STORED" => {
                            acknowledged.store(number, Ordering::Release);
                        }
                        // What it answers while it stops is no promise.
                        Ok(_) | Err(_) => return,
                    }
                }
            });
        }
        wait_for("some load", PATIENCE, || {
            let all = acknowledged.iter();
            all.map(|number| number.load(Ordering::Acquire))
                .min()
                .filter(|&least| least > 500)
        });
        node.terminate();
    });
    node.start();
    let mut client = node.client();
    for (writer, acknowledged) in acknowledged.iter().enumerate() {
        let last = acknowledged.load(Ordering::Acquire);
        for number in 1..=last {
            let found = client.get(&format!("w{writer}:{number}"));
            let wanted = number.to_string().into_bytes();
            assert_eq!(found, Some(wanted), "w{writer}:{number} of {last}");
        }
    }
}

#[test]
fn a_client_that_does_not_read_holds_nobody_up() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = Node::options().start();
    let mut client = node.client();
    client.set("large", vec![b'v'; 1 << 20]);
    let mut lazy: Vec<Client> = (0..8).map(|_| node.client()).collect();
    for client in &mut lazy {
        client.send("get large\r\n".repeat(50));
    }
    // And one in the middle of a value.
    let mut half = node.client();
    half.send("set half 0 0 1048576\r\nabc");
    client.set("last", "write");
    node.terminate();
    node.start();
    let mut client = node.client();
    assert_eq!(client.get("last").as_deref(), Some(&b"write"[..]));
    assert_eq!(client.get("half"), None);
    assert_eq!(client.get("large").map(|value| value.len()), Some(1 << 20));
}

#[test]
fn told_twice_it_still_writes_everything() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = Node::options().start();
    for (round, second) in [Signal::TERM, Signal::INT].into_iter().enumerate() {
        let mut client = node.client();
        let keys: Vec<String> = (0..5_000).map(|at| format!("key:{round}:{at}")).collect();
        client.set_many(keys.iter().map(|key| (key.clone(), vec![b'v'; 1000])));
        signal(&node, Signal::TERM);
        let status = node.stop_with(second);
        assert_eq!(status.code(), Some(0), "{}", node.log());
        node.start();
        node.client().get_many(&keys, |key, value| {
            assert_eq!(value.map(<[u8]>::len), Some(1000), "{key}");
        });
    }
}

#[test]
fn a_node_that_has_just_started_stops_as_well() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = Node::options().start();
    let keys: Vec<String> = (0..20_000).map(|at| format!("key:{at}")).collect();
    node.client()
        .set_many(keys.iter().map(|key| (key.clone(), vec![b'v'; 500])));
    node.terminate();
    for _ in 0..5 {
        // As soon as it answers: most of the data is still on its way into memory.
        node.start();
        node.terminate();
    }
    node.start();
    node.client().get_many(&keys, |key, value| {
        assert_eq!(value.map(<[u8]>::len), Some(500), "{key}");
    });
}

#[test]
fn the_shutdown_command_stops_if_allowed() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = Node::options().flags(["--enable-shutdown"]).start();
    for command in ["shutdown\r\n", "shutdown graceful\r\n"] {
        let mut client = node.client();
        client.set("last", command.trim_end());
        client.send(command);
        let status = node.await_end();
        assert_eq!(status.code(), Some(0), "{}", node.log());
        node.start();
        let found = node.client().get("last");
        assert_eq!(found.as_deref(), Some(command.trim_end().as_bytes()));
    }
    let mut node = Node::options().start();
    let answer = node.client().ask("shutdown");
    assert!(answer.starts_with("SERVER_ERROR"), "{answer}");
    assert!(node.is_running());
}

#[test]
fn without_a_disk_it_stops_at_once() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = Node::options().no_disk().start();
    let mut lazy = node.client();
    lazy.set("large", vec![b'v'; 1 << 20]);
    lazy.send("get large\r\n".repeat(50));
    node.terminate();
}
