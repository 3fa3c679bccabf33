//! Crashes: what was synced stays, of the rest a first part may. Loss never exceeds the lag that
//! the node shows, and nothing deleted comes back.

use std::collections::BTreeMap;
use std::sync::Arc;

use zufar_core::disk::DiskError;
use zufar_simulator::rig::settings;
use zufar_simulator::{Client, ModelDisk, Random, Rig};

const KEYS: u64 = 40;

/// One key's history: when each acknowledged state was acknowledged, oldest first.
type History = BTreeMap<u64, Vec<(u64, Option<String>)>>;

/// One figure of `stats zufar`.
fn figure(rig: &mut Rig, client: Client, name: &str) -> u64 {
    let answer = rig.ask(client, "stats zufar\r\n");
    let line = answer
        .lines()
        .find_map(|line| line.strip_prefix(&format!("STAT {name} ")))
        .unwrap_or_else(|| panic!("no {name} in {answer}"));
    line.parse().expect("a number")
}

fn value_of(rig: &mut Rig, client: Client, key: u64) -> Option<String> {
    let answer = rig.ask(client, &format!("get k{key}\r\n"));
    if answer == "END\r\n" {
        return None;
    }
    let mut lines = answer.lines();
    let head = lines.next().expect("a VALUE line");
    assert!(head.starts_with("VALUE "), "unexpected answer {answer:?}");
    Some(lines.next().expect("a value").to_owned())
}

/// Writes for a while; every acknowledged change goes into the history.
fn work(rig: &mut Rig, client: Client, random: &mut Random, history: &mut History, steps: u64) {
    for step in 0..steps {
        let key = random.below(KEYS);
        let states = history.entry(key).or_default();
        let now_ms = rig.now().time.as_millis();
        if random.below(4) == 0 {
            let answer = rig.ask(client, &format!("delete k{key}\r\n"));
            assert!(
                answer == "DELETED\r\n" || answer == "NOT_FOUND\r\n",
                "{answer:?}"
            );
            states.push((now_ms, None));
        } else {
            let value = format!("v{}-{step}-{}", now_ms, random.below(1000));
            let length = value.len();
            let answer = rig.ask(client, &format!("set k{key} 0 0 {length}\r\n{value}\r\n"));
            assert_eq!(answer, "STORED\r\n");
            states.push((now_ms, Some(value)));
        }
        rig.advance(random.below(40));
    }
}

/// What survives must be one of the states that were current within the lag, or later.
fn check(rig: &mut Rig, client: Client, history: &mut History, crashed_ms: u64, lag_ms: u64) {
    for (key, states) in history {
        let found = value_of(rig, client, *key);
        let bound_ms = crashed_ms.saturating_sub(lag_ms);
        // The last state acknowledged before the bound must have survived, or a later one.
        let oldest = states
            .iter()
            .rposition(|(at_ms, _)| *at_ms < bound_ms)
            .unwrap_or(0);
        let mut allowed = states[oldest..].iter().map(|(_, state)| state.clone());
        let lost_all = states[oldest].0 >= bound_ms && found.is_none();
        assert!(
            lost_all || allowed.any(|state| state == found),
            "k{key} is {found:?} after a crash at {crashed_ms} with a lag of {lag_ms} ms, \
             of {states:?}"
        );
        states.clear();
        states.push((0, found));
    }
}

fn crash_run(seed: u64) {
    let mut random = Random::new(seed);
    let disk = Arc::new(ModelDisk::new());
    let workers = 1 + random.below(3) as u16;
    let mut rig = Rig::new(settings(workers, 16 << 20, true), Arc::clone(&disk));
    let mut history = History::new();
    for _ in 0..4 {
        let client = rig.connect(0);
        let steps = 20 + random.below(120);
        work(&mut rig, client, &mut random, &mut history, steps);
        match random.below(4) {
            0 => disk.fail_sync(DiskError::Failed),
            1 => {
                disk.fail_writes(Some(DiskError::Full));
                let steps = 5 + random.below(8);
                work(&mut rig, client, &mut random, &mut history, steps);
                if random.below(2) == 0 {
                    disk.fail_writes(None);
                    rig.advance(2500);
                    assert_eq!(figure(&mut rig, client, "dirty_items"), 0, "all is written");
                }
            }
            _ => {}
        }
        rig.advance(random.below(1500));
        let power_cut = random.below(2) == 0;
        let name = if power_cut {
            "synced_lag_ms"
        } else {
            "written_lag_ms"
        };
        let lag_ms = figure(&mut rig, client, name);
        let crashed_ms = rig.now().time.as_millis();
        if power_cut {
            disk.cut_power(random.below(disk.unsynced() as u64 + 1) as usize);
        } else {
            disk.crash();
        }
        let workers = 1 + random.below(3) as u16;
        let node = settings(workers, 16 << 20, true);
        rig = Rig::at(node, Arc::clone(&disk), rig.now());
        rig.advance(random.below(50));
        let client = rig.connect(0);
        check(&mut rig, client, &mut history, crashed_ms, lag_ms);
    }
}

