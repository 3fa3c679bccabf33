//! Which counters commands move, and the keys that tools count on.

extern crate std;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::*;
use crate::command::{Expiry, Item, Value};
use crate::machine::HostFigures;
use crate::protocol::{ParseLimits, Request, parse};
use crate::settings::{DiskSettings, Limits, Settings, WhenFull};
use crate::time::{Now, Time};

const NOW: Now = Now {
    time: Time::ZERO,
    unix_ms: 1_700_000_100_000,
};

const FOUND: Outcome<'static> = Outcome::Item(Item {
    value: Value::Small(b"1"),
    flags: 0,
    cas: 1,
    expired_s_before: 0,
    expires_s: 0,
    accessed_s: 0,
    fetched: false,
    stale: false,
    token_sent: false,
    won: false,
    vivified: false,
    memory_bytes: 0,
});
const STORED: Outcome<'static> = Outcome::Stored {
    cas: 1,
    value_bytes: 1,
};
const NUMBER: Outcome<'static> = Outcome::Number {
    number: 1,
    cas: 1,
    expired_s_before: 0,
    expires_s: 0,
    vivified: false,
};
const VIVIFIED: Outcome<'static> = Outcome::Number {
    number: 1,
    cas: 1,
    expired_s_before: 0,
    expires_s: 0,
    vivified: true,
};

fn settings() -> Settings {
    Settings {
        version: "0.1.0".into(),
        guid: "2".into(),
        rack: "1".into(),
        peer_address: "127.0.0.1:8123".into(),
        process_id: 42,
        started_unix_s: 1_700_000_000,
        workers: 4,
        memory_bytes: 64 << 20,
        evict: true,
        value_bytes_max: 1 << 20,
        connections_max: 1024,
        idle_timeout_s: 0,
        flush_enabled: true,
        shutdown_enabled: false,
        verbosity: 0,
        tcp_port: 11211,
        listen_host: Some("127.0.0.1".into()),
        unix_socket: None,
        unix_socket_mode: 0o700,
        backlog: 1024,
        disk: Some(DiskSettings {
            data_dir: "/data".into(),
            write_interval_ms: 50,
            sync_interval_ms: 1000,
            dirty_bytes_soft: 1,
            dirty_bytes_hard: 2,
            dirty_age_soft_ms: 1,
            dirty_age_hard_ms: 2,
            stall_ms_max: 1,
            disk_bytes_max: None,
            reserve_percent: 10,
            when_full: WhenFull::Evict,
        }),
        limits: Limits::default(),
    }
}

fn context(settings: &Settings) -> Context<'_> {
    Context {
        settings,
        host: HostFigures {
            user_us: 12_000_034,
            system_us: 7,
            open_connections: 3,
            datagrams_lost: 0,
        },
        now: NOW,
        memory_bytes: settings.memory_bytes,
        verbosity: 1,
        in_cluster: false,
    }
}

/// Counts `line` with `outcome` and names the counters that moved.
fn moved(line: &str, outcome: &Outcome<'_>) -> Vec<String> {
    let settings = settings();
    let limits = ParseLimits::from(&settings);
    let operation = match parse(line.as_bytes(), NOW, &limits).expect("a request") {
        Request::Get(get) => get.operation(),
        Request::Store(store) => store.operation(Value::Small(b"1")),
        Request::Key(key) => key.operation,
        other => panic!("{other:?}"),
    };
    let mut figures = Figures::default();
    figures.count(b"a", &operation, outcome);
    let mut sink = Vec::new();
    render_general(
        &mut sink,
        &figures,
        &Context {
            host: HostFigures::default(),
            ..context(&settings)
        },
    );
    let mut base = Vec::new();
    render_general(
        &mut base,
        &Figures::default(),
        &Context {
            host: HostFigures::default(),
            ..context(&settings)
        },
    );
    let text = |bytes| String::from_utf8(bytes).expect("ASCII");
    let (before, after) = (text(base), text(sink));
    before
        .lines()
        .zip(after.lines())
        .filter(|(before, after)| before != after)
        .map(|(_, after)| after.split(' ').nth(1).expect("a name").to_string())
        .collect()
}

