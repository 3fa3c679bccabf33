//! A few nodes of one cluster, and all that goes between them, to be tampered with.
//!
//! Decides how nodes find each other, and that everything arrives in order, and at once unless it is
//! held. Refuses
//! to know what nodes say. Nothing is protected by a secret, so whoever reads along understands.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use zufar_core::disk::{Request, perform};
use zufar_core::id::{ConnId, Ticket, WorkerId};
use zufar_core::machine::{Actions, Event, HostFigures, Listener, Machine};
use zufar_core::member::{Guid, NodeId};
use zufar_core::membership::Formation;
use zufar_core::message::Message;
use zufar_core::node::ClusterSettings;
use zufar_core::replication::SplitBrain;
use zufar_core::secure::{Credentials, Seed};
use zufar_core::settings::Settings;
use zufar_core::time::{Now, Time};
use zufar_core::worker::Worker;
use zufar_simulator::ModelDisk;
use zufar_simulator::rig::{START_UNIX_MS, settings};

/// Turns after which nodes that still have something to do never will have done.
const TURNS_MAX: usize = 1_000_000;
const MEMORY_BYTES: u64 = 8 << 20;
const PEER_PORT: u16 = 21_211;
const CLUSTER: &str = "shop";

/// One end of a connection.
struct End {
    node: usize,
    worker: u16,
    id: ConnId,
    paused: bool,
    /// What has come and is not read, in the pieces that will be.
    inbox: VecDeque<Vec<u8>>,
    /// Nothing more will come.
    ended: bool,
    /// What comes is late: it waits until this is over.
    held: bool,
}

/// A connection: from a node, or from a client, which is nobody's end.
struct Connection {
    /// Whoever was called, then whoever has opened it, as long as they have use for it.
    ends: [Option<End>; 2],
    /// What the client has heard.
    heard: Vec<u8>,
    is_clients: bool,
    /// Which ends have said something.
    said: [bool; 2],
}

/// What a worker is to be told.
enum Mail {
    Message(WorkerId, Message),
    Host,
    Accepted(ConnId, Listener),
    Closed(ConnId),
    Connected(Ticket, usize),
    Refused(Ticket),
    Resolved(Ticket, SocketAddr),
    Datagram(SocketAddr, Vec<u8>),
}

struct Host {
    workers: Vec<Worker>,
    mail: VecDeque<(u16, Mail)>,
    disk: Option<ModelDisk>,
    requests: VecDeque<(u16, Request)>,
    next_worker: u16,
}

/// The places of a connection's ends.
const CALLED: usize = 0;
const OPENER: usize = 1;

/// Both may lie on one worker: each has an id of its own.
const fn id_of(connection: usize, side: usize) -> ConnId {
    ConnId {
        slot: connection as u32,
        generation: side as u32,
    }
}

/// The nodes.
pub(crate) struct Cluster {
    hosts: Vec<Host>,
    connections: Vec<Connection>,
    now: Now,
    actions: Actions,
    /// All that has gone from node to node since this was last emptied.
    passed: Vec<(usize, bool, Vec<u8>)>,
}

/// Which nodes there are.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) nodes: usize,
    pub(crate) workers: u16,
    pub(crate) disk: bool,
}

/// The run of the node with this number.
pub(crate) fn node_id(node: usize) -> NodeId {
    NodeId {
        guid: Guid::new(&format!("node-{node}")).expect("a guid"),
        generation: START_UNIX_MS,
    }
}

/// The formation of the cluster that all form, as it is on the wire.
pub(crate) fn cluster_formation() -> u64 {
    Formation::of(node_id(0)).0.get()
}

fn address(node: usize) -> SocketAddr {
    let last = u8::try_from(node + 1).expect("a few nodes");
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, last), PEER_PORT))
}

fn node_at(at: SocketAddr, nodes: usize) -> Option<usize> {
    (0..nodes).find(|node| address(*node) == at)
}

