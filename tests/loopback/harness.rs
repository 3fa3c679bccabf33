//! An echo machine that checks its driver, and a server around it.
//!
//! Decides which promises hold at every event, whatever a test does. Refuses to know tests.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use zufar_core::disk::Disk;
use zufar_core::id::{ConnId, Ticket, WorkerId};
use zufar_core::machine::{Actions, Event, HostFigures, Listener, Machine, READ_BYTES_MAX};
use zufar_core::notice::Notice;
use zufar_core::time::{Now, Time};
use zufar_host::{Bound, Launch, Running};

use crate::launch;

/// No test needs to wait this long unless something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Something that happened, for tests to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Accepted {
        worker: WorkerId,
        conn: ConnId,
        listener: Listener,
        open: u32,
    },
    Paused(ConnId),
    Connected {
        ticket: Ticket,
        conn: ConnId,
    },
    ConnectFailed {
        ticket: Ticket,
        refused: bool,
    },
    Finished(ConnId),
    Closed {
        conn: ConnId,
        reset: bool,
    },
    Datagram {
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    /// The reason of a failure is the system's to word.
    Resolved {
        ticket: Ticket,
        addresses: Result<Vec<SocketAddr>, String>,
    },
    Stop(WorkerId),
    Host(HostFigures),
    Notice(String),
    /// Whatever a script wants to say.
    Said(WorkerId, String),
}

/// All entries, in order.
#[derive(Default)]
pub(crate) struct Log {
    entries: Mutex<Vec<Entry>>,
    grown: Condvar,
}

impl Log {
    pub(crate) fn push(&self, entry: Entry) {
        self.entries.lock().expect("a log").push(entry);
        self.grown.notify_all();
    }

    pub(crate) fn say(&self, worker: WorkerId, text: impl Into<String>) {
        self.push(Entry::Said(worker, text.into()));
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.entries.lock().expect("a log").clone()
    }

    pub(crate) fn count(&self, matches: impl Fn(&Entry) -> bool) -> usize {
        self.entries().iter().filter(|entry| matches(entry)).count()
    }

    /// Waits until at least `wanted` entries match.
    pub(crate) fn wait(&self, wanted: usize, matches: impl Fn(&Entry) -> bool) {
        let count = |entries: &[Entry]| entries.iter().filter(|entry| matches(entry)).count();
        let entries = self.entries.lock().expect("a log");
        let (entries, timeout) = self
            .grown
            .wait_timeout_while(entries, PATIENCE, |entries| count(entries) < wanted)
            .expect("a log");
        // A panic must not poison the log: the server's threads still write it.
        let (found, all) = (count(&entries), entries.clone());
        drop(entries);
        let last = &all[all.len().saturating_sub(20)..];
        assert!(
            !timeout.timed_out(),
            "{wanted} wanted, {found} found; at last {last:?}"
        );
    }
}

/// What a test adds to the echo.
pub(crate) trait Script: Send {
    /// Sees each event before the echo does.
    fn on(&mut self, _: WorkerId, _: Now, _: &Event<'_>, _: &mut Actions) {}

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    /// Whether the machine stops as soon as it is told to.
    fn stops_at_once(&self) -> bool {
        true
    }
}

/// Adds nothing.
pub(crate) struct Plain;

impl Script for Plain {}

impl Script for Box<dyn Script> {
    fn on(&mut self, worker: WorkerId, now: Now, event: &Event<'_>, actions: &mut Actions) {
        (**self).on(worker, now, event, actions);
    }

    fn next_deadline(&self) -> Option<Time> {
        (**self).next_deadline()
    }

    fn stops_at_once(&self) -> bool {
        (**self).stops_at_once()
    }
}

/// A script of one function.
pub(crate) struct On<F>(pub(crate) F);

impl<F: FnMut(WorkerId, Now, &Event<'_>, &mut Actions) + Send> Script for On<F> {
    fn on(&mut self, worker: WorkerId, now: Now, event: &Event<'_>, actions: &mut Actions) {
        (self.0)(worker, now, event, actions);
    }
}

#[derive(Default)]
struct Connection {
    unsent: Vec<u8>,
    sent: usize,
    paused: bool,
    finished: bool,
}

/// What a machine says first on a connection that it has asked for.
pub(crate) const GREETING: &[u8] = b"hello";

/// Echoes all it receives, and closes after `quit`.
pub(crate) struct Echo {
    worker: WorkerId,
    log: Arc<Log>,
    script: Box<dyn Script>,
    /// How output is cut for vectored writes.
    slice_bytes: usize,
    /// More unsent than this pauses a connection.
    unsent_bytes_max: usize,
    /// Whether a connection whose stream has ended is closed once all is sent.
    closes: bool,
    connections: BTreeMap<ConnId, Connection>,
    /// Connections that wait for their output to drain, and have.
    drained: Vec<ConnId>,
    last: Now,
}

impl Echo {
    fn open(&mut self, conn: ConnId) -> &mut Connection {
        self.connections
            .get_mut(&conn)
            .expect("events concern open connections")
    }

