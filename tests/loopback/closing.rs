//! Ends of connections: whoever ends them, and however.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use zufar_core::id::ConnId;
use zufar_core::machine::{Actions, Event};

use super::harness::{Entry, On, Setup, noise, ping};

fn is_paused(entry: &Entry) -> bool {
    matches!(entry, Entry::Paused(_))
}

fn is_finished(entry: &Entry) -> bool {
    matches!(entry, Entry::Finished(_))
}

fn is_closed(entry: &Entry) -> bool {
    matches!(entry, Entry::Closed { .. })
}

fn is_reset(entry: &Entry) -> bool {
    matches!(entry, Entry::Closed { reset: true, .. })
}

/// Closes so that the peer sees a reset.
fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("an option");
}

/// Sends until nothing moves any more.
fn stuff(stream: &TcpStream) {
    let patience = Duration::from_millis(300);
    stream.set_write_timeout(Some(patience)).expect("an option");
    let data = noise(64 << 10);
    let mut stream = stream;
    loop {
        match stream.write(&data) {
            // Less than all means that it waited in vain for the rest.
            Ok(bytes) if bytes == data.len() => {}
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_half_closed_connection_gets_all_its_answers() {
    let server = Setup::default().serve_plain();
    for bytes in [0, 1, 100, 64 << 10, 100_000] {
        let mut stream = server.connect();
        let data = noise(bytes);
        stream.write_all(&data).expect("a write");
        stream.shutdown(Shutdown::Write).expect("a shutdown");
        let mut back = Vec::new();
        stream.read_to_end(&mut back).expect("an echo");
        assert!(back == data, "{bytes}");
    }
    server.log.wait(5, is_finished);
    let entries = server.stop();
    assert_eq!(entries.iter().filter(|entry| is_finished(entry)).count(), 5);
    assert!(!entries.iter().any(is_closed), "the machine asked");
}

#[test]
fn an_end_that_comes_while_paused_is_seen_after_resume() {
    let server = Setup::default().serve_plain();
    let mut stream = server.connect();
    stuff(&stream);
    server.log.wait(1, is_paused);
    stream.shutdown(Shutdown::Write).expect("a shutdown");
    assert_eq!(server.log.count(is_finished), 0);
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("an echo");
    let pattern = noise(64 << 10);
    assert!(
        back.chunks(pattern.len())
            .all(|part| *part == pattern[..part.len()])
    );
    assert!(back.len() > 256 << 10);
    server.log.wait(1, is_finished);
    server.stop();
}

#[test]
fn a_reset_closes_once() {
    let server = Setup::default().serve_plain();
    let mut idle = server.connect();
    ping(&mut idle, b"here");
    reset(idle);
    server.log.wait(1, is_reset);
    let entries = server.stop();
    assert_eq!(entries.iter().filter(|entry| is_closed(entry)).count(), 1);
    assert!(!entries.iter().any(is_finished));
}

#[test]
fn a_reset_of_a_paused_connection_that_waits_to_write_closes() {
    let server = Setup::default().serve_plain();
    let stream = server.connect();
    stuff(&stream);
    server.log.wait(1, is_paused);
    reset(stream);
    server.log.wait(1, is_reset);
    server.stop();
}

#[test]
fn a_reset_after_the_end_of_the_stream_closes() {
    let server = Setup {
        unsent_bytes_max: usize::MAX,
        ..Setup::default()
    }
    .serve_plain();
    let stream = server.connect();
    let mut writer = &stream;
    // Enough to fill the sockets on the way back, so that the answer can't all be sent.
    writer.write_all(&noise(32 << 20)).expect("a write");
    stream.shutdown(Shutdown::Write).expect("a shutdown");
    server.log.wait(1, is_finished);
    reset(stream);
    server.log.wait(1, is_reset);
    server.stop();
}

#[test]
fn a_reset_of_a_connection_that_is_neither_read_nor_written_closes() {
    let server = Setup {
        closes: false,
        ..Setup::default()
    }
    .serve_plain();
    let stream = server.connect();
    stream.shutdown(Shutdown::Write).expect("a shutdown");
    server.log.wait(1, is_finished);
    reset(stream);
    server.log.wait(1, is_reset);
    server.stop();
}

#[test]
fn a_connection_closed_with_an_answer_unsent_gets_it() {
    let server = Setup::default().serve_plain();
    let mut stream = server.connect();
    ping(&mut stream, b"hello");
    stream.write_all(b"I quit").expect("a write");
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("an echo and the end");
    assert_eq!(back, b"I quit");
    let entries = server.stop();
    assert!(!entries.iter().any(is_closed), "the machine asked");
    assert!(!entries.iter().any(is_finished), "nothing after the close");
}

#[test]
fn dead_and_unheard_of_ids_are_ignored() {
    // Ids that no connection ever had, and then those of connections that are gone.
    let unheard_of = (0..4).map(|slot| ConnId {
        slot: slot * slot * 1000,
        generation: 77,
    });
    let server = Setup::default().serve(move |_| {
        let mut dead: Vec<_> = unheard_of.clone().collect();
        On(
            move |_, _, event: &Event<'_>, actions: &mut Actions| match event {
                Event::Accepted { conn, .. } => {
                    assert!(!dead.contains(conn), "a new id");
                    actions.resume.extend(&dead);
                }
                Event::Received { conn, bytes } => {
                    actions.write.extend(&dead);
                    actions.pause.extend(&dead);
                    actions.close.extend(&dead);
                    if bytes.ends_with(b"quit") {
                        dead.push(*conn);
                    }
                }
                _ => {}
            },
        )
    });
    for _ in 0..20 {
        let mut stream = server.connect();
        ping(&mut stream, b"hello");
        ping(&mut stream, b"again");
        stream.write_all(b"quit").expect("a write");
        let mut back = Vec::new();
        stream.read_to_end(&mut back).expect("an echo and the end");
        assert_eq!(back, b"quit");
    }
    let entries = server.stop();
    let generations: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Accepted { conn, .. } => Some((conn.slot, conn.generation)),
            _ => None,
        })
        .collect();
    let expected: Vec<_> = (0..20).map(|generation| (0, generation)).collect();
    assert_eq!(generations, expected, "one slot serves them all");
}
