//! The answer to `stats settings`.
//!
//! Decides memcached's keys and order for a build without TLS and extstore. What governs things
//! that Zufar does not have shows as switched off. Refuses to know flags and files.

use crate::protocol::Sink;
use crate::settings::Settings;

use super::Figures;
use super::detail::DELIMITER;
use super::stats::{Context, Lines};

/// The answer to `stats settings`.
pub fn render_settings(sink: &mut impl Sink, figures: &Figures, context: &Context<'_>) {
    let mut lines = Lines::new(sink);
    sockets(&mut lines, context);
    behaviour(&mut lines, figures, context.settings);
    absent(&mut lines, context.settings);
    lines.end();
}

fn sockets(lines: &mut Lines<'_, impl Sink>, context: &Context<'_>) {
    let settings = context.settings;
    lines.number("maxbytes", context.memory_bytes);
    lines.number("maxconns", u64::from(settings.connections_max));
    lines.number("tcpport", u64::from(settings.tcp_port));
    lines.number("udpport", 0);
    lines.text("inter", settings.listen_host.as_deref().unwrap_or("NULL"));
    lines.number("verbosity", u64::from(context.verbosity));
    lines.number("oldest", 0);
    lines.text("evictions", if settings.evict { "on" } else { "off" });
    lines.text(
        "domain_socket",
        settings.unix_socket.as_deref().unwrap_or("NULL"),
    );
    let mut mode = [0; 11];
    lines.text("umask", octal(settings.unix_socket_mode, &mut mode));
    lines.yes("shutdown_command", settings.shutdown_enabled);
    lines.text("growth_factor", "1.00");
    lines.number("chunk_size", 1);
    lines.number("num_threads", u64::from(settings.workers));
    lines.number("num_threads_per_udp", 0);
}

fn behaviour(lines: &mut Lines<'_, impl Sink>, figures: &Figures, settings: &Settings) {
    let delimiter = [DELIMITER];
    let delimiter = core::str::from_utf8(&delimiter).expect("the delimiter is ASCII");
    lines.text("stat_key_prefix", delimiter);
    lines.yes("detail_enabled", figures.detail.enabled);
    lines.number("reqs_per_event", 0);
    lines.yes("cas_enabled", true);
    lines.number("tcp_backlog", u64::from(settings.backlog));
    lines.text("binding_protocol", "ascii");
    lines.yes("auth_enabled_sasl", false);
    lines.yes("auth_enabled_ascii", false);
    lines.number("item_size_max", u64::from(settings.value_bytes_max));
    lines.yes("maxconns_fast", true);
    lines.number("hashpower_init", 0);
    lines.yes("slab_reassign", false);
    lines.number("slab_automove", 0);
    lines.text("slab_automove_ratio", "0.00");
    lines.number("slab_automove_window", 0);
    lines.number("slab_chunk_max", u64::from(settings.value_bytes_max));
    lines.yes("lru_crawler", false);
    lines.number("lru_crawler_sleep", 0);
    lines.number("lru_crawler_tocrawl", 0);
    lines.number("tail_repair_time", 0);
    lines.yes("flush_enabled", settings.flush_enabled);
    lines.yes("dump_enabled", false);
    lines.text("hash_algorithm", "xxh3");
}

fn absent(lines: &mut Lines<'_, impl Sink>, settings: &Settings) {
    lines.yes("lru_maintainer_thread", false);
    lines.yes("lru_segmented", false);
    lines.number("hot_lru_pct", 0);
    lines.number("warm_lru_pct", 0);
    lines.text("hot_max_factor", "0.00");
    lines.text("warm_max_factor", "0.00");
    lines.yes("temp_lru", false);
    lines.number("temporary_ttl", 0);
    lines.number("idle_timeout", u64::from(settings.idle_timeout_s));
    lines.number("watcher_logbuf_size", 0);
    lines.number("worker_logbuf_size", 0);
    lines.number("read_buf_mem_limit", 0);
    lines.yes("track_sizes", false);
    lines.yes("inline_ascii_response", false);
    lines.text("num_napi_ids", "(null)");
    lines.text("memory_file", "(null)");
    lines.number("client_flags_size", size_of::<u32>() as u64);
}

fn octal(mut number: u32, into: &mut [u8; 11]) -> &str {
    let mut start = into.len();
    loop {
        start -= 1;
        into[start] = b'0' + (number % 8) as u8;
        number /= 8;
        if number == 0 {
            break;
        }
    }
    core::str::from_utf8(&into[start..]).expect("digits are ASCII")
}