    fn received(&mut self, conn: ConnId, bytes: &[u8], actions: &mut Actions) {
        assert!((1..=READ_BYTES_MAX).contains(&bytes.len()));
        let unsent_bytes_max = self.unsent_bytes_max;
        let connection = self.open(conn);
        assert!(!connection.finished, "the stream has ended");
        assert!(!connection.paused, "a paused connection is not read");
        connection.unsent.extend_from_slice(bytes);
        actions.write.push(conn);
        actions.write.push(conn);
        if bytes.ends_with(b"quit") {
            actions.close.push(conn);
        } else if connection.unsent.len() - connection.sent > unsent_bytes_max {
            connection.paused = true;
            actions.pause.push(conn);
            self.log.push(Entry::Paused(conn));
        }
    }

    fn drained(&mut self, actions: &mut Actions) {
        for conn in std::mem::take(&mut self.drained) {
            let Some(connection) = self.connections.get_mut(&conn) else {
                continue;
            };
            if connection.finished && self.closes {
                self.connections.remove(&conn);
                actions.close.push(conn);
            } else if std::mem::take(&mut connection.paused) {
                actions.resume.push(conn);
            }
        }
    }

    fn connected(&mut self, ticket: Ticket, conn: ConnId, actions: &mut Actions) {
        let connection = Connection {
            unsent: GREETING.to_vec(),
            ..Connection::default()
        };
        let earlier = self.connections.insert(conn, connection);
        assert!(earlier.is_none(), "a new id");
        actions.write.push(conn);
        self.log.push(Entry::Connected { ticket, conn });
    }

    fn echo(&mut self, event: Event<'_>, actions: &mut Actions) {
        match event {
            Event::Accepted {
                conn,
                listener,
                open,
                ..
            } => {
                let earlier = self.connections.insert(conn, Connection::default());
                assert!(earlier.is_none(), "a new id");
                self.log.push(Entry::Accepted {
                    worker: self.worker,
                    conn,
                    listener,
                    open,
                });
            }
            Event::Received { conn, bytes } => self.received(conn, bytes, actions),
            Event::Finished { conn } => {
                let closes = self.closes;
                let connection = self.open(conn);
                assert!(!connection.finished, "the stream ends once");
                connection.finished = true;
                if connection.unsent.is_empty() && closes {
                    self.connections.remove(&conn);
                    actions.close.push(conn);
                }
                self.log.push(Entry::Finished(conn));
            }
            Event::Closed { conn, reset } => {
                self.connections.remove(&conn).expect("closed once");
                self.log.push(Entry::Closed { conn, reset });
            }
            Event::Connected { ticket, conn } => self.connected(ticket, conn, actions),
            Event::ConnectFailed { ticket, refused } => {
                self.log.push(Entry::ConnectFailed { ticket, refused });
            }
            Event::Datagram { from, bytes } => {
                actions.datagrams.push(from, bytes);
                let bytes = bytes.to_vec();
                self.log.push(Entry::Datagram { from, bytes });
            }
            Event::Resolved { ticket, addresses } => {
                let addresses = addresses.map(<[_]>::to_vec).map_err(str::to_owned);
                self.log.push(Entry::Resolved { ticket, addresses });
            }
            Event::Deadline => self.drained(actions),
            Event::Host(figures) => self.log.push(Entry::Host(figures)),
            Event::Stop => {
                self.log.push(Entry::Stop(self.worker));
                actions.stopped |= self.script.stops_at_once();
            }
            Event::Disk(_) | Event::Message { .. } => {}
        }
    }
}

impl Machine for Echo {
    fn handle(&mut self, now: Now, event: Event<'_>, actions: &mut Actions) {
        assert!(now.time >= self.last.time && now.unix_ms >= self.last.unix_ms);
        self.last = now;
        self.script.on(self.worker, now, &event, actions);
        self.echo(event, actions);
        // A closed connection that still has its `quit` to send stays for one last write.
        let gone = |conn: &ConnId| !actions.write.contains(conn);
        let closing: Vec<_> = actions.close.iter().copied().filter(gone).collect();
        for conn in closing {
            self.connections.remove(&conn);
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        let drained = (!self.drained.is_empty()).then_some(Time::ZERO);
        drained.or_else(|| self.script.next_deadline())
    }

    fn unsent<'a>(&'a self, conn: ConnId, slices: &mut [&'a [u8]]) -> usize {
        let Some(connection) = self.connections.get(&conn) else {
            return 0;
        };
        let unsent = &connection.unsent[connection.sent..];
        let cuts = unsent.chunks(self.slice_bytes);
        let filled = cuts.len().min(slices.len());
        slices
            .iter_mut()
            .zip(cuts)
            .for_each(|(slice, cut)| *slice = cut);
        filled
    }

    fn sent(&mut self, conn: ConnId, bytes: usize) {
        let connection = self.open(conn);
        connection.sent += bytes;
        assert!(connection.sent <= connection.unsent.len());
        if connection.sent == connection.unsent.len() {
            connection.unsent.clear();
            connection.sent = 0;
            if connection.paused || connection.finished {
                self.drained.push(conn);
            }
        }
    }
}

/// What to serve. Fill in what differs.
pub(crate) struct Setup {
    pub(crate) workers: u16,
    pub(crate) slice_bytes: usize,
    pub(crate) unsent_bytes_max: usize,
    pub(crate) closes: bool,
    pub(crate) disk: Option<Arc<dyn Disk>>,
    pub(crate) datagrams: Option<UdpSocket>,
    pub(crate) listener: TcpListener,
    pub(crate) more_listeners: Vec<(Bound, Listener)>,
    pub(crate) log: Arc<Log>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            workers: 1,
            slice_bytes: usize::MAX,
            unsent_bytes_max: 256 * 1024,
            closes: true,
            disk: None,
            datagrams: None,
            listener: listener(),
            more_listeners: Vec::new(),
            log: Arc::default(),
        }
    }
}

