use zufar_core::replication::SplitBrain;

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
        Command::Status(_) | Command::Partitions(_) => unreachable!("`serve` was said"),
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

fn cluster(line: &str) -> ClusterPlan {
    plan(line).cluster.expect("a cluster")
}

#[test]
fn a_node_is_on_its_own_unless_told_otherwise() {
    assert_eq!(plan("").cluster, None);
    assert_eq!(plan("--secret-file s").cluster, None);
    let plan = plan("--cluster shop --secret-file run/s");
    assert_eq!(plan.secret_file.as_deref(), Some(Path::new("/work/run/s")));
    let named = plan.cluster.expect("a cluster");
    assert_eq!(named.name, "shop");
    assert_eq!(named.join, []);
    assert_eq!((named.replication_factor, named.in_sync_min), (2, 1));
    assert_eq!(named.split_brain, SplitBrain::Available);
    assert_eq!(named.weight, 100);
}

#[test]
fn whoever_joins_is_in_a_cluster() {
    let all = "--join 10.0.0.1:8123,cache-2 --join [::1] --replication-factor 3 \
               --min-in-sync-replicas 2 --split-brain majority --weight 50 \
               --advertise-client a --advertise-peer b:2";
    let joined = cluster(all);
    assert!(
        cluster("--join a --no-disk --guid a")
            .advertise_peer
            .is_none()
    );
    assert_eq!(joined.name, "zufar");
    let seeds: Vec<String> = joined.join.iter().map(ToString::to_string).collect();
    assert_eq!(seeds, ["10.0.0.1:8123", "cache-2:21211", "[::1]:21211"]);
    assert_eq!((joined.replication_factor, joined.in_sync_min), (3, 2));
    assert_eq!(joined.split_brain, SplitBrain::Majority);
    assert_eq!(joined.weight, 50);
    assert_eq!(joined.advertise_client, "a".parse().ok());
    assert_eq!(joined.advertise_peer, "b:2".parse().ok());
}

#[test]
fn what_is_wrong_with_a_cluster_is_named() {
    let long = format!("--cluster {}", "a".repeat(65));
    let many = format!("--join {}", vec!["a"; 65].join(","));
    for (line, start) in [
        ("--cluster a/b", "cluster `a/b`: a name is 1 to 64 letters"),
        (&*long, "cluster `aaa"),
        (&*many, "join: 64 addresses are enough"),
        (
            "--join a --no-disk",
            "no-disk: a node of a cluster that keeps nothing has to be told its guid",
        ),
        (
            "--cluster a --replication-factor 0",
            "replication-factor 0: it must be from 1 to 7",
        ),
        (
            "--cluster a --replication-factor 8",
            "replication-factor 8: it must be from 1 to 7",
        ),
        (
            "--cluster a --min-in-sync-replicas 3",
            "min-in-sync-replicas 3: it must be from 1 to replication-factor 2",
        ),
        (
            "--cluster a --min-in-sync-replicas 0",
            "min-in-sync-replicas 0: it must be from 1 to replication-factor 2",
        ),
        (
            "--cluster a --weight 0",
            "weight 0: it must be from 1 to 10000",
        ),
        (
            "--cluster a --weight 10001",
            "weight 10001: it must be from 1 to 10000",
        ),
    ] {
        let refusal = refusal(line);
        assert!(refusal.starts_with(start), "{refusal}");
        assert!(!refusal.contains('\n'));
    }
}

#[test]
fn what_only_a_cluster_has_is_refused_without_one() {
    for (name, value) in [
        ("advertise-client", "a"),
        ("advertise-peer", "a"),
        ("replication-factor", "2"),
        ("min-in-sync-replicas", "1"),
        ("split-brain", "majority"),
        ("weight", "1"),
    ] {
        let refusal = refusal(&format!("--{name} {value}"));
        assert_eq!(
            refusal,
            format!("{name}: the node is in no cluster; give cluster or join, too")
        );
        plan(&format!("--join a --{name} {value}"));
    }
}

#[test]
fn seeds_are_on_loopback_without_a_secret() {
    for line in ["--join 127.0.0.1:1,[::1]:2", "--join localhost:1"] {
        assert_eq!(cluster(line).check_without_secret(), Ok(()), "{line}");
    }
    let refused = cluster("--join 127.0.0.1:1,192.0.2.1:2").check_without_secret();
    assert_eq!(
        refused.expect_err("not loopback").0,
        "join 192.0.2.1:2: 192.0.2.1 is not loopback, and without a cluster secret nodes speak to \
         each other on loopback only: set `secret-file`"
    );
}

#[test]
fn a_cluster_may_be_given_in_a_config() {
    let config: Options = toml::from_str(
        "cluster = \"shop\"\njoin = [\"a:1\", \"b:2\"]\nsecret-file = \"/s\"\nweight = 7\n\
         split-brain = \"majority\"\nreplication-factor = 1\nmin-in-sync-replicas = 1\n\
         advertise-client = \"c\"\nadvertise-peer = \"d:3\"",
    )
    .expect("a right config");
    let merged = |line: &str| {
        let plan = resolve(&options(line).or(config.clone()), &host()).expect(line);
        plan.cluster.expect("a cluster")
    };
    let none = merged("");
    assert_eq!((&*none.name, none.join.len(), none.weight), ("shop", 2, 7));
    assert_eq!(none.split_brain, SplitBrain::Majority);
    assert_eq!(none.replication_factor, 1);
    assert_eq!(none.advertise_peer, "d:3".parse().ok());
    let some = merged("--cluster bank --join e --weight 8 --split-brain available");
    assert_eq!((&*some.name, some.join.len(), some.weight), ("bank", 1, 8));
    assert_eq!(some.split_brain, SplitBrain::Available);
}
