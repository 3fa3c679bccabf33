//! What is on disk comes back, and what is gone stays gone.
#![allow(missing_docs)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use zufar_tests::program::Program;
use zufar_tests::random::Random;
use zufar_tests::{Client, Node, PATIENCE, wait_for};

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("key:{at:012}")).collect()
}

/// A value that can't be mistaken for another key's.
fn value_of(key: &str, bytes: usize) -> Vec<u8> {
    let seed = key.bytes().fold(7, |sum: u64, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    let mut random = Random::new(seed);
    let mut value = format!("{key}=").into_bytes();
    while value.len() < bytes {
        value.extend_from_slice(&random.number().to_le_bytes());
    }
    value.truncate(bytes.max(key.len() + 1));
    value
}

fn unix_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("the clock is after 1970").as_secs()
}

/// Waits until a start has looked at all that is on disk.
fn await_warm(node: &Node) {
    wait_for("preloading to end", PATIENCE, || {
        (node.total("zufar", "preloading_workers") == 0).then_some(())
    });
}

#[test]
fn a_hundred_thousand_keys_survive_a_kill_one_second_later() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = Node::options().start();
    let all = keys(100_000);
    let mut client = node.client();
    client.set_many(all.iter().map(|key| (key.clone(), value_of(key, 100))));
    std::thread::sleep(Duration::from_secs(1));
    node.kill_9();
    node.start();
    let mut client = node.client();
    // Reads are answered from the start on, whether preloading has come to their keys or not.
    assert_eq!(client.get(&all[12_345]), Some(value_of(&all[12_345], 100)));
    let mut missing = 0;
    client.get_many(&all, |key, value| match value {
        None => missing += 1,
        Some(value) => assert!(value == value_of(key, 100), "{key} is damaged"),
    });
    assert_eq!(missing, 0, "keys are missing");
}

#[test]
fn sigterm_and_sigint_keep_everything() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = Node::options().start();
    let all = keys(2_000);
    for (round, signal) in [Signal::TERM, Signal::INT].into_iter().enumerate() {
        let bytes = 100 + round;
        // The very last write before the signal counts, too.
        let mut client = node.client();
        client.set_many(all.iter().map(|key| (key.clone(), value_of(key, bytes))));
        let status = node.stop_with(signal);
        assert_eq!(status.code(), Some(0), "on {signal:?}:\n{}", node.log());
        node.start();
        node.client().get_many(&all, |key, value| {
            assert!(
                value == Some(&value_of(key, bytes)[..]),
                "{key} after {signal:?}"
            );
        });
    }
}

#[test]
fn everything_about_an_item_survives() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = Node::options().start();
    let mut client = node.client();
    client.send("set flags 4294967295 0 2\r\nab\r\n");
    client.expect("STORED\r\n");
    assert_eq!(client.ask("ms own 1 E123456789\r\nx"), "HD");
    client.set("counter", "41");
    assert_eq!(client.ask("incr counter 1"), "42");
    assert_eq!(client.ask("ms stale 1 T1000\r\nx"), "HD");
    assert_eq!(client.ask("md stale I T500"), "HD");
    assert_eq!(client.ask("ms won 1 T1000\r\nx"), "HD");
    assert_eq!(client.ask("md won I"), "HD");
    assert_eq!(client.ask("mg won"), "HD X W");
    assert_eq!(client.ask("ms Zm9v 3 b\r\nbar"), "HD");
    client.set("\u{1}\u{7f}bytes", [0, 255, 13, 10]);
    client.set("empty", "");
    let unique = client.ask("mg counter c");
    node.await_written();
    node.kill_9();
    node.start();
    let mut client = node.client();
    client.send("get flags\r\n");
    client.expect("VALUE flags 4294967295 2\r\nab\r\nEND\r\n");
    assert_eq!(client.ask("mg own c"), "HD c123456789");
    assert_eq!(client.ask("mg counter c"), unique);
    assert_eq!(client.ask("incr counter 1"), "43");
    assert_eq!(client.ask("mg stale s"), "HD s1 X W");
    assert_eq!(client.ask("mg won"), "HD Z X");
    assert_eq!(client.get("foo").as_deref(), Some(&b"bar"[..]));
    let bytes = client.get("\u{1}\u{7f}bytes");
    assert_eq!(bytes.as_deref(), Some(&[0, 255, 13, 10][..]));
    assert_eq!(client.get("empty").as_deref(), Some(&b""[..]));
}

