//! The core's surface: one trait, events in, actions out.
//!
//! Decides what a driver may tell a machine and what a machine may ask of a driver.
//! Refuses to know sockets, executors, requests and items.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::datagrams::Datagrams;
use crate::disk::{Completion, Request};
use crate::id::{ConnId, Ticket, WorkerId};
use crate::message::Message;
use crate::notice::Notice;
use crate::time::{Now, Time};

/// What one read takes at most, in bytes.
pub const READ_BYTES_MAX: usize = 64 * 1024;
/// Slices that one vectored write takes at most.
pub const SLICES_MAX: usize = 64;
/// Names that a process has under way at most, those that wait included. More fail at once.
pub const RESOLVES_MAX: usize = 64;
/// Addresses that one name brings at most; the rest is left out.
pub const ADDRESSES_MAX: usize = 1024;

/// A sans-IO machine that a driver can run: a worker, or whatever else speaks over connections.
///
/// A driver's turn: wait until something is ready or [`next_deadline`](Self::next_deadline) has
/// come; `handle` completions and messages; read each ready connection once and `handle` what
/// came; the same with datagrams that wait; when the deadline has passed, `handle`
/// [`Event::Deadline`]; carry out [`Actions`]; for each
/// connection of [`Actions::write`] call [`unsent`](Self::unsent), write once, and call
/// [`sent`](Self::sent). After that it asks for the deadline again: work that waited for the
/// output to drain shows as a deadline already due.
///
/// What a machine may rely on, under every driver:
///
/// * Each connection is read at most once and written at most once a turn, each with one
///   system call: [`READ_BYTES_MAX`] bytes in, [`SLICES_MAX`] slices out.
/// * [`Actions::pause`], `resume`, `close` and `give_up` are carried out right after the `handle`
///   that asked for them, everything else at the end of the turn. One `handle` must not both
///   pause and resume one connection: the two lists have no order between them.
/// * A connection begins with `Accepted` or `Connected`, under an id that was never used before;
///   from there on both kinds are the same. Nothing is read before the machine has heard of it,
///   however early the other end speaks.
/// * `Finished` comes once, and no `Received` after it; the machine is then to close.
/// * `Closed` comes when the connection broke. After a close that the machine asked for it does
///   not come, nor does anything else about that connection. A connection that still has
///   something unsent when it is closed gets one last write.
/// * Each ticket of [`Actions::connect`] is answered once, in a later turn, with `Connected` or
///   `ConnectFailed`, and one that has been given up is not answered at all. How long to wait is
///   the machine's to say, by giving up: a driver has no bound of its own, and the system's is
///   minutes. The machine bounds how many it has under way.
/// * Each ticket of [`Actions::resolve`] is answered once, in a later turn, and in any order. It
///   can't be given up, and may take the system half a minute.
/// * Tickets are the machine's own; one for connecting and one for resolving may be equal. The
///   driver hands them back and looks into them only to find what is given up.
/// * Datagrams come to worker 0 only and leave from there only, in a process that has been
///   launched with a socket for them. At most [`DATAGRAMS_PER_TURN`] come a turn. Any may be lost,
///   doubled or out of order; they are whole, may be empty, and anybody may have sent them. One
///   that the system does not take at once is given up and counted
///   ([`HostFigures::datagrams_lost`]).
/// * Addresses are IPv4 whenever they can be: a mapped one (`::ffff:192.0.2.1`) never shows up.
/// * An id that is dead is ignored wherever it shows up in the actions, as is a ticket to give up
///   that is not under way.
/// * After `Stop` there is no `Accepted`. All else goes on until the machine says that it has
///   `stopped`: it can still connect, resolve and send. What is under way then ends unheard.
///
/// [`DATAGRAMS_PER_TURN`]: crate::datagrams::DATAGRAMS_PER_TURN
pub trait Machine {
    /// Takes one event and adds what is to be done to `actions`.
    fn handle(&mut self, now: Now, event: Event<'_>, actions: &mut Actions);

    /// When [`Event::Deadline`] is due, if ever. A late or spurious one is harmless. O(1).
    fn next_deadline(&self) -> Option<Time>;

    /// Fills `slices` with what is to be written to `conn`, in order, and returns how many it
    /// filled. 0 for a connection that is gone or has nothing to say.
    fn unsent<'a>(&'a self, conn: ConnId, slices: &mut [&'a [u8]]) -> usize;

    /// Takes note that the first `bytes` of [`unsent`](Self::unsent) have been written.
    fn sent(&mut self, conn: ConnId, bytes: usize);
}

/// What a connection was accepted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Memcached clients.
    Client,
    /// Other nodes, and the `zufar` commands that ask one.
    Peer,
}

/// Something that has happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A connection has been accepted and handed to this worker.
    Accepted {
        /// Its id, never used before.
        conn: ConnId,
        /// What it was accepted for.
        listener: Listener,
        /// The other end as memcached writes it, such as `tcp:127.0.0.1:40000` or `unix`.
        address: &'a str,
        /// Connections of clients that the whole process has open: this one included, if it is
        /// one. Those of peers and those to peers don't count.
        open: u32,
    },
    /// A connection that this machine asked for is there.
    Connected {
        /// What was asked for.
        ticket: Ticket,
        /// The connection's id, never used before.
        conn: ConnId,
    },
    /// A connection that this machine asked for has not come about.
    ConnectFailed {
        /// What was asked for.
        ticket: Ticket,
        /// The other host says that nobody listens there: evidence, though no proof, that the
        /// process is gone. (A firewall may say the same.) Otherwise nothing is known of it: no
        /// answer, no route, no descriptor left here.
        refused: bool,
    },
    /// One read has returned these bytes, at least one.
    Received {
        /// The connection.
        conn: ConnId,
        /// All that the read returned.
        bytes: &'a [u8],
    },
    /// The peer will send no more. What it has asked for is still answered. A process that is
    /// killed ends its connections so, too, where it had read all that came.
    Finished {
        /// The connection.
        conn: ConnId,
    },
    /// The connection is broken, or the driver has closed it; its id is dead.
    Closed {
        /// The connection.
        conn: ConnId,
        /// The other host says that this connection does not exist there: evidence that the
        /// process is gone, or has closed it with something unread. Otherwise nothing is known
        /// of it: time ran out, or the network says that it leads nowhere.
        reset: bool,
    },
    /// A datagram has come.
    Datagram {
        /// Whoever sent it claims this address.
        from: SocketAddr,
        /// All of it. It may be empty.
        bytes: &'a [u8],
    },
    /// A name that this machine asked for has been looked up.
    Resolved {
        /// What was asked for.
        ticket: Ticket,
        /// Its addresses, 1 to [`ADDRESSES_MAX`], in the order in which to try them; or why there
        /// is none, for the operator.
        addresses: Result<&'a [SocketAddr], &'a str>,
    },
    /// The time of `next_deadline` has come.
    Deadline,
    /// The disk has answered one of this worker's requests.
    Disk(Completion),
    /// Another worker has sent a message.
    Message {
        /// The sender.
        from: WorkerId,
        /// What it says.
        message: Message,
    },
    /// What [`Actions::host_wanted`] asked for.
    Host(HostFigures),
    /// The process has been told to stop: finish, write, sync.
    Stop,
}

