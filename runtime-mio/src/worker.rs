//! One worker's event loop.
//!
//! Decides the order of a turn and when to sleep. Refuses to know what the machine does.
//!
//! A turn: sleep, unless there is work; mail; ready connections, each read once; the deadline;
//! new connections; writes; then everything for other threads, one lock for each of them.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mio::{Events, Poll, Token};
use zufar_core::id::{ConnId, WorkerId};
use zufar_core::machine::{Actions, Event, Listener, Machine};
use zufar_core::notice::{Notice, Severity};
use zufar_core::time::Now;

use crate::accept::Acceptor;
use crate::clock::Clock;
use crate::connections::{Connections, conn_of};
use crate::disk_pool::{Lanes, Submitter};
use crate::host;
use crate::mailbox::Outboxes;
use crate::shared::{Mail, Shared};
use crate::stream::{SLICES_MAX, Stream};

/// The token of a mailbox's waker.
pub(crate) const WAKER: Token = Token(usize::MAX);
/// Events that one turn takes at most.
const EVENTS_MAX: usize = 1024;
/// What one read takes at most.
const READ_BYTES_MAX: usize = 64 * 1024;

/// What a worker is made of.
pub(crate) struct Parts<M> {
    pub(crate) id: WorkerId,
    pub(crate) machine: M,
    pub(crate) poll: Poll,
    pub(crate) clock: Clock,
    /// Worker 0 accepts for all.
    pub(crate) acceptor: Option<Acceptor>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) lanes: Option<Arc<Lanes>>,
}

/// What came of an attempt to write.
enum Written {
    /// All, or what the socket took; an event will tell when it takes more.
    Enough,
    /// There may be more that the socket would take.
    More,
    /// The connection is broken.
    Broken,
}

pub(crate) struct Worker<M> {
    id: WorkerId,
    machine: M,
    actions: Actions,
    poll: Poll,
    clock: Clock,
    /// The last sample.
    now: Now,
    turn: u64,
    connections: Connections,
    buffer: Box<[u8]>,
    /// Connections to read in the next turn, and those of this turn.
    queued: Vec<ConnId>,
    reading: Vec<ConnId>,
    /// Connections to write in this turn; `actions.write` gathers those of the next.
    writing: Vec<ConnId>,
    inbox: Vec<Mail>,
    outboxes: Outboxes<Mail>,
    acceptor: Option<Acceptor>,
    accepted: Vec<(Stream, Listener)>,
    /// The worker that gets the next connection.
    next_worker: usize,
    shared: Arc<Shared>,
    disk: Option<Submitter>,
    host_due: bool,
    stopping: bool,
}

impl<M: Machine> Worker<M> {
    pub(crate) fn new(parts: Parts<M>) -> Self {
        let mut clock = parts.clock;
        Self {
            id: parts.id,
            machine: parts.machine,
            actions: Actions::default(),
            poll: parts.poll,
            now: clock.now(),
            clock,
            turn: 0,
            connections: Connections::default(),
            buffer: vec![0; READ_BYTES_MAX].into_boxed_slice(),
            queued: Vec::new(),
            reading: Vec::new(),
            writing: Vec::new(),
            inbox: Vec::new(),
            outboxes: Outboxes::new(usize::from(parts.id.0), parts.shared.mailboxes.len()),
            acceptor: parts.acceptor,
            accepted: Vec::new(),
            next_worker: 0,
            shared: parts.shared,
            disk: parts.lanes.map(Submitter::new),
            host_due: false,
            stopping: false,
        }
    }

