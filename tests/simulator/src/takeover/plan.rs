//! What a run is like, drawn from its seed.
//!
//! Decides how many nodes, replicas, clients and keys there are, and which faults how often.
//! Refuses to know how they are carried out.

use zufar_core::replication::{Settings, SplitBrain};

use crate::Random;

/// Which promises a run is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// A majority decides. Nodes crash only while another in-sync replica and a majority of
    /// voters that remember live on. Disks lag or are gone.
    Majority,
    /// A majority decides. Any nodes crash, all of them, too; disks keep everything.
    ExactDisk,
    /// Two nodes that go on without each other, and one crash or one long pause.
    TwoNodes,
    /// Nodes go on without a majority, in a network that parts: held to one history only until
    /// the first Force, to convergence always.
    Available,
}

/// All that a seed decides before the run begins.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it is held to.
    pub story: Story,
    /// Nodes, 1 to 7.
    pub nodes: usize,
    /// Partitions, 1 or 2.
    pub partitions: u16,
    /// Replicas wanted of each.
    pub replicas: usize,
    /// Voters wanted of each.
    pub voters: usize,
    /// Clients.
    pub clients: usize,
    /// Keys of each partition.
    pub keys: u8,
    /// Messages that are lost, per mille.
    pub loss_permille: u64,
    /// Messages that come twice, per mille.
    pub twice_permille: u64,
    /// Shortest way of a message.
    pub delay_us_min: u64,
    /// Longest way of most messages.
    pub delay_us_max: u64,
    /// Messages that take much longer, per mille.
    pub straggle_permille: u64,
    /// Share by which clocks run fast or slow at most, in per mille.
    pub drift_permille: u64,
    /// Difference of Unix clocks at most.
    pub skew_ms: u64,
    /// Mean time between crashes; 0 for none.
    pub crash_ms: u64,
    /// Mean time between pauses; 0 for none.
    pub pause_ms: u64,
    /// Mean time between cuts of links; 0 for none.
    pub cut_ms: u64,
    /// Mean time between wrong opinions; 0 for none.
    pub opinion_ms: u64,
    /// Mean time between changes of what is wanted; 0 for none.
    pub wish_ms: u64,
    /// Pauses right after an acknowledgement or a hand-over, and crashes right after a fill was
    /// verified, per mille of them.
    pub bias_permille: u64,
    /// Whether a restarted node has a disk.
    pub disk: bool,
    /// Time between a client's operations at most.
    pub think_ms: u64,
    /// The time with faults.
    pub faults_ms: u64,
    /// Fewest in-sync replicas that writes are allowed with.
    pub in_sync_min: usize,
}

impl Plan {
    /// Draws one.
    pub fn draw(random: &mut Random) -> Self {
        let story = random.weighted(&[
            (5, Story::Majority),
            (3, Story::ExactDisk),
            (1, Story::TwoNodes),
            (2, Story::Available),
        ]);
        let nodes = match story {
            Story::TwoNodes => 2,
            _ => random.weighted(&[(1, 1), (1, 2), (8, 3), (6, 4), (3, 5), (1, 6), (1, 7)]),
        };
        let replicas = random.weighted(&[(1, 1), (8, 2), (4, 3)]).min(nodes);
        let often = |random: &mut Random, choices: &[u64]| random.pick(choices);
        let calm = story == Story::TwoNodes;
        let fault =
            |random: &mut Random, choices: &[u64]| if calm { 0 } else { random.pick(choices) };
        Self {
            story,
            nodes,
            partitions: random.weighted(&[(3, 1), (1, 2)]),
            replicas,
            voters: nodes.min(replicas.max(3)),
            clients: random.between(2, 4) as usize,
            keys: random.between(1, 4) as u8,
            loss_permille: fault(random, &[0, 0, 5, 50, 150]),
            twice_permille: often(random, &[0, 10, 100, 300]),
            delay_us_min: often(random, &[50, 500, 2000]),
            delay_us_max: often(random, &[1000, 5000, 30_000]),
            straggle_permille: fault(random, &[0, 5, 50]),
            drift_permille: often(random, &[0, 20, 80]),
            skew_ms: often(random, &[0, 5, 300]),
            crash_ms: fault(random, &[0, 700, 1500, 4000]),
            pause_ms: fault(random, &[0, 400, 1200, 3000]),
            cut_ms: fault(random, &[0, 0, 500, 2000]),
            opinion_ms: often(random, &[0, 300, 1500]),
            wish_ms: fault(random, &[0, 0, 700, 3000]),
            bias_permille: fault(random, &[0, 20, 100]),
            disk: random.chance(70) || matches!(story, Story::ExactDisk | Story::Available),
            think_ms: often(random, &[5, 30, 100]),
            faults_ms: random.between(3_000, 9_000),
            in_sync_min: if replicas > 1 && random.chance(15) {
                2
            } else {
                1
            },
        }
    }

    /// How the replicas of this run are set.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let split_brain = match self.story {
            Story::Majority | Story::ExactDisk => SplitBrain::Majority,
            Story::TwoNodes | Story::Available => SplitBrain::Available,
        };
        Settings {
            split_brain,
            in_sync_min: self.in_sync_min,
            disk: self.disk,
            chunk_bytes_max: 150,
            requests_max: 8,
            tail_entries_max: 16,
            recover_force_ms: 4000,
            ..Settings::default()
        }
    }
}
