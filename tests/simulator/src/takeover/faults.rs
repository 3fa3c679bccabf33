//! The faults of a run.
//!
//! Decides when which fault strikes whom, and that a story's limits hold. Refuses to know what
//! replicas make of it.

use zufar_core::member::NodeId;
use zufar_core::replication::{Liveness, Message, Record};
use zufar_core::time::Time;

use super::host::Kept;
use super::plan::Story;
use super::world::{Due, World};

/// A kind of fault that comes again and again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Crash,
    Pause,
    Cut,
    Opinion,
    Wish,
    /// The primary and another replica part while the tie-breaker changes.
    Split,
    /// The one fault of two nodes.
    Single,
}

/// What is done to a node right after it has got a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bias {
    None,
    Pause,
    Restart,
}

impl World {
    /// Has every kind of fault begin.
    pub(super) fn begin_faults(&mut self) {
        let kinds = [
            Fault::Crash,
            Fault::Pause,
            Fault::Cut,
            Fault::Opinion,
            Fault::Wish,
            Fault::Split,
        ];
        for kind in kinds {
            self.next_fault(kind);
        }
        if self.plan.story == Story::TwoNodes {
            let ms = self.random.between(500, self.plan.faults_ms);
            self.after_ms(ms, Due::Fault(Fault::Single));
        }
        for host in &mut self.hosts {
            host.disk.extend(host.snapshot());
        }
        self.after_ms(100, Due::Disk);
    }

    fn next_fault(&mut self, kind: Fault) {
        let mean_ms = match kind {
            Fault::Crash => self.plan.crash_ms,
            Fault::Pause => self.plan.pause_ms,
            Fault::Cut => self.plan.cut_ms,
            Fault::Opinion => self.plan.opinion_ms,
            Fault::Wish => self.plan.wish_ms,
            Fault::Split if self.hosts.len() > 3 => self.plan.cut_ms * 2,
            Fault::Split => 0,
            Fault::Single => 0,
        };
        if mean_ms > 0 && self.faulty {
            let ms = self.random.between(1, mean_ms * 2);
            self.after_ms(ms, Due::Fault(kind));
        }
    }

    pub(super) fn fault(&mut self, kind: Fault) {
        if !self.faulty {
            return;
        }
        let host = self.random.below(self.hosts.len() as u64) as usize;
        match kind {
            Fault::Crash => {
                self.crash(host);
                // Sometimes more than one at once.
                while self.random.chance(30) {
                    let other = self.random.below(self.hosts.len() as u64) as usize;
                    self.crash(other);
                }
            }
            Fault::Pause => {
                let ms = self.random.pick(&[50, 300, 600, 1500, 4000]);
                let ms = self.random.between(1, ms);
                self.pause(host, ms);
            }
            Fault::Cut => self.cut(),
            Fault::Opinion => self.wrong_opinion(host),
            Fault::Wish => self.wish_again(),
            Fault::Split => self.split(),
            Fault::Single => self.single(host),
        }
        self.next_fault(kind);
    }

    fn single(&mut self, host: usize) {
        // With one copy only nothing is promised: wait until there are two.
        let whole = (0..self.plan.partitions).all(|partition| {
            let records = [
                self.watch.last_opened(partition),
                self.highest_record(partition),
            ];
            let mut records = records.into_iter().flatten();
            records.all(|record| self.survives_without_majority(record, partition, host))
        });
        if !whole {
            return self.after_ms(50, Due::Fault(Fault::Single));
        }
        if self.random.chance(50) {
            let ms = self.random.between(100, 6000);
            self.pause(host, ms);
            if ms > 1500 {
                let about = self.guids[host];
                self.spread(about, Liveness::Suspect, 1000, 2500);
                let alive = Liveness::Alive(self.hosts[host].generation);
                self.spread(about, alive, ms, ms + 1000);
            }
        } else {
            self.stop(host);
        }
    }

    pub(super) fn pause(&mut self, host: usize, ms: u64) {
        if self.hosts[host].process.is_none() {
            return;
        }
        self.count("pauses");
        self.tell(|| format!("n{host} pauses for {ms} ms"));
        let until = self.now.plus_millis(ms);
        self.hosts[host].paused_until = self.hosts[host].paused_until.max(until);
        self.at(until, Due::Resume { host });
    }

