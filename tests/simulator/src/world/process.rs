//! A process: its machines, the sockets as they see them, and what waits for their turns.
//!
//! Decides nothing that a driver does not: it is one, and keeps the contract that
//! [`Machine`] and the drivers' documentation give. Refuses to know what machines decide.

use std::any::Any;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use zufar_core::disk::{Completion, Recovery};
use zufar_core::id::{ConnId, Ticket, WorkerId};
use zufar_core::machine::{Actions, Listener, Machine};
use zufar_core::message::Message;
use zufar_core::settings::Settings;
use zufar_core::time::{Now, Time};
use zufar_core::worker::Worker;

use super::jobs::Jobs;
use super::links::{LinkId, Side};
use super::{HostId, Run};
use crate::ModelDisk;

/// A machine that a host can run, and that can be looked at from outside.
pub trait Runnable: Machine + Any {}

impl<M: Machine + Any> Runnable for M {}

/// What a process runs.
pub struct Program {
    /// One machine for each worker, at least one.
    pub machines: Vec<Box<dyn Runnable>>,
    /// Whether they have a disk.
    pub disk: bool,
}

/// What is known when a process is started.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// Where.
    pub host: HostId,
    /// Counts the processes of this host, from 1.
    pub run: u32,
    /// When.
    pub now: Now,
    /// What earlier processes have left.
    pub disk: &'a ModelDisk,
}

impl Program {
    /// A node that starts from what `disk` has.
    #[must_use]
    pub fn node(settings: Settings, disk: &ModelDisk) -> Self {
        let has_disk = settings.disk.is_some();
        let recovery = if has_disk {
            disk.recovery()
        } else {
            Recovery::default()
        };
        let settings = Arc::new(settings);
        let worker = |id| -> Box<dyn Runnable> {
            let settings = Arc::clone(&settings);
            Box::new(Worker::new(settings, WorkerId(id), &recovery))
        };
        Self {
            machines: (0..settings.workers).map(worker).collect(),
            disk: has_disk,
        }
    }
}

pub(super) enum Mail {
    Accepted(LinkId, Listener),
    Connected(LinkId),
    ConnectFailed {
        link: LinkId,
        refused: bool,
    },
    Resolved {
        ticket: Ticket,
        addresses: Result<Vec<SocketAddr>, String>,
    },
    Message {
        from: WorkerId,
        message: Message,
    },
    Disk(Completion),
    Host,
    Stop,
}

pub(super) struct Socket {
    pub(super) link: LinkId,
    pub(super) side: Side,
    pub(super) id: ConnId,
    /// It is a client's, and counts as one.
    pub(super) counts: bool,
    pub(super) paused: bool,
    pub(super) finished: bool,
    /// It is broken, by the other host if this is a reset.
    pub(super) broken: Option<bool>,
    pub(super) queued: bool,
    pub(super) blocked: bool,
    pub(super) written_turn: u64,
}

/// One worker and what its thread remembers.
pub(super) struct Seat {
    pub(super) run: Run,
    pub(super) worker: u16,
    pub(super) machine: Box<dyn Runnable>,
    pub(super) actions: Actions,
    pub(super) mail: VecDeque<Mail>,
    /// What the machine has asked for and not heard of.
    pub(super) connecting: Vec<(Ticket, LinkId)>,
    sockets: Vec<Option<Socket>>,
    generations: Vec<u32>,
    free: Vec<u32>,
    pub(super) ready: Vec<ConnId>,
    pub(super) turn: u64,
    pub(super) turn_due: bool,
    /// By the clock of the host.
    pub(super) deadline_at: Option<Time>,
    pub(super) stopping: bool,
    pub(super) stopped: bool,
}

