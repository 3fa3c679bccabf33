//! What a node has been told at its start, and the bounds that follow from it.
//!
//! Decides the names, units and defaults of limits. Refuses to know flags, files and parsing.

use alloc::string::String;

/// The memcached release whose answers Zufar gives.
pub const MEMCACHED_VERSION: &str = "1.6.45";

/// Most memory that one worker may be given, in bytes: its tables are sized by its limit, whether
/// or not the limit is ever reached.
pub const WORKER_MEMORY_BYTES_MAX: u64 = 1 << 40;

/// All that the workers of one node agree on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Zufar's own version, such as `0.1.0`.
    pub version: String,
    /// The node's lasting name: 1 to 32 of a–z, 0–9 and `-`.
    pub guid: String,
    /// Where the node stands, for placing replicas apart.
    pub rack: String,
    /// The peer address, as others would reach it.
    pub peer_address: String,
    /// Process id, for `stats`.
    pub process_id: u32,
    /// Unix seconds at the start.
    pub started_unix_s: u64,
    /// Threads, each a worker: at least 1.
    pub workers: u16,
    /// Bound of the memory tier, index and bookkeeping included: at most
    /// [`WORKER_MEMORY_BYTES_MAX`] for each worker.
    pub memory_bytes: u64,
    /// Whether items may be evicted from memory for want of room (not with `-M`).
    pub evict: bool,
    /// Longest value.
    pub value_bytes_max: u32,
    /// Most client connections.
    pub connections_max: u32,
    /// A client that is silent for so long is closed; 0 is never.
    pub idle_timeout_s: u32,
    /// Whether flush_all is allowed (not with `-F`).
    pub flush_enabled: bool,
    /// Whether the shutdown command is allowed (`-A`).
    pub shutdown_enabled: bool,
    /// 0 to 2, as `-v` and the verbosity command have it.
    pub verbosity: u8,
    /// The first TCP client port, for `stats settings`; 0 without one.
    pub tcp_port: u16,
    /// The first `--listen` host, for `stats settings`.
    pub listen_host: Option<String>,
    /// The Unix socket's path, for `stats settings`.
    pub unix_socket: Option<String>,
    /// The Unix socket's mode, for `stats settings`.
    pub unix_socket_mode: u32,
    /// The listen backlog, for `stats settings`.
    pub backlog: u32,
    /// How writes reach the disk; none with `--no-disk`.
    pub disk: Option<DiskSettings>,
    /// Bounds that have no flag.
    pub limits: Limits,
}

/// How writes reach the disk.
#[derive(Clone, Debug)]
pub struct DiskSettings {
    /// The data directory, as shown to the operator.
    pub data_dir: String,
    /// Longest wait before a change is written.
    pub write_interval_ms: u64,
    /// Longest wait before what is written is synced.
    pub sync_interval_ms: u64,
    /// Unsynced bytes of the node above which acknowledgements of writes are delayed.
    pub dirty_bytes_soft: u64,
    /// Unsynced bytes of the node above which writes wait.
    pub dirty_bytes_hard: u64,
    /// Disk lag (written) above which acknowledgements of writes are delayed.
    pub dirty_age_soft_ms: u64,
    /// Disk lag (written) above which writes wait.
    pub dirty_age_hard_ms: u64,
    /// Longest wait of a write that the disk is too far behind for, before it is refused.
    pub stall_ms_max: u64,
    /// Bound of the database's files; none leaves it to the file system's reserve.
    pub disk_bytes_max: Option<u64>,
    /// Share of the file system that is kept free, in percent.
    pub reserve_percent: u8,
    /// What happens at either bound.
    pub when_full: WhenFull,
}

/// What happens when the disk is at its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The coldest known items are evicted from disk.
    #[default]
    Evict,
    /// Writes are refused.
    Refuse,
}

/// Bounds of one worker or one connection that have no flag.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest command line, but for get and gets.
    pub line_bytes_max: usize,
    /// A get or gets line up to here is checked whole before its first key is looked up; a
    /// longer one is carried out key by key as it comes.
    pub checked_line_bytes_max: usize,
    /// Unsent bytes of one connection above which nothing more of it is read or carried out.
    pub output_bytes_max: usize,
    /// Unanswered requests of one connection above which nothing more of it is carried out.
    pub slots_max: usize,
    /// Requests that one worker may have under way at one other.
    pub credit: u32,
    /// Disk reads that one worker may have under way.
    pub loads_max: usize,
    /// Bytes of one write batch.
    pub batch_bytes_max: usize,
    /// Longest frame of the peer protocol.
    pub frame_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line_bytes_max: 2048,
            checked_line_bytes_max: 64 * 1024,
            output_bytes_max: 1024 * 1024,
            slots_max: 512,
            credit: 4096,
            loads_max: 256,
            batch_bytes_max: 4 * 1024 * 1024,
            frame_bytes_max: 64 * 1024,
        }
    }
}
