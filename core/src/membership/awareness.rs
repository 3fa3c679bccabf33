//! How far a node can trust its own judgement of others.
//!
//! Decides by how much a node that may itself be slow or cut off waits longer before it takes
//! another for dead: local health awareness as Lifeguard has it (Dadgar, Phillips, Currey 2017),
//! and the base that it multiplies. Refuses to know whom it is about.

use alloc::collections::BTreeSet;

use crate::member::Guid;

/// The score at which waiting no longer grows, as in Lifeguard.
const SCORE_MAX: u64 = 8;
/// How long a suspected node has to show that it lives, in a small cluster.
const SUSPICION_MS: u64 = 1500;

/// A node's doubt in itself: 0 is none.
#[derive(Debug, Default)]
pub(super) struct Awareness {
    score: u64,
    /// Members that did not answer since one last did.
    silent: BTreeSet<Guid>,
}

impl Awareness {
    /// A probe has been answered.
    pub(super) fn probe_answered(&mut self) {
        self.silent.clear();
        self.score = self.score.saturating_sub(1);
    }

    /// A member did not answer. One may be dead; when several in a row are silent it is likely to
    /// be this node that is not heard.
    pub(super) fn probe_failed(&mut self, guid: Guid) {
        if self.silent.insert(guid) && self.silent.len() > 1 {
            self.doubt();
        }
    }

    /// This process did not run, or others have taken it for dead.
    pub(super) fn doubt(&mut self) {
        self.score = (self.score + 1).min(SCORE_MAX);
    }

    #[cfg(test)]
    pub(super) const fn score(&self) -> u64 {
        self.score
    }

    /// How long a suspected member has among `members`, in milliseconds: with their number grows
    /// the time in which gossip reaches all (SWIM+Suspicion, Das et al. 2002).
    pub(super) fn suspicion_ms(&self, members: usize) -> u64 {
        SUSPICION_MS * log10_percent(members).max(100) / 100 * (1 + self.score)
    }
}

/// 100 times the decimal logarithm, rounded down to that of a power of two.
fn log10_percent(number: usize) -> u64 {
    u64::from(number.max(1).ilog2()) * 30_103 / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guid(text: &str) -> Guid {
        Guid::new(text).expect("a guid")
    }

    #[test]
    fn suspicion_grows_with_the_cluster() {
        let awareness = Awareness::default();
        for (members, expected_ms) in [(0, 1500), (1, 1500), (7, 1500), (100, 2700), (1024, 4515)] {
            assert_eq!(awareness.suspicion_ms(members), expected_ms, "{members}");
        }
    }

    #[test]
    fn one_silent_member_is_its_own_fault_and_several_are_ours() {
        let mut awareness = Awareness::default();
        awareness.probe_failed(guid("a"));
        awareness.probe_failed(guid("a"));
        assert_eq!(awareness.score(), 0);
        awareness.probe_failed(guid("b"));
        awareness.probe_failed(guid("c"));
        assert_eq!((awareness.score(), awareness.suspicion_ms(3)), (2, 4500));
        awareness.probe_answered();
        awareness.probe_failed(guid("b"));
        assert_eq!(awareness.score(), 1);
    }

    #[test]
    fn doubt_has_a_bound_and_passes() {
        let mut awareness = Awareness::default();
        for _ in 0..20 {
            awareness.doubt();
        }
        assert_eq!(awareness.suspicion_ms(3), 1500 * 9);
        for _ in 0..8 {
            awareness.probe_answered();
        }
        assert_eq!(awareness.suspicion_ms(3), 1500);
    }
}