/// Figures that only the host knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostFigures {
    /// CPU time that the process has spent in user mode, in microseconds.
    pub user_us: u64,
    /// CPU time that the kernel has spent for it, in microseconds.
    pub system_us: u64,
    /// Connections of clients that the process has open.
    pub open_connections: u32,
    /// Datagrams that the system did not take, since the process's start. What the network has
    /// lost is not known.
    pub datagrams_lost: u64,
}

/// What a machine wants done. The driver carries everything out and then calls
/// [`clear`](Self::clear); the queues keep their memory.
#[derive(Debug, Default)]
pub struct Actions {
    /// Connections with something unsent. May name one twice.
    pub write: Vec<ConnId>,
    /// Connections to read no further, until resumed. Input that is ready stays remembered.
    pub pause: Vec<ConnId>,
    /// Paused connections to read again.
    pub resume: Vec<ConnId>,
    /// Connections to close now; their unsent bytes have been written or are given up.
    pub close: Vec<ConnId>,
    /// Connections to open. Each try has a ticket of its own.
    pub connect: Vec<(Ticket, SocketAddr)>,
    /// Tickets of `connect` to forget about; what has come of them so far is closed.
    pub give_up: Vec<Ticket>,
    /// Datagrams to send.
    pub datagrams: Datagrams,
    /// Names to look up, as `host:port`, with the brackets of an IPv6 address.
    pub resolve: Vec<(Ticket, String)>,
    /// Requests to the disk.
    pub disk: Vec<Request>,
    /// Messages to other workers. Their order between two workers is kept.
    pub messages: Vec<(WorkerId, Message)>,
    /// Things that the operator should read.
    pub notices: Vec<Notice>,
    /// The machine wants [`Event::Host`].
    pub host_wanted: bool,
    /// The process shall stop, as if it had been told to from outside.
    pub stop_wanted: bool,
    /// All is written and synced, or given up as hopeless: this machine needs no more events.
    pub stopped: bool,
}

impl Actions {
    /// Empties all queues and keeps their memory.
    pub fn clear(&mut self) {
        self.write.clear();
        self.pause.clear();
        self.resume.clear();
        self.close.clear();
        self.connect.clear();
        self.give_up.clear();
        self.datagrams.clear();
        self.resolve.clear();
        self.disk.clear();
        self.messages.clear();
        self.notices.clear();
        self.host_wanted = false;
        self.stop_wanted = false;
        self.stopped = false;
    }
}
