//! Connections: limits, slow readers, slow writers, large requests. Nobody harms anybody else.
#![allow(missing_docs)]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use zufar_tests::program::Program;
use zufar_tests::{Client, Node, PATIENCE, process, wait_for};

/// Most that a bystander may wait for one answer while others misbehave. Only a hold-up would
/// take so long; a busy machine doesn't.
const BYSTANDER_WAIT_MAX: Duration = Duration::from_secs(5);

/// Asks for `key` again and again while `busy` says so; returns the longest wait.
fn longest_wait(node: &Node, key: &str, busy: impl Fn() -> bool) -> Duration {
    let mut client = node.client();
    let mut longest = Duration::ZERO;
    let mut asked = 0;
    while busy() || asked < 100 {
        let start = Instant::now();
        assert!(client.get(key).is_some(), "{key} is gone");
        longest = longest.max(start.elapsed());
        asked += 1;
    }
    longest
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("key:{at:06}")).collect()
}

fn value_of(key: &str) -> Vec<u8> {
    format!("value of {key}").into_bytes()
}

#[test]
fn ten_thousand_keys_in_one_get() {
    let node = Node::options().start();
    let mut client = node.client();
    let all = keys(10_000);
    client.set_many(all.iter().map(|key| (key.clone(), value_of(key))));
    let request = format!("get {}\r\n", all.join(" "));
    let answer: Vec<u8> = all
        .iter()
        .flat_map(|key| {
            let value = value_of(key);
            let head = format!("VALUE {key} 0 {}\r\n", value.len());
            [head.as_bytes(), &value, b"\r\n"].concat()
        })
        .chain(*b"END\r\n")
        .collect();
    for _ in 0..3 {
        client.send(&request);
        client.expect(&answer);
    }
    // In pieces, and with another request right behind it.
    for piece in request.as_bytes().chunks(997) {
        client.send(piece);
    }
    client.send("mn\r\n");
    client.expect(&answer);
    client.expect("MN\r\n");
}

#[test]
fn ten_thousand_keys_for_a_client_that_does_not_read() {
    let node = Node::options().start();
    let mut client = node.client();
    let all = keys(10_000);
    client.set_many(all.iter().map(|key| (key.clone(), vec![b'v'; 1000])));
    let mut lazy = node.client();
    let request = format!("get {}\r\n", all.join(" "));
    lazy.send(&request);
    // Nobody reads the ten megabytes, and others are served all the same.
    let start = Instant::now();
    let busy = || start.elapsed() < Duration::from_millis(500);
    let longest = longest_wait(&node, &all[0], busy);
    assert!(
        longest < BYSTANDER_WAIT_MAX,
        "a bystander waited {longest:?}"
    );
    let found = lazy.values();
    assert_eq!(found.len(), all.len());
    for ((name, value), key) in found.iter().zip(&all) {
        assert_eq!(name, key);
        assert!(value.len() == 1000 && value.iter().all(|&byte| byte == b'v'));
    }
}

#[test]
fn a_slow_reader_costs_bounded_memory_and_harms_nobody() {
    let node = Node::options().memory_mib(64).start();
    let mut client = node.client();
    let large: Vec<u8> = (0..512 * 1024).map(|at| (at % 251) as u8).collect();
    client.set("large", &large);
    client.set("small", "x");
    let before = process::resident_bytes(node.id(), "VmRSS").expect("the node runs");
    // 400 × 512 KiB are asked for on each of four connections, and nothing is read.
    const ASKED: usize = 400;
    let mut lazy: Vec<Client> = (0..4).map(|_| node.client()).collect();
    for client in &mut lazy {
        client.send("get large\r\n".repeat(ASKED));
    }
    let start = Instant::now();
    let busy = || start.elapsed() < Duration::from_millis(700);
    let longest = longest_wait(&node, "small", busy);
    assert!(
        longest < BYSTANDER_WAIT_MAX,
        "a bystander waited {longest:?}"
    );
    let after = process::resident_bytes(node.id(), "VmRSS").expect("the node runs");
    let grown_mib = after.saturating_sub(before) >> 20;
    assert!(
        grown_mib < 100,
        "800 MiB of unread answers cost {grown_mib} MiB"
    );
    // One of them reads all; the others leave.
    let mut reader = lazy.pop().expect("there are four");
    drop(lazy);
    for _ in 0..ASKED {
        let found = reader.values();
        assert!(
            found.len() == 1 && found[0].1 == large,
            "a value is damaged"
        );
    }
    assert_eq!(reader.ask("mn"), "MN");
}

#[test]
fn a_burst_of_requests_whose_client_reads_late_is_answered_in_order() {
    let node = Node::options().start();
    let mut client = node.client();
    const COUNT: usize = 30_000;
    let mut writer = client.writer().expect("a second handle");
    let sender = thread::spawn(move || {
        let mut request = Vec::new();
        for at in 0..COUNT {
            request.extend_from_slice(format!("set n {at} 0 5\r\n{at:05}\r\nget n\r\n").as_bytes());
        }
        writer.write_all(&request)
    });
    // The sender gets stuck until somebody reads: one of the two sides must give way.
    for at in 0..COUNT {
        client.expect(format!("STORED\r\nVALUE n {at} 5\r\n{at:05}\r\nEND\r\n"));
    }
    sender
        .join()
        .expect("the sender does not panic")
        .expect("all is sent");
}

