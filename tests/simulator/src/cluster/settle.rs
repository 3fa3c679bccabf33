//! After the last fault: everything must become as it should be.
//!
//! Decides what that is. Refuses to know how it comes about.

use std::collections::{BTreeMap, BTreeSet};

use zufar_core::machine::Listener;
use zufar_core::member::Guid;
use zufar_core::membership::Liveness;
use zufar_core::node::ClusterView;
use zufar_core::replication::Digest;
use zufar_core::worker::Worker;

use super::check::LATE_MS_MAX;
use super::keys::partition_of;
use super::node::guid;
use super::run::{Planned, Run, SETTLE_MS_MAX};
use crate::client::Client;
use crate::load::DELAY_S_MAX;
use crate::operation::{Answer, KeyNumber, Mode, Operation, Value};
use crate::request::Request;
use crate::world::{Crash, HostId, Incident};

/// How often it is looked whether all is as it should be, in milliseconds.
const STEP_MS: u64 = 250;
/// Clients go on asking for so long after the last fault.
const ASKING_MS: u64 = 1500;
/// How long it takes at most until all is on disks, in milliseconds.
const REST_MS_MAX: u64 = 10_000;
/// How long an answer takes at most once all is as it should be, in milliseconds.
const ANSWER_MS_MAX: u64 = 2_000;

impl Run {
    /// Waits until all is as it should be, and returns how long that took.
    pub(super) fn settle(&mut self) -> Result<u64, String> {
        let calm = self.world.time();
        let begins = calm.max(self.faults.asleep_until);
        let by = begins.plus_millis(SETTLE_MS_MAX);
        let mut settled = None;
        loop {
            let next = self.world.time().plus_millis(STEP_MS);
            self.run_until(next)?;
            let now = self.world.time();
            if now >= calm.plus_millis(ASKING_MS) && self.asking {
                self.asking = false;
                for actor in 0..self.actors.len() {
                    self.actors[actor].client.read_all();
                    self.progress(actor)?;
                }
            }
            let waits = self.actors.iter().map(|actor| actor.client.unanswered());
            let waits: usize = waits.sum();
            let wrong = self.not_settled();
            if wrong.is_none() {
                settled.get_or_insert(now.millis_since(begins));
            }
            let kept_apart = self.kept_apart();
            if wrong.is_none() && !self.asking && (waits == 0 || kept_apart) {
                if kept_apart {
                    self.world.count("runs whose clusters kept apart");
                }
                break;
            }
            if now >= by {
                let wrong = wrong.unwrap_or_else(|| {
                    let waiting = self.actors.iter().map(|actor| &actor.client);
                    let waiting = waiting.filter(|client| client.unanswered() > 0);
                    let waiting: Vec<String> = waiting.map(Client::describe).collect();
                    let hot = self.hot.iter().map(|hot| self.describe(*hot));
                    let hot: String = hot.collect();
                    format!("{waits} requests are not answered: {waiting:?}{hot}")
                });
                return Err(format!("{SETTLE_MS_MAX} ms after the last fault: {wrong}"));
            }
        }
        Ok(settled.unwrap_or_default())
    }

    fn view(&self, host: HostId, worker: u16) -> Option<&ClusterView> {
        let worker: &Worker = self.world.machine_of(host, worker)?;
        worker.cluster_view()
    }

    /// Whether there is more than one cluster, each with data: they keep apart, and say so, until
    /// somebody decides which of them goes. One of two that has none has to join the other.
    pub(super) fn kept_apart(&self) -> bool {
        let mut formations = BTreeSet::new();
        for host in (0..self.hosts as u16).map(HostId) {
            let worker: Option<&Worker> = self.world.machine_of(host, 0);
            let Some(worker) = worker.filter(|worker| worker.cluster_holds_data()) else {
                return false;
            };
            formations.extend(worker.cluster_view().and_then(|view| view.formation));
        }
        formations.len() > 1
    }

    /// Partitions that need not come back: without disks nobody may know any more that there was a
    /// record.
    fn gone(&self) -> BTreeSet<u16> {
        match self.plan.disk {
            Some(_) => BTreeSet::new(),
            None => self.watch.lost.clone(),
        }
    }

    /// What is not as it should be, if anything is not.
    pub(super) fn not_settled(&mut self) -> Option<String> {
        let hosts: Vec<HostId> = (0..self.hosts as u16).map(HostId).collect();
        if self.kept_apart() {
            // None of them need have enough voters left for any of its partitions.
            return self.members_not_settled(&hosts, true);
        }
        let wrong = self.members_not_settled(&hosts, false);
        if wrong.is_some() {
            return wrong;
        }
        let partitions = self.partitions();
        let gone = self.gone();
        let mut partitions = partitions.iter().filter(|it| !gone.contains(it));
        partitions.find_map(|partition| self.partition_not_settled(*partition, &hosts))
    }

