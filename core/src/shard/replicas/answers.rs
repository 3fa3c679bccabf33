//! Answers that wait for replicas, and those that are remembered for a request that comes again.
//!
//! Decides when a held answer leaves, what becomes of one that never may, and what of an outcome
//! is remembered. Refuses to know how replicas agree.

use alloc::vec::Vec;
use bytes::Bytes;

use super::commands::Repeated;
use super::{HELD_MS_MAX, Held, Until, WAIT_MS_MAX, forced_notice, recovered_notice};
use crate::cache::Place;
use crate::command::owned::OwnedCommand;
use crate::command::{Failure, Item, Operation, Outcome, Value};
use crate::message::{Caller, owned};
use crate::protocol::forward::{decode_answer, encode_answer};
use crate::replication::{Event, Output, Request};
use crate::shard::{Command, Shard, Sink};
use crate::time::Now;

/// What is remembered of an outcome, as replication carries it. The value of an item is not: it
/// is read again.
pub(super) fn memory_of(outcome: &Outcome<'_>) -> Bytes {
    let mut bytes = Vec::new();
    match outcome {
        Outcome::Item(item) => {
            let value = Value::Small(&[]);
            let bare = Outcome::Item(Item { value, ..*item });
            encode_answer(0, &bare, &mut bytes);
        }
        other => encode_answer(0, other, &mut bytes),
    }
    Bytes::from(bytes)
}

