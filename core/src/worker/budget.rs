//! Memory limits on the move: who has room to spare gives to who must evict.
//!
//! Decides when this worker asks for a part of the others' limits and what it gives when asked.
//! The limits of all workers always add up to the node's. Refuses to know what the memory holds.

use crate::id::WorkerId;
use crate::machine::Actions;
use crate::message::Message;

use super::Worker;

/// What is asked for at once while evicting, in bytes.
const ASK_BYTES: u64 = 1024 * 1024;
/// What a worker keeps free for itself when it gives, in bytes.
const MARGIN_BYTES: u64 = 1024 * 1024;
/// No worker's limit falls below one part in so many of an even share.
const FLOOR_SHARE: u64 = 4;
/// A larger limit is evened out by one part in so many of the difference at each request.
const EVEN_SHARE: u64 = 8;

/// What this worker knows of its memory limit.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// Bytes that had been evicted when it last looked.
    evictions_seen: u64,
    /// Requests that have not been answered.
    asked: u16,
    /// Bytes that have moved here.
    pub(super) moved_bytes: u64,
}

impl Worker {
    /// Asks for more where items have been evicted since the last look.
    pub(super) fn drive_budget(&mut self, actions: &mut Actions) {
        let evictions = self.shard.cache.figures().evictions;
        let evicted = evictions > self.budget.evictions_seen;
        self.budget.evictions_seen = evictions;
        if evicted {
            self.ask_budget(ASK_BYTES, false, actions);
        }
    }

    /// One item of this size found no room: asks the others to make some.
    pub(super) fn want_budget(&mut self, bytes: usize, actions: &mut Actions) {
        self.ask_budget(bytes as u64 + MARGIN_BYTES, true, actions);
    }

    fn ask_budget(&mut self, bytes: u64, urgent: bool, actions: &mut Actions) {
        if self.budget.asked > 0 {
            return;
        }
        let limit_bytes = self.shard.cache.limit_bytes() as u64;
        let others = u64::from(self.settings.workers - 1);
        for worker in (0..self.settings.workers).map(WorkerId) {
            if worker == self.id {
                continue;
            }
            self.budget.asked += 1;
            let message = Message::BudgetWanted {
                bytes: bytes.div_ceil(others),
                limit_bytes,
                urgent,
            };
            actions.messages.push((worker, message));
        }
    }

    /// Gives what it can spare: what is unused; a little more to who has less; and to a single
    /// item that waits, everything above the floor.
    pub(super) fn handle_budget_wanted(
        &mut self,
        from: WorkerId,
        bytes: u64,
        asker_limit_bytes: u64,
        urgent: bool,
        actions: &mut Actions,
    ) {
        let cache = &mut self.shard.cache;
        let limit_bytes = cache.limit_bytes() as u64;
        let used_bytes = cache.used_bytes() as u64;
        let floor_bytes = self.memory_bytes / u64::from(self.settings.workers) / FLOOR_SHARE;
        let above_floor = limit_bytes.saturating_sub(floor_bytes);
        let spare = limit_bytes.saturating_sub(used_bytes + MARGIN_BYTES);
        let evening = limit_bytes.saturating_sub(asker_limit_bytes) / EVEN_SHARE;
        let offer = if urgent {
            above_floor
        } else {
            spare.max(evening)
        };
        let mut given = offer.min(bytes).min(above_floor);
        if given > 0 {
            cache.set_limit_bytes((limit_bytes - given) as usize);
            // Items that can't be evicted at the moment stay; then only what is free moves.
            let excess = (cache.used_bytes() as u64).saturating_sub(limit_bytes - given);
            let back = excess.min(given);
            given -= back;
            cache.set_limit_bytes((limit_bytes - given) as usize);
        }
        let message = Message::BudgetGiven {
            bytes: given,
            asked: true,
        };
        actions.messages.push((from, message));
    }

    pub(super) fn handle_budget_given(&mut self, bytes: u64, asked: bool) {
        if asked {
            self.budget.asked -= 1;
        }
        self.budget.moved_bytes += bytes;
        let limit_bytes = self.shard.cache.limit_bytes() + bytes as usize;
        self.shard.cache.set_limit_bytes(limit_bytes);
        if self.budget.asked == 0 {
            let waiting = core::mem::take(&mut self.links.awaiting_memory);
            for conn in waiting {
                if let Some(session) = self.links.session(conn) {
                    session.awaiting_memory = false;
                }
                self.links.run(conn);
            }
        }
    }

    /// Whether other workers have been asked for memory and not all have answered.
    pub(super) fn is_asking(&self) -> bool {
        self.budget.asked > 0
    }

    /// Sends the room that a value has here to the worker that will hold it.
    pub(super) fn send_budget(&mut self, to: WorkerId, bytes: usize, actions: &mut Actions) {
        let limit_bytes = self.shard.cache.limit_bytes();
        let bytes = bytes.min(limit_bytes.saturating_sub(self.shard.cache.used_bytes()));
        self.shard.cache.set_limit_bytes(limit_bytes - bytes);
        let message = Message::BudgetGiven {
            bytes: bytes as u64,
            asked: false,
        };
        actions.messages.push((to, message));
    }
}
