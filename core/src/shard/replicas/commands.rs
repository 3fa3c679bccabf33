//! Commands of partitions that have replicas.
//!
//! Decides whether a command is carried out here and now, what of it is replicated, and what its
//! answer waits for. Refuses to know what commands do and how replicas agree.

use super::answers::{memory_of, remembered};
use super::{Until, WAIT_MS_MAX};
use crate::cache::Place;
use crate::command::{Failure, Fetch, Operation, Outcome};
use crate::hash::KeyHash;
use crate::message::{Caller, owned};
use crate::planted::{self, Bug};
use crate::replication::{Admission, Output, Reading, Refused, Replica, Request, Term};
use crate::shard::{Applied, Command, Execution, Shard, Sink, is_write};
use crate::time::Now;

/// Whether a command is carried out here and now.
enum Gate {
    Open,
    /// Not before something has happened.
    Wait,
    /// The primary is elsewhere, perhaps there.
    Refused(Option<Term>),
    /// It was carried out before.
    Answered(Repeated),
}

/// The answer to a request that has come again.
pub(in crate::shard) struct Repeated {
    pub(super) outcome: Outcome<'static>,
    /// It may leave once everything up to here is everywhere.
    pub(super) after: Option<u64>,
}

/// What becomes of the answer to a command that has been carried out.
enum Verdict {
    Now,
    Held,
    Refused(Option<Term>),
}

