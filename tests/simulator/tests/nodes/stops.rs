//! All nodes are told to stop under load, in whatever order, and started again: what was
//! acknowledged is there, and what was deleted is not.
//!
//! `ZUFAR_STOPS=500` runs so many seeds, from `ZUFAR_SEED` on.

use std::sync::Arc;

use zufar_core::hash::KeyHash;
use zufar_core::machine::Listener;
use zufar_core::replication::SplitBrain;
use zufar_simulator::Random;
use zufar_simulator::sweep::{caught, on_all_cores};
use zufar_simulator::world::{HostId, LinkId, World};

use super::{DISK, Node, pass, start, wait_for_stop, world};

/// Seeds 4 and 17 found that a partition of which all was deleted came back from an older disk.
const SEEDS: u64 = 20;
const WRITERS: usize = 14;
/// Every so many-th change is a deletion.
const DELETES: u64 = 4;
/// How long an answer takes at most once all nodes run, in milliseconds.
const ANSWER_MS_MAX: u64 = 30_000;

/// A client that changes one key, one change after the other: so what the key may be is known.
struct Writer {
    key: String,
    link: Option<(LinkId, u64)>,
    heard: Vec<u8>,
    /// The number of the last change that was sent, and of the last one that was acknowledged.
    sent: u64,
    acknowledged: u64,
    /// It does not know what came of its last change, and makes no more of them.
    in_doubt: bool,
    /// All nodes have stopped since: what has not come about never will.
    settled: bool,
}

/// What a change leaves: a value, or nothing.
fn left_by(number: u64) -> Option<String> {
    (number > 0 && !number.is_multiple_of(DELETES)).then(|| number.to_string())
}

impl Writer {
    fn new(at: usize) -> Self {
        Self {
            key: format!("key{at}"),
            link: None,
            heard: Vec::new(),
            sent: 0,
            acknowledged: 0,
            in_doubt: false,
            settled: false,
        }
    }

    /// Its turn, every millisecond.
    fn act(&mut self, world: &mut World, random: &mut Random) {
        if self.in_doubt {
            return;
        }
        let Some((link, opens_in)) = &mut self.link else {
            let host = HostId(random.below(world.hosts().count() as u64) as u16);
            self.link = Some((world.connect_to(host, Listener::Client), 3));
            return;
        };
        let link = *link;
        if *opens_in > 0 {
            *opens_in -= 1;
            return;
        }
        let (bytes, ended) = world.receive(link, 1 << 20);
        self.heard.extend(bytes);
        if self.heard.ends_with(b"\r\n") {
            match &self.heard[..] {
                b"STORED\r\n" | b"DELETED\r\n" | b"NOT_FOUND\r\n" => self.acknowledged = self.sent,
                _ => {
                    self.in_doubt = true;
                    self.settled = false;
                }
            }
            self.heard.clear();
        }
        if ended {
            self.in_doubt |= self.acknowledged < self.sent;
            self.settled = false;
            self.link = None;
        } else if self.acknowledged == self.sent && random.chance(30) {
            self.sent += 1;
            let Self { key, sent, .. } = self;
            let line = match left_by(*sent) {
                Some(value) => format!("set {key} 0 0 {}\r\n{value}\r\n", value.len()),
                None => format!("delete {key}\r\n"),
            };
            assert_eq!(world.send(link, line.as_bytes()), line.len());
        }
    }

    /// All nodes run: reads its key through one of them, and goes on from what it finds.
    fn check(&mut self, world: &mut World, host: HostId) -> Result<(), String> {
        let line = format!("get {}\r\n", self.key);
        let by = world.time().plus_millis(ANSWER_MS_MAX);
        let mut told = String::from("nothing");
        while world.time() < by {
            told = super::ask(world, host, &line, 8000);
            if told.ends_with("END\r\n") {
                break;
            }
        }
        let found = told
            .strip_suffix("END\r\n")
            .ok_or(format!("{}: {told:?}", self.key))?;
        let found = found.lines().nth(1).map(str::to_owned);
        let (kept, last) = (left_by(self.acknowledged), left_by(self.sent));
        if found != kept && found != last {
            return Err(format!(
                "{} is {found:?} through {host:?}: change {} was acknowledged, {} was sent",
                self.key, self.acknowledged, self.sent,
            ));
        }
        if found == last {
            self.acknowledged = self.sent;
        }
        if self.in_doubt && (self.settled || found == last) {
            self.sent = self.acknowledged;
            self.in_doubt = false;
        }
        Ok(())
    }
}

