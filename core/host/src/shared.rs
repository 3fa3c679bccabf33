//! What all threads of a node share.
//!
//! Decides what can lie in a mailbox, and that a stop is told once. Refuses to know event loops.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};

use zufar_core::disk::Completion;
use zufar_core::id::WorkerId;
use zufar_core::machine::Listener;
use zufar_core::message::Message;
use zufar_core::notice::Notice;

use crate::mailbox::Mailbox;
use crate::socket::Socket;

/// Something for a worker's thread.
pub(crate) enum Mail {
    /// A connection to serve.
    Accepted(Accepted),
    /// What another worker says.
    Message { from: WorkerId, message: Message },
    /// What the disk has answered.
    Disk(Completion),
    /// The process is to stop.
    Stop,
}

/// A connection that has been accepted and counted.
pub(crate) struct Accepted {
    pub(crate) socket: Socket,
    pub(crate) listener: Listener,
    /// Connections that the process then had open.
    pub(crate) open: u32,
}

/// One per process.
pub(crate) struct Shared {
    /// One for each worker, in their order.
    pub(crate) mailboxes: Vec<Mailbox<Mail>>,
    /// Connections that are accepted and not closed.
    pub(crate) open: AtomicU32,
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
