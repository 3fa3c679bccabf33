//! As claimant: taking over, and changing who is in sync and who votes.
//!
//! Decides when this node claims, when a claim goes on, and when it forces. What the promises come
//! to is for `Claim` to say; what is to change, for the primary's upkeep.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use super::{Context, Liveness, Replica, Role, Uneasy};
use crate::member::{Guid, NodeId};
use crate::replication::claim::{Claim, Phase, Plan, Promised};
use crate::replication::entry::Entry;
use crate::replication::message::{Holding, Message};
use crate::replication::output::Event;
use crate::replication::planted::{self, Bug};
use crate::replication::record::{Record, Term};
use crate::replication::settings::SplitBrain;
use crate::replication::store::Arrival;
use crate::time::Time;

impl Replica {
    /// Whether a claim of this node could count at all.
    fn may_claim(&self, now: Time) -> bool {
        let free = now >= self.grant_until || planted::has(Bug::ClaimInsideGrant);
        let is_claiming = matches!(self.role, Role::Claiming(_));
        self.is_in_sync() && !self.blank && (self.is_open() || is_claiming || free)
    }

    /// Begins a claim, if this node may.
    pub(super) fn begin_claim(&mut self, plan: Plan, cx: &mut Context<'_>) {
        if !self.may_claim(cx.now) {
            return;
        }
        let was_open = match &self.role {
            Role::Open(open) => Some(open.term),
            Role::Idle | Role::Claiming(_) | Role::Ceded(_) => None,
        };
        self.launch(plan, was_open, Vec::new(), cx);
    }

    /// Puts a claim under way: from here on this node serves no term before it.
    pub(super) fn launch(
        &mut self,
        plan: Plan,
        was_open: Option<Term>,
        listed: Vec<NodeId>,
        cx: &mut Context<'_>,
    ) {
        if let Role::Open(open) = &self.role {
            cx.out.events.push(Event::Closed { term: open.term });
        }
        let term = self.next_term();
        self.promised = Some(term);
        self.unkept = true;
        self.figures.claims += 1;
        let own = Promised {
            node: self.me,
            record: self.record.clone(),
            holding: self.holding(cx),
            tail: Vec::new(),
        };
        let patience_ms = self.settings.claim_ms + self.random_below(self.settings.claim_ms);
        let retry_at = cx.now.plus_millis(patience_ms);
        self.wake(retry_at);
        let claim = Claim {
            term,
            plan,
            was_open,
            listed: listed.clone(),
            phase: Phase::Preparing,
            began: cx.now,
            retry_at,
            promises: alloc::vec![own],
            blanks: Vec::new(),
            base: None,
            next: None,
            accepted: Vec::new(),
            unkept: false,
        };
        self.role = Role::Claiming(Box::new(claim));
        self.filling = None;
        let mut asked = self.asked(cx);
        asked.extend(listed.iter().map(|node| node.guid));
        asked.sort_unstable();
        asked.dedup();
        asked.retain(|guid| *guid != self.me.guid);
        for guid in asked {
            let listed = listed.clone();
            cx.out.send(guid, Message::Prepare { term, listed });
        }
        self.go_on(cx);
        if let Role::Claiming(claim) = &self.role {
            // What was just sent may be lost.
            let retry_at = claim.retry_at;
            self.wake(retry_at);
        }
    }

    /// The voters that this node knows of.
    fn asked(&self, cx: &Context<'_>) -> Vec<Guid> {
        if planted::has(Bug::QuorumByView) {
            return cx.view.voters().to_vec();
        }
        let records = [&self.record, &self.known];
        let voters = records
            .into_iter()
            .flatten()
            .flat_map(|record| &record.voters);
        let mut asked: Vec<Guid> = voters.copied().collect();
        asked.sort_unstable();
        asked.dedup();
        asked
    }

    pub(super) fn promise(
        &mut self,
        from: NodeId,
        term: Term,
        record: Option<Record>,
        holding: Holding,
        tail: Vec<Entry>,
        cx: &mut Context<'_>,
    ) {
        if let Some(record) = &record {
            self.hear_record(record);
        }
        let Role::Claiming(claim) = &mut self.role else {
            return;
        };
        let sound = record.as_ref().is_none_or(Record::is_sound);
        if claim.term != term || claim.phase != Phase::Preparing || !sound {
            return;
        }
        // A record of voters that were not asked: ask them, too.
        let listed = claim.listed.clone();
        let known = |guid: &Guid| self.record.as_ref().is_some_and(|own| own.votes(*guid));
        let unasked = record.iter().flat_map(|record| &record.voters);
        for guid in unasked.filter(|guid| !known(guid) && **guid != self.me.guid) {
            if !claim.has_promised(*guid) && *guid != from.guid {
                let listed = listed.clone();
                cx.out.send(*guid, Message::Prepare { term, listed });
            }
        }
        claim.promise(Promised {
            node: from,
            record,
            holding,
            tail,
        });
        self.go_on(cx);
    }

