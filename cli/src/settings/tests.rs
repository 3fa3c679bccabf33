use super::*;
use crate::args::{self, Command};

fn host() -> Host {
    Host {
        cores: 4,
        state_directory: None,
        current_directory: PathBuf::from("/work"),
    }
}

fn options(line: &str) -> Options {
    let words = ["zufar", "serve"]
        .into_iter()
        .chain(line.split_whitespace());
    match args::parse(words).expect("a right command line").command {
        Command::Serve(serve) => serve.options,
        Command::Status(_) => unreachable!("`serve` was said"),
    }
}

fn plan(line: &str) -> Plan {
    resolve(&options(line), &host()).expect(line)
}

fn refusal(line: &str) -> String {
    resolve(&options(line), &host()).expect_err(line).0
}

fn settings(line: &str) -> Settings {
    let plan = plan(line);
    let directory = plan.data.as_ref().map(|data| data.directory(11211));
    plan.settings(Found {
        guid: "a".to_owned(),
        peer_address: "127.0.0.1:21211".to_owned(),
        tcp_port: 11211,
        data_directory: directory,
        started_unix_s: 1,
    })
}

#[test]
fn the_defaults_are_memcached_s_on_loopback() {
    let plan = plan("");
    assert_eq!(plan.clients, Clients::Loopback { port: 11211 });
    assert_eq!(plan.peers.host, "127.0.0.1");
    assert_eq!(plan.memory_bytes, 64 << 20);
    assert_eq!(plan.value_bytes_max, 1 << 20);
    assert_eq!(plan.connections_max, 1024);
    assert_eq!(plan.threads, 4);
    assert!(plan.evict && plan.flush_enabled && !plan.shutdown_enabled);
    let data = plan.data.expect("a disk");
    assert_eq!(data.directory(8122), Path::new("/work/zufar-data/8122"));
    assert_eq!(data.when_full, WhenFull::Evict);
}

#[test]
fn the_disk_s_bounds_follow_from_memory() {
    let disk = settings("").disk.expect("a disk");
    assert_eq!(disk.write_interval_ms, 50);
    assert_eq!(disk.sync_interval_ms, 1000);
    assert_eq!(disk.dirty_bytes_soft, (64 << 20) / 10);
    assert_eq!(disk.dirty_bytes_hard, 16 << 20);
    assert_eq!(
        (disk.dirty_age_soft_ms, disk.dirty_age_hard_ms),
        (500, 5000)
    );
    assert_eq!((disk.stall_ms_max, disk.reserve_percent), (1000, 10));
    let large = settings("-m 10g").disk.expect("a disk");
    assert_eq!(large.dirty_bytes_soft, 64 << 20);
    assert_eq!(large.dirty_bytes_hard, 2560 << 20);
}

#[test]
fn a_systemd_state_directory_is_the_data_directory() {
    let host = Host {
        state_directory: Some(PathBuf::from("/var/lib/zufar")),
        ..host()
    };
    let plan = resolve(&Options::default(), &host).expect("defaults");
    let data = plan.data.expect("a disk");
    assert_eq!(data.directory(11211), Path::new("/var/lib/zufar"));
}

#[test]
fn memcached_s_flags_do_what_they_do_there() {
    let plan = plan(
        "-p 11300 -l 10.0.0.1,[::1]:99 -l ::1 -m 128 -c 10 -t 2 -I 2m -b 7 -vvv -M -F -A -u nobody -d -P x.pid",
    );
    let addresses = [("10.0.0.1", 11300), ("::1", 99), ("::1", 11300)];
    let addresses = addresses.map(|(host, port)| (host.to_owned(), port));
    assert_eq!(plan.clients, Clients::Tcp(addresses.to_vec()));
    assert_eq!(plan.memory_bytes, 128 << 20);
    assert_eq!((plan.connections_max, plan.threads), (10, 2));
    assert_eq!((plan.value_bytes_max, plan.backlog), (2 << 20, 7));
    assert_eq!(plan.verbosity, 2);
    assert!(!plan.evict && !plan.flush_enabled && plan.shutdown_enabled && plan.daemon);
    assert_eq!(plan.user.as_deref(), Some("nobody"));
    assert_eq!(plan.pidfile.as_deref(), Some(Path::new("/work/x.pid")));
    assert_eq!(plan.data.map(|data| data.when_full), Some(WhenFull::Refuse));
}

