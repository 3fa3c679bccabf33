//! The mio driver: runs any [`Machine`] on sockets, one event loop per thread.
//!
//! Decides when a thread sleeps, reads, writes and wakes another thread. Refuses to know what
//! the bytes mean: it never names a request.
//!
//! What a machine may rely on, beyond what [`Machine`] says:
//!
//! * Each connection is read at most once and written at most once a turn, each with one
//!   system call.
//! * [`Actions`](zufar_core::machine::Actions)`::pause`, `resume` and `close` are carried out
//!   right after the `handle` that asked for them, everything else at the end of the turn. One
//!   `handle` must not both pause and resume one connection: the two lists have no order
//!   between them.
//! * `Finished` comes once, and no `Received` after it; the machine is then to close.
//! * `Closed` comes when the connection broke. After a close that the machine asked for it does
//!   not come, nor does anything else about that connection. A connection that still has
//!   something unsent when it is closed gets one last write.
//! * An id that is dead is ignored wherever it shows up in the actions.
//! * After `Stop` there is no `Accepted`.
//!
//! A bug of ours, in a machine or on a disk thread, is a panic, and a panic on any thread of
//! the driver aborts the whole process: a node that lost a thread must not look alive.
#![deny(unsafe_code)]

mod accept;
mod clock;
mod connections;
mod disk_pool;
mod host;
mod mailbox;
mod shared;
mod stream;
mod thread;
mod worker;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use mio::Poll;
use zufar_core::disk::Disk;
use zufar_core::id::WorkerId;
use zufar_core::machine::{Listener, Machine};
use zufar_core::notice::Notice;

use crate::accept::Acceptor;
use crate::clock::Clock;
use crate::disk_pool::DiskPool;
use crate::mailbox::Mailbox;
use crate::shared::Shared;
use crate::worker::{WAKER, Worker};

/// A socket that is bound and listens.
#[derive(Debug)]
pub enum Bound {
    /// On TCP.
    Tcp(std::net::TcpListener),
    /// On a Unix socket. Its path is the caller's to remove.
    Unix(std::os::unix::net::UnixListener),
}

/// What to run.
pub struct Launch<M> {
    /// The machines: the one at index `n` is worker `n` and gets a thread of its own.
    pub machines: Vec<M>,
    /// Where to accept connections, and what for.
    pub listeners: Vec<(Bound, Listener)>,
    /// The disk. Without one no machine may ask for anything of it.
    pub disk: Option<Arc<dyn Disk>>,
    /// Receives what the operator should read. Called on the workers' threads.
    pub notify: Arc<dyn Fn(Notice) + Send + Sync>,
}

/// The threads of a launched process. Dropping it leaves them running.
#[derive(Debug)]
pub struct Running {
    workers: Vec<JoinHandle<io::Result<()>>>,
    disk: Option<DiskPool>,
    stopper: Stopper,
}

/// Tells all workers to stop. Not for use inside a signal handler: it takes locks.
#[derive(Clone, Debug)]
pub struct Stopper {
    shared: Arc<Shared>,
}

impl Stopper {
    /// Delivers [`Event::Stop`](zufar_core::machine::Event::Stop) to every worker, once however
    /// often it is called.
    pub fn stop(&self) {
        self.shared.stop();
    }
}

/// Starts one thread for each machine, and threads for the disk.
///
/// # Errors
/// When the system refuses a thread, an epoll instance or one of the listeners.
///
/// # Panics
/// If there is no machine, or more than a [`WorkerId`] can count.
pub fn launch<M: Machine + Send + 'static>(launch: Launch<M>) -> io::Result<Running> {
    assert!(!launch.machines.is_empty(), "there is a machine to run");
    let mut polls = Vec::new();
    let mut mailboxes = Vec::new();
    for _ in &launch.machines {
        let poll = Poll::new()?;
        mailboxes.push(Mailbox::new(mio::Waker::new(poll.registry(), WAKER)?));
        polls.push(poll);
    }
    let mut acceptor = Some(Acceptor::new(launch.listeners, polls[0].registry())?);
    let shared = Arc::new(Shared::new(mailboxes, launch.notify));
    let stopper = Stopper {
        shared: Arc::clone(&shared),
    };
    let disk = match launch.disk {
        Some(disk) => Some(DiskPool::start(disk, &shared)?),
        None => None,
    };
    let clock = Clock::start();
    let mut running = Running {
        workers: Vec::new(),
        disk,
        stopper,
    };
    for (index, (machine, poll)) in launch.machines.into_iter().zip(polls).enumerate() {
        let id = WorkerId(u16::try_from(index).expect("a WorkerId counts the machines"));
        let lanes = running.disk.as_ref().map(DiskPool::lanes);
        let parts = worker::Parts {
            id,
            machine,
            poll,
            clock: clock.clone(),
            acceptor: acceptor.take(),
            shared: Arc::clone(&shared),
            lanes,
        };
        let stopper = running.stopper();
        let spawned = thread::spawn(format!("zufar-worker-{index}"), move || {
            let result = Worker::new(parts).run();
            // Without this loop the rest can't serve: let it finish in order.
            result.inspect_err(|_| stopper.stop())
        });
        match spawned {
            Ok(handle) => running.workers.push(handle),
            Err(error) => {
                running.stopper.stop();
                return Err(error);
            }
        }
    }
    Ok(running)
}

impl Running {
    /// A handle that stops this process's workers.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Returns once every machine has said that it is stopped, and the disk threads have done
    /// what they had been asked to write.
    ///
    /// # Errors
    /// When a worker's event loop failed. The others were told to stop, and have.
    pub fn wait(self) -> io::Result<()> {
        let mut result = Ok(());
        for worker in self.workers {
            result = result.and(thread::join(worker));
        }
        if let Some(disk) = self.disk {
            disk.finish();
        }
        result
    }
}
