//! Carrying out what sessions bring: the loop from bytes to requests and on to a shard.
//!
//! Decides which shard a request goes to, and when a session must wait. Refuses to know how
//! requests look on the wire.

use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::cache::allocation_bytes;
use crate::command::{Delete, Fetch, Operation, Outcome, Value};
use crate::hash::KeyHash;
use crate::id::{ConnId, WorkerId};
use crate::machine::Actions;
use crate::message::{self, Caller, CarriedRequest, NOBODY, Parcel, Token};
use crate::protocol::{self, ErrorLine, KeyBuffer, Refusal, Request, Then};
use crate::session::output::Buffers;
use crate::session::{Incoming, Keys, Rendering, Session, Step, Words};
use crate::shard::{Execution, Sink as _};
use crate::time::Now;

use super::routing::{Router, command};
use super::visits::APPROACHED_MAX;
use super::{Links, Worker};

/// Whether a session goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// With the bytes that follow.
    On(usize),
    /// Not before something has happened; nothing has been consumed.
    Wait,
    /// Not without more bytes.
    Need,
}

/// An outcome that may be said at once, and what saying it needs.
struct Said<'a> {
    session: &'a mut Session,
    rendering: &'a Rendering<'a>,
    buffers: &'a mut Buffers,
    outcome: Outcome<'a>,
}

impl Worker {
    pub(super) fn handle_received(
        &mut self,
        now: Now,
        conn: ConnId,
        bytes: &[u8],
        actions: &mut Actions,
    ) {
        self.links.figures.bytes_read += bytes.len() as u64;
        let Some(session) = self.links.session(conn) else {
            self.links.figures.stale_events += 1;
            return;
        };
        session.active_at = now.time;
        if session.pending.is_empty() && !session.paused {
            let consumed = self.drive(now, conn, bytes, actions);
            if consumed < bytes.len() {
                let mut pending = self.links.buffers.take();
                pending.extend_from_slice(&bytes[consumed..]);
                self.settle(conn, pending, actions);
            } else {
                self.settle(conn, Vec::new(), actions);
            }
            return;
        }
        session.pending.extend_from_slice(bytes);
        self.advance(now, conn, actions);
    }

    /// Goes on with input that is already here.
    fn advance(&mut self, now: Now, conn: ConnId, actions: &mut Actions) {
        let Some(session) = self.links.session(conn) else {
            return;
        };
        let mut pending = core::mem::take(&mut session.pending);
        let consumed = self.drive(now, conn, &pending, actions);
        pending.drain(..consumed);
        self.settle(conn, pending, actions);
    }

    /// Keeps what is left of the input, and sees whether the session pauses, resumes or ends.
    fn settle(&mut self, conn: ConnId, pending: Vec<u8>, actions: &mut Actions) {
        let limits = self.settings.limits;
        let stopping = self.links.stopping;
        let Some(session) = self.links.session(conn) else {
            self.links.buffers.give(pending);
            return;
        };
        let blocked =
            stopping || session.is_full(&limits) || session.draining || session.awaiting_memory;
        let blocked = blocked || (session.paused && !session.has_room(&limits));
        let stuck = blocked && !session.finishing;
        if stuck != session.paused {
            session.paused = stuck;
            note_paused(actions, conn, stuck);
        }
        if session.finished && !stuck {
            session.finish();
        }
        let unsent = !session.output.is_empty();
        let over = session.finishing && session.is_drained();
        if pending.is_empty() {
            self.links.buffers.give(pending);
        } else {
            session.pending = pending;
        }
        if over {
            self.drop_session(conn);
            actions.close.push(conn);
        } else if unsent {
            actions.write.push(conn);
        }
    }

    /// Goes on with every session that has something to go on with.
    pub(super) fn drive_runnable(&mut self, now: Now, actions: &mut Actions) {
        let mut runnable = core::mem::take(&mut self.links.runnable);
        for conn in runnable.drain(..) {
            if let Some(session) = self.links.session(conn) {
                session.runnable = false;
                self.advance(now, conn, actions);
            }
        }
        // What became runnable meanwhile waits for the next turn; its list is kept.
        if self.links.runnable.is_empty() {
            self.links.runnable = runnable;
        }
    }

