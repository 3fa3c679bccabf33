use super::*;
use crate::args::{self, Command};
use crate::settings::{self, Host};

fn plan(line: &str) -> ClusterPlan {
    let words = ["zufar", "serve", "--cluster", "c"].into_iter();
    let words = words.chain(line.split_whitespace());
    let Command::Serve(serve) = args::parse(words).expect(line).command else {
        unreachable!("`serve` was said");
    };
    let host = Host {
        cores: 1,
        state_directory: None,
        current_directory: "/".into(),
    };
    let plan = settings::resolve(&serve.options, &host).expect(line);
    plan.cluster.expect("a cluster")
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn resolved(
    line: &str,
    client: &str,
    peer: &str,
    has_secret: bool,
) -> Result<Advertised, StartError> {
    resolve(
        &plan(line),
        &[address(client)],
        &[address(peer)],
        has_secret,
    )
}

fn refusal(line: &str, client: &str, peer: &str, has_secret: bool) -> String {
    resolved(line, client, peer, has_secret).expect_err(line).0
}

#[test]
fn what_is_bound_is_advertised_unless_told_otherwise() {
    let (client, peer) = ("127.0.0.1:1", "127.0.0.2:2");
    let plain = Advertised {
        client: client.to_owned(),
        peer: peer.to_owned(),
        peer_address: address(peer),
    };
    assert_eq!(resolved("", client, peer, false), Ok(plain));
    let told = resolved(
        "--advertise-client cache.example --advertise-peer 127.0.0.9:99",
        "0.0.0.0:1",
        "[::]:2",
        false,
    );
    let expected = Advertised {
        client: "cache.example:1".to_owned(),
        peer: "127.0.0.9:99".to_owned(),
        peer_address: address("127.0.0.9:99"),
    };
    assert_eq!(told, Ok(expected));
    let named = resolved("--advertise-peer localhost", client, "0.0.0.0:2", true);
    let named = named.expect("every machine has it");
    assert_eq!(named.peer, "localhost:2");
    assert!(named.peer_address.ip().is_loopback());
    let nobody = resolve(&plan(""), &[], &[address(peer)], false).expect("a Unix socket");
    assert_eq!(nobody.client, "");
}

#[test]
fn a_wildcard_has_to_be_said_in_other_words() {
    let lines = [
        refusal("", "0.0.0.0:1", "127.0.0.1:2", true),
        refusal("--advertise-client a", "0.0.0.0:1", "[::]:2", true),
        refusal(
            "--advertise-client 0.0.0.0",
            "0.0.0.0:1",
            "127.0.0.1:2",
            true,
        ),
        refusal("--advertise-peer [::]", "127.0.0.1:1", "[::]:2", true),
        refusal(
            "--advertise-peer 127.0.0.1:0",
            "127.0.0.1:1",
            "[::]:2",
            true,
        ),
    ];
    let expected = [
        "advertise-client is missing: 0.0.0.0:1, where clients are listened for, is no address \
         that others can connect to",
        "advertise-peer is missing: [::]:2, where other nodes are listened for, is no address \
         that others can connect to",
        "advertise-client 0.0.0.0:1: it is no address that others can connect to",
        "advertise-peer [::]:2: it is no address that others can connect to",
        "advertise-peer 127.0.0.1:0: it is no address that others can connect to",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn without_a_secret_only_loopback_is_advertised_to_peers() {
    let line = "--advertise-peer 192.0.2.1";
    let error = refusal(line, "127.0.0.1:1", "127.0.0.1:2", false);
    assert_eq!(
        error,
        "advertise-peer 192.0.2.1:2: 192.0.2.1 is not loopback, and without a cluster secret \
         nodes speak to each other on loopback only: set `secret-file`"
    );
    assert!(resolved(line, "127.0.0.1:1", "127.0.0.1:2", true).is_ok());
}

#[test]
fn an_address_without_a_port_takes_that_of_the_listener() {
    let client = plan("--advertise-client a");
    let error = resolve(&client, &[], &[address("127.0.0.1:2")], false);
    let error = error.expect_err("there is no port").0;
    assert!(error.starts_with("advertise-client a: "), "{error}");
    let line = format!("--advertise-client {}", "a".repeat(128));
    let error = refusal(&line, "127.0.0.1:1", "127.0.0.1:2", false);
    assert!(error.ends_with("at most 128 characters"), "{error}");
}
