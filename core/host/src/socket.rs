//! Sockets of either family, listening and connected.
//!
//! Decides which system call accepts, connects, reads and writes, none of which blocks, and what
//! their errors say of the other end. Refuses to know when.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_nodelay, socket_error};
use rustix::net::{AddressFamily, SocketFlags, SocketType, accept_with, connect, socket_with};
use zufar_core::machine::SLICES_MAX;

/// A socket that is bound and listens.
#[derive(Debug)]
pub enum Bound {
    /// On TCP.
    Tcp(TcpListener),
    /// On a Unix socket. Its path is the caller's to remove.
    Unix(UnixListener),
}

impl Bound {
    /// Has [`accept`](Self::accept) return when nobody waits.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.set_nonblocking(true),
            Self::Unix(listener) => listener.set_nonblocking(true),
        }
    }

    /// Accepts one connection.
    pub(crate) fn accept(&self) -> io::Result<Socket> {
        let descriptor = accept_with(self, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        Ok(match self {
            Self::Tcp(_) => {
                let stream = TcpStream::from(descriptor);
                // It can only fail on a connection that is broken, as its first read will tell.
                let _ = stream.set_nodelay(true);
                Socket::Tcp(stream)
            }
            Self::Unix(_) => Socket::Unix(UnixStream::from(descriptor)),
        })
    }
}

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

impl AsRawFd for Bound {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// Whether an error says that the other host knows nothing of the connection.
pub(crate) fn is_reset(error: &io::Error) -> bool {
    // The latter when it does so after the end of its stream.
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}

/// Whether an error says that the other host has nobody listening.
pub(crate) fn is_refused(error: &io::Error) -> bool {
    error.kind() == ErrorKind::ConnectionRefused
}

/// `address`, as IPv4 if it is a mapped one.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        // A new one would have no scope.
        IpAddr::V6(_) => address,
    }
}

/// A connected socket, or one on its way there, that does not block.
#[derive(Debug)]
pub enum Socket {
    /// On TCP.
    Tcp(TcpStream),
    /// On a Unix socket.
    Unix(UnixStream),
}

impl Socket {
    /// Begins to connect to `to`. What comes of it shows once the socket takes output.
    ///
    /// # Errors
    /// When it has failed already.
    pub(crate) fn connect(to: SocketAddr) -> io::Result<Self> {
        let to = canonical(to);
        let family = match to {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        set_tcp_nodelay(&socket, true)?;
        set_socket_keepalive(&socket, true)?;
        match connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(Self::Tcp(socket.into())),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the connection that [`connect`](Self::connect) has begun is there by now.
    ///
    /// # Errors
    /// When it has failed.
    pub(crate) fn is_connected(&self) -> io::Result<bool> {
        if let Some(error) = self.take_error() {
            return Err(error);
        }
        let Self::Tcp(stream) = self else {
            return Ok(true);
        };
        match stream.peer_addr() {
            // Where nobody listens on a port that the system gives to those who connect, it may
            // have given it to this very socket, which is then connected to itself.
            Ok(peer) if stream.local_addr()? == peer => Err(ErrorKind::ConnectionRefused.into()),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The error that has broken the connection, unless a read or write has told of it.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        match socket_error(self) {
            Ok(Ok(())) => None,
            Ok(Err(error)) | Err(error) => Some(error.into()),
        }
    }

    /// One read.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&mut &*stream).read(buffer),
            Self::Unix(stream) => (&mut &*stream).read(buffer),
        }
    }

    /// One write of at most [`SLICES_MAX`] slices.
    pub(crate) fn write(&self, slices: &[&[u8]]) -> io::Result<usize> {
        let writer: &mut dyn Write = match self {
            Self::Tcp(stream) => &mut &*stream,
            Self::Unix(stream) => &mut &*stream,
        };
        // The kernel spends less on a plain send than on a vector of one.
        if let [slice] = slices {
            return writer.write(slice);
        }
        let mut vector = [IoSlice::new(&[]); SLICES_MAX];
        for (entry, slice) in vector.iter_mut().zip(slices) {
            *entry = IoSlice::new(slice);
        }
        writer.write_vectored(&vector[..slices.len()])
    }

    /// The other end, as memcached writes it.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Unix(_) => "unix".to_owned(),
            Self::Tcp(stream) => match stream.peer_addr() {
                Ok(address @ SocketAddr::V4(_)) => format!("tcp:{address}"),
                Ok(address @ SocketAddr::V6(_)) => format!("tcp6:{address}"),
                // It is gone already, as its first read will tell.
                Err(_) => "tcp:unknown".to_owned(),
            },
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV6};

    use rustix::net::sockopt::{socket_keepalive, tcp_nodelay};
    use rustix::net::{bind, getsockname};

    use super::*;

    #[test]
    fn a_socket_that_is_connected_to_itself_has_found_nobody() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let socket = socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        );
        let socket = socket.expect("a socket");
        bind(&socket, &any).expect("a free port");
        let own = getsockname(&socket).expect("an address");
        connect(&socket, &own).expect("a connection to itself");
        let socket = Socket::Tcp(socket.into());
        let error = socket.is_connected().expect_err("it is no connection");
        assert!(is_refused(&error));
    }

    #[test]
    fn what_is_connected_sends_without_delay_and_asks_who_is_silent() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(any).expect("a free port");
        let to = listener.local_addr().expect("an address");
        let socket = Socket::connect(to).expect("a connection on its way");
        assert_eq!(tcp_nodelay(&socket), Ok(true));
        assert_eq!(socket_keepalive(&socket), Ok(true));
        let Socket::Tcp(stream) = &socket else {
            panic!("{socket:?}");
        };
        let error = (&mut &*stream).read(&mut [0]).expect_err("silence");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn only_the_other_host_resets() {
        let told = |errno: Errno| is_reset(&errno.into());
        assert!(told(Errno::CONNRESET) && told(Errno::PIPE));
        assert!(!told(Errno::TIMEDOUT) && !told(Errno::HOSTUNREACH));
    }

    #[test]
    fn mapped_addresses_are_ipv4_and_others_keep_their_scope() {
        let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
        assert_eq!(
            canonical(parse("[::ffff:127.0.0.1]:5")),
            parse("127.0.0.1:5")
        );
        let scoped = SocketAddrV6::new("fe80::1".parse().expect("an address"), 5, 0, 3);
        assert_eq!(canonical(scoped.into()), SocketAddr::V6(scoped));
    }
}
