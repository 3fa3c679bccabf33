use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::umask;

const PASSWD: &str =
    "root:x:0:0:root:/root:/bin/bash\nmemcache:x:110:118::/nonexistent:/bin/false\n";
const GROUP: &str = "root:x:0:\nmemcache:x:118:\nweb:x:33:www,memcache\ntls:x:40:memcacheX\n";

#[test]
fn a_user_comes_with_its_groups() {
    let user = parse("memcache", PASSWD, GROUP).expect("a line of the file");
    assert_eq!((user.user_id, user.group_id), (110, 118));
    assert_eq!(user.group_ids, [118, 33]);
    assert_eq!(parse("memcach", PASSWD, GROUP), None);
    assert_eq!(parse("", PASSWD, GROUP), None);
}

#[test]
fn who_is_nobody_is_named_and_only_to_root() {
    let found = find("no-such-user");
    if rustix::process::geteuid().is_root() {
        let error = found.expect_err("there is none");
        assert_eq!(error.0, "user no-such-user: there is no such user");
    } else {
        assert_eq!(found, Ok(None));
    }
}

#[test]
fn a_new_data_directory_is_private_and_an_old_one_stays_as_it_is() {
    let parent = tempfile::tempdir().expect("a directory");
    let own = fs::metadata(parent.path()).expect("there");
    let user = User {
        name: "me".to_owned(),
        user_id: own.uid(),
        group_id: own.gid(),
        group_ids: Vec::new(),
    };
    let directory = parent.path().join("a/b");
    let made = umask::with(0o022, || user.own_directory(&directory));
    made.expect("it can be made");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&parent.path().join("a")), 0o755);
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o750)).expect("ours");
    user.own_directory(&directory).expect("it is there");
    assert_eq!(mode(&directory), 0o750);
}
