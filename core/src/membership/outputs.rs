//! What goes into the membership machine, and what comes out of it.
//!
//! Decides the forms. Refuses to know what leads to them.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::hello::Formation;
use crate::disk::Span;
use crate::layout::{Health, LayoutState};
use crate::member::{Guid, NodeId};
use crate::notice::Notice;
use crate::protocol::peer::{DeathVerdict, Reason};

/// Something that has happened to this node, or that it has been told.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A datagram has come, and has been opened: its sender knows the secret.
    Datagram {
        /// Where it came from.
        from: SocketAddr,
        /// What it says.
        bytes: &'a [u8],
    },
    /// The time of [`Membership::next_deadline`](super::Membership::next_deadline) has come.
    Deadline,
    /// Where other nodes may be found: `--join`, resolved. Takes the place of what was there.
    Seeds(&'a [SocketAddr]),
    /// A part of another node's state has come over a stream, after a hello that both agreed to.
    State {
        /// The cluster that both have agreed to be of: [`Met::formation`](super::Met).
        formation: Option<Formation>,
        /// Records, as a state request or reply has them.
        records: &'a [u8],
    },
    /// The other end of a stream that we have opened refuses us.
    Refused {
        /// Whom we have asked.
        from: SocketAddr,
        /// Why, for programs.
        reason: Reason,
        /// Why, for people.
        text: &'a str,
    },
    /// Something was learnt about a node by connecting to it.
    Evidence {
        /// The run that the connection was to.
        node: NodeId,
        /// What was learnt.
        evidence: Evidence,
    },
    /// Another node asks whether a run is dead for us, too. It gets one answer, in
    /// [`Outputs::answers`].
    Asked {
        /// Whom the answer is for, in the caller's own terms.
        asker: u64,
        /// The run.
        about: NodeId,
    },
    /// Another node has answered that question.
    Answered {
        /// The run.
        about: NodeId,
        /// What it has found.
        verdict: DeathVerdict,
    },
    /// How this node fares has changed.
    Health(Health),
    /// This node's place in the layout.
    Place {
        /// Its state.
        state: LayoutState,
        /// Its share, relative to the others'.
        weight: u32,
        /// Where it stands, at most [`RACK_BYTES_MAX`](crate::layout::RACK_BYTES_MAX) bytes.
        rack: &'a str,
    },
    /// The operator, or the rest of the cluster, takes a node out of the layout.
    Remove(Guid),
    /// This run goes by a new number, which is on disk: what
    /// [`Event::GenerationWanted`] has asked for.
    Generation(u64),
    /// The process is about to stop: the others shall not have to find out.
    Leave,
}

/// What connecting to a node has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A connection that was open has been reset, or closed without a word.
    Reset,
    /// Its address refuses connections: nobody listens there.
    Refused,
    /// It has accepted a connection and said hello under this generation.
    Connected,
}

/// Something that the rest of this node should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A node has been heard of for the first time. [`Event::Up`] or [`Event::Down`] follows.
    Appeared(NodeId),
    /// It is up, or up again: same run, same memory.
    Up(NodeId),
    /// It does not answer. It is to be treated as up until it is down.
    Suspected(NodeId),
    /// It was suspected, and has shown that it lives.
    Cleared(NodeId),
    /// It is down: dead, cut off, or stopped.
    Down(NodeId),
    /// Another run of the node has taken over from one that was known: what that one had in
    /// memory is lost. If it was down [`Event::Up`] follows; if it was up, it still is.
    Restarted {
        /// The run that was known.
        before: NodeId,
        /// The run that is.
        after: NodeId,
    },
    /// A node's descriptor is new, or newer.
    Described(Guid),
    /// The layout has changed, and is to be kept on disk.
    LayoutChanged,
    /// This node belongs to this cluster from now on. It is to be kept on disk before the node
    /// takes any data.
    Formed(Formation),
    /// This node may serve.
    Serving {
        /// No other node has been found.
        alone: bool,
    },
    /// Others know a run of this node of a higher generation than its own, so they do not listen
    /// to it. Answer with [`Input::Generation`] above this one, once it is on disk.
    GenerationWanted {
        /// The generation that they know.
        known: u64,
    },
    /// Another live node has this node's name and keeps it. This machine says nothing any more,
    /// and the process should end.
    NameLost,
}

