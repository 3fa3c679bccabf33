//! Killed again and again under load: nothing that the node has called safe is lost.
//!
//! Writers set and delete; meanwhile `stats zufar` is asked how far the disk lags behind. What
//! had been acknowledged longer ago than that must be there after the kill, nothing older may
//! come back in its place, and no cas unique may ever stand for two things.
//!
//! `ZUFAR_KILLS` sets the number of kills (10), `ZUFAR_SEED` what the writers do and when they
//! are killed, `ZUFAR_KEEP` a directory that gets a copy of what the last kill has left.
#![allow(missing_docs)]

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use zufar_tests::history::{History, State};
use zufar_tests::program::Program;
use zufar_tests::random::Random;
use zufar_tests::{Client, Node, PATIENCE, wait_for};

const WRITERS: usize = 4;
const KEYS_PER_WRITER: u64 = 2_000;
/// A watermark that stays so far behind the kill would make the check worthless.
const LAG_MS_MAX: u64 = 10_000;

fn number_from_environment(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Err(_) => default,
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    }
}

/// Numbers that no write has used before.
static NEXT: AtomicU64 = AtomicU64::new(1);

fn value_of(number: u64, random: &mut Random) -> Vec<u8> {
    let mut value = format!("{number}:").into_bytes();
    let bytes = match random.below(100) {
        0 => 60_000,
        1..10 => 5_000,
        _ => 10 + random.below(300),
    };
    value.resize(value.len() + bytes as usize, b'.');
    value
}

fn number_in(value: &[u8]) -> u64 {
    let end = value
        .iter()
        .position(|&byte| byte == b':')
        .expect("a colon");
    let (number, rest) = value.split_at(end);
    assert!(
        rest[1..].iter().all(|&byte| byte == b'.'),
        "a damaged value"
    );
    let number = std::str::from_utf8(number).expect("digits");
    number.parse().expect("a number")
}

struct Writer {
    name: usize,
    random: Random,
    history: History,
}

impl Writer {
    /// Changes keys until the connection breaks. Anything but a broken connection is a failure.
    fn run(&mut self, port: u16) {
        let Ok(mut client) = Client::try_connect(port) else {
            return;
        };
        while self.change(&mut client).is_some() {}
    }

    fn change(&mut self, client: &mut Client) -> Option<()> {
        let key = format!("w{}:{}", self.name, self.random.below(KEYS_PER_WRITER));
        if self.random.below(4) == 0 {
            self.history.begin(&key, None);
            let answer = client.try_ask(&format!("delete {key}")).ok()?;
            if answer == "NOT_FOUND" {
                let held = self.history.is_surely_held(&key);
                assert!(!held, "{key} is there, and delete answers {answer}");
            }
            self.settle(&key, &answer, ["DELETED", "NOT_FOUND"].contains(&&*answer));
            return Some(());
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let value = value_of(number, &mut self.random);
        let head = format!("ms {key} {} c\r\n", value.len());
        self.history.begin(&key, Some(number));
        client
            .try_send(&[head.as_bytes(), &value, b"\r\n"].concat())
            .ok()?;
        let answer = client.try_line().ok()?;
        let unique = answer
            .strip_prefix("HD c")
            .and_then(|unique| unique.parse().ok());
        self.settle(&key, &answer, unique.is_some());
        if let Some(unique) = unique {
            let noted = self.history.note_unique(&key, unique, number);
            noted.unwrap_or_else(|error| panic!("{error}"));
        }
        Some(())
    }

    fn settle(&mut self, key: &str, answer: &str, done: bool) {
        if done {
            self.history.acknowledge(key, answer, Instant::now());
        } else {
            assert!(answer.starts_with("SERVER_ERROR "), "{key}: {answer}");
            if answer.starts_with("SERVER_ERROR out of memory") {
                self.history.refuse_and_drop(key, answer, Instant::now());
            } else {
                self.history.refuse(key, answer, Instant::now());
            }
        }
    }

    /// Compares what is there after a restart with what must be.
    fn check(&mut self, client: &mut Client, watermark: Instant) -> Vec<(String, String)> {
        let mut errors = Vec::new();
        for key in self.history.keys() {
            client.send(format!("mg {key} c v\r\n"));
            let line = client.line();
            let mut found: State = None;
            if let Some(words) = line.strip_prefix("VA ") {
                let (bytes, unique) = words.split_once(" c").expect("a cas unique");
                let bytes: usize = bytes.parse().expect("a length");
                let value = client.try_bytes(bytes + 2).expect("a value");
                let number = number_in(&value[..bytes]);
                let unique = unique.parse().expect("a cas unique is a number");
                found = Some(number);
                let noted = self.history.note_unique(&key, unique, number);
                errors.extend(noted.err().map(|error| (key.clone(), error)));
            } else {
                assert_eq!(line, "EN");
            }
            let fits = self.history.recover(&key, found, watermark);
            errors.extend(fits.err().map(|error| (key, error)));
        }
        self.history.forget_refusals();
        errors
    }
}

/// Asks all nodes for their lag until a connection breaks; returns up to when all is safe.
fn watch(ports: &[u16], dead: &AtomicBool) -> (Instant, u64) {
    thread::scope(|scope| {
        let each = ports
            .iter()
            .map(|port| scope.spawn(|| watch_one(*port, dead)));
        let each: Vec<_> = each.collect();
        let seen = each
            .into_iter()
            .map(|it| it.join().expect("it does not fail"));
        seen.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
            .expect("there is a node")
    })
}

/// Asks for the lag until the connection breaks; returns up to when all is safe on this node.
fn watch_one(port: u16, dead: &AtomicBool) -> (Instant, u64) {
    let mut watermark = None;
    let mut worst = 0;
    if let Ok(mut client) = Client::try_connect(port) {
        while !dead.load(Ordering::Relaxed) {
            let asked = Instant::now();
            let Ok(stats) = client.try_stats("zufar") else {
                break;
            };
            let lag = stats.iter().find(|(name, _)| name == "written_lag_ms");
            let (_, lag) = lag.expect("stats zufar shows the lag");
            let lag: u64 = lag.parse().expect("a number");
            assert!(lag < LAG_MS_MAX, "the disk lags {lag} ms behind");
            worst = worst.max(lag);
            // The figure is rounded down.
            watermark = asked
                .checked_sub(Duration::from_millis(lag + 1))
                .or(watermark);
            thread::sleep(Duration::from_millis(3));
        }
    }
    (watermark.expect("the lag has been seen"), worst)
}

fn round(node: &mut Node, writers: &mut [Writer], life: Duration) -> (Instant, Instant, u64) {
    let port = node.port();
    let ports: Vec<u16> = node.all().map(Node::port).collect();
    let dead = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&ports, &dead));
        for writer in writers {
            scope.spawn(|| writer.run(port));
        }
        thread::sleep(life);
        let killed = Instant::now();
        node.kill_9();
        dead.store(true, Ordering::Relaxed);
        let (watermark, worst) = watcher.join().expect("the watcher does not fail");
        (killed, watermark, worst)
    })
}

