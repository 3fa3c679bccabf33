//! What `stats` shows: closed sets of keys, of the types that tools parse, counting what happened.
#![allow(missing_docs)]

use std::collections::BTreeSet;

use zufar_tests::program::Program;
use zufar_tests::{Client, Node};

/// Keys that tools read from the general statistics: all must be there.
const GENERAL: &str = "pid uptime time version libevent pointer_size rusage_user rusage_system \
    max_connections curr_connections total_connections rejected_connections \
    cmd_get cmd_set cmd_flush cmd_touch cmd_meta get_hits get_misses get_expired get_flushed \
    delete_misses delete_hits incr_misses incr_hits decr_misses decr_hits \
    cas_misses cas_hits cas_badval touch_hits touch_misses \
    auth_cmds auth_errors bytes_read bytes_written limit_maxbytes accepting_conns \
    listen_disabled_num time_in_listen_disabled_us threads \
    curr_items total_items bytes evictions reclaimed lrutail_reflocked log_watchers";

/// Keys that memcached's general statistics hold besides, or under some option. The set is
/// closed: a key that is in neither list is no memcached key.
const GENERAL_BESIDES: &str = "connection_structures response_obj_oom response_obj_count \
    response_obj_bytes read_buf_count read_buf_bytes read_buf_bytes_free read_buf_oom \
    reserved_fds idle_kicks conn_yields hash_power_level hash_bytes hash_is_expanding \
    slab_reassign_rescues slab_reassign_chunk_rescues slab_reassign_evictions_nomem \
    slab_reassign_inline_reclaim slab_reassign_busy_items slab_reassign_busy_deletes \
    slab_reassign_running slab_reassign_busy_nomem slabs_moved lru_crawler_running \
    lru_crawler_starts lru_maintainer_juggles \
    malloc_fails log_worker_dropped log_worker_written log_watcher_skipped log_watcher_sent \
    unexpected_napi_ids round_robin_fallback slab_global_page_pool \
    expired_unfetched evicted_unfetched evicted_active crawler_reclaimed \
    crawler_items_checked moves_to_cold moves_to_warm moves_within_lru direct_reclaims \
    lru_bumps_dropped store_too_large store_no_memory ssl_new_sessions \
    time_since_server_cert_refresh";

/// Keys that tools read from the settings.
const SETTINGS: &str = "maxbytes maxconns tcpport udpport inter verbosity evictions domain_socket \
    shutdown_command num_threads cas_enabled tcp_backlog binding_protocol auth_enabled_sasl \
    auth_enabled_ascii item_size_max lru_crawler flush_enabled idle_timeout";

fn names(list: &'static str) -> BTreeSet<&'static str> {
    list.split_whitespace().collect()
}

fn find<'a>(stats: &'a [(String, String)], name: &str) -> &'a str {
    let found = stats.iter().find(|(known, _)| known == name);
    &found.unwrap_or_else(|| panic!("no {name}")).1
}

#[test]
fn the_general_set_is_closed_and_typed() {
    let node = Node::options().start();
    let mut client = node.client();
    let stats = client.stats("");
    let present: BTreeSet<&str> = stats.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(present.len(), stats.len(), "a key comes twice");
    let wanted = names(GENERAL);
    let known: BTreeSet<&str> = &wanted | &names(GENERAL_BESIDES);
    let missing: Vec<_> = wanted.difference(&present).collect();
    let unknown: Vec<_> = present.difference(&known).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    assert!(unknown.is_empty(), "no keys of memcached: {unknown:?}");
    for (name, value) in &stats {
        match name.as_str() {
            "version" | "libevent" => assert!(!value.is_empty()),
            // Exporters split these at their one dot.
            "rusage_user" | "rusage_system" => {
                let (whole, part) = value.split_once('.').expect("a dot");
                assert!(
                    whole.parse::<u64>().is_ok() && part.len() == 6,
                    "{name} {value}"
                );
                assert!(part.parse::<u64>().is_ok(), "{name} {value}");
            }
            _ => assert!(value.parse::<u64>().is_ok(), "{name} is {value}"),
        }
    }
    assert_eq!(find(&stats, "pid"), node.id().to_string());
    assert_eq!(find(&stats, "threads"), "2");
    assert_eq!(find(&stats, "limit_maxbytes"), (64 << 20).to_string());
    assert_eq!(find(&stats, "pointer_size"), "64");
    assert_eq!(find(&stats, "max_connections"), "1024");
    if !Program::is_stand_in() {
        assert_eq!(find(&stats, "version"), "1.6.45");
    }
}

