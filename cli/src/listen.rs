//! Binding the sockets.
//!
//! Decides how a socket is made and which addresses a name stands for. Nothing of the data is
//! touched here, so a port in use costs nothing. Refuses to know what is spoken over them.

#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use zufar_core::machine::Listener;
use zufar_core::secure::loopback_only;
use zufar_host::Bound;

use crate::error::{StartError, describe, refuse};
use crate::settings::{Clients, Peers, Plan, peer_port};
use crate::umask;

/// All sockets of a node, bound and listening.
#[derive(Debug)]
pub(crate) struct Listening {
    /// The sockets, each with what it is for.
    pub(crate) sockets: Vec<(Bound, Listener)>,
    /// Where clients connect, as shown.
    pub(crate) clients: Vec<String>,
    /// Where clients connect over TCP.
    pub(crate) client_addresses: Vec<SocketAddr>,
    /// Where peers connect.
    pub(crate) peers: Vec<SocketAddr>,
    /// The first TCP client port, 0 without one.
    pub(crate) tcp_port: u16,
    /// The Unix socket's file.
    pub(crate) socket_file: Option<SocketFile>,
}

/// A Unix socket's file, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl SocketFile {
    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A stale one is harmless: the next start finds out and takes its place.
        let _ = fs::remove_file(&self.0);
    }
}

/// Binds what `plan` says. Without a secret peers stay on loopback.
pub(crate) fn bind(plan: &Plan, has_secret: bool) -> Result<Listening, StartError> {
    let clients = resolve_clients(&plan.clients)?;
    let peers = resolve_peers(&plan.peers, has_secret)?;
    let mut listening = Listening {
        sockets: Vec::new(),
        clients: Vec::new(),
        client_addresses: Vec::new(),
        peers: Vec::new(),
        tcp_port: 0,
        socket_file: None,
    };
    for name in &clients {
        for (listener, address) in name.bind(plan.backlog)? {
            if listening.clients.is_empty() {
                listening.tcp_port = address.port();
            }
            listening.clients.push(address.to_string());
            listening.client_addresses.push(address);
            let bound = Bound::Tcp(listener);
            listening.sockets.push((bound, Listener::Client));
        }
    }
    if let Clients::Unix { path, mode, .. } = &plan.clients {
        let (listener, file) = bind_unix(path, *mode, plan.backlog)?;
        listening.clients.push(path.display().to_string());
        listening.socket_file = Some(file);
        let bound = Bound::Unix(listener);
        listening.sockets.push((bound, Listener::Client));
    }
    let from_clients = peer_port(plan.port(listening.tcp_port));
    for (listener, address) in peers.with_port(from_clients).bind(plan.backlog)? {
        listening.peers.push(address);
        let bound = Bound::Tcp(listener);
        listening.sockets.push((bound, Listener::Peer));
    }
    Ok(listening)
}

/// One name and the addresses that it stands for.
struct Name {
    shown: String,
    addresses: Vec<SocketAddr>,
    /// Whether an address that this machine does not have may be left out.
    lenient: bool,
    port_is_open: bool,
}

impl Name {
    fn resolve(host: &str, port: Option<u16>) -> Result<Self, StartError> {
        let found = (host, port.unwrap_or(0)).to_socket_addrs();
        let mut addresses: Vec<SocketAddr> = found
            .map_err(|error| refuse!("listen address {host}: {}", describe(&error)))?
            .collect();
        addresses.dedup();
        if addresses.is_empty() {
            return Err(refuse!("listen address {host}: it has no address"));
        }
        Ok(Self {
            shown: host.to_owned(),
            lenient: addresses.len() > 1,
            addresses,
            port_is_open: port.is_none(),
        })
    }

    /// Fills a port in that was not named.
    fn with_port(mut self, port: u16) -> Self {
        if self.port_is_open {
            for address in &mut self.addresses {
                address.set_port(port);
            }
        }
        self
    }

