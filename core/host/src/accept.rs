//! Accepting connections.
//!
//! Decides which listeners are tried and which errors of theirs matter. Refuses to know what is
//! done with connections; when and for whom to accept is the core's [`AcceptPolicy`].

use std::io::{self, ErrorKind};

use zufar_core::accept::{ACCEPTS_PER_TURN, AcceptPolicy};
use zufar_core::id::WorkerId;
use zufar_core::machine::Listener;
use zufar_core::notice::{Notice, Severity};
use zufar_core::time::Time;

use crate::socket::{Bound, Socket};

struct Door<D> {
    watched: D,
    listener: Listener,
    /// Connections may wait that the driver will not tell of again.
    ready: bool,
}

/// All listeners of the process. Dropping it closes them.
pub(crate) struct Acceptor<D> {
    doors: Vec<Door<D>>,
    pub(crate) policy: AcceptPolicy,
}

impl<D: AsRef<Bound>> Acceptor<D> {
    pub(crate) fn new(doors: Vec<(D, Listener)>, workers: u16) -> Self {
        let doors = doors.into_iter().map(|(watched, listener)| Door {
            watched,
            listener,
            ready: false,
        });
        Self {
            doors: doors.collect(),
            policy: AcceptPolicy::new(workers),
        }
    }

    /// The listener at `index`, if there is one.
    pub(crate) fn door(&mut self, index: usize) -> Option<&mut D> {
        Some(&mut self.doors.get_mut(index)?.watched)
    }

    /// Takes note that connections may wait at the listener at `index`, if there is one.
    pub(crate) fn note_ready(&mut self, index: usize) {
        if let Some(door) = self.doors.get_mut(index) {
            door.ready = true;
        }
    }

    /// Whether connections may wait that can be accepted right away.
    pub(crate) fn has_work(&self) -> bool {
        self.policy.retry_at().is_none() && self.doors.iter().any(|door| door.ready)
    }

    /// Accepts what waits into `accepted`, each for one worker, and calls `drained` with the
    /// listeners at which nobody waits any more. Returns what the operator should hear about it.
    pub(crate) fn accept(
        &mut self,
        now: Time,
        accepted: &mut Vec<(WorkerId, Socket, Listener)>,
        mut drained: impl FnMut(usize, &mut D),
    ) -> Option<Notice> {
        if !self.policy.may_accept(now) {
            return None;
        }
        for (index, door) in self.doors.iter_mut().enumerate() {
            for _ in 0..ACCEPTS_PER_TURN {
                if !door.ready {
                    break;
                }
                match door.watched.as_ref().accept() {
                    Ok(socket) => accepted.push((self.policy.next_worker(), socket, door.listener)),
                    Err(error) => match error.kind() {
                        ErrorKind::WouldBlock => {
                            door.ready = false;
                            drained(index, &mut door.watched);
                        }
                        // That one connection is gone already, or a firewall forbids it.
                        ErrorKind::ConnectionAborted
                        | ErrorKind::Interrupted
                        | ErrorKind::PermissionDenied => {}
                        _ => return self.policy.note_refused(now).then(|| refusal(&error)),
                    },
                }
            }
        }
        None
    }
}

fn refusal(error: &io::Error) -> Notice {
    Notice {
        severity: Severity::Warning,
        event: "accept-failed",
        text: format!("new connections have to wait: {error}"),
    }
}
