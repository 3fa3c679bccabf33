//! As primary: writes, reads, and what the backups acknowledge.
//!
//! Decides when a write is acknowledged and when a read may be answered. Refuses to know what is
//! written; who should be in sync is for the upkeep.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::fill::Fill;
use super::{Admission, Context, Reading, Refused, Replica, Role};
use crate::hash::KeyHash;
use crate::member::NodeId;
use crate::replication::claim::Plan;
use crate::replication::entry::{Entry, Request, RequestId};
use crate::replication::members::{Member, Members};
use crate::replication::message::Message;
use crate::replication::output::{Event, Output};
use crate::replication::planted::{self, Bug};
use crate::replication::record::Term;
use crate::replication::requests::Seen;
use crate::time::Time;

/// Counters of unacknowledged writes by a part of their keys' hashes: two keys may share one, and
/// then a read waits in vain for a moment.
const DIRTY_SLOTS: usize = 256;

/// A primary's state.
pub(super) struct Open {
    pub(super) term: Term,
    pub(super) members: Members,
    /// The position of the last entry.
    pub(super) last: u64,
    /// Positions up to here were merged at the claim.
    merged: u64,
    committed: u64,
    dirty: Box<[u32; DIRTY_SLOTS]>,
    /// The latest time that a read has asked to be confirmed.
    confirm: Option<Time>,
    /// When something was last sent that all members are to acknowledge.
    pub(super) asked_at: Time,
    /// Whether something waits for the members.
    pub(super) waits: bool,
    /// Whether some member did not seem to run when that was last looked at.
    pub(super) absent: bool,
    pub(super) fill: Option<Fill>,
    /// Whom to hand over to, and when to do so at the latest.
    pub(super) ceding: Option<(NodeId, Time)>,
    pub(super) upkeep_at: Time,
    pub(super) resend_at: Time,
    /// Voters that have said that they have forgotten, and when they last did.
    pub(super) blanks: Vec<(NodeId, Time)>,
    /// Who was told what is in force since `told_at`: answers must not breed answers.
    told: Vec<NodeId>,
    told_at: Time,
}

fn slot(key: &[u8]) -> usize {
    (KeyHash::of(key).bits() % DIRTY_SLOTS as u64) as usize
}

impl Replica {
    /// The claim has come through.
    pub(super) fn open(&mut self, cx: &mut Context<'_>) {
        let Role::Claiming(claim) = &mut self.role else {
            return;
        };
        let accepted = core::mem::take(&mut claim.accepted);
        self.open_as(accepted, cx);
        self.announce(cx);
    }

    /// This node is primary under its record; `joined` know the record already.
    pub(super) fn open_as(&mut self, joined: Vec<NodeId>, cx: &mut Context<'_>) {
        let Some(record) = self.record.clone() else {
            return;
        };
        let others = record.in_sync.iter().filter(|node| **node != self.me);
        let members = others.map(|node| Member::new(*node, joined.contains(node), cx.now));
        let last = self.tail.len() as u64;
        let mut dirty = Box::new([0; DIRTY_SLOTS]);
        for placed in self.tail.iter() {
            dirty[slot(&placed.entry.key)] += 1;
        }
        let open = Open {
            term: record.term,
            members: Members::new(members.collect()),
            last,
            merged: last,
            committed: 0,
            dirty,
            confirm: None,
            asked_at: cx.now,
            waits: last > 0,
            absent: false,
            fill: None,
            ceding: None,
            upkeep_at: cx.now,
            resend_at: cx.now.plus_millis(self.settings.resend_ms),
            blanks: Vec::new(),
            told: Vec::new(),
            told_at: cx.now,
        };
        self.role = Role::Open(Box::new(open));
        self.lineage = record.lineage;
        self.figures.opened += 1;
        self.uneasy = None;
        self.alone_since = None;
        self.hope_again();
        self.stale = None;
        self.grant_until = Time::ZERO;
        let version = cx.store.version_highest();
        cx.out.events.push(Event::Opened { record, version });
        for node in joined {
            self.catch_up(node, cx);
        }
        self.progress(cx);
    }

    /// Tells everyone concerned what is in force.
    pub(super) fn announce(&mut self, cx: &mut Context<'_>) {
        let Some(record) = &self.record else {
            return;
        };
        let known = self.known.iter().flat_map(|known| &known.voters);
        let mut guids: Vec<_> = record.voters.iter().chain(known).copied().collect();
        guids.extend_from_slice(cx.view.owners());
        guids.sort_unstable();
        guids.dedup();
        for guid in guids.into_iter().filter(|guid| *guid != self.me.guid) {
            cx.out.send(guid, self.chosen(record.clone()));
        }
    }

