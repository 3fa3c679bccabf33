//! Connections: what goes from one end to the other, and how an end is closed or broken.
//!
//! Decides latency, the sizes of buffers, and what each end learns of the other. Refuses to know
//! what the bytes mean, how a connection comes about, and which ways are cut.

use zufar_core::id::ConnId;
use zufar_core::machine::Listener;
use zufar_core::time::Time;

use super::{Happening, HostId, Incident, Run, World};
use crate::pipe::Pipe;

/// A connection. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u32);

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Opener,
    Acceptor,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Opener, Self::Acceptor];

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Opener => Self::Acceptor,
            Self::Acceptor => Self::Opener,
        }
    }
}

/// Where an end lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// With whoever runs the world.
    Outside,
    Host(HostId),
    /// At an address that nobody has.
    Nowhere,
}

/// How the process of an end has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Exited,
    Killed,
    PowerCut,
}

/// What an end that closes lets the other know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// That nothing more will come; or, if it leaves something unread, that it is gone.
    Polite,
    /// That it is gone.
    Reset,
    Silent,
}

/// One end of a connection.
pub(super) struct End {
    pub(super) place: Place,
    /// What comes to this end.
    pub(super) inbox: Pipe,
    /// Whether this end exists yet.
    pub(super) there: bool,
    /// This end has no use for anything more.
    pub(super) closed: bool,
    /// Which of its host's processes it belongs to.
    pub(super) run: u32,
    /// The worker and its name for the connection, while it has one.
    pub(super) seat: Option<(u16, ConnId)>,
    /// It broke before a worker had a name for it, by the other end if this is a reset.
    pub(super) broken: Option<bool>,
    /// The other end has said that it is gone, and this one is about to hear it.
    pub(super) reset_due: bool,
    /// It wants to hear when there is room again.
    pub(super) waits: bool,
    /// It has not heard that there is room because the way is cut.
    pub(super) room_held: bool,
    /// Segments that have not come because the way is cut.
    pub(super) held: usize,
    /// What it has sent is not acknowledged, by which it will break the connection.
    pub(super) doubt: Option<u64>,
    /// Bytes that it has read.
    read_bytes: u64,
}

impl End {
    fn new(place: Place, capacity: usize, run: Option<u32>) -> Self {
        Self {
            place,
            inbox: Pipe::new(capacity),
            there: run.is_some(),
            closed: false,
            run: run.unwrap_or(0),
            seat: None,
            broken: None,
            reset_due: false,
            waits: false,
            room_held: false,
            held: 0,
            doubt: None,
            read_bytes: 0,
        }
    }

    pub(super) fn is_outside(&self) -> bool {
        self.place == Place::Outside
    }

    /// Whether anybody is there to whom something could be told.
    pub(super) const fn hears(&self) -> bool {
        self.there && !self.closed
    }

    /// Nobody is there any more. Says whether something has been left unread.
    pub(super) fn close(&mut self) -> bool {
        self.closed = true;
        self.seat = None;
        !self.inbox.read(usize::MAX).is_empty()
    }

    fn belongs_to(&self, run: Run) -> bool {
        self.place == Place::Host(run.host) && self.run == run.number && self.hears()
    }
}

/// A connection.
pub(super) struct Link {
    opener: End,
    acceptor: End,
    pub(super) listener: Listener,
    /// The worker that wants it, if the opener lies on a host.
    pub(super) wanted_by: u16,
    /// The opener has learnt that it is connected.
    pub(super) connected: bool,
    /// The first word has not come because a way is cut.
    pub(super) opening_held: bool,
    /// The opener's system will not try forever.
    pub(super) gives_up: bool,
}

impl Link {
    pub(super) const fn end(&self, side: Side) -> &End {
        match side {
            Side::Opener => &self.opener,
            Side::Acceptor => &self.acceptor,
        }
    }
}

impl World {
    /// Begins to connect to a host, from outside. Nothing is ever cut between a host and outside;
    /// whoever is refused finds the connection ended.
    pub fn connect_to(&mut self, host: HostId, listener: Listener) -> LinkId {
        let run = self.host(host).run;
        let link = self.insert_link(Place::Outside, (Place::Host(host), Some(run)), listener);
        let latency_us = self.latency_us();
        self.plan(latency_us, Happening::Open(link));
        link
    }

