//! One worker: its machine, its connections, and what a turn does.
//!
//! Decides what is done with a socket that is ready, in which order a turn goes on, and when a
//! thread may sleep. Refuses to know how a driver waits, and what the machine does.
//!
//! A driver's turn: [`sleep`](Worker::sleep) unless there is work; [`begin_turn`]; for sockets
//! that are ready [`read`](Worker::read), [`has_room`](Worker::has_room),
//! [`has_broken`](Worker::has_broken), [`has_callers`](Worker::has_callers) and
//! [`has_datagrams`](Worker::has_datagrams); [`end_turn`], which ends with everything for the
//! network and other threads, one lock for each of them.
//!
//! [`begin_turn`]: Worker::begin_turn
//! [`end_turn`]: Worker::end_turn

mod datagrams;
mod outgoing;

use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use zufar_core::id::{ConnId, WorkerId};
use zufar_core::machine::{Actions, Event, Listener, Machine, READ_BYTES_MAX, SLICES_MAX};
use zufar_core::notice::{Notice, Severity};
use zufar_core::time::{Now, Time};

use crate::accept::Acceptor;
use crate::clock::Clock;
use crate::connections::{Connection, Connections};
use crate::disk_pool::Submitter;
use crate::figures;
use crate::launch::Parts;
use crate::mailbox::Outboxes;
use crate::resolver::resolve;
use crate::shared::{Accepted, Mail, Shared, counts};
use crate::socket::{Bound, Socket, is_reset};
use crate::worker::datagrams::Port;
use crate::worker::outgoing::Outgoing;

/// How a driver learns what is ready. It need only do what it is told to here; everything else
/// about a connection is decided by the [`Worker`].
pub trait Watcher {
    /// A connected socket that is watched, or one on its way there. Dropping it closes the socket.
    type Connection: AsRef<Socket>;
    /// A listening socket that is watched. Dropping it closes the socket.
    type Door: AsRef<Bound>;
    /// A socket for datagrams that is watched. Dropping it closes the socket.
    type Datagrams: AsRef<UdpSocket>;

    /// Watches `socket`, from now on that of `id`, for input.
    ///
    /// # Errors
    /// When the system refuses. The socket is then closed.
    fn watch(&mut self, id: ConnId, socket: Socket) -> io::Result<Self::Connection>;

    /// Has a connection read that had been paused: it wants input again.
    fn await_input(&mut self, id: ConnId, watched: &mut Self::Connection);

    /// Has [`Worker::has_room`] called once the socket takes output again; or takes it at all, or
    /// has failed, if it is on its way to being connected.
    ///
    /// # Errors
    /// When the system refuses. The connection then counts as broken.
    fn await_room(&mut self, id: ConnId, watched: &mut Self::Connection) -> io::Result<()>;

    /// Has [`Worker::has_broken`] called when the connection breaks, whose end has been read.
    ///
    /// # Errors
    /// When the system refuses. The connection then counts as broken.
    fn await_break(&mut self, id: ConnId, watched: &mut Self::Connection) -> io::Result<()>;

    /// Has [`Worker::has_callers`] called when somebody connects again to listener `index`.
    fn await_callers(&mut self, index: usize, door: &mut Self::Door);

    /// Has [`Worker::has_datagrams`] called when datagrams come again.
    fn await_datagrams(&mut self, watched: &mut Self::Datagrams);
}

/// How long a thread may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// Not at all: it may only look for what is ready.
    Not,
    /// Until something is ready, the bell rings or this time has come.
    Until(Time),
    /// Until something is ready or the bell rings.
    Long,
}

/// What a read has left in the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// It was not read: it is paused, at its end or gone.
    Unread,
    /// Nothing was there, or nothing will be any more.
    Nothing,
    /// All that was there has been read.
    Drained,
    /// There may be more.
    More,
}

/// What came of an attempt to write.
enum Written {
    /// All, or what the socket took; the driver will tell when it takes more.
    Enough,
    /// There may be more that the socket would take.
    More,
    /// The connection is broken, by the other host if it is a reset.
    Broken { reset: bool },
}