impl Shard {
    /// Carries out a command where this node is primary, or takes it to be carried out later.
    #[inline(never)]
    pub(in crate::shard) fn execute_replicated(
        &mut self,
        now: Now,
        caller: &Caller,
        command: Command<'_>,
        present: Option<Place>,
        sink: &mut impl Sink,
    ) -> Execution<'_> {
        let Command {
            hash,
            key,
            operation,
        } = command;
        let mut wait_ms = self.must_wait(now, operation).then(|| self.stall_ms_max());
        match self.admit(caller, hash, operation) {
            Gate::Open => {}
            Gate::Wait => wait_ms = Some(WAIT_MS_MAX),
            Gate::Refused(hint) => return Execution::Refused(hint),
            Gate::Answered(repeated) => {
                let done = self.answer_again(now, caller, command, repeated, present);
                return done.map_or(Execution::Deferred, Execution::Done);
            }
        }
        if let Some(wait_ms) = wait_ms {
            self.stall(now, caller, hash, key, operation, wait_ms);
            return Execution::Deferred;
        }
        self.finish_replicated(now, caller, command, present, sink)
    }

    /// Whether a command is carried out here and now.
    fn admit(&mut self, caller: &Caller, hash: KeyHash, operation: &Operation<'_>) -> Gate {
        if caller.token.is_none() {
            // The shard's own, on its way to what only the disk has.
            return Gate::Open;
        }
        let partition = hash.partition();
        if planted::has(Bug::ReadElsewhere) && !operation.may_change() {
            return Gate::Open;
        }
        if let Some(hint) = self.elsewhere(partition) {
            return self.turn_away(caller, partition, hint);
        }
        let Some(replicas) = &mut self.replicas else {
            return Gate::Wait;
        };
        if let Some(visit) = caller.visit
            && replicas
                .refused
                .covers(visit.origin, partition, visit.attempt.epoch)
            && !planted::has(Bug::IgnoreRefusedEpoch)
        {
            let hint = replicas.replica(partition).and_then(Replica::primary_hint);
            return Gate::Refused(hint);
        }
        if !operation.may_change() && replicas.is_primary(partition) {
            return Gate::Open;
        }
        let Some(replica) = replicas.replica(partition) else {
            return Gate::Refused(None);
        };
        if !replica.is_open() {
            replicas.figures.waited += 1;
            return Gate::Wait;
        }
        if !operation.may_change() {
            return Gate::Open;
        }
        let id = caller.request_id();
        let id = id.filter(|_| !planted::has(Bug::ForgetRequests));
        let refused = match id.zip(caller.visit) {
            None => replica.may_write().err(),
            Some((id, visit)) => {
                let counter = visit.attempt.term;
                let node = replicas.me;
                let term = Some(Term { counter, node });
                match replica.admit(id, visit.attempt.since, term) {
                    Admission::Execute => None,
                    Admission::Done { answer, after } => {
                        replicas.figures.repeated += 1;
                        let outcome = remembered(&answer, operation);
                        return Gate::Answered(Repeated { outcome, after });
                    }
                    Admission::Forgotten => {
                        replicas.figures.unknown += 1;
                        return Gate::Answered(Repeated::unknown());
                    }
                    Admission::Refused(refused) => Some(refused),
                }
            }
        };
        match refused {
            None => Gate::Open,
            Some(Refused::NotPrimary(_)) => self.turn_away(caller, partition, None),
            Some(Refused::OtherTerm(term)) => self.turn_away(caller, partition, Some(term)),
            // A meta get hands out no token while that could not be replicated.
            Some(Refused::Busy | Refused::TooFewInSync) if !is_write(operation) => Gate::Open,
            Some(Refused::Busy | Refused::TooFewInSync) => {
                replicas.figures.waited += 1;
                Gate::Wait
            }
        }
    }

    /// Has a command go elsewhere, and all that its sender has sent behind it.
    fn turn_away(&mut self, caller: &Caller, partition: u16, hint: Option<Term>) -> Gate {
        self.note_refused(caller, partition);
        Gate::Refused(hint)
    }

    /// Nothing of `partition` is carried out any more that this one's sender has sent behind it.
    pub(super) fn note_refused(&mut self, caller: &Caller, partition: u16) {
        if let (Some(visit), Some(replicas)) = (caller.visit, &mut self.replicas) {
            let epoch = visit.attempt.epoch;
            replicas.refused.note(visit.origin, partition, epoch);
        }
    }

    /// The same for a command that has waited. `None` if it is done with; otherwise whether it has
    /// to wait on.
    pub(in crate::shard) fn admit_waiting(
        &mut self,
        now: Now,
        caller: &Caller,
        command: Command<'_>,
        present: Option<Place>,
        sink: &mut impl Sink,
    ) -> Option<bool> {
        match self.admit(caller, command.hash, command.operation) {
            Gate::Open => return Some(false),
            Gate::Wait => return Some(true),
            Gate::Refused(hint) => sink.refuse(caller, command, hint),
            Gate::Answered(repeated) => {
                let done = self.answer_again(now, caller, command, repeated, present);
                if let Some(outcome) = done {
                    sink.answer(caller.token, outcome);
                }
            }
        }
        None
    }

    /// This node is not primary any more: what waits here for the disk or for a flush goes where it
    /// is carried out, before anything that its senders have sent behind it.
    pub(super) fn turn_away_waiting(&mut self, now: Now, partition: u16, sink: &mut impl Sink) {
        for pending in self.waits.take_of(partition) {
            let operation = pending.command.operation();
            let command = Command {
                hash: pending.command.hash,
                key: pending.command.key(),
                operation: &operation,
            };
            let waits = self.admit_waiting(now, &pending.caller, command, None, sink);
            assert!(waits.is_none(), "it is not carried out here");
            drop(operation);
            self.waits.recycle(pending);
        }
    }

    /// Whether a command that may change something may do so: a meta get otherwise only reads.
    fn may_hand_out(&self, partition: u16) -> bool {
        let replica = self.replicas.as_ref().and_then(|it| it.replica(partition));
        replica.is_none_or(|replica| replica.may_write().is_ok())
    }

    /// The operation as it may be carried out at this moment.
    fn restrained<'a>(&self, partition: u16, operation: &Operation<'a>) -> Option<Operation<'a>> {
        match operation {
            Operation::Fetch(fetch)
                if fetch.meta && !is_write(operation) && !self.may_hand_out(partition) =>
            {
                let meta = false;
                Some(Operation::Fetch(Fetch { meta, ..*fetch }))
            }
            _ => None,
        }
    }

    /// Replicates what a command has done, and finds out when its answer may leave.
    pub(in crate::shard) fn finish_replicated(
        &mut self,
        now: Now,
        caller: &Caller,
        command: Command<'_>,
        present: Option<Place>,
        sink: &mut impl Sink,
    ) -> Execution<'_> {
        let Command {
            hash,
            key,
            operation,
        } = command;
        let restrained = self.restrained(hash.partition(), operation);
        let operation = restrained.as_ref().unwrap_or(operation);
        let command = Command {
            hash,
            key,
            operation,
        };
        self.changed = false;
        let applied = self.apply(now, hash, key, operation, present);
        // Looking at the item once more is what a reading that another node has sent is spared.
        let outcome = |cache| match &applied {
            Applied::Met(met) => Outcome::Item(met.item(cache)),
            Applied::Plain(outcome) => crate::message::plain(outcome),
        };
        // What another node has sent here counts there.
        if caller.visit.is_none() {
            let outcome = outcome(&self.cache);
            self.figures.count(command.key, command.operation, &outcome);
        }
        let answer = caller
            .request_id()
            .filter(|_| command.operation.may_change())
            .map(|id| Request {
                id,
                answer: memory_of(&outcome(&self.cache)),
            });
        if caller.token.is_none() {
            return Execution::Done(Outcome::NotFound);
        }
        let changed = self.changed || self.leaves_doubt(command.operation, &applied);
        let forgets =
            planted::has(Bug::KeepDeletes) && matches!(command.operation, Operation::Delete(_));
        let changed = changed && !forgets;
        let verdict = if changed {
            self.propose(now, caller, command, answer, &applied, sink)
        } else {
            self.take_reading(now, caller, command, answer.as_ref(), &applied, sink)
        };
        match verdict {
            Verdict::Held => Execution::Deferred,
            Verdict::Refused(hint) => Execution::Refused(hint),
            Verdict::Now => Execution::Done(match applied {
                Applied::Met(met) => Outcome::Item(met.item(&self.cache)),
                Applied::Plain(outcome) => outcome,
            }),
        }
    }

    /// Whether another replica may have what a delete has not found here: this one may have
    /// evicted it, and the deletion has to reach it all the same.
    fn leaves_doubt(&self, operation: &Operation<'_>, applied: &Applied) -> bool {
        matches!(operation, Operation::Delete(_))
            && matches!(applied, Applied::Plain(Outcome::NotFound))
            && self.persist.is_none()
            && self.cache.figures().evictions > 0
    }

    fn propose(
        &mut self,
        now: Now,
        caller: &Caller,
        command: Command<'_>,
        request: Option<Request>,
        applied: &Applied,
        sink: &mut impl Sink,
    ) -> Verdict {
        let partition = command.hash.partition();
        let mut entry = self.entry_of(now, command.hash, command.key);
        entry.request = request;
        let Some(replicas) = &mut self.replicas else {
            return Verdict::Now;
        };
        let mut out = core::mem::take(&mut replicas.output);
        let Some(replica) = &mut replicas.slot_mut(partition).replica else {
            unreachable!("a command was admitted");
        };
        let number = replica.propose(now.time, entry, &mut out);
        replicas.note_change(partition);
        let done = out.acknowledged >= Some(number) || planted::has(Bug::AnswerUnacknowledged);
        if !done {
            self.hold(now, caller, command, Until::Acknowledged(number), applied);
        }
        self.carry_out(now, partition, &mut out, sink);
        self.give_output_back(out);
        if done { Verdict::Now } else { Verdict::Held }
    }

    fn take_reading(
        &mut self,
        now: Now,
        caller: &Caller,
        command: Command<'_>,
        request: Option<&Request>,
        applied: &Applied,
        sink: &mut impl Sink,
    ) -> Verdict {
        let partition = command.hash.partition();
        let Some(replicas) = &mut self.replicas else {
            return Verdict::Now;
        };
        let may_read = replicas.may_read(partition, now.time);
        let may_read = may_read || planted::has(Bug::ReadUnasked);
        if may_read && request.is_none() {
            return Verdict::Now;
        }
        let mut out = core::mem::take(&mut replicas.output);
        let Some(replica) = &mut replicas.slot_mut(partition).replica else {
            unreachable!("a command was admitted");
        };
        let reading = match may_read {
            true => Reading::Now,
            false => replica.read(now.time, command.key, &mut out),
        };
        // What is held may have to be taken again, and is not remembered before it leaves.
        if let Some(request) = request
            && matches!(reading, Reading::Now)
        {
            replica.note_negative(request);
        }
        if matches!(reading, Reading::Now) && out.messages.is_empty() {
            replicas.output = out;
            return Verdict::Now;
        }
        replicas.note_change(partition);
        let until = match reading {
            Reading::Now => None,
            Reading::AfterPosition(position) => Some(Until::Position(position)),
            Reading::AfterConfirmation => Some(Until::Confirmed(now.time)),
            Reading::Refused(_) if planted::has(Bug::ReadElsewhere) => None,
            Reading::Refused(_) => {
                self.give_output_back(out);
                self.note_refused(caller, partition);
                return Verdict::Refused(self.elsewhere(partition).flatten());
            }
        };
        if let Some(until) = until {
            self.hold(now, caller, command, until, applied);
        }
        self.carry_out(now, partition, &mut out, sink);
        self.give_output_back(out);
        match until {
            Some(_) => Verdict::Held,
            None => Verdict::Now,
        }
    }

    pub(super) fn give_output_back(&mut self, mut out: Output) {
        out.clear();
        if let Some(replicas) = &mut self.replicas {
            replicas.output = out;
        }
    }

    fn hold(
        &mut self,
        now: Now,
        caller: &Caller,
        command: Command<'_>,
        until: Until,
        applied: &Applied,
    ) {
        let outcome = match applied {
            Applied::Met(met) => owned(&Outcome::Item(met.item(&self.cache))),
            Applied::Plain(outcome) => owned(outcome),
        };
        self.hold_outcome(now, caller, command, until, outcome);
    }
}

impl Repeated {
    const fn unknown() -> Self {
        Self {
            outcome: Outcome::Failed(Failure::Unknown),
            after: None,
        }
    }
}
