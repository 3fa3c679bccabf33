//! Connections that are neither read nor written any more, but may still break.
//!
//! Decides how that is noticed. Refuses to know what follows.
//!
//! smol can only await that a socket is readable or writable, and one whose stream has ended is
//! both for ever. So these are put into an epoll instance that reports nothing but errors and
//! hang-ups, and that is itself readable whenever it has some.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use smol::Async;
use zufar_core::id::ConnId;

/// Breaks that one look takes at most.
const BREAKS_MAX: usize = 64;
const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// One worker's half-closed connections.
pub(crate) struct Breaks(Async<OwnedFd>);

impl Breaks {
    pub(crate) fn new() -> io::Result<Self> {
        let instance = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self(Async::new_nonblocking(instance)?))
    }

    /// Has [`poll_broken`](Self::poll_broken) tell when `socket` breaks. It is forgotten when it
    /// is closed.
    pub(crate) fn watch(&self, id: ConnId, socket: impl AsFd) -> io::Result<()> {
        let name = u64::from(id.generation) << 32 | u64::from(id.slot);
        // Only once for each: errors and hang-ups need not be asked for.
        let events = EventFlags::ET;
        Ok(epoll::add(
            &self.0,
            socket,
            EventData::new_u64(name),
            events,
        )?)
    }

    /// Adds connections that have broken to `broken`.
    pub(crate) fn poll_broken(&self, cx: &mut Context<'_>, broken: &mut Vec<ConnId>) -> Poll<()> {
        let ready = std::task::ready!(self.0.poll_readable(cx));
        ready.expect("an epoll instance of our own can be watched");
        let mut events = Vec::with_capacity(BREAKS_MAX);
        epoll::wait(&self.0, spare_capacity(&mut events), Some(&AT_ONCE))
            .expect("an epoll instance of our own can be asked");
        broken.extend(events.iter().map(|event| {
            let name = event.data.u64();
            ConnId {
                slot: (name & 0xffff_ffff) as u32,
                generation: (name >> 32) as u32,
            }
        }));
        Poll::Ready(())
    }
}
