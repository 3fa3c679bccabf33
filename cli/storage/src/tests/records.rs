//! Writing and loading single records, notes and what a start finds of them.

use std::sync::atomic::{AtomicBool, Ordering};

use zufar_core::disk::{
    Disk, DiskError, Found, Head, Load, NOTE_CEILING, NOTE_FLUSH_AT, NOTE_FLUSHED, NOTE_HOT,
    NOTE_LAYOUT, NOTE_RECORD, disk_key,
};
use zufar_core::notes::ClusterNotes;

use super::support::{Changes, MIB, count, flush, load, noise, open, open_all, value};
use crate::database::Pending;
use crate::layout::{CHUNKS, LEDGER, NOTES, Parts, TOGETHER_BYTES_MAX};

const LENGTHS: [usize; 13] = [
    0,
    1,
    4096,
    4097,
    TOGETHER_BYTES_MAX,
    TOGETHER_BYTES_MAX + 1,
    MIB - 1,
    MIB,
    MIB + 1,
    2 * MIB,
    3 * MIB,
    8 * MIB,
    8 * MIB + 5,
];

#[test]
fn values_of_all_lengths_come_back_also_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    for (version, length) in (1..).zip(LENGTHS) {
        let key = length.to_string();
        let head = Head {
            version,
            cas: 7,
            flags: 8,
            expires_s: u32::MAX,
            accessed_s: 9,
            fetched: true,
            ..Head::default()
        };
        let value = noise(version, length);
        Changes::default()
            .put_head(3, key.as_bytes(), head, &value)
            .write(&storage);
    }
    let check = |storage: &crate::Storage| {
        for (version, length) in (1..).zip(LENGTHS) {
            let found = load(storage, 3, length.to_string().as_bytes());
            let (head, value) = found.expect("a load").expect("a record");
            assert_eq!((head.version, head.cas, head.flags), (version, 7, 8));
            assert_eq!(
                (head.expires_s, head.accessed_s, head.fetched),
                (u32::MAX, 9, true)
            );
            assert!(
                value == noise(version, length),
                "the value of {length} bytes"
            );
            let elsewhere = load(storage, 4, length.to_string().as_bytes());
            assert_eq!(elsewhere, Ok(None), "another partition has another key");
        }
        assert_eq!(count(storage, CHUNKS), 1 + 1 + 1 + 2 + 2 + 3 + 8 + 9);
        assert_eq!(count(storage, LEDGER), 8);
        assert_eq!(count(storage, NOTES), 0, "nothing is pending");
    };
    check(&storage);
    storage.close().expect("a clean end");
    drop(storage);
    check(&open(directory.path()));
}

