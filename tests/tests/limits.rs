//! Limits that flags set: each holds, and what is beyond it is refused in memcached's words.
#![allow(missing_docs)]

use zufar_tests::program::Program;
use zufar_tests::{Client, Node, PATIENCE, process, wait_for};

fn key(at: usize) -> String {
    format!("key:{at:08}")
}

fn fill(client: &mut Client, items: usize, bytes: usize) {
    client.set_many((0..items).map(|at| (key(at), vec![b'v'; bytes])));
}

#[test]
fn a_plain_cache_stays_within_its_memory_and_keeps_what_is_new() {
    const ITEMS: usize = 100_000;
    let node = Node::options().no_disk().memory_mib(16).start();
    let mut client = node.client();
    fill(&mut client, ITEMS, 1_000);
    let (bytes, limit) = (client.stat("", "bytes"), client.stat("", "limit_maxbytes"));
    assert_eq!(limit, 16 << 20);
    assert!(bytes <= limit, "{bytes} of {limit}");
    assert!(bytes > limit / 2, "only {bytes} of {limit} are used");
    assert!(client.stat("", "evictions") > ITEMS as u64 / 2);
    let resident = process::resident_bytes(node.id(), "RssAnon").expect("it runs");
    assert!(resident < 64 << 20, "{resident} bytes are resident");
    let found = (ITEMS - 1_000..ITEMS).filter(|&at| client.get(&key(at)).is_some());
    assert!(found.count() > 900, "the newest are gone");
    assert_eq!(client.get(&key(0)), None);
}

#[test]
fn without_evictions_the_full_memory_refuses_and_keeps() {
    if Program::is_stand_in() {
        return;
    }
    let node = Node::options()
        .no_disk()
        .memory_mib(16)
        .flags(["--disable-evictions"])
        .start();
    let mut client = node.client();
    let refused = (0..100_000).find_map(|at| {
        let answer = client.try_set(&key(at), &[b'v'; 1_000]).expect("an answer");
        (answer != "STORED").then_some((at, answer))
    });
    let (refused, answer) = refused.expect("100 MB do not fit into 16 MiB");
    assert_eq!(answer, "SERVER_ERROR out of memory storing object");
    assert!(refused > 8_000, "refused at {refused}");
    assert_eq!(client.stat("", "evictions"), 0);
    for at in 0..refused {
        assert!(client.get(&key(at)).is_some(), "{at} of {refused} is gone");
    }
    // Deletions make room again.
    for at in 0..refused {
        assert_eq!(client.ask(&format!("delete {}", key(at))), "DELETED");
    }
    wait_for("room for another", PATIENCE, || {
        let answer = client.try_set("after", b"1").expect("an answer");
        (answer == "STORED").then_some(())
    });
}

#[test]
fn the_longest_value_is_the_flag_s() {
    if Program::is_stand_in() {
        return;
    }
    for (flag, bytes) in [("1k", 1 << 10), ("64k", 1 << 16), ("8m", 8 << 20)] {
        let node = Node::options().item_size(flag).start();
        let mut client = node.client();
        let mut value = vec![b'v'; bytes];
        client.set("longest", &value);
        assert!(client.get("longest").as_ref() == Some(&value), "-I {flag}");
        value.push(b'v');
        let answer = client.try_set("longest", &value).expect("an answer");
        assert_eq!(
            answer, "SERVER_ERROR object too large for cache",
            "-I {flag}"
        );
        assert_eq!(
            client.get("longest"),
            None,
            "-I {flag}: the old value stays"
        );
        // An append may not grow beyond it either; memcached then leaves the item as it was.
        value.pop();
        client.set("longest", &value);
        let answer = client.ask("append longest 0 0 1\r\nx");
        assert_eq!(answer, "NOT_STORED", "-I {flag}");
        assert!(client.get("longest").as_ref() == Some(&value), "-I {flag}");
    }
}

#[test]
fn flush_all_is_refused_if_so_told() {
    if Program::is_stand_in() {
        return;
    }
    let node = Node::options().flags(["--disable-flush-all"]).start();
    let mut client = node.client();
    client.set("a", "1");
    assert_eq!(
        client.ask("flush_all"),
        "CLIENT_ERROR flush_all not allowed"
    );
    assert_eq!(
        client.ask("flush_all 5"),
        "CLIENT_ERROR flush_all not allowed"
    );
    assert!(client.get("a").is_some());
}

#[test]
fn memory_that_is_taken_away_is_given_back() {
    if Program::is_stand_in() {
        return;
    }
    for disk in [false, true] {
        let options = Node::options().memory_mib(64);
        let options = if disk { options } else { options.no_disk() };
        let node = options.start();
        let mut client = node.client();
        fill(&mut client, 55_000, 1_000);
        for node in node.all() {
            let mut client = node.client();
            assert!(client.stat("", "bytes") > 32 << 20);
            assert_eq!(client.ask("cache_memlimit 8"), "OK");
            assert_eq!(client.stat("", "limit_maxbytes"), 8 << 20);
        }
        for node in node.all() {
            let mut client = node.client();
            wait_for("memory to be within the new limit", PATIENCE, || {
                (client.stat("", "bytes") <= 8 << 20).then_some(())
            });
        }
        let (first, last) = (client.get(&key(0)), client.get(&key(54_999)));
        // With a disk nothing is lost with the memory.
        assert_eq!(first.is_some(), disk);
        assert!(last.is_some() || !disk);
        assert_eq!(client.ask("cache_memlimit 64"), "OK");
        client.set("after", "1");
    }
}
