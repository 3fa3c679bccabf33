//! Timers, other threads and the end of the process.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread::ThreadId;

use zufar_core::disk::{
    Batch, Change, Completion, Disk, DiskError, Found, Load, Request, Scan, Usage,
};
use zufar_core::id::{Ticket, WorkerId};
use zufar_core::machine::{Actions, Event};
use zufar_core::message::Message;
use zufar_core::time::{Now, Time};

use super::harness::{Entry, Log, On, Script, Setup, in_child, ping, run_in_child};

fn is_stop(entry: &Entry) -> bool {
    matches!(entry, Entry::Stop(_))
}

#[test]
fn a_stop_reaches_every_worker_once_and_ends_the_process_side() {
    let server = Setup {
        workers: 3,
        ..Setup::default()
    }
    .serve_plain();
    let mut streams: Vec<_> = (0..6).map(|_| server.connect()).collect();
    for stream in &mut streams {
        ping(stream, b"hello");
    }
    let (address, stopper) = (server.address, server.running.stopper());
    stopper.stop();
    stopper.clone().stop();
    let mut stops: Vec<_> = server.stop().into_iter().filter(is_stop).collect();
    stops.sort_by_key(|entry| format!("{entry:?}"));
    assert_eq!(stops, [0, 1, 2].map(|worker| Entry::Stop(WorkerId(worker))));
    for mut stream in streams {
        assert_eq!(stream.read(&mut [0]).expect("the end"), 0);
    }
    assert!(TcpStream::connect(address).is_err(), "nobody listens");
}

/// Goes on for some deadlines after it was told to stop.
struct Lingers {
    log: Arc<Log>,
    deadline: Option<Time>,
    left: u32,
}