#[test]
fn every_kind_of_change_survives() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = Node::options().start();
    let mut client = node.client();
    for key in [
        "set", "replace", "append", "prepend", "decr", "cas", "touch", "gat", "delete",
    ] {
        client.set(key, "10");
    }
    node.await_written();
    let mut client = node.client();
    let unique = client.ask("mg cas c");
    let unique = unique.strip_prefix("HD c").expect("a cas unique");
    for (request, answer) in [
        ("set set 0 0 1\r\n5", "STORED"),
        ("add add 0 0 1\r\n5", "STORED"),
        ("replace replace 0 0 1\r\n5", "STORED"),
        ("append append 0 0 1\r\n5", "STORED"),
        ("prepend prepend 0 0 1\r\n5", "STORED"),
        ("decr decr 3", "7"),
        (&format!("cas cas 0 0 1 {unique}\r\n5"), "STORED"),
        ("touch touch 1000", "TOUCHED"),
        ("delete delete", "DELETED"),
        ("ma arithmetic N0 J8", "HD"),
    ] {
        assert_eq!(client.ask(request), answer, "{request}");
    }
    client.send("gat 2000 gat\r\n");
    client.expect("VALUE gat 0 2\r\n10\r\nEND\r\n");
    node.await_written();
    node.kill_9();
    node.start();
    let mut client = node.client();
    for (key, value) in [
        ("set", Some("5")),
        ("add", Some("5")),
        ("replace", Some("5")),
        ("append", Some("105")),
        ("prepend", Some("510")),
        ("cas", Some("5")),
        ("delete", None),
        ("arithmetic", Some("8")),
    ] {
        assert_eq!(
            client.get(key).as_deref(),
            value.map(str::as_bytes),
            "{key}"
        );
    }
    assert_eq!(client.get("decr").map(|value| value[0]), Some(b'7'));
    for (key, most) in [("touch", 1000), ("gat", 2000)] {
        let answer = client.ask(&format!("mg {key} t"));
        let left: u64 = answer
            .strip_prefix("HD t")
            .and_then(|left| left.parse().ok())
            .unwrap_or_else(|| panic!("{key}: {answer}"));
        assert!((most - 100..=most).contains(&left), "{key}: {left}");
    }
}

#[test]
fn deleted_and_flushed_items_never_return() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = Node::options().start();
    let all = keys(3_000);
    let (deleted, flushed) = all.split_at(1_000);
    let mut client = node.client();
    client.set_many(deleted.iter().map(|key| (key.clone(), value_of(key, 50))));
    node.await_written();
    for key in deleted {
        assert_eq!(client.ask(&format!("delete {key}")), "DELETED");
    }
    node.await_written();
    node.kill_9();
    node.start();
    let mut client = node.client();
    client.get_many(deleted, |key, value| {
        assert!(value.is_none(), "{key} is back")
    });

    client.set_many(flushed.iter().map(|key| (key.clone(), value_of(key, 50))));
    node.await_written();
    assert_eq!(client.ask("flush_all"), "OK");
    client.set("after", "the flush");
    node.await_written();
    for _ in 0..2 {
        node.kill_9();
        node.start();
        let mut client = node.client();
        client.get_many(&all, |key, value| assert!(value.is_none(), "{key} is back"));
        assert_eq!(client.get("after").as_deref(), Some(&b"the flush"[..]));
    }
    node.terminate();
    node.start();
    let mut client = node.client();
    client.get_many(&all, |key, value| assert!(value.is_none(), "{key} is back"));
}

#[test]
fn expiry_goes_on_while_the_node_is_down() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = Node::options().start();
    let mut client = node.client();
    client.send("set soon 0 2 1\r\nx\r\nset late 0 1000 1\r\nx\r\n");
    client.expect("STORED\r\nSTORED\r\n");
    let absolute = unix_s() + 3;
    client.send(format!("set absolute 0 {absolute} 1\r\nx\r\n"));
    client.expect("STORED\r\n");
    let stored = unix_s();
    node.await_written();
    node.kill_9();
    wait_for("the items to expire", PATIENCE, || {
        (unix_s() > stored + 4).then_some(())
    });
    node.start();
    let mut client = node.client();
    assert_eq!(client.get("soon"), None);
    assert_eq!(client.get("absolute"), None);
    let answer = client.ask("mg late t");
    let left: u64 = answer[4..].parse().expect("a number of seconds");
    assert!((900..=996).contains(&left), "{left}");
    // An expired key is free again.
    assert_eq!(client.ask("add soon 0 0 1\r\ny"), "STORED");
}

