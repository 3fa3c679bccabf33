//! Virtual time: what is due next, the connections between clients and the node, and chance.
//!
//! Decides when things happen and what a network, a scheduler and a disk may do to them.
//! Refuses to know what is said over a connection, and what the node's machines decide.

mod links;
mod node;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use zufar_core::disk::{Completion, Lane};
use zufar_core::notice::Notice;
use zufar_core::settings::Settings;
use zufar_core::time::{Now, Time};

use crate::ModelDisk;
use crate::clock::HostClock;
use crate::plan::{DiskPlan, NetworkPlan};
use crate::random::Random;
use crate::trace::Trace;

use links::Link;
pub use links::LinkId;
use node::Node;

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
    /// Every worker has said that it is stopped; the node is gone.
    Stopped,
}

/// One thing that will happen.
enum Happening {
    Open(LinkId),
    ArriveAtNode(LinkId),
    ArriveAtClient(LinkId),
    ResetAtNode(LinkId),
    RoomAtClient(LinkId),
    RoomAtNode(LinkId),
    Turn {
        run: u32,
        worker: u16,
    },
    Deadline {
        run: u32,
        worker: u16,
        at: Time,
    },
    Perform {
        run: u32,
        lane: Lane,
        job: u64,
    },
    Answer {
        run: u32,
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

/// How a node ends that is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed: the system keeps what was written.
    Process,
    /// The power fails: the device keeps what was synced, and a first part of the rest.
    Power,
}

/// A host with one node, its clients' connections, and time.
pub struct World {
    random: Random,
    clock: HostClock,
    due: BinaryHeap<Due>,
    planned: u64,
    network: NetworkPlan,
    disk_plan: DiskPlan,
    /// The node's disk, which outlives it.
    pub disk: Arc<ModelDisk>,
    node: Option<Box<Node>>,
    run: u32,
    links: Vec<Link>,
    next_worker: usize,
    /// No worker has a turn before this.
    asleep_until: Time,
    /// Requests to the disk take longer until then.
    disk_slow_until: Time,
    /// What has happened.
    pub trace: Trace,
    /// How often each kind of fault was met.
    pub faults: BTreeMap<&'static str, u64>,
    /// What the node's operator would have read.
    pub notices: Vec<Notice>,
}

impl World {
    /// A host without a node, whose system clock shows `unix_ms`.
    #[must_use]
    pub fn new(
        random: Random,
        network: NetworkPlan,
        disk_plan: DiskPlan,
        unix_ms: u64,
        trace: Trace,
    ) -> Self {
        Self {
            random,
            clock: HostClock::new(unix_ms),
            due: BinaryHeap::new(),
            planned: 0,
            network,
            disk_plan,
            disk: Arc::new(ModelDisk::new()),
            node: None,
            run: 0,
            links: Vec::new(),
            next_worker: 0,
            asleep_until: Time::ZERO,
            disk_slow_until: Time::ZERO,
            trace,
            faults: BTreeMap::new(),
            notices: Vec::new(),
        }
    }

    /// The time, as the node's process would sample it.
    #[must_use]
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// Whether the node runs.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.node.is_some()
    }

    /// Counts a fault of this kind.
    pub fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Has [`Incident::Timer`] come in so many microseconds.
    pub fn set_timer(&mut self, number: u32, microseconds: u64) {
        self.plan(microseconds, Happening::Timer(number));
    }

    /// Starts a node from what the disk has.
    ///
    /// # Panics
    /// If one runs.
    pub fn start(&mut self, settings: Settings) {
        assert!(self.node.is_none(), "one node at a time");
        self.run += 1;
        self.clock.start_process();
        self.trace
            .note(self.clock.time(), "start", u64::from(settings.workers), 0);
        let mut node = Box::new(Node::new(self.run, settings, &self.disk));
        self.next_worker = 0;
        for worker in 0..node.workers() {
            self.wake(&mut node, worker);
        }
        self.node = Some(node);
    }

