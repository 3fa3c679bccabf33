//! Recovery: a claim when the memory of the in-sync replicas, or of a majority of voters, is gone.
//!
//! Decides when it is tried and what the disks come to. The module `replication` says why the
//! answers of all voters are needed, and whose entries count. Where any of these are whole, those
//! of a disk on which a fill has left a mixture don't: it may have what was deleted long ago.

use alloc::vec::Vec;

use super::{Context, Replica, Role, Uneasy};
use crate::member::{Guid, NodeId};
use crate::replication::claim::{Claim, Phase, Plan, Promised};
use crate::replication::entry::Entry;
use crate::replication::message::{Holding, Message};
use crate::replication::output::Event;
use crate::replication::record::{NODES_MAX, Record, Term, majority};
use crate::replication::settings::SplitBrain;
use crate::replication::store::{Arrival, Scan};
use crate::time::Time;

impl Replica {
    /// Tries to recover, if everyone who could go on seems to be gone.
    pub(super) fn watch_for_recovery(&mut self, uneasy: Uneasy, cx: &mut Context<'_>) {
        let Some(known) = self.best_record().cloned() else {
            return;
        };
        let survives = |node: &NodeId| Self::is_alive(*node, cx.view) && *node != self.me;
        let goes_on = known.names(self.me) && self.complete;
        let goes_on = goes_on || known.in_sync.iter().any(survives);
        if goes_on || !known.votes(self.me.guid) {
            return self.hope_again();
        }
        let is_alive = |guid: &Guid| self.run_here(*guid, cx).is_some();
        let all_alive = known.voters.iter().all(is_alive);
        if all_alive {
            // Nobody has to be done without.
            self.recover_since = None;
        } else {
            self.recover_since.get_or_insert(cx.now);
        }
        let due = self.recovery_due(&known, all_alive, uneasy, cx);
        let due = due.max(self.grant_until);
        if cx.now < due {
            return self.wake(due);
        }
        let listed = self.listed(&known, cx);
        if !all_alive && !self.may_force_recovery(cx.now) {
            return self.recovery_failed(cx);
        }
        self.launch(Plan::default(), None, listed, cx);
    }

    /// The run of a node that is alive, this one's included.
    fn run_here(&self, guid: Guid, cx: &Context<'_>) -> Option<NodeId> {
        match guid == self.me.guid {
            true => Some(self.me),
            false => Self::run_of(guid, cx.view),
        }
    }

    /// Somebody may go on.
    pub(super) fn hope_again(&mut self) {
        self.recover_since = None;
        self.gone_since = None;
    }

    /// When this node's turn comes. It waits for whoever was in sync and may only seem to be gone, for
    /// those whose turn is before its own, and for a recovery that it takes part in. Where later
    /// runs of all voters are there, the first of them waits for nothing.
    fn recovery_due(
        &mut self,
        known: &Record,
        all_alive: bool,
        uneasy: Uneasy,
        cx: &Context<'_>,
    ) -> Time {
        let rank = self.recovery_rank(known, cx);
        let takes_part = self.promised.is_some_and(|term| {
            term > known.term && term.node != self.me && Self::is_alive(term.node, cx.view)
        });
        let gone_since = match all_alive {
            true => *self.gone_since.get_or_insert(cx.now),
            false => {
                self.gone_since = None;
                uneasy.since
            }
        };
        let since = uneasy.since.max(gone_since);
        let due = if all_alive && rank == 0 && !takes_part {
            since
        } else {
            let wait_ms = self.settings.recover_ms + rank * self.settings.stagger_ms * 2;
            // What an earlier run has granted, this one does not know.
            let granted_until = self.started.plus_millis(self.settings.grant_ms);
            since.plus_millis(wait_ms).max(granted_until)
        };
        due.plus_millis(uneasy.jitter_ms)
    }

