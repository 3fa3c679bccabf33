//! Whether a node has died, by what connections to it have shown.
//!
//! Decides when that is certain enough not to wait for gossip: a connection was reset, a new one
//! is refused, and where there is a third node it finds the same. Refuses to know how connections
//! are made, and leaves to gossip all that hangs, is cut off, or comes back.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem::take;

use super::outputs::Evidence;
use crate::member::{Guid, NodeId};
use crate::protocol::peer::DeathVerdict;

/// Evidence that is not complete after so long is dropped: it was no death of a process.
pub(super) const EVIDENCE_MS_MAX: u64 = 1000;
/// Others that are asked. One that agrees is enough.
pub(super) const WITNESSES_MAX: usize = 3;
/// Questions about one node that are open at once.
const ASKERS_MAX: usize = 16;

/// For whom, about which run, what.
pub(super) type Answers = Vec<(u64, NodeId, DeathVerdict)>;

struct Case {
    node: NodeId,
    reset: bool,
    refused: bool,
    asked: bool,
    askers: Vec<u64>,
}

impl Case {
    fn answer(&mut self, verdict: DeathVerdict, answers: &mut Answers) {
        let askers = take(&mut self.askers);
        answers.extend(askers.into_iter().map(|asker| (asker, self.node, verdict)));
    }
}

/// What follows from something learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Nothing,
    /// Ask the others whether they find the same.
    Ask,
    /// It is dead.
    Dead,
}

/// Cases that are open, at most one for each node.
#[derive(Default)]
pub(super) struct Deaths {
    cases: BTreeMap<Guid, Case>,
}

impl Deaths {
    /// The case of `node`, and whether it has just been opened.
    fn case(&mut self, node: NodeId, answers: &mut Answers) -> (&mut Case, bool) {
        let open = |node| Case {
            node,
            reset: false,
            refused: false,
            asked: false,
            askers: Vec::new(),
        };
        let mut opened = false;
        let case = self.cases.entry(node.guid).or_insert_with(|| {
            opened = true;
            open(node)
        });
        if case.node != node {
            // Another run: the one before it is no more.
            case.answer(DeathVerdict::Dead, answers);
            *case = open(node);
            opened = true;
        }
        (case, opened)
    }

    /// A connection has shown something about a run that is not known to be down. `witnesses`:
    /// there are others who may be asked. Says also whether to call [`expire`](Self::expire)
    /// after [`EVIDENCE_MS_MAX`].
    pub(super) fn note(
        &mut self,
        node: NodeId,
        evidence: Evidence,
        witnesses: bool,
        answers: &mut Answers,
    ) -> (Finding, bool) {
        if evidence == Evidence::Connected {
            if let Some(mut case) = self.cases.remove(&node.guid) {
                let verdict = match case.node == node {
                    true => DeathVerdict::Alive,
                    false => DeathVerdict::Dead,
                };
                case.answer(verdict, answers);
            }
            return (Finding::Nothing, false);
        }
        let (case, opened) = self.case(node, answers);
        match evidence {
            Evidence::Reset => case.reset = true,
            Evidence::Refused => {
                case.refused = true;
                case.answer(DeathVerdict::Dead, answers);
            }
            Evidence::Connected => {}
        }
        let proven = case.reset && case.refused;
        let finding = match witnesses {
            _ if !proven => Finding::Nothing,
            false => Finding::Dead,
            true if case.asked => Finding::Nothing,
            true => {
                case.asked = true;
                Finding::Ask
            }
        };
        (finding, opened)
    }

    /// Another node has answered what it was asked.
    pub(super) fn answered(&mut self, about: NodeId, verdict: DeathVerdict) -> Finding {
        let case = self.cases.get(&about.guid);
        let Some(case) = case.filter(|case| case.node == about && case.asked) else {
            return Finding::Nothing;
        };
        let proven = case.reset && case.refused;
        match verdict {
            DeathVerdict::Dead if proven => Finding::Dead,
            DeathVerdict::Alive => {
                self.cases.remove(&about.guid);
                Finding::Nothing
            }
            DeathVerdict::Dead | DeathVerdict::Unknown => Finding::Nothing,
        }
    }

    /// Another node asks about a run that is not known to be down. Says whether a new connection
    /// is needed to know, and whether a case was opened.
    pub(super) fn asked(
        &mut self,
        asker: u64,
        about: NodeId,
        answers: &mut Answers,
    ) -> (bool, bool) {
        let (case, opened) = self.case(about, answers);
        if case.refused {
            answers.push((asker, about, DeathVerdict::Dead));
            return (false, opened);
        }
        if case.askers.len() >= ASKERS_MAX {
            answers.push((asker, about, DeathVerdict::Unknown));
            return (false, opened);
        }
        case.askers.push(asker);
        (case.askers.len() == 1, opened)
    }

