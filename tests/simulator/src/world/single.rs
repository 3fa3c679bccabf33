//! The world as those see it who have one host, with a node: the first.
//!
//! Decides nothing: all of it is what `host.rs` and `links.rs` do, said of host 0.

use std::sync::Arc;

use zufar_core::machine::Listener;
use zufar_core::notice::Notice;
use zufar_core::settings::Settings;
use zufar_core::time::Now;

use super::{Crash, HostId, LinkId, Program, World};
use crate::ModelDisk;

const ONLY: HostId = HostId(0);

impl World {
    /// The time, as the node's process would sample it.
    #[must_use]
    pub fn now(&self) -> Now {
        self.now_of(ONLY)
    }

    /// Whether the node runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.is_host_up(ONLY)
    }

    /// The node's disk, which outlives it.
    #[must_use]
    pub fn disk(&self) -> &Arc<ModelDisk> {
        self.disk_of(ONLY)
    }

    /// What the node's operator would have read, since it was last cleared.
    pub fn notices(&mut self) -> &mut Vec<Notice> {
        self.notices_of(ONLY)
    }

    /// Starts a node from what the disk has.
    ///
    /// # Panics
    /// If one runs.
    pub fn start(&mut self, settings: Settings) {
        self.start_host(ONLY, |launch| Program::node(settings, launch.disk));
    }

    /// Tells the node to stop; [`Incident::Stopped`](super::Incident::Stopped) will say when it
    /// has.
    pub fn stop(&mut self) {
        self.stop_host(ONLY);
    }

    /// Ends the node at once.
    pub fn crash(&mut self, crash: Crash) {
        self.crash_host(ONLY, crash);
    }

    /// No worker gets a turn for so long, as when the system has better things to do.
    pub fn suspend(&mut self, milliseconds: u64) {
        self.suspend_host(ONLY, milliseconds);
    }

    /// The disk takes its time for so long.
    pub fn slow_disk(&mut self, milliseconds: u64) {
        self.slow_disk_of(ONLY, milliseconds);
    }

    /// Somebody sets the system's clock.
    pub fn set_clock(&mut self, by_ms: i64) {
        self.set_clock_of(ONLY, by_ms);
    }

    /// Begins to connect, as a client of the node.
    pub fn connect(&mut self) -> LinkId {
        self.connect_to(ONLY, Listener::Client)
    }
}
