//! The search for explanations: which commands may take effect, and where that leads.
//!
//! Decides in which orders open commands are tried. Refuses to know what the states mean, and
//! what came before.
//!
//! A command whose answer says that it has changed nothing takes effect as soon as it can: any
//! other order would explain no more. So only what changes something is tried in all orders.

use std::collections::BTreeMap;

use zufar_core::time::Time;

use super::frontier::{Explanation, Frontier, Places};
use super::{Command, Loss};
use crate::model::{Rules, Span, State};

/// Explanations that are followed for one answer before the search gives up.
const EXPLANATIONS_MAX: usize = 20_000;

/// Commands under way whose answers are heard after a loss, at most: each may be among what is lost.
const LOST_MAX: u32 = 10;

/// One command that has been sent.
#[derive(Clone, Copy, Debug)]
struct Open {
    index: usize,
    connection: u32,
    /// It keeps no order with others of its connection.
    loose: bool,
    /// Commands of the same connection that take effect before this one.
    earlier: Places,
    /// Commands of the same connection after which this one takes no effect any more.
    later: Places,
    answered: bool,
    effect: bool,
}

/// Commands of one key that have been sent, and of which more is to be heard.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenSet {
    places: Vec<Option<Open>>,
}

impl OpenSet {
    /// Adds a command; false if there are too many.
    pub(super) fn insert(&mut self, commands: &[Command], index: usize) -> bool {
        let command = &commands[index];
        let place = self.places.iter().position(Option::is_none);
        let place = place.unwrap_or(self.places.len());
        if place as u32 >= Places::BITS {
            return false;
        }
        let mut earlier = 0;
        for (at, other) in self.places.iter_mut().enumerate() {
            if let Some(other) = other
                && other.connection == command.connection
                && !(other.loose || command.loose)
            {
                other.later |= 1 << place;
                // One that nobody heard of again may never take effect, but not after this one.
                earlier |= Places::from(other.answered) << at;
            }
        }
        if place == self.places.len() {
            self.places.push(None);
        }
        self.places[place] = Some(Open {
            index,
            connection: command.connection,
            loose: command.loose,
            earlier,
            later: 0,
            answered: command.answered.is_some(),
            effect: !command.operation.is_without_effect(&command.answer),
        });
        true
    }

