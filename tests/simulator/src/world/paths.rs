//! Ways between hosts that are cut, and what becomes of connections over them.
//!
//! Decides that what is sent over a cut way is kept and sent again, as TCP does, and how long:
//! until the way is healed, or until the sender's system gives the connection up, and does not
//! even tell the other. Refuses to know what is sent.

use std::collections::{BTreeMap, BTreeSet};

use super::links::{LinkId, Place, Side};
use super::{Happening, HostId, World};

/// What is wrong with ways, each from one host to another.
#[derive(Debug, Default)]
pub(super) struct Paths {
    cut: BTreeSet<(HostId, HostId)>,
    lost_percent: BTreeMap<(HostId, HostId), u64>,
    /// What is sent takes so much longer, in microseconds.
    slow_us: BTreeMap<(HostId, HostId), u64>,
}

impl Paths {
    /// So many of 100 datagrams are lost on this way, beyond what is lost on any.
    pub(super) fn lost_percent(&self, from: HostId, to: HostId) -> u64 {
        self.lost_percent.get(&(from, to)).copied().unwrap_or(0)
    }
}

impl World {
    /// Nothing more comes from `from` to `to`. The other direction is a way of its own.
    ///
    /// # Panics
    /// If they are the same.
    pub fn cut(&mut self, from: HostId, to: HostId) {
        assert_ne!(from, to, "nothing comes between a host and itself");
        if self.paths.cut.insert((from, to)) {
            self.count("ways cut");
        }
    }

    /// Nothing more comes from either to the other.
    ///
    /// # Panics
    /// If they are the same.
    pub fn cut_both(&mut self, one: HostId, other: HostId) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// What is sent from `from` comes to `to` again.
    pub fn heal(&mut self, from: HostId, to: HostId) {
        if self.paths.cut.remove(&(from, to)) {
            self.carry_on();
        }
    }

    /// What is sent from either comes to the other again.
    pub fn heal_both(&mut self, one: HostId, other: HostId) {
        self.heal(one, other);
        self.heal(other, one);
    }

    /// No way is cut any more, and none loses more than any.
    pub fn heal_all(&mut self) {
        self.paths = Paths::default();
        self.carry_on();
    }

    /// From now on so many of 100 datagrams from `from` to `to` are lost, beyond what
    /// [`PeerPlan`](crate::plan::PeerPlan) has lost on any way.
    pub fn lose(&mut self, from: HostId, to: HostId, percent: u64) {
        self.paths.lost_percent.insert((from, to), percent);
    }

    /// From now on whatever is sent from `from` to `to` takes so much longer, in microseconds.
    pub fn slow(&mut self, from: HostId, to: HostId, microseconds: u64) {
        self.paths.slow_us.insert((from, to), microseconds);
    }

    /// How much longer what is sent from `from` to `to` takes.
    pub(super) fn slow_us(&self, from: HostId, to: HostId) -> u64 {
        let slow = self.paths.slow_us.get(&(from, to));
        slow.copied().unwrap_or(0)
    }

    /// Whether what is sent from `from` comes to `to`.
    pub(super) fn is_way_open(&self, from: HostId, to: HostId) -> bool {
        !self.paths.cut.contains(&(from, to)) && !self.host(to).off
    }

    /// Whether what is sent over a connection comes to this end.
    pub(super) fn carries(&self, link: LinkId, to: Side) -> bool {
        let link = &self.links[link.0 as usize];
        match (link.end(to.other()).place, link.end(to).place) {
            (Place::Nowhere, _) | (_, Place::Nowhere) => false,
            (Place::Outside, _) | (_, Place::Outside) => true,
            (Place::Host(from), Place::Host(to)) => self.is_way_open(from, to),
        }
    }

    /// A segment has not come to this end. Its sender will send it again.
    pub(super) fn hold(&mut self, link: LinkId, to: Side) {
        self.count("segments held by a cut");
        self.end(link, to).held += 1;
        self.begin_doubt(link, to.other());
        if to == Side::Opener && !self.link(link).connected {
            self.give_up_some_time(link);
        }
    }

    /// An end learns nothing of what has become of its segments; this long it will wait.
    pub(super) fn begin_doubt(&mut self, link: LinkId, side: Side) {
        if self.end(link, side).doubt.is_none() {
            let (low, high) = (self.peers.break_ms_min, self.peers.break_ms_max);
            let patience_us = self.random.between(low, high.max(low)) * 1_000;
            let doubt = self.planned;
            self.end(link, side).doubt = Some(doubt);
            self.plan(patience_us, Happening::Expire { link, side, doubt });
        }
    }

    /// An end has waited for long enough, unless the way was healed in between.
    pub(super) fn expire(&mut self, link: LinkId, side: Side, doubt: u64) {
        let entry = self.end(link, side);
        if entry.doubt != Some(doubt) {
            return;
        }
        entry.doubt = None;
        let other = self.end(link, side.other());
        other.held = 0;
        other.inbox.truncate(0);
        if self.end(link, side).hears() {
            self.count("connections broken by a cut");
            self.break_off(link, side, false);
        }
    }

    /// Ways are open again: what was held comes soon.
    pub(super) fn carry_on(&mut self) {
        for index in 0..self.links.len() {
            let link = LinkId(index as u32);
            let open = Side::BOTH.map(|side| self.carries(link, side));
            for (side, open) in Side::BOTH.into_iter().zip(open) {
                if open {
                    self.carry_on_to(link, side);
                }
            }
            if open == [true, true] {
                for side in Side::BOTH {
                    self.end(link, side).doubt = None;
                }
                if std::mem::take(&mut self.link(link).opening_held) {
                    let latency_us = self.latency_us();
                    self.plan(latency_us, Happening::Open(link));
                }
            }
        }
    }

    fn carry_on_to(&mut self, link: LinkId, to: Side) {
        for _ in 0..std::mem::take(&mut self.end(link, to).held) {
            let at = self.arrival();
            let at = self.end(link, to).inbox.delay(at);
            self.plan_at(at, Happening::Arrive(link, to));
        }
        // What this end has sent is acknowledged now.
        let outbox = &mut self.end(link, to.other()).inbox;
        let freed = outbox.acknowledge();
        let entry = self.end(link, to);
        if (std::mem::take(&mut entry.room_held) || freed) && entry.waits {
            let latency_us = self.latency_us();
            self.plan(latency_us, Happening::Room(link, to));
        }
    }
}