    /// Runs until the machine has stopped.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.actions.stopped {
            self.turn += 1;
            self.sleep(&mut events)?;
            self.take_mail();
            for event in &events {
                self.take_event(event);
            }
            self.read_queued();
            if self.deadline_due() {
                self.deliver(Event::Deadline);
                // It may have taken long, and the next sleep is counted from this sample.
                self.now = self.clock.now();
            }
            self.accept();
            self.write_all();
            self.hand_over();
        }
        let open = u32::try_from(self.connections.len()).expect("as many as descriptors");
        self.shared.open.fetch_sub(open, Relaxed);
        Ok(())
    }

    fn sleep(&mut self, events: &mut Events) -> io::Result<()> {
        let mut timeout = self.timeout();
        if timeout != Some(Duration::ZERO) && !self.shared.mailbox(self.id).may_sleep() {
            timeout = Some(Duration::ZERO);
        }
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let acceptor = self.acceptor.as_ref();
        if !self.queued.is_empty()
            || !self.actions.write.is_empty()
            || !self.inbox.is_empty()
            || self.host_due
            || acceptor.is_some_and(Acceptor::has_work)
        {
            return Some(Duration::ZERO);
        }
        let deadline = self.machine.next_deadline();
        let retry = acceptor.and_then(Acceptor::retry_at);
        let first = deadline.into_iter().chain(retry).min()?;
        let left = first.as_nanos().saturating_sub(self.now.time.as_nanos());
        Some(Duration::from_nanos(left))
    }

    fn deadline_due(&self) -> bool {
        self.machine
            .next_deadline()
            .is_some_and(|deadline| deadline <= self.now.time)
    }

    /// Tells the machine of `event`, at the last sample of the time.
    fn deliver(&mut self, event: Event<'_>) {
        self.machine.handle(self.now, event, &mut self.actions);
        self.settle();
    }

    /// Carries out what must precede the next event.
    fn settle(&mut self) {
        if self.actions.pause.is_empty()
            && self.actions.resume.is_empty()
            && self.actions.close.is_empty()
        {
            return;
        }
        for id in &self.actions.pause {
            assert!(
                !self.actions.resume.contains(id),
                "one event can't both pause and resume {id:?}"
            );
            if let Some(connection) = self.connections.find(*id) {
                connection.paused = true;
            }
        }
        for id in &self.actions.resume {
            if let Some(connection) = self.connections.find(*id) {
                connection.paused = false;
                if connection.readable && !connection.queued {
                    connection.queued = true;
                    self.queued.push(*id);
                }
            }
        }
        self.actions.pause.clear();
        self.actions.resume.clear();
        while let Some(id) = self.actions.close.pop() {
            if self.connections.find(id).is_some() {
                self.write(id);
                self.remove(id);
            }
        }
    }

    /// Takes what other threads have sent. What is sampled after that is no earlier than it.
    fn take_mail(&mut self) {
        let mut inbox = std::mem::take(&mut self.inbox);
        self.shared.mailbox(self.id).take(&mut inbox);
        self.now = self.clock.now();
        for mail in inbox.drain(..) {
            match mail {
                Mail::Accepted {
                    stream,
                    listener,
                    open,
                } => self.adopt(stream, listener, open),
                Mail::Message { from, message } => self.deliver(Event::Message { from, message }),
                Mail::Disk(completion) => self.deliver(Event::Disk(completion)),
                Mail::Stop => {
                    self.stopping = true;
                    self.acceptor = None;
                    self.deliver(Event::Stop);
                }
            }
        }
        self.inbox = inbox;
        if self.host_due {
            self.host_due = false;
            let figures = host::figures(self.shared.open.load(Relaxed));
            self.deliver(Event::Host(figures));
        }
    }

    fn take_event(&mut self, event: &mio::event::Event) {
        let token = event.token();
        let id = conn_of(token);
        let Some(connection) = self.connections.find(id) else {
            if let Some(acceptor) = &mut self.acceptor {
                acceptor.note_ready(token);
            }
            return;
        };
        let broken = event.is_error() || event.is_write_closed();
        if broken && connection.finished {
            return self.lose(id);
        }
        if connection.blocked && (broken || event.is_writable()) {
            connection.blocked = false;
            self.actions.write.push(id);
        }
        let ending = broken || event.is_read_closed();
        if ending || event.is_readable() {
            connection.readable = true;
            connection.ending |= ending;
            if !connection.queued {
                self.read(id);
            }
        }
    }

    fn read_queued(&mut self) {
        std::mem::swap(&mut self.queued, &mut self.reading);
        let mut reading = std::mem::take(&mut self.reading);
        for id in reading.drain(..) {
            if let Some(connection) = self.connections.find(id) {
                connection.queued = false;
                self.read(id);
            }
        }
        self.reading = reading;
    }

    /// Reads once. A short read has emptied the socket, and an event will tell of more, but not
    /// of a stream's end that the last event has told of already.
    fn read(&mut self, id: ConnId) {
        let Some(connection) = self.connections.find(id) else {
            return;
        };
        if connection.paused || connection.finished {
            return;
        }
        let result = connection.stream.read(&mut self.buffer);
        self.now = self.clock.now();
        let bytes = match result {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                connection.readable = false;
                return;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                connection.queued = true;
                self.queued.push(id);
                return;
            }
            Err(_) => return self.lose(id),
        };
        if bytes == 0 {
            connection.readable = false;
            connection.finished = true;
            return self.deliver(Event::Finished { conn: id });
        }
        connection.readable = bytes == self.buffer.len() || connection.ending;
        if connection.readable {
            connection.queued = true;
            self.queued.push(id);
        }
        let received = Event::Received {
            conn: id,
            bytes: &self.buffer[..bytes],
        };
        self.machine.handle(self.now, received, &mut self.actions);
        self.settle();
    }

    fn accept(&mut self) {
        let Some(acceptor) = &mut self.acceptor else {
            return;
        };
        if !acceptor.has_work() && acceptor.retry_at().is_none() {
            return;
        }
        let notice = acceptor.accept(self.now.time, &mut self.accepted);
        let mut accepted = std::mem::take(&mut self.accepted);
        for (stream, listener) in accepted.drain(..) {
            let open = self.shared.open.fetch_add(1, Relaxed) + 1;
            let worker = self.next_worker;
            self.next_worker = (worker + 1) % self.shared.mailboxes.len();
            if worker == usize::from(self.id.0) {
                self.adopt(stream, listener, open);
            } else {
                let mail = Mail::Accepted {
                    stream,
                    listener,
                    open,
                };
                self.outboxes.push(worker, mail);
            }
        }
        self.accepted = accepted;
        if let Some(notice) = notice {
            self.shared.notify(notice);
        }
    }

    fn adopt(&mut self, stream: Stream, listener: Listener, open: u32) {
        if self.stopping {
            self.shared.open.fetch_sub(1, Relaxed);
            return;
        }
        let address = stream.address();
        match self.connections.insert(stream, self.poll.registry()) {
            Ok(conn) => self.deliver(Event::Accepted {
                conn,
                listener,
                address: &address,
                open,
            }),
            Err(error) => {
                self.shared.open.fetch_sub(1, Relaxed);
                self.shared.notify(Notice {
                    severity: Severity::Warning,
                    event: "accept-failed",
                    text: format!("a new connection can't be watched and is closed: {error}"),
                });
            }
        }
    }

    /// Frees a connection that broke, and tells the machine.
    fn lose(&mut self, id: ConnId) {
        self.remove(id);
        self.deliver(Event::Closed { conn: id });
    }

    fn remove(&mut self, id: ConnId) {
        self.connections.remove(id);
        self.shared.open.fetch_sub(1, Relaxed);
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.note_closed();
        }
    }

    fn write_all(&mut self) {
        std::mem::swap(&mut self.actions.write, &mut self.writing);
        let mut writing = std::mem::take(&mut self.writing);
        for id in writing.drain(..) {
            match self.write(id) {
                Written::Enough => {}
                Written::More => self.actions.write.push(id),
                Written::Broken => self.lose(id),
            }
        }
        self.writing = writing;
    }

    /// Writes once, unless the connection waits for an event or has been written in this turn.
    fn write(&mut self, id: ConnId) -> Written {
        let Some(connection) = self.connections.find(id) else {
            return Written::Enough;
        };
        if connection.blocked || connection.written_turn == self.turn {
            return Written::Enough;
        }
        let mut slices: [&[u8]; SLICES_MAX] = [&[]; SLICES_MAX];
        let filled = self.machine.unsent(id, &mut slices);
        let slices = &slices[..filled];
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        if wanted == 0 {
            return Written::Enough;
        }
        connection.written_turn = self.turn;
        let written = match connection.stream.write(slices) {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Written::More,
            Err(_) => return Written::Broken,
        };
        self.machine.sent(id, written);
        if written < wanted {
            match connection.block(id, self.poll.registry()) {
                Ok(()) => Written::Enough,
                Err(_) => Written::Broken,
            }
        } else if filled == SLICES_MAX {
            Written::More
        } else {
            Written::Enough
        }
    }

    /// Carries out what goes to other threads.
    fn hand_over(&mut self) {
        if !self.actions.disk.is_empty() {
            let disk = self.disk.as_mut();
            disk.expect("a machine asks only for a disk that there is")
                .submit(self.id, &mut self.actions.disk);
        }
        for (to, message) in self.actions.messages.drain(..) {
            let from = self.id;
            self.outboxes
                .push(usize::from(to.0), Mail::Message { from, message });
        }
        self.outboxes.send(&self.shared.mailboxes, &mut self.inbox);
        for notice in self.actions.notices.drain(..) {
            self.shared.notify(notice);
        }
        self.host_due |= std::mem::take(&mut self.actions.host_wanted);
        if std::mem::take(&mut self.actions.stop_wanted) {
            self.shared.stop();
        }
    }
}
