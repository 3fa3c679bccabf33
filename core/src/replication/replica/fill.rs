//! Filling a replica: as source and as target.
//!
//! Decides what is sent in which order and when a target has all. Refuses to know who is to be
//! filled; adding the target is a claim.
//!
//! The source sends live entries from the moment it begins, then all that it holds, in chunks, one
//! at a time: many partitions are filled side by side. Then it holds new writes back until nothing
//! is unacknowledged, compares digests, and claims.
//!
//! Either end may have to wait for its disk. A source tries again when the data has come. A target
//! need not take a chunk at once, it is sent again; as long as it answers the heartbeats that go
//! with it, it is not given up, unless nothing moves for very long.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::{Context, Replica, Role};
use crate::member::NodeId;
use crate::replication::claim::Plan;
use crate::replication::entry::{Entry, State};
use crate::replication::message::Message;
use crate::replication::output::Event;
use crate::replication::planted::{self, Bug};
use crate::replication::record::Term;
use crate::replication::requests::Origin;
use crate::replication::settings::Settings;
use crate::replication::store::{Arrival, Digest, Scan};
use crate::time::Time;

/// A fill that this primary gives.
pub(super) struct Fill {
    pub(super) target: NodeId,
    session: u64,
    merged: bool,
    step: Step,
    /// What was sent last, to be sent again.
    message: Message,
    sent_at: Time,
    /// When the target was last heard.
    heard: Time,
    /// When the fill last got further.
    moved: Time,
    /// Live entries that it has not applied.
    backlog: VecDeque<(u64, Entry)>,
    backlog_bytes: usize,
    acked: u64,
    overrun: bool,
}

enum Step {
    Starting,
    /// Finds out what this node has itself, to take over what the target has of another lineage.
    Preparing,
    /// Takes that over.
    Merging {
        cursor: u64,
    },
    /// Waits for its own data for this chunk, from this cursor on.
    Reading {
        number: u64,
        cursor: u64,
    },
    Chunks {
        number: u64,
        next: Option<u64>,
    },
    /// Writes are held back until nothing is unacknowledged.
    Settling {
        since: Time,
    },
    Verifying {
        since: Time,
        position: u64,
    },
}

/// A fill that this node is given.
pub(super) struct Filling {
    pub(super) term: Term,
    pub(super) session: u64,
    /// The last chunk that is in.
    number: u64,
    all_in: bool,
    pub(super) verified: bool,
    /// The source has not been told that all is in: the store's disk has to know of the fill before.
    unacknowledged: bool,
    /// When the source was last heard.
    pub(super) heard: Time,
}

/// A chunk without its address.
pub(super) struct Chunk {
    pub(super) number: u64,
    pub(super) entries: Vec<Entry>,
    pub(super) requests: Vec<Origin>,
    pub(super) last: bool,
}

impl Fill {
    fn merges(&self) -> bool {
        matches!(self.step, Step::Preparing | Step::Merging { .. })
    }

    /// Whether the store has to keep something for it: as source, and to merge.
    pub(super) fn lends(&self) -> (bool, bool) {
        (!self.merges(), self.merges())
    }

    /// Whether new writes wait for it.
    pub(super) const fn holds_back(&self) -> bool {
        matches!(self.step, Step::Settling { .. } | Step::Verifying { .. })
    }

    /// Takes note of a live entry. Returns whether it is to be sent.
    pub(super) fn follow(&mut self, position: u64, entry: &Entry, settings: &Settings) -> bool {
        if self.merges() {
            // The target has not begun, and another session will.
            return false;
        }
        self.backlog_bytes += entry.bytes();
        self.backlog.push_back((position, entry.clone()));
        self.overrun |= self.backlog.len() > settings.fill_lag_max
            || self.backlog_bytes > settings.tail_bytes_max * 2;
        true
    }

