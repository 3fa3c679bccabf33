//! Instructions that a cluster of two nodes takes for a request that its own node carries out, and
//! for one that the other node does: all that both take, from the bytes of the request to those of
//! the answer.
//!
//! `scripts/instructions hop`, or `cargo bench -p zufar-core --bench hops` where there is a
//! valgrind. The nodes have one worker each and no disk, and nothing is encrypted.
//!
//! Each scenario runs twice under callgrind, once for longer, in a process of its own; the
//! difference leaves out how the nodes find each other, and the filling.

#![allow(clippy::print_stdout, missing_docs)]

mod callgrind;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use zufar_core::disk::Recovery;
use zufar_core::hash::KeyHash;
use zufar_core::id::{ConnId, WorkerId};
use zufar_core::machine::{Actions, Event, Listener, Machine};
use zufar_core::member::{Guid, NodeId};
use zufar_core::node::ClusterSettings;
use zufar_core::replication::SplitBrain;
use zufar_core::secure::{Credentials, Seed};
use zufar_core::settings::{Limits, Settings};
use zufar_core::time::{Now, Time};
use zufar_core::worker::Worker;

const WORKER: WorkerId = WorkerId(0);
const KEYS: usize = 2_000;
const VALUE_BYTES: usize = 100;
/// Requests of the shorter and of the longer run.
const REQUESTS: [usize; 2] = [1_600, 8_000];
/// Time between two turns.
const STEP_NS: u64 = 20_000;
const START_UNIX_MS: u64 = 1_800_000_000_000;
/// Time that two nodes have for sharing out the partitions, in milliseconds.
const FORMING_MS_MAX: u64 = 60_000;
/// The client's connection, on the first node.
const CLIENT: ConnId = ConnId {
    slot: 0,
    generation: 1,
};

struct Scenario {
    name: &'static str,
    replicas: u8,
    /// The keys are the other node's.
    hop: bool,
    /// Requests in one read.
    depth: usize,
    set: bool,
}

const GET: Scenario = Scenario {
    name: "",
    replicas: 1,
    hop: false,
    depth: 1,
    set: false,
};

const SCENARIOS: &[Scenario] = &[
    Scenario { name: "get", ..GET },
    Scenario {
        name: "get, a hop",
        hop: true,
        ..GET
    },
    Scenario {
        name: "get, 32 in one read",
        depth: 32,
        ..GET
    },
    Scenario {
        name: "get, 32 in one read, a hop",
        depth: 32,
        hop: true,
        ..GET
    },
    Scenario {
        name: "set",
        set: true,
        ..GET
    },
    Scenario {
        name: "set, a hop",
        set: true,
        hop: true,
        ..GET
    },
    Scenario {
        name: "set, two replicas",
        set: true,
        replicas: 2,
        ..GET
    },
    Scenario {
        name: "set, a hop, two replicas",
        set: true,
        hop: true,
        replicas: 2,
        ..GET
    },
];

/// What a node is to be told.
enum Mail {
    Accepted(ConnId),
    Connected(zufar_core::id::Ticket, ConnId),
    Resolved(zufar_core::id::Ticket, SocketAddr),
    Datagram(SocketAddr, Vec<u8>),
    Bytes(ConnId, Vec<u8>),
}

struct Node {
    worker: Worker,
    actions: Actions,
    mail: VecDeque<Mail>,
    /// For each connection, by slot, its other end on the other node.
    others: Vec<ConnId>,
}

/// Two nodes, and a client of the first.
struct Pair {
    nodes: [Node; 2],
    now: Now,
    answered_bytes: usize,
}

fn address(node: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 21_211 + node as u16))
}

fn cluster_settings(node: usize, replicas: u8) -> ClusterSettings {
    let seeds = (node > 0).then(|| address(0).to_string());
    ClusterSettings {
        name: "bench".into(),
        credentials: Credentials::new("bench", None),
        id: NodeId {
            guid: Guid::new(&node.to_string()).expect("a guid"),
            generation: START_UNIX_MS,
        },
        address: address(node),
        client_address: "127.0.0.1:11211".into(),
        peer_address: address(node).to_string(),
        version: "0".into(),
        rack: "1".into(),
        weight: 100,
        replication_factor: replicas,
        in_sync_min: 1,
        split_brain: SplitBrain::Available,
        seeds: seeds.into_iter().collect(),
        members: Vec::new(),
        formation: None,
        layout: Vec::new(),
        holds_data: false,
    }
}

