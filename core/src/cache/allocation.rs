//! What an allocation costs: the memory that an allocator hands out for a request.
//!
//! Decides the size classes (jemalloc's: four per doubling) that every charge is rounded to.
//! Refuses to know what is allocated.

/// From here on only touched pages are counted, not the whole class.
const PAGED_BYTES_MIN: usize = 16 * 1024;
const PAGE_BYTES: usize = 4096;
/// What shares a value between its item and the replies that still send it.
const SHARE_BYTES: usize = 32;

/// The size class of a request of `bytes`: the next of four steps per doubling.
pub(super) const fn size_class(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=8 => 8,
        9..=128 => bytes.next_multiple_of(16),
        _ => bytes.next_multiple_of(1 << ((bytes - 1).ilog2() - 2)),
    }
}

/// Bytes of memory that an allocation of `bytes` takes.
#[must_use]
pub const fn allocation_bytes(bytes: usize) -> usize {
    if bytes > PAGED_BYTES_MIN {
        bytes.next_multiple_of(PAGE_BYTES)
    } else {
        size_class(bytes)
    }
}

/// Bytes of memory that a value of `value_bytes` takes when it has memory of its own.
#[must_use]
pub const fn large_value_bytes(value_bytes: usize) -> usize {
    allocation_bytes(value_bytes) + SHARE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_four_per_doubling() {
        let pairs = [
            (0, 0),
            (1, 8),
            (9, 16),
            (17, 32),
            (113, 128),
            (129, 160),
            (160, 160),
            (161, 192),
            (256, 256),
            (257, 320),
            (4097, 5120),
            (16384, 16384),
            (16385, 20480),
            (70_000, 73_728),
        ];
        for (bytes, charge) in pairs {
            assert_eq!(allocation_bytes(bytes), charge, "{bytes}");
        }
        assert_eq!(size_class(70_000), 81_920);
    }
}
