//! Datagrams of a worker that has a socket for them.
//!
//! Decides how many are read in a turn, and that one that the system does not take at once is
//! lost. Refuses to know what they say.
//!
//! The socket is not connected to anybody, so the system keeps to itself what it hears of hosts
//! that can't be reached.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering::Relaxed;

use zufar_core::datagrams::DATAGRAMS_PER_TURN;
use zufar_core::machine::{Event, Machine};
use zufar_core::notice::{Notice, Seldom, Severity};

use super::{Watcher, Worker};
use crate::socket::canonical;

/// The datagram socket of the process.
#[derive(Debug)]
pub(super) struct Port<D> {
    watched: D,
    /// Datagrams may wait that the driver will not tell of again.
    ready: bool,
    noticed: Seldom,
}

impl<D: AsRef<UdpSocket>> Port<D> {
    pub(super) const fn new(watched: D) -> Self {
        Self {
            watched,
            ready: false,
            noticed: Seldom::new(),
        }
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (bytes, from) = self.watched.as_ref().recv_from(buffer)?;
        Ok((bytes, canonical(from)))
    }

    fn send(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        self.watched.as_ref().send_to(bytes, to).map(drop)
    }
}

impl<M: Machine, W: Watcher> Worker<M, W> {
    /// Datagrams may wait at the socket.
    pub fn has_datagrams(&mut self) {
        if let Some(port) = &mut self.port {
            port.ready = true;
        }
    }

    /// The socket for datagrams, if this worker has it.
    pub fn datagrams(&mut self) -> Option<&mut W::Datagrams> {
        Some(&mut self.port.as_mut()?.watched)
    }

    /// Whether datagrams may wait that can be read right away.
    pub(super) fn datagrams_wait(&self) -> bool {
        self.port.as_ref().is_some_and(|port| port.ready)
    }

    /// Tells the machine of datagrams that wait, as many as a turn takes.
    pub(super) fn receive_datagrams(&mut self) {
        for _ in 0..DATAGRAMS_PER_TURN {
            let Some(port) = self.port.as_mut().filter(|port| port.ready) else {
                return;
            };
            match port.receive(&mut self.buffer) {
                Ok((bytes, from)) => {
                    self.now = self.clock.now();
                    let datagram = Event::Datagram {
                        from,
                        bytes: &self.buffer[..bytes],
                    };
                    self.machine.handle(self.now, datagram, &mut self.actions);
                    self.settle();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    port.ready = false;
                    self.watcher.await_datagrams(&mut port.watched);
                }
                // Whatever it is about, it is told once; hosts where nobody listens are among it.
                Err(_) => {}
            }
        }
    }

    /// Sends what the machine has to send.
    pub(super) fn send_datagrams(&mut self) {
        let port = self.port.as_mut();
        let port = port.expect("a machine sends datagrams only where there is a socket for them");
        let mut lost = None;
        for (to, bytes) in self.actions.datagrams.iter() {
            if let Err(error) = port.send(to, bytes) {
                self.shared.datagrams_lost.fetch_add(1, Relaxed);
                lost = Some((to, error));
            }
        }
        self.actions.datagrams.clear();
        if let Some((to, error)) = lost
            && port.noticed.is_due(self.now.time)
        {
            let lost = self.shared.datagrams_lost.load(Relaxed);
            self.shared.notify(Notice {
                severity: Severity::Warning,
                event: "datagrams-lost",
                text: format!(
                    "the system did not take a datagram for {to}: {error} ({lost} since the start)"
                ),
            });
        }
    }
}
