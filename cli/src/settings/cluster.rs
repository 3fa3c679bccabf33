//! What an operator says of the cluster, and whether it goes together.
//!
//! Decides defaults and bounds. Touches nothing, and refuses to know addresses that are bound.

use std::net::IpAddr;

use zufar_core::placement::REPLICATION_FACTOR_MAX;
use zufar_core::replication::SplitBrain;
use zufar_core::secure::loopback_only;

use super::{CLIENT_PORT, peer_port, within};
use crate::error::{StartError, refuse};
use crate::options::{self, ListenAddress, Options};

/// The cluster's name unless another is given.
const NAME: &str = "zufar";
const NAME_BYTES_MAX: usize = 64;
const JOIN_MAX: usize = 64;
const REPLICATION_FACTOR: u8 = 2;
const IN_SYNC_MIN: u8 = 1;
/// Leaves room below for a node that is to hold less.
const WEIGHT: u32 = 100;
const WEIGHT_MAX: u32 = 10_000;

/// The cluster that a node is to be one of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClusterPlan {
    /// Its name.
    pub(crate) name: String,
    /// Where other nodes may be found.
    pub(crate) join: Vec<ListenAddress>,
    /// Where clients are told to connect.
    pub(crate) advertise_client: Option<ListenAddress>,
    /// Where other nodes are told to connect.
    pub(crate) advertise_peer: Option<ListenAddress>,
    /// Replicas of each partition.
    pub(crate) replication_factor: u8,
    /// Writes are refused with fewer in-sync replicas.
    pub(crate) in_sync_min: u8,
    /// What a part does that can't reach a majority.
    pub(crate) split_brain: SplitBrain,
    /// The node's share, relative to the others'.
    pub(crate) weight: u32,
}

/// The cluster of a node that is to be in one.
pub(super) fn resolve(options: &Options) -> Result<Option<ClusterPlan>, StartError> {
    if options.cluster.is_none() && options.join.is_empty() {
        return refuse_stray(options).map(|()| None);
    }
    let name = options.cluster.as_deref().unwrap_or(NAME);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
        return Err(refuse!(
            "cluster `{name}`: a name is 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` and `.`"
        ));
    }
    if options.no_disk && options.guid.is_none() {
        return Err(refuse!(
            "no-disk: a node of a cluster that keeps nothing has to be told its guid, or each of \
             its starts would be another node"
        ));
    }
    if options.join.len() > JOIN_MAX {
        return Err(refuse!(
            "join: {JOIN_MAX} addresses are enough, any one that answers will do"
        ));
    }
    let replication_factor = options.replication_factor.unwrap_or(REPLICATION_FACTOR);
    within(
        "replication-factor",
        replication_factor,
        1,
        REPLICATION_FACTOR_MAX,
    )?;
    let in_sync_min = options.min_in_sync_replicas.unwrap_or(IN_SYNC_MIN);
    if in_sync_min == 0 || in_sync_min > replication_factor {
        return Err(refuse!(
            "min-in-sync-replicas {in_sync_min}: it must be from 1 to replication-factor \
             {replication_factor}"
        ));
    }
    let weight = options.weight.unwrap_or(WEIGHT);
    within("weight", weight, 1, WEIGHT_MAX)?;
    Ok(Some(ClusterPlan {
        name: name.to_owned(),
        join: options.join.iter().map(seed).collect(),
        advertise_client: options.advertise_client.clone(),
        advertise_peer: options.advertise_peer.clone(),
        replication_factor,
        in_sync_min,
        split_brain: match options.split_brain {
            Some(options::SplitBrain::Majority) => SplitBrain::Majority,
            Some(options::SplitBrain::Available) | None => SplitBrain::Available,
        },
        weight,
    }))
}

/// What a node in no cluster has no use for: whoever says it has forgotten the rest.
fn refuse_stray(options: &Options) -> Result<(), StartError> {
    let said = [
        ("advertise-client", options.advertise_client.is_some()),
        ("advertise-peer", options.advertise_peer.is_some()),
        ("replication-factor", options.replication_factor.is_some()),
        (
            "min-in-sync-replicas",
            options.min_in_sync_replicas.is_some(),
        ),
        ("split-brain", options.split_brain.is_some()),
        ("weight", options.weight.is_some()),
    ];
    match said.iter().find(|(_, said)| *said) {
        Some((name, _)) => Err(refuse!(
            "{name}: the node is in no cluster; give cluster or join, too"
        )),
        None => Ok(()),
    }
}

/// A seed with its port.
fn seed(address: &ListenAddress) -> ListenAddress {
    ListenAddress {
        host: address.host.clone(),
        port: address.port.or(Some(peer_port(CLIENT_PORT))),
    }
}

impl ClusterPlan {
    /// Whether the seeds may be spoken to without a secret, as far as addresses tell: names are
    /// looked up later.
    pub(crate) fn check_without_secret(&self) -> Result<(), StartError> {
        for seed in &self.join {
            if let Ok(address) = seed.host.parse::<IpAddr>() {
                loopback_only(address).map_err(|error| refuse!("join {seed}: {error}"))?;
            }
        }
        Ok(())
    }
}
