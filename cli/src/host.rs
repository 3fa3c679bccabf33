//! What the machine and the process's surroundings have to offer.
//!
//! Decides where that is read, and raises the limit of open files. Refuses to know why it is
//! wanted.

use std::path::PathBuf;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::{StartError, describe, refuse};
use crate::settings::{Host, Plan};

/// Descriptors beside those of clients and of the disk: listeners, event loops, peers, logs.
const FILES_BASE: u64 = 128;
/// Event loop and waker of one thread, with some room.
const FILES_PER_THREAD: u64 = 4;
/// Links of one thread with other nodes, to them and from them, and as many that are being opened
/// anew: enough for a hundred nodes.
const FILES_PER_THREAD_OF_CLUSTER: u64 = 300;
/// What RocksDB is allowed to keep open, and its logs.
const FILES_DISK: u64 = 640;

impl Host {
    /// Looks around.
    pub(crate) fn look() -> Result<Self, StartError> {
        let current_directory = std::env::current_dir()
            .map_err(|error| refuse!("the current directory: {}", describe(&error)))?;
        // systemd separates several directories with colons.
        let state_directory = std::env::var("STATE_DIRECTORY").ok().and_then(|all| {
            let first = all.split(':').next().unwrap_or_default();
            (!first.is_empty()).then(|| PathBuf::from(first))
        });
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            state_directory,
            current_directory,
        })
    }
}

/// Makes sure that the process may open as many files as `plan` needs.
pub(crate) fn allow_files(plan: &Plan) -> Result<(), StartError> {
    let disk = if plan.data.is_some() { FILES_DISK } else { 0 };
    let links = match plan.cluster {
        Some(_) => FILES_PER_THREAD_OF_CLUSTER,
        None => 0,
    };
    let threads = u64::from(plan.threads) * (FILES_PER_THREAD + links);
    let wanted = u64::from(plan.connections_max) + FILES_BASE + threads + disk;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(wanted));
    let raised = Rlimit {
        current: Some(wanted),
        maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(|_| {
        refuse!(
            "max-connections {}: it takes {wanted} open files, and the limit is {} (ulimit -Hn)",
            plan.connections_max,
            limit.maximum.unwrap_or(u64::MAX)
        )
    })
}
