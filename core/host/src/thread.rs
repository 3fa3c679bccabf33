//! Threads whose panics nobody overlooks.
//!
//! Decides that a panic on a thread of the node ends the process. Refuses to know what the
//! threads do.

use std::io;
use std::thread::{Builder, JoinHandle, panicking};

/// Aborts the process when it is dropped by a panic, after the panic's message has been printed.
/// For whatever would otherwise catch the panic and go on.
#[derive(Debug)]
pub struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if panicking() {
            std::process::abort();
        }
    }
}

/// Runs `body` on a thread of its own.
pub(crate) fn spawn<T: Send + 'static>(
    name: String,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name).spawn(move || {
        let _guard = AbortOnPanic;
        body()
    })
}

/// Waits for a thread of [`spawn`].
pub(crate) fn join<T>(thread: JoinHandle<T>) -> T {
    thread
        .join()
        .expect("a panic has aborted the process before it could be joined")
}