    /// This node's place among those that may recover: whoever is to be primary first, for its disk
    /// knows what was in demand, and those who never held anything last.
    fn recovery_rank(&self, known: &Record, cx: &Context<'_>) -> u64 {
        let owners = cx.view.owners();
        let place = |guid: &Guid| {
            let wanted = owners.iter().position(|owner| owner == guid);
            (
                !known.names_guid(*guid),
                wanted.unwrap_or(owners.len()),
                *guid,
            )
        };
        let mine = place(&self.me.guid);
        let rank = known
            .voters
            .iter()
            .filter(|guid| place(guid) < mine)
            .count();
        let held = known.names_guid(self.me.guid);
        (rank + if held { 0 } else { known.voters.len() }) as u64
    }

    /// The runs of the voters of a record that this node has heard of, of its own, and of those that
    /// it has learned. What comes of the promises may be any of them, or yet another: everybody in
    /// them who has forgotten has to be listed, or none promises again. And the highest may be on
    /// the disk of one that it does not name as voter any more.
    fn listed(&self, known: &Record, cx: &Context<'_>) -> Vec<NodeId> {
        let learned = self.learned.iter().flat_map(|one| &one.record);
        let records = core::iter::once(known).chain(&self.record).chain(learned);
        let mut listed: Vec<NodeId> = Vec::new();
        for guid in records.flat_map(|record| &record.voters) {
            let run = self.run_here(*guid, cx);
            listed.extend(run.filter(|run| !listed.contains(run)));
        }
        listed.truncate(NODES_MAX);
        listed
    }

    /// Whether a recovery may do without those who do not answer.
    pub(super) fn may_force_recovery(&self, now: Time) -> bool {
        let patience_ms = self.settings.recover_force_ms;
        let since = self.recover_since;
        self.settings.split_brain == SplitBrain::Available
            && since.is_some_and(|since| now >= since.plus_millis(patience_ms))
    }

    /// Whether a voter that is alive has not promised: what it holds must not be done without,
    /// however long that takes.
    pub(super) fn misses_anybody(&self, cx: &Context<'_>) -> bool {
        let Role::Claiming(claim) = &self.role else {
            return false;
        };
        let records = self.best_record().into_iter().chain(claim.highest());
        let mut voters = records.flat_map(|record| &record.voters);
        voters.any(|guid| !claim.has_promised(*guid) && self.run_here(*guid, cx).is_some())
    }

    /// Not now. Tried again after a while.
    pub(super) fn recovery_failed(&mut self, cx: &mut Context<'_>) {
        if matches!(self.role, Role::Claiming(_)) {
            self.stand_back(cx);
        }
        let jitter_ms = self.random_below(self.settings.recover_ms);
        self.uneasy = Some(Uneasy {
            since: cx.now,
            jitter_ms,
        });
        self.wake(cx.now.plus_millis(self.settings.claim_ms));
    }

    /// All that can promise has promised, and this run is not one that the base names.
    pub(super) fn recover_from(
        &mut self,
        base: &Record,
        survivors: &[NodeId],
        cx: &mut Context<'_>,
    ) {
        let Role::Claiming(claim) = &self.role else {
            return;
        };
        if !base.names_guid(self.me.guid) {
            self.stale = self.stale.max(Some(base.term));
        }
        // A survivor claims, and needs nothing from a disk; and who is in sync has to vote.
        if !survivors.is_empty() || !base.votes(self.me.guid) {
            return self.recovery_failed(cx);
        }
        // Who has nothing any more may not even know that there is something to recover.
        let named = |promised: &Promised| {
            base.names_guid(promised.node.guid) && promised.holding != Holding::Nothing
        };
        if !base.names_guid(self.me.guid) && claim.promises.iter().any(named) {
            return self.recovery_failed(cx);
        }
        let own_is_whole = !cx.store.is_mixed() && knows(self.me.guid, self.record.as_ref(), base);
        let others = claim.promises.iter().filter(|it| it.node != self.me);
        let others_are_whole = others.clone().any(|promised| is_whole(promised, base));
        let mut counted = counted(claim, base, self.me);
        if others_are_whole || own_is_whole {
            counted.retain(|it| it.holding == Holding::Complete || is_whole(it, base));
        }
        let sources = counted.iter().map(|promised| promised.node.guid).collect();
        self.figures.recovered += 1;
        self.complete = false;
        self.filling = None;
        self.tail.clear();
        self.requests.clear();
        if others_are_whole && !own_is_whole {
            self.kept = false;
            cx.store.set_aside();
        } else {
            cx.store.bring_back();
        }
        self.gather_from(sources, cx);
    }