fn cluster_settings(node: usize, replicas: u8) -> ClusterSettings {
    let seeds = match node {
        0 => Vec::new(),
        _ => vec![address(0).to_string()],
    };
    ClusterSettings {
        name: CLUSTER.into(),
        credentials: Credentials::new(CLUSTER, None),
        id: node_id(node),
        address: address(node),
        client_address: "127.0.0.1:11211".into(),
        peer_address: address(node).to_string(),
        version: "0.1.0".into(),
        rack: "1".into(),
        weight: 100,
        replication_factor: replicas,
        seeds,
        in_sync_min: 1,
        split_brain: SplitBrain::Available,
        members: Vec::new(),
        formation: None,
        layout: Vec::new(),
        holds_data: false,
    }
}

impl Host {
    fn new(node: usize, shape: Shape, partitions: &[u16], now: Now) -> Self {
        let disk = shape.disk.then(ModelDisk::new);
        let recovery = disk.as_ref().map(ModelDisk::recovery).unwrap_or_default();
        let settings = Arc::new(Settings {
            guid: node_id(node).guid.as_str().into(),
            ..settings(shape.workers, MEMORY_BYTES, shape.disk)
        });
        let worker = |id: u16| {
            let mut seed = [node as u8; 32];
            seed[0] = id as u8;
            let worker = Worker::new(Arc::clone(&settings), WorkerId(id), &recovery);
            let replicas = shape.nodes.min(2) as u8;
            let cluster = cluster_settings(node, replicas);
            let worker = worker.in_cluster(now, cluster, Seed::new(seed));
            let worker = worker.expect("what it says of itself is short");
            worker.replicating_only(partitions)
        };
        Self {
            workers: (0..shape.workers).map(worker).collect(),
            mail: VecDeque::new(),
            disk,
            requests: VecDeque::new(),
            next_worker: 0,
        }
    }
}

impl Cluster {
    /// Nodes that have found each other, with replicas of `partitions` on every one that should
    /// have them.
    pub(crate) fn new(shape: Shape, partitions: &[u16]) -> Self {
        let now = Now {
            time: Time::from_millis(1),
            unix_ms: START_UNIX_MS,
        };
        let host = |node| Host::new(node, shape, partitions, now);
        let mut cluster = Self {
            hosts: (0..shape.nodes).map(host).collect(),
            connections: Vec::new(),
            now,
            actions: Actions::default(),
            passed: Vec::new(),
        };
        let replicas = shape.nodes.min(2);
        while !partitions.iter().all(|it| cluster.in_sync(*it) == replicas) {
            cluster.advance(20);
            let since_ms = cluster.now.time.as_millis();
            assert!(since_ms < 20_000, "the nodes don't come together");
            cluster.passed.clear();
        }
        cluster
    }

    /// Replicas that the primary of `partition` has in sync.
    fn in_sync(&self, partition: u16) -> usize {
        let workers = self.hosts.iter().flat_map(|host| &host.workers);
        let replicas = workers.filter_map(|worker| worker.replica_of(partition));
        let open = replicas.filter(|replica| replica.is_open());
        let records = open.filter_map(|replica| replica.record());
        records
            .map(|record| record.in_sync.len())
            .max()
            .unwrap_or(0)
    }

    pub(crate) const fn now(&self) -> Now {
        self.now
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, milliseconds: u64) {
        let end = self.now.time.plus_millis(milliseconds);
        self.settle();
        while self.now.time < end {
            let workers = self.hosts.iter().flat_map(|host| &host.workers);
            let next = workers.filter_map(Machine::next_deadline).min();
            let step_ms = end.millis_since(self.now.time);
            let until = next.map_or(end, |at| at.min(end));
            let wait_ms = until.millis_since(self.now.time).clamp(1, step_ms);
            self.now.time = self.now.time.plus_millis(wait_ms);
            self.now.unix_ms += wait_ms;
            self.settle();
        }
    }