    /// Carries out as much of `input` as may be, and returns how many bytes that were.
    fn drive(&mut self, now: Now, conn: ConnId, input: &[u8], actions: &mut Actions) -> usize {
        let limits = self.settings.limits;
        let parse_limits = self.links.parse_limits;
        let mut consumed = 0;
        loop {
            if !self.may_go_on(conn) {
                return consumed;
            }
            let rest = &input[consumed..];
            let Some(session) = self.links.session(conn) else {
                return input.len();
            };
            let step = session.next(rest, now, &limits, &parse_limits);
            match self.take_step(now, conn, step, actions) {
                Flow::On(bytes) => consumed += bytes,
                Flow::Wait | Flow::Need => return consumed,
            }
        }
    }

    /// Whether the session may carry out one more command.
    #[inline]
    fn may_go_on(&mut self, conn: ConnId) -> bool {
        let limits = self.settings.limits;
        let links = &mut self.links;
        if links.stopping {
            return false;
        }
        if !links.outbox.has_credit() || !self.cluster.has_room() {
            links.figures.credit_waits += 1;
            if let Some(session) = links.session(conn) {
                session.draining = true;
            }
            if !links.awaiting_credit.contains(&conn) {
                links.awaiting_credit.push(conn);
            }
            return false;
        }
        let Some(session) = links.session(conn) else {
            return false;
        };
        if session.awaiting_memory {
            return false;
        }
        if session.draining {
            if session.unanswered() > 0 {
                return false;
            }
            session.draining = false;
        }
        if session.paused {
            return session.has_room(&limits);
        }
        !session.is_full(&limits)
    }

    fn take_step(&mut self, now: Now, conn: ConnId, step: Step<'_>, actions: &mut Actions) -> Flow {
        match step {
            Step::Need => Flow::Need,
            Step::Skip(bytes) => Flow::On(bytes),
            Step::Key { consumed, key } => {
                self.perform_key(now, conn, key, actions);
                Flow::On(consumed)
            }
            Step::KeysEnd { consumed } => {
                self.with_session(conn, |session, rendering, buffers| {
                    session.finish_keys(now, rendering, buffers);
                });
                Flow::On(consumed)
            }
            Step::KeysRefused { consumed } => {
                self.say(conn, ErrorLine::BadFormat.as_bytes());
                Flow::On(consumed)
            }
            Step::Refused { consumed, refusal } => {
                self.refuse(now, conn, &refusal, actions);
                Flow::On(consumed)
            }
            Step::Command {
                consumed,
                line,
                request,
                data,
            } => self.perform(now, conn, consumed, line, &request, data, actions),
            Step::Announced {
                consumed,
                line,
                value_bytes,
            } => self.announce(now, conn, consumed, line, value_bytes, actions),
            Step::Arrived { consumed, incoming } => {
                self.perform_arrived(now, conn, *incoming, actions);
                Flow::On(consumed)
            }

            Step::Close => {
                if let Some(session) = self.links.session(conn) {
                    session.finish();
                    session.finished = true;
                }
                Flow::Need
            }
        }
    }

