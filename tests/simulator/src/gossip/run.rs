//! A whole run: start, faults, and the demand that all heals once they have stopped.
//!
//! Decides what is checked when. Refuses to know what the plan is for.

use zufar_core::layout::{Health, LayoutState};
use zufar_core::membership::{Event, Input};
use zufar_core::time::Time;

use super::check::converged;
use super::plan::{Fault, Plan};
use super::world::World;

/// How long nodes may take to agree once nothing goes wrong any more.
pub const HEAL_MS_MAX: u64 = 20_000;
/// How long what was under way when the faults stopped may still show.
const AFTERMATH_MS: u64 = 5000;
/// How long nothing may happen after that.
const QUIET_MS: u64 = 20_000;
const STEP_MS: u64 = 100;
/// Where nothing goes wrong, how long nodes may take to agree after the start.
const START_MS_MAX: u64 = 10_000;

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Equal for equal runs.
    pub hash: u64,
    /// Things that have happened.
    pub events: u64,
    /// From the end of the faults until all agreed.
    pub heal_ms: u64,
    /// Virtual time in all.
    pub virtual_ms: u64,
    /// Times that a node was told to be down.
    pub deaths: u64,
    /// Times that a node was suspected.
    pub suspicions: u64,
    /// Times that a node has come back after it was taken for dead.
    pub renewals: u64,
    /// Times that evidence of connections was enough.
    pub fast_deaths: u64,
    /// Times that a node had to take a higher generation.
    pub generations_wanted: u64,
    /// Times that a node has given up its name.
    pub names_lost: u64,
}

/// Something to be undone or done at its time.
enum Step {
    Fault(Fault),
    Start {
        host: usize,
        lose_disk: bool,
        clock_back_ms: i64,
    },
    Resume(usize),
    Mend(Vec<(usize, usize)>),
}

struct Run {
    world: World,
    plan: Plan,
    steps: Vec<(u64, Step)>,
    report: Report,
}

/// Runs a plan with a seed.
///
/// # Errors
/// With what does not hold.
///
/// # Panics
/// If a machine contradicts itself.
pub fn run(plan: &Plan, seed: u64, told: bool) -> Result<Report, String> {
    let mut world = World::new(plan.hosts + 1, plan.seeds, seed, told);
    for host in &mut world.hosts {
        host.wait_for_others = plan.wait_for_others;
    }
    if plan.hosts == 1 {
        // The first of a cluster has nobody to look for.
        world.hosts[0].seeds.clear();
    }
    let mut run = Run {
        world,
        plan: plan.clone(),
        steps: Vec::new(),
        report: Report::default(),
    };
    run.begin()?;
    run.faults();
    run.heal()?;
    run.quiet()?;
    let mut report = run.report;
    report.hash = run.world.trace.hash();
    report.events = run.world.trace.events();
    report.virtual_ms = run.world.time().as_millis();
    Ok(report)
}

impl Run {
    fn begin(&mut self) -> Result<(), String> {
        for host in 0..self.plan.hosts {
            self.world.start(host);
            if !self.plan.at_once {
                self.world.run_for(300);
            }
        }
        self.until_converged(START_MS_MAX, "at the start")?;
        for host in self.plan.with_data.clone() {
            self.world.hosts[host].disk.data = true;
            let health = Health::HOLDS_DATA;
            self.world.input(host, Input::Health(health));
        }
        self.until_converged(START_MS_MAX, "with data")?;
        let begun = (self.report.suspicions, self.report.deaths);
        match begun {
            (0, 0) => Ok(()),
            _ => Err("somebody was suspected before anything went wrong".to_owned()),
        }
    }

    fn faults(&mut self) {
        let begun = self.world.time();
        let faults = self.plan.faults.iter().cloned();
        self.steps
            .extend(faults.map(|(at_ms, fault)| (at_ms, Step::Fault(fault))));
        let until = begun.plus_millis(self.plan.faults_ms);
        while self.world.time() < until {
            let due = self.steps.iter().enumerate();
            let due = due.min_by_key(|(_, (at_ms, _))| *at_ms);
            let now_ms = self.world.time().millis_since(begun);
            match due.map(|(at, (at_ms, _))| (at, *at_ms)) {
                Some((at, at_ms)) if at_ms <= now_ms => {
                    let (_, step) = self.steps.remove(at);
                    self.step(now_ms, step);
                }
                Some((_, at_ms)) => self.pass(begun.plus_millis(at_ms).min(until)),
                None => self.pass(until),
            }
        }
    }

    /// Time passes, and nodes that have joined take up their share.
    fn pass(&mut self, until: Time) {
        while self.world.time() < until {
            let step = self.world.time().plus_millis(STEP_MS).min(until);
            self.world.run_until(step);
            self.settle();
        }
    }

    fn settle(&mut self) {
        for host in 0..self.world.hosts.len() {
            if self.world.hosts[host].paused {
                continue;
            }
            let Some(process) = self.world.hosts[host].process.as_ref() else {
                continue;
            };
            process.check();
            let guid = process.membership.identity().id.guid;
            let placed = process.membership.layout().entry(&guid);
            let joining = placed.is_some_and(|entry| entry.state == LayoutState::Joining);
            if process.serving && (joining || placed.is_none()) {
                self.world.place(host, LayoutState::Normal);
            }
        }
        for (_, host, event) in std::mem::take(&mut self.world.events) {
            match event {
                Event::Down(_) => self.report.deaths += 1,
                Event::Suspected(_) => self.report.suspicions += 1,
                Event::GenerationWanted { .. } => self.report.generations_wanted += 1,
                Event::NameLost => self.report.names_lost += 1,
                Event::Restarted { before, after } => {
                    // Only a process that has begun anew has lost its memory.
                    let known = &self.world.hosts;
                    let runs = known.iter().filter(|it| it.guid == before.guid);
                    let runs = runs.flat_map(|it| &it.generations);
                    let both =
                        runs.filter(|it| [before, after].map(|it| it.generation).contains(it));
                    assert_eq!(both.count(), 2, "host {host} invents runs");
                }
                _ => {}
            }
        }
    }

