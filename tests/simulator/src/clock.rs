//! A host's two clocks: one that only ever advances, and one that somebody may set.
//!
//! Decides what a driver's clock shows when the host counts time too fast or too slow, and when
//! the system's clock jumps. Refuses to know who asks; how Unix time follows the system's clock
//! is the core's [`Slew`].

use zufar_core::slew::Slew;
use zufar_core::time::{Now, Time};

const NS_PER_MS: u64 = 1_000_000;
const MILLION: u128 = 1_000_000;
/// How far a host's clock may run wrong, in parts per million: a hundred times what is usual.
pub const DRIFT_PPM_MAX: i64 = 10_000;

/// A host's clocks.
#[derive(Debug)]
pub(crate) struct HostClock {
    now: Now,
    /// The world's time of the last sample.
    world: Time,
    /// The world's time since which the clock drifts as it does, and what it showed then.
    drifts_since: Time,
    shown_then_ns: u64,
    drift_ppm: i64,
    /// What the system's clock shows beyond monotonic time, in nanoseconds.
    system_ahead_ns: u64,
    slew: Slew,
    /// The monotonic time at which the process has started, from which it counts.
    started_ns: u64,
}

impl HostClock {
    /// Clocks that show `unix_ms` and monotonic time `origin` when the world's time is `world`.
    pub(crate) fn new(world: Time, origin: Time, unix_ms: u64) -> Self {
        let origin_ns = origin.as_nanos();
        let system_ns = unix_ms * NS_PER_MS;
        assert!(system_ns >= origin_ns, "no host is older than Unix");
        Self {
            now: Now {
                time: origin,
                unix_ms,
            },
            world,
            drifts_since: world,
            shown_then_ns: origin_ns,
            drift_ppm: 0,
            system_ahead_ns: system_ns - origin_ns,
            slew: Slew::new(system_ns),
            started_ns: origin_ns,
        }
    }

    /// The world's time passes.
    pub(crate) fn advance_to(&mut self, world: Time) {
        assert!(world >= self.world, "time never goes back");
        self.world = world;
        let shown_ns = self.shown_ns(world);
        let system_ns = self.system_ahead_ns + shown_ns;
        let sample = self.slew.now(shown_ns - self.started_ns, || system_ns);
        self.now = Now {
            time: Time::from_nanos(shown_ns),
            ..sample
        };
    }

    /// The monotonic time that the host counts at the world's time `world`.
    fn shown_ns(&self, world: Time) -> u64 {
        let passed = u128::from(world.as_nanos() - self.drifts_since.as_nanos());
        self.shown_then_ns + (passed * self.pace() / MILLION) as u64
    }

    /// The first of the world's times at which the host counts `time`, or has.
    pub(crate) fn world_time_of(&self, time: Time) -> Time {
        let ahead_ns = time.as_nanos().saturating_sub(self.shown_then_ns);
        let passed = (u128::from(ahead_ns) * MILLION).div_ceil(self.pace());
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        Time::from_nanos(self.drifts_since.as_nanos().saturating_add(passed))
    }

    /// What the host counts while a million nanoseconds pass.
    const fn pace(&self) -> u128 {
        (MILLION as i64 + self.drift_ppm) as u128
    }

    /// Somebody sets the system's clock.
    pub(crate) fn jump(&mut self, milliseconds: i64) {
        let by_ns = milliseconds.saturating_mul(NS_PER_MS as i64);
        self.system_ahead_ns = self.system_ahead_ns.saturating_add_signed(by_ns);
    }

    /// From now on the host counts `drift_ppm` millionths too much, or too little.
    pub(crate) fn set_drift(&mut self, drift_ppm: i64) {
        assert!(drift_ppm.abs() <= DRIFT_PPM_MAX, "no clock is that bad");
        self.drifts_since = self.world;
        self.shown_then_ns = self.now.time.as_nanos();
        self.drift_ppm = drift_ppm;
    }

    /// A process starts, and takes the system's clock as it is.
    pub(crate) fn start_process(&mut self) {
        self.started_ns = self.now.time.as_nanos();
        self.slew = Slew::new(self.system_ahead_ns + self.started_ns);
        self.advance_to(self.world);
    }

    /// What a process of this host is handed.
    pub(crate) const fn now(&self) -> Now {
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_drifts_is_waited_for() {
        for drift_ppm in [-DRIFT_PPM_MAX, -37, 0, 1, DRIFT_PPM_MAX] {
            let mut clock = HostClock::new(Time::ZERO, Time::from_millis(500), 10_000);
            clock.advance_to(Time::from_millis(1_000));
            assert_eq!(clock.now().time, Time::from_millis(1_500));
            clock.set_drift(drift_ppm);
            for after_ns in [0, 1, 999, 1_000_001, 77_000_000_003] {
                let wanted = Time::from_nanos(1_500_000_000 + after_ns);
                let world = clock.world_time_of(wanted);
                assert!(clock.shown_ns(world) >= wanted.as_nanos(), "{drift_ppm}");
                let before = Time::from_nanos(world.as_nanos() - 1);
                assert!(
                    world == Time::from_millis(1_000) || clock.shown_ns(before) < wanted.as_nanos(),
                    "{drift_ppm}"
                );
            }
            clock.advance_to(Time::from_millis(101_000));
            let shown_ms = 101_500 + drift_ppm.div_euclid(10);
            assert_eq!(clock.now().time.as_millis() as i64, shown_ms, "{drift_ppm}");
        }
    }
}