impl Seat {
    fn new(run: Run, worker: u16, machine: Box<dyn Runnable>) -> Self {
        Self {
            run,
            worker,
            machine,
            actions: Actions::default(),
            mail: VecDeque::new(),
            connecting: Vec::new(),
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

    pub(super) fn find(&mut self, id: ConnId) -> Option<&mut Socket> {
        let socket = self.sockets.get_mut(id.slot as usize)?.as_mut()?;
        (socket.id == id).then_some(socket)
    }

    pub(super) fn insert(&mut self, link: LinkId, side: Side, counts: bool) -> ConnId {
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
            side,
            id,
            counts,
            paused: false,
            finished: false,
            broken: None,
            queued: false,
            blocked: false,
            written_turn: 0,
        });
        id
    }

    pub(super) fn remove(&mut self, id: ConnId) {
        self.sockets[id.slot as usize] = None;
        self.generations[id.slot as usize] += 1;
        self.free.push(id.slot);
    }

    pub(super) fn queue(&mut self, id: ConnId) {
        if let Some(socket) = self.find(id)
            && !socket.queued
        {
            socket.queued = true;
            self.ready.push(id);
        }
    }

    /// Connections of clients.
    pub(super) fn open(&self) -> u32 {
        let open = self.sockets.iter().flatten();
        open.filter(|socket| socket.counts).count() as u32
    }

    /// The ticket for which `link` was opened, if it is still wanted.
    pub(super) fn take_ticket(&mut self, link: LinkId) -> Option<Ticket> {
        let mut all = self.connecting.iter();
        let at = all.position(|(_, wanted)| *wanted == link)?;
        Some(self.connecting.swap_remove(at).0)
    }

    /// The connection that was asked for by `ticket`, if it is still wanted.
    pub(super) fn give_up(&mut self, ticket: Ticket) -> Option<LinkId> {
        self.actions.connect.retain(|(wanted, _)| *wanted != ticket);
        let mut all = self.connecting.iter();
        let at = all.position(|(wanted, _)| *wanted == ticket)?;
        Some(self.connecting.swap_remove(at).1)
    }
}

/// One process.
pub(super) struct Process {
    pub(super) run: Run,
    pub(super) seats: Vec<Seat>,
    pub(super) jobs: Jobs,
    /// What has come to its socket for datagrams.
    pub(super) datagrams: VecDeque<(SocketAddr, Box<[u8]>)>,
    /// Names that are looked up.
    pub(super) resolving: usize,
}

impl Process {
    pub(super) fn new(run: Run, program: Program) -> Self {
        assert!(!program.machines.is_empty(), "a process has a worker");
        let machines = program.machines.into_iter().enumerate();
        let seat = |(worker, machine)| Seat::new(run, worker as u16, machine);
        Self {
            run,
            seats: machines.map(seat).collect(),
            jobs: Jobs::new(program.disk),
            datagrams: VecDeque::new(),
            resolving: 0,
        }
    }

    pub(super) fn workers(&self) -> u16 {
        self.seats.len() as u16
    }

    pub(super) fn seat(&mut self, worker: u16) -> &mut Seat {
        &mut self.seats[usize::from(worker)]
    }

    pub(super) fn machine<M: Runnable>(&self, worker: u16) -> Option<&M> {
        let machine: &dyn Any = &*self.seats.get(usize::from(worker))?.machine;
        machine.downcast_ref()
    }

    pub(super) fn machine_mut<M: Runnable>(&mut self, worker: u16) -> Option<&mut M> {
        let machine: &mut dyn Any = &mut *self.seats.get_mut(usize::from(worker))?.machine;
        machine.downcast_mut()
    }

    /// Whether somebody who connects is accepted.
    pub(super) fn listens(&self) -> bool {
        !self.seats[0].stopping
    }

    pub(super) fn tell(&mut self, worker: u16, mail: Mail) {
        self.seat(worker).mail.push_back(mail);
    }

    pub(super) fn tell_stop(&mut self, worker: u16) {
        self.tell(worker, Mail::Stop);
    }

    pub(super) fn note_readable(&mut self, worker: u16, id: ConnId) {
        self.seat(worker).queue(id);
    }

    pub(super) fn note_broken(&mut self, worker: u16, id: ConnId, reset: bool) {
        let seat = self.seat(worker);
        if let Some(socket) = seat.find(id) {
            socket.broken = Some(reset);
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
}
