//! One run: nodes begin, clients ask, things go wrong, then nothing does any more.
//!
//! Decides the phases of a run and what clients do. Refuses to know how faults are carried out and
//! what answers may be.

use std::collections::BTreeMap;

use zufar_core::membership::next_generation;
use zufar_core::time::Time;

use super::bias::Bias;
use super::check::{RecordId, Records};
use super::faults::Faults;
use super::keys::partition_of;
use super::node::{Start, program, seed_name};
use super::plan::{Plan, Scope};
use super::watch::Watch;
use crate::Random;
use crate::client::{Asked, Client, Progress};
use crate::history::Moment;
use crate::load::Load;
use crate::plan::DiskPlan;
use crate::request::{Reading, Request};
use crate::rig::START_UNIX_MS;
use crate::trace::Trace;
use crate::world::{HostId, Incident, LinkId, World};

/// Timers up to here are those of clients, by their number.
const FIRST_OTHER_TIMER: u32 = 1000;
/// How often nodes are looked at, in microseconds.
const LOOK_US: u64 = 20_000;
/// A client that has been waiting for so long gives its connection up, in milliseconds: sometimes.
const PATIENCE_MS: u64 = 2_000;
/// Things that happen in one run, at most.
const EVENTS_MAX: u64 = 30_000_000;
/// Longest time until a cluster is whole for the first time, in milliseconds.
const BEGIN_MS_MAX: u64 = 10_000;
/// How long after the last fault everything must be as it should be, in milliseconds.
pub(super) const SETTLE_MS_MAX: u64 = 15_000;
/// Commands of one key, at most: more would take too long to check.
const COMMANDS_OF_KEY_MAX: u64 = 400;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// What had been drawn.
    pub plan: Plan,
    /// Equal for equal runs.
    pub hash: u64,
    /// Things that happened.
    pub events: u64,
    /// Virtual time that has passed.
    pub virtual_ms: u64,
    /// Commands that were checked.
    pub commands: u64,
    /// Commands whose clients were told that nobody knows what came of them.
    pub unknown: u64,
    /// Commands whose clients were told that no node answers.
    pub unreachable: u64,
    /// Histories of a key that were found linearizable in runs with crashes or suspensions.
    pub histories: u64,
    /// Keys for which there were too many explanations to follow.
    pub given_up: u64,
    /// Partitions of which not all was checked, for all replicas were lost, or because a node went
    /// on without a majority.
    pub cut: u64,
    /// How long it took after the last fault until all was as it should be.
    pub settled_ms: u64,
    /// Faults that were met, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// What is wrong, if anything.
    pub violation: Option<String>,
}

/// Something that this run has planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Planned {
    Look,
    Start(HostId),
    Fault,
    HealWay(HostId, HostId),
    SpeedUp(HostId, HostId),
}

/// One client.
pub(super) struct Actor {
    pub(super) client: Client,
    records: Vec<Vec<RecordId>>,
    armed: bool,
    asked_at: Time,
}

pub(super) struct Run {
    pub(super) plan: Plan,
    pub(super) random: Random,
    pub(super) world: World,
    load: Load,
    pub(super) actors: Vec<Actor>,
    pub(super) records: Records,
    pub(super) watch: Watch,
    pub(super) faults: Faults,
    pub(super) bias: Bias,
    /// Hosts that have had a process, or are to have one.
    pub(super) hosts: usize,
    generations: Vec<u64>,
    /// The partitions that are replicated; none for all.
    partitions: Option<Vec<u16>>,
    /// Those that keys lie in.
    pub(super) hot: Vec<u16>,
    /// Those whose replicas are looked at.
    pub(super) watched: Vec<u16>,
    planned: BTreeMap<u32, Planned>,
    next_timer: u32,
    /// Clients ask.
    pub(super) asking: bool,
    asked: u64,
    violation: Option<String>,
}