    /// Lets everything happen that needs no time to pass.
    pub(crate) fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            if !self.turn() {
                return;
            }
        }
        panic!("the nodes never come to rest");
    }

    fn turn(&mut self) -> bool {
        for node in 0..self.hosts.len() {
            if self.take_mail(node) || self.ask_disk(node) || self.meet_deadline(node) {
                return true;
            }
        }
        for connection in 0..self.connections.len() {
            if self.read(connection, 0) || self.read(connection, 1) {
                return true;
            }
        }
        false
    }

    fn take_mail(&mut self, node: usize) -> bool {
        let Some((worker, mail)) = self.hosts[node].mail.pop_front() else {
            return false;
        };
        match mail {
            Mail::Message(from, message) => {
                self.handle(node, worker, Event::Message { from, message });
            }
            Mail::Host => self.handle(node, worker, Event::Host(HostFigures::default())),
            Mail::Accepted(conn, listener) => {
                let accepted = Event::Accepted {
                    conn,
                    listener,
                    address: "tcp:127.0.0.1:40000",
                    open: 1,
                };
                self.handle(node, worker, accepted);
            }
            Mail::Closed(conn) => {
                let reset = true;
                self.handle(node, worker, Event::Closed { conn, reset });
            }
            Mail::Connected(ticket, connection) => self.connected(node, worker, ticket, connection),
            Mail::Refused(ticket) => {
                let refused = true;
                self.handle(node, worker, Event::ConnectFailed { ticket, refused });
            }
            Mail::Resolved(ticket, address) => {
                let addresses = Ok(&[address][..]);
                self.handle(node, worker, Event::Resolved { ticket, addresses });
            }
            Mail::Datagram(from, bytes) => {
                let bytes = &bytes[..];
                self.handle(node, worker, Event::Datagram { from, bytes });
            }
        }
        true
    }

    fn ask_disk(&mut self, node: usize) -> bool {
        let host = &mut self.hosts[node];
        let Some(disk) = &host.disk else {
            return false;
        };
        let Some((worker, request)) = host.requests.pop_front() else {
            return false;
        };
        let completion = perform(disk, WorkerId(worker), request);
        self.handle(node, worker, Event::Disk(completion));
        true
    }

    fn meet_deadline(&mut self, node: usize) -> bool {
        for worker in 0..self.hosts[node].workers.len() as u16 {
            let deadline = self.hosts[node].workers[usize::from(worker)].next_deadline();
            if deadline.is_some_and(|at| at <= self.now.time) {
                self.handle(node, worker, Event::Deadline);
                return true;
            }
        }
        false
    }

    fn read(&mut self, connection: usize, side: usize) -> bool {
        let Some(end) = &mut self.connections[connection].ends[side] else {
            return false;
        };
        let (node, worker, conn) = (end.node, end.worker, end.id);
        if end.paused || end.held {
            return false;
        }
        if let Some(bytes) = end.inbox.pop_front() {
            let bytes = &bytes[..];
            self.handle(node, worker, Event::Received { conn, bytes });
            return true;
        }
        let ended = std::mem::take(&mut end.ended);
        if ended {
            self.handle(node, worker, Event::Finished { conn });
        }
        ended
    }

    const fn new_end(node: usize, worker: u16, id: ConnId) -> End {
        End {
            node,
            worker,
            id,
            paused: false,
            inbox: VecDeque::new(),
            ended: false,
            held: false,
        }
    }

    fn connect(&mut self, node: usize, worker: u16, ticket: Ticket, to: SocketAddr) {
        let Some(called) = node_at(to, self.hosts.len()) else {
            let mail = (worker, Mail::Refused(ticket));
            return self.hosts[node].mail.push_back(mail);
        };
        let connection = self.connections.len();
        let id = id_of(connection, OPENER);
        self.connections.push(Connection {
            ends: [None, Some(Self::new_end(node, worker, id))],
            heard: Vec::new(),
            is_clients: false,
            said: [false; 2],
        });
        let mail = Mail::Connected(ticket, connection);
        self.hosts[node].mail.push_back((worker, mail));
        self.accept(called, connection, Listener::Peer);
    }

    fn accept(&mut self, node: usize, connection: usize, listener: Listener) {
        let host = &mut self.hosts[node];
        let worker = host.next_worker;
        host.next_worker = (worker + 1) % host.workers.len() as u16;
        let id = id_of(connection, CALLED);
        host.mail.push_back((worker, Mail::Accepted(id, listener)));
        self.connections[connection].ends[CALLED] = Some(Self::new_end(node, worker, id));
    }

    fn connected(&mut self, node: usize, worker: u16, ticket: Ticket, connection: usize) {
        let conn = id_of(connection, OPENER);
        self.handle(node, worker, Event::Connected { ticket, conn });
    }

    fn handle(&mut self, node: usize, worker: u16, event: Event<'_>) {
        let mut actions = std::mem::take(&mut self.actions);
        let host = &mut self.hosts[node];
        host.workers[usize::from(worker)].handle(self.now, event, &mut actions);
        for (to, message) in actions.messages.drain(..) {
            let mail = Mail::Message(WorkerId(worker), message);
            host.mail.push_back((to.0, mail));
        }
        if actions.host_wanted {
            host.mail.push_back((worker, Mail::Host));
        }
        let requests = actions.disk.drain(..);
        host.requests.extend(requests.map(|it| (worker, it)));
        for (ticket, name) in actions.resolve.drain(..) {
            let address = name.parse().expect("seeds are addresses here");
            host.mail
                .push_back((worker, Mail::Resolved(ticket, address)));
        }
        let datagrams: Vec<_> = actions.datagrams.iter().collect();
        for (to, bytes) in datagrams {
            if let Some(called) = node_at(to, self.hosts.len()) {
                let mail = Mail::Datagram(address(node), bytes.to_vec());
                self.hosts[called].mail.push_back((0, mail));
            }
        }
        self.carry_out(node, worker, &mut actions);
        actions.clear();
        self.actions = actions;
    }

    fn carry_out(&mut self, node: usize, worker: u16, actions: &mut Actions) {
        for (paused, conns) in [(true, &actions.pause), (false, &actions.resume)] {
            for conn in conns {
                let side = conn.generation as usize;
                if let Some(end) = &mut self.connections[conn.slot as usize].ends[side] {
                    end.paused = paused;
                }
            }
        }
        for conn in &actions.write {
            self.write(node, worker, *conn);
        }
        for conn in &actions.close {
            self.write(node, worker, *conn);
            let side = conn.generation as usize;
            self.leave(conn.slot as usize, side);
        }
        for ticket in actions.give_up.drain(..) {
            let is_it = |mail: &Mail| matches!(mail, Mail::Connected(own, _) if *own == ticket);
            let mail = &mut self.hosts[node].mail;
            mail.retain(|(own, mail)| *own != worker || !is_it(mail));
        }
        for (ticket, to) in actions.connect.drain(..) {
            self.connect(node, worker, ticket, to);
        }
    }

    /// Brings all that a worker has to say to the other end.
    fn write(&mut self, node: usize, worker: u16, conn: ConnId) {
        let machine = &mut self.hosts[node].workers[usize::from(worker)];
        let mut all = Vec::new();
        loop {
            let mut slices: [&[u8]; 16] = [&[]; 16];
            let filled = machine.unsent(conn, &mut slices);
            let before = all.len();
            for slice in &slices[..filled] {
                all.extend_from_slice(slice);
            }
            let bytes = all.len() - before;
            if bytes == 0 {
                break;
            }
            machine.sent(conn, bytes);
        }
        if all.is_empty() {
            return;
        }
        let index = conn.slot as usize;
        let connection = &mut self.connections[index];
        if connection.is_clients {
            connection.heard.extend_from_slice(&all);
            return;
        }
        connection.said[conn.generation as usize] = true;
        let forth = conn.generation as usize == OPENER;
        self.passed.push((index, forth, all.clone()));
        self.put(index, forth, all);
    }

    fn put(&mut self, connection: usize, forth: bool, bytes: Vec<u8>) {
        let side = if forth { CALLED } else { OPENER };
        if let Some(end) = &mut self.connections[connection].ends[side] {
            end.inbox.push_back(bytes);
        }
    }

    /// Nobody has any use for this end: whoever has the other one may read what has come.
    fn leave(&mut self, connection: usize, side: usize) {
        let ends = &mut self.connections[connection].ends;
        ends[side] = None;
        if let Some(other) = &mut ends[CALLED + OPENER - side] {
            other.ended = true;
        }
    }

    // What is done to the cluster.

    /// A client's connection to a node.
    pub(crate) fn client(&mut self, node: usize) -> usize {
        let connection = self.connections.len();
        self.connections.push(Connection {
            ends: [None, None],
            heard: Vec::new(),
            is_clients: true,
            said: [false; 2],
        });
        self.accept(node, connection, Listener::Client);
        self.settle();
        connection
    }

    /// Has a client say something.
    pub(crate) fn say(&mut self, client: usize, bytes: &[u8]) {
        self.put(client, true, bytes.to_vec());
        self.settle();
    }

    /// What the client has heard since it last asked.
    pub(crate) fn heard(&mut self, client: usize) -> Vec<u8> {
        std::mem::take(&mut self.connections[client].heard)
    }

    /// Connections between nodes that both ends have.
    pub(crate) fn between_nodes(&self) -> Vec<usize> {
        let all = self.connections.iter().enumerate();
        let open = all.filter(|(_, it)| it.ends.iter().all(Option::is_some));
        open.map(|(index, _)| index).collect()
    }

    /// The node at the end that hears what goes this way, as long as it has use for it.
    pub(crate) fn at_end(&self, connection: usize, forth: bool) -> Option<usize> {
        let side = if forth { CALLED } else { OPENER };
        self.connections[connection].ends[side]
            .as_ref()
            .map(|end| end.node)
    }

    /// Whether both ends have said hello.
    pub(crate) fn has_said(&self, connection: usize) -> bool {
        self.connections[connection].said == [true; 2]
    }

    /// Workers of each node.
    pub(crate) fn workers(&self) -> u16 {
        self.hosts[0].workers.len() as u16
    }

    /// The node that hears what goes this way, if it reads.
    pub(crate) fn hears(&self, connection: usize, forth: bool) -> Option<usize> {
        let side = if forth { CALLED } else { OPENER };
        let end = self.connections[connection].ends[side].as_ref();
        end.filter(|end| !end.paused && !end.held)
            .map(|end| end.node)
    }

    /// Has what goes this way be late from now on, or arrive.
    pub(crate) fn hold(&mut self, connection: usize, forth: bool) {
        let side = if forth { CALLED } else { OPENER };
        if let Some(end) = &mut self.connections[connection].ends[side] {
            end.held = !end.held;
        }
        self.settle();
    }

    /// Nothing is late any more.
    pub(crate) fn release(&mut self) {
        let ends = self.connections.iter_mut().flat_map(|it| &mut it.ends);
        for end in ends.flatten() {
            end.held = false;
        }
        self.settle();
    }

    /// Has bytes arrive that nobody has sent, and lets everything happen.
    pub(crate) fn inject(&mut self, connection: usize, forth: bool, bytes: &[u8]) {
        self.put(connection, forth, bytes.to_vec());
        self.settle();
    }

    /// Breaks a connection: both ends hear of it.
    pub(crate) fn cut(&mut self, connection: usize) {
        let ends = std::mem::take(&mut self.connections[connection].ends);
        for end in ends.into_iter().flatten() {
            let mail = (end.worker, Mail::Closed(end.id));
            self.hosts[end.node].mail.push_back(mail);
        }
        self.settle();
    }

    /// What has gone from node to node since this was last asked: over which connection, whether
    /// forth, from who has opened it, and whole frames.
    pub(crate) fn passed(&mut self) -> Vec<(usize, bool, Vec<u8>)> {
        std::mem::take(&mut self.passed)
    }
}
