//! What a run does, all of it drawn from the seed before it begins.
//!
//! Decides how many hosts there are and which faults come when. Refuses to know what they cause.

use super::network::Weather;
use crate::random::Random;

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A process is killed and starts again after a while.
    Kill {
        /// Where.
        host: usize,
        /// How long it is gone.
        gone_ms: u64,
        /// It starts on an empty data directory.
        lose_disk: bool,
        /// Its clock is set back meanwhile.
        clock_back_ms: i64,
    },
    /// A process stops in good order and starts again after a while.
    Leave {
        /// Where.
        host: usize,
        /// How long it is gone.
        gone_ms: u64,
    },
    /// A process does not run for a while.
    Pause {
        /// Where.
        host: usize,
        /// How long.
        for_ms: u64,
    },
    /// Nothing gets from one host to another.
    CutWay {
        /// From here.
        from: usize,
        /// To there.
        to: usize,
        /// How long.
        for_ms: u64,
    },
    /// Some hosts are cut off from the others.
    Partition {
        /// One side.
        side: Vec<usize>,
        /// How long.
        for_ms: u64,
    },
    /// The network changes.
    Weather(Weather),
    /// A second process with the name and data directory of one starts elsewhere.
    Twin {
        /// Of this one.
        of: usize,
    },
}

/// What a run does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Hosts, without that of a twin.
    pub hosts: usize,
    /// How many of them are seeds.
    pub seeds: usize,
    /// All start at once, and not one after the other.
    pub at_once: bool,
    /// Nobody serves alone.
    pub wait_for_others: bool,
    /// Hosts that get data after the start.
    pub with_data: Vec<usize>,
    /// How long there are faults.
    pub faults_ms: u64,
    /// Faults by their time after the start.
    pub faults: Vec<(u64, Fault)>,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x676f_7373_6970);
        let hosts = random.weighted(&[(1, 1), (4, 2), (8, 3), (4, 4), (4, 5), (3, 7), (1, 15)]);
        let with_data = (0..hosts).filter(|_| random.chance(40)).collect();
        let faults_ms = random.between(5, 60) * 1000;
        let count = random.below(12);
        let kinds = random.bits();
        let mut faults: Vec<(u64, Fault)> = (0..count)
            .map(|_| (random.below(faults_ms), fault(&mut random, hosts, kinds)))
            .collect();
        if random.chance(10) {
            let of = random.below(hosts as u64) as usize;
            faults.push((random.below(faults_ms), Fault::Twin { of }));
        }
        faults.sort_by_key(|(at_ms, _)| *at_ms);
        Self {
            hosts,
            seeds: random.between(1, 3.min(hosts as u64)) as usize,
            at_once: random.chance(50),
            wait_for_others: hosts > 1 && random.chance(20),
            with_data,
            faults_ms,
            faults,
        }
    }
}

/// How long something lasts: shorter than detection, about as long, or much longer.
fn span_ms(random: &mut Random) -> u64 {
    let most = random.pick(&[50, 1000, 5000, 30_000]);
    random.between(1, most)
}

/// Not all kinds come in every run: `kinds` says which do.
fn fault(random: &mut Random, hosts: usize, kinds: u64) -> Fault {
    let host = random.below(hosts as u64) as usize;
    let for_ms = span_ms(random);
    let choices: Vec<(u64, u64)> = [4, 1, 4, 3, 3, 3]
        .into_iter()
        .enumerate()
        .map(|(kind, weight)| (weight * (kinds >> kind & 1), kind as u64))
        .collect();
    let some = choices.iter().any(|(weight, _)| *weight > 0);
    let kind = match some {
        true => random.weighted(&choices),
        false => 0,
    };
    match kind {
        0 => Fault::Kill {
            host,
            gone_ms: for_ms,
            lose_disk: random.chance(20),
            clock_back_ms: match random.chance(20) {
                true => random.below(3_600_000) as i64,
                false => 0,
            },
        },
        1 => Fault::Leave {
            host,
            gone_ms: for_ms,
        },
        2 => Fault::Pause { host, for_ms },
        3 => Fault::CutWay {
            from: host,
            to: random.below(hosts as u64) as usize,
            for_ms,
        },
        4 => Fault::Partition {
            side: (0..hosts).filter(|_| random.chance(40)).collect(),
            for_ms,
        },
        _ => Fault::Weather(Weather::draw(random)),
    }
}
