//! Faults at moments that are bad for one, where those that come at random rarely strike.
//!
//! Decides which moments these are: a primary has just been given a lease, or has just ceded; a
//! claim has just begun that is to add a copy. Refuses to know what comes of it.
//!
//! What hosts say to each other may be encrypted: the moments are seen in what replicas show after
//! each thing that happens.

use std::collections::BTreeMap;

use zufar_core::member::NodeId;
use zufar_core::replication::Replica;
use zufar_core::time::Time;

use super::run::{Planned, Run};
use crate::world::{Crash, HostId};

/// A lease that lasts so much longer has come with an acknowledgement of a moment ago.
const FRESH_LEASE_MS: u64 = 395;
/// Acknowledgements come so often that so many times fewer of them are struck.
const LEASES: u64 = 25;
/// Who is restarted is back so soon, in microseconds, at the latest.
const RESTART_US_MAX: u64 = 5_000;

/// What a replica has shown last.
#[derive(Clone, Copy)]
struct Seen {
    me: NodeId,
    ceded: u64,
    claims: u64,
    is_filling: bool,
    fresh_lease: bool,
}

impl Seen {
    fn of(replica: &Replica, now: Time) -> Self {
        let is_alone = replica
            .record()
            .is_none_or(|record| record.in_sync.len() < 2);
        Self {
            me: replica.me(),
            ceded: replica.figures().ceded,
            claims: replica.figures().claims,
            is_filling: replica.is_filling(),
            fresh_lease: !is_alone && replica.holds_lease(now.plus_millis(FRESH_LEASE_MS)),
        }
    }
}

/// A moment that is bad for a fault.
#[derive(Clone, Copy)]
enum Moment {
    /// The primary there holds a lease that is new.
    Leased(HostId),
    /// The primary there has ceded.
    Ceded(HostId),
    /// The primary there claims, and has filled another copy until now.
    Adds(HostId),
}

/// What is known of moments.
#[derive(Default)]
pub(super) struct Bias {
    seen: BTreeMap<(HostId, u16), Seen>,
}

impl Run {
    /// Something has happened: strikes if that was a bad moment, and chance wants it.
    pub(super) fn strike_at_bad_moments(&mut self) {
        if self.plan.bias_percent == 0 || !self.faults.on {
            return;
        }
        for at in 0..self.hot.len() {
            let partition = self.hot[at];
            for host in (0..self.hosts as u16).map(HostId) {
                if let Some(moment) = self.bad_moment(host, partition) {
                    self.strike_at(moment, partition);
                }
            }
        }
    }

    fn bad_moment(&mut self, host: HostId, partition: u16) -> Option<Moment> {
        let now = self.world.now_of(host).time;
        let seen = Seen::of(self.replica(host, partition)?, now);
        let before = self.bias.seen.insert((host, partition), seen);
        let before = before.filter(|before| before.me == seen.me)?;
        if seen.ceded > before.ceded {
            return Some(Moment::Ceded(host));
        }
        if before.is_filling && seen.claims > before.claims {
            return Some(Moment::Adds(host));
        }
        (seen.fresh_lease && !before.fresh_lease).then_some(Moment::Leased(host))
    }

    fn strike_at(&mut self, moment: Moment, partition: u16) {
        let share = self.plan.bias_percent;
        match moment {
            Moment::Leased(host) => {
                let awake = self.faults.asleep_until <= self.world.time();
                if awake && self.random.below(100 * LEASES) < share {
                    self.sleep(host, "suspensions of primaries with a new lease");
                }
            }
            Moment::Ceded(host) => {
                if self.random.chance(share * 3) {
                    self.sleep(host, "suspensions of primaries that have ceded");
                }
            }
            Moment::Adds(host) => {
                if self.random.chance(share * 3)
                    && let Some(target) = self.added(host, partition)
                {
                    self.restart_at_once(target);
                }
            }
        }
    }

    fn sleep(&mut self, host: HostId, kind: &'static str) {
        let milliseconds = self.random.between(50, 1200);
        if self.suspend_for(host, milliseconds) {
            self.world.count(kind);
        }
    }

    /// A host of a voter that the primary's record has not in sync: most likely the one that is to
    /// be added.
    fn added(&mut self, primary: HostId, partition: u16) -> Option<HostId> {
        let record = self.replica(primary, partition)?.record()?.clone();
        let hosts = (0..self.hosts as u16).map(HostId);
        let candidates: Vec<HostId> = hosts
            .filter(|host| {
                let replica = self.replica(*host, partition);
                replica.is_some_and(|replica| {
                    let guid = replica.me().guid;
                    record.votes(guid) && !record.names_guid(guid)
                })
            })
            .collect();
        (!candidates.is_empty()).then(|| self.random.pick(&candidates))
    }

    fn restart_at_once(&mut self, host: HostId) {
        if !self.may_end(host) {
            return;
        }
        self.world.count("crashes");
        self.world.count("crashes of copies that are being added");
        self.note_crash(host, Crash::Process);
        self.world.crash_host(host, Crash::Process);
        self.count_losses(host);
        let wait_us = self.random.between(1, RESTART_US_MAX);
        self.impair(host, 3000);
        self.after_us(wait_us, Planned::Start(host));
    }
}
