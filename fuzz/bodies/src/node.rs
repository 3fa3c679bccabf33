//! A node whose disk reads single records but never gets to scan, and one connection to it.
//!
//! Decides when the disk answers. Scans are left unanswered: there are 4096 of them, a run would
//! consist of little else, and without them every miss has to ask the disk. Refuses to know
//! what is said.

use std::collections::VecDeque;
use std::sync::Arc;

use zufar_core::disk::{Disk, Recovery, Request, perform};
use zufar_core::id::{ConnId, WorkerId};
use zufar_core::machine::{Actions, Event, HostFigures, Listener, Machine};
use zufar_core::message::Message;
use zufar_core::settings::Settings;
use zufar_core::time::{Now, Time};
use zufar_core::worker::Worker;

/// Turns after which a node that still has something to do never will have done.
const TURNS_MAX: usize = 1_000_000;
/// The connection.
const CONN: ConnId = ConnId {
    slot: 0,
    generation: 1,
};
/// The worker that has it.
const HOME: u16 = 0;

/// What a worker is to be told.
enum Mail {
    Message(WorkerId, Message),
    Host,
}

/// A node at one moment: its clocks stand still.
pub(crate) struct Node<'d> {
    workers: Vec<Worker>,
    now: Now,
    mail: VecDeque<(u16, Mail)>,
    disk: Option<&'d dyn Disk>,
    requests: VecDeque<(u16, Request)>,
    /// The disk answers nothing for now.
    pub(crate) disk_held: bool,
    /// What the client has said, in the pieces that will be read.
    said: VecDeque<Vec<u8>>,
    finished: bool,
    paused: bool,
    closed: bool,
    heard: Vec<u8>,
    actions: Actions,
}

impl<'d> Node<'d> {
    /// A node that has just started, with a connection of this kind.
    pub(crate) fn new(
        settings: Settings,
        unix_ms: u64,
        disk: Option<(&'d dyn Disk, Recovery)>,
        listener: Listener,
    ) -> Self {
        let settings = Arc::new(settings);
        let (disk, recovery) = disk.map_or((None, Recovery::default()), |(disk, recovery)| {
            (Some(disk), recovery)
        });
        let worker = |id| Worker::new(Arc::clone(&settings), WorkerId(id), &recovery);
        let mut node = Self {
            workers: (0..settings.workers).map(worker).collect(),
            now: Now {
                time: Time::from_millis(1),
                unix_ms,
            },
            mail: VecDeque::new(),
            disk,
            requests: VecDeque::new(),
            disk_held: false,
            said: VecDeque::new(),
            finished: false,
            paused: false,
            closed: false,
            heard: Vec::new(),
            actions: Actions::default(),
        };
        let accepted = Event::Accepted {
            conn: CONN,
            listener,
            address: "tcp:127.0.0.1:40000",
            open: 1,
        };
        node.handle(HOME, accepted);
        node.settle();
        node
    }

    /// Has the client say `bytes`, which arrive in one read, and lets everything happen.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.said.push_back(bytes.to_vec());
        self.settle();
    }

    /// Has the client say that it will say no more.
    pub(crate) fn finish(&mut self) {
        self.finished = true;
        self.settle();
    }

    /// Whether the node has closed the connection.
    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// All that the client has heard.
    pub(crate) fn into_heard(self) -> Vec<u8> {
        self.heard
    }

    /// Lets everything happen that needs no time to pass.
    pub(crate) fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            if !self.turn() {
                return;
            }
        }
        panic!("the node never comes to rest");
    }

    fn turn(&mut self) -> bool {
        if let Some((worker, mail)) = self.mail.pop_front() {
            let event = match mail {
                Mail::Message(from, message) => Event::Message { from, message },
                Mail::Host => Event::Host(HostFigures::default()),
            };
            self.handle(worker, event);
            return true;
        }
        if let (Some(disk), false) = (self.disk, self.disk_held)
            && let Some((worker, request)) = self.requests.pop_front()
        {
            let completion = perform(disk, WorkerId(worker), request);
            self.handle(worker, Event::Disk(completion));
            return true;
        }
        for worker in 0..self.workers.len() as u16 {
            let deadline = self.workers[usize::from(worker)].next_deadline();
            if deadline.is_some_and(|at| at <= self.now.time) {
                self.handle(worker, Event::Deadline);
                return true;
            }
        }
        if self.paused || self.closed {
            return false;
        }
        if let Some(bytes) = self.said.pop_front() {
            let bytes = bytes.as_slice();
            self.handle(HOME, Event::Received { conn: CONN, bytes });
            return true;
        }
        if std::mem::take(&mut self.finished) {
            self.handle(HOME, Event::Finished { conn: CONN });
            return true;
        }
        false
    }

    fn handle(&mut self, worker: u16, event: Event<'_>) {
        let mut actions = std::mem::take(&mut self.actions);
        self.workers[usize::from(worker)].handle(self.now, event, &mut actions);
        for (to, message) in actions.messages.drain(..) {
            let mail = Mail::Message(WorkerId(worker), message);
            self.mail.push_back((to.0, mail));
        }
        if actions.host_wanted {
            self.mail.push_back((worker, Mail::Host));
        }
        let answered = |request: &Request| !matches!(request, Request::Scan(_));
        let requests = actions.disk.drain(..).filter(answered);
        self.requests
            .extend(requests.map(|request| (worker, request)));
        for _ in actions.pause.drain(..) {
            self.paused = true;
        }
        for _ in actions.resume.drain(..) {
            self.paused = false;
        }
        if !actions.write.is_empty() {
            self.hear();
        }
        self.closed |= !actions.close.is_empty();
        actions.clear();
        self.actions = actions;
    }

    /// Takes all that the node has to say.
    fn hear(&mut self) {
        let machine = &mut self.workers[usize::from(HOME)];
        loop {
            let mut slices: [&[u8]; 4] = [&[]; 4];
            let filled = machine.unsent(CONN, &mut slices);
            let before = self.heard.len();
            for slice in &slices[..filled] {
                self.heard.extend_from_slice(slice);
            }
            let bytes = self.heard.len() - before;
            if bytes == 0 {
                return;
            }
            machine.sent(CONN, bytes);
        }
    }
}
