//! The host's two clocks: one that only ever advances, and one that somebody may set.
//!
//! Decides what a driver's clock shows when the system's jumps. Refuses to know who asks; how
//! Unix time follows the system's clock is the core's [`Slew`].

use zufar_core::slew::Slew;
use zufar_core::time::{Now, Time};

const NS_PER_MS: u64 = 1_000_000;

/// A host's clocks.
#[derive(Debug)]
pub(crate) struct HostClock {
    now: Now,
    /// What the system's clock shows beyond monotonic time, in nanoseconds.
    system_ahead_ns: u64,
    slew: Slew,
    /// The monotonic time at which the process has started, from which it counts.
    started_ns: u64,
}

impl HostClock {
    /// Clocks that show `unix_ms` at monotonic time 0.
    pub(crate) fn new(unix_ms: u64) -> Self {
        let system_ahead_ns = unix_ms * NS_PER_MS;
        Self {
            now: Now {
                time: Time::ZERO,
                unix_ms,
            },
            system_ahead_ns,
            slew: Slew::new(system_ahead_ns),
            started_ns: 0,
        }
    }

    /// Monotonic time.
    pub(crate) const fn time(&self) -> Time {
        self.now.time
    }

    /// Time passes.
    pub(crate) fn advance_to(&mut self, time: Time) {
        assert!(time >= self.now.time, "time never goes back");
        let elapsed_ns = time.as_nanos();
        let system_ns = self.system_ahead_ns + elapsed_ns;
        let shown = self.slew.now(elapsed_ns - self.started_ns, || system_ns);
        self.now = Now { time, ..shown };
    }

    /// Somebody sets the system's clock.
    pub(crate) fn jump(&mut self, milliseconds: i64) {
        let by_ns = milliseconds.saturating_mul(NS_PER_MS as i64);
        self.system_ahead_ns = self.system_ahead_ns.saturating_add_signed(by_ns);
    }

    /// A process starts, and takes the system's clock as it is.
    pub(crate) fn start_process(&mut self) {
        self.started_ns = self.now.time.as_nanos();
        self.slew = Slew::new(self.system_ahead_ns + self.started_ns);
        self.advance_to(self.now.time);
    }

    /// What a process of this host is handed.
    pub(crate) const fn now(&self) -> Now {
        self.now
    }
}
