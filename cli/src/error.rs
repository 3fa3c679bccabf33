//! The one line that says why `zufar` could not start, or could not go on.
//!
//! Decides nothing but the type. Refuses to know where the line goes.

use std::fmt;

/// Why a start is refused: one line that names the thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StartError(pub(crate) String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A start error with the text of `format!`.
macro_rules! refuse {
    ($($text:tt)*) => {
        $crate::error::StartError(format!($($text)*))
    };
}
pub(crate) use refuse;

/// An operating system's error without Rust's `(os error 98)`, in lower case.
pub(crate) fn describe(error: &std::io::Error) -> String {
    let text = without_code(&error.to_string());
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => text,
    }
}

/// `text` without an `(os error 98)` at its end.
pub(crate) fn without_code(text: &str) -> String {
    let stem = text.split(" (os error").next();
    stem.unwrap_or_default().to_owned()
}
