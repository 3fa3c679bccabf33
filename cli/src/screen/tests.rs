use std::path::PathBuf;

use super::*;
use crate::options::{Options, Runtime};
use crate::settings::{Found, Host, resolve};

fn settings(config: &str) -> Settings {
    let options: Options = toml::from_str(config).expect("a right config");
    let host = Host {
        cores: 2,
        state_directory: None,
        current_directory: PathBuf::from("/"),
    };
    let plan = resolve(&options, &host).expect("a right plan");
    let data = plan.data.as_ref().map(|data| data.directory(8122));
    plan.settings(Found {
        guid: "0".to_owned(),
        peer_address: "127.0.0.1:8123".to_owned(),
        tcp_port: 8122,
        data_directory: data,
        started_unix_s: 1,
    })
}

fn announced<T>(config: &str, say: impl FnOnce(&Announcement<'_>) -> T) -> T {
    say(&Announcement {
        settings: &settings(config),
        clients: &["127.0.0.1:8122".to_owned(), "[::1]:8122".to_owned()],
        peers: &["127.0.0.1:8123".to_owned()],
        cluster: Some("shop"),
        runtime: Runtime::Smol,
        rocksdb_bytes: 64 << 20,
    })
}

#[test]
fn a_screen_says_what_is_served_where_and_with_which_limits() {
    let screen = announced("", |said| said.screen());
    for part in [
        "node-0\n",
        "127.0.0.1:8122, [::1]:8122",
        "127.0.0.1:8123",
        "in cluster `shop`\n",
        "64 MiB for items, then the least used are evicted\n",
        "values up to 1 MiB\n",
        "up to 128 MiB more for RocksDB",
        "up to 1024 connections on 2 threads of smol\n",
        "/zufar-data/8122",
        "written after 50 ms and synced after 1000 ms",
        "up to 90 % of its file system, then the coldest are evicted",
    ] {
        assert!(screen.contains(part), "{part} in\n{screen}");
    }
    assert!(screen.lines().count() < 24, "one screen");
    assert!(
        screen
            .lines()
            .all(|line| line.len() <= 80 && !line.ends_with(' '))
    );
}

#[test]
fn a_screen_tells_the_limits_that_were_set() {
    let screen = announced(
        "disk-limit = \"1g\"\ndisable-evictions = true\nidle-timeout = 60",
        |said| said.screen(),
    );
    for part in [
        "64 MiB for items, then writes are refused\n",
        "closed after 60 s of silence",
        "up to 1 GiB and 90 % of its file system, then writes are refused",
    ] {
        assert!(screen.contains(part), "{part} in\n{screen}");
    }
    let screen = announced("no-disk = true", |said| said.screen());
    assert!(screen.contains("nothing survives a stop"));
    assert!(!screen.contains("RocksDB"));
}

#[test]
fn the_ready_line_is_one_line() {
    let line = announced("", |said| said.line());
    assert_eq!(
        line,
        "node-0 serves clients on 127.0.0.1:8122, [::1]:8122 and peers on 127.0.0.1:8123 \
         in cluster `shop`; memory 64 MiB, threads 2 on smol, data in /zufar-data/8122, \
         up to 128 MiB more memory for RocksDB"
    );
    assert!(announced("no-disk = true", |said| said.line()).ends_with("no disk"));
}
