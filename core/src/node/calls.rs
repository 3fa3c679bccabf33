//! Connections that the node opens for a moment: to exchange states, to ask, to see who is there.
//!
//! Decides how many there are and how long one may take. Refuses to know what is said on them.

use alloc::collections::BTreeMap;
use core::net::SocketAddr;

use crate::id::{ConnId, Ticket};
use crate::machine::Actions;
use crate::member::NodeId;
use crate::membership::{Evidence, Input};
use crate::protocol::peer::FlushStep;
use crate::time::{Now, Time};

use super::flushing::FLUSH_MS_MAX;
use super::survey::SURVEY_MS_MAX;
use super::{NODE_TICKET_SLOT, Node, NodeOut, Place, Say, Then};
use crate::id::WorkerId;

/// Calls under way, at most. A wish beyond is not granted: membership has it again if it matters.
const CALLS_MAX: usize = 64;
/// How long a call may take, from its beginning, in milliseconds.
const CALL_MS_MAX: u64 = 3000;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Both say all that they know.
    Exchange { address: SocketAddr },
    /// Whether a run is dead for the other node, too.
    Ask { about: NodeId },
    /// Whether anybody listens there.
    Reconnect { node: NodeId },
    /// What the node says of itself.
    Figures { node: NodeId },
    /// It takes a step of a flush of all nodes.
    Flush {
        node: NodeId,
        number: u64,
        step: FlushStep,
    },
}

impl Call {
    /// How long it may take, in milliseconds.
    const fn ms_max(self) -> u64 {
        match self {
            Self::Figures { .. } => SURVEY_MS_MAX,
            Self::Flush { .. } => FLUSH_MS_MAX,
            Self::Exchange { .. } | Self::Ask { .. } | Self::Reconnect { .. } => CALL_MS_MAX,
        }
    }
}

/// A call that has no connection yet, or has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    Connecting(Ticket),
    Connected(ConnId),
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    call: Call,
    by: Time,
    conn: Option<ConnId>,
}

/// The calls under way.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// By the generation of their tickets.
    under_way: BTreeMap<u32, UnderWay>,
    next: u32,
}

impl Calls {
    /// Begins a call, unless the same one is under way or there is no room.
    pub(super) fn begin(&mut self, now: Time, call: Call) -> Option<Ticket> {
        if self.has(call) || self.under_way.len() >= CALLS_MAX {
            return None;
        }
        let generation = self.next;
        self.next = self.next.wrapping_add(1);
        let by = now.plus_millis(call.ms_max());
        let conn = None;
        self.under_way
            .insert(generation, UnderWay { call, by, conn });
        let slot = NODE_TICKET_SLOT;
        Some(Ticket { slot, generation })
    }

    /// The connection of a call is there; false if nobody wants it any more.
    pub(super) fn connected(&mut self, ticket: Ticket, conn: ConnId) -> bool {
        match self.under_way.get_mut(&ticket.generation) {
            Some(it) => {
                it.conn = Some(conn);
                true
            }
            None => false,
        }
    }

    /// The connection of a call has not come about.
    pub(super) fn failed(&mut self, ticket: Ticket) -> Option<Call> {
        let it = self.under_way.remove(&ticket.generation);
        it.map(|it| it.call)
    }

    /// Whether this call is under way.
    pub(super) fn has(&self, call: Call) -> bool {
        self.under_way.values().any(|it| it.call == call)
    }

    /// What a connection is for.
    pub(super) fn of(&self, conn: ConnId) -> Option<Call> {
        let mut calls = self.under_way.values();
        calls.find(|it| it.conn == Some(conn)).map(|it| it.call)
    }

    /// A connection is done with, or gone.
    pub(super) fn remove(&mut self, conn: ConnId) {
        self.under_way.retain(|_, it| it.conn != Some(conn));
    }

    /// When the next call is overdue.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.under_way.values().map(|it| it.by).min()
    }

    /// Takes a call that has taken too long.
    pub(super) fn next_overdue(&mut self, now: Time) -> Option<Overdue> {
        let mut calls = self.under_way.iter();
        let (generation, it) = calls.find(|(_, it)| it.by <= now)?;
        let (generation, conn) = (*generation, it.conn);
        self.under_way.remove(&generation);
        let slot = NODE_TICKET_SLOT;
        Some(match conn {
            Some(conn) => Overdue::Connected(conn),
            None => Overdue::Connecting(Ticket { slot, generation }),
        })
    }
}

impl Node {
    /// A connection that this node asked for is there: it is to begin with a hello, which is
    /// said. False if nobody wants it any more: it is to be closed.
    pub(crate) fn handle_connected(
        &mut self,
        ticket: Ticket,
        conn: ConnId,
        out: &mut NodeOut<'_>,
    ) -> bool {
        if !self.calls.connected(ticket, conn) {
            return false;
        }
        let mut frames = alloc::vec::Vec::new();
        self.push_hello(&mut frames);
        let worker = WorkerId(0);
        out.says.push(Say {
            place: Place { worker, conn },
            frames,
            then: Then::Nothing,
        });
        true
    }

    /// A connection that this node asked for has not come about.
    pub(crate) fn handle_connect_failed(
        &mut self,
        now: Now,
        ticket: Ticket,
        refused: bool,
        out: &mut NodeOut<'_>,
    ) {
        match self.calls.failed(ticket) {
            Some(Call::Reconnect { node }) if refused => {
                let evidence = Evidence::Refused;
                self.tell(now, Input::Evidence { node, evidence }, out);
            }
            _ => {}
        }
        self.drive_survey(now.time, out);
        self.drive_flush(now, out);
    }

    /// Ends a call.
    pub(super) fn end_call(&mut self, call: impl Into<Overdue>, out: &mut NodeOut<'_>) {
        match call.into() {
            Overdue::Connecting(ticket) => give_up(ticket, out.actions),
            Overdue::Connected(conn) => {
                self.calls.remove(conn);
                let worker = WorkerId(0);
                out.says.push(Say {
                    place: Place { worker, conn },
                    frames: alloc::vec::Vec::new(),
                    then: Then::Finish,
                });
            }
        }
    }
}

impl From<ConnId> for Overdue {
    fn from(conn: ConnId) -> Self {
        Self::Connected(conn)
    }
}

fn give_up(ticket: Ticket, actions: &mut Actions) {
    actions.give_up.push(ticket);
}
