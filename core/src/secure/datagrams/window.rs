//! Which datagrams of which run have been opened.
//!
//! Decides what is a replay, and which run is forgotten when there are too many. Refuses to know
//! what a datagram is: only authentic ones are told here.

use alloc::collections::BTreeMap;

/// Runs that are remembered: twice as many as nodes in the largest cluster that is aimed at.
pub const SENDERS_MAX: usize = 2048;
pub(super) const RUN_BYTES: usize = 12;

/// Tells runs apart; the same one of the same node always.
pub(super) type Run = [u8; RUN_BYTES];

/// How far datagrams of one run may overtake each other.
const WINDOW: u64 = u128::BITS as u64;

#[derive(Default)]
pub(super) struct Windows {
    runs: BTreeMap<Run, Remembered>,
    /// Rises with each datagram.
    tick: u64,
    evicted: u64,
}

struct Remembered {
    window: Window,
    /// The tick of its last datagram.
    tick: u64,
}

/// What has been seen of one run.
struct Window {
    highest: u64,
    /// Bit n: `highest - n` has been seen.
    seen: u128,
}

impl Windows {
    /// Takes note of a datagram that is authentic; false if it is a replay, or might be.
    pub(super) fn accept(&mut self, run: Run, counter: u64) -> bool {
        self.tick += 1;
        if let Some(remembered) = self.runs.get_mut(&run) {
            let fresh = remembered.window.accept(counter);
            // A replay is no sign of life.
            if fresh {
                remembered.tick = self.tick;
            }
            return fresh;
        }
        if self.runs.len() == SENDERS_MAX {
            self.evict();
        }
        let remembered = Remembered {
            window: Window {
                highest: counter,
                seen: 1,
            },
            tick: self.tick,
        };
        self.runs.insert(run, remembered);
        true
    }

    /// Forgets the run that has been silent for longest. It is found by looking at all, which
    /// only a new run among very many makes necessary.
    fn evict(&mut self) {
        let oldest = self.runs.iter().min_by_key(|(_, run)| run.tick);
        if let Some(run) = oldest.map(|(run, _)| *run) {
            self.runs.remove(&run);
            self.evicted += 1;
        }
    }

    /// Runs that have been forgotten.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }
}

impl Window {
    const fn accept(&mut self, counter: u64) -> bool {
        if counter > self.highest {
            let ahead = counter - self.highest;
            self.seen = if ahead < WINDOW {
                self.seen << ahead
            } else {
                0
            };
            self.seen |= 1;
            self.highest = counter;
            return true;
        }
        let behind = self.highest - counter;
        if behind >= WINDOW || self.seen >> behind & 1 == 1 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn run(number: u32) -> Run {
        let mut run = Run::default();
        run[..4].copy_from_slice(&number.to_be_bytes());
        run
    }

    proptest! {
        /// Against all counters kept in a set.
        #[test]
        fn a_window_is_the_set_of_what_was_seen(steps in prop::collection::vec(-300_i64..300, 1..300)) {
            let mut windows = Windows::default();
            let (mut seen, mut highest) = (BTreeSet::new(), None);
            for step in steps {
                let from: u64 = highest.unwrap_or(1000);
                let counter = from.saturating_add_signed(step);
                let too_old = highest.is_some_and(|highest| counter + WINDOW <= highest);
                let expected = !too_old && seen.insert(counter);
                prop_assert_eq!(windows.accept(run(0), counter), expected);
                highest = highest.max(Some(counter));
            }
        }
    }

    #[test]
    fn counters_reach_to_both_ends() {
        let mut windows = Windows::default();
        assert!(windows.accept(run(0), 0));
        assert!(!windows.accept(run(0), 0));
        assert!(windows.accept(run(0), u64::MAX));
        assert!(!windows.accept(run(0), u64::MAX));
        assert!(!windows.accept(run(0), u64::MAX - WINDOW));
        assert!(windows.accept(run(0), u64::MAX - WINDOW + 1));
    }

    #[test]
    fn the_run_that_was_silent_for_longest_is_forgotten() {
        let mut windows = Windows::default();
        let most = u32::try_from(SENDERS_MAX).expect("few");
        for number in 0..most {
            assert!(windows.accept(run(number), 7));
        }
        assert!(windows.accept(run(0), 8));
        assert!(!windows.accept(run(1), 7), "a replay is no sign of life");
        assert_eq!(windows.evicted(), 0);
        assert!(windows.accept(run(most), 7));
        assert_eq!((windows.evicted(), windows.runs.len()), (1, SENDERS_MAX));
        assert!(!windows.accept(run(0), 7), "heard of a moment ago");
        assert!(windows.accept(run(1), 7), "forgotten");
        assert_eq!(windows.evicted(), 2);
    }
}
