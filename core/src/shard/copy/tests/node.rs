//! A shard with a model disk, driven by hand.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;

use super::PARTITION;
use crate::cache::INLINE_BYTES_MAX;
use crate::command::{Delete, Expiry, Fetch, Operation, Outcome, Store, StoreMode, Value};
use crate::disk::{
    Change, Completion, Found, HEAD_BYTES, Lane, Recovery, Request, Scan, Scanned, Span, decode,
};
use crate::hash::KeyHash;
use crate::id::{ConnId, WorkerId};
use crate::member::Guid;
use crate::message::{Caller, Token};
use crate::notes::ClusterNotes;
use crate::notice::Notice;
use crate::replication::{Entry, Message, Term};
use crate::settings::{DiskSettings, Limits, Settings, WhenFull};
use crate::shard::copy::Copy;
use crate::shard::{Command, Execution, Shard, Sink};
use crate::time::{Now, Time};

const MEMORY_BYTES: u64 = 8 << 20;

/// Splitmix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.bits() % 100 < percent
    }

    pub(super) fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// The first keys of [`PARTITION`].
pub(super) fn keys(count: usize) -> Vec<Vec<u8>> {
    (0_u32..)
        .map(|number| alloc::format!("key-{number}").into_bytes())
        .filter(|key| KeyHash::of(key).partition() == PARTITION)
        .take(count)
        .collect()
}

fn settings(disk: bool, evict: bool) -> Settings {
    Settings {
        version: "0".into(),
        guid: "0".into(),
        rack: "1".into(),
        peer_address: "127.0.0.1:1".into(),
        process_id: 1,
        started_unix_s: 0,
        workers: 1,
        memory_bytes: MEMORY_BYTES,
        evict,
        value_bytes_max: 4 << 20,
        connections_max: 1,
        idle_timeout_s: 0,
        flush_enabled: true,
        shutdown_enabled: false,
        verbosity: 0,
        tcp_port: 1,
        listen_host: None,
        unix_socket: None,
        unix_socket_mode: 0,
        backlog: 1,
        disk: disk.then(|| DiskSettings {
            data_dir: "model".into(),
            write_interval_ms: 50,
            sync_interval_ms: 200,
            dirty_bytes_soft: 1 << 40,
            dirty_bytes_hard: 1 << 40,
            dirty_age_soft_ms: 1 << 40,
            dirty_age_hard_ms: 1 << 40,
            stall_ms_max: 1000,
            disk_bytes_max: None,
            reserve_percent: 0,
            when_full: WhenFull::Evict,
        }),
        limits: Limits::default(),
    }
}

/// What a shard has for its parent.
#[derive(Default)]
struct Bag {
    requests: VecDeque<Request>,
    answers: BTreeMap<u64, Option<Vec<u8>>>,
}

fn value_of(outcome: &Outcome<'_>) -> Option<Vec<u8>> {
    match outcome {
        Outcome::Item(item) => Some(item.value.as_slice().to_vec()),
        Outcome::Failed(failure) => panic!("{failure:?}"),
        _ => None,
    }
}

impl Sink for Bag {
    fn answer(&mut self, token: Option<Token>, outcome: Outcome<'_>) {
        if let Some(token) = token {
            self.answers.insert(token.sequence, value_of(&outcome));
        }
    }

    fn disk(&mut self, request: Request) {
        self.requests.push_back(request);
    }

