//! `zufar partitions` shows who holds what.
#![allow(missing_docs)]

use std::process::Command;

use zufar_tests::cluster::peer_address;
use zufar_tests::program::{self, Program};
use zufar_tests::{Cluster, Node, PATIENCE, wait_for};

fn partitions(node: &Node, flags: &[&str]) -> String {
    let output = Command::new(program::zufar())
        .args(["partitions", &peer_address(node)])
        .args(flags)
        .env_remove("ZUFAR_SECRET")
        .output()
        .expect("the program can be run");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// The second column of the rows, as numbers, and what it comes to.
fn sum(table: &str, column: usize) -> u32 {
    let rows = table.lines().skip(1);
    let cells = rows.map(|row| row.split_whitespace().nth(column).expect("a cell"));
    cells
        .map(|cell| cell.parse::<u32>().expect("a number"))
        .sum()
}

#[test]
fn two_nodes_hold_everything_and_agree_on_who_holds_a_key() {
    if Program::is_stand_in() {
        return;
    }
    let cluster = Cluster::start(2, |_| Node::options().memory_mib(16));
    cluster.await_rows(&[0, 1], &["UN", "UN"]);
    let (first, second) = (&cluster.nodes[0], &cluster.nodes[1]);
    wait_for("one placement", PATIENCE, || {
        let table = partitions(first, &[]);
        let both = table.lines().count() == 3 && table == partitions(second, &[]);
        (both && (sum(&table, 0), sum(&table, 1)) == (4096, 8192)).then_some(())
    });
    wait_for("the primaries are where they belong", PATIENCE, || {
        let said = partitions(first, &["--key", "greeting"]);
        let cells: Vec<&str> = said.lines().map(|line| line[13..].trim()).collect();
        let [_, primary, backups, now] = cells[..] else {
            panic!("{said}");
        };
        assert!(primary != backups, "{said}");
        let agreed = said == partitions(second, &["--key", "greeting"]);
        (agreed && now == primary).then_some(())
    });
}

#[test]
fn a_node_on_its_own_holds_everything() {
    if Program::is_stand_in() {
        return;
    }
    let node = Node::options().memory_mib(16).no_disk().start();
    let expected = format!("     4096      4096  100.0 %  {}", node.guid());
    assert_eq!(partitions(&node, &[]).lines().nth(1), Some(&*expected));
    let said = partitions(&node, &["--key", "greeting"]);
    assert!(
        said.ends_with(&format!("Primary now  {}\n", node.guid())),
        "{said}"
    );
}