#[test]
fn the_settings_are_those_of_the_flags() {
    let node = Node::options()
        .memory_mib(100)
        .threads(1)
        .item_size("2m")
        .connections_max(321)
        .idle_timeout_s(77)
        .start();
    let stats = node.client().stats("settings");
    for name in names(SETTINGS) {
        find(&stats, name);
    }
    assert_eq!(find(&stats, "maxbytes"), (100 << 20).to_string());
    assert_eq!(find(&stats, "maxconns"), "321");
    assert_eq!(find(&stats, "tcpport"), node.port().to_string());
    assert_eq!(find(&stats, "udpport"), "0");
    assert_eq!(find(&stats, "inter"), "127.0.0.1");
    assert_eq!(find(&stats, "evictions"), "on");
    assert_eq!(find(&stats, "domain_socket"), "NULL");
    assert_eq!(find(&stats, "num_threads"), "1");
    assert_eq!(find(&stats, "cas_enabled"), "yes");
    assert_eq!(find(&stats, "auth_enabled_sasl"), "no");
    assert_eq!(find(&stats, "item_size_max"), (2 << 20).to_string());
    assert_eq!(find(&stats, "flush_enabled"), "yes");
    assert_eq!(find(&stats, "shutdown_command"), "no");
    assert_eq!(find(&stats, "idle_timeout"), "77");
    assert!(["yes", "no"].contains(&find(&stats, "lru_crawler")));
}

/// What the Prometheus exporter asks on every scrape, and the keys without which it calls the
/// server down.
#[test]
fn an_exporter_finds_what_it_insists_on() {
    let node = Node::options().start();
    let mut client = node.client();
    client.set("a", "1");
    let general = client.stats("");
    for name in ["cmd_set", "cas_hits", "cas_misses", "cas_badval"] {
        find(&general, name);
    }
    let slabs = client.stats("slabs");
    let mut classes = BTreeSet::new();
    for (name, value) in &slabs {
        assert!(value.parse::<u64>().is_ok(), "{name} is {value}");
        match name.split_once(':') {
            Some((class, _)) => {
                class.parse::<u32>().expect("a class is a number");
                classes.insert(class);
            }
            None => assert!(["active_slabs", "total_malloced"].contains(&name.as_str())),
        }
    }
    assert!(!classes.is_empty(), "an item is in some class");
    for class in &classes {
        for name in [
            "cmd_set",
            "cas_hits",
            "cas_badval",
            "chunk_size",
            "total_pages",
        ] {
            find(&slabs, &format!("{class}:{name}"));
        }
    }
    let items = client.stats("items");
    let numbers: Vec<&str> = items
        .iter()
        .filter(|(name, _)| name.ends_with(":number"))
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(numbers, ["1"], "{items:?}");
    for (name, value) in &items {
        let words: Vec<&str> = name.split(':').collect();
        assert!(words.len() == 3 && words[0] == "items", "{name}");
        assert!(value.parse::<u64>().is_ok(), "{name} is {value}");
    }
    assert!(!client.stats("settings").is_empty());
}

/// What one command adds to the counters.
fn growth(client: &mut Client, request: &str, counters: &[(&str, u64)]) {
    let before = client.stats("");
    client.send(format!("{request}\r\nmn\r\n"));
    while client.line() != "MN" {}
    let after = client.stats("");
    let changed: Vec<(String, u64)> = before
        .iter()
        .filter(|(name, _)| {
            [
                "cmd_", "get_", "delete_", "incr_", "decr_", "cas_", "touch_", "store_",
            ]
            .iter()
            .any(|start| name.starts_with(start))
        })
        .map(|(name, value)| {
            let number = |text: &str| text.parse::<u64>().expect("a counter is a number");
            (name.clone(), number(find(&after, name)) - number(value))
        })
        .filter(|(_, growth)| *growth > 0)
        .collect();
    let mut wanted: Vec<(String, u64)> = counters
        .iter()
        .map(|&(name, growth)| (name.to_owned(), growth))
        .collect();
    wanted.sort();
    let mut found = changed;
    found.sort();
    assert_eq!(found, wanted, "after {request:?}");
}

