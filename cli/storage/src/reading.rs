//! Loads one record, or scans a stretch of a partition.
//!
//! Decides how a record is put together again and what damage amounts to while reading.
//! Refuses to know locks and incarnations.

use bytes::Bytes;
use rocksdb::{DBPinnableSlice, DBRawIterator, ErrorKind, ReadOptions};
use zufar_core::cache::INLINE_BYTES_MAX;
use zufar_core::disk::{DiskError, Found, Head, Load, Scan, Scanned, Span, decode};

use crate::database::Database;
use crate::filter::Shared;
use crate::layout::{self, CHUNKS, ITEMS, PARTITION_BYTES, Parts};

/// From so many bytes on a scan reads ahead from its start, and not only once it has proved
/// to be long.
const LONG_SCAN_BYTES: u32 = 256 * 1024;
const READAHEAD_BYTES: usize = 512 * 1024;

/// What a read error amounts to. The file system being out of order is not the record's fault.
fn read_failure(error: &rocksdb::Error) -> DiskError {
    match error.kind() {
        ErrorKind::Corruption => DiskError::Damaged,
        _ => DiskError::Failed,
    }
}

/// Performs `load`.
pub(crate) fn load(database: &Database, load: &mut Load) -> Result<Found, DiskError> {
    load.buffer.clear();
    let items = database.family(ITEMS);
    let record = database.db().get_pinned_cf(&items, &load.key);
    let Some(record) = record.map_err(|error| read_failure(&error))? else {
        return Ok(Found::Nothing);
    };
    let (head, value) = decode(&record).map_err(|_| DiskError::Damaged)?;
    if head.value_bytes > load.value_bytes_max {
        return Ok(Found::Oversized {
            value_bytes: head.value_bytes,
        });
    }
    if value.len() != head.value_bytes as usize {
        drop(record);
        return load_apart(database, load);
    }
    if value.len() <= INLINE_BYTES_MAX {
        load.buffer.extend_from_slice(&record);
        return Ok(Found::Small);
    }
    Ok(Found::Large {
        head,
        value: Bytes::copy_from_slice(value),
    })
}

/// Reads head and chunks as of one moment: a writer may replace both in between.
fn load_apart(database: &Database, load: &Load) -> Result<Found, DiskError> {
    let failure = |error: rocksdb::Error| read_failure(&error);
    let snapshot = database.db().snapshot();
    let record = snapshot.get_pinned_cf(&database.family(ITEMS), &load.key);
    let Some(record) = record.map_err(failure)? else {
        return Ok(Found::Nothing);
    };
    let (head, value) = decode(&record).map_err(|_| DiskError::Damaged)?;
    if head.value_bytes > load.value_bytes_max {
        return Ok(Found::Oversized {
            value_bytes: head.value_bytes,
        });
    }
    if value.len() == head.value_bytes as usize {
        return Ok(Found::Large {
            head,
            value: Bytes::copy_from_slice(value),
        });
    }
    let get = |chunk_key: &[u8]| {
        let mut options = ReadOptions::default();
        // A chunk would push a hundred blocks of small items out.
        options.fill_cache(false);
        snapshot.get_pinned_cf_opt(&database.family(CHUNKS), chunk_key, options)
    };
    let value = join(&load.key, &head, get)?;
    Ok(Found::Large { head, value })
}

fn join<'a>(
    disk_key: &[u8],
    head: &Head,
    get: impl Fn(&[u8]) -> Result<Option<DBPinnableSlice<'a>>, rocksdb::Error>,
) -> Result<Bytes, DiskError> {
    let value_bytes = head.value_bytes as usize;
    let parts = Parts::of(head.version, head.value_bytes);
    let mut value = Vec::with_capacity(value_bytes);
    let mut chunk_key = Vec::new();
    for index in 0..parts.count {
        layout::chunk_key(disk_key, parts.version, index, &mut chunk_key);
        let chunk = get(&chunk_key).map_err(|error| read_failure(&error))?;
        let chunk = chunk.ok_or(DiskError::Damaged)?;
        if chunk.len() > value_bytes - value.len() {
            return Err(DiskError::Damaged);
        }
        value.extend_from_slice(&chunk);
    }
    if value.len() != value_bytes {
        return Err(DiskError::Damaged);
    }
    Ok(Bytes::from(value))
}