    pub(super) fn chosen(&self, record: crate::replication::Record) -> Message {
        Message::Accept {
            record,
            newcomer: None,
            chosen: true,
        }
    }

    // Writes.

    /// Whether a command that changes something may be executed now.
    ///
    /// # Errors
    /// Why not.
    pub fn may_write(&self) -> Result<(), Refused> {
        let Role::Open(open) = &self.role else {
            return Err(self.not_primary());
        };
        let settings = &self.settings;
        let full = self.tail.len() >= settings.tail_entries_max
            || self.tail.bytes() >= settings.tail_bytes_max;
        let held_back = open.fill.as_ref().is_some_and(Fill::holds_back);
        if open.members.iter().count() + 1 < settings.in_sync_min {
            return Err(Refused::TooFewInSync);
        }
        if full || held_back || open.ceding.is_some() {
            return Err(Refused::Busy);
        }
        Ok(())
    }

    fn not_primary(&self) -> Refused {
        Refused::NotPrimary(self.primary_hint().map(|term| term.node))
    }

    /// Whether the command of a request is to be executed. `term` is the one that this attempt was
    /// sent for, `since` the counter of the one that the first attempt was sent for.
    #[must_use]
    pub fn admit(&self, id: RequestId, since: u64, term: Option<Term>) -> Admission {
        let Role::Open(open) = &self.role else {
            return Admission::Refused(self.not_primary());
        };
        if term != Some(open.term) {
            return Admission::Refused(Refused::OtherTerm(open.term));
        }
        match self.requests.look_up(id) {
            Seen::Done(answer) => {
                let position = self.tail.position_of(id);
                let after = position.filter(|position| *position > open.committed);
                return Admission::Done { answer, after };
            }
            Seen::Forgotten => return Admission::Forgotten,
            Seen::New => {}
        }
        let lineage = self.record.as_ref().and_then(|record| record.lineage);
        if lineage.is_some_and(|lineage| since < lineage.counter) {
            return Admission::Forgotten;
        }
        match self.may_write() {
            Ok(()) => Admission::Execute,
            Err(refused) => Admission::Refused(refused),
        }
    }

    /// Takes note of a negative answer that was given to a request, such as NOT_STORED: it stays
    /// the answer if the request comes again.
    pub fn note_negative(&mut self, request: &Request) {
        self.requests.note(request);
    }

    /// Replicates what an executed command has left in the store. Returns the proposal's number:
    /// [`Output::acknowledged`] and [`Output::unknown`] speak of it.
    ///
    /// # Panics
    /// If [`may_write`](Self::may_write) says no.
    pub fn propose(&mut self, now: Time, entry: Entry, out: &mut Output) -> u64 {
        assert_eq!(
            self.may_write(),
            Ok(()),
            "a command was executed all the same"
        );
        self.proposals += 1;
        let number = self.proposals;
        if planted::has(Bug::AckBeforeReplication) {
            out.acknowledged = Some(number);
        }
        self.push_entry(now, entry, number, out);
        number
    }

    /// Replicates an entry, for a proposal or for nobody.
    pub(super) fn push_entry(&mut self, now: Time, entry: Entry, proposal: u64, out: &mut Output) {
        let Role::Open(open) = &mut self.role else {
            return;
        };
        if let Some(request) = &entry.request {
            self.requests.note(request);
        }
        open.last += 1;
        let position = open.last;
        if !open.waits {
            open.begin_waiting(now);
        }
        let settled = open.committed >= open.merged;
        let (term, committed) = (open.term, open.committed);
        let replicate = |entry| Message::Replicate {
            term,
            position,
            committed,
            settled,
            sent: now,
            entry: Some(entry),
        };
        for member in open.members.iter().filter(|member| member.joined) {
            out.send(member.node.guid, replicate(entry.clone()));
        }
        if let Some(fill) = &mut open.fill
            && fill.follow(position, &entry, &self.settings)
        {
            out.send(fill.target.guid, replicate(entry.clone()));
        }
        open.asked_at = now;
        open.dirty[slot(&entry.key)] += 1;
        self.tail.push(position, proposal, entry);
        if open.members.is_empty() {
            self.settle(out);
        } else {
            self.wake_for_members(now);
        }
    }