    pub(super) fn acknowledge(&mut self, from: NodeId, position: u64, now: Time) {
        if from != self.target || position < self.acked {
            return;
        }
        self.heard = now;
        self.acked = position;
        while let Some((_, entry)) = self.backlog.pop_front_if(|(at, _)| *at <= position) {
            self.backlog_bytes -= entry.bytes();
        }
    }
}

// As source.
impl Replica {
    /// Begins to fill `target`, unless another fill is under way.
    pub(super) fn begin_fill(&mut self, target: NodeId, cx: &mut Context<'_>) {
        self.start_session(target, false, cx);
    }

    fn start_session(&mut self, target: NodeId, merged: bool, cx: &mut Context<'_>) {
        let Role::Open(open) = &mut self.role else {
            return;
        };
        if open.fill.is_some() {
            return;
        }
        cx.store.begin_fill();
        self.lent = true;
        self.sessions += 1;
        self.figures.fills += 1;
        let message = Message::FillStart {
            term: open.term,
            target,
            session: self.sessions,
            position: open.last,
            merged,
        };
        cx.out.send(target.guid, message.clone());
        open.fill = Some(Fill {
            target,
            session: self.sessions,
            merged,
            step: Step::Starting,
            message,
            sent_at: cx.now,
            heard: cx.now,
            moved: cx.now,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            acked: open.last,
            overrun: false,
        });
        self.wake(cx.now.plus_millis(self.settings.resend_ms));
    }

    fn give_fill_up(&mut self) {
        self.figures.fills_given_up += 1;
        if let Role::Open(open) = &mut self.role {
            open.fill = None;
        }
    }

    /// The fill of that session, if this node gives it to that target now.
    fn session(&mut self, from: NodeId, term: Term, session: u64, now: Time) -> Option<&mut Fill> {
        let Role::Open(open) = &mut self.role else {
            return None;
        };
        let is_term = open.term == term;
        let fill = open.fill.as_mut()?;
        let is_it = is_term && fill.target == from && fill.session == session;
        if is_it {
            fill.heard = now;
        }
        is_it.then_some(fill)
    }

    pub(super) fn fill_ack(
        &mut self,
        from: NodeId,
        term: Term,
        session: u64,
        number: u64,
        merge: bool,
        cx: &mut Context<'_>,
    ) {
        let Some(fill) = self.session(from, term, session, cx.now) else {
            return;
        };
        match fill.step {
            Step::Starting if merge && !fill.merged => {
                fill.step = Step::Preparing;
                self.read_on(cx);
            }
            Step::Starting if planted::has(Bug::TargetUnverified) => self.add_target(cx),
            Step::Starting => self.send_chunk(1, 0, cx),
            Step::Chunks { number: sent, next } if sent == number => {
                fill.moved = cx.now;
                match next {
                    Some(cursor) => self.send_chunk(number + 1, cursor, cx),
                    None => {
                        fill.step = Step::Settling { since: cx.now };
                        self.settled_enough(cx);
                    }
                }
            }
            Step::Chunks { .. }
            | Step::Preparing
            | Step::Merging { .. }
            | Step::Reading { .. }
            | Step::Settling { .. }
            | Step::Verifying { .. } => {}
        }
    }

    fn send_in_fill(&mut self, message: Message, cx: &mut Context<'_>) {
        let Role::Open(open) = &mut self.role else {
            return;
        };
        if let Some(fill) = &mut open.fill {
            fill.sent_at = cx.now;
            fill.message = message.clone();
            cx.out.send(fill.target.guid, message);
        }
        self.wake(cx.now.plus_millis(self.settings.resend_ms));
    }

    /// Goes on where it had to wait for the own store.
    pub(super) fn read_on(&mut self, cx: &mut Context<'_>) {
        let Role::Open(open) = &mut self.role else {
            return;
        };
        let term = open.term;
        let Some(fill) = &mut open.fill else {
            return;
        };
        match fill.step {
            Step::Preparing if cx.store.prepare_merge() => {
                fill.step = Step::Merging { cursor: 0 };
                (fill.heard, fill.moved) = (cx.now, cx.now);
                self.lent = true;
                self.send_in_fill(Message::Gather { term, cursor: 0 }, cx);
            }
            Step::Reading { number, cursor } => self.send_chunk(number, cursor, cx),
            _ => {}
        }
    }

