//! How a connection comes about: from outside, and from one host to another.
//!
//! Decides who is accepted, who is refused, and who hears nothing. Refuses to know what is said
//! once it is there.

use std::net::SocketAddr;

use zufar_core::id::Ticket;

use super::links::{Farewell, LinkId, Place, Side};
use super::process::{Mail, Process, Seat};
use super::{Happening, Incident, World};

/// How long a system tries to reach a host that does not answer, in microseconds: Linux gives up
/// after six repetitions, each waiting twice as long as the one before.
const CONNECT_US_MAX: u64 = 127_000_000;

impl World {
    /// Carries out all that a worker's machine wants connected.
    pub(super) fn connect_all(&mut self, seat: &mut Seat) {
        let mut wanted = std::mem::take(&mut seat.actions.connect);
        for (ticket, to) in wanted.drain(..) {
            let link = self.connect_from(seat, to);
            seat.connecting.push((ticket, link));
        }
        seat.actions.connect = wanted;
    }

    fn connect_from(&mut self, seat: &Seat, to: SocketAddr) -> LinkId {
        let (called, listener) = self.place_of(to);
        let link = self.insert_link(Place::Host(seat.run.host), (called, None), listener);
        self.link(link).wanted_by = seat.worker;
        let latency_us = self.latency_us();
        self.plan(latency_us, Happening::Open(link));
        link
    }

    /// Forgets about all tickets that a machine has given up.
    pub(super) fn give_up(&mut self, seat: &mut Seat) {
        let mut tickets: Vec<Ticket> = std::mem::take(&mut seat.actions.give_up);
        for ticket in tickets.drain(..) {
            if let Some(link) = seat.give_up(ticket) {
                self.close(link, Side::Opener, Farewell::Polite);
            }
        }
        seat.actions.give_up = tickets;
    }

    /// Somebody's first word comes to the host that is called.
    pub(super) fn open(&mut self, link: LinkId) -> Option<Incident> {
        let opener = self.end(link, Side::Opener);
        if opener.closed {
            return None;
        }
        if opener.is_outside() {
            return Some(self.open_from_outside(link));
        }
        // Whoever is called accepts only once it has heard twice from the opener.
        if Side::BOTH.iter().any(|side| !self.carries(link, *side)) {
            self.hold_opening(link);
        } else if self.accept(link) {
            let at = self.arrival();
            let at = self.end(link, Side::Opener).inbox.start(at);
            self.plan_at(at, Happening::Arrive(link, Side::Opener));
        } else {
            let latency_us = self.latency_us();
            self.plan(latency_us, Happening::Refuse(link));
        }
        None
    }

    fn open_from_outside(&mut self, link: LinkId) -> Incident {
        if self.accept(link) {
            return Incident::Opened(link);
        }
        self.end(link, Side::Acceptor).closed = true;
        let inbox = &mut self.end(link, Side::Opener).inbox;
        inbox.end(zufar_core::time::Time::ZERO);
        inbox.arrive();
        Incident::Readable(link)
    }

    /// The host that is called accepts, if somebody listens there.
    fn accept(&mut self, link: LinkId) -> bool {
        let Place::Host(host) = self.end(link, Side::Acceptor).place else {
            unreachable!("nothing is carried to nowhere");
        };
        let outside = self.end(link, Side::Opener).is_outside();
        let run = self.host(host).run;
        let listener = self.link(link).listener;
        let accepted = self.with_process(host, |world, process| {
            // To one from outside it is all the same whether it is refused or closed at once.
            if !outside && !process.listens() {
                return false;
            }
            let next = &mut world.host_mut(host).next_worker;
            let worker = (*next % usize::from(process.workers())) as u16;
            *next += 1;
            process.tell(worker, Mail::Accepted(link, listener));
            world.wake(process, worker);
            true
        });
        let accepted = accepted == Some(true);
        let entry = self.end(link, Side::Acceptor);
        entry.run = run;
        entry.there |= accepted;
        accepted
    }

    /// A way is cut: the opener's system goes on trying, for a while.
    fn hold_opening(&mut self, link: LinkId) {
        self.count("connections held by a cut");
        self.link(link).opening_held = true;
        self.give_up_some_time(link);
    }

    /// The opener's system will not try forever.
    pub(super) fn give_up_some_time(&mut self, link: LinkId) {
        if !std::mem::replace(&mut self.link(link).gives_up, true) {
            self.plan(CONNECT_US_MAX, Happening::StopConnecting(link));
        }
    }

    pub(super) fn stop_connecting(&mut self, link: LinkId) {
        if !self.link(link).connected {
            self.fail_connecting(link, false);
        }
    }

    /// The host that is called says that nobody listens.
    pub(super) fn refuse(&mut self, link: LinkId) {
        if !self.carries(link, Side::Opener) {
            return self.hold_opening(link);
        }
        self.fail_connecting(link, true);
    }

    pub(super) fn fail_connecting(&mut self, link: LinkId, refused: bool) {
        self.tell_opener(link, Mail::ConnectFailed { link, refused });
        self.end(link, Side::Opener).close();
    }

    /// The opener learns that the connection is there, if this is what has come.
    pub(super) fn note_connected(&mut self, link: LinkId) {
        let started = self.end(link, Side::Opener).inbox.is_started();
        if started && !std::mem::replace(&mut self.link(link).connected, true) {
            self.tell_opener(link, Mail::Connected(link));
        }
    }

    fn tell_opener(&mut self, link: LinkId, mail: Mail) {
        let entry = self.end(link, Side::Opener);
        if let Place::Host(host) = entry.place
            && entry.hears()
        {
            let worker = self.link(link).wanted_by;
            self.with_process(host, |world: &mut Self, process: &mut Process| {
                process.tell(worker, mail);
                world.wake(process, worker);
            });
        }
    }
}