#[test]
fn byte_at_a_time_writers_harm_nobody() {
    let node = Node::options().start();
    node.client().set("small", "x");
    let port = node.port();
    let writers: Vec<_> = (0..8)
        .map(|number| {
            thread::spawn(move || {
                let mut client = Client::connect(port);
                let request = format!("set slow:{number} 3 0 300\r\n{}\r\n", "s".repeat(300));
                for byte in request.as_bytes() {
                    client.send([*byte]);
                    thread::sleep(Duration::from_micros(500));
                }
                client.expect("STORED\r\n");
            })
        })
        .collect();
    let busy = || writers.iter().any(|writer| !writer.is_finished());
    let longest = longest_wait(&node, "small", busy);
    assert!(
        longest < BYSTANDER_WAIT_MAX,
        "a bystander waited {longest:?}"
    );
    for writer in writers {
        writer.join().expect("a slow writer is served");
    }
    assert_eq!(node.client().get("slow:7"), Some(vec![b's'; 300]));
}

#[test]
fn a_half_closed_connection_is_still_answered() {
    let node = Node::options().start();
    let mut client = node.client();
    client.set("a", "1");
    client.send("get a\r\nget a\r\n");
    client.finish();
    client.expect("VALUE a 0 1\r\n1\r\nEND\r\nVALUE a 0 1\r\n1\r\nEND\r\n");
    client.expect_end();
}

#[test]
fn a_client_that_leaves_in_the_middle_of_data_stores_nothing() {
    let node = Node::options().start();
    let mut client = node.client();
    client.set("left", "old");
    let mut leaving = node.client();
    leaving.send("set left 0 0 100\r\nabc");
    drop(leaving);
    wait_for("the server to see it", PATIENCE, || {
        (client.stat("", "curr_connections") <= open_at_rest()).then_some(())
    });
    assert_eq!(client.get("left").as_deref(), Some(&b"old"[..]));
}

/// `curr_connections` with one client: memcached counts its listener too.
fn open_at_rest() -> u64 {
    if Program::is_stand_in() { 2 } else { 1 }
}

#[test]
fn over_the_connection_limit_a_client_is_told() {
    const MOST: usize = 40;
    let node = Node::options().connections_max(MOST as u32).start();
    let mut first = node.client();
    wait_for("the probe's connection to be gone", PATIENCE, || {
        (first.stat("", "curr_connections") <= open_at_rest()).then_some(())
    });
    let mut accepted = vec![first];
    let mut refused = loop {
        assert!(accepted.len() <= MOST, "more clients than the limit");
        let mut client = node.client();
        // A refused one may be reset before its question arrives.
        let answer = client.try_ask("version");
        match answer {
            Ok(line) if line.starts_with("VERSION") => accepted.push(client),
            other => break (client, other),
        }
    };
    if !Program::is_stand_in() {
        assert_eq!(accepted.len(), MOST);
        let told = refused.1.expect("the refused client is told");
        assert_eq!(told, "ERROR Too many open connections");
        refused.0.expect_end();
        assert!(accepted[0].stat("", "rejected_connections") >= 1);
        assert_eq!(accepted[0].stat("", "max_connections"), MOST as u64);
    }
    // Room is made, and the next one is served.
    drop(accepted.pop());
    wait_for("a place to become free", PATIENCE, || {
        let answer = node.client().try_ask("version").ok()?;
        answer.starts_with("VERSION").then_some(())
    });
    for client in &mut accepted {
        assert!(client.ask("version").starts_with("VERSION"));
    }
}

#[test]
fn silent_clients_are_closed_and_others_stay() {
    let node = Node::options().idle_timeout_s(2).start();
    let mut silent = node.client();
    assert!(silent.ask("version").starts_with("VERSION"));
    let port = node.port();
    let busy = thread::spawn(move || {
        let mut client = Client::connect(port);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(6) {
            assert!(client.ask("version").starts_with("VERSION"));
            thread::sleep(Duration::from_millis(300));
        }
    });
    let start = Instant::now();
    silent.expect_end();
    let waited = start.elapsed();
    assert!(
        waited > Duration::from_millis(900),
        "closed after {waited:?}"
    );
    assert!(waited < Duration::from_secs(15), "closed after {waited:?}");
    busy.join().expect("a client that speaks is not closed");
    assert!(node.client().stat("", "idle_kicks") >= 1);
}

#[test]
fn without_an_idle_timeout_nobody_is_closed() {
    let node = Node::options().start();
    let mut client = node.client();
    client.set("a", "1");
    let before = node.client().stat("", "uptime");
    let mut other = node.client();
    wait_for("three seconds to pass on the server", PATIENCE, || {
        (other.stat("", "uptime") >= before + 3).then_some(())
    });
    assert!(client.get("a").is_some());
}

#[test]
fn a_thousand_connections_come_and_go() {
    let node = Node::options().start();
    node.client().set("a", "1");
    for _ in 0..5 {
        let mut clients: Vec<Client> = (0..200).map(|_| node.client()).collect();
        for client in &mut clients {
            client.send("get a\r\n");
        }
        for client in &mut clients {
            client.expect("VALUE a 0 1\r\n1\r\nEND\r\n");
        }
    }
    let mut client = node.client();
    wait_for("the connections to be gone", PATIENCE, || {
        (client.stat("", "curr_connections") <= open_at_rest()).then_some(())
    });
    assert!(client.stat("", "total_connections") >= 1000);
}

#[test]
fn a_unix_socket_serves_the_same() {
    let node = Node::options().unix_socket().start();
    let mut client = node.client();
    client.set("a", "1");
    assert_eq!(node.client().get("a").as_deref(), Some(&b"1"[..]));
    let metadata = node.unix_socket().metadata().expect("the socket is there");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o700);
    assert!(
        Client::try_connect(node.port()).is_err(),
        "TCP is off beside a Unix socket"
    );
}

#[test]
fn a_unix_socket_left_by_a_crash_is_replaced() {
    let mut node = Node::options().unix_socket().start();
    node.kill_9();
    assert!(node.unix_socket().exists(), "the crash has left it");
    node.start();
    node.client().set("a", "1");
}
