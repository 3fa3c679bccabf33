//! The node's process: workers and their turns, sockets as they see them, threads for the disk.
//!
//! Decides nothing that a driver does not: it is one, and keeps the contract that
//! [`Machine`] and the drivers' documentation give. Refuses to know what machines decide.

use std::collections::VecDeque;
use std::sync::Arc;

use zufar_core::disk::{Completion, Lane, Recovery, Request, perform};
use zufar_core::id::{ConnId, WorkerId};
use zufar_core::machine::{Actions, Event, HostFigures, Listener, Machine};
use zufar_core::message::Message;
use zufar_core::settings::Settings;
use zufar_core::time::Time;
use zufar_core::worker::Worker;

use super::links::LinkId;
use super::{Happening, Incident, World};
use crate::ModelDisk;

/// What a driver reads at once, at most.
const READ_BYTES_MAX: u64 = 64 * 1024;
/// Slices of one vectored write.
const SLICES_MAX: usize = 16;
/// Threads for disk requests that keep no order.
const UNORDERED_THREADS: usize = 3;

enum Mail {
    Accepted(LinkId),
    Message { from: WorkerId, message: Message },
    Disk(Completion),
    Host,
    Stop,
}

struct Socket {
    link: LinkId,
    id: ConnId,
    paused: bool,
    finished: bool,
    broken: bool,
    queued: bool,
    blocked: bool,
    written_turn: u64,
}

/// One worker and what its thread remembers.
struct Seat {
    machine: Worker,
    actions: Actions,
    mail: VecDeque<Mail>,
    sockets: Vec<Option<Socket>>,
    generations: Vec<u32>,
    free: Vec<u32>,
    ready: Vec<ConnId>,
    turn: u64,
    turn_due: bool,
    deadline_at: Option<Time>,
    stopping: bool,
    stopped: bool,
}

impl Seat {
    fn new(machine: Worker) -> Self {
        Self {
            machine,
            actions: Actions::default(),
            mail: VecDeque::new(),
            sockets: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            ready: Vec::new(),
            turn: 0,
            turn_due: false,
            deadline_at: None,
            stopping: false,
            stopped: false,
        }
    }

    fn find(&mut self, id: ConnId) -> Option<&mut Socket> {
        let socket = self.sockets.get_mut(id.slot as usize)?.as_mut()?;
        (socket.id == id).then_some(socket)
    }

    fn insert(&mut self, link: LinkId) -> ConnId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.sockets.push(None);
            self.generations.push(0);
            (self.sockets.len() - 1) as u32
        });
        let id = ConnId {
            slot,
            generation: self.generations[slot as usize],
        };
        self.sockets[slot as usize] = Some(Socket {
            link,
            id,
            paused: false,
            finished: false,
            broken: false,
            queued: false,
            blocked: false,
            written_turn: 0,
        });
        id
    }

    fn remove(&mut self, id: ConnId) {
        self.sockets[id.slot as usize] = None;
        self.generations[id.slot as usize] += 1;
        self.free.push(id.slot);
    }

    fn queue(&mut self, id: ConnId) {
        if let Some(socket) = self.find(id)
            && !socket.queued
        {
            socket.queued = true;
            self.ready.push(id);
        }
    }

    fn open(&self) -> u32 {
        (self.sockets.len() - self.free.len()) as u32
    }
}

type Job = (u64, WorkerId, Request);

/// One process.
pub(super) struct Node {
    run: u32,
    seats: Vec<Seat>,
    has_disk: bool,
    ordered: VecDeque<Job>,
    ordered_job: Option<Job>,
    unordered: VecDeque<Job>,
    unordered_jobs: Vec<Job>,
    jobs: u64,
}

impl Node {
    pub(super) fn new(run: u32, settings: Settings, disk: &ModelDisk) -> Self {
        let has_disk = settings.disk.is_some();
        let recovery = if has_disk {
            disk.recovery()
        } else {
            Recovery::default()
        };
        let settings = Arc::new(settings);
        let seat = |id| Seat::new(Worker::new(Arc::clone(&settings), WorkerId(id), &recovery));
        Self {
            run,
            seats: (0..settings.workers).map(seat).collect(),
            has_disk,
            ordered: VecDeque::new(),
            ordered_job: None,
            unordered: VecDeque::new(),
            unordered_jobs: Vec::new(),
            jobs: 0,
        }
    }

    pub(super) fn workers(&self) -> u16 {
        self.seats.len() as u16
    }

    fn seat(&mut self, worker: u16) -> &mut Seat {
        &mut self.seats[usize::from(worker)]
    }

