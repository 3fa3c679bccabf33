//! What a start says: a screen on a terminal, one line elsewhere.
//!
//! Decides the words. Refuses to know how any of it came about.

#[cfg(test)]
mod tests;

use zufar_core::settings::{Settings, WhenFull};

use crate::options::Runtime;
use crate::size::show;

/// What a start says.
#[derive(Debug)]
pub(crate) struct Announcement<'a> {
    /// The node.
    pub(crate) settings: &'a Settings,
    /// Where clients connect.
    pub(crate) clients: &'a [String],
    /// Where peers connect.
    pub(crate) peers: &'a [String],
    /// The cluster that it is one node of.
    pub(crate) cluster: Option<&'a str>,
    /// What waits for their sockets.
    pub(crate) runtime: Runtime,
    /// Most memory that RocksDB takes; 0 without a disk.
    pub(crate) rocksdb_bytes: u64,
}

impl Announcement<'_> {
    /// What comes on top of the memory for items: RocksDB's buffers and caches, and about as much
    /// again while batches and compactions are under way and until the allocator gives it back.
    const fn more_bytes(&self) -> u64 {
        self.rocksdb_bytes * 2
    }

    /// For a log.
    pub(crate) fn line(&self) -> String {
        let settings = self.settings;
        let disk = match &settings.disk {
            Some(disk) => format!(
                "data in {}, up to {} more memory for RocksDB",
                disk.data_dir,
                show(self.more_bytes())
            ),
            None => "no disk".to_owned(),
        };
        let cluster = self.cluster.map(|name| format!(" in cluster `{name}`"));
        let cluster = cluster.unwrap_or_default();
        format!(
            "node-{} serves clients on {} and peers on {}{cluster}; memory {}, threads {} on {}, \
             {disk}",
            settings.guid,
            self.clients.join(", "),
            self.peers.join(", "),
            show(settings.memory_bytes),
            settings.workers,
            self.runtime,
        )
    }

    /// For people.
    pub(crate) fn screen(&self) -> String {
        let settings = self.settings;
        let mut screen = format!("zufar {}, node-{}\n\n", settings.version, settings.guid);
        let mut row = |name: &str, text: String| {
            screen.push_str(format!("  {name:<9} {text}").trim_end());
            screen.push('\n');
        };
        row("clients", self.clients.join(", "));
        row("", self.client_limits());
        row("peers", self.peers.join(", "));
        if let Some(cluster) = self.cluster {
            row("", format!("in cluster `{cluster}`"));
        }
        let full = if settings.evict {
            "then the least used are evicted"
        } else {
            "then writes are refused"
        };
        let memory = show(settings.memory_bytes);
        row("memory", format!("{memory} for items, {full}"));
        let value = show(u64::from(settings.value_bytes_max));
        row("", format!("values up to {value}"));
        match &settings.disk {
            Some(disk) => {
                let more = show(self.more_bytes());
                row("", format!("up to {more} more for RocksDB"));
                row("disk", disk.data_dir.clone());
                row(
                    "",
                    format!(
                        "changes are written after {} ms and synced after {} ms",
                        disk.write_interval_ms, disk.sync_interval_ms
                    ),
                );
                row("", self.disk_limits());
            }
            None => row("disk", "none: nothing survives a stop".to_owned()),
        }
        screen.push_str("\nReady. Ctrl-C stops it");
        screen.push_str(match settings.disk {
            Some(_) => " once everything is written.\n",
            None => ".\n",
        });
        screen
    }

    fn client_limits(&self) -> String {
        let settings = self.settings;
        let idle = match settings.idle_timeout_s {
            0 => String::new(),
            seconds => format!(", closed after {seconds} s of silence"),
        };
        let (connections, threads) = (settings.connections_max, settings.workers);
        let runtime = self.runtime;
        format!("up to {connections} connections on {threads} threads of {runtime}{idle}")
    }

    fn disk_limits(&self) -> String {
        let Some(disk) = &self.settings.disk else {
            return String::new();
        };
        let limit = disk
            .disk_bytes_max
            .map(|bytes| format!("{} and ", show(bytes)));
        let when_full = match disk.when_full {
            WhenFull::Evict => "the coldest are evicted",
            WhenFull::Refuse => "writes are refused",
        };
        format!(
            "up to {}{} % of its file system, then {when_full}",
            limit.unwrap_or_default(),
            100 - disk.reserve_percent
        )
    }
}