    /// Crashes a node, if the story allows it.
    fn crash(&mut self, host: usize) {
        if self.may_crash(host) {
            self.stop(host);
        }
    }

    fn stop(&mut self, host: usize) {
        let Some(snapshot) = self.hosts[host].snapshot() else {
            return;
        };
        self.count("crashes");
        self.tell(|| format!("n{host} crashes"));
        let node = &mut self.hosts[host];
        if self.plan.story == Story::ExactDisk {
            node.disk.push(snapshot);
        }
        node.process = None;
        node.paused_until = Time::ZERO;
        let generation = node.generation;
        self.watch.gone(host, generation);
        let about = self.guids[host];
        if self.random.chance(60) {
            let sure = self.random.chance(50);
            let liveness = if sure {
                Liveness::Dead
            } else {
                Liveness::Suspect
            };
            self.spread(about, liveness, 50, 1500);
        }
        let ms = self.random.pick(&[10, 400, 1500, 4000]);
        let ms = self.random.between(1, ms);
        self.after_ms(ms, Due::Restart { host });
    }

    /// Whether what the story promises outlives a crash of this node.
    fn may_crash(&self, host: usize) -> bool {
        match self.plan.story {
            Story::ExactDisk | Story::Available => true,
            Story::TwoNodes => false,
            Story::Majority => (0..self.plan.partitions).all(|partition| {
                let opened = self.watch.last_opened(partition);
                let records = [opened, self.highest_record(partition)];
                let mut records = records.into_iter().flatten();
                records.all(|record| self.survives(record, partition, host))
            }),
        }
    }

    /// Whether another in-sync replica lives.
    fn survives_without_majority(&self, record: &Record, partition: u16, host: usize) -> bool {
        record.in_sync.iter().any(|node| {
            let other = self.host_of(*node).filter(|other| *other != host);
            let process = other.and_then(|other| self.hosts[other].process.as_ref());
            process
                .is_some_and(|process| process.parts[usize::from(partition)].replica.is_complete())
        })
    }

    /// Whether a record can still be continued when `host` has crashed.
    fn survives(&self, record: &Record, partition: u16, host: usize) -> bool {
        let remembers = |guid| {
            let other = self.hosts.iter().position(|other| other.guid == guid);
            let other = other.filter(|other| *other != host)?;
            let process = self.hosts[other].process.as_ref()?;
            let replica = &process.parts[usize::from(partition)].replica;
            (!replica.is_blank()).then_some(replica)
        };
        let voters = record
            .voters
            .iter()
            .filter(|guid| remembers(**guid).is_some());
        let in_sync = record.in_sync.iter().any(|node| {
            remembers(node.guid)
                .is_some_and(|replica| replica.me() == *node && replica.is_complete())
        });
        voters.count() * 2 > record.voters.len() && in_sync
    }

    fn cut(&mut self) {
        let nodes = self.hosts.len();
        if self.random.chance(40) || nodes < 2 {
            self.count("heals");
            self.heal();
            return;
        }
        self.count("partitions");
        if self.random.chance(40) {
            // Only these two do not hear each other; all others hear both.
            let one = self.random.below(nodes as u64) as usize;
            let other = (one + 1 + self.random.below(nodes as u64 - 1) as usize) % nodes;
            self.cut_link(one, other);
            return self.cut_link(other, one);
        }
        let one_way = self.random.chance(40);
        let side: Vec<bool> = (0..nodes).map(|_| self.random.chance(50)).collect();
        self.tell(|| format!("cut {side:?} one way {one_way}"));
        for from in 0..nodes {
            for to in 0..nodes {
                let apart = side[from] != side[to];
                if apart && !(one_way && side[from]) {
                    self.cut_link(from, to);
                }
            }
        }
    }

    /// Two in-sync replicas no longer hear each other, the other one comes to suspect the primary,
    /// and at about that time the primary is to have another tie-breaker.
    fn split(&mut self) {
        let partition = self.random.below(u64::from(self.plan.partitions)) as u16;
        let record = self.watch.last_opened(partition).cloned();
        let Some(record) = record.filter(|record| record.in_sync.len() > 1) else {
            return;
        };
        let others = record
            .in_sync
            .iter()
            .filter(|node| **node != record.primary());
        let others: Vec<NodeId> = others.copied().collect();
        let other = self.random.pick(&others);
        let hosts = (self.host_of(record.primary()), self.host_of(other));
        let (Some(primary), Some(other)) = hosts else {
            return;
        };
        self.count("splits");
        self.cut.insert((primary, other));
        self.cut.insert((other, primary));
        let about = self.guids[primary];
        let ms = self.random.between(1, 700);
        self.after_ms(
            ms,
            Due::Belief {
                host: other,
                about,
                liveness: Liveness::Suspect,
            },
        );
        self.change_tie_breaker(&record, partition, primary);
    }