/// Runs what `random` draws within `scope`, and prints each event if `told`.
#[must_use]
pub fn run(mut random: Random, scope: Scope, told: bool) -> Report {
    let plan = Plan::draw(&mut random, scope);
    let mut run = Run::new(plan, random, told);
    let mut settled_ms = 0;
    let result = run.all(&mut settled_ms);
    let checked = run
        .records
        .check(&run.plan.keys, run.watch.clocks_wrong_ms_max);
    let (verdict, wrong) = match checked {
        Ok(verdict) => (verdict, None),
        Err(text) => (Default::default(), Some(text)),
    };
    let struck = ["crashes", "suspensions"];
    let struck = struck
        .iter()
        .any(|kind| run.world.faults.contains_key(kind));
    Report {
        hash: run.world.trace.hash(),
        events: run.world.trace.events(),
        virtual_ms: run.world.time().as_millis(),
        commands: verdict.checked,
        unknown: run.records.unknown,
        unreachable: run.records.unreachable,
        histories: if struck { verdict.histories } else { 0 },
        given_up: verdict.given_up,
        cut: run.records.cut_partitions() as u64,
        settled_ms,
        faults: std::mem::take(&mut run.world.faults),
        violation: wrong.or(result.err()),
        plan: run.plan,
    }
}

impl Run {
    fn new(plan: Plan, mut random: Random, told: bool) -> Self {
        let disk = plan.disk.clone().unwrap_or(DiskPlan {
            latency_us_max: 500,
            slow_us_max: 1000,
        });
        let (network, trace) = (plan.network.clone(), Trace::new(told));
        let mut world = World::new(random.fork(), network, disk, START_UNIX_MS, trace);
        world.peers = plan.peers.clone();
        for _ in 1..plan.hosts() {
            let skew_ms = random.below(plan.skew_ms_max + 1);
            world.add_host(Time::ZERO, START_UNIX_MS + skew_ms);
        }
        for host in world.hosts() {
            let address = host.address(zufar_core::machine::Listener::Peer);
            world.names.insert(seed_name(host), vec![address]);
        }
        let mut hot: Vec<u16> = plan.keys.iter().map(|key| partition_of(*key)).collect();
        hot.sort_unstable();
        hot.dedup();
        let mut partitions = plan.idle_partitions.clone();
        partitions.extend(&hot);
        partitions.sort_unstable();
        partitions.dedup();
        let watched = if plan.whole {
            hot.clone()
        } else {
            partitions.clone()
        };
        let actor = |_| {
            let slow = plan.load.slow_readers && random.chance(50);
            Actor {
                client: Client::new(if slow { 700 } else { usize::MAX }),
                records: Vec::new(),
                armed: false,
                asked_at: Time::ZERO,
            }
        };
        let actors = (0..plan.load.clients).map(actor).collect();
        Self {
            load: Load::of_keys(plan.load.clone(), plan.keys.clone(), random.fork()),
            actors,
            records: Records::default(),
            watch: Watch::new(&watched),
            watched,
            faults: Faults::default(),
            bias: Bias::default(),
            hosts: plan.workers.len(),
            generations: vec![0; plan.hosts()],
            partitions: (!plan.whole).then_some(partitions),
            hot,
            planned: BTreeMap::new(),
            next_timer: FIRST_OTHER_TIMER,
            asking: false,
            asked: 0,
            violation: None,
            random,
            world,
            plan,
        }
    }

    fn all(&mut self, settled_ms: &mut u64) -> Result<(), String> {
        self.begin()?;
        let end = self.world.time().plus_millis(self.plan.faults_ms);
        self.begin_faults();
        self.run_until(end)?;
        self.calm_down();
        *settled_ms = self.settle()?;
        if self.kept_apart() {
            return Ok(());
        }
        self.ask_everybody()?;
        match self.plan.blackout {
            true => self.black_out(),
            false => Ok(()),
        }
    }

    /// All nodes start, and find each other.
    fn begin(&mut self) -> Result<(), String> {
        self.after_us(1, Planned::Look);
        for number in 0..self.hosts as u16 {
            let wait_ms = match self.plan.one_after_another {
                true => u64::from(number) * self.random.between(100, 800),
                false => u64::from(number > 0) * self.random.below(300),
            };
            self.after_us(wait_ms * 1000 + 1, Planned::Start(HostId(number)));
        }
        if self.plan.early_clients {
            self.begin_asking();
        }
        let by = self.world.time().plus_millis(BEGIN_MS_MAX);
        loop {
            let next = self.world.time().plus_millis(100);
            self.run_until(next)?;
            let wrong = self.not_settled();
            if wrong.is_none() {
                break;
            }
            if self.world.time() >= by {
                // With a network that loses much this takes long: faults begin all the same, but
                // under `available` a node that finds nobody forms a cluster of its own.
                break;
            }
        }
        if !self.plan.early_clients {
            self.begin_asking();
        }
        Ok(())
    }