#[test]
fn an_item_expires_when_it_should_and_not_before() {
    let node = Node::options().start();
    let mut client = node.client();
    let start = Instant::now();
    client.send("set ttl 0 3 1\r\nx\r\n");
    client.expect("STORED\r\n");
    wait_for("the item to expire", PATIENCE, || {
        client.get("ttl").is_none().then_some(())
    });
    let lived = start.elapsed();
    // memcached's clock ticks once a second, so its TTLs are up to one short.
    assert!(lived > Duration::from_millis(1900), "it lived {lived:?}");
    assert!(lived < PATIENCE / 4, "it lived {lived:?}");
}

#[test]
fn a_flush_to_come_survives_a_restart() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = Node::options().start();
    let mut client = node.client();
    client.set("a", "1");
    let start = Instant::now();
    assert_eq!(client.ask("flush_all 4"), "OK");
    node.await_written();
    node.kill_9();
    node.start();
    let mut client = node.client();
    assert!(client.get("a").is_some(), "flushed before its time");
    wait_for("the flush", PATIENCE, || {
        client.get("a").is_none().then_some(())
    });
    let waited = start.elapsed();
    assert!(
        waited > Duration::from_millis(2900),
        "flushed after {waited:?}"
    );
    client.set("b", "2");
    node.await_written();
    node.kill_9();
    node.start();
    let mut client = node.client();
    assert_eq!(client.get("a"), None);
    assert!(client.get("b").is_some(), "stored after the flush");
}

#[test]
fn a_flush_whose_time_came_while_the_node_was_down_is_done() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = Node::options().start();
    let mut client = node.client();
    client.set("a", "1");
    assert_eq!(client.ask("flush_all 2"), "OK");
    let told = unix_s();
    node.await_written();
    node.kill_9();
    wait_for("the flush's time", PATIENCE, || {
        (unix_s() > told + 3).then_some(())
    });
    node.start();
    assert_eq!(node.client().get("a"), None);
}

#[test]
fn a_data_set_larger_than_memory_is_readable_in_full() {
    if Program::is_stand_in() {
        return;
    }
    const ITEMS: usize = 60_000;
    const BYTES: usize = 2_000;
    let mut node = Node::options().memory_mib(16).start();
    let all = keys(ITEMS);
    let mut client = node.client();
    client.set_many(all.iter().map(|key| (key.clone(), value_of(key, BYTES))));
    let held = client.stat("", "curr_items");
    assert!(held < ITEMS as u64 / 4, "{held} items are in 16 MiB");
    let check = |node: &Node, when: &str| {
        let mut missing = 0;
        node.client().get_many(&all, |key, value| match value {
            None => missing += 1,
            Some(value) => assert!(value == value_of(key, BYTES), "{key} is damaged {when}"),
        });
        assert_eq!(missing, 0, "keys are missing {when}");
    };
    check(&node, "in the first run");
    // Commands that need the old item find it on disk.
    let mut client = node.client();
    let (first, second, third) = (&all[0], &all[1], &all[2]);
    assert_eq!(client.ask(&format!("add {first} 0 0 1\r\nx")), "NOT_STORED");
    assert_eq!(client.ask(&format!("touch {second} 0")), "TOUCHED");
    assert_eq!(
        client.ask(&format!("append {third} 0 0 3\r\nabc")),
        "STORED"
    );
    let mut longer = value_of(third, BYTES);
    longer.extend_from_slice(b"abc");
    assert_eq!(client.get(third), Some(longer));
    client.set(third, value_of(third, BYTES));
    assert_eq!(client.ask(&format!("incr {first} 1")), NON_NUMERIC);
    node.await_written();
    node.kill_9();
    node.start();
    check(&node, "after a crash");
    node.terminate();
    node.start();
    check(&node, "after a clean stop");
}

const NON_NUMERIC: &str = "CLIENT_ERROR cannot increment or decrement non-numeric value";

#[test]
fn a_miss_costs_no_disk_read_while_all_is_in_memory() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = Node::options().start();
    await_warm(&node);
    let mut client = node.client();
    client.set_many(
        keys(5_000)
            .into_iter()
            .map(|key| (key.clone(), value_of(&key, 100))),
    );
    let missing: Vec<String> = (0..5_000).map(|at| format!("missing:{at}")).collect();
    let reads_for_misses = |node: &Node| {
        let mut client = node.client();
        let before = node.total("zufar", "disk_reads");
        client.get_many(&missing, |key, value| assert!(value.is_none(), "{key}"));
        node.total("zufar", "disk_reads") - before
    };
    assert_eq!(reads_for_misses(&node), 0);
    node.terminate();
    node.start();
    await_warm(&node);
    assert_eq!(reads_for_misses(&node), 0, "after a restart");
    let recovered = node.total("zufar", "recovered_items");
    let held = node.copies() * 5_000;
    assert_eq!(recovered, held, "what the statistics say of the start");
}

