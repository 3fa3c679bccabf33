//! The rights that new files do not get.
//!
//! Decides that they are changed by one thread at a time, since they are the whole process's.
//! Refuses to know which files are made.

use std::sync::{Mutex, PoisonError};

use rustix::fs::Mode;

static CHANGING: Mutex<()> = Mutex::new(());

/// Runs `act` while new files get none of the rights in `mask`, and all others that they ask for.
pub(crate) fn with<T>(mask: u32, act: impl FnOnce() -> T) -> T {
    let _one_at_a_time = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
    let before = rustix::process::umask(Mode::from_raw_mode(mask));
    let result = act();
    rustix::process::umask(before);
    result
}
