//! A full disk: nothing is lost or set aside, and writing goes on when there is room again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use zufar_core::disk::{Disk, DiskError};

use super::support::{Changes, MIB, WORKER, count, load, noise, open, value, wait_for};
use crate::layout::{CHUNKS, NOTES};
use crate::{OpenError, Options, Storage};

/// A small file system in memory, unmounted when dropped. Mounting takes root, as CI has it.
pub(super) struct Mount {
    directory: tempfile::TempDir,
}

impl Mount {
    pub(super) fn new(options: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "zufar-storage-test"])
            .arg(directory.path())
            .status();
        let status = status.expect("mount runs");
        assert!(
            status.success(),
            "this test has to mount a tmpfs: run it as root"
        );
        Self { directory }
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Takes all room but `bytes`.
    fn fill_but(&self, bytes: u64) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = File::create(&path).expect("a file");
        let (free_bytes, _) = crate::usage::room(self.path()).expect("statvfs");
        let mut left = free_bytes.saturating_sub(bytes);
        while left > 0 {
            let length = left.min(MIB as u64);
            match file.write_all(&vec![0; length as usize]) {
                Ok(()) => left -= length,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
                    break;
                }
            }
        }
        path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, since a failed test may still have files open.
        let status = Command::new("umount").arg("-l").arg(self.path()).status();
        assert!(status.is_ok_and(|status| status.success()), "umount");
    }
}

fn put(number: u64) -> Changes {
    let key = number.to_be_bytes();
    // Version 0 is below every flush, even one that never was.
    Changes::default()
        .put(0, &key, number + 1, &noise(number, 200_000))
        .put(1, &key, number + 1, &noise(number, 3000))
}

fn check(storage: &Storage, numbers: u64) {
    for number in 0..numbers {
        let key = number.to_be_bytes();
        assert!(
            value(storage, 0, &key) == noise(number, 200_000),
            "{number}"
        );
        assert!(value(storage, 1, &key) == noise(number, 3000), "{number}");
    }
}

/// Writes until there is no room; the number of batches that were taken.
fn write_until_full(storage: &Storage, from: u64) -> u64 {
    for number in from..from + 10_000 {
        match storage.write(WORKER, &put(number).0) {
            Ok(()) => {}
            Err(DiskError::Full) => return number,
            Err(other) => panic!("{other:?} at {number}"),
        }
    }
    panic!("the disk was never full")
}

/// Writes `number` as the core does: waits while full, reopens when failed.
fn write_in_the_end(storage: &Storage, number: u64) -> Duration {
    wait_for(
        "room to be noticed",
        Duration::from_secs(20),
        || match storage.write(WORKER, &put(number).0) {
            Ok(()) => true,
            Err(DiskError::Failed) => {
                let _ = storage.reopen(storage.epoch());
                false
            }
            Err(_) => false,
        },
    )
}

#[test]
fn writing_goes_on_when_there_is_room_again() {
    let mount = Mount::new("size=256m");
    let directory = mount.path().join("data");
    let storage = open(&directory);
    for round in 0..2 {
        let from = if round == 0 { 0 } else { 1000 };
        let filler = mount.fill_but(24 * MIB as u64);
        let full = write_until_full(&storage, from);
        assert!(full > from, "some batches fit");
        if round == 0 {
            check(&storage, full);
        }
        assert_eq!(
            storage.write(WORKER, &put(full).0),
            Err(DiskError::Full),
            "it stays full"
        );
        assert!(storage.usage().expect("usage").free_bytes < 32 * MIB as u64);
        fs::remove_file(filler).expect("a removal");
        let waited = write_in_the_end(&storage, full);
        assert!(waited < Duration::from_secs(12), "{waited:?}");
        assert_eq!(storage.sync(), Ok(()));
        if round == 0 {
            check(&storage, full + 1);
            drop_numbers(&storage, full);
        }
    }
    assert!(storage.set_aside().is_empty());
    drop(storage);
    drop(open(&directory));
}

/// Makes room for another round, and keeps nothing but what `check` has seen.
fn drop_numbers(storage: &Storage, full: u64) {
    let mut changes = Changes::default();
    for number in 0..=full {
        let key = number.to_be_bytes();
        changes = changes.delete(0, &key).delete(1, &key);
    }
    changes.write(storage);
    storage.compact(0, 0);
    assert_eq!(load(storage, 0, &0_u64.to_be_bytes()), Ok(None));
}

#[test]
fn what_was_taken_before_the_disk_was_full_outlives_a_kill() {
    let mount = Mount::new("size=128m");
    let directory = mount.path().join("data");
    let storage = open(&directory);
    let filler = mount.fill_but(24 * MIB as u64);
    let full = write_until_full(&storage, 0);
    drop(storage);
    fs::remove_file(filler).expect("a removal");
    let storage = open(&directory);
    check(&storage, full);
}

#[test]
fn a_start_without_room_says_so_and_sets_nothing_aside() {
    let mount = Mount::new("size=64m");
    let directory = mount.path().join("data");
    let storage = open(&directory);
    put(0).write(&storage);
    drop(storage);
    let filler = mount.fill_but(0);
    let error = Storage::open(Options::new(&directory)).expect_err("there is no room");
    assert!(matches!(error, OpenError::Full { .. }), "{error:?}");
    assert!(error.to_string().contains("no room"), "{error}");
    let names: Vec<_> = fs::read_dir(&directory)
        .expect("entries")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    fs::remove_file(filler).expect("a removal");
    check(&open(&directory), 1);
}

#[test]
fn a_reopen_without_room_leaves_it_closed_until_there_is_some() {
    let mount = Mount::new("size=128m");
    let storage = open(&mount.path().join("data"));
    // What is only in the log takes as much room again while it is opened.
    let records = 60;
    for number in 0..records {
        put(number).write(&storage);
    }
    let filler = mount.fill_but(0);
    assert_eq!(storage.reopen(1), Err(DiskError::Full));
    assert_eq!(storage.epoch(), 1);
    assert_eq!(load(&storage, 0, b"k"), Err(DiskError::Failed));
    assert_eq!(storage.write(WORKER, &put(records).0), Err(DiskError::Full));
    assert_eq!(storage.sync(), Err(DiskError::Full));
    assert!(storage.usage().expect("usage").database_bytes > 0);
    assert!(storage.set_aside().is_empty());
    fs::remove_file(filler).expect("a removal");
    let waited = write_in_the_end(&storage, records);
    assert!(waited < Duration::from_secs(12), "{waited:?}");
    assert_eq!(storage.epoch(), 2);
    check(&storage, records + 1);
}

#[test]
fn a_large_value_that_did_not_fit_leaves_nothing_behind() {
    let mount = Mount::new("size=256m");
    let storage = open(&mount.path().join("data"));
    let filler = mount.fill_but(24 * MIB as u64);
    let large = Changes::default()
        .put(0, b"large", 1, &noise(1, 60 * MIB))
        .0;
    assert_eq!(storage.write(WORKER, &large), Err(DiskError::Full));
    assert_eq!(load(&storage, 0, b"large"), Ok(None));
    fs::remove_file(filler).expect("a removal");
    write_in_the_end(&storage, 1);
    assert_eq!(count(&storage, CHUNKS), 1, "of the batch that came after");
    assert_eq!(count(&storage, NOTES), 0);
    assert_eq!(storage.write(WORKER, &large), Ok(()));
    assert!(value(&storage, 0, b"large") == noise(1, 60 * MIB));
}
