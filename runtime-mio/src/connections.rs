//! The connections of one worker.
//!
//! Decides their ids and what is remembered about each. Refuses to know what happens on them.

use std::io;

use mio::{Interest, Registry, Token};
use zufar_core::id::ConnId;

use crate::stream::Stream;

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

/// One connection and what its loop remembers about it.
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    /// The kernel may hold input, or the stream's end, that no event will tell of again.
    pub(crate) readable: bool,
    /// The end of the stream, or an error, lies behind the input.
    pub(crate) ending: bool,
    /// The end of the stream has been read.
    pub(crate) finished: bool,
    /// The machine wants no input.
    pub(crate) paused: bool,
    /// It is in the list of those to read in the next turn.
    pub(crate) queued: bool,
    /// The kernel takes no more output until an event says so.
    pub(crate) blocked: bool,
    /// The turn of the last write.
    pub(crate) written_turn: u64,
    awaits_writable: bool,
}

impl Connection {
    /// Waits for an event before the next write. Most connections never come to this, and are
    /// spared the events that a socket causes whenever its peer has read.
    pub(crate) fn block(&mut self, id: ConnId, registry: &Registry) -> io::Result<()> {
        self.blocked = true;
        if !self.awaits_writable {
            self.awaits_writable = true;
            let interest = Interest::READABLE | Interest::WRITABLE;
            // epoll looks again at a socket that is registered anew: no event gets lost.
            registry.reregister(self.stream.source(), token_of(id), interest)?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Slot {
    generation: u32,
    connection: Option<Connection>,
}

/// Connections by id, densely numbered.
#[derive(Default)]
pub(crate) struct Connections {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Connections {
    /// Takes `stream` in and registers it.
    pub(crate) fn insert(&mut self, mut stream: Stream, registry: &Registry) -> io::Result<ConnId> {
        let slot = self.free.last().copied().unwrap_or_else(|| {
            u32::try_from(self.slots.len()).expect("there are fewer file descriptors")
        });
        let generation = self
            .slots
            .get(slot as usize)
            .map_or(0, |slot| slot.generation);
        let id = ConnId { slot, generation };
        registry.register(stream.source(), token_of(id), Interest::READABLE)?;
        if self.free.pop().is_none() {
            self.slots.push(Slot::default());
        }
        self.slots[slot as usize].connection = Some(Connection {
            stream,
            readable: false,
            ending: false,
            finished: false,
            paused: false,
            queued: false,
            blocked: false,
            written_turn: 0,
            awaits_writable: false,
        });
        Ok(id)
    }

    /// The connection with this id, if it is open.
    pub(crate) fn find(&mut self, id: ConnId) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        (slot.generation == id.generation).then_some(slot.connection.as_mut())?
    }

    /// Closes the connection with this id. Its descriptor has no duplicate, so closing it
    /// also ends its registration, for one system call less.
    pub(crate) fn remove(&mut self, id: ConnId) {
        let slot = &mut self.slots[id.slot as usize];
        assert!(
            slot.generation == id.generation && slot.connection.is_some(),
            "only an open connection is removed"
        );
        slot.connection = None;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot);
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use mio::Poll;
    use mio::net::UnixStream;

    use super::*;

    fn stream() -> Stream {
        Stream::Unix(UnixStream::pair().expect("a pair of sockets").0)
    }

    #[test]
    fn a_slot_is_used_again_under_another_generation() {
        let poll = Poll::new().expect("an epoll instance");
        let mut connections = Connections::default();
        let insert = |connections: &mut Connections| {
            connections
                .insert(stream(), poll.registry())
                .expect("a registration")
        };
        let first = insert(&mut connections);
        let second = insert(&mut connections);
        assert_eq!((first.slot, second.slot), (0, 1));
        connections.remove(first);
        assert!(connections.find(first).is_none());
        let third = insert(&mut connections);
        assert_eq!((third.slot, third.generation), (0, 1));
        assert!(connections.find(first).is_none());
        assert!(connections.find(third).is_some());
        assert_eq!(connections.len(), 2);
    }

    #[test]
    fn a_token_holds_the_whole_id() {
        let id = ConnId {
            slot: 0xffff_fff0,
            generation: 0x8000_0001,
        };
        assert_eq!(conn_of(token_of(id)), id);
    }
}
