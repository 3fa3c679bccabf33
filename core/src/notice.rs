//! What an operator should read in the log.
//!
//! Decides which happenings are worth a line and what each says. Refuses to know where the log
//! goes and how its lines are dressed.

use alloc::string::String;

use crate::time::Time;

/// Notices of one kind come at most this often, where there could be many.
const SELDOM_INTERVAL_MS: u64 = 60_000;

/// How loud a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Something that an operator should look into.
    Warning,
    /// Data or service is in danger.
    Error,
}

/// One line for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How loud it is.
    pub severity: Severity,
    /// A short fixed word that tools can match, such as `disk-full`.
    pub event: &'static str,
    /// The sentence.
    pub text: String,
}

/// Sees to it that the operator hears of one kind of trouble once a minute at most.
#[derive(Debug, Default)]
pub struct Seldom {
    noticed_at: Option<Time>,
}

impl Seldom {
    /// Nothing has been noticed yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { noticed_at: None }
    }

    /// Whether the operator should hear of it at `now`. If so, not again for a minute.
    pub fn is_due(&mut self, now: Time) -> bool {
        let recently = |at: Time| now.millis_since(at) < SELDOM_INTERVAL_MS;
        if self.noticed_at.is_some_and(recently) {
            return false;
        }
        self.noticed_at = Some(now);
        true
    }
}
