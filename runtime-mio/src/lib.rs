//! The mio driver: runs any [`Machine`] on sockets, one event loop per thread.
//!
//! Decides how a thread waits for sockets and learns which are ready, edge by edge. Refuses to
//! know what is done with them: that is a [`Worker`](zufar_host::Worker)'s part, and what a
//! machine may rely on stands at [`Machine`].
#![forbid(unsafe_code)]

mod event_loop;
mod registrar;

use std::io;

use mio::Poll;
use zufar_core::machine::Machine;
use zufar_host::{Launch, Running, Seat};

use crate::event_loop::{Station, run};
use crate::registrar::{Datagrams, Door, WAKER};

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
        let poll = Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), WAKER)?;
        // The first one accepts for all, and has the datagrams.
        let listeners = launch.listeners.drain(..).enumerate();
        let doors = listeners.map(|(index, (bound, listener))| {
            Ok((Door::new(index, bound, poll.registry())?, listener))
        });
        let doors = doors.collect::<io::Result<_>>()?;
        let datagrams = launch.datagrams.take();
        let datagrams = datagrams.map(|socket| Datagrams::new(socket, poll.registry()));
        let datagrams = datagrams.transpose()?;
        seats.push(Seat {
            bell: Box::new(move || waker.wake().expect("an eventfd of our own can be written")),
            driver: Station {
                poll,
                doors,
                datagrams,
            },
        });
    }
    zufar_host::launch(launch, seats, run)
}