    fn notice(&mut self, _: Notice) {}

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

/// Records by disk key, and notes by name.
#[derive(Clone, Default)]
struct Model(BTreeMap<Vec<u8>, Vec<u8>>, BTreeMap<Vec<u8>, Vec<u8>>);

impl Model {
    fn perform(&mut self, request: Request) -> Completion {
        match request {
            Request::Write(batch) => {
                for change in &batch.changes {
                    let bytes = |span: &Span| span.of(&batch.arena).to_vec();
                    match change {
                        Change::Put { key, record } => {
                            self.0.insert(bytes(key), bytes(record));
                        }
                        Change::PutLarge { key, head, value } => {
                            let mut record = bytes(head);
                            record.extend_from_slice(value);
                            self.0.insert(bytes(key), record);
                        }
                        Change::Delete { key } => {
                            self.0.remove(&bytes(key));
                        }
                        Change::Note { name, content } => {
                            self.1.insert(bytes(name), bytes(content));
                        }
                    }
                }
                Completion::Written {
                    batch,
                    epoch: 1,
                    result: Ok(()),
                }
            }
            Request::Sync { number } => Completion::Synced {
                number,
                epoch: 1,
                result: Ok(()),
            },
            Request::Load(mut load) => {
                let record = self.0.get(&load.key);
                let result = record.map_or(Found::Nothing, |record| {
                    let (head, value) = decode(record).expect("a sound record");
                    if head.value_bytes > load.value_bytes_max {
                        let value_bytes = head.value_bytes;
                        return Found::Oversized { value_bytes };
                    }
                    if value.len() > INLINE_BYTES_MAX {
                        let value = Bytes::copy_from_slice(value);
                        return Found::Large { head, value };
                    }
                    load.buffer.clear();
                    load.buffer.extend_from_slice(record);
                    Found::Small
                });
                Completion::Loaded {
                    load,
                    result: Ok(result),
                }
            }
            Request::Scan(mut scan) => {
                let end = self.scan(&mut scan);
                Completion::Scanned {
                    scan,
                    result: Ok(end),
                }
            }
            Request::Reopen { .. } | Request::Compact { .. } | Request::Measure => unreachable!(),
        }
    }

    fn scan(&self, scan: &mut Scan) -> bool {
        let prefix = scan.partition.to_be_bytes();
        let mut after = prefix.to_vec();
        after.extend_from_slice(&scan.after);
        let records = self.0.range(after.clone()..);
        for (key, record) in records.filter(|(key, _)| **key != after) {
            if !key.starts_with(&prefix) {
                break;
            }
            // Small pieces: there are few keys.
            if scan.records.len() >= 3 {
                return false;
            }
            let (head, _) = decode(record).expect("a sound record");
            let mut put = |bytes: &[u8]| {
                let start = scan.buffer.len() as u32;
                scan.buffer.extend_from_slice(bytes);
                let end = scan.buffer.len() as u32;
                Span { start, end }
            };
            let key = put(&key[prefix.len()..]);
            let value = &record[HEAD_BYTES..];
            let wanted = scan.values && value.len() <= INLINE_BYTES_MAX;
            let value = wanted.then(|| put(value));
            scan.records.push(Scanned { key, head, value });
        }
        true
    }
}

/// A shard, its disk, and its time.
pub(super) struct Node {
    pub(super) shard: Shard,
    pub(super) now: Now,
    pub(super) has_disk: bool,
    /// Whether anything has been evicted that nothing else had.
    pub(super) has_lost: bool,
    /// The disk writes nothing for now.
    pub(super) writes_held: bool,
    disk: Model,
    bag: Bag,
    done: VecDeque<Completion>,
    asked: u64,
}

fn is_ordered(completion: &Completion) -> bool {
    matches!(
        completion,
        Completion::Written { .. } | Completion::Synced { .. }
    )
}

impl Node {
    /// `number` has its versions differ from those of others.
    pub(super) fn new(number: u64, has_disk: bool, evict: bool) -> Self {
        let settings = settings(has_disk, evict);
        Self::begin(number, settings, &Recovery::default())
    }

    fn begin(number: u64, settings: Settings, recovery: &Recovery) -> Self {
        let has_disk = settings.disk.is_some();
        Self {
            shard: Shard::new(Arc::new(settings), WorkerId(0), recovery),
            now: Now {
                time: Time::from_millis(1000),
                unix_ms: 1_800_000_000_000 + number * 7,
            },
            has_disk,
            has_lost: false,
            writes_held: false,
            disk: Model::default(),
            bag: Bag::default(),
            done: VecDeque::new(),
            asked: 0,
        }
    }

    /// The next run, with what this one's disk has.
    pub(super) fn restarted(&self) -> Self {
        let cluster = self.notes();
        let recovery = Recovery {
            cluster,
            ..Recovery::default()
        };
        let next = Self::begin(1, settings(true, true), &recovery);
        Self {
            disk: self.disk.clone(),
            ..next
        }
    }

