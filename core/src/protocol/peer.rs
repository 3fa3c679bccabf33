//! The peer protocol's frames: what nodes, and the `zufar` commands that ask one, say to it.
//!
//! Decides the frames' layout, the bounds that hold before anything is allocated, and what a
//! later release may add without breaking this one. Refuses to know connections, who may speak
//! and in which order.
//!
//! ```text
//! frame  = length:u32 kind:u8 body          length counts kind and body
//! text   = length:u8 utf-8
//! nodes  = length:u32 *( length:u16 node )
//! ```
//!
//! All integers are big endian. A body and a node may grow at their end: what this release does
//! not know there is passed over. Anything else that changes is a new protocol version, which
//! [`Hello`](Frame::Hello) negotiates; the layout of `Hello`, `HelloReply` and `Refused` never
//! changes but at the end. A kind that is not known decodes as [`Frame::Unknown`], so that it
//! can be answered.

mod error;
mod flush;
mod partitions;
mod raw;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use nom::bytes::complete::tag;
use nom::combinator::{cond, map_opt, map_res};
use nom::multi::{fill, length_data, length_value};
use nom::number::complete::{be_u8, be_u16, be_u32, be_u64};
use nom::{IResult, Parser};

pub use error::PeerError;
pub use flush::{FlushStep, Flushes};
pub use partitions::{Owner, Partitions};
use raw::LENGTH_BYTES;
pub use raw::{RawFrame, split};

/// The first bytes of every hello: whoever sends anything else speaks another protocol.
pub const MAGIC: &[u8] = b"zufar";
/// The lowest protocol version that this release speaks.
pub const VERSION_LOWEST: u16 = 1;
/// The highest protocol version that this release speaks.
pub const VERSION_HIGHEST: u16 = 1;
/// Longest text that a frame can hold.
pub const TEXT_BYTES_MAX: usize = u8::MAX as usize;

const KIND_HELLO: u8 = 1;
const KIND_HELLO_REPLY: u8 = 2;
const KIND_REFUSED: u8 = 3;
const KIND_STATUS_REQUEST: u8 = 4;
const KIND_STATUS_REPLY: u8 = 5;
const KIND_PARTITIONS_REQUEST: u8 = 6;
const KIND_PARTITIONS_REPLY: u8 = 7;
const KIND_STATE_REQUEST: u8 = 16;
const KIND_STATE_REPLY: u8 = 17;
const KIND_DEATH_QUESTION: u8 = 18;
const KIND_DEATH_ANSWER: u8 = 19;
const KIND_FIGURES_REQUEST: u8 = 20;
const KIND_FLUSH: u8 = 21;
const KIND_FLUSH_REPLY: u8 = 22;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The first frame of whoever connects.
    Hello {
        /// The lowest version that it speaks.
        lowest: u16,
        /// The highest version that it speaks.
        highest: u16,
        /// The node that speaks; empty for a command.
        guid: &'a str,
        /// What a node says of itself beyond its name; none for a command.
        node: Option<Introduction<'a>>,
    },
    /// Answers a hello.
    HelloReply {
        /// The version that both speak from now on: see [`common_version`].
        version: u16,
        /// The node that answers.
        guid: &'a str,
        /// What it says of itself; none where a command has asked.
        node: Option<Introduction<'a>>,
    },
    /// Answers what can't be carried out; the connection is then closed.
    Refused {
        /// Why, for programs.
        reason: Reason,
        /// Why, for people.
        text: &'a str,
    },
    /// Asks for the state of the cluster as the node sees it.
    StatusRequest,
    /// Asks for the state of the node itself, by another one. The answer is a status reply, too.
    FiguresRequest,
    /// Answers a status request. Parts that are not the last are followed by more.
    StatusReply {
        /// Whether it is the last part.
        last: bool,
        /// The nodes, in the order to be shown.
        nodes: Vec<NodeStatus<'a>>,
    },
    /// Asks who holds a key, or everything.
    PartitionsRequest {
        /// The key; empty for everything.
        key: &'a [u8],
    },
    /// Answers that.
    PartitionsReply(Partitions<'a>),
    /// What the sender knows of the cluster, and a wish to hear the same. Parts that are not the
    /// last are followed by more.
    StateRequest {
        /// Whether it is the last part.
        last: bool,
        /// Records, as [`crate::membership`] lays them out.
        records: &'a [u8],
    },
    /// Answers a state request, in parts.
    StateReply {
        /// Whether it is the last part.
        last: bool,
        /// Records, as [`crate::membership`] lays them out.
        records: &'a [u8],
    },
    /// Asks whether a run of a node is dead for the receiver, too.
    DeathQuestion {
        /// The node.
        guid: &'a str,
        /// The run.
        generation: u64,
    },
    /// Answers that question.
    DeathAnswer {
        /// The node.
        guid: &'a str,
        /// The run.
        generation: u64,
        /// What the sender has found.
        verdict: DeathVerdict,
    },
    /// Asks another node to take a step of a flush of the whole cluster.
    Flush {
        /// Which flush of the sender's it is.
        number: u64,
        /// The step.
        step: FlushStep,
    },
    /// The step has been taken.
    FlushReply {
        /// The highest version that was drawn, for [`FlushStep::Hold`].
        version: u64,
        /// Whatever draws versions has waited all the time, for [`FlushStep::Drop`].
        held: bool,
    },
    /// A kind that this release does not know.
    Unknown {
        /// Its number.
        kind: u8,
    },
}

