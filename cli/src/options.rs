//! What an operator can set, by flag or by config key, and which of the two wins.
//!
//! Decides names, units and notation; the long flags are the config's keys. Refuses to know
//! defaults and which values go together.

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::PossibleValue;
use clap::{ArgAction, Args, ValueEnum};
use serde::Deserialize;

use crate::size::{ByteSize, MebiSize};

/// Everything that can be set; what is absent was not said.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Options {
    /// What waits for sockets: mio takes the least CPU; smol is there for comparison, and in case
    /// mio ever fails you [default: mio].
    #[arg(long, value_enum)]
    pub(crate) runtime: Option<Runtime>,

    /// Where clients connect: HOST or HOST:PORT, several with commas or by repeating
    /// [default: 127.0.0.1 and, where there is IPv6, ::1].
    #[arg(short = 'l', long, value_name = "ADDR", value_delimiter = ',')]
    pub(crate) listen: Vec<ListenAddress>,

    /// The client port of addresses that name none; 0 turns TCP off [default: 11211].
    #[arg(short = 'p', long, value_name = "PORT")]
    pub(crate) port: Option<u16>,

    /// A Unix socket for clients; as in memcached, TCP is then off.
    #[arg(short = 's', long, value_name = "PATH")]
    pub(crate) unix_socket: Option<PathBuf>,

    /// The Unix socket's access mode, in octal [default: 700].
    #[arg(short = 'a', long, value_name = "MODE")]
    pub(crate) unix_mask: Option<OctalMode>,

    /// Where other nodes and `zufar status` connect; without a cluster secret on loopback only
    /// [default: 127.0.0.1, the client port + 10000].
    #[arg(long, value_name = "ADDR")]
    pub(crate) peer_listen: Option<ListenAddress>,

    /// Be one node of the cluster of this name [default: zufar, if join is given; else the node
    /// is on its own].
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,

    /// Where other nodes of the cluster may be found, by their peer addresses: HOST:PORT, several
    /// with commas or by repeating; any one that answers is enough. Those that the last run knew
    /// are found without.
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    pub(crate) join: Vec<ListenAddress>,

    /// A file of cluster secrets, one a line: the first is used, all are accepted. Or the variable
    /// ZUFAR_SECRET holds them.
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,

    /// Where clients of other hosts reach this node [default: the first listen address, unless
    /// that is a wildcard].
    #[arg(long, value_name = "ADDR")]
    pub(crate) advertise_client: Option<ListenAddress>,

    /// Where other nodes reach this one [default: peer-listen, unless that is a wildcard].
    #[arg(long, value_name = "ADDR")]
    pub(crate) advertise_peer: Option<ListenAddress>,

    /// How many nodes hold each item, 1 to 7; the same on all nodes [default: 2].
    #[arg(long, value_name = "N")]
    pub(crate) replication_factor: Option<u8>,

    /// With fewer replicas in sync writes are refused; the same on all nodes [default: 1].
    #[arg(long, value_name = "N")]
    pub(crate) min_in_sync_replicas: Option<u8>,

    /// What nodes do that are cut off from a majority; the same on all nodes
    /// [default: available].
    #[arg(long, value_enum)]
    pub(crate) split_brain: Option<SplitBrain>,

    /// The node's share of the items, relative to those of the others [default: 100].
    #[arg(long, value_name = "N")]
    pub(crate) weight: Option<u32>,

    /// Where the data lives [default: $STATE_DIRECTORY, else ./zufar-data/ and the client port].
    #[arg(long, value_name = "DIR", conflicts_with = "no_disk")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Keep everything in memory only: a plain cache.
    #[arg(long)]
    pub(crate) no_disk: bool,

    /// Memory for items, index and bookkeeping included; a bare number counts MiB
    /// [default: 64].
    #[arg(short = 'm', long, alias = "memory-limit", value_name = "SIZE")]
    pub(crate) memory: Option<MebiSize>,

    /// Worker threads [default: the cores that the process may use].
    #[arg(short = 't', long, value_name = "N")]
    pub(crate) threads: Option<u16>,

    /// Longest value; a bare number counts bytes; 1k to 1g and at most half the memory
    /// [default: 1m].
    #[arg(short = 'I', long, value_name = "SIZE")]
    pub(crate) max_item_size: Option<ByteSize>,

    /// Most client connections [default: 1024].
    #[arg(short = 'c', long, alias = "conn-limit", value_name = "N")]
    pub(crate) max_connections: Option<u32>,

    /// Connections that may wait to be accepted [default: 1024].
    #[arg(short = 'b', long, value_name = "N")]
    pub(crate) listen_backlog: Option<u32>,

    /// Close a client that has been silent for so long; 0 is never [default: 0].
    #[arg(long, value_name = "SECONDS")]
    pub(crate) idle_timeout: Option<u32>,

    /// Longest wait before a change is written to disk [default: 50].
    #[arg(long, value_name = "MS")]
    pub(crate) write_interval: Option<u64>,

    /// Longest wait before what is written is synced [default: 1000].
    #[arg(long, value_name = "MS")]
    pub(crate) sync_interval: Option<u64>,

    /// Most bytes on disk; a bare number counts MiB [default: all but a tenth of the file
    /// system].
    #[arg(long, value_name = "SIZE")]
    pub(crate) disk_limit: Option<MebiSize>,

    /// What happens when the disk is full: evict the coldest items or refuse writes
    /// [default: evict].
    #[arg(long, value_enum)]
    pub(crate) when_full: Option<WhenFull>,

    /// RocksDB's buffers and caches; with what its work takes for a while, up to twice as much
    /// comes on top of the memory for items. A bare number counts MiB [default: 64].
    #[arg(long, value_name = "SIZE")]
    pub(crate) rocksdb_memory: Option<MebiSize>,

    /// The node's lasting name: 1 to 32 of a-z, 0-9 and `-` [default: drawn, and kept in the
    /// data directory].
    #[arg(long)]
    pub(crate) guid: Option<String>,

    /// Where the node stands, so that replicas can be kept apart [default: 1].
    #[arg(long)]
    pub(crate) rack: Option<String>,

    /// How a line of the log looks [default: text].
    #[arg(long, value_enum)]
    pub(crate) log_format: Option<LogFormat>,

    /// Say more; -vv and -vvv say still more.
    #[arg(short = 'v', long, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Never evict: answer an error when memory or disk is full.
    #[arg(short = 'M', long)]
    pub(crate) disable_evictions: bool,

    /// Refuse flush_all.
    #[arg(short = 'F', long)]
    pub(crate) disable_flush_all: bool,

    /// Allow the shutdown command.
    #[arg(short = 'A', long)]
    pub(crate) enable_shutdown: bool,

    /// Write the process id here, and remove the file at exit.
    #[arg(short = 'P', long, value_name = "FILE")]
    pub(crate) pidfile: Option<PathBuf>,

    /// Become this user once the ports are bound, if started as root.
    #[arg(short = 'u', long, value_name = "USER")]
    pub(crate) user: Option<String>,

    /// Run in the background; returns once the node serves.
    #[arg(short = 'd', long)]
    pub(crate) daemon: bool,
}

