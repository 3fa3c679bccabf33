//! One client connection: from bytes to requests, and answers back in their order.
//!
//! Decides where a command ends, when its data is complete, in which order answers leave, and
//! when nothing more may be read. Refuses to know where keys live and what commands do.

pub(crate) mod output;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use crate::cache::INLINE_BYTES_MAX;
use crate::command::{Expiry, Failure, Outcome};
use crate::id::ConnId;
use crate::member::Guid;
use crate::planted::{self, Bug};
use crate::protocol::{self, ErrorLine, NextKey, ParseLimits, Refusal, Request, Sink, Then};
use crate::settings::Limits;
use crate::time::{Now, Time};

use output::{Buffers, Output};

/// What the session is in the middle of.
#[derive(Debug, Default)]
enum State {
    /// Between commands.
    #[default]
    Idle,
    /// Within the keys of a get.
    Keys,
    /// Within a value that has memory of its own.
    Value(Box<Incoming>),
    /// Within bytes that nobody wants: so many of them.
    Swallow(u64),
    /// Within a line that nobody wants.
    SwallowLine,
    /// Nothing that comes is read any more.
    Deaf,
}

/// The get whose keys are being carried out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keys {
    /// VALUE lines show the cas unique.
    pub(crate) with_cas: bool,
    /// Every key gets this expiry.
    pub(crate) touch: Option<Expiry>,
    /// A line that says where the records live follows the answer.
    pub(crate) located: bool,
}

/// A large value on its way in, in memory that has been charged already.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// The command line, without its end.
    pub(crate) line: Vec<u8>,
    /// The value; its capacity is its length.
    pub(crate) value: Vec<u8>,
    /// Length of the value, in bytes.
    pub(crate) value_bytes: usize,
    /// What came where the line end belongs.
    tail: [u8; 2],
    tail_bytes: usize,
}

impl Incoming {
    /// Whether the data ended where its line said.
    pub(crate) fn is_well_ended(&self) -> bool {
        self.tail == *b"\r\n"
    }
}

/// What the next bytes are.
pub(crate) enum Step<'i> {
    /// More bytes are needed.
    Need,
    /// These bytes are of no further use.
    Skip(usize),
    /// The next key of the get under way.
    Key { consumed: usize, key: &'i [u8] },
    /// The get under way has no more keys.
    KeysEnd { consumed: usize },
    /// The get under way has a key that is none; its line is passed over.
    KeysRefused { consumed: usize },
    /// A line that can't be carried out.
    Refused {
        consumed: usize,
        refusal: Refusal<'i>,
    },
    /// A command, its line and its data, complete.
    Command {
        consumed: usize,
        line: &'i [u8],
        request: Request<'i>,
        data: &'i [u8],
    },
    /// A store whose value needs memory of its own, and that memory first.
    Announced {
        consumed: usize,
        line: &'i [u8],
        value_bytes: usize,
    },
    /// Such a store, complete.
    Arrived {
        consumed: usize,
        incoming: Box<Incoming>,
    },
    /// The connection is to be closed without a word.
    Close,
}

/// How an answer that comes later is put into words.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Words {
    /// By the command line, which is kept.
    Line,
    /// As one VALUE of a get.
    Value { with_cas: bool },
    /// As the end of a get, and where its records live.
    End { located: bool },
    /// By whoever fills the slot.
    Prepared,
}

/// A place in the order of answers.
#[derive(Debug)]
struct Slot {
    words: Words,
    /// The command line, or the key of a get.
    context: Vec<u8>,
    output: Output,
    ready: bool,
    failed: Option<Failure>,
    /// The other node that has carried it out.
    holder: Option<Guid>,
    /// Takes its turn and says nothing.
    muted: bool,
    started: Time,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) conn: ConnId,
    /// The other end, for `stats conns`.
    pub(crate) address: String,
    state: State,
    pub(crate) keys: Keys,
    keys_started: Time,
    /// Input that has been read and not carried out.
    pub(crate) pending: Vec<u8>,
    pub(crate) output: Output,
    slots: VecDeque<Slot>,
    first_sequence: u64,
    /// A key of the get whose answer leaves at present could not be looked up.
    keys_failed: Option<Failure>,
    /// This node has carried out a key of that get.
    keys_own: bool,
    /// Other nodes that have.
    keys_holders: Vec<Guid>,
    /// The driver reads no further.
    pub(crate) paused: bool,
    /// The next command must wait until all before it have been answered.
    pub(crate) draining: bool,
    /// Other workers have been asked for memory for the value that comes next.
    pub(crate) awaiting_memory: bool,
    pub(crate) memory_asked: bool,
    /// Memory that has been charged for a value on its way in, whatever becomes of it.
    pub(crate) charged_bytes: usize,
    /// It is in the parent's list of sessions to go on with.
    pub(crate) runnable: bool,
    /// Close once everything has been answered and sent.
    pub(crate) finishing: bool,
    /// Nothing more comes from the peer.
    pub(crate) finished: bool,
    pub(crate) active_at: Time,
}