    fn change_tie_breaker(&mut self, record: &Record, partition: u16, primary: usize) {
        let owners: Vec<_> = record.in_sync.iter().map(|node| node.guid).collect();
        let spare = self.guids.iter().filter(|guid| !record.votes(**guid));
        let spare: Vec<_> = spare.copied().collect();
        if spare.is_empty() || owners.len() >= self.plan.voters {
            return;
        }
        let mut voters = owners.clone();
        voters.push(self.random.pick(&spare));
        self.wishes += 1;
        let wish = self.wishes;
        let ms = self.random.between(300, 900);
        self.after_ms(
            ms,
            Due::Wanted {
                host: primary,
                partition,
                owners,
                voters,
                wish,
            },
        );
    }

    fn cut_link(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
        if self.random.chance(70) {
            let (about, liveness) = (self.guids[from], Liveness::Suspect);
            let ms = self.random.between(300, 2500);
            self.after_ms(
                ms,
                Due::Belief {
                    host: to,
                    about,
                    liveness,
                },
            );
        }
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
        self.true_beliefs(1, 800);
    }

    /// Every node learns which others are alive.
    pub(super) fn true_beliefs(&mut self, ms_min: u64, ms_max: u64) {
        for host in 0..self.hosts.len() {
            if self.hosts[host].process.is_some() {
                let alive = Liveness::Alive(self.hosts[host].generation);
                self.spread(self.guids[host], alive, ms_min, ms_max);
            }
        }
    }

    fn wrong_opinion(&mut self, host: usize) {
        let about = self.random.below(self.hosts.len() as u64) as usize;
        self.count("wrong opinions");
        let generation = self.hosts[about].generation;
        let about = self.guids[about];
        let wrong = [
            Liveness::Suspect,
            Liveness::Dead,
            Liveness::Alive(generation),
            Liveness::Unknown,
        ];
        let liveness = self.random.pick(&wrong);
        self.after_ms(
            0,
            Due::Belief {
                host,
                about,
                liveness,
            },
        );
        let ms = self.random.between(50, 2000);
        let alive = Liveness::Alive(generation);
        self.after_ms(
            ms,
            Due::Belief {
                host,
                about,
                liveness: alive,
            },
        );
    }

    /// Draws who should hold a partition, and tells all nodes, each at another moment.
    pub(super) fn wish_again(&mut self) {
        let partition = self.random.below(u64::from(self.plan.partitions)) as u16;
        self.count("wishes");
        self.draw_wish(partition, 2000);
    }

    pub(super) fn draw_wish(&mut self, partition: u16, ms_max: u64) {
        let mut order = self.guids.clone();
        for at in 1..order.len() {
            let other = self.random.below(at as u64 + 1) as usize;
            order.swap(at, other);
        }
        let before = self.wanted[usize::from(partition)].0.clone();
        if self.random.chance(50) && !before.is_empty() {
            // Only the tie-breakers change.
            order.retain(|guid| !before.contains(guid));
            order.splice(0..0, before);
        }
        let owners = order[..self.plan.replicas].to_vec();
        let voters = order[..self.plan.voters].to_vec();
        self.wanted[usize::from(partition)] = (owners.clone(), voters.clone());
        self.tell_wish(partition, ms_max);
    }

    pub(super) fn tell_wish(&mut self, partition: u16, ms_max: u64) {
        self.wishes += 1;
        let (owners, voters) = self.wanted[usize::from(partition)].clone();
        for host in 0..self.hosts.len() {
            let ms = self.random.between(0, ms_max);
            let (owners, voters) = (owners.clone(), voters.clone());
            self.after_ms(
                ms,
                Due::Wanted {
                    host,
                    partition,
                    owners,
                    voters,
                    wish: self.wishes,
                },
            );
        }
    }

    // Where random faults rarely strike.