fn settings(node: usize) -> Settings {
    Settings {
        version: "0".into(),
        guid: node.to_string(),
        rack: "1".into(),
        peer_address: address(node).to_string(),
        process_id: 1,
        started_unix_s: START_UNIX_MS / 1000,
        workers: 1,
        memory_bytes: 64 << 20,
        evict: true,
        value_bytes_max: 1 << 20,
        connections_max: 1024,
        idle_timeout_s: 0,
        flush_enabled: true,
        shutdown_enabled: false,
        verbosity: 0,
        tcp_port: 11211,
        listen_host: None,
        unix_socket: None,
        unix_socket_mode: 0o700,
        backlog: 1024,
        disk: None,
        limits: Limits::default(),
    }
}

impl Node {
    fn new(node: usize, replicas: u8, now: Now) -> Self {
        let worker = Worker::new(Arc::new(settings(node)), WORKER, &Recovery::default());
        let seed = Seed::new([node as u8; 32]);
        let worker = worker.in_cluster(now, cluster_settings(node, replicas), seed);
        Self {
            worker: worker.expect("what it says of itself is short"),
            actions: Actions::default(),
            mail: VecDeque::new(),
            others: vec![CLIENT],
        }
    }
}

impl Pair {
    fn new(replicas: u8) -> Self {
        let now = Now {
            time: Time::from_millis(1),
            unix_ms: START_UNIX_MS,
        };
        let mut pair = Self {
            nodes: [0, 1].map(|node| Node::new(node, replicas, now)),
            now,
            answered_bytes: 0,
        };
        pair.handle(
            0,
            Event::Accepted {
                conn: CLIENT,
                listener: Listener::Client,
                address: "tcp:127.0.0.1:40000",
                open: 1,
            },
        );
        while !pair.is_shared_out() {
            pair.pass(1_000_000);
            let passed_ms = pair.now.time.as_millis();
            assert!(passed_ms < FORMING_MS_MAX, "the nodes don't come together");
        }
        // Whoever has just become primary still waits for leases.
        (0..3000).for_each(|_| pair.pass(1_000_000));
        pair
    }

    fn is_shared_out(&self) -> bool {
        let shares = [0, 1].map(|node| {
            let partitions = 0..zufar_core::hash::PARTITIONS as u16;
            partitions.filter(|it| self.is_primary(node, *it)).count()
        });
        shares.iter().all(|share| *share > 1800) && shares[0] + shares[1] == 4096
    }

    fn is_primary(&self, node: usize, partition: u16) -> bool {
        let replica = self.nodes[node].worker.replica_of(partition);
        replica.is_some_and(zufar_core::replication::Replica::is_open)
    }