#[test]
fn large_values_have_exactly_their_length_and_oversized_ones_stay_on_disk() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    for length in [5000, 3 * MIB] {
        Changes::default()
            .put(0, b"k", 1, &noise(1, length))
            .write(&storage);
        let mut request = Load::default();
        disk_key(0, b"k", &mut request.key);
        request.value_bytes_max = length as u32 - 1;
        match storage.load(&mut request) {
            Ok(Found::Oversized { value_bytes }) => assert_eq!(value_bytes as usize, length),
            other => panic!("{other:?}"),
        }
        request.value_bytes_max = length as u32;
        match storage.load(&mut request) {
            Ok(Found::Large { value, .. }) => {
                let whole: Vec<u8> = value.into();
                assert_eq!(whole.capacity(), length, "no memory beyond the value");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn overwriting_and_deleting_leave_no_chunks() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    let chunks = |expected: usize| {
        assert_eq!(count(&storage, CHUNKS), expected);
        assert_eq!(count(&storage, LEDGER), usize::from(expected != 0));
        assert_eq!(count(&storage, NOTES), 0);
    };
    let put = |version, length| {
        Changes::default()
            .put(1, b"k", version, &noise(version, length))
            .write(&storage);
        assert!(
            value(&storage, 1, b"k") == noise(version, length),
            "version {version}"
        );
    };
    put(1, 3 * MIB);
    chunks(3);
    put(2, 10);
    chunks(0);
    put(3, 7 * MIB + 1);
    chunks(8);
    put(4, 2 * MIB);
    chunks(2);
    // As after a failed sync, when the core writes again what may be there already.
    put(4, 2 * MIB);
    chunks(2);
    put(5, 7 * MIB);
    put(5, 7 * MIB);
    chunks(7);
    put(6, TOGETHER_BYTES_MAX + 1);
    chunks(1);
    Changes::default().delete(1, b"k").write(&storage);
    chunks(0);
    assert_eq!(load(&storage, 1, b"k"), Ok(None));
    Changes::default().delete(1, b"absent").write(&storage);
}

#[test]
fn the_last_change_of_a_key_in_a_batch_wins() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    let (large, larger) = (noise(1, 2 * MIB), noise(2, 6 * MIB));
    Changes::default()
        .put(0, b"a", 1, &large)
        .put(0, b"a", 2, b"small")
        .put(0, b"b", 3, &larger)
        .put(0, b"b", 4, &large)
        .put(0, b"c", 5, &larger)
        .delete(0, b"c")
        .put(0, b"d", 6, b"small")
        .put(0, b"d", 7, &larger)
        .write(&storage);
    assert_eq!(value(&storage, 0, b"a"), b"small");
    assert!(value(&storage, 0, b"b") == large);
    assert_eq!(load(&storage, 0, b"c"), Ok(None));
    assert!(value(&storage, 0, b"d") == larger);
    assert_eq!(count(&storage, CHUNKS), 2 + 6);
    assert_eq!(count(&storage, LEDGER), 2);
    assert_eq!(count(&storage, NOTES), 0);
}

#[test]
fn a_value_that_lacks_a_chunk_is_damaged() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    Changes::default()
        .put(0, b"k", 1, &noise(1, 3 * MIB))
        .write(&storage);
    {
        let state = storage.state();
        let database = state.database().expect("open");
        let mut chunk_key = Vec::new();
        crate::layout::chunk_key(b"\0\0k", 1, 1, &mut chunk_key);
        let chunks = database.family(CHUNKS);
        database
            .db()
            .delete_cf(&chunks, chunk_key)
            .expect("a delete");
    }
    assert_eq!(load(&storage, 0, b"k"), Err(DiskError::Damaged));
}

#[test]
fn notes_return_in_the_recovery() {
    let directory = tempfile::tempdir().expect("a directory");
    let (storage, recovery, _) = open_all(directory.path());
    assert_eq!((recovery.version_ceiling, recovery.flushed), (0, 0));
    assert!(recovery.hot.is_empty());
    let number = |number: u64| number.to_be_bytes();
    let hot = [NOTE_HOT, b"0"].concat();
    let hotter = [NOTE_HOT, b"1"].concat();
    Changes::default()
        .note(NOTE_CEILING, &number(100))
        .note(NOTE_FLUSHED, &number(50))
        .note(NOTE_FLUSH_AT, &number(1_900_000_000_000))
        .note(&hot, b"one")
        .note(&hotter, b"two")
        .note(b"zzz", b"no hot list")
        .put(0, b"k", 60, b"v")
        .write(&storage);
    // A flush never goes back; a ceiling may.
    Changes::default()
        .note(NOTE_FLUSHED, &number(40))
        .note(NOTE_CEILING, &number(90))
        .write(&storage);
    drop(storage);
    let (storage, recovery, _) = open_all(directory.path());
    assert_eq!(recovery.flushed, 50);
    assert_eq!(recovery.version_ceiling, 90);
    assert_eq!(recovery.flush_at_unix_ms, 1_900_000_000_000);
    assert_eq!(recovery.hot, [b"one".to_vec(), b"two".to_vec()]);
    assert_eq!(recovery.records_estimate, 1);
    Changes::default()
        .note(NOTE_FLUSHED, &number(45))
        .write(&storage);
    drop(storage);
    assert_eq!(
        open_all(directory.path()).1.flushed,
        50,
        "nor after a restart"
    );
}