#[test]
fn loss_never_exceeds_the_lag() {
    for seed in 0..300 {
        let run = std::panic::catch_unwind(|| crash_run(seed));
        assert!(run.is_ok(), "seed {seed}");
    }
}

#[test]
fn versions_grow_over_crashes_and_backward_clocks() {
    let disk = Arc::new(ModelDisk::new());
    let mut rig = Rig::new(settings(2, 16 << 20, true), Arc::clone(&disk));
    let mut last = 0;
    let mut random = Random::new(7);
    for round in 0..20 {
        let client = rig.connect(0);
        for _ in 0..10 {
            let key = random.below(5);
            rig.ask(client, &format!("set k{key} 0 0 1\r\nx\r\n"));
            let answer = rig.ask(client, &format!("mg k{key} c\r\n"));
            let cas = answer.trim().strip_prefix("HD c").expect("a cas unique");
            let cas: u64 = cas.parse().expect("a number");
            if round > 0 {
                assert!(cas > last, "{cas} after {last} in round {round}");
            }
            rig.advance(random.below(20));
        }
        rig.advance(100);
        for key in 0..5 {
            let answer = rig.ask(client, &format!("mg k{key} c\r\n"));
            if let Some(cas) = answer.trim().strip_prefix("HD c") {
                last = last.max(cas.parse().expect("a number"));
            }
        }
        disk.crash();
        let mut now = rig.now();
        now.unix_ms -= random.below(3_600_000);
        rig = Rig::at(settings(2, 16 << 20, true), Arc::clone(&disk), now);
    }
}

#[test]
fn expired_and_flushed_items_stay_away_after_a_restart() {
    let disk = Arc::new(ModelDisk::new());
    let mut rig = Rig::new(settings(2, 16 << 20, true), Arc::clone(&disk));
    let client = rig.connect(0);
    rig.ask(client, "set old 0 0 1\r\nx\r\n");
    rig.ask(client, "set short 0 2 1\r\nx\r\n");
    rig.advance(1500);
    rig.ask(client, "flush_all\r\n");
    rig.ask(client, "set short 0 2 1\r\ny\r\n");
    rig.ask(client, "set new 0 0 1\r\nz\r\n");
    rig.ask(client, "flush_all 5\r\n");
    rig.advance(1500);
    disk.crash();
    let mut rig = Rig::at(settings(1, 16 << 20, true), Arc::clone(&disk), rig.now());
    let client = rig.connect(0);
    assert_eq!(rig.ask(client, "get old\r\n"), "END\r\n");
    assert_eq!(
        rig.ask(client, "get short\r\n"),
        "VALUE short 0 1\r\ny\r\nEND\r\n"
    );
    rig.advance(1500);
    assert_eq!(rig.ask(client, "get short\r\n"), "END\r\n");
    assert_eq!(
        rig.ask(client, "get new\r\n"),
        "VALUE new 0 1\r\nz\r\nEND\r\n"
    );
    rig.advance(2500);
    assert_eq!(
        rig.ask(client, "get new\r\n"),
        "END\r\n",
        "the flush was still to come"
    );
    rig.ask(client, "set late 0 0 1\r\nl\r\n");
    rig.advance(100);
    disk.crash();
    let mut rig = Rig::at(settings(3, 16 << 20, true), Arc::clone(&disk), rig.now());
    let client = rig.connect(0);
    assert_eq!(rig.ask(client, "get new\r\n"), "END\r\n");
    assert_eq!(
        rig.ask(client, "get late\r\n"),
        "VALUE late 0 1\r\nl\r\nEND\r\n"
    );
}

