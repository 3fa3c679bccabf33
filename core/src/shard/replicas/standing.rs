//! How the replica of each partition stands, where looking is cheap.
//!
//! Decides what of a replica every command has to know, and keeps that close together: a replica
//! itself is large, and most of it is of no interest to a reading. Refuses to know how replicas
//! agree: each is asked anew after everything that has happened to it.

use alloc::vec::Vec;

use crate::member::NodeId;
use crate::replication::{Replica, Term};
use crate::time::Time;

/// Where commands of one partition are carried out.
#[derive(Clone, Copy, Debug, Default)]
enum Standing {
    /// Here: there is no replica.
    #[default]
    Alone,
    /// Here: this node is primary.
    Primary,
    /// Here in a moment: a claim of this node's own is under way, or it hands over.
    Soon,
    /// Elsewhere, perhaps there.
    Elsewhere(Option<Term>),
}

impl Standing {
    fn of(replica: &Replica, me: NodeId) -> Self {
        if replica.is_open() {
            return Self::Primary;
        }
        match replica.primary_hint() {
            Some(term) if term.node == me => Self::Soon,
            hint => Self::Elsewhere(hint),
        }
    }
}

/// All of one worker, by the place of their partition.
#[derive(Debug, Default)]
pub(super) struct Standings {
    all: Vec<Standing>,
    /// Until when readings of any key may be answered without asking anyone: never where this node
    /// is not primary. What most commands look at is no more than this.
    reads_until: Vec<Time>,
}

impl Standings {
    /// Of so many partitions, that have no replicas.
    pub(super) fn of(partitions: usize) -> Self {
        let (mut all, mut reads_until) = (Vec::new(), Vec::new());
        all.resize(partitions, Standing::default());
        reads_until.resize(partitions, Time::ZERO);
        Self { all, reads_until }
    }

    /// Something has happened to a replica.
    pub(super) fn note(&mut self, index: usize, replica: Option<&Replica>, me: NodeId) {
        let standing = replica.map(|replica| Standing::of(replica, me));
        self.all[index] = standing.unwrap_or_default();
        self.reads_until[index] = replica.map_or(Time::ZERO, Replica::reads_until);
    }

    pub(super) fn is_primary(&self, index: usize) -> bool {
        self.reads_until[index] > Time::ZERO || matches!(self.all[index], Standing::Primary)
    }

    /// Where commands are to be carried out: here (`None`), or elsewhere.
    #[inline]
    pub(super) fn elsewhere(&self, index: usize) -> Option<Option<Term>> {
        if self.reads_until[index] > Time::ZERO {
            return None;
        }
        match self.all[index] {
            Standing::Alone | Standing::Primary | Standing::Soon => None,
            Standing::Elsewhere(hint) => Some(hint),
        }
    }

    /// Whether a reading may be answered at this moment, whatever it is of.
    pub(super) fn may_read(&self, index: usize, now: Time) -> bool {
        now < self.reads_until[index]
    }
}
