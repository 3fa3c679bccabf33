//! What all threads of a node share.
//!
//! Decides what can lie in a mailbox, and that a stop is told once. Refuses to know event loops.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use zufar_core::disk::Completion;
use zufar_core::id::{Ticket, WorkerId};
use zufar_core::machine::Listener;
use zufar_core::message::Message;
use zufar_core::notice::Notice;

use crate::mailbox::Mailbox;
use crate::resolver::{Addresses, Resolver};
use crate::socket::Socket;

/// Something for a worker's thread.
pub(crate) enum Mail {
    /// A connection to serve.
    Accepted(Accepted),
    /// What another worker says.
    Message { from: WorkerId, message: Message },
    /// What the disk has answered.
    Disk(Completion),
    /// What a name stands for.
    Resolved {
        ticket: Ticket,
        addresses: Addresses,
    },
    /// The process is to stop.
    Stop,
}

/// A connection that has been accepted and counted.
pub(crate) struct Accepted {
    pub(crate) socket: Socket,
    pub(crate) listener: Listener,
    /// Connections of clients that the process then had open.
    pub(crate) open: u32,
}

/// Whether a connection that was accepted for this counts among those of clients.
pub(crate) fn counts(listener: Listener) -> bool {
    listener == Listener::Client
}

/// One per process.
pub(crate) struct Shared {
    /// One for each worker, in their order.
    pub(crate) mailboxes: Vec<Mailbox<Mail>>,
    /// Connections of clients that are accepted and not closed.
    pub(crate) open: AtomicU32,
    /// Datagrams that the system did not take.
    pub(crate) datagrams_lost: AtomicU64,
    /// Who looks names up.
    pub(crate) resolver: Resolver,
    notify: Arc<dyn Fn(Notice) + Send + Sync>,
    stopping: AtomicBool,
}

impl Shared {
    pub(crate) fn new(
        mailboxes: Vec<Mailbox<Mail>>,
        notify: Arc<dyn Fn(Notice) + Send + Sync>,
    ) -> Self {
        Self {
            mailboxes,
            open: AtomicU32::new(0),
            datagrams_lost: AtomicU64::new(0),
            resolver: Resolver::default(),
            notify,
            stopping: AtomicBool::new(false),
        }
    }

    /// The mailbox of `worker`.
    pub(crate) fn mailbox(&self, worker: WorkerId) -> &Mailbox<Mail> {
        &self.mailboxes[usize::from(worker.0)]
    }

    /// Tells every worker to stop, the first time.
    pub(crate) fn stop(&self) {
        if !self.stopping.swap(true, Relaxed) {
            for mailbox in &self.mailboxes {
                mailbox.post_one(Mail::Stop);
            }
        }
    }

    /// Passes `notice` on to the operator.
    pub(crate) fn notify(&self, notice: Notice) {
        (self.notify)(notice);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}
