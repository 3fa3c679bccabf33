//! Whether two nodes that meet belong together.
//!
//! Decides by what both say of themselves, so that both come to the same. Refuses to know how
//! they have met and what they do with the answer.

use alloc::format;
use alloc::string::String;
use core::net::SocketAddr;
use core::num::NonZeroU64;

use xxhash_rust::xxh3::xxh3_64;

use super::identity::Identity;
use crate::member::NodeId;
use crate::protocol::peer::{Reason, VERSION_HIGHEST, VERSION_LOWEST, common_version};

/// Which forming of a cluster of one name is meant: the name alone does not tell two of them
/// apart that have never met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Formation(pub NonZeroU64);

impl Formation {
    /// The one that `first`, the first of its nodes, gives its name to.
    #[must_use]
    pub fn of(first: NodeId) -> Self {
        let text = format!("{first:?}");
        Self(NonZeroU64::new(xxh3_64(text.as_bytes())).unwrap_or(NonZeroU64::MIN))
    }

    /// As a hello has it: 0 is none.
    pub(super) fn from_wire(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// Whether this is its number in a hello.
    pub(crate) const fn is_named(self, number: u64) -> bool {
        self.0.get() == number
    }

    pub(crate) fn to_wire(formation: Option<Self>) -> u64 {
        formation.map_or(0, |formation| formation.0.get())
    }
}

/// What a node says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// Its run.
    pub id: NodeId,
    /// Where other nodes reach it.
    pub address: SocketAddr,
    /// The name of its cluster.
    pub cluster: &'a str,
    /// Which cluster of that name, if any yet.
    pub formation: Option<Formation>,
    /// Partitions of the key space.
    pub partitions: u32,
    /// Replicas of each.
    pub replication_factor: u8,
    /// Whether it serves, and is not just looking for others.
    pub serving: bool,
    /// Whether it, or a node that it knows of, holds data.
    pub holds_data: bool,
}

/// How two nodes go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// They are of one cluster.
    Together,
    /// The other one comes over to ours.
    TheyJoin,
    /// We go over to this one.
    WeJoin(Formation),
    /// Neither has one: both begin this one.
    Begin(Formation),
    /// The other end is this very node.
    Ourselves,
}

/// Why two nodes do not go together. Both say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub reason: Reason,
    /// For people, on this side.
    pub ours: String,
    /// For people, on the other side.
    pub theirs: String,
    /// Another live node has our name, and this node is the one to give way.
    pub we_give_way: bool,
}

impl Refusal {
    fn new(reason: Reason, ours: String, theirs: String) -> Self {
        Self {
            reason,
            ours,
            theirs,
            we_give_way: false,
        }
    }

    /// The other end's first sealed message can't be opened. It can't be told why: nothing that
    /// we say would be read.
    #[must_use]
    pub fn wrong_secret(from: SocketAddr) -> Self {
        let text = format!("{from} does not know this cluster's secret");
        Self::new(Reason::Secret, text.clone(), text)
    }
}

/// Whether `theirs`, which speaks the protocol versions `lowest..=highest`, and `mine` belong
/// together. `known` is the member that `mine` knows by the other's name, if it is not down.
///
/// # Errors
/// When they do not.
pub fn agree(
    mine: &Standing<'_>,
    theirs: &Standing<'_>,
    (lowest, highest): (u16, u16),
    known: Option<&Identity>,
) -> Result<Agreement, Refusal> {
    if common_version(lowest, highest).is_none() {
        return Err(versions_differ(theirs, lowest, highest));
    }
    if mine.cluster != theirs.cluster {
        return Err(clusters_differ(mine, theirs));
    }
    if mine.partitions != theirs.partitions {
        return Err(partitions_differ(mine, theirs));
    }
    if mine.replication_factor != theirs.replication_factor {
        return Err(replicas_differ(mine, theirs));
    }
    if mine.id == theirs.id && mine.address == theirs.address {
        return Ok(Agreement::Ourselves);
    }
    if mine.id.guid == theirs.id.guid {
        return Err(name_is_ours(mine, theirs));
    }
    if let Some(known) = known.filter(|known| !may_take_over(known, theirs)) {
        return Err(name_is_taken(known, theirs));
    }
    formations(mine, theirs)
}

/// Whether `theirs` may have the name of a member that is not down.
///
/// Two processes can't have one address: at the same one it is a restart. At another one it may
/// have moved, or be another node. A node that looks for others has to wait until that is clear.
/// Of two that serve already, having been cut off from each other, the later run stays.
fn may_take_over(known: &Identity, theirs: &Standing<'_>) -> bool {
    let is_later = theirs.serving && theirs.id.generation > known.id.generation;
    known.address == theirs.address || is_later
}

