//! The end of a run: faults are over, and everything must come right.
//!
//! Decides what a node owes once it is left alone: its disk catches up, every key is what it
//! should be, also after one more power cut, and what is emptied takes nothing. Refuses to know
//! what came before.

use zufar_core::time::Time;

use super::watch::figure;
use super::{ABANDONED_MS, PATIENCE_MS, Run};
use crate::client::{Asked, Progress};
use crate::history::{Command, End};
use crate::operation::{Answer, KeyNumber, Operation};
use crate::request::{Reading, Request};
use crate::world::{Crash, Incident};

/// Within this the node has looked at all of its memory for what is dead, in milliseconds.
const SWEPT_MS: u64 = 65_000;

impl Run {
    /// Lets the node come to rest, and checks what is left.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        self.end_faults();
        // The end of a connection to a node that has crashed may still be on its way.
        self.watch.client.reset(&mut self.world);
        if self.plan.node.disk && self.plan.node.disk_bytes.is_none() {
            self.wait_for_disk()?;
        }
        self.read_all()?;
        let rules = self.history.rules();
        self.close_history(End::GoesOn, rules)?;
        if self.plan.node.disk && self.random.chance(50) {
            self.wait_for_disk_unless_full()?;
            self.crash(Crash::Power)?;
            // The next node may be there before anybody hears of the end of this one.
            self.watch.client.reset(&mut self.world);
            while !self.world.is_up() {
                let incident = self.world.step();
                self.react(incident)?;
            }
            self.read_all()?;
            let rules = self.history.rules();
            self.close_history(End::GoesOn, rules)?;
        }
        self.empty()
    }

    fn wait_for_disk_unless_full(&mut self) -> Result<(), String> {
        if self.plan.node.disk_bytes.is_some() {
            return Ok(());
        }
        self.wait_for_disk()
    }

    /// All that was acknowledged is written and synced in the end.
    fn wait_for_disk(&mut self) -> Result<(), String> {
        let since = self.world.now().time;
        loop {
            let stats = self.settle(Request::stats("zufar"))?.stats;
            self.check_figures(&stats)?;
            let behind = ["dirty_items", "written_lag_ms", "synced_lag_ms"];
            let figures: Result<Vec<u64>, String> =
                behind.iter().map(|name| figure(&stats, name)).collect();
            if figures?.iter().all(|figure| *figure == 0) {
                return Ok(());
            }
            self.demand_rest(since)?;
            self.wait(20);
        }
    }

    /// Reads every key.
    fn read_all(&mut self) -> Result<(), String> {
        let keys: Vec<KeyNumber> = (0..self.plan.load.keys).collect();
        for some in keys.chunks(10) {
            let request = Request::values(some, true, None);
            let sent = self.moment();
            let connection = u32::MAX;
            let note = |(key, operation): &(KeyNumber, Operation)| {
                self.history.send(Command {
                    key: *key,
                    connection,
                    starts_at: 0,
                    operation: operation.clone(),
                    sent,
                    answered: None,
                    answer: Answer::Unknown,
                    abandoned: None,
                    loose: false,
                })
            };
            let commands = request.commands.iter().map(note).collect();
            let asked = Asked {
                request: request.clone(),
                commands,
            };
            let reading = self.settle(request)?;
            self.take_answers(&asked, reading);
        }
        Ok(())
    }

    /// Removes everything: then nothing may be left in memory.
    fn empty(&mut self) -> Result<(), String> {
        // What nobody waits for may still be on its way, and would come after the flush.
        self.wait(ABANDONED_MS);
        self.settle(Request::flush(0))?;
        self.wait(SWEPT_MS);
        let stats = self.settle(Request::stats("zufar"))?.stats;
        self.check_figures(&stats)?;
        for name in ["memory_items", "memory_item_bytes"] {
            let left = figure(&stats, name)?;
            if left != 0 {
                return Err(format!("{name} is {left} in a node that was emptied"));
            }
        }
        Ok(())
    }

    /// Asks over the watching connection, and lets things happen until it is answered.
    fn settle(&mut self, request: Request) -> Result<Reading, String> {
        let since = self.world.now().time;
        let mut request = Some(request);
        loop {
            let client = &mut self.watch.client;
            if client.link().is_none() {
                client.connect(&mut self.world);
            } else if client.unanswered() == 0
                && client.can_ask()
                && let Some(request) = request.take()
            {
                let commands = Vec::new();
                client.ask(&mut self.world, Asked { request, commands });
            }
            let was_asked = request.is_none();
            match self.watch.client.progress(&mut self.world)? {
                Progress::Answered(_, reading) if was_asked => return Ok(reading),
                Progress::Ended(_) if was_asked => {
                    return Err("the node closed a connection in peace".to_owned());
                }
                Progress::Answered(..) | Progress::Ended(_) => {}
                Progress::Waiting => self.wait_for_word(since)?,
            }
        }
    }

    /// Lets things happen until there is something for the watching client to do.
    fn wait_for_word(&mut self, since: Time) -> Result<(), String> {
        let link = self.watch.client.link();
        loop {
            match self.world.step() {
                Some(Incident::Writable(of)) if Some(of) == link => {
                    self.watch.client.send(&mut self.world);
                }
                Some(Incident::Opened(of)) if Some(of) == link => {
                    self.watch.client.open();
                    return Ok(());
                }
                Some(Incident::Readable(of)) if Some(of) == link => {
                    return Ok(());
                }
                _ => {}
            }
            self.demand_rest(since)?;
        }
    }

    /// Lets so many milliseconds pass.
    fn wait(&mut self, milliseconds: u64) {
        let end = self.world.now().time.plus_millis(milliseconds);
        while self.world.now().time < end {
            self.world.step();
        }
    }

    fn demand_rest(&self, since: Time) -> Result<(), String> {
        if self.world.is_over() || self.world.now().time.millis_since(since) > PATIENCE_MS {
            return Err("the node does not come to rest".to_owned());
        }
        Ok(())
    }
}