    fn begin_asking(&mut self) {
        self.asking = true;
        for actor in 0..self.actors.len() {
            self.arm(actor);
        }
    }

    pub(super) fn after_us(&mut self, microseconds: u64, planned: Planned) {
        let timer = self.next_timer;
        self.next_timer += 1;
        self.planned.insert(timer, planned);
        self.world.set_timer(timer, microseconds);
    }

    /// Starts a process on `host`, unless one runs.
    pub(super) fn start(&mut self, host: HostId) {
        if self.world.is_host_up(host) {
            return;
        }
        let number = usize::from(host.0);
        let unix_ms = self.world.now_of(host).unix_ms;
        let noted = self.world.disk_of(host).recovery().cluster.generation;
        let last = self.generations[number].max(noted);
        let generation = next_generation(Some(last), unix_ms, None);
        let is_first = self.generations.iter().all(|known| *known == 0);
        self.generations[number] = generation;
        let others = (0..self.hosts as u16)
            .map(HostId)
            .filter(|other| *other != host);
        // Those that begin together know the one that is to found the cluster: two others that
        // met before would found another.
        let begins = !self.faults.have_begun;
        let seeds = match (is_first, begins) {
            (true, _) => Vec::new(),
            (false, true) => vec![seed_name(HostId(0))],
            (false, false) => others.map(seed_name).collect(),
        };
        let start = Start {
            plan: &self.plan,
            workers: match self.plan.workers.get(number) {
                Some(workers) => *workers,
                None => self.plan.joining[number - self.plan.workers.len()],
            },
            generation,
            seeds,
            partitions: self.partitions.as_deref(),
        };
        self.world
            .start_host(host, |launch| program(launch, &start));
        self.watch.started(host, generation);
    }

    /// The partitions that are replicated.
    pub(super) fn partitions(&self) -> Vec<u16> {
        match &self.partitions {
            Some(partitions) => partitions.clone(),
            None => (0..zufar_core::hash::PARTITIONS as u16).collect(),
        }
    }

    pub(super) fn run_until(&mut self, end: Time) -> Result<(), String> {
        let wait_us = end.as_nanos().saturating_sub(self.world.time().as_nanos()) / 1000;
        self.world.set_timer(u32::MAX, wait_us);
        loop {
            let incident = self.world.step();
            if incident == Some(Incident::Timer(u32::MAX)) {
                return Ok(());
            }
            self.react(incident)?;
            self.strike_at_bad_moments();
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
            if self.world.trace.events() > EVENTS_MAX {
                return Err("the run never ends".to_owned());
            }
        }
    }