    pub(super) fn claim_nacked(
        &mut self,
        from: NodeId,
        blank: bool,
        promised: Option<Term>,
        cx: &mut Context<'_>,
    ) {
        let hurry_ms = 20 + self.random_below(self.settings.claim_ms / 2);
        let Role::Claiming(claim) = &mut self.role else {
            return;
        };
        if blank {
            claim.blanks.retain(|node| node.guid != from.guid);
            claim.blanks.push(from);
            let blocked = claim.phase == Phase::Preparing && claim.is_blocked_by_blanks();
            if blocked && claim.listed.is_empty() {
                // What follows is a recovery: at once, before somebody else begins.
                claim.retry_at = cx.now;
            }
        } else if promised > Some(claim.term) {
            claim.retry_at = claim.retry_at.min(cx.now.plus_millis(hurry_ms));
        }
    }

    /// Takes the claim as far as it goes.
    pub(super) fn go_on(&mut self, cx: &mut Context<'_>) {
        let Role::Claiming(claim) = &self.role else {
            return;
        };
        match &claim.phase {
            Phase::Preparing => self.go_on_prepared(cx),
            Phase::Gathering { .. } => self.gather_on(cx),
            Phase::Accepting => {
                if claim.is_chosen() {
                    self.open(cx);
                }
            }
        }
    }

    fn go_on_prepared(&mut self, cx: &mut Context<'_>) {
        let Role::Claiming(claim) = &self.role else {
            return;
        };
        let recovers = !claim.listed.is_empty();
        let forced = recovers && self.may_force_recovery(cx.now) && !self.misses_anybody(cx);
        let base = match claim.base() {
            Some(base) => base.clone(),
            None if planted::has(Bug::QuorumByView) && claim.promises.len() > 1 => {
                match claim.highest() {
                    Some(base) => base.clone(),
                    None => return,
                }
            }
            None if forced => match claim.highest() {
                Some(base) => base.clone(),
                None => return,
            },
            None => return,
        };
        let survivors = claim.survivors(&base);
        if forced && claim.base().is_none() && survivors.contains(&self.me) {
            return self.force(cx);
        }
        if recovers && !survivors.contains(&self.me) {
            return self.recover_from(&base, &survivors, cx);
        }
        if !base.names(self.me) {
            return self.become_stale(base, cx);
        }
        self.alone_since = None;
        if let Some(until) = self.stragglers(&base, cx) {
            self.wake(until);
            return;
        }
        let next = claim.successor(&base);
        self.merge_tails(&next, cx);
        self.write(base, next, cx);
    }

    /// Until when the claim waits for in-sync replicas that seem alive and have not promised yet.
    fn stragglers(&self, base: &Record, cx: &Context<'_>) -> Option<Time> {
        let Role::Claiming(claim) = &self.role else {
            return None;
        };
        let until = claim.began.plus_millis(self.settings.straggler_ms);
        let added = claim.plan.add.map(|(node, _)| node);
        let wanted = base.in_sync.iter().copied().chain(added);
        let mut missing = wanted.filter(|node| {
            let dropped = claim.plan.drop.contains(node);
            !dropped && !claim.has_promised(node.guid) && Self::is_alive(*node, cx.view)
        });
        (cx.now < until && missing.next().is_some()).then_some(until)
    }

    /// Takes over what those who stay in sync do not know to be everywhere.
    fn merge_tails(&mut self, next: &Record, cx: &mut Context<'_>) {
        let Role::Claiming(claim) = &mut self.role else {
            return;
        };
        let mut entries = Vec::new();
        for promised in &mut claim.promises {
            let tail = mem::take(&mut promised.tail);
            if next.names(promised.node) && !planted::has(Bug::NoTailMerge) {
                entries.extend(tail);
            }
        }
        for request in entries.iter().flat_map(|entry| &entry.request) {
            self.requests.note(request);
        }
        if planted::has(Bug::NoTailMerge) && claim.was_open.is_none() {
            self.tail.clear();
        }
        self.tail.merge(entries.into_iter());
        for entry in self.tail.newest() {
            if !self.tail.is_everywhere(entry) {
                cx.store.apply(entry, Arrival::Live);
            }
        }
    }

