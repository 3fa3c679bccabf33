//! What a worker counts, and how a node's figures are told.
//!
//! Decides the counters, how those of several workers become one, what `stats reset` forgets,
//! and which counters a finished command moves: as memcached counts it, found out with a live
//! one. Refuses to know who asks, and where a figure comes from that no command moves.

mod detail;
mod settings;
mod stats;
mod zufar;

#[cfg(test)]
mod tests;

pub use detail::{Detail, DetailFigures, PREFIXES_MAX};
pub use settings::render_settings;
pub use stats::{
    ConnectionFigures, Context, render_connection, render_general, render_items, render_sizes,
    render_slabs,
};
pub use zufar::render_zufar;

use crate::command::{Arithmetic, Delete, Failure, Fetch, Operation, Outcome, Store, StoreMode};
use crate::protocol::{ErrorLine, Refusal};

macro_rules! figures {
    (@merge count $to:expr, $from:expr) => { $to += $from };
    (@merge level $to:expr, $from:expr) => { $to += $from };
    (@merge worst $to:expr, $from:expr) => { $to = $to.max($from) };
    (@merge shared $to:expr, $from:expr) => { $to = $to.max($from) };
    (@reset count $to:expr) => { $to = 0 };
    (@reset level $to:expr) => {};
    (@reset worst $to:expr) => { $to = 0 };
    (@reset shared $to:expr) => {};
    ($($(#[$doc:meta])* $kind:ident $name:ident,)*) => {
        /// The figures of one worker, or of all together.
        ///
        /// There are four kinds: what is counted (workers add up, a reset forgets), levels
        /// (workers add up, a reset keeps them), worst cases (the worst worker counts, a reset
        /// forgets), and what all workers share or know alike (the greatest counts, a reset
        /// keeps it).
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Figures {
            $($(#[$doc])* pub $name: u64,)*
            /// By key prefix, where that is switched on.
            pub detail: Detail,
        }

        impl Figures {
            /// Takes in the figures of another worker.
            pub fn merge(&mut self, other: &Self) {
                $(figures!(@merge $kind self.$name, other.$name);)*
                self.detail.merge(&other.detail);
            }

            /// Forgets what `stats reset` forgets.
            pub fn reset(&mut self) {
                $(figures!(@reset $kind self.$name);)*
                self.detail.reset();
            }
        }
    };
}

figures! {
    /// Keys fetched without a touch.
    count cmd_get,
    /// Data blocks taken for a store, whatever came of it.
    count cmd_set,
    /// flush_all, refused ones too.
    count cmd_flush,
    /// touch, gat, and mg with `T`.
    count cmd_touch,
    /// me.
    count cmd_meta,
    /// Fetches without a touch that found an item.
    count get_hits,
    /// Fetches without a touch that found none.
    count get_misses,
    /// Fetches that met an expired item.
    count get_expired,
    /// Fetches that met a flushed item.
    count get_flushed,
    /// Deletes that found no item, or one with another cas unique.
    count delete_misses,
    /// Items deleted by command.
    count delete_hits,
    /// incr that found no item.
    count incr_misses,
    /// incr that counted.
    count incr_hits,
    /// decr that found no item.
    count decr_misses,
    /// decr that counted.
    count decr_hits,
    /// cas that found no item.
    count cas_misses,
    /// cas that stored.
    count cas_hits,
    /// cas that met another cas unique.
    count cas_badval,
    /// touch, gat and mg with `T` that found an item.
    count touch_hits,
    /// touch, gat and mg with `T` that found none.
    count touch_misses,
    /// Stores refused because the value is over the item limit.
    count store_too_large,
    /// Stores refused because there was no room.
    count store_no_memory,
    /// Authentications tried.
    count auth_cmds,
    /// Authentications failed.
    count auth_errors,
    /// Connections closed because they were idle.
    count idle_kicks,
    /// Bytes received from clients.
    count bytes_read,
    /// Bytes sent to clients.
    count bytes_written,
    /// Connections accepted.
    count total_connections,
    /// Connections turned away at the limit.
    count rejected_connections,
    /// Connections open.
    level curr_connections,
    /// Times that a connection had to let others go ahead.
    count conn_yields,
    /// Items stored, however.
    count total_items,
    /// Items in memory.
    level curr_items,
    /// Bytes of the items in memory, bookkeeping included.
    level bytes,
    /// Bytes that the memory tier has allocated, index and free room included.
    level memory_bytes,
    /// Bytes of the memory tier's index.
    level hash_bytes,
    /// Bound of the memory tier, in bytes.
    level limit_bytes,
    /// Entries of other nodes that found no room: they count as evicted.
    count replica_no_memory,
    /// Entries of other nodes that made no sense.
    count replica_unreadable,
    /// Items evicted from memory to make room.
    count evictions,
    /// Of these, items that would have expired some time.
    count evicted_nonzero,
    /// Of these, items never fetched.
    count evicted_unfetched,
    /// Of these, items fetched lately.
    count evicted_active,
    /// Seconds since the last access of the item evicted last.
    shared evicted_time_s,
    /// Seconds since the last access of the item that is next to be evicted.
    shared oldest_age_s,
    /// Items whose memory was taken back because they had expired.
    count reclaimed,
    /// Of these, items never fetched.
    count expired_unfetched,

    /// Items not yet on disk.
    level dirty_items,
    /// Bytes not yet on disk.
    level dirty_bytes,
    /// Age of the oldest acknowledged change that is not written: what a crash of the process
    /// can lose.
    shared written_lag_ms,
    /// The worst that it has been.
    worst written_lag_worst_ms,
    /// Age of the oldest acknowledged change that is not synced: what a power cut can lose.
    shared synced_lag_ms,
    /// The worst that it has been.
    worst synced_lag_worst_ms,
    /// Items on disk.
    level disk_items,
    /// Bytes that the database's files take.
    shared disk_bytes,
    /// Bytes free on its file system.
    shared disk_free_bytes,
    /// Bytes that the database holds in memory, beside the memory tier.
    shared database_memory_bytes,
    /// Items evicted from disk.
    count disk_evictions,
    /// Items looked for on disk.
    count disk_reads,
    /// Of these, items that were not there.
    count disk_read_misses,
    /// Items read from disk that found no room in memory.
    count load_no_memory,
    /// Batches written.
    count batches_written,
    /// Bytes of these batches.
    count bytes_written_to_disk,
    /// Syncs.
    count syncs,
    /// Writes, syncs and reads that the disk has failed.
    count disk_errors,
    /// Times that the database was closed and opened after a failure.
    count reopens,
    /// Writes that had to wait for the disk.
    count stalled_writes,
    /// Writes refused because the disk was full or too far behind.
    count refused_writes,
    /// Items that the last start has found on disk.
    level recovered_items,
    /// Bytes of their values.
    level recovered_bytes,
    /// Milliseconds until the last start had found them.
    shared recovered_ms,
    /// Workers that are still bringing items into memory.
    level preloading_workers,
    /// Partitions whose items are all in memory.
    level partitions_complete,
    /// Partitions of which memory knows every item, there or on disk.
    level partitions_known,
    /// Events for connections, reads or requests that had gone.
    count stale_events,
    /// Peer connections refused before they had shown that they belong here.
    count refused_peers,
    /// Frames of other nodes and of commands that had not the form of their kind, or came when they
    /// were not allowed: each has ended its connection.
    count refused_frames,
    /// Requests that were sent to other nodes, each once.
    count forwarded_requests,
    /// Requests that were sent once more, since a primary had moved or a link had broken.
    count resent_requests,
    /// Requests that other nodes have sent.
    count visiting_requests,
    /// Requests whose answer is awaited from other nodes.
    level forwarded_unanswered,
    /// Answers of other nodes that nobody waited for any more.
    count stale_answers,
    /// Microseconds that answers of other nodes took, all together.
    count hops_us,
    /// The longest time that an answer of another node took, in microseconds.
    worst hop_worst_us,
    /// Links to other nodes that are open.
    level links_open,
    /// What replicas have said to those of other nodes, in messages.
    count replica_messages,
    /// What replicas could not say, for want of a link or of room on it.
    count replica_messages_dropped,
    /// Partitions that this node is primary of.
    level partitions_primary,
    /// Partitions of which this node is a replica in sync.
    level replicas_in_sync,
    /// Times that this node has followed another as primary of a partition.
    count take_overs,
    /// Times that it has done so without those who held the partition: something may be lost.
    count forced_take_overs,
    /// Partitions that were brought back from the disks of all their nodes.
    count partitions_recovered,
    /// Requests that came once more, and were answered from memory.
    count repeated_requests,
    /// Writes of which it is not known whether they were carried out.
    count unknown_outcomes,
    /// Commands that had to wait for replicas of their partition.
    count replica_waits,
    /// Parts of fills that were not taken since the disk was too far behind; they come again.
    count fill_chunks_put_off,
    /// Replicas that are being filled from here.
    level fills_given,
    /// Changes that are not yet known to be at every replica.
    level unsettled_entries,
    /// The highest term of any partition.
    shared term_highest,
    /// Items in memory that this node holds for other primaries.
    level backup_items,
    /// Requests that waited because too many were under way between two workers.
    count credit_waits,
    /// Bytes of memory limit that went from one worker to another.
    count budget_moved_bytes,
}

impl Figures {
    /// Counts a finished command, under its key's prefix, too, if that is switched on. The one
    /// place for all that commands move, but for `total_items` and what only the memory tier sees.
    ///
    /// A command counts where a client has asked for it, whichever node has carried it out: so a
    /// client finds its own requests in the figures of the server that it talks to.
    #[inline]
    pub fn count(&mut self, key: &[u8], operation: &Operation<'_>, outcome: &Outcome<'_>) {
        if self.detail.enabled {
            self.count_detail(key, operation, outcome);
        }
        match operation {
            Operation::Fetch(fetch) => self.count_fetch(fetch, outcome),
            Operation::Store(store) => self.count_store(store, outcome),
            Operation::Delete(delete) => self.count_delete(delete, outcome),
            Operation::Arithmetic(arithmetic) => self.count_arithmetic(arithmetic, outcome),
            Operation::Inspect => self.cmd_meta += 1,
        }
    }

    fn count_detail(&mut self, key: &[u8], operation: &Operation<'_>, outcome: &Outcome<'_>) {
        match operation {
            Operation::Fetch(_) => {
                let hit = matches!(outcome, Outcome::Item(_));
                self.detail.count_get(key, hit);
            }
            Operation::Store(_) => self.detail.count_set(key),
            Operation::Delete(_) => self.detail.count_delete(key),
            Operation::Arithmetic(_) | Operation::Inspect => {}
        }
    }

    #[inline]
    fn count_fetch(&mut self, fetch: &Fetch, outcome: &Outcome<'_>) {
        let hit = match outcome {
            Outcome::Item(_) => 1,
            Outcome::NotFound => 0,
            _ => return,
        };
        let miss = 1 - hit;
        if fetch.touch.is_some() && (hit == 1 || !fetch.meta) {
            self.cmd_touch += 1;
            self.touch_hits += hit;
            self.touch_misses += miss;
        } else {
            self.cmd_get += 1;
            self.get_hits += hit;
            self.get_misses += miss;
        }
    }

    #[inline]
    fn count_store(&mut self, store: &Store<'_>, outcome: &Outcome<'_>) {
        match outcome {
            Outcome::Failed(Failure::TooLarge) => self.store_too_large += 1,
            Outcome::Failed(Failure::OutOfMemory) => self.store_no_memory += 1,
            Outcome::Failed(_) => {}
            _ => self.cmd_set += 1,
        }
        let compares =
            matches!(store.mode, StoreMode::Set | StoreMode::Replace) && store.compare.is_some();
        if compares {
            match outcome {
                Outcome::Stored { .. } => self.cas_hits += 1,
                Outcome::Exists => self.cas_badval += 1,
                Outcome::NotFound => self.cas_misses += 1,
                _ => {}
            }
        }
    }

    fn count_delete(&mut self, delete: &Delete, outcome: &Outcome<'_>) {
        if delete.refused_store {
            return;
        }
        match outcome {
            Outcome::Deleted if delete.stale => {}
            Outcome::Deleted => self.delete_hits += 1,
            Outcome::NotFound | Outcome::Exists => self.delete_misses += 1,
            _ => {}
        }
    }

    fn count_arithmetic(&mut self, arithmetic: &Arithmetic, outcome: &Outcome<'_>) {
        let (hits, misses) = if arithmetic.decrement {
            (&mut self.decr_hits, &mut self.decr_misses)
        } else {
            (&mut self.incr_hits, &mut self.incr_misses)
        };
        match outcome {
            // An item that had to be made first is neither a hit nor a miss.
            Outcome::Number { vivified, .. } => *hits += u64::from(!vivified),
            Outcome::NotFound => *misses += 1,
            _ => {}
        }
    }

    /// Counts a line that was no request.
    pub fn count_refusal(&mut self, refusal: &Refusal<'_>) {
        match refusal.line {
            ErrorLine::TooLarge => self.store_too_large += 1,
            ErrorLine::FlushNotAllowed => self.cmd_flush += 1,
            ErrorLine::BadDataChunk => self.cmd_set += 1,
            _ => {}
        }
    }
}