/// One machine, with all that a driver does for it.
pub struct Worker<M, W: Watcher> {
    id: WorkerId,
    machine: M,
    actions: Actions,
    clock: Clock,
    /// The last sample.
    now: Now,
    turn: u64,
    connections: Connections<W::Connection>,
    outgoing: Outgoing,
    /// One worker has the socket for datagrams, if there is one.
    port: Option<Port<W::Datagrams>>,
    watcher: W,
    buffer: Box<[u8]>,
    /// Connections to write in this turn; `actions.write` gathers those of the next.
    writing: Vec<ConnId>,
    inbox: Vec<Mail>,
    outboxes: Outboxes<Mail>,
    /// One worker accepts for all.
    acceptor: Option<Acceptor<W::Door>>,
    accepted: Vec<(WorkerId, Socket, Listener)>,
    shared: Arc<Shared>,
    disk: Option<Submitter>,
    host_due: bool,
    stopping: bool,
}

impl<M: Machine, W: Watcher> Worker<M, W> {
    /// The worker of these parts. `doors` are the listeners and `datagrams` the socket for them,
    /// if this is the one that has them for all, and none otherwise.
    pub fn new(
        parts: Parts<M>,
        watcher: W,
        doors: Vec<(W::Door, Listener)>,
        datagrams: Option<W::Datagrams>,
    ) -> Self {
        let mut clock = parts.clock;
        let workers = u16::try_from(parts.shared.mailboxes.len()).expect("a WorkerId counts them");
        Self {
            id: parts.id,
            machine: parts.machine,
            actions: Actions::default(),
            now: clock.now(),
            clock,
            turn: 1,
            connections: Connections::new(),
            outgoing: Outgoing::default(),
            port: datagrams.map(Port::new),
            watcher,
            buffer: vec![0; READ_BYTES_MAX].into_boxed_slice(),
            writing: Vec::new(),
            inbox: Vec::new(),
            outboxes: Outboxes::new(usize::from(parts.id.0), usize::from(workers)),
            acceptor: (!doors.is_empty()).then(|| Acceptor::new(doors, workers)),
            accepted: Vec::new(),
            shared: parts.shared,
            disk: parts.lanes.map(Submitter::new),
            host_due: false,
            stopping: false,
        }
    }

    /// Whether the machine needs no more turns.
    pub fn is_stopped(&self) -> bool {
        self.actions.stopped
    }

    /// How the driver watches.
    pub const fn watcher(&mut self) -> &mut W {
        &mut self.watcher
    }

    /// The connection with this id, if it is open or on its way there.
    pub fn connection(&mut self, id: ConnId) -> Option<&mut Connection<W::Connection>> {
        self.connections.find(id)
    }

    /// The listener at `index`, if it is still watched.
    pub fn door(&mut self, index: usize) -> Option<&mut W::Door> {
        self.acceptor.as_mut()?.door(index)
    }

    /// The instant that `time` stands for.
    pub fn instant(&self, time: Time) -> Instant {
        self.clock.instant(time)
    }

    /// Nanoseconds from the last sample to `time`, 0 if it is over.
    pub const fn nanoseconds_to(&self, time: Time) -> u64 {
        time.as_nanos().saturating_sub(self.now.time.as_nanos())
    }

    /// How long the thread may sleep, before it begins the next turn. Unless not at all, the
    /// worker counts as asleep from now on and is woken by its bell.
    pub fn sleep(&self) -> Sleep {
        let acceptor = self.acceptor.as_ref();
        if !self.actions.write.is_empty()
            || !self.inbox.is_empty()
            || self.host_due
            || self.outgoing.has_work()
            || self.datagrams_wait()
            || acceptor.is_some_and(Acceptor::has_work)
        {
            return Sleep::Not;
        }
        let deadline = self.machine.next_deadline();
        let retry = acceptor.and_then(|acceptor| acceptor.policy.retry_at());
        match deadline.into_iter().chain(retry).min() {
            Some(time) if time <= self.now.time => Sleep::Not,
            _ if !self.shared.mailbox(self.id).may_sleep() => Sleep::Not,
            Some(time) => Sleep::Until(time),
            None => Sleep::Long,
        }
    }

    /// Whether the bell has been rung since the worker went to sleep.
    pub fn has_mail(&self) -> bool {
        self.shared.mailbox(self.id).has_mail()
    }