/// What a node says of itself in a hello or its reply, so that both see whether they belong
/// together before either believes anything else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Introduction<'a> {
    /// The cluster's name.
    pub cluster: &'a str,
    /// Which forming of a cluster of that name it belongs to; 0 if to none yet.
    pub formation: u64,
    /// Partitions of the key space.
    pub partitions: u32,
    /// Replicas of each.
    pub replication_factor: u8,
    /// Its run.
    pub generation: u64,
    /// Where other nodes reach it, as an IP address and port.
    pub address: &'a str,
    /// In a reply: the highest generation that it has heard of for the node that has said hello;
    /// 0 if none.
    pub known_generation: u64,
    /// Whether it serves, and is not just looking for others.
    pub serving: bool,
    /// Whether it, or a node that it knows of, holds data.
    pub holds_data: bool,
    /// What it knows of flushes.
    pub flushes: Flushes,
}

/// Whether a run of a node is dead, as another node has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeathVerdict {
    /// It is: its address refuses connections, or gossip has it down, or a later run has come.
    Dead,
    /// It accepts connections.
    Alive,
    /// The sender could not find out in time.
    Unknown,
}

impl DeathVerdict {
    const fn code(self) -> u8 {
        match self {
            Self::Dead => 0,
            Self::Alive => 1,
            Self::Unknown => 2,
        }
    }

    const fn of(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Dead),
            1 => Some(Self::Alive),
            2 => Some(Self::Unknown),
            _ => None,
        }
    }
}

/// Why a node refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no protocol version that both speak.
    Version,
    /// The frame is not one that the node knows, or is malformed.
    Frame,
    /// The frame came when it was not allowed, such as before the hello.
    Order,
    /// The node is not able to answer for the moment.
    Busy,
    /// The other end does not know the cluster's secret, or encrypts where nothing is encrypted.
    Secret,
    /// The other end belongs to a cluster of another name.
    Cluster,
    /// The other end divides keys into another number of partitions, or keeps another number of
    /// replicas.
    Partitions,
    /// Another live node has the same name.
    Guid,
    /// Two clusters of one name were formed apart, and both hold data.
    Formation,
    /// A reason that this release does not know.
    Other(u8),
}

impl Reason {
    const fn code(self) -> u8 {
        match self {
            Self::Version => 1,
            Self::Frame => 2,
            Self::Order => 3,
            Self::Busy => 4,
            Self::Secret => 5,
            Self::Cluster => 6,
            Self::Partitions => 7,
            Self::Guid => 8,
            Self::Formation => 9,
            Self::Other(code) => code,
        }
    }

