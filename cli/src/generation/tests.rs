use std::fs;

use super::*;

#[test]
fn it_rises_with_each_start_whatever_the_clock_shows() {
    let directory = tempfile::tempdir().expect("a directory");
    let next = |unix_ms, noted| next(directory.path(), unix_ms, noted).expect("writable");
    assert_eq!(next(1000, 0), 1000);
    assert_eq!(next(1000, 0), 1001);
    assert_eq!(next(10, 0), 1002);
    assert_eq!(next(5000, 0), 5000);
    assert_eq!(next(10, 7000), 7001);
    assert_eq!(next(10, 7000), 7002);
    let kept = fs::read_to_string(directory.path().join(FILE)).expect("it is kept");
    assert_eq!(kept, "7002\n");
    let entries = fs::read_dir(directory.path()).expect("readable").count();
    assert_eq!(entries, 1);
}

#[test]
fn a_file_that_holds_no_number_is_named_and_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(FILE);
    for content in ["", "\n", "-1\n", "7 8\n", "18446744073709551616\n"] {
        fs::write(&path, content).expect("writable");
        let error = next(directory.path(), 1, 0).expect_err(content);
        assert!(error.0.starts_with("generation file "), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("still there"), content);
    }
}
