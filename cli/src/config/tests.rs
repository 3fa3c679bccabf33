use clap::CommandFactory;

use super::*;
use crate::args::Arguments;
use crate::options::{LogFormat, Runtime, WhenFull};

fn wrong(text: &str) -> (usize, String) {
    let Wrong { line, what } = parse(text).expect_err(text);
    (line, what)
}

#[test]
fn every_key_is_read() {
    let options = parse(
        r#"
        # a comment
        runtime = "smol"
        listen = ["127.0.0.1:8122", "[::1]:8122"]
        unix-mask = "770"
        peer-listen = "127.0.0.1:8123"
        data-dir = "/tmp/z"
        memory = 64
        threads = 2
        max-item-size = "2m"
        max-connections = 100
        listen-backlog = 10
        idle-timeout = 60
        write-interval = 20
        sync-interval = 500
        disk-limit = "1g"
        when-full = "refuse"
        rocksdb-memory = "32m"
        guid = "0"
        rack = "1"
        log-format = "json"
        verbose = 1
        disable-flush-all = true
        "#,
    )
    .expect("a right config");
    assert_eq!(options.runtime, Some(Runtime::Smol));
    assert_eq!(options.listen.len(), 2);
    assert_eq!(options.listen[1].host, "::1");
    assert_eq!(options.memory.map(|size| size.bytes()), Some(64 << 20));
    assert_eq!(
        options.max_item_size.map(|size| size.bytes()),
        Some(2 << 20)
    );
    assert_eq!(options.disk_limit.map(|size| size.bytes()), Some(1 << 30));
    assert_eq!(options.when_full, Some(WhenFull::Refuse));
    assert_eq!(options.log_format, Some(LogFormat::Json));
    assert_eq!(options.unix_mask.map(|mode| mode.0), Some(0o770));
    assert!(options.disable_flush_all);
    assert!(!options.enable_shutdown);
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    assert_eq!(
        wrong("memory = 64\n\nmemroy = 64\n"),
        (3, "unknown key `memroy`".to_owned())
    );
    assert_eq!(wrong("[memory]\nsize = 1").0, 1);
}

#[test]
fn a_wrong_value_names_its_key_and_line() {
    for (text, line, key, part) in [
        ("rack = \"1\"\nmemory = \"much\"", 2, "memory", "`much`"),
        ("threads = \"two\"", 1, "threads", "string"),
        ("threads = -1", 1, "threads", "-1"),
        ("listen = [\n\"127.0.0.1:99999\"]", 1, "listen", "99999"),
        ("when-full = \"panic\"", 1, "when-full", "panic"),
        ("no-disk = 1", 1, "no-disk", "boolean"),
    ] {
        let (at, what) = wrong(text);
        assert_eq!(at, line, "{text}");
        assert!(what.starts_with(&format!("key `{key}`: ")), "{what}");
        assert!(what.contains(part), "{what}");
        assert!(!what.contains('\n'), "{what}");
    }
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    assert_eq!(wrong("memory = 64\nguid = zero\n").0, 2);
    assert_eq!(wrong("a = 1\na = 2\n").0, 2);
    assert_eq!(wrong("\n\nmemory").0, 3);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = read(Path::new("/nonexistent/zufar.conf")).expect_err("no such file");
    assert_eq!(
        error.0,
        "config /nonexistent/zufar.conf: no such file or directory"
    );
}

#[test]
fn every_long_flag_outside_memcached_s_tuning_is_a_key() {
    let arguments = Arguments::command();
    let serve = arguments.find_subcommand("serve").expect("serve");
    let mut keys = 0;
    for flag in serve.get_arguments() {
        if flag.get_help_heading().is_some() || flag.is_positional() {
            continue;
        }
        let Some(long) = flag.get_long() else {
            panic!("{flag} has no long name");
        };
        let what = wrong(&format!("{long} = {{}}")).1;
        assert!(what.starts_with("key "), "{what}");
        keys += 1;
    }
    assert!(keys > 20);
}

#[test]
fn the_examples_are_right_and_can_run_side_by_side() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../example");
    for (file, client, peer, guid) in [
        ("node1.conf", 8122, 8123, "0"),
        ("node2.conf", 9122, 9123, "1"),
        ("node3.conf", 7122, 7123, "2"),
    ] {
        let options = read(&examples.join(file)).expect(file);
        assert_eq!(options.listen.len(), 1);
        assert_eq!(options.listen[0].port, Some(client), "{file}");
        let peers = options.peer_listen.expect("a peer address");
        assert_eq!(peers.port, Some(peer), "{file}");
        assert_eq!(options.guid.as_deref(), Some(guid), "{file}");
        assert_eq!(options.rack.as_deref(), Some("1"), "{file}");
    }
}
