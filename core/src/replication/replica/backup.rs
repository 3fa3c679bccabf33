//! As backup: applies what the primary sends, and thereby grants it a lease.
//!
//! Decides whether a message is of the primary that this node follows. Refuses to know who else
//! has it.

use super::{Context, Replica};
use crate::member::NodeId;
use crate::replication::entry::{Entry, State};
use crate::replication::message::Message;
use crate::replication::planted::{self, Bug};
use crate::replication::record::Term;
use crate::replication::store::Arrival;
use crate::time::Time;

/// A backup holds so many times what a primary lets become unacknowledged before it stops: a primary
/// that has taken over may have more from each that was in sync, and a merge brings more than that.
const TAILS_MAX: usize = 16;

/// What a message of the primary says beside its entry.
pub(super) struct Progress {
    pub(super) position: u64,
    pub(super) committed: u64,
    pub(super) settled: bool,
    pub(super) sent: Time,
}

impl Replica {
    /// Applies an entry, or takes note of a heartbeat. Returns whether that was all.
    pub(super) fn replicate(
        &mut self,
        from: NodeId,
        term: Term,
        progress: Progress,
        entry: Option<Entry>,
        cx: &mut Context<'_>,
    ) -> bool {
        if planted::has(Bug::TermsIgnored) && self.follows() != Some(term) && self.complete {
            // What a protocol without terms would do: apply what is newer and acknowledge it.
            if let Some(entry) = &entry {
                cx.store.apply(entry, Arrival::Live);
            }
            self.send_ack(from, term, progress.position, progress.sent, cx);
            return true;
        }
        let is_member = self.is_in_sync();
        let is_target = self
            .filling
            .as_ref()
            .is_some_and(|filling| filling.term == term);
        if self.follows() != Some(term) || term.node != from || !(is_member || is_target) {
            self.nack(from.guid, cx.out);
            return false;
        }
        if !cx.store.has_room() {
            self.figures.ignored += 1;
            return true;
        }
        if is_member {
            let granted = cx.now.plus_millis(self.settings.grant_ms);
            self.grant_until = self.grant_until.max(granted);
        }
        self.tail
            .commit(progress.committed, progress.settled, |_| {});
        let has_room = self.tail.bytes() < self.settings.tail_bytes_max * TAILS_MAX;
        if let Some(entry) = entry
            && progress.position == self.applied + 1
            && has_room
        {
            self.applied = progress.position;
            self.take_live(entry, progress.position, cx);
        }
        self.send_ack(from, term, self.applied, progress.sent, cx);
        !self.is_uneasy()
    }

    fn take_live(&mut self, entry: Entry, position: u64, cx: &mut Context<'_>) {
        let dropped = planted::has(Bug::FillWithoutTombstones)
            && self.filling.is_some()
            && entry.state == State::Tombstone;
        if !dropped && !self.tail.is_everywhere(&entry) {
            cx.store.apply(&entry, Arrival::Live);
        }
        if let Some(request) = &entry.request {
            self.requests.note(request);
        }
        self.tail.push(position, 0, entry);
    }

    fn send_ack(&self, from: NodeId, term: Term, position: u64, sent: Time, cx: &mut Context<'_>) {
        let ack = Message::Ack {
            term,
            position,
            sent,
        };
        cx.out.send(from.guid, ack);
    }

    /// The primary cedes: no grant to it counts any more.
    pub(super) fn cede(&mut self, from: NodeId, term: Term, target: NodeId, cx: &mut Context<'_>) {
        let is_meant = target == self.me && term.node == from;
        if !is_meant || self.follows() != Some(term) || !self.is_in_sync() {
            self.figures.ignored += 1;
            return;
        }
        self.grant_until = Time::ZERO;
        self.begin_claim(Default::default(), cx);
    }
}
