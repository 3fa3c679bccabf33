//! What a seed draws before anything happens: the node, its network, its load, its faults.
//!
//! Decides how runs differ. Each kind of fault and each oddity of the load is on in some runs
//! and off in others (swarm testing), so that rare combinations come up. Refuses to know how
//! any of it is carried out.
//!
//! After Groce et al., *Swarm Testing* (2012).

use zufar_core::settings::{DiskSettings, Limits, Settings, WhenFull};

use crate::random::Random;

const MIB: u64 = 1024 * 1024;

/// The network between clients and the node.
#[derive(Clone, Debug)]
pub struct NetworkPlan {
    /// Longest way of one segment, in microseconds, unless it is held up.
    pub latency_us_max: u64,
    /// So many of 1000 segments are held up.
    pub stall_percent: u64,
    /// What a connection holds in each direction, in bytes.
    pub buffer_bytes: usize,
    /// Whether what is sent at once may arrive in small segments.
    pub small_segments: bool,
    /// Whether a read may return less than there is.
    pub short_reads: bool,
    /// Whether a write may take less than there is room for.
    pub short_writes: bool,
}

impl NetworkPlan {
    pub(crate) fn draw(random: &mut Random) -> Self {
        Self {
            latency_us_max: random.pick(&[20, 200, 2_000]),
            stall_percent: random.pick(&[0, 0, 2]),
            buffer_bytes: random.pick(&[1_000, 20_000, 200_000, 2_000_000]),
            small_segments: random.chance(50),
            short_reads: random.chance(50),
            short_writes: random.chance(50),
        }
    }

    /// Ends what the network does to anybody's harm.
    pub(crate) const fn quiet(&mut self) {
        self.stall_percent = 0;
        self.small_segments = false;
        self.short_reads = false;
        self.short_writes = false;
    }
}

/// What befalls hosts among each other, and whoever looks names up. What is cut, and which ways
/// lose how much, is the world's to be told.
#[derive(Clone, Debug)]
pub struct PeerPlan {
    /// So many of 100 datagrams are lost, on any way.
    pub lost_percent: u64,
    /// So many of 100 datagrams come twice.
    pub doubled_percent: u64,
    /// So many of 100 datagrams come late.
    pub late_percent: u64,
    /// How late at most, in microseconds.
    pub late_us_max: u64,
    /// A host breaks a connection over which nothing gets through after this at the earliest, in
    /// milliseconds.
    pub break_ms_min: u64,
    /// And after this at the latest.
    pub break_ms_max: u64,
    /// How long it takes to look a name up, in microseconds.
    pub resolve_us_max: u64,
    /// So many of 100 names are not found although they are there.
    pub resolve_failed_percent: u64,
}

impl Default for PeerPlan {
    /// Nothing befalls anybody.
    fn default() -> Self {
        Self {
            lost_percent: 0,
            doubled_percent: 0,
            late_percent: 0,
            late_us_max: 1_000,
            break_ms_min: 10_000,
            break_ms_max: 120_000,
            resolve_us_max: 1_000,
            resolve_failed_percent: 0,
        }
    }
}

impl PeerPlan {
    /// Each trouble in some runs, and in others not.
    pub fn draw(random: &mut Random) -> Self {
        let break_ms_min = random.pick(&[200, 3_000, 30_000]);
        Self {
            lost_percent: random.pick(&[0, 0, 1, 10]),
            doubled_percent: random.pick(&[0, 0, 1, 10]),
            late_percent: random.pick(&[0, 0, 1, 10]),
            late_us_max: random.pick(&[2_000, 200_000, 2_000_000]),
            break_ms_min,
            break_ms_max: break_ms_min * random.pick(&[1, 4]),
            resolve_us_max: random.pick(&[100, 10_000, 1_000_000]),
            resolve_failed_percent: random.pick(&[0, 0, 10]),
        }
    }

    /// Ends what befalls anybody to their harm.
    pub(crate) const fn quiet(&mut self) {
        self.lost_percent = 0;
        self.doubled_percent = 0;
        self.late_percent = 0;
        self.resolve_failed_percent = 0;
    }
}

/// How fast the disk is.
#[derive(Clone, Debug)]
pub struct DiskPlan {
    /// Longest request, in microseconds.
    pub latency_us_max: u64,
    /// The same while the disk is slow.
    pub slow_us_max: u64,
}

impl DiskPlan {
    pub(crate) fn draw(random: &mut Random) -> Self {
        Self {
            latency_us_max: random.pick(&[50, 500, 5_000]),
            slow_us_max: random.pick(&[20_000, 300_000, 2_000_000]),
        }
    }
}

