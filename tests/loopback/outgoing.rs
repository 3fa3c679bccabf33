//! Connections that a machine asks for.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use zufar_core::id::{ConnId, WorkerId};
use zufar_core::machine::{Actions, Event, Listener};
use zufar_core::time::Now;
use zufar_host::Bound;

use super::commands::{accept, listeners, nobody, serve, tell, ticket};
use super::harness::{
    Entry, GREETING, Script, Setup, client, in_child, listener, noise, ping, run_in_child,
};

fn connected(entries: &[Entry]) -> Vec<ConnId> {
    let conns = entries.iter().filter_map(|entry| match entry {
        Entry::Connected { conn, .. } => Some(*conn),
        _ => None,
    });
    conns.collect()
}

fn is_finished(entry: &Entry) -> bool {
    matches!(entry, Entry::Finished(_))
}

fn connect_to(listener: &TcpListener, number: u32) -> String {
    let address = listener.local_addr().expect("an address");
    format!("connect {number} {address}")
}

/// Accepts what the server has been told to make, and hears its greeting.
fn greeted(listener: &TcpListener) -> TcpStream {
    let mut stream = accept(listener);
    let mut greeting = [0; GREETING.len()];
    stream.read_exact(&mut greeting).expect("a greeting");
    assert_eq!(greeting, GREETING);
    stream
}

#[test]
fn both_ends_of_an_outgoing_connection_talk() {
    let (server, mut control) = serve(Setup::default());
    for (number, listener) in (0..).zip(&listeners()) {
        tell(&mut control, &connect_to(listener, number));
        let mut stream = greeted(listener);
        ping(&mut stream, b"how do you do");
        // More than the machine takes without a pause.
        let data = noise(4 << 20);
        let mut writer = stream.try_clone().expect("a clone");
        let sent = data.clone();
        let writer = thread::spawn(move || {
            writer.write_all(&sent).expect("a write");
            writer.shutdown(Shutdown::Write).expect("a shutdown");
        });
        let mut back = Vec::new();
        stream.read_to_end(&mut back).expect("an echo");
        assert!(back == data, "{} of {} bytes", back.len(), data.len());
        writer.join().expect("the writer");
        let is_told = |entry: &Entry| matches!(entry, Entry::Connected { ticket: told, .. } if *told == ticket(number));
        assert_eq!(server.log.count(is_told), 1);
        assert_eq!(server.log.count(is_finished), number as usize + 1);
    }
    server.stop();
}

#[test]
fn many_at_once_come_about_whoever_speaks_first() {
    const EACH: u32 = 100;
    let (server, mut control) = serve(Setup::default());
    let listener = listener();
    let commands: Vec<_> = (0..EACH)
        .map(|number| connect_to(&listener, number))
        .collect();
    tell(&mut control, &commands.join(";"));
    for _ in 0..EACH {
        let mut stream = accept(&listener);
        stream.write_all(b"quit").expect("a write");
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).expect("a greeting, an echo");
        assert_eq!(heard, [GREETING, b"quit"].concat());
    }
    let entries = server.stop();
    let told = |number| {
        let matches = |entry: &&Entry| matches!(entry, Entry::Connected { ticket: told, .. } if *told == ticket(number));
        entries.iter().filter(matches).count()
    };
    assert!((0..EACH).all(|number| told(number) == 1));
    let closed = |entry: &Entry| matches!(entry, Entry::Closed { .. } | Entry::Finished(_));
    assert_eq!(entries.iter().filter(|entry| closed(entry)).count(), 0);
}

#[test]
fn where_nobody_listens_it_is_refused() {
    let (server, mut control) = serve(Setup::default());
    for (number, listener) in (0..).zip(listeners()) {
        tell(
            &mut control,
            &format!("connect {number} {}", nobody(listener)),
        );
        let failed = Entry::ConnectFailed {
            ticket: ticket(number),
            refused: true,
        };
        server.log.wait(1, |entry| *entry == failed);
    }
    assert_eq!(connected(&server.stop()), []);
}

