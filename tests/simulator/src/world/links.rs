//! Connections between clients and the node.
//!
//! Decides latency, the sizes of buffers, and how a connection opens, ends and breaks.
//! Refuses to know what the bytes mean.

use zufar_core::id::ConnId;
use zufar_core::time::Time;

use super::{Happening, Incident, World};
use crate::pipe::Pipe;

/// A connection, as its client names it. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u32);

pub(super) struct Link {
    pub(super) to_node: Pipe,
    pub(super) to_client: Pipe,
    /// The worker and its name for the connection, while it has one.
    pub(super) seat: Option<(u16, ConnId)>,
    run: u32,
    /// The node has no use for anything more.
    closed_by_node: bool,
    reset_by_client: bool,
    client_waits: bool,
    pub(super) node_waits: bool,
    /// Bytes that the node has read.
    read_bytes: u64,
}

impl World {
    /// Begins to connect.
    pub fn connect(&mut self) -> LinkId {
        let link = LinkId(self.links.len() as u32);
        let capacity = self.network.buffer_bytes;
        self.links.push(Link {
            to_node: Pipe::new(capacity),
            to_client: Pipe::new(capacity),
            seat: None,
            run: self.run,
            closed_by_node: false,
            reset_by_client: false,
            client_waits: false,
            node_waits: false,
            read_bytes: 0,
        });
        let latency_us = self.latency_us();
        self.plan(latency_us, Happening::Open(link));
        link
    }

    /// Sends as much of `bytes` as the connection takes, and says how much that was. If it was
    /// not all, [`Incident::Writable`] follows.
    pub fn send(&mut self, link: LinkId, bytes: &[u8]) -> usize {
        let sent = bytes.len().min(self.link(link).to_node.room());
        let mut rest = &bytes[..sent];
        while !rest.is_empty() {
            let piece = self.piece(rest.len());
            let at = self.arrival();
            let at = self.link(link).to_node.send(rest[..piece].to_vec(), at);
            self.plan_at(at, Happening::ArriveAtNode(link));
            rest = &rest[piece..];
        }
        self.link(link).client_waits = sent < bytes.len();
        sent
    }

    /// Takes up to `bytes_max` of what has come, and says whether that is all there will be.
    pub fn receive(&mut self, link: LinkId, bytes_max: usize) -> (Vec<u8>, bool) {
        let entry = self.link(link);
        let bytes = entry.to_client.read(bytes_max);
        let ended = entry.to_client.is_at_end();
        if entry.node_waits && !bytes.is_empty() {
            let latency_us = self.latency_us();
            self.plan(latency_us, Happening::RoomAtNode(link));
        }
        let time = self.clock.time();
        self.trace
            .note(time, "received", link.0.into(), bytes.len() as u64);
        self.trace.data(&bytes);
        (bytes, ended)
    }

    /// Says that the client sends no more.
    pub fn finish(&mut self, link: LinkId) {
        let at = self.arrival();
        let at = self.link(link).to_node.end(at);
        self.plan_at(at, Happening::ArriveAtNode(link));
    }

    /// Breaks the connection from the client's end.
    pub fn reset(&mut self, link: LinkId) {
        let time = self.clock.time();
        self.trace.note(time, "reset", link.0.into(), 0);
        let in_flight = self.link(link).to_node.in_flight() as u64;
        let kept = self.random.below(in_flight + 1) as usize;
        let entry = self.link(link);
        entry.reset_by_client = true;
        entry.to_node.truncate(kept);
        let at = self.arrival();
        let at = self.link(link).to_node.end(at);
        self.plan_at(at, Happening::ResetAtNode(link));
    }

    /// Bytes that the node has read from a connection.
    #[must_use]
    pub fn read_by_node(&self, link: LinkId) -> u64 {
        let link = self.links.get(link.0 as usize);
        link.map_or(0, |link| link.read_bytes)
    }

    pub(super) fn link(&mut self, link: LinkId) -> &mut Link {
        &mut self.links[link.0 as usize]
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
        Time::from_nanos(self.clock.time().as_nanos() + latency_us * 1000)
    }

