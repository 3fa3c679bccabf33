//! The number of a run of this node.
//!
//! Decides where it is kept, and that it is there before anybody hears of it. Refuses to know
//! what follows from it; the core says what the next one is.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use zufar_core::membership::next_generation;

use crate::error::{StartError, describe, refuse};
use crate::guid::keep;

const FILE: &str = "generation";
const FILE_BYTES_MAX: u64 = 64;

/// The number of the run that starts: above the one that `directory` keeps and above `noted`, and
/// at least the time. It is kept before this returns.
pub(crate) fn next(directory: &Path, unix_ms: u64, noted: u64) -> Result<u64, StartError> {
    let path = directory.join(FILE);
    let refused =
        |error: &io::Error| refuse!("generation file {}: {}", path.display(), describe(error));
    let last = match File::open(&path) {
        Ok(file) => {
            let mut content = String::new();
            let read = file.take(FILE_BYTES_MAX).read_to_string(&mut content);
            read.map_err(|error| refused(&error))?;
            let number = content.trim_end().parse::<u64>();
            Some(number.map_err(|_| {
                refuse!(
                    "generation file {}: it holds no number; without it the time will do, if the \
                     clock is right",
                    path.display()
                )
            })?)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(refused(&error)),
    };
    let noted = (noted > 0).then_some(noted);
    let generation = next_generation(last.max(noted), unix_ms, None);
    keep(directory, FILE, &generation.to_string()).map_err(|error| refused(&error))?;
    Ok(generation)
}
