//! Connections that a worker's machine has asked for.
//!
//! Decides how one comes about: its socket has a [`ConnId`] from the start, which the machine
//! hears of once it is connected. Refuses to know how long to wait: the machine gives up.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use zufar_core::id::{ConnId, Ticket};
use zufar_core::machine::{Event, Machine};

use super::{Watcher, Worker};
use crate::connections::Connection;
use crate::socket::{Socket, is_refused};

/// What has been asked for and not been answered.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    under_way: Vec<(Ticket, ConnId)>,
    /// What has failed at once, each with whether it was refused. The machine hears of it in the
    /// next turn: it can't be told while it is being heard.
    failed: VecDeque<(Ticket, bool)>,
}

impl Outgoing {
    /// Whether there is anything to tell.
    pub(super) fn has_work(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Ends what is under way as `id`.
    fn end(&mut self, id: ConnId) -> Ticket {
        let mut all = self.under_way.iter();
        let at = all.position(|(_, conn)| *conn == id);
        let at = at.expect("a connection on its way has a ticket");
        self.under_way.swap_remove(at).0
    }

    /// Forgets about `ticket`, and says what is to be closed.
    fn give_up(&mut self, ticket: Ticket) -> Option<ConnId> {
        self.failed.retain(|(failed, _)| *failed != ticket);
        let mut all = self.under_way.iter();
        let at = all.position(|(under_way, _)| *under_way == ticket)?;
        Some(self.under_way.swap_remove(at).1)
    }
}

impl<M: Machine, W: Watcher> Worker<M, W> {
    /// Carries out all that the machine wants connected.
    pub(super) fn connect(&mut self) {
        let mut wanted = std::mem::take(&mut self.actions.connect);
        for (ticket, to) in wanted.drain(..) {
            if let Err(error) = self.begin_connecting(ticket, to) {
                self.outgoing.failed.push_back((ticket, is_refused(&error)));
            }
        }
        self.actions.connect = wanted;
    }

    fn begin_connecting(&mut self, ticket: Ticket, to: SocketAddr) -> io::Result<()> {
        let socket = Socket::connect(to)?;
        let id = self.connections.next_id();
        let mut watched = self.watcher.watch(id, socket)?;
        self.watcher.await_room(id, &mut watched)?;
        self.connections.insert(Connection::connecting(watched));
        self.outgoing.under_way.push((ticket, id));
        Ok(())
    }

    /// Tells the machine what has become of a connection on its way, if anything has.
    pub(super) fn end_connecting(&mut self, id: ConnId) {
        let Some(connection) = self.connections.find(id) else {
            return;
        };
        let connected = match connection.watched.as_ref().is_connected() {
            Ok(false) => {
                let awaited = self.watcher.await_room(id, &mut connection.watched);
                match awaited {
                    Ok(()) => return,
                    Err(error) => Err(error),
                }
            }
            Ok(true) => Ok(()),
            Err(error) => Err(error),
        };
        self.now = self.clock.now();
        let ticket = self.outgoing.end(id);
        match connected {
            Ok(()) => {
                connection.connecting = false;
                connection.blocked = false;
                self.deliver(Event::Connected { ticket, conn: id });
            }
            Err(error) => {
                self.remove(id);
                let refused = is_refused(&error);
                self.deliver(Event::ConnectFailed { ticket, refused });
            }
        }
    }

    /// Tells the machine what has failed at once.
    pub(super) fn tell_failed(&mut self) {
        while let Some((ticket, refused)) = self.outgoing.failed.pop_front() {
            self.deliver(Event::ConnectFailed { ticket, refused });
        }
    }

    /// Forgets about all tickets that the machine has given up.
    pub(super) fn give_up(&mut self) {
        while let Some(ticket) = self.actions.give_up.pop() {
            self.actions.connect.retain(|(wanted, _)| *wanted != ticket);
            if let Some(id) = self.outgoing.give_up(ticket) {
                self.remove(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_ended_or_given_up_wherever_it_is() {
        let ticket = |slot| Ticket {
            slot,
            generation: 5,
        };
        let conn = |slot| ConnId {
            slot,
            generation: 6,
        };
        let mut outgoing = Outgoing::default();
        outgoing.under_way.extend([
            (ticket(1), conn(10)),
            (ticket(2), conn(20)),
            (ticket(3), conn(30)),
        ]);
        outgoing
            .failed
            .extend([(ticket(4), true), (ticket(5), false)]);
        assert_eq!(outgoing.end(conn(20)), ticket(2));
        assert_eq!(outgoing.give_up(ticket(2)), None);
        assert_eq!(outgoing.give_up(ticket(3)), Some(conn(30)));
        assert_eq!(outgoing.give_up(ticket(4)), None);
        assert_eq!(outgoing.failed, [(ticket(5), false)]);
        assert_eq!(outgoing.give_up(ticket(5)), None);
        assert!(!outgoing.has_work());
        assert_eq!(outgoing.under_way, [(ticket(1), conn(10))]);
    }
}