    fn gather_from(&mut self, sources: Vec<Guid>, cx: &mut Context<'_>) {
        let patience_ms = self.settings.claim_ms * 2;
        let Role::Claiming(claim) = &mut self.role else {
            return;
        };
        claim.retry_at = cx.now.plus_millis(patience_ms);
        if sources.is_empty() {
            return self.recovered(cx);
        }
        claim.phase = Phase::Gathering {
            sources,
            cursor: 0,
            prepared: false,
            ask_at: cx.now,
            told_at: cx.now,
        };
        self.gather_on(cx);
    }

    /// Asks for what comes next, or again, once this node's own store can tell what is newer.
    pub(super) fn gather_on(&mut self, cx: &mut Context<'_>) {
        let resend_at = cx.now.plus_millis(self.settings.resend_ms);
        let patience_ms = self.settings.claim_ms * 2;
        let prepare_until_ms = self.settings.fill_stuck_ms;
        let tell_ms = self.settings.recover_ms / 2;
        let Role::Claiming(claim) = &mut self.role else {
            return;
        };
        let (term, began) = (claim.term, claim.began);
        let Phase::Gathering {
            sources,
            cursor,
            prepared,
            ask_at,
            told_at,
        } = &mut claim.phase
        else {
            return;
        };
        if !*prepared {
            *prepared = cx.store.prepare_merge();
            *ask_at = if *prepared { cx.now } else { resend_at };
            let patient = cx.now < began.plus_millis(prepare_until_ms);
            if *prepared || patient {
                claim.retry_at = cx.now.plus_millis(patience_ms);
            }
        }
        if *prepared && cx.now >= *ask_at {
            *ask_at = resend_at;
            let gather = Message::Gather {
                term,
                cursor: *cursor,
            };
            if let Some(first) = sources.first() {
                cx.out.send(*first, gather);
            }
        }
        if cx.now >= told_at.plus_millis(tell_ms) {
            // Whoever has promised would recover by itself after a while.
            *told_at = cx.now;
            for node in claim.listed.iter().filter(|node| **node != self.me) {
                let listed = claim.listed.clone();
                cx.out.send(node.guid, Message::Prepare { term, listed });
            }
        }
        let at = *ask_at;
        self.wake(at);
    }

    /// What the store had to wait for has come: goes on with what waits for it.
    pub(super) fn scanned(&mut self, cx: &mut Context<'_>) {
        if let Some((from, term, cursor)) = self.asked.take() {
            self.gather(from, term, cursor, cx);
        }
        self.go_on(cx);
        self.read_on(cx);
        self.acknowledge_fill(cx);
    }

    /// Hands out what this node holds, but for what may not have been acknowledged.
    pub(super) fn gather(&mut self, from: NodeId, term: Term, cursor: u64, cx: &mut Context<'_>) {
        let follows = self.follows() == Some(term);
        if term.node != from || !(self.promised == Some(term) || follows) {
            return self.nack(from.guid, cx.out);
        }
        if !self.complete && self.filling.is_none() {
            cx.store.bring_back();
        }
        let mut entries = Vec::new();
        let bytes_max = self.settings.chunk_bytes_max;
        self.asked = None;
        let next = match cx.store.scan(cursor, bytes_max, &mut entries) {
            Scan::Next(next) => Some(next),
            Scan::End => None,
            Scan::Wait => {
                self.asked = Some((from, term, cursor));
                Some(cursor)
            }
        };
        if self.complete {
            let unsettled: Vec<_> = self.tail.iter().map(|placed| &placed.entry.key).collect();
            entries.retain(|entry: &Entry| !unsettled.contains(&&entry.key));
        }
        let gathered = Message::Gathered {
            term,
            cursor,
            entries,
            next,
        };
        cx.out.send(from.guid, gathered);
    }

