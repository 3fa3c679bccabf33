//! Nodes of one cluster of which any says anything: over links that have come through their
//! hellos, between what it really says.
//!
//! Decides how bytes become a course of events, and what must hold whatever was said: nobody
//! panics, bounds hold, what has not the form of its kind ends its link and is counted, and every
//! node still answers its clients. Refuses to know what is true in the end: of nodes that lie
//! nothing is promised.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};

use zufar_core::protocol::forward::{decode_answer, decode_request};
use zufar_core::protocol::link::{self, LinkFrame};
use zufar_core::protocol::peer;
use zufar_core::replication::wire;

use crate::cluster::{Cluster, Shape, cluster_formation, node_id};
use crate::says::{Heard, KEYS, Says, partitions};

/// Steps of one run, at most.
const STEPS_MAX: usize = 200;
/// Virtual time that the steps of one run may take, in milliseconds.
const STEPS_MS_MAX: u64 = 8_000;
/// Frames that have passed and may be said again.
const PASSED_MAX: usize = 64;
/// Longest frame of the peer protocol, as nodes have it here.
const FRAME_BYTES_MAX: usize = 64 * 1024;
/// How long a node may take to answer a client in the end, in milliseconds.
const PATIENCE_MS: u64 = 6_000;

/// A frame that has passed: over which connection, which way, and its bytes.
type Passed = (usize, bool, Vec<u8>);

struct Run {
    cluster: Cluster,
    heard: Heard,
    passed: VecDeque<Passed>,
    clients: Vec<usize>,
    /// Connections that ask for figures and nothing else.
    operators: Vec<usize>,
    /// Ways on which half a frame was said: what follows is its rest.
    halved: BTreeSet<(usize, bool)>,
    ms_left: u64,
}

/// Runs what `input` says: one byte for the nodes, then what happens to them.
pub fn hostile_peers(input: &[u8]) {
    let Some((&shape, script)) = input.split_first() else {
        return;
    };
    let mut run = Run::new(shape);
    let mut script = script.iter().copied();
    for _ in 0..STEPS_MAX {
        let Some(step) = script.next() else {
            break;
        };
        run.step(step, &mut script);
    }
    run.end();
}

impl Run {
    fn new(shape: u8) -> Self {
        let shape = Shape {
            nodes: 2 + usize::from(shape & 1),
            workers: 1 + u16::from(shape >> 1 & 1),
            disk: shape & 4 != 0,
        };
        let mut cluster = Cluster::new(shape, &partitions());
        let clients = (0..shape.nodes).map(|node| cluster.client(node)).collect();
        let operators = (0..shape.nodes).map(|node| cluster.client(node)).collect();
        Self {
            cluster,
            heard: Heard::default(),
            passed: VecDeque::new(),
            clients,
            operators,
            halved: BTreeSet::new(),
            ms_left: STEPS_MS_MAX,
        }
    }

    fn step(&mut self, step: u8, script: &mut dyn Iterator<Item = u8>) {
        match step {
            0..0x90 => self.say(script),
            0x90..0xa8 => self.say_again(script),
            0xa8..0xb0 => self.say_anything(script),
            0xb0..0xd8 => self.ask(script),
            0xd8..0xec => self.pass(script),
            0xec..0xf8 => self.hold(script),
            0xf8.. => self.cut(script),
        }
        self.listen();
    }

    /// Takes note of what has passed.
    fn listen(&mut self) {
        for (connection, forth, bytes) in self.cluster.passed() {
            self.heard.note(&bytes);
            self.passed.push_front((connection, forth, bytes));
        }
        self.passed.truncate(PASSED_MAX);
    }

    /// A connection between nodes, and which way something goes.
    fn way(&self, script: &mut dyn Iterator<Item = u8>) -> Option<(usize, bool)> {
        let byte = script.next().unwrap_or_default();
        let all = self.cluster.between_nodes();
        let connection = all.get(usize::from(byte >> 1) % all.len().max(1))?;
        Some((*connection, byte & 1 == 0))
    }

    /// A node says something of the right form.
    fn say(&mut self, script: &mut dyn Iterator<Item = u8>) {
        let Some((connection, forth)) = self.way(script) else {
            return;
        };
        let [from, to] = [!forth, forth].map(|forth| self.cluster.at_end(connection, forth));
        let (Some(from), Some(to)) = (from, to) else {
            return;
        };
        let mut says = Says {
            heard: &self.heard,
            bytes: script,
            now: self.cluster.now(),
            from: node_id(from),
            to: node_id(to),
        };
        let frames = says.frames();
        self.inject(connection, forth, &frames, 0);
    }

