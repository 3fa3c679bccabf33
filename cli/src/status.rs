//! `zufar status`: asks a node for the cluster as it sees it, and shows that.
//!
//! Decides the table's columns. Refuses to know how a node comes by its answer.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::process::ExitCode;

use serde::Serialize;
use zufar_core::protocol::peer::{DiskState, Frame, NodeFigures, NodeState, NodeStatus, decode};

use crate::args::StatusArguments;
use crate::peer::{Conversation, begin, frame_bytes_max};
use crate::{exit, output};

/// An answer that is longer is of no cluster that there can be.
const REPLY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Shows what the node says.
pub(crate) fn run(arguments: &StatusArguments) -> ExitCode {
    let (mut conversation, shown) = match begin(&arguments.peer) {
        Ok(begun) => begun,
        Err(code) => return code,
    };
    let replies = match ask(&mut conversation) {
        Ok(replies) => replies,
        Err(error) => {
            output::complain(&format!("node {shown}: {error}"));
            return exit::FAILED.into();
        }
    };
    let nodes = nodes_of(&replies);
    let text = if arguments.json {
        json(&nodes)
    } else {
        table(&nodes)
    };
    if !arguments.json {
        for trouble in nodes.iter().filter_map(trouble) {
            output::complain(&trouble);
        }
    }
    output::show(&text)
}

/// The node's status reply, as it came: frames one behind the other.
fn ask(conversation: &mut Conversation) -> Result<Vec<u8>, String> {
    conversation.say(&Frame::StatusRequest)?;
    let mut replies = Vec::new();
    loop {
        let frame = conversation.next_frame()?;
        if let Ok(Some((Frame::StatusReply { last, .. }, _))) = decode(&frame, frame_bytes_max()) {
            replies.extend_from_slice(&frame);
            if last {
                return Ok(replies);
            }
            if replies.len() > REPLY_BYTES_MAX {
                return Err("its answer does not end".to_owned());
            }
        }
    }
}

/// The nodes that status replies tell of.
fn nodes_of(mut replies: &[u8]) -> Vec<NodeStatus<'_>> {
    let mut all = Vec::new();
    while let Ok(Some((frame, bytes))) = decode(replies, frame_bytes_max()) {
        replies = &replies[bytes..];
        if let Frame::StatusReply { nodes, .. } = frame {
            all.extend(nodes);
        }
    }
    all
}

const ADDRESS_WIDTH: usize = 21;
const DIRTY_WIDTH: usize = 3;
const LOAD_WIDTH: usize = 12;
const GUID_WIDTH: usize = 33;

fn table(nodes: &[NodeStatus<'_>]) -> String {
    let mut table = String::from(
        "Status=Up/Down\n\
         |/ State=Normal/Leaving/Joining/Moving\n\
         --  Address              Load       GUID                              Rack\n",
    );
    for node in nodes {
        let load = match &node.figures {
            Some(figures) => format!("{:>DIRTY_WIDTH$}/{}", figures.dirty_items, figures.items),
            None => format!("{:>DIRTY_WIDTH$}/?", "?"),
        };
        table.push(if node.up { 'U' } else { 'D' });
        table.push(match node.state {
            NodeState::Normal => 'N',
            NodeState::Leaving => 'L',
            NodeState::Joining => 'J',
            NodeState::Moving => 'M',
        });
        table.push_str("  ");
        push_cell(&plain(node.address), ADDRESS_WIDTH, &mut table);
        push_cell(&load, LOAD_WIDTH, &mut table);
        push_cell(&plain(node.guid), GUID_WIDTH, &mut table);
        table.push_str(&plain(node.rack));
        table.push('\n');
    }
    table
}

/// Fills the cell up to `width`; what is too long keeps one space before the next cell.
fn push_cell(text: &str, width: usize, table: &mut String) {
    let width = width - 1;
    write!(table, "{text:<width$} ").expect("a string takes everything");
}

/// What came over the network must not steer the terminal.
fn plain(text: &str) -> String {
    text.replace(|letter: char| letter.is_control() || letter == ' ', "?")
}

fn trouble(node: &NodeStatus<'_>) -> Option<String> {
    let figures = node.figures.as_ref()?;
    let what = match figures.disk {
        DiskState::Absent | DiskState::Healthy => return None,
        DiskState::Full => "its disk is full",
        DiskState::Failing => "its disk fails",
    };
    let (guid, lag_ms) = (plain(node.guid), figures.written_lag_ms);
    Some(format!("node-{guid}: {what}; {lag_ms} ms are not written"))
}

#[derive(Serialize)]
struct Report<'a> {
    nodes: Vec<Node<'a>>,
}

#[derive(Serialize)]
struct Node<'a> {
    up: bool,
    state: &'static str,
    address: &'a str,
    guid: &'a str,
    rack: &'a str,
    version: &'a str,
    generation: u64,
    /// Only of a node that has answered.
    #[serde(flatten)]
    figures: Option<Figures>,
}

#[derive(Serialize)]
struct Figures {
    versions: Versions,
    items: u64,
    dirty_items: u64,
    dirty_bytes: u64,
    written_lag_ms: u64,
    synced_lag_ms: u64,
    disk: &'static str,
    disk_items: u64,
    disk_bytes: u64,
    memory_bytes: u64,
    memory_bytes_max: u64,
    /// In hexadecimal: not every reader of JSON has numbers of 64 bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    layout_digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas_in_sync: Option<u64>,
}

/// Of the peer protocol.
#[derive(Serialize)]
struct Versions {
    lowest: u16,
    highest: u16,
}

fn json(nodes: &[NodeStatus<'_>]) -> String {
    let nodes = nodes.iter().map(Node::of).collect();
    let report = serde_json::to_string(&Report { nodes });
    report.expect("texts and numbers are JSON") + "\n"
}

impl<'a> Node<'a> {
    fn of(node: &NodeStatus<'a>) -> Self {
        Self {
            up: node.up,
            state: match node.state {
                NodeState::Normal => "normal",
                NodeState::Leaving => "leaving",
                NodeState::Joining => "joining",
                NodeState::Moving => "moving",
            },
            address: node.address,
            guid: node.guid,
            rack: node.rack,
            version: node.version,
            generation: node.generation,
            figures: node.figures.as_ref().map(Figures::of),
        }
    }
}

impl Figures {
    fn of(figures: &NodeFigures) -> Self {
        let (lowest, highest) = figures.versions;
        Self {
            versions: Versions { lowest, highest },
            items: figures.items,
            dirty_items: figures.dirty_items,
            dirty_bytes: figures.dirty_bytes,
            written_lag_ms: figures.written_lag_ms,
            synced_lag_ms: figures.synced_lag_ms,
            disk: match figures.disk {
                DiskState::Absent => "absent",
                DiskState::Healthy => "healthy",
                DiskState::Full => "full",
                DiskState::Failing => "failing",
            },
            disk_items: figures.disk_items,
            disk_bytes: figures.disk_bytes,
            memory_bytes: figures.memory_bytes,
            memory_bytes_max: figures.memory_bytes_max,
            layout_digest: figures.layout_digest.map(|digest| format!("{digest:016x}")),
            replicas_in_sync: figures.replicas_in_sync,
        }
    }
}
