//! All hosts, the network between them, and time.
//!
//! Decides in which order things happen. Refuses to know which faults there are and what must
//! hold.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{Ipv4Addr, SocketAddr};

use zufar_core::member::{Guid, NodeId};
use zufar_core::membership::{DATAGRAM_BYTES_MAX, Event, Evidence, Input, Wish};
use zufar_core::time::{Now, Time};

use super::host::{Disk, Host};
use super::network::Network;
use super::streams::{End, Purpose, Stream, Taking, answer, hello};
use crate::random::Random;
use crate::trace::Trace;

const NS_PER_US: u64 = 1000;
/// The time of day at the start.
const UNIX_MS: u64 = 1_800_000_000_000;
/// Datagrams that a socket holds for a process that does not read.
const SOCKET_DATAGRAMS_MAX: usize = 200;
/// A stream on which nothing comes any more is given up after so long.
const PATIENCE_US: u64 = 2_000_000;
const PORT: u16 = 7946;

/// Something that happens at its time.
enum Happening {
    Datagram {
        to: usize,
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    Connect(u64),
    Bytes {
        stream: u64,
        to_opener: bool,
        bytes: Vec<u8>,
    },
    ConnectionRefused(u64),
    GiveUp(u64),
    /// A host learns that the process at the other end of a connection is no more.
    Reset {
        at: End,
        node: NodeId,
    },
    Deadline(End),
}

struct Entry {
    at: Time,
    number: u64,
    happening: Happening,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// The world.
pub struct World {
    /// The hosts.
    pub hosts: Vec<Host>,
    /// The network.
    pub network: Network,
    /// What has happened.
    pub trace: Trace,
    /// What was told, by whom, and when, since this was last emptied.
    pub events: Vec<(Time, usize, Event)>,
    /// Lines for operators.
    pub notices: Vec<(usize, zufar_core::notice::Notice)>,
    /// Bytes of datagrams and of streams that were sent.
    pub bytes_sent: (u64, u64),
    now: Time,
    queue: BinaryHeap<Reverse<Entry>>,
    numbers: u64,
    streams: BTreeMap<u64, Stream>,
    /// What waits for a process that is stopped.
    waiting: Vec<(usize, Happening)>,
    random: Random,
}

/// Where a host is reached.
#[must_use]
pub fn address(host: usize) -> SocketAddr {
    let number = u32::try_from(host).expect("few hosts");
    let ip = Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 1).to_bits() + number);
    (ip, PORT).into()
}

impl World {
    /// `hosts` without processes, each of which looks for others at `seeds` of them.
    #[must_use]
    pub fn new(hosts: usize, seeds: usize, seed: u64, told: bool) -> Self {
        let mut random = Random::new(seed);
        let network = Network::new(hosts, random.fork());
        let all: Vec<SocketAddr> = (0..seeds).map(address).collect();
        let hosts = (0..hosts).map(|number| Host {
            guid: Guid::new(&format!("node-{number}")).expect("a guid"),
            address: address(number),
            seeds: all.clone(),
            wait_for_others: false,
            disk: Disk::default(),
            process: None,
            epoch: 0,
            paused: false,
            clock_ahead_ms: 0,
            generations: Vec::new(),
        });
        Self {
            hosts: hosts.collect(),
            network,
            trace: Trace::new(told),
            events: Vec::new(),
            notices: Vec::new(),
            bytes_sent: (0, 0),
            now: Time::ZERO,
            queue: BinaryHeap::new(),
            numbers: 0,
            streams: BTreeMap::new(),
            waiting: Vec::new(),
            random,
        }
    }

    /// The time.
    #[must_use]
    pub const fn time(&self) -> Time {
        self.now
    }

    fn now(&self, host: usize) -> Now {
        let unix_ms = UNIX_MS + self.now.as_millis();
        Now {
            time: self.now,
            unix_ms: unix_ms.saturating_add_signed(self.hosts[host].clock_ahead_ms),
        }
    }

    fn later(&mut self, after_us: u64, happening: Happening) {
        let at = Time::from_nanos(self.now.as_nanos() + after_us * NS_PER_US);
        self.at(at, happening);
    }

    fn at(&mut self, at: Time, happening: Happening) {
        let number = self.numbers;
        self.numbers += 1;
        self.queue.push(Reverse(Entry {
            at,
            number,
            happening,
        }));
    }