/// Performs `scan`; true when the partition's end was reached.
pub(crate) fn scan(
    database: &Database,
    shared: &Shared,
    scan: &mut Scan,
) -> Result<bool, DiskError> {
    scan.buffer.clear();
    scan.records.clear();
    let (partition, bytes_max) = (scan.partition, scan.bytes_max);
    let seek = |target: &[u8]| seek(database, partition, bytes_max, target);
    let mut at = [&partition.to_be_bytes(), scan.after.as_slice()].concat();
    let mut iterator = seek(&at);
    if !scan.after.is_empty() && iterator.key() == Some(at.as_slice()) {
        iterator.next();
    }
    loop {
        if (scan.records.len() as u64) >= u64::from(scan.records_max)
            || (scan.buffer.len() as u64) >= u64::from(bytes_max)
        {
            return Ok(false);
        }
        match iterator.item() {
            Some((key, record)) => {
                at.clear();
                at.extend_from_slice(key);
                if !gather(scan, &key[PARTITION_BYTES..], record) {
                    count_damage(shared);
                }
                iterator.next();
            }
            None => match iterator.status() {
                Ok(()) => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Corruption => {
                    count_damage(shared);
                    let behind = behind_damage(&at, |target| seek(target).status().is_ok());
                    iterator = seek(&behind.ok_or(DiskError::Damaged)?);
                }
                Err(_) => return Err(DiskError::Failed),
            },
        }
    }
}

/// An iterator over the rest of `partition` from `target` on.
fn seek<'a>(
    database: &'a Database,
    partition: u16,
    bytes_max: u32,
    target: &[u8],
) -> DBRawIterator<'a> {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    if let (_, Some(end)) = layout::partition_bounds(partition) {
        options.set_iterate_upper_bound(end);
    }
    if bytes_max >= LONG_SCAN_BYTES {
        options.set_readahead_size(READAHEAD_BYTES);
    }
    let items = database.family(ITEMS);
    let mut iterator = database.db().raw_iterator_cf_opt(&items, options);
    iterator.seek(target);
    iterator
}

fn count_damage(shared: &Shared) {
    shared
        .damaged
        .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
}

/// Appends one record; false if it is damaged.
fn gather(scan: &mut Scan, key: &[u8], record: &[u8]) -> bool {
    let Ok((head, value)) = decode(record) else {
        return false;
    };
    let mut push = |bytes: &[u8]| {
        let start = scan.buffer.len();
        scan.buffer.extend_from_slice(bytes);
        let cut = |at: usize| u32::try_from(at).expect("bytes_max keeps a scan below 4 GiB");
        Span {
            start: cut(start),
            end: cut(start + bytes.len()),
        }
    };
    let key = push(key);
    let is_small = head.value_bytes as usize <= INLINE_BYTES_MAX;
    let value = (scan.values && is_small).then(|| push(value));
    scan.records.push(Scanned { key, head, value });
    true
}

/// The nearest place that can be read behind a damaged stretch that began after `at`; none if
/// there is none in the partition, which must not be taken for its end.
///
/// Iterators do not know where damage ends (and must not be used again after an error: they
/// then take one block for another), so keys are tried that differ from `at` in an ever earlier
/// byte, and then keys between the last that fails and the first that does not.
fn behind_damage(at: &[u8], is_readable: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let mut bad = at.to_vec();
    let mut good = None;
    'search: for length in (PARTITION_BYTES..=at.len()).rev() {
        let mut byte = at.get(length).map_or(0, |byte| u16::from(*byte) + 1);
        let mut step = 1;
        while let Ok(last) = u8::try_from(byte) {
            let target = [&at[..length], &[last]].concat();
            if is_readable(&target) {
                good = Some(target);
                break 'search;
            }
            bad = target;
            byte += step;
            step *= 2;
        }
    }
    let mut good = good?;
    bad.resize(at.len() + 1, 0);
    good.resize(at.len() + 1, 0);
    loop {
        let middle = middle(&bad, &good);
        if middle == bad {
            return Some(good);
        }
        if is_readable(&middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
}

/// Half of the sum of two numbers of one length, most significant byte first, rounded down.
fn middle(low: &[u8], high: &[u8]) -> Vec<u8> {
    let mut sum = vec![0; low.len()];
    let mut carry = 0;
    for (index, byte) in sum.iter_mut().enumerate().rev() {
        let total = u16::from(low[index]) + u16::from(high[index]) + carry;
        carry = total >> 8;
        *byte = total as u8;
    }
    for byte in &mut sum {
        let whole = (carry << 8) | u16::from(*byte);
        *byte = (whole >> 1) as u8;
        carry = whole & 1;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::{behind_damage, middle};

    #[test]
    fn the_end_of_damage_is_found_to_the_key() {
        let readable = |target: &[u8]| target > b"\0\0k0509".as_slice();
        let behind = behind_damage(b"\0\0k0494", readable).expect("some of it can be read");
        assert!(
            readable(&behind) && behind.as_slice() < b"\0\0k0510".as_slice(),
            "{behind:?}"
        );
        let behind = behind_damage(b"\0\0", readable).expect("some of it can be read");
        assert!(readable(&behind));
        assert_eq!(behind_damage(b"\0\0k0494", |_| false), None);
    }

    #[test]
    fn the_middle_lies_between() {
        assert_eq!(middle(&[0, 0], &[1, 0]), [0, 128]);
        assert_eq!(middle(&[255, 255], &[255, 255]), [255, 255]);
        assert_eq!(middle(&[255, 0], &[255, 255]), [255, 127]);
        assert_eq!(middle(&[7, 9], &[7, 10]), [7, 9]);
    }
}