    /// Takes what other threads have sent. What is sampled after that is no earlier than it.
    pub fn begin_turn(&mut self) {
        let mut inbox = std::mem::take(&mut self.inbox);
        self.shared.mailbox(self.id).take(&mut inbox);
        self.now = self.clock.now();
        for mail in inbox.drain(..) {
            match mail {
                Mail::Accepted(accepted) => self.adopt(accepted),
                Mail::Message { from, message } => self.deliver(Event::Message { from, message }),
                Mail::Disk(completion) => self.deliver(Event::Disk(completion)),
                Mail::Resolved { ticket, addresses } => self.deliver(Event::Resolved {
                    ticket,
                    addresses: addresses.as_deref().map_err(String::as_str),
                }),
                Mail::Stop => {
                    self.stopping = true;
                    self.acceptor = None;
                    self.deliver(Event::Stop);
                }
            }
        }
        self.inbox = inbox;
        if self.outgoing.has_work() {
            self.tell_failed();
        }
        if self.host_due {
            self.host_due = false;
            let lost = self.shared.datagrams_lost.load(Relaxed);
            let figures = figures::host(self.shared.open.load(Relaxed), lost);
            self.deliver(Event::Host(figures));
        }
    }

    /// Goes on after what was ready: datagrams, the deadline, new connections, writes, and
    /// everything for the network and other threads.
    pub fn end_turn(&mut self) {
        if self.datagrams_wait() {
            self.receive_datagrams();
        }
        if self.deadline_due() {
            self.deliver(Event::Deadline);
            // It may have taken long, and the next sleep is counted from this sample.
            self.now = self.clock.now();
        }
        self.accept();
        self.write_all();
        self.hand_over();
        self.turn += 1;
    }

    /// Reads once, and says what that has left. Input may be waiting: otherwise it is a system
    /// call in vain.
    pub fn read(&mut self, id: ConnId) -> Input {
        let Some(connection) = self.connections.find(id) else {
            return Input::Unread;
        };
        if !connection.wants_input() {
            return Input::Unread;
        }
        let result = connection.watched.as_ref().read(&mut self.buffer);
        self.now = self.clock.now();
        match result {
            Ok(0) => {
                connection.finished = true;
                self.finish(id);
                Input::Nothing
            }
            Ok(bytes) => {
                let received = Event::Received {
                    conn: id,
                    bytes: &self.buffer[..bytes],
                };
                self.machine.handle(self.now, received, &mut self.actions);
                self.settle();
                if bytes == self.buffer.len() {
                    Input::More
                } else {
                    Input::Drained
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Input::Nothing,
            Err(error) if error.kind() == ErrorKind::Interrupted => Input::More,
            Err(error) => {
                self.lose(id, is_reset(&error));
                Input::Nothing
            }
        }
    }

    /// The socket takes output again; or it is connected, or will not be.
    pub fn has_room(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.find(id)
            && connection.blocked
        {
            if connection.connecting {
                return self.end_connecting(id);
            }
            connection.blocked = false;
            self.actions.write.push(id);
        }
    }

    /// The connection is broken. A read tells more, unless there is nothing left to be read:
    /// false if it should be tried.
    pub fn has_broken(&mut self, id: ConnId) -> bool {
        let connection = self.connections.find(id);
        let Some(connection) = connection.filter(|connection| connection.finished) else {
            return false;
        };
        let error = connection.watched.as_ref().take_error();
        self.lose(id, error.as_ref().is_some_and(is_reset));
        true
    }

    /// Somebody may wait to be accepted at the listener at `index`.
    pub fn has_callers(&mut self, index: usize) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.note_ready(index);
        }
    }

    /// Closes what is still open. A machine that has stopped hears no more of it.
    pub fn close_all(&mut self) {
        let open = u32::try_from(self.connections.counted()).expect("as many as descriptors");
        self.shared.open.fetch_sub(open, Relaxed);
        self.connections = Connections::new();
        self.acceptor = None;
        self.port = None;
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
            && self.actions.give_up.is_empty()
        {
            return;
        }
        for id in &self.actions.pause {
            assert!(
                !self.actions.resume.contains(id),
                "one event can't both pause and resume {id:?}"
            );
            if let Some(connection) = self.connections.find_known(*id) {
                connection.paused = true;
            }
        }
        for id in &self.actions.resume {
            if let Some(connection) = self.connections.find_known(*id) {
                connection.paused = false;
                self.watcher.await_input(*id, &mut connection.watched);
            }
        }
        self.actions.pause.clear();
        self.actions.resume.clear();
        while let Some(id) = self.actions.close.pop() {
            if self.connections.find_known(id).is_some() {
                self.write(id);
                self.remove(id);
            }
        }
        self.give_up();
    }

