use std::fs::{self, Permissions};

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn source(content: &str, mode: u32) -> (tempfile::TempDir, SecretSource) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("secret");
    fs::write(&path, content).expect("writable");
    fs::set_permissions(&path, Permissions::from_mode(mode)).expect("ours");
    (directory, SecretSource::File(path))
}

#[test]
fn a_file_that_others_may_read_is_told_of() {
    let content = format!("# new\n{SECRET}\n# old\n{SECRET}0\n");
    let (_directory, private) = source(&content, 0o600);
    let (secrets, warning) = private.read().expect("two secrets");
    assert_eq!(format!("{secrets:?}"), "Secrets(2)");
    assert_eq!(warning, None);
    let (_directory, open) = source(&content, 0o644);
    let (_, warning) = open.read().expect("two secrets");
    assert!(warning.is_some_and(|line| line.contains("its mode is 644")));
}

#[test]
fn what_is_wrong_is_named_and_never_shown() {
    let (_directory, short) = source("tooshort\n", 0o600);
    let error = short.read().expect_err("too short").0;
    assert!(error.starts_with("secret-file /"), "{error}");
    assert!(error.contains("line 1"), "{error}");
    assert!(!error.contains("tooshort"), "{error}");
    let long = "#".repeat(SECRET_FILE_BYTES_MAX + 1);
    let (_directory, long) = source(&long, 0o600);
    let error = long.read().expect_err("too long").0;
    assert!(error.contains("longer than"), "{error}");
    let absent = SecretSource::File(PathBuf::from("/no/such/file"));
    let error = absent.read().expect_err("absent").0;
    assert_eq!(
        error,
        "secret-file /no/such/file: no such file or directory"
    );
    let variable = SecretSource::Environment("tooshort".into());
    let error = variable.read().expect_err("too short").0;
    assert!(error.starts_with("ZUFAR_SECRET: line 1"), "{error}");
    assert_eq!(format!("{variable:?}"), "Environment");
}
