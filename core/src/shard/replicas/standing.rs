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
    /// Elsewhere, nobody knows where.
    Unknown,
    /// Perhaps where the node at this place in `nodes` is, in the term of this counter.
    Elsewhere(u32, u64),
}

/// All of one worker, by the place of their partition.
#[derive(Debug, Default)]
pub(super) struct Standings {
    all: Vec<Standing>,
    /// The runs that `all` points to, and perhaps some that it has pointed to. A run takes forty
    /// bytes, and a few have all partitions.
    nodes: Vec<NodeId>,
    /// How many runs there may be before those are forgotten that nothing points to.
    nodes_max: usize,
    /// Until when readings of any key may be answered without asking anyone: never where this node
    /// is not primary. What most commands look at is no more than this.
    reads_until: Vec<Time>,
}

/// Runs that are kept at least.
const NODES_MIN: usize = 64;

impl Standings {
    /// Of so many partitions, that have no replicas.
    pub(super) fn of(partitions: usize) -> Self {
        let (mut all, mut reads_until) = (Vec::new(), Vec::new());
        all.resize(partitions, Standing::default());
        reads_until.resize(partitions, Time::ZERO);
        Self {
            all,
            nodes: Vec::new(),
            nodes_max: NODES_MIN,
            reads_until,
        }
    }

    /// Something has happened to a replica.
    pub(super) fn note(&mut self, index: usize, replica: Option<&Replica>, me: NodeId) {
        self.all[index] = match replica {
            None => Standing::Alone,
            Some(replica) if replica.is_open() => Standing::Primary,
            Some(replica) => match replica.primary_hint() {
                Some(term) if term.node == me => Standing::Soon,
                Some(term) => Standing::Elsewhere(self.place(term.node), term.counter),
                None => Standing::Unknown,
            },
        };
        self.reads_until[index] = replica.map_or(Time::ZERO, Replica::reads_until);
    }

    /// The place of a run in `nodes`.
    fn place(&mut self, node: NodeId) -> u32 {
        if self.nodes.len() >= self.nodes_max {
            self.forget_nodes();
        }
        place_in(&mut self.nodes, node)
    }

    /// Forgets runs that nothing points to.
    fn forget_nodes(&mut self) {
        let before = core::mem::take(&mut self.nodes);
        for standing in &mut self.all {
            if let Standing::Elsewhere(place, _) = standing {
                *place = place_in(&mut self.nodes, before[*place as usize]);
            }
        }
        self.nodes_max = NODES_MIN.max(2 * self.nodes.len());
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
            Standing::Unknown => Some(None),
            Standing::Elsewhere(place, counter) => {
                let node = self.nodes[place as usize];
                Some(Some(Term { counter, node }))
            }
        }
    }

    /// Whether a reading may be answered at this moment, whatever it is of.
    pub(super) fn may_read(&self, index: usize, now: Time) -> bool {
        now < self.reads_until[index]
    }
}

fn place_in(nodes: &mut Vec<NodeId>, node: NodeId) -> u32 {
    let known = nodes.iter().position(|known| *known == node);
    let place = known.unwrap_or_else(|| {
        nodes.push(node);
        nodes.len() - 1
    });
    u32::try_from(place).expect("no more runs than partitions and some")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::Guid;

    fn run(generation: u64) -> NodeId {
        let guid = Guid::new("other").expect("a guid");
        NodeId { guid, generation }
    }

    #[test]
    fn runs_that_nothing_points_to_are_forgotten() {
        let mut standings = Standings::of(2);
        // What comes before it in the list is forgotten, and so its place changes.
        standings.place(run(5000));
        let kept = standings.place(run(0));
        standings.all[0] = Standing::Elsewhere(kept, 7);
        for generation in 1..1000 {
            let place = standings.place(run(generation));
            standings.all[1] = Standing::Elsewhere(place, generation);
            assert!(standings.nodes.len() <= NODES_MIN);
            let hint = |index| standings.elsewhere(index).flatten();
            let term = |counter, node| Some(Term { counter, node });
            assert_eq!(hint(0), term(7, run(0)));
            assert_eq!(hint(1), term(generation, run(generation)));
        }
    }
}
