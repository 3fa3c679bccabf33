//! Where a node in a cluster tells others to connect.
//!
//! Decides that from what was bound and what the operator says. Refuses to know sockets.

#[cfg(test)]
mod tests;

use std::net::{SocketAddr, ToSocketAddrs};

use zufar_core::secure::loopback_only;

use crate::error::{StartError, describe, refuse};
use crate::options::ListenAddress;
use crate::settings::ClusterPlan;

/// Longest address, in bytes: both of a node's have to find room in what it says of itself.
const ADDRESS_BYTES_MAX: usize = 128;

/// Where others are told to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Advertised {
    /// Where clients connect; empty where nobody can from afar.
    pub(crate) client: String,
    /// Where other nodes connect, as said.
    pub(crate) peer: String,
    /// What that is as an address, when the node starts.
    pub(crate) peer_address: SocketAddr,
}

/// Works it out. `clients` are the TCP addresses that were bound for clients, `peers` those for
/// other nodes.
pub(crate) fn resolve(
    plan: &ClusterPlan,
    clients: &[SocketAddr],
    peers: &[SocketAddr],
    has_secret: bool,
) -> Result<Advertised, StartError> {
    let client = match (&plan.advertise_client, clients.first()) {
        (Some(address), bound) => {
            let port = address.port.or(bound.map(SocketAddr::port));
            let host = address.host.clone();
            let port = port.ok_or_else(|| {
                refuse!("advertise-client {address}: it names no port, and no TCP port is open")
            })?;
            checked("advertise-client", host, port)?.to_string()
        }
        (None, Some(bound)) => concrete("advertise-client", "clients", *bound)?.to_string(),
        (None, None) => String::new(),
    };
    let first = *peers.first().expect("a node listens for others");
    let Some(address) = &plan.advertise_peer else {
        let peer_address = concrete("advertise-peer", "other nodes", first)?;
        return Ok(Advertised {
            client,
            peer: peer_address.to_string(),
            peer_address,
        });
    };
    let port = address.port.unwrap_or(first.port());
    let address = checked("advertise-peer", address.host.clone(), port)?;
    let peer_address = look_up(&address, port)?;
    if !has_secret {
        loopback_only(peer_address.ip())
            .map_err(|error| refuse!("advertise-peer {address}: {error}"))?;
    }
    Ok(Advertised {
        client,
        peer: address.to_string(),
        peer_address,
    })
}

/// A bound address that others can connect to.
fn concrete(name: &str, who: &str, bound: SocketAddr) -> Result<SocketAddr, StartError> {
    if bound.ip().to_canonical().is_unspecified() {
        return Err(refuse!(
            "{name} is missing: {bound}, where {who} are listened for, is no address that others \
             can connect to"
        ));
    }
    Ok(bound)
}

fn checked(name: &str, host: String, port: u16) -> Result<ListenAddress, StartError> {
    let address = ListenAddress {
        host,
        port: Some(port),
    };
    let shown = address.to_string();
    if shown.len() > ADDRESS_BYTES_MAX {
        return Err(refuse!(
            "{name} {shown}: an address has at most {ADDRESS_BYTES_MAX} characters"
        ));
    }
    let is_wildcard = address.host.parse().is_ok_and(|ip: std::net::IpAddr| {
        let ip = ip.to_canonical();
        ip.is_unspecified() || ip.is_multicast()
    });
    if is_wildcard || port == 0 {
        return Err(refuse!(
            "{name} {shown}: it is no address that others can connect to"
        ));
    }
    Ok(address)
}

fn look_up(address: &ListenAddress, port: u16) -> Result<SocketAddr, StartError> {
    let refused = |why: String| refuse!("advertise-peer {address}: {why}");
    let mut found = (address.host.as_str(), port)
        .to_socket_addrs()
        .map_err(|error| refused(describe(&error)))?;
    let found = found.next();
    found.ok_or_else(|| refused("it has no address".to_owned()))
}
