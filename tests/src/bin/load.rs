//! A closed-loop load from one thread, and what it costs the server: rate, latency, CPU and
//! memory an operation.
//!
//! Decides what is sent and how answers are counted. Refuses to know which server answers: the
//! CPU is read from `/proc`, and only the lag needs Zufar's own statistics.
//!
//! ```text
//! zufar-load 11211 PID get --connections 50 --depth 32 --keys 200000 --value-bytes 100
//! zufar-load 11211 PID fill --keys 1000000
//! zufar-load 11211 PID distinct --seconds 60
//! ```
#![expect(clippy::print_stdout, reason = "its report is what it is for")]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use zufar_tests::Client;
use zufar_tests::process::{Cpu, cpu, resident_bytes, written_bytes};
use zufar_tests::random::{Random, Zipf};

/// Left out of the figures: connections, caches and branch predictors settle.
const WARM_UP: Duration = Duration::from_millis(700);
const READ_BYTES: usize = 256 * 1024;
/// Latencies kept; more are dropped, the first ones count.
const LATENCIES_MAX: usize = 4_000_000;
const POOL_BYTES: usize = 1 << 20;
const KEYS_PER_MULTIGET: u64 = 50;
const MEBI: f64 = (1 << 20) as f64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Operation {
    /// Random keys.
    Get,
    /// Random keys.
    Set,
    /// Fifty random keys a request; each key counts as an operation.
    Mget50,
    /// Nine gets to one set.
    Mixed,
    /// Every key once, in order.
    Fill,
    /// Keys that were never there before, for as long as told.
    Distinct,
}

/// A closed-loop load from one thread.
#[derive(Debug, Parser)]
struct Arguments {
    /// The server's port on 127.0.0.1.
    port: u16,
    /// The server's process id.
    process: u32,
    /// More processes whose CPU counts, such as the other nodes of a cluster.
    #[arg(long, value_name = "PID")]
    also: Vec<u32>,
    /// What is asked for.
    operation: Operation,
    /// Connections.
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Requests that a connection sends before it waits for all of their answers.
    #[arg(long, default_value_t = 1)]
    depth: usize,
    /// Keys that there are.
    #[arg(long, default_value_t = 200_000)]
    keys: u64,
    /// Length of every value.
    #[arg(long, default_value_t = 100)]
    value_bytes: usize,
    /// How long it is measured.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Draws keys from a Zipf distribution with this exponent rather than evenly.
    #[arg(long)]
    zipf: Option<f64>,
    /// Also prints one line a second.
    #[arg(long)]
    every_second: bool,
}

/// What is sent: requests, drawn or counted.
struct Source {
    operation: Operation,
    keys: u64,
    value_bytes: usize,
    /// Values are cut from here: bytes that no compression makes smaller.
    pool: Vec<u8>,
    random: Random,
    zipf: Option<Zipf>,
    next: u64,
}

impl Source {
    fn new(arguments: &Arguments) -> Self {
        let zipf = arguments
            .zipf
            .map(|exponent| Zipf::new(arguments.keys, exponent));
        let mut random = Random::new(1);
        let words = (POOL_BYTES + arguments.value_bytes) / 8 + 1;
        let pool = (0..words)
            .flat_map(|_| random.number().to_le_bytes())
            .collect();
        // Neighbouring ranks shall not be neighbouring keys, but every run draws the same.
        Self {
            operation: arguments.operation,
            keys: arguments.keys,
            value_bytes: arguments.value_bytes,
            pool,
            random,
            zipf,
            next: 0,
        }
    }

    fn key(&mut self) -> u64 {
        match &self.zipf {
            None => self.random.below(self.keys),
            Some(zipf) => scattered(zipf.draw(&mut self.random), self.keys),
        }
    }

    /// Appends one request; false when there is nothing left to ask.
    fn push_request(&mut self, out: &mut Vec<u8>) -> bool {
        match self.operation {
            Operation::Get => self.push_get(out),
            Operation::Set => {
                let key = self.key();
                self.push_set(key, out);
            }
            Operation::Mixed if self.random.below(10) == 0 => {
                let key = self.key();
                self.push_set(key, out);
            }
            Operation::Mixed => self.push_get(out),
            Operation::Mget50 => {
                out.extend_from_slice(b"get");
                for _ in 0..KEYS_PER_MULTIGET {
                    let key = self.key();
                    out.push(b' ');
                    push_key(key, out);
                }
                out.extend_from_slice(b"\r\n");
            }
            Operation::Fill | Operation::Distinct => {
                if self.operation == Operation::Fill && self.next == self.keys {
                    return false;
                }
                let key = self.next;
                self.next += 1;
                self.push_set(key, out);
            }
        }
        true
    }

