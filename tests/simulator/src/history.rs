//! Whether what clients were told could have come from one memcached, key by key.
//!
//! Decides which orders of the commands on a key explain their answers (linearizability), and
//! which states a restart may bring back. Refuses to know memcached's semantics, which the model
//! has, and the node.
//!
//! After Wing and Gong (1993), in the form of Lowe, *Testing for linearizability* (2017): a
//! command is made to take effect only when its answer demands it.

mod frontier;
mod search;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use zufar_core::time::Time;

use crate::model::{Rules, State};
use crate::operation::{Answer, KeyNumber, Operation};

use frontier::{Explanation, Frontier};
use search::{Found, OpenSet, Search};

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
    /// What the connection has carried before it, in bytes.
    pub starts_at: u64,
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
    /// It may take effect after later ones of its connection.
    pub loose: bool,
}

impl Command {
    /// It has changed nothing, and told nothing.
    fn is_without_trace(&self) -> bool {
        matches!(self.answer, Answer::Unknown) && self.operation.is_without_effect(&self.answer)
    }
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

/// All nodes that held a key were lost, and what their disks had has come back, while its clients
/// went on: commands that were under way may still be carried out, and be answered.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    /// When.
    pub at: Time,
    /// Each disk has what was known before this time, and of the rest any first part.
    pub safe: Time,
    /// The same of one of them. What is newer there comes back; but that there was no item any
    /// more, a disk can't tell.
    pub safe_on_one: Time,
}

/// What a search meets, in time's order; at the same time, what is sent comes first: that allows
/// more, and never too much.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Sent,
    Answered,
    Abandoned,
    Lost,
}

/// What is known of one key.
#[derive(Clone, Debug)]
struct Key {
    explanations: Frontier,
    /// States that some command has replaced, and when that was known at the latest.
    past: BTreeMap<State, Time>,
    /// The search gave up: nothing is demanded until the next start.
    given_up: bool,
}

impl Key {
    fn unused() -> Self {
        let mut explanations = Frontier::default();
        let nothing = Explanation {
            state: State::nothing(),
            done: 0,
        };
        explanations.insert(nothing, 0);
        Self {
            explanations,
            past: BTreeMap::new(),
            given_up: false,
        }
    }
}

impl Key {
    /// Explanations have been followed to others, through some that have passed by `time`.
    fn replace(&mut self, after: Frontier, passed: Frontier, time: Time) {
        let before = std::mem::replace(&mut self.explanations, after);
        for state in before.states().chain(passed.states()) {
            if !self.explanations.holds(state) {
                self.past.insert(state.clone(), time);
            }
        }
    }
}