/// As a live memcached 1.6.18 counts.
#[test]
fn commands_move_memcacheds_counters() {
    for (line, outcome, names) in [
        ("get k", FOUND, "cmd_get get_hits"),
        ("gets k", Outcome::NotFound, "cmd_get get_misses"),
        ("gat 0 k", FOUND, "cmd_touch touch_hits"),
        ("gats 0 k", Outcome::NotFound, "cmd_touch touch_misses"),
        ("touch k 0", FOUND, "cmd_touch touch_hits"),
        ("touch k 0", Outcome::NotFound, "cmd_touch touch_misses"),
        ("mg k v", FOUND, "cmd_get get_hits"),
        ("mg k", Outcome::NotFound, "cmd_get get_misses"),
        ("mg k N30", FOUND, "cmd_get get_hits"),
        ("mg k T30", FOUND, "cmd_touch touch_hits"),
        ("mg k T30", Outcome::NotFound, "cmd_get get_misses"),
        ("me k", FOUND, "cmd_meta"),
        ("me k", Outcome::NotFound, "cmd_meta"),
        ("set k 0 0 1", STORED, "cmd_set"),
        ("add k 0 0 1", Outcome::NotStored, "cmd_set"),
        ("append k 0 0 1", STORED, "cmd_set"),
        ("cas k 0 0 1 1", STORED, "cmd_set cas_hits"),
        ("cas k 0 0 1 0", Outcome::Exists, "cmd_set cas_badval"),
        ("cas k 0 0 1 1", Outcome::NotFound, "cmd_set cas_misses"),
        ("ms k 1 C1", Outcome::Exists, "cmd_set cas_badval"),
        ("ms k 1 MR C1", Outcome::NotFound, "cmd_set cas_misses"),
        ("ms k 1 ME C1", Outcome::NotStored, "cmd_set"),
        ("ms k 1 MA C1", Outcome::Exists, "cmd_set"),
        (
            "set k 0 0 1",
            Outcome::Failed(Failure::OutOfMemory),
            "store_no_memory",
        ),
        (
            "append k 0 0 1",
            Outcome::Failed(Failure::TooLarge),
            "store_too_large",
        ),
        ("set k 0 0 1", Outcome::Failed(Failure::Backlog), ""),
        ("delete k", Outcome::Deleted, "delete_hits"),
        ("delete k", Outcome::NotFound, "delete_misses"),
        ("md k", Outcome::Deleted, "delete_hits"),
        ("md k x", Outcome::Deleted, "delete_hits"),
        ("md k I", Outcome::Deleted, ""),
        ("md k C1", Outcome::Exists, "delete_misses"),
        ("incr k 1", NUMBER, "incr_hits"),
        ("incr k 1", Outcome::NotFound, "incr_misses"),
        ("decr k 1", NUMBER, "decr_hits"),
        ("ma k MD", Outcome::NotFound, "decr_misses"),
        ("ma k N0", NUMBER, "incr_hits"),
        ("ma k N0", VIVIFIED, ""),
        ("ma k C1", Outcome::Exists, ""),
        ("incr k 1", Outcome::Failed(Failure::NonNumeric), ""),
    ] {
        let mut expected: Vec<&str> = names.split_whitespace().collect();
        let mut moved = moved(line, &outcome);
        expected.sort_unstable();
        moved.sort_unstable();
        assert_eq!(moved, expected, "{line} {outcome:?}");
    }
}

#[test]
fn what_no_client_sees_is_not_counted() {
    let operation = Operation::Delete(Delete {
        refused_store: true,
        ..Delete::default()
    });
    let mut figures = Figures::default();
    figures.count(b"a", &operation, &Outcome::Deleted);
    figures.count(b"a", &operation, &Outcome::NotFound);
    assert_eq!(figures, Figures::default());
}

#[test]
fn refusals_that_count() {
    let settings = Settings {
        flush_enabled: false,
        ..settings()
    };
    let limits = ParseLimits::from(&settings);
    let mut figures = Figures::default();
    for line in ["set k 0 0 2000000 noreply", "flush_all", "foo"] {
        figures.count_refusal(&parse(line.as_bytes(), NOW, &limits).expect_err("refused"));
    }
    let Ok(Request::Store(store)) = parse(b"set k 0 0 1", NOW, &limits) else {
        panic!("a store");
    };
    figures.count_refusal(&store.bad_data_chunk());
    assert_eq!(
        (figures.store_too_large, figures.cmd_flush, figures.cmd_set),
        (1, 1, 1)
    );
}

#[test]
fn workers_merge_and_reset_forgets_counts_only() {
    let mut all = Figures {
        cmd_get: 1,
        curr_items: 10,
        written_lag_worst_ms: 5,
        disk_bytes: 100,
        ..Figures::default()
    };
    all.merge(&Figures {
        cmd_get: 2,
        curr_items: 20,
        written_lag_worst_ms: 4,
        disk_bytes: 100,
        ..Figures::default()
    });
    assert_eq!((all.cmd_get, all.curr_items), (3, 30));
    assert_eq!((all.written_lag_worst_ms, all.disk_bytes), (5, 100));
    all.reset();
    assert_eq!((all.cmd_get, all.curr_items), (0, 30));
    assert_eq!((all.written_lag_worst_ms, all.disk_bytes), (0, 100));
}

