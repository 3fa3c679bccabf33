//! What compaction gets rid of.

use std::time::{SystemTime, UNIX_EPOCH};

use zufar_core::disk::{Disk, Head, NOTE_FLUSHED};

use super::support::{Changes, MIB, count, flush, load, noise, open, value};
use crate::layout::{CHUNKS, ITEMS, LEDGER};

fn unix_s() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u32::try_from(now.expect("a clock after 1970").as_secs()).expect("a clock before 2106")
}

fn expiring(expires_s: u32) -> Head {
    Head {
        version: 100,
        expires_s,
        ..Head::default()
    }
}

#[test]
fn items_below_the_flush_are_dropped_with_their_chunks() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    Changes::default()
        .put(5, b"old", 10, b"v")
        .put(5, b"old-large", 11, &noise(1, 3 * MIB))
        .put(5, b"new", 21, b"v")
        .put(5, b"new-large", 22, &noise(2, 2 * MIB))
        .put(6, b"new", 23, b"v")
        .write(&storage);
    storage.compact(5, 5);
    assert_eq!(count(&storage, ITEMS), 5, "nothing has been flushed yet");
    Changes::default()
        .note(NOTE_FLUSHED, &20_u64.to_be_bytes())
        .write(&storage);
    storage.compact(5, 5);
    assert_eq!(load(&storage, 5, b"old"), Ok(None));
    assert_eq!(load(&storage, 5, b"old-large"), Ok(None));
    assert_eq!(value(&storage, 5, b"new"), b"v");
    assert!(value(&storage, 5, b"new-large") == noise(2, 2 * MIB));
    assert_eq!(value(&storage, 6, b"new"), b"v");
    assert_eq!((count(&storage, CHUNKS), count(&storage, LEDGER)), (2, 1));
    assert_eq!(storage.figures().dropped_records, 2);
}

#[test]
fn the_flush_holds_for_compaction_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    Changes::default()
        .put(0, b"old", 10, b"v")
        .note(NOTE_FLUSHED, &20_u64.to_be_bytes())
        .write(&storage);
    drop(storage);
    let storage = open(directory.path());
    assert_eq!(count(&storage, ITEMS), 1);
    storage.compact(0, 0);
    assert_eq!(count(&storage, ITEMS), 0);
}

#[test]
fn only_items_that_expired_a_while_ago_are_dropped() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    let now = unix_s();
    Changes::default()
        .put_head(0, b"long-expired", expiring(now - 120), b"v")
        .put_head(
            0,
            b"long-expired-large",
            expiring(now - 120),
            &noise(1, 2 * MIB),
        )
        .put_head(0, b"just-expired", expiring(now - 5), b"v")
        .put_head(0, b"expiring", expiring(now + 3600), b"v")
        .put_head(0, b"lasting", expiring(0), b"v")
        .write(&storage);
    storage.compact(0, 0);
    assert_eq!(load(&storage, 0, b"long-expired"), Ok(None));
    assert_eq!(load(&storage, 0, b"long-expired-large"), Ok(None));
    for key in ["just-expired", "expiring", "lasting"] {
        assert_eq!(value(&storage, 0, key.as_bytes()), b"v", "{key}");
    }
    assert_eq!((count(&storage, CHUNKS), count(&storage, LEDGER)), (0, 0));
}

#[test]
fn a_dead_large_item_that_is_written_anew_stays() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    Changes::default()
        .put(0, b"k", 10, &noise(1, 2 * MIB))
        .note(NOTE_FLUSHED, &20_u64.to_be_bytes())
        .write(&storage);
    {
        // As an automatic compaction does, with no writer at hand.
        let state = storage.state();
        let database = state.database().expect("open");
        storage.compact_families(database, 0, 0, &[ITEMS]);
    }
    let batch = Changes::default().put(0, b"k", 30, &noise(3, MIB));
    batch.write(&storage);
    storage.compact(0, 0);
    assert!(value(&storage, 0, b"k") == noise(3, MIB));
    assert_eq!((count(&storage, CHUNKS), count(&storage, LEDGER)), (1, 1));
}

#[test]
fn a_dropped_item_does_not_uncover_an_older_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    Changes::default()
        .put(0, b"k", 1, b"oldest")
        .write(&storage);
    storage.compact(0, 0);
    let expired = expiring(unix_s() - 120);
    Changes::default()
        .put_head(0, b"k", expired, b"expired")
        .write(&storage);
    flush(&storage);
    storage.compact(0, 0);
    assert_eq!(load(&storage, 0, b"k"), Ok(None));
}

#[test]
fn compaction_gives_the_room_of_one_partition_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    let key = |number: u64| number.to_string().into_bytes();
    for number in 0..64 {
        Changes::default()
            .put(1, &key(number), 1, &noise(number, MIB / 2))
            .put(2, &key(number), 1, &noise(number, 4096))
            .write(&storage);
    }
    flush(&storage);
    storage.compact(1, 1);
    let before = storage.usage().expect("usage").database_bytes;
    let mut changes = Changes::default();
    for number in 0..64 {
        changes = changes.delete(1, &key(number));
    }
    changes.write(&storage);
    flush(&storage);
    storage.compact(1, 1);
    let after = storage.usage().expect("usage").database_bytes;
    assert!(
        after + 30 * (MIB as u64) < before,
        "{before} bytes before, {after} after"
    );
    assert_eq!(value(&storage, 2, b"63"), noise(63, 4096));
}
