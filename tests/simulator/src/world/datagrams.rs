//! Datagrams between hosts.
//!
//! Decides which are lost, doubled, late or out of order, and what a socket has room for. Refuses
//! to know what they say.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use zufar_core::datagrams::DATAGRAMS_PER_TURN;
use zufar_core::machine::{Event, Listener};

use super::links::Place;
use super::process::{Process, Seat};
use super::{Happening, HostId, World};

/// What a socket for datagrams holds until its process takes it. More is dropped.
const HELD_MAX: usize = 256;

/// One on its way.
pub(super) struct Datagram {
    from: SocketAddr,
    to: HostId,
    bytes: Box<[u8]>,
    /// Counts all that have been sent.
    number: u64,
}

/// What tells whether datagrams come in order.
#[derive(Debug, Default)]
pub(super) struct Order {
    sent: u64,
    /// The latest that has come, by sender and host.
    latest: BTreeMap<(SocketAddr, HostId), u64>,
}

impl World {
    /// Somebody sends a datagram to `to` who claims to be `from`: another host, or anybody.
    pub fn send_datagram(&mut self, from: SocketAddr, to: HostId, bytes: &[u8]) {
        let lost_percent = self.lost_percent(from, to);
        if self.is_datagram_cut(from, to) {
            return self.count("datagrams cut off");
        }
        if lost_percent > 0 && self.random.chance(lost_percent) {
            return self.count("datagrams lost");
        }
        self.order.sent += 1;
        let doubled_percent = self.peers.doubled_percent;
        if doubled_percent > 0 && self.random.chance(doubled_percent) {
            self.count("datagrams doubled");
            self.carry_datagram(from, to, bytes);
        }
        self.carry_datagram(from, to, bytes);
    }

    fn carry_datagram(&mut self, from: SocketAddr, to: HostId, bytes: &[u8]) {
        let mut delay_us = self.latency_us();
        if let Some(sender) = self.sender(from) {
            delay_us += self.slow_us(sender, to);
        }
        if self.peers.late_percent > 0 && self.random.chance(self.peers.late_percent) {
            self.count("datagrams late");
            delay_us += self.random.between(1, self.peers.late_us_max);
        }
        let datagram = Datagram {
            from,
            to,
            bytes: bytes.into(),
            number: self.order.sent,
        };
        self.plan(delay_us, Happening::Datagram(Box::new(datagram)));
    }

    /// Sends what a worker's machine has to send.
    pub(super) fn send_datagrams(&mut self, seat: &mut Seat) {
        let mut datagrams = std::mem::take(&mut seat.actions.datagrams);
        assert!(
            seat.worker == 0 || datagrams.is_empty(),
            "a machine sends datagrams only where there is a socket for them"
        );
        let from = seat.run.host.address(Listener::Peer);
        for (address, bytes) in datagrams.iter() {
            match self.place_of(address) {
                (Place::Host(to), Listener::Peer) => self.send_datagram(from, to, bytes),
                _ => self.count("datagrams to nobody"),
            }
        }
        datagrams.clear();
        seat.actions.datagrams = datagrams;
    }

    fn sender(&self, from: SocketAddr) -> Option<HostId> {
        match self.place_of(from) {
            (Place::Host(host), _) => Some(host),
            _ => None,
        }
    }

    fn lost_percent(&self, from: SocketAddr, to: HostId) -> u64 {
        let sender = self.sender(from);
        let of_way = sender.map_or(0, |sender| self.paths.lost_percent(sender, to));
        self.peers.lost_percent + of_way
    }

    fn is_datagram_cut(&self, from: SocketAddr, to: HostId) -> bool {
        let sender = self.sender(from);
        sender.is_some_and(|sender| !self.is_way_open(sender, to)) || self.host(to).off
    }

    /// One comes to its host.
    pub(super) fn arrive_datagram(&mut self, datagram: Datagram) {
        let Datagram {
            from,
            to,
            bytes,
            number,
        } = datagram;
        if self.is_datagram_cut(from, to) {
            return self.count("datagrams cut off");
        }
        let latest = self.order.latest.entry((from, to)).or_default();
        let overtaken = number < *latest;
        *latest = number.max(*latest);
        if overtaken {
            self.count("datagrams out of order");
        }
        let taken = self.with_process(to, |world, process| {
            if process.datagrams.len() >= HELD_MAX {
                return world.count("datagrams that found a full socket");
            }
            process.datagrams.push_back((from, bytes));
            world.wake(process, 0);
        });
        if taken.is_none() {
            self.count("datagrams to nobody");
        }
    }

    /// The process takes as many as a turn takes.
    pub(super) fn take_datagrams(&mut self, process: &mut Process) {
        for _ in 0..DATAGRAMS_PER_TURN {
            let Some((from, bytes)) = process.datagrams.pop_front() else {
                return;
            };
            self.trace.data(&bytes);
            let bytes = &*bytes;
            self.deliver(process.seat(0), Event::Datagram { from, bytes });
        }
    }
}