    const fn of(code: u8) -> Self {
        match code {
            1 => Self::Version,
            2 => Self::Frame,
            3 => Self::Order,
            4 => Self::Busy,
            5 => Self::Secret,
            6 => Self::Cluster,
            7 => Self::Partitions,
            8 => Self::Guid,
            9 => Self::Formation,
            _ => Self::Other(code),
        }
    }
}

/// A node's place in the layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeState {
    /// It holds its share.
    #[default]
    Normal,
    /// It gives its share away.
    Leaving,
    /// It is taking a share for the first time.
    Joining,
    /// Its share is changing.
    Moving,
}

impl NodeState {
    const fn code(self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::Leaving => 1,
            Self::Joining => 2,
            Self::Moving => 3,
        }
    }

    const fn of(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Normal),
            1 => Some(Self::Leaving),
            2 => Some(Self::Joining),
            3 => Some(Self::Moving),
            _ => None,
        }
    }
}

/// How a node's disk fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskState {
    /// The node has no disk.
    #[default]
    Absent,
    /// Writes reach it.
    Healthy,
    /// It has no room: writes wait.
    Full,
    /// It fails: writes wait.
    Failing,
}

impl DiskState {
    const fn code(self) -> u8 {
        match self {
            Self::Absent => 0,
            Self::Healthy => 1,
            Self::Full => 2,
            Self::Failing => 3,
        }
    }

    const fn of(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Absent),
            1 => Some(Self::Healthy),
            2 => Some(Self::Full),
            3 => Some(Self::Failing),
            _ => None,
        }
    }
}

/// What is known of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus<'a> {
    /// Whether it answers.
    pub up: bool,
    /// Its place in the layout.
    pub state: NodeState,
    /// Its peer address.
    pub address: &'a str,
    /// Its lasting name.
    pub guid: &'a str,
    /// Where it stands.
    pub rack: &'a str,
    /// Its release.
    pub version: &'a str,
    /// Rises with each of its starts, 0 if it does not count them.
    pub generation: u64,
    /// What it says of itself; none if it was not asked, or has not answered in time.
    pub figures: Option<NodeFigures>,
}

/// What a node says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeFigures {
    /// How its disk fares.
    pub disk: DiskState,
    /// The lowest and the highest version of the peer protocol that it speaks.
    pub versions: (u16, u16),
    /// Items that it holds, in memory or on disk.
    pub items: u64,
    /// Items not yet on disk.
    pub dirty_items: u64,
    /// Bytes not yet on disk.
    pub dirty_bytes: u64,
    /// Age of its oldest change that is not yet written.
    pub written_lag_ms: u64,
    /// Age of its oldest change that is not yet synced.
    pub synced_lag_ms: u64,
    /// Items on its disk.
    pub disk_items: u64,
    /// Bytes that its database takes on disk.
    pub disk_bytes: u64,
    /// Bytes of its memory tier in use.
    pub memory_bytes: u64,
    /// Bytes that its memory tier may use.
    pub memory_bytes_max: u64,
    /// The digest of the placement that it goes by, if it is in a cluster.
    pub layout_digest: Option<u64>,
    /// Partitions of which it is an in-sync replica, if that is known.
    pub replicas_in_sync: Option<u64>,
}

/// The highest version that both this release and `lowest..=highest` speak.
#[must_use]
pub fn common_version(lowest: u16, highest: u16) -> Option<u16> {
    let version = highest.min(VERSION_HIGHEST);
    (version >= lowest.max(VERSION_LOWEST)).then_some(version)
}

/// Takes the first frame of `input`, if it is there whole, and says how many bytes it took.
/// A frame longer than `frame_bytes_max` (its length field not counted) is an error at once.
///
/// # Errors
/// When `input` does not begin with a frame.
pub fn decode(
    input: &[u8],
    frame_bytes_max: usize,
) -> Result<Option<(Frame<'_>, usize)>, PeerError> {
    let Some(raw) = split(input, frame_bytes_max)? else {
        return Ok(None);
    };
    Ok(Some((decode_body(&raw)?, raw.frame_bytes)))
}

