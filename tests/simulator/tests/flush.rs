//! A flush beside commands that other workers are at.

use std::sync::Arc;

use zufar_simulator::rig::settings;
use zufar_simulator::{ModelDisk, Rig};

/// What is appended to is either flushed before, and then nothing is appended, or afterwards.
/// `appends` at once are as many versions, so that they overtake the one of the flush.
fn flush_beside_appends(appends: usize) {
    for turns in 0..20 {
        let mut rig = Rig::new(settings(2, 16 << 20, false), Arc::new(ModelDisk::new()));
        let (flushing, appending) = (rig.connect(0), rig.connect(1));
        for key in 0..8 {
            let stored = rig.ask(appending, &format!("set k{key} 0 0 1\r\na\r\n"));
            assert_eq!(stored, "STORED\r\n");
        }
        rig.deliver(flushing, b"flush_all\r\n");
        for _ in 0..turns {
            rig.turn();
        }
        for key in 0..8 {
            let append = format!("append k{key} 0 0 1 noreply\r\nb\r\n");
            rig.deliver(appending, append.repeat(appends).as_bytes());
        }
        rig.settle();
        assert_eq!(rig.take(flushing), b"OK\r\n");
        for key in 0..8 {
            let found = rig.ask(appending, &format!("get k{key}\r\n"));
            assert!(found == "END\r\n", "k{key} is there after {turns} turns");
        }
    }
}

#[test]
fn nothing_of_what_is_flushed_survives_in_what_is_made_of_it() {
    flush_beside_appends(3);
}

#[test]
fn nor_in_what_is_made_of_it_over_and_over() {
    flush_beside_appends(3_000);
}
