//! One connection to a node, which says the same bytes in pieces of any size.
//!
//! Decides how an input becomes a node, a script and its cuts, and what of the answers depends
//! on the cuts by right. Refuses to know what is said.

use zufar_core::disk::{Batch, Change, Disk, Head, NOTE_CEILING, NOTE_HOT, disk_key, encode_head};
use zufar_core::hash::KeyHash;
use zufar_core::id::WorkerId;
use zufar_core::machine::Listener;
use zufar_core::settings::{Limits, Settings};
use zufar_simulator::ModelDisk;
use zufar_simulator::rig::{START_UNIX_MS, settings};

use crate::node::Node;

/// An input's last bytes: one for the node, the others for the cuts.
const CUTS: usize = 6;
/// Runs of one byte are written as this byte, and how many times 256 it is repeated.
const RUN: u8 = 0xf8;
/// No script is longer.
const SCRIPT_BYTES_MAX: usize = 80 * 1024;
/// The shortest number that is taken for a cas unique.
const CAS_DIGITS_MIN: usize = 16;

/// A node, a script, and where the script is cut.
pub(crate) struct Session {
    workers: u16,
    /// There is a disk, with a few items.
    disk: bool,
    /// Everything has small bounds, so that short scripts reach them.
    narrow: bool,
    /// The disk answers only at the end.
    waits: bool,
    script: Vec<u8>,
    pieces: [usize; CUTS],
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    /// Closed by the node before the client had said all.
    pub(crate) closed: bool,
    /// Closed by the node once the client had said all.
    pub(crate) closed_at_end: bool,
}

impl Session {
    /// Reads an input; none if it is too short to say anything.
    pub(crate) fn of(input: &[u8]) -> Option<Self> {
        let (script, tail) = input.split_at_checked(input.len().checked_sub(1 + CUTS)?)?;
        let node = tail[0];
        let disk = node & 4 != 0;
        Some(Self {
            workers: 1 + u16::from(node & 3),
            disk,
            narrow: node & 8 != 0,
            waits: disk && node & 16 != 0,
            script: expand(script),
            pieces: std::array::from_fn(|index| piece(tail[1 + index])),
        })
    }

    /// What a node answers, cut or not.
    pub(crate) fn answer(&self, listener: Listener, cut: bool) -> Answer {
        let disk = ModelDisk::new();
        if self.disk {
            fill(&disk);
        }
        let seam = self.disk.then(|| (&disk as &dyn Disk, disk.recovery()));
        let mut node = Node::new(self.settings(), START_UNIX_MS, seam, listener);
        node.disk_held = self.waits;
        let (mut rest, mut pieces) = (self.script.as_slice(), self.pieces.iter().cycle());
        while !rest.is_empty() && !node.is_closed() {
            let bytes = match pieces.next() {
                Some(bytes) if cut => rest.len().min(*bytes),
                _ => rest.len(),
            };
            node.send(&rest[..bytes]);
            rest = &rest[bytes..];
        }
        node.disk_held = false;
        node.settle();
        let closed = node.is_closed();
        node.finish();
        Answer {
            closed,
            closed_at_end: node.is_closed(),
            bytes: node.into_heard(),
        }
    }

    /// Whether cas uniques depend on the cuts: on which of two items is read from disk first.
    pub(crate) const fn cas_vary(&self) -> bool {
        self.disk
    }

    fn settings(&self) -> Settings {
        let mut settings = settings(self.workers, 16 << 20, self.disk);
        if self.narrow {
            settings.value_bytes_max = 20_000;
            settings.limits = Limits {
                line_bytes_max: 64,
                checked_line_bytes_max: 160,
                output_bytes_max: 200,
                slots_max: 3,
                credit: 2,
                loads_max: 2,
                frame_bytes_max: 64,
                ..settings.limits
            };
        }
        settings
    }
}

/// The version of the items that [`fill`] leaves.
pub(crate) const FILLED_VERSION: u64 = (START_UNIX_MS - 60_000) << 16;

/// Leaves a few items on a disk, and notes as an earlier run would have.
pub(crate) fn fill(disk: &ModelDisk) {
    let version = FILLED_VERSION;
    let mut batch = Batch {
        number: 1,
        ..Batch::default()
    };
    let large = [b'y'; 5000];
    for (key, value) in [
        ("a", b"1".as_slice()),
        ("b", b"xyz"),
        ("n", b"5"),
        ("big", &large),
    ] {
        let start = batch.arena.len();
        let partition = KeyHash::of(key.as_bytes()).partition();
        disk_key(partition, key.as_bytes(), &mut batch.arena);
        let key = batch.span_from(start);
        let start = batch.arena.len();
        let head = Head {
            version,
            cas: 7,
            flags: 3,
            value_bytes: value.len() as u32,
            ..Head::default()
        };
        encode_head(&head, &mut batch.arena);
        batch.arena.extend_from_slice(value);
        let record = batch.span_from(start);
        batch.changes.push(Change::Put { key, record });
    }
    for (name, content) in [
        (NOTE_CEILING, version.to_be_bytes().as_slice()),
        (&[NOTE_HOT, b"0"].concat(), b"\x01a\x06absent"),
    ] {
        let (name, content) = (batch.push(name), batch.push(content));
        batch.changes.push(Change::Note { name, content });
    }
    disk.write(WorkerId(0), &batch)
        .expect("the disk takes everything");
}

/// The length of a piece: small ones each, larger ones in steps.
fn piece(byte: u8) -> usize {
    match usize::from(byte) {
        small @ 0..128 => small + 1,
        large => (large - 127) * 100,
    }
}

/// Writes out the runs of a script.
fn expand(script: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(script.len());
    let mut bytes = script.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != RUN {
            out.push(byte);
            continue;
        }
        let (Some(times), Some(&last)) = (bytes.next(), out.last()) else {
            continue;
        };
        let grown = (out.len() + usize::from(times) * 256).min(SCRIPT_BYTES_MAX);
        out.resize(grown.max(out.len()), last);
    }
    out
}

/// An answer without the stats whose names begin so.
pub(crate) fn without_counts(answer: &[u8], names: &[&str]) -> Vec<u8> {
    let varies = |line: &[u8]| {
        line.strip_prefix(b"STAT ")
            .is_some_and(|rest| names.iter().any(|name| rest.starts_with(name.as_bytes())))
    };
    let lines = answer.split_inclusive(|&byte| byte == b'\n');
    lines
        .filter(|line| !varies(line))
        .flatten()
        .copied()
        .collect()
}

/// An answer in which all cas uniques are the same.
pub(crate) fn without_cas(answer: &[u8]) -> Vec<u8> {
    let same_kind = |a: &u8, b: &u8| a.is_ascii_digit() == b.is_ascii_digit();
    let mut out = Vec::with_capacity(answer.len());
    for run in answer.chunk_by(same_kind) {
        if run[0].is_ascii_digit() && run.len() >= CAS_DIGITS_MIN {
            out.push(b'#');
        } else {
            out.extend_from_slice(run);
        }
    }
    out
}
