//! Who owns which partition: a pure function of the layout.
//!
//! Decides, for each partition, the order in which nodes are to hold it, which of them are its
//! owners and its voters, and the digest by which nodes tell that they mean the same layout.
//! Refuses to know who is alive, who holds what already, addresses, generations and time.
//!
//! Weighted rendezvous hashing (Thaler and Ravishankar 1998; weights as by Schindelhauer and
//! Schomaker 2005): each node draws a number for each partition from its guid, and the best score
//! wins ([`score`]); racks are spread ([`spread`]). So a node that leaves moves only what it had,
//! one that comes takes only what it then owns, and a map needs no history.
//!
//! Each node computes this for itself, and all must find the same. `placement/golden.py` is a
//! second implementation, and `placement/golden.txt` what it found.

mod score;
mod spread;

#[cfg(test)]
mod tests;

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::num::NonZeroU32;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::hash::PARTITIONS;
use crate::member::{GUID_BYTES_MAX, Guid};
use score::{Name, Score};
use spread::{Candidate, Spread};

/// Most nodes of a layout: what an index of 16 bits can name.
pub const NODES_MAX: usize = u16::MAX as usize;
/// Most replicas of a partition.
pub const REPLICATION_FACTOR_MAX: u8 = 7;
/// Voters of a partition, where there are as many nodes; more only if there are more replicas.
pub const VOTERS: u8 = 3;
/// Longest name of a rack, in bytes.
pub const RACK_BYTES_MAX: usize = 64;

/// A member of the layout that is to hold partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share<'a> {
    /// Who it is.
    pub guid: Guid,
    /// How much it is to hold, relative to the others: any number from 1 to 2^32 - 1.
    pub weight: NonZeroU32,
    /// Where it stands: at most [`RACK_BYTES_MAX`] bytes. Replicas are kept in different racks.
    pub rack: &'a str,
}

/// A node's place in the table of one [`Placement`], and without meaning in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub u16);

/// A hash of all that a placement is made of. Nodes whose digests are equal have equal placements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayoutDigest(pub u64);

/// The owners and voters of each partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// By guid.
    nodes: Vec<Node>,
    /// By name.
    racks: Vec<String>,
    replication_factor: u8,
    digest: LayoutDigest,
    /// For each partition its voters, in order: so many times [`voter_count`](Self::voter_count).
    voters: Vec<NodeIndex>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    guid: Guid,
    name: Name,
    weight: NonZeroU32,
    /// Its index in the list of racks.
    rack: u16,
}

