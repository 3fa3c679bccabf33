//! What can be seen from outside of the replicas of partitions that have keys.
//!
//! Decides which replicas a partition has had at last, whether all are lost, and what must not be
//! seen at any time. Refuses to know why things happen.

use std::collections::{BTreeMap, BTreeSet};

use zufar_core::member::NodeId;
use zufar_core::membership::Formation;
use zufar_core::replication::{Record, Replica};
use zufar_core::time::Time;
use zufar_core::worker::Worker;

use super::check::Safe;
use super::node::guid;
use super::run::Run;
use crate::world::{Crash, DRIFT_PPM_MAX, HostId};

/// What has been seen.
pub(super) struct Watch {
    /// By partition.
    seen: BTreeMap<u16, Seen>,
    /// The run on each host.
    runs: BTreeMap<HostId, NodeId>,
    /// Partitions that have lost all replicas, and not come back from disks.
    pub(super) lost: BTreeSet<u16>,
    /// What runs that have ended have left of a partition on their disks: all that was known
    /// before.
    safe: BTreeMap<(NodeId, u16), Time>,
    /// The cluster that was formed first.
    formation: Option<Formation>,
    looked_at: Time,
    /// How far from the world's time the clock of a process was at most, in milliseconds.
    pub(super) clocks_wrong_ms_max: u64,
}

#[derive(Default)]
struct Seen {
    /// The highest record under which a node was open.
    opened: Option<Record>,
    /// How often each run has gone on without a majority, or recovered what was not lost.
    forced: BTreeMap<NodeId, (u64, u64)>,
}

impl Watch {
    pub(super) fn new(partitions: &[u16]) -> Self {
        let seen = |partition: &u16| (*partition, Seen::default());
        Self {
            seen: partitions.iter().map(seen).collect(),
            lost: BTreeSet::new(),
            safe: BTreeMap::new(),
            runs: BTreeMap::new(),
            formation: None,
            looked_at: Time::ZERO,
            clocks_wrong_ms_max: 0,
        }
    }

    /// A process has started.
    pub(super) fn started(&mut self, host: HostId, generation: u64) {
        let guid = guid(host);
        self.runs.insert(host, NodeId { guid, generation });
    }

    /// The record under which a partition was open at last.
    pub(super) fn opened(&self, partition: u16) -> Option<&Record> {
        self.seen.get(&partition)?.opened.as_ref()
    }

    /// The host of a run, if it is the last one there.
    pub(super) fn host_of(&self, node: NodeId) -> Option<HostId> {
        let found = self.runs.iter().find(|(_, run)| **run == node);
        found.map(|(host, _)| *host)
    }
}

impl Run {
    /// The replica of a partition on a host.
    pub(super) fn replica(&self, host: HostId, partition: u16) -> Option<&Replica> {
        let workers = self.world.workers_of(host);
        let worker = partition.checked_rem(workers)?;
        let worker: &Worker = self.world.machine_of(host, worker)?;
        worker.replica_of(partition)
    }

    /// Looks at everything.
    pub(super) fn look(&mut self) -> Result<(), String> {
        self.look_at_formations();
        let before = std::mem::replace(&mut self.watch.looked_at, self.world.time());
        self.look_at_clocks();
        for partition in self.watched.clone() {
            let forced = self.look_at(partition)?;
            if forced && !self.plan.majority {
                self.cut(partition, before);
            }
        }
        Ok(())
    }

    fn look_at_clocks(&mut self) {
        let right_ms = self.moment().unix_ms;
        let up = self.world.hosts().filter(|it| self.world.is_host_up(*it));
        let shown_ms = up.map(|host| self.world.now_of(host).unix_ms);
        let wrong_ms = shown_ms.map(|it| it.abs_diff(right_ms)).max();
        let known = &mut self.watch.clocks_wrong_ms_max;
        *known = (*known).max(wrong_ms.unwrap_or(0));
    }

