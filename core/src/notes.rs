//! What a node keeps on disk of its cluster, beside items: the content of its notes.
//!
//! Decides their form, so that a later run finds what an earlier one knew, and counts a damaged
//! note as none. Refuses to know when a note is written and where it lies.
//!
//! ```text
//! note       = version:u8 hash:u64 body        the hash is xxh3's, of version and body
//! formation  = generation:u64 order:u64 number:u64
//! generation = number:u64
//! layout     = *( length:u16 entry )           as `layout` lays them out
//! members    = *( length:u16 guid address )    guid = length:u8 text; address is the rest
//! replica    = option(term) option(record)     as `replication::wire` lays them out
//! mixed      = flag:u8                         1 if it is
//! ```
//!
//! All integers are big endian. A note of another version counts as none, too: it is another
//! release's.

#[cfg(test)]
mod tests;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::num::NonZeroU64;

use nom::combinator::{all_consuming, map_res, rest};
use nom::multi::{length_data, many0};
use nom::number::complete::be_u16;
use nom::{IResult, Parser};
use xxhash_rust::xxh3::Xxh3;

use crate::disk::{
    NOTE_FORMATION, NOTE_GENERATION, NOTE_LAYOUT, NOTE_MEMBERS, NOTE_MIXED, NOTE_RECORD,
    NOTES_OF_CLUSTER,
};
use crate::id::WorkerId;
use crate::layout::{LayoutEntry, NODES_MAX, guid, push_text};
use crate::member::Guid;
use crate::membership::Formation;
use crate::replication::{Record, Term, wire};

/// The version of all notes' form.
const VERSION: u8 = 1;
/// Version and hash, in bytes.
const HEAD_BYTES: usize = 1 + 8;

/// What the last run knew of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterNotes {
    /// The cluster that it belonged to.
    pub formation: Option<Formation>,
    /// Of the note that this comes from: the run, and how many clusters it had been of.
    formation_order: (u64, u64),
    /// A number that it has given itself while it ran, since others knew one above its own; 0 if
    /// it has not. The next one is to be above it.
    pub generation: u64,
    /// The layout.
    pub layout: Vec<LayoutEntry>,
    /// The other nodes, and where each is reached, as it advertised.
    pub members: Vec<(Guid, String)>,
    /// What it kept as voter: the partition, the highest term promised, the record last accepted.
    pub records: Vec<(u16, Option<Term>, Record)>,
    /// Partitions of which the disk has a mixture: what a fill has brought, and older items that it
    /// should not have any more.
    pub mixed: Vec<u16>,
    /// The names of notes that are damaged, or another release's. Each counts as none.
    pub damaged: Vec<String>,
}

impl ClusterNotes {
    /// Takes the note that a disk has under `name`; false if it is none of these.
    pub fn take(&mut self, name: &[u8], content: &[u8]) -> bool {
        if !NOTES_OF_CLUSTER.iter().any(|start| name.starts_with(start)) {
            return false;
        }
        if open(content)
            .and_then(|body| self.read(name, body))
            .is_none()
        {
            self.damaged.push(shown(name));
        }
        true
    }

    fn read(&mut self, name: &[u8], body: &[u8]) -> Option<()> {
        if name.starts_with(NOTE_FORMATION) {
            self.read_formation(body)?;
        } else if name == NOTE_GENERATION {
            self.generation = number(body)?;
        } else if name == NOTE_LAYOUT {
            self.layout = list(body, LayoutEntry::decode)?;
        } else if name == NOTE_MEMBERS {
            self.members = list(body, decode_member)?;
        } else if name.starts_with(NOTE_MIXED) {
            let partition = partition_of(NOTE_MIXED, name)?;
            match body {
                [0] => {}
                [1] => self.mixed.push(partition),
                _ => return None,
            }
        } else {
            let partition = partition_of(NOTE_RECORD, name)?;
            let (promised, record) = wire::decode_kept(body).ok()?;
            if let Some(record) = record {
                self.records.push((partition, promised, record));
            }
        }
        Some(())
    }

    /// Of the notes of all workers the latest counts.
    fn read_formation(&mut self, body: &[u8]) -> Option<()> {
        let (generation, rest) = body.split_first_chunk()?;
        let (order, rest) = rest.split_first_chunk()?;
        let formation = Formation(NonZeroU64::new(number(rest)?)?);
        let order = (u64::from_be_bytes(*generation), u64::from_be_bytes(*order));
        if self.formation.is_none() || order > self.formation_order {
            (self.formation, self.formation_order) = (Some(formation), order);
        }
        Some(())
    }
}

/// The cluster that the node belongs to: the one that the run with this generation is of after
/// `order` others.
pub(crate) fn formation(generation: u64, order: u64, formation: Formation) -> Vec<u8> {
    sealed(|body| {
        for number in [generation, order, formation.0.get()] {
            body.extend_from_slice(&number.to_be_bytes());
        }
    })
}