fn shuffled(random: &mut Random, count: u16) -> Vec<HostId> {
    let mut hosts: Vec<HostId> = (0..count).map(HostId).collect();
    for at in (1..hosts.len()).rev() {
        hosts.swap(at, random.below(at as u64 + 1) as usize);
    }
    hosts
}

struct Run {
    world: World,
    random: Random,
    writers: Vec<Writer>,
    partitions: Arc<[u16]>,
    nodes: u16,
    split_brain: SplitBrain,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let nodes = random.pick(&[2, 3, 3, 3, 4]);
        let writers: Vec<Writer> = (0..WRITERS).map(Writer::new).collect();
        let partition = |writer: &Writer| KeyHash::of(writer.key.as_bytes()).partition();
        Self {
            world: world(seed, nodes),
            partitions: writers.iter().map(partition).collect(),
            split_brain: match random.chance(50) {
                true => SplitBrain::Majority,
                false => SplitBrain::Available,
            },
            nodes,
            writers,
            random,
        }
    }

    /// Lets clients write for so long.
    fn load(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            pass(&mut self.world, 1);
            for writer in &mut self.writers {
                writer.act(&mut self.world, &mut self.random);
            }
        }
    }

    fn start_all(&mut self, most_ms: u64) {
        let partitions = Arc::clone(&self.partitions);
        let node = Node {
            split_brain: self.split_brain,
            partitions: Some(&partitions),
            ..DISK
        };
        for host in shuffled(&mut self.random, self.nodes) {
            start(&mut self.world, host, node);
            let gap_ms = self.random.below(most_ms + 1);
            self.load(gap_ms);
        }
    }

    fn stop_all(&mut self, most_ms: u64) {
        let mut again: Vec<HostId> = Vec::new();
        for host in shuffled(&mut self.random, self.nodes) {
            self.world.stop_host(host);
            if self.random.chance(30) {
                again.push(host);
            }
            let gap_ms = self.random.below(most_ms + 1);
            self.load(gap_ms);
            if self.random.chance(30)
                && let Some(host) = again.pop()
            {
                self.world.stop_host(host);
            }
        }
        for host in again {
            self.world.stop_host(host);
        }
        wait_for_stop(&mut self.world, 20_000);
        for writer in &mut self.writers {
            writer.act(&mut self.world, &mut self.random);
            writer.in_doubt |= writer.acknowledged < writer.sent;
            writer.settled = writer.in_doubt;
            writer.link = None;
            writer.heard.clear();
        }
    }

    fn check(&mut self) -> Result<(), String> {
        for at in 0..self.writers.len() {
            let host = HostId(self.random.below(u64::from(self.nodes)) as u16);
            self.writers[at].check(&mut self.world, host)?;
        }
        Ok(())
    }

    fn all(&mut self) -> Result<(), String> {
        // Under `available` who has waited for ten seconds goes on with what there is.
        let slow_ms = match self.split_brain {
            SplitBrain::Majority => 8000,
            SplitBrain::Available => 1500,
        };
        // No node may believe at first that there is no other one.
        self.start_all(400);
        for round in 0..4 {
            let settled_ms = self.random.pick(&[0, 300, 1500, 6000]);
            self.load(settled_ms);
            self.check()
                .map_err(|wrong| format!("round {round}: {wrong}"))?;
            let load_ms = self.random.pick(&[50, 500, 3000]);
            self.load(load_ms);
            let most_ms = self.random.pick(&[0, 2, 50, 700, 4000]);
            self.stop_all(most_ms);
            let most_ms = self.random.pick(&[0, 30, 600, slow_ms]);
            self.start_all(most_ms);
        }
        self.check()
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn nothing_acknowledged_is_lost_however_all_nodes_stop_and_start() {
    let first = number("ZUFAR_SEED").unwrap_or(0);
    let seeds = first..first + number("ZUFAR_STOPS").unwrap_or(SEEDS);
    let run = |seed| {
        let mut run = Run::new(seed);
        let outcome = caught(|| run.all()).and_then(|outcome| outcome);
        outcome.map_err(|wrong| format!("{wrong} ({} nodes, {:?})", run.nodes, run.split_brain))
    };
    let add = |failed: &mut Vec<(u64, String)>, seed, outcome: Result<(), String>| {
        failed.extend(outcome.err().map(|wrong| (seed, wrong)));
        failed.len()
    };
    let mut failed: Vec<(u64, String)> = on_all_cores(seeds, 3, run, add);
    failed.sort();
    assert!(failed.is_empty(), "seeds and what is wrong: {failed:#?}");
}