    fn send_chunk(&mut self, number: u64, cursor: u64, cx: &mut Context<'_>) {
        let mut entries = Vec::new();
        let bytes_max = self.settings.chunk_bytes_max;
        let scan = cx.store.scan(cursor, bytes_max, &mut entries);
        let Role::Open(open) = &mut self.role else {
            return;
        };
        let Some(fill) = &mut open.fill else {
            return;
        };
        let next = match scan {
            Scan::Next(next) => Some(next),
            Scan::End => None,
            Scan::Wait => {
                fill.step = Step::Reading { number, cursor };
                return self.wake(cx.now.plus_millis(self.settings.resend_ms));
            }
        };
        fill.step = Step::Chunks { number, next };
        let last = next.is_none();
        let requests = if last {
            self.requests.origins().to_vec()
        } else {
            Vec::new()
        };
        let chunk = Message::FillChunk {
            term: open.term,
            session: fill.session,
            number,
            entries,
            requests,
            last,
        };
        self.send_in_fill(chunk, cx);
    }

    /// With nothing unacknowledged the digests are compared.
    fn settled_enough(&mut self, cx: &mut Context<'_>) {
        let Role::Open(open) = &mut self.role else {
            return;
        };
        let Some(fill) = &mut open.fill else {
            return;
        };
        let Step::Settling { since } = fill.step else {
            return;
        };
        if !self.tail.is_empty() || fill.acked < open.last {
            return;
        }
        let position = open.last;
        fill.step = Step::Verifying { since, position };
        let verify = Message::FillVerify {
            term: open.term,
            session: fill.session,
            position,
            digest: cx.store.digest(),
            version: cx.store.version_highest(),
        };
        self.send_in_fill(verify, cx);
    }

    pub(super) fn fill_verified(
        &mut self,
        from: NodeId,
        term: Term,
        session: u64,
        at: u64,
        equal: bool,
        cx: &mut Context<'_>,
    ) {
        let Some(fill) = self.session(from, term, session, cx.now) else {
            return;
        };
        let Step::Verifying { position, .. } = fill.step else {
            return;
        };
        if position != at {
            return;
        }
        if !equal {
            self.figures.fills_unequal += 1;
            return self.give_fill_up();
        }
        self.add_target(cx);
    }

    /// Being closed from the beginning of the claim, nothing slips between.
    fn add_target(&mut self, cx: &mut Context<'_>) {
        let Role::Open(open) = &self.role else {
            return;
        };
        let Some(fill) = &open.fill else {
            return;
        };
        let plan = Plan {
            add: Some((fill.target, fill.session)),
            ..Plan::default()
        };
        self.begin_claim(plan, cx);
    }

    /// Entries of another lineage: the newer ones are written here.
    pub(super) fn merge_gathered(
        &mut self,
        from: NodeId,
        at: u64,
        entries: &[Entry],
        next: Option<u64>,
        cx: &mut Context<'_>,
    ) {
        let Role::Open(open) = &mut self.role else {
            return;
        };
        let Some(fill) = &mut open.fill else {
            return;
        };
        let Step::Merging { cursor } = &mut fill.step else {
            return;
        };
        if fill.target != from || *cursor != at {
            return;
        }
        fill.heard = cx.now;
        if next == Some(at) {
            return;
        }
        fill.moved = cx.now;
        let version = entries.iter().map(|entry| entry.version).max();
        if let Some(version) = version {
            cx.out.events.push(Event::DrawAbove { version });
        }
        let (term, target) = (open.term, fill.target);
        *cursor = next.unwrap_or(at);
        for entry in entries {
            if cx.store.apply(entry, Arrival::Merged) {
                self.figures.merged += 1;
                // Its request was carried out under another lineage, and counts as forgotten.
                let entry = Entry {
                    request: None,
                    ..entry.clone()
                };
                self.push_entry(cx.now, entry, 0, cx.out);
            } else {
                self.figures.merge_losers += 1;
            }
        }
        if let Some(cursor) = next {
            return self.send_in_fill(Message::Gather { term, cursor }, cx);
        }
        if let Role::Open(open) = &mut self.role {
            open.fill = None;
        }
        self.start_session(target, true, cx);
    }

