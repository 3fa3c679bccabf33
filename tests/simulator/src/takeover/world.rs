//! Nodes, clients and messages on one line of virtual time.
//!
//! Decides what happens next and carries out what replicas want. Refuses to know which faults are
//! drawn (`faults`) and what is checked (`watch`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use zufar_core::member::{Guid, NodeId};
use zufar_core::replication::{
    Event, Input, Liveness, Message, Record, Settings, Start, Term, wire,
};
use zufar_core::time::Time;

use super::check::{Operation, Told};
use super::client::{Ask, Client, Reply};
use super::host::{Belief, Effects, Host, Kept, Part, Process};
use super::plan::{Plan, Story};
use super::store::PlainStore;
use super::watch::Watch;
use crate::Random;
use crate::trace::Trace;

/// Something that is due at a moment.
#[derive(Debug)]
pub(super) enum Due {
    /// A frame reaches a node.
    Frame {
        from: NodeId,
        to: usize,
        frame: Bytes,
    },
    /// A replica's deadline.
    Deadline {
        host: usize,
        generation: u64,
        partition: u16,
    },
    /// A pause is over.
    Resume { host: usize },
    /// A crashed node starts again.
    Restart { host: usize },
    /// A node believes this of another from now on.
    Belief {
        host: usize,
        about: Guid,
        liveness: Liveness,
    },
    /// A node is told what is wanted.
    Wanted {
        host: usize,
        partition: u16,
        owners: Vec<Guid>,
        voters: Vec<Guid>,
        wish: u64,
    },
    /// A record is synced.
    Kept {
        host: usize,
        generation: u64,
        partition: u16,
        term: Term,
    },
    /// A client asks a node.
    Ask { to: usize, ask: Ask },
    /// A client is answered.
    Reply {
        client: usize,
        attempt: u64,
        reply: Reply,
        hint: Option<Term>,
    },
    /// A client does what is next.
    Client { client: usize, attempt: u64 },
    /// Disks are written.
    Disk,
    /// The next fault of a kind.
    Fault(super::faults::Fault),
}

pub(super) struct World {
    pub(super) plan: Plan,
    settings: Arc<Settings>,
    pub(super) random: Random,
    pub(super) trace: Trace,
    pub(super) told: bool,
    pub(super) now: Time,
    sequence: u64,
    queue: BTreeMap<(Time, u64), Due>,
    pub(super) hosts: Vec<Host>,
    pub(super) guids: Vec<Guid>,
    /// Inputs of paused nodes.
    deferred: Vec<Vec<Due>>,
    pub(super) clients: Vec<Client>,
    /// The history of each key.
    pub(super) histories: BTreeMap<(u16, u8), Vec<Operation>>,
    /// Links that carry nothing, one way.
    pub(super) cut: BTreeSet<(usize, usize)>,
    pub(super) watch: Watch,
    pub(super) faults: BTreeMap<&'static str, u64>,
    /// What is wanted of each partition.
    pub(super) wanted: Vec<(Vec<Guid>, Vec<Guid>)>,
    pub(super) wishes: u64,
    /// Faults go on.
    pub(super) faulty: bool,
    /// Clients go on.
    pub(super) asking: bool,
}

impl World {
    pub(super) fn new(plan: Plan, mut random: Random, told: bool) -> Self {
        let settings = Arc::new(plan.settings());
        let guids: Vec<Guid> = (0..plan.nodes)
            .map(|at| Guid::new(&format!("n{at}")).expect("it is a guid"))
            .collect();
        let hosts = guids
            .iter()
            .map(|guid| Self::host(&plan, *guid, &mut random));
        let hosts: Vec<Host> = hosts.collect();
        let clients = (0..plan.clients).map(|at| Client::new(at, plan.partitions, random.fork()));
        let clients = clients.collect();
        Self {
            settings,
            trace: Trace::default(),
            told,
            now: Time::from_millis(10_000),
            sequence: 0,
            queue: BTreeMap::new(),
            deferred: hosts.iter().map(|_| Vec::new()).collect(),
            hosts,
            guids,
            clients,
            histories: BTreeMap::new(),
            cut: BTreeSet::new(),
            watch: Watch::new(plan.partitions),
            faults: BTreeMap::new(),
            wanted: Vec::new(),
            wishes: 0,
            faulty: true,
            asking: true,
            plan,
            random,
        }
    }

