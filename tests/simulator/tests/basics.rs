//! One node answers as memcached does, with one worker and with several.

use std::sync::Arc;

use zufar_simulator::rig::settings;
use zufar_simulator::{ModelDisk, Rig};

const MIB: u64 = 1 << 20;

fn node(workers: u16, disk: bool) -> Rig {
    Rig::new(
        settings(workers, 64 * MIB, disk),
        Arc::new(ModelDisk::new()),
    )
}

#[test]
fn stores_and_reads_with_and_without_a_disk() {
    for (workers, disk) in [(1, false), (1, true), (3, false), (3, true)] {
        let mut rig = node(workers, disk);
        let client = rig.connect(0);
        assert_eq!(rig.ask(client, "get a\r\n"), "END\r\n");
        assert_eq!(rig.ask(client, "set a 7 0 1\r\nx\r\n"), "STORED\r\n");
        assert_eq!(
            rig.ask(client, "get a b\r\n"),
            "VALUE a 7 1\r\nx\r\nEND\r\n"
        );
        assert_eq!(rig.ask(client, "add a 0 0 1\r\ny\r\n"), "NOT_STORED\r\n");
        assert_eq!(rig.ask(client, "append a 0 0 1\r\ny\r\n"), "STORED\r\n");
        assert_eq!(rig.ask(client, "get a\r\n"), "VALUE a 7 2\r\nxy\r\nEND\r\n");
        assert_eq!(rig.ask(client, "delete a\r\n"), "DELETED\r\n");
        assert_eq!(rig.ask(client, "get a\r\n"), "END\r\n");
        assert_eq!(rig.ask(client, "set n 0 0 2\r\n41\r\n"), "STORED\r\n");
        assert_eq!(rig.ask(client, "incr n 1\r\n"), "42\r\n");
        assert_eq!(rig.ask(client, "decr n 50\r\n"), "0\r\n");
        assert_eq!(
            rig.ask(client, "mg n v t f k\r\n"),
            "VA 1 t-1 f0 kn\r\n0\r\n"
        );
        assert_eq!(rig.ask(client, "flush_all\r\n"), "OK\r\n");
        assert_eq!(rig.ask(client, "get n\r\n"), "END\r\n");
        assert_eq!(rig.ask(client, "set n 0 0 1\r\n1\r\n"), "STORED\r\n");
        assert_eq!(rig.ask(client, "get n\r\n"), "VALUE n 0 1\r\n1\r\nEND\r\n");
    }
}

#[test]
fn a_large_value_comes_back_whole_from_any_worker() {
    for workers in [1, 4] {
        let mut rig = node(workers, true);
        let client = rig.connect(0);
        for key in 0..8_u32 {
            let value = "v".repeat(500_000 + key as usize);
            let request = format!("set big{key} 0 0 {}\r\n{value}\r\n", value.len());
            assert_eq!(rig.ask(client, &request), "STORED\r\n");
            let expected = format!("VALUE big{key} 0 {}\r\n{value}\r\nEND\r\n", value.len());
            assert!(rig.ask(client, &format!("get big{key}\r\n")) == expected);
        }
    }
}

#[test]
fn everything_is_back_after_a_clean_stop() {
    let disk = Arc::new(ModelDisk::new());
    let mut rig = Rig::new(settings(2, 64 * MIB, true), Arc::clone(&disk));
    let client = rig.connect(1);
    for key in 0..1000 {
        rig.send(
            client,
            format!("set k{key} 3 0 4 noreply\r\n{key:04}\r\n").as_bytes(),
        );
    }
    assert_eq!(rig.ask(client, "delete k7\r\n"), "DELETED\r\n");
    assert!(rig.stop(), "both workers stop");
    disk.cut_power(0);
    let mut rig = Rig::new(settings(3, 64 * MIB, true), Arc::clone(&disk));
    let client = rig.connect(2);
    rig.advance(100);
    let loads = disk.loads();
    for key in (0..1000).filter(|key| *key != 7) {
        let expected = format!("VALUE k{key} 3 4\r\n{key:04}\r\nEND\r\n");
        assert_eq!(rig.ask(client, &format!("get k{key}\r\n")), expected);
    }
    assert_eq!(rig.ask(client, "get k7\r\n"), "END\r\n");
    assert_eq!(
        disk.loads(),
        loads,
        "a warm node reads nothing singly, misses included"
    );
}

