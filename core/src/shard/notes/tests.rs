use alloc::sync::Arc;
use alloc::vec;

use super::*;
use crate::command::Outcome;
use crate::disk::{Change, Completion, DiskError, Recovery, Request};
use crate::id::WorkerId;
use crate::member::{Guid, NodeId};
use crate::message::{Caller, Token};
use crate::notes::ClusterNotes;
use crate::notice::Notice;
use crate::replication::Message;
use crate::settings::{DiskSettings, Limits, Settings, WhenFull};
use crate::shard::{Command, Sink};
use crate::time::{Now, Time};

/// What a shard has asked of its disk.
#[derive(Default)]
struct Asked(Vec<Request>);

impl Sink for Asked {
    fn answer(&mut self, _token: Option<Token>, _outcome: Outcome<'_>) {}

    fn disk(&mut self, request: Request) {
        self.0.push(request);
    }

    fn notice(&mut self, _notice: Notice) {}

    fn refuse(&mut self, _: &Caller, _: Command<'_>, _: Option<Term>) {
        panic!("a shard without replicas refuses nothing");
    }

    fn replicate(&mut self, _: Guid, _: u16, _: &Message) {
        panic!("there are no replicas");
    }

    fn route(&mut self, _: u16, _: Term) {
        panic!("there are no replicas");
    }
}

fn settings(disk: bool) -> Settings {
    Settings {
        version: "0.1.0".into(),
        guid: "a".into(),
        rack: "1".into(),
        peer_address: "127.0.0.1:2".into(),
        process_id: 1,
        started_unix_s: 1,
        workers: 1,
        memory_bytes: 8 << 20,
        evict: true,
        value_bytes_max: 1 << 20,
        connections_max: 10,
        idle_timeout_s: 0,
        flush_enabled: true,
        shutdown_enabled: false,
        verbosity: 0,
        tcp_port: 1,
        listen_host: None,
        unix_socket: None,
        unix_socket_mode: 0o700,
        backlog: 10,
        disk: disk.then(|| DiskSettings {
            data_dir: "data".into(),
            write_interval_ms: 50,
            sync_interval_ms: 1000,
            dirty_bytes_soft: 1 << 20,
            dirty_bytes_hard: 2 << 20,
            dirty_age_soft_ms: 500,
            dirty_age_hard_ms: 5000,
            stall_ms_max: 1000,
            disk_bytes_max: None,
            reserve_percent: 0,
            when_full: WhenFull::Evict,
        }),
        limits: Limits::default(),
    }
}

/// A shard whose disk does what it is asked when the test says so.
struct Rig {
    shard: Shard,
    now: Now,
    asked: Asked,
    /// Notes as they are after the batches that were written, and that were synced.
    written: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Rig {
    /// One that has done with what a start brings.
    fn new() -> Self {
        let settings = Arc::new(settings(true));
        let mut rig = Self {
            shard: Shard::new(settings, WorkerId(0), &Recovery::default()),
            now: Now {
                time: Time::from_millis(1),
                unix_ms: 1_700_000_000_000,
            },
            asked: Asked::default(),
            written: Vec::new(),
        };
        rig.pass(5000);
        // The next sync that nobody waits for is due a while later.
        rig.shard.keep_note(b"hot/", Vec::new());
        rig.pass(1);
        rig.written.clear();
        rig
    }

    /// Lets time pass with a disk that does all at once.
    fn pass(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.tick();
            while self.answer(Ok(())) {}
        }
    }

    fn tick(&mut self) {
        self.now.time = self.now.time.plus_millis(1);
        self.now.unix_ms += 1;
        self.shard.handle_deadline(self.now, &mut self.asked);
    }

    /// The disk does the oldest thing that it was asked, or fails.
    fn answer(&mut self, result: Result<(), DiskError>) -> bool {
        if self.asked.0.is_empty() {
            return false;
        }
        let epoch = 1;
        let completion = match self.asked.0.remove(0) {
            Request::Write(batch) => {
                if result.is_ok() {
                    for change in &batch.changes {
                        if let Change::Note { name, content } = change {
                            let (name, content) = (name.of(&batch.arena), content.of(&batch.arena));
                            self.written.push((name.to_vec(), content.to_vec()));
                        }
                    }
                }
                Completion::Written {
                    batch,
                    epoch,
                    result,
                }
            }
            Request::Sync { number } => Completion::Synced {
                number,
                epoch,
                result,
            },
            Request::Reopen { .. } => Completion::Reopened { epoch, result },
            Request::Scan(scan) => Completion::Scanned {
                scan,
                result: Ok(true),
            },
            other => panic!("not expected: {other:?}"),
        };
        self.shard
            .handle_disk(self.now, completion, &mut self.asked);
        true
    }

    fn is_asked_to_sync(&self) -> bool {
        let mut asked = self.asked.0.iter();
        asked.any(|request| matches!(request, Request::Sync { .. }))
    }