    fn host(plan: &Plan, guid: Guid, random: &mut Random) -> Host {
        let drift = plan.drift_permille * 1000;
        let drift_ppm = random.between(0, drift * 2) as i64 - drift as i64;
        Host {
            guid,
            generation: 0,
            process: None,
            paused_until: Time::ZERO,
            drift_ppm,
            clock_offset_ns: random.below(1_000_000_000_000),
            unix_offset_ms: random.between(0, plan.skew_ms),
            disk: Vec::new(),
            beliefs: vec![Belief::default(); usize::from(plan.partitions)],
        }
    }

    // Time.

    pub(super) fn at(&mut self, when: Time, due: Due) {
        self.sequence += 1;
        self.queue.insert((when.max(self.now), self.sequence), due);
    }

    pub(super) fn after_us(&mut self, us: u64, due: Due) {
        let when = Time::from_nanos(self.now.as_nanos() + us * 1000);
        self.at(when, due);
    }

    pub(super) fn after_ms(&mut self, ms: u64, due: Due) {
        self.after_us(ms * 1000, due);
    }

    /// Does what is due up to a moment, or until something is wrong.
    pub(super) fn run_until(&mut self, end: Time) {
        while self.watch.violation.is_none() {
            let Some(entry) = self.queue.first_entry() else {
                break;
            };
            if entry.key().0 > end {
                break;
            }
            let ((when, _), due) = entry.remove_entry();
            self.now = when;
            self.due(due);
        }
        self.now = self.now.max(end);
    }

    pub(super) fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub(super) fn tell(&mut self, words: impl FnOnce() -> String) {
        if self.told {
            let at = self.now.as_nanos() / 1000;
            #[allow(clippy::print_stderr)] // Somebody asked to be told.
            {
                eprintln!("{at:>10} {}", words());
            }
        }
    }

    fn due(&mut self, due: Due) {
        match &due {
            Due::Frame { to: host, .. }
            | Due::Deadline { host, .. }
            | Due::Kept { host, .. }
            | Due::Belief { host, .. }
            | Due::Wanted { host, .. }
            | Due::Ask { to: host, .. } => {
                let host = *host;
                if self.now < self.hosts[host].paused_until {
                    self.deferred[host].push(due);
                    return;
                }
            }
            _ => {}
        }
        match due {
            Due::Frame { from, to, frame } => self.frame(from, to, &frame),
            Due::Deadline {
                host,
                generation,
                partition,
            } => {
                if self.is_run(host, generation) {
                    self.input(host, partition, Input::Deadline);
                }
            }
            Due::Kept {
                host,
                generation,
                partition,
                term,
            } => {
                if self.is_run(host, generation) {
                    // Synced: nothing older is found after a restart.
                    let node = &mut self.hosts[host];
                    node.disk = node.snapshot().into_iter().collect();
                    self.input(host, partition, Input::Kept(term));
                }
            }
            Due::Resume { host } => self.resume(host),
            Due::Restart { host } => self.start(host),
            Due::Belief {
                host,
                about,
                liveness,
            } => self.believe(host, about, liveness),
            Due::Wanted {
                host,
                partition,
                owners,
                voters,
                wish,
            } => {
                self.set_wanted(host, partition, owners, voters, wish);
            }
            Due::Ask { to, ask } => self.asked(to, ask),
            Due::Reply {
                client,
                attempt,
                reply,
                hint,
            } => {
                self.reply(client, attempt, reply, hint);
            }
            Due::Client { client, attempt } => self.client(client, attempt),
            Due::Disk => self.write_disks(),
            Due::Fault(fault) => self.fault(fault),
        }
    }

    fn is_run(&self, host: usize, generation: u64) -> bool {
        let host = &self.hosts[host];
        host.generation == generation && host.process.is_some()
    }

    fn resume(&mut self, host: usize) {
        if self.now < self.hosts[host].paused_until {
            return;
        }
        self.tell(|| format!("n{host} resumes"));
        for due in std::mem::take(&mut self.deferred[host]) {
            self.due(due);
        }
    }

    // Nodes.

    /// Gives a replica an input and carries out what it wants.
    pub(super) fn input(&mut self, host: usize, partition: u16, input: Input) {
        let clock = self.hosts[host].clock(self.now);
        let unix_ms = self.hosts[host].unix_ms(self.now);
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        let effects = process.parts[usize::from(partition)].handle(clock, unix_ms, input);
        self.carry_out(host, partition, effects);
    }

