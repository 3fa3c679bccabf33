//! The harness of the end-to-end tests: it starts the real program, talks to it over real
//! sockets, kills it, and starts it again.
//!
//! Decides how a node is started and probed, and what a test may say to it. Refuses to know the
//! program's insides: nothing of Zufar's own crates is linked here.
//!
//! The program is `zufar` beside the test executables in the target directory, or what
//! `ZUFAR_BIN` names. `ZUFAR_RUNTIME` chooses the runtime (default: the program's first), so the same
//! cases run over every one; of `mixed`, or a list, the nodes of a cluster take one after the other. `ZUFAR_STAND_IN=memcached` runs the cases that a plain memcached can
//! answer against the memcached of this machine; the others end at once. `ZUFAR_CLUSTER=3` gives each
//! lone node two companions; the module `companions` says what that means.
#![forbid(unsafe_code)]

pub mod answers;
pub mod client;
pub mod cluster;
mod companions;
pub mod differential;
pub mod history;
pub mod node;
pub mod ports;
pub mod process;
pub mod program;
pub mod random;
pub mod script;
pub mod transcript;

pub use client::Client;
pub use cluster::Cluster;
pub use node::{Node, NodeOptions};

use std::time::{Duration, Instant};

/// Longest wait for something that must happen. Generous, because the machine is shared.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `probe` again and again until it gives something.
///
/// # Panics
/// If `patience` runs out first; the message says what was awaited.
pub fn wait_for<T>(what: &str, patience: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(
            start.elapsed() < patience,
            "waited {patience:?} in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
