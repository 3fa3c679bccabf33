//! What becomes of a database whose files do not hold what they should.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use zufar_core::disk::{
    Disk, DiskError, NOTE_CEILING, NOTE_FLUSHED, NOTE_FORMATION, NOTE_RECORD, Scan,
};

use super::support::{Changes, WORKER, flush, load, noise, open, open_all, value};
use crate::{CORRUPTIONS_MAX, Storage};

const RECORDS: u64 = 1000;

fn key(number: u64) -> Vec<u8> {
    format!("key-{number:04}").into_bytes()
}

/// Fills a directory with records that lie in a table file.
fn fill(directory: &Path) {
    let storage = open(directory);
    let mut changes = Changes::default();
    for number in 0..RECORDS {
        changes = changes.put(0, &key(number), 100 + number, &noise(number, 1000));
    }
    changes
        .note(NOTE_FLUSHED, &50_u64.to_be_bytes())
        .note(NOTE_CEILING, &5000_u64.to_be_bytes())
        // What the core would find in them is not this crate's business.
        .note(NOTE_FORMATION, b"?")
        .note(&[NOTE_RECORD, &[0, 9]].concat(), b"?")
        .write(&storage);
    flush(&storage);
}

/// The largest file of the database whose name fits.
fn file(directory: &Path, fits: impl Fn(&str) -> bool) -> PathBuf {
    let entries = fs::read_dir(directory.join("db")).expect("entries");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let named = paths.filter(|path| fits(&path.file_name().unwrap_or_default().to_string_lossy()));
    let bytes = |path: &PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
    named.max_by_key(bytes).expect("a file of that name")
}

fn table(directory: &Path) -> PathBuf {
    file(directory, |name| name.ends_with(".sst"))
}

fn expect_set_aside(directory: &Path) {
    let (storage, recovery, opened) = open_all(directory);
    let aside = opened.set_aside.expect("the database was set aside");
    let name = aside
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    assert!(name.starts_with("db.damaged."), "{name}");
    assert_eq!(aside.parent(), Some(directory));
    let tables = fs::read_dir(&aside)
        .expect("it is still there")
        .filter(|entry| {
            let path = entry.as_ref().expect("an entry").path();
            path.extension().is_some_and(|end| end == "sst")
        });
    assert!(tables.count() > 0, "nothing of it was deleted");
    assert_eq!(recovery.records_estimate, 0);
    assert_eq!(load(&storage, 0, &key(1)), Ok(None));
    Changes::default()
        .put(0, &key(1), 1, b"new")
        .write(&storage);
    assert_eq!(storage.figures().set_aside, 1);
    drop(storage);
    let storage = open(directory);
    assert_eq!(value(&storage, 0, &key(1)), b"new");
}

fn set_aside_after(damage: impl Fn(&Path)) {
    let directory = tempfile::tempdir().expect("a directory");
    fill(directory.path());
    damage(directory.path());
    expect_set_aside(directory.path());
}

#[test]
fn an_overwritten_manifest_is_set_aside() {
    set_aside_after(|directory| {
        let manifest = file(directory, |name| name.starts_with("MANIFEST-"));
        fs::write(manifest, noise(1, 5000)).expect("a write");
    });
}

#[test]
fn an_overwritten_current_is_set_aside() {
    set_aside_after(|directory| {
        fs::write(directory.join("db/CURRENT"), "rubbish").expect("a write");
    });
}

#[test]
fn a_missing_current_is_set_aside_and_not_taken_for_a_new_database() {
    set_aside_after(|directory| {
        fs::remove_file(directory.join("db/CURRENT")).expect("a removal");
        // With a log there, RocksDB refuses by itself.
        let log = file(directory, |name| name.ends_with(".log"));
        fs::remove_file(log).expect("a removal");
    });
}

#[test]
fn an_overwritten_table_is_set_aside() {
    set_aside_after(|directory| {
        let table = table(directory);
        let bytes = fs::metadata(&table).expect("metadata").len();
        fs::write(&table, noise(1, bytes as usize)).expect("a write");
    });
}

#[test]
fn a_cut_table_is_set_aside() {
    set_aside_after(|directory| {
        let table = fs::OpenOptions::new().write(true).open(table(directory));
        table.expect("a table").set_len(1000).expect("a cut");
    });
}

#[test]
fn an_unreadable_format_is_set_aside() {
    set_aside_after(|directory| fs::write(directory.join("FORMAT"), "?").expect("a write"));
}

#[test]
fn two_in_one_second_get_names_of_their_own() {
    let directory = tempfile::tempdir().expect("a directory");
    for _ in 0..3 {
        fill(directory.path());
        fs::write(directory.path().join("db/CURRENT"), "rubbish").expect("a write");
        let (_, _, opened) = open_all(directory.path());
        assert!(opened.set_aside.is_some());
    }
    let entries = fs::read_dir(directory.path()).expect("entries");
    let aside = entries.filter(|entry| {
        let name = entry.as_ref().expect("an entry").file_name();
        name.to_string_lossy().starts_with("db.damaged.")
    });
    assert_eq!(aside.count(), 3);
}

