//! What a run has met.
//!
//! Decides what is counted and how it is told. Refuses to judge it.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::{Duration, Instant};

use super::Listed;

/// Counts of a run.
#[derive(Debug)]
pub struct Report {
    started: Instant,
    streams: u64,
    batches: u64,
    writes: u64,
    commands: BTreeMap<&'static str, u64>,
    listed: BTreeMap<Listed, u64>,
    counters: u64,
    longest_batch: Duration,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            streams: 0,
            batches: 0,
            writes: 0,
            commands: BTreeMap::new(),
            listed: BTreeMap::new(),
            counters: 0,
            longest_batch: Duration::ZERO,
        }
    }
}

impl Report {
    /// How many requests both have answered alike.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.commands.values().sum()
    }

    /// How many answers showed this difference.
    #[must_use]
    pub fn met(&self, listed: Listed) -> u64 {
        self.listed.get(&listed).copied().unwrap_or(0)
    }

    /// How many requests had this first word.
    #[must_use]
    pub fn sent(&self, command: &str) -> u64 {
        self.commands.get(command).copied().unwrap_or(0)
    }

    pub(super) fn note_stream(&mut self) {
        self.streams += 1;
    }

    pub(super) fn note_batch(&mut self, writes: u64, took: Duration) {
        self.batches += 1;
        self.writes += writes;
        self.longest_batch = self.longest_batch.max(took);
    }

    pub(super) fn note_request(&mut self, command: &'static str) {
        *self.commands.entry(command).or_default() += 1;
    }

    pub(super) fn note_listed(&mut self, listed: Listed) {
        *self.listed.entry(listed).or_default() += 1;
    }

    pub(super) fn note_counters(&mut self, count: u64) {
        self.counters += count;
    }

    /// The longest that a batch has taken.
    pub(super) fn longest_batch(&self) -> Duration {
        self.longest_batch
    }
}

impl Display for Report {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{} requests in {} streams, {} batches and {} writes to each; {} counters of stats; \
             {:.1} s",
            self.requests(),
            self.streams,
            self.batches,
            self.writes,
            self.counters,
            self.started.elapsed().as_secs_f64(),
        )?;
        writeln!(formatter, "no difference but these:")?;
        for &listed in Listed::ALL {
            writeln!(formatter, "{:>9} {}", self.met(listed), listed.name())?;
        }
        writeln!(formatter, "requests by their first word:")?;
        for (command, count) in &self.commands {
            writeln!(formatter, "{count:>9} {command}")?;
        }
        Ok(())
    }
}
