//! Some nodes under a steady load, of which one is killed, or held, again and again: what is lost,
//! what is wrong, and how long keys could not be reached.
//!
//! ```text
//! zufar-kills --rounds 50
//! zufar-kills --rounds 3 --hold 10
//! zufar-kills --rounds 50 --nodes 2
//! ```
//!
//! Each connection sets and gets keys of its own through a node that is not killed, one request at
//! a time, and keeps in mind what was acknowledged. With `--hold` the node is stopped for so long
//! (SIGSTOP) and goes on then; otherwise it is killed (SIGKILL) and started again. A key's
//! unavailability is the time that a request took which was under way at that moment or begun in
//! the second after it, if it took 20 ms or more.
#![expect(clippy::print_stdout, reason = "its report is what it is for")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::process::{Pid, Signal, kill_process};
use zufar_tests::{Client, Cluster, Node, PATIENCE, wait_for};

const PARTITIONS: u64 = 4096;
const KEYS_OF_A_CONNECTION: u64 = 40;
/// Shorter waits are those of a busy machine.
const WAIT_MIN: Duration = Duration::from_millis(20);

/// A steady load on some nodes, and trouble with the last one of them.
#[derive(Debug, Parser)]
struct Plan {
    /// How often.
    #[arg(long, default_value_t = 10)]
    rounds: u64,
    /// Hold it for so many seconds, and do not kill it.
    #[arg(long, value_name = "SECONDS")]
    hold: Option<u64>,
    /// Nodes, of which all but the last are asked.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..))]
    nodes: u16,
    /// Connections, shared out among the nodes that are asked.
    #[arg(long, default_value_t = 64)]
    connections: u64,
}

/// What all connections have seen.
#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    errors: AtomicU64,
    lost: AtomicU64,
    wrong: AtomicU64,
    stop: AtomicBool,
    /// Waits of 20 ms or more: when each began, and how long it was.
    waits: Mutex<Vec<(Instant, Duration)>>,
}

/// What a key may hold: the last value that was acknowledged, and those that may have been taken
/// since.
#[derive(Default)]
struct Key {
    acknowledged: Option<u64>,
    possible: Vec<u64>,
}

impl Key {
    fn allows(&self, value: Option<u64>) -> bool {
        value == self.acknowledged || value.is_some_and(|value| self.possible.contains(&value))
    }

    fn settle(&mut self, value: Option<u64>) {
        self.acknowledged = value;
        self.possible.clear();
    }
}

