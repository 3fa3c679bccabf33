//! What people and scripts asked to see: standard output, and errors before there is a log.
//!
//! Decides nothing else. Refuses to know what is said.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::error::describe;
use crate::exit;

/// Writes `text` to standard output.
pub(crate) fn answer(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// Writes what was asked for to standard output, and ends the command.
pub(crate) fn show(text: &str) -> ExitCode {
    match answer(text) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read it has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("standard output: {}", describe(&error)));
            exit::FAILED.into()
        }
    }
}

/// Writes one line of error.
pub(crate) fn complain(line: &str) {
    // With standard error gone there is nobody left to tell.
    let _ = writeln!(io::stderr().lock(), "zufar: {line}");
}

/// Writes `text` to standard error, where the log goes.
pub(crate) fn tell(text: &str) {
    // With standard error gone there is nobody left to tell.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
