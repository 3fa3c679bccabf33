//! Many connections, and too many.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use zufar_core::id::WorkerId;

use super::harness::{Entry, Setup, client, eventually, in_child, listener, ping, run_in_child};

fn limit_descriptors(descriptors: u64) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: Some(descriptors),
        maximum,
    };
    setrlimit(Resource::Nofile, limit).expect("a limit");
}

#[test]
fn a_thousand_connections_are_shared_out_evenly() {
    const CONNECTIONS: u32 = 1000;
    let limits = getrlimit(Resource::Nofile);
    if limits.current.is_some_and(|current| current < 4096) {
        limit_descriptors(limits.maximum.unwrap_or(4096).min(4096));
    }
    let server = Setup {
        workers: 2,
        ..Setup::default()
    }
    .serve_plain();
    let is_accepted = |entry: &Entry| matches!(entry, Entry::Accepted { .. });
    for round in 0..2_usize {
        let mut streams: Vec<_> = (0..CONNECTIONS).map(|_| server.connect()).collect();
        for (number, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&number.to_le_bytes()).expect("a write");
        }
        for (number, stream) in streams.iter_mut().enumerate() {
            let mut back = [0; 8];
            stream.read_exact(&mut back).expect("an echo");
            assert_eq!(usize::from_le_bytes(back), number);
        }
        drop(streams);
        let ended = (round + 1) * CONNECTIONS as usize;
        server
            .log
            .wait(ended, |entry| matches!(entry, Entry::Finished(_)));
    }
    server.log.wait(2 * CONNECTIONS as usize, is_accepted);
    let entries = server.stop();
    let mut slots = [Vec::new(), Vec::new()];
    let mut open_max = 0;
    for entry in entries {
        if let Entry::Accepted {
            worker, conn, open, ..
        } = entry
        {
            slots[usize::from(worker.0)].push(conn.slot);
            open_max = open_max.max(open);
        }
    }
    assert_eq!(open_max, CONNECTIONS);
    for slots in slots {
        assert_eq!(slots.len(), CONNECTIONS as usize, "taken in turn");
        assert!(slots.iter().all(|slot| *slot < CONNECTIONS / 2), "dense");
    }
}

#[test]
fn running_out_of_descriptors_neither_kills_nor_spins() {
    if in_child() {
        return out_of_descriptors();
    }
    let output = run_in_child("crowd::running_out_of_descriptors_neither_kills_nor_spins");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

fn answers(stream: &mut TcpStream) -> bool {
    let patience = Duration::from_millis(400);
    stream.set_read_timeout(Some(patience)).expect("an option");
    match stream.read(&mut [0]) {
        Ok(1) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        other => panic!("{other:?}"),
    }
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("a positive time")
}

/// Fails if the process is busy while `waiting` waits.
fn assert_idle(waiting: impl FnOnce()) {
    let spent = cpu_time();
    waiting();
    let spent = cpu_time() - spent;
    assert!(spent < Duration::from_millis(100), "spun for {spent:?}");
}

fn out_of_descriptors() {
    const CLIENTS: usize = 40;
    const ROOM: u64 = 12;
    // The clients are connected first: the kernel completes what nobody has accepted yet.
    let listener = listener();
    let address = listener.local_addr().expect("an address");
    let connect = |_| client(TcpStream::connect(address).expect("a connection"));
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(connect).collect();
    for stream in &mut clients {
        stream.write_all(b"?").expect("a write");
    }
    let before = getrlimit(Resource::Nofile).current.unwrap_or(1024);
    let next = listener.try_clone().expect("a descriptor").as_raw_fd();
    limit_descriptors(u64::try_from(next).expect("a descriptor") + ROOM);
    let server = Setup {
        listener,
        ..Setup::default()
    }
    .serve_plain();
    let accepted = || {
        server
            .log
            .count(|entry| matches!(entry, Entry::Accepted { .. }))
    };
    server
        .log
        .wait(1, |entry| *entry == Entry::Notice("accept-failed".into()));
    assert!(!answers(&mut clients[CLIENTS - 1]), "it can't be accepted");
    let served = accepted();
    assert!((1..ROOM as usize).contains(&served), "{served}");

    assert_idle(|| assert!(!answers(&mut clients[CLIENTS - 1]), "it still can't"));
    assert_eq!(accepted(), served);

    // Descriptors that become free are used, one for one.
    let mut rest = clients.split_off(3);
    drop(clients);
    server
        .log
        .wait(served + 3, |entry| matches!(entry, Entry::Accepted { .. }));
    // And when there is room for all, nobody needs to close first.
    limit_descriptors(before);
    for stream in &mut rest {
        eventually("an answer", || answers(stream));
        ping(stream, b"still here");
    }
    assert_idle(|| assert!(!answers(&mut rest[0]), "nothing was asked"));
    assert_eq!(accepted(), CLIENTS);
    let notices = server.log.count(|entry| matches!(entry, Entry::Notice(_)));
    assert_eq!(notices, 1, "the operator is told once");
    assert!(server.stop().contains(&Entry::Stop(WorkerId(0))));
}
