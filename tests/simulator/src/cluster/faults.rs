//! What goes wrong.
//!
//! Decides when, where and for how long. Refuses to know what comes of it.

use zufar_core::time::Time;

use super::plan::Fault;
use super::run::{Planned, Run};
use crate::world::{Crash, HostId};

/// What is wrong.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) on: bool,
    /// There has been time for some.
    pub(super) have_begun: bool,
    /// Hosts that were told to stop.
    stopping: Vec<HostId>,
    /// The last moment at which a host will sleep.
    pub(super) asleep_until: Time,
    /// Hosts that are down, or asleep until then.
    impaired: Vec<(HostId, Time)>,
}

impl Run {
    pub(super) fn begin_faults(&mut self) {
        self.faults.on = true;
        self.faults.have_begun = true;
        self.plan_fault();
    }

    fn plan_fault(&mut self) {
        if self.faults.on && !self.plan.faults.is_empty() {
            let mean_us = self.plan.fault_interval_ms * 1000;
            let wait_us = self.random.between(mean_us / 10, mean_us * 2);
            self.after_us(wait_us, Planned::Fault);
        }
    }

    /// No faults from now on, and what they have done is undone.
    pub(super) fn calm_down(&mut self) {
        self.faults.on = false;
        self.records.calm = self.world.time();
        self.world.calm();
        for host in (0..self.hosts as u16).map(HostId) {
            if !self.world.is_host_up(host) {
                let wait_us = self.random.between(1, 500_000);
                self.after_us(wait_us, Planned::Start(host));
            }
        }
    }

    pub(super) fn next_fault(&mut self) -> Result<(), String> {
        if !self.faults.on {
            return Ok(());
        }
        self.look()?;
        let kinds = self.plan.faults.clone();
        let fault = self.random.weighted(&kinds);
        self.strike(fault);
        self.plan_fault();
        Ok(())
    }

    /// A host, often one that has a part in what clients ask for.
    fn draw_host(&mut self) -> HostId {
        let partition = self.random.pick(&self.hot);
        let record = self.watch.opened(partition).cloned();
        let kind = self.random.below(4);
        let node = record.and_then(|record| match kind {
            0 => Some(record.primary()),
            1 => {
                let backups = record.in_sync.iter().filter(|it| **it != record.primary());
                backups.copied().next()
            }
            _ => None,
        });
        let host = node.and_then(|node| self.watch.host_of(node));
        host.unwrap_or_else(|| HostId(self.random.below(self.hosts as u64) as u16))
    }

    /// Two different ones, if there are two.
    fn draw_way(&mut self) -> Option<(HostId, HostId)> {
        if self.hosts < 2 {
            return None;
        }
        let from = self.draw_host();
        loop {
            let to = HostId(self.random.below(self.hosts as u64) as u16);
            if to != from {
                return Some((from, to));
            }
        }
    }

    fn span_ms(&mut self) -> u64 {
        let most = self.random.pick(&[30, 300, 1000, 3000, 8000]);
        self.random.between(1, most)
    }

    fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Crash => self.crash(),
            Fault::Stop => self.stop(),
            Fault::Suspension => self.suspend(),
            Fault::CutWay => {
                if let Some((from, to)) = self.draw_way() {
                    self.cut_way(from, to);
                }
            }
            Fault::Cut => {
                if let Some((from, to)) = self.draw_way() {
                    self.cut_way(from, to);
                    self.cut_way(to, from);
                }
            }
            Fault::Isolation => self.isolate(),
            Fault::SlowWay => self.slow_way(),
            Fault::Reset => {
                if let Some((from, to)) = self.draw_way() {
                    self.world.reset_between(from, to);
                }
            }
            Fault::ClientReset => {
                let actor = self.random.below(self.actors.len() as u64) as usize;
                self.reset_client(actor);
            }
            Fault::ClockJump => self.set_clock(),
            Fault::Drift => {
                let host = self.draw_host();
                let drift_ppm = self.random.between(0, 20_000) as i64 - 10_000;
                self.world.count("clocks that drift");
                self.world.set_drift_of(host, drift_ppm);
            }
            Fault::Join => self.join(),
            Fault::Outage => self.outage(),
            Fault::SlowDisk => {
                let host = self.draw_host();
                let milliseconds = self.span_ms();
                self.world.count("disks that are slow");
                self.world.slow_disk_of(host, milliseconds);
            }
        }
    }

    /// Whether the process on `host` may end.
    pub(super) fn may_end(&mut self, host: HostId) -> bool {
        if self.plan.whole && self.not_settled().is_some() {
            return false;
        }
        if !self.world.is_host_up(host) || self.faults.stopping.contains(&host) {
            return false;
        }
        if self.plan.workers.len() == 1 && self.hosts == 1 {
            return true;
        }
        let others = (0..self.hosts as u16).map(HostId);
        let mut others = others.filter(|other| *other != host);
        // Without any, a cluster without disks would be gone.
        let may_lose_all = self.plan.disk.is_some() && self.plan.may_lose;
        let lives = may_lose_all
            || others.any(|other| self.serves(other) && !self.faults.stopping.contains(&other));
        let survives = |partition: &u16| {
            let opened = self.watch.opened(*partition);
            opened.is_some() && self.survivors(*partition, host) > 0
        };
        let keeps = self.plan.may_lose || self.watched.iter().all(survives);
        lives && keeps && self.may_impair(host)
    }

    /// Under `available` one host at a time does not answer: who finds no other forms a cluster
    /// of its own.
    fn may_impair(&mut self, host: HostId) -> bool {
        let now = self.world.time();
        self.faults.impaired.retain(|(_, until)| *until > now);
        let impaired = self.faults.impaired.iter();
        self.plan.majority || impaired.filter(|(other, _)| *other != host).count() == 0
    }

    pub(super) fn impair(&mut self, host: HostId, milliseconds: u64) {
        let until = self.world.time().plus_millis(milliseconds);
        self.faults.impaired.push((host, until));
    }

    fn crash(&mut self) {
        let host = self.draw_host();
        if !self.may_end(host) {
            return;
        }
        self.world.count("crashes");
        let crash = self.draw_crash();
        self.note_crash(host, crash);
        self.world.crash_host(host, crash);
        self.count_losses(host);
        self.restart(host);
    }

    fn draw_crash(&mut self) -> Crash {
        let power = self.plan.power_percent;
        match power > 0 && self.random.chance(power) {
            true => Crash::Power,
            false => Crash::Process,
        }
    }

    /// All processes are killed at once.
    fn outage(&mut self) {
        let up = (0..self.hosts as u16).map(HostId);
        let up: Vec<HostId> = up.filter(|host| self.world.is_host_up(*host)).collect();
        let unsettled = self.plan.whole && self.not_settled().is_some();
        if unsettled || up.iter().any(|host| !self.may_impair(*host)) {
            return;
        }
        self.world.count("outages");
        self.faults.stopping.clear();
        for host in &up {
            let crash = self.draw_crash();
            self.note_crash(*host, crash);
            self.world.crash_host(*host, crash);
            self.count_losses(*host);
        }
        let all_ms = self.span_ms();
        for host in up {
            // Under `available` who finds nobody goes on alone.
            let own_ms = match self.plan.majority {
                true => self.span_ms(),
                false => self.random.between(1, 1500),
            };
            self.impair(host, all_ms + own_ms + 3000);
            self.after_us((all_ms + own_ms) * 1000, Planned::Start(host));
        }
    }

    fn restart(&mut self, host: HostId) {
        let wait_ms = self.span_ms();
        self.impair(host, wait_ms + 3000);
        self.after_us(wait_ms * 1000, Planned::Start(host));
    }

    fn stop(&mut self) {
        let host = self.draw_host();
        if self.may_end(host) {
            self.world.count("stops");
            self.impair(host, 20_000);
            self.faults.stopping.push(host);
            self.world.stop_host(host);
        }
    }

    /// A process has stopped that was told to.
    pub(super) fn has_stopped(&mut self, host: HostId) {
        self.faults.stopping.retain(|stopping| *stopping != host);
        self.note_stop(host);
        self.count_losses(host);
        self.restart(host);
    }

    fn suspend(&mut self) {
        let host = self.draw_host();
        if !self.may_impair(host) || !self.world.is_host_up(host) {
            return;
        }
        let most = self.random.pick(&[100, 600, 3000, 12_000]);
        let milliseconds = self.random.between(10, most);
        self.suspend_for(host, milliseconds);
    }

    /// Has a host sleep. Returns whether it may.
    pub(super) fn suspend_for(&mut self, host: HostId, milliseconds: u64) -> bool {
        if !self.may_impair(host) || !self.world.is_host_up(host) {
            return false;
        }
        self.world.count("suspensions");
        self.impair(host, milliseconds + 1000);
        self.world.suspend_host(host, milliseconds);
        let until = self.world.time().plus_millis(milliseconds);
        self.faults.asleep_until = self.faults.asleep_until.max(until);
        true
    }

    fn cut_way(&mut self, from: HostId, to: HostId) {
        let for_ms = self.span_ms();
        self.world.cut(from, to);
        self.after_us(for_ms * 1000, Planned::HealWay(from, to));
    }

    fn isolate(&mut self) {
        let host = self.draw_host();
        let for_ms = self.span_ms();
        for other in (0..self.hosts as u16).map(HostId) {
            if other != host {
                self.world.cut_both(host, other);
                self.after_us(for_ms * 1000, Planned::HealWay(host, other));
                self.after_us(for_ms * 1000, Planned::HealWay(other, host));
            }
        }
    }

    fn slow_way(&mut self) {
        if let Some((from, to)) = self.draw_way() {
            let most_us = self.random.pick(&[5_000, 100_000, 800_000]);
            let slow_us = self.random.between(1, most_us);
            let lost_percent = self.random.pick(&[0, 20, 80]);
            self.world.count("ways made slow");
            self.world.slow(from, to, slow_us);
            self.world.lose(from, to, lost_percent);
            let for_ms = self.span_ms();
            self.after_us(for_ms * 1000, Planned::SpeedUp(from, to));
        }
    }

    fn set_clock(&mut self) {
        let host = self.draw_host();
        let most_ms = self.random.pick(&self.plan.clock_jumps_ms);
        let by_ms = self.random.between(1, most_ms) as i64;
        let sign = if self.random.chance(50) { 1 } else { -1 };
        self.world.count("clocks set");
        self.world.set_clock_of(host, sign * by_ms);
    }

    fn join(&mut self) {
        if self.hosts < self.plan.hosts() {
            let host = HostId(self.hosts as u16);
            self.hosts += 1;
            self.world.count("joins");
            self.start(host);
        }
    }
}