    /// Sends as much of `bytes` as the connection takes, and says how much that was. If it was
    /// not all, [`Incident::Writable`] follows.
    pub fn send(&mut self, link: LinkId, bytes: &[u8]) -> usize {
        let sent = bytes.len().min(self.room(link, Side::Opener));
        self.put(link, Side::Opener, &bytes[..sent]);
        self.end(link, Side::Opener).waits = sent < bytes.len();
        sent
    }

    /// Takes up to `bytes_max` of what has come, and says whether that is all there will be.
    pub fn receive(&mut self, link: LinkId, bytes_max: usize) -> (Vec<u8>, bool) {
        let (bytes, ended) = self.take(link, Side::Opener, bytes_max);
        let host = self.host_outside(link);
        self.note(host, "received", link.0.into(), bytes.len() as u64);
        self.trace.data(&bytes);
        (bytes, ended)
    }

    /// Says that the client sends no more.
    pub fn finish(&mut self, link: LinkId) {
        self.put_end(link, Side::Opener);
    }

    /// Breaks the connection from the client's end.
    pub fn reset(&mut self, link: LinkId) {
        let host = self.host_outside(link);
        self.note(host, "reset", link.0.into(), 0);
        self.end(link, Side::Opener).closed = true;
        self.put_reset(link, Side::Opener);
    }

    /// Breaks every connection between two hosts, as what stands between them may: both learn of
    /// it, and each takes it for the other's doing.
    pub fn reset_between(&mut self, one: HostId, other: HostId) {
        let ends = [Place::Host(one), Place::Host(other)];
        for index in 0..self.links.len() {
            let link = LinkId(index as u32);
            let places = Side::BOTH.map(|side| self.end(link, side).place);
            let is_between = ends.iter().all(|end| places.contains(end));
            if is_between && Side::BOTH.iter().all(|side| self.end(link, *side).hears()) {
                self.count("connections reset between hosts");
                for side in Side::BOTH {
                    self.lose_some(link, side);
                    self.break_off(link, side, true);
                }
            }
        }
    }

    /// Bytes that the node has read from a connection.
    #[must_use]
    pub fn read_by_node(&self, link: LinkId) -> u64 {
        let link = self.links.get(link.0 as usize);
        link.map_or(0, |link| link.acceptor.read_bytes)
    }

    /// The host that a connection from outside leads to.
    fn host_outside(&mut self, link: LinkId) -> HostId {
        match self.end(link, Side::Acceptor).place {
            Place::Host(host) => host,
            Place::Outside | Place::Nowhere => unreachable!("what is outside calls hosts"),
        }
    }

    /// A connection between `opener` and what is called, whose process is already said if the
    /// caller takes it for granted.
    pub(super) fn insert_link(
        &mut self,
        opener: Place,
        (called, run): (Place, Option<u32>),
        listener: Listener,
    ) -> LinkId {
        let capacity = self.network.buffer_bytes;
        let opener_run = match opener {
            Place::Host(host) => self.host(host).run,
            Place::Outside | Place::Nowhere => 0,
        };
        self.links.push(Link {
            opener: End::new(opener, capacity, Some(opener_run)),
            acceptor: End::new(called, capacity, run),
            listener,
            wanted_by: 0,
            connected: false,
            opening_held: false,
            gives_up: false,
        });
        LinkId((self.links.len() - 1) as u32)
    }

    pub(super) fn link(&mut self, link: LinkId) -> &mut Link {
        &mut self.links[link.0 as usize]
    }

    pub(super) fn end(&mut self, link: LinkId, side: Side) -> &mut End {
        let link = self.link(link);
        match side {
            Side::Opener => &mut link.opener,
            Side::Acceptor => &mut link.acceptor,
        }
    }

    /// How much of `bytes` goes in one segment.
    fn piece(&mut self, bytes: usize) -> usize {
        if self.network.small_segments && bytes > 1 && self.random.chance(30) {
            self.count("segments cut small");
            let most = bytes.min(1 + self.random.below(64) as usize);
            return most.max(1);
        }
        bytes.min(65_536)
    }

