//! A script that does what it is told over its connections.
//!
//! Decides how a test words what it wants done: `connect 1 127.0.0.1:80`, `give-up 1`,
//! `resolve 1 localhost:80`, `send 127.0.0.1:80 text`, `figures`; several with `;` between them.
//! Refuses to know what comes of it: the echo machine logs that.

use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use zufar_core::id::{Ticket, WorkerId};
use zufar_core::machine::{Actions, Event};
use zufar_core::time::Now;

use super::harness::{On, Server, Setup, client, eventually, listener, ping};

/// The ticket that commands call by this number.
pub(crate) fn ticket(number: u32) -> Ticket {
    Ticket {
        slot: number,
        generation: 9,
    }
}

fn obey(_: WorkerId, _: Now, event: &Event<'_>, actions: &mut Actions) {
    let Event::Received { bytes, .. } = event else {
        return;
    };
    let text = String::from_utf8_lossy(bytes);
    for command in text.split(';') {
        let words: Vec<&str> = command.split(' ').collect();
        let named = |number: &str| ticket(number.parse().expect("a number"));
        let address = |text: &str| text.parse().expect("an address");
        match words[..] {
            ["connect", number, to] => actions.connect.push((named(number), address(to))),
            ["give-up", number] => actions.give_up.push(named(number)),
            ["resolve", number, name] => actions.resolve.push((named(number), name.to_owned())),
            ["send", to, text] => actions.datagrams.push(address(to), text.as_bytes()),
            ["figures"] => actions.host_wanted = true,
            _ => {}
        }
    }
}

/// A server that obeys, and a connection to its worker 0.
pub(crate) fn serve(setup: Setup) -> (Server, TcpStream) {
    let server = setup.serve(|_| On(obey));
    let stream = server.connect();
    (server, stream)
}

/// Has the machine at the other end of `stream` carry out `command`.
pub(crate) fn tell(stream: &mut TcpStream, command: &str) {
    ping(stream, command.as_bytes());
}

/// Listeners on all families that this machine has.
pub(crate) fn listeners() -> Vec<TcpListener> {
    let ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0));
    std::iter::once(listener()).chain(ipv6).collect()
}

/// Accepts a connection that the server makes.
pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    let mut accepted = None;
    listener.set_nonblocking(true).expect("an option");
    eventually("a connection", || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    let (stream, _) = accepted.expect("it is there");
    stream.set_nonblocking(false).expect("an option");
    client(stream)
}

/// An address at which nobody listens.
pub(crate) fn nobody(listener: TcpListener) -> SocketAddr {
    listener.local_addr().expect("an address")
}
