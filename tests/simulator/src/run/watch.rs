//! The operator's eye: `stats zufar`, over and over.
//!
//! Decides what the figures promise: how much of the past is safe on disk, and that bounds are
//! kept. Refuses to know what keys hold.

use zufar_core::time::Time;

use super::{Run, WATCH_TIMER};
use crate::client::{Asked, Client, Progress};
use crate::request::Request;

/// What a worker may have beyond its share of the dirty bound: one value.
const DIRTY_SLACK_BYTES: u64 = 1_200_000;

pub(super) struct Watch {
    pub(super) client: Client,
    asked_at: Time,
    /// Everything that was acknowledged before is written, as the node has said.
    pub(super) written: Time,
    /// The same of synced.
    pub(super) synced: Time,
    workers: u16,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            client: Client::new(usize::MAX),
            asked_at: Time::ZERO,
            written: Time::ZERO,
            synced: Time::ZERO,
            workers: 1,
        }
    }
}

impl Watch {
    /// The node has started: what it found is on disk.
    pub(super) fn start(&mut self, now: Time, workers: u16) {
        self.written = now;
        self.synced = now;
        self.workers = workers;
    }
}

/// One figure among the lines of `stats zufar`.
pub(super) fn figure(stats: &[(String, String)], name: &str) -> Result<u64, String> {
    let value = stats.iter().find(|(key, _)| key == name);
    value
        .and_then(|(_, value)| value.parse().ok())
        .ok_or_else(|| format!("stats zufar has no number {name}"))
}

impl Run {
    pub(super) fn watch_node(&mut self) {
        if self.watch.client.link().is_none() {
            self.watch.client.connect(&mut self.world);
        } else if self.watch.client.unanswered() == 0 && self.watch.client.can_ask() {
            self.ask_figures();
        }
        let pause_us = self.random.between(1_000, 200_000);
        self.world.set_timer(WATCH_TIMER, pause_us);
    }

    pub(super) fn ask_figures(&mut self) {
        self.watch.asked_at = self.world.now().time;
        let asked = Asked {
            request: Request::stats("zufar"),
            commands: Vec::new(),
        };
        self.watch.client.ask(&mut self.world, asked);
    }

    pub(super) fn progress_watch(&mut self) -> Result<(), String> {
        loop {
            match self.watch.client.progress(&mut self.world)? {
                Progress::Waiting | Progress::Ended(_) => return Ok(()),
                Progress::Answered(_, reading) => self.check_figures(&reading.stats)?,
            }
        }
    }

    pub(super) fn check_figures(&mut self, stats: &[(String, String)]) -> Result<(), String> {
        let figure = |name| figure(stats, name);
        let memory_bytes = figure("memory_bytes")?;
        let limit_bytes = figure("memory_limit_bytes")?;
        if memory_bytes > limit_bytes {
            return Err(format!(
                "{memory_bytes} bytes of memory, over {limit_bytes}"
            ));
        }
        if figure("memory_item_bytes")? > memory_bytes {
            return Err("items take more than all of memory".to_owned());
        }
        if !self.plan.node.disk {
            return Ok(());
        }
        let dirty_bytes = figure("dirty_bytes")?;
        let slack_bytes = DIRTY_SLACK_BYTES * u64::from(self.watch.workers);
        if dirty_bytes > self.plan.node.dirty_bytes_hard + slack_bytes {
            return Err(format!("{dirty_bytes} dirty bytes"));
        }
        // The lag is in whole milliseconds, rounded down.
        let asked_ms = self.watch.asked_at.as_millis();
        let since = |lag_ms: u64| Time::from_millis(asked_ms.saturating_sub(lag_ms + 1));
        self.watch.written = self.watch.written.max(since(figure("written_lag_ms")?));
        self.watch.synced = self.watch.synced.max(since(figure("synced_lag_ms")?));
        Ok(())
    }
}
