//! Several processes that are one cluster: they find each other, show each other, notice who dies,
//! and refuse who does not belong.
#![allow(missing_docs)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use zufar_tests::cluster::{ask, describe, peer_address, status};
use zufar_tests::program::{self, Program};
use zufar_tests::{Cluster, Node, NodeOptions, PATIENCE, wait_for};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

fn small() -> NodeOptions {
    Node::options().memory_mib(16)
}

fn generation(node: &Node, guid: &str) -> u64 {
    let generation = describe(node, guid)["generation"].as_u64();
    generation.expect("a generation is a number")
}

/// Waits until a node has logged a line with all of these parts.
fn await_line(node: &Node, parts: &[&str]) {
    wait_for(&format!("a line with {parts:?}"), PATIENCE, || {
        let log = node.log();
        let mut lines = log.lines();
        lines
            .any(|line| parts.iter().all(|part| line.contains(part)))
            .then_some(())
    });
}

fn secret_file(directory: &Path, secrets: &str) -> String {
    let path = directory.join("secret");
    fs::write(&path, secrets).expect("it can be written");
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(&path, private).expect("it is ours");
    path.to_str().expect("text").to_owned()
}

#[test]
fn three_nodes_find_each_other_and_each_shows_all() {
    if Program::is_stand_in() {
        return;
    }
    let cluster = Cluster::start(3, |_| small());
    cluster.await_rows(&[0, 1, 2], &["UN", "UN", "UN"]);
    let (_, table) = ask(&cluster.nodes[1], &[]);
    for node in &cluster.nodes {
        let address = peer_address(node);
        let row = format!("UN  {address:<21}  0/0       {:<33}1\n", node.guid());
        assert!(table.contains(&row), "{row} in\n{table}");
    }
    let described = describe(&cluster.nodes[0], "2");
    assert_eq!(described["versions"]["highest"], 1);
    assert_eq!(described["disk"], "healthy");
    let digest = |number: usize| {
        let guid = number.to_string();
        describe(&cluster.nodes[0], &guid)["layout_digest"].clone()
    };
    wait_for("one layout", PATIENCE, || {
        (digest(0) == digest(1) && digest(1) == digest(2)).then_some(())
    });
    assert!(digest(0).is_string());
}

#[test]
fn nodes_on_different_runtimes_are_one_cluster() {
    if Program::is_stand_in() {
        return;
    }
    let runtimes = program::runtimes();
    let cluster = Cluster::start(3, |number| {
        small()
            .no_disk()
            .runtime(&runtimes[number % runtimes.len()])
    });
    cluster.await_rows(&[0, 1, 2], &["UN", "UN", "UN"]);
}

#[test]
fn a_killed_node_is_shown_as_down_and_returns_as_a_later_run() {
    if Program::is_stand_in() {
        return;
    }
    let mut cluster = Cluster::start(3, |_| small());
    cluster.await_rows(&[0, 1, 2], &["UN", "UN", "UN"]);
    let before = generation(&cluster.nodes[0], "2");
    cluster.nodes[2].kill_9();
    cluster.await_rows(&[0, 1], &["UN", "UN", "DN"]);
    // What it holds is not known, and is left out.
    let down = describe(&cluster.nodes[0], "2");
    assert_eq!(down["up"], false);
    assert_eq!(down["generation"], before);
    assert!(down.get("items").is_none(), "{down}");
    cluster.nodes[2].start();
    cluster.await_rows(&[0, 1, 2], &["UN", "UN", "UN"]);
    let after = generation(&cluster.nodes[0], "2");
    assert!(after > before, "{after} after {before}");
}

#[test]
fn a_node_that_stops_says_goodbye() {
    if Program::is_stand_in() {
        return;
    }
    let mut cluster = Cluster::start(2, |_| small().no_disk());
    cluster.await_rows(&[0, 1], &["UN", "UN"]);
    cluster.nodes[1].terminate();
    // Nobody has to find out: the first answer shows it.
    cluster.await_rows(&[0], &["UN", "DN"]);
    let before = generation(&cluster.nodes[0], "1");
    cluster.nodes[1].start();
    cluster.await_rows(&[0, 1], &["UN", "UN"]);
    // Without a disk it is the time.
    assert!(generation(&cluster.nodes[0], "1") > before);
}

#[test]
fn nodes_that_restart_find_the_others_without_being_told() {
    if Program::is_stand_in() {
        return;
    }
    let mut cluster = Cluster::start(3, |_| small());
    cluster.await_rows(&[0, 1, 2], &["UN", "UN", "UN"]);
    for node in &cluster.nodes {
        node.await_written();
    }
    for node in &mut cluster.nodes {
        node.set_flags(["--cluster", "zufar"]);
    }
    // One alone.
    cluster.nodes[1].kill_9();
    cluster.nodes[1].start();
    cluster.await_rows(&[0, 1, 2], &["UN", "UN", "UN"]);
    // All of them; the one that all had been told of comes last.
    for node in &mut cluster.nodes {
        node.kill_9();
    }
    for number in [2, 1, 0] {
        cluster.nodes[number].start();
    }
    cluster.await_rows(&[0, 1, 2], &["UN", "UN", "UN"]);
    for node in &cluster.nodes {
        let log = node.log();
        assert!(!log.contains("cluster-joined"), "another cluster:\n{log}");
        assert!(!log.contains("note-damaged"), "{log}");
    }
}

