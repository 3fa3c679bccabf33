//! Virtual time: what is due next, on several hosts and between them, and chance.
//!
//! Decides when things happen and what a network, a scheduler and a disk may do to them.
//! Refuses to know what is said over a connection, and what the machines of a process decide.
//!
//! There is one mechanism, whether a world has one host or several: a connection has two ends,
//! and an end lies on a host or outside, with whoever runs the world.

mod datagrams;
mod host;
mod jobs;
mod links;
mod names;
mod outgoing;
mod paths;
mod process;
mod single;
mod turn;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use zufar_core::disk::{Completion, Lane};
use zufar_core::id::Ticket;
use zufar_core::time::Time;

use crate::plan::{DiskPlan, NetworkPlan, PeerPlan};
use crate::random::Random;
use crate::trace::Trace;

use datagrams::{Datagram, Order};
use host::Host;
use links::{Link, Side};
use paths::Paths;
use process::Process;

pub use crate::clock::DRIFT_PPM_MAX;
pub use host::{Crash, HostId};
pub use links::LinkId;
pub use names::Names;
pub use process::{Launch, Program, Runnable};

/// Something that whoever runs the world has to react to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incident {
    /// The node has accepted the connection.
    Opened(LinkId),
    /// There are bytes to receive, or the end.
    Readable(LinkId),
    /// A connection that was full takes bytes again.
    Writable(LinkId),
    /// A timer of this number has come.
    Timer(u32),
    /// Every worker of this host's process has said that it is stopped; the process is gone.
    Stopped(HostId),
}

/// One process, among all that a host ever runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    host: HostId,
    /// Counts the processes of the host, from 1.
    number: u32,
}

/// One thing that will happen.
enum Happening {
    Open(LinkId),
    Refuse(LinkId),
    StopConnecting(LinkId),
    Arrive(LinkId, Side),
    Reset(LinkId, Side),
    Room(LinkId, Side),
    Expire {
        link: LinkId,
        side: Side,
        doubt: u64,
    },
    Datagram(Box<Datagram>),
    Resolve {
        run: Run,
        worker: u16,
        ticket: Ticket,
        name: String,
    },
    Turn {
        run: Run,
        worker: u16,
    },
    Deadline {
        run: Run,
        worker: u16,
        at: Time,
    },
    Perform {
        run: Run,
        lane: Lane,
        job: u64,
    },
    Answer {
        run: Run,
        worker: u16,
        completion: Box<Completion>,
    },
    Timer(u32),
}

struct Due {
    at: Time,
    /// Things due at the same time happen in the order in which they were planned.
    number: u64,
    happening: Happening,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}

/// Hosts, the network between them and to clients outside, and time.
pub struct World {
    random: Random,
    time: Time,
    due: BinaryHeap<Due>,
    planned: u64,
    network: NetworkPlan,
    disk_plan: DiskPlan,
    /// What befalls hosts among each other. It may be changed at any time.
    pub peers: PeerPlan,
    hosts: Vec<Host>,
    links: Vec<Link>,
    paths: Paths,
    order: Order,
    /// What names stand for.
    pub names: Names,
    /// What has happened.
    pub trace: Trace,
    /// How often each kind of fault was met.
    pub faults: BTreeMap<&'static str, u64>,
}

impl World {
    /// A world of one host without a process, whose system clock shows `unix_ms`.
    #[must_use]
    pub fn new(
        random: Random,
        network: NetworkPlan,
        disk_plan: DiskPlan,
        unix_ms: u64,
        trace: Trace,
    ) -> Self {
        let mut world = Self {
            random,
            time: Time::ZERO,
            due: BinaryHeap::new(),
            planned: 0,
            network,
            disk_plan,
            peers: PeerPlan::default(),
            hosts: Vec::new(),
            links: Vec::new(),
            paths: Paths::default(),
            order: Order::default(),
            names: Names::new(),
            trace,
            faults: BTreeMap::new(),
        };
        world.add_host(Time::ZERO, unix_ms);
        world
    }