    fn tell(&mut self, worker: u16, mail: Mail) {
        self.seat(worker).mail.push_back(mail);
    }

    pub(super) fn tell_stop(&mut self, worker: u16) {
        self.tell(worker, Mail::Stop);
    }

    pub(super) fn tell_disk(&mut self, worker: u16, completion: Completion) {
        self.tell(worker, Mail::Disk(completion));
    }

    pub(super) fn tell_accepted(&mut self, worker: u16, link: LinkId) {
        self.tell(worker, Mail::Accepted(link));
    }

    pub(super) fn note_readable(&mut self, worker: u16, id: ConnId) {
        self.seat(worker).queue(id);
    }

    pub(super) fn note_broken(&mut self, worker: u16, id: ConnId) {
        let seat = self.seat(worker);
        if let Some(socket) = seat.find(id) {
            socket.broken = true;
        }
        seat.queue(id);
    }

    pub(super) fn note_writable(&mut self, worker: u16, id: ConnId) {
        let seat = self.seat(worker);
        if let Some(socket) = seat.find(id) {
            socket.blocked = false;
            seat.actions.write.push(id);
        }
    }

    /// What the thread for ordered requests is at.
    pub(super) fn take_ordered(&mut self) -> Option<(WorkerId, Request)> {
        let (_, worker, request) = self.ordered_job.take()?;
        Some((worker, request))
    }

    fn submit(&mut self, worker: u16, requests: &mut Vec<Request>) {
        assert!(
            requests.is_empty() || self.has_disk,
            "a machine asks only for a disk that there is"
        );
        for request in requests.drain(..) {
            self.jobs += 1;
            let lane = request.lane();
            let job = (self.jobs, WorkerId(worker), request);
            match lane {
                Lane::Ordered => self.ordered.push_back(job),
                Lane::Unordered => self.unordered.push_back(job),
            }
        }
    }
}

/// The first `bytes_max` bytes of `slices`.
fn first_bytes(slices: &[&[u8]], bytes_max: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for slice in slices {
        let room = bytes_max - bytes.len();
        bytes.extend_from_slice(&slice[..slice.len().min(room)]);
    }
    bytes
}

impl World {
    /// Has a worker get a turn soon.
    pub(super) fn wake(&mut self, node: &mut Node, worker: u16) {
        let run = node.run;
        let seat = node.seat(worker);
        if seat.stopped || std::mem::replace(&mut seat.turn_due, true) {
            return;
        }
        let delay_us = self.random.between(1, 30);
        let at = Time::from_nanos(self.clock.time().as_nanos() + delay_us * 1000);
        self.plan_at(at.max(self.asleep_until), Happening::Turn { run, worker });
    }

    pub(super) fn deadline_is_due(&mut self, run: u32, worker: u16, at: Time) {
        if !self.is_run(run) {
            return;
        }
        self.with_node(|world, node| {
            if node.seat(worker).deadline_at == Some(at) {
                node.seat(worker).deadline_at = None;
                world.wake(node, worker);
            }
        });
    }

    pub(super) fn turn_is_due(&mut self, run: u32, worker: u16) -> Option<Incident> {
        if !self.is_run(run) {
            return None;
        }
        if self.clock.time() < self.asleep_until {
            let at = self.asleep_until;
            self.plan_at(at, Happening::Turn { run, worker });
            return None;
        }
        let stopped = self.with_node(|world, node| {
            world.turn(node, worker);
            node.seats.iter().all(|seat| seat.stopped)
        });
        if stopped != Some(true) {
            return None;
        }
        self.node = None;
        self.trace.note(self.clock.time(), "stopped", 0, 0);
        self.disk.crash();
        self.break_links();
        Some(Incident::Stopped)
    }

    /// One turn of one worker, in the order that drivers keep.
    fn turn(&mut self, node: &mut Node, worker: u16) {
        let time = self.clock.time();
        self.trace
            .note(time, "turn", worker.into(), node.run.into());
        let seat = node.seat(worker);
        seat.turn_due = false;
        seat.turn += 1;
        for mail in std::mem::take(&mut seat.mail) {
            self.take_mail(seat, worker, mail);
        }
        for id in std::mem::take(&mut seat.ready) {
            self.read(seat, id);
        }
        let now = self.clock.now();
        if seat
            .machine
            .next_deadline()
            .is_some_and(|at| at <= now.time)
        {
            self.deliver(seat, Event::Deadline);
        }
        for id in std::mem::take(&mut seat.actions.write) {
            self.write(seat, id);
        }
        self.hand_over(node, worker);
    }

