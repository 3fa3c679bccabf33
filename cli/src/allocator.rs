//! The allocator of the whole process, RocksDB included.
//!
//! Decides how soon freed memory goes back to the system. Refuses to know who allocates.

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// What jemalloc reads at its start. Few arenas, and freed pages given back after a second:
/// what the process has in memory follows what it holds, and not what it once held. Large
/// allocations start at a page of their own: no page more for each segment of the memory tier.
const OPTIONS: &[u8; 69] =
    b"narenas:4,dirty_decay_ms:1000,muzzy_decay_ms:0,cache_oblivious:false\0";

/// A pointer to a C string, under the name by which jemalloc looks for it.
#[unsafe(no_mangle)]
pub(crate) static malloc_conf: &[u8; OPTIONS.len()] = OPTIONS;