    /// Accepts the claim's record and asks the voters to.
    pub(super) fn write(&mut self, base: Record, next: Record, cx: &mut Context<'_>) {
        let Role::Claiming(claim) = &mut self.role else {
            return;
        };
        assert!(
            next.names(self.me) && next.term == claim.term && next.is_sound(),
            "a claim writes a record of its own"
        );
        let mut asked = base.voters.clone();
        asked.extend(next.voters.iter().filter(|guid| !base.votes(**guid)));
        if planted::has(Bug::QuorumByView) {
            asked = cx.view.voters().to_vec();
        }
        let is_sole = base.voters == [self.me.guid] && next.voters.len() > 1;
        claim.unkept = is_sole && self.settings.disk;
        claim.phase = Phase::Accepting;
        claim.accepted = alloc::vec![self.me];
        claim.next = Some(next.clone());
        let grows = next.voters.len() > base.voters.len();
        let newcomer = claim.plan.newcomer.filter(|_| grows);
        claim.base = Some(base);
        if claim.unkept {
            cx.out.events.push(Event::Keep {
                promised: self.promised,
                record: Some(next.clone()),
                synced: true,
            });
        }
        self.unblank();
        self.record = Some(next.clone());
        // Its own record names this run: should nobody hear of it, the claim has to be made again.
        self.stale = None;
        self.applied = 0;
        self.unkept = true;
        for guid in asked.into_iter().filter(|guid| *guid != self.me.guid) {
            let accept = Message::Accept {
                record: next.clone(),
                newcomer,
                chosen: false,
            };
            cx.out.send(guid, accept);
        }
        self.go_on(cx);
    }

    pub(super) fn accepted(&mut self, from: NodeId, term: Term, cx: &mut Context<'_>) {
        match &mut self.role {
            Role::Claiming(claim) if claim.term == term && claim.phase == Phase::Accepting => {
                if !claim.accepted.contains(&from) {
                    claim.accepted.push(from);
                }
                self.go_on(cx);
            }
            Role::Open(open) if open.term == term => {
                open.blanks.retain(|(node, _)| *node != from);
                self.joined(from, cx);
            }
            Role::Idle | Role::Claiming(_) | Role::Open(_) | Role::Ceded(_) => {}
        }
    }

    pub(super) fn kept(&mut self, term: Term, cx: &mut Context<'_>) {
        if let Role::Claiming(claim) = &mut self.role
            && claim.term == term
        {
            claim.unkept = false;
            self.go_on(cx);
        }
    }

    /// The record in force does not name this run: what it has may be old.
    fn become_stale(&mut self, base: Record, cx: &mut Context<'_>) {
        self.stale = Some(base.term);
        self.hear_record(&base);
        self.alone_since = None;
        self.stand_back(cx);
        cx.out.events.push(Event::Stale);
    }

    /// A claim that has not come through: again, higher; or without a majority, if it may.
    pub(super) fn claim_due(&mut self, cx: &mut Context<'_>) {
        self.go_on(cx);
        let Role::Claiming(claim) = &self.role else {
            return;
        };
        let (began, found_majority) = (claim.began, claim.base.is_some());
        let mut due = claim.retry_at;
        if let Some(at) = self.force_at(self.alone_since.unwrap_or(began), cx) {
            due = due.min(at);
        }
        if cx.now < due {
            return self.wake(due);
        }
        if !claim.listed.is_empty() {
            if self.is_in_sync() && self.stale.is_none() && !self.blank {
                let was_open = claim.was_open;
                return self.launch(Plan::default(), was_open, Vec::new(), cx);
            }
            return self.recovery_failed(cx);
        }
        if !found_majority && claim.is_blocked_by_blanks() {
            let blanks = claim.blanks.iter().copied();
            let promised = claim.promises.iter().map(|promised| promised.node);
            let listed = promised.chain(blanks).collect();
            return self.launch(Plan::default(), None, listed, cx);
        }
        if found_majority {
            self.alone_since = None;
        } else {
            let since = *self.alone_since.get_or_insert(began);
            let force_at = self.force_at(since, cx);
            if force_at.is_some_and(|at| cx.now >= at) && self.may_claim(cx.now) {
                return self.force(cx);
            }
        }
        let Role::Claiming(claim) = &mut self.role else {
            return;
        };
        let (plan, was_open) = (mem::take(&mut claim.plan), claim.was_open);
        self.launch(plan, was_open, Vec::new(), cx);
    }

