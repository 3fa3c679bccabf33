//! Flags that memcached's unit lines carry and that mean little or nothing here.
//!
//! Decides which of them are taken with a warning and which are refused by name. Refuses to
//! know the flags that work: those are plain options.

#[cfg(test)]
mod tests;

use clap::Args;

use crate::error::{StartError, refuse};

/// memcached's flags that are no options of Zufar.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "memcached's tuning (taken so that its command lines work)")]
pub(crate) struct MemcachedFlags {
    /// Only 0 is taken: there is no UDP.
    #[arg(short = 'U', long, value_name = "PORT")]
    udp_port: Option<String>,
    /// idle_timeout=SECONDS works; words about slabs, LRU and loggers are ignored.
    #[arg(short = 'o', long, value_name = "WORDS", value_delimiter = ',')]
    extended: Vec<String>,
    /// `ascii` or `auto`.
    #[arg(short = 'B', long, value_name = "NAME")]
    protocol: Option<String>,
    /// Ignored.
    #[arg(short = 'f', long, value_name = "FACTOR")]
    slab_growth_factor: Option<String>,
    /// Ignored.
    #[arg(short = 'n', long, value_name = "BYTES")]
    slab_min_size: Option<String>,
    /// Ignored.
    #[arg(short = 'L', long)]
    enable_largepages: bool,
    /// Ignored.
    #[arg(short = 'k', long)]
    lock_memory: bool,
    /// Ignored.
    #[arg(short = 'R', long, value_name = "N")]
    max_reqs_per_event: Option<String>,
    /// Ignored: every item has a cas unique.
    #[arg(short = 'C', long)]
    disable_cas: bool,
    /// Ignored.
    #[arg(short = 'X', long)]
    disable_dumping: bool,
    /// Ignored.
    #[arg(short = 'W', long)]
    disable_watch: bool,
    /// Ignored.
    #[arg(short = 'r', long)]
    enable_coredumps: bool,
    /// Ignored: `stats detail` counts by what stands before a colon.
    #[arg(short = 'D', value_name = "CHAR")]
    delimiter: Option<String>,
    #[arg(short = 'S', long, hide = true)]
    enable_sasl: bool,
    #[arg(short = 'Y', long, hide = true)]
    auth_file: Option<String>,
    #[arg(short = 'Z', long, hide = true)]
    enable_ssl: bool,
    #[arg(short = 'e', long, hide = true)]
    memory_file: Option<String>,
}

/// What is left of memcached's flags.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// `-o idle_timeout`.
    pub(crate) idle_timeout: Option<u32>,
    /// Flags that do nothing here, as they were given.
    pub(crate) ignored: Vec<String>,
}

impl MemcachedFlags {
    /// Sorts out the flags.
    pub(crate) fn take(&self) -> Result<Taken, StartError> {
        self.refuse_missing()?;
        let mut taken = Taken::default();
        for (given, flag) in [
            (self.slab_growth_factor.is_some(), "-f"),
            (self.slab_min_size.is_some(), "-n"),
            (self.enable_largepages, "-L"),
            (self.lock_memory, "-k"),
            (self.max_reqs_per_event.is_some(), "-R"),
            (self.disable_cas, "-C"),
            (self.disable_dumping, "-X"),
            (self.disable_watch, "-W"),
            (self.enable_coredumps, "-r"),
            (self.delimiter.is_some(), "-D"),
            (self.protocol.as_deref() == Some("auto"), "-B auto"),
        ] {
            if given {
                taken.ignored.push(flag.to_owned());
            }
        }
        for word in &self.extended {
            taken.word(word)?;
        }
        Ok(taken)
    }

    fn refuse_missing(&self) -> Result<(), StartError> {
        match self.udp_port.as_deref() {
            None | Some("0") => {}
            Some(port) => return Err(refuse!("-U {port}: there is no UDP; only -U 0 is taken")),
        }
        match self.protocol.as_deref() {
            None | Some("ascii" | "auto") => {}
            Some("binary") => return Err(refuse!("-B binary: the binary protocol is not there")),
            Some(name) => return Err(refuse!("-B {name}: no such protocol; ascii or auto")),
        }
        for (given, flag, what) in [
            (self.enable_sasl, "-S", "SASL is not there"),
            (
                self.auth_file.is_some(),
                "-Y",
                "authentication is not there",
            ),
            (self.enable_ssl, "-Z", "TLS is not there"),
            (
                self.memory_file.is_some(),
                "-e",
                "memory is not kept in a file; the data directory survives any restart",
            ),
        ] {
            if given {
                return Err(refuse!("{flag}: {what}"));
            }
        }
        Ok(())
    }
}

/// Words of `-o` about things that Zufar does in its own way.
const IGNORED_WORDS: &[&str] = &[
    "hash_algorithm",
    "hashexpand",
    "hashpower",
    "hot_lru_pct",
    "hot_max_factor",
    "inline_ascii_resp",
    "inline_ascii_response",
    "lru_crawler",
    "lru_crawler_sleep",
    "lru_crawler_tocrawl",
    "lru_maintainer",
    "lru_segmented",
    "maxconns_fast",
    "modern",
    "read_buf_mem_limit",
    "resp_obj_mem_limit",
    "slab_automove",
    "slab_automove_freeratio",
    "slab_automove_ratio",
    "slab_automove_window",
    "slab_chunk_max",
    "slab_reassign",
    "tail_repair_time",
    "temporary_ttl",
    "track_sizes",
    "warm_lru_pct",
    "warm_max_factor",
    "watcher_logbuf_size",
    "worker_logbuf_size",
];

impl Taken {
    fn word(&mut self, word: &str) -> Result<(), StartError> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        if name == "idle_timeout" {
            let seconds = value.and_then(|value| value.parse().ok());
            let Some(seconds) = seconds else {
                return Err(refuse!("-o {word}: not a number of seconds"));
            };
            self.idle_timeout = Some(seconds);
            return Ok(());
        }
        let positive = name.strip_prefix("no_").unwrap_or(name);
        if !IGNORED_WORDS.contains(&positive) {
            return Err(refuse!("-o {name}: not known, or not there"));
        }
        self.ignored.push(format!("-o {word}"));
        Ok(())
    }

    /// The one warning line, if there is something to warn of.
    pub(crate) fn warning(&self) -> Option<String> {
        (!self.ignored.is_empty()).then(|| {
            format!(
                "these flags of memcached have no meaning here and are ignored: {}",
                self.ignored.join(", ")
            )
        })
    }
}
