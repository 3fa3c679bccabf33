//! Everything at once: the same seed gives the same trace, and no connection loses a byte within
//! what it carries.

use zufar_core::id::ConnId;
use zufar_simulator::Random;
use zufar_simulator::plan::PeerPlan;
use zufar_simulator::world::{Crash, HostId};

use crate::toy::{A, B, C, Heard, Order, Stage, peer};

/// What one run came to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    hash: u64,
    faults: Vec<(&'static str, u64)>,
    bytes: usize,
}

struct Chaos {
    stage: Stage,
    random: Random,
    conns: Vec<(HostId, ConnId)>,
    bytes: usize,
}

impl Chaos {
    fn host(&mut self) -> HostId {
        self.random.pick(&[A, B, C])
    }

    fn pair(&mut self) -> (HostId, HostId) {
        self.random
            .pick(&[(A, B), (A, C), (B, A), (B, C), (C, A), (C, B)])
    }

    fn act(&mut self) {
        let (from, to) = self.pair();
        match self.random.below(16) {
            0..=2 => self.stage.wire(from).order(Order::Connect(1, peer(to))),
            3 => self.stage.wire(from).order(Order::GiveUp(1)),
            4..=7 => self.speak(),
            8 | 9 => {
                let order = Order::Datagram(peer(to), vec![8; 8]);
                self.stage.wire(from).order(order);
            }
            10 => self.stage.world.cut(from, to),
            11 => self.stage.world.heal(from, to),
            12 => self.restart(from),
            13 => self.stage.world.suspend_host(from, 300),
            14 => {
                let drift_ppm = self.random.below(2_000) as i64 - 1_000;
                self.stage.world.set_drift_of(from, drift_ppm);
            }
            _ => self.stage.wire(from).order(Order::Resolve(5, "nobody:1")),
        }
    }

    /// Says the numbers from 0 up, a byte each, over some connection.
    fn speak(&mut self) {
        if !self.conns.is_empty() {
            let at = self.random.below(self.conns.len() as u64) as usize;
            let (host, conn) = self.conns.swap_remove(at);
            let bytes = (0..=255).cycle().take(30_000).collect();
            self.stage.wire(host).order(Order::Send(conn, bytes));
        }
    }

    fn restart(&mut self, host: HostId) {
        let crash = self.random.pick(&[Crash::Process, Crash::Power]);
        self.check(host);
        self.conns.retain(|(of, _)| *of != host);
        self.stage.world.crash_host(host, crash);
        if self.random.chance(50) {
            self.stage.world.boot_host(host);
        }
        self.stage.pass(50);
        self.stage.start(host);
    }

    fn note_connected(&mut self, host: HostId) {
        for heard in self.stage.wire(host).heard() {
            if let Heard::Connected(_, conn) = heard {
                self.conns.push((host, conn));
            }
        }
    }

    fn check(&mut self, host: HostId) {
        for stream in self.stage.wire(host).streams() {
            let in_order = stream.iter().zip((0..=255).cycle()).all(|(a, b)| *a == b);
            assert!(in_order, "a stream has a gap");
            self.bytes += stream.len();
        }
    }
}

fn run(seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let mut stage = Stage::new(random.bits());
    stage.world.peers = PeerPlan::draw(&mut random);
    let mut chaos = Chaos {
        stage,
        random,
        conns: Vec::new(),
        bytes: 0,
    };
    for _ in 0..200 {
        chaos.act();
        let pause_ms = chaos.random.between(1, 300);
        chaos.stage.pass(pause_ms);
        if chaos.random.chance(20) {
            let host = chaos.host();
            chaos.note_connected(host);
        }
    }
    chaos.stage.world.calm();
    chaos.stage.pass(20_000);
    for host in [A, B, C] {
        chaos.check(host);
    }
    Outcome {
        hash: chaos.stage.world.trace.hash(),
        faults: chaos.stage.world.faults.into_iter().collect(),
        bytes: chaos.bytes,
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_streams_have_no_gaps() {
    let mut faults = std::collections::BTreeSet::new();
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 0..8 {
        let outcome = run(seed);
        assert_eq!(outcome, run(seed), "seed {seed}");
        assert!(outcome.bytes > 0, "seed {seed}");
        hashes.insert(outcome.hash);
        faults.extend(outcome.faults.into_iter().map(|(kind, _)| kind));
    }
    assert_eq!(hashes.len(), 8);
    for kind in [
        "connections broken by a cut",
        "connections held by a cut",
        "datagrams cut off",
        "datagrams doubled",
        "datagrams late",
        "datagrams lost",
        "names not found for a while",
        "resets lost to a cut",
        "segments held by a cut",
    ] {
        assert!(faults.contains(kind), "no {kind} among {faults:?}");
    }
}
