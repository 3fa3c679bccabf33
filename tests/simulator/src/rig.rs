//! Runs workers: hands them events, carries out their actions, and moves time.
//!
//! Decides the order of events (first in, first out) and how fast the disk is. Refuses to know
//! what is said over its connections.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use zufar_core::disk::{Completion, Recovery, Request, perform};
use zufar_core::id::{ConnId, WorkerId};
use zufar_core::machine::{Actions, Event, HostFigures, Listener, Machine};
use zufar_core::message::Message;
use zufar_core::notice::Notice;
use zufar_core::settings::{DiskSettings, Limits, Settings, WhenFull};
use zufar_core::time::{Now, Time};
use zufar_core::worker::Worker;

use crate::ModelDisk;

/// Unix time at which a rig starts, in milliseconds.
pub const START_UNIX_MS: u64 = 1_800_000_000_000;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    worker: u16,
    conn: ConnId,
}

/// Settings for a node of `workers` workers.
#[must_use]
pub fn settings(workers: u16, memory_bytes: u64, disk: bool) -> Settings {
    Settings {
        version: "0.1.0".into(),
        guid: "0".into(),
        rack: "1".into(),
        peer_address: "127.0.0.1:21211".into(),
        process_id: 1,
        started_unix_s: START_UNIX_MS / 1000,
        workers,
        memory_bytes,
        evict: true,
        value_bytes_max: 1 << 20,
        connections_max: 1024,
        idle_timeout_s: 0,
        flush_enabled: true,
        shutdown_enabled: false,
        verbosity: 0,
        tcp_port: 11211,
        listen_host: None,
        unix_socket: None,
        unix_socket_mode: 0o700,
        backlog: 1024,
        disk: disk.then(|| DiskSettings {
            data_dir: "model".into(),
            write_interval_ms: 50,
            sync_interval_ms: 1000,
            dirty_bytes_soft: memory_bytes / 10,
            dirty_bytes_hard: memory_bytes / 4,
            dirty_age_soft_ms: 500,
            dirty_age_hard_ms: 5000,
            stall_ms_max: 1000,
            disk_bytes_max: None,
            reserve_percent: 0,
            when_full: WhenFull::Evict,
        }),
        limits: Limits::default(),
    }
}

/// A node on virtual time.
pub struct Rig {
    workers: Vec<Worker>,
    now: Now,
    mail: VecDeque<(u16, Parcel)>,
    requests: VecDeque<(u16, Request)>,
    /// The disk, shared with whoever lets it fail.
    pub disk: Arc<ModelDisk>,
    /// While set, the disk performs nothing.
    pub disk_held: bool,
    /// While set, what the disk has written is heard of later than anything else.
    pub writes_unheard: bool,
    unheard: VecDeque<(u16, Completion)>,
    outputs: BTreeMap<Client, Vec<u8>>,
    closed: Vec<Client>,
    /// Connections that are not read from at the moment.
    pub deaf: Vec<Client>,
    paused: Vec<Client>,
    next_slot: u32,
    actions: Actions,
    /// All notices so far.
    pub notices: Vec<Notice>,
    stopped: Vec<bool>,
}

enum Parcel {
    Message(WorkerId, Message),
    Host,
}

impl Rig {
    /// A node that starts from what `disk` has.
    #[must_use]
    pub fn new(settings: Settings, disk: Arc<ModelDisk>) -> Self {
        Self::at(
            settings,
            disk,
            Now {
                time: Time::from_millis(1),
                unix_ms: START_UNIX_MS,
            },
        )
    }

