//! The two clocks behind [`Now`].
//!
//! Decides how Unix time follows the system's clock: slowly, and never backwards. Refuses to
//! know who asks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use zufar_core::time::{Now, Time};

/// How often the system's clock is looked at, in nanoseconds.
const STEER_INTERVAL_NS: u64 = 100_000_000;
/// Unix time gains or loses at most one part in this many: 18 seconds an hour.
const SLEW_DIVISOR: u64 = 200;
const NS_PER_MS: u64 = 1_000_000;

/// Samples time for one worker. Clones share their origin.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    origin: Instant,
    slew: Slew,
}

impl Clock {
    /// A clock whose origin is now.
    pub(crate) fn start() -> Self {
        Self {
            origin: Instant::now(),
            slew: Slew::new(system_ns()),
        }
    }

    /// One sample: one reading of the monotonic clock, and seldom one of the system's.
    pub(crate) fn now(&mut self) -> Now {
        let elapsed_ns = nanoseconds(self.origin.elapsed());
        if elapsed_ns >= self.slew.steered_ns + STEER_INTERVAL_NS {
            self.slew.steer(elapsed_ns, system_ns());
        }
        Now {
            time: Time::from_nanos(elapsed_ns),
            unix_ms: self.slew.unix_ns(elapsed_ns) / NS_PER_MS,
        }
    }
}

/// The system's clock, in nanoseconds since the Unix epoch; 0 for a clock that is before it.
fn system_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, nanoseconds)
}

fn nanoseconds(span: Duration) -> u64 {
    let whole = span.as_secs().saturating_mul(1_000_000_000);
    whole.saturating_add(u64::from(span.subsec_nanos()))
}

/// Unix time as monotonic time plus an offset that is moved a little at a time.
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

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const START: u64 = 1_700_000_000 * S;

    #[test]
    fn follows_a_system_clock_that_runs_true() {
        let mut slew = Slew::new(START);
        for elapsed in (0..100 * S).step_by(S as usize / 10) {
            slew.steer(elapsed, START + elapsed);
            assert_eq!(slew.unix_ns(elapsed), START + elapsed);
        }
    }

    #[test]
    fn reaches_a_clock_that_was_stepped_forward_at_the_slew_rate() {
        let mut slew = Slew::new(START);
        let step = 3 * S;
        for elapsed in (0..=300 * S).step_by(S as usize / 10) {
            slew.steer(elapsed, START + step + elapsed);
        }
        // 300 s at one part in 200 are 1.5 s.
        assert_eq!(slew.unix_ns(300 * S), START + 300 * S + 3 * S / 2);
        for elapsed in (300 * S..=700 * S).step_by(S as usize / 10) {
            slew.steer(elapsed, START + step + elapsed);
        }
        assert_eq!(slew.unix_ns(700 * S), START + 700 * S + step);
    }

    #[test]
    fn never_steps_back_when_the_clock_was_stepped_back() {
        let mut slew = Slew::new(START);
        let mut last = 0;
        for elapsed in (0..=600 * S).step_by(S as usize / 10) {
            slew.steer(elapsed, START - 2 * S + elapsed);
            let unix = slew.unix_ns(elapsed);
            assert!(unix > last, "{unix} after {last}");
            last = unix;
        }
        assert_eq!(last, START - 2 * S + 600 * S);
    }

    #[test]
    fn a_long_sleep_allows_as_much_as_many_short_ones() {
        let (mut sleepy, mut busy) = (Slew::new(START), Slew::new(START));
        for elapsed in (0..=3600 * S).step_by(S as usize) {
            busy.steer(elapsed, START + 3600 * S + elapsed);
        }
        sleepy.steer(3600 * S, START + 7200 * S);
        assert_eq!(sleepy.unix_ns(3600 * S), busy.unix_ns(3600 * S));
    }

    #[test]
    fn a_system_clock_before_the_epoch_is_survived() {
        let mut slew = Slew::new(0);
        slew.steer(S, 0);
        assert_eq!(slew.unix_ns(S), S);
        slew.steer(2 * S, u64::MAX);
        assert!(slew.unix_ns(2 * S) > 2 * S);
    }

    #[test]
    fn samples_advance_together() {
        let mut clock = Clock::start();
        let first = clock.now();
        let second = clock.now();
        assert!(second.time >= first.time);
        assert!(second.unix_ms >= first.unix_ms);
        assert!(first.unix_ms > 1_600_000_000_000);
    }
}