    /// A backup has applied something.
    pub(super) fn ack(
        &mut self,
        from: NodeId,
        term: Term,
        position: u64,
        sent: Time,
        cx: &mut Context<'_>,
    ) -> bool {
        let Role::Open(open) = &mut self.role else {
            return true;
        };
        let counts = open.term == term || planted::has(Bug::TermsIgnored);
        if !counts || position > open.last || sent > cx.now {
            self.figures.ignored += 1;
            return true;
        }
        let is_filling = open.fill.is_some();
        open.members.acknowledge(from, position, sent, cx.now);
        if let Some(fill) = &mut open.fill {
            fill.acknowledge(from, position, cx.now);
        }
        self.progress(cx);
        !is_filling && !matches!(&self.role, Role::Open(open) if open.ceding.is_some())
    }

    /// Sees what the acknowledgements come to.
    pub(super) fn progress(&mut self, cx: &mut Context<'_>) {
        self.settle(cx.out);
        let Role::Open(open) = &self.role else {
            return;
        };
        if open.confirm.is_some() && open.members.confirmed() >= Some(open.asked_at) {
            self.heartbeat(cx.now, cx.out);
        }
    }

    fn settle(&mut self, out: &mut Output) {
        let Role::Open(open) = &mut self.role else {
            return;
        };
        let committed = open.members.committed().min(open.last);
        if committed > open.committed {
            open.committed = committed;
            let mut acknowledged = None;
            let dirty = &mut open.dirty;
            self.tail.commit(committed, true, |placed| {
                dirty[slot(&placed.entry.key)] -= 1;
                if placed.proposal > 0 {
                    acknowledged = Some(placed.proposal);
                }
            });
            out.acknowledged = out.acknowledged.max(acknowledged);
            out.committed = Some(committed);
        }
        let confirmed = open.members.confirmed();
        if open.confirm.is_some() && confirmed >= open.confirm {
            out.confirmed = confirmed;
            open.confirm = None;
        }
        open.waits = open.confirm.is_some() || committed < open.last;
    }

    // Reads.

    /// Whether the state of `key`, or a negative result that follows from it, may be answered.
    /// Asks the backups if it has to, or will have to soon.
    pub fn read(&mut self, now: Time, key: &[u8], out: &mut Output) -> Reading {
        if planted::has(Bug::ServeWhileClaiming) && self.reads_while_claiming() {
            return Reading::Now;
        }
        let holds = self.confirm(now, out);
        let Role::Open(open) = &self.role else {
            return Reading::Refused(self.not_primary());
        };
        if open.dirty[slot(key)] > 0 && !planted::has(Bug::DirtyRead) {
            return Reading::AfterPosition(open.last);
        }
        if holds {
            Reading::Now
        } else {
            Reading::AfterConfirmation
        }
    }

    /// Until when [`read`](Self::read) says yes to every key and asks nobody, if nothing happens to
    /// this replica before.
    #[must_use]
    pub fn reads_until(&self) -> Time {
        match &self.role {
            Role::Open(open) if self.tail.is_empty() => {
                open.members.lease_until(self.settings.lease_ms / 2)
            }
            _ => Time::ZERO,
        }
    }

    /// Asks the backups whether this node is primary, if it has to or will have to soon. Returns
    /// whether that is certain now; if not, [`Output::confirmed`] will say.
    pub fn confirm(&mut self, now: Time, out: &mut Output) -> bool {
        let Role::Open(open) = &mut self.role else {
            return false;
        };
        let settings = &self.settings;
        let holds = open.members.lease_holds(now, settings.lease_ms);
        if !open.members.lease_holds(now, settings.lease_ms / 2) {
            if !holds {
                open.confirm = open.confirm.max(Some(now));
                if !open.waits {
                    // What was asked last may be lost, and nothing has waited for it so far.
                    open.begin_waiting(now);
                }
                let resend_at = now.plus_millis(settings.resend_ms);
                self.wake(resend_at);
            }
            let Role::Open(open) = &self.role else {
                return false;
            };
            // One at a time: when it is answered, the next one is for all who have come since.
            if open.members.confirmed() >= Some(open.asked_at) {
                self.heartbeat(now, out);
            }
        }
        holds
    }

    /// Whether the last write of the key is everywhere: a read that was confirmed may be answered.
    #[must_use]
    pub fn is_clean(&self, key: &[u8]) -> bool {
        let Role::Open(open) = &self.role else {
            return false;
        };
        open.dirty[slot(key)] == 0 || planted::has(Bug::DirtyRead)
    }

    /// Whether this node may answer reads of clean keys now without asking anyone.
    #[must_use]
    pub fn holds_lease(&self, now: Time) -> bool {
        let Role::Open(open) = &self.role else {
            return planted::has(Bug::ServeWhileClaiming) && self.reads_while_claiming();
        };
        open.members.lease_holds(now, self.settings.lease_ms)
    }

