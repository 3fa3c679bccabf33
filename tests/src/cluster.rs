//! Several nodes of one cluster, each a process of its own, and what they say of each other.
//!
//! Decides how they are told of each other and how it is awaited that they agree. Refuses to know
//! what a test does with them.

use std::process::Command;

use serde_json::Value;

use crate::{Client, Node, NodeOptions, PATIENCE, program, wait_for};

/// The nodes, by the order of their starts. Node `n` is called `n`.
#[derive(Debug)]
pub struct Cluster {
    /// All of them, also those that do not run.
    pub nodes: Vec<Node>,
}

/// What `zufar status` shows of one node: `UN`, and its guid.
pub type Row = (String, String);

impl Cluster {
    /// Starts so many nodes, one after the other, each with the options that `options` gives. All
    /// but the first are told where the first one is.
    ///
    /// # Panics
    /// When one of them doesn't start.
    #[must_use]
    pub fn start(count: usize, options: impl Fn(usize) -> NodeOptions) -> Self {
        let mut nodes: Vec<Node> = Vec::new();
        for number in 0..count {
            let mut options = options(number).guid(&number.to_string());
            options.number = number;
            let options = match nodes.first() {
                Some(first) => options.flags(["--join", &peer_address(first)]),
                None => options.flags(["--cluster", "zufar"]),
            };
            nodes.push(options.start());
        }
        Self { nodes }
    }

    /// Waits until all nodes are primaries of what they should be, and hold all replicas.
    ///
    /// # Panics
    /// When it does not come to that.
    pub fn await_shared_out(&self) {
        await_shared_out(&self.nodes.iter().collect::<Vec<_>>());
    }

    /// Waits until each of the nodes `of` shows these rows, in any state of load.
    ///
    /// # Panics
    /// When one of them doesn't.
    pub fn await_rows(&self, of: &[usize], rows: &[&str]) {
        let wanted: Vec<Row> = rows
            .iter()
            .enumerate()
            .map(|(number, letters)| ((*letters).to_owned(), number.to_string()))
            .collect();
        for number in of {
            let mut last = Vec::new();
            let what = format!("{wanted:?} at node {number}");
            wait_for(&what, PATIENCE, || {
                last = status(&self.nodes[*number]);
                (last == wanted).then_some(())
            });
        }
    }
}

const PARTITIONS: u64 = 4096;
/// The default of `--replication-factor`.
const REPLICAS: u64 = 2;

/// Waits until these nodes are primaries of everything together, each of what the placement gives
/// it, as many hold each partition as should, and nothing is on its way any more.
///
/// # Panics
/// When it does not come to that.
pub fn await_shared_out(nodes: &[&Node]) {
    let copies = copies(nodes.len());
    let mut clients: Vec<Client> = nodes.iter().map(|node| node.client()).collect();
    let mut of_each = |name: &str| -> Vec<u64> {
        let figures = clients.iter_mut().map(|client| client.stat("zufar", name));
        figures.collect()
    };
    wait_for("the partitions to be shared out", PATIENCE, || {
        let primaries = of_each("partitions_primary");
        let held: u64 = of_each("replicas_in_sync").iter().sum();
        let fills: u64 = of_each("fills_given").iter().sum();
        let all = primaries.iter().sum::<u64>() == PARTITIONS;
        let settled = all && held == copies * PARTITIONS && fills == 0;
        (settled && primaries == placed(nodes)).then_some(())
    });
}

/// How many of so many nodes hold each item.
pub(crate) fn copies(nodes: usize) -> u64 {
    REPLICAS.min(nodes as u64)
}

/// How many primaries the placement gives to each of these nodes, as the first of them sees it.
fn placed(nodes: &[&Node]) -> Vec<u64> {
    let output = Command::new(program::zufar())
        .args(["partitions", &peer_address(nodes[0])])
        .env_remove("ZUFAR_SECRET")
        .output()
        .expect("the program can be run");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect())
        .collect();
    let of = |node: &&Node| {
        let mut rows = rows.iter();
        let row = rows.find(|row| row.last() == Some(&node.guid()));
        row.and_then(|row| row[0].parse().ok()).unwrap_or(0)
    };
    nodes.iter().map(of).collect()
}

/// Where other nodes reach it.
#[must_use]
pub fn peer_address(node: &Node) -> String {
    format!("127.0.0.1:{}", node.peer_port())
}

/// What `zufar status` answers when it asks a node, and whether it succeeds.
///
/// # Panics
/// When the program can't be run.
#[must_use]
pub fn ask(node: &Node, flags: &[&str]) -> (bool, String) {
    let output = Command::new(program::zufar())
        .args(["status", &peer_address(node)])
        .args(flags)
        .env_remove("ZUFAR_SECRET")
        .output()
        .expect("the program can be run");
    let said = match output.status.success() {
        true => output.stdout,
        false => output.stderr,
    };
    let said = String::from_utf8(said).expect("status prints text");
    (output.status.success(), said)
}

/// The rows of the table that a node shows.
///
/// # Panics
/// When it shows none.
#[must_use]
pub fn status(node: &Node) -> Vec<Row> {
    let (_, table) = ask(node, &[]);
    let rows = table.lines().skip(3).map(|line| {
        let mut cells = line.split_whitespace();
        let mut cell = |at| cells.nth(at).unwrap_or_default().to_owned();
        (cell(0), cell(2))
    });
    rows.collect()
}

/// What a node says of the one called `guid`, in JSON.
///
/// # Panics
/// When it doesn't know it.
#[must_use]
pub fn describe(node: &Node, guid: &str) -> Value {
    let (_, text) = ask(node, &["--json"]);
    let report: Value = serde_json::from_str(&text).expect("status prints JSON");
    let nodes = report["nodes"].as_array().expect("a list of nodes");
    let mut nodes = nodes.iter().filter(|it| it["guid"] == guid);
    nodes
        .next()
        .unwrap_or_else(|| panic!("{guid} is not known: {text}"))
        .clone()
}