    /// Starts a process on `host`.
    pub fn start(&mut self, host: usize) {
        let now = self.now(host);
        let seed = self.random.bits();
        self.hosts[host].start(now, seed);
        self.note("start", host, u64::from(self.hosts[host].epoch));
        self.follow(host);
    }

    /// The process on `host` is killed. Whoever has a connection to it learns so, unless the
    /// network is cut.
    pub fn kill(&mut self, host: usize) {
        let Some(process) = self.hosts[host].process.take() else {
            return;
        };
        process.check();
        self.hosts[host].paused = false;
        self.waiting.retain(|(waits, _)| *waits != host);
        let node = process.membership.identity().id;
        let epoch = self.hosts[host].epoch;
        self.note("kill", host, node.generation);
        for other in 0..self.hosts.len() {
            let linked = self.hosts[other].process.as_ref();
            let linked = linked.is_some_and(|it| it.links.get(&host) == Some(&epoch));
            if linked && !self.network.is_cut(host, other) {
                let after_us = self.network.stream();
                let at = self.end(other);
                self.later(after_us, Happening::Reset { at, node });
            }
        }
    }

    /// The process on `host` is about to stop, and says so.
    pub fn leave(&mut self, host: usize) {
        self.input(host, Input::Leave);
        self.kill(host);
    }

    /// The process on `host` is stopped: time passes without it, and what comes waits.
    pub fn pause(&mut self, host: usize) {
        self.note("pause", host, 0);
        self.hosts[host].paused = self.hosts[host].process.is_some();
    }

    /// It goes on. A driver may tell it first that its deadline has passed, although it should
    /// not.
    pub fn resume(&mut self, host: usize) {
        if !self.hosts[host].paused {
            return;
        }
        self.note("resume", host, 0);
        self.hosts[host].paused = false;
        if self.random.chance(50) {
            self.input(host, Input::Deadline);
        }
        let waiting = std::mem::take(&mut self.waiting);
        for (waits, happening) in waiting {
            match waits == host {
                true => self.happen(happening),
                false => self.waiting.push((waits, happening)),
            }
        }
        self.follow(host);
    }

    /// Tells the process on `host` something.
    pub fn input(&mut self, host: usize, input: Input<'_>) {
        let now = self.now(host);
        if let Some(process) = self.hosts[host].process.as_mut() {
            process.membership.handle(now, input, &mut process.out);
            self.follow(host);
        }
    }

    /// Has the process on `host` take a place in the layout.
    pub fn place(&mut self, host: usize, state: zufar_core::layout::LayoutState) {
        let now = self.now(host);
        if let Some(process) = self.hosts[host].process.as_mut() {
            process.place(now, state);
            self.follow(host);
        }
    }

    /// Lets time pass.
    pub fn run_until(&mut self, until: Time) {
        while let Some(Reverse(entry)) = self.queue.peek() {
            if entry.at > until {
                break;
            }
            let Some(Reverse(entry)) = self.queue.pop() else {
                break;
            };
            assert!(entry.at >= self.now, "time never goes back");
            self.now = entry.at;
            self.happen(entry.happening);
        }
        self.now = until;
    }

    /// Lets `milliseconds` pass.
    pub fn run_for(&mut self, milliseconds: u64) {
        self.run_until(self.now.plus_millis(milliseconds));
    }

    fn note(&mut self, what: &str, one: usize, other: u64) {
        self.trace.note(self.now, what, one as u64, other);
    }

    fn end(&self, host: usize) -> End {
        let epoch = self.hosts[host].epoch;
        End { host, epoch }
    }

    /// Whether that process still runs.
    fn runs(&self, end: End) -> bool {
        let host = &self.hosts[end.host];
        host.process.is_some() && host.epoch == end.epoch
    }

    /// Whom a happening is for.
    fn target(&self, happening: &Happening) -> Option<usize> {
        match happening {
            Happening::Datagram { to, .. } => Some(*to),
            Happening::Connect(stream) => Some(self.streams.get(stream)?.accepter.host),
            Happening::Bytes {
                stream, to_opener, ..
            } => {
                let stream = self.streams.get(stream)?;
                Some(if *to_opener {
                    stream.opener.host
                } else {
                    stream.accepter.host
                })
            }
            Happening::ConnectionRefused(stream) => Some(self.streams.get(stream)?.opener.host),
            Happening::Reset { at, .. } | Happening::Deadline(at) => Some(at.host),
            Happening::GiveUp(_) => None,
        }
    }

