//! Instructions that it takes to protect what nodes say to each other: figures that a busy machine
//! does not change.
//!
//! `cargo bench -p zufar-core --bench secure`, where there is a valgrind. Each scenario runs twice
//! under callgrind, once for longer, in a process of its own; the difference leaves out the start.
//! valgrind has AVX2 but nothing wider.

#![allow(clippy::print_stdout, missing_docs)]

mod callgrind;

use std::process::ExitCode;

use zufar_core::member::{Guid, NodeId};
use zufar_core::secure::{Credentials, Datagrams, Secrets, Seed, Stream};

/// How often the shorter and the longer run do it.
const TIMES: [usize; 2] = [100, 600];

struct Scenario {
    name: &'static str,
    /// Bytes that are protected at a time.
    bytes: usize,
    run: fn(bytes: usize, times: usize),
}

const SCENARIOS: &[Scenario] = &[
    scenario("record of 100 bytes, sealed", 100, seal_records),
    scenario("record of 100 bytes, opened", 100, open_records),
    scenario("record of 1 KiB, sealed", 1 << 10, seal_records),
    scenario("record of 1 KiB, opened", 1 << 10, open_records),
    scenario("record of 15 KiB, sealed", 15 << 10, seal_records),
    scenario("record of 15 KiB, opened", 15 << 10, open_records),
    scenario("1 KiB in clear text", 1 << 10, clear_text),
    scenario("datagram of 100 bytes, sealed", 100, seal_datagrams),
    scenario("datagram of 100 bytes, opened", 100, open_datagrams),
    scenario("datagram of 1358 bytes, sealed", 1358, seal_datagrams),
    scenario("datagram of 1358 bytes, opened", 1358, open_datagrams),
    scenario("handshake, both ends", 0, handshakes),
    scenario("opening with a wrong secret, refused", 0, wrong_secrets),
];

const fn scenario(name: &'static str, bytes: usize, run: fn(usize, usize)) -> Scenario {
    Scenario { name, bytes, run }
}

fn credentials(secret: &str) -> Credentials {
    let secrets = Secrets::parse(secret.as_bytes()).expect("a secret");
    Credentials::new("benched", Some(secrets))
}

fn open_pair(credentials: &Credentials) -> (Stream, Stream) {
    let (mut there, mut back, mut nothing) = (Vec::new(), Vec::new(), Vec::new());
    let mut initiator = Stream::initiator(credentials, Seed::new([1; 32]), &mut there);
    let mut responder = Stream::responder(credentials, Seed::new([2; 32]));
    let accepted = responder.receive(&there, &mut nothing, &mut back);
    let connected = initiator.receive(&back, &mut nothing, &mut there);
    assert_eq!((accepted, connected), (Ok(()), Ok(())));
    (initiator, responder)
}

fn ours() -> Credentials {
    credentials("0123456789abcdef0123456789abcdef")
}

fn seal_records(bytes: usize, times: usize) {
    let (mut initiator, _) = open_pair(&ours());
    let (plaintext, mut output) = (vec![7; bytes], Vec::new());
    for _ in 0..times {
        output.clear();
        initiator.send(&plaintext, &mut output);
    }
    assert!(output.len() > bytes);
}

/// Each run seals as many as the longer one needs, so that sealing is not in the difference.
fn open_records(bytes: usize, times: usize) {
    let (mut initiator, mut responder) = open_pair(&ours());
    let (plaintext, mut opened, mut nothing) = (vec![7; bytes], Vec::new(), Vec::new());
    let records = (0..TIMES[1]).map(|_| {
        let mut record = Vec::new();
        initiator.send(&plaintext, &mut record);
        record
    });
    let records: Vec<_> = records.collect();
    for record in &records[..times] {
        opened.clear();
        let received = responder.receive(record, &mut opened, &mut nothing);
        assert_eq!(received, Ok(()));
    }
    assert_eq!(opened, plaintext);
}

fn clear_text(bytes: usize, times: usize) {
    let mut stream = Stream::responder(&Credentials::new("", None), Seed::new([2; 32]));
    let (plaintext, mut opened, mut nothing) = (vec![0; bytes], Vec::new(), Vec::new());
    for _ in 0..times {
        opened.clear();
        let received = stream.receive(&plaintext, &mut opened, &mut nothing);
        assert_eq!(received, Ok(()));
    }
}

fn datagrams() -> (Datagrams, Guid) {
    let guid = Guid::new("benched").expect("a guid");
    let generation = 1;
    let datagrams = Datagrams::new(&ours(), NodeId { guid, generation }, &Seed::new([3; 32]));
    (datagrams, guid)
}

fn seal_datagrams(bytes: usize, times: usize) {
    let (mut datagrams, guid) = datagrams();
    let (payload, mut output) = (vec![7; bytes], Vec::new());
    for _ in 0..times {
        output.clear();
        datagrams.seal(guid, &payload, &mut output);
    }
    assert!(output.len() > bytes);
}

fn open_datagrams(bytes: usize, times: usize) {
    let (mut datagrams, guid) = datagrams();
    let (payload, mut opened) = (vec![7; bytes], Vec::new());
    let all = (0..TIMES[1]).map(|_| {
        let mut datagram = Vec::new();
        datagrams.seal(guid, &payload, &mut datagram);
        datagram
    });
    let all: Vec<_> = all.collect();
    for datagram in &all[..times] {
        opened.clear();
        assert_eq!(datagrams.open(datagram, &mut opened), Ok(()));
    }
    assert_eq!(opened, payload);
}

fn handshakes(_: usize, times: usize) {
    let credentials = ours();
    for _ in 0..times {
        open_pair(&credentials);
    }
}

fn wrong_secrets(_: usize, times: usize) {
    let (ours, theirs) = (ours(), credentials("fedcba9876543210fedcba9876543210"));
    let (mut opening, mut nothing) = (Vec::new(), Vec::new());
    let _ = Stream::initiator(&theirs, Seed::new([1; 32]), &mut opening);
    // Of our key id, so that it is not refused by that alone.
    let mut named = Vec::new();
    let _ = Stream::initiator(&ours, Seed::new([1; 32]), &mut named);
    opening[8] = named[8];
    for _ in 0..times {
        let mut responder = Stream::responder(&ours, Seed::new([2; 32]));
        let refused = responder.receive(&opening, &mut nothing, &mut named);
        assert!(refused.is_err());
        named.clear();
    }
}

fn main() -> ExitCode {
    if let Some((index, times)) = callgrind::wanted() {
        let scenario = &SCENARIOS[index];
        (scenario.run)(scenario.bytes, times);
        return ExitCode::SUCCESS;
    }
    println!("{:>12} {:>9}", "instructions", "a byte");
    let names = SCENARIOS.iter().map(|scenario| scenario.name);
    callgrind::count_all(names, TIMES, |index, each| {
        let byte = match SCENARIOS[index].bytes {
            0 => String::new(),
            bytes => format!("{:.2}", each as f64 / bytes as f64),
        };
        println!("{each:>12} {byte:>9}  {}", SCENARIOS[index].name);
    })
}
