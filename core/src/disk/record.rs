//! How an item is laid out on disk: a fixed head, then the value.
//!
//! Decides the record's bytes and how expiry and flushes are read from them.
//! Refuses to know keys, chunks and column families.

use alloc::vec::Vec;

/// The first byte of every record; a change of the layout changes it.
const FORMAT: u8 = 1;
/// Length of an encoded head, in bytes.
pub const HEAD_BYTES: usize = 38;

const STALE: u8 = 1;
const TOKEN_SENT: u8 = 1 << 1;
const FETCHED: u8 = 1 << 2;
const KNOWN_BITS: u8 = STALE | TOKEN_SENT | FETCHED;

/// All of an item but its key and value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Version of the last change.
    pub version: u64,
    /// What clients see as cas unique.
    pub cas: u64,
    /// The client's flags.
    pub flags: u32,
    /// Unix seconds at which the item expires; 0 is never.
    pub expires_s: u32,
    /// Unix seconds of the last access that was known when the record was written.
    pub accessed_s: u32,
    /// Length of the value.
    pub value_bytes: u32,
    /// Marked stale by meta `I`.
    pub stale: bool,
    /// A reader has been told to recache it.
    pub token_sent: bool,
    /// It has been read since it was stored.
    pub fetched: bool,
}

impl Head {
    /// Whether the item is gone at `unix_s`: expired, or flushed by a flush at version
    /// `flushed`.
    #[must_use]
    pub const fn is_dead(&self, unix_s: u64, flushed: u64) -> bool {
        self.version <= flushed || (self.expires_s != 0 && self.expires_s as u64 <= unix_s)
    }
}

/// A record that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Shorter than its head or than its value.
    Truncated,
    /// A layout that this program does not know.
    UnknownFormat(u8),
    /// Head and checksum differ.
    Checksum,
}

/// Appends the encoded `head`. The value follows it.
pub fn encode_head(head: &Head, into: &mut Vec<u8>) {
    let start = into.len();
    let mut bits = 0;
    if head.stale {
        bits |= STALE;
    }
    if head.token_sent {
        bits |= TOKEN_SENT;
    }
    if head.fetched {
        bits |= FETCHED;
    }
    into.push(FORMAT);
    into.push(bits);
    into.extend_from_slice(&head.version.to_le_bytes());
    into.extend_from_slice(&head.cas.to_le_bytes());
    into.extend_from_slice(&head.flags.to_le_bytes());
    into.extend_from_slice(&head.expires_s.to_le_bytes());
    into.extend_from_slice(&head.accessed_s.to_le_bytes());
    into.extend_from_slice(&head.value_bytes.to_le_bytes());
    let checksum = checksum(&into[start..]);
    into.extend_from_slice(&checksum.to_le_bytes());
}

/// Reads a record's head and whatever of its value follows.
///
/// The value may be absent or complete: a scan of heads cuts it off, and a chunked value lies
/// elsewhere.
///
/// # Errors
/// When the bytes are no record, see [`RecordError`].
pub fn decode(record: &[u8]) -> Result<(Head, &[u8]), RecordError> {
    let format = *record.first().ok_or(RecordError::Truncated)?;
    if format != FORMAT {
        return Err(RecordError::UnknownFormat(format));
    }
    let (head, value) = record
        .split_at_checked(HEAD_BYTES)
        .ok_or(RecordError::Truncated)?;
    let (fields, sum) = head.split_at(HEAD_BYTES - 4);
    if checksum(fields).to_le_bytes() != sum || fields[1] & !KNOWN_BITS != 0 {
        return Err(RecordError::Checksum);
    }
    let head = Head {
        version: u64::from_le_bytes(array(&fields[2..])),
        cas: u64::from_le_bytes(array(&fields[10..])),
        flags: u32::from_le_bytes(array(&fields[18..])),
        expires_s: u32::from_le_bytes(array(&fields[22..])),
        accessed_s: u32::from_le_bytes(array(&fields[26..])),
        value_bytes: u32::from_le_bytes(array(&fields[30..])),
        stale: fields[1] & STALE != 0,
        token_sent: fields[1] & TOKEN_SENT != 0,
        fetched: fields[1] & FETCHED != 0,
    };
    if !value.is_empty() && value.len() != head.value_bytes as usize {
        return Err(RecordError::Truncated);
    }
    Ok((head, value))
}

fn checksum(fields: &[u8]) -> u32 {
    xxhash_rust::xxh3::xxh3_64(fields) as u32
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}