/// The node.
#[derive(Clone, Debug)]
pub struct NodePlan {
    /// The memory limit.
    pub memory_bytes: u64,
    /// Whether it has a disk.
    pub disk: bool,
    /// What the file system has room for, in bytes, when the disk is to be small.
    pub disk_bytes: Option<u64>,
    /// What the node does when the disk is full.
    pub when_full: WhenFull,
    /// Unsynced bytes above which acknowledgements are delayed.
    pub dirty_bytes_soft: u64,
    /// Unsynced bytes above which writes wait.
    pub dirty_bytes_hard: u64,
    /// The bounds that have no flag.
    pub limits: Limits,
}

impl NodePlan {
    fn draw(random: &mut Random, heavy: bool) -> Self {
        let disk = random.chance(85);
        let memory_bytes = if heavy {
            random.pick(&[8, 16]) * MIB
        } else {
            64 * MIB
        };
        let soft = random.pick(&[4_000, 100_000, memory_bytes / 10]);
        Self {
            memory_bytes,
            disk,
            disk_bytes: (disk && random.chance(10)).then(|| random.between(MIB, 4 * MIB)),
            when_full: random.pick(&[WhenFull::Evict, WhenFull::Refuse]),
            dirty_bytes_soft: soft,
            dirty_bytes_hard: (soft * 5 / 2).max(3 * MIB),
            limits: Limits {
                output_bytes_max: random.pick(&[2_000, 100_000, 1 << 20]),
                slots_max: random.pick(&[2, 16, 1024]),
                credit: random.pick(&[1, 3, 4096]),
                loads_max: random.pick(&[1, 4, 256]),
                batch_bytes_max: random.pick(&[2_000, 100_000, 4 << 20]),
                ..Limits::default()
            },
        }
    }

    /// Settings of one run of the node, with so many workers.
    #[must_use]
    pub fn settings(&self, workers: u16) -> Settings {
        let mut settings = crate::rig::settings(workers, self.memory_bytes, self.disk);
        settings.limits = self.limits;
        if let Some(disk) = &mut settings.disk {
            *disk = DiskSettings {
                dirty_bytes_soft: self.dirty_bytes_soft,
                dirty_bytes_hard: self.dirty_bytes_hard,
                reserve_percent: if self.disk_bytes.is_some() { 10 } else { 0 },
                when_full: self.when_full,
                ..disk.clone()
            };
        }
        settings
    }
}

/// What clients do.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// Clients at a time.
    pub clients: u32,
    /// Requests that a client has under way at most.
    pub depth_max: usize,
    /// Keys that they share.
    pub keys: u16,
    /// Requests of all clients together.
    pub requests: u64,
    /// Longest pause of a client between requests, in microseconds.
    pub pause_us_max: u64,
    /// Weights of small, middle and large values, and of some near the item limit.
    pub values: [u64; 4],
    /// Whether items expire.
    pub expiring: bool,
    /// Weight of flushes beside 100 other classic commands.
    pub flushes: u64,
    /// Weight of meta commands beside 100 classic ones.
    pub meta: u64,
    /// Whether requests may ask for silence (noreply, q).
    pub silence: bool,
    /// Some clients read slowly.
    pub slow_readers: bool,
}

impl LoadPlan {
    fn draw(random: &mut Random, heavy: bool) -> Self {
        let keys = random.pick(&[1, 4, 20, 80]);
        // Where all fight over few keys, the orders to be tried grow with what is under way.
        let depths: &[usize] = if keys > 4 { &[1, 2, 8, 24] } else { &[1, 2, 4] };
        Self {
            clients: random.between(1, 5) as u32,
            depth_max: random.pick(depths),
            keys,
            requests: random.between(60, 500),
            pause_us_max: random.pick(&[10, 1_000, 30_000, 200_000]),
            values: if heavy {
                [40, 20, 20, 20]
            } else {
                [100, 10, 1, 0]
            },
            expiring: random.chance(50),
            flushes: random.pick(&[0, 0, 0, 1, 4]),
            meta: random.pick(&[0, 50, 300]),
            silence: random.chance(60),
            slow_readers: random.chance(20),
        }
    }
}

impl LoadPlan {
    /// About how long it takes if nothing holds it up, in microseconds.
    fn length_us(&self) -> u64 {
        const ANSWER_US: u64 = 100;
        (self.requests * (self.pause_us_max / 2 + ANSWER_US) / u64::from(self.clients)).max(1_000)
    }
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A client breaks its connection.
    Reset,
    /// A client breaks one young connection after the other, with requests under way.
    Flapping,
    /// A client sends no more, and reads what it is still owed.
    HalfClose,
    /// No worker gets a turn for a while.
    Suspension,
    /// The disk takes its time.
    SlowDisk,
    /// Writes fail for want of room, for a while.
    FullDisk,
    /// Writes fail, for a while.
    FailingWrites,
    /// One sync fails.
    FailingSync,
    /// Reads fail, for a while.
    FailingReads,
    /// The process is killed and started again.
    Kill,
    /// The power fails, and comes back.
    PowerCut,
    /// The node is told to stop, and started again.
    Stop,
    /// The system's clock is set forward.
    ClockForward,
    /// The system's clock is set back.
    ClockBack,
}

