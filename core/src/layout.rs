//! Who is in the cluster: the layout, entry by entry, and what each node says of itself.
//!
//! Decides how two versions of one entry are merged, so that all nodes come to the same layout in
//! whatever order they hear of it, and the bytes in which entries travel. Refuses to know who is
//! alive (a node that is down keeps its entry), how entries travel, and where data is placed.
//!
//! ```text
//! descriptor = guid:text generation:u64 sequence:u64 health:u16
//!              client:text peer:text version:text later
//! entry      = guid:text generation:u64 sequence:u64 state:u8 weight:u32 rack:text later
//! text       = length:u8 utf-8
//! ```
//!
//! All integers are big endian. `later` is what a later release has added: it is kept and passed
//! on as it came, since an entry that lost it on the way would no longer be the same entry.

#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use nom::combinator::{all_consuming, map_opt, map_res, rest};
use nom::multi::length_data;
use nom::number::complete::{be_u8, be_u16, be_u32, be_u64};
use nom::{IResult, Parser};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::member::Guid;
pub use crate::placement::RACK_BYTES_MAX;

/// Longest descriptor, encoded: it must find room in any datagram, beside what is in there.
pub const DESCRIPTOR_BYTES_MAX: usize = 400;
/// Longest entry of the layout, encoded.
pub const ENTRY_BYTES_MAX: usize = 200;
/// Most nodes that a layout can hold, those that have left included.
pub const NODES_MAX: usize = 4096;

/// What is longer than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// Its length when encoded, in bytes.
    pub bytes: usize,
    /// The bound, in bytes.
    pub bytes_max: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, bytes_max } = self;
        write!(formatter, "{bytes} bytes, and {bytes_max} are allowed")
    }
}

impl core::error::Error for TooLong {}

/// How a node fares, as flags. Those that this release does not know are passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Health(u16);

impl Health {
    /// Nothing to tell.
    pub const NONE: Self = Self(0);
    /// The node holds items, in memory or on disk: it can't take the place of others' data.
    pub const HOLDS_DATA: Self = Self(1);
    /// Its disk has no room: writes wait.
    pub const DISK_FULL: Self = Self(1 << 1);
    /// Its disk fails: writes wait.
    pub const DISK_FAILING: Self = Self(1 << 2);
    /// Its clock is far from that of others.
    pub const CLOCK_SUSPECT: Self = Self(1 << 3);

    /// Whether all flags of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags, and those of `other` as `set` says.
    #[must_use]
    pub const fn with(self, other: Self, set: bool) -> Self {
        match set {
            true => Self(self.0 | other.0),
            false => Self(self.0 & !other.0),
        }
    }
}

/// What a node says of itself. Nobody else writes it; it says nothing about being alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The node.
    pub guid: Guid,
    /// The run that says so.
    pub generation: u64,
    /// Counts what this run has said.
    pub sequence: u64,
    /// How it fares.
    pub health: Health,
    /// Where its clients reach it, as it advertises.
    pub client_address: Box<str>,
    /// Where other nodes reach it, as it advertises.
    pub peer_address: Box<str>,
    /// Its release.
    pub version: Box<str>,
    /// What a later release says beyond that.
    pub later: Box<[u8]>,
}

/// A node's place in the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LayoutState {
    /// It is taking a share for the first time.
    Joining,
    /// It holds its share.
    Normal,
    /// Its share is changing.
    Moving,
    /// It gives its share away.
    Leaving,
    /// It has no share any more.
    Left,
}

impl LayoutState {
    const fn code(self) -> u8 {
        match self {
            Self::Joining => 0,
            Self::Normal => 1,
            Self::Moving => 2,
            Self::Leaving => 3,
            Self::Left => 4,
        }
    }

    const fn of(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Joining),
            1 => Some(Self::Normal),
            2 => Some(Self::Moving),
            3 => Some(Self::Leaving),
            4 => Some(Self::Left),
            _ => None,
        }
    }
}

