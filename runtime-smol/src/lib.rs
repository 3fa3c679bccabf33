//! The smol driver: runs any [`Machine`] on sockets, one `LocalExecutor` per thread.
//!
//! Decides how a thread waits for sockets and learns which are ready: each has a task that awaits
//! its readiness. Refuses to know what is done with them: that is a
//! [`Worker`](zufar_host::Worker)'s part, and what a machine may rely on stands at [`Machine`].
//!
//! All threads share smol's one reactor, so a thread may be woken by another one that waits for
//! it. Nothing of a worker is borrowed across an await.
#![forbid(unsafe_code)]

mod breaks;
mod tasks;
mod turns;

use std::io;
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use smol::Async;
use zufar_core::machine::Machine;
use zufar_host::{Launch, Running, Seat};

use crate::breaks::Breaks;
use crate::turns::{Station, run};

/// Starts one thread for each machine, and threads for the disk.
///
/// # Errors
/// When the system refuses a thread, an epoll instance or one of the sockets.
///
/// # Panics
/// If there is no machine, or more than a [`WorkerId`](zufar_core::id::WorkerId) can count.
pub fn launch<M: Machine + Send + 'static>(mut launch: Launch<M>) -> io::Result<Running> {
    let mut seats = Vec::new();
    for _ in &launch.machines {
        // The first one accepts for all, and has the datagrams.
        let listeners = launch.listeners.drain(..);
        let doors = listeners.map(|(bound, listener)| Ok((Async::new(bound)?, listener)));
        let sleeper = Arc::<OnceLock<Waker>>::default();
        let driver = Station {
            doors: doors.collect::<io::Result<_>>()?,
            datagrams: launch.datagrams.take().map(Async::new).transpose()?,
            breaks: Breaks::new()?,
            sleeper: Arc::clone(&sleeper),
        };
        let bell = move || {
            let sleeper = sleeper.get();
            sleeper
                .expect("a thread says how to wake it before it sleeps")
                .wake_by_ref();
        };
        seats.push(Seat {
            bell: Box::new(bell),
            driver,
        });
    }
    zufar_host::launch(launch, seats, run)
}
