//! Split invariance: however a client's bytes are cut into reads, the answers are the same.

use std::sync::Arc;

use proptest::prelude::*;
use zufar_simulator::rig::settings;
use zufar_simulator::{ModelDisk, Random, Rig};

/// The answers to `script`, which arrives in pieces that end at `cuts`.
fn answers(script: &[u8], cuts: &[usize], workers: u16, disk: bool) -> (Vec<u8>, bool) {
    let node = settings(workers, 16 << 20, disk);
    let mut rig = Rig::new(node, Arc::new(ModelDisk::new()));
    let client = rig.connect(0);
    let mut start = 0;
    for end in cuts.iter().copied().chain([script.len()]) {
        if start < end && !rig.is_closed(client) {
            rig.send(client, &script[start..end]);
        }
        start = start.max(end);
    }
    (rig.take(client), rig.is_closed(client))
}

/// A session of commands, right ones and wrong ones, drawn from `seed`.
fn script(seed: u64, commands: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut script = Vec::new();
    for _ in 0..commands {
        let key = format!("k{}", random.below(6));
        let number = random.below(30);
        let length = match random.below(12) {
            0 => 5000,
            1 => 70_000,
            2 => 1_048_577,
            _ => random.below(40),
        } as usize;
        let data = "d".repeat(length);
        let line = match random.below(26) {
            0..=4 => format!("set {key} {number} 0 {length}\r\n{data}\r\n"),
            5 => format!("set {key} 0 0 {length} noreply\r\n{data}\r\n"),
            6 => format!("add {key} 0 0 2\n42\r\n"),
            7 => format!("append {key} 0 0 {length}\r\n{data}\r\n"),
            8..=10 => format!("get {key} k1 k2 nothing\r\n"),
            11 => format!("gat 100 {key} k3\r\n"),
            12 => format!("delete {key}\r\n"),
            13 => format!("incr {key} {number}\r\n"),
            14 => format!("set {key} 0 0 3\r\nabcd\r\n"),
            15 => format!("set {key} 0 0 -1\r\n"),
            16 => format!("ms {key} {length} T0 MS\r\n{data}\r\n"),
            17 => format!("mg {key} v f s k O{number} q\r\n"),
            18 => format!("md {key} q\r\nmn\r\n"),
            19 => format!("ma {key} N0 J{number} v\r\n"),
            20 => "nonsense here\r\n".to_owned(),
            21 => "\r\n".to_owned(),
            22 => format!("get {}\r\n", "x".repeat(251)),
            23 => format!("get {}\r\n", "aaaaaaaaa ".repeat(8000)),
            24 => "flush_all\r\n".to_owned(),
            _ => format!("touch {key} {number}\r\n"),
        };
        script.extend_from_slice(line.as_bytes());
    }
    script
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn answers_do_not_depend_on_the_cuts(
        seed in any::<u64>(),
        cut_seed in any::<u64>(),
        pieces in 1_usize..200,
        workers in 1_u16..4,
        disk in any::<bool>(),
    ) {
        let script = script(seed, 60);
        let whole = answers(&script, &[], workers, disk);
        let mut random = Random::new(cut_seed);
        let mut cuts: Vec<usize> = (0..pieces)
            .map(|_| random.below(script.len() as u64 + 1) as usize)
            .collect();
        cuts.sort_unstable();
        let cut = answers(&script, &cuts, workers, disk);
        prop_assert!(whole == cut, "seed {} cut by {} differs", seed, cut_seed);
        prop_assert!(!whole.0.is_empty());
    }
}

#[test]
fn byte_by_byte_is_the_same() {
    for seed in 0..20 {
        let mut script = script(seed, 25);
        script.truncate(150_000);
        let cuts: Vec<usize> = (1..script.len()).collect();
        let whole = answers(&script, &[], 2, true);
        assert!(whole == answers(&script, &cuts, 2, true), "seed {seed}");
    }
}
