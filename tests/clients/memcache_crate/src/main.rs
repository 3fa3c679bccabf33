//! The Rust `memcache` crate in text mode. See session.py for the parts.
//!
//! It has no noreply and no gat, its `append` and `replace` don't tell a refusal from success, and
//! its `stats` stops at the first line in text mode and leaves the others unread: the figures are
//! asked for over a plain socket.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use memcache::{Client, CommandError, MemcacheError};

const ITEM_BYTES_MAX: usize = 1 << 20;
const MANY_KEYS: usize = 10_000;
const PATIENCE: Duration = Duration::from_secs(60);

type Answer<T> = Result<T, MemcacheError>;

/// A value with its flags and its cas unique.
type Whole = (Vec<u8>, u32, Option<u64>);

fn bytes(client: &Client, key: &str) -> Answer<Option<Vec<u8>>> {
    client.get(key)
}

fn store_and_read(client: &Client) -> Answer<()> {
    assert_eq!(bytes(client, "absent")?, None);
    client.set("a", "1", 0)?;
    assert_eq!(bytes(client, "a")?.as_deref(), Some(&b"1"[..]));
    client.set("a", "", 0)?;
    assert_eq!(bytes(client, "a")?.as_deref(), Some(&b""[..]));
    let mut every_byte: Vec<u8> = (0..=255).collect();
    every_byte.extend_from_slice(b"\r\nEND\r\nVALUE x 0 1\r\n");
    client.set("bytes", &every_byte[..], 0)?;
    assert_eq!(bytes(client, "bytes")?, Some(every_byte));
    client.add("a", "2", 0)?;
    assert_eq!(
        bytes(client, "a")?.as_deref(),
        Some(&b""[..]),
        "an add of what is there"
    );
    client.add("added", "2", 0)?;
    client.replace("not-there", "2", 0)?;
    assert_eq!(bytes(client, "not-there")?, None);
    client.replace("added", "bb", 0)?;
    client.append("added", "c")?;
    client.prepend("added", "a")?;
    assert_eq!(bytes(client, "added")?.as_deref(), Some(&b"abbc"[..]));
    assert!(client.delete("added")?);
    assert!(!client.delete("added")?);
    assert_eq!(bytes(client, "added")?, None);
    let key = "k".repeat(250);
    client.set(&key, "long", 0)?;
    assert_eq!(bytes(client, &key)?.as_deref(), Some(&b"long"[..]));
    Ok(())
}

fn count(client: &Client) -> Answer<()> {
    client.set("n", "10", 0)?;
    assert_eq!(client.increment("n", 5)?, 15);
    assert_eq!(client.decrement("n", 7)?, 8);
    assert_eq!(client.decrement("n", 100)?, 0);
    client.set("n", u64::MAX, 0)?;
    assert_eq!(client.increment("n", 1)?, 0);
    for number in 1..=1000 {
        assert_eq!(client.increment("n", 1)?, number);
    }
    let missed = client.increment("absent", 1);
    assert!(
        matches!(
            missed,
            Err(MemcacheError::CommandError(CommandError::KeyNotFound))
        ),
        "{missed:?}"
    );
    Ok(())
}

fn compare(client: &Client) -> Answer<()> {
    client.set("c", "1", 0)?;
    let found: Option<Whole> = client.get("c")?;
    let (value, _, unique) = found.expect("it has just been stored");
    assert_eq!(value, b"1");
    let unique = unique.expect("gets shows a unique");
    assert!(client.cas("c", "2", 0, unique)?);
    assert!(!client.cas("c", "3", 0, unique)?);
    assert_eq!(bytes(client, "c")?.as_deref(), Some(&b"2"[..]));
    Ok(())
}

fn expire(client: &Client) -> Answer<()> {
    client.set("short", "1", 2)?;
    client.set("long", "1", 1000)?;
    client.set("touched", "1", 2)?;
    assert!(client.touch("touched", 1000)?);
    assert!(!client.touch("absent", 1000)?);
    assert!(bytes(client, "short")?.is_some(), "before its time");
    let start = Instant::now();
    while bytes(client, "short")?.is_some() {
        assert!(start.elapsed() < PATIENCE, "a value does not expire");
        thread::sleep(Duration::from_millis(50));
    }
    assert!(bytes(client, "long")?.is_some());
    assert!(bytes(client, "touched")?.is_some());
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_s = now.expect("the clock is after 1970").as_secs();
    client.set(
        "absolute",
        "1",
        u32::try_from(now_s).expect("until 2106") + 60 * 86_400,
    )?;
    assert!(bytes(client, "absolute")?.is_some());
    Ok(())
}