    /// What could not be decided in time is left to gossip.
    pub(super) fn expire(&mut self, guid: &Guid, answers: &mut Answers) {
        if let Some(mut case) = self.cases.remove(guid) {
            case.answer(DeathVerdict::Unknown, answers);
        }
    }

    /// The node is down: whoever still asks is told so.
    pub(super) fn close(&mut self, guid: &Guid, answers: &mut Answers) {
        if let Some(mut case) = self.cases.remove(guid) {
            case.answer(DeathVerdict::Dead, answers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn node(generation: u64) -> NodeId {
        let guid = Guid::new("a").expect("a guid");
        NodeId { guid, generation }
    }

    #[test]
    fn reset_and_refused_and_a_witness_are_a_death() {
        for order in [
            [Evidence::Reset, Evidence::Refused],
            [Evidence::Refused, Evidence::Reset],
        ] {
            let (mut deaths, mut answers) = (Deaths::default(), vec![]);
            let first = deaths.note(node(1), order[0], true, &mut answers);
            assert_eq!(first, (Finding::Nothing, true));
            // An answer to what was not asked yet says nothing.
            let early = deaths.answered(node(1), DeathVerdict::Dead);
            assert_eq!(early, Finding::Nothing);
            let second = deaths.note(node(1), order[1], true, &mut answers);
            assert_eq!(second, (Finding::Ask, false));
            let again = deaths.note(node(1), order[1], true, &mut answers);
            assert_eq!(again, (Finding::Nothing, false));
            for (verdict, finding) in [
                (DeathVerdict::Unknown, Finding::Nothing),
                (DeathVerdict::Dead, Finding::Dead),
            ] {
                assert_eq!(deaths.answered(node(1), verdict), finding);
            }
        }
    }

    #[test]
    fn without_a_third_node_the_evidence_is_enough_and_half_of_it_never() {
        let (mut deaths, mut answers) = (Deaths::default(), vec![]);
        for _ in 0..3 {
            let reset = deaths.note(node(1), Evidence::Reset, false, &mut answers);
            assert_eq!(reset.0, Finding::Nothing);
        }
        let refused = deaths.note(node(1), Evidence::Refused, false, &mut answers);
        assert_eq!(refused.0, Finding::Dead);
    }

    #[test]
    fn evidence_about_one_run_says_nothing_about_the_next() {
        let (mut deaths, mut answers) = (Deaths::default(), vec![]);
        deaths.note(node(1), Evidence::Reset, false, &mut answers);
        let refused = deaths.note(node(2), Evidence::Refused, false, &mut answers);
        assert_eq!(refused, (Finding::Nothing, true));
        deaths.note(node(2), Evidence::Connected, false, &mut answers);
        let reset = deaths.note(node(2), Evidence::Reset, false, &mut answers);
        assert_eq!(reset, (Finding::Nothing, true));
    }

    #[test]
    fn whoever_sees_it_alive_ends_the_case() {
        let (mut deaths, mut answers) = (Deaths::default(), vec![]);
        deaths.note(node(1), Evidence::Reset, true, &mut answers);
        deaths.note(node(1), Evidence::Refused, true, &mut answers);
        let alive = deaths.answered(node(1), DeathVerdict::Alive);
        assert_eq!(alive, Finding::Nothing);
        let late = deaths.answered(node(1), DeathVerdict::Dead);
        assert_eq!(late, Finding::Nothing);
    }

    #[test]
    fn every_asker_gets_one_answer() {
        for (evidence, verdict) in [
            (Some(Evidence::Refused), DeathVerdict::Dead),
            (Some(Evidence::Connected), DeathVerdict::Alive),
            (None, DeathVerdict::Unknown),
        ] {
            let (mut deaths, mut answers) = (Deaths::default(), vec![]);
            assert_eq!(deaths.asked(7, node(1), &mut answers), (true, true));
            assert_eq!(deaths.asked(8, node(1), &mut answers), (false, false));
            // A reset alone is no answer yet.
            deaths.note(node(1), Evidence::Reset, true, &mut answers);
            assert_eq!(answers, vec![]);
            match evidence {
                Some(evidence) => {
                    deaths.note(node(1), evidence, true, &mut answers);
                }
                None => deaths.expire(&node(1).guid, &mut answers),
            }
            assert_eq!(answers, vec![(7, node(1), verdict), (8, node(1), verdict)]);
            deaths.expire(&node(1).guid, &mut answers);
            assert_eq!(answers.len(), 2);
        }
    }

    #[test]
    fn questions_have_a_bound() {
        let (mut deaths, mut answers) = (Deaths::default(), vec![]);
        for asker in 0..=ASKERS_MAX as u64 {
            deaths.asked(asker, node(1), &mut answers);
        }
        let over = ASKERS_MAX as u64;
        assert_eq!(answers, vec![(over, node(1), DeathVerdict::Unknown)]);
    }
}