#[test]
fn where_no_way_leads_it_fails_and_nobody_has_refused() {
    let (server, mut control) = serve(Setup::default());
    tell(&mut control, "connect 7 255.255.255.255:1");
    let failed = Entry::ConnectFailed {
        ticket: ticket(7),
        refused: false,
    };
    server.log.wait(1, |entry| *entry == failed);
    server.stop();
}

#[test]
fn without_a_descriptor_left_it_fails_and_the_rest_goes_on() {
    if in_child() {
        return without_descriptors();
    }
    let output = run_in_child("outgoing::without_a_descriptor_left_it_fails_and_the_rest_goes_on");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

fn without_descriptors() {
    let (server, mut control) = serve(Setup::default());
    ping(&mut control, b"here");
    let listener = listener();
    let limits = getrlimit(Resource::Nofile);
    let limit_to = |current| {
        let limit = Rlimit { current, ..limits };
        setrlimit(Resource::Nofile, limit).expect("a limit");
    };
    limit_to(Some(3));
    tell(&mut control, &connect_to(&listener, 1));
    let failed = Entry::ConnectFailed {
        ticket: ticket(1),
        refused: false,
    };
    server.log.wait(1, |entry| *entry == failed);
    limit_to(limits.current);
    tell(&mut control, &connect_to(&listener, 2));
    ping(&mut greeted(&listener), b"now it goes");
    server.stop();
}

/// A listener that has as many callers as it takes, and the last of those.
fn full() -> (TcpListener, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    rustix::net::listen(&listener, 0).expect("a backlog");
    let address = listener.local_addr().expect("an address");
    let stream = TcpStream::connect(address).expect("room for one");
    (listener, client(stream))
}

#[test]
fn what_is_given_up_is_closed_and_not_heard_of_again() {
    let (server, mut control) = serve(Setup::default());
    let (busy, _caller) = full();
    tell(&mut control, &connect_to(&busy, 1));
    // It goes on, whatever is under way.
    ping(&mut control, b"still here");
    tell(&mut control, "give-up 1;give-up 1;give-up 77");
    // In one turn with what asks for it.
    tell(&mut control, &format!("{};give-up 2", connect_to(&busy, 2)));
    tell(
        &mut control,
        "connect 3 255.255.255.255:1;give-up 3;connect 4 255.255.255.255:1",
    );
    let failed = Entry::ConnectFailed {
        ticket: ticket(4),
        refused: false,
    };
    server.log.wait(1, |entry| *entry == failed);

    let free = listener();
    tell(&mut control, &connect_to(&free, 5));
    ping(&mut greeted(&free), b"somebody else");
    drop(accept(&busy));
    let entries = server.stop();
    let told = entries.iter().filter(|entry| {
        matches!(
            entry,
            Entry::Connected { .. } | Entry::ConnectFailed { .. } | Entry::Closed { .. }
        )
    });
    assert_eq!(told.count(), 2, "of 4 and 5: {entries:?}");
    // The slot that was given up is the next one's, so it had been closed.
    let conn = ConnId {
        slot: 1,
        generation: 1,
    };
    assert_eq!(connected(&entries), [conn]);
    let error = busy.accept().expect_err("nobody else has called");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_machine_knows_nothing_of_what_is_on_its_way() {
    let (busy, _caller) = full();
    let address = busy.local_addr().expect("an address");
    let server = Setup::default().serve(|_| {
        super::harness::On(
            move |_: WorkerId, _: Now, event: &Event<'_>, actions: &mut Actions| {
                // The next ids, whoever has them.
                let guessed = [1, 2].map(|slot| ConnId {
                    slot,
                    generation: 0,
                });
                let Event::Received { bytes, .. } = event else {
                    return;
                };
                match &bytes[..] {
                    b"connect" => actions.connect.push((ticket(1), address)),
                    b"pause" => actions.pause.extend(guessed),
                    b"resume" => actions.resume.extend(guessed),
                    b"close" => {
                        actions.write.extend(guessed);
                        actions.close.extend(guessed);
                    }
                    _ => {}
                }
            },
        )
    });
    let mut control = server.connect();
    for command in ["connect", "pause", "resume", "close", "pause"] {
        tell(&mut control, command);
    }
    drop(accept(&busy));
    ping(&mut greeted(&busy), b"it came about all the same");
    server.stop();
}

#[test]
fn a_peer_that_resets_is_told_as_such() {
    let (server, mut control) = serve(Setup::default());
    let listener = listener();
    tell(&mut control, &connect_to(&listener, 1));
    let stream = greeted(&listener);
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("an option");
    drop(stream);
    server
        .log
        .wait(1, |entry| matches!(entry, Entry::Closed { .. }));
    let entries = server.stop();
    let conn = connected(&entries)[0];
    let closed = Entry::Closed { conn, reset: true };
    assert!(entries.contains(&closed), "{entries:?}");
}

#[test]
fn only_connections_of_clients_count() {
    let peers = listener();
    let peer_address = peers.local_addr().expect("an address");
    let (server, mut control) = serve(Setup {
        more_listeners: vec![(Bound::Tcp(peers), Listener::Peer)],
        ..Setup::default()
    });
    let far = listener();
    tell(&mut control, &connect_to(&far, 1));
    let mut outgoing = greeted(&far);
    let mut peer = client(TcpStream::connect(peer_address).expect("a connection"));
    ping(&mut peer, b"a peer");
    ping(&mut server.connect(), b"a client");
    server.log.wait(1, is_finished);
    tell(&mut control, "figures");
    server.log.wait(1, |entry| matches!(entry, Entry::Host(_)));
    for stream in [&mut outgoing, &mut peer] {
        stream.write_all(b"quit").expect("a write");
        assert!(stream.read_to_end(&mut Vec::new()).is_ok());
    }
    tell(&mut control, "figures");
    server.log.wait(2, |entry| matches!(entry, Entry::Host(_)));
    let mut open = Vec::new();
    let mut figures = Vec::new();
    for entry in server.stop() {
        match entry {
            Entry::Accepted {
                listener, open: at, ..
            } => open.push((listener, at)),
            Entry::Host(host) => figures.push(host.open_connections),
            _ => {}
        }
    }
    let (client, peer) = (Listener::Client, Listener::Peer);
    assert_eq!(open, [(client, 1), (peer, 1), (client, 2)]);
    assert_eq!(figures, [1, 1]);
}

/// Once told to stop, it turns to others, and stops when it has heard of all.
struct Farewell {
    to: TcpListener,
    left: u32,
}

impl Script for Farewell {
    fn on(&mut self, _: WorkerId, _: Now, event: &Event<'_>, actions: &mut Actions) {
        let to = self.to.local_addr().expect("an address");
        match event {
            Event::Stop => {
                actions.connect.push((ticket(1), to));
                actions.resolve.push((ticket(1), to.to_string()));
            }
            Event::Connected { .. } | Event::Resolved { .. } => self.left -= 1,
            _ => {}
        }
        actions.stopped = self.left == 0;
    }

    fn stops_at_once(&self) -> bool {
        false
    }
}

#[test]
fn a_machine_that_stops_can_still_turn_to_others() {
    let far = listener();
    let to = far.try_clone().expect("a clone");
    let server = Setup::default().serve(move |_| Farewell {
        to: to.try_clone().expect("a clone"),
        left: 2,
    });
    server.running.stopper().stop();
    for is_told in [
        |entry: &Entry| matches!(entry, Entry::Connected { .. }),
        |entry: &Entry| matches!(entry, Entry::Resolved { .. }),
    ] {
        server.log.wait(1, is_told);
    }
    server.running.wait().expect("an orderly end");
    assert_eq!(connected(&server.log.entries()).len(), 1);
    let mut heard = Vec::new();
    let ended = accept(&far).read_to_end(&mut heard);
    assert!(ended.is_ok(), "it is closed when the machine has stopped");
}

#[test]
fn what_is_under_way_when_a_machine_has_stopped_ends_unheard() {
    let (server, mut control) = serve(Setup::default());
    let (busy, _caller) = full();
    tell(&mut control, &connect_to(&busy, 1));
    let entries = server.stop();
    assert!(!entries.iter().any(|entry| matches!(
        entry,
        Entry::Connected { .. } | Entry::ConnectFailed { .. } | Entry::Closed { .. }
    )));
    drop(accept(&busy));
    let error = busy.accept().expect_err("nobody else has called");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}
