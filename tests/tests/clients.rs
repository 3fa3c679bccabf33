//! Real clients from their registries, and libmemcached's own check of a server.
#![allow(missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;

use zufar_tests::program::{self, Program};
use zufar_tests::{Node, NodeOptions};

/// Where `scripts/clients` has put the clients.
fn python() -> PathBuf {
    let output = Command::new(program::repository().join("scripts/clients"))
        .output()
        .expect("bash can be run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "scripts/clients failed (scripts/test installs what it needs):\n{errors}"
    );
    let home = String::from_utf8(output.stdout).expect("a path");
    Path::new(home.trim()).join("bin/python")
}

fn session(script: &str, options: NodeOptions) {
    let node = options.start();
    let output = Command::new(python())
        .current_dir(program::repository().join("tests/clients"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args([script, "127.0.0.1", &node.port().to_string()])
        .output()
        .expect("python can be run");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{script}:\n{said}");
    // A script that did nothing would also exit with 0.
    let parts = said.matches("as it should be").count();
    assert_eq!(parts, 8, "{script}:\n{said}");
}

#[test]
fn pymemcache() {
    session("pymemcache_session.py", Node::options());
}

#[test]
fn pylibmc() {
    session("pylibmc_session.py", Node::options().no_disk());
}

#[test]
fn python_memcached() {
    session("python_memcached_session.py", Node::options().threads(1));
}

/// With values that live on disk only, clients see no difference.
#[test]
fn pymemcache_with_little_memory() {
    if Program::is_stand_in() {
        return;
    }
    session("pymemcache_session.py", Node::options().memory_mib(8));
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