    fn happen(&mut self, happening: Happening) {
        let paused = self.target(&happening);
        if let Some(host) = paused.filter(|host| self.hosts[*host].paused) {
            self.wait(host, happening);
            return;
        }
        match happening {
            Happening::Datagram { to, from, bytes } => {
                self.note("datagram", to, bytes.len() as u64);
                self.trace.data(&bytes);
                let bytes = &bytes;
                self.input(to, Input::Datagram { from, bytes });
            }
            Happening::Connect(stream) => self.connect(stream),
            Happening::Bytes {
                stream,
                to_opener,
                bytes,
            } => self.bytes(stream, to_opener, &bytes),
            Happening::ConnectionRefused(number) => {
                if let Some(stream) = self.close(number)
                    && let Purpose::Reconnect(node) = stream.purpose
                {
                    let evidence = Evidence::Refused;
                    self.input(stream.opener.host, Input::Evidence { node, evidence });
                }
            }
            Happening::GiveUp(number) => {
                self.close(number);
            }
            Happening::Reset { at, node } => self.reset(at, node),
            Happening::Deadline(at) => {
                if self.runs(at)
                    && let Some(process) = self.hosts[at.host].process.as_mut()
                {
                    process.armed = None;
                    self.input(at.host, Input::Deadline);
                }
            }
        }
    }

    /// It happens to a process that does not run. The kernel keeps some of it.
    fn wait(&mut self, host: usize, happening: Happening) {
        let is_datagram = matches!(happening, Happening::Datagram { .. });
        let waiting = self.waiting.iter();
        let datagrams = waiting
            .filter(|(waits, it)| *waits == host && matches!(it, Happening::Datagram { .. }));
        if !is_datagram || datagrams.count() < SOCKET_DATAGRAMS_MAX {
            self.waiting.push((host, happening));
        }
    }

