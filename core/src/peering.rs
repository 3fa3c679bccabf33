//! Connections of one worker to other nodes and to commands: protected, framed, bounded.
//!
//! Decides how frames become bytes on a connection and bytes become frames, when a connection has
//! taken too long to begin, and when its reader is too slow. Refuses to know what frames say,
//! who may say what, and which node is behind a connection: its parent remembers that here.

#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::id::ConnId;
use crate::link::{Incoming, Outgoing};
use crate::secure::{Credentials, Entropy, HANDSHAKE_MS_MAX, Refusal, Stream};
use crate::time::Time;

/// Bytes that lie ready for the connection; frames beyond wait in their own queue, where large
/// values take turns.
const READY_BYTES: usize = 128 * 1024;

/// Bounds of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeeringLimits {
    /// Unsent bytes above which nothing more of the connection is read.
    pub(crate) unsent_bytes_max: usize,
}

/// One connection. `P` is what the parent knows of it.
struct Connection<P> {
    stream: Stream,
    partner: P,
    /// Opened, and not just begun.
    is_settled: bool,
    /// What has come and is not carried out.
    input: Vec<u8>,
    out: Outgoing,
    incoming: Incoming,
    /// Bytes for the connection, and how many of them have been sent.
    ready: Vec<u8>,
    sent: usize,
    /// It closes once everything has been sent.
    finishing: bool,
    /// What it asks for can't be taken at the moment.
    held_up: bool,
    paused: bool,
    begin_by: Time,
}

/// What has come of handing bytes to a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// There may be frames in its input.
    Input,
    /// The other end is refused, or refuses: it is closed once it has been told.
    Refused(Refusal),
    /// The connection is not one of these.
    Stale,
}

/// What the driver is to be asked for a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Upkeep {
    /// There is something to be written.
    pub(crate) write: bool,
    /// Nothing more is to be read, or reading goes on.
    pub(crate) pause: Option<bool>,
    /// All has been said and sent.
    pub(crate) close: bool,
}

/// The connections.
pub(crate) struct Peering<P> {
    credentials: Credentials,
    entropy: Entropy,
    limits: PeeringLimits,
    connections: BTreeMap<ConnId, Connection<P>>,
    /// Those that have not begun yet, by when they must have.
    beginning: BTreeSet<(Time, ConnId)>,
    scratch: Vec<u8>,
}

impl<P> Peering<P> {
    pub(crate) fn new(credentials: Credentials, entropy: Entropy, limits: PeeringLimits) -> Self {
        Self {
            credentials,
            entropy,
            limits,
            connections: BTreeMap::new(),
            beginning: BTreeSet::new(),
            scratch: Vec::new(),
        }
    }

    /// Takes a connection that has been accepted, or that this node has opened.
    pub(crate) fn insert(&mut self, now: Time, conn: ConnId, opened: bool, partner: P) {
        let mut ready = Vec::new();
        let seed = self.entropy.draw();
        let stream = if opened {
            Stream::initiator(&self.credentials, seed, &mut ready)
        } else {
            Stream::responder(&self.credentials, seed)
        };
        let begin_by = now.plus_millis(HANDSHAKE_MS_MAX);
        self.beginning.insert((begin_by, conn));
        let before = self.connections.insert(
            conn,
            Connection {
                stream,
                partner,
                is_settled: false,
                input: Vec::new(),
                out: Outgoing::default(),
                incoming: Incoming::default(),
                ready,
                sent: 0,
                finishing: false,
                held_up: false,
                paused: false,
                begin_by,
            },
        );
        assert!(before.is_none(), "an id is never used twice");
    }

    /// Whether the connection is one of these.
    pub(crate) fn has(&self, conn: ConnId) -> bool {
        self.connections.contains_key(&conn)
    }

    /// What the parent knows of it.
    pub(crate) fn partner(&self, conn: ConnId) -> Option<&P> {
        self.connections.get(&conn).map(|it| &it.partner)
    }

    /// The same, to be changed.
    pub(crate) fn partner_mut(&mut self, conn: ConnId) -> Option<&mut P> {
        self.connections.get_mut(&conn).map(|it| &mut it.partner)
    }

    /// Both ends have said hello: from now on it may be silent for as long as it likes.
    pub(crate) fn settle(&mut self, conn: ConnId) {
        if let Some(it) = self.connections.get_mut(&conn) {
            it.is_settled = true;
            self.beginning.remove(&(it.begin_by, conn));
        }
    }

    /// Whether both ends have said hello.
    pub(crate) fn is_settled(&self, conn: ConnId) -> bool {
        self.connections.get(&conn).is_some_and(|it| it.is_settled)
    }

    /// Takes what a read has returned.
    pub(crate) fn receive(&mut self, conn: ConnId, bytes: &[u8]) -> Received {
        let Some(it) = self.connections.get_mut(&conn) else {
            return Received::Stale;
        };
        if it.finishing {
            // What a refused peer has sent on is as good as never read.
            return Received::Input;
        }
        match it.stream.receive(bytes, &mut it.input, &mut it.ready) {
            Ok(()) => Received::Input,
            Err(refusal) => {
                it.finishing = true;
                Received::Refused(refusal)
            }
        }
    }

    /// The other end sends no more. The refusal, if that was in the middle of something.
    pub(crate) fn finish_input(&mut self, conn: ConnId) -> Option<Refusal> {
        let it = self.connections.get_mut(&conn)?;
        let refusal = match it.finishing {
            true => None,
            false => it.stream.finish().err(),
        };
        it.finishing = true;
        refusal
    }