#[test]
fn a_unix_socket_turns_tcp_off_and_says_so_if_need_be() {
    let unix = plan("-s run/z.sock -a 770 -p 0");
    assert_eq!(
        unix.clients,
        Clients::Unix {
            path: PathBuf::from("/work/run/z.sock"),
            mode: 0o770,
            port: 11211,
        }
    );
    assert!(unix.warnings.is_empty());
    let both = plan("-s /run/z.sock -l 127.0.0.1");
    assert!(both.warnings[0].contains("listen"));
    assert!(refusal(&format!("-s /{}", "x".repeat(107))).contains("unix-socket"));
}

#[test]
fn tcp_off_without_a_unix_socket_leaves_nothing_to_serve() {
    assert!(refusal("-p 0").contains("unix-socket"));
}

#[test]
fn the_peer_port_lies_ten_thousand_above_or_below() {
    assert_eq!(peer_port(11211), 21211);
    assert_eq!(peer_port(55535), 65535);
    assert_eq!(peer_port(55536), 45536);
    assert_eq!(peer_port(65535), 55535);
}

#[test]
fn little_memory_means_fewer_threads_unless_they_were_asked_for() {
    assert_eq!(plan("-m 4").threads, 2);
    assert_eq!(plan("-m 2").threads, 1);
    assert_eq!(plan("-m 2").value_bytes_max, 1 << 20);
    assert!(refusal("-m 4 -t 3").starts_with("threads 3: memory 4 MiB"));
    assert!(refusal("-m 1").starts_with("memory 1 MiB"));
    assert!(refusal("-m 0").starts_with("memory 0"));
}

#[test]
fn bounds_are_named() {
    for (line, start) in [
        ("-c 0", "max-connections 0"),
        ("-t 0", "threads 0"),
        ("-t 1000 -m 8g", "threads 1000"),
        ("-b 0", "listen-backlog 0"),
        ("-I 1023", "max-item-size 1023 bytes"),
        ("-I 33m", "max-item-size 33 MiB"),
        ("-I 2g -m 8g", "max-item-size 2 GiB"),
        ("--guid Big", "guid `Big`"),
        ("--guid a_b", "guid `a_b`"),
        ("--rack a/b", "rack `a/b`"),
        ("--write-interval 0", "write-interval 0"),
        ("--sync-interval 0", "sync-interval 0"),
        ("--disk-limit 1", "disk-limit 1 MiB"),
        ("--rocksdb-memory 1", "rocksdb-memory 1 MiB"),
    ] {
        let refusal = refusal(line);
        assert!(refusal.starts_with(start), "{refusal}");
        assert!(!refusal.contains('\n'));
    }
    assert_eq!(plan("-I 32m").value_bytes_max, 32 << 20);
    assert_eq!(plan("-I 1g -m 2g").value_bytes_max, 1 << 30);
}

#[test]
fn guids_are_short_and_plain() {
    for guid in ["0", "a", "node-7", "-", &"a".repeat(32)] {
        assert!(is_guid(guid), "{guid}");
    }
    for guid in ["", "A", "a b", "a_b", "é", &"a".repeat(33)] {
        assert!(!is_guid(guid), "{guid}");
    }
}

#[test]
fn flags_win_over_the_config() {
    let config: Options = toml::from_str(
        "listen = [\"10.0.0.1:1\"]\nport = 5\nmemory = 100\nthreads = 1\nno-disk = true\nrack = \"7\"",
    )
    .expect("a right config");
    let merged = |line: &str| resolve(&options(line).or(config.clone()), &host()).expect(line);
    let none = merged("");
    assert_eq!(none.clients, Clients::Tcp(vec![("10.0.0.1".to_owned(), 1)]));
    assert_eq!((none.memory_bytes, none.threads), (100 << 20, 1));
    assert!(none.data.is_none());
    let some = merged("-p 9 -m 50 --data-dir d");
    assert_eq!(some.clients, Clients::Loopback { port: 9 });
    assert_eq!((some.memory_bytes, some.threads), (50 << 20, 1));
    assert_eq!(some.rack, "7");
    let data = some.data.expect("the flag's directory");
    assert_eq!(data.directory(9), Path::new("/work/d"));
}

#[test]
fn no_disk_and_a_data_directory_exclude_each_other_in_a_config_too() {
    let config: Options =
        toml::from_str("no-disk = true\ndata-dir = \"x\"").expect("right one by one");
    let error = resolve(&config, &host()).expect_err("contradiction");
    assert!(error.0.contains("data-dir"));
}