/// Something that this node would like to have done over streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Say hello to whoever listens there, send the whole state, and hand over the one that comes
    /// back. One that is under way already need not be begun again.
    Exchange {
        /// Where.
        address: SocketAddr,
    },
    /// Ask a node whether a run of another one is dead for it, too.
    Ask {
        /// Whom.
        guid: Guid,
        /// Where it listens.
        address: SocketAddr,
        /// About which run.
        about: NodeId,
    },
    /// Connect anew to a node and say what came of it, as [`Input::Evidence`].
    Reconnect {
        /// The run.
        node: NodeId,
        /// Where it listens.
        address: SocketAddr,
    },
}

/// What membership wants done. The caller carries everything out and then calls
/// [`clear`](Self::clear); the queues keep their memory.
#[derive(Debug, Default)]
pub struct Outputs {
    pub(super) arena: Vec<u8>,
    pub(super) datagrams: Vec<(SocketAddr, Span)>,
    /// What has happened, in order.
    pub events: Vec<Event>,
    /// What is to be done over streams.
    pub wishes: Vec<Wish>,
    /// Answers to [`Input::Asked`]: for whom, about which run, what.
    pub answers: Vec<(u64, NodeId, DeathVerdict)>,
    /// What the operator should read.
    pub notices: Vec<Notice>,
}

impl Outputs {
    /// Datagrams to be sealed and sent, in order.
    pub fn datagrams(&self) -> impl ExactSizeIterator<Item = (SocketAddr, &[u8])> {
        let datagrams = self.datagrams.iter();
        datagrams.map(|(to, span)| (*to, span.of(&self.arena)))
    }

    /// Empties all queues and keeps their memory.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.datagrams.clear();
        self.events.clear();
        self.wishes.clear();
        self.answers.clear();
        self.notices.clear();
    }

    /// Ends the datagram that begins at `start` of the arena.
    pub(super) fn end_datagram(&mut self, to: SocketAddr, start: usize) {
        let cut = |at: usize| u32::try_from(at).expect("a turn's datagrams stay below 4 GiB");
        let span = Span {
            start: cut(start),
            end: cut(self.arena.len()),
        };
        self.datagrams.push((to, span));
    }

    pub(super) fn exchange(&mut self, address: SocketAddr) {
        let wish = Wish::Exchange { address };
        if !self.wishes.contains(&wish) {
            self.wishes.push(wish);
        }
    }

    pub(super) fn notice(
        &mut self,
        severity: crate::notice::Severity,
        event: &'static str,
        text: String,
    ) {
        self.notices.push(Notice {
            severity,
            event,
            text,
        });
    }
}

/// What membership has counted since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams taken in.
    pub datagrams: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Datagrams and records that are malformed or longer than allowed.
    pub malformed: u64,
    /// Datagrams and states of another cluster.
    pub strangers: u64,
    /// Datagrams from a node of our own name.
    pub own_name: u64,
    /// Nodes and questions that were turned away because there is no room for more.
    pub no_room: u64,
    /// Times that this process did not run for a while.
    pub stalls: u64,
    /// Times that others took this node for dead and it has come back.
    pub renewals: u64,
    /// Probes that were not answered.
    pub probes_failed: u64,
    /// Nodes declared down on the evidence of connections.
    pub fast_deaths: u64,
    /// Nodes that were refused, or have refused us.
    pub refusals: u64,
    /// Errors that foca reports about how it is driven. Always 0.
    pub faults: u64,
}
