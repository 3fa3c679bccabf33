//! flush_all on all nodes.
//!
//! Decides which nodes take which step of a flush and for how long they are waited for, and what
//! is believed of what others say they have flushed. Refuses to know items: workers flush.
//!
//! A flush has two rounds. In the first whatever draws versions begins to wait, on every worker of
//! every node that is not down, and the highest version that was drawn is found out. In the second
//! everything up to the one above goes. Where a node does not answer in time the flush is called
//! off, and what waits for it on nodes that don't hear of that waits no longer than a moment.
//!
//! What was flushed last, and what is to be flushed at a later time, is part of every hello: who
//! was not there learns of it before it holds anything for others.
//!
//! A flush that was to come later is noted by every node. When it has come, the first of those that
//! are up flushes all, as if it were asked then; the others do so if that has not come about soon.
//! Each by itself can't: versions run ahead of the clock for a while after a restart, so none says
//! whether a change came before a moment.
//!
//! With `split-brain = "majority"` a flush needs more than half of the nodes in the layout: what
//! the smaller side flushed would be lost on the other one when they meet.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use super::calls::Call;
use super::{Node, NodeOut, Place};
use crate::clock::version_at;
use crate::layout::LayoutState;
use crate::member::NodeId;
use crate::membership::{Formation, Liveness};
use crate::message::Token;
use crate::planted::{self, Bug};
use crate::protocol::peer::{FlushStep, Flushes, Introduction};
use crate::replication::SplitBrain;
use crate::time::{Now, Time};

/// How long all nodes together are waited for, in milliseconds: shorter than they wait.
pub(super) const FLUSH_MS_MAX: u64 = 2000;
/// A node that could not be asked is asked again after so long, in milliseconds.
const RETRY_MS: u64 = 50;
/// Each node waits so much longer than the one before it for a flush that has come.
const TURN_MS: u64 = 300;
/// A flush that has come and could not be carried out is tried again after so long, in
/// milliseconds.
const AGAIN_MS: u64 = 1000;
/// It is looked so often at least whether a flush has come: the host's clock may be set.
const LOOK_MS_MAX: u64 = 60_000;
/// Commands that wait for a flush, at most.
const ASKERS_MAX: usize = 4096;

/// What worker 0 is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlushOrder {
    /// All workers take a step of this flush, and [`Node::handle_flush_step`] hears of it.
    Step { number: u64, step: FlushStep },
    /// Another node has flushed this.
    Adopt { version: u64 },
    /// Another node knows of a flush to come, or of none.
    Note { unix_ms: u64, noted: u64 },
    /// A command is answered: all nodes have been reached, or not.
    Tell(Token, bool),
}

/// What is wanted.
#[derive(Debug)]
struct Wish {
    askers: Vec<Token>,
    /// When, in Unix milliseconds; 0 is at once.
    at_unix_ms: u64,
    /// If this node does not serve by then, nothing comes of it.
    serving_by: Time,
}

/// The flush under way.
#[derive(Debug)]
struct Job {
    wish: Wish,
    number: u64,
    step: FlushStep,
    by: Time,
    /// The own workers have not taken the step yet.
    own: bool,
    /// Who has not, and when it is asked, or asked again.
    missing: BTreeMap<NodeId, Time>,
    /// The highest version that was drawn.
    version: u64,
    /// Where the first step has been taken: whatever draws versions waits there.
    holding: BTreeSet<NodeId>,
}

/// The flushes of this node.
#[derive(Debug, Default)]
pub(super) struct Flushing {
    known: Flushes,
    formation: Option<Formation>,
    next: u64,
    job: Option<Job>,
    waiting: VecDeque<Wish>,
    /// A flush needs more than half of the nodes.
    needs_majority: bool,
    /// It is looked then whether a flush has come that was to come later.
    look_at: Option<Time>,
    orders: Vec<FlushOrder>,
}

impl Flushing {
    pub(super) fn new(formation: Option<Formation>, split_brain: SplitBrain) -> Self {
        Self {
            formation,
            needs_majority: split_brain == SplitBrain::Majority,
            ..Self::default()
        }
    }

