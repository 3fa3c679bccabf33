//! How evenly partitions are spread, how much moves when a node joins, and how long it takes to
//! find out.
//!
//! `cargo placement [SETS]`: for each number of nodes so many sets of random guids (20), always
//! the same ones. But for the times, two runs print the same.

#![allow(clippy::print_stdout, missing_docs)]

use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Instant;

use zufar_core::hash::PARTITIONS;
use zufar_core::member::Guid;
use zufar_core::placement::{NodeIndex, Placement, Share};

const SETS: u64 = 20;
const NODES: [usize; 4] = [3, 10, 30, 100];
/// Also timed.
const NODES_MANY: usize = 1000;
const REPLICATION_FACTOR: u8 = 2;

/// Guids as `zufar` draws them, 32 hexadecimal digits, by SplitMix64.
struct Guids(u64);

impl Guids {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn share(&mut self) -> Share<'static> {
        let text = format!("{:016x}{:016x}", self.next_u64(), self.next_u64());
        Share {
            guid: Guid::new(&text).expect("hexadecimal digits make a guid"),
            weight: NonZeroU32::MIN,
            rack: "1",
        }
    }

    fn shares(set: u64, nodes: usize) -> Vec<Share<'static>> {
        let mut guids = Self(set << 32);
        (0..nodes).map(|_| guids.share()).collect()
    }
}

fn partitions() -> impl Iterator<Item = u16> {
    (0..PARTITIONS).map(|partition| partition as u16)
}

/// The most that one node has, of what `held` counts, over the mean.
fn imbalance<'a>(nodes: usize, held: impl Iterator<Item = &'a NodeIndex>) -> f64 {
    let mut counts = vec![0_u32; nodes];
    held.for_each(|node| counts[usize::from(node.0)] += 1);
    let most = counts.iter().copied().max().unwrap_or_default();
    f64::from(most) * nodes as f64 / f64::from(counts.iter().sum::<u32>())
}

/// Replicas that a node holds in `after` and did not in `before`: by the newcomer, by others.
fn moved(before: &Placement, after: &Placement, newcomer: &Guid) -> (usize, usize) {
    let (mut by_newcomer, mut by_others) = (0, 0);
    for partition in before.moved(after) {
        let held = before.owners(partition).iter();
        let held: Vec<Guid> = held.map(|node| before.guid(*node)).collect();
        for node in after.owners(partition) {
            let guid = after.guid(*node);
            by_newcomer += usize::from(guid == *newcomer);
            by_others += usize::from(guid != *newcomer && !held.contains(&guid));
        }
    }
    (by_newcomer, by_others)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

fn print_balance(sets: u64) {
    println!("The most that a node holds over the mean, at {REPLICATION_FACTOR} replicas");
    println!("  nodes    replicas: mean  worst    primaries: mean  worst");
    for nodes in NODES {
        let placements = (0..sets).map(|set| Guids::shares(set, nodes));
        let placements = placements.map(|shares| Placement::new(&shares, REPLICATION_FACTOR));
        let ratios = placements.map(|placement| {
            let primaries = partitions().map(|partition| &placement.owners(partition)[0]);
            let replicas = partitions().flat_map(|partition| placement.owners(partition));
            (imbalance(nodes, replicas), imbalance(nodes, primaries))
        });
        let (replicas, primaries): (Vec<f64>, Vec<f64>) = ratios.unzip();
        println!(
            "  {nodes:>5}  {:>16.3} {:>6.3}  {:>16.3} {:>6.3}",
            mean(&replicas),
            most(&replicas),
            mean(&primaries),
            most(&primaries),
        );
    }
}

fn print_moved(sets: u64) {
    println!("\nReplicas that move when a node joins, in percent of all");
    println!("  nodes         mean  worst  ideal    to others than the newcomer");
    for nodes in NODES {
        let (mut percents, mut strays) = (Vec::new(), 0);
        for set in 0..sets {
            let shares = Guids::shares(set, nodes + 1);
            let newcomer = shares[nodes].guid;
            let before = Placement::new(&shares[..nodes], REPLICATION_FACTOR);
            let after = Placement::new(&shares, REPLICATION_FACTOR);
            let (by_newcomer, by_others) = moved(&before, &after, &newcomer);
            let replicas = PARTITIONS * usize::from(REPLICATION_FACTOR);
            percents.push(100.0 * by_newcomer as f64 / replicas as f64);
            strays += by_others;
        }
        println!(
            "  {:<10} {:>7.2} {:>6.2} {:>6.2}  {strays:>5}",
            format!("{nodes} -> {}", nodes + 1),
            mean(&percents),
            most(&percents),
            100.0 / (nodes + 1) as f64,
        );
    }
}

/// The shortest of a few runs, in milliseconds.
fn milliseconds(run: impl Fn() -> Placement) -> f64 {
    let times = (0..5).map(|_| {
        let start = Instant::now();
        black_box(run());
        start.elapsed().as_secs_f64() * 1000.0
    });
    times.fold(f64::INFINITY, f64::min)
}

fn print_times() {
    println!("\nMilliseconds on this machine, now: the shortest of five");
    println!("  nodes      anew   one joins   one leaves");
    for nodes in NODES.into_iter().chain([NODES_MANY]) {
        let shares = Guids::shares(0, nodes + 1);
        let without = Placement::new(&shares[..nodes], REPLICATION_FACTOR);
        let with = Placement::new(&shares, REPLICATION_FACTOR);
        println!(
            "  {nodes:>5} {:>9.2} {:>11.2} {:>12.2}",
            milliseconds(|| Placement::new(&shares[..nodes], REPLICATION_FACTOR)),
            milliseconds(|| without.changed(&shares, REPLICATION_FACTOR)),
            milliseconds(|| with.changed(&shares[..nodes], REPLICATION_FACTOR)),
        );
    }
}

fn main() {
    let sets = std::env::args().find_map(|argument| argument.parse().ok());
    let sets = sets.unwrap_or(SETS).max(1);
    println!("{PARTITIONS} partitions, {sets} sets of random guids\n");
    print_balance(sets);
    print_moved(sets);
    print_times();
}
