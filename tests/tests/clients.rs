//! Real clients from their registries, and libmemcached's own check of a server.
#![allow(missing_docs)]

use std::path::PathBuf;
use std::process::Command;

use zufar_tests::program::{self, Program};
use zufar_tests::{Node, NodeOptions};

/// Where `scripts/clients` has put the clients.
fn home() -> PathBuf {
    let output = Command::new(program::repository().join("scripts/clients"))
        .output()
        .expect("bash can be run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "scripts/clients failed (scripts/test installs what it needs):\n{errors}"
    );
    let home = String::from_utf8(output.stdout).expect("a path");
    PathBuf::from(home.trim())
}

/// A client's session, by what it is written in.
enum Session {
    Python(&'static str),
    Node(&'static str),
    Rust(&'static str),
}

impl Session {
    fn command(&self) -> Command {
        let home = home();
        let scripts = program::repository().join("tests/clients");
        match self {
            Self::Python(script) => {
                let mut command = Command::new(home.join("python/bin/python"));
                command.env("PYTHONDONTWRITEBYTECODE", "1");
                command.arg(scripts.join(script));
                command
            }
            Self::Node(script) => {
                let mut command = Command::new("node");
                command.env("NODE_PATH", home.join("npm/node_modules"));
                command.arg(scripts.join(script));
                command
            }
            Self::Rust(name) => Command::new(home.join("target/release").join(name)),
        }
    }
}

/// Parts of every session; see tests/clients/session.py.
const PARTS: usize = 9;

fn play(session: &Session, options: NodeOptions) {
    let node = options.start();
    let mut command = session.command();
    let output = command
        .args(["127.0.0.1", &node.port().to_string()])
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{command:?}:\n{said}");
    // A script that did nothing would also exit with 0.
    let parts = said.matches("as it should be").count();
    assert_eq!(parts, PARTS, "{command:?}:\n{said}");
}

#[test]
fn pymemcache() {
    play(&Session::Python("pymemcache_session.py"), Node::options());
}

#[test]
fn pylibmc() {
    let options = Node::options().no_disk();
    play(&Session::Python("pylibmc_session.py"), options);
}

#[test]
fn python_memcached() {
    let options = Node::options().threads(1);
    play(&Session::Python("python_memcached_session.py"), options);
}

#[test]
fn emcache() {
    let options = Node::options().threads(3);
    play(&Session::Python("emcache_session.py"), options);
}

#[test]
fn aiomcache() {
    play(&Session::Python("aiomcache_session.py"), Node::options());
}

#[test]
fn memcached_of_npm() {
    play(&Session::Node("memcached_session.js"), Node::options());
}

#[test]
fn memcache_of_crates_io() {
    play(&Session::Rust("memcache-session"), Node::options());
}

/// With values that live on disk only, clients see no difference.
#[test]
fn pymemcache_with_little_memory() {
    if Program::is_stand_in() {
        return;
    }
    let options = Node::options().memory_mib(8);
    play(&Session::Python("pymemcache_session.py"), options);
}

/// Checks of `memccapable` that memcached 1.6.45 does not pass either: both send
/// `delete a b c d e` and want an error for it, as it was until 1.6.38. Since 1.6.40 memcached
/// ignores what follows the key.
const FAILED_BY_MEMCACHED_TOO: &[&str] = &["delete", "delete noreply"];

#[test]
fn memccapable() {
    let node = Node::options().start();
    let output = Command::new("memccapable")
        .args(["-a", "-h", "127.0.0.1", "-p", &node.port().to_string()])
        .output()
        .expect("memccapable is there: scripts/test installs libmemcached-tools");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // Verdicts other than [pass] go to standard error: a failed check is a name that the next
    // name follows.
    let mut passed = 0;
    let mut failed = Vec::new();
    for chunk in said.split_inclusive("[pass]") {
        let names = chunk.split("ascii ").skip(1);
        for name in names {
            match name.strip_suffix("[pass]") {
                Some(_) => passed += 1,
                None => failed.push(name.lines().next().unwrap_or(name).trim().to_owned()),
            }
        }
    }
    assert_eq!(
        passed + failed.len(),
        27,
        "the checks of memccapable -a:\n{said}"
    );
    let expected = if Program::is_stand_in() {
        &[]
    } else {
        FAILED_BY_MEMCACHED_TOO
    };
    assert_eq!(failed, expected, "\n{said}");
}
