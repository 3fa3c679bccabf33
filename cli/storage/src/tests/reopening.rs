//! Closing and opening again while others use the storage.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use zufar_core::disk::{Batch, Disk, DiskError, Load, Scan};

use super::support::{Changes, MIB, WORKER, load, noise, open, value};

#[test]
fn an_epoch_is_reopened_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    assert_eq!(storage.epoch(), 1);
    Changes::default().put(0, b"k", 1, b"v").write(&storage);
    assert_eq!(storage.reopen(1), Ok(()));
    assert_eq!(storage.epoch(), 2);
    assert_eq!(storage.reopen(1), Ok(()), "another worker has seen to it");
    assert_eq!(storage.epoch(), 2);
    assert_eq!(value(&storage, 0, b"k"), b"v");
}

#[test]
fn readers_and_writers_wait_for_a_reopen_and_never_fail() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    for number in 0..100_u64 {
        let key = number.to_be_bytes();
        Changes::default()
            .put(0, &key, 1, &noise(number, 100))
            .put(1, &key, 1, &noise(number, MIB / 8))
            .write(&storage);
    }
    let stop = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for reader in 0..3_u64 {
            let (storage, stop, reads) = (&storage, &stop, &reads);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let number = reads
                        .fetch_add(1, Ordering::Relaxed)
                        .wrapping_mul(reader + 7)
                        % 100;
                    let key = number.to_be_bytes();
                    assert_eq!(value(storage, 0, &key), noise(number, 100));
                    assert!(value(storage, 1, &key) == noise(number, MIB / 8));
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                storage.compact(0, 0);
            }
        });
        for epoch in 1..=20 {
            let before = reads.load(Ordering::Relaxed);
            assert_eq!(storage.reopen(epoch), Ok(()));
            assert_eq!(storage.epoch(), epoch + 1);
            while reads.load(Ordering::Relaxed) < before + 20 {
                std::thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn two_workers_that_ask_at_once_get_one_reopen() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    for epoch in 1..=10 {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(storage.reopen(epoch), Ok(())));
            }
        });
        assert_eq!(storage.epoch(), epoch + 1);
        Changes::default().put(0, b"k", epoch, b"v").write(&storage);
    }
}

#[test]
fn a_closed_storage_answers_failed_and_keeps_what_it_has() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    Changes::default().put(0, b"k", 1, b"v").write(&storage);
    assert_eq!(storage.close(), Ok(()));
    assert_eq!(storage.close(), Ok(()));
    assert_eq!(
        storage.write(WORKER, &Batch::default()),
        Err(DiskError::Failed)
    );
    assert_eq!(storage.sync(), Err(DiskError::Failed));
    assert_eq!(load(&storage, 0, b"k"), Err(DiskError::Failed));
    assert_eq!(storage.scan(&mut Scan::default()), Err(DiskError::Failed));
    assert_eq!(storage.reopen(storage.epoch()), Err(DiskError::Failed));
    storage.compact(0, 0);
    assert!(storage.usage().expect("usage").database_bytes > 0);
    drop(storage);
    let storage = open(directory.path());
    assert_eq!(value(&storage, 0, b"k"), b"v");
}

#[test]
fn the_storage_is_a_disk_for_drivers() {
    fn takes(_: &dyn Disk) {}
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    takes(&storage);
    let mut request = Load {
        key: b"\0\0absent".to_vec(),
        buffer: b"left over".to_vec(),
        ..Load::default()
    };
    assert!(matches!(
        storage.load(&mut request),
        Ok(zufar_core::disk::Found::Nothing)
    ));
    assert_eq!(storage.sync(), Ok(()));
}
