//! Items that expire soon.
//!
//! Decides in which ways an item can get a short life, and that both servers let it go. Refuses
//! to say when: the two have clocks of their own, so they are asked until it has happened.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Client, PATIENCE, wait_for};

use super::Pair;

/// What gives an item a life of a second, by the last of its requests. `{key}` is the key, and
/// `{soon}` a Unix time.
const WAYS: &[&[&str]] = &[
    &["set {key} 0 1 1\r\n5"],
    &["add {key} 0 1 1\r\n5"],
    &["set {key} 0 {soon} 1\r\n5"],
    &["set {key} 0 0 1\r\n5", "replace {key} 0 1 1\r\n5"],
    &["set {key} 0 1 1\r\n5", "append {key} 0 0 1\r\n5"],
    &["set {key} 0 1 1\r\n5", "prepend {key} 0 1000 1\r\n5"],
    &["set {key} 0 1 1\r\n5", "incr {key} 1"],
    &["set {key} 0 1 1\r\n9", "incr {key} 1"],
    &["set {key} 0 1000 1\r\n5", "touch {key} 1"],
    &["set {key} 0 0 1\r\n5", "gat 1 {key}"],
    &["set {key} 0 0 1\r\n5", "gats {soon} {key}"],
    &["ms {key} 1 T1\r\n5"],
    &["ms {key} 1 T{soon} ME\r\n5"],
    &["set {key} 0 1 1\r\n5", "ms {key} 1 MA T1000\r\n5"],
    &["set {key} 0 0 1\r\n5", "mg {key} T1 v"],
    &["mg {key} N1 v"],
    &["mg {key} N1000 v", "mg {key} T1"],
    &["set {key} 0 0 1\r\n5", "ma {key} T1"],
    &["ma {key} N1 J7"],
    &["ma {key} N{soon} J7"],
    &["set {key} 0 0 1\r\n5", "md {key} I T1"],
];

/// Has items expire on both servers.
///
/// # Panics
/// When one of them keeps what it should not, loses what it should keep, or has something back.
pub fn expire_alike(pair: &Pair) {
    let mut clients = [pair.memcached.client(), pair.zufar.client()];
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let soon = since_epoch.map_or(0, |since| since.as_secs()) + 2;
    for client in &mut clients {
        client.set("stays", "for ever");
        for (at, way) in WAYS.iter().enumerate() {
            for request in *way {
                let key = format!("gone{at}");
                let request = request.replace("{key}", &key);
                let request = request.replace("{soon}", &soon.to_string());
                // The no-op tells where the answer, which is none of this test's, ends.
                client.send(format!("{request}\r\nmn\r\n"));
                wait_for("the no-op", PATIENCE, || {
                    (client.line() == "MN").then_some(())
                });
            }
        }
    }
    for client in &mut clients {
        for at in 0..WAYS.len() {
            await_end(client, &format!("gone{at}"));
        }
    }
    for client in &mut clients {
        for (at, way) in WAYS.iter().enumerate() {
            assert_eq!(client.get(&format!("gone{at}")), None, "{way:?}");
        }
        assert!(client.get("stays").is_some());
        assert_eq!(client.ask("flush_all 1"), "OK");
    }
    for client in &mut clients {
        await_end(client, "stays");
        // memcached drops what is stored in the second of the flush, too.
        wait_for("the flush to be over", PATIENCE, || {
            client.set("stays", "again");
            client.get("stays")
        });
    }
}

fn await_end(client: &mut Client, key: &str) {
    wait_for("an item to expire", PATIENCE, || {
        client.get(key).is_none().then_some(())
    });
}
