//! Small machines that do what a test orders and note what they hear, and a world of them.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;

use zufar_core::id::{ConnId, Ticket};
use zufar_core::machine::{Actions, Event, Listener, Machine};
use zufar_core::time::{Now, Time};
use zufar_simulator::Random;
use zufar_simulator::plan::{DiskPlan, NetworkPlan};
use zufar_simulator::trace::Trace;
use zufar_simulator::world::{HostId, Incident, Program, World};

/// What a test wants of the first worker of a host.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    Connect(u32, SocketAddr),
    GiveUp(u32),
    Send(ConnId, Vec<u8>),
    Close(ConnId),
    Datagram(SocketAddr, Vec<u8>),
    Resolve(u32, &'static str),
    Stop,
}

/// What any worker of a host has heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Accepted(u16, ConnId, Listener),
    Connected(u32, ConnId),
    Failed(u32, bool),
    Finished,
    Closed(bool),
    Datagram(SocketAddr, Vec<u8>),
    Resolved(u32, Result<Vec<SocketAddr>, String>),
}

/// What has come over each connection of each worker.
type Streams = BTreeMap<(u16, ConnId), Vec<u8>>;

/// What a test and the machines of one process share.
#[derive(Clone, Default)]
pub(crate) struct Wire {
    orders: Rc<RefCell<VecDeque<Order>>>,
    heard: Rc<RefCell<Vec<Heard>>>,
    received: Rc<RefCell<Streams>>,
}

impl Wire {
    pub(crate) fn order(&self, order: Order) {
        self.orders.borrow_mut().push_back(order);
    }

    /// What has been heard since the last time.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        std::mem::take(&mut self.heard.borrow_mut())
    }

    /// All that has come over all connections since the last time, in the order of their ids.
    pub(crate) fn received(&self) -> Vec<u8> {
        self.streams().into_iter().flatten().collect()
    }

    /// The same, one connection after the other.
    pub(crate) fn streams(&self) -> Vec<Vec<u8>> {
        let received = std::mem::take(&mut *self.received.borrow_mut());
        received.into_values().collect()
    }
}

/// Looks for orders every millisecond of its own clock, and sends back what came to it over
/// connections that it has accepted.
pub(crate) struct Toy {
    worker: u16,
    wire: Wire,
    tick_at: Time,
    pub(crate) ticks: u64,
    pub(crate) seen: Now,
    unsent: BTreeMap<ConnId, Vec<u8>>,
    echoes: BTreeMap<ConnId, bool>,
    stopping: bool,
}

fn ticket(number: u32) -> Ticket {
    Ticket {
        slot: number,
        generation: 3,
    }
}

impl Toy {
    fn new(worker: u16, wire: Wire) -> Self {
        Self {
            worker,
            wire,
            tick_at: Time::ZERO,
            ticks: 0,
            seen: Now::default(),
            unsent: BTreeMap::new(),
            echoes: BTreeMap::new(),
            stopping: false,
        }
    }

    fn hear(&self, heard: Heard) {
        self.wire.heard.borrow_mut().push(heard);
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8], actions: &mut Actions) {
        if let Some(unsent) = self.unsent.get_mut(&conn) {
            unsent.extend_from_slice(bytes);
            actions.write.push(conn);
        }
    }

    fn carry_out(&mut self, order: Order, actions: &mut Actions) {
        match order {
            Order::Connect(number, to) => actions.connect.push((ticket(number), to)),
            Order::GiveUp(number) => actions.give_up.push(ticket(number)),
            Order::Send(conn, bytes) => self.send(conn, &bytes, actions),
            Order::Close(conn) => self.close(conn, actions),
            Order::Datagram(to, bytes) => actions.datagrams.push(to, &bytes),
            Order::Resolve(number, name) => actions.resolve.push((ticket(number), name.into())),
            Order::Stop => actions.stop_wanted = true,
        }
    }

    fn close(&mut self, conn: ConnId, actions: &mut Actions) {
        self.unsent.remove(&conn);
        actions.close.push(conn);
    }

    fn receive(&mut self, conn: ConnId, bytes: &[u8], actions: &mut Actions) {
        let mut received = self.wire.received.borrow_mut();
        let place = received.entry((self.worker, conn)).or_default();
        place.extend_from_slice(bytes);
        drop(received);
        if self.echoes[&conn] {
            self.send(conn, bytes, actions);
        }
    }

    fn tick(&mut self, now: Now, actions: &mut Actions) {
        if now.time < self.tick_at {
            return;
        }
        self.tick_at = now.time.plus_millis(1);
        self.ticks += 1;
        if self.worker == 0 {
            let orders = std::mem::take(&mut *self.wire.orders.borrow_mut());
            for order in orders {
                self.carry_out(order, actions);
            }
        }
    }
}

