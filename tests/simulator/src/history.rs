//! Whether what clients were told could have come from one memcached, key by key.
//!
//! Decides which orders of the commands on a key explain their answers (linearizability), and
//! which states a restart may bring back. Refuses to know memcached's semantics, which the model
//! has, and the node.
//!
//! After Wing and Gong (1993), in the form of Lowe, *Testing for linearizability* (2017): a
//! command is made to take effect only when its answer demands it.

use std::fmt::Write as _;

use zufar_core::time::Time;

use crate::model::{Rules, Span, State};
use crate::operation::{Answer, KeyNumber, Operation};

/// Explanations that are followed for one answer before the search gives up.
const STEPS_MAX: usize = 50_000;

/// A moment, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Monotonic.
    pub time: Time,
    /// The node's Unix time, in milliseconds.
    pub unix_ms: u64,
}

/// One command of one client, on one key.
#[derive(Clone, Debug)]
pub struct Command {
    /// The key.
    pub key: KeyNumber,
    /// The connection: its commands take effect in their order.
    pub connection: u32,
    /// What was asked.
    pub operation: Operation,
    /// When it was sent, at the earliest.
    pub sent: Moment,
    /// When its answer was there, at the latest.
    pub answered: Option<Moment>,
    /// The answer.
    pub answer: Answer,
    /// It will never be answered, and has taken effect by then if ever.
    pub abandoned: Option<Time>,
}

/// Where a command is noted, until it is answered.
#[derive(Clone, Copy, Debug)]
pub struct CommandId {
    run: u32,
    index: usize,
}

/// How a run of the node ended, for what its keys may hold afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It did not: it goes on from the same state.
    GoesOn,
    /// Everything was written and synced.
    Clean,
    /// What was known before this time is on disk; of the rest any first part.
    Crash(Time),
}

/// What a search meets, in time's order; at the same time, what is sent comes first: that allows
/// more, and never too much.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Sent,
    Answered,
    Abandoned,
}

/// One way in which things can have happened so far.
#[derive(Clone, Debug, PartialEq)]
struct Explanation {
    state: State,
    /// Commands that have taken effect and are not answered yet.
    done: Vec<usize>,
}

/// A state that some command has replaced, and when that was known at the latest.
#[derive(Clone, Debug)]
struct Past {
    state: State,
    replaced_by: Time,
}

/// What is known of one key.
#[derive(Clone, Debug)]
struct Key {
    explanations: Vec<Explanation>,
    past: Vec<Past>,
    /// The search gave up: nothing is demanded until the next start.
    given_up: bool,
}

/// All commands of one run of the node, and what earlier ones have left.
#[derive(Debug)]
pub struct History {
    keys: Vec<Key>,
    commands: Vec<Command>,
    /// Counts the calls of `close`: answers to what was sent before come too late.
    run: u32,
    rules: Rules,
    /// Commands that were checked, in all runs.
    checked: u64,
    /// Keys for which a search gave up.
    given_up: u64,
}

impl History {
    /// A history of so many keys, none of which has been used.
    #[must_use]
    pub fn new(keys: u16, rules: Rules) -> Self {
        let unused = Key {
            explanations: vec![Explanation {
                state: State::nothing(),
                done: Vec::new(),
            }],
            past: Vec::new(),
            given_up: false,
        };
        Self {
            keys: vec![unused; keys.into()],
            commands: Vec::new(),
            run: 0,
            rules,
            checked: 0,
            given_up: 0,
        }
    }

    /// Commands that were checked.
    #[must_use]
    pub const fn checked(&self) -> u64 {
        self.checked
    }

    /// Keys for which there were too many explanations to follow.
    #[must_use]
    pub const fn given_up(&self) -> u64 {
        self.given_up
    }

    /// The rules of this run of the node.
    #[must_use]
    pub const fn rules(&self) -> Rules {
        self.rules
    }

    /// Takes note of a command that is being sent.
    pub fn send(&mut self, command: Command) -> CommandId {
        self.commands.push(command);
        CommandId {
            run: self.run,
            index: self.commands.len() - 1,
        }
    }

    /// Takes note of an answer.
    pub fn answer(&mut self, id: CommandId, answer: Answer, at: Moment) {
        if id.run == self.run {
            let command = &mut self.commands[id.index];
            command.answer = answer;
            command.answered = Some(at);
        }
    }

