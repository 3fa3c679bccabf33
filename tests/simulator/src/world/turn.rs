//! A worker's turn: what has come is heard, and what the machine wants is carried out.
//!
//! Decides when a worker has its turn and how little a read or a write may get done. Refuses to
//! know what the machine does in it.

use zufar_core::id::{ConnId, WorkerId};
use zufar_core::machine::{Event, HostFigures, Listener};
use zufar_core::time::Time;

use super::links::{Farewell, LinkId, Place, Side};
use super::process::{Mail, Process, Seat};
use super::{Happening, Incident, Run, World};

/// What a driver reads at once, at most.
const READ_BYTES_MAX: u64 = 64 * 1024;
/// Slices of one vectored write.
const SLICES_MAX: usize = 16;

impl World {
    /// Has a worker get a turn soon.
    pub(super) fn wake(&mut self, process: &mut Process, worker: u16) {
        let run = process.run;
        let seat = process.seat(worker);
        if seat.stopped || std::mem::replace(&mut seat.turn_due, true) {
            return;
        }
        let delay_us = self.random.between(1, 30);
        let at = self.after_us(delay_us);
        let asleep_until = self.host(run.host).asleep_until;
        self.plan_at(at.max(asleep_until), Happening::Turn { run, worker });
    }

    pub(super) fn deadline_is_due(&mut self, run: Run, worker: u16, at: Time) {
        self.with_run(run, |world, process| {
            if process.seat(worker).deadline_at == Some(at) {
                process.seat(worker).deadline_at = None;
                world.wake(process, worker);
            }
        });
    }

    pub(super) fn turn_is_due(&mut self, run: Run, worker: u16) -> Option<Incident> {
        let asleep_until = self.host(run.host).asleep_until;
        let stopped = self.with_run(run, |world, process| {
            if world.time < asleep_until {
                world.plan_at(asleep_until, Happening::Turn { run, worker });
                return false;
            }
            world.turn(process, worker);
            process.seats.iter().all(|seat| seat.stopped)
        });
        if stopped != Some(true) {
            return None;
        }
        self.exit_process(run.host);
        Some(Incident::Stopped(run.host))
    }

    /// One turn of one worker, in the order that drivers keep.
    fn turn(&mut self, process: &mut Process, worker: u16) {
        let run = process.run;
        self.note(run.host, "turn", worker.into(), run.number.into());
        let seat = process.seat(worker);
        seat.turn_due = false;
        seat.turn += 1;
        for mail in std::mem::take(&mut seat.mail) {
            self.take_mail(seat, mail);
        }
        for id in std::mem::take(&mut seat.ready) {
            self.read(seat, id);
        }
        if worker == 0 {
            self.take_datagrams(process);
        }
        let now = self.now_of(run.host);
        let seat = process.seat(worker);
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
        self.hand_over(process, worker);
    }

