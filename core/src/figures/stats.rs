//! The `stats` answers that memcached gives: general, items, slabs, sizes, conns.
//!
//! Decides their keys and order, which are closed sets: tools count on them. What memcached
//! tells of things that Zufar does not have is 0. The memory tier shows as one slab class,
//! number 1, with chunks of one byte, so that sums over chunks come out right.
//! Refuses to know what Zufar tells beside these.

use crate::machine::HostFigures;
use crate::protocol::{Decimal, END, Sink};
use crate::settings::{MEMCACHED_VERSION, Settings};
use crate::time::Now;

use super::Figures;

/// memcached's page: a MiB.
const PAGE_BYTES: u64 = 1 << 20;
const MICROSECONDS: u64 = 1_000_000;

/// What rendering figures depends on, beside the figures.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// What the node was started with.
    pub settings: &'a Settings,
    /// What only the host knows.
    pub host: HostFigures,
    /// When the figures were asked for.
    pub now: Now,
    /// The memory limit of the whole node as cache_memlimit may have changed it.
    pub memory_bytes: u64,
    /// 0 to 2, as the verbosity command may have changed it.
    pub verbosity: u8,
    /// The node is one of a cluster.
    pub in_cluster: bool,
}

/// Writes `STAT` lines.
pub(super) struct Lines<'s, S> {
    sink: &'s mut S,
    prefix: &'static str,
}

impl<'s, S: Sink> Lines<'s, S> {
    pub(super) fn new(sink: &'s mut S) -> Self {
        Self { sink, prefix: "" }
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.raw(name, value.as_bytes());
    }

    pub(super) fn yes(&mut self, name: &str, value: bool) {
        self.text(name, if value { "yes" } else { "no" });
    }

    pub(super) fn number(&mut self, name: &str, value: u64) {
        let mut decimal = Decimal::new();
        self.raw(name, decimal.write(value));
    }

    pub(super) fn numbers(&mut self, numbers: &[(&str, u64)]) {
        for &(name, value) in numbers {
            self.number(name, value);
        }
    }

    /// Seconds, with six digits behind the dot.
    fn seconds(&mut self, name: &str, microseconds: u64) {
        let mut value = [b'0'; 32];
        let mut decimal = Decimal::new();
        let whole = decimal.write(microseconds / MICROSECONDS);
        value[..whole.len()].copy_from_slice(whole);
        let dot = whole.len();
        value[dot] = b'.';
        let mut decimal = Decimal::new();
        let fraction = decimal.write(microseconds % MICROSECONDS);
        let end = dot + 7;
        value[end - fraction.len()..end].copy_from_slice(fraction);
        self.raw(name, &value[..end]);
    }

    fn raw(&mut self, name: &str, value: &[u8]) {
        self.sink.put(b"STAT ");
        self.sink.put(self.prefix.as_bytes());
        self.sink.put(name.as_bytes());
        self.sink.put(b" ");
        self.sink.put(value);
        self.sink.put(b"\r\n");
    }

    pub(super) fn end(self) {
        self.sink.put(END);
    }
}

/// The answer to `stats`. `figures` are those of all workers together.
pub fn render_general(sink: &mut impl Sink, figures: &Figures, context: &Context<'_>) {
    let mut lines = Lines::new(sink);
    process(&mut lines, figures, context);
    commands(&mut lines, figures, context);
    upkeep(&mut lines, figures, context);
    items(&mut lines, figures);
    lines.end();
}

fn process(lines: &mut Lines<'_, impl Sink>, figures: &Figures, context: &Context<'_>) {
    let settings = context.settings;
    let open = u64::from(context.host.open_connections);
    let now_s = context.now.unix_s();
    lines.number("pid", u64::from(settings.process_id));
    lines.number("uptime", now_s.saturating_sub(settings.started_unix_s));
    lines.number("time", now_s);
    lines.text("version", MEMCACHED_VERSION);
    lines.text("libevent", "none");
    lines.number("pointer_size", u64::from(usize::BITS));
    lines.seconds("rusage_user", context.host.user_us);
    lines.seconds("rusage_system", context.host.system_us);
    lines.numbers(&[
        ("max_connections", u64::from(settings.connections_max)),
        ("curr_connections", open),
        ("total_connections", figures.total_connections),
        ("rejected_connections", figures.rejected_connections),
        ("connection_structures", open),
        ("response_obj_oom", 0),
        ("response_obj_count", 0),
        ("response_obj_bytes", 0),
        ("read_buf_count", 0),
        ("read_buf_bytes", 0),
        ("read_buf_bytes_free", 0),
        ("read_buf_oom", 0),
        ("reserved_fds", 0),
    ]);
}