    /// What a fill waits for is sent again; a fill that does not go on is given up.
    pub(super) fn fill_due(&mut self, cx: &mut Context<'_>) {
        self.read_on(cx);
        self.settled_enough(cx);
        let settings = self.settings.clone();
        let Role::Open(open) = &mut self.role else {
            return;
        };
        let Some(fill) = &mut open.fill else {
            return;
        };
        let held_since = match fill.step {
            Step::Settling { since } | Step::Verifying { since, .. } => Some(since),
            Step::Starting
            | Step::Preparing
            | Step::Merging { .. }
            | Step::Reading { .. }
            | Step::Chunks { .. } => None,
        };
        let waits_for_own = matches!(fill.step, Step::Preparing);
        let silent = !waits_for_own && cx.now >= fill.heard.plus_millis(settings.silent_ms);
        let stuck = held_since.is_some_and(|since| cx.now >= since.plus_millis(settings.silent_ms))
            || cx.now >= fill.moved.plus_millis(settings.fill_stuck_ms);
        if silent || stuck || fill.overrun || !Self::is_alive(fill.target, cx.view) {
            return self.give_fill_up();
        }
        let due = fill.sent_at.plus_millis(settings.resend_ms);
        if cx.now < due {
            return self.wake(due);
        }
        fill.sent_at = cx.now;
        let sends_again = match fill.step {
            Step::Starting | Step::Merging { .. } | Step::Chunks { .. } => true,
            Step::Verifying { .. } => true,
            Step::Preparing | Step::Reading { .. } | Step::Settling { .. } => false,
        };
        if sends_again {
            cx.out.send(fill.target.guid, fill.message.clone());
        }
        self.send_backlog(cx);
        self.wake(cx.now.plus_millis(settings.resend_ms));
    }

    fn send_backlog(&mut self, cx: &mut Context<'_>) {
        const ENTRIES_MAX: usize = 64;
        let Role::Open(open) = &self.role else {
            return;
        };
        let Some(fill) = &open.fill else {
            return;
        };
        if fill.merges() || matches!(fill.step, Step::Starting) {
            return;
        }
        if fill.backlog.is_empty() {
            // Answered even while chunks are not.
            cx.out.send(fill.target.guid, open.beat(cx.now));
        }
        for (position, entry) in fill.backlog.iter().take(ENTRIES_MAX) {
            let replicate = Message::Replicate {
                term: open.term,
                position: *position,
                committed: 0,
                settled: false,
                sent: cx.now,
                entry: Some(entry.clone()),
            };
            cx.out.send(fill.target.guid, replicate);
        }
    }
}

// As target.
impl Replica {
    pub(super) fn fill_start(
        &mut self,
        from: NodeId,
        term: Term,
        session: u64,
        position: u64,
        merged: bool,
        cx: &mut Context<'_>,
    ) {
        let named = self
            .record
            .as_ref()
            .is_some_and(|record| record.names(self.me));
        if self.follows() != Some(term) || term.node != from || named {
            return self.nack(from.guid, cx.out);
        }
        let before = self.filling.as_ref().filter(|filling| filling.term == term);
        if before.is_some_and(|filling| filling.session > session) {
            self.figures.ignored += 1;
            return;
        }
        if before.is_none_or(|filling| filling.session < session) {
            let lineage = self.record.as_ref().and_then(|record| record.lineage);
            if self.complete && self.lineage != lineage && !merged {
                return self.send_fill_ack(from, term, session, true, cx);
            }
            self.begin_filling(term, session, position, cx);
        }
        self.send_fill_ack(from, term, session, false, cx);
    }