impl Script for Lingers {
    fn on(&mut self, worker: WorkerId, now: Now, event: &Event<'_>, actions: &mut Actions) {
        match event {
            Event::Received { .. } if worker == WorkerId(1) => actions.stop_wanted = true,
            Event::Accepted { .. } => assert!(self.deadline.is_none(), "none after a stop"),
            Event::Stop => self.deadline = Some(now.time.plus_millis(10)),
            Event::Deadline => {
                let due = self.deadline.expect("nothing else was asked for");
                assert!(now.time >= due, "not before its time");
                self.deadline = Some(now.time.plus_millis(10));
                self.left -= 1;
                actions.stopped = self.left == 0;
                self.log.say(worker, "tick");
            }
            _ => {}
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        self.deadline
    }

    fn stops_at_once(&self) -> bool {
        false
    }
}

#[test]
fn a_machine_can_stop_all_and_each_takes_its_time() {
    let log = Arc::<Log>::default();
    let server = Setup {
        workers: 2,
        log: Arc::clone(&log),
        ..Setup::default()
    }
    .serve(move |worker| Lingers {
        log: Arc::clone(&log),
        deadline: None,
        left: 3 + u32::from(worker.0),
    });
    let mut streams = [server.connect(), server.connect()];
    ping(&mut streams[0], b"on worker 0");
    ping(&mut streams[1], b"on worker 1");
    server.log.wait(2, is_stop);
    server.running.wait().expect("an orderly end");
    let ticks = |worker| server.log.count(|entry| *entry == said(worker, "tick"));
    assert_eq!((ticks(0), ticks(1)), (3, 4));
}

fn said(worker: u16, text: &str) -> Entry {
    Entry::Said(WorkerId(worker), text.into())
}

/// Wants a deadline every few milliseconds.
struct Ticks {
    log: Arc<Log>,
    due: Option<Time>,
}

impl Script for Ticks {
    fn on(&mut self, worker: WorkerId, now: Now, event: &Event<'_>, _: &mut Actions) {
        match event {
            Event::Accepted { .. } => self.due = Some(now.time.plus_millis(5)),
            Event::Deadline => {
                let late_ms = now.time.millis_since(self.due.expect("asked for"));
                assert!(Some(now.time) >= self.due, "not before its time");
                assert!(late_ms < 2000, "{late_ms} ms late");
                self.due = Some(now.time.plus_millis(5));
                self.log.say(worker, "tick");
            }
            _ => {}
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        self.due
    }
}

#[test]
fn deadlines_come_without_any_other_event() {
    let log = Arc::<Log>::default();
    let server = Setup {
        log: Arc::clone(&log),
        ..Setup::default()
    }
    .serve(move |_| Ticks {
        log: Arc::clone(&log),
        due: None,
    });
    let stream = server.connect();
    server.log.wait(50, |entry| *entry == said(0, "tick"));
    drop(stream);
    server.stop();
}

#[test]
fn messages_keep_their_order_between_two_workers() {
    const EACH: u64 = 2000;
    const WORKERS: u16 = 3;
    let log = Arc::<Log>::default();
    let heard = Arc::clone(&log);
    let server = Setup {
        workers: WORKERS,
        log,
        ..Setup::default()
    }
    .serve(move |_| {
        let log = Arc::clone(&heard);
        let mut next = BTreeMap::<WorkerId, u64>::new();
        On(
            move |me: WorkerId, _, event: &Event<'_>, actions: &mut Actions| match event {
                // Two workers start talking, to all, themselves included.
                Event::Received { .. } => {
                    for bytes in 0..EACH {
                        for worker in 0..WORKERS {
                            let message = Message::BudgetGiven { bytes, asked: true };
                            actions.messages.push((WorkerId(worker), message));
                        }
                    }
                }
                Event::Message {
                    from,
                    message: Message::BudgetGiven { bytes, .. },
                } => {
                    let next = next.entry(*from).or_default();
                    assert_eq!(*bytes, *next, "{from:?} to {me:?}");
                    *next += 1;
                    if *next == EACH {
                        log.say(me, format!("all from {}", from.0));
                    }
                }
                _ => {}
            },
        )
    });
    let mut streams = [server.connect(), server.connect()];
    ping(&mut streams[0], b"go");
    ping(&mut streams[1], b"go");
    for to in 0..WORKERS {
        for from in 0..2 {
            let all = said(to, &format!("all from {from}"));
            server.log.wait(1, |entry| *entry == all);
        }
    }
    server.stop();
}

#[test]
fn host_figures_come_when_wanted() {
    let server = Setup::default().serve(|_| {
        On(|_, _, event: &Event<'_>, actions: &mut Actions| {
            actions.host_wanted |= matches!(event, Event::Received { .. });
        })
    });
    let _other = server.connect();
    ping(&mut server.connect(), b"how are you");
    let wanted = |entry: &Entry| matches!(entry, Entry::Host(_));
    server.log.wait(1, wanted);
    let entries = server.stop();
    let Some(Entry::Host(figures)) = entries.iter().find(|entry| wanted(entry)) else {
        panic!("{entries:?}");
    };
    assert_eq!(figures.open_connections, 2);
    assert!(figures.user_us + figures.system_us > 0);
}

#[test]
fn a_panic_of_a_machine_brings_the_process_down() {
    if in_child() {
        let server = Setup {
            workers: 2,
            ..Setup::default()
        }
        .serve(|_| {
            On(|_, _, event: &Event<'_>, _: &mut Actions| {
                assert!(!matches!(event, Event::Received { .. }), "a bug of ours");
            })
        });
        let mut stream = server.connect();
        std::io::Write::write_all(&mut stream, b"?").expect("a write");
        server.running.wait().expect("never reached");
        return;
    }
    let output = run_in_child("threads::a_panic_of_a_machine_brings_the_process_down");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("a bug of ours"), "{text}");
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    assert_eq!(signal, Some(6), "SIGABRT: {text}");
}

/// A disk in memory that notes who does what.
#[derive(Default)]
struct FakeDisk {
    written: Mutex<BTreeMap<WorkerId, Vec<u64>>>,
    ordered_threads: Mutex<Vec<ThreadId>>,
    syncs: AtomicUsize,
    /// Loads return once three of them run.
    three: Option<Barrier>,
    /// Writes wait while this is set.
    stuck: Mutex<bool>,
    unstuck: Condvar,
    breaks: AtomicBool,
}

