//! One client connection: from bytes to requests, and answers back in their order.
//!
//! Decides where a command ends, when its data is complete, in which order answers leave, and
//! when nothing more may be read. Refuses to know where keys live and what commands do.

mod order;
pub(crate) mod output;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::cache::INLINE_BYTES_MAX;
use crate::command::{Expiry, Failure, Outcome};
use crate::id::ConnId;
use crate::member::Guid;
use crate::protocol::{self, NextKey, ParseLimits, Refusal, Request, Sink, Then};
use crate::settings::Limits;
use crate::time::{Now, Time};

use order::Order;
pub(crate) use order::Words;
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
    order: Order,
    /// A key of the get under way waits for its answer.
    keys_wait: bool,
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
            order: Order::default(),
            keys_wait: false,
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
        self.unsent_bytes() >= limits.output_bytes_max || self.unanswered() >= limits.slots_max
    }

    /// Whether enough has left to go on.
    pub(crate) fn has_room(&self, limits: &Limits) -> bool {
        self.unsent_bytes() <= limits.output_bytes_max / 2 && self.unanswered() < limits.slots_max
    }

    #[inline]
    fn unsent_bytes(&self) -> usize {
        self.output.len() + self.order.kept_bytes()
    }

    /// Answers that have not come yet.
    pub(crate) fn unanswered(&self) -> usize {
        self.order.len()
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
        self.keys_wait = false;
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
        self.order.clear(buffers);
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
    /// Puts an outcome into `words`, whose line or key this is. A key that could not be looked up
    /// is told of where its get ends: it is returned.
    fn put(
        &self,
        words: Words,
        context: &[u8],
        outcome: &Outcome<'_>,
        located: Located<'_>,
        now: Now,
        sink: &mut impl Sink,
    ) -> Option<Failure> {
        match (words, outcome) {
            (Words::Line, outcome) => {
                let Ok(request) = protocol::parse(context, now, self.parse_limits) else {
                    unreachable!("a line that was carried out parses again");
                };
                self.render_located(&request, outcome, located, now, sink);
            }
            (Words::Value { with_cas }, Outcome::Item(item)) => {
                protocol::render_value(sink, context, with_cas, item);
            }
            (Words::Value { .. }, Outcome::Failed(failure)) => return Some(*failure),
            (Words::Value { .. } | Words::Prepared, _) => {}
        }
        None
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
        sink: &mut impl Sink,
    ) {
        protocol::render(sink, request, outcome, now);
        if request.is_located() {
            let guid = located.holder.map_or(self.guid, Guid::as_str);
            self.locate(&[guid], located.started, now, sink);
        }
    }

    /// The line that says where records live and how long the request took.
    fn locate(&self, guids: &[&str], started: Time, now: Now, sink: &mut impl Sink) {
        let ms = now.time.millis_since(started);
        protocol::write_location(sink, guids, ms);
    }
}
