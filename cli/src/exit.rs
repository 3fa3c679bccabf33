//! Exit codes.
//!
//! Decides what each means; `--help` says the same. Refuses to know who returns them.

/// It failed while running.
pub(crate) const FAILED: u8 = 1;
/// It could not start: the arguments, the config or the machine are not as they must be.
pub(crate) const NOT_STARTED: u8 = 2;