/// All commands of one run of the node, and what earlier ones have left.
#[derive(Debug)]
pub struct History {
    keys: Vec<Key>,
    commands: Vec<Command>,
    losses: Vec<Loss>,
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
        Self {
            keys: vec![Key::unused(); keys.into()],
            commands: Vec::new(),
            losses: Vec::new(),
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

    /// Takes note that all keys were lost, while their clients go on.
    pub fn lose(&mut self, loss: Loss) {
        self.losses.push(loss);
    }

    /// Takes note of a command that is being sent.
    pub fn send(&mut self, command: Command) -> CommandId {
        self.commands.push(command);
        CommandId {
            run: self.run,
            index: self.commands.len() - 1,
        }
    }

    /// Takes note of an answer; false if it comes after the end of its run, which was checked
    /// without it.
    pub fn answer(&mut self, id: CommandId, answer: Answer, at: Moment) -> bool {
        let in_time = id.run == self.run;
        if in_time {
            let command = &mut self.commands[id.index];
            command.answer = answer;
            command.answered = Some(at);
        }
        in_time
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
    /// `delivered` says how many bytes the node has read from a connection: what it has not even
    /// begun to read has not taken effect.
    ///
    /// # Errors
    /// The first key whose answers nothing explains, with its commands.
    pub fn close(
        &mut self,
        end: End,
        rules: Rules,
        delivered: &dyn Fn(u32) -> u64,
    ) -> Result<(), String> {
        let mut by_key = vec![Vec::new(); self.keys.len()];
        for (index, command) in self.commands.iter().enumerate() {
            let arrived = || delivered(command.connection) > command.starts_at;
            if !command.is_without_trace() && (command.answered.is_some() || arrived()) {
                by_key[usize::from(command.key)].push(index);
            }
        }
        for (number, commands) in by_key.iter().enumerate() {
            self.close_key(number as KeyNumber, commands, (end, &rules))?;
        }
        self.checked += self.commands.len() as u64;
        self.commands.clear();
        self.losses.clear();
        self.run += 1;
        self.rules = rules;
        Ok(())
    }

    /// Everything is gone, versions too, as after a restart without a disk.
    pub fn forget(&mut self) {
        self.keys.fill(Key::unused());
    }

    fn close_key(
        &mut self,
        number: KeyNumber,
        commands: &[usize],
        (end, rules): (End, &Rules),
    ) -> Result<(), String> {
        let mut open = OpenSet::default();
        for (time, event, index) in self.events(commands) {
            if self.keys[usize::from(number)].given_up {
                break;
            }
            let key = &mut self.keys[usize::from(number)];
            match event {
                Event::Sent if open.insert(&self.commands, index) => {}
                Event::Sent => key.given_up = true,
                Event::Answered | Event::Abandoned => {
                    let search = Search {
                        commands: &self.commands,
                        open: &open,
                        rules: &self.rules,
                    };
                    match search.follow(&key.explanations, index) {
                        Found::TooMany => key.given_up = true,
                        Found::Nothing => return Err(self.complaint(number, index, &open)),
                        Found::Some { after, passed } => key.replace(after, passed, time),
                    }
                    open.remove(index);
                }
                Event::Lost => {
                    let search = Search {
                        commands: &self.commands,
                        open: &open,
                        rules: &self.rules,
                    };
                    let loss = self.losses[index];
                    let past = std::mem::take(&mut key.past);
                    match search.lost(&key.explanations, past, loss) {
                        Some(after) => key.explanations = after,
                        None => key.given_up = true,
                    }
                }
            }
        }
        self.settle(number, &open, end, rules);
        Ok(())
    }

    /// What a search of these commands meets, in order.
    fn events(&self, commands: &[usize]) -> Vec<(Time, Event, usize)> {
        let mut events = Vec::new();
        let mut last = Time::ZERO;
        for index in commands.iter().copied() {
            let command = &self.commands[index];
            events.push((command.sent.time, Event::Sent, index));
            last = last.max(command.sent.time);
            if let Some(answered) = command.answered {
                events.push((answered.time, Event::Answered, index));
                last = last.max(answered.time);
            }
        }
        for index in commands.iter().copied() {
            let command = &self.commands[index];
            // Those that are open to the last have their turn when all is settled.
            if command.answered.is_none()
                && let Some(time) = command.abandoned
                && time < last
            {
                events.push((time, Event::Abandoned, index));
            }
        }
        for (index, loss) in self.losses.iter().enumerate() {
            events.push((loss.at, Event::Lost, index));
        }
        events.sort_by_key(|(time, event, index)| (*time, *event, *index));
        events
    }

    /// The run is over: commands without an answer have taken effect or have not.
    fn settle(&mut self, number: KeyNumber, open: &OpenSet, end: End, rules: &Rules) {
        let search = Search {
            commands: &self.commands,
            open,
            rules: &self.rules,
        };
        let key = &mut self.keys[usize::from(number)];
        let all = search.all(&key.explanations);
        key.given_up |= all.is_none();
        self.given_up += u64::from(key.given_up);
        let mut states: Vec<State> = match &all {
            Some(all) => all.states().cloned().collect(),
            None => key.explanations.states().cloned().collect(),
        };
        if let End::Crash(safe) = end {
            let past = std::mem::take(&mut key.past).into_iter();
            let lost = past.filter(|(_, replaced_by)| *replaced_by >= safe);
            states.extend(lost.map(|(state, _)| state));
            let recalled: Vec<State> = states.iter().filter_map(State::recalled).collect();
            states.extend(recalled);
        }
        if end != End::GoesOn {
            key.past.clear();
        }
        key.explanations = Frontier::default();
        for state in states {
            let state = state.above(rules.version_above);
            key.explanations.insert(Explanation { state, done: 0 }, 0);
        }
    }

    fn complaint(&self, number: KeyNumber, index: usize, open: &OpenSet) -> String {
        const SHOWN_MAX: usize = 30;
        let mut text = format!(
            "key {number}: nothing explains the last of these answers, under {:?}\n",
            self.rules
        );
        let wrong = &self.commands[index];
        let last = wrong.answered.map(|at| at.time);
        let commands = self.commands.iter().enumerate();
        let commands: Vec<&Command> = commands
            .filter(|(other, command)| *other != index && command.key == number)
            .map(|(_, command)| command)
            .filter(|command| command.answered.map(|at| at.time) <= last)
            .filter(|command| command.answered.is_some() || Some(command.sent.time) <= last)
            .collect();
        let skipped = commands.len().saturating_sub(SHOWN_MAX);
        for command in &commands[skipped..] {
            describe(&mut text, command);
        }
        describe(&mut text, wrong);
        let _ = writeln!(text, "  {} under way; the states before:", open.len());
        for state in self.keys[usize::from(number)].explanations.states().take(8) {
            let _ = writeln!(text, "  {state:?}");
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