impl FakeDisk {
    fn note_ordered(&self) {
        let mut threads = self.ordered_threads.lock().expect("threads");
        threads.push(std::thread::current().id());
    }
}

impl Disk for FakeDisk {
    fn write(&self, worker: WorkerId, batch: &Batch) -> Result<(), DiskError> {
        assert!(!self.breaks.load(SeqCst), "a broken disk thread");
        let stuck = self.stuck.lock().expect("a flag");
        drop(self.unstuck.wait_while(stuck, |stuck| *stuck));
        self.note_ordered();
        let mut written = self.written.lock().expect("batches");
        written.entry(worker).or_default().push(batch.number);
        if batch.number.is_multiple_of(10) {
            return Err(DiskError::Full);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.note_ordered();
        self.syncs.fetch_add(1, SeqCst);
        Ok(())
    }

    fn epoch(&self) -> u64 {
        1
    }

    fn reopen(&self, _: u64) -> Result<(), DiskError> {
        self.note_ordered();
        Ok(())
    }

    fn load(&self, load: &mut Load) -> Result<Found, DiskError> {
        if let Some(barrier) = &self.three {
            barrier.wait();
        }
        load.buffer = load.key.repeat(2);
        Ok(Found::Small)
    }

    fn scan(&self, _: &mut Scan) -> Result<bool, DiskError> {
        Ok(true)
    }

    fn compact(&self, _: u16, _: u16) {}

    fn usage(&self) -> Result<Usage, DiskError> {
        Ok(Usage::default())
    }
}

fn batch(number: u64) -> Request {
    let mut batch = Batch {
        number,
        ..Batch::default()
    };
    let key = batch.push(b"key");
    batch.changes.push(Change::Delete { key });
    Request::Write(batch)
}

fn load(key: &[u8]) -> Request {
    Request::Load(Load {
        ticket: Some(Ticket {
            slot: 5,
            generation: 6,
        }),
        key: key.to_vec(),
        ..Load::default()
    })
}

/// Serves scripts that put `requests` to `disk` when asked, and say what was answered.
fn disk_server(
    workers: u16,
    disk: &Arc<FakeDisk>,
    requests: impl Fn(WorkerId) -> Vec<Request> + Send + Sync + 'static,
) -> super::harness::Server {
    let log = Arc::<Log>::default();
    let heard = Arc::clone(&log);
    let requests = Arc::new(requests);
    Setup {
        workers,
        disk: Some(Arc::clone(disk) as Arc<dyn Disk>),
        log,
        ..Setup::default()
    }
    .serve(move |_| {
        let (log, requests) = (Arc::clone(&heard), Arc::clone(&requests));
        On(
            move |me, _: Now, event: &Event<'_>, actions: &mut Actions| match event {
                Event::Received { .. } => actions.disk.extend(requests(me)),
                Event::Disk(Completion::Written { batch, result, .. }) => {
                    log.say(me, format!("written {} {result:?}", batch.number));
                }
                Event::Disk(Completion::Synced { number, .. }) => {
                    log.say(me, format!("synced {number}"));
                }
                Event::Disk(Completion::Loaded { load, .. }) => {
                    log.say(me, format!("loaded {:?} {:?}", load.ticket, load.buffer));
                }
                Event::Disk(other) => log.say(me, format!("{other:?}")),
                _ => {}
            },
        )
    })
}

#[test]
fn ordered_requests_run_in_order_on_one_thread() {
    const BATCHES: u64 = 100;
    let disk = Arc::<FakeDisk>::default();
    let server = disk_server(2, &disk, |_| {
        let mut requests: Vec<_> = (1..=BATCHES).map(batch).collect();
        requests.push(Request::Sync { number: BATCHES });
        requests
    });
    let mut streams = [server.connect(), server.connect()];
    for stream in &mut streams {
        ping(stream, b"go");
    }
    for worker in 0..2 {
        server
            .log
            .wait(1, |entry| *entry == said(worker, "synced 100"));
    }
    let entries = server.stop();
    for worker in 0..2 {
        let told: Vec<_> = entries
            .iter()
            .filter(|entry| matches!(entry, Entry::Said(to, _) if to.0 == worker))
            .cloned()
            .collect();
        let result = |number: u64| {
            if number.is_multiple_of(10) {
                "Err(Full)"
            } else {
                "Ok(())"
            }
        };
        let expected: Vec<_> = (1..=BATCHES)
            .map(|number| said(worker, &format!("written {number} {}", result(number))))
            .chain([said(worker, "synced 100")])
            .collect();
        assert_eq!(told, expected);
        let written = disk.written.lock().expect("batches");
        assert_eq!(
            written[&WorkerId(worker)],
            (1..=BATCHES).collect::<Vec<_>>()
        );
    }
    let mut threads = disk.ordered_threads.lock().expect("threads").clone();
    threads.dedup();
    assert_eq!(threads.len(), 1);
    assert_eq!(disk.syncs.load(SeqCst), 2);
}