    fn push_get(&mut self, out: &mut Vec<u8>) {
        let key = self.key();
        out.extend_from_slice(b"get ");
        push_key(key, out);
        out.extend_from_slice(b"\r\n");
    }

    fn push_set(&mut self, key: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(b"set ");
        push_key(key, out);
        out.extend_from_slice(format!(" 0 0 {}\r\n", self.value_bytes).as_bytes());
        let start = scattered(key, POOL_BYTES as u64) as usize;
        out.extend_from_slice(&self.pool[start..start + self.value_bytes]);
        out.extend_from_slice(b"\r\n");
    }
}

/// Sixteen bytes.
fn push_key(key: u64, out: &mut Vec<u8>) {
    let mut digits = *b"key:000000000000";
    let mut rest = key;
    for digit in digits[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits);
}

/// A fixed permutation-like spreading of ranks over keys.
fn scattered(rank: u64, keys: u64) -> u64 {
    (u128::from(rank) * 0x9e37_79b9_7f4a_7c15 % u128::from(keys)) as u64
}

/// Counts answers as they come, in whatever pieces.
#[derive(Debug, Default)]
struct Answers {
    line: Vec<u8>,
    skip: usize,
    complete: usize,
    hits: u64,
    errors: u64,
}

impl Answers {
    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
                self.line.extend_from_slice(bytes);
                return;
            };
            let (line, rest) = bytes.split_at(end + 1);
            bytes = rest;
            if self.line.is_empty() {
                self.take_line(line);
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.take_line(&whole);
            }
        }
    }

    fn take_line(&mut self, line: &[u8]) {
        if line.starts_with(b"VALUE ") {
            let text = line.trim_ascii_end();
            let length = text.rsplit(|&byte| byte == b' ').next().unwrap_or(b"");
            let digits = length.iter().map(|digit| usize::from(digit - b'0'));
            self.skip = digits.fold(0, |sum, digit| sum * 10 + digit) + 2;
            self.hits += 1;
        } else {
            self.complete += 1;
            if line != b"END\r\n" && line != b"STORED\r\n" {
                self.errors += 1;
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    output: Vec<u8>,
    written: usize,
    waiting: usize,
    asked: Instant,
    answers: Answers,
}

impl Connection {
    fn open(port: u16) -> io::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: TcpStream::from_std(stream),
            output: Vec::new(),
            written: 0,
            waiting: 0,
            asked: Instant::now(),
            answers: Answers::default(),
        })
    }

    /// Sends the next requests; false when there are none.
    fn ask(&mut self, source: &mut Source, depth: usize) -> io::Result<bool> {
        self.output.clear();
        self.written = 0;
        self.waiting = 0;
        while self.waiting < depth && source.push_request(&mut self.output) {
            self.waiting += 1;
        }
        self.asked = Instant::now();
        self.write()?;
        Ok(self.waiting > 0)
    }

    fn write(&mut self) -> io::Result<()> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof)),
                Ok(read) => {
                    self.answers.take(&buffer[..read]);
                    if read < buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

#[derive(Debug, Default)]
struct Report {
    seconds: f64,
    operations: u64,
    hits: u64,
    errors: u64,
    cpu: Cpu,
    latencies_us: Vec<u32>,
}

impl Report {
    fn latency_us(&self, share: f64) -> u32 {
        let last = self.latencies_us.len().saturating_sub(1);
        let at = (last as f64 * share) as usize;
        self.latencies_us.get(at).copied().unwrap_or(0)
    }

    fn print(&self, arguments: &Arguments) {
        let each_us = |seconds: f64| seconds * 1e6 / self.operations.max(1) as f64;
        let resident = |kind| resident_bytes(arguments.process, kind).unwrap_or(0);
        println!(
            "operation={:?} connections={} depth={} operations={} rate={:.0} p50_us={} p99_us={} \
             p999_us={} cpu_us={:.3} user_us={:.3} system_us={:.3} hit_share={:.4} errors={} \
             resident_bytes={} anonymous_bytes={}",
            arguments.operation,
            arguments.connections,
            arguments.depth,
            self.operations,
            self.operations as f64 / self.seconds,
            self.latency_us(0.5),
            self.latency_us(0.99),
            self.latency_us(0.999),
            each_us(self.cpu.total_s()),
            each_us(self.cpu.user_s),
            each_us(self.cpu.system_s),
            self.hits as f64 / self.operations.max(1) as f64,
            self.errors,
            resident("VmRSS"),
            resident("RssAnon"),
        );
    }
}

/// Operations done so far, for whoever prints while the load runs.
static DONE: AtomicU64 = AtomicU64::new(0);

/// A load under way.
struct Load<'a> {
    arguments: &'a Arguments,
    source: Source,
    connections: Vec<Connection>,
    poll: Poll,
    /// Connections that still have something to ask.
    active: usize,
    /// Set once it is measured: when, with what CPU used and how many hits seen.
    start: Option<(Instant, Cpu, u64)>,
    report: Report,
}

