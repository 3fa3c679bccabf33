//! Outcomes as clients read them.
//!
//! Decides every byte of an answer, and which answers a request hides. Refuses to know where
//! the bytes go and when.

mod meta;

#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::command::{Item, Outcome, Value};
use crate::settings::MEMCACHED_VERSION;
use crate::time::Now;

use super::number::Decimal;
use super::refusal::ErrorLine;
use super::request::{KeyCommand, KeyRequest, Request, StoreRequest};

/// Ends the answer of get and of stats.
pub const END: &[u8] = b"END\r\n";
/// Answers a command that has nothing to tell.
pub const OK: &[u8] = b"OK\r\n";
/// Answers stats reset.
pub const RESET: &[u8] = b"RESET\r\n";
/// Answers mn.
pub const META_NOOP: &[u8] = b"MN\r\n";

const LINE_END: &[u8] = b"\r\n";

/// Where answers go.
pub trait Sink {
    /// Appends a copy of `bytes`.
    fn put(&mut self, bytes: &[u8]);
    /// Appends a large value, shared rather than copied.
    fn share(&mut self, bytes: Bytes);
}

impl Sink for alloc::vec::Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn share(&mut self, bytes: Bytes) {
        self.extend_from_slice(&bytes);
    }
}

/// A short piece of a line that is put together before it goes to the sink: a `put` costs more
/// than a few bytes do.
struct Piece {
    bytes: [u8; PIECE_BYTES_MAX],
    len: usize,
}

/// Three numbers of 20 digits with a space before each, and a line end.
const PIECE_BYTES_MAX: usize = 3 * 21 + 2;

impl Piece {
    #[inline]
    fn new() -> Self {
        Self {
            bytes: [0; PIECE_BYTES_MAX],
            len: 0,
        }
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    #[inline]
    fn push_number(&mut self, number: u64) {
        self.push(Decimal::new().write(number));
    }

    #[inline]
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[inline]
fn put_value(sink: &mut impl Sink, value: &Value<'_>) {
    match value {
        Value::Small(bytes) => sink.put(bytes),
        Value::Large(bytes) => sink.share(bytes.clone()),
    }
    sink.put(LINE_END);
}

/// One item of a get: `VALUE <key> <flags> <bytes> [<cas>]`, then the value.
#[inline]
pub fn render_value(sink: &mut impl Sink, key: &[u8], with_cas: bool, item: &Item<'_>) {
    let mut piece = Piece::new();
    piece.push(b" ");
    piece.push_number(u64::from(item.flags));
    piece.push(b" ");
    piece.push_number(item.value.len() as u64);
    if with_cas {
        piece.push(b" ");
        piece.push_number(item.cas);
    }
    piece.push(LINE_END);
    sink.put(b"VALUE ");
    sink.put(key);
    sink.put(piece.as_slice());
    put_value(sink, &item.value);
}

/// The whole answer of a store or a command of one key; nothing if the request hides it.
///
/// # Panics
/// If `request` is of another kind, or `outcome` can't come of it: a parent's mistake.
pub fn render(sink: &mut impl Sink, request: &Request<'_>, outcome: &Outcome<'_>, now: Now) {
    match request {
        Request::Store(store) => render_store(sink, store, outcome),
        Request::Key(key) => render_key(sink, key, outcome, now),
        _ => unreachable!("only stores and commands of one key have one outcome"),
    }
}

/// The whole answer of a store; nothing if the request hides it.
///
/// # Panics
/// If `outcome` can't come of a store: a parent's mistake.
pub fn render_store(sink: &mut impl Sink, request: &StoreRequest<'_>, outcome: &Outcome<'_>) {
    if request.noreply {
        return;
    }
    if let Outcome::Failed(failure) = outcome {
        sink.put(ErrorLine::of_failure(*failure, true).as_bytes());
        return;
    }
    if let Some(meta) = &request.meta {
        meta::render_store(sink, request, meta, outcome);
        return;
    }
    sink.put(match outcome {
        Outcome::Stored { .. } => b"STORED\r\n",
        Outcome::NotStored => b"NOT_STORED\r\n",
        Outcome::Exists => b"EXISTS\r\n",
        Outcome::NotFound => b"NOT_FOUND\r\n",
        _ => unreachable!("a store has no such outcome"),
    });
}

/// The whole answer of a command of one key; nothing if the request hides it.
///
/// # Panics
/// If `outcome` can't come of the command: a parent's mistake.
pub fn render_key(sink: &mut impl Sink, request: &KeyRequest<'_>, outcome: &Outcome<'_>, now: Now) {
    if request.noreply {
        return;
    }
    if let Outcome::Failed(failure) = outcome {
        sink.put(ErrorLine::of_failure(*failure, false).as_bytes());
        return;
    }
    match request.command {
        KeyCommand::Delete | KeyCommand::Arithmetic | KeyCommand::Touch => {
            render_classic(sink, outcome);
        }
        KeyCommand::MetaGet => meta::render_get(sink, request, outcome, now),
        KeyCommand::MetaDelete => meta::render_delete(sink, request, outcome),
        KeyCommand::MetaArithmetic => meta::render_arithmetic(sink, request, outcome, now),
        KeyCommand::MetaInspect => meta::render_inspect(sink, request, outcome, now),
    }
}

fn render_classic(sink: &mut impl Sink, outcome: &Outcome<'_>) {
    match outcome {
        Outcome::Deleted => sink.put(b"DELETED\r\n"),
        Outcome::Item(_) => sink.put(b"TOUCHED\r\n"),
        Outcome::Number { number, .. } => {
            let mut piece = Piece::new();
            piece.push_number(*number);
            piece.push(LINE_END);
            sink.put(piece.as_slice());
        }
        Outcome::NotFound => sink.put(b"NOT_FOUND\r\n"),
        _ => unreachable!("delete, incr, decr and touch have no such outcome"),
    }
}

/// The answer of version. There are clients that fail on anything behind the number (emcache).
pub fn render_version(sink: &mut impl Sink) {
    for part in ["VERSION ", MEMCACHED_VERSION, "\r\n"] {
        sink.put(part.as_bytes());
    }
}

/// The line behind the answer of a command that asks where its records live: the nodes by their
/// guids, and how long the request took.
pub fn write_location(sink: &mut impl Sink, guids: &[&str], took_ms: u64) {
    for (index, guid) in guids.iter().enumerate() {
        sink.put(if index == 0 { b"node-" } else { b",node-" });
        sink.put(guid.as_bytes());
    }
    let mut piece = Piece::new();
    piece.push(b" in ");
    piece.push_number(took_ms);
    piece.push(b"ms\r\n");
    sink.put(piece.as_slice());
}