#[test]
fn a_miss_rarely_costs_a_disk_read_when_most_is_on_disk() {
    if Program::is_stand_in() {
        return;
    }
    let node = Node::options().memory_mib(16).start();
    let mut client = node.client();
    let all = keys(40_000);
    client.set_many(all.iter().map(|key| (key.clone(), value_of(key, 2_000))));
    let missing: Vec<String> = (0..20_000).map(|at| format!("missing:{at}")).collect();
    let before = node.total("zufar", "disk_reads");
    client.get_many(&missing, |key, value| assert!(value.is_none(), "{key}"));
    let reads = node.total("zufar", "disk_reads") - before;
    assert!(reads < 1_000, "20000 misses cost {reads} disk reads");
}

/// Where writes leave no room to bring an item in from disk, a read may fail; it may not miss.
#[test]
fn what_is_on_disk_is_never_missed_while_writes_fill_the_memory() {
    if Program::is_stand_in() {
        return;
    }
    let node = Node::options().memory_mib(16).start();
    let all = keys(30_000);
    node.client()
        .set_many(all.iter().map(|key| (key.clone(), value_of(key, 1_000))));
    node.await_written();
    let done = AtomicBool::new(false);
    let (port, value) = (node.port(), vec![b'w'; 60_000]);
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (done, value) = (&done, &value);
            scope.spawn(move || {
                let mut client = Client::connect(port);
                for at in (0..200).cycle() {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    let answer = client.try_set(&format!("w{writer}:{at}"), value);
                    let answer = answer.expect("an answer");
                    assert!(answer == "STORED" || answer.starts_with("SERVER_ERROR "));
                }
            });
        }
        let mut client = node.client();
        let mut random = Random::new(1);
        let mut missed = Vec::new();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(4) {
            let key = &all[random.below(all.len() as u64) as usize];
            match client.try_get(key) {
                Ok(Some(value)) => assert!(value == value_of(key, 1_000), "{key} is damaged"),
                Ok(None) => missed.push(key),
                Err(error) => assert!(error.to_string().starts_with("SERVER_ERROR"), "{error}"),
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(
            missed.is_empty(),
            "{} reads missed: {missed:?}",
            missed.len()
        );
    });
}

#[test]
fn the_hot_keys_are_loaded_after_a_restart() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = Node::options().memory_mib(16).start();
    let all = keys(40_000);
    let mut client = node.client();
    client.set_many(all.iter().map(|key| (key.clone(), value_of(key, 2_000))));
    // Some that a scan in key order would reach late.
    let hot: Vec<String> = all.iter().step_by(40).cloned().collect();
    for _ in 0..5 {
        client.get_many(&hot, |key, value| assert!(value.is_some(), "{key}"));
    }
    node.terminate();
    node.start();
    await_warm(&node);
    let mut client = node.client();
    let before = node.total("zufar", "disk_reads");
    client.get_many(&hot, |key, value| assert!(value.is_some(), "{key}"));
    let reads = node.total("zufar", "disk_reads") - before;
    assert!(
        reads < hot.len() as u64 / 10,
        "{reads} of {} were cold",
        hot.len()
    );
}

#[test]
fn values_of_the_default_limit_survive() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = Node::options().start();
    let mut client = node.client();
    let sizes = [4_095, 4_096, 4_097, 65_536, 1_000_000, 1 << 20];
    for bytes in sizes {
        let key = format!("large:{bytes}");
        client.set(&key, value_of(&key, bytes));
    }
    node.await_written();
    node.kill_9();
    node.start();
    let mut client = node.client();
    for bytes in sizes {
        let key = format!("large:{bytes}");
        assert!(client.get(&key) == Some(value_of(&key, bytes)), "{key}");
    }
}