    /// What a later run would find.
    fn found(&self) -> ClusterNotes {
        let mut found = ClusterNotes::default();
        // A later note of a name takes the place of an earlier one.
        for (at, (name, content)) in self.written.iter().enumerate() {
            if !self.written[at + 1..].iter().any(|later| later.0 == *name) {
                found.take(name, content);
            }
        }
        found
    }
}

fn term(counter: u64) -> Term {
    let guid = Guid::new("a").expect("a guid");
    let generation = 1;
    let node = NodeId { guid, generation };
    Term { counter, node }
}

fn record(counter: u64) -> Record {
    let term = term(counter);
    Record {
        term,
        in_sync: vec![term.node],
        voters: vec![term.node.guid],
        lineage: None,
    }
}

#[test]
fn a_record_is_written_and_synced_at_once_if_somebody_waits_for_it() {
    let mut rig = Rig::new();
    rig.shard
        .keep_record(7, Some(term(3)), Some(&record(2)), true);
    rig.shard.keep_record(8, None, Some(&record(1)), false);
    rig.tick();
    assert!(rig.answer(Ok(())), "a batch is cut in the same turn");
    rig.tick();
    assert!(rig.is_asked_to_sync());
    assert_eq!(rig.shard.take_kept_records(), []);
    assert!(rig.answer(Ok(())));
    assert_eq!(rig.shard.take_kept_records(), [(7, term(2))]);
    assert_eq!(rig.shard.take_kept_records(), []);
    let found = rig.found().records;
    assert_eq!(found, [(7, Some(term(3)), record(2)), (8, None, record(1))]);
}

#[test]
fn a_record_that_nobody_waits_for_is_synced_with_the_rest() {
    let mut rig = Rig::new();
    rig.shard.keep_record(7, None, Some(&record(2)), false);
    rig.tick();
    assert!(rig.answer(Ok(())));
    rig.tick();
    assert!(!rig.is_asked_to_sync());
    rig.pass(2000);
    assert_eq!(rig.shard.take_kept_records(), []);
    assert_eq!(rig.found().records, [(7, None, record(2))]);
}

/// The later one says all that the earlier one does, so who waits for that is told of it.
#[test]
fn a_later_record_takes_the_place_of_one_that_is_waited_for() {
    let mut rig = Rig::new();
    rig.shard.keep_record(7, None, Some(&record(2)), true);
    rig.shard
        .keep_record(7, Some(term(4)), Some(&record(3)), false);
    rig.tick();
    assert!(rig.answer(Ok(())));
    assert_eq!(rig.found().records, [(7, Some(term(4)), record(3))]);
    rig.tick();
    assert!(rig.answer(Ok(())));
    assert_eq!(rig.shard.take_kept_records(), [(7, term(3))]);
}

#[test]
fn after_a_failed_sync_it_is_written_again_before_anybody_is_told() {
    let mut rig = Rig::new();
    rig.shard.keep_record(7, None, Some(&record(2)), true);
    rig.tick();
    assert!(rig.answer(Ok(())));
    rig.tick();
    assert!(rig.answer(Err(DiskError::Full)));
    assert_eq!(rig.shard.take_kept_records(), []);
    rig.written.clear();
    // A newer one that nobody waits for must not take the wish along.
    rig.shard.keep_record(7, None, Some(&record(3)), false);
    rig.pass(1000);
    assert_eq!(rig.shard.take_kept_records(), [(7, term(3))]);
    assert_eq!(rig.found().records, [(7, None, record(3))]);
}

#[test]
fn a_failed_write_is_made_again() {
    let mut rig = Rig::new();
    rig.shard.keep_record(7, None, Some(&record(2)), true);
    rig.tick();
    // On its way when the newer one comes.
    rig.shard.keep_record(7, None, Some(&record(3)), false);
    assert!(rig.answer(Err(DiskError::Full)));
    rig.pass(1000);
    assert_eq!(rig.shard.take_kept_records(), [(7, term(2))]);
    assert_eq!(rig.found().records, [(7, None, record(3))]);
}

#[test]
fn the_number_of_a_run_is_told_once_it_is_synced() {
    let mut rig = Rig::new();
    assert!(rig.shard.keep_generation(5));
    rig.shard.keep_record(1, None, Some(&record(1)), true);
    rig.tick();
    assert!(rig.answer(Ok(())));
    assert_eq!(rig.shard.take_kept_generation(), None);
    rig.tick();
    assert!(rig.answer(Ok(())));
    assert_eq!(rig.shard.take_kept_generation(), Some(5));
    assert_eq!(rig.shard.take_kept_generation(), None);
    assert_eq!(rig.shard.take_kept_records(), [(1, term(1))]);
    assert_eq!(rig.found().generation, 5);
}

#[test]
fn without_a_disk_nothing_is_kept_and_nothing_told() {
    let settings = Arc::new(settings(false));
    let mut shard = Shard::new(settings, WorkerId(0), &Recovery::default());
    assert!(!shard.keep_generation(5));
    shard.keep_record(7, None, Some(&record(2)), true);
    shard.keep_note(b"cluster/layout", Vec::new());
    assert_eq!(shard.take_kept_records(), []);
    assert_eq!(shard.take_kept_generation(), None);
    assert!(shard.is_persisted());
}
