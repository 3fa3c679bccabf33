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
    bind(&plan(config), false).expect_err(config).0
}

#[test]
fn what_is_bound_can_be_reached_and_is_named() {
    let listening = bind(
        &plan("listen = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\npeer-listen = \"127.0.0.1:0\""),
        false,
    )
    .expect("free ports");
    assert_eq!(listening.clients.len(), 2);
    assert!(listening.clients[0].ends_with(&format!(":{}", listening.tcp_port)));
    assert_eq!(listening.peers.len(), 1);
    let addresses = listening.client_addresses.iter().chain(&listening.peers);
    for address in addresses {
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
        assert!(error.ends_with("set `secret-file`"), "{error}");
    }
    let config = "listen = [\"127.0.0.1:0\"]\npeer-listen = \"0.0.0.0:0\"";
    bind(&plan(config), true).expect("with a secret they need not");
}

#[test]
fn datagrams_come_to_where_peers_connect() {
    let config = "listen = [\"127.0.0.1:0\"]\npeer-listen = \"127.0.0.1:0\"";
    let peers = bind(&plan(config), false).expect("free ports").peers;
    let socket = bind_datagrams(&peers, peers[0]).expect("a free port");
    assert_eq!(socket.local_addr().expect("bound"), peers[0]);
    let error = bind_datagrams(&peers, peers[0]).expect_err("taken").0;
    let address = peers[0];
    assert_eq!(
        error,
        format!("can't listen on {address} for datagrams: address already in use")
    );
}

/// What is advertised may be another address than the one that is bound.
#[test]
fn datagrams_come_to_the_address_of_the_kind_that_is_advertised() {
    let free = |host: &str| UdpSocket::bind((host, 0)).and_then(|it| it.local_addr());
    let peers = ["::1", "127.0.0.1"].map(|host| free(host).expect("a free port"));
    let advertised = "192.0.2.1:7".parse().expect("an address");
    let socket = bind_datagrams(&peers, advertised).expect("free again");
    assert_eq!(socket.local_addr().expect("bound"), peers[1]);
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
    let listening = bind(&plan(&config), false).expect("a free path");
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
    drop(bind(&plan(&config), false).expect("nobody listens there"));
    fs::write(&path, "precious").expect("a file");
    assert!(refusal(&config).ends_with("is no socket"));
    assert_eq!(fs::read(&path).expect("still there"), b"precious");
}