    /// Lets so much time pass, and all happen that comes of it.
    fn pass(&mut self, nanoseconds: u64) {
        self.now.time = Time::from_nanos(self.now.time.as_nanos() + nanoseconds);
        self.now.unix_ms = START_UNIX_MS + self.now.time.as_millis();
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            let mut idle = true;
            for node in 0..2 {
                while let Some(mail) = self.nodes[node].mail.pop_front() {
                    idle = false;
                    self.tell(node, mail);
                }
                let deadline = self.nodes[node].worker.next_deadline();
                if deadline.is_some_and(|at| at <= self.now.time) {
                    idle = false;
                    self.handle(node, Event::Deadline);
                }
            }
            if idle {
                return;
            }
        }
    }

    fn tell(&mut self, node: usize, mail: Mail) {
        let event = match &mail {
            Mail::Accepted(conn) => Event::Accepted {
                conn: *conn,
                listener: Listener::Peer,
                address: "tcp:127.0.0.1:40000",
                open: 1,
            },
            Mail::Connected(ticket, conn) => Event::Connected {
                ticket: *ticket,
                conn: *conn,
            },
            Mail::Resolved(ticket, address) => Event::Resolved {
                ticket: *ticket,
                addresses: Ok(std::slice::from_ref(address)),
            },
            Mail::Datagram(from, bytes) => Event::Datagram { from: *from, bytes },
            Mail::Bytes(conn, bytes) => Event::Received { conn: *conn, bytes },
        };
        self.handle(node, event);
    }

    fn handle(&mut self, node: usize, event: Event<'_>) {
        let it = &mut self.nodes[node];
        let mut actions = std::mem::take(&mut it.actions);
        it.worker.handle(self.now, event, &mut actions);
        let other = 1 - node;
        for (ticket, to) in actions.connect.drain(..) {
            assert_eq!(to, address(other), "there are two nodes");
            let [own, theirs] = [node, other].map(|node| ConnId {
                slot: self.nodes[node].others.len() as u32,
                generation: 1,
            });
            self.nodes[node].others.push(theirs);
            self.nodes[other].others.push(own);
            self.nodes[node]
                .mail
                .push_back(Mail::Connected(ticket, own));
            self.nodes[other].mail.push_back(Mail::Accepted(theirs));
        }
        for (ticket, name) in actions.resolve.drain(..) {
            let address = name.parse().expect("an address");
            self.nodes[node]
                .mail
                .push_back(Mail::Resolved(ticket, address));
        }
        for (_, bytes) in actions.datagrams.iter() {
            let mail = Mail::Datagram(address(node), bytes.to_vec());
            self.nodes[other].mail.push_back(mail);
        }
        for conn in actions.write.drain(..) {
            self.write(node, conn);
        }
        actions.clear();
        self.nodes[node].actions = actions;
    }

    fn write(&mut self, node: usize, conn: ConnId) {
        let mut slices: [&[u8]; 16] = [&[]; 16];
        let filled = self.nodes[node].worker.unsent(conn, &mut slices);
        let bytes = slices[..filled].concat();
        if bytes.is_empty() {
            return;
        }
        self.nodes[node].worker.sent(conn, bytes.len());
        if node == 0 && conn == CLIENT {
            self.answered_bytes += bytes.len();
        } else {
            let theirs = self.nodes[node].others[conn.slot as usize];
            let mail = Mail::Bytes(theirs, bytes);
            self.nodes[1 - node].mail.push_back(mail);
        }
    }

    /// Takes one read of the client's, and all that comes of it.
    fn receive(&mut self, bytes: &[u8]) {
        self.pass(STEP_NS);
        self.handle(
            0,
            Event::Received {
                conn: CLIENT,
                bytes,
            },
        );
        self.settle();
    }
}

fn set(key: &str) -> String {
    let value = "v".repeat(VALUE_BYTES);
    format!("set {key} 0 0 {VALUE_BYTES}\r\n{value}\r\n")
}

/// What callgrind counts: fills the nodes and makes so many requests.
fn run(scenario: &Scenario, requests: usize) {
    let mut pair = Pair::new(scenario.replicas);
    let owner = usize::from(scenario.hop);
    let names = (0..).map(|number| format!("key:{number:012}"));
    let owned = names.filter(|it| pair.is_primary(owner, KeyHash::of(it.as_bytes()).partition()));
    let keys: Vec<String> = owned.take(KEYS).collect();
    for key in &keys {
        pair.receive(set(key).as_bytes());
    }
    let request = |index: usize| {
        let key = &keys[index * 7919 % KEYS];
        if scenario.set {
            set(key)
        } else {
            format!("get {key}\r\n")
        }
    };
    let depth = scenario.depth;
    let reads: Vec<String> = (0..REQUESTS[1])
        .step_by(depth)
        .map(|first| (first..first + depth).map(request).collect())
        .collect();
    let before = pair.answered_bytes;
    for read in &reads[..requests / depth] {
        pair.receive(read.as_bytes());
    }
    let least = match scenario.set {
        true => b"STORED\r\n".len(),
        false => VALUE_BYTES,
    };
    assert!(pair.answered_bytes - before >= requests * least);
}

fn main() -> ExitCode {
    if let Some((index, requests)) = callgrind::wanted() {
        run(&SCENARIOS[index], requests);
        return ExitCode::SUCCESS;
    }
    println!("{:>12}  a request", "instructions");
    let names = SCENARIOS.iter().map(|scenario| scenario.name);
    callgrind::count_all(names, REQUESTS, |index, each| {
        println!("{each:>12}  {}", SCENARIOS[index].name);
    })
}
