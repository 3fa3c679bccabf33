//! The two clocks behind [`Now`].
//!
//! Decides where they are read. Refuses to know who asks; how Unix time follows the system's
//! clock is the core's [`Slew`].

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use zufar_core::slew::Slew;
use zufar_core::time::{Now, Time};

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
        self.slew.now(nanoseconds(self.origin.elapsed()), system_ns)
    }

    /// The instant at which samples show `time`.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        self.origin + Duration::from_nanos(time.as_nanos())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_advance_together() {
        let mut clock = Clock::start();
        let first = clock.now();
        let second = clock.now();
        assert!(second.time >= first.time);
        assert!(second.unix_ms >= first.unix_ms);
        assert!(first.unix_ms > 1_600_000_000_000);
    }

    #[test]
    fn clones_and_instants_share_the_origin() {
        let mut clock = Clock::start();
        let before = Instant::now();
        let sample = clock.clone().now();
        let after = Instant::now();
        let instant = clock.instant(sample.time);
        assert!((before..=after).contains(&instant));
        assert!(clock.now().time >= sample.time);
    }
}
