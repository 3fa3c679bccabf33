//! Names that are looked up.

use std::net::{Ipv4Addr, SocketAddr};

use zufar_core::machine::RESOLVES_MAX;

use super::commands::{serve, tell, ticket};
use super::harness::{Entry, Server, Setup};

fn is_resolved(entry: &Entry) -> bool {
    matches!(entry, Entry::Resolved { .. })
}

/// What has come of ticket `number`.
fn wait(server: &Server, number: u32) -> Result<Vec<SocketAddr>, String> {
    let is_it = |entry: &Entry| matches!(entry, Entry::Resolved { ticket: told, .. } if *told == ticket(number));
    server.log.wait(1, is_it);
    match server.log.entries().into_iter().find(is_it) {
        Some(Entry::Resolved { addresses, .. }) => addresses,
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_and_addresses_are_resolved() {
    let (server, mut control) = serve(Setup::default());
    tell(&mut control, "resolve 1 localhost:77");
    let addresses = wait(&server, 1).expect("this machine has a name");
    assert!(!addresses.is_empty());
    assert!(
        addresses
            .iter()
            .all(|address| address.ip().is_loopback() && address.port() == 77)
    );
    for (number, text, expected) in [
        (2, "127.0.0.1:5", "127.0.0.1:5"),
        (3, "[::1]:6", "[::1]:6"),
        (4, "[::ffff:127.0.0.1]:7", "127.0.0.1:7"),
    ] {
        tell(&mut control, &format!("resolve {number} {text}"));
        let expected = expected.parse().expect("an address");
        assert_eq!(wait(&server, number), Ok(vec![expected]), "{text}");
    }
    server.stop();
}

#[test]
fn names_that_stand_for_nothing_fail_with_a_reason() {
    let (server, mut control) = serve(Setup::default());
    let long = "a".repeat(300);
    let names = ["no-such-host.invalid:1", "no-port", "a..b:1", ":x", &long];
    for (number, name) in (0..).zip(names) {
        tell(&mut control, &format!("resolve {number} {name}"));
    }
    for (number, name) in (0..).zip(names) {
        let reason = wait(&server, number).expect_err(name);
        assert!(!reason.is_empty(), "{name}");
    }
    server.stop();
}

#[test]
fn any_worker_may_ask_and_too_many_names_fail_at_once() {
    const MANY: usize = 3 * RESOLVES_MAX;
    let (server, _first) = serve(Setup {
        workers: 2,
        ..Setup::default()
    });
    let mut second = server.connect();
    let commands: Vec<_> = (0..MANY)
        .map(|number| format!("resolve {number} 127.0.0.1:{number}"))
        .collect();
    tell(&mut second, &commands.join(";"));
    server.log.wait(MANY, is_resolved);
    let mut answered = vec![0; MANY];
    let mut failed = 0;
    for entry in server.log.entries() {
        let Entry::Resolved { ticket, addresses } = entry else {
            continue;
        };
        answered[ticket.slot as usize] += 1;
        match addresses {
            Ok(addresses) => {
                let port = u16::try_from(ticket.slot).expect("a port");
                assert_eq!(addresses, [SocketAddr::from((Ipv4Addr::LOCALHOST, port))]);
            }
            Err(_) => failed += 1,
        }
    }
    assert!(answered.iter().all(|times| *times == 1), "{answered:?}");
    assert_eq!(failed, MANY - RESOLVES_MAX);
    // And then there is room again.
    tell(&mut second, "resolve 1000 127.0.0.1:1");
    assert!(wait(&server, 1000).is_ok());
    server.stop();
}