#[test]
fn a_data_set_larger_than_memory_is_readable_in_full() {
    let disk = Arc::new(ModelDisk::new());
    let mut rig = Rig::new(settings(1, 4 * MIB, true), Arc::clone(&disk));
    let client = rig.connect(0);
    let value = "v".repeat(1000);
    for key in 0..20_000 {
        rig.send(
            client,
            format!("set k{key} 0 0 1000\r\n{value}\r\n").as_bytes(),
        );
        if key % 500 == 0 {
            rig.advance(60);
        }
    }
    rig.advance(3000);
    assert_eq!(disk.records(), 20_000);
    rig.take(client);
    let expected_tail = format!(" 0 1000\r\n{value}\r\nEND\r\n");
    for key in 0..20_000 {
        let answer = rig.ask(client, &format!("get k{key}\r\n"));
        assert_eq!(answer, format!("VALUE k{key}{expected_tail}"));
    }
    let loads = disk.loads();
    for key in 0..20_000 {
        assert_eq!(rig.ask(client, &format!("get absent{key}\r\n")), "END\r\n");
    }
    assert!(
        disk.loads() - loads < 100,
        "a miss rarely costs a disk read"
    );
    for restart_memory in [4 * MIB, 64 * MIB] {
        assert!(rig.stop());
        disk.cut_power(0);
        rig = Rig::new(settings(1, restart_memory, true), Arc::clone(&disk));
        rig.advance(100);
        let client = rig.connect(0);
        for key in 0..20_000 {
            let answer = rig.ask(client, &format!("get k{key}\r\n"));
            assert_eq!(answer, format!("VALUE k{key}{expected_tail}"));
        }
    }
}

#[test]
fn values_that_never_arrive_give_their_memory_back() {
    for workers in [1, 2] {
        let mut rig = Rig::new(settings(workers, 8 * MIB, true), Arc::new(ModelDisk::new()));
        for round in 0..50 {
            let client = rig.connect(round % workers);
            rig.send(client, b"set big 0 0 900000\r\nonly a part of it");
            match round % 3 {
                0 => rig.finish(client),
                1 => rig.cut(client),
                _ => {
                    // One that does not end where it should gives it back, too.
                    rig.send(client, &vec![b'x'; 900_000]);
                    assert!(
                        rig.take(client)
                            .starts_with(b"CLIENT_ERROR bad data chunk\r\n")
                    );
                    rig.cut(client);
                }
            }
        }
        let client = rig.connect(0);
        for key in 0..2 {
            let value = "v".repeat(900_000);
            let request = format!("set k{key} 0 0 900000\r\n{value}\r\n");
            assert_eq!(rig.ask(client, &request), "STORED\r\n", "{workers} workers");
        }
    }
}

#[test]
fn a_stop_under_load_ends_with_everything_acknowledged_on_disk() {
    let disk = Arc::new(ModelDisk::new());
    let mut rig = Rig::new(settings(2, 16 * MIB, true), Arc::clone(&disk));
    let client = rig.connect(0);
    for key in 0..100 {
        assert_eq!(
            rig.ask(client, &format!("set k{key} 0 0 1\r\nx\r\n")),
            "STORED\r\n"
        );
    }
    assert!(rig.stop(), "both workers stop");
    rig.send(client, b"set late 0 0 1\r\nx\r\n");
    assert_eq!(rig.take(client), b"", "nothing is acknowledged any more");
    disk.cut_power(0);
    assert_eq!(disk.records(), 100);
}

#[test]
fn an_item_that_finds_no_room_is_an_error_and_never_a_miss() {
    let disk = Arc::new(ModelDisk::new());
    let mut node = settings(1, 4 * MIB, true);
    if let Some(disk) = &mut node.disk {
        (disk.dirty_bytes_soft, disk.dirty_bytes_hard) = (u64::MAX, u64::MAX);
        (disk.dirty_age_soft_ms, disk.dirty_age_hard_ms) = (u64::MAX, u64::MAX);
    }
    let mut rig = Rig::new(node, Arc::clone(&disk));
    let client = rig.connect(0);
    let value = "v".repeat(1000);
    for key in 0..8000 {
        rig.send(
            client,
            format!("set k{key} 0 0 1000\r\n{value}\r\n").as_bytes(),
        );
        if key % 500 == 0 {
            rig.advance(1100);
        }
    }
    rig.advance(3000);
    rig.take(client);
    disk.fail_writes(Some(zufar_core::disk::DiskError::Full));
    for key in 0..8000 {
        rig.send(
            client,
            format!("set w{key} 0 0 1000\r\n{value}\r\n").as_bytes(),
        );
    }
    let stored = rig.take(client);
    assert!(
        !stored.ends_with(b"STORED\r\n"),
        "memory is full of what is not on disk"
    );
    let mut errors = 0;
    for key in 0..8000 {
        let answer = rig.ask(client, &format!("get k{key}\r\n"));
        assert_ne!(answer, "END\r\n", "k{key} is on disk");
        errors += u64::from(answer.starts_with("SERVER_ERROR out of memory"));
    }
    assert!(errors > 0, "some found no room");
}
