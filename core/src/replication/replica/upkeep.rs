//! What time brings: retries, and a primary's care for its replicas.
//!
//! Decides when something is due, whom a primary drops and adds, which voters it wants, and to
//! whom it hands over. Refuses to know how any of it is carried out.

use alloc::vec::Vec;

use super::fill::Fill;
use super::{Context, Liveness, Replica, Role};
use crate::member::{Guid, NodeId};
use crate::replication::claim::{Phase, Plan};
use crate::replication::message::Message;
use crate::replication::output::Event;
use crate::replication::planted::{self, Bug};
use crate::replication::record::{NODES_MAX, Record, one_apart};
use crate::replication::settings::SplitBrain;
use crate::time::Time;

impl Replica {
    /// Does what is due and finds out when something will be.
    pub(super) fn tick(&mut self, cx: &mut Context<'_>) {
        self.deadline = None;
        if self.blank && !matches!(self.role, Role::Claiming(_)) {
            self.ask_to_learn(cx);
        }
        self.drop_unfinished(cx);
        match &self.role {
            Role::Idle => self.watch(cx),
            Role::Claiming(_) => {
                self.claim_due(cx);
                self.watch_again(cx);
            }
            Role::Open(_) => self.open_due(cx),
            Role::Ceded(until) => {
                let until = *until;
                if cx.now >= until {
                    self.role = Role::Idle;
                    self.begin_claim(Plan::default(), cx);
                    self.watch_again(cx);
                } else {
                    self.wake(until);
                }
            }
        }
        self.take_back(cx);
        self.hand_out_record(cx);
    }

    /// Lets go of what the store keeps for a fill or a merge that has ended in whatever way.
    fn take_back(&mut self, cx: &mut Context<'_>) {
        let (fills, merges) = match &self.role {
            Role::Open(open) => open.fill.as_ref().map_or((false, false), Fill::lends),
            Role::Claiming(claim) => (false, matches!(claim.phase, Phase::Gathering { .. })),
            Role::Idle | Role::Ceded(_) => (false, false),
        };
        if self.lent && !fills {
            cx.store.end_fill();
        }
        if self.lent && !merges {
            cx.store.end_merge();
        }
        self.lent = fills || merges;
    }

    fn watch_again(&mut self, cx: &mut Context<'_>) {
        if matches!(self.role, Role::Idle) {
            self.watch(cx);
        }
    }

    fn hand_out_record(&mut self, cx: &mut Context<'_>) {
        if core::mem::take(&mut self.unkept) {
            cx.out.events.push(Event::Keep {
                promised: self.promised,
                record: self.record.clone(),
                synced: false,
            });
        }
    }

    fn open_due(&mut self, cx: &mut Context<'_>) {
        self.send_again(cx);
        self.fill_due(cx);
        self.cede_due(cx);
        if let Role::Open(open) = &mut self.role {
            let mut members = open.members.iter();
            open.absent = members.any(|member| !Self::is_alive(member.node, cx.view));
        }
        let Role::Open(open) = &self.role else {
            return;
        };
        let upkeep_at = open.upkeep_at;
        if cx.now < upkeep_at {
            if open.waits || self.wants_upkeep(cx) {
                self.wake(upkeep_at);
            }
            return;
        }
        if let Some(listed) = self.blanks_to_recover(cx) {
            let was_open = Some(open.term);
            self.recover_after = cx.now.plus_millis(self.settings.recover_ms * 2);
            return self.launch(Plan::default(), was_open, listed, cx);
        }
        if let Some(plan) = self.plan(cx) {
            return self.begin_claim(plan, cx);
        }
        if let Role::Open(open) = &mut self.role {
            open.upkeep_at = cx.now.plus_millis(self.settings.upkeep_ms);
            let (at, waits) = (open.upkeep_at, open.waits);
            if waits || self.wants_upkeep(cx) {
                self.wake(at);
            }
        }
    }

    fn send_again(&mut self, cx: &mut Context<'_>) {
        let resend_ms = self.settings.resend_ms;
        let (Role::Open(open), Some(record)) = (&mut self.role, &self.record) else {
            return;
        };
        let unjoined = open.members.iter().any(|member| !member.joined);
        if !open.waits && !unjoined {
            return;
        }
        let due = open.resend_at.max(open.asked_at.plus_millis(resend_ms));
        if cx.now < due {
            return self.wake(due);
        }
        open.resend_at = cx.now.plus_millis(resend_ms);
        open.asked_at = cx.now;
        let at = open.resend_at;
        let record = record.clone();
        let members: Vec<_> = open.members.iter().cloned().collect();
        for member in members {
            if member.joined {
                self.catch_up(member.node, cx);
            } else {
                cx.out.send(member.node.guid, self.chosen(record.clone()));
            }
        }
        self.wake(at);
    }