    fn frame(&mut self, from: NodeId, to: usize, frame: &Bytes) {
        if self.hosts[to].process.is_none() {
            return;
        }
        let mut messages = Vec::new();
        wire::decode(frame, |partition, message| {
            messages.push((partition, message))
        })
        .expect("frames are whole");
        for (partition, message) in messages {
            self.trace
                .note(self.now, to as u16, "frame", to as u64, frame.len() as u64);
            self.tell(|| format!("{from:?} -> n{to} {message:?}"));
            let bias = self.bias(&message);
            self.input(to, partition, Input::Message { from, message });
            self.carry_out_bias(to, bias);
        }
    }

    pub(super) fn carry_out(&mut self, host: usize, partition: u16, effects: Effects) {
        let Some(process) = &self.hosts[host].process else {
            return;
        };
        let me = process.me;
        let cedes = |(_, message): &(Guid, Message)| matches!(message, Message::Cede { .. });
        let cedes = effects.messages.iter().any(cedes);
        for (to, message) in effects.messages {
            self.send(me, to, partition, &message);
        }
        if cedes && self.faulty && self.random.below(1000) < self.plan.bias_permille * 5 {
            self.count("pauses at a bad moment");
            let ms = self.random.between(100, 600);
            self.pause(host, ms);
        }
        let forced =
            |event: &Event| matches!(event, Event::Forced { .. } | Event::Recovered { .. });
        if effects.events.iter().any(forced) {
            self.watch.forced(partition);
        }
        for (ask, version) in &effects.acknowledged {
            let strict = self.plan.story != Story::Available;
            self.watch.acknowledged(ask, *version, strict);
        }
        for event in &effects.events {
            self.event(host, partition, event);
        }
        for (ask, reply) in effects.replies {
            self.answer(host, partition, &ask, reply);
        }
        self.arm(host, partition);
        self.look(host, partition);
    }

    fn event(&mut self, host: usize, partition: u16, event: &Event) {
        let generation = self.hosts[host].generation;
        self.tell(|| format!("n{host}.{generation} p{partition} {event:?}"));
        match event {
            Event::Opened { record, .. } => {
                self.trace.note(
                    self.now,
                    host as u16,
                    "opened",
                    host as u64,
                    record.term.counter,
                );
                self.opened(host, partition, record);
            }
            Event::Keep {
                record: Some(record),
                synced: true,
                ..
            } => {
                let term = record.term;
                self.after_ms(
                    5,
                    Due::Kept {
                        host,
                        generation,
                        partition,
                        term,
                    },
                );
            }
            _ => {}
        }
    }

    fn arm(&mut self, host: usize, partition: u16) {
        let node = &self.hosts[host];
        let Some(process) = &node.process else {
            return;
        };
        let generation = process.me.generation;
        if let Some(at) = process.parts[usize::from(partition)]
            .replica
            .next_deadline()
        {
            let when = node.when(at);
            self.at(
                when,
                Due::Deadline {
                    host,
                    generation,
                    partition,
                },
            );
        }
    }

    /// Starts a node's next run with what its disk has.
    pub(super) fn start(&mut self, host: usize) {
        if self.hosts[host].process.is_some() {
            return;
        }
        let kept = self.disk_at_start(host);
        let node = &mut self.hosts[host];
        node.generation += 1;
        node.paused_until = Time::ZERO;
        let me = NodeId {
            guid: node.guid,
            generation: node.generation,
        };
        for due in std::mem::take(&mut self.deferred[host]) {
            if matches!(due, Due::Belief { .. } | Due::Wanted { .. }) {
                self.due(due);
            }
        }
        self.tell(|| format!("n{host} starts as {me:?}"));
        self.hosts[host].process = Some(Process {
            me,
            parts: Vec::new(),
        });
        let founds = self.hosts[host].generation == 1 && host == 0;
        for partition in 0..self.plan.partitions {
            let (start, store) = match kept.as_ref().map(|kept| &kept[usize::from(partition)]) {
                None if founds => (Start::Founder, PlainStore::default()),
                Some(Kept {
                    promised,
                    record: Some(record),
                    store,
                }) => (
                    Start::Restarted {
                        promised: *promised,
                        record: record.clone(),
                    },
                    store.clone(),
                ),
                Some(kept) => (Start::Nothing, kept.store.clone()),
                None => (Start::Nothing, PlainStore::default()),
            };
            let seed = self.random.bits();
            let node = &self.hosts[host];
            let (clock, belief) = (
                node.clock(self.now),
                node.beliefs[usize::from(partition)].clone(),
            );
            let (part, effects) = Part::new(me, &self.settings, seed, start, store, belief, clock);
            let process = self.hosts[host].process.as_mut().expect("it was just made");
            process.parts.push(part);
            self.carry_out(host, partition, effects);
        }
        self.spread(me.guid, Liveness::Alive(me.generation), 5, 300);
    }