    /// Takes note that a command will not be answered; by `time` it has taken effect, or never will.
    pub fn abandon(&mut self, id: CommandId, time: Time) {
        if id.run == self.run {
            self.commands[id.index].abandoned = Some(time);
        }
    }

    /// Checks all commands of a run that is over, or at rest, and begins the next one.
    ///
    /// After a crash a key may fall back to any state that was replaced after what is safe.
    ///
    /// # Errors
    /// The first key whose answers nothing explains, with its commands.
    pub fn close(&mut self, end: End, rules: Rules) -> Result<(), String> {
        for number in 0..self.keys.len() {
            self.close_key(number as KeyNumber, end)?;
        }
        self.checked += self.commands.len() as u64;
        self.commands.clear();
        self.run += 1;
        self.rules = rules;
        Ok(())
    }

    /// Everything is gone, versions too, as after a restart without a disk.
    pub fn forget(&mut self) {
        for key in &mut self.keys {
            key.past.clear();
            key.given_up = false;
            key.explanations = vec![Explanation {
                state: State::nothing(),
                done: Vec::new(),
            }];
        }
    }

    fn close_key(&mut self, number: KeyNumber, end: End) -> Result<(), String> {
        let mut events = Vec::new();
        for (index, command) in self.commands.iter().enumerate() {
            if command.key == number {
                events.push((command.sent.time, Event::Sent, index));
                if let Some(answered) = command.answered {
                    events.push((answered.time, Event::Answered, index));
                } else if let Some(time) = command.abandoned {
                    events.push((time, Event::Abandoned, index));
                }
            }
        }
        events.sort_by_key(|(time, event, index)| (*time, *event, *index));
        let mut open = Vec::new();
        for (time, event, index) in events {
            if self.keys[usize::from(number)].given_up {
                break;
            }
            match event {
                Event::Sent => open.push(index),
                Event::Answered => {
                    self.take_answer(number, index, &open, time)?;
                    open.retain(|one| *one != index);
                }
                Event::Abandoned => {
                    self.take_abandoned(number, index);
                    open.retain(|one| *one != index);
                }
            }
        }
        self.settle(number, &open, end);
        Ok(())
    }

    /// Follows every explanation to one in which command `index` has taken effect.
    fn take_answer(
        &mut self,
        number: KeyNumber,
        index: usize,
        open: &[usize],
        time: Time,
    ) -> Result<(), String> {
        let key = &self.keys[usize::from(number)];
        let mut todo = key.explanations.clone();
        let mut seen: Vec<Explanation> = Vec::new();
        let mut after: Vec<Explanation> = Vec::new();
        let mut steps = 0;
        while let Some(explanation) = todo.pop() {
            if explanation.done.contains(&index) {
                let mut kept = explanation;
                kept.done.retain(|one| *one != index);
                if !after.contains(&kept) {
                    after.push(kept);
                }
                continue;
            }
            for next in open {
                steps += 1;
                for following in self.effects(&explanation, *next, open) {
                    if !seen.contains(&following) {
                        seen.push(following.clone());
                        todo.push(following);
                    }
                }
            }
            if steps > STEPS_MAX || seen.len() > STEPS_MAX / 50 {
                self.given_up += 1;
                self.keys[usize::from(number)].given_up = true;
                return Ok(());
            }
        }
        if after.is_empty() {
            return Err(self.complaint(number, index, open));
        }
        let key = &mut self.keys[usize::from(number)];
        let replaced = key.explanations.iter().chain(&seen);
        let mut past = Vec::new();
        for explanation in replaced {
            let state = &explanation.state;
            if after.iter().all(|kept| kept.state != *state) {
                past.push(Past {
                    state: state.clone(),
                    replaced_by: time,
                });
            }
        }
        key.past.extend(past);
        key.explanations = after;
        Ok(())
    }

    /// From now on command `index` has taken effect or never will.
    fn take_abandoned(&mut self, number: KeyNumber, index: usize) {
        let key = &mut self.keys[usize::from(number)];
        let mut kept: Vec<Explanation> = Vec::new();
        for mut explanation in key.explanations.drain(..) {
            explanation.done.retain(|one| *one != index);
            if !kept.contains(&explanation) {
                kept.push(explanation);
            }
        }
        key.explanations = kept;
    }