    // Who is in sync.

    /// Whether the replicas or voters are not what they should be.
    fn wants_upkeep(&self, cx: &Context<'_>) -> bool {
        let (Role::Open(open), Some(record)) = (&self.role, &self.record) else {
            return false;
        };
        let mut owners: Vec<Guid> = cx.view.owners().to_vec();
        let first = owners.first().copied();
        owners.sort_unstable();
        let mut voters: Vec<Guid> = cx.view.voters().to_vec();
        voters.sort_unstable();
        let in_sync = record.in_sync.iter().map(|node| node.guid);
        let right = in_sync.eq(owners.iter().copied()) && record.voters == voters;
        let is_first = first.is_none_or(|guid| guid == self.me.guid);
        let restarted = record.in_sync.iter().any(|node| {
            Self::run_of(node.guid, cx.view).is_some_and(|run| run.generation > node.generation)
        });
        let as_wanted = owners.is_empty() || (right && is_first);
        let blocked = open.blanks.len() > 1;
        !as_wanted || restarted || blocked || open.fill.is_some() || self.is_cut_off(cx)
    }

    /// Whether it can answer nothing without a Force: replicas in sync don't answer, nor does a
    /// majority of the voters. A Force takes seconds, so it is not left to the first request of each
    /// partition to begin with it.
    fn is_cut_off(&self, cx: &Context<'_>) -> bool {
        let (Role::Open(open), Some(record)) = (&self.role, &self.record) else {
            return false;
        };
        if self.settings.split_brain != SplitBrain::Available {
            return false;
        }
        let answers = |guid: &&Guid| {
            **guid == self.me.guid || matches!(cx.view.liveness(**guid), Liveness::Alive(_))
        };
        let voters = record.voters.iter().filter(answers).count();
        let mut members = open.members.iter();
        voters * 2 <= record.voters.len()
            && members.any(|member| !Self::is_alive(member.node, cx.view))
    }

    /// The next change that this primary makes, if any: one at a time.
    fn plan(&mut self, cx: &mut Context<'_>) -> Option<Plan> {
        let dropped = self.dropped(cx);
        if !dropped.is_empty() {
            self.figures.dropped += dropped.len() as u64;
            return Some(Plan {
                drop: dropped,
                ..Plan::default()
            });
        }
        if self.is_cut_off(cx) {
            // Whoever answers after all stays what it is.
            return Some(Plan::default());
        }
        let record = self.record.clone()?;
        if let Some(plan) = self.newcomers(&record, cx) {
            return Some(plan);
        }
        if let Some(plan) = self.surplus(&record, cx) {
            return Some(plan);
        }
        self.consider_ceding(&record, cx);
        None
    }

    /// The runs of all voters, if two or more of them have forgotten what they have promised: they
    /// can't learn that from each other, so only a recovery has them vote again.
    fn blanks_to_recover(&self, cx: &Context<'_>) -> Option<Vec<NodeId>> {
        let (Role::Open(open), Some(record)) = (&self.role, &self.record) else {
            return None;
        };
        let run_of = |guid: &Guid| match *guid {
            guid if guid == self.me.guid => Some(self.me),
            guid => Self::run_of(guid, cx.view),
        };
        let runs: Option<Vec<NodeId>> = record.voters.iter().map(run_of).collect();
        let runs = runs.filter(|_| open.blanks.len() > 1 && cx.now >= self.recover_after)?;
        // Who has learned stops asking.
        let asks = |at: Time| at.plus_millis(self.settings.learn_ms * 2) > cx.now;
        let blanks = open
            .blanks
            .iter()
            .filter(|(node, at)| runs.contains(node) && asks(*at));
        (blanks.count() > 1).then_some(runs)
    }

    /// Members that can't answer, where it matters: something waits for them, or it is certain.
    fn dropped(&self, cx: &Context<'_>) -> Vec<NodeId> {
        let Role::Open(open) = &self.role else {
            return Vec::new();
        };
        let silent_ms = self.settings.silent_ms;
        let bad = open.members.iter().filter(|member| {
            let node = member.node;
            let run = Self::run_of(node.guid, cx.view);
            let restarted = run.is_some_and(|run| run.generation > node.generation);
            let silent = cx.now >= member.heard.plus_millis(silent_ms);
            let lags = member.acked < open.last || open.members.confirmed() < Some(open.asked_at);
            restarted || (open.waits && lags && (silent || !Self::is_alive(node, cx.view)))
        });
        bad.map(|member| member.node).collect()
    }