impl Session {
    pub(crate) fn new(conn: ConnId, address: &str, now: Now) -> Self {
        Self {
            conn,
            address: address.into(),
            state: State::Idle,
            keys: Keys::default(),
            keys_started: Time::ZERO,
            pending: Vec::new(),
            output: Output::default(),
            slots: VecDeque::new(),
            first_sequence: 0,
            keys_failed: None,
            keys_own: false,
            keys_holders: Vec::new(),
            paused: false,
            draining: false,
            awaiting_memory: false,
            memory_asked: false,
            charged_bytes: 0,
            runnable: false,
            finishing: false,
            finished: false,
            active_at: now.time,
        }
    }

    /// Whether nothing more may be carried out until answers have left.
    #[inline]
    pub(crate) fn is_full(&self, limits: &Limits) -> bool {
        self.output.len() >= limits.output_bytes_max || self.slots.len() >= limits.slots_max
    }

    /// Whether enough has left to go on.
    pub(crate) fn has_room(&self, limits: &Limits) -> bool {
        self.output.len() <= limits.output_bytes_max / 2 && self.slots.len() < limits.slots_max
    }

    /// Answers that have not come yet.
    pub(crate) fn unanswered(&self) -> usize {
        self.slots.len()
    }

    /// Looks at what comes next in `input`.
    #[inline]
    pub(crate) fn next<'i>(
        &mut self,
        input: &'i [u8],
        now: Now,
        limits: &Limits,
        parse_limits: &ParseLimits,
    ) -> Step<'i> {
        match &mut self.state {
            State::Idle => self.next_line(input, now, limits, parse_limits),
            State::Keys => self.next_key(input),
            State::Value(_) => self.next_value(input),
            State::Swallow(left) => {
                if input.is_empty() {
                    return Step::Need;
                }
                let skipped = usize::try_from(*left).map_or(input.len(), |n| n.min(input.len()));
                *left -= skipped as u64;
                if *left == 0 {
                    self.state = State::Idle;
                }
                Step::Skip(skipped)
            }
            State::SwallowLine => match memchr::memchr(b'\n', input) {
                Some(end) => {
                    self.state = State::Idle;
                    Step::Skip(end + 1)
                }
                None if input.is_empty() => Step::Need,
                None => Step::Skip(input.len()),
            },
            State::Deaf => {
                if input.is_empty() {
                    Step::Need
                } else {
                    Step::Skip(input.len())
                }
            }
        }
    }

    #[inline]
    fn next_line<'i>(
        &mut self,
        input: &'i [u8],
        now: Now,
        limits: &Limits,
        parse_limits: &ParseLimits,
    ) -> Step<'i> {
        let Some(end) = memchr::memchr(b'\n', input) else {
            if input.len() < limits.line_bytes_max {
                return Step::Need;
            }
            return self.next_long_line(input, limits, now);
        };
        let line = &input[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if end >= limits.line_bytes_max {
            match protocol::parse_get_prefix(input) {
                None => return Step::Close,
                Some(_) if end >= limits.checked_line_bytes_max => {
                    return self.next_long_line(input, limits, now);
                }
                Some(_) => {}
            }
        }
        let consumed = end + 1;
        match protocol::parse(line, now, parse_limits) {
            Ok(Request::Store(store)) => {
                let value_bytes = store.data_bytes as usize;
                if value_bytes > INLINE_BYTES_MAX {
                    return Step::Announced {
                        consumed,
                        line,
                        value_bytes,
                    };
                }
                let Some(block) = input.get(consumed..consumed + value_bytes + 2) else {
                    return Step::Need;
                };
                let (data, tail) = block.split_at(value_bytes);
                let consumed = consumed + value_bytes + 2;
                if tail != b"\r\n" {
                    let refusal = store.bad_data_chunk();
                    return Step::Refused { consumed, refusal };
                }
                Step::Command {
                    consumed,
                    line,
                    request: Request::Store(store),
                    data,
                }
            }
            Ok(request) => Step::Command {
                consumed,
                line,
                request,
                data: &[],
            },
            Err(refusal) => Step::Refused { consumed, refusal },
        }
    }

    /// A line beyond the limit: only a get may be so long, and is carried out as it comes.
    fn next_long_line<'i>(&mut self, input: &'i [u8], limits: &Limits, now: Now) -> Step<'i> {
        match protocol::parse_get_prefix(input) {
            None => Step::Close,
            Some(_) if input.len() < limits.checked_line_bytes_max => Step::Need,
            Some((prefix, consumed)) => {
                let keys = Keys {
                    with_cas: prefix.with_cas,
                    touch: None,
                    located: prefix.located,
                };
                self.begin_keys(keys, now);
                Step::Skip(consumed)
            }
        }
    }

    /// Carries out what follows as the keys of a get.
    pub(crate) fn begin_keys(&mut self, keys: Keys, now: Now) {
        self.state = State::Keys;
        self.set_keys(keys, now);
    }

    /// Takes note of the get under way.
    #[inline]
    pub(crate) fn set_keys(&mut self, keys: Keys, now: Now) {
        self.keys = keys;
        self.keys_started = now.time;
    }

    fn next_key<'i>(&mut self, input: &'i [u8]) -> Step<'i> {
        match protocol::next_key(input) {
            NextKey::Key { key, consumed } => Step::Key { consumed, key },
            NextKey::Incomplete { consumed: 0 } => Step::Need,
            NextKey::Incomplete { consumed } => Step::Skip(consumed),
            NextKey::End { consumed } => {
                self.state = State::Idle;
                Step::KeysEnd { consumed }
            }
            NextKey::TooLong { consumed } => {
                self.state = State::SwallowLine;
                Step::KeysRefused { consumed }
            }
        }
    }

    /// Receives a large value, whose memory has been charged.
    pub(crate) fn begin_value(&mut self, line: &[u8], value_bytes: usize) {
        self.charged_bytes = value_bytes;
        self.state = State::Value(Box::new(Incoming {
            line: line.to_vec(),
            value: Vec::with_capacity(value_bytes),
            value_bytes,
            tail: [0; 2],
            tail_bytes: 0,
        }));
    }

    fn next_value<'i>(&mut self, input: &'i [u8]) -> Step<'i> {
        let State::Value(incoming) = &mut self.state else {
            unreachable!("only called within a value");
        };
        if input.is_empty() {
            return Step::Need;
        }
        let missing = incoming.value_bytes - incoming.value.len();
        if missing > 0 {
            let taken = missing.min(input.len());
            incoming.value.extend_from_slice(&input[..taken]);
            return Step::Skip(taken);
        }
        let taken = (2 - incoming.tail_bytes).min(input.len());
        let tail = &mut incoming.tail[incoming.tail_bytes..];
        tail[..taken].copy_from_slice(&input[..taken]);
        incoming.tail_bytes += taken;
        if incoming.tail_bytes < 2 {
            return Step::Skip(taken);
        }
        let State::Value(incoming) = core::mem::take(&mut self.state) else {
            unreachable!("it was one a moment ago");
        };
        Step::Arrived {
            consumed: taken,
            incoming,
        }
    }

    pub(crate) fn swallow(&mut self, bytes: u64) {
        self.state = if bytes == 0 {
            State::Idle
        } else {
            State::Swallow(bytes)
        };
    }

    /// Reads nothing more, and closes once everything has been answered and sent.
    pub(crate) fn finish(&mut self) {
        self.state = State::Deaf;
        self.finishing = true;
    }

    /// Whether nothing is left to be said or waited for.
    pub(crate) fn is_drained(&self) -> bool {
        self.slots.is_empty() && self.output.is_empty()
    }

    /// Whether the next answer may go straight to the output.
    #[inline]
    pub(crate) fn is_in_order(&self) -> bool {
        self.slots.is_empty()
    }

    /// The number that the next slot will have.
    #[inline]
    pub(crate) fn next_sequence(&self) -> u64 {
        self.first_sequence + self.slots.len() as u64
    }

    /// Reserves the next place in the order of answers.
    pub(crate) fn reserve(
        &mut self,
        words: Words,
        context: &[u8],
        now: Now,
        buffers: &mut Buffers,
    ) -> u64 {
        let sequence = self.next_sequence();
        let mut kept = Vec::new();
        if !context.is_empty() {
            kept = buffers.take();
            kept.extend_from_slice(context);
        }
        let started = match words {
            Words::End { .. } => self.keys_started,
            Words::Line | Words::Value { .. } | Words::Prepared => now.time,
        };
        self.slots.push_back(Slot {
            words,
            context: kept,
            output: Output::default(),
            ready: false,
            failed: None,
            holder: None,
            muted: false,
            started,
        });
        sequence
    }

    /// Puts an outcome into its slot, if the slot still waits for it.
    pub(crate) fn complete(
        &mut self,
        sequence: u64,
        outcome: &Outcome<'_>,
        now: Now,
        context: &Rendering<'_>,
        buffers: &mut Buffers,
    ) -> bool {
        let Some(slot) = self.slot(sequence) else {
            return false;
        };
        slot.output.prepare(buffers);
        match slot.words {
            Words::Line => {
                let located = Located {
                    holder: slot.holder.as_ref(),
                    started: slot.started,
                };
                context.render_line(&slot.context, outcome, located, now, &mut slot.output);
            }
            Words::Value { with_cas } => match outcome {
                Outcome::Item(item) => {
                    protocol::render_value(&mut slot.output, &slot.context, with_cas, item);
                }
                Outcome::Failed(failure) => slot.failed = Some(*failure),
                _ => {}
            },
            Words::End { .. } | Words::Prepared => {}
        }
        slot.ready = true;
        self.flush_ready(now, context, buffers);
        true
    }

    /// Fills a prepared slot with `text`.
    pub(crate) fn fill(
        &mut self,
        sequence: u64,
        now: Now,
        context: &Rendering<'_>,
        buffers: &mut Buffers,
        fill: impl FnOnce(&mut Output),
    ) -> bool {
        let Some(slot) = self.slot(sequence) else {
            return false;
        };
        slot.output.prepare(buffers);
        if !slot.muted {
            fill(&mut slot.output);
        }
        slot.ready = true;
        self.flush_ready(now, context, buffers);
        true
    }

    /// Has a slot take its turn without a word.
    pub(crate) fn mute(&mut self, sequence: u64, muted: bool) {
        if let Some(slot) = self.slot(sequence) {
            slot.muted = muted;
        }
    }

    fn slot(&mut self, sequence: u64) -> Option<&mut Slot> {
        let index = sequence.checked_sub(self.first_sequence)?;
        let slot = self.slots.get_mut(usize::try_from(index).ok()?)?;
        (!slot.ready).then_some(slot)
    }

    /// Moves answers to the output, as far as they are complete.
    fn flush_ready(&mut self, now: Now, context: &Rendering<'_>, buffers: &mut Buffers) {
        if planted::has(Bug::AnswerOutOfOrder)
            && let [first, second, ..] = self.slots.make_contiguous()
            && !first.ready
            && second.ready
        {
            core::mem::swap(first, second);
        }
        while let Some(slot) = self.slots.front() {
            if !slot.ready {
                return;
            }
            let Some(mut slot) = self.slots.pop_front() else {
                return;
            };
            self.first_sequence += 1;
            self.output.prepare(buffers);
            if slot.failed.is_some() {
                self.keys_failed = slot.failed;
            } else if let Words::Value { .. } = slot.words {
                self.note_key(slot.holder);
            }
            self.output.append(&mut slot.output, buffers);
            if let Words::End { located } = slot.words {
                self.end_keys(located, slot.started, now, context);
            }
            buffers.give(slot.context);
        }
    }

    /// Ends the answer of a get: END, or the error of a key that could not be looked up.
    pub(crate) fn end_keys(
        &mut self,
        located: bool,
        started: Time,
        now: Now,
        context: &Rendering<'_>,
    ) {
        match self.keys_failed.take() {
            Some(failure) => self
                .output
                .put(ErrorLine::of_failure(failure, false).as_bytes()),
            None => self.output.put(b"END\r\n"),
        }
        if located {
            let own = self.keys_own || self.keys_holders.is_empty();
            let own = own.then_some(context.guid);
            let others = self.keys_holders.iter().map(Guid::as_str);
            let guids: Vec<&str> = own.into_iter().chain(others).collect();
            context.locate(&guids, started, now, &mut self.output);
        }
        self.keys_own = false;
        self.keys_holders.clear();
    }

    /// A key of the get under way was carried out by this node at once.
    #[inline]
    pub(crate) const fn note_own_key(&mut self) {
        self.keys_own = true;
    }

    fn note_key(&mut self, holder: Option<Guid>) {
        match holder {
            None => self.keys_own = true,
            Some(holder) if self.keys_holders.contains(&holder) => {}
            Some(holder) => self.keys_holders.push(holder),
        }
    }

    /// Another node has carried out what a slot waits for.
    pub(crate) fn note_holder(&mut self, sequence: u64, holder: Guid) {
        if let Some(slot) = self.slot(sequence) {
            slot.holder = Some(holder);
        }
    }

    /// Ends the get under way: at once where nothing is waited for, else in its turn.
    pub(crate) fn finish_keys(&mut self, now: Now, context: &Rendering<'_>, buffers: &mut Buffers) {
        let located = self.keys.located;
        if self.is_in_order() {
            let started = self.keys_started;
            self.output.prepare(buffers);
            self.end_keys(located, started, now, context);
            return;
        }
        let sequence = self.reserve(Words::End { located }, &[], now, buffers);
        self.fill(sequence, now, context, buffers, |_| {});
    }

    /// A key of the get under way that failed at once.
    pub(crate) fn note_key_failure(&mut self, failure: Failure) {
        self.keys_failed = Some(failure);
    }

    /// Says `text` in its turn.
    pub(crate) fn say(
        &mut self,
        text: &[u8],
        now: Now,
        context: &Rendering<'_>,
        buffers: &mut Buffers,
    ) {
        if self.is_in_order() {
            self.output.prepare(buffers);
            self.output.put(text);
            return;
        }
        let sequence = self.reserve(Words::Prepared, &[], now, buffers);
        self.fill(sequence, now, context, buffers, |output| output.put(text));
    }

    /// Follows a refusal's advice about what comes behind the refused line.
    pub(crate) fn follow(&mut self, then: Then) {
        match then {
            Then::Continue => {}
            Then::Swallow(bytes) => self.swallow(bytes),
            Then::Close => self.finish(),
        }
    }

    /// Gives all buffers back.
    pub(crate) fn dispose(&mut self, buffers: &mut Buffers) {
        self.output.clear(buffers);
        for mut slot in self.slots.drain(..) {
            slot.output.clear(buffers);
            buffers.give(slot.context);
        }
        buffers.give(core::mem::take(&mut self.pending));
    }
}

