//! How RocksDB is set up.
//!
//! Decides every option and how the memory is shared out. Refuses to know what is stored.
//!
//! *Memory.* One LRU cache holds blocks, indexes, filters and, by way of the write buffer
//! manager, the memory tables' share, so that all of it stays within one bound: memory tables
//! push blocks out. Indexes and filters are cut into small pieces that are loaded one by one; a
//! database much larger than its memory would else load a whole file's filter for one read.
//! The manager does not stall writers itself: a stall of its kind would outlast a full disk
//! without an error. The number of memory tables bounds them instead, and that stall ends when
//! a background error comes.
//!
//! *Recovery of the log* stops at the first record that is not whole and keeps all before it
//! (point in time). After a power cut the unsynced end of a log may hold pages that reached the
//! device out of order; the mode that tolerates only an incomplete last record would call that
//! corruption and cost the whole database. A log that ends before a table which depends on it
//! is still refused.
//!
//! *No blob files.* The filter must see heads, and would make each compaction read every blob
//! that it passes; with heads kept apart it would not, but compacting one partition gives no
//! room back then, since its blobs lie scattered over files shared with all other partitions.

use std::sync::Arc;

use rocksdb::statistics::{StatsLevel, Ticker};
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType,
    DBRecoveryMode, LogLevel, LruCacheOptions, Options, WriteBufferManager,
};

use crate::filter::{Factory, Shared};
use crate::layout::{CHUNKS, ITEMS, LEDGER, NOTES};

/// Less memory than this is not worth asking for: it is raised to it.
pub(crate) const MEMORY_BYTES_MIN: u64 = 32 * MIB as u64;

const MIB: usize = 1024 * 1024;
const OPEN_FILES_MAX: i32 = 512;
const BACKGROUND_JOBS_MAX: i32 = 2;
const FILTER_BITS_PER_KEY: f64 = 10.0;
const BLOCK_BYTES: usize = 16 * 1024;
const METADATA_BLOCK_BYTES: usize = 4 * 1024;
const CACHE_SHARD_BITS: i32 = 4;
const TABLE_FILE_BYTES: u64 = 64 * MIB as u64;
const SMALL_WRITE_BUFFER_BYTES: usize = MIB;
const SYNC_EACH_BYTES: u64 = MIB as u64;
const LOG_FILES_KEPT: usize = 4;
const LOG_FILE_BYTES_MAX: usize = 4 * MIB;
const MANIFEST_BYTES_MAX: usize = 16 * MIB;

/// The options of one storage, the same for each time that it is opened.
pub(crate) struct Tuning {
    database: Options,
    cache: Cache,
    write_buffer_bytes: usize,
    shared: Arc<Shared>,
}

impl Tuning {
    /// Shares `memory_bytes_max` out.
    pub(crate) fn new(memory_bytes_max: u64, shared: Arc<Shared>) -> Self {
        let memory_bytes = usize::try_from(memory_bytes_max.max(MEMORY_BYTES_MIN));
        let memory_bytes = memory_bytes.unwrap_or(usize::MAX);
        let mut lru = LruCacheOptions::default();
        lru.set_capacity(memory_bytes);
        lru.set_num_shard_bits(CACHE_SHARD_BITS);
        let cache = Cache::new_lru_cache_opts(&lru);
        let write_buffer_bytes = (memory_bytes / 8).clamp(2 * MIB, 64 * MIB);
        let database = database_options(memory_bytes, write_buffer_bytes, &cache);
        Self {
            database,
            cache,
            write_buffer_bytes,
            shared,
        }
    }

    /// The options of the database as a whole.
    pub(crate) const fn database(&self) -> &Options {
        &self.database
    }

    /// Bytes that the cache accounts for, memory tables included.
    pub(crate) fn cached_bytes(&self) -> u64 {
        self.cache.get_usage() as u64
    }

    /// A count that RocksDB keeps since this storage was first opened.
    pub(crate) fn ticker(&self, ticker: Ticker) -> u64 {
        self.database.get_ticker_count(ticker)
    }

    /// The column families and their options.
    pub(crate) fn families(&self) -> Vec<ColumnFamilyDescriptor> {
        let mut items = self.family(self.write_buffer_bytes);
        items.set_max_write_buffer_number(3);
        items.set_compaction_filter_factory(Factory(Arc::clone(&self.shared)));
        let chunks = self.family(self.write_buffer_bytes);
        let mut ledger = self.family(SMALL_WRITE_BUFFER_BYTES);
        // Asked about every key that is written, and nearly always without the key.
        ledger.set_memtable_whole_key_filtering(true);
        ledger.set_memtable_prefix_bloom_ratio(0.05);
        let notes = self.family(SMALL_WRITE_BUFFER_BYTES);
        let unused = self.family(SMALL_WRITE_BUFFER_BYTES);
        vec![
            ColumnFamilyDescriptor::new(ITEMS, items),
            ColumnFamilyDescriptor::new(CHUNKS, chunks),
            ColumnFamilyDescriptor::new(LEDGER, ledger),
            ColumnFamilyDescriptor::new(NOTES, notes),
            ColumnFamilyDescriptor::new(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, unused),
        ]
    }

    fn family(&self, write_buffer_bytes: usize) -> Options {
        let mut options = Options::default();
        options.set_write_buffer_size(write_buffer_bytes);
        options.set_max_write_buffer_number(2);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_max_bytes_for_level_base(8 * write_buffer_bytes as u64);
        options.set_target_file_size_base(TABLE_FILE_BYTES.min(4 * write_buffer_bytes as u64));
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_block_based_table_factory(&self.table());
        options
    }

    fn table(&self) -> BlockBasedOptions {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&self.cache);
        table.set_block_size(BLOCK_BYTES);
        table.set_metadata_block_size(METADATA_BLOCK_BYTES);
        table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        table.set_bloom_filter(FILTER_BITS_PER_KEY, false);
        table.set_whole_key_filtering(true);
        table.set_partition_filters(true);
        table.set_optimize_filters_for_memory(true);
        table.set_cache_index_and_filter_blocks(true);
        table.set_cache_index_and_filter_blocks_with_high_priority(true);
        table
    }
}

fn database_options(memory_bytes: usize, write_buffer_bytes: usize, cache: &Cache) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    // Any error of a log that is flushed by hand is fatal; so each write goes to the file.
    options.set_manual_wal_flush(false);
    let manager = WriteBufferManager::new_write_buffer_manager_with_cache(
        memory_bytes / 2,
        false,
        cache.clone(),
    );
    options.set_write_buffer_manager(&manager);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(BACKGROUND_JOBS_MAX);
    options.set_max_total_wal_size(8 * write_buffer_bytes as u64);
    options.set_max_manifest_file_size(MANIFEST_BYTES_MAX);
    // Trickles to the device what a sync would otherwise find in one heap.
    options.set_bytes_per_sync(SYNC_EACH_BYTES);
    options.set_wal_bytes_per_sync(SYNC_EACH_BYTES);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(LOG_FILES_KEPT);
    options.set_max_log_file_size(LOG_FILE_BYTES_MAX);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.enable_statistics();
    options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    options
}