/// Writes batches that lie in the log alone, then has `damage` done to it; the number of whole
/// batches that are still there must be the length of an unbroken run from the first.
fn run_after(damage: impl Fn(&Path)) -> u64 {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    for number in 0..100 {
        Changes::default()
            .put(0, &key(number), 1, &noise(number, 3000))
            .put(1, &key(number), 1, &noise(number, 3000))
            .write(&storage);
    }
    drop(storage);
    damage(&file(directory.path(), |name| name.ends_with(".log")));
    let storage = open(directory.path());
    let found = |number| {
        let found = [0, 1].map(|partition| load(&storage, partition, &key(number)));
        assert_eq!(found[0], found[1], "batch {number} is whole or absent");
        matches!(found[0], Ok(Some(_)))
    };
    let run = (0..100).take_while(|number| found(*number)).count() as u64;
    assert!(
        !(run..100).any(found),
        "what comes after a hole is not applied"
    );
    run
}

#[test]
fn a_torn_log_gives_all_batches_before_the_tear() {
    let cut = |path: &Path, bytes: u64| {
        let log = fs::OpenOptions::new()
            .write(true)
            .open(path)
            .expect("a log");
        let whole = log.metadata().expect("metadata").len();
        log.set_len(whole - bytes).expect("a cut");
    };
    assert_eq!(run_after(|log| cut(log, 100)), 99);
    let half = run_after(|log| cut(log, fs::metadata(log).expect("metadata").len() / 2));
    assert!((40..60).contains(&half), "{half} batches");
    let after_rubbish = run_after(|log| {
        let mut bytes = fs::read(log).expect("a log");
        bytes.extend_from_slice(&noise(1, 50_000));
        fs::write(log, bytes).expect("a write");
    });
    assert_eq!(after_rubbish, 100);
    let after_hole = run_after(|log| {
        // Pages that a power cut has kept from the device, with later ones behind them.
        let file = fs::OpenOptions::new().write(true).open(log).expect("a log");
        let middle = file.metadata().expect("metadata").len() / 2;
        file.write_all_at(&[0; 8192], middle).expect("a hole");
    });
    assert!((40..60).contains(&after_hole), "{after_hole} batches");
}

fn flip_a_byte_in_the_middle(directory: &Path) {
    let path = table(directory);
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("a table");
    let middle = file.metadata().expect("metadata").len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).expect("a byte");
    file.write_all_at(&[!byte[0]], middle).expect("a byte");
}

#[test]
fn damage_inside_a_table_costs_the_records_there_and_no_others() {
    let directory = tempfile::tempdir().expect("a directory");
    fill(directory.path());
    flip_a_byte_in_the_middle(directory.path());
    let storage = open(directory.path());
    let mut damaged = 0;
    for number in 0..RECORDS {
        match load(&storage, 0, &key(number)) {
            Ok(Some((_, value))) => assert_eq!(value, noise(number, 1000)),
            Err(DiskError::Damaged) => damaged += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(
        (1..40).contains(&damaged),
        "{damaged} records lie in a block"
    );
    let mut scan = Scan {
        records_max: 10_000,
        bytes_max: u32::MAX,
        ..Scan::default()
    };
    assert_eq!(storage.scan(&mut scan), Ok(true));
    let missing = RECORDS - scan.records.len() as u64;
    assert_eq!(missing, damaged, "the scan resumes right behind the damage");
    assert!(storage.figures().damaged_records > 0);
    let last = scan.records.last().expect("a record");
    assert_eq!(last.key.of(&scan.buffer), key(RECORDS - 1));
}

#[test]
fn damage_that_keeps_stopping_writes_is_set_aside_in_the_end() {
    let directory = tempfile::tempdir().expect("a directory");
    fill(directory.path());
    flip_a_byte_in_the_middle(directory.path());
    let storage = open(directory.path());
    let batch = Changes::default().put(0, b"k", 9000, b"v").0;
    let mut notes = vec!["cluster/formation".to_owned(), "replica/9".to_owned()];
    for attempt in 1..=CORRUPTIONS_MAX {
        assert!(storage.set_aside().is_empty(), "attempt {attempt}");
        // Nothing but memory has it when the last of these databases is set aside.
        let partition = 9 + attempt as u8;
        let name = [NOTE_RECORD, &[0, partition]].concat();
        let note = Changes::default().note(&name, b"?").0;
        // A compaction may have come across the place by itself.
        if storage.write(WORKER, &note).is_ok() {
            notes.push(format!("replica/{partition}"));
        }
        storage.compact(0, 0);
        // However many writes are waiting, this is one stop.
        for _ in 0..2 * CORRUPTIONS_MAX {
            assert_eq!(storage.write(WORKER, &batch), Err(DiskError::Failed));
        }
        assert_eq!(storage.reopen(storage.epoch()), Ok(()));
    }
    assert_eq!(storage.set_aside().len(), 1);
    assert_eq!(storage.write(WORKER, &batch), Ok(()));
    storage.compact(0, 0);
    assert_eq!(value(&storage, 0, b"k"), b"v");
    drop::<Storage>(storage);
    let (_, recovery, opened) = open_all(directory.path());
    assert_eq!(opened.set_aside, None);
    // Or versions could be given twice, and flushed items come back from elsewhere.
    assert_eq!((recovery.flushed, recovery.version_ceiling), (50, 5000));
    // Or the node would belong to no cluster, and what it has voted for would be forgotten.
    assert_eq!(recovery.cluster.damaged, notes);
}
