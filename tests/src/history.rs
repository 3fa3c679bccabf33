//! What one writer has done to its keys, and what may be left of it after a crash.
//!
//! Decides which states are allowed: a write that was acknowledged before the watermark is never
//! lost, and nothing older than what replaced it comes back. Refuses to know how the writes were
//! sent and how the watermark was learnt.

use std::collections::BTreeMap;
use std::time::Instant;

/// What a key holds: a number that its writer has never used before, or nothing.
pub type State = Option<u64>;

#[derive(Clone, Debug)]
struct Change {
    state: State,
    acknowledged: Option<Instant>,
    answer: String,
}

impl Change {
    /// What it did, with what answer, and how long before `watermark`.
    fn told(&self, watermark: Instant) -> String {
        let what = match self.state {
            None => "delete".to_owned(),
            Some(number) => format!("set {number}"),
        };
        let Some(at) = self.acknowledged else {
            return format!("{what}: no answer");
        };
        let answer = &self.answer;
        match watermark.checked_duration_since(at) {
            Some(before) => format!("{what}: {answer}, {} ms before", before.as_millis()),
            None => format!("{what}: {answer}, after"),
        }
    }
}

/// The changes of a set of keys that only one writer touches.
#[derive(Clone, Debug, Default)]
pub struct History {
    keys: BTreeMap<String, Vec<Change>>,
    /// Which number each cas unique stood for, so that none ever stands for another.
    uniques: BTreeMap<(String, u64), u64>,
    /// The refusals since the last restart.
    refused: Vec<(String, Change)>,
}

impl History {
    /// Notes that `key` is about to be changed.
    pub fn begin(&mut self, key: &str, state: State) {
        self.keys.entry(key.to_owned()).or_default().push(Change {
            state,
            acknowledged: None,
            answer: String::new(),
        });
    }

    /// Notes that the last change of `key` has been acknowledged with `answer`.
    ///
    /// # Panics
    /// If there is no such change.
    pub fn acknowledge(&mut self, key: &str, answer: &str, at: Instant) {
        let changes = self.keys.get_mut(key).expect("a change has begun");
        let last = changes.last_mut().expect("a change has begun");
        last.acknowledged = Some(at);
        answer.clone_into(&mut last.answer);
    }

    /// Notes that the last change of `key` has been refused with `answer`: it must not show.
    ///
    /// # Panics
    /// If there is no such change.
    pub fn refuse(&mut self, key: &str, answer: &str, at: Instant) {
        let changes = self.keys.get_mut(key).expect("a change has begun");
        let mut change = changes.pop().expect("a change has begun");
        change.acknowledged = Some(at);
        answer.clone_into(&mut change.answer);
        self.refused.push((key.to_owned(), change));
    }

    /// Notes that the last change of `key` has been refused with `answer`, for want of memory:
    /// memcached then drops what the key held, so that nothing outdated stays.
    ///
    /// # Panics
    /// If there is no such change.
    pub fn refuse_and_drop(&mut self, key: &str, answer: &str, at: Instant) {
        self.refuse(key, answer, at);
        self.begin(key, None);
    }

    /// Starts to collect refusals anew.
    pub fn forget_refusals(&mut self) {
        self.refused.clear();
    }

    /// Notes that `key` holds `number` under the cas unique `unique`.
    ///
    /// # Errors
    /// If that unique has stood for another number of this key.
    pub fn note_unique(&mut self, key: &str, unique: u64, number: u64) -> Result<(), String> {
        let known = self
            .uniques
            .entry((key.to_owned(), unique))
            .or_insert(number);
        if *known == number {
            return Ok(());
        }
        Err(format!(
            "{key}: cas unique {unique} stood for {known} and now for {number}"
        ))
    }

    /// Whether the change before the one that is under way has left a value there, for sure.
    #[must_use]
    pub fn is_surely_held(&self, key: &str) -> bool {
        let changes = self.keys.get(key).map_or(&[][..], Vec::as_slice);
        let before = changes.iter().rev().nth(1);
        before.is_some_and(|change| change.state.is_some() && change.acknowledged.is_some())
    }

    /// All keys that have ever been changed.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.keys.keys().cloned().collect()
    }

    /// Checks what a restart has found of `key`, and goes on from there.
    ///
    /// # Errors
    /// If a change that was acknowledged by `watermark` is missing, or an older state is back.
    pub fn recover(&mut self, key: &str, found: State, watermark: Instant) -> Result<(), String> {
        let changes = self.keys.entry(key.to_owned()).or_default();
        let safe = changes
            .iter()
            .rposition(|change| change.acknowledged.is_some_and(|at| at <= watermark));
        // Without a change that is safe, what was there before the first one may be left; the
        // keys start out empty.
        let (from, empty) = safe.map_or((0, true), |at| (at, false));
        let allowed = &changes[from..];
        let fits = (empty && found.is_none()) || allowed.iter().any(|change| change.state == found);
        if !fits {
            let refused = self.refused.iter().filter(|(refused, _)| refused == key);
            let told = changes[from.saturating_sub(3)..]
                .iter()
                .chain(refused.map(|(_, change)| change))
                .map(|change| change.told(watermark))
                .collect::<Vec<_>>()
                .join("; ");
            let older = changes[..from].iter().any(|change| change.state == found);
            let what = match found {
                None => "acknowledged, safe and gone",
                Some(_) if older => "an older state is back",
                Some(_) => "a state that was never written",
            };
            return Err(format!(
                "{key}: {what}: found {found:?}; the last changes, seen from the watermark: {told}"
            ));
        }
        *changes = vec![Change {
            state: found,
            acknowledged: Some(watermark),
            answer: "found by a restart".to_owned(),
        }];
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn history(states: &[(State, Option<u64>)], start: Instant) -> History {
        let mut history = History::default();
        for &(state, acknowledged_ms) in states {
            history.begin("k", state);
            if let Some(ms) = acknowledged_ms {
                history.acknowledge("k", "HD", start + Duration::from_millis(ms));
            }
        }
        history
    }

    #[test]
    fn what_was_safe_must_be_there() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let states = [(Some(1), Some(10)), (Some(2), Some(20)), (Some(3), None)];
        let found = |state, ms| history(&states, start).recover("k", state, at(ms));
        assert!(found(None, 5).is_ok());
        assert!(found(Some(3), 5).is_ok());
        assert!(found(None, 10).is_err());
        assert!(found(Some(1), 10).is_ok());
        assert!(found(Some(1), 20).is_err());
        assert!(found(Some(2), 20).is_ok());
        assert!(found(Some(3), 20).is_ok());
        assert!(found(Some(4), 20).is_err());
    }

    #[test]
    fn what_was_deleted_stays_so() {
        let start = Instant::now();
        let states = [(Some(1), Some(10)), (None, Some(20))];
        let late = start + Duration::from_millis(30);
        assert!(history(&states, start).recover("k", Some(1), late).is_err());
        assert!(history(&states, start).recover("k", None, late).is_ok());
    }

    #[test]
    fn a_unique_stands_for_one_state() {
        let mut history = History::default();
        assert!(history.note_unique("k", 5, 1).is_ok());
        assert!(history.note_unique("k", 5, 1).is_ok());
        assert!(history.note_unique("other", 5, 2).is_ok());
        assert!(history.note_unique("k", 5, 2).is_err());
    }
}
