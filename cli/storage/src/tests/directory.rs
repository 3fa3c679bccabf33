//! Who may use a data directory, and which format it has.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::support::{CHILD, Changes, child, open, value};
use crate::{OpenError, Options, Storage};

fn refusal(options: Options) -> OpenError {
    match Storage::open(options) {
        Ok(_) => panic!("the directory can't be used"),
        Err(error) => {
            let line = error.to_string();
            assert!(!line.contains('\n'), "{line}");
            error
        }
    }
}

#[test]
fn a_directory_is_created_for_its_owner_alone() {
    let parent = tempfile::tempdir().expect("a directory");
    let directory = parent.path().join("a/b");
    drop(open(&directory));
    let mode = fs::metadata(&directory)
        .expect("metadata")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    let format = fs::read_to_string(directory.join("FORMAT")).expect("a format");
    assert_eq!(format, "zufar-data 1\n");
    assert!(directory.join("db/CURRENT").exists());
}

#[test]
fn a_second_process_is_told_who_has_the_directory() {
    if let Some(directory) = std::env::var_os(CHILD) {
        let error = refusal(Options::new(directory));
        let parent = std::os::unix::process::parent_id();
        match &error {
            OpenError::InUse { process_id, .. } => assert_eq!(*process_id, Some(parent)),
            other => panic!("{other:?}"),
        }
        assert!(
            error
                .to_string()
                .contains(&format!("in use by process {parent}"))
        );
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    let name = "tests::directory::a_second_process_is_told_who_has_the_directory";
    let status = child(name, directory.path())
        .wait()
        .expect("the child ends");
    assert!(status.success(), "the child says {status}");
    Changes::default().put(0, b"k", 1, b"v").write(&storage);
    drop(storage);
    let storage = open(directory.path());
    assert_eq!(
        value(&storage, 0, b"k"),
        b"v",
        "the refused process has touched nothing"
    );
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = directory.path().join("db");
    fs::create_dir(&database).expect("a directory");
    fs::write(directory.path().join("FORMAT"), "zufar-data 2\n").expect("a file");
    fs::write(database.join("future.sst"), "?").expect("a file");
    match refusal(Options::new(directory.path())) {
        OpenError::Newer { found, known, .. } => assert_eq!((found, known), (2, 1)),
        other => panic!("{other:?}"),
    }
    let entries = fs::read_dir(directory.path()).expect("entries");
    assert_eq!(
        entries.count(),
        2,
        "neither a lock nor anything else was made"
    );
    assert!(database.join("future.sst").exists());
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let parent = tempfile::tempdir().expect("a directory");
    let file = parent.path().join("file");
    fs::write(&file, "").expect("a file");
    for path in [file.join("data"), file.clone()] {
        match refusal(Options::new(&path)) {
            OpenError::Unwritable { path: named, cause } => {
                assert_eq!(named, path);
                assert!(!cause.is_empty());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_read_only_file_system_is_unwritable() {
    let mount = super::full::Mount::new("ro,size=1m");
    let directory = mount.path().join("data");
    let error = refusal(Options::new(&directory));
    assert!(matches!(error, OpenError::Unwritable { .. }), "{error:?}");
    assert!(
        error.to_string().contains(&*directory.to_string_lossy()),
        "{error}"
    );
}

#[test]
fn an_immutable_database_is_unwritable_and_not_set_aside() {
    let directory = tempfile::tempdir().expect("a directory");
    drop(open(directory.path()));
    let database = directory.path().join("db");
    let chattr = |flag: &str| {
        let status = Command::new("chattr").arg(flag).arg(&database).status();
        status.expect("chattr runs").success()
    };
    assert!(
        chattr("+i"),
        "this test needs root and a file system with attributes"
    );
    let error = refusal(Options::new(directory.path()));
    assert!(chattr("-i"), "the attribute can be taken off again");
    assert!(matches!(error, OpenError::Unwritable { .. }), "{error:?}");
    assert!(database.join("CURRENT").exists());
    drop(open(directory.path()));
}
