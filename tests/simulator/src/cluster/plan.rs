//! What a run is like, drawn from its seed.
//!
//! Decides how many nodes, workers, replicas, clients and keys there are, and which faults come.
//! Refuses to know how any of it is carried out.

use super::keys;
use crate::Random;
use crate::operation::KeyNumber;
use crate::plan::{DiskPlan, LoadPlan, NetworkPlan, PeerPlan};

/// What is drawn for a full run changes nothing of the plain one of the same seed.
const FULL: u64 = 0x6469_736b;

/// What there may be in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Disks, flushes and expiry.
    pub full: bool,
    /// Faults at bad moments.
    pub biased: bool,
}

impl Scope {
    /// Everything.
    pub const ALL: Self = Self {
        full: true,
        biased: true,
    };
    /// What there was first. What came later changes nothing of it: seeds that were kept mean what
    /// they did.
    pub const PLAIN: Self = Self {
        full: false,
        biased: false,
    };
}

/// Something that goes wrong in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A process is killed, and another one started after a while.
    Crash,
    /// A process is told to stop, and another one started after a while.
    Stop,
    /// A process does not run for a while.
    Suspension,
    /// Nothing gets from one host to another for a while.
    CutWay,
    /// Nothing gets from one host to another, nor back, for a while.
    Cut,
    /// A host is cut off from all others for a while.
    Isolation,
    /// What one host sends to another takes long for a while, and some datagrams are lost.
    SlowWay,
    /// All connections between two hosts are reset.
    Reset,
    /// A client breaks its connection.
    ClientReset,
    /// Somebody sets a system's clock.
    ClockJump,
    /// A host begins to count time too fast or too slow.
    Drift,
    /// A new node joins.
    Join,
    /// All processes are killed at once, and others started after a while.
    Outage,
    /// A disk takes its time for a while.
    SlowDisk,
}

impl Fault {
    /// Those of a plain run, each with how often it comes where it does.
    const PLAIN: [(u64, Self); 12] = [
        (8, Self::Crash),
        (3, Self::Stop),
        (8, Self::Suspension),
        (3, Self::CutWay),
        (3, Self::Cut),
        (3, Self::Isolation),
        (3, Self::SlowWay),
        (3, Self::Reset),
        (3, Self::ClientReset),
        (1, Self::ClockJump),
        (1, Self::Drift),
        (3, Self::Join),
    ];

    /// Those that concern disks.
    const OF_DISKS: [(u64, Self); 2] = [(3, Self::Outage), (3, Self::SlowDisk)];

    /// Under `available` what parts nodes from each other parts their histories, too, and that is
    /// promised.
    const fn parts(self) -> bool {
        matches!(
            self,
            Self::CutWay | Self::Cut | Self::Isolation | Self::SlowWay
        )
    }
}

/// All that a seed decides before the run begins.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Workers of each node that is there from the start, 1 to 7 nodes.
    pub workers: Vec<u16>,
    /// Workers of each node that may join.
    pub joining: Vec<u16>,
    /// Replicas wanted.
    pub replication_factor: u8,
    /// `split-brain = "majority"`.
    pub majority: bool,
    /// All replicas of a partition may be lost.
    pub may_lose: bool,
    /// Whether nodes have a secret: then all that they say is encrypted.
    pub secret: bool,
    /// Whether nodes begin one after another.
    pub one_after_another: bool,
    /// Whether clients begin before the cluster is whole.
    pub early_clients: bool,
    /// All partitions are there, not only those of keys and some others.
    pub whole: bool,
    /// Partitions without keys, if not all are there.
    pub idle_partitions: Vec<u16>,
    /// The keys: some lie in one partition.
    pub keys: Vec<KeyNumber>,
    /// The network.
    pub network: NetworkPlan,
    /// What befalls hosts among each other.
    pub peers: PeerPlan,
    /// The clients.
    pub load: LoadPlan,
    /// What goes wrong, each with its weight.
    pub faults: Vec<(u64, Fault)>,
    /// Mean time from one fault to the next, in milliseconds.
    pub fault_interval_ms: u64,
    /// The time with faults, in milliseconds.
    pub faults_ms: u64,
    /// In so many of 100 moments that are bad for one a fault comes.
    pub bias_percent: u64,
    /// The nodes' disks, if they have some.
    pub disk: Option<DiskPlan>,
    /// In so many of 100 crashes the power fails.
    pub power_percent: u64,
    /// When all is done and on disks, the power of all hosts fails.
    pub blackout: bool,
    /// How far somebody sets a clock at most, in milliseconds.
    pub clock_jumps_ms: [u64; 3],
    /// How far clocks are apart at the start at most, in milliseconds.
    pub skew_ms_max: u64,
}