fn text(render: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut sink = Vec::new();
    render(&mut sink);
    String::from_utf8(sink).expect("ASCII")
}

fn names(answer: &str) -> String {
    let names: Vec<&str> = answer
        .lines()
        .filter_map(|line| line.strip_prefix("STAT ")?.split(' ').next())
        .collect();
    names.join(" ")
}

/// The keys of memcached 1.6.45 without TLS and extstore, in its order.
const GENERAL: &str = "pid uptime time version libevent pointer_size rusage_user rusage_system \
    max_connections curr_connections total_connections rejected_connections \
    connection_structures response_obj_oom response_obj_count response_obj_bytes read_buf_count \
    read_buf_bytes read_buf_bytes_free read_buf_oom reserved_fds cmd_get cmd_set cmd_flush \
    cmd_touch cmd_meta get_hits get_misses get_expired get_flushed delete_misses delete_hits \
    incr_misses incr_hits decr_misses decr_hits cas_misses cas_hits cas_badval touch_hits \
    touch_misses store_too_large store_no_memory auth_cmds auth_errors bytes_read bytes_written \
    limit_maxbytes accepting_conns listen_disabled_num time_in_listen_disabled_us threads \
    conn_yields hash_power_level hash_bytes hash_is_expanding slab_reassign_rescues \
    slab_reassign_chunk_rescues slab_reassign_inline_reclaim slab_reassign_busy_items \
    slab_reassign_busy_deletes slab_reassign_busy_nomem slab_reassign_running slabs_moved \
    lru_crawler_running lru_crawler_starts lru_maintainer_juggles malloc_fails \
    log_worker_dropped log_worker_written log_watcher_skipped log_watcher_sent log_watchers \
    unexpected_napi_ids round_robin_fallback bytes curr_items total_items slab_global_page_pool \
    expired_unfetched evicted_unfetched evicted_active evictions reclaimed crawler_reclaimed \
    crawler_items_checked lrutail_reflocked moves_to_cold moves_to_warm moves_within_lru \
    direct_reclaims lru_bumps_dropped";

const SETTINGS: &str = "maxbytes maxconns tcpport udpport inter verbosity oldest evictions \
    domain_socket umask shutdown_command growth_factor chunk_size num_threads \
    num_threads_per_udp stat_key_prefix detail_enabled reqs_per_event cas_enabled tcp_backlog \
    binding_protocol auth_enabled_sasl auth_enabled_ascii item_size_max maxconns_fast \
    hashpower_init slab_reassign slab_automove slab_automove_ratio slab_automove_window \
    slab_chunk_max lru_crawler lru_crawler_sleep lru_crawler_tocrawl tail_repair_time \
    flush_enabled dump_enabled hash_algorithm lru_maintainer_thread lru_segmented hot_lru_pct \
    warm_lru_pct hot_max_factor warm_max_factor temp_lru temporary_ttl idle_timeout \
    watcher_logbuf_size worker_logbuf_size read_buf_mem_limit track_sizes inline_ascii_response \
    num_napi_ids memory_file client_flags_size";

#[test]
fn general_keys_are_a_closed_set() {
    let settings = settings();
    let answer = text(|sink| render_general(sink, &Figures::default(), &context(&settings)));
    assert_eq!(names(&answer), GENERAL);
    assert!(answer.ends_with("\r\nEND\r\n"));
    for line in [
        "STAT pid 42\r\n",
        "STAT uptime 100\r\n",
        "STAT time 1700000100\r\n",
        "STAT version 1.6.45\r\n",
        "STAT rusage_user 12.000034\r\n",
        "STAT rusage_system 0.000007\r\n",
        "STAT curr_connections 3\r\n",
        "STAT limit_maxbytes 67108864\r\n",
    ] {
        assert!(answer.contains(line), "{line}");
    }
    let idle = Settings {
        idle_timeout_s: 5,
        ..settings
    };
    let answer = text(|sink| render_general(sink, &Figures::default(), &context(&idle)));
    assert_eq!(
        names(&answer),
        GENERAL.replace("auth_errors", "auth_errors idle_kicks")
    );
}

#[test]
fn settings_keys_are_a_closed_set() {
    let settings = Settings {
        unix_socket: Some("/run/z.sock".into()),
        ..settings()
    };
    let answer = text(|sink| render_settings(sink, &Figures::default(), &context(&settings)));
    assert_eq!(names(&answer), SETTINGS);
    for line in [
        "STAT verbosity 1\r\n",
        "STAT umask 700\r\n",
        "STAT domain_socket /run/z.sock\r\n",
        "STAT inter 127.0.0.1\r\n",
        "STAT stat_key_prefix :\r\n",
        "STAT lru_crawler no\r\n",
        "STAT client_flags_size 4\r\n",
        "STAT evictions on\r\n",
    ] {
        assert!(answer.contains(line), "{line}");
    }
}

