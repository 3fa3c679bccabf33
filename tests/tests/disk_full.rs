//! A full disk: reads go on, writes wait and are then refused, and nothing acknowledged is lost.
//!
//! Needs a small file system of its own, and so the right to mount one. Where there is no such
//! right the test fails and says so, unless `ZUFAR_SKIP_DISK_FULL=1`.
#![allow(missing_docs)]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;
use zufar_tests::program::Program;
use zufar_tests::{Client, Node, PATIENCE, wait_for};

/// A file system in memory, unmounted when it goes out of scope.
struct SmallDisk {
    at: TempDir,
}

impl SmallDisk {
    fn mount(mib: u32) -> Self {
        let at = tempfile::tempdir().expect("a temporary directory can be made");
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "zufar-test"])
            .arg(at.path())
            .output()
            .expect("mount can be run");
        assert!(
            output.status.success(),
            "this test must mount a small file system and may not: {}\
             run it as root, or go without it with ZUFAR_SKIP_DISK_FULL=1",
            String::from_utf8_lossy(&output.stderr)
        );
        Self { at }
    }

    fn path(&self) -> &Path {
        self.at.path()
    }

    /// Takes all the room that is left.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = File::create(&path).expect("a file can be made");
        let block = vec![0x55; 64 * 1024];
        // Whatever a large write leaves over, small ones take.
        for size in [block.len(), 4096, 1] {
            while file.write_all(&block[..size]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A leftover mount does no harm beyond its memory, and there is nobody to tell.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn key(at: usize) -> String {
    format!("key:{at:08}")
}

fn value(at: usize) -> Vec<u8> {
    let mut value = format!("{}=", key(at)).into_bytes();
    value.resize(2_000, b'.');
    value
}

/// Stores new keys until one is refused. Returns the first key that was.
fn store_until_refused(client: &mut Client, from: usize) -> (usize, String, Duration) {
    for at in from..from + 200_000 {
        let start = Instant::now();
        let answer = client.try_set(&key(at), &value(at)).expect("an answer");
        if answer != "STORED" {
            return (at, answer, start.elapsed());
        }
    }
    panic!("400 MB were stored on a disk that is full");
}

#[test]
fn a_full_disk_refuses_writes_and_recovers_without_a_restart() {
    if Program::is_stand_in() || std::env::var_os("ZUFAR_SKIP_DISK_FULL").is_some() {
        return;
    }
    let disk = SmallDisk::mount(384);
    let mut node = Node::options().data_dir(disk.path().join("data")).start();
    let mut client = node.client();
    const BEFORE: usize = 5_000;
    client.set_many((0..BEFORE).map(|at| (key(at), value(at))));
    node.await_written();
    let filler = disk.fill();

    let port = node.port();
    let reader = std::thread::spawn(move || {
        let mut client = Client::connect(port);
        let start = Instant::now();
        let mut longest = Duration::ZERO;
        while start.elapsed() < Duration::from_secs(5) {
            for at in (0..BEFORE).step_by(100) {
                let asked = Instant::now();
                assert_eq!(
                    client.get(&key(at)),
                    Some(value(at)),
                    "while the disk is full"
                );
                longest = longest.max(asked.elapsed());
            }
        }
        longest
    });
    client.set_patience(PATIENCE);
    let (refused, answer, waited) = store_until_refused(&mut client, BEFORE);
    assert!(answer.starts_with("SERVER_ERROR "), "{answer}");
    assert!(
        waited > Duration::from_millis(50),
        "refused without any wait"
    );
    let longest = reader.join().expect("reads go on");
    assert!(longest < PATIENCE / 4, "a read took {longest:?}");
    assert_eq!(client.get(&key(refused)), None, "a refused write shows");
    let log = node.log().to_lowercase();
    assert!(
        log.contains("disk") || log.contains("space"),
        "nothing was said:\n{log}"
    );
    // What was acknowledged is served although it is on no disk.
    for at in (BEFORE..refused).step_by(97) {
        assert_eq!(client.get(&key(at)), Some(value(at)));
    }

    fs::remove_file(filler).expect("the filler can be removed");
    wait_for("writes to be taken again", PATIENCE, || {
        let answer = client.try_set("after", b"1").expect("an answer");
        (answer == "STORED").then_some(())
    });
    node.await_written();
    node.kill_9();
    node.start();
    let mut client = node.client();
    let all: Vec<String> = (0..refused).map(key).collect();
    let mut missing = 0;
    let mut at = 0;
    client.get_many(&all, |key, found| {
        match found {
            None => missing += 1,
            Some(found) => assert!(found == value(at), "{key} is damaged"),
        }
        at += 1;
    });
    assert_eq!(missing, 0, "of {refused} acknowledged keys");
    assert_eq!(client.get("after").as_deref(), Some(&b"1"[..]));
}

#[test]
fn no_room_for_the_start_is_said_in_one_line() {
    if Program::is_stand_in() || std::env::var_os("ZUFAR_SKIP_DISK_FULL").is_some() {
        return;
    }
    let disk = SmallDisk::mount(64);
    let data = disk.path().join("data");
    let mut node = Node::options().data_dir(&data).start();
    let mut client = node.client();
    client.set("a", "1");
    node.terminate();
    let filler = disk.fill();
    // It may refuse to start, or start and refuse to write; it may not lose what is there.
    node.launch();
    let started = wait_for("an end or an answer", PATIENCE, || {
        if !node.is_running() {
            return Some(false);
        }
        let answer = Client::try_connect(node.port()).ok()?.try_get("a").ok()?;
        Some(answer.is_some())
    });
    fs::remove_file(filler).expect("the filler can be removed");
    if started {
        node.terminate();
    } else {
        let status = node.await_end();
        assert_eq!(status.code(), Some(2), "{}", node.log());
    }
    node.start();
    assert_eq!(node.client().get("a").as_deref(), Some(&b"1"[..]));
}

#[test]
fn a_stop_that_cannot_save_everything_says_so_and_keeps_what_was_safe() {
    if Program::is_stand_in() || std::env::var_os("ZUFAR_SKIP_DISK_FULL").is_some() {
        return;
    }
    let disk = SmallDisk::mount(256);
    let mut node = Node::options().data_dir(disk.path().join("data")).start();
    let mut client = node.client();
    const SAFE: usize = 1_000;
    client.set_many((0..SAFE).map(|at| (key(at), value(at))));
    node.await_written();
    let filler = disk.fill();
    store_until_refused(&mut client, SAFE);
    let status = node.stop_with(Signal::TERM);
    assert_eq!(status.code(), Some(1), "{}", node.log());
    assert!(node.log().contains("are not on it"), "{}", node.log());
    fs::remove_file(filler).expect("the filler can be removed");
    node.start();
    let mut client = node.client();
    for at in 0..SAFE {
        assert_eq!(client.get(&key(at)), Some(value(at)), "{at}");
    }
}