    fn begin_filling(&mut self, term: Term, session: u64, position: u64, cx: &mut Context<'_>) {
        self.complete = false;
        self.kept = false;
        self.tail.clear();
        self.requests.clear();
        if !planted::has(Bug::FillOverOldEntries) {
            cx.store.set_aside();
        }
        self.applied = position;
        self.filling = Some(Filling {
            term,
            session,
            number: 0,
            all_in: false,
            verified: false,
            unacknowledged: false,
            heard: cx.now,
        });
    }

    fn send_fill_ack(
        &self,
        to: NodeId,
        term: Term,
        session: u64,
        merge: bool,
        cx: &mut Context<'_>,
    ) {
        let number = self.filling.as_ref().map_or(0, |filling| filling.number);
        let ack = Message::FillAck {
            term,
            session,
            number: if merge { 0 } else { number },
            merge,
        };
        cx.out.send(to.guid, ack);
    }

    pub(super) fn fill_chunk(
        &mut self,
        from: NodeId,
        term: Term,
        session: u64,
        chunk: &Chunk,
        cx: &mut Context<'_>,
    ) {
        let follows = self.follows() == Some(term) && term.node == from;
        let is_it = |filling: &&mut Filling| filling.term == term && filling.session == session;
        let Some(filling) = self.filling.as_mut().filter(is_it).filter(|_| follows) else {
            self.figures.ignored += 1;
            return;
        };
        filling.heard = cx.now;
        if !cx.store.has_room() {
            self.figures.ignored += 1;
            return;
        }
        if chunk.number == filling.number + 1 {
            filling.number = chunk.number;
            filling.all_in = chunk.last;
            for entry in &chunk.entries {
                let drops = planted::has(Bug::FillWithoutTombstones);
                if !(drops && entry.state == State::Tombstone) {
                    cx.store.apply(entry, Arrival::Listed);
                }
            }
            self.requests.merge(&chunk.requests);
        }
        filling.unacknowledged = filling.all_in && !cx.store.may_vouch();
        if filling.unacknowledged {
            return;
        }
        self.send_fill_ack(from, term, session, false, cx);
    }

    pub(super) fn fill_verify(
        &mut self,
        from: NodeId,
        (term, session, position): (Term, u64, u64),
        digest: Digest,
        version: u64,
        cx: &mut Context<'_>,
    ) {
        let follows = self.follows() == Some(term) && term.node == from;
        let is_it = |filling: &&mut Filling| filling.term == term && filling.session == session;
        let Some(filling) = self.filling.as_mut().filter(is_it).filter(|_| follows) else {
            self.figures.ignored += 1;
            return;
        };
        if !filling.all_in || self.applied != position {
            return;
        }
        let unverified = [
            Bug::FillOverOldEntries,
            Bug::FillKeepsUnlisted,
            Bug::FillWithoutTombstones,
        ];
        let equal = cx.store.digest() == digest || unverified.into_iter().any(planted::has);
        filling.verified = equal;
        // Of what is deleted nothing may have come, and it had versions, too.
        cx.out.events.push(Event::DrawAbove { version });
        let verified = Message::FillVerified {
            term,
            session,
            position,
            equal,
        };
        cx.out.send(from.guid, verified);
    }

    /// Says what has waited for the store's disk.
    pub(super) fn acknowledge_fill(&mut self, cx: &mut Context<'_>) {
        let Some(filling) = &mut self.filling else {
            return;
        };
        if filling.unacknowledged && cx.store.may_vouch() {
            filling.unacknowledged = false;
            let (term, session) = (filling.term, filling.session);
            self.send_fill_ack(term.node, term, session, false, cx);
        }
    }
}