    fn step(&mut self, now_ms: u64, step: Step) {
        match step {
            Step::Fault(fault) => self.fault(now_ms, fault),
            Step::Start {
                host,
                lose_disk,
                clock_back_ms,
            } => {
                let it = &mut self.world.hosts[host];
                if it.process.is_none() {
                    it.clock_ahead_ms -= clock_back_ms;
                    if lose_disk {
                        it.disk = super::host::Disk::default();
                    }
                    self.world.start(host);
                }
            }
            Step::Resume(host) => self.world.resume(host),
            Step::Mend(ways) => {
                for (from, to) in ways {
                    self.world.network.cut(from, to, false);
                }
            }
        }
    }

    fn fault(&mut self, now_ms: u64, fault: Fault) {
        match fault {
            Fault::Kill {
                host,
                gone_ms,
                lose_disk,
                clock_back_ms,
            } => {
                self.count(host);
                self.world.kill(host);
                let start = Step::Start {
                    host,
                    lose_disk,
                    clock_back_ms,
                };
                self.steps.push((now_ms + gone_ms, start));
            }
            Fault::Leave { host, gone_ms } => {
                self.count(host);
                if !self.world.hosts[host].paused {
                    self.world.leave(host);
                }
                let start = Step::Start {
                    host,
                    lose_disk: false,
                    clock_back_ms: 0,
                };
                self.steps.push((now_ms + gone_ms, start));
            }
            Fault::Pause { host, for_ms } => {
                self.world.pause(host);
                self.steps.push((now_ms + for_ms, Step::Resume(host)));
            }
            Fault::CutWay { from, to, for_ms } => {
                self.cut(now_ms + for_ms, vec![(from, to)]);
            }
            Fault::Partition { side, for_ms } => {
                let others = (0..self.world.hosts.len()).filter(|host| !side.contains(host));
                let pairs = others.flat_map(|other| side.iter().map(move |host| (*host, other)));
                let ways = pairs.flat_map(|(one, other)| [(one, other), (other, one)]);
                let ways = ways.collect();
                self.cut(now_ms + for_ms, ways);
            }
            Fault::Weather(weather) => self.world.network.weather = weather,
            Fault::Twin { of } => {
                let twin = self.plan.hosts;
                self.world.hosts[twin].guid = self.world.hosts[of].guid;
                self.world.hosts[twin].disk = self.world.hosts[of].disk.clone();
                self.world.start(twin);
            }
        }
    }

    fn cut(&mut self, until_ms: u64, ways: Vec<(usize, usize)>) {
        for (from, to) in &ways {
            self.world.network.cut(*from, *to, true);
        }
        self.steps.push((until_ms, Step::Mend(ways)));
    }

    /// Takes note of what a process has counted, before it is gone.
    fn count(&mut self, host: usize) {
        if let Some(process) = self.world.hosts[host].process.as_ref() {
            let counters = process.membership.counters();
            self.report.renewals += counters.renewals;
            self.report.fast_deaths += counters.fast_deaths;
        }
    }

    fn heal(&mut self) -> Result<(), String> {
        self.world.network.heal();
        self.steps.clear();
        for host in 0..self.plan.hosts {
            self.world.resume(host);
            let it = &self.world.hosts[host];
            let name = it.guid;
            let twin_has_it = self.world.hosts.iter().any(|other| {
                other.guid == name && other.address != it.address && other.process.is_some()
            });
            if it.process.is_none() && !twin_has_it {
                self.world.start(host);
            }
        }
        self.world.resume(self.plan.hosts);
        let begun = self.world.time();
        self.until_converged(HEAL_MS_MAX, "after the faults")?;
        self.report.heal_ms = self.world.time().millis_since(begun);
        // A probe that was sent before may be missed after.
        self.pass(self.world.time().plus_millis(AFTERMATH_MS));
        self.until_converged(HEAL_MS_MAX, "in the aftermath")
    }

    fn until_converged(&mut self, most_ms: u64, when: &str) -> Result<(), String> {
        let until = self.world.time().plus_millis(most_ms);
        loop {
            self.pass(self.world.time().plus_millis(STEP_MS));
            match converged(&self.world) {
                Ok(()) => return Ok(()),
                Err(what) if self.world.time() >= until => {
                    return Err(format!("{when}, for {most_ms} ms: {what}"));
                }
                Err(_) => {}
            }
        }
    }

    /// Once all agree nothing changes any more.
    fn quiet(&mut self) -> Result<(), String> {
        let before = self.report.clone();
        self.pass(self.world.time().plus_millis(QUIET_MS));
        let after = (self.report.suspicions, self.report.deaths);
        if after != (before.suspicions, before.deaths) {
            return Err("somebody was suspected after all had healed".to_owned());
        }
        for host in 0..self.world.hosts.len() {
            self.count(host);
        }
        converged(&self.world).map_err(|what| format!("after a while of quiet: {what}"))
    }
}