/// Copies what the kill has left to where `ZUFAR_KEEP` says, in place of what the one before
/// has left.
fn keep_data(node: &Node) {
    let Some(home) = std::env::var_os("ZUFAR_KEEP") else {
        return;
    };
    let script = "rm -rf \"$1\" && cp -r \"$0\" \"$1\"";
    let status = Command::new("sh")
        .args(["-c", script])
        .arg(node.data_dir())
        .arg(home)
        .status();
    assert!(status.is_ok_and(|status| status.success()), "ZUFAR_KEEP");
}

/// Whether what is wrong right after the start is still so later: lost, or only not found.
fn second_look(node: &mut Node, errors: &[(String, String)]) -> String {
    let look = |node: &Node| -> Vec<String> {
        let mut client = node.client();
        errors
            .iter()
            .map(|(key, _)| client.ask(&format!("mg {key} c s t")))
            .collect()
    };
    let at_once = look(node);
    wait_for("preloading to end", PATIENCE, || {
        let workers = node.client().stat("zufar", "preloading_workers");
        (workers == 0).then_some(())
    });
    let warm = look(node);
    node.kill_9();
    node.start();
    let again = look(node);
    let lines = errors.iter().enumerate().map(|(at, (_, error))| {
        let (at_once, warm, again) = (&at_once[at], &warm[at], &again[at]);
        format!("{error}\n    a moment later {at_once}, when warm {warm}, started again {again}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn kills_under_load_lose_no_more_than_the_lag() {
    if Program::is_stand_in() {
        return;
    }
    let kills = number_from_environment("ZUFAR_KILLS", 10);
    let seed = number_from_environment("ZUFAR_SEED", u64::from(std::process::id()));
    let mut random = Random::new(seed);
    let mut writers: Vec<Writer> = (0..WRITERS)
        .map(|name| Writer {
            name,
            random: Random::new(random.number()),
            history: History::default(),
        })
        .collect();
    let mut node = Node::options().memory_mib(16).start();
    let mut unsafe_ms_worst = 0;
    for kill in 0..kills {
        let life = Duration::from_millis(50 + random.below(1_000));
        let (killed, watermark, lag_ms) = round(&mut node, &mut writers, life);
        unsafe_ms_worst = unsafe_ms_worst.max(killed.duration_since(watermark).as_millis());
        keep_data(&node);
        node.start();
        let mut client = node.client();
        let errors: Vec<(String, String)> = writers
            .iter_mut()
            .flat_map(|writer| writer.check(&mut client, watermark))
            .collect();
        if !errors.is_empty() {
            panic!(
                "kill {kill} of {kills} after {life:?}, lag up to {lag_ms} ms, ZUFAR_SEED={seed}: \
                 {} keys are wrong:\n{}",
                errors.len(),
                second_look(&mut node, &errors[..errors.len().min(20)])
            );
        }
    }
    let written = NEXT.load(Ordering::Relaxed);
    assert!(written > kills * 100, "only {written} writes: no load");
    report(&format!(
        "{kills} kills, {written} writes, at most {unsafe_ms_worst} ms before a kill not yet safe"
    ));
}

/// Prints what a person who started this by hand wants to know.
#[expect(clippy::print_stdout, reason = "cargo shows it on request")]
fn report(text: &str) {
    println!("{text}");
}