    /// Tells the machine that the stream has ended. If it does not close the connection now, it
    /// should hear when it breaks.
    fn finish(&mut self, id: ConnId) {
        self.deliver(Event::Finished { conn: id });
        if let Some(connection) = self.connections.find(id)
            && self
                .watcher
                .await_break(id, &mut connection.watched)
                .is_err()
        {
            self.lose(id, false);
        }
    }

    fn accept(&mut self) {
        let Some(acceptor) = &mut self.acceptor else {
            return;
        };
        if !acceptor.has_work() && acceptor.policy.retry_at().is_none() {
            return;
        }
        let mut sockets = std::mem::take(&mut self.accepted);
        let notice = acceptor.accept(self.now.time, &mut sockets, |index, door| {
            self.watcher.await_callers(index, door);
        });
        for (worker, socket, listener) in sockets.drain(..) {
            let more = u32::from(counts(listener));
            let accepted = Accepted {
                socket,
                listener,
                open: self.shared.open.fetch_add(more, Relaxed) + more,
            };
            if worker == self.id {
                self.adopt(accepted);
            } else {
                let mail = Mail::Accepted(accepted);
                self.outboxes.push(usize::from(worker.0), mail);
            }
        }
        self.accepted = sockets;
        if let Some(notice) = notice {
            self.shared.notify(notice);
        }
    }

    fn adopt(&mut self, accepted: Accepted) {
        let counts = counts(accepted.listener);
        if self.stopping {
            self.uncount(counts);
            return;
        }
        let address = accepted.socket.address();
        let conn = self.connections.next_id();
        match self.watcher.watch(conn, accepted.socket) {
            Ok(watched) => {
                self.connections
                    .insert(Connection::accepted(watched, counts));
                self.deliver(Event::Accepted {
                    conn,
                    listener: accepted.listener,
                    address: &address,
                    open: accepted.open,
                });
            }
            Err(error) => {
                self.uncount(counts);
                self.shared.notify(Notice {
                    severity: Severity::Warning,
                    event: "accept-failed",
                    text: format!("a new connection can't be watched and is closed: {error}"),
                });
            }
        }
    }

    /// Frees a connection that broke, and tells the machine.
    fn lose(&mut self, id: ConnId, reset: bool) {
        self.remove(id);
        self.deliver(Event::Closed { conn: id, reset });
    }

    /// Takes note that one connection less is open, if it counts.
    fn uncount(&self, counts: bool) {
        self.shared.open.fetch_sub(u32::from(counts), Relaxed);
    }

    fn remove(&mut self, id: ConnId) {
        let counts = self.connections.remove(id);
        self.uncount(counts);
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.policy.note_closed();
        }
    }

    fn write_all(&mut self) {
        std::mem::swap(&mut self.actions.write, &mut self.writing);
        let mut writing = std::mem::take(&mut self.writing);
        for id in writing.drain(..) {
            match self.write(id) {
                Written::Enough => {}
                Written::More => self.actions.write.push(id),
                Written::Broken { reset } => self.lose(id, reset),
            }
        }
        self.writing = writing;
    }

    /// Writes once, unless the connection waits for room or has been written in this turn.
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
        let written = match connection.watched.as_ref().write(slices) {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Written::More,
            Err(error) => {
                let reset = is_reset(&error);
                return Written::Broken { reset };
            }
        };
        self.machine.sent(id, written);
        if written < wanted {
            connection.blocked = true;
            match self.watcher.await_room(id, &mut connection.watched) {
                Ok(()) => Written::Enough,
                Err(_) => Written::Broken { reset: false },
            }
        } else if filled == SLICES_MAX {
            Written::More
        } else {
            Written::Enough
        }
    }

    /// Carries out what goes to the network and to other threads.
    fn hand_over(&mut self) {
        if !self.actions.datagrams.is_empty() {
            self.send_datagrams();
        }
        if !self.actions.connect.is_empty() {
            self.connect();
        }
        if !self.actions.resolve.is_empty() {
            resolve(&self.shared, self.id, &mut self.actions.resolve);
        }
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