impl Plan {
    /// Draws one.
    #[must_use]
    pub fn draw(random: &mut Random, scope: Scope) -> Self {
        let mut plan = Self::draw_plain(random);
        if scope.full {
            let mut full = Random::new(random.clone().bits() ^ FULL);
            plan.fill_up(&mut full);
        }
        if !scope.biased {
            plan.bias_percent = 0;
        }
        plan
    }

    /// Draws what a plain run does not have.
    fn fill_up(&mut self, random: &mut Random) {
        self.load.flushes = random.pick(&[0, 0, 1, 4]);
        self.load.expiring = random.chance(50);
        if self.goes_by_time() && random.chance(80) {
            // Otherwise nearly everything may have happened by somebody's clock.
            self.clock_jumps_ms = [20, 100, 1_000];
        }
        self.skew_ms_max = random.pick(&[0, 49, 400]);
        if random.chance(70) {
            self.disk = Some(DiskPlan {
                latency_us_max: random.pick(&[100, 500, 5_000]),
                slow_us_max: random.pick(&[5_000, 50_000, 200_000]),
            });
            self.power_percent = random.pick(&[0, 50, 100]);
            self.may_lose = random.chance(40);
            self.blackout = random.chance(30);
            for (weight, fault) in Fault::OF_DISKS {
                if random.chance(60) && (self.may_lose || fault != Fault::Outage) {
                    self.faults.push((weight, fault));
                }
            }
        }
    }

    fn draw_plain(random: &mut Random) -> Self {
        let nodes: u64 = random.weighted(&[(1, 1), (3, 2), (9, 3), (5, 4), (3, 5), (1, 6), (1, 7)]);
        let majority = nodes == 1 || random.chance(80);
        let mixed = random.chance(50);
        let same = random.between(1, 3) as u16;
        let mut some = |count: u64| -> Vec<u16> {
            let mut draw = |_| match mixed {
                true => random.between(1, 3) as u16,
                false => same,
            };
            (0..count).map(&mut draw).collect()
        };
        let workers = some(nodes);
        let joining = some(2.min(7 - nodes));
        let whole = random.chance(1) && nodes <= 3;
        let (partitions, each) = (random.between(1, 3), random.between(1, 3) as usize);
        let keys = keys::draw(random, partitions, each);
        let idle = |_| random.below(zufar_core::hash::PARTITIONS as u64) as u16;
        let idle_partitions = (0..8).map(idle).collect();
        let mut faults = Vec::new();
        for (weight, fault) in Fault::PLAIN {
            if random.chance(60) && (majority || !fault.parts()) {
                faults.push((weight, fault));
            }
        }
        let load = load(random, keys.len() as u16);
        let mut peers = PeerPlan::draw(random);
        if !majority {
            // Who finds nobody within two seconds forms a cluster of its own.
            peers.resolve_failed_percent = 0;
            peers.resolve_us_max = peers.resolve_us_max.min(10_000);
        }
        Self {
            joining,
            replication_factor: random.weighted(&[(u64::from(!whole), 1), (6, 2), (4, 3)]),
            majority,
            may_lose: random.chance(15),
            secret: random.chance(30),
            one_after_another: random.chance(40),
            early_clients: random.chance(40),
            whole,
            idle_partitions,
            keys,
            network: network(random),
            peers,
            load,
            faults,
            fault_interval_ms: random.pick(&[150, 500, 1500, 4000]),
            faults_ms: random.between(3, 12) * 1000,
            bias_percent: random.pick(&[0, 0, 5, 30]),
            workers,
            disk: None,
            power_percent: 0,
            blackout: false,
            clock_jumps_ms: [100, 5_000, 3_600_000],
            skew_ms_max: 49,
        }
    }

    /// Whether an item may go without anybody asking for that at the moment: it expires, or a flush
    /// comes that was to come later.
    #[must_use]
    pub const fn goes_by_time(&self) -> bool {
        self.load.expiring || self.load.flushes > 0
    }

    /// Nodes that there may ever be.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.workers.len() + self.joining.len()
    }
}

fn network(random: &mut Random) -> NetworkPlan {
    NetworkPlan {
        latency_us_max: random.pick(&[100, 500, 3_000]),
        stall_percent: random.pick(&[0, 0, 1, 4]),
        buffer_bytes: random.pick(&[20_000, 200_000, 2_000_000]),
        small_segments: random.chance(30),
        short_reads: random.chance(30),
        short_writes: random.chance(30),
    }
}

fn load(random: &mut Random, keys: u16) -> LoadPlan {
    LoadPlan {
        clients: random.between(1, 5) as u32,
        depth_max: random.pick(&[1, 2, 4, 8]),
        keys,
        requests: u64::MAX,
        pause_us_max: random.pick(&[20_000, 60_000, 200_000]),
        values: random.pick(&[[100, 0, 0, 0], [100, 10, 1, 0], [100, 20, 6, 0]]),
        expiring: false,
        flushes: 0,
        meta: random.pick(&[0, 50, 200]),
        silence: false,
        slow_readers: random.chance(10),
    }
}