    /// Something is said once more, there or elsewhere, and perhaps not as it was.
    fn say_again(&mut self, script: &mut dyn Iterator<Item = u8>) {
        let mut byte = || script.next().unwrap_or_default();
        let (which, how) = (byte(), byte());
        let all = self.passed.len().max(1);
        let Some((connection, forth, bytes)) = self.passed.get(usize::from(which) % all) else {
            return;
        };
        let mut way = (*connection, *forth);
        let mut bytes = bytes.clone();
        if how & 1 != 0 {
            let at = usize::from(byte()) | usize::from(byte()) << 8;
            let at = at % bytes.len();
            bytes[at] = byte();
        }
        if how & 2 != 0
            && let Some(other) = self.way(script)
        {
            way = other;
        }
        self.inject(way.0, way.1, &bytes, how >> 4);
    }

    /// Bytes in a frame, of any kind.
    fn say_anything(&mut self, script: &mut dyn Iterator<Item = u8>) {
        let Some((connection, forth)) = self.way(script) else {
            return;
        };
        let length = usize::from(script.next().unwrap_or_default()) % 80;
        let mut frame = (length as u32 + 1).to_be_bytes().to_vec();
        frame.extend(script.take(length + 1));
        frame.resize(4 + length + 1, 0);
        self.inject(connection, forth, &frame, 1);
    }

    /// Has frames arrive, in `pieces` more than one, and sees that what is malformed ends the link.
    fn inject(&mut self, connection: usize, forth: bool, frames: &[u8], pieces: u8) {
        let Some(_) = self.cluster.hears(connection, forth) else {
            return;
        };
        let Some(hearer) = self.cluster.at_end(connection, forth) else {
            return;
        };
        let way = (connection, forth);
        let is_judged = self.cluster.has_said(connection) && !self.halved.contains(&way);
        let malformed = is_judged && has_malformed(frames, forth, self.cluster.workers());
        if !is_whole(frames) {
            self.halved.insert(way);
        }
        let before = malformed.then(|| self.refused(hearer));
        let piece = frames.len() / (usize::from(pieces) + 1) + 1;
        for part in frames.chunks(piece) {
            self.cluster.inject(connection, forth, part);
        }
        if let Some(before) = before {
            self.await_end(connection, forth, frames);
            assert!(self.refused(hearer) > before, "it was not counted");
        }
    }

    /// A frame may have to wait for what is said to the one before it.
    fn await_end(&mut self, connection: usize, forth: bool, frames: &[u8]) {
        let mut waited_ms = 0;
        while self.cluster.at_end(connection, forth).is_some() {
            assert!(
                waited_ms < PATIENCE_MS,
                "a malformed frame has not ended its link: {}",
                frames.escape_ascii()
            );
            self.cluster.advance(100);
            waited_ms += 100;
        }
    }

    /// Frames that a node has refused.
    fn refused(&mut self, node: usize) -> u64 {
        self.figures(node, ["refused_frames"])[0]
    }

    fn figures<const COUNT: usize>(&mut self, node: usize, names: [&str; COUNT]) -> [u64; COUNT] {
        let operator = self.operators[node];
        self.cluster.say(operator, b"stats zufar\r\n");
        let stats = self.cluster.heard(operator);
        let stats = String::from_utf8_lossy(&stats);
        names.map(|name| {
            let line = stats.lines().find_map(|line| {
                let rest = line.strip_prefix("STAT ")?.strip_prefix(name)?;
                rest.strip_prefix(' ')?.parse().ok()
            });
            line.unwrap_or_else(|| panic!("{name} is not among {stats}"))
        })
    }

