//! What goes wrong, and when.
//!
//! Decides the next fault and what has to be put right after it. Refuses to know how the world
//! carries it out.

use zufar_core::disk::DiskError;
use zufar_core::time::Time;

use super::{Actor, CRASH_TIMER, FAULT_TIMER, FLAP_TIMER, HEAL_TIMER, RESTART_TIMER, Run};
use crate::history::End;
use crate::model::Rules;
use crate::plan::Fault;
use crate::random::Random;
use crate::request::Request;
use crate::world::{Crash, LinkId};

/// How far behind its clock a node may start again: it keeps a note of the time on disk that it
/// renews this often, in milliseconds.
const CLOCK_NOTE_MS: u64 = 60_000;

/// The first such note is on disk by then; until it is, a node that starts again knows nothing.
const FIRST_NOTE_MS: u64 = 10_000;

pub(super) struct Chaos {
    random: Random,
    made: u64,
    /// Connections that are still to be broken by the client that flaps.
    flaps: u64,
    flapping: usize,
    /// The node has been told to stop.
    pub(super) stopping: bool,
    /// When faults ended for good.
    pub(super) ended_at: Option<Time>,
}

impl Chaos {
    pub(super) fn new(random: Random) -> Self {
        Self {
            random,
            made: 0,
            flaps: 0,
            flapping: 0,
            stopping: false,
            ended_at: None,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.ended_at.is_some()
    }
}

impl Run {
    pub(super) fn plan_fault(&mut self) {
        let middle_us = self.plan.fault_interval_us;
        let pause_us = self.chaos.random.between(middle_us / 2, middle_us * 2);
        self.world.set_timer(FAULT_TIMER, pause_us);
    }

    pub(super) fn next_fault(&mut self) -> Result<(), String> {
        let any = !self.plan.faults.is_empty() && self.chaos.made < self.plan.faults_max;
        if self.chaos.is_over() || !any {
            return Ok(());
        }
        self.plan_fault();
        if !self.world.is_up() || self.chaos.stopping {
            return Ok(());
        }
        let fault = self.chaos.random.weighted(&self.plan.faults);
        self.chaos.made += 1;
        self.world.count(fault.name());
        self.make(fault)
    }

    fn make(&mut self, fault: Fault) -> Result<(), String> {
        let random = &mut self.chaos.random;
        match fault {
            Fault::Reset => {
                let number = random.below(self.actors.len() as u64) as usize;
                self.reset(number);
            }
            Fault::Flapping => {
                self.chaos.flapping = random.below(self.actors.len() as u64) as usize;
                self.chaos.flaps = random.between(2, 10);
                if self.plan.node.disk && random.chance(50) {
                    let milliseconds = random.between(10, 1_000);
                    self.world.slow_disk(milliseconds);
                }
                self.flap();
            }
            Fault::HalfClose => {
                let number = random.below(self.actors.len() as u64) as usize;
                self.actors[number].client.finish(&mut self.world);
            }
            Fault::Suspension => {
                let milliseconds = random.between(1, 2_000);
                self.world.suspend(milliseconds);
            }
            Fault::SlowDisk => {
                let milliseconds = random.between(100, 3_000);
                self.world.slow_disk(milliseconds);
            }
            Fault::FullDisk => {
                self.world.disk().fail_writes(Some(DiskError::Full));
                if random.chance(30) {
                    self.world.disk().fail_sync(DiskError::Full);
                }
                self.flush_in_trouble();
                self.heal_later();
            }
            Fault::FailingWrites => {
                self.world.disk().fail_writes(Some(DiskError::Failed));
                self.flush_in_trouble();
                self.heal_later();
            }
            Fault::FailingSync => self.world.disk().fail_sync(DiskError::Failed),
            Fault::FailingReads => {
                self.world.disk().fail_loads(true);
                self.heal_later();
            }
            Fault::Kill => self.crash(Crash::Process)?,
            Fault::PowerCut => self.crash(Crash::Power)?,
            Fault::Stop => {
                self.chaos.stopping = true;
                self.world.stop();
            }
            Fault::ClockForward => {
                let milliseconds = random.between(1, 600_000) as i64;
                self.world.set_clock(milliseconds);
            }
            Fault::ClockBack => {
                let milliseconds = random.between(1, 600_000) as i64;
                self.world.set_clock(-milliseconds);
            }
        }
        Ok(())
    }

    fn reset(&mut self, number: usize) {
        let asked = self.actors[number].client.reset(&mut self.world);
        self.abandon(&asked);
        self.arm(number);
    }

    /// The client that flaps breaks its connection, and asks over the next one at once: so the
    /// node may have requests of the one under way when it has some of the other.
    pub(super) fn flap(&mut self) {
        let number = self.chaos.flapping;
        if self.chaos.flaps == 0 || self.chaos.is_over() {
            return;
        }
        self.chaos.flaps -= 1;
        self.reset(number);
        if self.requests_left > 0 {
            self.actors[number].client.connect(&mut self.world);
        }
        let pause_us = self.chaos.random.between(50, 5_000);
        self.world.set_timer(FLAP_TIMER, pause_us);
    }

