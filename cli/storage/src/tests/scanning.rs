//! Reading stretches of a partition.

use zufar_core::disk::{Disk, Scan};

use super::support::{Changes, MIB, noise, open};
use crate::Storage;

fn pages(storage: &Storage, mut scan: Scan) -> (Vec<Vec<u8>>, usize) {
    let mut keys = Vec::new();
    for page in 1.. {
        let done = storage.scan(&mut scan).expect("a scan");
        assert!(scan.records.len() <= scan.records_max as usize);
        for record in &scan.records {
            keys.push(record.key.of(&scan.buffer).to_vec());
        }
        if done {
            return (keys, page);
        }
        assert!(
            !scan.records.is_empty(),
            "a page that is not the last makes progress"
        );
        scan.after.clone_from(keys.last().expect("a key"));
    }
    unreachable!("pages end")
}

#[test]
fn pages_follow_each_other_in_key_order_within_the_partition() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    let mut changes = Changes::default();
    let mut expected = Vec::new();
    for number in 0..1000_u64 {
        let key = noise(number, 1 + (number % 20) as usize);
        for partition in [6, 7, 8, u16::MAX] {
            changes = changes.put(partition, &key, 1, &noise(number, 100));
        }
        expected.push(key);
    }
    changes.delete(7, &expected[0]).write(&storage);
    expected.sort();
    expected.dedup();
    for (records_max, bytes_max) in [(1000, u32::MAX), (1, u32::MAX), (7, u32::MAX), (9999, 1000)] {
        let scan = Scan {
            partition: u16::MAX,
            records_max,
            bytes_max,
            ..Scan::default()
        };
        let (keys, count) = pages(&storage, scan);
        assert!(keys == expected, "{records_max} records, {bytes_max} bytes");
        assert_eq!(count > 1, records_max < 1000 || bytes_max == 1000);
    }
    let inside = pages(&storage, scan_of(7)).0;
    assert_eq!(
        inside.len(),
        expected.len() - 1,
        "one of partition 7 is deleted"
    );
    assert!(pages(&storage, scan_of(9)).0.is_empty());
}

fn scan_of(partition: u16) -> Scan {
    Scan {
        partition,
        records_max: 100,
        bytes_max: 1_000_000,
        ..Scan::default()
    }
}

#[test]
fn values_come_if_wanted_and_small_and_heads_always() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    let lengths = [0, 10, 4096, 4097, 2 * MIB];
    let mut changes = Changes::default();
    for (number, length) in (0..).zip(lengths) {
        changes = changes.put(0, &[b'a' + number], 5, &noise(1, length));
    }
    changes.write(&storage);
    for wanted in [true, false] {
        let mut scan = scan_of(0);
        scan.values = wanted;
        assert_eq!(storage.scan(&mut scan), Ok(true));
        assert_eq!(scan.records.len(), lengths.len());
        for (record, length) in scan.records.iter().zip(lengths) {
            assert_eq!(record.head.value_bytes as usize, length);
            assert_eq!(record.head.version, 5);
            let expected = (wanted && length <= 4096).then(|| noise(1, length));
            let value = record.value.map(|value| value.of(&scan.buffer).to_vec());
            assert_eq!(value, expected, "{length} bytes, wanted: {wanted}");
        }
    }
}

#[test]
fn a_page_may_begin_after_a_key_that_is_gone() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    Changes::default()
        .put(0, b"a", 1, b"")
        .put(0, b"c", 1, b"")
        .write(&storage);
    let mut scan = scan_of(0);
    scan.after = b"b".to_vec();
    assert_eq!(storage.scan(&mut scan), Ok(true));
    assert_eq!(scan.records.len(), 1);
    assert_eq!(scan.records[0].key.of(&scan.buffer), b"c");
    scan.after = b"c".to_vec();
    assert_eq!(storage.scan(&mut scan), Ok(true));
    assert!(scan.records.is_empty());
}

#[test]
fn an_unreadable_record_is_passed_over_and_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    Changes::default()
        .put(0, b"a", 1, b"x")
        .put(0, b"b", 1, b"x")
        .put(0, b"c", 1, b"x")
        .write(&storage);
    {
        let state = storage.state();
        let database = state.database().expect("open");
        let items = database.family(crate::layout::ITEMS);
        database
            .db()
            .put_cf(&items, b"\0\0b", b"rubbish")
            .expect("a put");
    }
    let mut scan = scan_of(0);
    assert_eq!(storage.scan(&mut scan), Ok(true));
    assert_eq!(scan.records.len(), 2);
    assert_eq!(storage.figures().damaged_records, 1);
}
