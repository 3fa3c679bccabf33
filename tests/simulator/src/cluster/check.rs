//! All that clients have asked and were told, and whether one memcached could have told it.
//!
//! Decides what of it is checked: nothing of a key once all replicas of its partition were lost, or
//! a node has gone on without a majority. Refuses to know nodes.

use std::collections::{BTreeMap, BTreeSet};

use zufar_core::time::Time;

use super::keys::partition_of;
use crate::history::{Command, End, History, Loss, Moment};
use crate::model::Rules;
use crate::operation::{Answer, KeyNumber, Marks, Operation, Refusal, Value};
use crate::run::VALUE_BYTES_MAX;

/// Where a command is noted.
pub(super) type RecordId = usize;

/// How far a clock may get between two looks at it, in milliseconds.
const CLOCKS_MS: u64 = 5;

/// How long after its time a flush comes about in peace, in milliseconds.
pub(super) const LATE_MS_MAX: u64 = 5_000;

/// What disks have of a partition: all that was known before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Safe {
    /// Each of them.
    pub(super) on_each: Time,
    /// One of them.
    pub(super) on_one: Time,
}

/// The commands of one run.
#[derive(Default)]
pub(super) struct Records {
    commands: Vec<Command>,
    /// Answers that said that the outcome is unknown.
    pub(super) unknown: u64,
    /// Answers that said that no node answers.
    pub(super) unreachable: u64,
    /// What each cas unique of a key has been seen to stand for.
    seen: BTreeMap<(KeyNumber, u64), Value>,
    /// Recaches that were handed out, by key and cas unique.
    won: BTreeSet<(KeyNumber, u64)>,
    /// From when on nothing of a partition is checked.
    cuts: BTreeMap<u16, Time>,
    /// When all replicas of a partition were lost, and what of it was safe: on each disk, and on
    /// one.
    losses: BTreeMap<u16, Vec<(Time, Safe)>>,
    /// When nothing went wrong any more.
    pub(super) calm: Time,
}

/// What came of checking.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Commands that were checked.
    pub(super) checked: u64,
    /// Keys with too many explanations to follow.
    pub(super) given_up: u64,
    /// Keys whose histories were followed to their end.
    pub(super) histories: u64,
}

impl Records {
    /// Takes note of a command that is being sent.
    pub(super) fn send(
        &mut self,
        key: KeyNumber,
        operation: &Operation,
        connection: u32,
        at: Moment,
    ) -> RecordId {
        self.commands.push(Command {
            key,
            connection,
            starts_at: 0,
            operation: operation.clone(),
            sent: at,
            answered: None,
            answer: Answer::Unknown,
            abandoned: None,
            loose: true,
        });
        self.commands.len() - 1
    }

    /// Takes note of an answer. Returns the key and the cas unique that it shows.
    pub(super) fn answer(
        &mut self,
        id: RecordId,
        answer: Answer,
        at: Moment,
    ) -> Result<Option<(KeyNumber, u64)>, String> {
        let key = self.commands[id].key;
        match answer {
            // It may have been done, and may yet be.
            Answer::Unknown => return Ok(None),
            Answer::Refused(Refusal::OutcomeUnknown) => {
                self.unknown += 1;
                return Ok(None);
            }
            Answer::Refused(Refusal::Unreachable) => self.unreachable += 1,
            _ => {}
        }
        let shown = answer.cas();
        self.look(key, &answer)?;
        let command = &mut self.commands[id];
        command.answer = answer;
        command.answered = Some(at);
        command.loose = false;
        Ok(shown.map(|cas| (key, cas)))
    }

    /// What is wrong whatever came before.
    fn look(&mut self, key: KeyNumber, answer: &Answer) -> Result<(), String> {
        let Answer::Item {
            value,
            cas: Some(cas),
            marks,
            ..
        } = answer
        else {
            return Ok(());
        };
        let place = (key, *cas);
        let known = self.seen.entry(place).or_insert_with(|| value.clone());
        if known != value {
            return Err(format!(
                "key {key}: cas unique {cas} is of {known:?} and of {value:?}"
            ));
        }
        let won = marks.is_some_and(|Marks { won, .. }| won);
        if won && !self.won.insert(place) {
            return Err(format!("key {key}: two have won the item {cas}"));
        }
        Ok(())
    }

    /// From `time` on nothing is checked of a partition's keys.
    pub(super) fn cut(&mut self, partition: u16, time: Time) {
        self.cuts.entry(partition).or_insert(time);
        self.seen
            .retain(|(key, _), _| partition_of(*key) != partition);
        self.won.retain(|(key, _)| partition_of(*key) != partition);
    }

    /// All replicas of a partition are lost, and what of it is safe.
    pub(super) fn lose(&mut self, partition: u16, time: Time, safe: Safe) {
        self.losses.entry(partition).or_default().push((time, safe));
        // Who has won may be forgotten, and another one win.
        self.won.retain(|(key, _)| partition_of(*key) != partition);
    }

