//! The floor under every server on this driver: `echo PORT` listens on 127.0.0.1 and answers
//! each line, whatever it says, with the same memcached hit of 100 bytes.
//!
//! Decides nothing but that. What it spends per operation is the driver's share.

use std::error::Error;
use std::io::{Write, stdout};
use std::net::TcpListener;
use std::sync::Arc;

use zufar_core::id::ConnId;
use zufar_core::machine::{Actions, Event, Listener, Machine};
use zufar_core::time::{Now, Time};
use zufar_host::{Bound, Launch};
use zufar_runtime_mio::launch;

/// A connection with this much unsent is not read.
const UNSENT_BYTES_MAX: usize = 1 << 20;

#[derive(Default)]
struct Connection {
    unsent: Vec<u8>,
    sent: usize,
    paused: bool,
    finished: bool,
}

struct Floor {
    hit: Vec<u8>,
    connections: Vec<Connection>,
    /// Connections whose output has drained while something waited for that.
    drained: Vec<ConnId>,
}

impl Floor {
    fn new() -> Self {
        let mut hit = b"VALUE key:000000000000 0 100\r\n".to_vec();
        hit.resize(hit.len() + 100, b'v');
        hit.extend_from_slice(b"\r\nEND\r\n");
        Self {
            hit,
            connections: Vec::new(),
            drained: Vec::new(),
        }
    }

    fn connection(&mut self, conn: ConnId) -> &mut Connection {
        &mut self.connections[conn.slot as usize]
    }

    fn received(&mut self, conn: ConnId, bytes: &[u8], actions: &mut Actions) {
        let connection = &mut self.connections[conn.slot as usize];
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        for _ in 0..lines {
            connection.unsent.extend_from_slice(&self.hit);
        }
        if lines > 0 {
            actions.write.push(conn);
        }
        if connection.unsent.len() - connection.sent > UNSENT_BYTES_MAX && !connection.paused {
            connection.paused = true;
            actions.pause.push(conn);
        }
    }
}

impl Machine for Floor {
    fn handle(&mut self, _: Now, event: Event<'_>, actions: &mut Actions) {
        match event {
            Event::Accepted { conn, .. } => {
                let slots = self.connections.len().max(conn.slot as usize + 1);
                self.connections.resize_with(slots, Connection::default);
                *self.connection(conn) = Connection::default();
            }
            Event::Received { conn, bytes } => self.received(conn, bytes, actions),
            Event::Finished { conn } => {
                let connection = self.connection(conn);
                connection.finished = true;
                if connection.unsent.is_empty() {
                    actions.close.push(conn);
                }
            }
            Event::Closed { conn, .. } => *self.connection(conn) = Connection::default(),
            Event::Deadline => {
                for conn in std::mem::take(&mut self.drained) {
                    let connection = self.connection(conn);
                    if connection.finished {
                        actions.close.push(conn);
                    } else if std::mem::take(&mut connection.paused) {
                        actions.resume.push(conn);
                    }
                }
            }
            Event::Stop => actions.stopped = true,
            // Nothing of the rest has been asked for.
            _ => {}
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        (!self.drained.is_empty()).then_some(Time::ZERO)
    }

    fn unsent<'a>(&'a self, conn: ConnId, slices: &mut [&'a [u8]]) -> usize {
        let connection = &self.connections[conn.slot as usize];
        slices[0] = &connection.unsent[connection.sent..];
        usize::from(!slices[0].is_empty())
    }

    fn sent(&mut self, conn: ConnId, bytes: usize) {
        let connection = &mut self.connections[conn.slot as usize];
        connection.sent += bytes;
        if connection.sent == connection.unsent.len() {
            connection.unsent.clear();
            connection.sent = 0;
            if connection.paused || connection.finished {
                self.drained.push(conn);
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::args().nth(1).ok_or("usage: echo PORT")?.parse()?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let running = launch(Launch {
        machines: vec![Floor::new()],
        listeners: vec![(Bound::Tcp(listener), Listener::Client)],
        datagrams: None,
        disk: None,
        notify: Arc::new(|notice| drop(writeln!(stdout(), "{}", notice.text))),
    })?;
    writeln!(stdout(), "ready")?;
    Ok(running.wait()?)
}
