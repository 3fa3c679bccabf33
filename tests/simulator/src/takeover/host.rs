//! A node of the simulation: its process, its clock, its disk, and what it believes of others.
//!
//! Decides how commands are executed on a primary's memory and when answers leave: the part that
//! a shard and a session have in a node. Refuses to know the network and the faults.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use zufar_core::member::{Guid, NodeId};
use zufar_core::replication::{
    Admission, Arrival, Context, Entry, Event, Input, Liveness, Message, Output, Reading, Record,
    Replica, Request, Settings, Start, State, Term, View,
};
use zufar_core::time::Time;

use super::check::{Told, Wish};
use super::client::{Ask, Reply};
use super::store::PlainStore;

/// What a node believes and what it has been told to want.
#[derive(Clone, Debug, Default)]
pub(super) struct Belief {
    pub(super) liveness: BTreeMap<Guid, Liveness>,
    pub(super) owners: Vec<Guid>,
    pub(super) voters: Vec<Guid>,
    /// Counts what was wanted.
    pub(super) wish: u64,
}

impl View for Belief {
    fn liveness(&self, guid: Guid) -> Liveness {
        let known = self.liveness.get(&guid).copied();
        known.unwrap_or(Liveness::Unknown)
    }

    fn owners(&self) -> &[Guid] {
        &self.owners
    }

    fn voters(&self) -> &[Guid] {
        &self.voters
    }
}

/// What a disk has of one partition.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) promised: Option<Term>,
    pub(super) record: Option<Record>,
    pub(super) store: PlainStore,
}

/// Why an answer waits.
#[derive(Clone, Debug)]
enum Until {
    Position(u64),
    Confirmed(Time),
    /// A repeated answer that is not everywhere yet.
    Answer(u64, Told),
}

/// One partition on a node.
pub(super) struct Part {
    pub(super) replica: Replica,
    pub(super) store: PlainStore,
    pub(super) belief: Belief,
    pending: BTreeMap<u64, (Ask, Told, u64)>,
    waits: Vec<(Ask, Until)>,
    version: u64,
    /// What the store has to read comes at once; otherwise it is asked again in vain.
    reads_at_once: bool,
}

/// What a part has done, for the world to carry out and to check.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) messages: Vec<(Guid, Message)>,
    pub(super) replies: Vec<(Ask, Reply)>,
    pub(super) acknowledged: Vec<(Ask, u64)>,
    pub(super) events: Vec<Event>,
}

impl Effects {
    fn append(&mut self, other: Self) {
        self.messages.extend(other.messages);
        self.replies.extend(other.replies);
        self.acknowledged.extend(other.acknowledged);
        self.events.extend(other.events);
    }
}

const ANSWER_BYTES: usize = 9;

fn told_bytes(told: Told) -> Bytes {
    let (code, value) = match told {
        Told::Value(None) => (0, 0),
        Told::Value(Some(value)) => (1, value),
        Told::Done => (2, 0),
        Told::NotDone => (3, 0),
    };
    let mut bytes = vec![code];
    bytes.extend_from_slice(&u64::to_be_bytes(value));
    Bytes::from(bytes)
}

fn told_of(bytes: &Bytes) -> Told {
    assert_eq!(bytes.len(), ANSWER_BYTES, "an answer as it was made");
    let value = u64::from_be_bytes(bytes[1..].try_into().expect("eight bytes"));
    match bytes[0] {
        0 => Told::Value(None),
        1 => Told::Value(Some(value)),
        2 => Told::Done,
        _ => Told::NotDone,
    }
}

pub(super) fn key_bytes(key: u8) -> Bytes {
    Bytes::copy_from_slice(&[b'k', key])
}

impl Part {
    pub(super) fn new(
        me: NodeId,
        settings: &Arc<Settings>,
        seed: u64,
        start: Start,
        mut store: PlainStore,
        belief: Belief,
        now: Time,
    ) -> (Self, Effects) {
        let mut out = Output::default();
        store.slow = seed & 1 != 0;
        let mut context = Context {
            now,
            view: &belief,
            store: &mut store,
            out: &mut out,
        };
        let replica = Replica::new(me, settings.clone(), seed, start, &mut context);
        let mut part = Self {
            replica,
            store,
            belief,
            pending: BTreeMap::new(),
            waits: Vec::new(),
            version: 0,
            reads_at_once: seed & 2 != 0,
        };
        let effects = part.drain(out, now, 0);
        (part, effects)
    }

