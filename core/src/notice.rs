//! What an operator should read in the log.
//!
//! Decides which happenings are worth a line and what each says. Refuses to know where the log
//! goes and how its lines are dressed.

use alloc::string::String;

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
