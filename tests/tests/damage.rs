//! A damaged database never stops the start for good, is never deleted, and never lies.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

use zufar_tests::Node;
use zufar_tests::program::Program;
use zufar_tests::random::Random;

/// Enough for files of every kind, with several blocks each.
const ITEMS: usize = 20_000;

fn key(at: usize) -> String {
    format!("key:{at:08}")
}

fn value(at: usize) -> Vec<u8> {
    let mut random = Random::new(at as u64);
    let mut value = format!("{}=", key(at)).into_bytes();
    value.extend((0..60).flat_map(|_| random.number().to_le_bytes()));
    value
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory can be listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("")
}

/// A stopped node with a database that has tables, a manifest and a log.
fn filled() -> Node {
    let mut node = Node::options().start();
    let mut client = node.client();
    client.set_many((0..ITEMS).map(|at| (key(at), value(at))));
    node.terminate();
    // The second start turns the log of the first into tables; what comes now is a log again.
    node.start();
    let mut client = node.client();
    client.set_many((0..100).map(|at| (key(at), value(at))));
    node.terminate();
    node
}

fn garbage(bytes: usize) -> Vec<u8> {
    let mut random = Random::new(99);
    (0..bytes).map(|_| random.number() as u8).collect()
}

/// Overwrites whole files; returns what is in them now.
fn overwrite(node: &Node, which: impl Fn(&str) -> bool) -> Vec<Vec<u8>> {
    let chosen: Vec<PathBuf> = files(&node.data_dir().join("db"))
        .into_iter()
        .filter(|path| which(name(path)))
        .collect();
    assert!(
        !chosen.is_empty(),
        "no such file: {:?}",
        files(node.data_dir())
    );
    chosen
        .iter()
        .map(|path| {
            let length = fs::metadata(path).expect("a file").len().max(100) as usize;
            let bytes = garbage(length);
            fs::write(path, &bytes).expect("a file can be written");
            bytes
        })
        .collect()
}

/// Every value is right or missing, or the read says that it failed.
fn read_all(node: &Node) -> usize {
    let mut client = node.client();
    let mut found = 0;
    for at in 0..ITEMS {
        match client.try_get(&key(at)) {
            Ok(None) => {}
            Ok(Some(bytes)) => {
                assert!(bytes == value(at), "{} is damaged", key(at));
                found += 1;
            }
            Err(error) => assert!(error.to_string().starts_with("SERVER_ERROR"), "{error}"),
        }
    }
    found
}

/// Starts on what `overwrite` has left: it must serve, say what it did, and keep the bytes.
fn starts_beside(node: &mut Node, damaged: &[Vec<u8>]) {
    let said = node.log().len();
    node.start();
    let mut client = node.client();
    client.set("new", "1");
    assert_eq!(client.get("new").as_deref(), Some(&b"1"[..]));
    read_all(node);
    let aside: Vec<PathBuf> = fs::read_dir(node.data_dir())
        .expect("a directory can be listed")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| name(path).starts_with("db.damaged."))
        .collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    let log = node.log();
    assert!(
        log[said..].contains(name(&aside[0])),
        "it is not named:\n{log}"
    );
    let kept: Vec<Vec<u8>> = files(&aside[0])
        .iter()
        .map(|path| fs::read(path).expect("a file can be read"))
        .collect();
    for bytes in damaged {
        assert!(kept.contains(bytes), "a damaged file is gone");
    }
    // From now on all is as ever.
    node.terminate();
    node.start();
    assert_eq!(node.client().get("new").as_deref(), Some(&b"1"[..]));
}

#[test]
fn a_manifest_of_garbage() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = filled();
    let damaged = overwrite(&node, |name| name.starts_with("MANIFEST"));
    starts_beside(&mut node, &damaged);
}

#[test]
fn a_current_file_of_garbage() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = filled();
    let damaged = overwrite(&node, |name| name == "CURRENT");
    starts_beside(&mut node, &damaged);
}

#[test]
fn tables_of_garbage() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = filled();
    let damaged = overwrite(&node, |name| name.ends_with(".sst"));
    starts_beside(&mut node, &damaged);
}

#[test]
fn everything_of_garbage() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = filled();
    let damaged = overwrite(&node, |name| name != "LOCK");
    starts_beside(&mut node, &damaged);
}

#[test]
fn a_format_file_of_garbage() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = filled();
    fs::write(node.data_dir().join("FORMAT"), garbage(100)).expect("a file can be written");
    node.start();
    let mut client = node.client();
    client.set("new", "1");
    read_all(&node);
    node.terminate();
    node.start();
    assert_eq!(node.client().get("new").as_deref(), Some(&b"1"[..]));
}

/// Some bytes in the middle of tables and logs: the node starts, and whatever it gives is right.
#[test]
fn flipped_bytes_are_never_served() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = filled();
    let mut random = Random::new(5);
    let mut flipped = 0;
    for path in files(&node.data_dir().join("db")) {
        if !(name(&path).ends_with(".sst") || name(&path).ends_with(".log")) {
            continue;
        }
        let mut bytes = fs::read(&path).expect("a file can be read");
        if bytes.len() < 1_000 {
            continue;
        }
        for _ in 0..20 {
            // The middle, so that the file can still be opened.
            let at = bytes.len() / 4 + random.below(bytes.len() as u64 / 2) as usize;
            bytes[at] ^= 0x55;
            flipped += 1;
        }
        fs::write(&path, bytes).expect("a file can be written");
    }
    assert!(flipped > 0, "nothing to damage");
    node.start();
    let found = read_all(&node);
    let mut client = node.client();
    client.set_many((0..ITEMS).map(|at| (key(at), value(at))));
    assert_eq!(read_all(&node), ITEMS, "after {found} had been found");
    node.terminate();
    node.start();
    assert_eq!(read_all(&node), ITEMS, "after a restart");
}
