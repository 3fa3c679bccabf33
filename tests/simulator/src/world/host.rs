//! The hosts of a world: when their processes start and end, and what befalls them alone.
//!
//! Decides what a crash leaves of a disk and of connections. Refuses to know what a process does.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use zufar_core::machine::Listener;
use zufar_core::notice::Notice;
use zufar_core::time::{Now, Time};

use super::links::{Ending, Place};
use super::process::{Launch, Process, Program, Runnable};
use super::{Run, World};
use crate::ModelDisk;
use crate::clock::HostClock;

const CLIENT_PORT: u16 = 11_211;
const PEER_PORT: u16 = 21_211;
/// Their addresses count up within one network.
const HOSTS_MAX: usize = 250;

/// A host, by number: the first is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(pub u16);

impl HostId {
    /// Where its process listens while it is up. That for peers is also where datagrams come.
    #[must_use]
    pub fn address(self, listener: Listener) -> SocketAddr {
        let last = u8::try_from(self.0 + 1).expect("a world has few hosts");
        let port = match listener {
            Listener::Client => CLIENT_PORT,
            Listener::Peer => PEER_PORT,
        };
        SocketAddr::from((Ipv4Addr::new(10, 0, 0, last), port))
    }
}

/// How a process ends that is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed: the system keeps what was written, and tells peers.
    Process,
    /// The power fails: the device keeps what was synced, and a first part of the rest. Other
    /// hosts hear nothing at all until the host is booted or a process is started on it.
    Power,
}

/// One host.
pub(super) struct Host {
    pub(super) clock: HostClock,
    /// It outlives processes.
    pub(super) disk: Arc<ModelDisk>,
    pub(super) process: Option<Box<Process>>,
    /// Processes that have been started so far.
    pub(super) run: u32,
    pub(super) next_worker: usize,
    /// No worker has a turn before this.
    pub(super) asleep_until: Time,
    /// Requests to the disk take longer until then.
    pub(super) disk_slow_until: Time,
    /// The power has failed.
    pub(super) off: bool,
    pub(super) notices: Vec<Notice>,
}

impl Host {
    pub(super) const fn calm(&mut self, now: Time) {
        self.asleep_until = now;
        self.disk_slow_until = now;
    }
}

impl World {
    /// One more host without a process. Its monotonic clock shows `origin` and its system's clock
    /// `unix_ms`.
    pub fn add_host(&mut self, origin: Time, unix_ms: u64) -> HostId {
        assert!(self.hosts.len() < HOSTS_MAX, "a network has its end");
        self.hosts.push(Host {
            clock: HostClock::new(self.time, origin, unix_ms),
            disk: Arc::new(ModelDisk::new()),
            process: None,
            run: 0,
            next_worker: 0,
            asleep_until: Time::ZERO,
            disk_slow_until: Time::ZERO,
            off: false,
            notices: Vec::new(),
        });
        HostId((self.hosts.len() - 1) as u16)
    }