    pub(super) const fn known(&self) -> Flushes {
        self.known
    }

    /// The cluster is this one. What was flushed in another one is no concern of it.
    pub(super) fn set_formation(&mut self, formation: Formation) {
        let before = self.formation.replace(formation);
        if before.is_some_and(|before| before != formation) {
            let noted = self.known.noted;
            self.orders.push(FlushOrder::Note { unix_ms: 0, noted });
            self.known = Flushes::default();
        }
    }

    pub(super) fn next_deadline(&self, serving: bool, calls: &super::Calls) -> Option<Time> {
        let Some(job) = &self.job else {
            let first = self.waiting.front();
            return match serving {
                true => first.map(|_| Time::ZERO).or(self.look_at),
                false => first.map(|wish| wish.serving_by),
            };
        };
        let idle = job.missing.iter();
        let idle = idle.filter(|(node, _)| !calls.has(job.call(**node)));
        let again = idle.map(|(_, at)| *at).min();
        Some(again.map_or(job.by, |at| at.min(job.by)))
    }

    /// Takes note of what is to come, or of nothing.
    fn expect(&mut self, at_unix_ms: u64, noted: u64) {
        (self.known.at_unix_ms, self.known.noted) = (at_unix_ms, noted);
        self.look_at = (at_unix_ms != 0).then_some(Time::ZERO);
    }

    fn wish(&mut self, now: Time, token: Token, at_unix_ms: u64) {
        let askers = self.waiting.iter().map(|wish| wish.askers.len());
        if askers.sum::<usize>() >= ASKERS_MAX {
            self.orders.push(FlushOrder::Tell(token, false));
            return;
        }
        // Those that come while another flush is under way share the next.
        match self.waiting.back_mut() {
            Some(last) if last.at_unix_ms == at_unix_ms => last.askers.push(token),
            _ => self.waiting.push_back(Wish {
                askers: alloc::vec![token],
                at_unix_ms,
                serving_by: now.plus_millis(FLUSH_MS_MAX),
            }),
        }
    }

    /// Nothing comes of what has waited too long for this node to serve.
    fn give_up_wishes(&mut self, now: Time) {
        while let Some(wish) = self.waiting.pop_front_if(|wish| wish.serving_by <= now) {
            self.tell(&wish, false);
        }
    }

    fn tell(&mut self, wish: &Wish, reached: bool) {
        let told = wish.askers.iter();
        let told = told.map(|token| FlushOrder::Tell(*token, reached));
        self.orders.extend(told);
    }
}

impl Job {
    const fn call(&self, node: NodeId) -> Call {
        Call::Flush {
            node,
            number: self.number,
            step: self.step,
        }
    }

    const fn order(&self) -> FlushOrder {
        FlushOrder::Step {
            number: self.number,
            step: self.step,
        }
    }
}

impl Node {
    /// What was flushed, and is to be, as the last run has left it.
    pub(crate) fn recall_flushes(&mut self, flushed: u64, at_unix_ms: u64) {
        self.flushing.known.flushed = flushed;
        self.flushing.expect(at_unix_ms, 0);
    }

    /// A client wants everything on all nodes to be flushed, at a time in Unix milliseconds or,
    /// with 0, now.
    pub(crate) fn handle_flush(
        &mut self,
        now: Now,
        token: Token,
        at_unix_ms: u64,
        out: &mut NodeOut<'_>,
    ) {
        self.flushing.wish(now.time, token, at_unix_ms);
        self.drive_flush(now, out);
    }

    /// This node's workers have taken a step: with the highest version that they had drawn, and
    /// whether all have waited.
    pub(crate) fn handle_flush_step(
        &mut self,
        now: Now,
        number: u64,
        step: FlushStep,
        version: u64,
        held: bool,
        out: &mut NodeOut<'_>,
    ) {
        if let Some(job) = &mut self.flushing.job
            && job.number == number
            && job.step == step
        {
            job.own = false;
            job.version = job.version.max(version);
            if !held && matches!(step, FlushStep::Drop { .. }) {
                job.by = now.time;
            }
        }
        self.drive_flush(now, out);
    }

