//! Sets of explanations, without those that another one makes needless.
//!
//! Decides which of two explanations allows all that the other does. Refuses to know commands.

use std::collections::BTreeMap;

use crate::model::State;

/// Open commands of one key, by their places.
pub(super) type Places = u128;

/// One way in which things can have happened so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Explanation {
    pub(super) state: State,
    /// Commands that have taken effect and are not answered yet.
    pub(super) done: Places,
}

/// Explanations, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct Frontier {
    /// By the state and by what is done of the commands that are answered later: what is done of
    /// those that never are.
    known: BTreeMap<(State, Places), Vec<Places>>,
    len: usize,
}

impl Frontier {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an explanation, and says whether it brings anything new. `unanswered` are the
    /// commands that nobody will hear of.
    ///
    /// Of two that differ in these only, the one in which less has taken effect allows more:
    /// what is left may still take effect, or never.
    pub(super) fn insert(&mut self, explanation: Explanation, unanswered: Places) -> bool {
        let Explanation { state, done } = explanation;
        let loose = done & unanswered;
        let same = self.known.entry((state, done & !unanswered)).or_default();
        if same.iter().any(|less| less & !loose == 0) {
            return false;
        }
        self.len -= same.len();
        same.retain(|more| loose & !more != 0);
        same.push(loose);
        self.len += same.len();
        true
    }

    pub(super) fn holds(&self, state: &State) -> bool {
        let from = (state.clone(), 0);
        let first = self.known.range(from..).next();
        first.is_some_and(|((found, _), _)| found == state)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Explanation> {
        self.known.iter().flat_map(|((state, done), loose)| {
            loose.iter().map(move |loose| Explanation {
                state: state.clone(),
                done: done | loose,
            })
        })
    }

    pub(super) fn states(&self) -> impl Iterator<Item = &State> {
        self.known.keys().map(|(state, _)| state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explanation(done: Places) -> Explanation {
        Explanation {
            state: State::nothing(),
            done,
        }
    }

    #[test]
    fn what_is_done_of_answered_commands_tells_explanations_apart() {
        let mut frontier = Frontier::default();
        assert!(frontier.insert(explanation(0b01), 0));
        assert!(frontier.insert(explanation(0b11), 0));
        assert!(!frontier.insert(explanation(0b01), 0));
        assert_eq!(frontier.len(), 2);
    }

    #[test]
    fn less_done_of_unanswered_commands_stands_for_more() {
        let mut frontier = Frontier::default();
        assert!(frontier.insert(explanation(0b0111), 0b0110));
        assert!(!frontier.insert(explanation(0b0111), 0b0110));
        assert!(frontier.insert(explanation(0b0011), 0b0110), "it is less");
        assert!(!frontier.insert(explanation(0b0111), 0b0110));
        assert!(frontier.insert(explanation(0b0101), 0b0110), "it is other");
        assert!(frontier.insert(explanation(0b0010), 0b0110), "what is sure");
        assert_eq!(frontier.len(), 3);
        assert!(frontier.holds(&State::nothing()));
    }
}
