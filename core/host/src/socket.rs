//! Sockets of either family, listening and connected.
//!
//! Decides which system call accepts, which reads and which writes; none of them blocks. Refuses
//! to know when.

use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::net::{SocketFlags, accept_with};
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

/// A connected socket that does not block.
#[derive(Debug)]
pub enum Socket {
    /// On TCP.
    Tcp(TcpStream),
    /// On a Unix socket.
    Unix(UnixStream),
}

impl Socket {
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