    /// Runs `with` on a session together with what rendering needs.
    pub(super) fn with_session<T>(
        &mut self,
        conn: ConnId,
        with: impl FnOnce(&mut Session, &Rendering<'_>, &mut Buffers) -> T,
    ) -> Option<T> {
        let links = &mut self.links;
        let rendering = Links::rendering(&links.settings, &links.parse_limits);
        let session = links
            .sessions
            .get_mut(conn.slot as usize)
            .and_then(Option::as_mut)
            .filter(|session| session.conn == conn)?;
        Some(with(session, &rendering, &mut links.buffers))
    }

    /// Says `text` on a connection, in its turn.
    pub(super) fn say(&mut self, conn: ConnId, text: &[u8]) {
        self.with_session(conn, |session, _, buffers| session.say(text, buffers));
    }

    /// Carries out one complete command.
    #[allow(
        clippy::too_many_arguments,
        reason = "the parts of one step, as they come"
    )]
    fn perform(
        &mut self,
        now: Now,
        conn: ConnId,
        consumed: usize,
        line: &[u8],
        request: &Request<'_>,
        data: &[u8],
        actions: &mut Actions,
    ) -> Flow {
        match request {
            Request::Get(get) => {
                let keys = Keys {
                    with_cas: get.with_cas,
                    touch: get.touch,
                    located: get.located,
                };
                let mut tokens = get.keys();
                if let (Some(key), None) = (tokens.next(), tokens.next()) {
                    self.perform_only_key(now, conn, keys, key, actions);
                    return Flow::On(consumed);
                }
                let Some(session) = self.links.session(conn) else {
                    return Flow::Need;
                };
                session.begin_keys(keys, now);
                // The keys are carried out one by one, from where they stand in the input.
                Flow::On(line.len() - get.keys_bytes())
            }
            Request::Store(store) => {
                let operation = store.operation(Value::Small(data));
                let mut buffer = KeyBuffer::default();
                let key = store.key.bytes(&mut buffer);
                self.perform_line(now, conn, line, request, key, &operation, actions);
                Flow::On(consumed)
            }
            Request::Key(command) => {
                let mut buffer = KeyBuffer::default();
                let key = command.key.bytes(&mut buffer);
                let operation = &command.operation;
                self.perform_line(now, conn, line, request, key, operation, actions);
                Flow::On(consumed)
            }
            other => self.perform_global(now, conn, consumed, other, actions),
        }
    }

    /// Sends one command of one key to its shard, and its answer to its place.
    #[allow(
        clippy::too_many_arguments,
        reason = "the parts of one command, as they come"
    )]
    #[inline]
    fn perform_line(
        &mut self,
        now: Now,
        conn: ConnId,
        line: &[u8],
        request: &Request<'_>,
        key: &[u8],
        operation: &Operation<'_>,
        actions: &mut Actions,
    ) {
        let place = (Words::Line, line);
        self.perform_one(now, conn, key, operation, place, actions, |said| {
            said.session.output.prepare(said.buffers);
            let output = &mut said.session.output;
            said.rendering
                .render(request, &said.outcome, now.time, now, output);
        });
    }

    /// Has one command of one key carried out by the worker that has the key. An answer that is
    /// there at once and next in order goes to `say`; any other waits in a slot of this `place`:
    /// its words, and what they need to know of the command.
    #[allow(
        clippy::too_many_arguments,
        reason = "the parts of one command, as they come"
    )]
    #[inline]
    fn perform_one(
        &mut self,
        now: Now,
        conn: ConnId,
        key: &[u8],
        operation: &Operation<'_>,
        (words, context): (Words, &[u8]),
        actions: &mut Actions,
        say: impl FnOnce(Said<'_>),
    ) {
        let hash = KeyHash::of(key);
        let target = self.worker_of(hash);
        let Some(session) = self.links.session(conn) else {
            return;
        };
        let token = Token {
            worker: self.id,
            conn,
            sequence: session.next_sequence(),
        };
        if target != self.id {
            self.with_session(conn, |session, _, buffers| {
                session.reserve(words, context, now, buffers);
            });
            self.forward(target, token, hash, key, operation);
            return;
        }
        if self.cluster.remote.is_some()
            && let Some(hint) = self.elsewhere(hash.partition())
        {
            self.with_session(conn, |session, _, buffers| {
                session.reserve(words, context, now, buffers);
            });
            self.forward_command(now, token, command(hash, key, operation), hint);
            return;
        }
        let mut router = Router {
            links: &mut self.links,
            cluster: &mut self.cluster,
            actions,
            now,
        };
        let caller = Caller::from(token);
        let execution = self
            .shard
            .execute(now, &caller, hash, key, operation, &mut router);
        let links = &mut self.links;
        let rendering = Links::rendering(&links.settings, &links.parse_limits);
        let buffers = &mut links.buffers;
        let session = links.sessions[conn.slot as usize]
            .as_mut()
            .expect("executing a command closes no connection");
        match execution {
            Execution::Done(outcome) if session.is_in_order() => say(Said {
                session,
                rendering: &rendering,
                buffers,
                outcome,
            }),
            Execution::Done(outcome) => {
                session.answer_behind(words, context, &outcome, now, &rendering, buffers);
            }
            Execution::Deferred => {
                session.reserve(words, context, now, buffers);
            }
            Execution::Refused(hint) => {
                session.reserve(words, context, now, buffers);
                self.forward_command(now, token, command(hash, key, operation), hint);
            }
        }
    }

    /// Carries out a get of one key, the commonest command of all.
    fn perform_only_key(
        &mut self,
        now: Now,
        conn: ConnId,
        keys: Keys,
        key: &[u8],
        actions: &mut Actions,
    ) {
        if let Some(session) = self.links.session(conn) {
            session.set_keys(keys, now);
        }
        self.perform_key(now, conn, key, actions);
        self.with_session(conn, |session, rendering, buffers| {
            session.finish_keys(now, rendering, buffers);
        });
    }

    /// Looks up one key of the get under way.
    #[inline]
    fn perform_key(&mut self, now: Now, conn: ConnId, key: &[u8], actions: &mut Actions) {
        let Some(session) = self.links.session(conn) else {
            return;
        };
        let Keys {
            with_cas, touch, ..
        } = session.keys;
        let operation = Operation::Fetch(Fetch {
            touch,
            ..Fetch::default()
        });
        let place = (Words::Value { with_cas }, key);
        self.perform_one(
            now,
            conn,
            key,
            &operation,
            place,
            actions,
            |said| match said.outcome {
                Outcome::Item(item) => {
                    said.session.note_own_key();
                    said.session.output.prepare(said.buffers);
                    protocol::render_value(&mut said.session.output, key, with_cas, &item);
                }
                Outcome::Failed(failure) => said.session.note_key_failure(failure),
                _ => said.session.note_own_key(),
            },
        );
    }

    /// The worker whose shard has the key.
    #[inline]
    pub(super) fn worker_of(&self, hash: KeyHash) -> WorkerId {
        WorkerId(hash.partition() % self.settings.workers)
    }

    fn forward(
        &mut self,
        target: WorkerId,
        token: Token,
        hash: KeyHash,
        key: &[u8],
        operation: &Operation<'_>,
    ) {
        self.links.outbox.spend(target);
        let parcel = self.links.outbox.parcel(target);
        parcel.push_request(token, None, hash, key, operation);
    }

    /// Takes another worker's requests and answers of one turn.
    pub(super) fn handle_parcel(
        &mut self,
        now: Now,
        from: WorkerId,
        parcel: Box<Parcel>,
        actions: &mut Actions,
    ) {
        for requests in parcel.requests.chunks(APPROACHED_MAX) {
            let mut hashes = [KeyHash::default(); APPROACHED_MAX];
            for (hash, request) in hashes.iter_mut().zip(requests) {
                *hash = request.hash;
            }
            if requests.len() > 1 {
                self.shard.cache.approach(&hashes[..requests.len()]);
            }
            for request in requests {
                self.perform_carried(now, from, &parcel, request, actions);
            }
        }
        for (token, holder) in parcel.holders() {
            self.links.note_holder(*token, holder);
        }
        for answer in &parcel.answers {
            let mut router = self.router(now, actions);
            match parcel.refusal(answer) {
                Some(refusal) => router.deliver_refusal(answer.token, refusal),
                None => router.deliver(answer.token, &answer.outcome(&parcel.bytes)),
            }
        }
        if !parcel.answers.is_empty() {
            self.links.outbox.earn(from, parcel.answers.len());
            self.wake_waiting();
        }
        self.links.outbox.keep(parcel);
    }

    /// Goes on with sessions and links that waited until more requests may be under way.
    pub(super) fn wake_waiting(&mut self) {
        let mut waiting = core::mem::take(&mut self.links.awaiting_credit);
        for conn in waiting.drain(..) {
            self.links.wake(conn);
        }
        self.links.awaiting_credit = waiting;
        self.wake_held_up();
    }

    /// Carries out another worker's request.
    fn perform_carried(
        &mut self,
        now: Now,
        from: WorkerId,
        parcel: &Parcel,
        request: &CarriedRequest,
        actions: &mut Actions,
    ) {
        let operation = request.operation(&parcel.bytes);
        let key = request.key.of(&parcel.bytes);
        let caller = parcel.caller(request);
        let (hash, token) = (request.hash, request.token);
        if caller.visit.is_none()
            && let Some(hint) = self.elsewhere(hash.partition())
        {
            self.forward_command(now, token, command(hash, key, &operation), hint);
            return;
        }
        let mut router = Router {
            links: &mut self.links,
            cluster: &mut self.cluster,
            actions,
            now,
        };
        let execution = self
            .shard
            .execute(now, &caller, hash, key, &operation, &mut router);
        match execution {
            Execution::Done(outcome) => {
                let answers = self.links.outbox.parcel(from);
                answers.push_answer(token, &outcome);
            }
            Execution::Deferred => {}
            Execution::Refused(hint) => {
                let command = command(hash, key, &operation);
                match caller.visit {
                    None => router.refuse(&caller, command, hint),
                    Some(visit) => {
                        router.refuse_visit(token, message::Refusal::at_once(visit, hint))
                    }
                }
            }
        }
    }

    /// A store of a large value has been announced: its memory first, the other workers' too.
    fn announce(
        &mut self,
        now: Now,
        conn: ConnId,
        consumed: usize,
        line: &[u8],
        value_bytes: usize,
        actions: &mut Actions,
    ) -> Flow {
        let charged = self.shard.cache.charge(value_bytes).is_ok();
        let others = self.settings.workers > 1;
        let Some(session) = self.links.session(conn) else {
            return Flow::Need;
        };
        if charged {
            session.memory_asked = false;
            session.begin_value(line, value_bytes);
            return Flow::On(consumed);
        }
        if others && !session.memory_asked {
            session.memory_asked = true;
            session.awaiting_memory = true;
            self.links.awaiting_memory.push(conn);
            if !self.is_asking() {
                self.want_budget(value_bytes, actions);
            }
            return Flow::Wait;
        }
        session.memory_asked = false;
        let parse_limits = self.links.parse_limits;
        if let Ok(Request::Store(store)) = protocol::parse(line, now, &parse_limits) {
            let refusal = Refusal {
                line: ErrorLine::StoreOutOfMemory,
                silent: store.noreply,
                then: Then::Swallow(value_bytes as u64 + 2),
                evict: Some(store.key),
            };
            self.refuse(now, conn, &refusal, actions);
        }
        Flow::On(consumed)
    }

    /// A store of a large value is complete.
    fn perform_arrived(
        &mut self,
        now: Now,
        conn: ConnId,
        incoming: Incoming,
        actions: &mut Actions,
    ) {
        self.shard.cache.discharge(incoming.value_bytes);
        if let Some(session) = self.links.session(conn) {
            session.charged_bytes = 0;
        }
        let parse_limits = self.links.parse_limits;
        let Ok(request) = protocol::parse(&incoming.line, now, &parse_limits) else {
            unreachable!("a line that was announced parses again");
        };
        let Request::Store(store) = &request else {
            unreachable!("only stores announce values");
        };
        if !incoming.is_well_ended() {
            self.refuse(now, conn, &store.bad_data_chunk(), actions);
            return;
        }
        let mut buffer = KeyBuffer::default();
        let key = store.key.bytes(&mut buffer);
        let target = self.worker_of(KeyHash::of(key));
        if target != self.id {
            self.send_budget(target, allocation_bytes(incoming.value_bytes), actions);
        }
        let value = Bytes::from(incoming.value);
        let operation = store.operation(Value::Large(value));
        let line = &incoming.line;
        self.perform_line(now, conn, line, &request, key, &operation, actions);
    }

    /// Answers a line that can't be carried out, and deletes what it would have replaced.
    fn refuse(&mut self, now: Now, conn: ConnId, refusal: &Refusal<'_>, actions: &mut Actions) {
        if let Some(key) = &refusal.evict {
            let mut buffer = KeyBuffer::default();
            let key = key.bytes(&mut buffer);
            let operation = Operation::Delete(Delete {
                refused_store: true,
                ..Delete::default()
            });
            self.perform_for_nobody(now, conn, key, &operation, actions);
        }
        self.shard.figures.count_refusal(refusal);
        if !refusal.silent {
            self.say(conn, refusal.line.as_bytes());
        }
        if let Some(session) = self.links.session(conn) {
            session.follow(refusal.then);
        }
    }

    /// Carries out a command whose outcome nobody waits for.
    fn perform_for_nobody(
        &mut self,
        now: Now,
        conn: ConnId,
        key: &[u8],
        operation: &Operation<'_>,
        actions: &mut Actions,
    ) {
        let hash = KeyHash::of(key);
        let target = self.worker_of(hash);
        let token = Token {
            worker: self.id,
            conn,
            sequence: NOBODY,
        };
        if target != self.id {
            self.forward(target, token, hash, key, operation);
            return;
        }
        if let Some(hint) = self.elsewhere(hash.partition()) {
            self.forward_command(now, token, command(hash, key, operation), hint);
            return;
        }
        let mut router = Router {
            links: &mut self.links,
            cluster: &mut self.cluster,
            actions,
            now,
        };
        let caller = Caller::from(token);
        let execution = self
            .shard
            .execute(now, &caller, hash, key, operation, &mut router);
        if let Execution::Refused(hint) = execution {
            self.forward_command(now, token, command(hash, key, operation), hint);
        }
    }
}

/// Has the driver pause or resume a connection; a pause and a resume within one turn cancel
/// each other out.
pub(super) fn note_paused(actions: &mut Actions, conn: ConnId, paused: bool) {
    let (same, opposite) = if paused {
        (&mut actions.pause, &mut actions.resume)
    } else {
        (&mut actions.resume, &mut actions.pause)
    };
    match opposite.iter().position(|other| *other == conn) {
        Some(at) => drop(opposite.swap_remove(at)),
        None => same.push(conn),
    }
}