    fn look_at(&mut self, partition: u16) -> Result<bool, String> {
        let (mut forced_now, mut readers) = (false, Vec::new());
        // What comes back from disks is what they had: that is checked.
        let comes_back = self.plan.disk.is_some() && self.watch.lost.contains(&partition);
        for host in (0..self.hosts as u16).map(HostId) {
            let now = self.world.now_of(host).time;
            let Some(replica) = self.replica(host, partition) else {
                continue;
            };
            let (me, figures) = (replica.me(), replica.figures());
            let (forced, recovered) = (figures.forced, figures.recovered);
            let record = replica.record().filter(|_| replica.is_open()).cloned();
            if replica.holds_lease(now) {
                readers.push(me);
            }
            let Some(seen) = self.watch.seen.get_mut(&partition) else {
                continue;
            };
            let known = seen.forced.entry(me).or_default();
            let before = std::mem::replace(known, (forced, recovered));
            forced_now |= before.0 < forced || (before.1 < recovered && !comes_back);
            let higher = |record: &Record| {
                let opened = seen.opened.as_ref();
                opened.is_none_or(|opened| opened.term < record.term)
            };
            if let Some(record) = record.filter(higher) {
                seen.opened = Some(record);
                if comes_back {
                    self.watch.lost.remove(&partition);
                }
            }
        }
        if readers.len() > 1 && !self.records.is_cut(partition) && !forced_now {
            return Err(format!("partition {partition}: {readers:?} may all read"));
        }
        Ok(forced_now)
    }

    /// Under `available` a node that finds nobody forms a cluster of its own.
    pub(super) fn look_at_formations(&mut self) {
        let before = self.watch.looked_at;
        for host in (0..self.hosts as u16).map(HostId) {
            let worker: Option<&Worker> = self.world.machine_of(host, 0);
            let view = worker.and_then(Worker::cluster_view);
            let Some(formation) = view.and_then(|view| view.formation) else {
                continue;
            };
            let first = *self.watch.formation.get_or_insert(formation);
            if first != formation {
                self.world.count("clusters formed apart");
                for partition in self.watched.clone() {
                    self.cut(partition, before);
                }
            }
        }
    }

    /// Whether a node belongs to the first cluster, and serves.
    pub(super) fn serves(&self, host: HostId) -> bool {
        let worker: Option<&Worker> = self.world.machine_of(host, 0);
        let view = worker.and_then(Worker::cluster_view);
        view.is_some_and(|view| view.serving && view.formation == self.watch.formation)
    }

    pub(super) fn cut(&mut self, partition: u16, time: Time) {
        if !self.records.is_cut(partition) {
            self.world.count("partitions no longer held to one history");
            self.records.cut(partition, time);
        }
    }

    /// Hosts other than `gone` on which a replica lives that was in sync at last.
    pub(super) fn survivors(&self, partition: u16, gone: HostId) -> usize {
        let Some(record) = self.watch.opened(partition) else {
            return 0;
        };
        let hosts = record
            .in_sync
            .iter()
            .filter_map(|node| self.watch.host_of(*node));
        let lives = |host: &HostId| *host != gone && self.world.is_host_up(*host);
        hosts.filter(lives).count()
    }

    /// A process is about to be killed, and its host's power to fail or not: takes note of what
    /// its disk certainly has by then, by what the process would show.
    pub(super) fn note_crash(&mut self, host: HostId, crash: Crash) {
        let (time, now) = (self.world.time(), self.world.now_of(host));
        for partition in self.watched.clone() {
            self.note_come_back(host, partition);
            let workers = self.world.workers_of(host);
            let worker = partition.checked_rem(workers);
            let worker: Option<&Worker> = worker.and_then(|it| self.world.machine_of(host, it));
            let Some(worker) = worker else {
                return;
            };
            let (written_ms, synced_ms) = worker.disk_lags_ms(now);
            let lag_ms = match crash {
                Crash::Process => written_ms,
                Crash::Power => synced_ms,
            };
            // It is rounded down, and by a clock that may be wrong.
            let lag_us = (lag_ms + 1) * (1_000_000 + DRIFT_PPM_MAX as u64) / 1000;
            let safe_ns = time.as_nanos().saturating_sub(lag_us * 1000);
            self.note_safe(host, partition, Time::from_nanos(safe_ns));
        }
    }

