//! Datagrams, both ways.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use zufar_core::datagrams::{DATAGRAM_BYTES_MAX, DATAGRAMS_PER_TURN};
use zufar_core::id::WorkerId;
use zufar_core::machine::{Actions, Event};
use zufar_core::time::{Now, Time};

use super::commands::{serve, tell};
use super::harness::{Entry, Log, PATIENCE, Script, Server, Setup, noise};

fn bind(address: impl Into<SocketAddr>) -> UdpSocket {
    let socket = UdpSocket::bind(address.into()).expect("a free port");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    socket
}

fn loopback() -> UdpSocket {
    bind((Ipv4Addr::LOCALHOST, 0))
}

fn port(socket: &UdpSocket) -> u16 {
    socket.local_addr().expect("an address").port()
}

fn with(datagrams: UdpSocket) -> Setup {
    Setup {
        datagrams: Some(datagrams),
        ..Setup::default()
    }
}

fn is_datagram(entry: &Entry) -> bool {
    matches!(entry, Entry::Datagram { .. })
}

/// Sends `bytes` and expects them back.
fn exchange(socket: &UdpSocket, to: SocketAddr, bytes: &[u8]) {
    socket.send_to(bytes, to).expect("it is sent");
    let mut back = vec![0; DATAGRAM_BYTES_MAX + 1];
    let (received, from) = socket.recv_from(&mut back).expect("an echo");
    assert!(back[..received] == *bytes, "{received} bytes");
    assert_eq!(from, to);
}

/// Sends some of every size, and says how the server calls `socket`.
fn exchange_all(server: &Server, socket: &UdpSocket, to: SocketAddr) -> SocketAddr {
    for bytes in [0, 1, 1400, DATAGRAM_BYTES_MAX] {
        exchange(socket, to, &noise(bytes));
    }
    let entries = server.log.entries();
    let mut from = entries.iter().filter_map(|entry| match entry {
        Entry::Datagram { from, .. } => Some(*from),
        _ => None,
    });
    from.next_back().expect("the last of them")
}

#[test]
fn datagrams_of_any_size_go_both_ways() {
    let socket = loopback();
    let to = socket.local_addr().expect("an address");
    let server = with(socket).serve_plain();
    let peer = loopback();
    let from = exchange_all(&server, &peer, to);
    assert_eq!(from, peer.local_addr().expect("an address"));
    server.stop();
}

#[test]
fn they_come_over_ipv6_and_ipv4_is_called_so_there_too() {
    let Ok(socket) = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)) else {
        return;
    };
    let port = port(&socket);
    let server = with(socket).serve_plain();
    let peer = bind((Ipv6Addr::LOCALHOST, 0));
    let from = exchange_all(&server, &peer, (Ipv6Addr::LOCALHOST, port).into());
    assert_eq!(from, peer.local_addr().expect("an address"));
    let peer = loopback();
    let from = exchange_all(&server, &peer, (Ipv4Addr::LOCALHOST, port).into());
    assert_eq!(from, peer.local_addr().expect("an address"));
    server.stop();
}

/// Has a deadline every turn, and finds out how many datagrams come in one.
struct Turns {
    log: Arc<Log>,
    datagrams: usize,
}

impl Script for Turns {
    fn on(&mut self, worker: WorkerId, _: Now, event: &Event<'_>, _: &mut Actions) {
        match event {
            Event::Datagram { .. } => self.datagrams += 1,
            Event::Deadline if self.datagrams > 0 => {
                self.log.say(worker, self.datagrams.to_string());
                self.datagrams = 0;
            }
            _ => {}
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        Some(Time::ZERO)
    }
}

/// A burst that waits when the server starts, under `script`; returns all that happened.
fn burst(script: impl Fn(&Arc<Log>) -> Box<dyn Script>) -> Vec<Entry> {
    // As many as a socket's buffer takes.
    const BURST: u32 = 150;
    let socket = loopback();
    let to = socket.local_addr().expect("an address");
    let peer = loopback();
    for number in 0..BURST {
        let sent = peer.send_to(&number.to_le_bytes(), to);
        assert_eq!(sent.expect("it is sent"), 4);
    }
    let log = Arc::<Log>::default();
    let setup = Setup {
        log: Arc::clone(&log),
        ..with(socket)
    };
    let server = setup.serve(|_| script(&log));
    for number in 0..BURST {
        let mut back = [0; 5];
        assert_eq!(peer.recv(&mut back).expect("an echo"), 4);
        assert_eq!(back[..4], number.to_le_bytes());
    }
    assert_eq!(server.log.count(is_datagram), BURST as usize);
    exchange(&peer, to, b"and after it");
    server.stop()
}

#[test]
fn a_burst_is_read_turn_by_turn() {
    let entries = burst(|log| {
        Box::new(Turns {
            log: Arc::clone(log),
            datagrams: 0,
        })
    });
    let turns = entries.iter().filter_map(|entry| match entry {
        Entry::Said(_, datagrams) => Some(datagrams.as_str()),
        _ => None,
    });
    let turns: Vec<_> = turns.take(3).collect();
    let most = DATAGRAMS_PER_TURN.to_string();
    assert_eq!(turns, [&most, &most, "22"]);
}

#[test]
fn a_burst_is_read_whole_though_nothing_else_happens() {
    burst(|_| Box::new(super::harness::Plain));
}

#[test]
fn what_the_system_does_not_take_is_counted_and_told_once() {
    let socket = loopback();
    let to = socket.local_addr().expect("an address");
    let (server, mut control) = serve(with(socket));
    let peer = loopback();
    let peer_address = peer.local_addr().expect("an address");
    let commands = format!("send [::1]:9 a;send {peer_address} b;send 255.255.255.255:9 c");
    tell(&mut control, &commands);
    let mut heard = [0; 2];
    assert_eq!(peer.recv(&mut heard).expect("what could be sent"), 1);
    assert_eq!(heard, *b"b\0");
    tell(&mut control, "figures");
    server.log.wait(1, |entry| matches!(entry, Entry::Host(_)));
    tell(&mut control, "send 255.255.255.255:9 d");
    tell(&mut control, "figures");
    server.log.wait(2, |entry| matches!(entry, Entry::Host(_)));
    exchange(&peer, to, b"it goes on");
    let mut lost = Vec::new();
    let mut notices = Vec::new();
    for entry in server.stop() {
        match entry {
            Entry::Host(figures) => lost.push(figures.datagrams_lost),
            Entry::Notice(event) => notices.push(event),
            _ => {}
        }
    }
    assert_eq!(lost, [2, 3]);
    assert_eq!(notices, ["datagrams-lost"]);
}

#[test]
fn a_host_that_nobody_listens_on_harms_no_other() {
    let socket = loopback();
    let to = socket.local_addr().expect("an address");
    let (server, mut control) = serve(with(socket));
    let gone = loopback().local_addr().expect("an address");
    let peer = loopback();
    let peer_address = peer.local_addr().expect("an address");
    for _ in 0..10 {
        tell(
            &mut control,
            &format!("send {gone} x;send {peer_address} y"),
        );
        let mut heard = [0; 2];
        assert_eq!(peer.recv(&mut heard).expect("a datagram"), 1);
        exchange(&peer, to, b"it goes on");
    }
    let entries = server.stop();
    assert!(
        !entries
            .iter()
            .any(|entry| matches!(entry, Entry::Notice(_)))
    );
}