fn large(client: &Client) -> Answer<()> {
    let value: Vec<u8> = (0..=ITEM_BYTES_MAX)
        .map(|at| (at * 7 % 251) as u8)
        .collect();
    for number in 1..=5 {
        client.set(&format!("large:{number}"), &value[number..], 0)?;
    }
    for number in 1..=5 {
        let found = bytes(client, &format!("large:{number}"))?;
        assert!(
            found.as_deref() == Some(&value[number..]),
            "large:{number} is damaged"
        );
    }
    let refused = client.set("large:1", &value[..], 0);
    let refused = refused.expect_err("it is too large");
    assert!(refused.to_string().contains("too large"), "{refused}");
    assert_eq!(
        bytes(client, "large:1")?,
        None,
        "memcached drops the old value"
    );
    assert!(bytes(client, "large:2")?.is_some());
    Ok(())
}

fn many(client: &Client) -> Answer<()> {
    let keys: Vec<String> = (0..MANY_KEYS).map(|at| format!("many:{at:06}")).collect();
    for key in &keys {
        client.set(key, key, 0)?;
    }
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    let wanted = |keep: fn(usize) -> bool| -> HashMap<String, String> {
        let kept = keys.iter().enumerate().filter(|(at, _)| keep(*at));
        kept.map(|(_, key)| (key.clone(), key.clone())).collect()
    };
    assert!(
        client.gets::<String>(&names)? == wanted(|_| true),
        "10,000 keys"
    );
    for key in keys.iter().skip(1).step_by(2) {
        assert!(client.delete(key)?);
    }
    assert!(
        client.gets::<String>(&names)? == wanted(|at| at % 2 == 0),
        "what is left"
    );
    Ok(())
}

fn flush(client: &Client) -> Answer<()> {
    client.set("before", "1", 0)?;
    client.flush()?;
    assert_eq!(bytes(client, "before")?, None);
    client.set("after", "1", 0)?;
    assert!(bytes(client, "after")?.is_some());
    client.flush_with_delay(100_000)?;
    assert!(bytes(client, "after")?.is_some(), "a flush to come");
    Ok(())
}

/// Numbers are stored as text, and read back as what is asked for.
fn own(client: &Client) -> Answer<()> {
    client.set("typed", -42_i64, 0)?;
    assert_eq!(client.get::<i64>("typed")?, Some(-42));
    client.set("typed", 1.5_f64, 0)?;
    assert_eq!(client.get::<f64>("typed")?, Some(1.5));
    client.set("typed", true, 0)?;
    assert_eq!(client.get::<bool>("typed")?, Some(true));
    let versions = client.version()?;
    assert!(versions[0].1.starts_with("1.6."), "{versions:?}");
    // Several threads share the pool.
    thread::scope(|scope| {
        for number in 0..4_usize {
            scope.spawn(move || {
                for round in 0..500_usize {
                    let key = format!("thread:{number}:{round}");
                    client.set(&key, round as u64, 0).expect("it is stored");
                    let found: Option<u64> = client.get(&key).expect("it is read");
                    assert_eq!(found, Some(round as u64), "{key}");
                }
            });
        }
    });
    Ok(())
}

fn statistics(address: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"stats\r\n")?;
    let mut stats = BTreeMap::new();
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line == "END" {
            break;
        }
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        assert_eq!((words[0], words.len()), ("STAT", 3), "{line}");
        stats.insert(words[1].to_owned(), words[2].to_owned());
    }
    let stored: usize = stats["cmd_set"].parse().expect("a number");
    assert!(stored > MANY_KEYS, "{stored}");
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let host = arguments.next().expect("a host");
    let address = format!("{host}:{}", arguments.next().expect("a port"));
    let client = Client::builder()
        .add_server(format!("memcache://{address}?protocol=ascii"))?
        .with_max_pool_size(4)
        .with_connection_timeout(PATIENCE)
        .with_read_timeout(PATIENCE)
        .build()?;
    let part = |name: &str| println!("{name}: as it should be");
    let parts: [(&str, fn(&Client) -> Answer<()>); 8] = [
        ("store_and_read", store_and_read),
        ("count", count),
        ("compare", compare),
        ("expire", expire),
        ("large", large),
        ("many", many),
        ("flush", flush),
        ("own", own),
    ];
    for (name, go_through) in parts {
        go_through(&client)?;
        part(name);
    }
    statistics(&address)?;
    part("statistics");
    Ok(())
}
