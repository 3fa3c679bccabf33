//! What must hold at every moment.
//!
//! Decides what a violation is, as far as one can be seen without the whole history. Refuses to
//! know why it came about.

use std::collections::BTreeMap;

use zufar_core::member::NodeId;
use zufar_core::replication::{Figures, Record, RequestId, Term};

use super::client::Ask;
use super::host::key_bytes;
use super::world::World;

/// What has been seen so far.
pub(super) struct Watch {
    pub(super) violation: Option<String>,
    /// Who has opened each term.
    opened: BTreeMap<(u16, Term), NodeId>,
    last_opened: Vec<Option<Record>>,
    /// The highest version of each key that was acknowledged.
    acked: Vec<BTreeMap<u8, u64>>,
    /// The version that each request has led to.
    requests: BTreeMap<RequestId, u64>,
    /// The highest term that each run has promised.
    promised: BTreeMap<(usize, u64, u16), Term>,
    /// Partitions that have seen a Force or a recovery.
    forced: Vec<u64>,
    pub(super) acknowledged: u64,
    pub(super) known: u64,
    pub(super) unknown: u64,
    counted: BTreeMap<(usize, u64, u16), Figures>,
}

impl Watch {
    pub(super) fn new(partitions: u16) -> Self {
        let partitions = usize::from(partitions);
        Self {
            violation: None,
            opened: BTreeMap::new(),
            last_opened: vec![None; partitions],
            acked: vec![BTreeMap::new(); partitions],
            requests: BTreeMap::new(),
            promised: BTreeMap::new(),
            forced: vec![0; partitions],
            acknowledged: 0,
            known: 0,
            unknown: 0,
            counted: BTreeMap::new(),
        }
    }

    pub(super) fn violated(&mut self, words: String) {
        self.violation.get_or_insert(words);
    }

    pub(super) fn acknowledged(&mut self, ask: &Ask, version: u64, strict: bool) {
        self.acknowledged += 1;
        let acked = self.acked[usize::from(ask.partition)]
            .entry(ask.key)
            .or_default();
        *acked = (*acked).max(version);
        let before = self.requests.insert(ask.id, version);
        let parted = self.was_forced(ask.partition);
        if before.is_some_and(|before| before != version) && (strict || !parted) {
            self.violated(format!("{:?} was carried out twice", ask.id));
        }
    }

    pub(super) fn finished(&mut self, known: bool) {
        if known {
            self.known += 1;
        } else {
            self.unknown += 1;
        }
    }

    pub(super) fn forced(&mut self, partition: u16) {
        self.forced[usize::from(partition)] += 1;
    }

    pub(super) fn was_forced(&self, partition: u16) -> bool {
        self.forced[usize::from(partition)] > 0
    }

    pub(super) fn gone(&mut self, host: usize, generation: u64) {
        self.promised
            .retain(|(at, run, _), _| (*at, *run) != (host, generation));
    }

    pub(super) fn last_opened(&self, partition: u16) -> Option<&Record> {
        self.last_opened[usize::from(partition)].as_ref()
    }

    /// Tombstones are gone: only these keys are still there.
    pub(super) fn collected(&mut self, partition: u16, there: &[u8]) {
        self.acked[usize::from(partition)].retain(|key, _| there.contains(key));
    }

    /// All that runs have counted.
    pub(super) fn total(&self) -> Figures {
        let mut total = Figures::default();
        for figures in self.counted.values() {
            total.claims += figures.claims;
            total.opened += figures.opened;
            total.dropped += figures.dropped;
            total.forced += figures.forced;
            total.recovered += figures.recovered;
            total.fills += figures.fills;
            total.fills_unequal += figures.fills_unequal;
            total.fills_given_up += figures.fills_given_up;
            total.ceded += figures.ceded;
            total.merged += figures.merged;
            total.merge_losers += figures.merge_losers;
            total.unknown += figures.unknown;
            total.ignored += figures.ignored;
        }
        total
    }
}

impl World {
    /// Whether the partition is held to one history: no Force has parted it.
    pub(super) fn is_one_history(&self, partition: u16) -> bool {
        use super::plan::Story;
        match self.plan.story {
            Story::Majority | Story::ExactDisk | Story::TwoNodes => true,
            Story::Available => !self.watch.was_forced(partition),
        }
    }

    pub(super) fn opened(&mut self, host: usize, partition: u16, record: &Record) {
        let me = self.hosts[host].process.as_ref().map(|process| process.me);
        let Some(me) = me else {
            return;
        };
        let before = self.watch.opened.insert((partition, record.term), me);
        if before.is_some_and(|before| before != me) || record.primary() != me {
            self.watch
                .violated(format!("two primaries of {:?}", record.term));
        }
        let last = &mut self.watch.last_opened[usize::from(partition)];
        if last.as_ref().is_none_or(|last| last.term < record.term) {
            *last = Some(record.clone());
        }
        // A claim may come through late, when another has followed already: it serves nobody.
        let last = self.watch.last_opened(partition).map(|last| last.term);
        if self.is_one_history(partition) && last == Some(record.term) {
            self.all_acknowledged_is_there(partition, record);
        }
    }

    /// Every member of an opened record holds all acknowledged writes.
    pub(super) fn all_acknowledged_is_there(&mut self, partition: u16, record: &Record) {
        let at = usize::from(partition);
        for node in &record.in_sync {
            let Some(host) = self.host_of(*node) else {
                continue;
            };
            let Some(process) = &self.hosts[host].process else {
                continue;
            };
            let Some(part) = process.parts.get(at) else {
                continue;
            };
            for (key, version) in &self.watch.acked[at] {
                let held = part.store.get(&key_bytes(*key)).map(|entry| entry.version);
                if held < Some(*version) {
                    let words = format!(
                        "{:?} of {:?} opened: {node:?} has {held:?} of key {key}, acknowledged is {version}",
                        record.term, record.in_sync
                    );
                    return self.watch.violated(words);
                }
            }
        }
    }

    /// Looks at one replica after it has done something.
    pub(super) fn look(&mut self, host: usize, partition: u16) {
        let Some(process) = &self.hosts[host].process else {
            return;
        };
        let Some(part) = process.parts.get(usize::from(partition)) else {
            return;
        };
        let generation = process.me.generation;
        let run = (host, generation, partition);
        self.watch.counted.insert(run, *part.replica.figures());
        let Some(promised) = part.replica.promised() else {
            return;
        };
        let before = self.watch.promised.insert(run, promised);
        if before.is_some_and(|before| before > promised) {
            self.watch
                .violated(format!("{run:?} went from {before:?} to {promised:?}"));
        }
        if self.is_one_history(partition) && part.replica.is_open() {
            self.one_reader(partition);
        }
    }

    /// At most one node may answer reads.
    fn one_reader(&mut self, partition: u16) {
        let at = usize::from(partition);
        let mut readers = Vec::new();
        for host in &self.hosts {
            let part = host
                .process
                .as_ref()
                .and_then(|process| process.parts.get(at));
            if part.is_some_and(|part| part.replica.holds_lease(host.clock(self.now))) {
                readers.push(host.guid);
            }
        }
        if readers.len() > 1 {
            self.watch
                .violated(format!("p{partition}: {readers:?} may all read"));
        }
    }
}
