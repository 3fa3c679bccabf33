//! What a node says to a command that asks who holds partitions.

use alloc::vec::Vec;

use nom::combinator::map_opt;
use nom::multi::length_count;
use nom::number::complete::be_u16;
use nom::{IResult, Parser};

use super::{option, push_text, text};

/// Who holds all partitions, or one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partitions<'a> {
    /// The partition that was asked for; none for all.
    pub partition: Option<u16>,
    /// The node that is its primary, as far as the node that answers knows; empty if it does not.
    pub primary: &'a str,
    /// Who is to hold them: of one partition in the order of the placement, of all by name.
    pub owners: Vec<Owner<'a>>,
}

/// A node that is to hold partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner<'a> {
    /// The node.
    pub guid: &'a str,
    /// Partitions that it is to be primary of.
    pub primaries: u16,
    /// Partitions that it is to hold, those included.
    pub replicas: u16,
}

pub(super) fn push_partitions(partitions: &Partitions<'_>, into: &mut Vec<u8>) {
    into.push(u8::from(partitions.partition.is_some()));
    if let Some(partition) = partitions.partition {
        into.extend_from_slice(&partition.to_be_bytes());
    }
    push_text(partitions.primary, into);
    let count = u16::try_from(partitions.owners.len()).expect("nodes are fewer");
    into.extend_from_slice(&count.to_be_bytes());
    for owner in &partitions.owners {
        push_text(owner.guid, into);
        into.extend_from_slice(&owner.primaries.to_be_bytes());
        into.extend_from_slice(&owner.replicas.to_be_bytes());
    }
}

pub(super) fn partitions(input: &[u8]) -> IResult<&[u8], Partitions<'_>> {
    let (input, partition) = option(input, be_u16)?;
    let (input, primary) = text(input)?;
    // An owner takes five bytes at the least, so that the count is no reason to allocate more.
    let count = map_opt(be_u16, |count| {
        (usize::from(count) * 5 <= input.len()).then_some(count)
    });
    let (input, owners) = length_count(count, owner).parse(input)?;
    let partitions = Partitions {
        partition,
        primary,
        owners,
    };
    Ok((input, partitions))
}

fn owner(input: &[u8]) -> IResult<&[u8], Owner<'_>> {
    (text, be_u16, be_u16)
        .map(|(guid, primaries, replicas)| Owner {
            guid,
            primaries,
            replicas,
        })
        .parse(input)
}