    /// Has every node believe something, each a while later.
    pub(super) fn spread(&mut self, about: Guid, liveness: Liveness, ms_min: u64, ms_max: u64) {
        for host in 0..self.hosts.len() {
            let ms = self.random.between(ms_min, ms_max);
            self.after_ms(
                ms,
                Due::Belief {
                    host,
                    about,
                    liveness,
                },
            );
        }
    }

    fn believe(&mut self, host: usize, about: Guid, liveness: Liveness) {
        if self.hosts[host].guid == about {
            return;
        }
        for partition in 0..self.plan.partitions {
            let beliefs = &mut self.hosts[host].beliefs[usize::from(partition)];
            // A node that was seen alive in a later run is not believed to live in an earlier one.
            let known = beliefs.liveness.get(&about).copied();
            if let (Some(Liveness::Alive(known)), Liveness::Alive(new)) = (known, liveness)
                && new < known
            {
                return;
            }
            beliefs.liveness.insert(about, liveness);
            let belief = beliefs.clone();
            if let Some(process) = &mut self.hosts[host].process {
                process.parts[usize::from(partition)].belief = belief;
                self.input(host, partition, Input::Changed);
            }
        }
    }

    pub(super) fn set_wanted(
        &mut self,
        host: usize,
        partition: u16,
        owners: Vec<Guid>,
        voters: Vec<Guid>,
        wish: u64,
    ) {
        let beliefs = &mut self.hosts[host].beliefs[usize::from(partition)];
        if beliefs.wish > wish {
            return;
        }
        beliefs.wish = wish;
        beliefs.owners = owners;
        beliefs.voters = voters;
        let belief = beliefs.clone();
        if let Some(process) = &mut self.hosts[host].process {
            process.parts[usize::from(partition)].belief = belief;
            self.input(host, partition, Input::Changed);
        }
    }

    // The network.

    fn send(&mut self, from: NodeId, to: Guid, partition: u16, message: &Message) {
        let index = |guid: Guid| self.guids.iter().position(|other| *other == guid);
        let (Some(source), Some(target)) = (index(from.guid), index(to)) else {
            return;
        };
        if self.cut.contains(&(source, target)) {
            self.count("messages cut");
            return;
        }
        let times = match () {
            () if self.faulty && self.random.below(1000) < self.plan.loss_permille => 0,
            () if self.random.below(1000) < self.plan.twice_permille => 2,
            () => 1,
        };
        match times {
            0 => self.count("messages lost"),
            2 => self.count("messages twice"),
            _ => {}
        }
        let mut bytes = Vec::new();
        wire::encode(partition, message, &mut bytes);
        let frame = Bytes::from(bytes);
        for _ in 0..times {
            let us = self.delay_us();
            let frame = frame.clone();
            self.after_us(
                us,
                Due::Frame {
                    from,
                    to: target,
                    frame,
                },
            );
        }
    }

    fn delay_us(&mut self) -> u64 {
        let straggles = self.faulty && self.random.below(1000) < self.plan.straggle_permille;
        if straggles {
            self.count("messages late");
            return self.random.between(50_000, 1_500_000);
        }
        let longest = self.plan.delay_us_max.max(self.plan.delay_us_min);
        self.random.between(self.plan.delay_us_min, longest)
    }

    // Clients.

    fn asked(&mut self, to: usize, ask: Ask) {
        let host = &mut self.hosts[to];
        let (clock, unix_ms) = (host.clock(self.now), host.unix_ms(self.now));
        let Some(process) = &mut host.process else {
            return;
        };
        let partition = ask.partition;
        let part = &mut process.parts[usize::from(partition)];
        let effects = part.ask(clock, unix_ms, ask);
        self.carry_out(to, partition, effects);
    }

