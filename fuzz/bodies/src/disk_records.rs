//! What the core reads back from disk: records, and the notes that a start finds.
//!
//! Decides that nothing read is trusted: any bytes are a record to the letter, or refused, and a
//! node starts from any notes.

use zufar_core::disk::{Disk, HEAD_BYTES, Head, RecordError, Recovery, decode, encode_head};
use zufar_core::machine::Listener;
use zufar_simulator::ModelDisk;
use zufar_simulator::rig::{START_UNIX_MS, settings};

use crate::node::Node;
use crate::sessions::{FILLED_VERSION, fill};

/// A checksum ends each head, in bytes.
const CHECKSUM_BYTES: usize = 4;
/// Times that notes may have seen: those that an expiry of 32 bits can still express.
const UNIX_MS_MAX: u64 = (u32::MAX as u64 - 1000) * 1000;
/// Versions have Unix milliseconds above the lowest bits.
const VERSION_MAX: u64 = UNIX_MS_MAX << 16;

/// Reads `input`, whose first byte says as what.
pub fn disk_records(input: &[u8]) {
    let Some((&how, bytes)) = input.split_first() else {
        return;
    };
    match how % 4 {
        0 => check_bytes(bytes),
        1 => check_sealed(bytes),
        2 => check_head(bytes),
        _ => check_notes(bytes),
    }
}

/// Any bytes: what is accepted is what would be written.
fn check_bytes(record: &[u8]) {
    if let Ok((head, value)) = decode(record) {
        assert!(value.is_empty() || value.len() == head.value_bytes as usize);
        let mut written = Vec::new();
        encode_head(&head, &mut written);
        written.extend_from_slice(value);
        assert_eq!(written, record);
    }
}

/// Any bytes with a right checksum, which no mutation would find.
fn check_sealed(bytes: &[u8]) {
    let mut record = bytes.to_vec();
    if let Some(head) = record.first_chunk_mut::<HEAD_BYTES>() {
        let (fields, sum) = head.split_at_mut(HEAD_BYTES - CHECKSUM_BYTES);
        let sealed = xxhash_rust::xxh3::xxh3_64(fields) as u32;
        sum.copy_from_slice(&sealed.to_le_bytes());
    }
    check_bytes(&record);
    match decode(&record) {
        Ok((head, _)) => {
            assert_eq!(decode(&record[..HEAD_BYTES]), Ok((head, b"".as_slice())));
            for end in 0..HEAD_BYTES {
                assert_eq!(decode(&record[..end]), Err(RecordError::Truncated));
            }
        }
        Err(RecordError::Truncated) => {}
        Err(RecordError::UnknownFormat(format)) => assert_eq!(record.first(), Some(&format)),
        Err(RecordError::Checksum) => assert!(record.len() >= HEAD_BYTES),
    }
}

/// Any head comes back as it was; one with a byte of its head changed does not.
fn check_head(bytes: &[u8]) {
    let mut bytes = bytes.iter().copied();
    let mut next = || bytes.next().unwrap_or_default();
    let mut wide = || u64::from_le_bytes(std::array::from_fn(|_| next()));
    let (version, cas, first, second) = (wide(), wide(), wide(), wide());
    let (bits, value_bytes) = (next(), next());
    let head = Head {
        version,
        cas,
        flags: first as u32,
        expires_s: (first >> 32) as u32,
        accessed_s: second as u32,
        value_bytes: u32::from(value_bytes),
        stale: bits & 1 != 0,
        token_sent: bits & 2 != 0,
        fetched: bits & 4 != 0,
    };
    let mut record = b"before".to_vec();
    encode_head(&head, &mut record);
    let mut record = record.split_off(b"before".len());
    assert_eq!(record.len(), HEAD_BYTES);
    record.resize(HEAD_BYTES + usize::from(value_bytes), b'v');
    assert_eq!(decode(&record), Ok((head, &record[HEAD_BYTES..])));
    assert!(head.is_dead(second >> 32, version));
    let lives = head.expires_s == 0 || u64::from(head.expires_s) > second >> 32;
    assert_eq!(head.is_dead(second >> 32, 0), !lives || version == 0);
    record.push(b'v');
    assert_eq!(decode(&record), Err(RecordError::Truncated));
}

/// A node starts from any notes, and does as they say.
fn check_notes(bytes: &[u8]) {
    let Some((numbers, lists)) = bytes.split_first_chunk::<25>() else {
        return;
    };
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| numbers[at + byte]));
    let (first, second) = lists.split_at(lists.len() / 2);
    // No version is above the ceiling: neither an item's nor a flush's.
    let version_ceiling = (number(0) % VERSION_MAX).max(FILLED_VERSION);
    let recovery = Recovery {
        version_ceiling,
        flushed: number(8) % (version_ceiling + 1),
        flush_at_unix_ms: number(16) % UNIX_MS_MAX,
        hot: vec![first.to_vec(), second.to_vec()],
        ..Recovery::default()
    };
    let workers = 1 + u16::from(numbers[24] & 3);
    let disk = ModelDisk::new();
    fill(&disk);
    let flushes = recovery.flush_at_unix_ms;
    let flushed = recovery.flushed >= FILLED_VERSION || (1..=START_UNIX_MS).contains(&flushes);
    let ahead = recovery.version_ceiling > FILLED_VERSION;
    let seam = (&disk as &dyn Disk, recovery);
    let node_settings = settings(workers, 16 << 20, true);
    let mut node = Node::new(node_settings, START_UNIX_MS, Some(seam), Listener::Client);
    node.send(b"get a\r\nset z 0 100 1\r\n1\r\nmg z v t\r\nincr z 2\r\nflush_all\r\nget z\r\n");
    node.finish();
    assert!(node.is_closed());
    let heard = node.into_heard();
    let rest: &[u8] = b"STORED\r\nVA 1 t100\r\n1\r\n3\r\nOK\r\nEND\r\n";
    let found = [b"VALUE a 3 1\r\n1\r\nEND\r\n", rest].concat();
    let gone = [b"END\r\n", rest].concat();
    // An earlier run may have seen a later time than it is now, and the flush then is due.
    let right = heard == gone && (flushed || ahead) || heard == found && !flushed;
    assert!(
        right,
        "flushed {flushed}, ahead {ahead}: {}",
        heard.escape_ascii()
    );
}