    pub(super) fn react(&mut self, incident: Option<Incident>) -> Result<(), String> {
        match incident {
            Some(Incident::Timer(timer)) if timer >= FIRST_OTHER_TIMER => {
                match self.planned.remove(&timer) {
                    Some(planned) => self.carry_out(planned),
                    None => Ok(()),
                }
            }
            Some(Incident::Timer(actor)) => {
                self.actors[actor as usize].armed = false;
                self.act(actor as usize)
            }
            Some(Incident::Opened(link)) => {
                if let Some(actor) = self.owner(link) {
                    self.actors[actor].client.open();
                    self.arm(actor);
                }
                Ok(())
            }
            Some(Incident::Readable(link)) => match self.owner(link) {
                Some(actor) => self.progress(actor),
                None => Ok(()),
            },
            Some(Incident::Writable(link)) => {
                if let Some(actor) = self.owner(link) {
                    self.actors[actor].client.send(&mut self.world);
                    self.arm(actor);
                }
                Ok(())
            }
            Some(Incident::Stopped(host)) => {
                self.has_stopped(host);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn carry_out(&mut self, planned: Planned) -> Result<(), String> {
        match planned {
            Planned::Look => {
                self.after_us(LOOK_US, Planned::Look);
                self.look()
            }
            Planned::Start(host) => {
                self.start(host);
                Ok(())
            }
            Planned::Fault => self.next_fault(),
            Planned::HealWay(from, to) => {
                self.world.heal(from, to);
                Ok(())
            }
            Planned::SpeedUp(from, to) => {
                self.world.slow(from, to, 0);
                self.world.lose(from, to, 0);
                Ok(())
            }
        }
    }

    pub(super) fn moment(&self) -> Moment {
        let time = self.world.time();
        Moment {
            time,
            unix_ms: START_UNIX_MS + time.as_millis(),
        }
    }

    // Clients.

    fn owner(&self, link: LinkId) -> Option<usize> {
        let owns = |actor: &Actor| actor.client.link() == Some(link);
        self.actors.iter().position(owns)
    }

    /// Has the client come back to what it wants to ask.
    fn arm(&mut self, actor: usize) {
        if !std::mem::replace(&mut self.actors[actor].armed, true) {
            let pause_us = self.random.between(1, self.plan.load.pause_us_max);
            self.world.set_timer(actor as u32, pause_us);
        }
    }

    /// A client's turn: it connects, reads if it is a slow one, and asks.
    fn act(&mut self, number: usize) -> Result<(), String> {
        let actor = &mut self.actors[number];
        if actor.client.link().is_none() {
            if self.asking {
                let host = self.random.below(self.hosts as u64) as u16;
                actor.client.connect_to(&mut self.world, HostId(host));
                self.arm(number);
            }
            return Ok(());
        }
        if actor.client.is_slow() {
            self.progress(number)?;
            self.arm(number);
        }
        let now = self.world.time();
        let actor = &mut self.actors[number];
        let waits = actor.client.unanswered() > 0;
        let waits_ms = now.millis_since(actor.asked_at);
        if waits && waits_ms > PATIENCE_MS && self.asking && self.random.chance(10) {
            self.reset_client(number);
            return Ok(());
        }
        let actor = &mut self.actors[number];
        let limit = COMMANDS_OF_KEY_MAX * self.plan.keys.len() as u64;
        if !self.asking || self.asked >= limit {
            return Ok(());
        }
        if actor.client.can_ask() && actor.client.unanswered() < self.plan.load.depth_max {
            let unix_s = self.moment().unix_ms / 1000;
            let request = self.load.draw(unix_s);
            self.ask(number, request);
        }
        self.arm(number);
        Ok(())
    }

    pub(super) fn ask(&mut self, number: usize, request: Request) {
        let at = self.moment();
        let actor = &mut self.actors[number];
        let connection = actor.client.link().expect("it can ask").0;
        self.asked += request.commands.len() as u64;
        let note = |(key, operation): &(u16, _)| self.records.send(*key, operation, connection, at);
        let records = request.commands.iter().map(note).collect();
        actor.records.push(records);
        actor.asked_at = at.time;
        let commands = Vec::new();
        actor
            .client
            .ask(&mut self.world, Asked { request, commands });
    }

    pub(super) fn progress(&mut self, number: usize) -> Result<(), String> {
        loop {
            let actor = &mut self.actors[number];
            match actor.client.progress(&mut self.world)? {
                Progress::Waiting => return Ok(()),
                Progress::Answered(_, reading) => {
                    let records = actor.records.remove(0);
                    actor.asked_at = self.world.time();
                    self.take_answers(&records, reading)?;
                    self.arm(number);
                }
                Progress::Ended(_) => {
                    actor.records.clear();
                    self.arm(number);
                    return Ok(());
                }
            }
        }
    }

    fn take_answers(&mut self, records: &[RecordId], reading: Reading) -> Result<(), String> {
        self.look_at_formations();
        let at = self.moment();
        for (record, answer) in records.iter().zip(reading.answers) {
            if let Some((key, cas)) = self.records.answer(*record, answer, at)? {
                self.load.see(key, cas);
            }
        }
        Ok(())
    }

    /// A client breaks its connection.
    pub(super) fn reset_client(&mut self, number: usize) {
        self.world.count("clients' connections reset");
        let actor = &mut self.actors[number];
        actor.client.reset(&mut self.world);
        actor.records.clear();
        self.arm(number);
    }
}