    /// The same, at another time.
    #[must_use]
    pub fn at(settings: Settings, disk: Arc<ModelDisk>, now: Now) -> Self {
        let recovery = if settings.disk.is_some() {
            disk.recovery()
        } else {
            Recovery::default()
        };
        let settings = Arc::new(settings);
        let worker = |id| Worker::new(Arc::clone(&settings), WorkerId(id), &recovery);
        let mut rig = Self {
            workers: (0..settings.workers).map(worker).collect(),
            now,
            mail: VecDeque::new(),
            requests: VecDeque::new(),
            disk,
            disk_held: false,
            writes_unheard: false,
            unheard: VecDeque::new(),
            outputs: BTreeMap::new(),
            closed: Vec::new(),
            deaf: Vec::new(),
            paused: Vec::new(),
            next_slot: 0,
            actions: Actions::default(),
            notices: Vec::new(),
            stopped: vec![false; settings.workers.into()],
        };
        rig.settle();
        rig
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Now {
        self.now
    }

    /// Opens a connection to `worker`.
    pub fn connect(&mut self, worker: u16) -> Client {
        self.accept(worker, Listener::Client)
    }

    /// Opens a connection of any kind.
    pub fn accept(&mut self, worker: u16, listener: Listener) -> Client {
        let conn = ConnId {
            slot: self.next_slot,
            generation: 1,
        };
        self.next_slot += 1;
        let client = Client { worker, conn };
        self.outputs.insert(client, Vec::new());
        let open = self.next_slot;
        self.handle(
            worker,
            Event::Accepted {
                conn,
                listener,
                address: "tcp:127.0.0.1:40000",
                open,
            },
        );
        self.settle();
        client
    }

    /// Sends bytes in one piece and lets everything happen that needs no time to pass.
    pub fn send(&mut self, client: Client, bytes: &[u8]) {
        self.deliver(client, bytes);
        self.settle();
    }

    /// Sends bytes in one piece.
    pub fn deliver(&mut self, client: Client, bytes: &[u8]) {
        let conn = client.conn;
        self.handle(client.worker, Event::Received { conn, bytes });
    }

    /// Has the client say that it will send no more.
    pub fn finish(&mut self, client: Client) {
        let conn = client.conn;
        self.handle(client.worker, Event::Finished { conn });
        self.settle();
    }

    /// Breaks the connection.
    pub fn cut(&mut self, client: Client) {
        let conn = client.conn;
        let reset = true;
        self.handle(client.worker, Event::Closed { conn, reset });
        self.settle();
    }

    /// Whether the node reads no further from the connection.
    #[must_use]
    pub fn is_paused(&self, client: Client) -> bool {
        self.paused.contains(&client)
    }

    /// Whether the node has closed the connection.
    #[must_use]
    pub fn is_closed(&self, client: Client) -> bool {
        self.closed.contains(&client)
    }

    /// What has come over the connection since the last call.
    pub fn take(&mut self, client: Client) -> Vec<u8> {
        let output = self.outputs.get_mut(&client);
        output.map(std::mem::take).unwrap_or_default()
    }

    /// Sends one request and gives its answer.
    pub fn ask(&mut self, client: Client, request: &str) -> String {
        self.send(client, request.as_bytes());
        String::from_utf8_lossy(&self.take(client)).into_owned()
    }

    /// Tells all workers to stop, and says whether all have.
    pub fn stop(&mut self) -> bool {
        for worker in 0..self.stopped.len() as u16 {
            self.handle(worker, Event::Stop);
        }
        self.settle();
        self.stopped.iter().all(|stopped| *stopped)
    }

    /// Lets time pass, in steps, with everything that becomes due on the way.
    pub fn advance(&mut self, milliseconds: u64) {
        let end = self.now.time.plus_millis(milliseconds);
        while self.now.time < end {
            let step = end.millis_since(self.now.time).min(10);
            self.now.time = self.now.time.plus_millis(step);
            self.now.unix_ms += step;
            self.settle();
        }
    }

    /// Lets everything happen that needs no time to pass.
    pub fn settle(&mut self) {
        for _ in 0..1_000_000 {
            if !self.turn() {
                return;
            }
        }
        panic!("the node never comes to rest");
    }

    /// Does one thing, and says whether there was one to do.
    pub fn turn(&mut self) -> bool {
        if let Some((worker, parcel)) = self.mail.pop_front() {
            match parcel {
                Parcel::Message(from, message) => {
                    self.handle(worker, Event::Message { from, message });
                }
                Parcel::Host => self.handle(worker, Event::Host(HostFigures::default())),
            }
            return true;
        }
        if !self.writes_unheard
            && let Some((worker, completion)) = self.unheard.pop_front()
        {
            self.handle(worker, Event::Disk(completion));
            return true;
        }
        if !self.disk_held
            && let Some((worker, request)) = self.requests.pop_front()
        {
            let completion = perform(&*self.disk, WorkerId(worker), request);
            if self.writes_unheard && matches!(completion, Completion::Written { .. }) {
                self.unheard.push_back((worker, completion));
            } else {
                self.handle(worker, Event::Disk(completion));
            }
            return true;
        }
        for worker in 0..self.workers.len() as u16 {
            let deadline = self.workers[usize::from(worker)].next_deadline();
            if deadline.is_some_and(|at| at <= self.now.time) {
                self.handle(worker, Event::Deadline);
                return true;
            }
        }
        false
    }

    fn handle(&mut self, worker: u16, event: Event<'_>) {
        let mut actions = std::mem::take(&mut self.actions);
        let machine = &mut self.workers[usize::from(worker)];
        machine.handle(self.now, event, &mut actions);
        for (to, message) in actions.messages.drain(..) {
            let parcel = Parcel::Message(WorkerId(worker), message);
            self.mail.push_back((to.0, parcel));
        }
        if actions.host_wanted {
            self.mail.push_back((worker, Parcel::Host));
        }
        for request in actions.disk.drain(..) {
            self.requests.push_back((worker, request));
        }
        self.notices.append(&mut actions.notices);
        self.stopped[usize::from(worker)] |= actions.stopped;
        for conn in actions.pause.drain(..) {
            self.paused.push(Client { worker, conn });
        }
        for conn in actions.resume.drain(..) {
            let client = Client { worker, conn };
            self.paused.retain(|paused| *paused != client);
        }
        for index in 0..actions.write.len() {
            let conn = actions.write[index];
            self.write(Client { worker, conn });
        }
        for conn in actions.close.drain(..) {
            self.closed.push(Client { worker, conn });
        }
        actions.clear();
        self.actions = actions;
    }

    /// Reads everything that the connection has to say, as a client does that listens.
    pub fn write(&mut self, client: Client) {
        if self.deaf.contains(&client) {
            return;
        }
        let machine = &mut self.workers[usize::from(client.worker)];
        loop {
            let mut slices: [&[u8]; 16] = [&[]; 16];
            let filled = machine.unsent(client.conn, &mut slices);
            let output = self.outputs.entry(client).or_default();
            let mut bytes = 0;
            for slice in &slices[..filled] {
                output.extend_from_slice(slice);
                bytes += slice.len();
            }
            if bytes == 0 {
                return;
            }
            machine.sent(client.conn, bytes);
        }
    }

    /// Listens to a client again that has been deaf.
    pub fn listen(&mut self, client: Client) {
        self.deaf.retain(|deaf| *deaf != client);
        self.write(client);
        self.settle();
    }
}