/// What a flush takes from the dirty list is not safe before the flush is.
#[test]
fn a_flush_that_can_not_be_written_hides_no_lag() {
    let disk = Arc::new(ModelDisk::new());
    let mut rig = Rig::new(settings(1, 16 << 20, true), Arc::clone(&disk));
    let client = rig.connect(0);
    assert_eq!(rig.ask(client, "set k0 0 0 3\r\nold\r\n"), "STORED\r\n");
    rig.advance(2_500);
    assert_eq!(figure(&mut rig, client, "synced_lag_ms"), 0);
    disk.fail_writes(Some(DiskError::Full));
    assert_eq!(rig.ask(client, "set k0 0 0 3\r\nnew\r\n"), "STORED\r\n");
    let since_ms = rig.now().time.as_millis();
    rig.advance(200);
    assert_eq!(rig.ask(client, "flush_all\r\n"), "OK\r\n");
    for _ in 0..20 {
        rig.advance(100);
        let age_ms = rig.now().time.as_millis() - since_ms;
        for name in ["written_lag_ms", "synced_lag_ms"] {
            assert_eq!(figure(&mut rig, client, name), age_ms, "{name}");
        }
    }
    disk.cut_power(0);
    let now = rig.now();
    let mut rig = Rig::at(settings(1, 16 << 20, true), disk, now);
    rig.advance(100);
    let client = rig.connect(0);
    assert_eq!(value_of(&mut rig, client, 0).as_deref(), Some("old"));
}

/// A change that is lost and has been replaced since is not safe before what has replaced it.
#[test]
fn a_replaced_change_that_is_lost_counts_until_its_replacement_is_safe() {
    let disk = Arc::new(ModelDisk::new());
    let mut rig = Rig::new(settings(1, 16 << 20, true), Arc::clone(&disk));
    let client = rig.connect(0);
    assert_eq!(rig.ask(client, "set k0 0 0 3\r\nold\r\n"), "STORED\r\n");
    rig.advance(2_500);
    // Synced at once, as the last sync was long ago; the next one is not due so soon.
    assert_eq!(rig.ask(client, "set k1 0 0 1\r\nx\r\n"), "STORED\r\n");
    rig.advance(100);
    assert_eq!(figure(&mut rig, client, "synced_lag_ms"), 0);
    assert_eq!(rig.ask(client, "set k0 0 0 3\r\nnew\r\n"), "STORED\r\n");
    let since_ms = rig.now().time.as_millis();
    // It is written, and while it is being synced a batch with another change is on its way.
    rig.advance(60);
    rig.disk_held = true;
    rig.advance(1_000);
    assert_eq!(rig.ask(client, "set k0 0 0 5\r\nnewer\r\n"), "STORED\r\n");
    rig.advance(100);
    disk.fail_sync(DiskError::Full);
    rig.disk_held = false;
    for _ in 0..3 {
        rig.advance(300);
        let age_ms = rig.now().time.as_millis() - since_ms;
        assert_eq!(figure(&mut rig, client, "synced_lag_ms"), age_ms);
        disk.fail_sync(DiskError::Full);
        rig.advance(1_000);
        let age_ms = rig.now().time.as_millis() - since_ms;
        assert_eq!(figure(&mut rig, client, "synced_lag_ms"), age_ms);
    }
    disk.cut_power(0);
    let now = rig.now();
    let mut rig = Rig::at(settings(1, 16 << 20, true), disk, now);
    rig.advance(100);
    let client = rig.connect(0);
    assert_eq!(value_of(&mut rig, client, 0).as_deref(), Some("old"));
}

/// A sync that fails takes along what was written before it, whichever of the two is heard of first.
#[test]
fn a_batch_is_written_again_if_its_loss_is_heard_of_before_it() {
    let disk = Arc::new(ModelDisk::new());
    let mut rig = Rig::new(settings(1, 16 << 20, true), Arc::clone(&disk));
    let client = rig.connect(0);
    rig.advance(100);
    assert_eq!(rig.ask(client, "set k0 0 0 3\r\nold\r\n"), "STORED\r\n");
    // Written, and not synced, as the last sync was just now.
    rig.advance(100);
    assert_eq!(disk.unsynced(), 1);
    assert_eq!(rig.ask(client, "set k1 0 0 3\r\nnew\r\n"), "STORED\r\n");
    let since_ms = rig.now().time.as_millis();
    rig.writes_unheard = true;
    rig.advance(100);
    assert_eq!(disk.unsynced(), 2);
    disk.fail_sync(DiskError::Full);
    rig.advance(1_000);
    assert_eq!(disk.unsynced(), 0, "the sync has failed");
    rig.writes_unheard = false;
    rig.settle();
    let age_ms = rig.now().time.as_millis() - since_ms;
    assert!(figure(&mut rig, client, "synced_lag_ms") >= age_ms);
    rig.advance(3_000);
    assert_eq!(figure(&mut rig, client, "synced_lag_ms"), 0);
    disk.cut_power(0);
    let now = rig.now();
    let mut rig = Rig::at(settings(1, 16 << 20, true), disk, now);
    rig.advance(100);
    let client = rig.connect(0);
    assert_eq!(value_of(&mut rig, client, 0).as_deref(), Some("old"));
    assert_eq!(value_of(&mut rig, client, 1).as_deref(), Some("new"));
}