/// What memcached_exporter needs of every class.
#[test]
fn the_memory_tier_is_one_class() {
    let figures = Figures {
        curr_items: 2,
        bytes: 300,
        memory_bytes: 1000,
        cmd_set: 5,
        get_hits: 4,
        ..Figures::default()
    };
    let slabs = text(|sink| render_slabs(sink, &figures));
    for line in [
        "STAT 1:chunk_size 1\r\n",
        "STAT 1:total_pages 1\r\n",
        "STAT 1:total_chunks 1000\r\n",
        "STAT 1:used_chunks 300\r\n",
        "STAT 1:free_chunks 700\r\n",
        "STAT 1:cmd_set 5\r\n",
        "STAT 1:cas_hits 0\r\n",
        "STAT 1:cas_badval 0\r\n",
        "STAT active_slabs 1\r\n",
        "STAT total_malloced 1000\r\nEND\r\n",
    ] {
        assert!(slabs.contains(line), "{line}");
    }
    let items = text(|sink| render_items(sink, &figures));
    assert!(items.starts_with("STAT items:1:number 2\r\n"));
    assert!(items.contains("STAT items:1:mem_requested 300\r\n"));
    assert_eq!(items.lines().count(), 29);
    assert_eq!(
        text(|sink| render_items(sink, &Figures::default())),
        "END\r\n"
    );
    assert_eq!(
        text(render_sizes_into),
        "STAT sizes_status disabled\r\nEND\r\n"
    );
}

fn render_sizes_into(sink: &mut Vec<u8>) {
    render_sizes(sink);
}

#[test]
fn connections_are_listed() {
    let connection = ConnectionFigures {
        number: 24,
        address: "tcp:127.0.0.1:5000",
        listen_address: "tcp:127.0.0.1:11211",
        state: "conn_read",
        idle_s: 7,
    };
    assert_eq!(
        text(|sink| render_connection(sink, &connection)),
        "STAT 24:addr tcp:127.0.0.1:5000\r\nSTAT 24:listen_addr tcp:127.0.0.1:11211\r\n\
         STAT 24:state conn_read\r\nSTAT 24:secs_since_last_cmd 7\r\n"
    );
}

#[test]
fn zufar_tells_its_lag_only_with_a_disk() {
    let with_disk = settings();
    let figures = Figures {
        dirty_items: 3,
        synced_lag_worst_ms: 900,
        ..Figures::default()
    };
    let answer = text(|sink| render_zufar(sink, &figures, &context(&with_disk)));
    for line in [
        "STAT version 0.1.0\r\n",
        "STAT guid 2\r\n",
        "STAT disk yes\r\n",
        "STAT dirty_items 3\r\n",
        "STAT synced_lag_worst_ms 900\r\n",
        "STAT recovered_ms 0\r\n",
    ] {
        assert!(answer.contains(line), "{line}");
    }
    let without = Settings {
        disk: None,
        ..settings()
    };
    let answer = text(|sink| render_zufar(sink, &figures, &context(&without)));
    assert!(answer.contains("STAT disk no\r\n") && !answer.contains("dirty_items"));
}

#[test]
fn prefixes_are_counted_and_bounded() {
    let mut detail = Detail::default();
    detail.count_get(b"k:a", true);
    assert_eq!(text(|sink| detail.render(sink)), "END\r\n");
    detail.enabled = true;
    detail.count_set(b"k:a");
    detail.count_get(b"k:a", true);
    detail.count_get(b"k:b", false);
    detail.count_delete(b"k:a");
    detail.count_set(b"without");
    detail.count_set(b"j:");
    let mut other = detail.clone();
    other.merge(&detail);
    assert_eq!(
        text(|sink| other.render(sink)),
        "PREFIX j get 0 hit 0 set 2 del 0\r\nPREFIX k get 4 hit 2 set 2 del 2\r\nEND\r\n"
    );
    for number in 0..PREFIXES_MAX {
        detail.count_set(std::format!("{number}:x").as_bytes());
    }
    assert_eq!(detail.overlooked, 2);
    assert_eq!(
        text(|sink| detail.render(sink)).lines().count(),
        PREFIXES_MAX + 1
    );
    detail.reset();
    assert_eq!(text(|sink| detail.render(sink)), "END\r\n");
    assert!(detail.enabled);
}

#[test]
fn expiry_plays_no_part_in_counting() {
    let mut figures = Figures::default();
    let fetch = Fetch {
        touch: Some(Expiry::Never),
        ..Fetch::default()
    };
    figures.count(b"a", &Operation::Fetch(fetch), &FOUND);
    assert_eq!((figures.cmd_touch, figures.cmd_get), (1, 0));
}