    fn deliver(&mut self, seat: &mut Seat, event: Event<'_>) {
        seat.machine
            .handle(self.clock.now(), event, &mut seat.actions);
        for id in std::mem::take(&mut seat.actions.pause) {
            assert!(
                !seat.actions.resume.contains(&id),
                "one event can't both pause and resume {id:?}"
            );
            if let Some(socket) = seat.find(id) {
                socket.paused = true;
            }
        }
        for id in std::mem::take(&mut seat.actions.resume) {
            if let Some(socket) = seat.find(id) {
                socket.paused = false;
                seat.queue(id);
            }
        }
        for id in std::mem::take(&mut seat.actions.close) {
            if let Some(link) = seat.find(id).map(|socket| socket.link) {
                self.write(seat, id);
                seat.remove(id);
                self.close_at_node(link);
            }
        }
    }

    fn take_mail(&mut self, seat: &mut Seat, worker: u16, mail: Mail) {
        match mail {
            Mail::Accepted(link) if seat.stopping => self.close_at_node(link),
            Mail::Accepted(link) => {
                let conn = seat.insert(link);
                self.link(link).seat = Some((worker, conn));
                let event = Event::Accepted {
                    conn,
                    listener: Listener::Client,
                    address: "tcp:127.0.0.1:40000",
                    open: seat.open(),
                };
                self.deliver(seat, event);
                seat.queue(conn);
            }
            Mail::Message { from, message } => self.deliver(seat, Event::Message { from, message }),
            Mail::Disk(completion) => self.deliver(seat, Event::Disk(completion)),
            Mail::Host => {
                let open_connections = seat.open();
                let figures = HostFigures {
                    open_connections,
                    ..HostFigures::default()
                };
                self.deliver(seat, Event::Host(figures));
            }
            Mail::Stop => {
                seat.stopping = true;
                self.deliver(seat, Event::Stop);
            }
        }
    }

    /// Reads once, if the machine wants it.
    fn read(&mut self, seat: &mut Seat, id: ConnId) {
        let Some(socket) = seat.find(id) else {
            return;
        };
        socket.queued = false;
        let (link, paused, finished) = (socket.link, socket.paused, socket.finished);
        if socket.broken {
            seat.remove(id);
            self.close_at_node(link);
            return self.deliver(seat, Event::Closed { conn: id });
        }
        if paused || finished || !self.link(link).to_node.is_readable() {
            return;
        }
        let mut bytes_max = READ_BYTES_MAX;
        if self.network.short_reads && self.random.chance(30) {
            self.count("short reads");
            bytes_max = self.random.between(1, 100);
        }
        let (bytes, ended) = self.read_at_node(link, bytes_max as usize);
        if bytes.is_empty() {
            assert!(ended, "a readable connection has bytes or its end");
            if let Some(socket) = seat.find(id) {
                socket.finished = true;
            }
            return self.deliver(seat, Event::Finished { conn: id });
        }
        self.trace.data(&bytes);
        let received = Event::Received {
            conn: id,
            bytes: &bytes,
        };
        self.deliver(seat, received);
        if self.link(link).to_node.is_readable() {
            seat.queue(id);
        }
    }

    /// Writes once, unless the connection is full or has been written in this turn.
    fn write(&mut self, seat: &mut Seat, id: ConnId) {
        let turn = seat.turn;
        let Some(socket) = seat.find(id) else {
            return;
        };
        if socket.blocked || socket.written_turn == turn {
            return;
        }
        let link = socket.link;
        let mut slices: [&[u8]; SLICES_MAX] = [&[]; SLICES_MAX];
        let filled = seat.machine.unsent(id, &mut slices);
        let wanted: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
        if wanted == 0 {
            return;
        }
        let mut room = self.link(link).to_client.room();
        if self.network.short_writes && room > 1 && self.random.chance(20) {
            self.count("short writes");
            room = self.random.between(1, room as u64) as usize;
        }
        let bytes = first_bytes(&slices[..filled], room);
        let written = bytes.len();
        if written > 0 {
            self.write_at_node(link, bytes);
        }
        seat.machine.sent(id, written);
        let socket = seat.find(id).expect("a write closes nothing");
        socket.written_turn = turn;
        if written < wanted {
            socket.blocked = true;
            self.link(link).node_waits = true;
            if self.link(link).to_client.room() > 0 {
                let latency_us = self.latency_us();
                self.plan(latency_us, Happening::RoomAtNode(link));
            }
        } else if filled == SLICES_MAX {
            seat.actions.write.push(id);
        }
    }