fn commands(lines: &mut Lines<'_, impl Sink>, figures: &Figures, context: &Context<'_>) {
    lines.numbers(&[
        ("cmd_get", figures.cmd_get),
        ("cmd_set", figures.cmd_set),
        ("cmd_flush", figures.cmd_flush),
        ("cmd_touch", figures.cmd_touch),
        ("cmd_meta", figures.cmd_meta),
        ("get_hits", figures.get_hits),
        ("get_misses", figures.get_misses),
        ("get_expired", figures.get_expired),
        ("get_flushed", figures.get_flushed),
        ("delete_misses", figures.delete_misses),
        ("delete_hits", figures.delete_hits),
        ("incr_misses", figures.incr_misses),
        ("incr_hits", figures.incr_hits),
        ("decr_misses", figures.decr_misses),
        ("decr_hits", figures.decr_hits),
        ("cas_misses", figures.cas_misses),
        ("cas_hits", figures.cas_hits),
        ("cas_badval", figures.cas_badval),
        ("touch_hits", figures.touch_hits),
        ("touch_misses", figures.touch_misses),
        ("store_too_large", figures.store_too_large),
        ("store_no_memory", figures.store_no_memory),
        ("auth_cmds", figures.auth_cmds),
        ("auth_errors", figures.auth_errors),
    ]);
    if context.settings.idle_timeout_s != 0 {
        lines.number("idle_kicks", figures.idle_kicks);
    }
}

fn upkeep(lines: &mut Lines<'_, impl Sink>, figures: &Figures, context: &Context<'_>) {
    lines.numbers(&[
        ("bytes_read", figures.bytes_read),
        ("bytes_written", figures.bytes_written),
        ("limit_maxbytes", context.memory_bytes),
        ("accepting_conns", 1),
        ("listen_disabled_num", 0),
        ("time_in_listen_disabled_us", 0),
        ("threads", u64::from(context.settings.workers)),
        ("conn_yields", figures.conn_yields),
        ("hash_power_level", 0),
        ("hash_bytes", figures.hash_bytes),
        ("hash_is_expanding", 0),
        ("slab_reassign_rescues", 0),
        ("slab_reassign_chunk_rescues", 0),
        ("slab_reassign_inline_reclaim", 0),
        ("slab_reassign_busy_items", 0),
        ("slab_reassign_busy_deletes", 0),
        ("slab_reassign_busy_nomem", 0),
        ("slab_reassign_running", 0),
        ("slabs_moved", 0),
        ("lru_crawler_running", 0),
        ("lru_crawler_starts", 0),
        ("lru_maintainer_juggles", 0),
        ("malloc_fails", 0),
        ("log_worker_dropped", 0),
        ("log_worker_written", 0),
        ("log_watcher_skipped", 0),
        ("log_watcher_sent", 0),
        ("log_watchers", 0),
        ("unexpected_napi_ids", 0),
        ("round_robin_fallback", 0),
    ]);
}

fn items(lines: &mut Lines<'_, impl Sink>, figures: &Figures) {
    lines.numbers(&[
        ("bytes", figures.bytes),
        ("curr_items", figures.curr_items),
        ("total_items", figures.total_items),
        ("slab_global_page_pool", 0),
        ("expired_unfetched", figures.expired_unfetched),
        ("evicted_unfetched", figures.evicted_unfetched),
        ("evicted_active", figures.evicted_active),
        ("evictions", figures.evictions),
        ("reclaimed", figures.reclaimed),
        ("crawler_reclaimed", 0),
        ("crawler_items_checked", 0),
        ("lrutail_reflocked", 0),
        ("moves_to_cold", 0),
        ("moves_to_warm", 0),
        ("moves_within_lru", 0),
        ("direct_reclaims", 0),
        ("lru_bumps_dropped", 0),
    ]);
}