    /// When a claimant that has had no majority since `since` may go on alone, if it may at all:
    /// not before its last messages could have been answered.
    fn force_at(&self, since: Time, cx: &Context<'_>) -> Option<Time> {
        let (Role::Claiming(claim), Some(record)) = (&self.role, &self.record) else {
            return None;
        };
        let found_majority = claim.base.is_some() || !claim.listed.is_empty();
        if found_majority || self.settings.split_brain != SplitBrain::Available {
            return None;
        }
        let missing = record
            .voters
            .iter()
            .filter(|guid| !claim.has_promised(**guid));
        let died = |guid: &Guid| match cx.view.liveness(*guid) {
            Liveness::Dead => Some(cx.view.dead_since(*guid).unwrap_or(since)),
            Liveness::Unknown | Liveness::Alive(_) | Liveness::Suspect => None,
        };
        let deaths: Option<Vec<Time>> = missing.map(died).collect();
        let patient_until = match deaths.and_then(|deaths| deaths.into_iter().max()) {
            Some(last) => last.plus_millis(self.settings.force_dead_ms),
            None => since.plus_millis(self.settings.force_ms),
        };
        let answered_by = claim.began.plus_millis(self.settings.claim_ms);
        Some(patient_until.max(answered_by).max(self.grant_until))
    }

    /// Goes on alone, without a majority.
    fn force(&mut self, cx: &mut Context<'_>) {
        let Some(own) = &self.record else {
            return;
        };
        let voters = own.voters.clone();
        let term = self.next_term();
        self.figures.forced += 1;
        self.alone_since = None;
        self.role = Role::Idle;
        self.tail.merge(core::iter::empty());
        let record = Record {
            term,
            in_sync: alloc::vec![self.me],
            voters,
            lineage: Some(term),
        };
        cx.out.events.push(Event::Forced { term });
        self.take_unasked(record, cx);
    }

    /// Opens under a record that nobody was asked for.
    pub(super) fn take_unasked(&mut self, record: Record, cx: &mut Context<'_>) {
        self.promised = Some(record.term);
        self.complete = true;
        self.lineage = record.lineage;
        self.record = Some(record);
        self.unkept = true;
        self.open_as(Vec::new(), cx);
        self.announce(cx);
    }

    // When to claim.

    /// Whether there seems to be no primary that this node could follow.
    pub(super) fn is_uneasy(&self) -> bool {
        self.uneasy.is_some()
    }

    /// As neither primary nor claimant: looks whether somebody has to take over.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>) {
        if self.blank && self.record.is_none() {
            return;
        }
        let Some(record) = &self.record else {
            return;
        };
        let primary = record.primary();
        let follows = self.follows().is_some() && primary != self.me;
        let is_alive = primary != self.me && Self::is_alive(primary, cx.view);
        let is_stale = self.stale.is_some();
        if follows && is_alive && !is_stale && !self.blank {
            self.uneasy = None;
            self.hope_again();
            return;
        }
        // Two that claim by turns and stop each other part ways by chance.
        let spread_ms = if is_alive || primary == self.me {
            self.settings.settle_ms
        } else {
            self.settings.stagger_ms / 2
        };
        let jitter_ms = self.random_below(spread_ms);
        let uneasy = *self.uneasy.get_or_insert(Uneasy {
            since: cx.now,
            jitter_ms,
        });
        if self.is_in_sync() && !is_stale && !self.blank {
            // Somebody who is alive may be claiming: leave it some time.
            let settle_ms = if is_alive { self.settings.settle_ms } else { 0 };
            let wait_ms = settle_ms + self.rank(cx) * self.settings.stagger_ms + uneasy.jitter_ms;
            let mut due = uneasy.since.plus_millis(wait_ms);
            if !planted::has(Bug::ClaimInsideGrant) {
                due = due.max(self.grant_until);
            }
            if cx.now >= due {
                return self.begin_claim(Plan::default(), cx);
            }
            self.wake(due);
        }
        self.watch_for_recovery(uneasy, cx);
    }

    /// This node's place among the in-sync replicas that could take over now.
    fn rank(&self, cx: &Context<'_>) -> u64 {
        let Some(record) = &self.record else {
            return 0;
        };
        let owners = cx.view.owners();
        let place = |node: &NodeId| {
            let place = owners.iter().position(|guid| *guid == node.guid);
            (place.unwrap_or(owners.len()), *node)
        };
        let mine = place(&self.me);
        let before = |node: &&NodeId| Self::is_alive(**node, cx.view) && place(node) < mine;
        record.in_sync.iter().filter(before).count() as u64
    }
}