    /// Another node has answered.
    pub(super) fn take_flush_reply(&mut self, place: Place, version: u64, held: bool, now: Time) {
        let Some(Call::Flush { node, number, step }) = self.calls.of(place.conn) else {
            return;
        };
        let Some(job) = &mut self.flushing.job else {
            return;
        };
        if job.number != number || job.step != step || job.missing.remove(&node).is_none() {
            return;
        }
        match step {
            FlushStep::Hold => {
                job.version = job.version.max(version);
                job.holding.insert(node);
            }
            FlushStep::Drop { .. } => {
                // It has not waited all the time: something may be past the flush.
                if job.holding.remove(&node) && !held {
                    job.by = now;
                }
            }
            FlushStep::At { .. } => {
                job.holding.insert(node);
            }
        }
    }

    /// What is to be done by worker 0.
    pub(crate) fn take_flush_orders(&mut self) -> Vec<FlushOrder> {
        core::mem::take(&mut self.flushing.orders)
    }

    /// This node has flushed everything up to `version`.
    pub(crate) fn note_flushed(&mut self, version: u64) {
        let known = &mut self.flushing.known;
        known.flushed = known.flushed.max(version);
        if version >= known.noted {
            self.flushing.expect(0, version);
        }
    }

    /// This node will flush everything then, or will not with 0.
    pub(crate) fn note_flush_at(&mut self, unix_ms: u64, noted: u64) {
        self.flushing.expect(unix_ms, noted);
    }

    /// Another node of this cluster says what it knows.
    pub(super) fn hear_flushes(&mut self, formation: Option<Formation>, theirs: &Introduction<'_>) {
        let is_ours = formation.is_some_and(|it| it.is_named(theirs.formation));
        if !is_ours {
            return;
        }
        let Flushes {
            flushed,
            at_unix_ms,
            noted,
        } = theirs.flushes;
        let known = self.flushing.known;
        if flushed > known.flushed {
            let version = flushed;
            self.flushing.orders.push(FlushOrder::Adopt { version });
        }
        if at_unix_ms != 0 && (noted, at_unix_ms) > (known.noted, known.at_unix_ms) {
            let unix_ms = at_unix_ms;
            self.flushing
                .orders
                .push(FlushOrder::Note { unix_ms, noted });
        }
    }

    /// Goes on with the flush under way, and begins the next.
    pub(super) fn drive_flush(&mut self, now: Now, out: &mut NodeOut<'_>) {
        loop {
            if self.flushing.job.is_none() && !self.begin_flush(now) {
                return;
            }
            self.ask_missing(now.time, out);
            let Some(job) = &mut self.flushing.job else {
                return;
            };
            if job.by <= now.time {
                self.end_flush(now.time, false, out);
                continue;
            }
            if job.own || !job.missing.is_empty() {
                return;
            }
            if !self.are_enough() {
                self.end_flush(now.time, false, out);
                continue;
            }
            let Some(job) = &mut self.flushing.job else {
                return;
            };
            if job.step != FlushStep::Hold {
                self.end_flush(now.time, true, out);
                continue;
            }
            // Above every pending one, too: it is forgotten.
            let least = version_at(now.unix_ms).max(self.flushing.known.noted + 1);
            let version = least.max(job.version + 1);
            job.step = FlushStep::Drop { version };
            job.own = true;
            let order = job.order();
            self.flushing.orders.push(order);
            self.set_missing(now.time);
        }
    }

    /// Whether those that have taken the first step are enough. Nobody counts twice: of those who
    /// have to take the second one, none may be missing.
    fn are_enough(&self) -> bool {
        let Some(job) = &self.flushing.job else {
            return true;
        };
        if !self.flushing.needs_majority || matches!(job.step, FlushStep::Drop { .. }) {
            return true;
        }
        let entries = self.membership.layout().entries();
        let all = entries.filter(|entry| entry.state != LayoutState::Left);
        2 * (job.holding.len() + 1) > all.count()
    }

