//! Starting a node's threads, and waiting for their end.
//!
//! Decides which threads there are. Refuses to know the event loop that a worker's thread runs.

use std::fmt;
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::thread::JoinHandle;

use zufar_core::disk::Disk;
use zufar_core::id::WorkerId;
use zufar_core::machine::{Listener, Machine};
use zufar_core::notice::Notice;

use crate::clock::Clock;
use crate::disk_pool::{DiskPool, Lanes};
use crate::mailbox::{Bell, Mailbox};
use crate::shared::Shared;
use crate::socket::Bound;
use crate::thread;

/// What to run.
pub struct Launch<M> {
    /// The machines: the one at index `n` is worker `n` and gets a thread of its own.
    pub machines: Vec<M>,
    /// Where to accept connections, and what for.
    pub listeners: Vec<(Bound, Listener)>,
    /// Where worker 0 receives and sends datagrams. Without one no machine may send any.
    pub datagrams: Option<UdpSocket>,
    /// The disk. Without one no machine may ask for anything of it.
    pub disk: Option<Arc<dyn Disk>>,
    /// Receives what the operator should read. Called on the workers' threads.
    pub notify: Arc<dyn Fn(Notice) + Send + Sync>,
}

/// What a driver has ready for one worker.
pub struct Seat<D> {
    /// Wakes the worker's thread.
    pub bell: Bell,
    /// What the driver's function begins with, on that thread.
    pub driver: D,
}

/// What one [`Worker`](crate::Worker) is made of.
pub struct Parts<M> {
    pub(crate) id: WorkerId,
    pub(crate) machine: M,
    pub(crate) clock: Clock,
    pub(crate) shared: Arc<Shared>,
    pub(crate) lanes: Option<Arc<Lanes>>,
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

/// Starts one thread for each machine, and threads for the disk. The thread of worker `n` calls
/// `run` with the driver of seat `n`. The driver has taken the listeners and the datagram socket
/// already.
///
/// # Errors
/// When the system refuses a thread.
///
/// # Panics
/// If there is no machine, or more than a [`WorkerId`] can count, or not one seat for each; or
/// if a listener or datagram socket is left that nobody watches.
pub fn launch<M, D>(
    launch: Launch<M>,
    seats: Vec<Seat<D>>,
    run: fn(Parts<M>, D) -> io::Result<()>,
) -> io::Result<Running>
where
    M: Machine + Send + 'static,
    D: Send + 'static,
{
    assert!(!launch.machines.is_empty(), "there is a machine to run");
    assert_eq!(launch.machines.len(), seats.len(), "a seat for each");
    assert!(launch.listeners.is_empty(), "the driver watches listeners");
    assert!(launch.datagrams.is_none(), "the driver watches the socket");
    let (bells, drivers): (Vec<_>, Vec<_>) = seats
        .into_iter()
        .map(|seat| (Mailbox::new(seat.bell), seat.driver))
        .unzip();
    let shared = Arc::new(Shared::new(bells, launch.notify));
    let disk = match launch.disk {
        Some(disk) => Some(DiskPool::start(disk, &shared)?),
        None => None,
    };
    let clock = Clock::start();
    let mut running = Running {
        workers: Vec::new(),
        disk,
        stopper: Stopper {
            shared: Arc::clone(&shared),
        },
    };
    for (index, (machine, driver)) in launch.machines.into_iter().zip(drivers).enumerate() {
        let parts = Parts {
            id: WorkerId(u16::try_from(index).expect("a WorkerId counts the machines")),
            machine,
            clock: clock.clone(),
            shared: Arc::clone(&shared),
            lanes: running.disk.as_ref().map(DiskPool::lanes),
        };
        let stopper = running.stopper();
        let spawned = thread::spawn(format!("zufar-worker-{index}"), move || {
            // Without this loop the rest can't serve: let it finish in order.
            run(parts, driver).inspect_err(|_| stopper.stop())
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

impl<M> fmt::Debug for Parts<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Parts")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