    pub(super) fn open(&mut self, link: LinkId) -> Option<Incident> {
        let (run, reset) = (self.run, self.link(link).reset_by_client);
        if reset {
            return None;
        }
        self.link(link).run = run;
        let accepted = self.with_node(|world, node| {
            let worker = (world.next_worker % usize::from(node.workers())) as u16;
            world.next_worker += 1;
            node.tell_accepted(worker, link);
            world.wake(node, worker);
        });
        if accepted.is_none() {
            let entry = self.link(link);
            entry.closed_by_node = true;
            entry.to_client.end(Time::ZERO);
            entry.to_client.arrive();
            return Some(Incident::Readable(link));
        }
        Some(Incident::Opened(link))
    }

    pub(super) fn arrive_at_client(&mut self, link: LinkId) -> Option<Incident> {
        let entry = self.link(link);
        entry.to_client.arrive();
        (!entry.reset_by_client && entry.to_client.is_readable())
            .then_some(Incident::Readable(link))
    }

    pub(super) fn room_at_client(&mut self, link: LinkId) -> Option<Incident> {
        let entry = self.link(link);
        let tell = std::mem::take(&mut entry.client_waits) && !entry.reset_by_client;
        tell.then_some(Incident::Writable(link))
    }

    pub(super) fn arrive_at_node(&mut self, link: LinkId) {
        let entry = self.link(link);
        entry.to_node.arrive();
        if entry.closed_by_node {
            // Nobody reads there any more: what arrives is dropped.
            let _ = entry.to_node.read(usize::MAX);
            return;
        }
        let seat = entry.seat;
        if let Some((worker, conn)) = seat {
            self.with_node(|world, node| {
                node.note_readable(worker, conn);
                world.wake(node, worker);
            });
        }
    }

    pub(super) fn reset_at_node(&mut self, link: LinkId) {
        let entry = self.link(link);
        let _ = entry.to_node.read(usize::MAX);
        let seat = entry.seat;
        if let Some((worker, conn)) = seat {
            self.with_node(|world, node| {
                node.note_broken(worker, conn);
                world.wake(node, worker);
            });
        }
    }

    pub(super) fn room_at_node(&mut self, link: LinkId) {
        let entry = self.link(link);
        entry.node_waits = false;
        let seat = entry.seat;
        if let Some((worker, conn)) = seat {
            self.with_node(|world, node| {
                node.note_writable(worker, conn);
                world.wake(node, worker);
            });
        }
    }

    /// The node reads once from a connection.
    pub(super) fn read_at_node(&mut self, link: LinkId, bytes_max: usize) -> (Vec<u8>, bool) {
        let entry = self.link(link);
        let bytes = entry.to_node.read(bytes_max);
        entry.read_bytes += bytes.len() as u64;
        let ended = entry.to_node.is_at_end();
        if entry.client_waits && !bytes.is_empty() {
            let latency_us = self.latency_us();
            self.plan(latency_us, Happening::RoomAtClient(link));
        }
        (bytes, ended)
    }

    /// The node writes `bytes`, which fit.
    pub(super) fn write_at_node(&mut self, link: LinkId, bytes: Vec<u8>) {
        let at = self.arrival();
        let at = self.link(link).to_client.send(bytes, at);
        self.plan_at(at, Happening::ArriveAtClient(link));
    }

    /// The node closes a connection.
    pub(super) fn close_at_node(&mut self, link: LinkId) {
        let at = self.arrival();
        let entry = self.link(link);
        entry.closed_by_node = true;
        entry.seat = None;
        let _ = entry.to_node.read(usize::MAX);
        let at = entry.to_client.end(at);
        self.plan_at(at, Happening::ArriveAtClient(link));
    }

    /// The node is gone: of what it had sent, some still arrives.
    pub(super) fn break_links(&mut self) {
        for index in 0..self.links.len() {
            let link = LinkId(index as u32);
            let run = self.run;
            let entry = self.link(link);
            if entry.closed_by_node || entry.run != run {
                continue;
            }
            let in_flight = entry.to_client.in_flight() as u64;
            let kept = self.random.below(in_flight + 1) as usize;
            self.link(link).to_client.truncate(kept);
            self.close_at_node(link);
        }
    }
}