impl Machine for Toy {
    fn handle(&mut self, now: Now, event: Event<'_>, actions: &mut Actions) {
        self.seen = now;
        match event {
            Event::Accepted { conn, listener, .. } => {
                self.unsent.insert(conn, Vec::new());
                self.echoes.insert(conn, true);
                self.hear(Heard::Accepted(self.worker, conn, listener));
            }
            Event::Connected { ticket, conn } => {
                self.unsent.insert(conn, Vec::new());
                self.echoes.insert(conn, false);
                self.hear(Heard::Connected(ticket.slot, conn));
            }
            Event::ConnectFailed { ticket, refused } => {
                self.hear(Heard::Failed(ticket.slot, refused));
            }
            Event::Received { conn, bytes } => self.receive(conn, bytes, actions),
            Event::Finished { conn } => {
                self.hear(Heard::Finished);
                self.close(conn, actions);
            }
            Event::Closed { conn, reset } => {
                self.unsent.remove(&conn);
                self.hear(Heard::Closed(reset));
            }
            Event::Datagram { from, bytes } => self.hear(Heard::Datagram(from, bytes.to_vec())),
            Event::Resolved { ticket, addresses } => {
                let addresses = addresses.map(<[_]>::to_vec).map_err(str::to_owned);
                self.hear(Heard::Resolved(ticket.slot, addresses));
            }
            Event::Deadline => self.tick(now, actions),
            Event::Stop => self.stopping = true,
            Event::Disk(_) | Event::Message { .. } | Event::Host(_) => {}
        }
        actions.stopped = self.stopping;
    }

    fn next_deadline(&self) -> Option<Time> {
        Some(self.tick_at)
    }

    fn unsent<'a>(&'a self, conn: ConnId, slices: &mut [&'a [u8]]) -> usize {
        match self.unsent.get(&conn) {
            Some(bytes) if !bytes.is_empty() => {
                slices[0] = bytes;
                1
            }
            Some(_) | None => 0,
        }
    }

    fn sent(&mut self, conn: ConnId, bytes: usize) {
        if let Some(unsent) = self.unsent.get_mut(&conn) {
            unsent.drain(..bytes);
        }
    }
}

/// What a connection of these worlds holds in each direction, in bytes.
pub(crate) const BUFFER_BYTES: usize = 20_000;
/// What their clocks show at first.
pub(crate) const UNIX_MS: u64 = 1_800_000_000_000;
const END_TIMER: u32 = 77;

/// A world of toys, two workers each.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) wires: Vec<Wire>,
}

pub(crate) const A: HostId = HostId(0);
pub(crate) const B: HostId = HostId(1);
pub(crate) const C: HostId = HostId(2);

pub(crate) fn peer(host: HostId) -> SocketAddr {
    host.address(Listener::Peer)
}

impl Stage {
    /// Three hosts whose processes run.
    pub(crate) fn new(seed: u64) -> Self {
        let network = NetworkPlan {
            latency_us_max: 200,
            stall_percent: 0,
            buffer_bytes: BUFFER_BYTES,
            small_segments: true,
            short_reads: true,
            short_writes: true,
        };
        let disk = DiskPlan {
            latency_us_max: 50,
            slow_us_max: 20_000,
        };
        let trace = Trace::new(false);
        let mut world = World::new(Random::new(seed), network, disk, UNIX_MS, trace);
        world.add_host(Time::from_millis(3_600_000), UNIX_MS + 500);
        world.add_host(Time::from_millis(5_000), UNIX_MS - 500);
        let mut stage = Self {
            world,
            wires: vec![Wire::default(); 3],
        };
        for host in [A, B, C] {
            stage.start(host);
        }
        stage.pass(5);
        stage
    }

    pub(crate) fn wire(&self, host: HostId) -> &Wire {
        &self.wires[usize::from(host.0)]
    }

    /// Starts a process with machines that know nothing of earlier ones.
    pub(crate) fn start(&mut self, host: HostId) {
        let wire = Wire::default();
        self.wires[usize::from(host.0)] = wire.clone();
        self.world.start_host(host, |launch| {
            assert_eq!(launch.host, host);
            Program {
                machines: vec![
                    Box::new(Toy::new(0, wire.clone())),
                    Box::new(Toy::new(1, wire)),
                ],
                disk: false,
            }
        });
    }

    /// Lets so many milliseconds pass, and says which processes have stopped.
    pub(crate) fn pass(&mut self, milliseconds: u64) -> Vec<HostId> {
        let mut stopped = Vec::new();
        self.world.set_timer(END_TIMER, milliseconds * 1_000);
        loop {
            match self.world.step() {
                Some(Incident::Timer(END_TIMER)) => return stopped,
                Some(Incident::Stopped(host)) => stopped.push(host),
                _ => {}
            }
        }
    }

    pub(crate) fn order(&mut self, host: HostId, order: Order) {
        self.wire(host).order(order);
        self.pass(10);
    }

    /// Connects one host to the other, and says by what name each knows the connection.
    pub(crate) fn connect(&mut self, from: HostId, to: HostId) -> (ConnId, ConnId) {
        self.order(from, Order::Connect(1, peer(to)));
        match (&self.wire(from).heard()[..], &self.wire(to).heard()[..]) {
            ([Heard::Connected(1, opener)], [Heard::Accepted(_, acceptor, Listener::Peer)]) => {
                (*opener, *acceptor)
            }
            other => panic!("not connected: {other:?}"),
        }
    }

    pub(crate) fn fault(&self, kind: &str) -> u64 {
        self.world.faults.get(kind).copied().unwrap_or(0)
    }
}
