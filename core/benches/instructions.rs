//! Instructions that a worker takes for a request, from the bytes of the request to those of the
//! answer: figures that a busy machine does not change.
//!
//! `scripts/instructions [PART-OF-A-NAME]`, or `cargo bench -p zufar-core --bench instructions`
//! where there is a valgrind.
//!
//! Each scenario runs twice under callgrind, once for longer, in a process of its own. The
//! difference leaves out the start and the filling, and has its share of what only happens now
//! and then: evictions, batches for the disk, timers.

#![allow(clippy::print_stdout, missing_docs)]

mod callgrind;

use std::process::ExitCode;
use std::sync::Arc;

use zufar_core::disk::{Batch, Disk, DiskError, Found, Load, Recovery, Scan, Usage, perform};
use zufar_core::id::{ConnId, WorkerId};
use zufar_core::machine::{Actions, Event, Listener, Machine};
use zufar_core::settings::{DiskSettings, Limits, Settings, WhenFull};
use zufar_core::time::{Now, Time};
use zufar_core::worker::Worker;

/// Items that are there at first.
const KEYS: usize = 10_000;
const VALUE_BYTES: usize = 100;
const KEYS_OF_A_GET: usize = 50;
const DEPTH: usize = 25;
/// Requests of the shorter and of the longer run.
const REQUESTS: [usize; 2] = [2_000, 12_000];
/// Time between two reads: 50,000 a second.
const STEP_NS: u64 = 20_000;
const START_UNIX_MS: u64 = 1_800_000_000_000;
const MIB: u64 = 1 << 20;
const WORKER: WorkerId = WorkerId(0);
const CONN: ConnId = ConnId {
    slot: 0,
    generation: 1,
};

struct Scenario {
    name: &'static str,
    memory_bytes: u64,
    disk: bool,
    /// Requests in one read.
    depth: usize,
    /// Items that are there at first.
    filled: usize,
    request: fn(usize) -> String,
}

const GET: Scenario = Scenario {
    name: "get",
    memory_bytes: 64 * MIB,
    disk: false,
    depth: 1,
    filled: KEYS,
    request: |key| format!("get {}\r\n", name(key)),
};

const SCENARIOS: &[Scenario] = &[
    GET,
    Scenario {
        name: "get, 25 in one read",
        depth: DEPTH,
        ..GET
    },
    Scenario {
        name: "get that misses",
        request: |key| format!("get absent:{key:09}\r\n"),
        ..GET
    },
    Scenario {
        name: "get of 50 keys",
        request: |key| {
            let keys = (0..KEYS_OF_A_GET).map(|index| name(key + index));
            format!("get {}\r\n", keys.collect::<Vec<_>>().join(" "))
        },
        ..GET
    },
    Scenario {
        name: "mg",
        request: |key| format!("mg {} v\r\n", name(key)),
        ..GET
    },
    Scenario {
        name: "mg of six flags",
        request: |key| format!("mg {} v f s t k O1\r\n", name(key)),
        ..GET
    },
    SET,
    Scenario {
        name: "set, 25 in one read",
        depth: DEPTH,
        ..SET
    },
    Scenario {
        name: "set that evicts",
        memory_bytes: 4 * MIB,
        filled: 4 * KEYS,
        request: |key| set(key + 4 * KEYS),
        ..SET
    },
    Scenario {
        name: "set, written to disk",
        disk: true,
        ..SET
    },
    Scenario {
        name: "ms",
        request: |key| {
            let (name, value) = (name(key), value());
            format!("ms {name} {VALUE_BYTES}\r\n{value}\r\n")
        },
        ..GET
    },
];

const SET: Scenario = Scenario {
    name: "set",
    request: |key| set(key % KEYS),
    ..GET
};

/// The name of a key that is there at first.
fn name(key: usize) -> String {
    let key = key % KEYS;
    format!("key:{key:012}")
}

fn value() -> String {
    "v".repeat(VALUE_BYTES)
}

fn set(key: usize) -> String {
    let value = value();
    format!("set key:{key:012} 0 0 {VALUE_BYTES}\r\n{value}\r\n")
}

/// A disk that takes everything and has nothing.
struct EmptyDisk;

impl Disk for EmptyDisk {
    fn write(&self, _: WorkerId, _: &Batch) -> Result<(), DiskError> {
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        Ok(())
    }

    fn epoch(&self) -> u64 {
        1
    }

    fn reopen(&self, _: u64) -> Result<(), DiskError> {
        Ok(())
    }

    fn load(&self, _: &mut Load) -> Result<Found, DiskError> {
        Ok(Found::Nothing)
    }

    fn scan(&self, _: &mut Scan) -> Result<bool, DiskError> {
        Ok(true)
    }

    fn compact(&self, _: u16, _: u16) {}