impl<'a> Load<'a> {
    fn open(arguments: &'a Arguments) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut source = Source::new(arguments);
        let mut connections = Vec::new();
        for number in 0..arguments.connections {
            let mut connection = Connection::open(arguments.port)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry()
                .register(&mut connection.stream, Token(number), interest)?;
            connection.ask(&mut source, arguments.depth)?;
            connections.push(connection);
        }
        Ok(Self {
            arguments,
            source,
            active: connections.len(),
            connections,
            poll,
            start: None,
            report: Report::default(),
        })
    }

    fn hits(&self) -> u64 {
        self.connections.iter().map(|one| one.answers.hits).sum()
    }

    fn cpu(&self) -> Cpu {
        let also = self.arguments.also.iter().copied();
        let processes = std::iter::once(self.arguments.process).chain(also);
        processes.fold(Cpu::default(), |sum, process| {
            let one = cpu(process).unwrap_or_default();
            Cpu {
                user_s: sum.user_s + one.user_s,
                system_s: sum.system_s + one.system_s,
            }
        })
    }

    fn run(mut self) -> io::Result<Report> {
        let operation = self.arguments.operation;
        // New keys are counted from the first one on.
        let counted = matches!(operation, Operation::Fill | Operation::Distinct);
        let warm_up = if counted { Duration::ZERO } else { WARM_UP };
        let measured_from = Instant::now() + warm_up;
        let until = measured_from + Duration::from_secs_f64(self.arguments.seconds);
        let mut events = Events::with_capacity(512);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let now = Instant::now();
            if self.start.is_none() && now >= measured_from {
                self.start = Some((now, self.cpu(), self.hits()));
            }
            let is_over = operation != Operation::Fill && now >= until;
            if self.active == 0 || is_over {
                return Ok(self.finish());
            }
            self.poll
                .poll(&mut events, Some(Duration::from_millis(100)))?;
            for event in &events {
                let connection = &mut self.connections[event.token().0];
                if event.is_writable() {
                    connection.write()?;
                }
                connection.read(&mut buffer)?;
                if connection.waiting > 0 && connection.answers.complete >= connection.waiting {
                    self.answered(event.token().0)?;
                }
            }
        }
    }

    /// All that connection `number` has asked for has been answered.
    fn answered(&mut self, number: usize) -> io::Result<()> {
        let connection = &mut self.connections[number];
        if self.start.is_some() {
            let keys_per_request = match self.arguments.operation {
                Operation::Mget50 => KEYS_PER_MULTIGET,
                _ => 1,
            };
            let report = &mut self.report;
            report.operations += connection.waiting as u64 * keys_per_request;
            DONE.store(report.operations, Ordering::Relaxed);
            if report.latencies_us.len() < LATENCIES_MAX {
                let waited = connection.asked.elapsed().as_micros();
                let waited = u32::try_from(waited).unwrap_or(u32::MAX);
                report.latencies_us.push(waited);
            }
        }
        connection.answers.complete = 0;
        if !connection.ask(&mut self.source, self.arguments.depth)? {
            self.active -= 1;
        }
        Ok(())
    }

    fn finish(mut self) -> Report {
        let (started, cpu, hits) = self
            .start
            .unwrap_or((Instant::now(), self.cpu(), self.hits()));
        self.report.seconds = started.elapsed().as_secs_f64();
        self.report.cpu = self.cpu().since(cpu);
        self.report.hits = self.hits() - hits;
        self.report.errors = self.connections.iter().map(|one| one.answers.errors).sum();
        self.report.latencies_us.sort_unstable();
        self.report
    }
}

