//! Several processes that share keys: any node reaches any key, and a node that dies takes nothing
//! with it.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use zufar_tests::program::{self, Program};
use zufar_tests::random::Random;
use zufar_tests::{Client, Cluster, Node, NodeOptions, PATIENCE};

fn small() -> NodeOptions {
    Node::options().memory_mib(64)
}

/// Three nodes that have shared out all partitions, each of which two hold.
fn started(configure: impl Fn(usize) -> NodeOptions) -> Cluster {
    let cluster = Cluster::start(3, configure);
    cluster.await_shared_out();
    cluster
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("key:{at:06}")).collect()
}

fn value_of(key: &str) -> Vec<u8> {
    format!("value of {key}").into_bytes()
}

fn check_all(node: &Node, keys: &[String]) {
    let mut client = node.client();
    client.get_many(keys, |key, value| {
        assert_eq!(
            value,
            Some(&value_of(key)[..]),
            "{key} through {}",
            node.guid()
        );
    });
}

#[test]
fn any_node_reaches_any_key() {
    if Program::is_stand_in() {
        return;
    }
    let runtimes = program::runtimes();
    let cluster = started(|number| {
        let runtime = &runtimes[number % runtimes.len()];
        small()
            .no_disk()
            .runtime(runtime)
            .threads(1 + number as u16 % 2)
    });
    let keys = keys(3000);
    for (number, part) in keys.chunks(1000).enumerate() {
        let mut client = cluster.nodes[number].client();
        client.set_many(part.iter().map(|key| (key.clone(), value_of(key))));
    }
    for node in &cluster.nodes {
        check_all(node, &keys);
    }
    for node in &cluster.nodes {
        let mut client = node.client();
        assert!(client.stat("zufar", "forwarded_requests") > 1000);
        assert!(client.stat("zufar", "visiting_requests") > 1000);
    }
    // What one has changed the others see at once.
    let mut clients: Vec<Client> = cluster.nodes.iter().map(Node::client).collect();
    clients[0].set("count", "0");
    for round in 1..=300_u64 {
        let answer = clients[round as usize % 3].ask("incr count 1");
        assert_eq!(answer, round.to_string());
    }
    clients[1].send("gets count\r\n");
    let line = clients[1].line();
    clients[1].line();
    clients[1].expect("END\r\n");
    let cas = line.rsplit(' ').next().expect("a cas unique").to_owned();
    assert_eq!(
        clients[2].ask(&format!("cas count 0 0 1 {cas}\r\n7")),
        "STORED"
    );
    assert_eq!(
        clients[0].ask(&format!("cas count 0 0 1 {cas}\r\n8")),
        "EXISTS"
    );
    assert_eq!(clients[0].get("count"), Some(b"7".to_vec()));
    assert_eq!(clients[1].ask("delete count"), "DELETED");
    assert_eq!(clients[2].get("count"), None);
}

#[test]
fn large_values_travel() {
    if Program::is_stand_in() {
        return;
    }
    let cluster = started(|_| small().no_disk());
    for (at, bytes) in [5_000, 70_000, 1_000_000].into_iter().enumerate() {
        for key in 0..6 {
            let key = format!("large:{bytes}:{key}");
            let mut value = value_of(&key);
            value.resize(bytes, b'x');
            cluster.nodes[at].client().set(&key, &value);
            for node in &cluster.nodes {
                assert!(node.client().get(&key) == Some(value.clone()), "{key}");
            }
        }
    }
}

#[test]
fn a_node_that_dies_takes_nothing_with_it() {
    if Program::is_stand_in() {
        return;
    }
    let mut cluster = started(|_| small());
    let keys = keys(5000);
    let mut client = cluster.nodes[0].client();
    client.set_many(keys.iter().map(|key| (key.clone(), value_of(key))));
    assert_eq!(client.ask("delete key:000007"), "DELETED");
    client.set("key:000007", value_of("key:000007"));
    // One after the other: each time the two that are left have everything.
    for dead in [2, 1, 0] {
        cluster.nodes[dead].kill_9();
        for number in (0..3).filter(|number| *number != dead) {
            check_all(&cluster.nodes[number], &keys);
        }
        cluster.nodes[dead].start();
        cluster.await_shared_out();
        check_all(&cluster.nodes[dead], &keys);
    }
}

#[test]
fn what_was_acknowledged_is_kept_while_a_node_dies() {
    if Program::is_stand_in() {
        return;
    }
    let mut cluster = started(|_| small());
    let ports = [cluster.nodes[0].port(), cluster.nodes[1].port()];
    let over = AtomicBool::new(false);
    let counted = thread::scope(|scope| {
        let writers: Vec<_> = (0..4_u64)
            .map(|writer| {
                let over = &over;
                scope.spawn(move || count_up(ports[writer as usize % 2], writer, over))
            })
            .collect();
        for _ in 0..3 {
            cluster.nodes[2].kill_9();
            cluster.nodes[2].start();
            cluster.await_shared_out();
        }
        over.store(true, Ordering::Relaxed);
        let counted = writers.into_iter().map(|it| it.join().expect("it counts"));
        counted.flatten().collect::<BTreeMap<String, (u64, u64)>>()
    });
    let mut client = cluster.nodes[2].client();
    for (key, (certain, uncertain)) in counted {
        let value = client.get(&key).expect("it is there");
        let value: u64 = String::from_utf8(value)
            .expect("digits")
            .parse()
            .expect("a number");
        let possible = certain..=certain + uncertain;
        assert!(
            possible.contains(&value),
            "{key} is {value}, not {possible:?}"
        );
    }
}

/// Counts keys of its own up, over a connection to `port`, until it is `over`. For each key how
/// often that was answered, and how often nobody knows.
fn count_up(port: u16, writer: u64, over: &AtomicBool) -> BTreeMap<String, (u64, u64)> {
    let mut random = Random::new(writer);
    let mut client = Client::connect(port);
    client.set_patience(PATIENCE);
    let mut counted = BTreeMap::new();
    for at in 0..50 {
        let key = format!("count:{writer}:{at}");
        client.set(&key, "0");
        counted.insert(key, (0, 0));
    }
    while !over.load(Ordering::Relaxed) {
        let key = format!("count:{writer}:{}", random.below(50));
        let answer = client.ask(&format!("incr {key} 1"));
        let (certain, uncertain) = counted.get_mut(&key).expect("one of its keys");
        match answer.parse::<u64>() {
            Ok(number) => {
                let possible = *certain + 1..=*certain + *uncertain + 1;
                assert!(
                    possible.contains(&number),
                    "{key} is {number}, not {possible:?}"
                );
                *uncertain -= number - *certain - 1;
                *certain = number;
            }
            Err(_) => {
                assert!(answer.starts_with("SERVER_ERROR "), "{answer}");
                *uncertain += 1;
            }
        }
    }
    counted
}

#[test]
fn a_whole_cluster_comes_back_from_its_disks() {
    if Program::is_stand_in() {
        return;
    }
    let mut cluster = started(|_| small());
    let keys = keys(3000);
    let mut client = cluster.nodes[1].client();
    client.set_many(keys.iter().map(|key| (key.clone(), value_of(key))));
    for node in &cluster.nodes {
        node.await_written();
    }
    for node in &mut cluster.nodes {
        node.kill_9();
    }
    for node in &mut cluster.nodes {
        node.launch();
    }
    for node in &mut cluster.nodes {
        node.await_ready();
    }
    cluster.await_shared_out();
    for node in &cluster.nodes {
        check_all(node, &keys);
    }
}