    /// Whether all believe in the same nodes and placement: if they keep apart, all of each cluster.
    fn members_not_settled(&self, hosts: &[HostId], kept_apart: bool) -> Option<String> {
        let formation_of = |host: HostId| self.view(host, 0)?.formation;
        let mut placements = BTreeMap::new();
        for host in hosts {
            let workers = self.world.workers_of(*host);
            if workers == 0 {
                return Some(format!("{host:?} does not run"));
            }
            let own = formation_of(*host);
            let with = hosts
                .iter()
                .filter(|other| !kept_apart || formation_of(**other) == own);
            let mut guids: Vec<Guid> = with.map(|other| guid(*other)).collect();
            guids.sort_unstable();
            for worker in 0..workers {
                let Some(view) = self.view(*host, worker) else {
                    return Some(format!("{host:?} has no view"));
                };
                let mut up: Vec<Guid> = view
                    .members
                    .iter()
                    .filter(|member| member.liveness == Liveness::Up)
                    .map(|member| member.node.guid)
                    .collect();
                up.push(view.me.guid);
                up.sort_unstable();
                // Of those that keep apart one that has lost its fellows to the others may wait for a
                // majority for ever.
                let may_wait = kept_apart && self.plan.majority;
                if up != guids || !(view.serving || may_wait) {
                    return Some(format!("{host:?} believes {up:?} to be up, not {guids:?}"));
                }
                let placement = (view.placement.digest(), view.formation);
                let cluster = own.filter(|_| kept_apart);
                if *placements.entry(cluster).or_insert(placement) != placement {
                    return Some(format!("{host:?} has another placement, or cluster"));
                }
            }
        }
        None
    }

    fn partition_not_settled(&mut self, partition: u16, hosts: &[HostId]) -> Option<String> {
        let what = self.wrong_in(partition, hosts)?;
        let all = self.describe(partition);
        Some(format!("partition {partition}: {what}{all}"))
    }

    fn wrong_in(&mut self, partition: u16, hosts: &[HostId]) -> Option<String> {
        let placement = &self.view(HostId(0), 0)?.placement;
        let owners = placement.owners(partition).iter();
        let owners: Vec<Guid> = owners.map(|owner| placement.guid(*owner)).collect();
        let is_open = |host: &&HostId| {
            let replica = self.replica(**host, partition);
            replica.is_some_and(|replica| replica.is_open())
        };
        let open: Vec<HostId> = hosts.iter().filter(is_open).copied().collect();
        let [primary] = open.as_slice() else {
            return Some(format!("{open:?} are primary, owners are {owners:?}"));
        };
        if guid(*primary) != owners[0] {
            return Some(format!("{primary:?} is primary, owners are {owners:?}"));
        }
        let record = self.replica(*primary, partition)?.record()?.clone();
        let mut wanted = owners;
        wanted.sort_unstable();
        let in_sync: Vec<Guid> = record.in_sync.iter().map(|node| node.guid).collect();
        if in_sync != wanted {
            return Some(format!("{in_sync:?} are in sync, not {wanted:?}"));
        }
        let mut digests: Vec<(HostId, Digest)> = Vec::new();
        for node in &record.in_sync {
            let Some(host) = self.watch.host_of(*node) else {
                return Some(format!("{node:?} is in sync and gone"));
            };
            let now = self.world.now_of(host);
            let worker = partition % self.world.workers_of(host).max(1);
            let worker: &mut Worker = self.world.machine_of_mut(host, worker)?;
            let is_complete = worker.replica_of(partition)?.is_complete();
            if !is_complete {
                return Some(format!("{host:?} is in sync and not complete"));
            }
            digests.push((host, worker.digest_of(now, partition)));
        }
        let differ = digests.iter().any(|(_, digest)| *digest != digests[0].1);
        // With requests under way they may differ for a moment.
        differ.then(|| format!("{digests:?} differ"))
    }

    /// All replicas of a partition, in words.
    fn describe(&self, partition: u16) -> String {
        let mut text = String::new();
        for host in (0..self.hosts as u16).map(HostId) {
            if let Some(replica) = self.replica(host, partition) {
                text += &format!(
                    "\n  {:?}: open {}, blank {}, complete {}, promised {:?}, due {:?} of {:?}, {:?}, {:?}",
                    replica.me(),
                    replica.is_open(),
                    replica.is_blank(),
                    replica.is_complete(),
                    replica.promised(),
                    replica.next_deadline(),
                    self.world.now_of(host).time,
                    replica.record(),
                    replica.figures(),
                );
            }
        }
        text
    }

    /// Once all is on disks the power of all hosts fails: everything must come back.
    pub(super) fn black_out(&mut self) -> Result<(), String> {
        let by = self.world.time().plus_millis(REST_MS_MAX);
        while self.has_unsynced() {
            if self.world.time() >= by {
                return Err(format!("not everything is synced after {REST_MS_MAX} ms"));
            }
            let next = self.world.time().plus_millis(STEP_MS);
            self.run_until(next)?;
        }
        self.look()?;
        self.world.count("blackouts");
        for host in (0..self.hosts as u16).map(HostId) {
            self.note_crash(host, Crash::Power);
            self.world.crash_host(host, Crash::Power);
            self.count_losses(host);
            let wait_us = self.random.between(1, 1_500_000);
            self.after_us(wait_us, Planned::Start(host));
        }
        self.settle()?;
        match self.kept_apart() {
            true => Ok(()),
            false => self.ask_everybody(),
        }
    }

