//! Accepting connections.
//!
//! Decides how many a turn, which worker gets the next one, and how to go on when the process
//! has no descriptor left. Refuses to know what is done with them.

use std::io::{self, ErrorKind};

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use zufar_core::machine::Listener;
use zufar_core::notice::{Notice, Severity};
use zufar_core::time::Time;

use crate::Bound;
use crate::stream::Stream;

/// Connections that one listener gives in one turn at most.
const ACCEPTS_PER_TURN: usize = 64;
/// How long to wait when the system refuses to accept, unless a connection closes before.
const RETRY_MS: u64 = 100;
/// The operator hears of refusals at most this often.
const NOTICE_INTERVAL_MS: u64 = 60_000;
/// The listener at index `n` has the token that is `n` below this one. No connection gets that
/// far: its slot would be beyond all file descriptors.
const FIRST_TOKEN: usize = usize::MAX - 1;

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    fn new(bound: Bound) -> io::Result<Self> {
        Ok(match bound {
            Bound::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Self::Tcp(TcpListener::from_std(listener))
            }
            Bound::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Self::Unix(UnixListener::from_std(listener))
            }
        })
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(listener) => listener,
            Self::Unix(listener) => listener,
        }
    }

    fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                // It can only fail on a connection that is broken, as its first read will tell.
                let _ = stream.set_nodelay(true);
                Ok(Stream::Tcp(stream))
            }
            Self::Unix(listener) => Ok(Stream::Unix(listener.accept()?.0)),
        }
    }
}

struct Door {
    socket: Socket,
    listener: Listener,
    /// Connections may wait that no event will tell of again.
    ready: bool,
}

/// All listeners of the process. Dropping it closes them.
pub(crate) struct Acceptor {
    doors: Vec<Door>,
    retry_at: Option<Time>,
    noticed_at: Option<Time>,
}

impl Acceptor {
    pub(crate) fn new(listeners: Vec<(Bound, Listener)>, registry: &Registry) -> io::Result<Self> {
        let mut doors = Vec::new();
        for (index, (bound, listener)) in listeners.into_iter().enumerate() {
            let mut socket = Socket::new(bound)?;
            let token = Token(FIRST_TOKEN - index);
            registry.register(socket.source(), token, Interest::READABLE)?;
            doors.push(Door {
                socket,
                listener,
                ready: false,
            });
        }
        Ok(Self {
            doors,
            retry_at: None,
            noticed_at: None,
        })
    }

    /// Takes note of an event. False if `token` is none of a listener.
    pub(crate) fn note_ready(&mut self, token: Token) -> bool {
        let door = FIRST_TOKEN
            .checked_sub(token.0)
            .and_then(|index| self.doors.get_mut(index));
        door.map(|door| door.ready = true).is_some()
    }

    /// Whether connections may wait that can be accepted right away.
    pub(crate) fn has_work(&self) -> bool {
        self.retry_at.is_none() && self.doors.iter().any(|door| door.ready)
    }

    /// When to try again, after a refusal.
    pub(crate) fn retry_at(&self) -> Option<Time> {
        self.retry_at
    }

    /// A descriptor has become free: what was refused may work now.
    pub(crate) fn note_closed(&mut self) {
        self.retry_at = None;
    }

    /// Accepts what waits into `accepted`. Returns what the operator should hear about it.
    pub(crate) fn accept(
        &mut self,
        now: Time,
        accepted: &mut Vec<(Stream, Listener)>,
    ) -> Option<Notice> {
        if self.retry_at.is_some_and(|at| at > now) {
            return None;
        }
        self.retry_at = None;
        for door in self.doors.iter_mut().filter(|door| door.ready) {
            for _ in 0..ACCEPTS_PER_TURN {
                match door.socket.accept() {
                    Ok(stream) => accepted.push((stream, door.listener)),
                    Err(error) => match error.kind() {
                        ErrorKind::WouldBlock => {
                            door.ready = false;
                            break;
                        }
                        // That one connection is gone already, or a firewall forbids it.
                        ErrorKind::ConnectionAborted
                        | ErrorKind::Interrupted
                        | ErrorKind::PermissionDenied => {}
                        _ => {
                            self.retry_at = Some(now.plus_millis(RETRY_MS));
                            return self.refused(now, &error);
                        }
                    },
                }
            }
        }
        None
    }

    fn refused(&mut self, now: Time, error: &io::Error) -> Option<Notice> {
        let recently = |at: Time| now.millis_since(at) < NOTICE_INTERVAL_MS;
        if self.noticed_at.is_some_and(recently) {
            return None;
        }
        self.noticed_at = Some(now);
        Some(Notice {
            severity: Severity::Warning,
            event: "accept-failed",
            text: format!("new connections have to wait: {error}"),
        })
    }
}
