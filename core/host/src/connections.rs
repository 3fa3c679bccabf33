//! The connections of one worker.
//!
//! Decides their ids and what is remembered about each. Refuses to know what happens on them,
//! and how a driver watches them.

use zufar_core::id::ConnId;

/// One connection: what a driver watches, and what a turn remembers about it.
#[derive(Debug)]
pub struct Connection<W> {
    /// The driver's: the socket, and how it is watched.
    pub watched: W,
    /// It is a client's, and counts as one.
    pub(crate) counts: bool,
    /// It is not there yet, and the machine does not know of it.
    pub(crate) connecting: bool,
    /// The machine wants no input.
    pub(crate) paused: bool,
    /// The end of the stream has been read.
    pub(crate) finished: bool,
    /// The socket takes no more output until the driver says so.
    pub(crate) blocked: bool,
    /// The turn of the last write.
    pub(crate) written_turn: u64,
}

impl<W> Connection<W> {
    /// One that has been accepted, from a client if it `counts`.
    pub(crate) fn accepted(watched: W, counts: bool) -> Self {
        Self {
            watched,
            counts,
            connecting: false,
            paused: false,
            finished: false,
            blocked: false,
            written_turn: 0,
        }
    }

    /// One that is there once the socket takes output.
    pub(crate) fn connecting(watched: W) -> Self {
        Self {
            connecting: true,
            blocked: true,
            ..Self::accepted(watched, false)
        }
    }

    /// Whether it is to be read when there is input.
    pub const fn wants_input(&self) -> bool {
        !self.paused && !self.finished && !self.connecting
    }

    /// Whether it is to be written when the socket takes output again.
    pub const fn wants_room(&self) -> bool {
        self.blocked
    }
}

struct Slot<W> {
    generation: u32,
    connection: Option<Connection<W>>,
}

/// Connections by id, densely numbered.
pub(crate) struct Connections<W> {
    slots: Vec<Slot<W>>,
    free: Vec<u32>,
}

impl<W> Connections<W> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    /// The id that the next connection gets.
    pub(crate) fn next_id(&self) -> ConnId {
        match self.free.last() {
            Some(&slot) => ConnId {
                slot,
                generation: self.slots[slot as usize].generation,
            },
            None => ConnId {
                slot: u32::try_from(self.slots.len()).expect("there are fewer file descriptors"),
                generation: 0,
            },
        }
    }

    /// Takes the next connection in.
    pub(crate) fn insert(&mut self, connection: Connection<W>) {
        let connection = Some(connection);
        match self.free.pop() {
            Some(slot) => self.slots[slot as usize].connection = connection,
            None => self.slots.push(Slot {
                generation: 0,
                connection,
            }),
        }
    }

    /// The connection with this id, if it is open or on its way there.
    pub(crate) fn find(&mut self, id: ConnId) -> Option<&mut Connection<W>> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        (slot.generation == id.generation).then_some(slot.connection.as_mut())?
    }

    /// The connection with this id, if the machine knows of it.
    pub(crate) fn find_known(&mut self, id: ConnId) -> Option<&mut Connection<W>> {
        self.find(id).filter(|connection| !connection.connecting)
    }

    /// Closes the connection with this id, and says whether it counted.
    pub(crate) fn remove(&mut self, id: ConnId) -> bool {
        let slot = &mut self.slots[id.slot as usize];
        let connection = slot.connection.take();
        let connection = connection.filter(|_| slot.generation == id.generation);
        let connection = connection.expect("only an open connection is removed");
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot);
        connection.counts
    }

    /// How many are open and count.
    pub(crate) fn counted(&self) -> usize {
        let open = self.slots.iter().flat_map(|slot| &slot.connection);
        open.filter(|connection| connection.counts).count()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn a_slot_is_used_again_under_another_generation() {
        let socket = Rc::new(());
        let mut connections = Connections::new();
        let insert = |connections: &mut Connections<_>| {
            let id = connections.next_id();
            connections.insert(Connection::accepted(Rc::clone(&socket), true));
            assert!(connections.find(id).is_some());
            id
        };
        let first = insert(&mut connections);
        let second = insert(&mut connections);
        assert_eq!((first.slot, second.slot), (0, 1));
        assert!(connections.remove(first));
        assert_eq!(Rc::strong_count(&socket), 2, "closed at once");
        assert!(connections.find(first).is_none());
        let third = insert(&mut connections);
        assert_eq!((third.slot, third.generation), (0, 1));
        assert!(connections.find(first).is_none());
        assert!(connections.find(third).is_some());
        assert_eq!(connections.counted(), 2);
    }

    #[test]
    fn one_that_is_connecting_is_neither_known_nor_read_nor_counted() {
        let mut connections = Connections::new();
        let id = connections.next_id();
        connections.insert(Connection::connecting(()));
        assert!(connections.find_known(id).is_none());
        let connection = connections.find(id).expect("it is on its way");
        assert!(connection.wants_room() && !connection.wants_input());
        connection.connecting = false;
        assert!(connections.find_known(id).is_some());
        assert_eq!(connections.counted(), 0);
        assert!(!connections.remove(id));
    }
}