/// What an answer says of where it comes from.
#[derive(Clone, Copy)]
struct Located<'a> {
    /// The other node that has carried it out, if it was not this one.
    holder: Option<&'a Guid>,
    started: Time,
}

/// What putting an outcome into words needs beside the outcome.
pub(crate) struct Rendering<'a> {
    pub(crate) parse_limits: &'a ParseLimits,
    /// The node's guid, for located answers.
    pub(crate) guid: &'a str,
}

impl Rendering<'_> {
    /// Puts the outcome of a kept command line into words.
    fn render_line(
        &self,
        line: &[u8],
        outcome: &Outcome<'_>,
        located: Located<'_>,
        now: Now,
        output: &mut Output,
    ) {
        let Ok(request) = protocol::parse(line, now, self.parse_limits) else {
            unreachable!("a line that was carried out parses again");
        };
        self.render_located(&request, outcome, located, now, output);
    }

    /// Puts an outcome into words, and where the record lives if that was asked for.
    #[inline]
    pub(crate) fn render(
        &self,
        request: &Request<'_>,
        outcome: &Outcome<'_>,
        started: Time,
        now: Now,
        output: &mut Output,
    ) {
        let holder = None;
        let located = Located { holder, started };
        self.render_located(request, outcome, located, now, output);
    }

    #[inline]
    fn render_located(
        &self,
        request: &Request<'_>,
        outcome: &Outcome<'_>,
        located: Located<'_>,
        now: Now,
        output: &mut Output,
    ) {
        protocol::render(output, request, outcome, now);
        if request.is_located() {
            let guid = located.holder.map_or(self.guid, Guid::as_str);
            self.locate(&[guid], located.started, now, output);
        }
    }

    /// The line that says where records live and how long the request took.
    fn locate(&self, guids: &[&str], started: Time, now: Now, output: &mut Output) {
        let ms = now.time.millis_since(started);
        protocol::write_location(output, guids, ms);
    }
}