    pub(super) fn ask_if_flapping(&mut self, number: usize) {
        if self.chaos.flaps == 0 || number != self.chaos.flapping {
            return;
        }
        for _ in 0..self.chaos.random.between(1, 4) {
            if self.requests_left > 0 && self.actors[number].client.can_ask() {
                self.requests_left -= 1;
                self.ask(number);
            }
        }
    }

    /// A node that has just started may crash before it has caught up with its disk.
    pub(super) fn plan_relapse(&mut self) {
        let random = &mut self.chaos.random;
        if random.chance(self.plan.relapse_percent) {
            let longest_us = random.pick(&[1_000, 20_000, 300_000]);
            let pause_us = random.between(1, longest_us);
            let slow = random.chance(50);
            self.world.set_timer(CRASH_TIMER, pause_us);
            if slow {
                self.world.slow_disk(pause_us / 1000 + 1);
            }
        }
    }

    /// A crash was planned for now; which one, is still to be seen.
    pub(super) fn crash_now(&mut self) -> Result<(), String> {
        let crashes: Vec<(u64, Fault)> = self
            .plan
            .faults
            .iter()
            .copied()
            .filter(|(_, fault)| fault.is_crash())
            .collect();
        let may = self.world.is_up() && !self.chaos.stopping && !self.chaos.is_over();
        if crashes.is_empty() || !may {
            return Ok(());
        }
        let fault = self.chaos.random.weighted(&crashes);
        self.world.count(fault.name());
        self.make(fault)
    }

    /// Somebody flushes just when the disk refuses: then that may be all that it is owed.
    fn flush_in_trouble(&mut self) {
        if self.plan.load.flushes == 0 || self.chaos.random.chance(50) {
            return;
        }
        let can_ask = |actor: &Actor| actor.client.can_ask();
        if let Some(number) = self.actors.iter().position(can_ask) {
            self.ask_for(number, Request::flush(self.plan.load.keys));
        }
    }

    fn heal_later(&mut self) {
        let random = &mut self.chaos.random;
        let pause_us = random.between(50_000, 4_000_000);
        if random.chance(self.plan.fatal_percent) {
            let crash_us = random.between(1_000, pause_us);
            self.world.set_timer(CRASH_TIMER, crash_us);
        }
        self.world.set_timer(HEAL_TIMER, pause_us);
    }

    pub(super) fn heal_disk(&mut self) {
        self.world.disk().fail_writes(None);
        self.world.disk().fail_loads(false);
    }

    /// From now on nothing goes wrong.
    pub(super) fn end_faults(&mut self) {
        self.heal_disk();
        self.world.calm();
    }

    pub(super) fn crash(&mut self, crash: Crash) -> Result<(), String> {
        let safe = match crash {
            Crash::Process => self.watch.written,
            Crash::Power => self.watch.synced,
        };
        self.close_run(End::Crash(safe), crash)
    }

    pub(super) fn node_has_stopped(&mut self) -> Result<(), String> {
        self.chaos.stopping = false;
        let dirty = self
            .world
            .notices()
            .iter()
            .any(|notice| notice.event == "stopped-dirty");
        // A node that says so has not written everything.
        let end = if dirty {
            End::Crash(self.watch.written)
        } else {
            End::Clean
        };
        self.world.notices().clear();
        self.close_run(end, Crash::Process)
    }

    /// Checks all that clients were told since the last time.
    pub(super) fn close_history(&mut self, end: End, rules: Rules) -> Result<(), String> {
        let world = &self.world;
        let delivered = |connection| world.read_by_node(LinkId(connection));
        self.history.close(end, rules, &delivered)
    }

    /// The node is gone, or about to be: all that its clients were told is checked.
    fn close_run(&mut self, end: End, crash: Crash) -> Result<(), String> {
        self.chaos.stopping = false;
        let now = self.world.now();
        self.world.crash(crash);
        self.clock_ms_max = self.clock_ms_max.max(now.unix_ms);
        let before = self.history.rules();
        let unsafe_ms = match end {
            End::Crash(safe) => now.time.millis_since(safe),
            End::GoesOn | End::Clean => 0,
        };
        let mut noted_ms = now.unix_ms.saturating_sub(unsafe_ms + CLOCK_NOTE_MS);
        let is_young = now.time < Time::from_millis(FIRST_NOTE_MS);
        if is_young && self.world.disk().recovery().reached_unix_ms == 0 {
            noted_ms = 0;
        }
        let rules = if self.plan.node.disk {
            Rules {
                version_above: self.version_max,
                clock_ms_min: before.clock_ms_min.max(noted_ms),
                clock_ms_max: self.clock_ms_max,
                ..before
            }
        } else {
            before
        };
        self.close_history(end, rules)?;
        if !self.plan.node.disk {
            self.history.forget();
        }
        let pause_us = self.chaos.random.between(10, 500_000);
        self.world.set_timer(RESTART_TIMER, pause_us);
        Ok(())
    }
}
