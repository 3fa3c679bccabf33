//! Two more nodes beside each lone one that a test starts: the same tests then go through one node
//! of a cluster, two thirds of whose keys are elsewhere.
//!
//! Decides who gets companions and what these have in common with it. Refuses to know what a test
//! does.
//!
//! `ZUFAR_CLUSTER=3` asks for it. Nodes that a test itself makes a cluster of have no companions,
//! nor has a memcached. What is done to the process of a node (killed, stopped, started) is done to
//! all of its cluster at once: what a test then finds has come from their disks, and not from a
//! companion's memory. A cluster all of which was down serves a partition once its nodes have
//! compared their disks, so the first client after a start waits for that. `tests/alone.txt` names
//! the tests that are left out, and says why.

use std::path::{Path, PathBuf};

use crate::cluster::peer_address;
use crate::program::{self, Program};
use crate::{Node, NodeOptions};

/// The companions of a node with these options.
pub(crate) fn of(options: &NodeOptions) -> Vec<Node> {
    let tells_of_others = |flag: &String| ["--cluster", "--join"].contains(&flag.as_str());
    if options.program != Program::Zufar || options.flags.iter().any(tells_of_others) {
        return Vec::new();
    }
    (1..program::nodes_in_place_of_one())
        .map(|number| companion(options, number).prepared())
        .collect()
}

/// A companion has all that the node has, but for what must be its own.
fn companion(options: &NodeOptions, number: usize) -> NodeOptions {
    // A number, as transcripts expect where a node is named.
    let guid = format!("{}{number}", options.guid);
    let mut companion = options.clone().guid(&guid);
    companion.number = number;
    companion.runtime = None;
    match &options.data_dir {
        None => companion,
        // Next to the node's, so that the next node there finds that of its companions.
        Some(path) => companion.data_dir(beside(path, number)),
    }
}

fn beside(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("-companion-{number}"));
    name.into()
}

/// Tells a node and its companions of each other, all of all.
pub(crate) fn introduce(node: &mut Node) {
    if node.companions.is_empty() {
        return;
    }
    let addresses: Vec<String> = node.all().map(peer_address).collect();
    let flags_of = |number: usize| {
        let mut others = addresses.clone();
        others.remove(number);
        // Of this test run alone, so that another one on the same host is refused.
        let cluster = format!("suite-{}", std::process::id());
        ["--cluster", &cluster, "--join", &others.join(",")].map(str::to_owned)
    };
    node.cluster_flags = flags_of(0).to_vec();
    for (at, companion) in node.companions.iter_mut().enumerate() {
        companion.cluster_flags = flags_of(at + 1).to_vec();
    }
}
