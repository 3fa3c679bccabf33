//! One run: a plan is drawn, clients work, things go wrong, and everything is checked.
//!
//! Decides the course of a run and what must hold at every moment of it. Refuses to know how
//! faults are carried out and what a single key may hold.

mod chaos;
mod end;
mod watch;

use std::collections::BTreeMap;
use std::fmt;

use zufar_core::time::Time;

use crate::client::{Asked, Client, Progress};
use crate::history::{Command, History, Moment};
use crate::load::Load;
use crate::model::Rules;
use crate::operation::{Answer, Operation};
use crate::plan::Plan;
use crate::random::Random;
use crate::request::{Reading, Request};
use crate::rig::START_UNIX_MS;
use crate::trace::Trace;
use crate::world::{Incident, LinkId, World};

use chaos::Chaos;
use watch::Watch;

/// The item limit of every run, in bytes.
pub(crate) const VALUE_BYTES_MAX: usize = 1 << 20;
/// Timers up to here are those of clients, by their number.
const FIRST_OTHER_TIMER: u32 = 1000;
const WATCH_TIMER: u32 = FIRST_OTHER_TIMER;
const FAULT_TIMER: u32 = FIRST_OTHER_TIMER + 1;
const HEAL_TIMER: u32 = FIRST_OTHER_TIMER + 2;
const RESTART_TIMER: u32 = FIRST_OTHER_TIMER + 3;
const CRASH_TIMER: u32 = FIRST_OTHER_TIMER + 4;
const FLAP_TIMER: u32 = FIRST_OTHER_TIMER + 5;
/// What a connection has asked for is carried out by then, when it is gone, if ever.
const ABANDONED_MS: u64 = 8_000;
/// Longest wait for anything once all faults have ended, in milliseconds.
const PATIENCE_MS: u64 = 60_000;
/// Requests of a run that bytes decide, at most.
const SCRIPTED_REQUESTS_MAX: u64 = 80;
/// Things that happen in one run, at most.
const EVENTS_MAX: u64 = 20_000_000;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Equal for equal runs.
    pub hash: u64,
    /// Things that happened.
    pub events: u64,
    /// Commands whose answers were checked.
    pub commands: u64,
    /// Keys for which there were too many explanations to follow.
    pub given_up: u64,
    /// Virtual time that has passed.
    pub virtual_ms: u64,
    /// Faults that were met, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// What had been drawn.
    pub plan: Plan,
    /// What is wrong with the node, if anything.
    pub violation: Option<String>,
}

impl Report {
    /// The report of a run that ended in a panic: an assertion of ours, most likely.
    #[must_use]
    pub fn of_panic(seed: u64, text: &str) -> Self {
        Self {
            hash: 0,
            events: 0,
            commands: 0,
            given_up: 0,
            virtual_ms: 0,
            faults: BTreeMap::new(),
            plan: Plan::draw(&mut Random::new(seed)),
            violation: Some(format!("panicked: {text}")),
        }
    }
}

/// Runs what `random` draws, and prints each event if `told`.
#[must_use]
pub fn run(mut random: Random, told: bool) -> Report {
    let plan = Plan::draw(&mut random);
    carry_out(plan, random, told)
}

/// Runs what bytes say, as far as they go, and prints each event if `told`. It is a short run:
/// all of it is to be in the bytes.
#[must_use]
pub fn run_script(script: &[u8], told: bool) -> Report {
    let mut random = Random::from_script(script);
    let mut plan = Plan::draw(&mut random);
    plan.load.requests = plan.load.requests.min(SCRIPTED_REQUESTS_MAX);
    carry_out(plan, random, told)
}

fn carry_out(plan: Plan, random: Random, told: bool) -> Report {
    let mut run = Run::new(plan, random, told);
    let violation = run.all().err();
    Report {
        hash: run.world.trace.hash(),
        events: run.world.trace.events(),
        commands: run.history.checked(),
        given_up: run.history.given_up(),
        virtual_ms: run.world.now().time.as_millis(),
        faults: std::mem::take(&mut run.world.faults),
        plan: run.plan,
        violation,
    }
}

/// One client and whether its next request has been planned.
struct Actor {
    client: Client,
    armed: bool,
}

