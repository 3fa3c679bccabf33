use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::options::Options;
use crate::settings::{self, Host};

fn plan(config: &str) -> Plan {
    let options: Options = toml::from_str(config).expect("a right config");
    let host = Host {
        cores: 1,
        state_directory: None,
        current_directory: PathBuf::from("/"),
    };
    settings::resolve(&options, &host).expect("a right plan")
}

fn refusal(config: &str) -> String {
    bind(&plan(config)).expect_err(config).0
}

#[test]
fn what_is_bound_can_be_reached_and_is_named() {
    let listening = bind(&plan(
        "listen = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\npeer-listen = \"127.0.0.1:0\"",
    ))
    .expect("free ports");
    assert_eq!(listening.clients.len(), 2);
    assert!(listening.clients[0].ends_with(&format!(":{}", listening.tcp_port)));
    assert_eq!(listening.peers.len(), 1);
    for address in listening.clients.iter().chain(&listening.peers) {
        TcpStream::connect(address).expect("somebody listens");
    }
    let kinds: Vec<Listener> = listening.sockets.iter().map(|(_, kind)| *kind).collect();
    assert_eq!(kinds, [Listener::Client, Listener::Client, Listener::Peer]);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound");
    for config in [
        format!("listen = [\"{address}\"]\npeer-listen = \"127.0.0.1:0\""),
        format!("listen = [\"127.0.0.1:0\"]\npeer-listen = \"{address}\""),
    ] {
        let error = refusal(&config);
        assert_eq!(
            error,
            format!("can't listen on {address}: address already in use")
        );
    }
}

#[test]
fn peers_stay_on_loopback() {
    for host in ["0.0.0.0", "[::]", "192.0.2.1"] {
        let error = refusal(&format!(
            "listen = [\"127.0.0.1:0\"]\npeer-listen = \"{host}:0\""
        ));
        assert!(error.starts_with("peer-listen "), "{error}");
    }
}

#[test]
fn a_name_that_stands_for_nothing_is_named() {
    let error = refusal("listen = [\"no-such-host.invalid:0\"]");
    assert!(
        error.starts_with("listen address no-such-host.invalid: "),
        "{error}"
    );
    let error = refusal("listen = [\"192.0.2.1:0\"]\npeer-listen = \"127.0.0.1:0\"");
    assert!(
        error.starts_with("can't listen on 192.0.2.1:0: "),
        "{error}"
    );
}

#[test]
fn a_unix_socket_has_its_mode_and_goes_with_its_owner() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("z.sock");
    let config = format!(
        "unix-socket = \"{}\"\nunix-mask = \"750\"\npeer-listen = \"127.0.0.1:0\"",
        path.display()
    );
    let listening = bind(&plan(&config)).expect("a free path");
    assert_eq!(listening.tcp_port, 0);
    let mode = fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o750);
    UnixStream::connect(&path).expect("somebody listens");
    let error = refusal(&config);
    assert!(error.ends_with("z.sock: address already in use"), "{error}");
    drop(listening);
    assert!(!path.exists());
}

#[test]
fn a_stale_unix_socket_is_replaced_and_nothing_else_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("z.sock");
    let config = format!(
        "unix-socket = \"{}\"\npeer-listen = \"127.0.0.1:0\"",
        path.display()
    );
    drop(UnixListener::bind(&path).expect("a free path"));
    assert!(path.exists());
    drop(bind(&plan(&config)).expect("nobody listens there"));
    fs::write(&path, "precious").expect("a file");
    assert!(refusal(&config).ends_with("is no socket"));
    assert_eq!(fs::read(&path).expect("still there"), b"precious");
}