    fn notes(&self) -> ClusterNotes {
        let mut notes = ClusterNotes::default();
        for (name, content) in &self.disk.1 {
            notes.take(name, content);
        }
        notes
    }

    /// Whether the next run would find that the disk has a mixture.
    pub(super) fn is_noted_mixed(&self) -> bool {
        self.notes().mixed.contains(&PARTITION)
    }

    pub(super) fn copy(&mut self) -> Copy<'_> {
        Copy::new(&mut self.shard, PARTITION, self.now)
    }

    /// What a replica's owner does after each call.
    pub(super) fn drive(&mut self) -> bool {
        self.shard.drive_copies(self.now, &mut self.bag);
        !self.shard.take_scanned().is_empty()
    }

    pub(super) fn entry_of(&mut self, key: &[u8]) -> Entry {
        self.shard.entry_of(self.now, KeyHash::of(key), key)
    }

    fn execute(&mut self, key: &[u8], operation: &Operation<'_>) -> Option<Option<Vec<u8>>> {
        self.asked += 1;
        let token = Token {
            worker: WorkerId(0),
            conn: ConnId {
                slot: 0,
                generation: 0,
            },
            sequence: self.asked,
        };
        let (hash, bag) = (KeyHash::of(key), &mut self.bag);
        let execution =
            self.shard
                .execute(self.now, &Caller::from(token), hash, key, operation, bag);
        match execution {
            Execution::Done(outcome) => Some(value_of(&outcome)),
            Execution::Deferred => None,
            Execution::Refused(_) => panic!("nobody else has it"),
        }
    }

    /// Executes it to the end.
    fn finish(&mut self, key: &[u8], operation: &Operation<'_>) -> Option<Vec<u8>> {
        while self.has_disk && !self.shard.clock.may_draw(self.now) {
            self.step_all();
        }
        if let Some(answer) = self.execute(key, operation) {
            return answer;
        }
        let number = self.asked;
        loop {
            if let Some(answer) = self.bag.answers.remove(&number) {
                return answer;
            }
            self.step_all();
        }
    }