/// Sets and gets keys of its own until told to stop.
fn steady(port: u16, number: u64, seen: &Seen) {
    let mut client = Client::connect(port);
    client.set_patience(PATIENCE);
    let mut keys: BTreeMap<u64, Key> = BTreeMap::new();
    let mut value = 0;
    while !seen.stop.load(Ordering::Relaxed) {
        value += 1;
        let at = value % KEYS_OF_A_CONNECTION;
        let name = format!("k:{number}:{at}");
        let key = keys.entry(at).or_default();
        let began = Instant::now();
        let answer = client.try_set(&name, value.to_string().as_bytes());
        note(seen, began);
        match answer.as_deref() {
            Ok("STORED") => key.settle(Some(value)),
            Ok(_) => {
                seen.errors.fetch_add(1, Ordering::Relaxed);
                key.possible.push(value);
            }
            Err(error) => panic!("the connection to a node that runs breaks: {error}"),
        }
        let began = Instant::now();
        let found = client.try_get(&name);
        note(seen, began);
        let Ok(found) = found else {
            seen.errors.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let text = found.map(|bytes| String::from_utf8(bytes).expect("digits"));
        let found = text.map(|text| text.parse::<u64>().expect("a number"));
        if key.allows(found) {
            key.settle(found);
        } else if found.is_none() {
            seen.lost.fetch_add(1, Ordering::Relaxed);
        } else {
            seen.wrong.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn note(seen: &Seen, began: Instant) {
    let took = began.elapsed();
    seen.requests.fetch_add(1, Ordering::Relaxed);
    if took >= WAIT_MIN {
        let mut waits = seen.waits.lock().expect("nobody panics with it");
        waits.push((began, took));
    }
}

fn await_shared_out(cluster: &Cluster) {
    let mut clients: Vec<Client> = cluster.nodes.iter().map(Node::client).collect();
    let mut sum = |name: &str| -> u64 {
        let stats = clients.iter_mut().map(|client| client.stat("zufar", name));
        stats.sum()
    };
    wait_for("the partitions to be shared out", PATIENCE, || {
        let all = sum("partitions_primary") == PARTITIONS;
        (all && sum("replicas_in_sync") == 2 * PARTITIONS).then_some(())
    });
}

/// Kills or holds the node once. When that was.
fn trouble(cluster: &mut Cluster, plan: &Plan) -> Instant {
    let last = usize::from(plan.nodes) - 1;
    let moment = Instant::now();
    match plan.hold {
        None => {
            cluster.nodes[last].kill_9();
            // Time to take over, and to be missed.
            thread::sleep(Duration::from_secs(2));
            cluster.nodes[last].start();
        }
        Some(hold) => {
            let id = i32::try_from(cluster.nodes[last].id()).expect("ids are small");
            let id = Pid::from_raw(id).expect("ids are above 0");
            kill_process(id, Signal::STOP).expect("it runs");
            thread::sleep(Duration::from_secs(hold));
            kill_process(id, Signal::CONT).expect("it is held");
        }
    }
    await_shared_out(cluster);
    moment
}

fn main() -> ExitCode {
    let plan = Plan::parse();
    let mut cluster = Cluster::start(plan.nodes.into(), |_| Node::options().memory_mib(64));
    await_shared_out(&cluster);
    let asked = &cluster.nodes[..usize::from(plan.nodes) - 1];
    let ports: Vec<u16> = asked.iter().map(Node::port).collect();
    let seen = Seen::default();
    let moments = thread::scope(|scope| {
        for number in 0..plan.connections {
            let (seen, port) = (&seen, ports[number as usize % ports.len()]);
            scope.spawn(move || steady(port, number, seen));
        }
        let mut moments = Vec::new();
        for _ in 0..plan.rounds {
            moments.push(trouble(&mut cluster, &plan));
            thread::sleep(Duration::from_millis(500));
        }
        seen.stop.store(true, Ordering::Relaxed);
        moments
    });
    report(&plan, &seen, &moments)
}

fn report(plan: &Plan, seen: &Seen, moments: &[Instant]) -> ExitCode {
    let waits = seen.waits.lock().expect("all have ended");
    let hit = |(began, took): &&(Instant, Duration)| {
        moments
            .iter()
            .any(|moment| *began + *took > *moment && *began < *moment + Duration::from_secs(1))
    };
    let mut hit: Vec<Duration> = waits.iter().filter(hit).map(|(_, took)| *took).collect();
    hit.sort_unstable();
    let at = |share: f64| -> u128 {
        let index = (hit.len() as f64 * share) as usize;
        hit.get(index.min(hit.len().saturating_sub(1)))
            .map_or(0, Duration::as_millis)
    };
    let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let what = match plan.hold {
        None => "kills".to_owned(),
        Some(hold) => format!("times held for {hold} s"),
    };
    let nodes = plan.nodes;
    println!(
        "{nodes} nodes, {} {what}, {} requests",
        plan.rounds,
        load(&seen.requests)
    );
    println!("{} acknowledged writes lost", load(&seen.lost));
    println!("{} wrong answers", load(&seen.wrong));
    println!("{} answers were errors", load(&seen.errors));
    println!(
        "{} requests waited: p50 {} ms, p99 {} ms, max {} ms",
        hit.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    match load(&seen.lost) + load(&seen.wrong) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