/// Under which name a worker keeps it. Each has its own: one that is behind the others, and goes on
/// in a cluster that the node has left, is not to have the last word.
pub(crate) fn formation_name(worker: WorkerId) -> Vec<u8> {
    [NOTE_FORMATION, &worker.0.to_be_bytes()].concat()
}

/// The number that this run has given itself.
pub(crate) fn generation(generation: u64) -> Vec<u8> {
    sealed(|body| body.extend_from_slice(&generation.to_be_bytes()))
}

/// The layout.
pub(crate) fn layout<'a>(entries: impl Iterator<Item = &'a LayoutEntry>) -> Vec<u8> {
    sealed(|body| {
        for entry in entries {
            push_part(body, |body| {
                entry.encode(body).expect("what was merged can be encoded");
            });
        }
    })
}

/// The other nodes, and where each is reached.
pub(crate) fn members<'a>(members: impl Iterator<Item = (Guid, &'a str)>) -> Vec<u8> {
    sealed(|body| {
        for (guid, address) in members {
            push_part(body, |body| {
                push_text(guid.as_str(), body).expect("a guid is short");
                body.extend_from_slice(address.as_bytes());
            });
        }
    })
}

/// What a voter of a partition keeps.
pub(crate) fn record(promised: Option<Term>, record: &Record) -> Vec<u8> {
    sealed(|body| wire::encode_kept(promised, Some(record), body))
}

/// Under which name that is kept.
pub(crate) fn record_name(partition: u16) -> Vec<u8> {
    [NOTE_RECORD, &partition.to_be_bytes()].concat()
}

/// Whether what the disk has of a partition is mixed.
pub(crate) fn mixed(is_mixed: bool) -> Vec<u8> {
    sealed(|body| body.push(is_mixed.into()))
}

/// Under which name that is noted.
pub(crate) fn mixed_name(partition: u16) -> Vec<u8> {
    [NOTE_MIXED, &partition.to_be_bytes()].concat()
}

fn partition_of(start: &[u8], name: &[u8]) -> Option<u16> {
    let partition = name.strip_prefix(start)?.try_into().ok()?;
    Some(u16::from_be_bytes(partition)).filter(|it| (*it as usize) < crate::hash::PARTITIONS)
}

/// A note's name for people.
fn shown(name: &[u8]) -> String {
    let starts = [("replica", NOTE_RECORD), ("mixed", NOTE_MIXED)];
    let shown = starts.iter().find_map(|(shown, start)| {
        let partition = partition_of(start, name)?;
        Some(format!("{shown}/{partition}"))
    });
    shown.unwrap_or_else(|| format!("{}", name.escape_ascii()))
}

fn sealed(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut note = alloc::vec![0; HEAD_BYTES];
    note[0] = VERSION;
    write(&mut note);
    let hash = hash(VERSION, &note[HEAD_BYTES..]);
    note[1..HEAD_BYTES].copy_from_slice(&hash.to_be_bytes());
    note
}

/// The body of a note; none if it is damaged, or not of this version.
fn open(note: &[u8]) -> Option<&[u8]> {
    let (version, note) = note.split_first()?;
    let (kept, body) = note.split_first_chunk()?;
    let is_whole = *version == VERSION && u64::from_be_bytes(*kept) == hash(*version, body);
    is_whole.then_some(body)
}

fn hash(version: u8, body: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&[version]);
    hasher.update(body);
    hasher.digest()
}

fn number(body: &[u8]) -> Option<u64> {
    body.try_into().ok().map(u64::from_be_bytes)
}

fn push_part(body: &mut Vec<u8>, push: impl FnOnce(&mut Vec<u8>)) {
    let start = body.len();
    body.extend_from_slice(&[0; 2]);
    push(body);
    let length = u16::try_from(body.len() - start - 2).expect("parts are short");
    body[start..start + 2].copy_from_slice(&length.to_be_bytes());
}

/// All parts of a body, or none if one of them is not what it should be.
fn list<T>(body: &[u8], one: impl Fn(&[u8]) -> Option<T>) -> Option<Vec<T>> {
    let parts = many0(length_data::<_, nom::error::Error<&[u8]>, _>(be_u16));
    let (_, parts) = all_consuming(parts).parse(body).ok()?;
    if parts.len() > NODES_MAX {
        return None;
    }
    parts.into_iter().map(one).collect()
}

fn decode_member(part: &[u8]) -> Option<(Guid, String)> {
    let address = map_res(rest, core::str::from_utf8);
    let parsed: IResult<_, _> = (guid, address).parse(part);
    let (_, (guid, address)) = parsed.ok()?;
    Some((guid, address.into()))
}