    /// The time of the world itself, which no process sees.
    #[must_use]
    pub const fn time(&self) -> Time {
        self.time
    }

    /// Counts a fault of this kind.
    pub fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Has [`Incident::Timer`] come in so many microseconds.
    pub fn set_timer(&mut self, number: u32, microseconds: u64) {
        self.plan(microseconds, Happening::Timer(number));
    }

    /// Faults that last end now: on every host and every way.
    pub fn calm(&mut self) {
        for host in &mut self.hosts {
            host.calm(self.time);
        }
        self.network.quiet();
        self.peers.quiet();
        self.heal_all();
    }

    /// Whether anything is still to happen.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.due.is_empty()
    }

    /// Lets the next thing happen, and says whether anybody has to react.
    pub fn step(&mut self) -> Option<Incident> {
        let due = self.due.pop()?;
        self.time = due.at;
        for host in &mut self.hosts {
            host.clock.advance_to(due.at);
        }
        match due.happening {
            Happening::Timer(number) => Some(Incident::Timer(number)),
            Happening::Open(link) => self.open(link),
            Happening::Arrive(link, side) => self.arrive(link, side),
            Happening::Room(link, side) => self.tell_room(link, side),
            Happening::Turn { run, worker } => self.turn_is_due(run, worker),
            other => {
                self.happen(other);
                None
            }
        }
    }

    /// Lets something happen to which nobody outside has to react.
    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Refuse(link) => self.refuse(link),
            Happening::StopConnecting(link) => self.stop_connecting(link),
            Happening::Reset(link, side) => self.arrive_reset(link, side),
            Happening::Expire { link, side, doubt } => self.expire(link, side, doubt),
            Happening::Datagram(datagram) => self.arrive_datagram(*datagram),
            Happening::Resolve {
                run,
                worker,
                ticket,
                name,
            } => self.answer_name(run, worker, ticket, &name),
            Happening::Deadline { run, worker, at } => self.deadline_is_due(run, worker, at),
            Happening::Perform { run, lane, job } => self.perform(run, lane, job),
            Happening::Answer {
                run,
                worker,
                completion,
            } => self.answer(run, worker, *completion),
            Happening::Timer(_)
            | Happening::Open(_)
            | Happening::Arrive(..)
            | Happening::Room(..)
            | Happening::Turn { .. } => unreachable!("somebody outside may have to react"),
        }
    }

    fn plan(&mut self, microseconds: u64, happening: Happening) {
        let at = self.after_us(microseconds);
        self.plan_at(at, happening);
    }

    const fn after_us(&self, microseconds: u64) -> Time {
        Time::from_nanos(self.time.as_nanos() + microseconds * 1000)
    }

    fn plan_at(&mut self, at: Time, happening: Happening) {
        self.planned += 1;
        self.due.push(Due {
            at: at.max(self.time),
            number: self.planned,
            happening,
        });
    }

    fn note(&mut self, host: HostId, what: &str, one: u64, other: u64) {
        self.trace.note(self.time, host.0, what, one, other);
    }

    fn host(&self, host: HostId) -> &Host {
        &self.hosts[usize::from(host.0)]
    }

    fn host_mut(&mut self, host: HostId) -> &mut Host {
        &mut self.hosts[usize::from(host.0)]
    }

    /// The host's process and the rest of the world side by side.
    fn with_process<T>(
        &mut self,
        host: HostId,
        act: impl FnOnce(&mut Self, &mut Process) -> T,
    ) -> Option<T> {
        let mut process = self.host_mut(host).process.take()?;
        let result = act(self, &mut process);
        self.host_mut(host).process = Some(process);
        Some(result)
    }

    /// The same, if it is still this run's.
    fn with_run<T>(
        &mut self,
        run: Run,
        act: impl FnOnce(&mut Self, &mut Process) -> T,
    ) -> Option<T> {
        if self.host(run.host).run != run.number {
            return None;
        }
        self.with_process(run.host, act)
    }
}