    pub(super) fn remove(&mut self, index: usize) {
        let gone = self.place(index);
        for open in &mut self.places {
            if open.is_some_and(|open| open.index == index) {
                *open = None;
            } else if let Some(open) = open {
                open.earlier &= !gone;
                open.later &= !gone;
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = (Places, &Open)> {
        let places = self.places.iter().enumerate();
        places.filter_map(|(at, open)| Some((1 << at, open.as_ref()?)))
    }

    /// The place of command `index`.
    pub(super) fn place(&self, index: usize) -> Places {
        let found = self.iter().find(|(_, open)| open.index == index);
        found.map_or(0, |(place, _)| place)
    }

    /// The places of commands that nobody will hear of.
    pub(super) fn unanswered(&self) -> Places {
        let unanswered = self.iter().filter(|(_, open)| !open.answered);
        unanswered.fold(0, |all, (place, _)| all | place)
    }

    pub(super) fn len(&self) -> usize {
        self.iter().count()
    }
}

/// What came of a search.
pub(super) enum Found {
    Some {
        /// All ways in which the command has taken effect.
        after: Frontier,
        /// What they came through.
        passed: Frontier,
    },
    /// The answer is wrong.
    Nothing,
    TooMany,
}

pub(super) struct Search<'a> {
    pub(super) commands: &'a [Command],
    pub(super) open: &'a OpenSet,
    pub(super) rules: &'a Rules,
}

impl Search<'_> {
    /// Follows every explanation to one in which command `index` has taken effect. One that nobody
    /// has heard of again may as well not have taken effect, and from now on never will.
    pub(super) fn follow(&self, before: &Frontier, index: usize) -> Found {
        let wanted = self.open.place(index);
        let unanswered = self.open.unanswered();
        let mut passed = Frontier::default();
        let mut after = Frontier::default();
        let mut todo = Vec::new();
        let mut take = |explanation: Explanation, todo: &mut Vec<Explanation>| {
            let mut explanation = self.hurry(explanation);
            if explanation.done & wanted != 0 {
                explanation.done &= !wanted;
                after.insert(explanation, unanswered);
            } else if passed.insert(explanation.clone(), unanswered) {
                todo.push(explanation);
            }
        };
        for explanation in before.iter() {
            take(explanation, &mut todo);
        }
        let never = wanted & unanswered != 0;
        let mut followed = 0;
        while let Some(explanation) = todo.pop() {
            followed += 1;
            if followed > EXPLANATIONS_MAX {
                return Found::TooMany;
            }
            for (place, open) in self.open.iter() {
                for following in self.effects(&explanation, place, open) {
                    take(following, &mut todo);
                }
            }
        }
        if never {
            for explanation in before.iter() {
                let done = explanation.done & !wanted;
                after.insert(
                    Explanation {
                        done,
                        ..explanation
                    },
                    unanswered & !wanted,
                );
            }
        }
        if after.is_empty() {
            return Found::Nothing;
        }
        Found::Some { after, passed }
    }

    /// Everything that may be when no more is heard of open commands.
    pub(super) fn all(&self, before: &Frontier) -> Option<Frontier> {
        let unanswered = self.open.unanswered();
        let mut all = Frontier::default();
        let mut todo = Vec::new();
        for explanation in before.iter() {
            if all.insert(explanation.clone(), unanswered) {
                todo.push(explanation);
            }
        }
        while let Some(explanation) = todo.pop() {
            if all.len() > EXPLANATIONS_MAX {
                return None;
            }
            for (place, open) in self.open.iter() {
                for following in self.effects(&explanation, place, open) {
                    if all.insert(following.clone(), unanswered) {
                        todo.push(following);
                    }
                }
            }
        }
        Some(all)
    }

    /// Everything that may be after a loss: the key falls back to a state of the `past`, which
    /// had been replaced by a time, or stays as it is. Of what is answered later each may have
    /// taken effect and be among what is lost.
    pub(super) fn lost(
        &self,
        before: &Frontier,
        past: BTreeMap<State, Time>,
        loss: Loss,
    ) -> Option<Frontier> {
        let unanswered = self.open.unanswered();
        let all = self.all(before)?;
        let newer = past.iter().filter(|(_, by)| **by >= loss.safe_on_one);
        let mut newer = newer.map(|(state, _)| state);
        let safe = match newer.any(State::may_be_nothing) || all.states().any(State::may_be_nothing)
        {
            true => loss.safe,
            false => loss.safe_on_one,
        };
        let open = self.open.iter().fold(0, |all, (place, _)| all | place);
        let answered = open & !unanswered;
        if answered.count_ones() > LOST_MAX {
            return None;
        }
        let recalled = past.into_iter().filter(|(_, by)| *by >= safe);
        let recalled = recalled.map(|(state, _)| Explanation { state, done: 0 });
        let mut after = Frontier::default();
        for Explanation { state, done } in all.iter().chain(recalled) {
            let state = state.renumbered();
            let mut lost: Places = answered;
            loop {
                let state = state.clone();
                let done = done | lost;
                after.insert(Explanation { state, done }, unanswered);
                if lost == 0 {
                    break;
                }
                lost = (lost - 1) & answered;
            }
        }
        (after.len() <= EXPLANATIONS_MAX).then_some(after)
    }

    /// Has everything take effect that can at once, and changes nothing.
    fn hurry(&self, mut explanation: Explanation) -> Explanation {
        loop {
            let before = explanation.done;
            for (place, open) in self.open.iter() {
                let may = !open.effect && Self::may_follow(&explanation, place, open);
                if may && self.after(&explanation, open).contains(&explanation.state) {
                    explanation.done |= place;
                }
            }
            if explanation.done == before {
                return explanation;
            }
        }
    }

    /// Whether an open command can be the next one.
    const fn may_follow(from: &Explanation, place: Places, open: &Open) -> bool {
        let in_order = open.earlier & !from.done == 0 && open.later & from.done == 0;
        from.done & place == 0 && in_order
    }

    fn after(&self, from: &Explanation, open: &Open) -> Vec<State> {
        let command = &self.commands[open.index];
        let latest_ms = command.answered.map_or(u64::MAX / 2, |at| at.unix_ms);
        let span = Span {
            earliest_ms: command.sent.unix_ms,
            latest_ms,
        };
        let (operation, answer) = (&command.operation, &command.answer);
        from.state.after(operation, answer, span, self.rules)
    }

    /// Where an explanation leads if an open command takes effect now.
    fn effects(&self, from: &Explanation, place: Places, open: &Open) -> Vec<Explanation> {
        if !Self::may_follow(from, place, open) {
            return Vec::new();
        }
        let done = from.done | place;
        let states = self.after(from, open).into_iter();
        states.map(|state| Explanation { state, done }).collect()
    }
}
