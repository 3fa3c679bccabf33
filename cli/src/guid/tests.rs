use super::*;

#[test]
fn what_is_drawn_is_a_guid_and_not_always_the_same() {
    let (one, other) = (drawn().expect("entropy"), drawn().expect("entropy"));
    assert!(is_guid(&one), "{one}");
    assert_eq!(one.len(), 8);
    assert_ne!(one, other);
}

#[test]
fn it_is_drawn_once_and_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let guid = kept(directory.path()).expect("writable");
    assert!(is_guid(&guid), "{guid}");
    assert_eq!(kept(directory.path()), Ok(guid));
    let names: Vec<_> = fs::read_dir(directory.path())
        .expect("readable")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, [FILE]);
}

#[test]
fn one_that_an_operator_has_written_is_taken() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join(FILE), "node-7\n").expect("writable");
    assert_eq!(kept(directory.path()), Ok("node-7".to_owned()));
}

#[test]
fn a_file_that_holds_none_is_named_and_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    for content in ["", "\n", "Not A Guid\n", "a\nb\n"] {
        let path = directory.path().join(FILE);
        fs::write(&path, content).expect("writable");
        let error = kept(directory.path()).expect_err(content);
        assert!(error.0.starts_with("guid file "), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("still there"), content);
    }
}
