//! The network between hosts.
//!
//! Decides what becomes of each message: when it arrives, how often, or not at all. Refuses to
//! know what it says.

use crate::random::Random;

/// How the network fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Datagrams that get lost, in percent.
    pub loss_percent: u64,
    /// Datagrams that arrive twice, in percent.
    pub twice_percent: u64,
    /// Datagrams that take a detour, in percent.
    pub detour_percent: u64,
    /// The longest detour, in microseconds.
    pub detour_us_max: u64,
    /// The shortest way, in microseconds.
    pub way_us_min: u64,
    /// The longest way without a detour, in microseconds.
    pub way_us_max: u64,
}

impl Weather {
    /// A quiet local network.
    pub const FAIR: Self = Self {
        loss_percent: 0,
        twice_percent: 0,
        detour_percent: 0,
        detour_us_max: 0,
        way_us_min: 50,
        way_us_max: 2000,
    };

    /// Bad weather of some kind.
    #[must_use]
    pub fn draw(random: &mut Random) -> Self {
        let some = |random: &mut Random, most: u64| match random.chance(50) {
            true => random.below(most + 1),
            false => 0,
        };
        Self {
            loss_percent: some(random, 30),
            twice_percent: some(random, 20),
            detour_percent: some(random, 30),
            detour_us_max: 1 + random.pick(&[1000, 20_000, 200_000, 2_000_000]),
            way_us_min: 50,
            way_us_max: random.pick(&[200, 2000, 20_000, 60_000]),
        }
    }
}

/// Which ways are cut, and the weather on the others.
#[derive(Debug)]
pub struct Network {
    /// The weather.
    pub weather: Weather,
    hosts: usize,
    /// How many faults cut the way from one host to another.
    cuts: Vec<u32>,
    random: Random,
}

impl Network {
    /// A network without cuts between `hosts`.
    #[must_use]
    pub fn new(hosts: usize, random: Random) -> Self {
        Self {
            weather: Weather::FAIR,
            hosts,
            cuts: vec![0; hosts * hosts],
            random,
        }
    }

    /// Cuts the way from `from` to `to`, or takes one such cut back.
    pub fn cut(&mut self, from: usize, to: usize, cut: bool) {
        let cuts = &mut self.cuts[from * self.hosts + to];
        match cut {
            true => *cuts += 1,
            false => *cuts = cuts.saturating_sub(1),
        }
    }

    /// Takes back all cuts, and the weather.
    pub fn heal(&mut self) {
        self.cuts.fill(0);
        self.weather = Weather::FAIR;
    }

    /// Whether nothing gets from `from` to `to`.
    #[must_use]
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts[from * self.hosts + to] > 0
    }

    /// How long a datagram takes, in microseconds, for each time that it arrives.
    pub fn datagram(&mut self, from: usize, to: usize) -> [Option<u64>; 2] {
        let weather = self.weather;
        let lost = self.random.chance(weather.loss_percent);
        let twice = self.random.chance(weather.twice_percent);
        let ways = [self.way(), self.way()];
        if self.is_cut(from, to) || lost {
            return [None, None];
        }
        [Some(ways[0]), twice.then_some(ways[1])]
    }

    /// How long what is said on a stream takes, in microseconds. What gets lost is sent again.
    pub fn stream(&mut self) -> u64 {
        let lost = self.random.chance(self.weather.loss_percent);
        self.way() + if lost { 200_000 } else { 0 }
    }

    fn way(&mut self) -> u64 {
        let weather = self.weather;
        let way = self.random.between(weather.way_us_min, weather.way_us_max);
        match self.random.chance(weather.detour_percent) {
            true => way + self.random.below(weather.detour_us_max),
            false => way,
        }
    }
}
