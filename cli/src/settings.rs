//! From what the operator has said to what the node will do.
//!
//! Decides defaults, bounds and which options go together. Touches nothing: what the host has
//! to offer comes in as [`Host`].

mod cluster;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use zufar_core::settings::{DiskSettings, Limits, Settings, WhenFull};

use crate::error::{StartError, refuse};
use crate::options::{self, ListenAddress, LogFormat, Options, Runtime};
use crate::size::show;

pub(crate) use cluster::ClusterPlan;

/// The client port unless another is named.
pub(crate) const CLIENT_PORT: u16 = 11211;
/// What separates the peer port from the client port.
const PEER_PORT_DISTANCE: u16 = 10_000;

const MIB: u64 = 1 << 20;
const MEMORY_BYTES: u64 = 64 * MIB;
/// Less does not hold a worker's index and one item of a MiB.
const MEMORY_BYTES_MIN_PER_THREAD: u64 = 2 * MIB;
const THREADS_MAX: u16 = 256;
const VALUE_BYTES: u64 = MIB;
const VALUE_BYTES_MIN: u64 = 1024;
const VALUE_BYTES_MAX: u64 = 1024 * MIB;
const CONNECTIONS: u32 = 1024;
const CONNECTIONS_MAX: u32 = 1_000_000;
const BACKLOG: u32 = 1024;
const BACKLOG_MAX: u32 = 65_535;
const UNIX_MODE: u32 = 0o700;
/// What the kernel allows for a Unix socket's path.
const UNIX_PATH_BYTES_MAX: usize = 107;
const WRITE_INTERVAL_MS: u64 = 50;
const WRITE_INTERVAL_MS_MAX: u64 = 60_000;
const SYNC_INTERVAL_MS: u64 = 1000;
const SYNC_INTERVAL_MS_MAX: u64 = 600_000;
const DIRTY_BYTES_SOFT_MAX: u64 = 64 * MIB;
const DIRTY_AGE_SOFT_MS: u64 = 500;
const STALL_MS_MAX: u64 = 1000;
const RESERVE_PERCENT: u8 = 10;
const DISK_BYTES_MIN: u64 = 16 * MIB;
const ROCKSDB_BYTES: u64 = 64 * MIB;
const ROCKSDB_BYTES_MIN: u64 = 32 * MIB;
const GUID_BYTES_MAX: usize = 32;
const RACK_BYTES_MAX: usize = 64;
const RACK: &str = "1";

/// What the machine and the process's surroundings have to offer.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Cores that the process may use.
    pub(crate) cores: usize,
    /// `$STATE_DIRECTORY`.
    pub(crate) state_directory: Option<PathBuf>,
    /// What relative paths start from.
    pub(crate) current_directory: PathBuf,
}

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Clients {
    /// Both loopback addresses, the IPv6 one only if the machine has it.
    Loopback {
        /// The port.
        port: u16,
    },
    /// These hosts and ports.
    Tcp(Vec<(String, u16)>),
    /// A Unix socket.
    Unix {
        /// Its path.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The TCP port that would have been: it gives peers and data their place.
        port: u16,
    },
}

/// Where other nodes connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peers {
    /// The host.
    pub(crate) host: String,
    /// The port; without one it follows from the client port.
    pub(crate) port: Option<u16>,
}

/// What is kept on disk, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataPlan {
    base: DataBase,
    /// Most memory that RocksDB takes.
    pub(crate) rocksdb_bytes: u64,
    write_interval_ms: u64,
    sync_interval_ms: u64,
    disk_bytes_max: Option<u64>,
    when_full: WhenFull,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum DataBase {
    /// This directory.
    Directory(PathBuf),
    /// A directory named after the client port, in this one.
    PerPort(PathBuf),
}

impl DataPlan {
    /// The data directory of a node whose client port is `port`.
    pub(crate) fn directory(&self, port: u16) -> PathBuf {
        match &self.base {
            DataBase::Directory(directory) => directory.clone(),
            DataBase::PerPort(parent) => parent.join(port.to_string()),
        }
    }
}