    /// Takes the input out, so that frames in it can be carried out while this is used.
    pub(crate) fn take_input(&mut self, conn: ConnId) -> Vec<u8> {
        let it = self.connections.get_mut(&conn);
        it.map(|it| core::mem::take(&mut it.input))
            .unwrap_or_default()
    }

    /// Puts the input back, but for its first `consumed` bytes.
    pub(crate) fn keep_input(&mut self, conn: ConnId, mut input: Vec<u8>, consumed: usize) {
        if let Some(it) = self.connections.get_mut(&conn) {
            assert!(it.input.is_empty(), "nothing is received meanwhile");
            input.drain(..consumed);
            it.input = input;
        }
    }

    /// Whether frames may be carried out: the other end has shown that it knows the secret, and
    /// the answers have room. Then what the parent knows of it, and whether both ends have said
    /// hello.
    pub(crate) fn may_carry_out(&self, conn: ConnId) -> Option<(&P, bool)> {
        let it = self.connections.get(&conn)?;
        let may = it.stream.is_open() && !it.finishing && !it.is_full(&self.limits);
        may.then_some((&it.partner, it.is_settled))
    }

    /// What the connection asks for can't be taken for a while, or can be again: nothing more of it
    /// is read meanwhile.
    pub(crate) fn hold_up(&mut self, conn: ConnId, held_up: bool) {
        if let Some(it) = self.connections.get_mut(&conn) {
            it.held_up = held_up;
        }
    }

    /// Bytes that are to leave over the connection.
    pub(crate) fn unsent_bytes(&self, conn: ConnId) -> usize {
        self.connections
            .get(&conn)
            .map_or(0, Connection::unsent_bytes)
    }

    /// Where frames for the connection go; none for one that is gone or about to close.
    pub(crate) fn out(&mut self, conn: ConnId) -> Option<&mut Outgoing> {
        let it = self.connections.get_mut(&conn)?;
        (!it.finishing).then_some(&mut it.out)
    }

    /// What the parent knows of it, and what [`out`](Self::out) is.
    pub(crate) fn partner_and_out(
        &mut self,
        conn: ConnId,
    ) -> Option<(&mut P, Option<&mut Outgoing>)> {
        let it = self.connections.get_mut(&conn)?;
        let out = (!it.finishing).then_some(&mut it.out);
        Some((&mut it.partner, out))
    }

    /// The large values that the connection brings.
    pub(crate) fn incoming(&mut self, conn: ConnId) -> Option<&mut Incoming> {
        self.connections.get_mut(&conn).map(|it| &mut it.incoming)
    }

    /// Closes the connection once all that has been said has been sent.
    pub(crate) fn finish(&mut self, conn: ConnId) {
        if let Some(it) = self.connections.get_mut(&conn) {
            it.finishing = true;
        }
    }

    /// Protects what is to leave next, and says what the driver has to be asked for.
    pub(crate) fn upkeep(&mut self, conn: ConnId) -> Upkeep {
        let limits = self.limits;
        let Some(it) = self.connections.get_mut(&conn) else {
            return Upkeep::default();
        };
        it.make_ready(&mut self.scratch);
        let stuck = (it.is_full(&limits) || it.held_up) && !it.finishing;
        let stuck = stuck || (it.paused && !it.has_room(&limits) && !it.finishing);
        let pause = (stuck != it.paused).then_some(stuck);
        it.paused = stuck;
        Upkeep {
            write: it.sent < it.ready.len(),
            pause,
            close: it.finishing && it.unsent_bytes() == 0,
        }
    }

    /// What is to be written next.
    pub(crate) fn unsent(&self, conn: ConnId) -> &[u8] {
        let it = self.connections.get(&conn);
        it.map_or(&[], |it| &it.ready[it.sent..])
    }

    /// So much of it has been written.
    pub(crate) fn sent(&mut self, conn: ConnId, bytes: usize) {
        if let Some(it) = self.connections.get_mut(&conn) {
            it.sent += bytes;
            if it.sent == it.ready.len() {
                it.ready.clear();
                it.sent = 0;
            }
        }
    }

    /// Forgets a connection, and tells what the parent knew of it, and the bytes of large values
    /// on their way in that had been charged.
    pub(crate) fn remove(&mut self, conn: ConnId) -> Option<(P, usize)> {
        let it = self.connections.remove(&conn)?;
        self.beginning.remove(&(it.begin_by, conn));
        Some((it.partner, it.incoming.charged_bytes()))
    }

    /// When the next connection must have begun.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.beginning.first().map(|(by, _)| *by)
    }

    /// A connection that has not begun in time, to be closed.
    pub(crate) fn next_overdue(&mut self, now: Time) -> Option<ConnId> {
        let (by, conn) = *self.beginning.first()?;
        if by > now {
            return None;
        }
        self.beginning.pop_first();
        Some(conn)
    }
}

impl<P> Connection<P> {
    fn unsent_bytes(&self) -> usize {
        self.ready.len() - self.sent + self.out.unsent_bytes()
    }

    fn is_full(&self, limits: &PeeringLimits) -> bool {
        self.unsent_bytes() >= limits.unsent_bytes_max
    }

    fn has_room(&self, limits: &PeeringLimits) -> bool {
        self.unsent_bytes() <= limits.unsent_bytes_max / 2
    }

    /// Protects frames until enough lies ready. Before the other end has answered the handshake
    /// only the hello goes, which the stream keeps until then.
    fn make_ready(&mut self, scratch: &mut Vec<u8>) {
        while self.out.unsent_bytes() > 0 && self.ready.len() - self.sent < READY_BYTES {
            scratch.clear();
            self.out.take(READY_BYTES, scratch);
            self.stream.send(scratch, &mut self.ready);
        }
    }
}