/// The core's own encoding is not this crate's business: what it has kept comes back as it was.
#[test]
fn notes_of_the_cluster_return_in_the_recovery() {
    let directory = tempfile::tempdir().expect("a directory");
    let (storage, recovery, _) = open_all(directory.path());
    assert!(!recovery.holds_records);
    assert_eq!(recovery.cluster, ClusterNotes::default());
    Changes::default()
        .note(NOTE_LAYOUT, b"damaged")
        .note(&[NOTE_RECORD, &[0, 7]].concat(), b"damaged, too")
        .note(b"cluster", b"is none of these")
        .write(&storage);
    drop(storage);
    let (storage, recovery, _) = open_all(directory.path());
    assert_eq!(recovery.cluster.damaged, ["cluster/layout", "replica/7"]);
    assert!(!recovery.holds_records);
    Changes::default().put(0, b"k", 60, b"v").write(&storage);
    drop(storage);
    assert!(open_all(directory.path()).1.holds_records);
}

#[test]
fn memory_stays_within_its_bound_and_figures_add_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut options = crate::Options::new(directory.path());
    options.memory_bytes_max = 32 * MIB as u64;
    let (storage, _, _) = crate::Storage::open(options).expect("open");
    let mut memory_bytes_max = 0;
    for round in 0..48_u64 {
        let mut changes = Changes::default();
        for key in 0..1024_u64 {
            let name = noise(round * 1024 + key, 16);
            changes = changes.put((key % 64) as u16, &name, 1, &noise(key, 2000));
        }
        changes.write(&storage);
        let usage = storage.usage().expect("usage");
        memory_bytes_max = memory_bytes_max.max(usage.memory_bytes);
    }
    assert!(
        memory_bytes_max > 4 * MIB as u64,
        "memory tables count: {memory_bytes_max}"
    );
    assert!(
        memory_bytes_max < 36 * MIB as u64,
        "{memory_bytes_max} bytes"
    );
    flush(&storage);
    let usage = storage.usage().expect("usage");
    assert!(
        usage.database_bytes > 64 * MIB as u64,
        "{} bytes",
        usage.database_bytes
    );
    assert!(usage.free_bytes < usage.total_bytes);
    let figures = storage.figures();
    assert!(figures.accepted_bytes > 96 * MIB as u64, "{figures:?}");
    assert!(figures.log_bytes > figures.accepted_bytes, "{figures:?}");
    assert!(figures.flush_bytes > 0, "{figures:?}");
    assert!(figures.write_amplification() > 1.5, "{figures:?}");
}

#[test]
fn a_write_clears_away_what_a_failed_one_has_left() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    let (left, committed) = (Parts::of(1, 3 * MIB as u32), Parts::of(2, 2 * MIB as u32));
    Changes::default()
        .put(0, b"k", committed.version, &noise(2, 2 * MIB))
        .write(&storage);
    {
        let state = storage.state();
        let database = state.database().expect("open");
        let mut chunk_key = Vec::new();
        crate::layout::chunk_key(b"\0\0k", left.version, 1, &mut chunk_key);
        let chunks = database.family(CHUNKS);
        database
            .db()
            .put_cf(&chunks, chunk_key, b"chunk")
            .expect("a put");
    }
    for parts in [left, committed] {
        let key = b"\0\0k".to_vec();
        crate::lock(&storage.writer)
            .pending
            .push(Pending { key, parts });
    }
    assert_eq!(count(&storage, CHUNKS), 3);
    Changes::default().put(0, b"other", 3, b"v").write(&storage);
    assert_eq!(count(&storage, CHUNKS), 2);
    assert!(
        value(&storage, 0, b"k") == noise(2, 2 * MIB),
        "what was committed stays"
    );
}

#[test]
fn a_large_value_is_read_whole_while_it_is_overwritten() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    let put = |version: u64| {
        let length = MIB + (version as usize % 4) * MIB;
        Changes::default()
            .put(0, b"k", version, &noise(version % 8, length))
            .write(&storage);
    };
    put(1);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut versions = 0;
            let mut last = 0;
            while !stop.load(Ordering::Relaxed) {
                let found = load(&storage, 0, b"k").expect("whole at all times");
                let (head, value) = found.expect("a record at all times");
                assert!(
                    value == noise(head.version % 8, value.len()),
                    "{}",
                    head.version
                );
                versions += u64::from(head.version != last);
                last = head.version;
            }
            assert!(versions > 1, "reads and writes met");
        });
        (2..100).for_each(put);
        stop.store(true, Ordering::Relaxed);
    });
}
