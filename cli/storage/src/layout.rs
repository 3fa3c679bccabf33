//! How records, chunks, the ledger and notes are named inside the database.
//!
//! Decides column families, keys and the sizes at which a value is taken apart. Refuses to know
//! how any of it is written, read or compacted.

/// Disk key → head, and the value too unless it lies apart.
pub(crate) const ITEMS: &str = "items";
/// Chunk key → at most [`CHUNK_BYTES`] of a value that lies apart.
pub(crate) const CHUNKS: &str = "chunks";
/// Disk key → [`Parts`] of the value that lies apart: tells a writer what to clear away.
pub(crate) const LEDGER: &str = "ledger";
/// Name → content.
pub(crate) const NOTES: &str = "notes";
/// All families that this crate uses.
pub(crate) const FAMILIES: [&str; 4] = [ITEMS, CHUNKS, LEDGER, NOTES];

/// A value longer than this lies apart from its head.
pub(crate) const TOGETHER_BYTES_MAX: usize = 64 * 1024;
/// Length of every chunk but the last.
pub(crate) const CHUNK_BYTES: usize = 1024 * 1024;
/// A batch that would grow beyond this writes its large values ahead of itself.
pub(crate) const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Begins the names of notes that belong to this crate and not to the core.
pub(crate) const PENDING: &[u8] = b"\0pending/";

/// Every disk key begins with so many bytes of partition.
pub(crate) const PARTITION_BYTES: usize = 2;

/// The chunks of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// The version of the record that they belong to.
    pub(crate) version: u64,
    /// How many there are.
    pub(crate) count: u32,
}

impl Parts {
    /// The chunks that a value of `value_bytes` takes.
    pub(crate) const fn of(version: u64, value_bytes: u32) -> Self {
        Self {
            version,
            count: value_bytes.div_ceil(CHUNK_BYTES as u32),
        }
    }

    /// The ledger's entry.
    pub(crate) fn encode(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.version.to_be_bytes());
        bytes[8..].copy_from_slice(&self.count.to_be_bytes());
        bytes
    }

    /// Reads a ledger entry.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, count) = bytes.split_first_chunk::<8>()?;
        Some(Self {
            version: u64::from_be_bytes(*version),
            count: u32::from_be_bytes(count.try_into().ok()?),
        })
    }
}

/// Writes the key of one chunk over `into`: partition, length of the key, key, version, index;
/// so that a partition stays one range and no key is another's prefix.
///
/// # Panics
/// If `disk_key` has no partition or a key over 255 bytes: protocols end at 250.
pub(crate) fn chunk_key(disk_key: &[u8], version: u64, index: u32, into: &mut Vec<u8>) {
    let (partition, key) = disk_key
        .split_at_checked(PARTITION_BYTES)
        .expect("a disk key begins with its partition");
    let key_bytes = u8::try_from(key.len()).expect("a key has at most 250 bytes");
    into.clear();
    into.extend_from_slice(partition);
    into.push(key_bytes);
    into.extend_from_slice(key);
    into.extend_from_slice(&version.to_be_bytes());
    into.extend_from_slice(&index.to_be_bytes());
}

/// The first bytes of a partition's keys, and of the keys after its last one if any can follow.
pub(crate) fn partition_bounds(partition: u16) -> ([u8; 2], Option<[u8; 2]>) {
    let end = partition.checked_add(1).map(u16::to_be_bytes);
    (partition.to_be_bytes(), end)
}

/// The name of the note that chunks are being written ahead of their record.
pub(crate) fn pending_name(disk_key: &[u8], version: u64) -> Vec<u8> {
    [PENDING, disk_key, &version.to_be_bytes()].concat()
}

/// Reads such a note: the disk key and its parts.
pub(crate) fn decode_pending(name: &[u8], content: &[u8]) -> Option<(Vec<u8>, Parts)> {
    let (key, version) = name.strip_prefix(PENDING)?.split_last_chunk::<8>()?;
    let parts = Parts {
        version: u64::from_be_bytes(*version),
        count: u32::from_be_bytes(content.try_into().ok()?),
    };
    (key.len() >= PARTITION_BYTES).then(|| (key.to_vec(), parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_round_trip_and_count_whole_chunks() {
        let mib = CHUNK_BYTES as u32;
        for (value_bytes, count) in [(1, 1), (mib, 1), (mib + 1, 2), (3 * mib, 3)] {
            let parts = Parts::of(7, value_bytes);
            assert_eq!(parts.count, count, "{value_bytes} bytes");
            assert_eq!(Parts::decode(&parts.encode()), Some(parts));
        }
        assert_eq!(Parts::decode(&[0; 11]), None);
        assert_eq!(Parts::decode(&[0; 13]), None);
    }

    #[test]
    fn pending_notes_round_trip() {
        let parts = Parts {
            version: 9,
            count: 5,
        };
        let name = pending_name(b"\0\x01key", 9);
        let read = decode_pending(&name, &5_u32.to_be_bytes());
        assert_eq!(read, Some((b"\0\x01key".to_vec(), parts)));
        assert_eq!(decode_pending(b"hot/0", &[0; 4]), None);
        assert_eq!(decode_pending(&name, &[0; 3]), None);
    }

    #[test]
    fn no_chunk_key_is_anothers_prefix() {
        let (mut short, mut long) = (Vec::new(), Vec::new());
        chunk_key(b"\0\x01a", 1, 0, &mut short);
        chunk_key(b"\0\x01a\0\0\0\0\0\0\0\x01\0\0\0\0", 1, 0, &mut long);
        assert!(!long.starts_with(&short));
        assert_eq!(partition_bounds(1), ([0, 1], Some([0, 2])));
        assert_eq!(partition_bounds(u16::MAX).1, None);
    }
}