impl Fault {
    /// Each with how often it comes beside the others.
    const ALL: [(u64, Self); 14] = [
        (3, Self::Reset),
        (3, Self::Flapping),
        (2, Self::HalfClose),
        (2, Self::Suspension),
        (3, Self::SlowDisk),
        (2, Self::FullDisk),
        (2, Self::FailingWrites),
        (3, Self::FailingSync),
        (2, Self::FailingReads),
        (2, Self::Kill),
        (2, Self::PowerCut),
        (1, Self::Stop),
        (1, Self::ClockForward),
        (1, Self::ClockBack),
    ];

    /// Every kind of fault.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().map(|(_, fault)| fault)
    }

    /// Its name, as reports have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reset => "connections reset",
            Self::Flapping => "connections flapping",
            Self::HalfClose => "connections half closed",
            Self::Suspension => "suspensions",
            Self::SlowDisk => "slow disks",
            Self::FullDisk => "full disks",
            Self::FailingWrites => "failing writes",
            Self::FailingSync => "failing syncs",
            Self::FailingReads => "failing reads",
            Self::Kill => "kills",
            Self::PowerCut => "power cuts",
            Self::Stop => "stops",
            Self::ClockForward => "clocks set forward",
            Self::ClockBack => "clocks set back",
        }
    }

    /// Whether it ends the node without being asked to.
    #[must_use]
    pub const fn is_crash(self) -> bool {
        matches!(self, Self::Kill | Self::PowerCut)
    }

    /// Whether it needs a disk.
    const fn needs_disk(self) -> bool {
        matches!(
            self,
            Self::SlowDisk
                | Self::FullDisk
                | Self::FailingWrites
                | Self::FailingSync
                | Self::FailingReads
        )
    }
}

/// Everything that a seed decides beforehand.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The node.
    pub node: NodePlan,
    /// Its network.
    pub network: NetworkPlan,
    /// Its disk.
    pub disk: DiskPlan,
    /// Its clients.
    pub load: LoadPlan,
    /// Whether the values are more than memory holds.
    pub heavy: bool,
    /// What goes wrong, each with its weight.
    pub faults: Vec<(u64, Fault)>,
    /// About how long it is from one fault to the next, in microseconds.
    pub fault_interval_us: u64,
    /// How many faults there are at most.
    pub faults_max: u64,
    /// In so many of 100 cases a crash soon follows a start.
    pub relapse_percent: u64,
    /// In so many of 100 cases a disk that refuses is not healed before a crash.
    pub fatal_percent: u64,
}

impl Plan {
    /// What `random` decides.
    #[must_use]
    pub fn draw(random: &mut Random) -> Self {
        let heavy = random.chance(20);
        let node = NodePlan::draw(random, heavy);
        let load = LoadPlan::draw(random, heavy);
        let mut faults = Vec::new();
        for (weight, fault) in Fault::ALL {
            if (node.disk || !fault.needs_disk()) && random.chance(40) {
                faults.push((weight, fault));
            }
        }
        Self {
            network: NetworkPlan::draw(random),
            disk: DiskPlan::draw(random),
            fault_interval_us: load.length_us() / random.pick(&[2, 6, 20]),
            faults_max: random.between(0, 12),
            relapse_percent: random.pick(&[0, 20, 50]),
            fatal_percent: random.pick(&[0, 20, 50]),
            node,
            load,
            heavy,
            faults,
        }
    }

    /// Whether items may go that nobody has deleted: out of a memory without a disk behind it,
    /// or from a disk that is full.
    #[must_use]
    pub fn items_may_vanish(&self) -> bool {
        (!self.node.disk && self.heavy) || self.node.disk_bytes.is_some()
    }

    /// Whether a command may be refused: for want of memory, or for the disk's sake.
    #[must_use]
    pub fn commands_may_fail(&self) -> bool {
        let disk_faults = self.faults.iter().any(|(_, fault)| fault.needs_disk());
        // Clients that flap and crashes after a start may come with a slow disk.
        let flaps = self
            .faults
            .iter()
            .any(|(_, fault)| *fault == Fault::Flapping);
        let slowed = self.node.disk && (flaps || self.relapse_percent > 0);
        self.heavy || self.node.disk_bytes.is_some() || disk_faults || slowed
    }
}