    fn answer(&mut self, host: usize, partition: u16, ask: &Ask, reply: Reply) {
        let process = self.hosts[host].process.as_ref();
        let part = process.map(|process| &process.parts[usize::from(partition)]);
        let hint = part.and_then(|part| part.replica.primary_hint());
        let us = self.random.between(50, 1000);
        let (client, attempt) = (ask.client, ask.attempt);
        self.after_us(
            us,
            Due::Reply {
                client,
                attempt,
                reply,
                hint,
            },
        );
    }

    fn reply(&mut self, at: usize, attempt: u64, reply: Reply, hint: Option<Term>) {
        let client = &mut self.clients[at];
        if client.attempt != attempt {
            return;
        }
        let Some(current) = client.current.clone() else {
            return;
        };
        let partition = usize::from(current.partition);
        client.hints[partition] = client.hints[partition].max(hint);
        self.trace
            .note(self.now, at as u16, "reply", at as u64, attempt);
        self.tell(|| format!("client {at} {current:?}: {reply:?}"));
        match reply {
            Reply::Told(told) => {
                self.finish(at, Some(told));
            }
            Reply::Refused => {
                let ms = self.random.between(2, 60);
                self.after_ms(
                    ms,
                    Due::Client {
                        client: at,
                        attempt,
                    },
                );
            }
            Reply::Unknown if self.random.chance(50) => {
                let ms = self.random.between(2, 200);
                self.after_ms(
                    ms,
                    Due::Client {
                        client: at,
                        attempt,
                    },
                );
            }
            Reply::Unknown => self.finish(at, None),
        }
    }

    fn finish(&mut self, at: usize, told: Option<Told>) {
        let now = self.now.as_nanos();
        let client = &mut self.clients[at];
        let Some(current) = client.current.take() else {
            return;
        };
        client.attempt += 1;
        let attempt = client.attempt;
        let history = self.histories.entry((current.partition, current.key));
        let history = history.or_default();
        history[current.operation].told = told.map(|told| (now, told));
        self.watch.finished(told.is_some());
        let ms = self.random.between(0, self.plan.think_ms);
        self.after_ms(
            ms,
            Due::Client {
                client: at,
                attempt,
            },
        );
    }

    /// A client begins an operation, or tries again.
    fn client(&mut self, at: usize, attempt: u64) {
        if self.clients[at].attempt != attempt {
            return;
        }
        if self.clients[at].current.is_none() && !self.begin_operation(at) {
            return;
        }
        let Some((node, ask)) = self.clients[at].attempt(&self.guids) else {
            return self.finish(at, None);
        };
        let attempt = ask.attempt;
        let to = self.guids.iter().position(|guid| *guid == node);
        let to = to.unwrap_or_default();
        let lost = self.faulty && self.random.below(1000) < self.plan.loss_permille;
        if !lost {
            let us = self.random.between(50, 1000);
            let ask = ask.clone();
            self.after_us(us, Due::Ask { to, ask });
        }
        if self.faulty && self.random.below(1000) < self.plan.twice_permille {
            let us = self.random.between(50, 900_000);
            self.after_us(us, Due::Ask { to, ask });
        }
        let patience_ms = self.random.between(200, 1500);
        self.after_ms(
            patience_ms,
            Due::Client {
                client: at,
                attempt,
            },
        );
    }

    fn begin_operation(&mut self, at: usize) -> bool {
        const UNKNOWN_MAX: usize = 6;
        if !self.asking {
            return false;
        }
        let partition = self.random.below(u64::from(self.plan.partitions)) as u16;
        let key = self.random.below(u64::from(self.plan.keys)) as u8;
        let history = self.histories.entry((partition, key)).or_default();
        let unknown = history.iter().filter(|operation| operation.told.is_none());
        if unknown.count() > UNKNOWN_MAX + self.plan.clients {
            // Too many orders to follow: this key is left alone.
            let attempt = self.clients[at].attempt;
            self.after_ms(
                200,
                Due::Client {
                    client: at,
                    attempt,
                },
            );
            return false;
        }
        let operation = history.len();
        let wish = self.clients[at].begin(partition, key, operation);
        history.push(Operation {
            wish,
            asked: self.now.as_nanos(),
            told: None,
        });
        true
    }

    /// The record with the highest term that any running node has accepted.
    pub(super) fn highest_record(&self, partition: u16) -> Option<&Record> {
        let processes = self.hosts.iter().flat_map(|host| &host.process);
        let records =
            processes.flat_map(|process| process.parts[usize::from(partition)].replica.record());
        records.max_by_key(|record| record.term)
    }
}