    fn has_unsynced(&self) -> bool {
        let hosts = (0..self.hosts as u16).map(HostId);
        hosts.into_iter().any(|host| {
            let now = self.world.now_of(host);
            (0..self.world.workers_of(host)).any(|worker| {
                let worker: Option<&Worker> = self.world.machine_of(host, worker);
                worker.is_some_and(|worker| worker.disk_lags_ms(now) != (0, 0))
            })
        })
    }

    /// Every key is read and written through every node.
    pub(super) fn ask_everybody(&mut self) -> Result<(), String> {
        if self.plan.load.flushes > 0 {
            // What was to be flushed later has been by then.
            let later_ms = DELAY_S_MAX * 1000 + LATE_MS_MAX;
            let by = self.world.time().plus_millis(later_ms);
            self.run_until(by)?;
        }
        let hosts: Vec<HostId> = (0..self.hosts as u16).map(HostId).collect();
        let gone = self.gone();
        for key in self.plan.keys.clone() {
            if gone.contains(&partition_of(key)) {
                continue;
            }
            let mut told: Option<(HostId, String)> = None;
            for host in &hosts {
                let answer = self.ask_one(*host, &Request::values(&[key], true, None))?;
                self.same(key, *host, answer, &mut told)?;
            }
            for writer in &hosts {
                let value = Value::new(format!("last of {writer:?}").as_bytes());
                let answer = self.ask_one(*writer, &set(key, value.clone()))?;
                if !matches!(answer, Answer::Stored(_)) {
                    return Err(format!("key {key} through {writer:?}: {answer:?}"));
                }
                let mut told = None;
                for host in &hosts {
                    let answer = self.ask_one(*host, &Request::values(&[key], true, None))?;
                    // By a clock that is wrong by an hour a flush may be due in an hour.
                    let flushed = self.may_be_flushed_any_time() && matches!(answer, Answer::Miss);
                    let found =
                        matches!(&answer, Answer::Item { value: found, .. } if *found == value);
                    if !found && !flushed {
                        return Err(format!("key {key} through {host:?}: {answer:?}"));
                    }
                    self.same(key, *host, answer, &mut told)?;
                }
            }
        }
        Ok(())
    }

    fn may_be_flushed_any_time(&self) -> bool {
        self.plan.load.flushes > 0 && self.watch.clocks_wrong_ms_max > DELAY_S_MAX * 1000
    }

    fn same(
        &self,
        key: KeyNumber,
        host: HostId,
        answer: Answer,
        told: &mut Option<(HostId, String)>,
    ) -> Result<(), String> {
        if !matches!(answer, Answer::Item { .. } | Answer::Miss) {
            return Err(format!("key {key} through {host:?}: {answer:?}"));
        }
        if self.plan.goes_by_time() {
            return Ok(());
        }
        let words = format!("{answer:?}");
        let (first, before) = told.get_or_insert_with(|| (host, words.clone()));
        if *before != words {
            return Err(format!(
                "key {key}: {before} through {first:?}, {words} through {host:?}"
            ));
        }
        Ok(())
    }

    /// Asks one node on a connection of its own.
    fn ask_one(&mut self, host: HostId, request: &Request) -> Result<Answer, String> {
        let link = self.world.connect_to(host, Listener::Client);
        let (key, operation) = request.commands[0].clone();
        let at = self.moment();
        let record = self.records.send(key, &operation, link.0, at);
        let by = at.time.plus_millis(ANSWER_MS_MAX);
        let mut received = Vec::new();
        while self.world.time() < by {
            let incident = self.world.step();
            match incident {
                Some(Incident::Opened(opened)) if opened == link => {
                    self.world.send(link, &request.bytes);
                }
                Some(Incident::Readable(readable)) if readable == link => {
                    received.extend(self.world.receive(link, usize::MAX).0);
                    if let crate::request::Looked::Whole(reading) = request.read(&received)? {
                        self.world.reset(link);
                        let answer = reading.answers[0].clone();
                        let at = self.moment();
                        self.records.answer(record, answer.clone(), at)?;
                        return Ok(answer);
                    }
                }
                other => self.react(other)?,
            }
        }
        let all = self.describe(partition_of(key));
        Err(format!(
            "{host:?} does not answer, with all in place: {operation:?}{all}"
        ))
    }
}

fn set(key: KeyNumber, value: Value) -> Request {
    let store = Operation::Store {
        mode: Mode::Set,
        value,
        flags: 0,
        exptime: 0,
        compare: None,
        invalidate: false,
    };
    Request::classic(key, store, false)
}
