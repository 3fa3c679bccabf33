//! Bytes there and back, fast and slow.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use zufar_core::machine::Listener;
use zufar_host::Bound;

use super::harness::{Entry, PATIENCE, Server, Setup, noise, ping};

fn is_paused(entry: &Entry) -> bool {
    matches!(entry, Entry::Paused(_))
}

#[test]
fn tcp_and_unix_are_served_alike() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let unix = UnixListener::bind(&path).expect("a socket");
    let server = Setup {
        more_listeners: vec![(Bound::Unix(unix), Listener::Peer)],
        ..Setup::default()
    }
    .serve_plain();
    let mut tcp = server.connect();
    ping(&mut tcp, b"over tcp");
    let mut unix = UnixStream::connect(&path).expect("a connection");
    unix.set_read_timeout(Some(PATIENCE)).expect("an option");
    ping(&mut unix, b"over a path");
    let data = noise(5 << 20);
    let mut writer = unix.try_clone().expect("a clone");
    let sent = data.clone();
    let writer = thread::spawn(move || {
        writer.write_all(&sent).expect("a write");
        writer.shutdown(Shutdown::Write).expect("a shutdown");
    });
    let mut back = Vec::new();
    unix.read_to_end(&mut back).expect("an echo");
    assert!(back == data);
    writer.join().expect("the writer");
    let kinds: Vec<_> = server
        .stop()
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::Accepted { listener, .. } => Some(listener),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, [Listener::Client, Listener::Peer]);
}

#[test]
fn a_writer_of_single_bytes_is_served() {
    let server = Setup::default().serve_plain();
    let mut stream = server.connect();
    let data = noise(3000);
    for byte in &data {
        stream.write_all(&[*byte]).expect("a write");
    }
    let mut back = vec![0; data.len()];
    stream.read_exact(&mut back).expect("an echo");
    assert_eq!(back, data);
    server.stop();
}

/// Sends `data` from another thread and reads it back once `ready` returns.
fn echo_all(server: &Server, data: &[u8], ready: impl FnOnce()) {
    let mut stream = server.connect();
    let mut writer = stream.try_clone().expect("a clone");
    let sent = data.to_vec();
    let writer = thread::spawn(move || {
        writer.write_all(&sent).expect("a write");
        writer.shutdown(Shutdown::Write).expect("a shutdown");
    });
    ready();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("an echo");
    assert!(back == data, "{} of {} bytes", back.len(), data.len());
    writer.join().expect("the writer");
}

#[test]
fn tens_of_megabytes_flow_under_back_pressure() {
    let server = Setup::default().serve_plain();
    // Nothing is read until the machine has paused the connection.
    echo_all(&server, &noise(48 << 20), || {
        server.log.wait(1, is_paused);
    });
    server.stop();
}

#[test]
fn more_slices_than_one_write_takes_do_not_stall() {
    let server = Setup {
        slice_bytes: 7,
        unsent_bytes_max: usize::MAX,
        ..Setup::default()
    }
    .serve_plain();
    echo_all(&server, &noise(1 << 20), || {});
    server.stop();
}

#[test]
fn a_reader_that_does_not_read_harms_nobody() {
    let server = Setup::default().serve_plain();
    let data = noise(16 << 20);
    echo_all(&server, &data, || {
        server.log.wait(1, is_paused);
        let mut other = server.connect();
        for round in 0..1000_u32 {
            ping(&mut other, &round.to_le_bytes());
        }
    });
    server.stop();
}

#[test]
fn reads_of_exactly_the_buffer_lose_nothing() {
    let server = Setup::default().serve_plain();
    let mut stream = server.connect();
    for bytes in [64 << 10, (64 << 10) - 1, (64 << 10) + 1, 128 << 10] {
        ping(&mut stream, &noise(bytes));
    }
    server.stop();
}
