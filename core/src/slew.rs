//! How Unix time follows the system's clock.
//!
//! Decides that it follows slowly and never goes back, and how often the system's clock is looked
//! at. Refuses to know where the two readings come from.

#[cfg(test)]
mod tests;

use crate::time::{Now, Time};

/// How often the system's clock is looked at, in nanoseconds.
const STEER_INTERVAL_NS: u64 = 100_000_000;
/// Unix time gains or loses at most one part in this many: 18 seconds an hour.
const SLEW_DIVISOR: u64 = 200;
const NS_PER_MS: u64 = 1_000_000;

/// Unix time as monotonic time plus an offset that is moved a little at a time.
#[derive(Clone, Debug)]
pub struct Slew {
    unix_at_origin_ns: u64,
    steered_ns: u64,
}

impl Slew {
    /// At the origin of monotonic time, when the system's clock shows `system_ns` nanoseconds
    /// since the Unix epoch.
    #[must_use]
    pub const fn new(system_ns: u64) -> Self {
        Self {
            unix_at_origin_ns: system_ns,
            steered_ns: 0,
        }
    }

    /// The sample for `elapsed_ns` nanoseconds after the origin, which must not decrease from
    /// call to call. `system_ns` reads the system's clock; it is seldom called.
    pub fn now(&mut self, elapsed_ns: u64, system_ns: impl FnOnce() -> u64) -> Now {
        if elapsed_ns >= self.steered_ns + STEER_INTERVAL_NS {
            self.steer(elapsed_ns, system_ns());
        }
        Now {
            time: Time::from_nanos(elapsed_ns),
            unix_ms: self.unix_ns(elapsed_ns) / NS_PER_MS,
        }
    }

    const fn unix_ns(&self, elapsed_ns: u64) -> u64 {
        self.unix_at_origin_ns.saturating_add(elapsed_ns)
    }

    /// Moves towards `system_ns` by no more than the time since the last call allows. Losing
    /// less than has elapsed, Unix time still advances.
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