/// All that a start needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) runtime: Runtime,
    pub(crate) clients: Clients,
    pub(crate) peers: Peers,
    pub(crate) cluster: Option<ClusterPlan>,
    pub(crate) secret_file: Option<PathBuf>,
    pub(crate) data: Option<DataPlan>,
    pub(crate) guid: Option<String>,
    pub(crate) rack: String,
    pub(crate) memory_bytes: u64,
    pub(crate) threads: u16,
    pub(crate) value_bytes_max: u32,
    pub(crate) connections_max: u32,
    pub(crate) backlog: u32,
    pub(crate) idle_timeout_s: u32,
    pub(crate) evict: bool,
    pub(crate) flush_enabled: bool,
    pub(crate) shutdown_enabled: bool,
    pub(crate) verbosity: u8,
    pub(crate) log_format: LogFormat,
    pub(crate) pidfile: Option<PathBuf>,
    pub(crate) user: Option<String>,
    pub(crate) daemon: bool,
    /// Things that the operator should know although the start goes on.
    pub(crate) warnings: Vec<String>,
}

/// What a start has found out on the way.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The node's name.
    pub(crate) guid: String,
    /// The peer address.
    pub(crate) peer_address: String,
    /// The first TCP client port, 0 without one.
    pub(crate) tcp_port: u16,
    /// The data directory, if there is a disk.
    pub(crate) data_directory: Option<PathBuf>,
    /// Unix seconds now.
    pub(crate) started_unix_s: u64,
}

/// Works out what to do, or why it can't be done.
pub(crate) fn resolve(options: &Options, host: &Host) -> Result<Plan, StartError> {
    let mut warnings = Vec::new();
    let memory_bytes = options.memory.map_or(MEMORY_BYTES, |size| size.bytes());
    let threads = threads(options.threads, memory_bytes, host.cores)?;
    let value_bytes_max = value_bytes_max(options, memory_bytes)?;
    let connections_max = options.max_connections.unwrap_or(CONNECTIONS);
    within("max-connections", connections_max, 1, CONNECTIONS_MAX)?;
    let backlog = options.listen_backlog.unwrap_or(BACKLOG);
    within("listen-backlog", backlog, 1, BACKLOG_MAX)?;
    if let Some(guid) = &options.guid
        && !is_guid(guid)
    {
        return Err(refuse!(
            "guid `{guid}`: a guid is 1 to {GUID_BYTES_MAX} of a-z, 0-9 and `-`"
        ));
    }
    let absolute = |path: &Path| host.current_directory.join(path);
    Ok(Plan {
        runtime: options.runtime.unwrap_or_default(),
        clients: clients(options, host, &mut warnings)?,
        peers: peers(options.peer_listen.as_ref()),
        cluster: cluster::resolve(options)?,
        secret_file: options.secret_file.as_deref().map(absolute),
        data: data(options, host)?,
        guid: options.guid.clone(),
        rack: rack(options)?,
        memory_bytes,
        threads,
        value_bytes_max,
        connections_max,
        backlog,
        idle_timeout_s: options.idle_timeout.unwrap_or(0),
        evict: !options.disable_evictions,
        flush_enabled: !options.disable_flush_all,
        shutdown_enabled: options.enable_shutdown,
        verbosity: options.verbose.min(2),
        log_format: options.log_format.unwrap_or_default(),
        pidfile: options.pidfile.as_deref().map(absolute),
        user: options.user.clone(),
        daemon: options.daemon,
        warnings,
    })
}

fn within<T>(name: &str, value: T, least: T, most: T) -> Result<(), StartError>
where
    T: PartialOrd + std::fmt::Display,
{
    if value < least || value > most {
        return Err(refuse!("{name} {value}: it must be from {least} to {most}"));
    }
    Ok(())
}

fn threads(wanted: Option<u16>, memory_bytes: u64, cores: usize) -> Result<u16, StartError> {
    if memory_bytes < MEMORY_BYTES_MIN_PER_THREAD {
        return Err(refuse!(
            "memory {}: it must be at least {}",
            show(memory_bytes),
            show(MEMORY_BYTES_MIN_PER_THREAD)
        ));
    }
    let room = memory_bytes / MEMORY_BYTES_MIN_PER_THREAD;
    let room = u16::try_from(room).unwrap_or(u16::MAX);
    let Some(threads) = wanted else {
        let cores = u16::try_from(cores).unwrap_or(u16::MAX);
        return Ok(cores.clamp(1, THREADS_MAX.min(room)));
    };
    within("threads", threads, 1, THREADS_MAX)?;
    if threads > room {
        return Err(refuse!(
            "threads {threads}: memory {} is enough for {room}, at {} each",
            show(memory_bytes),
            show(MEMORY_BYTES_MIN_PER_THREAD)
        ));
    }
    Ok(threads)
}