    /// What is to be done to the receiver of this message right after it.
    pub(super) fn bias(&mut self, message: &Message) -> Bias {
        let rare = self.plan.bias_permille;
        let (share, bias) = match message {
            Message::Ack { .. } => (rare / 4, Bias::Pause),
            Message::Cede { .. } => (rare * 4, Bias::Pause),
            Message::Promise { .. } | Message::Accepted { .. } => (rare, Bias::Pause),
            Message::FillVerify { .. } | Message::FillStart { .. } => (rare * 4, Bias::Restart),
            Message::FillChunk { .. } | Message::Accept { .. } => (rare / 2, Bias::Restart),
            _ => (0, Bias::None),
        };
        let strikes = self.faulty && self.random.below(1000) < share;
        if strikes { bias } else { Bias::None }
    }

    pub(super) fn carry_out_bias(&mut self, host: usize, bias: Bias) {
        match bias {
            Bias::None => {}
            Bias::Pause => {
                self.count("pauses at a bad moment");
                let ms = self.random.between(50, 1200);
                self.pause(host, ms);
            }
            Bias::Restart => {
                if self.may_crash(host) {
                    self.count("crashes at a bad moment");
                    self.stop(host);
                    let ms = self.random.between(0, 3);
                    self.after_ms(ms, Due::Restart { host });
                }
            }
        }
    }

    // Disks.

    pub(super) fn write_disks(&mut self) {
        const KEPT_MAX: usize = 4;
        for host in 0..self.hosts.len() {
            if self.random.chance(60)
                && let Some(snapshot) = self.hosts[host].snapshot()
            {
                let disk = &mut self.hosts[host].disk;
                disk.push(snapshot);
                if disk.len() > KEPT_MAX {
                    disk.remove(0);
                }
            }
        }
        self.collect_tombstones();
        let ms = self.random.between(50, 400);
        self.after_ms(ms, Due::Disk);
    }

    /// What a node finds on its disk: in a story that is strict about it, all that it had.
    pub(super) fn disk_at_start(&mut self, host: usize) -> Option<Vec<Kept>> {
        let disk = &self.hosts[host].disk;
        if disk.is_empty() || !self.plan.disk {
            return None;
        }
        let last = disk.len() - 1;
        let at = match self.plan.story {
            Story::ExactDisk => last,
            _ => self.random.below(disk.len() as u64) as usize,
        };
        Some(self.hosts[host].disk[at].clone())
    }

    /// Drops tombstones where every wanted replica is in sync and has all.
    fn collect_tombstones(&mut self) {
        for partition in 0..self.plan.partitions {
            let at = usize::from(partition);
            let Some(record) = self.highest_record(partition).cloned() else {
                continue;
            };
            let mut guids: Vec<_> = record.in_sync.iter().map(|node| node.guid).collect();
            guids.sort_unstable();
            let mut wanted = self.wanted[at].0.clone();
            wanted.sort_unstable();
            if guids != wanted || !self.random.chance(30) {
                continue;
            }
            let members: Vec<usize> = (0..self.hosts.len())
                .filter(|host| {
                    let process = self.hosts[*host].process.as_ref();
                    process.is_some_and(|process| {
                        let replica = &process.parts[at].replica;
                        let settled = replica.unsettled() == 0 && !replica.is_filling();
                        let follows = replica.promised() == Some(record.term);
                        record.in_sync.contains(&process.me) && settled && follows
                    })
                })
                .collect();
            if members.len() < record.in_sync.len() {
                continue;
            }
            for host in members {
                if let Some(process) = &mut self.hosts[host].process {
                    process.parts[at].store.collect_tombstones(u64::MAX);
                }
            }
            let primary = self.host_of(record.primary());
            let process = primary.and_then(|host| self.hosts[host].process.as_ref());
            let there = process.map(|process| {
                let entries = process.parts[at].store.iter();
                entries.map(|entry| entry.key[1]).collect::<Vec<u8>>()
            });
            self.watch.collected(partition, &there.unwrap_or_default());
            self.count("tombstone collections");
        }
    }

    /// Who is meant by a run.
    pub(super) fn host_of(&self, node: NodeId) -> Option<usize> {
        let host = self.guids.iter().position(|guid| *guid == node.guid)?;
        let is_it = self.hosts[host].generation == node.generation;
        (is_it && self.hosts[host].process.is_some()).then_some(host)
    }
}