    /// Voters to be added, and fills to be begun, for those who should be replicas or voters.
    fn newcomers(&mut self, record: &Record, cx: &mut Context<'_>) -> Option<Plan> {
        let owners = cx.view.owners().to_vec();
        let wanted = owners.iter().chain(cx.view.voters());
        let runs = wanted.filter_map(|guid| Self::run_of(*guid, cx.view));
        let missing = |run: &NodeId| !record.votes(run.guid) && *run != self.me;
        let missing: Option<NodeId> = runs.clone().find(missing);
        let may_grow = record.voters.len() < NODES_MAX;
        if let Some(run) = missing.filter(|_| may_grow) {
            return Some(self.with_voter(record, run, cx));
        }
        let unfilled = |run: &NodeId| {
            owners.contains(&run.guid) && record.votes(run.guid) && !record.names_guid(run.guid)
        };
        let target = runs.clone().find(unfilled);
        let may_fill = !self.is_filling() && cx.view.may_fill();
        if let Some(target) = target.filter(|_| may_fill) {
            self.begin_fill(target, cx);
        }
        None
    }

    fn with_voter(&self, record: &Record, run: NodeId, cx: &Context<'_>) -> Plan {
        let mut voters = record.voters.clone();
        voters.push(run.guid);
        voters.sort_unstable();
        if planted::has(Bug::VotersSwapped) {
            let spare = |guid: &Guid| {
                !record.names_guid(*guid) && *guid != run.guid && !cx.view.voters().contains(guid)
            };
            if let Some(at) = voters.iter().position(spare) {
                voters.remove(at);
            }
        } else {
            assert!(one_apart(&voters, &record.voters), "one voter at a time");
        }
        Plan {
            voters: Some(voters),
            newcomer: Some(run),
            ..Plan::default()
        }
    }

    /// Replicas and voters that nobody wants here, once all that are wanted are in place.
    fn surplus(&self, record: &Record, cx: &Context<'_>) -> Option<Plan> {
        let owners = cx.view.owners();
        let all_there = owners.iter().all(|guid| record.names_guid(*guid));
        let surplus = |node: &&NodeId| !owners.contains(&node.guid) && **node != self.me;
        let drop: Vec<NodeId> = record.in_sync.iter().filter(surplus).copied().collect();
        if all_there && !owners.is_empty() && !drop.is_empty() {
            return Some(Plan {
                drop,
                ..Plan::default()
            });
        }
        let wanted = cx.view.voters();
        let all_vote = wanted.iter().all(|guid| record.votes(*guid));
        let spare = |guid: &&Guid| !wanted.contains(guid) && !record.names_guid(**guid);
        let spare = record.voters.iter().find(spare)?;
        let voters = record.voters.iter().filter(|guid| *guid != spare);
        (all_vote && !wanted.is_empty()).then(|| Plan {
            voters: Some(voters.copied().collect()),
            ..Plan::default()
        })
    }

    // Handing over.

    fn consider_ceding(&mut self, record: &Record, cx: &mut Context<'_>) {
        let Some(first) = cx.view.owners().first().copied() else {
            return;
        };
        let cede_after = self.cede_after;
        let patience_ms = self.settings.cede_ms;
        let Role::Open(open) = &mut self.role else {
            return;
        };
        let Some(run) = Self::run_of(first, cx.view) else {
            return;
        };
        let may = record.names(run) && open.members.has(run) && open.fill.is_none();
        if may && open.ceding.is_none() && cx.now >= cede_after {
            open.ceding = Some((run, cx.now.plus_millis(patience_ms)));
            self.cede_due(cx);
        }
    }

    /// Hands over once nothing is unacknowledged; after a while in any case.
    fn cede_due(&mut self, cx: &mut Context<'_>) {
        let Role::Open(open) = &mut self.role else {
            return;
        };
        let Some((target, until)) = open.ceding else {
            return;
        };
        if !self.tail.is_empty() && cx.now < until {
            return self.wake(until);
        }
        let term = open.term;
        self.figures.ceded += 1;
        self.cede_after = cx.now.plus_millis(self.settings.recover_ms * 2);
        if planted::has(Bug::ServeAfterCede) {
            open.ceding = None;
        } else {
            self.stand_back(cx);
            let claims_at = cx.now.plus_millis(self.settings.cede_ms);
            self.role = Role::Ceded(claims_at);
            self.wake(claims_at);
        }
        cx.out.send(target.guid, Message::Cede { term, target });
    }
}