impl Options {
    /// These options, and where they say nothing, those of `fallback`. What together says one
    /// thing (where clients connect, whether there is a disk) is taken from one side whole.
    pub(crate) fn or(self, fallback: Self) -> Self {
        let own_clients =
            !self.listen.is_empty() || self.port.is_some() || self.unix_socket.is_some();
        let clients = if own_clients { &self } else { &fallback }.clone();
        let own_disk = self.no_disk || self.data_dir.is_some();
        let disk = if own_disk { &self } else { &fallback }.clone();
        Self {
            runtime: self.runtime.or(fallback.runtime),
            listen: clients.listen,
            port: clients.port,
            unix_socket: clients.unix_socket,
            unix_mask: self.unix_mask.or(fallback.unix_mask),
            peer_listen: self.peer_listen.or(fallback.peer_listen),
            cluster: self.cluster.or(fallback.cluster),
            join: if self.join.is_empty() {
                fallback.join
            } else {
                self.join
            },
            secret_file: self.secret_file.or(fallback.secret_file),
            advertise_client: self.advertise_client.or(fallback.advertise_client),
            advertise_peer: self.advertise_peer.or(fallback.advertise_peer),
            replication_factor: self.replication_factor.or(fallback.replication_factor),
            min_in_sync_replicas: self.min_in_sync_replicas.or(fallback.min_in_sync_replicas),
            split_brain: self.split_brain.or(fallback.split_brain),
            weight: self.weight.or(fallback.weight),
            data_dir: disk.data_dir,
            no_disk: disk.no_disk,
            memory: self.memory.or(fallback.memory),
            threads: self.threads.or(fallback.threads),
            max_item_size: self.max_item_size.or(fallback.max_item_size),
            max_connections: self.max_connections.or(fallback.max_connections),
            listen_backlog: self.listen_backlog.or(fallback.listen_backlog),
            idle_timeout: self.idle_timeout.or(fallback.idle_timeout),
            write_interval: self.write_interval.or(fallback.write_interval),
            sync_interval: self.sync_interval.or(fallback.sync_interval),
            disk_limit: self.disk_limit.or(fallback.disk_limit),
            when_full: self.when_full.or(fallback.when_full),
            rocksdb_memory: self.rocksdb_memory.or(fallback.rocksdb_memory),
            guid: self.guid.or(fallback.guid),
            rack: self.rack.or(fallback.rack),
            log_format: self.log_format.or(fallback.log_format),
            verbose: self.verbose.max(fallback.verbose),
            disable_evictions: self.disable_evictions || fallback.disable_evictions,
            disable_flush_all: self.disable_flush_all || fallback.disable_flush_all,
            enable_shutdown: self.enable_shutdown || fallback.enable_shutdown,
            pidfile: self.pidfile.or(fallback.pidfile),
            user: self.user.or(fallback.user),
            daemon: self.daemon || fallback.daemon,
        }
    }
}