    /// Carries out what goes to other threads, and plans the worker's next turn.
    fn hand_over(&mut self, node: &mut Node, worker: u16) {
        let seat = node.seat(worker);
        let mut requests = std::mem::take(&mut seat.actions.disk);
        let messages = std::mem::take(&mut seat.actions.messages);
        self.notices.append(&mut seat.actions.notices);
        if std::mem::take(&mut seat.actions.host_wanted) {
            seat.mail.push_back(Mail::Host);
        }
        seat.stopped |= seat.actions.stopped;
        node.submit(worker, &mut requests);
        node.seat(worker).actions.disk = requests;
        self.start_jobs(node);
        for (to, message) in messages {
            let from = WorkerId(worker);
            node.tell(to.0, Mail::Message { from, message });
            self.wake(node, to.0);
        }
        let seat = node.seat(worker);
        if !seat.mail.is_empty() || !seat.ready.is_empty() || !seat.actions.write.is_empty() {
            self.wake(node, worker);
        }
        let seat = node.seat(worker);
        let Some(at) = seat.machine.next_deadline() else {
            return;
        };
        let at = at.max(self.clock.time());
        if seat.deadline_at.is_none_or(|planned| at < planned) {
            seat.deadline_at = Some(at);
            let run = node.run;
            self.plan_at(at, Happening::Deadline { run, worker, at });
        }
    }

    /// Gives idle disk threads something to do.
    fn start_jobs(&mut self, node: &mut Node) {
        let run = node.run;
        if node.ordered_job.is_none()
            && let Some(job) = node.ordered.pop_front()
        {
            let (number, lane) = (job.0, Lane::Ordered);
            let delay_us = self.disk_us(&job.2);
            node.ordered_job = Some(job);
            self.plan(
                delay_us,
                Happening::Perform {
                    run,
                    lane,
                    job: number,
                },
            );
        }
        while node.unordered_jobs.len() < UNORDERED_THREADS
            && let Some(job) = node.unordered.pop_front()
        {
            let (number, lane) = (job.0, Lane::Unordered);
            let delay_us = self.disk_us(&job.2);
            node.unordered_jobs.push(job);
            self.plan(
                delay_us,
                Happening::Perform {
                    run,
                    lane,
                    job: number,
                },
            );
        }
    }

    fn disk_us(&mut self, request: &Request) -> u64 {
        let slow = self.clock.time() < self.disk_slow_until;
        match request {
            // A start scans thousands of partitions, most of them empty.
            Request::Scan(_) if !slow => self.random.between(1, 40),
            Request::Scan(_) => self.random.between(1, 2_000),
            _ if slow => self.random.between(1_000, self.disk_plan.slow_us_max),
            _ => self.random.between(5, self.disk_plan.latency_us_max),
        }
    }

    /// A disk thread does its work. What it tells takes effect before anybody hears of it.
    pub(super) fn perform(&mut self, run: u32, lane: Lane, job: u64) {
        if !self.is_run(run) {
            return;
        }
        self.with_node(|world, node| {
            let job = match lane {
                Lane::Ordered => node.ordered_job.take(),
                Lane::Unordered => {
                    let at = node.unordered_jobs.iter().position(|one| one.0 == job);
                    at.map(|at| node.unordered_jobs.swap_remove(at))
                }
            };
            let Some((_, worker, request)) = job else {
                unreachable!("a job is performed once");
            };
            let is_scan = matches!(request, Request::Scan(_));
            let completion = perform(&*world.disk, worker, request);
            if is_scan {
                node.tell(worker.0, Mail::Disk(completion));
                world.wake(node, worker.0);
            } else {
                let time = world.clock.time();
                world.trace.note(
                    time,
                    "disk",
                    worker.0.into(),
                    u64::from(lane == Lane::Ordered),
                );
                world.count_failure(&completion);
                let delay_us = world.random.between(1, world.disk_plan.latency_us_max);
                let (worker, completion) = (worker.0, Box::new(completion));
                world.plan(
                    delay_us,
                    Happening::Answer {
                        run,
                        worker,
                        completion,
                    },
                );
            }
            world.start_jobs(node);
        });
    }

    fn count_failure(&mut self, completion: &Completion) {
        let (failed, kind) = match completion {
            Completion::Written { result, .. } => (result.is_err(), "failed writes"),
            Completion::Synced { result, .. } => (result.is_err(), "failed syncs"),
            Completion::Loaded { result, .. } => (result.is_err(), "failed reads"),
            Completion::Reopened { .. } => (true, "databases reopened"),
            Completion::Scanned { .. } | Completion::Compacted | Completion::Measured { .. } => {
                (false, "")
            }
        };
        if failed {
            self.count(kind);
        }
    }
}
