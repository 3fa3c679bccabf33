//! `zufar status`: asks a node for the cluster as it sees it, and shows that.
//!
//! Decides the table's columns. Refuses to know how a node comes by its answer.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;
use zufar_core::protocol::peer::{
    DiskState, Frame, NodeState, NodeStatus, VERSION_HIGHEST, VERSION_LOWEST, decode, encode,
};
use zufar_core::settings::Limits;

use crate::args::StatusArguments;
use crate::error::describe;
use crate::options::ListenAddress;
use crate::settings::{CLIENT_PORT, peer_port};
use crate::{exit, output};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
const READ_BYTES: usize = 4096;

/// Shows what the node says.
pub(crate) fn run(arguments: &StatusArguments) -> ExitCode {
    let (host, port) = match address(arguments) {
        Ok(address) => address,
        Err(line) => {
            output::complain(&line);
            return exit::NOT_STARTED.into();
        }
    };
    let shown = ListenAddress {
        host: host.clone(),
        port: Some(port),
    };
    let bytes = match ask(&host, port) {
        Ok(bytes) => bytes,
        Err(error) => {
            output::complain(&format!("node {shown}: {error}"));
            return exit::FAILED.into();
        }
    };
    let Ok(Some((Frame::StatusReply { nodes }, _))) = decode(&bytes, frame_bytes_max()) else {
        unreachable!("`ask` returns a status reply");
    };
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
    match output::answer(&text) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read it has read enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&format!("standard output: {}", describe(&error)));
            exit::FAILED.into()
        }
    }
}

fn address(arguments: &StatusArguments) -> Result<(String, u16), String> {
    let address: ListenAddress = arguments.host.parse()?;
    match (address.port, arguments.port) {
        (Some(_), Some(_)) => Err(format!("two ports: `{}` has one", arguments.host)),
        (one, other) => {
            let port = one.or(other).unwrap_or(peer_port(CLIENT_PORT));
            Ok((address.host, port))
        }
    }
}

fn frame_bytes_max() -> usize {
    Limits::default().frame_bytes_max
}

/// The node's status reply, as it came.
fn ask(host: &str, port: u16) -> Result<Vec<u8>, String> {
    let until = Instant::now() + PATIENCE;
    let mut stream = connect(host, port, until).map_err(|error| describe(&error))?;
    let mut question = Vec::new();
    encode(
        &Frame::Hello {
            lowest: VERSION_LOWEST,
            highest: VERSION_HIGHEST,
            guid: "",
            node: None,
        },
        &mut question,
    );
    encode(&Frame::StatusRequest, &mut question);
    stream
        .write_all(&question)
        .map_err(|error| describe(&error))?;
    let mut input = Vec::new();
    loop {
        match decode(&input, frame_bytes_max()) {
            Err(error) => return Err(format!("it does not speak the peer protocol: {error}")),
            Ok(Some((Frame::StatusReply { .. }, _))) => return Ok(input),
            Ok(Some((Frame::Refused { text, .. }, _))) => {
                return Err(format!("it refuses: {}", plain(text)));
            }
            Ok(Some((_, consumed))) => {
                input.drain(..consumed);
            }
            Ok(None) => receive(&mut stream, &mut input, until)?,
        }
    }
}

fn connect(host: &str, port: u16, until: Instant) -> io::Result<TcpStream> {
    let mut result = Err(io::Error::new(ErrorKind::NotFound, "it has no address"));
    for address in (host, port).to_socket_addrs()? {
        let patience = left(until)?;
        result = TcpStream::connect_timeout(&address, patience);
        if result.is_ok() {
            break;
        }
    }
    let stream = result?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::Error::new(ErrorKind::TimedOut, "it does not answer"));
    }
    Ok(left)
}

fn receive(stream: &mut TcpStream, input: &mut Vec<u8>, until: Instant) -> Result<(), String> {
    let mut buffer = [0; READ_BYTES];
    let read = left(until)
        .and_then(|left| stream.set_read_timeout(Some(left)))
        .and_then(|()| stream.read(&mut buffer));
    match read {
        Ok(0) => Err("it has closed the connection".to_owned()),
        Ok(read) => {
            input.extend_from_slice(&buffer[..read]);
            Ok(())
        }
        Err(error) => match error.kind() {
            ErrorKind::Interrupted => Ok(()),
            ErrorKind::WouldBlock => Err("it does not answer".to_owned()),
            _ => Err(describe(&error)),
        },
    }
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
        let load = format!("{:>DIRTY_WIDTH$}/{}", node.dirty_items, node.items);
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
    let what = match node.disk {
        DiskState::Absent | DiskState::Healthy => return None,
        DiskState::Full => "its disk is full",
        DiskState::Failing => "its disk fails",
    };
    let (guid, lag_ms) = (plain(node.guid), node.written_lag_ms);
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
}

fn json(nodes: &[NodeStatus<'_>]) -> String {
    let nodes = nodes.iter().map(Node::of).collect();
    let report = serde_json::to_string(&Report { nodes });
    report.expect("texts and numbers are JSON") + "\n"
}

impl<'a> Node<'a> {
    const fn of(node: &NodeStatus<'a>) -> Self {
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
            items: node.items,
            dirty_items: node.dirty_items,
            dirty_bytes: node.dirty_bytes,
            written_lag_ms: node.written_lag_ms,
            synced_lag_ms: node.synced_lag_ms,
            disk: match node.disk {
                DiskState::Absent => "absent",
                DiskState::Healthy => "healthy",
                DiskState::Full => "full",
                DiskState::Failing => "failing",
            },
            disk_items: node.disk_items,
            disk_bytes: node.disk_bytes,
            memory_bytes: node.memory_bytes,
            memory_bytes_max: node.memory_bytes_max,
        }
    }
}
