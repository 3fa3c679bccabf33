//! The number of a run.
//!
//! Decides what a node that starts calls its run, so that it is above all that any of its earlier
//! runs was called. Refuses to know where numbers are kept.

/// The generation of a run that starts: above the one on disk, above any that other nodes have
/// heard of, and at least the time, for a node that has lost its disk and whose peers have
/// forgotten it.
///
/// `persisted` is the generation of the last run that this data directory has seen, `known` the
/// highest that any peer has told of ([`Event::GenerationWanted`](super::Event)).
///
/// It must be on disk, synced, before anybody hears of it: a node that joins under a number and
/// forgets it may come back under the same, and its memory is then taken to be what it was.
#[must_use]
pub fn next_generation(persisted: Option<u64>, unix_ms: u64, known: Option<u64>) -> u64 {
    let above = |generation: Option<u64>| generation.map_or(1, |last| last.saturating_add(1));
    above(persisted).max(unix_ms).max(above(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_above_all_that_came_before() {
        // persisted, the time, known by others, the generation
        for (persisted, unix_ms, known, expected) in [
            (None, 0, None, 1),
            (None, 1000, None, 1000),
            (Some(1000), 1000, None, 1001),
            (Some(1000), 500, None, 1001),
            (Some(1000), 2000, None, 2000),
            (None, 500, Some(1000), 1001),
            (Some(2000), 500, Some(1000), 2001),
            (Some(1000), 500, Some(2000), 2001),
            (Some(u64::MAX), 0, None, u64::MAX),
        ] {
            let generation = next_generation(persisted, unix_ms, known);
            assert_eq!(generation, expected, "{persisted:?} {unix_ms} {known:?}");
        }
    }
}