    pub(super) fn handle(&mut self, now: Time, unix_ms: u64, input: Input) -> Effects {
        let mut out = Output::default();
        let mut context = Context {
            now,
            view: &self.belief,
            store: &mut self.store,
            out: &mut out,
        };
        self.replica.handle(input, &mut context);
        if self.reads_at_once && self.store.is_waited_for() {
            let mut context = Context {
                now,
                view: &self.belief,
                store: &mut self.store,
                out: &mut out,
            };
            self.replica.handle(Input::Scanned, &mut context);
        }
        self.drain(out, now, unix_ms)
    }

    fn value(&self, key: u8) -> Option<u64> {
        match &self.store.get(&key_bytes(key))?.state {
            State::Item(bytes) => Some(u64::from_be_bytes(bytes[..].try_into().expect("a number"))),
            State::Tombstone => None,
        }
    }

    /// Executes what a client asks, or has it wait, or refuses it.
    pub(super) fn ask(&mut self, now: Time, unix_ms: u64, ask: Ask) -> Effects {
        let mut out = Output::default();
        let reply = self.execute(now, unix_ms, &ask, &mut out);
        let mut effects = self.drain(out, now, unix_ms);
        if let Some(reply) = reply {
            effects.replies.push((ask, reply));
        }
        effects
    }

    fn execute(&mut self, now: Time, unix_ms: u64, ask: &Ask, out: &mut Output) -> Option<Reply> {
        let key = key_bytes(ask.key);
        let (after, told) = ask.wish.on(self.value(ask.key));
        if ask.wish != Wish::Get {
            match self.replica.admit(ask.id, ask.since, ask.term) {
                Admission::Execute => {}
                Admission::Done { answer, after } => {
                    let told = told_of(&answer);
                    let Some(position) = after else {
                        return Some(Reply::Told(told));
                    };
                    self.waits
                        .push((ask.clone(), Until::Answer(position, told)));
                    return None;
                }
                Admission::Forgotten => return Some(Reply::Unknown),
                Admission::Refused(_) => return Some(Reply::Refused),
            }
        }
        if ask.wish == Wish::Get || told == Told::NotDone {
            return self.read(now, ask, told, out);
        }
        self.version = (self.version + 1).max(unix_ms << 16);
        let entry = Entry {
            key,
            version: self.version,
            state: after.map_or(State::Tombstone, |value| {
                State::Item(Bytes::copy_from_slice(&value.to_be_bytes()))
            }),
            request: Some(Request {
                id: ask.id,
                answer: told_bytes(told),
            }),
        };
        use zufar_core::replication::Store as _;
        assert!(
            self.store.apply(&entry, Arrival::Live),
            "a primary's versions only grow"
        );
        let number = self.replica.propose(now, entry, out);
        self.pending
            .insert(number, (ask.clone(), told, self.version));
        None
    }

    /// Answers what changes nothing; a negative answer stays the answer.
    fn told(&mut self, ask: &Ask, told: Told) -> Reply {
        if ask.wish != Wish::Get {
            self.replica.note_negative(&Request {
                id: ask.id,
                answer: told_bytes(told),
            });
        }
        Reply::Told(told)
    }

    fn read(&mut self, now: Time, ask: &Ask, told: Told, out: &mut Output) -> Option<Reply> {
        match self.replica.read(now, &key_bytes(ask.key), out) {
            Reading::Now => return Some(self.told(ask, told)),
            Reading::AfterPosition(position) => {
                self.waits.push((ask.clone(), Until::Position(position)));
            }
            Reading::AfterConfirmation => self.waits.push((ask.clone(), Until::Confirmed(now))),
            Reading::Refused(_) => return Some(Reply::Refused),
        }
        None
    }

    fn drain(&mut self, out: Output, now: Time, unix_ms: u64) -> Effects {
        let mut effects = Effects::default();
        self.settle(out.acknowledged, out.unknown, &mut effects);
        let mut out_again = Output::default();
        for event in &out.events {
            match event {
                Event::Closed { .. } => {
                    for (ask, _) in self.waits.drain(..) {
                        effects.replies.push((ask, Reply::Refused));
                    }
                }
                Event::Opened { version, .. } | Event::DrawAbove { version } => {
                    self.version = self.version.max(*version);
                }
                _ => {}
            }
        }
        let woken = out.committed.is_some() || out.confirmed.is_some();
        if woken {
            self.wake(
                (now, unix_ms),
                out.committed,
                out.confirmed,
                &mut effects,
                &mut out_again,
            );
        }
        effects.messages.extend(out.messages);
        effects.events.extend(out.events);
        if woken {
            // A command that had waited may have written something.
            effects.append(self.drain(out_again, now, unix_ms));
        }
        effects
    }