/// Reads what a frame says.
///
/// # Errors
/// When its body has not the form of its kind.
pub fn decode_body<'a>(raw: &RawFrame<'a>) -> Result<Frame<'a>, PeerError> {
    let kind = raw.kind;
    match body_of(kind, raw.body) {
        Ok((_later, frame)) => Ok(frame),
        Err(_) => Err(PeerError::Malformed { kind }),
    }
}

fn body_of(kind: u8, body: &[u8]) -> IResult<&[u8], Frame<'_>> {
    match kind {
        KIND_HELLO => (tag(MAGIC), be_u16, be_u16, text, optional_introduction)
            .map(|(_, lowest, highest, guid, node)| Frame::Hello {
                lowest,
                highest,
                guid,
                node,
            })
            .parse(body),
        KIND_HELLO_REPLY => (tag(MAGIC), be_u16, text, optional_introduction)
            .map(|(_, version, guid, node)| Frame::HelloReply {
                version,
                guid,
                node,
            })
            .parse(body),
        KIND_REFUSED => (be_u8, text)
            .map(|(code, text)| Frame::Refused {
                reason: Reason::of(code),
                text,
            })
            .parse(body),
        KIND_STATUS_REQUEST => Ok((body, Frame::StatusRequest)),
        KIND_FIGURES_REQUEST => Ok((body, Frame::FiguresRequest)),
        KIND_STATUS_REPLY => (flag, length_value(be_u32, nodes))
            .map(|(last, nodes)| Frame::StatusReply { last, nodes })
            .parse(body),
        KIND_STATE_REQUEST => (flag, length_data(be_u32))
            .map(|(last, records)| Frame::StateRequest { last, records })
            .parse(body),
        KIND_STATE_REPLY => (flag, length_data(be_u32))
            .map(|(last, records)| Frame::StateReply { last, records })
            .parse(body),
        KIND_DEATH_QUESTION => (text, be_u64)
            .map(|(guid, generation)| Frame::DeathQuestion { guid, generation })
            .parse(body),
        KIND_DEATH_ANSWER => (text, be_u64, map_opt(be_u8, DeathVerdict::of))
            .map(|(guid, generation, verdict)| Frame::DeathAnswer {
                guid,
                generation,
                verdict,
            })
            .parse(body),
        KIND_PARTITIONS_REQUEST => length_data(be_u8)
            .map(|key| Frame::PartitionsRequest { key })
            .parse(body),
        KIND_PARTITIONS_REPLY => partitions::partitions
            .map(Frame::PartitionsReply)
            .parse(body),
        KIND_FLUSH => (be_u64, flush::step)
            .map(|(number, step)| Frame::Flush { number, step })
            .parse(body),
        KIND_FLUSH_REPLY => (flush::version, flag)
            .map(|(version, held)| Frame::FlushReply { version, held })
            .parse(body),
        _ => Ok((body, Frame::Unknown { kind })),
    }
}

/// What nodes have added to the hello of commands.
fn optional_introduction(input: &[u8]) -> IResult<&[u8], Option<Introduction<'_>>> {
    match input {
        [] => Ok((input, None)),
        _ => introduction.map(Some).parse(input),
    }
}

fn introduction(input: &[u8]) -> IResult<&[u8], Introduction<'_>> {
    (
        (
            text, be_u64, be_u32, be_u8, be_u64, text, be_u64, flag, flag,
        ),
        flush::flushes,
    )
        .map(
            |(
                (
                    cluster,
                    formation,
                    partitions,
                    replication_factor,
                    generation,
                    address,
                    known_generation,
                    serving,
                    holds_data,
                ),
                flushes,
            )| Introduction {
                cluster,
                formation,
                partitions,
                replication_factor,
                generation,
                address,
                known_generation,
                serving,
                holds_data,
                flushes,
            },
        )
        .parse(input)
}

fn flag(input: &[u8]) -> IResult<&[u8], bool> {
    map_opt(be_u8, |code| match code {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    })
    .parse(input)
}

fn text(input: &[u8]) -> IResult<&[u8], &str> {
    map_res(length_data(be_u8), core::str::from_utf8).parse(input)
}