fn value_bytes_max(options: &Options, memory_bytes: u64) -> Result<u32, StartError> {
    let half = memory_bytes / 2;
    let Some(bytes) = options.max_item_size.map(|size| size.bytes()) else {
        return Ok(narrow(VALUE_BYTES.min(half)));
    };
    let wrong = |why: String| refuse!("max-item-size {}: {why}", show(bytes));
    if !(VALUE_BYTES_MIN..=VALUE_BYTES_MAX).contains(&bytes) {
        return Err(wrong(format!(
            "it must be from {} to {}",
            show(VALUE_BYTES_MIN),
            show(VALUE_BYTES_MAX)
        )));
    }
    if bytes > half {
        return Err(wrong(format!(
            "it must not exceed half of memory {}",
            show(memory_bytes)
        )));
    }
    Ok(narrow(bytes))
}

fn narrow(bytes: u64) -> u32 {
    u32::try_from(bytes).expect("an item limit is at most 1 GiB")
}

fn clients(
    options: &Options,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<Clients, StartError> {
    let port = options.port.unwrap_or(CLIENT_PORT);
    if let Some(path) = &options.unix_socket {
        if !options.listen.is_empty() {
            warnings.push("listen is ignored: with unix-socket, TCP is off".to_owned());
        }
        let path = host.current_directory.join(path);
        if path.as_os_str().len() > UNIX_PATH_BYTES_MAX {
            let path = path.display();
            return Err(refuse!(
                "unix-socket {path}: a path may have {UNIX_PATH_BYTES_MAX} bytes"
            ));
        }
        return Ok(Clients::Unix {
            path,
            mode: options.unix_mask.map_or(UNIX_MODE, |mode| mode.0),
            port: if port == 0 { CLIENT_PORT } else { port },
        });
    }
    if port == 0 {
        return Err(refuse!("port 0 turns TCP off, and there is no unix-socket"));
    }
    if options.listen.is_empty() {
        return Ok(Clients::Loopback { port });
    }
    let addresses = options.listen.iter();
    Ok(Clients::Tcp(
        addresses
            .map(|address| (address.host.clone(), address.port.unwrap_or(port)))
            .collect(),
    ))
}

fn peers(wanted: Option<&ListenAddress>) -> Peers {
    let host = wanted.map_or("127.0.0.1", |address| &address.host);
    Peers {
        host: host.to_owned(),
        port: wanted.and_then(|address| address.port),
    }
}

/// The peer port of a node whose first client port is `port`. Where there is no room above, it
/// lies as far below.
pub(crate) const fn peer_port(port: u16) -> u16 {
    match port.checked_add(PEER_PORT_DISTANCE) {
        Some(peer) => peer,
        None => port - PEER_PORT_DISTANCE,
    }
}

fn rack(options: &Options) -> Result<String, StartError> {
    let rack = options.rack.as_deref().unwrap_or(RACK);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if rack.is_empty() || rack.len() > RACK_BYTES_MAX || !rack.bytes().all(plain) {
        return Err(refuse!(
            "rack `{rack}`: a rack is 1 to {RACK_BYTES_MAX} letters, digits, `-`, `_` and `.`"
        ));
    }
    Ok(rack.to_owned())
}

/// Whether `text` can name a node.
pub(crate) fn is_guid(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=GUID_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain)
}