impl Placement {
    /// The placement of a layout; the order of `shares` does not matter. `replication_factor` is
    /// 1 to [`REPLICATION_FACTOR_MAX`].
    ///
    /// It takes time in proportion to the nodes. [`changed`](Self::changed) is faster where most
    /// of them stay.
    #[must_use]
    pub fn new(shares: &[Share<'_>], replication_factor: u8) -> Self {
        let mut new = Self::without_voters(shares, replication_factor);
        let mut spread = Spread::new(new.racks.len());
        for partition in partitions() {
            new.place(partition, new.indices(), &mut spread);
        }
        new
    }

    /// What [`new`](Self::new) makes of `shares`, found from what this placement has already.
    #[must_use]
    pub fn changed(&self, shares: &[Share<'_>], replication_factor: u8) -> Self {
        let mut new = Self::without_voters(shares, replication_factor);
        let mut spread = Spread::new(new.racks.len());
        let kept = self.kept_by(&new);
        let mut is_kept = vec![false; new.nodes.len()];
        for node in kept.iter().flatten() {
            is_kept[node.position()] = true;
        }
        let fresh = new.indices().filter(|node| !is_kept[node.position()]);
        let fresh: Vec<NodeIndex> = fresh.collect();
        let enough = new.voter_count() <= self.voter_count();
        for partition in partitions() {
            // Whoever was passed over for a voter that stays is passed over again. So while all
            // voters stay, and no more are asked for, only newcomers can come before them.
            let voters = self.voters(partition).iter();
            let voters: Option<Vec<NodeIndex>> = voters.map(|old| kept[old.position()]).collect();
            match voters.filter(|_| enough) {
                Some(voters) => {
                    let candidates = voters.into_iter().chain(fresh.iter().copied());
                    new.place(partition, candidates, &mut spread);
                }
                None => new.place(partition, new.indices(), &mut spread),
            }
        }
        new
    }

    /// The nodes that are to hold `partition`, the one that is to be primary first: as many as
    /// the replication factor, or all nodes if they are fewer.
    #[must_use]
    pub fn owners(&self, partition: u16) -> &[NodeIndex] {
        &self.voters(partition)[..self.owner_count()]
    }

    /// The nodes that are to keep `partition`'s record: its owners, then tie-breakers up to
    /// [`VOTERS`], or all nodes if they are fewer.
    #[must_use]
    pub fn voters(&self, partition: u16) -> &[NodeIndex] {
        let count = self.voter_count();
        let start = usize::from(partition) * count;
        &self.voters[start..start + count]
    }

    /// All nodes in the order in which they are to hold `partition`: its voters, then who would
    /// follow if these left. Computed anew each time.
    #[must_use]
    pub fn ranking(&self, partition: u16) -> Vec<NodeIndex> {
        let mut spread = Spread::new(self.racks.len());
        for node in self.indices() {
            spread.add(self.candidate(node, partition));
        }
        let mut ranking = Vec::with_capacity(self.nodes.len());
        spread.drain(&mut ranking);
        ranking
    }

    /// The partitions whose owners are not the same nodes in both placements, rising. An owner
    /// that only changes its rank moves nothing.
    pub fn moved<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u16> + 'a {
        let guids = self.nodes.iter().map(|node| other.index_of(&node.guid));
        let theirs: Vec<Option<NodeIndex>> = guids.collect();
        partitions().filter(move |partition| {
            let (ours, others) = (self.owners(*partition), other.owners(*partition));
            let is_shared = |node: &NodeIndex| {
                theirs[node.position()].is_some_and(|same| others.contains(&same))
            };
            ours.len() != others.len() || !ours.iter().all(is_shared)
        })
    }

    /// How many nodes there are.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Who `node` is.
    #[must_use]
    pub fn guid(&self, node: NodeIndex) -> Guid {
        self.nodes[node.position()].guid
    }

    /// Where `guid` stands in this placement, if it holds a share. Indices rise with guids.
    #[must_use]
    pub fn index_of(&self, guid: &Guid) -> Option<NodeIndex> {
        let position = self.nodes.binary_search_by_key(guid, |node| node.guid).ok();
        position.map(NodeIndex::at)
    }

    /// The replication factor that was asked for.
    #[must_use]
    pub const fn replication_factor(&self) -> u8 {
        self.replication_factor
    }

    /// What requests carry, so that sender and receiver learn when their layouts differ.
    #[must_use]
    pub const fn digest(&self) -> LayoutDigest {
        self.digest
    }

    fn without_voters(shares: &[Share<'_>], replication_factor: u8) -> Self {
        assert!(
            (1..=REPLICATION_FACTOR_MAX).contains(&replication_factor),
            "a replication factor of {replication_factor}"
        );
        assert!(shares.len() <= NODES_MAX, "{} nodes", shares.len());
        let mut shares = shares.to_vec();
        shares.sort_unstable_by_key(|share| share.guid);
        for pair in shares.windows(2) {
            assert_ne!(pair[0].guid, pair[1].guid, "two shares of one node");
        }
        let mut racks: Vec<&str> = shares.iter().map(|share| share.rack).collect();
        racks.sort_unstable();
        racks.dedup();
        let nodes = shares.iter().map(|share| {
            let rack = racks
                .binary_search(&share.rack)
                .expect("each rack is there");
            Node {
                guid: share.guid,
                name: Name::of(&share.guid),
                weight: share.weight,
                rack: NodeIndex::at(rack).0,
            }
        });
        let mut new = Self {
            nodes: nodes.collect(),
            racks: racks.iter().map(|rack| (*rack).to_owned()).collect(),
            replication_factor,
            digest: digest(&shares, replication_factor),
            voters: Vec::new(),
        };
        new.voters = Vec::with_capacity(PARTITIONS * new.voter_count());
        new
    }

    /// Adds the voters of the next partition, chosen among `candidates`.
    fn place(
        &mut self,
        partition: u16,
        candidates: impl Iterator<Item = NodeIndex>,
        spread: &mut Spread,
    ) {
        for node in candidates {
            spread.add(self.candidate(node, partition));
        }
        spread.drain_first(self.voter_count(), &mut self.voters);
    }

    fn candidate(&self, index: NodeIndex, partition: u16) -> Candidate {
        let node = &self.nodes[index.position()];
        Candidate {
            node: index,
            rack: node.rack,
            score: Score::of(&node.name, node.weight.get(), partition),
        }
    }

    /// For each node of this placement its index in `new`, if it has the same weight and rack.
    fn kept_by(&self, new: &Self) -> Vec<Option<NodeIndex>> {
        let same = |node: &Node| {
            let index = new.index_of(&node.guid)?;
            let other = &new.nodes[index.position()];
            let rack_stays =
                self.racks[usize::from(node.rack)] == new.racks[usize::from(other.rack)];
            (other.weight == node.weight && rack_stays).then_some(index)
        };
        self.nodes.iter().map(same).collect()
    }

    fn indices(&self) -> impl Iterator<Item = NodeIndex> + use<> {
        (0..self.nodes.len()).map(NodeIndex::at)
    }

    fn owner_count(&self) -> usize {
        usize::from(self.replication_factor).min(self.nodes.len())
    }

    fn voter_count(&self) -> usize {
        usize::from(self.replication_factor.max(VOTERS)).min(self.nodes.len())
    }
}

impl NodeIndex {
    fn at(position: usize) -> Self {
        Self(u16::try_from(position).expect("a layout has at most NODES_MAX nodes"))
    }

    fn position(self) -> usize {
        usize::from(self.0)
    }
}

fn partitions() -> impl Iterator<Item = u16> {
    (0..PARTITIONS).map(|partition| partition as u16)
}

/// XXH3 (64 bits) over one share after the other by guid, each seeded with the hash before it, and
/// the first with what all have in common. A share is its guid, padded with zeros to 32 bytes, its
/// weight in big endian, and its rack.
fn digest(shares: &[Share<'_>], replication_factor: u8) -> LayoutDigest {
    const RACK_AT: usize = GUID_BYTES_MAX + size_of::<u32>();
    let mut bytes = [0; RACK_AT + RACK_BYTES_MAX];
    let mut hash = (PARTITIONS as u64) << 8 | u64::from(replication_factor);
    for share in shares {
        let rack = share.rack.as_bytes();
        assert!(rack.len() <= RACK_BYTES_MAX, "the rack `{}`", share.rack);
        bytes[..GUID_BYTES_MAX].copy_from_slice(Name::of(&share.guid).bytes());
        bytes[GUID_BYTES_MAX..RACK_AT].copy_from_slice(&share.weight.get().to_be_bytes());
        bytes[RACK_AT..RACK_AT + rack.len()].copy_from_slice(rack);
        hash = xxh3_64_with_seed(&bytes[..RACK_AT + rack.len()], hash);
    }
    LayoutDigest(hash)
}