    /// A client asks a node for something.
    fn ask(&mut self, script: &mut dyn Iterator<Item = u8>) {
        let mut byte = || script.next().unwrap_or_default();
        let (who, what) = (byte(), byte());
        let client = self.clients[usize::from(who) % self.clients.len()];
        let key = KEYS[usize::from(who >> 4) % KEYS.len()];
        let request = match what % 10 {
            0 => format!("get {key}\r\n"),
            1 => format!("set {key} 0 0 3\r\n{what:03}\r\n"),
            2 => format!("delete {key}\r\n"),
            3 => format!("mg {key} v t N30 R20 s c\r\n"),
            4 => format!("incr {key} 7\r\n"),
            5 => format!("set {key} 0 0 6000\r\n{}\r\n", "L".repeat(6000)),
            6 => format!("ma {key} N0 J5 t c v\r\n"),
            7 => format!("gat 100 {} {key}\r\n", KEYS.join(" ")),
            8 => format!("ms {key} 2 C5 I T60 c\r\nhi\r\n"),
            _ if what > 240 => "flush_all\r\n".into(),
            _ => format!("me {key}\r\nmd {key} I T30 c\r\n"),
        };
        self.cluster.say(client, request.as_bytes());
    }

    fn pass(&mut self, script: &mut dyn Iterator<Item = u8>) {
        let ms = match u64::from(script.next().unwrap_or_default()) {
            short @ 0..200 => short,
            long => (long - 180) * 20,
        };
        let ms = ms.min(self.ms_left);
        self.ms_left -= ms;
        self.cluster.advance(ms);
    }

    fn hold(&mut self, script: &mut dyn Iterator<Item = u8>) {
        if let Some((connection, forth)) = self.way(script) {
            self.cluster.hold(connection, forth);
        }
    }

    fn cut(&mut self, script: &mut dyn Iterator<Item = u8>) {
        if let Some((connection, _)) = self.way(script) {
            self.cluster.cut(connection);
        }
    }

    /// What must hold, however it went.
    fn end(mut self) {
        self.cluster.release();
        self.cluster.advance(PATIENCE_MS);
        for (node, client) in self.clients.clone().into_iter().enumerate() {
            self.cluster.heard(client);
            self.cluster.say(client, b"mn\r\n");
            let mut waited_ms = 0;
            while !self.cluster.heard(client).ends_with(b"MN\r\n") {
                assert!(waited_ms < PATIENCE_MS, "a node owes a client an answer");
                self.cluster.advance(100);
                waited_ms += 100;
            }
            let names = ["memory_bytes", "memory_shared_out_bytes"];
            let [used, shared] = self.figures(node, names);
            assert!(used <= shared, "{used} of {shared} bytes are used");
        }
    }
}

/// Whether nothing is missing at the end.
fn is_whole(mut frames: &[u8]) -> bool {
    while let Ok(Some((_, bytes))) = peer::decode(frames, FRAME_BYTES_MAX) {
        frames = &frames[bytes..];
    }
    frames.is_empty()
}

/// Whether one of `frames` certainly has not the form of its kind, or goes the wrong way. Only
/// what a link carries is looked at.
fn has_malformed(mut frames: &[u8], forth: bool, workers: u16) -> bool {
    while !frames.is_empty() {
        match peer::decode(frames, FRAME_BYTES_MAX) {
            Ok(Some((_, bytes))) => {
                if is_malformed(frames[4], &frames[5..bytes], forth, workers) {
                    return true;
                }
                frames = &frames[bytes..];
            }
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
    false
}

/// With several workers what is said to another one than the link's is judged there, and counted.
fn is_malformed(kind: u8, body: &[u8], forth: bool, workers: u16) -> bool {
    if kind < link::KIND_LOWEST {
        return false;
    }
    match link::decode(kind, body) {
        Ok(None) | Err(_) => true,
        Ok(Some(LinkFrame::Request { body, .. })) => !forth || decode_request(body).is_err(),
        Ok(Some(LinkFrame::Answer { body })) => forth || decode_answer(body).is_err(),
        Ok(Some(LinkFrame::Refusal { .. })) => forth,
        Ok(Some(LinkFrame::Replica { body })) => !forth || is_malformed_batch(body, workers),
        Ok(Some(LinkFrame::Large { .. })) => !forth,
        Ok(Some(LinkFrame::Chunk { .. } | LinkFrame::Cancel { .. })) => false,
    }
}

fn is_malformed_batch(body: &[u8], workers: u16) -> bool {
    let Ok((formation, messages)) = wire::formation(body) else {
        return true;
    };
    if workers > 1 {
        return wire::split(messages, |_, _| {}).is_err();
    }
    // What is said in another cluster is not looked at.
    let batch = bytes::Bytes::copy_from_slice(messages);
    formation == cluster_formation() && wire::decode(&batch, |_, _| {}).is_err()
}