    /// What nobody has asked for now, but was to come by now.
    fn come_by_now(&mut self, now: Now) -> Option<Wish> {
        let at_unix_ms = self.flushing.known.at_unix_ms;
        let look_at = self.flushing.look_at?;
        if at_unix_ms == 0 || now.time < look_at {
            return None;
        }
        let own = self.membership.identity().id.guid;
        let up = self.membership.members();
        let up = up.filter(|known| known.liveness == Liveness::Up);
        let before = up.filter(|known| known.identity.id.guid < own).count() as u64;
        let due_unix_ms = at_unix_ms.saturating_add(before * TURN_MS);
        let wait_ms = due_unix_ms.saturating_sub(now.unix_ms).min(LOOK_MS_MAX);
        if wait_ms == 0 {
            return Some(Wish {
                askers: Vec::new(),
                at_unix_ms: 0,
                serving_by: now.time,
            });
        }
        self.flushing.look_at = Some(now.time.plus_millis(wait_ms));
        None
    }

    /// Begins the next flush. Whether there is one.
    fn begin_flush(&mut self, now: Now) -> bool {
        if !self.serving {
            // It may not know yet whom its cluster consists of.
            self.flushing.give_up_wishes(now.time);
            return false;
        }
        let wish = self.flushing.waiting.pop_front();
        let Some(wish) = wish.or_else(|| self.come_by_now(now)) else {
            return false;
        };
        let noted = version_at(now.unix_ms).max(self.flushing.known.noted + 1);
        let step = match wish.at_unix_ms {
            0 => FlushStep::Hold,
            unix_ms => FlushStep::At { unix_ms, noted },
        };
        let number = self.flushing.next;
        self.flushing.next += 1;
        let job = Job {
            wish,
            number,
            step,
            by: now.time.plus_millis(FLUSH_MS_MAX),
            own: true,
            missing: BTreeMap::new(),
            version: 0,
            holding: BTreeSet::new(),
        };
        self.flushing.orders.push(job.order());
        self.flushing.job = Some(job);
        self.set_missing(now.time);
        true
    }

    /// All nodes that are not down have to take the step.
    fn set_missing(&mut self, now: Time) {
        if let Some(job) = &mut self.flushing.job {
            let members = self.membership.members();
            let up = members.filter(|known| known.liveness != Liveness::Down);
            let up = up.filter(|_| !planted::has(Bug::FlushAlone));
            job.missing = up.map(|known| (known.identity.id, now)).collect();
        }
    }

    fn ask_missing(&mut self, now: Time, out: &mut NodeOut<'_>) {
        let Some(job) = &mut self.flushing.job else {
            return;
        };
        let membership = &self.membership;
        job.missing.retain(|node, _| {
            let known = membership.member(&node.guid);
            known.is_some_and(|it| it.identity.id == *node && it.liveness != Liveness::Down)
        });
        let (number, step) = (job.number, job.step);
        for (node, at) in &mut job.missing {
            let call = Call::Flush {
                node: *node,
                number,
                step,
            };
            if *at > now || self.calls.has(call) {
                continue;
            }
            *at = now.plus_millis(RETRY_MS);
            if let Some(known) = membership.member(&node.guid)
                && let Some(ticket) = self.calls.begin(now, call)
            {
                out.actions.connect.push((ticket, known.identity.address));
            }
        }
    }

    fn end_flush(&mut self, now: Time, reached: bool, out: &mut NodeOut<'_>) {
        let Some(job) = self.flushing.job.take() else {
            return;
        };
        self.flushing.tell(&job.wish, reached);
        if reached || matches!(job.step, FlushStep::At { .. }) {
            return;
        }
        if let Some(look_at) = &mut self.flushing.look_at {
            // What draws versions has waited: not without a break.
            *look_at = (*look_at).max(now.plus_millis(AGAIN_MS));
        }
        let number = job.number;
        let step = FlushStep::Drop { version: 0 };
        self.flushing.orders.push(FlushOrder::Step { number, step });
        for node in job.holding {
            let call = Call::Flush { node, number, step };
            if let Some(known) = self.membership.member(&node.guid)
                && let Some(ticket) = self.calls.begin(now, call)
            {
                out.actions.connect.push((ticket, known.identity.address));
            }
        }
    }
}