    pub(super) fn gathered(
        &mut self,
        from: NodeId,
        term: Term,
        at: u64,
        entries: Vec<Entry>,
        next: Option<u64>,
        cx: &mut Context<'_>,
    ) {
        let patience_ms = self.settings.claim_ms * 2;
        let claim = match &mut self.role {
            Role::Claiming(claim) if claim.term == term => claim,
            Role::Open(open) if open.term == term => {
                return self.merge_gathered(from, at, &entries, next, cx);
            }
            Role::Idle | Role::Claiming(_) | Role::Open(_) | Role::Ceded(_) => return,
        };
        let Phase::Gathering {
            sources,
            cursor,
            ask_at,
            ..
        } = &mut claim.phase
        else {
            return;
        };
        if sources.first() != Some(&from.guid) || *cursor != at {
            return;
        }
        claim.retry_at = cx.now.plus_millis(patience_ms);
        if next == Some(at) {
            return;
        }
        for entry in &entries {
            cx.store.apply(entry, Arrival::Merged);
        }
        if let Some(next) = next {
            *cursor = next;
            *ask_at = cx.now;
            return self.gather_on(cx);
        }
        let rest = sources.split_off(1);
        self.gather_from(rest, cx);
    }

    /// What the disks had is here: this run alone is in sync.
    fn recovered(&mut self, cx: &mut Context<'_>) {
        let Role::Claiming(claim) = &self.role else {
            return;
        };
        let Some(base) = claim.highest().cloned() else {
            return;
        };
        let forced = claim.base().is_none();
        let term = claim.term;
        let next = Record {
            term,
            in_sync: alloc::vec![self.me],
            voters: base.voters.clone(),
            lineage: Some(term),
        };
        cx.store.end_merge();
        cx.store.discard();
        self.complete = true;
        self.lineage = Some(term);
        cx.out.events.push(match forced {
            true => Event::Forced { term },
            false => Event::Recovered { term },
        });
        if forced {
            self.role = Role::Idle;
            self.unblank();
            return self.take_unasked(next, cx);
        }
        self.write(base, next, cx);
    }
}

/// Whose entries a recovery gathers: those of the nodes that the base names, and of runs that are
/// complete under an older record of the same lineage, unless most voters have accepted the base:
/// otherwise it may never have been in force. If it was, these may have what was deleted since.
/// If there is nobody of either kind: those of whoever has something.
fn counted<'a>(claim: &'a Claim, base: &Record, me: NodeId) -> Vec<&'a Promised> {
    let holders = claim
        .promises
        .iter()
        .filter(|promised| promised.holding != Holding::Nothing && promised.node != me);
    let has_accepted = |guid| {
        let mut promises = claim.promises.iter();
        let own = promises.find(|it| it.node.guid == guid);
        let own = own.and_then(|it| it.record.as_ref());
        own.is_some_and(|record| record.term == base.term)
    };
    let was_in_force = majority(&base.voters, has_accepted);
    let counts = |promised: &&Promised| {
        let lineage = promised.record.as_ref().map(|record| record.lineage);
        let was_in_sync = promised.holding == Holding::Complete && lineage == Some(base.lineage);
        base.names_guid(promised.node.guid) || was_in_sync && !was_in_force
    };
    let counted: Vec<&Promised> = holders.clone().filter(counts).collect();
    if counted.is_empty() && !base.names_guid(me.guid) {
        return holders.collect();
    }
    counted
}

/// Whether a node's disk has all that the base says it has, be that nothing any more.
fn is_whole(promised: &Promised, base: &Record) -> bool {
    let record = promised.record.as_ref();
    promised.holding != Holding::Mixed && knows(promised.node.guid, record, base)
}

/// Whether a node's disk knows of the copy that the base says it has. One that does not has lost it.
fn knows(guid: Guid, own: Option<&Record>, base: &Record) -> bool {
    let own = own.filter(|own| own.lineage == base.lineage);
    base.names_guid(guid) && own.is_some_and(|own| own.names_guid(guid))
}