    fn usage(&self) -> Result<Usage, DiskError> {
        Ok(Usage {
            free_bytes: 1 << 40,
            total_bytes: 1 << 40,
            ..Usage::default()
        })
    }
}

struct Node {
    worker: Worker,
    now: Now,
    actions: Actions,
    /// Bytes of answers so far.
    answered_bytes: usize,
}

impl Node {
    fn new(scenario: &Scenario) -> Self {
        let settings = Arc::new(settings(scenario));
        let mut node = Self {
            worker: Worker::new(settings, WORKER, &Recovery::default()),
            now: Now {
                time: Time::from_millis(1),
                unix_ms: START_UNIX_MS,
            },
            actions: Actions::default(),
            answered_bytes: 0,
        };
        node.handle(Event::Accepted {
            conn: CONN,
            listener: Listener::Client,
            address: "tcp:127.0.0.1:40000",
            open: 1,
        });
        node
    }

    /// Takes one read, and does what has become due.
    fn receive(&mut self, bytes: &[u8]) {
        let nanoseconds = self.now.time.as_nanos() + STEP_NS;
        self.now.time = Time::from_nanos(nanoseconds);
        self.now.unix_ms = START_UNIX_MS + self.now.time.as_millis();
        self.handle(Event::Received { conn: CONN, bytes });
        while self
            .worker
            .next_deadline()
            .is_some_and(|at| at <= self.now.time)
        {
            self.handle(Event::Deadline);
        }
    }

    fn handle(&mut self, event: Event<'_>) {
        let mut actions = std::mem::take(&mut self.actions);
        self.worker.handle(self.now, event, &mut actions);
        if !actions.write.is_empty() {
            self.send();
        }
        let requests = std::mem::take(&mut actions.disk);
        actions.clear();
        self.actions = actions;
        for request in requests {
            let completion = perform(&EmptyDisk, WORKER, request);
            self.handle(Event::Disk(completion));
        }
    }

    fn send(&mut self) {
        let mut slices: [&[u8]; 16] = [&[]; 16];
        let filled = self.worker.unsent(CONN, &mut slices);
        let bytes = slices[..filled].iter().map(|slice| slice.len()).sum();
        self.answered_bytes += bytes;
        self.worker.sent(CONN, bytes);
    }
}

fn settings(scenario: &Scenario) -> Settings {
    Settings {
        version: "0".into(),
        guid: "0".into(),
        rack: "1".into(),
        peer_address: "127.0.0.1:21211".into(),
        process_id: 1,
        started_unix_s: START_UNIX_MS / 1000,
        workers: 1,
        memory_bytes: scenario.memory_bytes,
        evict: true,
        value_bytes_max: 1 << 20,
        connections_max: 1024,
        idle_timeout_s: 0,
        flush_enabled: true,
        shutdown_enabled: false,
        verbosity: 0,
        tcp_port: 11211,
        listen_host: None,
        unix_socket: None,
        unix_socket_mode: 0o700,
        backlog: 1024,
        disk: scenario.disk.then(|| DiskSettings {
            data_dir: "none".into(),
            write_interval_ms: 50,
            sync_interval_ms: 1000,
            dirty_bytes_soft: 6 * MIB,
            dirty_bytes_hard: 16 * MIB,
            dirty_age_soft_ms: 500,
            dirty_age_hard_ms: 5000,
            stall_ms_max: 1000,
            disk_bytes_max: None,
            reserve_percent: 0,
            when_full: WhenFull::Evict,
        }),
        limits: Limits::default(),
    }
}

/// What callgrind counts: fills the cache and makes so many requests.
fn run(scenario: &Scenario, requests: usize) {
    let mut node = Node::new(scenario);
    for key in 0..scenario.filled {
        node.receive(set(key).as_bytes());
    }
    // All that the longer run needs, so that making them is in both.
    let read = |first| {
        let keys = (first..first + scenario.depth).map(|index| index * 7919 % 100_000);
        keys.map(|key| (scenario.request)(key)).collect()
    };
    let reads: Vec<String> = (0..REQUESTS[1]).step_by(scenario.depth).map(read).collect();
    let before = node.answered_bytes;
    for read in &reads[..requests / scenario.depth] {
        node.receive(read.as_bytes());
    }
    assert!(node.answered_bytes - before >= requests * b"END\r\n".len());
}

fn main() -> ExitCode {
    if let Some((index, requests)) = callgrind::wanted() {
        run(&SCENARIOS[index], requests);
        return ExitCode::SUCCESS;
    }
    println!("{:>12}  a request", "instructions");
    let names = SCENARIOS.iter().map(|scenario| scenario.name);
    callgrind::count_all(names, REQUESTS, |index, each| {
        println!("{each:>12}  {}", SCENARIOS[index].name);
    })
}