/// A driver.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Runtime {
    /// Our own event loop on mio.
    #[default]
    Mio,
    /// The executors and the reactor of smol.
    Smol,
}

impl fmt::Display for Runtime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.to_possible_value();
        formatter.write_str(name.as_ref().map_or("", PossibleValue::get_name))
    }
}

/// What happens when the disk is full.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WhenFull {
    /// The coldest items go.
    Evict,
    /// Writes are refused.
    Refuse,
}

/// What nodes do that are cut off from a majority.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SplitBrain {
    /// They serve what they hold.
    Available,
    /// They refuse writes, and serve nothing before they have found another node.
    Majority,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one object a line.
    Json,
}

/// A host, by name or address, with or without a port.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(crate) struct ListenAddress {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

impl FromStr for ListenAddress {
    type Err = String;

    /// `host`, `host:port`, `[v6]:port`, `[v6]`, or a bare IPv6 address.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an address such as 127.0.0.1:11211");
        if text.starts_with("notls:") || text.starts_with("mtls:") {
            return Err(format!("`{text}`: TLS is not there yet, nor its words"));
        }
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
            let port = match rest {
                "" => None,
                _ => Some(rest.strip_prefix(':').ok_or_else(wrong)?),
            };
            (host, port)
        } else {
            match text.split_once(':') {
                Some((_, port)) if port.contains(':') => (text, None),
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if host.is_empty() || host.chars().any(char::is_whitespace) {
            return Err(wrong());
        }
        let port = match port {
            Some(port) => Some(port.parse().map_err(|_| wrong())?),
            None => None,
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(port) = self.port else {
            return f.write_str(&self.host);
        };
        if self.host.contains(':') {
            write!(f, "[{}]:{port}", self.host)
        } else {
            write!(f, "{}:{port}", self.host)
        }
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A file's mode, written in octal.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(crate) struct OctalMode(pub(crate) u32);

impl FromStr for OctalMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o777 => Ok(Self(mode)),
            _ => Err(format!("`{text}` is not an octal mode such as 700")),
        }
    }
}

impl TryFrom<String> for OctalMode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