fn data(options: &Options, host: &Host) -> Result<Option<DataPlan>, StartError> {
    if options.no_disk {
        if options.data_dir.is_some() {
            return Err(refuse!("no-disk and data-dir exclude each other"));
        }
        return Ok(None);
    }
    let base = match (&options.data_dir, &host.state_directory) {
        (Some(directory), _) => DataBase::Directory(host.current_directory.join(directory)),
        (None, Some(directory)) => DataBase::Directory(directory.clone()),
        (None, None) => DataBase::PerPort(host.current_directory.join("zufar-data")),
    };
    let write_interval_ms = options.write_interval.unwrap_or(WRITE_INTERVAL_MS);
    within(
        "write-interval",
        write_interval_ms,
        1,
        WRITE_INTERVAL_MS_MAX,
    )?;
    let sync_interval_ms = options.sync_interval.unwrap_or(SYNC_INTERVAL_MS);
    within("sync-interval", sync_interval_ms, 1, SYNC_INTERVAL_MS_MAX)?;
    let disk_bytes_max = options.disk_limit.map(|size| size.bytes());
    at_least("disk-limit", disk_bytes_max, DISK_BYTES_MIN)?;
    let rocksdb_bytes = options.rocksdb_memory.map(|size| size.bytes());
    at_least("rocksdb-memory", rocksdb_bytes, ROCKSDB_BYTES_MIN)?;
    let when_full = match options.when_full {
        Some(options::WhenFull::Evict) => WhenFull::Evict,
        Some(options::WhenFull::Refuse) => WhenFull::Refuse,
        None if options.disable_evictions => WhenFull::Refuse,
        None => WhenFull::Evict,
    };
    Ok(Some(DataPlan {
        base,
        rocksdb_bytes: rocksdb_bytes.unwrap_or(ROCKSDB_BYTES),
        write_interval_ms,
        sync_interval_ms,
        disk_bytes_max,
        when_full,
    }))
}

fn at_least(name: &str, bytes: Option<u64>, least: u64) -> Result<(), StartError> {
    match bytes {
        Some(bytes) if bytes < least => Err(refuse!(
            "{name} {}: it must be at least {}",
            show(bytes),
            show(least)
        )),
        _ => Ok(()),
    }
}

impl Plan {
    /// The client port that names the data directory and, from afar, the peer port; `bound` is
    /// the first one that was bound.
    pub(crate) const fn port(&self, bound: u16) -> u16 {
        match self.clients {
            Clients::Unix { port, .. } => port,
            Clients::Loopback { .. } | Clients::Tcp(_) => bound,
        }
    }

    /// What the workers agree on.
    pub(crate) fn settings(&self, found: Found) -> Settings {
        let (unix_socket, unix_socket_mode) = match &self.clients {
            Clients::Unix { path, mode, .. } => (Some(path.display().to_string()), *mode),
            Clients::Loopback { .. } | Clients::Tcp(_) => (None, UNIX_MODE),
        };
        let listen_host = match &self.clients {
            Clients::Tcp(addresses) => addresses.first().map(|(host, _)| host.clone()),
            Clients::Loopback { .. } | Clients::Unix { .. } => None,
        };
        let disk = self.data.as_ref().zip(found.data_directory);
        Settings {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            guid: found.guid,
            rack: self.rack.clone(),
            peer_address: found.peer_address,
            process_id: std::process::id(),
            started_unix_s: found.started_unix_s,
            workers: self.threads,
            memory_bytes: self.memory_bytes,
            evict: self.evict,
            value_bytes_max: self.value_bytes_max,
            connections_max: self.connections_max,
            idle_timeout_s: self.idle_timeout_s,
            flush_enabled: self.flush_enabled,
            shutdown_enabled: self.shutdown_enabled,
            verbosity: self.verbosity,
            tcp_port: found.tcp_port,
            listen_host,
            unix_socket,
            unix_socket_mode,
            backlog: self.backlog,
            disk: disk.map(|(plan, directory)| self.disk_settings(plan, &directory)),
            limits: Limits::default(),
        }
    }

    fn disk_settings(&self, plan: &DataPlan, directory: &Path) -> DiskSettings {
        let dirty_age_soft_ms = DIRTY_AGE_SOFT_MS.max(10 * plan.write_interval_ms);
        DiskSettings {
            data_dir: directory.display().to_string(),
            write_interval_ms: plan.write_interval_ms,
            sync_interval_ms: plan.sync_interval_ms,
            dirty_bytes_soft: DIRTY_BYTES_SOFT_MAX.min(self.memory_bytes / 10),
            dirty_bytes_hard: self.memory_bytes / 4,
            dirty_age_soft_ms,
            dirty_age_hard_ms: 10 * dirty_age_soft_ms,
            stall_ms_max: STALL_MS_MAX,
            disk_bytes_max: plan.disk_bytes_max,
            reserve_percent: RESERVE_PERCENT,
            when_full: plan.when_full,
        }
    }
}