fn formations(mine: &Standing<'_>, theirs: &Standing<'_>) -> Result<Agreement, Refusal> {
    let (ours, other) = match (mine.formation, theirs.formation) {
        (None, None) if mine.holds_data && theirs.holds_data => {
            return Err(formed_apart(mine, theirs));
        }
        (None, None) => {
            let first = mine.id.min(theirs.id);
            return Ok(Agreement::Begin(Formation::of(first)));
        }
        (Some(_), None) if !theirs.holds_data || !mine.holds_data => {
            return Ok(Agreement::TheyJoin);
        }
        (None, Some(other)) if !mine.holds_data || !theirs.holds_data => {
            return Ok(Agreement::WeJoin(other));
        }
        (Some(ours), Some(other)) => (ours, other),
        (Some(_), None) | (None, Some(_)) => return Err(formed_apart(mine, theirs)),
    };
    if ours == other {
        return Ok(Agreement::Together);
    }
    match (mine.holds_data, theirs.holds_data) {
        (true, true) => Err(formed_apart(mine, theirs)),
        (true, false) => Ok(Agreement::TheyJoin),
        (false, true) => Ok(Agreement::WeJoin(other)),
        (false, false) if ours < other => Ok(Agreement::TheyJoin),
        (false, false) => Ok(Agreement::WeJoin(other)),
    }
}

fn versions_differ(theirs: &Standing<'_>, lowest: u16, highest: u16) -> Refusal {
    let (guid, address) = (theirs.id.guid, theirs.address);
    Refusal::new(
        Reason::Version,
        format!(
            "{guid} at {address} speaks peer protocol {lowest} to {highest}, and this release \
             speaks {VERSION_LOWEST} to {VERSION_HIGHEST}"
        ),
        format!(
            "no common peer protocol: {VERSION_LOWEST} to {VERSION_HIGHEST} here, \
             {lowest} to {highest} there"
        ),
    )
}

fn clusters_differ(mine: &Standing<'_>, theirs: &Standing<'_>) -> Refusal {
    let (guid, address) = (theirs.id.guid, theirs.address);
    Refusal::new(
        Reason::Cluster,
        format!(
            "{guid} at {address} belongs to cluster `{}`, and this node to `{}`",
            short(theirs.cluster),
            short(mine.cluster)
        ),
        format!("this is cluster `{}`", short(mine.cluster)),
    )
}

fn partitions_differ(mine: &Standing<'_>, theirs: &Standing<'_>) -> Refusal {
    let (guid, address) = (theirs.id.guid, theirs.address);
    let (here, there) = (mine.partitions, theirs.partitions);
    Refusal::new(
        Reason::Partitions,
        format!("{guid} at {address} has {there} partitions, and this node {here}"),
        format!("this cluster has {here} partitions, and {guid} {there}"),
    )
}

fn replicas_differ(mine: &Standing<'_>, theirs: &Standing<'_>) -> Refusal {
    let (guid, address) = (theirs.id.guid, theirs.address);
    let (here, there) = (mine.replication_factor, theirs.replication_factor);
    Refusal::new(
        Reason::Partitions,
        format!("{guid} at {address} has replication-factor {there}, and this node {here}"),
        format!("this cluster has replication-factor {here}, and {guid} {there}"),
    )
}

fn name_is_ours(mine: &Standing<'_>, theirs: &Standing<'_>) -> Refusal {
    let guid = mine.id.guid;
    let (here, there) = (mine.address, theirs.address);
    let rank = |it: &Standing<'_>| (it.serving, it.id.generation, it.address);
    let we_give_way = rank(mine) < rank(theirs);
    // One that serves takes a refusal for its name as its own end.
    let reason = match we_give_way {
        true => Reason::Busy,
        false => Reason::Guid,
    };
    Refusal {
        we_give_way,
        ..Refusal::new(
            reason,
            format!("another live node is called {guid}, at {there}: two need two --guid"),
            format!("another live node is called {guid}, at {here}: two need two --guid"),
        )
    }
}

fn name_is_taken(known: &Identity, theirs: &Standing<'_>) -> Refusal {
    let guid = theirs.id.guid;
    let (address, there) = (known.address, theirs.address);
    Refusal::new(
        Reason::Guid,
        format!("{there} wants to be {guid}, which answers at {address}"),
        format!(
            "{guid} answers at {address}: if that is another node, give this one a --guid of its \
             own; if it has moved, it is let in when it is seen to be down"
        ),
    )
}

fn formed_apart(mine: &Standing<'_>, theirs: &Standing<'_>) -> Refusal {
    let (guid, address) = (theirs.id.guid, theirs.address);
    let text = |here: SocketAddr, there: SocketAddr, guid| {
        format!(
            "clusters `{}` were formed apart and both hold data: {guid} at {there} and {here} \
             keep apart",
            short(mine.cluster)
        )
    };
    Refusal::new(
        Reason::Formation,
        text(mine.address, address, guid),
        text(address, mine.address, mine.id.guid),
    )
}

/// The start of a name that may be long: a refusal has to fit in a frame.
fn short(name: &str) -> &str {
    const SHOWN_BYTES_MAX: usize = 40;
    let mut end = name.len().min(SHOWN_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

#[cfg(test)]
mod tests;
