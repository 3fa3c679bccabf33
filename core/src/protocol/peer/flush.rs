//! What nodes say to each other about flush_all.

use alloc::vec::Vec;

use nom::combinator::{map_opt, verify};
use nom::number::complete::{be_u8, be_u64};
use nom::{IResult, Parser};

use crate::replication::wire::COUNT_MAX;

/// What has been flushed, and what will be, as a node knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushes {
    /// Items up to this version are gone.
    pub flushed: u64,
    /// When everything will be flushed, in Unix milliseconds; 0 for never.
    pub at_unix_ms: u64,
    /// The version at which that was said: the later word counts.
    pub noted: u64,
}

/// One step of a flush of the whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushStep {
    /// Whatever draws versions waits from now on; the answer is the highest that was drawn.
    Hold,
    /// Everything up to this version goes, and nothing waits any more; 0 calls the flush off.
    Drop {
        /// The version.
        version: u64,
    },
    /// Everything is to go at this time.
    At {
        /// When, in Unix milliseconds.
        unix_ms: u64,
        /// As [`Flushes::noted`].
        noted: u64,
    },
}

impl FlushStep {
    const fn parts(self) -> (u8, u64, u64) {
        match self {
            Self::Hold => (0, 0, 0),
            Self::Drop { version } => (1, version, 0),
            Self::At { unix_ms, noted } => (2, unix_ms, noted),
        }
    }

    const fn of((code, first, second): (u8, u64, u64)) -> Option<Self> {
        match code {
            0 => Some(Self::Hold),
            1 => Some(Self::Drop { version: first }),
            2 => Some(Self::At {
                unix_ms: first,
                noted: second,
            }),
            _ => None,
        }
    }
}

pub(super) fn push_step(step: FlushStep, into: &mut Vec<u8>) {
    let (code, first, second) = step.parts();
    into.push(code);
    into.extend_from_slice(&first.to_be_bytes());
    into.extend_from_slice(&second.to_be_bytes());
}

pub(super) fn step(input: &[u8]) -> IResult<&[u8], FlushStep> {
    let (input, code) = be_u8(input)?;
    // All are versions but the time that is named first in the last step.
    let first = verify(be_u64, move |number| code == 2 || *number <= COUNT_MAX);
    map_opt((first, version), move |(first, second)| {
        FlushStep::of((code, first, second))
    })
    .parse(input)
}

/// A version, as those of entries are bounded.
pub(super) fn version(input: &[u8]) -> IResult<&[u8], u64> {
    verify(be_u64, |version| *version <= COUNT_MAX).parse(input)
}

pub(super) fn push_flushes(flushes: &Flushes, into: &mut Vec<u8>) {
    let Flushes {
        flushed,
        at_unix_ms,
        noted,
    } = flushes;
    for number in [flushed, at_unix_ms, noted] {
        into.extend_from_slice(&number.to_be_bytes());
    }
}

pub(super) fn flushes(input: &[u8]) -> IResult<&[u8], Flushes> {
    (version, be_u64, version)
        .map(|(flushed, at_unix_ms, noted)| Flushes {
            flushed,
            at_unix_ms,
            noted,
        })
        .parse(input)
}