    /// Tells the node to stop; [`Incident::Stopped`] will say when it has.
    pub fn stop(&mut self) {
        self.with_node(|world, node| {
            for worker in 0..node.workers() {
                node.tell_stop(worker);
                world.wake(node, worker);
            }
        });
    }

    /// Ends the node at once.
    pub fn crash(&mut self, crash: Crash) {
        let Some(mut node) = self.node.take() else {
            return;
        };
        let time = self.clock.time();
        self.trace
            .note(time, "crash", u64::from(crash == Crash::Power), 0);
        // What the disk was doing at that moment is done or is not.
        if self.random.chance(50)
            && let Some((worker, request)) = node.take_ordered()
        {
            let _ = zufar_core::disk::perform(&*self.disk, worker, request);
        }
        match crash {
            Crash::Process => self.disk.crash(),
            Crash::Power => {
                let unsynced = self.disk.unsynced() as u64;
                let kept = self.random.below(unsynced + 1);
                if kept < unsynced {
                    self.count("batches lost or torn by a power cut");
                }
                self.disk.cut_power(kept as usize);
            }
        }
        self.break_links();
    }

    /// No worker gets a turn for so long, as when the system has better things to do.
    pub fn suspend(&mut self, milliseconds: u64) {
        self.asleep_until = self.clock.time().plus_millis(milliseconds);
    }

    /// The disk takes its time for so long.
    pub fn slow_disk(&mut self, milliseconds: u64) {
        self.disk_slow_until = self.clock.time().plus_millis(milliseconds);
    }

    /// Faults that last end now.
    pub fn calm(&mut self) {
        self.asleep_until = self.clock.time();
        self.disk_slow_until = self.clock.time();
        self.network.quiet();
    }

    /// Somebody sets the system's clock.
    pub fn set_clock(&mut self, by_ms: i64) {
        self.clock.jump(by_ms);
    }

    /// Whether anything is still to happen.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.due.is_empty()
    }

    /// Lets the next thing happen, and says whether anybody has to react.
    pub fn step(&mut self) -> Option<Incident> {
        let due = self.due.pop()?;
        self.clock.advance_to(due.at);
        match due.happening {
            Happening::Timer(number) => Some(Incident::Timer(number)),
            Happening::Open(link) => self.open(link),
            Happening::ArriveAtClient(link) => self.arrive_at_client(link),
            Happening::RoomAtClient(link) => self.room_at_client(link),
            Happening::ArriveAtNode(link) => {
                self.arrive_at_node(link);
                None
            }
            Happening::ResetAtNode(link) => {
                self.reset_at_node(link);
                None
            }
            Happening::RoomAtNode(link) => {
                self.room_at_node(link);
                None
            }
            Happening::Turn { run, worker } => self.turn_is_due(run, worker),
            Happening::Deadline { run, worker, at } => {
                self.deadline_is_due(run, worker, at);
                None
            }
            Happening::Perform { run, lane, job } => {
                self.perform(run, lane, job);
                None
            }
            Happening::Answer {
                run,
                worker,
                completion,
            } => {
                if self.is_run(run) {
                    self.with_node(|world, node| {
                        node.tell_disk(worker, *completion);
                        world.wake(node, worker);
                    });
                }
                None
            }
        }
    }

    fn plan(&mut self, microseconds: u64, happening: Happening) {
        let at = Time::from_nanos(self.clock.time().as_nanos() + microseconds * 1000);
        self.plan_at(at, happening);
    }

    fn plan_at(&mut self, at: Time, happening: Happening) {
        self.planned += 1;
        self.due.push(Due {
            at: at.max(self.clock.time()),
            number: self.planned,
            happening,
        });
    }

    fn is_run(&self, run: u32) -> bool {
        self.node.is_some() && self.run == run
    }

    /// The node and the rest of the world side by side.
    fn with_node<T>(&mut self, act: impl FnOnce(&mut Self, &mut Node) -> T) -> Option<T> {
        let mut node = self.node.take()?;
        let result = act(self, &mut node);
        self.node = Some(node);
        Some(result)
    }
}