/// One node in the layout. Its node writes it, and whoever removes a node that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutEntry {
    /// The node.
    pub guid: Guid,
    /// The run that is meant.
    pub generation: u64,
    /// Counts the changes of the entry within a run.
    pub sequence: u64,
    /// Its place.
    pub state: LayoutState,
    /// Its share, relative to the others'; 0 is none.
    pub weight: u32,
    /// Where it stands, at most [`RACK_BYTES_MAX`] bytes.
    pub rack: Box<str>,
    /// What a later release says beyond that.
    pub later: Box<[u8]>,
}

impl Descriptor {
    /// Appends its bytes to `into`.
    ///
    /// # Errors
    /// When they are more than [`DESCRIPTOR_BYTES_MAX`]; nothing is appended then.
    pub fn encode(&self, into: &mut Vec<u8>) -> Result<(), TooLong> {
        bounded(into, DESCRIPTOR_BYTES_MAX, |into| {
            push_text(self.guid.as_str(), into)?;
            into.extend_from_slice(&self.generation.to_be_bytes());
            into.extend_from_slice(&self.sequence.to_be_bytes());
            into.extend_from_slice(&self.health.0.to_be_bytes());
            for text in [&self.client_address, &self.peer_address, &self.version] {
                push_text(text, into)?;
            }
            into.extend_from_slice(&self.later);
            Ok(())
        })
    }

    /// The descriptor that `body` is, all of it; none if it is no descriptor.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        decoded(body, DESCRIPTOR_BYTES_MAX, descriptor)
    }

    /// Whether it replaces `other`: it is of a later run, or this run has said it later. The
    /// content decides between two that should not both exist, so that all decide alike.
    #[must_use]
    pub fn supersedes(&self, other: &Self) -> bool {
        let order = |it: &Self| (it.generation, it.sequence, it.content_hash());
        order(self) > order(other)
    }

    fn content_hash(&self) -> u64 {
        let mut hasher = Xxh3::new();
        hasher.update(&self.health.0.to_be_bytes());
        for text in [&self.client_address, &self.peer_address, &self.version] {
            hasher.update(&[0]);
            hasher.update(text.as_bytes());
        }
        hasher.update(&[0]);
        hasher.update(&self.later);
        hasher.digest()
    }
}

impl LayoutEntry {
    /// Appends its bytes to `into`.
    ///
    /// # Errors
    /// When they are more than [`ENTRY_BYTES_MAX`], or the rack's name is longer than
    /// [`RACK_BYTES_MAX`]; nothing is appended then.
    pub fn encode(&self, into: &mut Vec<u8>) -> Result<(), TooLong> {
        if self.rack.len() > RACK_BYTES_MAX {
            return Err(TooLong {
                bytes: self.rack.len(),
                bytes_max: RACK_BYTES_MAX,
            });
        }
        bounded(into, ENTRY_BYTES_MAX, |into| {
            push_text(self.guid.as_str(), into)?;
            into.extend_from_slice(&self.generation.to_be_bytes());
            into.extend_from_slice(&self.sequence.to_be_bytes());
            self.push_content(into)
        })
    }

    /// The entry that `body` is, all of it; none if it is no entry.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        decoded(body, ENTRY_BYTES_MAX, entry)
    }

    fn push_content(&self, into: &mut Vec<u8>) -> Result<(), TooLong> {
        into.push(self.state.code());
        into.extend_from_slice(&self.weight.to_be_bytes());
        push_text(&self.rack, into)?;
        into.extend_from_slice(&self.later);
        Ok(())
    }

    /// Whether it replaces `other`. Runs come first, then changes within one; between two that
    /// were written at once it is the content, by its hash, so that all decide alike. Where even
    /// the hashes are equal it is the content itself: the order has no ties.
    #[must_use]
    pub fn supersedes(&self, other: &Self) -> bool {
        let stamp = |it: &Self| (it.generation, it.sequence);
        if stamp(self) != stamp(other) {
            return stamp(self) > stamp(other);
        }
        let (ours, theirs) = (self.content(), other.content());
        (xxh3_64(&ours), ours) > (xxh3_64(&theirs), theirs)
    }

    fn content(&self) -> Vec<u8> {
        let mut content = Vec::new();
        self.push_content(&mut content)
            .expect("a rack's name is short");
        content
    }
}

/// What merging an entry has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// It is new, or newer than what was there.
    Changed,
    /// It was known, or something newer was.
    Known,
    /// There is no room for another node.
    NoRoom,
}