#[test]
fn values_of_twenty_mebibytes_survive() {
    if Program::is_stand_in() {
        return;
    }
    const BYTES: usize = 20 << 20;
    let mut node = Node::options().memory_mib(256).item_size("64m").start();
    let mut client = node.client();
    for at in 0..5 {
        let key = format!("huge:{at}");
        client.set(&key, value_of(&key, BYTES));
    }
    // Replaced by another, and by a small one.
    client.set("huge:3", value_of("other", BYTES + 1));
    client.set("huge:4", "small");
    let check = |node: &Node| {
        let mut client = node.client();
        for at in 0..3 {
            let key = format!("huge:{at}");
            assert!(client.get(&key) == Some(value_of(&key, BYTES)), "{key}");
        }
        assert!(
            client.get("huge:3") == Some(value_of("other", BYTES + 1)),
            "huge:3"
        );
        assert_eq!(client.get("huge:4").as_deref(), Some(&b"small"[..]));
    };
    check(&node);
    node.await_written();
    node.kill_9();
    node.start();
    check(&node);
    let mut client = node.client();
    assert_eq!(client.ask("delete huge:0"), "DELETED");
    node.terminate();
    node.start();
    assert_eq!(node.client().get("huge:0"), None);
}

#[test]
fn without_a_disk_nothing_survives_and_nothing_is_written() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = Node::options().no_disk().start();
    node.client().set("a", "1");
    node.terminate();
    assert!(!node.data_dir().exists(), "a data directory was made");
    node.start();
    assert_eq!(node.client().get("a"), None);
}

#[test]
fn the_number_of_threads_may_change_between_runs() {
    if Program::is_stand_in() {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let data = home.path().join("data");
    let all = keys(5_000);
    for (round, threads) in [1, 4, 2, 3].into_iter().enumerate() {
        let mut node = Node::options().threads(threads).data_dir(&data).start();
        let mut client = node.client();
        if round > 0 {
            client.get_many(&all, |key, value| {
                let wanted = value_of(key, 100 + round - 1);
                assert!(value == Some(&wanted[..]), "{key} with {threads} threads");
            });
        }
        client.set_many(
            all.iter()
                .map(|key| (key.clone(), value_of(key, 100 + round))),
        );
        node.terminate();
    }
}

#[test]
fn a_cas_unique_never_comes_again() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = Node::options().start();
    let mut last = 0;
    for round in 0..3 {
        let mut client = node.client();
        for _ in 0..200 {
            let answer = client.ask("ms unique 1 c\r\nx").replace("HD c", "");
            let unique: u64 = answer.parse().unwrap_or_else(|_| panic!("{answer}"));
            assert!(unique > last, "{unique} after {last} in run {round}");
            last = unique;
        }
        // Not even for changes that never reached the disk.
        node.kill_9();
        node.start();
    }
}

#[test]
fn the_disk_limit_evicts_the_coldest_and_counts_them() {
    if Program::is_stand_in() {
        return;
    }
    let node = Node::options()
        .memory_mib(16)
        .flags(["--disk-limit", "64"])
        .start();
    let mut client = node.client();
    let all = keys(60_000);
    client.set_many(all.iter().map(|key| (key.clone(), value_of(key, 4_000))));
    node.await_written();
    let mut client = node.client();
    let used_mib = wait_for("the disk to be within its limit", PATIENCE, || {
        let used = client.stat("zufar", "disk_bytes") >> 20;
        (used <= 80).then_some(used)
    });
    assert!(used_mib > 10, "only {used_mib} MiB are left");
    assert!(client.stat("zufar", "disk_evictions") > 10_000);
    let mut found = 0;
    client.get_many(&all, |key, value| {
        if let Some(value) = value {
            assert!(value == value_of(key, 4_000), "{key} is damaged");
            found += 1;
        }
    });
    assert!(found > 2_000, "only {found} are left");
    assert_eq!(client.ask("set new 0 0 1\r\nx"), "STORED");
}

#[test]
fn at_the_disk_limit_writes_are_refused_if_so_told() {
    if Program::is_stand_in() {
        return;
    }
    let node = Node::options()
        .memory_mib(16)
        .flags(["--disk-limit", "48", "--when-full", "refuse"])
        .start();
    let mut client = node.client();
    let mut stored = Vec::new();
    let refusal = (0..200_000).find_map(|at| {
        let key = format!("key:{at:012}");
        match client
            .try_set(&key, &value_of(&key, 4_000))
            .expect("an answer")
            .as_str()
        {
            "STORED" => {
                stored.push(key);
                None
            }
            other => Some(other.to_owned()),
        }
    });
    let refusal = refusal.expect("800 MB do not fit into 48 MiB");
    assert!(refusal.starts_with("SERVER_ERROR "), "{refusal}");
    client.get_many(&stored, |key, value| {
        assert!(value == Some(&value_of(key, 4_000)[..]), "{key}");
    });
    assert_eq!(client.ask(&format!("delete {}", stored[0])), "DELETED");
}
