//! As voter: promises, acceptances, and learning them anew after a restart.
//!
//! Decides whether this node votes. Refuses to know why others claim.

use alloc::vec::Vec;

use super::{Context, Replica, Role};
use crate::member::{Guid, NodeId};
use crate::replication::message::{Holding, Message};
use crate::replication::output::Event;
use crate::replication::planted::{self, Bug};
use crate::replication::record::{Record, Term};

/// What another voter has said while this one was blank.
#[derive(Clone, Debug)]
pub(super) struct Learned {
    pub(super) node: NodeId,
    pub(super) blank: bool,
    promised: Option<Term>,
    pub(super) record: Option<Record>,
}

impl Replica {
    pub(super) fn prepare(
        &mut self,
        from: NodeId,
        term: Term,
        listed: &[NodeId],
        cx: &mut Context<'_>,
    ) {
        if term.node != from {
            self.figures.ignored += 1;
            return;
        }
        self.hear(term.counter);
        let recovers = self.blank && listed.contains(&self.me);
        if self.blank && !recovers {
            self.nack(from.guid, cx.out);
            self.ask_one_to_learn(from, cx);
            return;
        }
        if self.promised == Some(term) && !listed.is_empty() {
            // A recovery that may take its time goes on.
            self.uneasy = None;
            return;
        }
        if self.promised >= Some(term) {
            self.nack(from.guid, cx.out);
            return;
        }
        self.stand_back(cx);
        self.promised = Some(term);
        self.unkept = true;
        self.uneasy = None;
        self.recovering = recovers.then_some(term);
        let promise = Message::Promise {
            term,
            record: self.record.clone(),
            holding: self.holding(cx),
            tail: self.promised_tail(),
        };
        cx.out.send(from.guid, promise);
    }

    /// What this node can say of its copy.
    pub(super) fn holding(&self, cx: &Context<'_>) -> Holding {
        if self.is_in_sync() {
            return Holding::Complete;
        }
        let term = self.record.as_ref().map(|record| record.term);
        match &self.filling {
            Some(filling) if filling.verified && Some(filling.term) == term => Holding::Filled {
                session: filling.session,
            },
            _ if cx.store.is_empty() && !self.kept => Holding::Nothing,
            _ if cx.store.is_mixed() => Holding::Mixed,
            _ => Holding::Something,
        }
    }

    fn promised_tail(&self) -> Vec<crate::replication::Entry> {
        if !self.complete {
            return Vec::new();
        }
        let entries = self.tail.iter().map(|placed| placed.entry.clone());
        entries.collect()
    }

    pub(super) fn accept(
        &mut self,
        from: NodeId,
        record: Record,
        newcomer: Option<NodeId>,
        chosen: bool,
        cx: &mut Context<'_>,
    ) {
        if record.term.node != from || !record.is_sound() {
            self.figures.ignored += 1;
            return;
        }
        self.hear_record(&record);
        let term = record.term;
        if self.blank {
            let is_asked = newcomer == Some(self.me) || self.recovering == Some(term);
            if !is_asked || self.promised > Some(term) {
                self.nack(from.guid, cx.out);
                if chosen && !record.votes(self.me.guid) {
                    self.retire(&record, cx);
                }
                return;
            }
            self.unblank();
        }
        if self.promised > Some(term) {
            self.nack(from.guid, cx.out);
            return;
        }
        if self.record.as_ref().is_none_or(|own| own.term < term) {
            self.adopt(record, cx);
        }
        cx.out.send(from.guid, Message::Accepted { term });
        if chosen && let Some(record) = self.record.clone() {
            self.retire(&record, cx);
        }
    }

    pub(super) fn unblank(&mut self) {
        self.blank = false;
        self.recovering = None;
        self.learned = Vec::new();
    }

    /// Another node's record is this node's from now on.
    fn adopt(&mut self, record: Record, cx: &mut Context<'_>) {
        self.stand_back(cx);
        self.promised = self.promised.max(Some(record.term));
        self.tail.begin_term();
        self.applied = 0;
        let before = self.record.take();
        let was_in_sync = before.is_some_and(|before| before.names(self.me)) && self.complete;
        let filled = self.filling.take_if(|filling| filling.verified).is_some();
        self.filling = None;
        let by_guid = planted::has(Bug::InSyncByGuid);
        if record.names(self.me) && (was_in_sync || filled || by_guid) {
            self.complete = true;
            self.lineage = record.lineage;
            if planted::has(Bug::FillKeepsUnlisted) {
                cx.store.bring_back();
            }
            cx.store.discard();
            if !was_in_sync {
                cx.out.events.push(Event::Joined { term: record.term });
            }
        } else if was_in_sync {
            cx.out.events.push(Event::Stale);
        }
        if self.stale <= Some(record.term) {
            self.stale = None;
        }
        cx.out.events.push(Event::Primary { term: record.term });
        self.record = Some(record);
        self.uneasy = None;
        self.hope_again();
        self.alone_since = None;
        self.unkept = true;
    }

    /// Drops what this node holds, if a record in force says that enough others have it, nobody
    /// wants it here, and no fill is under way that could end in a claim.
    fn retire(&mut self, record: &Record, cx: &mut Context<'_>) {
        let owners = cx.view.owners();
        let wanted = owners.contains(&self.me.guid) || record.names_guid(self.me.guid);
        let others = owners.iter().all(|guid| record.names_guid(*guid));
        let same_lineage = self.lineage == record.lineage;
        let busy = self.filling.is_some() || self.promised > Some(record.term);
        if !wanted && others && !owners.is_empty() && same_lineage && !busy {
            self.drop_copy(cx);
        }
    }

