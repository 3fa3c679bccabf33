//! What the core reads back from disk: records, and the notes that a start finds.
//!
//! Decides that nothing read is trusted: any bytes are a record to the letter, or refused.

use zufar_core::disk::{HEAD_BYTES, Head, RecordError, decode, encode_head};

/// A checksum ends each head, in bytes.
const CHECKSUM_BYTES: usize = 4;

/// Reads `input`, whose first byte says as what.
pub fn disk_records(input: &[u8]) {
    let Some((&how, bytes)) = input.split_first() else {
        return;
    };
    match how % 3 {
        0 => check_bytes(bytes),
        1 => check_sealed(bytes),
        _ => check_head(bytes),
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