#[test]
fn every_command_is_counted_as_memcached_counts_it() {
    let node = Node::options().start();
    let mut client = node.client();
    let cases: &[(&str, &[(&str, u64)])] = &[
        ("get a", &[("cmd_get", 1), ("get_misses", 1)]),
        ("set a 0 0 1\r\n1", &[("cmd_set", 1)]),
        ("get a", &[("cmd_get", 1), ("get_hits", 1)]),
        (
            "get a a b",
            &[("cmd_get", 3), ("get_hits", 2), ("get_misses", 1)],
        ),
        ("gets a", &[("cmd_get", 1), ("get_hits", 1)]),
        ("add a 0 0 1\r\n1", &[("cmd_set", 1)]),
        ("replace a 0 0 1\r\n1", &[("cmd_set", 1)]),
        ("append a 0 0 1\r\n1", &[("cmd_set", 1)]),
        ("cas b 0 0 1 1\r\n1", &[("cmd_set", 1), ("cas_misses", 1)]),
        ("cas a 0 0 1 1\r\n1", &[("cmd_set", 1), ("cas_badval", 1)]),
        ("incr a 1", &[("incr_hits", 1)]),
        ("incr b 1", &[("incr_misses", 1)]),
        ("decr a 1", &[("decr_hits", 1)]),
        ("decr b 1", &[("decr_misses", 1)]),
        ("touch a 0", &[("cmd_touch", 1), ("touch_hits", 1)]),
        ("touch b 0", &[("cmd_touch", 1), ("touch_misses", 1)]),
        ("gat 0 a", &[("cmd_touch", 1), ("touch_hits", 1)]),
        ("gat 0 b", &[("cmd_touch", 1), ("touch_misses", 1)]),
        ("delete a", &[("delete_hits", 1)]),
        ("delete a", &[("delete_misses", 1)]),
        ("me a", &[("cmd_meta", 1)]),
        ("mg a", &[("cmd_get", 1), ("get_misses", 1)]),
        ("ms a 1\r\n1", &[("cmd_set", 1)]),
        ("mg a v", &[("cmd_get", 1), ("get_hits", 1)]),
        ("ma a", &[("incr_hits", 1)]),
        ("md a", &[("delete_hits", 1)]),
        ("flush_all", &[("cmd_flush", 1)]),
        ("nonsense", &[]),
    ];
    for (request, counters) in cases {
        growth(&mut client, request, counters);
    }
}

#[test]
fn reset_starts_the_counters_anew() {
    let node = Node::options().start();
    let mut client = node.client();
    client.set("a", "1");
    client.get("a");
    assert_eq!(client.ask("stats reset"), "RESET");
    let stats = client.stats("");
    for name in ["cmd_get", "cmd_set", "get_hits", "total_items"] {
        assert_eq!(find(&stats, name), "0", "{name}");
    }
    assert_eq!(find(&stats, "curr_items"), "1");
}

#[test]
fn items_and_bytes_follow_the_items() {
    let node = Node::options().start();
    let mut client = node.client();
    let empty = node.total("", "bytes");
    client.set_many((0..1000).map(|at| (format!("key:{at}"), vec![b'v'; 100])));
    assert_eq!(node.total("", "curr_items"), node.copies() * 1000);
    let full = node.total("", "bytes");
    assert!(full >= empty + node.copies() * 100_000, "{empty} {full}");
    for at in 0..1000 {
        assert_eq!(client.ask(&format!("delete key:{at}")), "DELETED");
    }
    assert_eq!(node.total("", "curr_items"), 0);
    assert_eq!(node.total("", "bytes"), empty);
}

#[test]
fn connections_and_sizes_have_their_form() {
    let node = Node::options().start();
    let mut client = node.client();
    client.set("a", "1");
    let connections = client.stats("conns");
    assert!(!connections.is_empty());
    for (name, _) in &connections {
        let (number, what) = name.split_once(':').expect("number:what");
        assert!(number.parse::<u64>().is_ok(), "{name}");
        let known = ["addr", "listen_addr", "state", "secs_since_last_cmd"];
        assert!(known.contains(&what), "{name}");
    }
    let sizes = client.stats("sizes");
    assert!(!sizes.is_empty());
    for (name, value) in &sizes {
        let disabled = name == "sizes_status";
        assert!(disabled || (name.parse::<u64>().is_ok() && value.parse::<u64>().is_ok()));
    }
}

#[test]
fn our_own_statistics_show_how_far_the_disk_is() {
    if Program::is_stand_in() {
        return;
    }
    let node = Node::options().start();
    let mut client = node.client();
    client.set("a", "1");
    node.await_written();
    let stats = client.stats("zufar");
    let number = |name: &str| -> u64 {
        let value = find(&stats, name);
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is {value}"))
    };
    for name in [
        "dirty_items",
        "dirty_bytes",
        "written_lag_ms",
        "synced_lag_ms",
    ] {
        assert_eq!(number(name), 0, "{name}");
    }
    for name in ["disk_batches", "disk_batch_bytes", "disk_syncs"] {
        assert!(number(name) > 0, "{name}");
    }
    for name in [
        "written_lag_worst_ms",
        "synced_lag_worst_ms",
        "disk_evictions",
        "recovered_ms",
    ] {
        assert!(number(name) < 10_000, "{name}");
    }
    assert_eq!(number("disk_items"), 1);
    assert_eq!(number("disk_errors"), 0);
    assert_eq!(number("recovered_items"), 0);
    assert_eq!(find(&stats, "version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(find(&stats, "guid"), "7");
}

#[test]
fn a_plain_cache_has_no_figures_of_a_disk() {
    if Program::is_stand_in() {
        return;
    }
    let node = Node::options().no_disk().start();
    let mut client = node.client();
    client.set("a", "1");
    let stats = client.stats("zufar");
    assert_eq!(find(&stats, "disk"), "no");
    let of_disk = [
        "dirty_items",
        "written_lag_ms",
        "data_dir",
        "recovered_items",
    ];
    for name in of_disk {
        assert!(stats.iter().all(|(known, _)| known != name), "{name}");
    }
}