/// The answer to `stats items`: the one class, once it holds items.
pub fn render_items(sink: &mut impl Sink, figures: &Figures) {
    let mut lines = Lines::new(sink);
    lines.prefix = "items:1:";
    if figures.curr_items != 0 {
        lines.numbers(&[
            ("number", figures.curr_items),
            ("number_hot", 0),
            ("number_warm", 0),
            ("number_cold", figures.curr_items),
            ("age_hot", 0),
            ("age_warm", 0),
            ("age", figures.oldest_age_s),
            ("mem_requested", figures.bytes),
            ("evicted", figures.evictions),
            ("evicted_nonzero", figures.evicted_nonzero),
            ("evicted_time", figures.evicted_time_s),
            ("outofmemory", figures.store_no_memory),
            ("tailrepairs", 0),
            ("reclaimed", figures.reclaimed),
            ("expired_unfetched", figures.expired_unfetched),
            ("evicted_unfetched", figures.evicted_unfetched),
            ("evicted_active", figures.evicted_active),
            ("crawler_reclaimed", 0),
            ("crawler_items_checked", 0),
            ("lrutail_reflocked", 0),
            ("moves_to_cold", 0),
            ("moves_to_warm", 0),
            ("moves_within_lru", 0),
            ("direct_reclaims", 0),
            ("hits_to_hot", 0),
            ("hits_to_warm", 0),
            ("hits_to_cold", figures.get_hits),
            ("hits_to_temp", 0),
        ]);
    }
    lines.end();
}

/// The answer to `stats slabs`.
pub fn render_slabs(sink: &mut impl Sink, figures: &Figures) {
    let mut lines = Lines::new(sink);
    lines.prefix = "1:";
    // Figures of several workers are not of one instant: more used than allocated is possible.
    let allocated = figures.memory_bytes.max(figures.bytes);
    lines.numbers(&[
        ("chunk_size", 1),
        ("chunks_per_page", PAGE_BYTES),
        ("total_pages", allocated.div_ceil(PAGE_BYTES)),
        ("total_chunks", allocated),
        ("used_chunks", figures.bytes),
        ("free_chunks", allocated - figures.bytes),
        ("free_chunks_end", 0),
        ("get_hits", figures.get_hits),
        ("cmd_set", figures.cmd_set),
        ("delete_hits", figures.delete_hits),
        ("incr_hits", figures.incr_hits),
        ("decr_hits", figures.decr_hits),
        ("cas_hits", figures.cas_hits),
        ("cas_badval", figures.cas_badval),
        ("touch_hits", figures.touch_hits),
    ]);
    lines.prefix = "";
    lines.number("active_slabs", 1);
    lines.number("total_malloced", allocated);
    lines.end();
}

/// The answer to `stats sizes`: as memcached without `-o track_sizes`.
pub fn render_sizes(sink: &mut impl Sink) {
    let mut lines = Lines::new(sink);
    lines.text("sizes_status", "disabled");
    lines.end();
}

/// One connection, for `stats conns`.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionFigures<'a> {
    /// Tells it from the others.
    pub number: u64,
    /// The client, such as `tcp:127.0.0.1:5000`.
    pub address: &'a str,
    /// Where it was accepted.
    pub listen_address: &'a str,
    /// What it waits for, in memcached's words, such as `conn_read`.
    pub state: &'a str,
    /// Since its last command.
    pub idle_s: u64,
}

/// The lines of one connection; [`END`] follows the last one.
pub fn render_connection(sink: &mut impl Sink, connection: &ConnectionFigures<'_>) {
    let mut decimal = Decimal::new();
    let mut line = |name: &str, value: &[u8]| {
        sink.put(b"STAT ");
        sink.put(decimal.write(connection.number));
        sink.put(name.as_bytes());
        sink.put(value);
        sink.put(b"\r\n");
    };
    line(":addr ", connection.address.as_bytes());
    line(":listen_addr ", connection.listen_address.as_bytes());
    line(":state ", connection.state.as_bytes());
    let mut idle = Decimal::new();
    line(":secs_since_last_cmd ", idle.write(connection.idle_s));
}