#[test]
fn a_node_with_another_secret_is_refused_and_both_say_so() {
    if Program::is_stand_in() {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let (ours, theirs) = (home.path().join("a"), home.path().join("b"));
    for directory in [&ours, &theirs] {
        fs::create_dir(directory).expect("a directory can be made");
    }
    let ours = secret_file(&ours, SECRET);
    let theirs = secret_file(&theirs, OTHER);
    let first = small().guid("a").no_disk();
    let first = first
        .flags(["--cluster", "shop", "--secret-file", &ours])
        .start();
    let address = peer_address(&first);
    let join = ["--cluster", "shop", "--join", &address];
    let second = small().guid("b").no_disk().flags(join);
    let second = second.flags(["--secret-file", &theirs]).start();
    let third = small().guid("c").no_disk().flags(join).start();
    await_line(&first, &["peer-refused", "secret is none of those"]);
    await_line(
        &second,
        &[
            "peer-refused",
            &address,
            "your cluster secret is none of those",
        ],
    );
    await_line(
        &third,
        &["peer-refused", &address, "this node has a cluster secret"],
    );
    // A command is a peer, too.
    let (succeeds, said) = ask(&first, &["--secret-file", &ours]);
    assert!(succeeds, "{said}");
    assert!(said.contains("UN  "), "{said}");
    assert_eq!(said.lines().count(), 4, "{said}");
    let (succeeds, said) = ask(&first, &[]);
    assert!(
        !succeeds && said.contains("this node has a cluster secret"),
        "{said}"
    );
    let (succeeds, said) = ask(&first, &["--secret-file", &theirs]);
    assert!(!succeeds && said.contains("none of those"), "{said}");
    let (succeeds, said) = ask(&third, &["--secret-file", &ours]);
    assert!(!succeeds && said.contains("no cluster secret"), "{said}");
}

#[test]
fn a_node_of_another_cluster_is_refused_and_both_say_so() {
    if Program::is_stand_in() {
        return;
    }
    let shop = small()
        .guid("a")
        .no_disk()
        .flags(["--cluster", "shop"])
        .start();
    let address = peer_address(&shop);
    let bank = small().guid("b").no_disk();
    let bank = bank
        .flags(["--cluster", "bank", "--join", &address])
        .start();
    await_line(&shop, &["peer-refused", "cluster `bank`", "`shop`"]);
    await_line(&bank, &["peer-refused", "`shop`"]);
    assert_eq!(status(&shop), [("UN".to_owned(), "a".to_owned())]);
    // One that is in no cluster says so, too.
    let single = small().guid("c").no_disk().start();
    let address = peer_address(&single);
    let lost = small()
        .guid("d")
        .no_disk()
        .flags(["--join", &address])
        .start();
    await_line(
        &lost,
        &["peer-refused", &address, "has not been told to have others"],
    );
}

/// Nodes that share a secret speak to each other under it, on all of several that are valid.
#[test]
fn secrets_can_be_rotated() {
    if Program::is_stand_in() {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let secret = secret_file(home.path(), SECRET);
    let flags = ["--secret-file", &secret];
    let mut cluster = Cluster::start(2, |_| small().no_disk().flags(flags));
    let both = |cluster: &Cluster| {
        wait_for("two rows", PATIENCE, || {
            let (_, table) = ask(&cluster.nodes[0], &flags);
            (table.matches("UN  ").count() == 2).then_some(())
        });
    };
    both(&cluster);
    // The other one first, and only there.
    secret_file(home.path(), &format!("{OTHER}\n{SECRET}\n"));
    cluster.nodes[0].terminate();
    cluster.nodes[0].start();
    both(&cluster);
}

/// The one line of a start that is refused.
fn refusal(flags: &[&str]) -> String {
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let output = Command::new(program::zufar())
        .args(["serve", "--no-disk", "--guid", "a"])
        .args(flags)
        .env_remove("ZUFAR_SECRET")
        .current_dir(home.path())
        .output()
        .expect("the program can be run");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    errors
}

#[test]
fn what_would_not_be_safe_is_refused_at_the_start() {
    if Program::is_stand_in() {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let secret = secret_file(home.path(), SECRET);
    let client = format!("127.0.0.1:{}", zufar_tests::ports::reserve());
    let wildcard = format!("0.0.0.0:{}", zufar_tests::ports::reserve());
    let serve = [
        "--cluster",
        "shop",
        "--listen",
        &client,
        "--peer-listen",
        &wildcard,
    ];
    let without_secret = refusal(&serve);
    assert!(
        without_secret.contains("0.0.0.0 is not loopback, and without a cluster secret"),
        "{without_secret}"
    );
    let guarded = [&serve[..], &["--secret-file", &secret]].concat();
    let unnamed = refusal(&guarded);
    assert!(unnamed.contains("advertise-peer is missing"), "{unnamed}");
    let wrong = refusal(&[&serve[..], &["--secret-file", "/no/such/file"]].concat());
    assert!(wrong.contains("secret-file /no/such/file"), "{wrong}");
    let stray = refusal(&["--weight", "5"]);
    assert!(stray.contains("in no cluster"), "{stray}");
}

/// With a secret the peer port of a node on its own may be open to other hosts, too.
#[test]
fn a_node_on_its_own_can_have_a_secret() {
    if Program::is_stand_in() {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let secret = secret_file(home.path(), SECRET);
    let node = small().no_disk().flags(["--secret-file", &secret]).start();
    let (succeeds, said) = ask(&node, &["--secret-file", &secret]);
    assert!(succeeds && said.lines().count() == 4, "{said}");
    let (succeeds, said) = ask(&node, &[]);
    assert!(
        !succeeds && said.contains("this node has a cluster secret"),
        "{said}"
    );
    let output = Command::new(program::zufar())
        .args(["status", &peer_address(&node)])
        .env("ZUFAR_SECRET", SECRET)
        .output()
        .expect("the program can be run");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
}
