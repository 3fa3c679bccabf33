//! The hybrid logical clock that versions are drawn from.
//!
//! Decides that versions only ever grow, across restarts and backward clocks too.
//! Refuses to know what carries a version.
//!
//! After Kulkarni, Demirbas et al., *Logical Physical Clocks* (2014), with the logical part
//! folded into the low 16 bits.

use crate::planted::{self, Bug};
use crate::time::Now;

const LOGICAL_BITS: u32 = 16;
/// How far ahead of the clock the ceiling is set, in milliseconds.
const CEILING_AHEAD_MS: u64 = 60_000;
/// The ceiling is raised once the clock is this close to it, in milliseconds.
const CEILING_MARGIN_MS: u64 = 30_000;

/// The lowest version that belongs to a moment: nothing drawn before it reaches that.
pub(crate) const fn version_at(unix_ms: u64) -> u64 {
    unix_ms << LOGICAL_BITS
}

/// Draws versions: Unix milliseconds above, a counter in the low 16 bits.
#[derive(Clone, Debug)]
pub(crate) struct VersionClock {
    last: u64,
    /// The highest ceiling that the disk has been asked to keep.
    ceiling: u64,
    /// The highest that it is known to keep: no version reaches it.
    safe: u64,
    /// An earlier run has seen this time.
    floor_ms: u64,
}

impl VersionClock {
    /// A clock that draws only versions above `ceiling`, which no earlier run has reached, and
    /// shows no time before `floor_ms`, which an earlier run has.
    ///
    /// The ceiling says nothing about time: it lies ahead of it, and after a few quick restarts
    /// by minutes.
    pub(crate) fn new(ceiling: u64, floor_ms: u64) -> Self {
        let floor_ms = if planted::has(Bug::TimeFromCeiling) {
            (ceiling >> LOGICAL_BITS).saturating_sub(CEILING_AHEAD_MS)
        } else {
            floor_ms
        };
        Self {
            last: ceiling,
            ceiling,
            safe: ceiling,
            floor_ms,
        }
    }

    /// Whether the next version lies below what the disk keeps, so that no later run draws it
    /// again.
    pub(crate) fn may_draw(&self, now: Now) -> bool {
        planted::has(Bug::DrawUnsafeVersions)
            || self.last.max(version_at(now.unix_ms)) + 1 < self.safe
    }

    /// Takes note that the disk keeps `ceiling`.
    pub(crate) fn note_safe(&mut self, ceiling: u64) {
        self.safe = self.safe.max(ceiling);
    }

    /// `now`, but never before a time that an earlier run has certainly reached: what had
    /// expired then stays expired when the host's clock has gone back over a restart.
    pub(crate) fn not_before_last_run(&self, now: Now) -> Now {
        Now {
            unix_ms: now.unix_ms.max(self.floor_ms),
            ..now
        }
    }

    /// A version greater than all before.
    pub(crate) fn next(&mut self, now: Now) -> u64 {
        self.last = (self.last + 1).max(version_at(now.unix_ms));
        self.last
    }

    /// The last version drawn or seen.
    pub(crate) const fn last(&self) -> u64 {
        self.last
    }

    /// Draws only versions above `version` from now on.
    pub(crate) fn advance_past(&mut self, version: u64) {
        self.last = self.last.max(version);
    }

    /// A higher ceiling to put on disk, when the present one has come near.
    pub(crate) fn raise_ceiling(&mut self, now: Now) -> Option<u64> {
        let reached = self.last.max(version_at(now.unix_ms));
        if reached + (CEILING_MARGIN_MS << LOGICAL_BITS) < self.ceiling {
            return None;
        }
        self.ceiling = reached + (CEILING_AHEAD_MS << LOGICAL_BITS);
        Some(self.ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(unix_ms: u64) -> Now {
        Now {
            unix_ms,
            ..Now::default()
        }
    }

    #[test]
    fn versions_grow_under_a_backward_clock() {
        let mut clock = VersionClock::new(0, 0);
        let first = clock.next(at(5_000_000));
        let second = clock.next(at(1_000_000));
        assert!(second > first);
    }

    #[test]
    fn a_restart_with_a_backward_clock_draws_above_the_ceiling() {
        let mut clock = VersionClock::new(0, 0);
        let ceiling = clock.raise_ceiling(at(5_000_000)).expect("first ceiling");
        let before = clock.next(at(5_020_000));
        assert!(before < ceiling);
        let mut after = VersionClock::new(ceiling, 5_000_000);
        assert!(after.next(at(1_000)) > before);
        assert_eq!(after.not_before_last_run(at(1_000)).unix_ms, 5_000_000);
    }

    #[test]
    fn no_version_is_drawn_that_a_later_run_could_draw_again() {
        let mut clock = VersionClock::new(100 << LOGICAL_BITS, 0);
        assert!(!clock.may_draw(at(50)), "nothing is kept for this run yet");
        let ceiling = clock.raise_ceiling(at(50)).expect("the first");
        assert!(!clock.may_draw(at(50)), "asked for, not kept yet");
        clock.note_safe(ceiling);
        assert!(clock.may_draw(at(50)));
        assert!(!clock.may_draw(at(ceiling >> LOGICAL_BITS)));
    }

    #[test]
    fn quick_restarts_do_not_move_time() {
        let mut ceiling = 0;
        for _ in 0..100 {
            let mut clock = VersionClock::new(ceiling, 5_000_000);
            assert_eq!(clock.not_before_last_run(at(5_000_001)).unix_ms, 5_000_001);
            ceiling = clock.raise_ceiling(at(5_000_001)).expect("the first");
        }
    }

    #[test]
    fn the_ceiling_is_raised_before_it_is_reached() {
        let mut clock = VersionClock::new(0, 0);
        let mut ceiling = 0;
        for second in 5_000..5_200 {
            let now = at(second * 1000);
            if let Some(higher) = clock.raise_ceiling(now) {
                assert!(ceiling == 0 || clock.may_draw(now), "raised in good time");
                ceiling = higher;
                clock.note_safe(higher);
            }
            assert!(clock.may_draw(now));
            assert!(clock.next(now) < ceiling);
        }
    }
}
