use super::*;

#[test]
fn it_holds_the_process_id_and_goes_at_the_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("z.pid");
    let mut pidfile = PidFile::prepare(&path).expect("writable");
    pidfile.write().expect("room");
    let content = fs::read_to_string(&path).expect("there");
    assert_eq!(content, format!("{}\n", std::process::id()));
    drop(pidfile);
    assert!(!path.exists());
}

#[test]
fn a_start_that_fails_leaves_everything_as_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("z.pid");
    drop(PidFile::prepare(&path).expect("writable"));
    assert!(!path.exists());
    fs::write(&path, "4711\n").expect("writable");
    drop(PidFile::prepare(&path).expect("writable"));
    assert_eq!(fs::read(&path).expect("still there"), b"4711\n");
}

#[test]
fn another_process_s_file_is_not_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("z.pid");
    let mut pidfile = PidFile::prepare(&path).expect("writable");
    pidfile.write().expect("room");
    fs::write(&path, "1\n").expect("writable");
    drop(pidfile);
    assert_eq!(fs::read(&path).expect("still there"), b"1\n");
}

#[test]
fn one_that_can_t_be_written_is_named() {
    let error = PidFile::prepare(Path::new("/nonexistent/z.pid")).expect_err("no directory");
    assert_eq!(
        error.0,
        "pidfile /nonexistent/z.pid: no such file or directory"
    );
}