    /// Drops what a fill has left that nobody goes on with and nobody wants.
    pub(super) fn drop_unfinished(&mut self, cx: &mut Context<'_>) {
        let owners = cx.view.owners();
        let Some(filling) = &self.filling else {
            return;
        };
        if owners.is_empty() || owners.contains(&self.me.guid) {
            return;
        }
        let due = filling.heard.plus_millis(self.settings.recover_ms * 5);
        if cx.now < due {
            return self.wake(due);
        }
        self.filling = None;
        self.drop_copy(cx);
    }

    fn drop_copy(&mut self, cx: &mut Context<'_>) {
        self.kept = false;
        if cx.store.is_empty() {
            return;
        }
        self.complete = false;
        self.tail.clear();
        self.requests.clear();
        cx.store.set_aside();
        cx.store.discard();
        cx.out.events.push(Event::Surplus);
    }

    // Learning.

    /// Somebody believes that this node votes: it may know the record.
    fn ask_one_to_learn(&mut self, from: NodeId, cx: &mut Context<'_>) {
        if cx.now >= self.learn_hint_at {
            self.learn_hint_at = cx.now.plus_millis(self.settings.learn_ms / 4);
            cx.out.send(from.guid, Message::Learn);
        }
    }

    pub(super) fn learn(&mut self, from: NodeId, cx: &mut Context<'_>) {
        self.note_blank(from, cx.now);
        let mut record = self.record.as_ref();
        if self.blank {
            // Nothing to vote on, but it says whom else to ask.
            record = self.best_record();
        }
        let learned = Message::Learned {
            to: from,
            blank: self.blank,
            promised: self.promised,
            record: record.cloned(),
        };
        cx.out.send(from.guid, learned);
        let votes = |record: &Record| record.votes(self.me.guid);
        if self.blank && !self.best_record().is_some_and(votes) {
            self.ask_one_to_learn(from, cx);
        }
    }

    pub(super) fn learned(
        &mut self,
        from: NodeId,
        blank: bool,
        promised: Option<Term>,
        record: Option<Record>,
        cx: &mut Context<'_>,
    ) {
        if let Some(record) = &record {
            self.hear_record(record);
        }
        self.hear(promised.map_or(0, |term| term.counter));
        if !self.blank || record.as_ref().is_some_and(|record| !record.is_sound()) {
            return;
        }
        let fits = self.learned.len() < crate::replication::NODES_MAX;
        match self
            .learned
            .iter_mut()
            .find(|one| one.node.guid == from.guid)
        {
            Some(one) if one.node.generation > from.generation => return,
            Some(one) => {
                *one = Learned {
                    node: from,
                    blank,
                    promised,
                    record,
                }
            }
            None if fits => self.learned.push(Learned {
                node: from,
                blank,
                promised,
                record,
            }),
            None => self.figures.ignored += 1,
        }
        self.learn_enough(cx);
    }

    /// The highest record that is known while blank.
    pub(super) fn best_record(&self) -> Option<&Record> {
        let learned = self.learned.iter().flat_map(|one| &one.record);
        let all = learned.chain(&self.record).chain(&self.known);
        all.max_by_key(|record| record.term)
    }

    /// Votes again if all other voters of the highest record have said what they know.
    pub(super) fn learn_enough(&mut self, cx: &mut Context<'_>) {
        let Some(best) = self.best_record().cloned() else {
            return;
        };
        let told = |guid: &Guid| {
            let mut learned = self.learned.iter();
            *guid == self.me.guid || learned.any(|one| one.node.guid == *guid && !one.blank)
        };
        if !best.votes(self.me.guid) || !best.voters.iter().all(told) {
            return;
        }
        let promised = self.learned.iter().map(|one| one.promised).max().flatten();
        self.promised = self.promised.max(promised).max(Some(best.term));
        self.unblank();
        if self.record.as_ref().is_none_or(|own| own.term < best.term) {
            self.adopt(best, cx);
        }
        self.unkept = true;
    }

    /// Asks again. Returns whether this node has to.
    pub(super) fn ask_to_learn(&mut self, cx: &mut Context<'_>) {
        let Some(best) = self.best_record().cloned() else {
            return;
        };
        if !best.votes(self.me.guid) {
            return;
        }
        if cx.now >= self.learn_at {
            self.learn_at = cx.now.plus_millis(self.settings.learn_ms);
            for guid in best.voters.iter().filter(|guid| **guid != self.me.guid) {
                cx.out.send(*guid, Message::Learn);
            }
            self.learn_enough(cx);
        }
        if self.blank {
            self.wake(self.learn_at);
        }
    }

    pub(super) fn nacked(
        &mut self,
        from: NodeId,
        blank: bool,
        promised: Option<Term>,
        record: Option<Record>,
        cx: &mut Context<'_>,
    ) {
        self.hear(promised.map_or(0, |term| term.counter));
        if let Some(record) = &record
            && !blank
        {
            self.hear_record(record);
        }
        match &self.role {
            Role::Claiming(_) => self.claim_nacked(from, blank, promised, cx),
            Role::Open(_) => {
                let accepted = record.map(|record| record.term);
                self.open_nacked(from, blank, promised, accepted, cx);
            }
            Role::Idle | Role::Ceded(_) => {}
        }
    }
}
