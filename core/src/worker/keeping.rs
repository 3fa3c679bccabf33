//! What worker 0's node wants kept on disk, and what it has to hear of this worker's partitions.
//!
//! Decides when it hears. Refuses to know what is kept, and what the node makes of it.

use crate::id::WorkerId;
use crate::layout::Health;
use crate::machine::Actions;
use crate::message::Message;
use crate::time::Now;

use super::Worker;

impl Worker {
    /// Has the node's notes written with the next batch.
    pub(super) fn keep_notes(&mut self, now: Now, actions: &mut Actions) {
        let Some(node) = &mut self.cluster.node else {
            return;
        };
        let shard = &mut self.shard;
        node.take_notes(|name, content| shard.keep_note(name, content));
        if let Some(generation) = node.take_generation()
            && !shard.keep_generation(generation)
        {
            self.with_node(now, actions, |node, out| {
                node.handle_generation_kept(now, generation, out);
            });
        }
    }

    /// Tells the node what has been synced of that.
    pub(super) fn take_kept(&mut self, now: Now, actions: &mut Actions) {
        if let Some(generation) = self.shard.take_kept_generation() {
            self.with_node(now, actions, |node, out| {
                node.handle_generation_kept(now, generation, out);
            });
        }
    }

    /// Tells the node once that this worker holds items: the node's cluster can't be given up any
    /// more for another one.
    pub(super) fn tell_data(&mut self, now: Now, actions: &mut Actions) {
        if !self.cluster.is_member || self.cluster.data_told || !self.shard.holds_data() {
            return;
        }
        self.cluster.data_told = true;
        match self.id {
            WorkerId(0) => self.note_data(now, actions),
            _ => actions.messages.push((WorkerId(0), Message::HoldsData)),
        }
    }

    /// A worker of this node holds items.
    pub(super) fn note_data(&mut self, now: Now, actions: &mut Actions) {
        self.with_node(now, actions, |node, out| {
            node.note_health(now, Health::HOLDS_DATA, true, out);
        });
    }

    /// The age of this worker's oldest change that is not written, and of its oldest that is not
    /// synced, in milliseconds: what `written_lag_ms` and `synced_lag_ms` show is the worst of all
    /// workers.
    #[doc(hidden)]
    #[must_use]
    pub fn disk_lags_ms(&self, now: Now) -> (u64, u64) {
        self.shard.disk_lags_ms(now)
    }

    /// Tells the node how the disk fares.
    pub(super) fn tell_disk(&mut self, now: Now, actions: &mut Actions) {
        if self.cluster.node.is_none() {
            return;
        }
        let (full, failing) = (self.shard.is_disk_full(), self.shard.is_disk_failing());
        self.with_node(now, actions, |node, out| {
            node.note_health(now, Health::DISK_FULL, full, out);
            node.note_health(now, Health::DISK_FAILING, failing, out);
        });
    }
}