    fn bind(&self, backlog: u32) -> Result<Vec<(TcpListener, SocketAddr)>, StartError> {
        let mut bound = Vec::new();
        for address in &self.addresses {
            match bind_tcp(*address, backlog) {
                Ok(socket) => bound.push(socket),
                Err(error) if self.lenient && is_absent(&error) => {}
                Err(error) => {
                    return Err(refuse!("can't listen on {address}: {}", describe(&error)));
                }
            }
        }
        if bound.is_empty() {
            let shown = &self.shown;
            return Err(refuse!(
                "can't listen on {shown}: this machine does not have it"
            ));
        }
        Ok(bound)
    }
}

/// Whether the machine does not have that address, or not that family at all.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

fn resolve_clients(clients: &Clients) -> Result<Vec<Name>, StartError> {
    match clients {
        Clients::Loopback { port } => {
            let hosts = [
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(Ipv6Addr::LOCALHOST),
            ];
            Ok(vec![Name {
                shown: "loopback".to_owned(),
                addresses: hosts.map(|host| SocketAddr::new(host, *port)).to_vec(),
                lenient: true,
                port_is_open: false,
            }])
        }
        Clients::Tcp(addresses) => addresses
            .iter()
            .map(|(host, port)| Name::resolve(host, Some(*port)))
            .collect(),
        Clients::Unix { .. } => Ok(Vec::new()),
    }
}

fn resolve_peers(peers: &Peers, has_secret: bool) -> Result<Name, StartError> {
    let name = Name::resolve(&peers.host, peers.port)?;
    if !has_secret {
        for address in &name.addresses {
            loopback_only(address.ip())
                .map_err(|error| refuse!("peer-listen {}: {error}", peers.host))?;
        }
    }
    Ok(name)
}

/// Binds the socket for datagrams of other nodes, which send them to where they connect:
/// `advertised` if that is one of `peers`, or else one of its kind.
pub(crate) fn bind_datagrams(
    peers: &[SocketAddr],
    advertised: SocketAddr,
) -> Result<UdpSocket, StartError> {
    let is_alike = |address: &&SocketAddr| address.is_ipv4() == advertised.is_ipv4();
    let exact = peers.iter().find(|address| **address == advertised);
    let address = exact.or(peers.iter().find(is_alike)).or(peers.first());
    let address = *address.expect("a node listens for others");
    bind_udp(address).map_err(|error| {
        let why = describe(&error);
        refuse!("can't listen on {address} for datagrams: {why}")
    })
}

fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // As the listener beside it: otherwise `::` would take the port of `0.0.0.0`, too.
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    net::bind(&socket, &address)?;
    Ok(UdpSocket::from(socket))
}

fn bind_tcp(address: SocketAddr, backlog: u32) -> io::Result<(TcpListener, SocketAddr)> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // Accepted connections inherit it: a client whose host has died is noticed some day.
    sockopt::set_socket_keepalive(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    net::bind(&socket, &address)?;
    net::listen(&socket, i32::try_from(backlog).unwrap_or(i32::MAX))?;
    let listener = TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn bind_unix(
    path: &Path,
    mode: u32,
    backlog: u32,
) -> Result<(UnixListener, SocketFile), StartError> {
    let shown = path.display();
    clear_stale(path)?;
    let refused = |error: io::Error| refuse!("can't listen on {shown}: {}", describe(&error));
    let bound = || -> io::Result<UnixListener> {
        let (family, flags) = (AddressFamily::UNIX, SocketFlags::CLOEXEC);
        let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
        let address = net::SocketAddrUnix::new(path)?;
        // The file must never be there with more rights than it shall have.
        umask::with(0o777 & !mode, || net::bind(&socket, &address))?;
        net::listen(&socket, i32::try_from(backlog).unwrap_or(i32::MAX))?;
        Ok(UnixListener::from(socket))
    };
    let listener = bound().map_err(refused)?;
    Ok((listener, SocketFile(path.to_owned())))
}

/// Removes a socket file that nobody listens on any more.
fn clear_stale(path: &Path) -> Result<(), StartError> {
    let shown = path.display();
    let refused = |error: &io::Error| refuse!("can't listen on {shown}: {}", describe(error));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(&error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(refuse!(
                "can't listen on {shown}: it is there and is no socket"
            ));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| refused(&error))
        }
        Err(error) => Err(refused(&error)),
        Ok(_) => Err(refuse!("can't listen on {shown}: address already in use")),
    }
}