    pub(super) fn latency_us(&mut self) -> u64 {
        let slow =
            self.network.stall_percent > 0 && self.random.below(1000) < self.network.stall_percent;
        if slow {
            self.count("segments held up");
            return self.random.between(1_000, 400_000);
        }
        self.random.between(1, self.network.latency_us_max)
    }

    pub(super) fn arrival(&mut self) -> Time {
        let latency_us = self.latency_us();
        self.after_us(latency_us)
    }

    /// When a segment comes to this end that is sent now.
    fn arrival_to(&mut self, link: LinkId, to: Side) -> Time {
        let places = (self.end(link, to.other()).place, self.end(link, to).place);
        let slow_us = match places {
            (Place::Host(from), Place::Host(to)) => self.slow_us(from, to),
            _ => 0,
        };
        Time::from_nanos(self.arrival().as_nanos() + slow_us * 1000)
    }

    /// What the end could send now.
    pub(super) fn room(&mut self, link: LinkId, from: Side) -> usize {
        self.end(link, from.other()).inbox.room()
    }

    /// An end sends `bytes`, which fit. Only what goes to a host is cut to pieces: those outside
    /// don't mind.
    pub(super) fn put(&mut self, link: LinkId, from: Side, bytes: &[u8]) {
        let to = from.other();
        let whole = self.end(link, to).is_outside();
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = if whole {
                rest.len()
            } else {
                self.piece(rest.len())
            };
            let at = self.arrival_to(link, to);
            let inbox = &mut self.end(link, to).inbox;
            let at = inbox.send(rest[..piece].to_vec(), at);
            self.plan_at(at, Happening::Arrive(link, to));
            rest = &rest[piece..];
        }
    }

    /// An end says that it sends no more.
    fn put_end(&mut self, link: LinkId, from: Side) {
        let to = from.other();
        let at = self.arrival();
        let at = self.end(link, to).inbox.end(at);
        self.plan_at(at, Happening::Arrive(link, to));
    }

    /// An end says that it is gone. Of what it has sent some may still arrive.
    fn put_reset(&mut self, link: LinkId, from: Side) {
        let to = from.other();
        self.lose_some(link, to);
        let at = self.arrival();
        let at = self.end(link, to).inbox.end(at);
        self.end(link, to).reset_due = true;
        self.plan_at(at, Happening::Reset(link, to));
    }

    /// What is on its way to this end arrives only in part.
    fn lose_some(&mut self, link: LinkId, to: Side) {
        let in_flight = self.end(link, to).inbox.in_flight() as u64;
        let kept = self.random.below(in_flight + 1) as usize;
        self.end(link, to).inbox.truncate(kept);
        let outside = self.end(link, to).is_outside();
        if to == Side::Opener && !outside && !self.link(link).connected {
            // The answer to its first word may be among what is lost.
            self.give_up_some_time(link);
        }
    }

    /// An end reads once.
    pub(super) fn take(&mut self, link: LinkId, side: Side, bytes_max: usize) -> (Vec<u8>, bool) {
        let acknowledged = self.carries(link, side.other());
        let entry = self.end(link, side);
        let bytes = entry.inbox.read(bytes_max);
        entry.read_bytes += bytes.len() as u64;
        let ended = entry.inbox.is_at_end();
        if !acknowledged {
            entry.inbox.leave_unacknowledged(bytes.len());
        }
        if self.end(link, side.other()).waits && !bytes.is_empty() {
            let latency_us = self.latency_us();
            self.plan(latency_us, Happening::Room(link, side.other()));
        }
        (bytes, ended)
    }

    /// An end is closed by those who have it.
    pub(super) fn close(&mut self, link: LinkId, side: Side, farewell: Farewell) {
        let left_unread = self.end(link, side).close();
        let other = self.end(link, side.other());
        if other.is_outside() {
            // Nobody looks at how a client's connection ends.
            return self.put_end(link, side);
        }
        if !other.hears() {
            return;
        }
        match farewell {
            Farewell::Polite if !left_unread => self.put_end(link, side),
            Farewell::Polite | Farewell::Reset => self.put_reset(link, side),
            Farewell::Silent => {}
        }
    }

    /// A process is gone, and its ends with it: of what they had sent, some still arrives.
    pub(super) fn break_links(&mut self, host: HostId, ending: Ending) {
        let number = self.host(host).run;
        for index in 0..self.links.len() {
            let link = LinkId(index as u32);
            for side in Side::BOTH {
                if self.end(link, side).belongs_to(Run { host, number }) {
                    self.break_end(link, side, ending);
                }
            }
        }
    }

    fn break_end(&mut self, link: LinkId, side: Side, ending: Ending) {
        let outside = self.end(link, side.other()).is_outside();
        if outside || ending == Ending::PowerCut {
            self.lose_some(link, side.other());
        }
        let farewell = match ending {
            Ending::Exited => Farewell::Polite,
            Ending::Killed => Farewell::Reset,
            Ending::PowerCut => Farewell::Silent,
        };
        self.close(link, side, farewell);
    }

    /// The next segment comes to an end.
    pub(super) fn arrive(&mut self, link: LinkId, side: Side) -> Option<Incident> {
        if !self.carries(link, side) {
            self.hold(link, side);
            return None;
        }
        let entry = self.end(link, side);
        entry.inbox.arrive();
        if entry.is_outside() {
            let readable = !entry.closed && entry.inbox.is_readable();
            return readable.then_some(Incident::Readable(link));
        }
        if entry.closed {
            // Nobody reads there any more: what arrives is dropped.
            if !entry.inbox.read(usize::MAX).is_empty() {
                self.refute(link, side);
            }
            return None;
        }
        if !self.carries(link, side.other()) {
            self.begin_doubt(link, side.other());
        }
        if side == Side::Opener {
            self.note_connected(link);
        }
        self.with_seat_of(link, side, |world, process, worker, conn| {
            process.note_readable(worker, conn);
            world.wake(process, worker);
        });
        None
    }

    /// Something has come to a closed end: whoever sent it is told that nobody is there.
    fn refute(&mut self, link: LinkId, side: Side) {
        let other = self.end(link, side.other());
        if !other.is_outside() && other.hears() && !other.reset_due {
            self.put_reset(link, side);
        }
    }

    /// An end that was full may have room again.
    pub(super) fn tell_room(&mut self, link: LinkId, side: Side) -> Option<Incident> {
        if !self.carries(link, side) {
            self.end(link, side).room_held = true;
            return None;
        }
        let entry = self.end(link, side);
        let waited = std::mem::take(&mut entry.waits);
        if entry.is_outside() {
            let tell = waited && !entry.closed;
            return tell.then_some(Incident::Writable(link));
        }
        self.with_seat_of(link, side, |world, process, worker, conn| {
            process.note_writable(worker, conn);
            world.wake(process, worker);
        });
        None
    }

    /// An end learns that the other is gone.
    pub(super) fn arrive_reset(&mut self, link: LinkId, side: Side) {
        self.end(link, side).reset_due = false;
        if !self.carries(link, side) {
            return self.count("resets lost to a cut");
        }
        self.break_off(link, side, true);
    }

    /// An end breaks, by the other host if this is a `reset`, and those who have it learn of it.
    pub(super) fn break_off(&mut self, link: LinkId, side: Side, reset: bool) {
        let entry = self.end(link, side);
        let _ = entry.inbox.read(usize::MAX);
        if entry.seat.is_some() {
            return self.with_seat_of(link, side, |world, process, worker, conn| {
                process.note_broken(worker, conn, reset);
                world.wake(process, worker);
            });
        }
        if !entry.hears() {
            return;
        }
        if side == Side::Opener && !self.link(link).connected {
            return self.fail_connecting(link, reset);
        }
        // One from outside that is reset before it has been accepted stays open at the node:
        // seeds depend on that.
        let outside = self.end(link, side.other()).is_outside();
        self.end(link, side).broken = (!outside).then_some(reset);
    }

    /// The process and the worker that have an end, if there are any.
    fn with_seat_of(
        &mut self,
        link: LinkId,
        side: Side,
        act: impl FnOnce(&mut Self, &mut super::Process, u16, ConnId),
    ) {
        let entry = self.end(link, side);
        if let (Place::Host(host), Some((worker, conn))) = (entry.place, entry.seat) {
            self.with_process(host, |world, process| act(world, process, worker, conn));
        }
    }
}
