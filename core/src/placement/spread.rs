//! Who comes first for one partition, with racks taken into account.
//!
//! Decides the order of the candidates that it is given. Refuses to know who they are, and which
//! of them become owners or voters.
//!
//! A node's *round* is the number of nodes of its own rack that have a better score. Candidates
//! go by round, then by score, then by index. So the first of each rack come first, two replicas
//! share a rack only when each other rack has one or has no node left, and where there is one
//! rack, or one for each node, the order is that of the scores.

use alloc::vec::Vec;
use core::cmp::Ordering;

use super::NodeIndex;
use super::score::Score;

/// A node that may be chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) node: NodeIndex,
    pub(super) rack: u16,
    pub(super) score: Score,
}

impl Candidate {
    fn compare(&self, other: &Self) -> Ordering {
        let by_score = self.score.compare(other.score);
        by_score.then(self.node.cmp(&other.node))
    }
}

/// The candidates of one partition; keeps its memory for the next.
pub(super) struct Spread {
    candidates: Vec<Candidate>,
    /// Nodes already chosen, by rack.
    chosen_of_rack: Vec<u16>,
}

impl Spread {
    pub(super) fn new(racks: usize) -> Self {
        Self {
            candidates: Vec::new(),
            chosen_of_rack: alloc::vec![0; racks],
        }
    }

    pub(super) fn add(&mut self, candidate: Candidate) {
        self.candidates.push(candidate);
    }

    /// Moves the first `count` to `order`, and forgets the others.
    ///
    /// For a few of many this is faster than [`drain`](Self::drain): it sorts nothing.
    pub(super) fn drain_first(&mut self, count: usize, order: &mut Vec<NodeIndex>) {
        self.chosen_of_rack.fill(0);
        for _ in 0..count {
            let chosen_of_rack = &self.chosen_of_rack;
            // The best that is left of a rack has as its round what is chosen of that rack.
            let round = |candidate: &Candidate| chosen_of_rack[usize::from(candidate.rack)];
            let candidates = self.candidates.iter().enumerate();
            let first = candidates.min_by(|(_, one), (_, other)| {
                round(one).cmp(&round(other)).then(one.compare(other))
            });
            let (position, _) = first.expect("no more are asked for than there are");
            let candidate = self.candidates.swap_remove(position);
            self.chosen_of_rack[usize::from(candidate.rack)] += 1;
            order.push(candidate.node);
        }
        self.candidates.clear();
    }

    /// Moves all to `order`.
    pub(super) fn drain(&mut self, order: &mut Vec<NodeIndex>) {
        self.chosen_of_rack.fill(0);
        self.candidates.sort_unstable_by(Candidate::compare);
        let rounds = self.candidates.drain(..).map(|candidate| {
            let chosen = &mut self.chosen_of_rack[usize::from(candidate.rack)];
            *chosen += 1;
            (*chosen, candidate.node)
        });
        let mut rounds: Vec<(u16, NodeIndex)> = rounds.collect();
        rounds.sort_by_key(|(round, _)| *round);
        order.extend(rounds.into_iter().map(|(_, node)| node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws that tie are too rare for the other tests to meet one.
    #[test]
    fn equal_scores_go_by_index() {
        let add = |spread: &mut Spread, node| {
            let score = Score::new(u64::from(node) + 1, u32::from(node) + 1);
            let node = NodeIndex(node);
            let rack = 0;
            spread.add(Candidate { node, rack, score });
        };
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
            let mut spread = Spread::new(1);
            let mut nodes = Vec::new();
            order.into_iter().for_each(|node| add(&mut spread, node));
            spread.drain_first(3, &mut nodes);
            order.into_iter().for_each(|node| add(&mut spread, node));
            spread.drain(&mut nodes);
            assert_eq!(nodes, [0, 1, 2, 0, 1, 2, 3].map(NodeIndex));
        }
    }
}