    fn reads_while_claiming(&self) -> bool {
        let Role::Claiming(claim) = &self.role else {
            return false;
        };
        claim.was_open.is_some() && claim.listed.is_empty() && self.is_complete()
    }

    fn heartbeat(&mut self, now: Time, out: &mut Output) {
        let Role::Open(open) = &mut self.role else {
            return;
        };
        if !open.waits {
            open.begin_waiting(now);
        }
        open.asked_at = now;
        for member in open.members.iter().filter(|member| member.joined) {
            out.send(member.node.guid, open.beat(now));
        }
        self.wake_for_members(now);
    }

    /// Something is said again if it is not answered. Members that do not run are looked after at
    /// once, now that something waits for them.
    fn wake_for_members(&mut self, now: Time) {
        let mut at = now.plus_millis(self.settings.resend_ms);
        if let Role::Open(open) = &mut self.role
            && core::mem::take(&mut open.absent)
        {
            open.upkeep_at = now;
            at = now;
        }
        self.wake(at);
    }

    // Sending again.

    /// A member knows the record: it gets all that it has not applied.
    pub(super) fn joined(&mut self, from: NodeId, cx: &mut Context<'_>) {
        let Role::Open(open) = &mut self.role else {
            return;
        };
        let Some(member) = open.members.find(from) else {
            return;
        };
        member.heard = cx.now;
        if !member.joined {
            member.joined = true;
            self.catch_up(from, cx);
        }
    }

    /// Sends a member what it has not applied, up to a bound, or a heartbeat.
    pub(super) fn catch_up(&mut self, node: NodeId, cx: &mut Context<'_>) {
        const ENTRIES_MAX: usize = 64;
        let Role::Open(open) = &mut self.role else {
            return;
        };
        let Some(member) = open.members.find(node) else {
            return;
        };
        let acked = member.acked;
        let settled = open.committed >= open.merged;
        let mut sent = 0;
        for placed in self.tail.from(acked + 1).take(ENTRIES_MAX) {
            sent += 1;
            let replicate = Message::Replicate {
                term: open.term,
                position: placed.position,
                committed: open.committed,
                settled,
                sent: cx.now,
                entry: Some(placed.entry.clone()),
            };
            cx.out.send(node.guid, replicate);
        }
        if sent == 0 {
            cx.out.send(node.guid, open.beat(cx.now));
        }
    }

    /// A voter has forgotten what it has promised.
    pub(super) fn note_blank(&mut self, from: NodeId, now: Time) {
        let (Role::Open(open), Some(record)) = (&mut self.role, &self.record) else {
            return;
        };
        if record.votes(from.guid) {
            open.blanks.retain(|(node, _)| node.guid != from.guid);
            open.blanks.push((from, now));
        }
    }

    /// A voter or a member has promised someone more, or does not know the record.
    pub(super) fn open_nacked(
        &mut self,
        from: NodeId,
        blank: bool,
        promised: Option<Term>,
        accepted: Option<Term>,
        cx: &mut Context<'_>,
    ) {
        let (Role::Open(open), Some(record)) = (&mut self.role, &self.record) else {
            return;
        };
        let is_target = open.fill.as_ref().is_some_and(|fill| fill.target == from);
        let is_member = open.members.has(from);
        let lacks = accepted < Some(open.term) && promised <= Some(open.term);
        if blank || lacks {
            let record = record.clone();
            if record.votes(from.guid) && open.may_tell(from, cx.now, self.settings.resend_ms) {
                cx.out.send(from.guid, self.chosen(record));
            }
            if blank {
                self.note_blank(from, cx.now);
            }
        } else if promised > Some(open.term) && (is_target || is_member) {
            // It follows no lower term any more: rise above what it has promised.
            self.begin_claim(Plan::default(), cx);
        }
    }
}

impl Open {
    /// Whether this node may be told what is in force: once in a while.
    fn may_tell(&mut self, node: NodeId, now: Time, every_ms: u64) -> bool {
        if now >= self.told_at.plus_millis(every_ms) {
            self.told.clear();
            self.told_at = now;
        }
        let is_new = !self.told.contains(&node);
        if is_new {
            self.told.push(node);
        }
        is_new
    }

    fn begin_waiting(&mut self, now: Time) {
        self.waits = true;
        for member in self.members.iter_mut() {
            member.heard = now;
        }
    }

    pub(super) fn beat(&self, now: Time) -> Message {
        Message::Replicate {
            term: self.term,
            position: self.last,
            committed: self.committed,
            settled: self.committed >= self.merged,
            sent: now,
            entry: None,
        }
    }
}
