//! One worker's event loop.
//!
//! Decides how long the poll waits, and which connections are read. Refuses to know what a read
//! brings.

use std::io::{self, ErrorKind};
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Poll};
use zufar_core::id::ConnId;
use zufar_core::machine::{Listener, Machine};
use zufar_host::{Input, Parts, Sleep, Worker};

use crate::registrar::{DATAGRAMS, Datagrams, Door, Registrar, conn_of, door_of};

/// Events that one turn takes at most.
const EVENTS_MAX: usize = 1024;

/// What a worker's thread begins with.
pub(crate) struct Station {
    pub(crate) poll: Poll,
    pub(crate) doors: Vec<(Door, Listener)>,
    pub(crate) datagrams: Option<Datagrams>,
}

/// Runs until the machine has stopped.
pub(crate) fn run<M: Machine>(parts: Parts<M>, station: Station) -> io::Result<()> {
    let registrar = Registrar {
        registry: station.poll.registry().try_clone()?,
        queued: Vec::new(),
    };
    let mut event_loop = EventLoop {
        worker: Worker::new(parts, registrar, station.doors, station.datagrams),
        poll: station.poll,
        reading: Vec::new(),
    };
    let mut events = Events::with_capacity(EVENTS_MAX);
    while !event_loop.worker.is_stopped() {
        event_loop.turn(&mut events)?;
    }
    event_loop.worker.close_all();
    Ok(())
}

struct EventLoop<M> {
    worker: Worker<M, Registrar>,
    poll: Poll,
    /// Connections to read in this turn though no event may tell of them.
    reading: Vec<ConnId>,
}

impl<M: Machine> EventLoop<M> {
    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = self.timeout();
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => result?,
        }
        self.worker.begin_turn();
        for event in &*events {
            self.take_event(event);
        }
        self.read_queued();
        self.worker.end_turn();
        Ok(())
    }

    fn timeout(&mut self) -> Option<Duration> {
        if !self.worker.watcher().queued.is_empty() {
            return Some(Duration::ZERO);
        }
        match self.worker.sleep() {
            Sleep::Not => Some(Duration::ZERO),
            Sleep::Until(time) => Some(Duration::from_nanos(self.worker.nanoseconds_to(time))),
            Sleep::Long => None,
        }
    }

    fn take_event(&mut self, event: &Event) {
        let token = event.token();
        let id = conn_of(token);
        let Some(connection) = self.worker.connection(id) else {
            if let Some(index) = door_of(token) {
                self.worker.has_callers(index);
            } else if token == DATAGRAMS {
                self.worker.has_datagrams();
            }
            return;
        };
        let broken = event.is_error() || event.is_write_closed();
        let ending = broken || event.is_read_closed();
        let watched = &mut connection.watched;
        watched.ending |= ending;
        watched.readable |= ending || event.is_readable();
        let read = (ending || event.is_readable()) && !watched.queued;
        if broken && self.worker.has_broken(id) {
            return;
        }
        if broken || event.is_writable() {
            self.worker.has_room(id);
        }
        if read {
            self.read(id);
        }
    }

    fn read_queued(&mut self) {
        let mut reading = std::mem::take(&mut self.reading);
        std::mem::swap(&mut self.worker.watcher().queued, &mut reading);
        for id in reading.drain(..) {
            if let Some(connection) = self.worker.connection(id) {
                connection.watched.queued = false;
                self.read(id);
            }
        }
        self.reading = reading;
    }

    /// Reads once. A read of all that there was has emptied the socket, and an event will tell of
    /// more, but not of a stream's end that the last event has told of already.
    fn read(&mut self, id: ConnId) {
        let input = self.worker.read(id);
        let Some(connection) = self.worker.connection(id) else {
            return;
        };
        let watched = &mut connection.watched;
        match input {
            Input::Unread => return,
            Input::Nothing => watched.readable = false,
            Input::Drained => watched.readable = watched.ending,
            Input::More => watched.readable = true,
        }
        if watched.readable && !watched.queued {
            watched.queued = true;
            self.worker.watcher().queued.push(id);
        }
    }
}