/// All entries. Merging is commutative, associative and idempotent: whoever has merged the same
/// entries has the same layout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    entries: BTreeMap<Guid, LayoutEntry>,
}

impl Layout {
    /// Merges one entry.
    pub fn merge(&mut self, entry: LayoutEntry) -> Merged {
        let full = self.entries.len() >= NODES_MAX;
        match self.entries.get_mut(&entry.guid) {
            Some(known) if entry.supersedes(known) => *known = entry,
            Some(_) => return Merged::Known,
            None if full => return Merged::NoRoom,
            None => {
                self.entries.insert(entry.guid, entry);
            }
        }
        Merged::Changed
    }

    /// The entry of one node.
    #[must_use]
    pub fn entry(&self, guid: &Guid) -> Option<&LayoutEntry> {
        self.entries.get(guid)
    }

    /// All entries, by guid.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &LayoutEntry> {
        self.entries.values()
    }

    /// Equal for equal layouts, and hardly for others.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = Xxh3::new();
        let mut bytes = Vec::with_capacity(ENTRY_BYTES_MAX);
        for entry in self.entries.values() {
            bytes.clear();
            entry
                .encode(&mut bytes)
                .expect("what was merged can be encoded");
            hasher.update(&bytes);
        }
        hasher.digest()
    }

    /// Forgets all entries but that of `guid`: this node goes over to another cluster.
    pub(crate) fn retain_only(&mut self, guid: &Guid) {
        self.entries.retain(|other, _| other == guid);
    }
}

fn bounded(
    into: &mut Vec<u8>,
    bytes_max: usize,
    push: impl FnOnce(&mut Vec<u8>) -> Result<(), TooLong>,
) -> Result<(), TooLong> {
    let start = into.len();
    let pushed = push(into);
    let bytes = into.len() - start;
    let result = match pushed {
        Ok(()) if bytes > bytes_max => Err(TooLong { bytes, bytes_max }),
        other => other,
    };
    if result.is_err() {
        into.truncate(start);
    }
    result
}

pub(crate) fn push_text(text: &str, into: &mut Vec<u8>) -> Result<(), TooLong> {
    let bytes = text.len();
    let bytes_max = usize::from(u8::MAX);
    let length = u8::try_from(bytes).map_err(|_| TooLong { bytes, bytes_max })?;
    into.push(length);
    into.extend_from_slice(text.as_bytes());
    Ok(())
}

fn decoded<'a, T>(
    body: &'a [u8],
    bytes_max: usize,
    parser: fn(&'a [u8]) -> IResult<&'a [u8], T>,
) -> Option<T> {
    if body.len() > bytes_max {
        return None;
    }
    let (_, found) = all_consuming(parser).parse(body).ok()?;
    Some(found)
}

fn text(input: &[u8]) -> IResult<&[u8], &str> {
    map_res(length_data(be_u8), core::str::from_utf8).parse(input)
}

pub(crate) fn guid(input: &[u8]) -> IResult<&[u8], Guid> {
    map_res(text, Guid::new).parse(input)
}

fn descriptor(input: &[u8]) -> IResult<&[u8], Descriptor> {
    (guid, be_u64, be_u64, be_u16, text, text, text, rest)
        .map(
            |(guid, generation, sequence, health, client, peer, version, later)| Descriptor {
                guid,
                generation,
                sequence,
                health: Health(health),
                client_address: client.into(),
                peer_address: peer.into(),
                version: version.into(),
                later: later.into(),
            },
        )
        .parse(input)
}

fn rack(input: &[u8]) -> IResult<&[u8], &str> {
    map_opt(text, |rack| (rack.len() <= RACK_BYTES_MAX).then_some(rack)).parse(input)
}

fn entry(input: &[u8]) -> IResult<&[u8], LayoutEntry> {
    let state = map_opt(be_u8, LayoutState::of);
    (guid, be_u64, be_u64, state, be_u32, rack, rest)
        .map(
            |(guid, generation, sequence, state, weight, rack, later)| LayoutEntry {
                guid,
                generation,
                sequence,
                state,
                weight,
                rack: rack.into(),
                later: later.into(),
            },
        )
        .parse(input)
}