    pub(super) fn deliver(&mut self, seat: &mut Seat, event: Event<'_>) {
        let now = self.now_of(seat.run.host);
        seat.machine.handle(now, event, &mut seat.actions);
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
            if let Some((link, side)) = seat.find(id).map(|socket| (socket.link, socket.side)) {
                self.write(seat, id);
                seat.remove(id);
                self.close(link, side, Farewell::Polite);
            }
        }
        self.give_up(seat);
    }

    fn take_mail(&mut self, seat: &mut Seat, mail: Mail) {
        match mail {
            Mail::Accepted(link, _) if seat.stopping => {
                self.close(link, Side::Acceptor, Farewell::Polite);
            }
            Mail::Accepted(link, listener) => self.seat_accepted(seat, link, listener),
            Mail::Connected(link) => {
                if let Some(ticket) = seat.take_ticket(link) {
                    let conn = self.take_seat(seat, link, Side::Opener, false);
                    self.deliver(seat, Event::Connected { ticket, conn });
                    seat.queue(conn);
                }
            }
            Mail::ConnectFailed { link, refused } => {
                if let Some(ticket) = seat.take_ticket(link) {
                    self.deliver(seat, Event::ConnectFailed { ticket, refused });
                }
            }
            Mail::Resolved { ticket, addresses } => {
                let addresses = addresses.as_deref().map_err(String::as_str);
                self.deliver(seat, Event::Resolved { ticket, addresses });
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

    fn seat_accepted(&mut self, seat: &mut Seat, link: LinkId, listener: Listener) {
        let counts = listener == Listener::Client;
        let conn = self.take_seat(seat, link, Side::Acceptor, counts);
        let address = match self.end(link, Side::Opener).place {
            Place::Host(host) => {
                let port = 32_768 + link.0 % 28_000;
                format!("tcp:{}:{port}", host.address(Listener::Peer).ip())
            }
            Place::Outside | Place::Nowhere => "tcp:127.0.0.1:40000".to_owned(),
        };
        let event = Event::Accepted {
            conn,
            listener,
            address: &address,
            open: seat.open(),
        };
        self.deliver(seat, event);
        seat.queue(conn);
    }

    /// A worker gets a name for its end of a connection.
    fn take_seat(&mut self, seat: &mut Seat, link: LinkId, side: Side, counts: bool) -> ConnId {
        let conn = seat.insert(link, side, counts);
        let entry = self.end(link, side);
        entry.seat = Some((seat.worker, conn));
        if let Some(socket) = seat.find(conn) {
            socket.broken = entry.broken;
        }
        conn
    }

    /// Reads once, if the machine wants it.
    fn read(&mut self, seat: &mut Seat, id: ConnId) {
        let Some(socket) = seat.find(id) else {
            return;
        };
        socket.queued = false;
        let (link, side) = (socket.link, socket.side);
        if let Some(reset) = socket.broken {
            seat.remove(id);
            self.close(link, side, Farewell::Silent);
            return self.deliver(seat, Event::Closed { conn: id, reset });
        }
        let (paused, finished) = (socket.paused, socket.finished);
        if paused || finished || !self.end(link, side).inbox.is_readable() {
            return;
        }
        let mut bytes_max = READ_BYTES_MAX;
        if self.network.short_reads && self.random.chance(30) {
            self.count("short reads");
            bytes_max = self.random.between(1, 100);
        }
        let (bytes, ended) = self.take(link, side, bytes_max as usize);
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
        if self.end(link, side).inbox.is_readable() {
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
        let (link, side) = (socket.link, socket.side);
        let mut slices: [&[u8]; SLICES_MAX] = [&[]; SLICES_MAX];
        let filled = seat.machine.unsent(id, &mut slices);
        let wanted: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
        if wanted == 0 {
            return;
        }
        let mut room = self.room(link, side);
        if self.network.short_writes && room > 1 && self.random.chance(20) {
            self.count("short writes");
            room = self.random.between(1, room as u64) as usize;
        }
        let bytes = first_bytes(&slices[..filled], room);
        let written = bytes.len();
        self.put(link, side, &bytes);
        seat.machine.sent(id, written);
        let socket = seat.find(id).expect("a write closes nothing");
        socket.written_turn = turn;
        if written < wanted {
            socket.blocked = true;
            self.end(link, side).waits = true;
            if self.room(link, side) > 0 {
                let latency_us = self.latency_us();
                self.plan(latency_us, Happening::Room(link, side));
            }
        } else if filled == SLICES_MAX {
            seat.actions.write.push(id);
        }
    }

    /// Carries out what goes to the network and to other threads, and plans the worker's next
    /// turn.
    fn hand_over(&mut self, process: &mut Process, worker: u16) {
        self.connect_all(process.seat(worker));
        self.send_datagrams(process.seat(worker));
        self.resolve_all(process, worker);
        let seat = process.seat(worker);
        let mut requests = std::mem::take(&mut seat.actions.disk);
        let messages = std::mem::take(&mut seat.actions.messages);
        let notices = &mut self.host_mut(seat.run.host).notices;
        notices.append(&mut seat.actions.notices);
        if std::mem::take(&mut seat.actions.host_wanted) {
            seat.mail.push_back(Mail::Host);
        }
        seat.stopped |= seat.actions.stopped;
        let stop_wanted = std::mem::take(&mut seat.actions.stop_wanted);
        process.jobs.submit(worker, &mut requests);
        process.seat(worker).actions.disk = requests;
        self.start_jobs(process);
        for (to, message) in messages {
            let from = WorkerId(worker);
            process.tell(to.0, Mail::Message { from, message });
            self.wake(process, to.0);
        }
        if stop_wanted {
            self.stop_process(process);
        }
        self.plan_turn(process, worker);
    }

    fn plan_turn(&mut self, process: &mut Process, worker: u16) {
        let datagrams = worker == 0 && !process.datagrams.is_empty();
        let seat = process.seat(worker);
        let has_work =
            !seat.mail.is_empty() || !seat.ready.is_empty() || !seat.actions.write.is_empty();
        if has_work || datagrams {
            self.wake(process, worker);
        }
        let seat = process.seat(worker);
        let Some(at) = seat.machine.next_deadline() else {
            return;
        };
        let clock = &self.host(seat.run.host).clock;
        let at = at.max(clock.now().time);
        if seat.deadline_at.is_none_or(|planned| at < planned) {
            seat.deadline_at = Some(at);
            let (run, due) = (seat.run, clock.world_time_of(at));
            self.plan_at(due, Happening::Deadline { run, worker, at });
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
