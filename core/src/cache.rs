//! The memory tier.

/// Longest value that lives in a segment; a longer one has memory of its own.
pub const INLINE_BYTES_MAX: usize = 4096;