    /// What the keys of a partition have lost.
    fn losses_of(&self, key: KeyNumber) -> impl Iterator<Item = Loss> {
        let losses = self.losses.get(&partition_of(key));
        losses.into_iter().flatten().map(|(at, safe)| Loss {
            at: *at,
            safe: safe.on_each,
            safe_on_one: safe.on_one,
        })
    }

    /// A command is carried out by a node whose clock may be wrong.
    fn allow_for_clocks(command: &mut Command, wrong_ms: u64) {
        command.sent.unix_ms -= wrong_ms;
        if let Some(answered) = &mut command.answered {
            answered.unix_ms += wrong_ms;
        }
    }

    /// A flush that was asked for comes about later, by the clock of the node that was asked and then
    /// by that of another one; and if the two differ, once more. It is certain to if nothing came in
    /// between, not long after nothing goes wrong any more.
    fn bring_about(&self, command: &Command, delay_s: u32, wrong_ms: u64) -> [Command; 2] {
        let asked = command.sent.time;
        let delay_ms = u64::from(delay_s) * 1000;
        let mut flush = command.clone();
        flush.loose = true;
        flush.sent.time = asked.plus_millis(delay_ms.saturating_sub(2 * wrong_ms));
        let answered = flush.answered.take();
        let mut again = flush.clone();
        again.answer = Answer::Unknown;
        let last = answered.map(|at| {
            let last = at.time.plus_millis(delay_ms + 2 * wrong_ms);
            last.max(self.calm).plus_millis(LATE_MS_MAX)
        });
        again.abandoned = last;
        // A later word takes its place.
        let is_flush = |other: &&Command| matches!(other.operation, Operation::Flush { .. });
        let flushes = self.commands.iter().filter(is_flush);
        let mut others = flushes.filter(|other| {
            let is_before = other.answered.is_some_and(|at| at.time < asked);
            other.sent.time != asked && !is_before
        });
        let mut losses = self.losses.values().flatten();
        let certain = others.next().is_none() && losses.all(|(at, _)| *at < asked);
        match answered.zip(last).filter(|_| certain) {
            Some((at, time)) => flush.answered = Some(Moment { time, ..at }),
            None => flush.answer = Answer::Unknown,
        }
        [flush, again]
    }

    /// Partitions of which not everything is checked.
    pub(super) fn cut_partitions(&self) -> usize {
        self.cuts.len()
    }

    pub(super) fn is_cut(&self, partition: u16) -> bool {
        self.cuts.contains_key(&partition)
    }

    /// Whether one memcached could have told all this, by nodes whose clocks are wrong by
    /// `wrong_ms` at most.
    pub(super) fn check(&self, keys: &[KeyNumber], wrong_ms: u64) -> Result<Verdict, String> {
        // They are looked at now and then, and drift meanwhile.
        let wrong_ms = wrong_ms + CLOCKS_MS;
        let rules = Rules {
            items_may_vanish: false,
            commands_may_fail: false,
            has_others: true,
            value_bytes_max: VALUE_BYTES_MAX,
            version_above: 0,
            clock_ms_min: 0,
            clock_ms_max: 0,
        };
        let mut verdict = Verdict::default();
        for key in keys {
            let mut history = History::new(1, rules);
            let cut = self.cuts.get(&partition_of(*key));
            let of_key = self.commands.iter().filter(|command| command.key == *key);
            let mut checked = 0;
            for loss in self.losses_of(*key) {
                if cut.is_none_or(|cut| loss.at < *cut) {
                    history.lose(loss);
                }
            }
            for command in of_key.filter(|command| cut.is_none_or(|cut| command.sent.time < *cut)) {
                let mut command = Command {
                    key: 0,
                    ..command.clone()
                };
                let too_late = |at: Moment| cut.is_some_and(|cut| at.time >= *cut);
                if command.answered.is_some_and(too_late) {
                    command.answered = None;
                    command.answer = Answer::Unknown;
                    command.loose = true;
                }
                checked += 1;
                Self::allow_for_clocks(&mut command, wrong_ms);
                match command.operation {
                    Operation::Flush { delay_s } if delay_s > 0 => {
                        for flush in self.bring_about(&command, delay_s, wrong_ms) {
                            history.send(flush);
                        }
                    }
                    _ => {
                        history.send(command);
                    }
                }
            }
            history
                .close(End::GoesOn, rules, &|_| u64::MAX)
                .map_err(|text| {
                    format!("of key {key}, partition {}: {text}", partition_of(*key))
                })?;
            verdict.checked += checked;
            verdict.given_up += history.given_up();
            verdict.histories += u64::from(history.given_up() == 0 && checked > 0);
        }
        Ok(verdict)
    }
}
