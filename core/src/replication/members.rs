//! What a primary knows of its backups: how far they have followed, and until when it may read.
//!
//! Decides what is committed and when the lease ends. Refuses to know entries and messages.

use alloc::vec::Vec;

use super::planted::{self, Bug};
use crate::member::NodeId;
use crate::time::Time;

/// One other node that applies what the primary sends.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) node: NodeId,
    /// It knows the record of this term.
    pub(crate) joined: bool,
    /// It has applied everything up to this position.
    pub(crate) acked: u64,
    /// The sending time of the latest message of this term that it has acknowledged.
    pub(crate) sent: Option<Time>,
    /// When it was last heard, or given its chance.
    pub(crate) heard: Time,
}

impl Member {
    pub(crate) const fn new(node: NodeId, joined: bool, now: Time) -> Self {
        Self {
            node,
            joined,
            acked: 0,
            sent: None,
            heard: now,
        }
    }
}

/// The other in-sync replicas of one term.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members {
    members: Vec<Member>,
    /// What all of them have applied.
    committed: u64,
    /// The sending time that all of them have acknowledged, if they have.
    sent: Option<Time>,
}

impl Members {
    pub(crate) fn new(members: Vec<Member>) -> Self {
        let mut all = Self {
            members,
            committed: 0,
            sent: None,
        };
        all.sum_up();
        all
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.iter_mut()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn has(&self, node: NodeId) -> bool {
        self.members.iter().any(|member| member.node == node)
    }

    pub(crate) fn find(&mut self, node: NodeId) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.node == node)
    }

    /// Takes note of an acknowledgement; `sent` is the time that the acknowledged message carries.
    pub(crate) fn acknowledge(&mut self, node: NodeId, position: u64, sent: Time, now: Time) {
        let Some(member) = self.find(node) else {
            return;
        };
        member.acked = member.acked.max(position);
        member.heard = now;
        member.joined = true;
        let counts_from = if planted::has(Bug::LeaseFromReceipt) {
            now
        } else {
            sent
        };
        member.sent = member.sent.max(Some(counts_from));
        self.sum_up();
    }

    fn sum_up(&mut self) {
        let acked = self.members.iter().map(|member| member.acked);
        self.committed = acked.min().unwrap_or(u64::MAX);
        let sent = self.members.iter().map(|member| member.sent);
        self.sent = sent.min().flatten();
    }

    /// The position that all have applied; beyond any if there is nobody else.
    pub(crate) const fn committed(&self) -> u64 {
        self.committed
    }

    /// The latest sending time that all have acknowledged.
    pub(crate) const fn confirmed(&self) -> Option<Time> {
        self.sent
    }

    /// When a lease of `lease_ms` from sending ends. Nobody else: never.
    pub(crate) fn lease_until(&self, lease_ms: u64) -> Time {
        if self.members.is_empty() {
            return Time::MAX;
        }
        self.sent
            .map_or(Time::ZERO, |sent| sent.plus_millis(lease_ms))
    }

    /// Whether it holds now.
    pub(crate) fn lease_holds(&self, now: Time, lease_ms: u64) -> bool {
        now < self.lease_until(lease_ms)
    }
}