    /// What had been lost may have come back, and been served, since anybody looked.
    fn note_come_back(&mut self, host: HostId, partition: u16) {
        let Some(replica) = self.replica(host, partition) else {
            return;
        };
        let me = replica.me();
        let record = replica.record().filter(|record| record.names(me));
        let record = record.filter(|_| replica.is_complete()).cloned();
        let Some(seen) = self.watch.seen.get_mut(&partition) else {
            return;
        };
        let before = seen.opened.as_ref().map(|opened| opened.term);
        let record = record.filter(|record| before < Some(record.term));
        if record.is_some() && self.watch.lost.remove(&partition) {
            seen.opened = record;
        }
    }

    /// A process has ended that was told to: its disk has everything.
    pub(super) fn note_stop(&mut self, host: HostId) {
        for partition in self.watched.clone() {
            self.note_safe(host, partition, self.world.time());
        }
    }

    fn note_safe(&mut self, host: HostId, partition: u16, safe: Time) {
        if let Some(run) = self.watch.runs.get(&host) {
            self.watch.safe.insert((*run, partition), safe);
        }
    }

    /// What is safe of a partition whose replicas `record` names, once all of them are gone. Where a
    /// disk has it whole, those don't count on which a fill has left a mixture, or that don't even
    /// know of it yet. Where none has, anything may come back that was deleted.
    fn safe(&self, partition: u16, record: &Record) -> Safe {
        let of_run = |node: &NodeId| self.watch.safe.get(&(*node, partition)).copied();
        let whole = record.in_sync.iter();
        let whole = whole.filter(|node| self.has_whole(**node, partition, record));
        let of_whole: Vec<Option<Time>> = whole.map(of_run).collect();
        let on_one = match of_whole.is_empty() {
            true => record.in_sync.iter().filter_map(of_run).max(),
            false => of_whole.iter().flatten().max().copied(),
        };
        // None is the least.
        let on_each = of_whole.into_iter().min().flatten();
        Safe {
            on_each: on_each.unwrap_or(Time::ZERO),
            on_one: on_one.unwrap_or(Time::ZERO),
        }
    }

    /// Whether the disk of a run that has ended has all that it had, but for what was not written.
    fn has_whole(&self, node: NodeId, partition: u16, opened: &Record) -> bool {
        let run_there = |(_, run): &(&HostId, &NodeId)| run.guid == node.guid;
        let Some((host, _)) = self.watch.runs.iter().find(run_there) else {
            return false;
        };
        let notes = self.world.disk_of(*host).recovery().cluster;
        let mut records = notes.records.iter();
        let knows = records.any(|(of, _, record)| {
            let named = record.names_guid(node.guid);
            *of == partition && record.lineage == opened.lineage && named
        });
        knows && !notes.mixed.contains(&partition)
    }

    /// A process has ended: what it alone had is lost, or on disks.
    pub(super) fn count_losses(&mut self, gone: HostId) {
        for partition in self.watched.clone() {
            if self.survivors(partition, gone) > 0 || !self.watch.lost.insert(partition) {
                continue;
            }
            self.world.count("partitions that have lost all replicas");
            let now = self.world.time();
            match self.watch.opened(partition) {
                Some(record) if self.plan.disk.is_some() => {
                    let safe = self.safe(partition, record);
                    self.records.lose(partition, now, safe);
                }
                _ => self.cut(partition, now),
            }
        }
    }
}
