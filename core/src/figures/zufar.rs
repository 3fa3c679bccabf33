//! The answer to `stats zufar`: what memcached has no keys for.
//!
//! Decides its keys and order; new ones go to the end of their group. Refuses to know where the
//! figures come from.

use crate::protocol::Sink;

use super::Figures;
use super::stats::{Context, Lines};

/// The answer to `stats zufar`. `figures` are those of all workers together.
pub fn render_zufar(sink: &mut impl Sink, figures: &Figures, context: &Context<'_>) {
    let mut lines = Lines::new(sink);
    node(&mut lines, figures, context);
    if context.settings.disk.is_some() {
        disk(&mut lines, figures, context);
        recovery(&mut lines, figures);
    }
    if context.in_cluster {
        cluster(&mut lines, figures);
    }
    lines.end();
}

fn cluster(lines: &mut Lines<'_, impl Sink>, figures: &Figures) {
    lines.numbers(&[
        ("forwarded_requests", figures.forwarded_requests),
        ("forwarded_unanswered", figures.forwarded_unanswered),
        ("resent_requests", figures.resent_requests),
        ("visiting_requests", figures.visiting_requests),
        ("stale_answers", figures.stale_answers),
        ("hops_us", figures.hops_us),
        ("hop_worst_us", figures.hop_worst_us),
        ("links_open", figures.links_open),
        ("replica_messages", figures.replica_messages),
        ("replica_messages_dropped", figures.replica_messages_dropped),
        ("partitions_primary", figures.partitions_primary),
        ("replicas_in_sync", figures.replicas_in_sync),
        ("backup_items", figures.backup_items),
        ("take_overs", figures.take_overs),
        ("forced_take_overs", figures.forced_take_overs),
        ("partitions_recovered", figures.partitions_recovered),
        ("term_highest", figures.term_highest),
        ("repeated_requests", figures.repeated_requests),
        ("unknown_outcomes", figures.unknown_outcomes),
        ("replica_waits", figures.replica_waits),
        ("fill_chunks_put_off", figures.fill_chunks_put_off),
        ("fills_given", figures.fills_given),
        ("unsettled_entries", figures.unsettled_entries),
    ]);
}

fn node(lines: &mut Lines<'_, impl Sink>, figures: &Figures, context: &Context<'_>) {
    let settings = context.settings;
    lines.text("version", &settings.version);
    lines.text("guid", &settings.guid);
    lines.text("rack", &settings.rack);
    lines.text("peer_address", &settings.peer_address);
    lines.number("workers", u64::from(settings.workers));
    lines.yes("disk", settings.disk.is_some());
    lines.numbers(&[
        ("memory_limit_bytes", context.memory_bytes),
        ("memory_shared_out_bytes", figures.limit_bytes),
        ("memory_bytes", figures.memory_bytes),
        ("memory_index_bytes", figures.hash_bytes),
        ("memory_items", figures.curr_items),
        ("memory_item_bytes", figures.bytes),
        ("memory_evictions", figures.evictions),
        ("memory_moved_bytes", figures.budget_moved_bytes),
        ("credit_waits", figures.credit_waits),
        ("stale_events", figures.stale_events),
        ("refused_peers", figures.refused_peers),
        ("refused_frames", figures.refused_frames),
        ("detail_overlooked", figures.detail.overlooked),
    ]);
}

fn disk(lines: &mut Lines<'_, impl Sink>, figures: &Figures, context: &Context<'_>) {
    if let Some(disk) = &context.settings.disk {
        lines.text("data_dir", &disk.data_dir);
        lines.number("disk_limit_bytes", disk.disk_bytes_max.unwrap_or(0));
    }
    lines.numbers(&[
        ("dirty_items", figures.dirty_items),
        ("dirty_bytes", figures.dirty_bytes),
        ("written_lag_ms", figures.written_lag_ms),
        ("written_lag_worst_ms", figures.written_lag_worst_ms),
        ("synced_lag_ms", figures.synced_lag_ms),
        ("synced_lag_worst_ms", figures.synced_lag_worst_ms),
        ("disk_items", figures.disk_items),
        ("disk_bytes", figures.disk_bytes),
        ("disk_free_bytes", figures.disk_free_bytes),
        ("disk_memory_bytes", figures.database_memory_bytes),
        ("disk_evictions", figures.disk_evictions),
        ("disk_reads", figures.disk_reads),
        ("disk_read_misses", figures.disk_read_misses),
        ("disk_reads_without_room", figures.load_no_memory),
        ("disk_batches", figures.batches_written),
        ("disk_batch_bytes", figures.bytes_written_to_disk),
        ("disk_syncs", figures.syncs),
        ("disk_errors", figures.disk_errors),
        ("disk_reopens", figures.reopens),
        ("stalled_writes", figures.stalled_writes),
        ("refused_writes", figures.refused_writes),
    ]);
}

fn recovery(lines: &mut Lines<'_, impl Sink>, figures: &Figures) {
    lines.numbers(&[
        ("recovered_items", figures.recovered_items),
        ("recovered_bytes", figures.recovered_bytes),
        ("recovered_ms", figures.recovered_ms),
        ("preloading_workers", figures.preloading_workers),
        ("partitions_complete", figures.partitions_complete),
        ("partitions_known", figures.partitions_known),
    ]);
}