    fn settle(&mut self, acked: Option<u64>, unknown: Option<u64>, effects: &mut Effects) {
        for (through, is_known) in [(acked, true), (unknown, false)] {
            let Some(through) = through else {
                continue;
            };
            let rest = self.pending.split_off(&(through + 1));
            for (_, (ask, told, version)) in std::mem::replace(&mut self.pending, rest) {
                if is_known {
                    effects.acknowledged.push((ask.clone(), version));
                    effects.replies.push((ask, Reply::Told(told)));
                } else {
                    effects.replies.push((ask, Reply::Unknown));
                }
            }
        }
    }

    /// Answers what has waited for this.
    fn wake(
        &mut self,
        (now, unix_ms): (Time, u64),
        committed: Option<u64>,
        confirmed: Option<Time>,
        effects: &mut Effects,
        out: &mut Output,
    ) {
        for (ask, until) in std::mem::take(&mut self.waits) {
            let reached = match &until {
                Until::Position(at) | Until::Answer(at, _) => committed >= Some(*at),
                Until::Confirmed(at) => confirmed >= Some(*at),
            };
            if !reached {
                self.waits.push((ask, until));
                continue;
            }
            if let Until::Answer(_, told) = until {
                effects.replies.push((ask, Reply::Told(told)));
                continue;
            }
            let (_, told) = ask.wish.on(self.value(ask.key));
            let is_read = ask.wish == Wish::Get
                || told == Told::NotDone
                    && self.replica.admit(ask.id, ask.since, ask.term) == Admission::Execute;
            let confirmed = matches!(until, Until::Confirmed(_));
            if is_read && confirmed && self.replica.is_clean(&key_bytes(ask.key)) {
                let reply = self.told(&ask, told);
                effects.replies.push((ask, reply));
                continue;
            }
            if let Some(reply) = self.execute(now, unix_ms, &ask, out) {
                effects.replies.push((ask, reply));
            }
        }
    }
}

/// A process that runs.
pub(super) struct Process {
    pub(super) me: NodeId,
    pub(super) parts: Vec<Part>,
}

/// A node: what outlives its processes.
pub(super) struct Host {
    pub(super) guid: Guid,
    pub(super) generation: u64,
    pub(super) process: Option<Process>,
    /// It does nothing before.
    pub(super) paused_until: Time,
    /// How much faster its clock runs, in parts per million; may be negative.
    pub(super) drift_ppm: i64,
    pub(super) clock_offset_ns: u64,
    pub(super) unix_offset_ms: u64,
    /// What its disk has kept at some moments, the latest last.
    pub(super) disk: Vec<Vec<Kept>>,
    pub(super) beliefs: Vec<Belief>,
}

impl Host {
    /// Its monotonic clock at a moment of virtual time.
    pub(super) fn clock(&self, now: Time) -> Time {
        let ns = i128::from(now.as_nanos());
        let drifted = ns + ns * i128::from(self.drift_ppm) / 1_000_000;
        let drifted = u64::try_from(drifted).expect("clocks run forward");
        Time::from_nanos(drifted + self.clock_offset_ns)
    }

    /// The moment of virtual time at which its clock shows `at`, or just after.
    pub(super) fn when(&self, at: Time) -> Time {
        let ns = i128::from(at.as_nanos().saturating_sub(self.clock_offset_ns));
        let real = ns * 1_000_000 / (1_000_000 + i128::from(self.drift_ppm));
        Time::from_nanos(u64::try_from(real).expect("clocks run forward") + 1000)
    }

    pub(super) fn unix_ms(&self, now: Time) -> u64 {
        1_700_000_000_000 + self.unix_offset_ms + self.clock(now).as_millis()
    }

    /// What its disk would have if it had just been written.
    pub(super) fn snapshot(&self) -> Option<Vec<Kept>> {
        let process = self.process.as_ref()?;
        let parts = process.parts.iter().map(|part| Kept {
            promised: part.replica.promised(),
            record: part.replica.record().cloned(),
            store: part.store.on_disk(),
        });
        Some(parts.collect())
    }
}
