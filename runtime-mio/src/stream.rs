//! A connected socket of either family.
//!
//! Decides which system call reads and which writes. Refuses to know when.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};

/// Slices that one vectored write takes at most.
pub(crate) const SLICES_MAX: usize = 64;

/// A connected socket that does not block.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// One read.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    /// One write of at most [`SLICES_MAX`] slices.
    pub(crate) fn write(&mut self, slices: &[&[u8]]) -> io::Result<usize> {
        let writer: &mut dyn Write = match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
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

    /// What mio registers.
    pub(crate) fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
        }
    }
}