    pub(super) fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.finish(key, &Operation::Fetch(Fetch::default()))
    }

    /// Asks for it and does not wait.
    pub(super) fn peek(&mut self, key: &[u8]) {
        self.execute(key, &Operation::Fetch(Fetch::default()));
    }

    pub(super) fn set(&mut self, key: &[u8], value: &[u8], expires_s: u32) -> Entry {
        let store = Store {
            mode: StoreMode::Set,
            flags: 5,
            expiry: match expires_s {
                0 => Expiry::Never,
                at => Expiry::At(at),
            },
            value: if value.len() > INLINE_BYTES_MAX {
                Value::Large(Bytes::copy_from_slice(value))
            } else {
                Value::Small(value)
            },
            compare: None,
            new_cas: None,
            invalidate: false,
            vivify: None,
        };
        self.finish(key, &Operation::Store(store));
        self.entry_of(key)
    }

    pub(super) fn delete(&mut self, key: &[u8]) -> Entry {
        self.finish(key, &Operation::Delete(Delete::default()));
        self.entry_of(key)
    }

    /// Drops everything up to `version`.
    pub(super) fn flush(&mut self, version: u64) {
        self.shard.flush(self.now, None, version, &mut self.bag);
    }

    /// Evicts all that may be.
    pub(super) fn evict(&mut self) {
        let items = self.shard.cache.items();
        self.shard.cache.set_limit_bytes(1);
        self.shard.cache.set_limit_bytes(MEMORY_BYTES as usize);
        self.has_lost |= !self.has_disk && self.shard.cache.items() < items;
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now.time = self.now.time.plus_millis(ms);
        self.now.unix_ms += ms;
        self.shard.handle_deadline(self.now, &mut self.bag);
    }

    /// Performs one request, any that may be the next; another time it will be answered.
    pub(super) fn perform(&mut self, random: &mut Random) {
        if self.bag.requests.is_empty() {
            return;
        }
        let mut at = random.below(self.bag.requests.len());
        if self.bag.requests[at].lane() == Lane::Ordered {
            if self.writes_held {
                return;
            }
            let ordered = |request: &Request| request.lane() == Lane::Ordered;
            let first = self.bag.requests.iter().position(ordered);
            at = first.expect("there is one");
        }
        let request = self.bag.requests.remove(at).expect("it is there");
        self.done.push_back(self.disk.perform(request));
    }

    /// Hands one answer of the disk in.
    pub(super) fn answer(&mut self, random: &mut Random) {
        if self.done.is_empty() {
            return;
        }
        let mut at = random.below(self.done.len());
        if is_ordered(&self.done[at]) {
            at = self.done.iter().position(is_ordered).expect("there is one");
        }
        let completion = self.done.remove(at).expect("it is there");
        self.shard.handle_disk(self.now, completion, &mut self.bag);
    }

    /// All that the disk has to do at this moment.
    pub(super) fn step_all(&mut self) {
        self.shard.handle_deadline(self.now, &mut self.bag);
        while let Some(request) = self.bag.requests.pop_front() {
            self.done.push_back(self.disk.perform(request));
        }
        while let Some(completion) = self.done.pop_front() {
            self.shard.handle_disk(self.now, completion, &mut self.bag);
        }
    }

    /// Has the disk read what it was asked for; another time it will be answered.
    pub(super) fn read_all(&mut self) {
        let is_read = |request: &Request| request.lane() != Lane::Ordered;
        while let Some(at) = self.bag.requests.iter().position(is_read) {
            let request = self.bag.requests.remove(at).expect("it is there");
            self.done.push_back(self.disk.perform(request));
        }
    }

    /// Lets all reads come to their end, and what they lead to, while nothing is written.
    pub(super) fn purge_all(&mut self) {
        for _ in 0..40 {
            self.read_all();
            while let Some(completion) = self.done.pop_front() {
                self.shard.handle_disk(self.now, completion, &mut self.bag);
            }
            self.drive();
        }
    }

    /// What the disk has is found out anew: nothing that it should not have stays unseen.
    pub(super) fn find_out_anew(&mut self) {
        if self.has_disk {
            for _ in 0..70 {
                self.shard.note_stale(PARTITION);
            }
            self.settle();
        }
    }

    /// Lets the disk write and sync, and nothing else.
    pub(super) fn write_all(&mut self) {
        for _ in 0..40 {
            self.pass(60);
            let ordered = |request: &Request| request.lane() == Lane::Ordered;
            while let Some(at) = self.bag.requests.iter().position(ordered) {
                let request = self.bag.requests.remove(at).expect("it is there");
                let completion = self.disk.perform(request);
                self.shard.handle_disk(self.now, completion, &mut self.bag);
            }
        }
    }

    /// Lets the disk come after.
    pub(super) fn settle(&mut self) {
        for _ in 0..40 {
            self.pass(60);
            self.step_all();
        }
    }

    /// Some of what happens at any time.
    pub(super) fn chaos(&mut self, random: &mut Random, names: &[Vec<u8>], may_evict: bool) {
        match random.below(16) {
            0 if self.has_disk || may_evict => self.evict(),
            1 => {
                let key = random.of(names);
                self.peek(key);
            }
            2 => self.pass(random.bits() % 300),
            3 => self.pass(60),
            4 if self.has_disk && random.percent(20) => {
                for _ in 0..70 {
                    self.shard.note_stale(PARTITION);
                }
            }
            5 if random.percent(5) => self.pass(3_000),
            6..12 => self.perform(random),
            _ => self.answer(random),
        }
        self.drive();
    }

    pub(super) fn has_on_disk(&self, key: &[u8]) -> bool {
        let mut disk_key = Vec::new();
        crate::disk::disk_key(PARTITION, key, &mut disk_key);
        self.disk.0.contains_key(&disk_key)
    }

    /// What the disk has of the partition.
    pub(super) fn on_disk(&self) -> usize {
        let prefix = PARTITION.to_be_bytes();
        let keys = self.disk.0.keys();
        keys.filter(|key| key.starts_with(&prefix)).count()
    }
}
