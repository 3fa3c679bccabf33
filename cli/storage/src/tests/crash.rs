//! kill -9 in the middle of writing.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use zufar_core::disk::Disk;

use super::support::{CHILD, Changes, MIB, WORKER, child, count, load, noise, open, value};
use crate::Storage;
use crate::layout::{CHUNKS, LEDGER, NOTES};

const NAME: &str = "tests::crash::what_was_written_outlives_kill_nine";
/// Every so many batches one has large values, of which one is written ahead.
const LARGE_EACH: u64 = 5;

fn large_bytes(round: u64) -> usize {
    5 * MIB + round as usize % 1000
}

fn batch(round: u64) -> Changes {
    let mut changes = Changes::default()
        .put(0, b"first", round, &round.to_be_bytes())
        .put(1, &round.to_be_bytes(), round, &noise(round, 500));
    if round.is_multiple_of(LARGE_EACH) {
        changes = changes
            .put(2, b"large", round, &noise(round, large_bytes(round)))
            .put(2, b"medium", round, &noise(round, MIB));
    }
    if round > 10 {
        changes = changes.delete(1, &(round - 10).to_be_bytes());
    }
    changes.put(3, b"last", round, &round.to_be_bytes())
}

fn round(storage: &Storage, partition: u16, key: &[u8]) -> u64 {
    let found = load(storage, partition, key).expect("a load");
    found.map_or(0, |(_, value)| {
        u64::from_be_bytes(value.try_into().expect("a number"))
    })
}

/// Writes until it is killed, and tells the file `acks` what has been written.
fn write_forever(directory: &Path) {
    let storage = open(directory);
    let acks = OpenOptions::new()
        .append(true)
        .create(true)
        .open(directory.join("acks"));
    let mut acks = acks.expect("a file");
    for round in round(&storage, 0, b"first") + 1.. {
        storage.write(WORKER, &batch(round).0).expect("a write");
        if round.is_multiple_of(7) {
            storage.sync().expect("a sync");
        }
        acks.write_all(&round.to_be_bytes()).expect("an ack");
    }
}

fn acked(directory: &Path) -> u64 {
    let acks = fs::read(directory.join("acks")).unwrap_or_default();
    let last = acks.chunks_exact(8).next_back();
    last.map_or(0, |last| {
        u64::from_be_bytes(last.try_into().expect("eight bytes"))
    })
}

fn check(storage: &Storage, acked: u64) {
    let written = round(storage, 0, b"first");
    assert_eq!(written, round(storage, 3, b"last"), "a batch is whole");
    assert!(
        (acked..=acked + 1).contains(&written),
        "{written} written, {acked} acked"
    );
    for round in written.saturating_sub(30).max(1)..=written {
        let found = load(storage, 1, &round.to_be_bytes()).expect("a load");
        if round + 10 > written {
            assert_eq!(found.expect("a record").1, noise(round, 500));
        } else {
            assert_eq!(found, None, "{round} was deleted");
        }
    }
    let large = written - written % LARGE_EACH;
    if large > 0 {
        assert!(value(storage, 2, b"large") == noise(large, large_bytes(large)));
        assert!(value(storage, 2, b"medium") == noise(large, MIB));
        let chunks = large_bytes(large).div_ceil(MIB) + 1;
        assert_eq!(count(storage, CHUNKS), chunks, "of round {large}");
        assert_eq!(count(storage, LEDGER), 2);
    }
    assert_eq!(count(storage, NOTES), 0, "nothing is left pending");
}

#[test]
fn what_was_written_outlives_kill_nine() {
    if let Some(directory) = std::env::var_os(CHILD) {
        write_forever(Path::new(&directory));
    }
    let directory = tempfile::tempdir().expect("a directory");
    for kill in 1..=12_u64 {
        let start = acked(directory.path());
        let mut child = child(NAME, directory.path());
        let goal = start + 20 + kill;
        super::support::wait_for("progress", Duration::from_secs(60), || {
            assert_eq!(
                child.try_wait().expect("a state"),
                None,
                "the child goes on"
            );
            acked(directory.path()) >= goal
        });
        // Anywhere in a batch: the large ones take some milliseconds.
        std::thread::sleep(Duration::from_millis(kill * 3 % 17));
        child.kill().expect("a kill");
        child.wait().expect("an end");
        check(&open(directory.path()), acked(directory.path()));
    }
}

#[test]
fn chunks_written_ahead_of_a_record_that_never_came_are_cleared_away() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    Changes::default()
        .put(0, b"k", 1, &noise(1, 3 * MIB))
        .write(&storage);
    {
        // As far as a writer gets that dies before it commits.
        let state = storage.state();
        let database = state.database().expect("open");
        let db = database.db();
        let name = crate::layout::pending_name(b"\0\0k", 2);
        db.put_cf(&database.family(NOTES), name, 8_u32.to_be_bytes())
            .expect("a put");
        for index in 0..5 {
            let mut chunk_key = Vec::new();
            crate::layout::chunk_key(b"\0\0k", 2, index, &mut chunk_key);
            db.put_cf(&database.family(CHUNKS), chunk_key, noise(2, MIB))
                .expect("a put");
        }
    }
    assert_eq!(count(&storage, CHUNKS), 8);
    drop(storage);
    let storage = open(directory.path());
    assert_eq!((count(&storage, CHUNKS), count(&storage, NOTES)), (3, 0));
    assert!(value(&storage, 0, b"k") == noise(1, 3 * MIB));
}
