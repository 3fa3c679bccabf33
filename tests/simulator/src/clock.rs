//! The host's two clocks: one that only ever advances, and one that somebody may set.
//!
//! Decides what a driver's clock shows when the system's jumps. Refuses to know who asks.

use zufar_core::time::{Now, Time};

/// How often a driver looks at the system's clock, in nanoseconds.
const STEER_INTERVAL_NS: u64 = 100_000_000;
const NS_PER_MS: u64 = 1_000_000;

/// A host's clocks.
#[derive(Debug)]
pub(crate) struct HostClock {
    time: Time,
    /// What the system's clock shows beyond monotonic time, in nanoseconds.
    system_ahead_ns: u64,
    slew: Slew,
}

impl HostClock {
    /// Clocks that show `unix_ms` at monotonic time 0.
    pub(crate) fn new(unix_ms: u64) -> Self {
        let system_ahead_ns = unix_ms * NS_PER_MS;
        Self {
            time: Time::ZERO,
            system_ahead_ns,
            slew: Slew::new(system_ahead_ns),
        }
    }

    /// Monotonic time.
    pub(crate) const fn time(&self) -> Time {
        self.time
    }

    /// Time passes.
    pub(crate) fn advance_to(&mut self, time: Time) {
        assert!(time >= self.time, "time never goes back");
        self.time = time;
        let elapsed_ns = time.as_nanos();
        if elapsed_ns >= self.slew.steered_ns + STEER_INTERVAL_NS {
            self.slew
                .steer(elapsed_ns, self.system_ahead_ns + elapsed_ns);
        }
    }

    /// Somebody sets the system's clock.
    pub(crate) fn jump(&mut self, milliseconds: i64) {
        let by_ns = milliseconds.saturating_mul(NS_PER_MS as i64);
        self.system_ahead_ns = self.system_ahead_ns.saturating_add_signed(by_ns);
    }

    /// A process starts, and takes the system's clock as it is.
    pub(crate) fn start_process(&mut self) {
        let system_ns = self.system_ahead_ns + self.time.as_nanos();
        self.slew = Slew::new(self.system_ahead_ns);
        self.slew.steer(self.time.as_nanos(), system_ns);
    }

    /// What a process of this host is handed.
    pub(crate) fn now(&self) -> Now {
        Now {
            time: self.time,
            unix_ms: self.slew.unix_ns(self.time.as_nanos()) / NS_PER_MS,
        }
    }
}

const SLEW_DIVISOR: u64 = 200;
#[derive(Clone, Debug)]
struct Slew {
    unix_at_origin_ns: u64,
    steered_ns: u64,
}

impl Slew {
    fn new(system_ns: u64) -> Self {
        Self {
            unix_at_origin_ns: system_ns,
            steered_ns: 0,
        }
    }

    fn unix_ns(&self, elapsed_ns: u64) -> u64 {
        self.unix_at_origin_ns.saturating_add(elapsed_ns)
    }

    fn steer(&mut self, elapsed_ns: u64, system_ns: u64) {
        let reach = (elapsed_ns - self.steered_ns) / SLEW_DIVISOR;
        let ours = self.unix_ns(elapsed_ns);
        let ahead = ours.saturating_sub(system_ns).min(reach);
        let behind = system_ns.saturating_sub(ours).min(reach);
        self.unix_at_origin_ns = self
            .unix_at_origin_ns
            .saturating_sub(ahead)
            .saturating_add(behind);
        self.steered_ns = elapsed_ns;
    }
}
