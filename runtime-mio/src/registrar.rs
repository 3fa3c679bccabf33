//! What is registered with epoll, and under which tokens.
//!
//! Decides that a socket is registered once, for input, and for output only once it has ever been
//! full, or is on its way to being connected. Refuses to know what is done with events.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use zufar_core::id::ConnId;
use zufar_host::{Bound, Socket, Watcher};

/// The token of a mailbox's waker.
pub(crate) const WAKER: Token = Token(usize::MAX);
/// The token of the socket for datagrams.
pub(crate) const DATAGRAMS: Token = Token(usize::MAX - 1);
/// The listener at index `n` has the token that is `n` below this one. No connection gets that
/// far: its slot would be beyond all file descriptors.
const FIRST_DOOR: usize = usize::MAX - 2;

// A token holds a whole ConnId, so that a late event can't reach a slot's next owner.
const _: () = assert!(usize::BITS == 64, "a token holds 64 bits");

/// The token under which `conn` is registered.
fn token_of(conn: ConnId) -> Token {
    Token((conn.generation as usize) << 32 | conn.slot as usize)
}

/// The connection that was registered under `token`.
pub(crate) fn conn_of(token: Token) -> ConnId {
    ConnId {
        slot: (token.0 & 0xffff_ffff) as u32,
        generation: (token.0 >> 32) as u32,
    }
}

/// The index of the listener that was registered under `token`, if it is one's.
pub(crate) fn door_of(token: Token) -> Option<usize> {
    FIRST_DOOR.checked_sub(token.0)
}

/// A listener that is registered.
pub(crate) struct Door(Bound);

impl Door {
    pub(crate) fn new(index: usize, bound: Bound, registry: &Registry) -> io::Result<Self> {
        bound.set_nonblocking()?;
        let descriptor = bound.as_raw_fd();
        let token = Token(FIRST_DOOR - index);
        registry.register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
        Ok(Self(bound))
    }
}

impl AsRef<Bound> for Door {
    fn as_ref(&self) -> &Bound {
        &self.0
    }
}

/// A socket for datagrams that is registered.
pub(crate) struct Datagrams(UdpSocket);

impl Datagrams {
    pub(crate) fn new(socket: UdpSocket, registry: &Registry) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let descriptor = socket.as_raw_fd();
        registry.register(&mut SourceFd(&descriptor), DATAGRAMS, Interest::READABLE)?;
        Ok(Self(socket))
    }
}

impl AsRef<UdpSocket> for Datagrams {
    fn as_ref(&self) -> &UdpSocket {
        &self.0
    }
}

/// A connection that is registered. Its descriptor has no duplicate, so closing it also ends its
/// registration, for one system call less.
pub(crate) struct Watched {
    socket: Socket,
    /// The kernel may hold input, or the stream's end, that no event will tell of again.
    pub(crate) readable: bool,
    /// The end of the stream, or an error, lies behind the input.
    pub(crate) ending: bool,
    /// It is in the list of those to read in the next turn.
    pub(crate) queued: bool,
    awaits_writable: bool,
}

impl AsRef<Socket> for Watched {
    fn as_ref(&self) -> &Socket {
        &self.socket
    }
}

/// One worker's registrations.
pub(crate) struct Registrar {
    pub(crate) registry: Registry,
    /// Connections to read in the next turn.
    pub(crate) queued: Vec<ConnId>,
}

impl Watcher for Registrar {
    type Connection = Watched;
    type Door = Door;
    type Datagrams = Datagrams;

    fn watch(&mut self, id: ConnId, socket: Socket) -> io::Result<Watched> {
        let descriptor = socket.as_raw_fd();
        let token = token_of(id);
        self.registry
            .register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
        Ok(Watched {
            socket,
            readable: false,
            ending: false,
            queued: false,
            awaits_writable: false,
        })
    }

    fn await_input(&mut self, id: ConnId, watched: &mut Watched) {
        if watched.readable && !watched.queued {
            watched.queued = true;
            self.queued.push(id);
        }
    }

    /// Most connections never come to this, and are spared the events that a socket causes
    /// whenever its peer has read.
    fn await_room(&mut self, id: ConnId, watched: &mut Watched) -> io::Result<()> {
        if !watched.awaits_writable {
            watched.awaits_writable = true;
            let descriptor = watched.socket.as_raw_fd();
            let interest = Interest::READABLE | Interest::WRITABLE;
            // epoll looks again at a socket that is registered anew: no event gets lost.
            self.registry
                .reregister(&mut SourceFd(&descriptor), token_of(id), interest)?;
        }
        Ok(())
    }

    /// An event tells of it anyway.
    fn await_break(&mut self, _: ConnId, _: &mut Watched) -> io::Result<()> {
        Ok(())
    }

    /// An event tells of it anyway.
    fn await_callers(&mut self, _: usize, _: &mut Door) {}

    /// An event tells of it anyway.
    fn await_datagrams(&mut self, _: &mut Datagrams) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_holds_the_whole_id() {
        let id = ConnId {
            slot: 0xffff_fff0,
            generation: 0x8000_0001,
        };
        assert_eq!(conn_of(token_of(id)), id);
    }

    #[test]
    fn listeners_and_connections_share_no_token() {
        assert_eq!(door_of(WAKER), None);
        assert_eq!(door_of(DATAGRAMS), None);
        assert_eq!(door_of(Token(FIRST_DOOR - 3)), Some(3));
        let last = ConnId {
            slot: 1 << 31,
            generation: u32::MAX,
        };
        assert!(door_of(token_of(last)).is_some_and(|index| index > 1 << 30));
    }
}