struct Run {
    plan: Plan,
    random: Random,
    world: World,
    load: Load,
    actors: Vec<Actor>,
    history: History,
    watch: Watch,
    chaos: Chaos,
    requests_left: u64,
    /// The greatest cas unique that was shown.
    version_max: u64,
    /// What the node's clock has shown at the latest, in any run of it.
    clock_ms_max: u64,
}

impl Run {
    fn new(plan: Plan, mut random: Random, told: bool) -> Self {
        let world = World::new(
            random.fork(),
            plan.network.clone(),
            plan.disk.clone(),
            START_UNIX_MS,
            Trace::new(told),
        );
        if let Some(bytes) = plan.node.disk_bytes {
            world.disk().set_capacity(bytes);
        }
        let slow = |random: &mut Random| {
            let slow = plan.load.slow_readers && random.chance(50);
            Client::new(if slow { 700 } else { usize::MAX })
        };
        let actor = |_| Actor {
            client: slow(&mut random),
            armed: false,
        };
        let actors = (0..plan.load.clients).map(actor).collect();
        let rules = Rules {
            items_may_vanish: plan.items_may_vanish(),
            commands_may_fail: plan.commands_may_fail(),
            has_others: false,
            value_bytes_max: VALUE_BYTES_MAX,
            version_above: 0,
            clock_ms_min: 0,
            clock_ms_max: 0,
        };
        Self {
            load: Load::new(plan.load.clone(), random.deal()),
            actors,
            history: History::new(plan.load.keys, rules),
            watch: Watch::default(),
            chaos: Chaos::new(random.deal()),
            requests_left: plan.load.requests,
            version_max: 0,
            clock_ms_max: 0,
            random,
            world,
            plan,
        }
    }

    fn all(&mut self) -> Result<(), String> {
        self.start_node();
        for actor in 0..self.actors.len() {
            self.arm(actor);
        }
        self.world.set_timer(WATCH_TIMER, 1);
        self.plan_fault();
        while self.requests_left > 0 || !self.is_idle() {
            let incident = self.world.step();
            self.react(incident)?;
            self.check_course()?;
        }
        self.finish()
    }