fn nodes(mut input: &[u8]) -> IResult<&[u8], Vec<NodeStatus<'_>>> {
    let mut nodes = Vec::new();
    while !input.is_empty() {
        let (rest, node) = length_value(be_u16, node).parse(input)?;
        nodes.push(node);
        input = rest;
    }
    Ok((input, nodes))
}

fn node(input: &[u8]) -> IResult<&[u8], NodeStatus<'_>> {
    let (input, up) = flag(input)?;
    let (input, state) = map_opt(be_u8, NodeState::of).parse(input)?;
    let (input, (address, guid, rack, version)) = (text, text, text, text).parse(input)?;
    let (input, generation) = be_u64(input)?;
    let (input, figures) = option(input, figures)?;
    let node = NodeStatus {
        up,
        state,
        address,
        guid,
        rack,
        version,
        generation,
        figures,
    };
    Ok((input, node))
}

fn option<'a, T>(
    input: &'a [u8],
    value: impl Parser<&'a [u8], Output = T, Error = nom::error::Error<&'a [u8]>>,
) -> IResult<&'a [u8], Option<T>> {
    let (input, is_there) = flag(input)?;
    cond(is_there, value).parse(input)
}

fn figures(input: &[u8]) -> IResult<&[u8], NodeFigures> {
    let (input, disk) = map_opt(be_u8, DiskState::of).parse(input)?;
    let (input, versions) = (be_u16, be_u16).parse(input)?;
    let mut counts = [0; 9];
    let (input, ()) = fill(be_u64, &mut counts).parse(input)?;
    let (input, layout_digest) = option(input, be_u64)?;
    let (input, replicas_in_sync) = option(input, be_u64)?;
    let figures = NodeFigures {
        disk,
        versions,
        items: counts[0],
        dirty_items: counts[1],
        dirty_bytes: counts[2],
        written_lag_ms: counts[3],
        synced_lag_ms: counts[4],
        disk_items: counts[5],
        disk_bytes: counts[6],
        memory_bytes: counts[7],
        memory_bytes_max: counts[8],
        layout_digest,
        replicas_in_sync,
    };
    Ok((input, figures))
}

/// Appends `frame` to `into`.
///
/// # Panics
/// If a text is longer than [`TEXT_BYTES_MAX`]: names and addresses are checked at the start.
pub fn encode(frame: &Frame<'_>, into: &mut Vec<u8>) {
    let start = into.len();
    into.extend_from_slice(&[0; LENGTH_BYTES]);
    match frame {
        Frame::Hello {
            lowest,
            highest,
            guid,
            node,
        } => {
            into.push(KIND_HELLO);
            into.extend_from_slice(MAGIC);
            into.extend_from_slice(&lowest.to_be_bytes());
            into.extend_from_slice(&highest.to_be_bytes());
            push_text(guid, into);
            push_introduction(node.as_ref(), into);
        }
        Frame::HelloReply {
            version,
            guid,
            node,
        } => {
            into.push(KIND_HELLO_REPLY);
            into.extend_from_slice(MAGIC);
            into.extend_from_slice(&version.to_be_bytes());
            push_text(guid, into);
            push_introduction(node.as_ref(), into);
        }
        Frame::Refused { reason, text } => {
            into.push(KIND_REFUSED);
            into.push(reason.code());
            push_text(text, into);
        }
        Frame::StatusRequest => into.push(KIND_STATUS_REQUEST),
        Frame::FiguresRequest => into.push(KIND_FIGURES_REQUEST),
        Frame::StatusReply { last, nodes } => {
            into.extend_from_slice(&[KIND_STATUS_REPLY, u8::from(*last)]);
            let list = into.len();
            into.extend_from_slice(&[0; 4]);
            for node in nodes {
                push_node(node, into);
            }
            patch_u32(list, into);
        }
        Frame::StateRequest { last, records } => {
            push_records(KIND_STATE_REQUEST, *last, records, into);
        }
        Frame::StateReply { last, records } => {
            push_records(KIND_STATE_REPLY, *last, records, into);
        }
        Frame::DeathQuestion { guid, generation } => {
            into.push(KIND_DEATH_QUESTION);
            push_text(guid, into);
            into.extend_from_slice(&generation.to_be_bytes());
        }
        Frame::DeathAnswer {
            guid,
            generation,
            verdict,
        } => {
            into.push(KIND_DEATH_ANSWER);
            push_text(guid, into);
            into.extend_from_slice(&generation.to_be_bytes());
            into.push(verdict.code());
        }
        Frame::PartitionsRequest { key } => {
            let bytes = u8::try_from(key.len()).expect("keys are at most 250 bytes long");
            into.extend_from_slice(&[KIND_PARTITIONS_REQUEST, bytes]);
            into.extend_from_slice(key);
        }
        Frame::PartitionsReply(partitions) => {
            into.push(KIND_PARTITIONS_REPLY);
            partitions::push_partitions(partitions, into);
        }
        Frame::Flush { number, step } => {
            into.push(KIND_FLUSH);
            into.extend_from_slice(&number.to_be_bytes());
            flush::push_step(*step, into);
        }
        Frame::FlushReply { version, held } => {
            into.push(KIND_FLUSH_REPLY);
            into.extend_from_slice(&version.to_be_bytes());
            into.push(u8::from(*held));
        }
        Frame::Unknown { kind } => into.push(*kind),
    }
    patch_u32(start, into);
}