/// A launched server of echo machines.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) running: Running,
    pub(crate) log: Arc<Log>,
}

impl Setup {
    /// Launches, with the script that `script` makes for each worker.
    pub(crate) fn serve<S: Script + 'static>(self, script: impl Fn(WorkerId) -> S) -> Server {
        let machine = |worker: u16| Echo {
            worker: WorkerId(worker),
            log: Arc::clone(&self.log),
            script: Box::new(script(WorkerId(worker))),
            slice_bytes: self.slice_bytes,
            unsent_bytes_max: self.unsent_bytes_max,
            closes: self.closes,
            connections: BTreeMap::new(),
            drained: Vec::new(),
            last: Now::default(),
        };
        let machines = (0..self.workers).map(machine).collect();
        let address = self.listener.local_addr().expect("an address");
        let mut listeners = vec![(Bound::Tcp(self.listener), Listener::Client)];
        listeners.extend(self.more_listeners);
        let log = Arc::clone(&self.log);
        let running = launch(Launch {
            machines,
            listeners,
            datagrams: self.datagrams,
            disk: self.disk,
            notify: Arc::new(move |notice: Notice| log.push(Entry::Notice(notice.event.into()))),
        });
        Server {
            address,
            running: running.expect("a launch"),
            log: self.log,
        }
    }

    pub(crate) fn serve_plain(self) -> Server {
        self.serve(|_| Plain)
    }
}

impl Server {
    pub(crate) fn connect(&self) -> TcpStream {
        client(TcpStream::connect(self.address).expect("a connection"))
    }

    /// Stops and waits for the end; returns all that happened.
    pub(crate) fn stop(self) -> Vec<Entry> {
        self.running.stopper().stop();
        self.running.wait().expect("an orderly end");
        self.log.entries()
    }
}

/// A listener whose backlog takes all that a test connects at once.
pub(crate) fn listener() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    rustix::net::listen(&listener, 1024).expect("a backlog");
    listener
}

/// A client that fails rather than hangs.
pub(crate) fn client(stream: TcpStream) -> TcpStream {
    stream.set_nodelay(true).expect("an option");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    stream.set_write_timeout(Some(PATIENCE)).expect("an option");
    stream
}

/// Sends `bytes` and expects them back.
pub(crate) fn ping(stream: &mut (impl Read + Write), bytes: &[u8]) {
    stream.write_all(bytes).expect("a write");
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).expect("an echo");
    assert_eq!(back, bytes);
}

/// Bytes that differ from place to place.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise.truncate(bytes);
    noise
}

const CHILD: &str = "ZUFAR_TEST_CHILD";

/// Whether this process was started by [`run_in_child`].
pub(crate) fn in_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs the test `name` of these cases again, alone in a process of its own.
pub(crate) fn run_in_child(name: &str) -> Output {
    let (_, cases) = module_path!()
        .split_once("::")
        .expect("a module of a crate");
    let cases = cases.strip_suffix("harness").expect("this module");
    let name = &format!("{cases}{name}");
    let mut child = Command::new(std::env::current_exe().expect("a path"))
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a child process");
    let start = Instant::now();
    while child.try_wait().expect("a child can be asked").is_none() {
        if start.elapsed() > 2 * PATIENCE {
            // What it has said so far tells why.
            child.kill().expect("a child can be killed");
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("a child process")
}

/// Tries `attempt` until it succeeds.
pub(crate) fn eventually(what: &str, mut attempt: impl FnMut() -> bool) {
    let start = Instant::now();
    while !attempt() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::yield_now();
    }
}
