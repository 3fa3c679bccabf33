//! Nanoseconds that reading a line and rendering an answer take: figures to look at, no gate.
//!
//! `cargo bench -p zufar-core [-- PART-OF-A-NAME]`

#![allow(clippy::print_stdout, missing_docs)]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use zufar_core::command::{Item, Outcome, Value};
use zufar_core::protocol::{
    NextKey, ParseLimits, Request, Sink, next_key, parse, render, render_value,
};
use zufar_core::time::{Now, Time};

const ROUNDS: u32 = 50_000;
const REPEATS: u32 = 100;
const NOW: Now = Now {
    time: Time::ZERO,
    unix_ms: 1_700_000_000_000,
};
const LIMITS: ParseLimits = ParseLimits {
    value_bytes_max: 1 << 20,
    flush_enabled: true,
    shutdown_enabled: false,
};

/// A sink that starts again when it is full.
struct Buffer(Vec<u8>);

impl Sink for Buffer {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn share(&mut self, bytes: Bytes) {
        self.0.extend_from_slice(&bytes);
    }
}

fn measure(name: &str, mut work: impl FnMut()) {
    let mut wanted = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"));
    if wanted.next().is_some_and(|wanted| !name.contains(&wanted)) {
        return;
    }
    let mut best = f64::INFINITY;
    for _ in 0..REPEATS {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            work();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(ROUNDS));
    }
    println!("{best:7.1} ns  {name}");
}

fn main() {
    for line in [
        "get key:000000000001",
        "gets key:000000000001",
        "set key:000000000001 0 0 100",
        "set key:000000000001 0 3600 100 noreply",
        "cas key:000000000001 0 3600 100 1234567890123",
        "delete key:000000000001",
        "incr key:000000000001 1",
        "gat 3600 key:000000000001",
        "mg key:000000000001 v",
        "mg key:000000000001 s v f c k q Oopaque",
        "mg a2V5OjAwMDAwMDAwMDAwMQ== b v",
        "ms key:000000000001 100 T3600 F5 q",
    ] {
        measure(&format!("parse {line}"), || {
            let request = parse(black_box(line.as_bytes()), black_box(NOW), &LIMITS);
            black_box(&request).as_ref().expect("a request");
        });
    }
    keys();
    answers();
}

fn keys() {
    measure("parse get and read its one key", || {
        let line = black_box(b"get key:000000000001".as_slice());
        let Ok(Request::Get(get)) = parse(line, NOW, &LIMITS) else {
            unreachable!("a get");
        };
        for key in get.keys() {
            black_box(key);
        }
    });
    let many = format!("get {}", vec!["key:000000000001"; 100].join(" "));
    measure("parse get and read its 100 keys", || {
        let Ok(Request::Get(get)) = parse(black_box(many.as_bytes()), NOW, &LIMITS) else {
            unreachable!("a get");
        };
        for key in get.keys() {
            black_box(key);
        }
    });
    measure("next_key of an unfinished line", || {
        let next = next_key(black_box(b"key:000000000001 key:"));
        assert!(matches!(next, NextKey::Key { .. }));
    });
}

fn answers() {
    let item = Item {
        value: Value::Small(&[b'x'; 100]),
        flags: 0,
        cas: 1_234_567_890_123,
        expired_s_before: 0,
        vivified: false,
        expires_s: 0,
        accessed_s: 0,
        fetched: true,
        stale: false,
        token_sent: false,
        won: false,
        memory_bytes: 160,
    };
    let mut buffer = Buffer(Vec::with_capacity(4096));
    for (name, with_cas) in [("render VALUE", false), ("render VALUE with cas", true)] {
        measure(name, || {
            buffer.0.clear();
            let key = black_box(b"key:000000000001");
            render_value(&mut buffer, key, with_cas, black_box(&item));
            black_box(&buffer.0);
        });
    }
    let hit = Outcome::Item(item);
    let stored = Outcome::Stored {
        cas: 1,
        value_bytes: 100,
    };
    for (line, outcome) in [
        ("mg key:000000000001 v", &hit),
        ("mg key:000000000001 s v f c k q Oopaque", &hit),
        ("set key:000000000001 0 0 100", &stored),
        ("ms key:000000000001 100 c", &stored),
    ] {
        let request = parse(line.as_bytes(), NOW, &LIMITS).expect("a request");
        measure(&format!("render {line}"), || {
            buffer.0.clear();
            render(&mut buffer, black_box(&request), black_box(outcome), NOW);
            black_box(&buffer.0);
        });
    }
}