fn push_introduction(node: Option<&Introduction<'_>>, into: &mut Vec<u8>) {
    let Some(node) = node else {
        return;
    };
    push_text(node.cluster, into);
    into.extend_from_slice(&node.formation.to_be_bytes());
    into.extend_from_slice(&node.partitions.to_be_bytes());
    into.push(node.replication_factor);
    into.extend_from_slice(&node.generation.to_be_bytes());
    push_text(node.address, into);
    into.extend_from_slice(&node.known_generation.to_be_bytes());
    into.extend_from_slice(&[u8::from(node.serving), u8::from(node.holds_data)]);
    flush::push_flushes(&node.flushes, into);
}

fn push_records(kind: u8, last: bool, records: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(&[kind, u8::from(last)]);
    let length = into.len();
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(records);
    patch_u32(length, into);
}

fn push_text(text: &str, into: &mut Vec<u8>) {
    let length = u8::try_from(text.len()).expect("texts of frames are at most 255 bytes long");
    into.push(length);
    into.extend_from_slice(text.as_bytes());
}

fn push_node(node: &NodeStatus<'_>, into: &mut Vec<u8>) {
    let start = into.len();
    into.extend_from_slice(&[0; 2]);
    into.extend_from_slice(&[u8::from(node.up), node.state.code()]);
    for text in [node.address, node.guid, node.rack, node.version] {
        push_text(text, into);
    }
    into.extend_from_slice(&node.generation.to_be_bytes());
    into.push(u8::from(node.figures.is_some()));
    if let Some(figures) = &node.figures {
        push_figures(figures, into);
    }
    let length = u16::try_from(into.len() - start - 2).expect("four texts and some figures");
    into[start..start + 2].copy_from_slice(&length.to_be_bytes());
}

fn push_figures(figures: &NodeFigures, into: &mut Vec<u8>) {
    into.push(figures.disk.code());
    into.extend_from_slice(&figures.versions.0.to_be_bytes());
    into.extend_from_slice(&figures.versions.1.to_be_bytes());
    for count in [
        figures.items,
        figures.dirty_items,
        figures.dirty_bytes,
        figures.written_lag_ms,
        figures.synced_lag_ms,
        figures.disk_items,
        figures.disk_bytes,
        figures.memory_bytes,
        figures.memory_bytes_max,
    ] {
        into.extend_from_slice(&count.to_be_bytes());
    }
    for number in [figures.layout_digest, figures.replicas_in_sync] {
        into.push(u8::from(number.is_some()));
        if let Some(number) = number {
            into.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// Sets the u32 at `at` to the number of bytes that follow it.
fn patch_u32(at: usize, into: &mut [u8]) {
    let length = u32::try_from(into.len() - at - 4).expect("a frame stays below 4 GiB");
    into[at..at + 4].copy_from_slice(&length.to_be_bytes());
}