    /// All hosts.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> + use<> {
        (0..self.hosts.len() as u16).map(HostId)
    }

    /// What a process on `host` would sample now.
    #[must_use]
    pub fn now_of(&self, host: HostId) -> Now {
        self.host(host).clock.now()
    }

    /// Whether a process runs on `host`.
    #[must_use]
    pub fn is_host_up(&self, host: HostId) -> bool {
        self.host(host).process.is_some()
    }

    /// The disk of `host`.
    #[must_use]
    pub fn disk_of(&self, host: HostId) -> &Arc<ModelDisk> {
        &self.host(host).disk
    }

    /// What the operator of `host` would have read, since it was last cleared.
    pub fn notices_of(&mut self, host: HostId) -> &mut Vec<Notice> {
        &mut self.host_mut(host).notices
    }

    /// A worker's machine, if a process runs on `host` and this is what that worker runs.
    #[must_use]
    pub fn machine_of<M: Runnable>(&self, host: HostId, worker: u16) -> Option<&M> {
        self.host(host).process.as_ref()?.machine(worker)
    }

    /// The same, to be changed.
    pub fn machine_of_mut<M: Runnable>(&mut self, host: HostId, worker: u16) -> Option<&mut M> {
        let process = self.host_mut(host).process.as_mut()?;
        process.machine_mut(worker)
    }

    /// Workers of the process that runs on `host`; none if none does.
    #[must_use]
    pub fn workers_of(&self, host: HostId) -> u16 {
        let process = self.host(host).process.as_ref();
        process.map_or(0, |process| process.workers())
    }

    /// Starts a process on `host`; `make` says what it runs. A host that was off is on again.
    ///
    /// # Panics
    /// If one runs.
    pub fn start_host(&mut self, host: HostId, make: impl FnOnce(Launch<'_>) -> Program) {
        assert!(!self.is_host_up(host), "one process at a time");
        self.boot_host(host);
        let entry = self.host_mut(host);
        entry.run += 1;
        entry.next_worker = 0;
        entry.clock.start_process();
        let number = entry.run;
        let program = make(Launch {
            host,
            run: number,
            now: entry.clock.now(),
            disk: &entry.disk,
        });
        self.note(host, "start", program.machines.len() as u64, 0);
        let mut process = Box::new(Process::new(Run { host, number }, program));
        for worker in 0..process.workers() {
            self.wake(&mut process, worker);
        }
        self.host_mut(host).process = Some(process);
    }

    /// Gives a host its power back, without a process: peers that call are refused.
    pub fn boot_host(&mut self, host: HostId) {
        if std::mem::take(&mut self.host_mut(host).off) {
            self.carry_on();
        }
    }

    /// Tells the process of `host` to stop; [`Incident::Stopped`](super::Incident::Stopped) will
    /// say when it has.
    pub fn stop_host(&mut self, host: HostId) {
        self.with_process(host, Self::stop_process);
    }

    pub(super) fn stop_process(&mut self, process: &mut Process) {
        for worker in 0..process.workers() {
            process.tell_stop(worker);
            self.wake(process, worker);
        }
    }

    /// Ends the process of `host` at once, if there is one.
    pub fn crash_host(&mut self, host: HostId, crash: Crash) {
        let Some(mut process) = self.host_mut(host).process.take() else {
            return;
        };
        self.note(host, "crash", u64::from(crash == Crash::Power), 0);
        let disk = Arc::clone(self.disk_of(host));
        // What the disk was doing at that moment is done or is not.
        if self.random.chance(50)
            && let Some((worker, request)) = process.jobs.take_ordered()
        {
            let _ = zufar_core::disk::perform(&*disk, worker, request);
        }
        match crash {
            Crash::Process => {
                disk.crash();
                self.break_links(host, Ending::Killed);
            }
            Crash::Power => {
                let unsynced = disk.unsynced() as u64;
                let kept = self.random.below(unsynced + 1);
                if kept < unsynced {
                    self.count("batches lost or torn by a power cut");
                }
                disk.cut_power(kept as usize);
                self.host_mut(host).off = true;
                self.break_links(host, Ending::PowerCut);
            }
        }
    }

    /// The process of `host` has come to its end by itself.
    pub(super) fn exit_process(&mut self, host: HostId) {
        self.host_mut(host).process = None;
        self.note(host, "stopped", 0, 0);
        self.host(host).disk.crash();
        self.break_links(host, Ending::Exited);
    }

    /// No worker of `host` gets a turn for so long, as when the system has better things to do.
    /// Its kernel goes on: it accepts, and buffers what comes.
    pub fn suspend_host(&mut self, host: HostId, milliseconds: u64) {
        self.host_mut(host).asleep_until = self.time.plus_millis(milliseconds);
    }

    /// The disk of `host` takes its time for so long.
    pub fn slow_disk_of(&mut self, host: HostId, milliseconds: u64) {
        self.host_mut(host).disk_slow_until = self.time.plus_millis(milliseconds);
    }

    /// Somebody sets the system's clock of `host`.
    pub fn set_clock_of(&mut self, host: HostId, by_ms: i64) {
        self.host_mut(host).clock.jump(by_ms);
    }

    /// From now on `host` counts time too fast by `drift_ppm` millionths, or too slow.
    ///
    /// # Panics
    /// If that is more than [`DRIFT_PPM_MAX`](super::DRIFT_PPM_MAX), either way.
    pub fn set_drift_of(&mut self, host: HostId, drift_ppm: i64) {
        self.host_mut(host).clock.set_drift(drift_ppm);
        // What was planned by the old pace comes at the wrong time.
        self.with_process(host, |world, process| {
            for worker in 0..process.workers() {
                process.seat(worker).deadline_at = None;
                world.wake(process, worker);
            }
        });
    }

    /// The host that has this address, and what it is for.
    pub(super) fn place_of(&self, address: SocketAddr) -> (Place, Listener) {
        for listener in [Listener::Peer, Listener::Client] {
            let mut hosts = self.hosts();
            if let Some(host) = hosts.find(|host| host.address(listener) == address) {
                return (Place::Host(host), listener);
            }
        }
        (Place::Nowhere, Listener::Peer)
    }
}