    fn connect(&mut self, number: u64) {
        let Some(stream) = self.streams.get(&number).copied() else {
            return;
        };
        let (from, to) = (stream.opener.host, stream.accepter.host);
        if self.network.is_cut(from, to) || self.network.is_cut(to, from) {
            return;
        }
        if !self.runs(stream.opener) {
            self.close(number);
            return;
        }
        if self.hosts[to].process.is_none() {
            let after_us = self.network.stream();
            self.later(after_us, Happening::ConnectionRefused(number));
            return;
        }
        let accepter = self.end(to);
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.accepter = accepter;
        }
        if let Some(process) = self.hosts[from].process.as_ref() {
            let bytes = hello(process);
            self.say(number, false, bytes);
        }
    }

    fn say(&mut self, stream: u64, to_opener: bool, bytes: Vec<u8>) {
        self.bytes_sent.1 += bytes.len() as u64;
        let after_us = self.network.stream();
        self.later(
            after_us,
            Happening::Bytes {
                stream,
                to_opener,
                bytes,
            },
        );
    }

    fn bytes(&mut self, number: u64, to_opener: bool, bytes: &[u8]) {
        let Some(stream) = self.streams.get(&number).copied() else {
            return;
        };
        let (at, from) = match to_opener {
            true => (stream.opener, stream.accepter),
            false => (stream.accepter, stream.opener),
        };
        if self.network.is_cut(from.host, at.host) {
            return;
        }
        if !self.runs(at) {
            self.close(number);
            return;
        }
        self.note("bytes", at.host, bytes.len() as u64);
        let now = self.now(at.host);
        let from_address = self.hosts[from.host].address;
        let Some(process) = self.hosts[at.host].process.as_mut() else {
            return;
        };
        let taking = Taking {
            now,
            process,
            number,
            from: from_address,
            purpose: stream.purpose,
            formation: stream.formations[usize::from(!to_opener)],
        };
        let taken = taking.take(bytes);
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.formations[usize::from(!to_opener)] = taken.formation;
        }
        if taken.met.is_some()
            && self.runs(from)
            && let Some(process) = self.hosts[at.host].process.as_mut()
        {
            process.links.insert(from.host, from.epoch);
        }
        if !taken.reply.is_empty() {
            self.say(number, !to_opener, taken.reply);
        }
        if taken.over && to_opener {
            self.close(number);
        }
        self.follow(at.host);
    }

    fn reset(&mut self, at: End, node: NodeId) {
        if !self.runs(at) {
            return;
        }
        let evidence = Evidence::Reset;
        self.input(at.host, Input::Evidence { node, evidence });
        let to = self.host_of(node);
        self.open(at.host, to, Purpose::Reconnect(node));
    }

    fn host_of(&self, node: NodeId) -> usize {
        let mut hosts = self.hosts.iter();
        let found =
            hosts.position(|it| it.guid == node.guid && it.generations.contains(&node.generation));
        found.expect("somebody has gone by that name")
    }

    fn open(&mut self, from: usize, to: usize, purpose: Purpose) {
        let number = self.numbers;
        self.numbers += 1;
        self.streams.insert(
            number,
            Stream {
                opener: self.end(from),
                accepter: End { host: to, epoch: 0 },
                purpose,
                formations: [None; 2],
            },
        );
        let after_us = self.network.stream();
        self.later(after_us, Happening::Connect(number));
        self.later(PATIENCE_US, Happening::GiveUp(number));
    }

    fn close(&mut self, number: u64) -> Option<Stream> {
        let stream = self.streams.remove(&number)?;
        if stream.purpose == Purpose::Exchange
            && self.runs(stream.opener)
            && let Some(process) = self.hosts[stream.opener.host].process.as_mut()
        {
            process.exchanging.remove(&address(stream.accepter.host));
        }
        Some(stream)
    }

    /// Carries out all that the process on `host` wants.
    fn follow(&mut self, host: usize) {
        let now = self.now(host);
        let events = self.hosts[host].heed(now);
        for event in events {
            self.note_event(host, event);
            self.link(host, event);
            self.events.push((self.now, host, event));
        }
        let Some(process) = self.hosts[host].process.as_mut() else {
            return;
        };
        let mut out = std::mem::take(&mut process.out);
        let deadline = process.membership.next_deadline();
        for (to, bytes) in out.datagrams() {
            assert!(bytes.len() <= DATAGRAM_BYTES_MAX, "{} bytes", bytes.len());
            self.bytes_sent.0 += bytes.len() as u64;
            self.send(host, to, bytes);
        }
        for wish in &out.wishes {
            self.grant(host, *wish);
        }
        for (asker, about, verdict) in &out.answers {
            self.say(*asker, true, answer(*about, *verdict));
        }
        for notice in out.notices.drain(..) {
            self.trace.note(self.now, &notice.text, host as u64, 0);
            self.notices.push((host, notice));
        }
        out.clear();
        let end = self.end(host);
        if let Some(process) = self.hosts[host].process.as_mut() {
            process.out = out;
            if process.name_lost {
                self.kill(host);
            } else if process.armed != deadline {
                process.armed = deadline;
                if let Some(deadline) = deadline {
                    self.at(deadline.max(self.now), Happening::Deadline(end));
                }
            }
        }
    }

    fn note_event(&mut self, host: usize, event: Event) {
        let text = format!("{event:?}");
        self.trace.note(self.now, &text, host as u64, 0);
    }

    /// A node keeps a connection to each other node that is up.
    fn link(&mut self, host: usize, event: Event) {
        let node = match event {
            Event::Up(node) | Event::Restarted { after: node, .. } => node,
            _ => return,
        };
        let to = self.host_of(node);
        self.open(host, to, Purpose::Reconnect(node));
    }

    fn send(&mut self, from: usize, to: SocketAddr, bytes: &[u8]) {
        let from_address = self.hosts[from].address;
        let Some(to) = self.hosts.iter().position(|host| host.address == to) else {
            return;
        };
        for after_us in self.network.datagram(from, to).into_iter().flatten() {
            self.later(
                after_us,
                Happening::Datagram {
                    to,
                    from: from_address,
                    bytes: bytes.to_vec(),
                },
            );
        }
    }

    fn grant(&mut self, host: usize, wish: Wish) {
        let (address, purpose) = match wish {
            Wish::Exchange { address } => (address, Purpose::Exchange),
            Wish::Ask { address, about, .. } => (address, Purpose::Ask(about)),
            Wish::Reconnect { node, address } => (address, Purpose::Reconnect(node)),
        };
        if let (Purpose::Exchange, Some(process)) = (purpose, self.hosts[host].process.as_mut())
            && !process.exchanging.insert(address)
        {
            return;
        }
        if let Some(to) = self.hosts.iter().position(|it| it.address == address) {
            self.open(host, to, purpose);
        }
    }
}