    /// Where an explanation leads if the open command `next` takes effect now.
    fn effects(&self, from: &Explanation, next: usize, open: &[usize]) -> Vec<Explanation> {
        let command = &self.commands[next];
        if from.done.contains(&next) {
            return Vec::new();
        }
        for other in open {
            let same = self.commands[*other].connection == command.connection;
            let done = from.done.contains(other);
            // One connection's commands take effect in order; one that nobody heard of again
            // may never take effect, but not after a later one.
            let before = *other < next && !done && self.commands[*other].answered.is_some();
            let after = *other > next && done;
            if same && (before || after) {
                return Vec::new();
            }
        }
        let latest_ms = command.answered.map_or(u64::MAX / 2, |at| at.unix_ms);
        let span = Span {
            earliest_ms: command.sent.unix_ms,
            latest_ms,
        };
        let states = from
            .state
            .after(&command.operation, &command.answer, span, &self.rules);
        let lead = |state| {
            let mut done = from.done.clone();
            done.push(next);
            done.sort_unstable();
            Explanation { state, done }
        };
        states.into_iter().map(lead).collect()
    }

    /// The run is over: commands without an answer have taken effect or have not.
    fn settle(&mut self, number: KeyNumber, open: &[usize], end: End) {
        let key = &self.keys[usize::from(number)];
        let mut all = key.explanations.clone();
        let mut at = 0;
        while at < all.len() && all.len() < STEPS_MAX / 50 {
            let explanation = all[at].clone();
            at += 1;
            for next in open {
                for following in self.effects(&explanation, *next, open) {
                    if !all.contains(&following) {
                        all.push(following);
                    }
                }
            }
        }
        let given_up = at < all.len();
        let key = &mut self.keys[usize::from(number)];
        if given_up && !key.given_up {
            self.given_up += 1;
            key.given_up = true;
        }
        if let End::Crash(safe) = end {
            for past in key.past.drain(..).filter(|past| past.replaced_by >= safe) {
                all.push(Explanation {
                    state: past.state,
                    done: Vec::new(),
                });
            }
            let recalled: Vec<State> = all
                .iter()
                .filter_map(|explanation| explanation.state.recalled())
                .collect();
            all.extend(recalled.into_iter().map(|state| Explanation {
                state,
                done: Vec::new(),
            }));
        }
        let mut explanations: Vec<Explanation> = Vec::new();
        for mut explanation in all {
            explanation.done.clear();
            if !explanations.contains(&explanation) {
                explanations.push(explanation);
            }
        }
        key.explanations = explanations;
        if end != End::GoesOn {
            key.past.clear();
        }
    }

    fn complaint(&self, number: KeyNumber, index: usize, open: &[usize]) -> String {
        const SHOWN_MAX: usize = 30;
        let mut text = format!(
            "key {number}: nothing explains the last of these answers, under {:?}\n",
            self.rules
        );
        let last = self.commands[index].answered.map(|at| at.time);
        let commands: Vec<&Command> = self
            .commands
            .iter()
            .filter(|command| command.key == number)
            .filter(|command| command.answered.map(|at| at.time) <= last)
            .collect();
        let skipped = commands.len().saturating_sub(SHOWN_MAX);
        for command in &commands[skipped..] {
            describe(&mut text, command);
        }
        let _ = writeln!(text, "  {} under way; the states before:", open.len());
        for explanation in self.keys[usize::from(number)].explanations.iter().take(8) {
            let _ = writeln!(text, "  {:?}", explanation.state);
        }
        text
    }

    /// Everything known so far, for whoever looks for a cause.
    #[must_use]
    pub fn explanations(&self) -> usize {
        self.keys.iter().map(|key| key.explanations.len()).sum()
    }
}

fn describe(text: &mut String, command: &Command) {
    let us = |time: Time| time.as_nanos() / 1000;
    let answered = command
        .answered
        .map_or("-".to_owned(), |at| us(at.time).to_string());
    let _ = writeln!(
        text,
        "  {:>10}..{answered:<10} ({} unix ms) connection {}: {:?} -> {:?}",
        us(command.sent.time),
        command.sent.unix_ms,
        command.connection,
        command.operation,
        command.answer,
    );
}