/// What `stats zufar` says, or nothing where it is another server.
struct Disk {
    client: Client,
}

impl Disk {
    fn of(port: u16) -> Option<Self> {
        let client = Client::try_connect(port).ok()?;
        let mut disk = Self { client };
        disk.figure("written_lag_ms").map(|_| disk)
    }

    fn figure(&mut self, name: &str) -> Option<u64> {
        let stats = self.client.try_stats("zufar").ok()?;
        let (_, value) = stats.into_iter().find(|(known, _)| known == name)?;
        value.parse().ok()
    }
}

/// Prints a line a second until told to stop.
fn narrate(arguments: &Arguments, stop: &AtomicBool) {
    let mut disk = Disk::of(arguments.port);
    let start = Instant::now();
    let mut before = 0;
    for second in 1.. {
        while start.elapsed() < Duration::from_secs(second) {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let done = DONE.load(Ordering::Relaxed);
        let resident = resident_bytes(arguments.process, "VmRSS").unwrap_or(0);
        let mut line = format!(
            "second={second} rate={} resident_mib={:.0}",
            done - before,
            resident as f64 / MEBI
        );
        before = done;
        for name in [
            "written_lag_ms",
            "synced_lag_ms",
            "dirty_bytes",
            "stalled_writes",
        ] {
            if let Some(figure) = disk.as_mut().and_then(|disk| disk.figure(name)) {
                line.push_str(&format!(" {name}={figure}"));
            }
        }
        println!("{line}");
    }
}

/// What the disk did meanwhile: what was written for each byte stored, and what had to be read.
fn print_disk(arguments: &Arguments, report: &Report, before: &DiskBefore) {
    let Some(mut disk) = Disk::of(arguments.port) else {
        return;
    };
    let written = written_bytes(arguments.process).unwrap_or(0) - before.written_bytes;
    let stored = report.operations * (arguments.value_bytes as u64 + 16);
    let mut figure = |name| disk.figure(name).unwrap_or(0);
    let reads = figure("disk_reads") - before.reads;
    println!(
        "written_bytes={written} written_per_stored={:.2} disk_reads={reads} \
         disk_read_share={:.4} written_lag_worst_ms={} synced_lag_worst_ms={} disk_bytes={} \
         disk_memory_bytes={} stalled_writes={} refused_writes={}",
        written as f64 / stored.max(1) as f64,
        reads as f64 / report.operations.max(1) as f64,
        figure("written_lag_worst_ms"),
        figure("synced_lag_worst_ms"),
        figure("disk_bytes"),
        figure("disk_memory_bytes"),
        figure("stalled_writes"),
        figure("refused_writes"),
    );
}

#[derive(Default)]
struct DiskBefore {
    written_bytes: u64,
    reads: u64,
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let mut before = DiskBefore::default();
    if let Some(mut disk) = Disk::of(arguments.port) {
        before.written_bytes = written_bytes(arguments.process).unwrap_or(0);
        before.reads = disk.figure("disk_reads").unwrap_or(0);
    }
    let stop = AtomicBool::new(false);
    let report = thread::scope(|scope| {
        if arguments.every_second {
            scope.spawn(|| narrate(arguments, &stop));
        }
        let report = Load::open(arguments).and_then(Load::run);
        stop.store(true, Ordering::Relaxed);
        report
    })?;
    report.print(arguments);
    print_disk(arguments, &report, &before);
    Ok(())
}

#[expect(clippy::print_stderr, reason = "the one line that says why it failed")]
fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zufar-load: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_in_any_pieces() {
        let bytes = b"VALUE key:000000000001 0 9\r\nEND\r\nvv\r\n\r\nEND\r\nSTORED\r\nERROR x\r\n";
        for size in 1..bytes.len() {
            let mut answers = Answers::default();
            for piece in bytes.chunks(size) {
                answers.take(piece);
            }
            assert_eq!((answers.complete, answers.hits, answers.errors), (3, 1, 1));
        }
    }

    #[test]
    fn keys_have_sixteen_bytes() {
        let mut out = Vec::new();
        push_key(1_234, &mut out);
        assert_eq!(out, b"key:000000001234");
    }
}