/// Reads what [`memory_of`] has written, on this node or on another. What another release has
/// written in a form of its own can't be told again, nor what never came of `operation`.
pub(super) fn remembered(bytes: &[u8], operation: &Operation<'_>) -> Outcome<'static> {
    let answer = decode_answer(bytes).map(|answer| answer.outcome).ok();
    let answer = answer.filter(|outcome| outcome.can_come_of(operation));
    answer.unwrap_or(Outcome::Failed(Failure::Unknown))
}

impl Shard {
    /// Answers a request that was carried out before. `None` if the answer has to wait.
    pub(in crate::shard) fn answer_again(
        &mut self,
        now: Now,
        caller: &Caller,
        command: Command<'_>,
        repeated: Repeated,
        present: Option<Place>,
    ) -> Option<Outcome<'static>> {
        let outcome = match repeated.outcome {
            Outcome::Item(item) => self.told_again(item, present),
            other => other,
        };
        let Some(after) = repeated.after else {
            return Some(outcome);
        };
        self.hold_outcome(now, caller, command, Until::Position(after), outcome);
        None
    }

    /// An item as it was told before. If it has changed since, its value then is not known any
    /// more, and a client must not take another one for it.
    fn told_again(&mut self, item: Item<'static>, present: Option<Place>) -> Outcome<'static> {
        let view = present.map(|place| self.cache.view(place));
        if let Some(view) = view.filter(|view| view.fields.cas == item.cas) {
            let value = view.value();
            return owned(&Outcome::Item(Item { value, ..item }));
        }
        if let Some(replicas) = &mut self.replicas {
            replicas.figures.unknown += 1;
        }
        Outcome::Failed(Failure::Unknown)
    }

    /// Keeps an answer until it may leave.
    pub(super) fn hold_outcome(
        &mut self,
        now: Now,
        caller: &Caller,
        command: Command<'_>,
        until: Until,
        outcome: Outcome<'static>,
    ) {
        let Some(replicas) = &mut self.replicas else {
            return;
        };
        let buffer = replicas.buffers.take();
        let Command {
            hash,
            key,
            operation,
        } = command;
        let command = match until {
            // It is never asked again from here: only its place matters.
            Until::Acknowledged(_) => OwnedCommand::new(buffer, hash, &[], &Operation::Inspect),
            Until::Position(_) | Until::Confirmed(_) => {
                OwnedCommand::new(buffer, hash, key, operation)
            }
        };
        let held = Held {
            caller: *caller,
            until,
            outcome,
            command,
            passed: false,
            by: now.time.plus_millis(HELD_MS_MAX),
        };
        replicas.slot_mut(hash.partition()).held.push_back(held);
    }

    /// Carries out what a replica wants done.
    pub(super) fn carry_out(
        &mut self,
        now: Now,
        partition: u16,
        out: &mut Output,
        sink: &mut impl Sink,
    ) {
        for (to, message) in out.messages.drain(..) {
            sink.replicate(to, partition, &message);
        }
        let mut closed = false;
        for event in out.events.drain(..) {
            closed |= matches!(event, Event::Closed { .. });
            self.note_event(now, partition, event, sink);
        }
        let settled = out.acknowledged.is_some() || out.unknown.is_some();
        if closed || settled || out.committed.is_some() || out.confirmed.is_some() {
            self.release(now, partition, out, closed, sink);
        }
    }

    fn note_event(&mut self, now: Now, partition: u16, event: Event, sink: &mut impl Sink) {
        let Some(replicas) = &mut self.replicas else {
            return;
        };
        match event {
            Event::Opened { record, version } => {
                let me = replicas.me;
                let before = replicas.slot_mut(partition).primary.replace(me);
                let is_other = before.is_some_and(|node| node != me);
                replicas.figures.taken_over += u64::from(is_other);
                self.clock.advance_past(version);
                sink.route(partition, record.term);
            }
            Event::DrawAbove { version } => self.clock.advance_past(version),
            Event::Primary { term } => {
                replicas.slot_mut(partition).primary = Some(term.node);
                sink.route(partition, term);
            }
            Event::Forced { .. } => {
                replicas.figures.forced += 1;
                if replicas.forced_told.is_due(now.time) {
                    sink.notice(forced_notice(partition));
                }
            }
            Event::Recovered { .. } => {
                replicas.figures.recovered += 1;
                if replicas.recovered_told.is_due(now.time) {
                    sink.notice(recovered_notice(partition));
                }
            }
            Event::Keep {
                promised,
                record,
                synced,
            } => self.keep_record(partition, promised, record.as_ref(), synced),
            Event::Closed { .. } | Event::Stale | Event::Joined { .. } | Event::Surplus => {}
        }
    }

    /// Lets answers go that may, and gives up those that never may.
    fn release(
        &mut self,
        now: Now,
        partition: u16,
        out: &Output,
        closed: bool,
        sink: &mut impl Sink,
    ) {
        let Some(replicas) = &mut self.replicas else {
            return;
        };
        let mut all = core::mem::take(&mut replicas.slot_mut(partition).held);
        let mut again = Vec::new();
        while let Some(held) = all.pop_front() {
            match held.until {
                Until::Acknowledged(number) if out.acknowledged >= Some(number) => {
                    self.note_passed(&held);
                    self.let_go(held, sink);
                }
                Until::Acknowledged(number) if out.unknown >= Some(number) => {
                    self.note_passed(&held);
                    self.give_up(held, sink);
                }
                Until::Position(_) | Until::Confirmed(_) if closed => {
                    let passed = |later: &Held| later.is_write() && later.follows(&held);
                    match held.passed || all.iter().any(passed) {
                        true => self.give_up_reading(held, sink),
                        false => again.push(held),
                    }
                }
                Until::Position(position) if out.committed >= Some(position) => {
                    self.confirm(now, held, sink);
                }
                Until::Confirmed(at) if out.confirmed >= Some(at) => self.let_go(held, sink),
                Until::Acknowledged(_) | Until::Position(_) | Until::Confirmed(_) => {
                    if let Some(replicas) = &mut self.replicas {
                        replicas.slot_mut(partition).held.push_back(held);
                    }
                }
            }
        }
        // Each goes to the front of its queue, or behind the one before it to another node.
        if self.elsewhere(partition).is_none() {
            again.reverse();
        }
        for held in again {
            self.ask_again(now, held, sink);
        }
    }

    /// Answers what has been held for too long.
    pub(in crate::shard) fn give_up_held(&mut self, now: Now, sink: &mut impl Sink) {
        let Some(replicas) = &mut self.replicas else {
            return;
        };
        for slot in replicas
            .slots
            .iter_mut()
            .filter(|slot| !slot.held.is_empty())
        {
            let overdue = |held: &mut Held| held.by <= now.time;
            while let Some(held) = slot.held.pop_front_if(overdue) {
                let failure = held.unanswered();
                replicas.figures.unknown += u64::from(failure == Failure::Unknown);
                sink.answer(held.caller.token, Outcome::Failed(failure));
                replicas.buffers.recycle(held.command);
            }
        }
    }

    /// A write is answered: readings that its sender has asked for before it, and that wait on, can't
    /// be taken again.
    fn note_passed(&mut self, write: &Held) {
        let Some(replicas) = &mut self.replicas else {
            return;
        };
        let slot = replicas.slot_mut(write.command.hash.partition());
        for held in slot.held.iter_mut().filter(|held| write.follows(held)) {
            held.passed = true;
        }
    }

    /// A reading that was never certain can't be taken again: its sender's next commands have been
    /// carried out, and it would see what they have done.
    fn give_up_reading(&mut self, held: Held, sink: &mut impl Sink) {
        let failure = held.unanswered();
        sink.answer(held.caller.token, Outcome::Failed(failure));
        if let Some(replicas) = &mut self.replicas {
            replicas.figures.unknown += u64::from(failure == Failure::Unknown);
            replicas.buffers.recycle(held.command);
        }
    }

    fn let_go(&mut self, held: Held, sink: &mut impl Sink) {
        self.remember_negative(&held);
        sink.answer(held.caller.token, held.outcome);
        if let Some(replicas) = &mut self.replicas {
            replicas.buffers.recycle(held.command);
        }
    }

    /// A negative answer that leaves stays the answer.
    fn remember_negative(&mut self, held: &Held) {
        let may_change = !held.is_write() && held.command.operation().may_change();
        let (Some(id), Some(replicas)) = (held.caller.request_id(), &mut self.replicas) else {
            return;
        };
        let partition = held.command.hash.partition();
        if may_change && let Some(replica) = &mut replicas.slot_mut(partition).replica {
            let answer = memory_of(&held.outcome);
            replica.note_negative(&Request { id, answer });
        }
    }

    /// What a reading showed is everywhere by now: but was this node still primary? If it is now,
    /// it was.
    fn confirm(&mut self, now: Now, held: Held, sink: &mut impl Sink) {
        let partition = held.command.hash.partition();
        let mut holds = false;
        self.with_replica(now, partition, sink, |slot, context, _, _| {
            let replica = slot.as_mut();
            holds = replica.is_some_and(|replica| replica.confirm(context.now, context.out));
        });
        if holds {
            return self.let_go(held, sink);
        }
        let until = Until::Confirmed(now.time);
        if let Some(replicas) = &mut self.replicas {
            let held = Held { until, ..held };
            replicas.slot_mut(partition).held.push_back(held);
        }
    }

    /// The write may come about, or not. Another node that has forwarded it asks again by its
    /// name; for a client of this one it can't be said.
    fn give_up(&mut self, held: Held, sink: &mut impl Sink) {
        let partition = held.command.hash.partition();
        let hint = self.elsewhere(partition).flatten();
        let Some(replicas) = &mut self.replicas else {
            return;
        };
        let Some(visit) = held.caller.visit else {
            replicas.figures.unknown += 1;
            sink.answer(held.caller.token, Outcome::Failed(Failure::Unknown));
            return;
        };
        let epoch = visit.attempt.epoch;
        replicas.refused.note(visit.origin, partition, epoch);
        let operation = held.command.operation();
        let command = Command {
            hash: held.command.hash,
            key: held.command.key(),
            operation: &operation,
        };
        sink.refuse(&held.caller, command, hint);
    }

    /// A reading that was never certain is taken again: later, or elsewhere.
    fn ask_again(&mut self, now: Now, held: Held, sink: &mut impl Sink) {
        let hash = held.command.hash;
        let operation = held.command.operation();
        let key = held.command.key();
        if let Some(hint) = self.elsewhere(hash.partition()) {
            self.note_refused(&held.caller, hash.partition());
            let command = Command {
                hash,
                key,
                operation: &operation,
            };
            sink.refuse(&held.caller, command, hint);
            return;
        }
        if let Some(slot) = self.waits.behind(hash) {
            self.waits.push_front(slot, &held.caller, key, &operation);
            return;
        }
        let slot = self.waits.begin(hash);
        self.waits.push(slot, &held.caller, key, &operation);
        self.waits.stall(slot, now.time.plus_millis(WAIT_MS_MAX));
    }
}