#[test]
fn unordered_requests_run_at_the_same_time_and_pass_stuck_writes() {
    let disk = Arc::new(FakeDisk {
        three: Some(Barrier::new(3)),
        stuck: Mutex::new(true),
        ..FakeDisk::default()
    });
    let server = disk_server(2, &disk, |_| {
        vec![batch(1), load(b"ab"), load(b"ab"), load(b"ab")]
    });
    ping(&mut server.connect(), b"go");
    let answer = format!(
        "loaded {:?} {:?}",
        Some(Ticket {
            slot: 5,
            generation: 6
        }),
        b"abab"
    );
    server.log.wait(3, |entry| *entry == said(0, &answer));
    assert!(disk.written.lock().expect("batches").is_empty());
    *disk.stuck.lock().expect("a flag") = false;
    disk.unstuck.notify_all();
    server
        .log
        .wait(1, |entry| *entry == said(0, "written 1 Ok(())"));
    server.stop();
}

#[test]
fn an_answer_that_comes_while_falling_asleep_wakes() {
    const ROUNDS: u32 = 30_000;
    let log = Arc::<Log>::default();
    let heard = Arc::clone(&log);
    let server = Setup {
        disk: Some(Arc::<FakeDisk>::default()),
        log,
        ..Setup::default()
    }
    .serve(move |_| {
        let (log, mut rounds) = (Arc::clone(&heard), 0);
        On(
            move |me, _: Now, event: &Event<'_>, actions: &mut Actions| {
                // Several at a time, so that the disk's threads never sleep for long.
                let more = match event {
                    Event::Received { .. } => 8,
                    Event::Disk(_) => 1,
                    _ => return,
                };
                rounds += 1;
                if rounds < ROUNDS {
                    actions.disk.extend((0..more).map(|_| load(b"key")));
                } else if rounds == ROUNDS {
                    log.say(me, "all");
                }
            },
        )
    });
    ping(&mut server.connect(), b"go");
    server.log.wait(1, |entry| *entry == said(0, "all"));
    server.stop();
}

#[test]
fn what_was_to_be_written_is_written_before_the_end() {
    let disk = Arc::new(FakeDisk {
        stuck: Mutex::new(true),
        ..FakeDisk::default()
    });
    let server = disk_server(1, &disk, |_| (1..=50).map(batch).collect());
    ping(&mut server.connect(), b"go");
    server.running.stopper().stop();
    server.log.wait(1, is_stop);
    *disk.stuck.lock().expect("a flag") = false;
    disk.unstuck.notify_all();
    server.running.wait().expect("an orderly end");
    let written = disk.written.lock().expect("batches");
    assert_eq!(written[&WorkerId(0)], (1..=50).collect::<Vec<_>>());
}

#[test]
fn a_panic_of_a_disk_thread_brings_the_process_down() {
    if in_child() {
        let disk = Arc::<FakeDisk>::default();
        disk.breaks.store(true, SeqCst);
        let server = disk_server(1, &disk, |_| vec![batch(1)]);
        ping(&mut server.connect(), b"go");
        server.running.wait().expect("never reached");
        return;
    }
    let output = run_in_child("threads::a_panic_of_a_disk_thread_brings_the_process_down");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("a broken disk thread"), "{text}");
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    assert_eq!(signal, Some(6), "SIGABRT: {text}");
}