    fn check_course(&mut self) -> Result<(), String> {
        if self.world.trace.events() > EVENTS_MAX {
            return Err("the run never ends".to_owned());
        }
        let now = self.world.now().time;
        if self.requests_left == 0 && !self.chaos.is_over() {
            self.end_faults();
            self.chaos.ended_at = Some(now);
            for actor in 0..self.actors.len() {
                self.actors[actor].client.read_all();
                self.progress(actor)?;
            }
        }
        let since = |ended: Time| now.millis_since(ended);
        if self.chaos.ended_at.map_or(0, since) > PATIENCE_MS {
            return Err(format!("unanswered for {PATIENCE_MS} ms without any fault"));
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        let idle = |actor: &Actor| actor.client.unanswered() == 0;
        self.world.is_up() && !self.chaos.stopping && self.actors.iter().all(idle)
    }

    fn start_node(&mut self) {
        let workers = self.random.between(1, 4) as u16;
        self.world.start(self.plan.node.settings(workers));
        self.watch.start(self.world.now().time, workers);
        self.plan_relapse();
    }

    fn moment(&self) -> Moment {
        let now = self.world.now();
        Moment {
            time: now.time,
            unix_ms: now.unix_ms,
        }
    }

    /// Has the client come back to what it wants to ask.
    fn arm(&mut self, actor: usize) {
        if !std::mem::replace(&mut self.actors[actor].armed, true) {
            let pause_us = self.random.between(0, self.plan.load.pause_us_max);
            self.world.set_timer(actor as u32, pause_us);
        }
    }

    fn react(&mut self, incident: Option<Incident>) -> Result<(), String> {
        match incident {
            Some(Incident::Timer(WATCH_TIMER)) => self.watch_node(),
            Some(Incident::Timer(FAULT_TIMER)) => self.next_fault()?,
            Some(Incident::Timer(HEAL_TIMER)) => self.heal_disk(),
            Some(Incident::Timer(RESTART_TIMER)) if !self.world.is_up() => self.start_node(),
            Some(Incident::Timer(RESTART_TIMER)) => {}
            Some(Incident::Timer(CRASH_TIMER)) => self.crash_now()?,
            Some(Incident::Timer(FLAP_TIMER)) => self.flap(),
            Some(Incident::Timer(actor)) => {
                self.actors[actor as usize].armed = false;
                self.act(actor as usize)?;
            }
            Some(Incident::Opened(link)) => self.opened(link),
            Some(Incident::Readable(link)) => self.read(link)?,
            Some(Incident::Writable(link)) => self.send(link),
            Some(Incident::Stopped(_)) => self.node_has_stopped()?,
            None => {}
        }
        Ok(())
    }

    fn owner(&self, link: LinkId) -> Option<usize> {
        let owns = |actor: &Actor| actor.client.link() == Some(link);
        self.actors.iter().position(owns)
    }

    fn send(&mut self, link: LinkId) {
        if let Some(actor) = self.owner(link) {
            self.actors[actor].client.send(&mut self.world);
            self.arm(actor);
        } else if self.watch.client.link() == Some(link) {
            self.watch.client.send(&mut self.world);
        }
    }

    fn opened(&mut self, link: LinkId) {
        if let Some(actor) = self.owner(link) {
            self.actors[actor].client.open();
            self.ask_if_flapping(actor);
            self.arm(actor);
        } else if self.watch.client.link() == Some(link) {
            self.watch.client.open();
        }
    }

    fn read(&mut self, link: LinkId) -> Result<(), String> {
        if let Some(actor) = self.owner(link) {
            self.progress(actor)
        } else if self.watch.client.link() == Some(link) {
            self.progress_watch()
        } else {
            Ok(())
        }
    }

    /// A client's turn: it connects, reads if it is a slow one, and asks.
    fn act(&mut self, number: usize) -> Result<(), String> {
        let actor = &mut self.actors[number];
        if actor.client.link().is_none() {
            if self.requests_left > 0 {
                actor.client.connect(&mut self.world);
            }
            self.arm(number);
            return Ok(());
        }
        if actor.client.is_slow() {
            self.progress(number)?;
            self.arm(number);
        }
        let client = &self.actors[number].client;
        if !client.can_ask() || client.unanswered() >= self.plan.load.depth_max {
            return Ok(());
        }
        if self.requests_left > 0 {
            self.requests_left -= 1;
            self.ask(number);
            self.arm(number);
        }
        Ok(())
    }

    fn ask(&mut self, number: usize) {
        let request = self.load.draw(self.moment().unix_ms / 1000);
        self.ask_for(number, request);
    }

    fn ask_for(&mut self, number: usize, request: Request) {
        let sent = self.moment();
        let client = &mut self.actors[number].client;
        let connection = client.link().expect("it can ask").0;
        let starts_at = client.asked_bytes();
        let note = |(key, operation): &(u16, Operation)| {
            self.history.send(Command {
                key: *key,
                connection,
                starts_at,
                operation: operation.clone(),
                sent,
                answered: None,
                answer: Answer::Unknown,
                abandoned: None,
                loose: false,
            })
        };
        let commands = request.commands.iter().map(note).collect();
        client.ask(&mut self.world, Asked { request, commands });
    }

    fn progress(&mut self, number: usize) -> Result<(), String> {
        loop {
            let client = &mut self.actors[number].client;
            match client.progress(&mut self.world)? {
                Progress::Waiting => return Ok(()),
                Progress::Answered(asked, reading) => {
                    self.take_answers(&asked, reading);
                    self.arm(number);
                }
                Progress::Ended(asked) => {
                    self.abandon(&asked);
                    self.arm(number);
                    return Ok(());
                }
            }
        }
    }

    fn take_answers(&mut self, asked: &Asked, reading: Reading) {
        let at = self.moment();
        for (index, answer) in reading.answers.into_iter().enumerate() {
            let shown = answer.cas();
            // A cas unique that the checker does not know of must not be compared with.
            if self.history.answer(asked.commands[index], answer, at)
                && let Some(cas) = shown
            {
                self.version_max = self.version_max.max(cas);
                self.load.see(asked.request.commands[index].0, cas);
            }
        }
    }

    /// These will not be answered. What they asked may be carried out all the same.
    fn abandon(&mut self, asked: &[Asked]) {
        let by = self.world.now().time.plus_millis(ABANDONED_MS);
        for asked in asked {
            for command in &asked.commands {
                self.history.abandon(*command, by);
            }
        }
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Run").finish_non_exhaustive()
    }
}
