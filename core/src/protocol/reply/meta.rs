//! The answers of meta commands: a code, then flags in the order of the request.
//!
//! Decides which flags each command returns. Refuses to know what flags ask for.

use crate::command::{Expiry, Item, Outcome};
use crate::time::Now;

use super::{LINE_END, Piece, Sink, put_value};
use crate::protocol::key::Key;
use crate::protocol::number::{self, Decimal};
use crate::protocol::request::{KeyRequest, Meta, StoreRequest};
use crate::protocol::token::Tokens;

/// ` <letter><number>`
#[inline]
fn put_number(sink: &mut impl Sink, letter: u8, number: u64) {
    let mut piece = Piece::new();
    piece.push(&[b' ', letter]);
    piece.push_number(number);
    sink.put(piece.as_slice());
}

/// ` t<seconds>`; −1 for an item that never expires.
fn put_ttl(sink: &mut impl Sink, expires_s: u32, now: Now) {
    sink.put(b" t");
    sink.put(Decimal::new().write_signed(ttl_s(expires_s, now)));
}

/// Whole seconds left, −1 without bound. An item that has just been made to expire has 0 left:
/// memcached's 32-bit subtraction wraps here, and no client could use the number.
fn ttl_s(expires_s: u32, now: Now) -> i64 {
    if expires_s == 0 {
        return -1;
    }
    let left_ms = (u64::from(expires_s) * 1000).saturating_sub(now.unix_ms);
    i64::try_from(left_ms / 1000).unwrap_or(i64::MAX)
}

/// What `t` shows depends on where it stands: `T`, and `N` of an item that it makes, change the
/// expiry from left to right.
struct ShownExpiry {
    /// Unix seconds, 0 for never, as the flags so far have it.
    shown_s: u32,
    /// As all flags have it.
    last_s: u32,
    vivified: bool,
    now: Now,
}

impl ShownExpiry {
    /// Takes note of a `T` or an `N`.
    fn pass(&mut self, flag: &[u8]) {
        if !self.vivified {
            if flag[0] == b'T' {
                self.shown_s = self.last_s;
            }
        } else if let Some(exptime) = number::i32(&flag[1..]) {
            // Both may change it, and the outcome knows only what comes last.
            self.shown_s = Expiry::from_exptime(exptime, self.now).as_unix_s();
        }
    }
}

/// Seconds since the access before this one.
fn idle_s(item: &Item<'_>, now: Now) -> u64 {
    now.unix_s().saturating_sub(u64::from(item.accessed_s))
}

/// The flags that every command returns: `O` as it was sent, and `k` with the key.
#[inline]
fn put_echo(sink: &mut impl Sink, flag: &[u8], key: &Key<'_>) {
    match flag[0] {
        b'O' => {
            sink.put(b" ");
            sink.put(flag);
        }
        b'k' => {
            sink.put(b" k");
            sink.put(key.sent());
            if key.is_base64() {
                sink.put(b" b");
            }
        }
        _ => {}
    }
}

fn put_code(sink: &mut impl Sink, code: &[u8; 2], meta: &Meta<'_>, key: &Key<'_>) {
    sink.put(code);
    for flag in Tokens(meta.flags) {
        put_echo(sink, flag, key);
    }
    sink.put(LINE_END);
}

/// `VA <bytes>`
fn put_value_code(sink: &mut impl Sink, bytes: usize) {
    let mut piece = Piece::new();
    piece.push(b"VA ");
    piece.push_number(bytes as u64);
    sink.put(piece.as_slice());
}

pub(super) fn render_get(
    sink: &mut impl Sink,
    request: &KeyRequest<'_>,
    outcome: &Outcome<'_>,
    now: Now,
) {
    let meta = &request.meta;
    let item = match outcome {
        Outcome::Item(item) => item,
        Outcome::NotFound if meta.quiet => return,
        Outcome::NotFound => return put_code(sink, b"EN", meta, &request.key),
        _ => unreachable!("a fetch has no such outcome"),
    };
    let shows_value = meta.value && meta.unless_cas != Some(item.cas);
    if shows_value {
        put_value_code(sink, item.value.len());
    } else {
        sink.put(b"HD");
    }
    put_item_flags(sink, request, item, now);
    if item.token_sent {
        sink.put(b" Z");
    }
    if item.stale {
        sink.put(b" X");
    }
    if item.won {
        sink.put(b" W");
    }
    sink.put(LINE_END);
    if shows_value {
        put_value(sink, &item.value);
    }
}

fn put_item_flags(sink: &mut impl Sink, request: &KeyRequest<'_>, item: &Item<'_>, now: Now) {
    let mut expiry = ShownExpiry {
        shown_s: item.expired_s_before,
        last_s: item.expires_s,
        vivified: item.vivified,
        now,
    };
    for flag in Tokens(request.meta.flags) {
        match flag[0] {
            b'T' | b'N' => expiry.pass(flag),
            b's' => put_number(sink, b's', item.value.len() as u64),
            b't' => put_ttl(sink, expiry.shown_s, now),
            b'c' => put_number(sink, b'c', item.cas),
            b'f' => put_number(sink, b'f', u64::from(item.flags)),
            b'l' => put_number(sink, b'l', idle_s(item, now)),
            b'h' => put_number(sink, b'h', u64::from(item.fetched)),
            _ => put_echo(sink, flag, &request.key),
        }
    }
}

pub(super) fn render_store(
    sink: &mut impl Sink,
    request: &StoreRequest<'_>,
    meta: &Meta<'_>,
    outcome: &Outcome<'_>,
) {
    let (code, new_cas, bytes) = match outcome {
        Outcome::Stored { .. } if meta.quiet => return,
        Outcome::Stored { cas, value_bytes } => (b"HD", *cas, *value_bytes),
        Outcome::NotStored => (b"NS", 0, request.data_bytes),
        Outcome::Exists => (b"EX", 0, request.data_bytes),
        Outcome::NotFound => (b"NF", 0, request.data_bytes),
        _ => unreachable!("a store has no such outcome"),
    };
    sink.put(code);
    for flag in Tokens(meta.flags) {
        match flag[0] {
            b'c' => put_number(sink, b'c', new_cas),
            b's' => put_number(sink, b's', u64::from(bytes)),
            _ => put_echo(sink, flag, &request.key),
        }
    }
    sink.put(LINE_END);
}

pub(super) fn render_delete(sink: &mut impl Sink, request: &KeyRequest<'_>, outcome: &Outcome<'_>) {
    let code = match outcome {
        Outcome::Deleted if request.meta.quiet => return,
        Outcome::Deleted => b"HD",
        Outcome::NotFound => b"NF",
        Outcome::Exists => b"EX",
        Outcome::NotStored => b"NS",
        _ => unreachable!("a delete has no such outcome"),
    };
    put_code(sink, code, &request.meta, &request.key);
}

pub(super) fn render_arithmetic(
    sink: &mut impl Sink,
    request: &KeyRequest<'_>,
    outcome: &Outcome<'_>,
    now: Now,
) {
    let meta = &request.meta;
    let (number, cas, mut expiry) = match outcome {
        Outcome::Number { .. } if meta.quiet => return,
        &Outcome::Number {
            number,
            cas,
            expired_s_before,
            expires_s,
            vivified,
        } => {
            let expiry = ShownExpiry {
                shown_s: expired_s_before,
                last_s: expires_s,
                vivified,
                now,
            };
            (number, cas, expiry)
        }
        Outcome::NotFound => return put_code(sink, b"NF", meta, &request.key),
        Outcome::NotStored => return put_code(sink, b"NS", meta, &request.key),
        Outcome::Exists => return put_code(sink, b"EX", meta, &request.key),
        _ => unreachable!("counting has no such outcome"),
    };
    let mut decimal = Decimal::new();
    let digits = decimal.write(number);
    if meta.value {
        put_value_code(sink, digits.len());
    } else {
        sink.put(b"HD");
    }
    for flag in Tokens(meta.flags) {
        match flag[0] {
            b'T' | b'N' => expiry.pass(flag),
            b't' => put_ttl(sink, expiry.shown_s, now),
            b'c' => put_number(sink, b'c', cas),
            _ => put_echo(sink, flag, &request.key),
        }
    }
    sink.put(LINE_END);
    if meta.value {
        sink.put(digits);
        sink.put(LINE_END);
    }
}

/// The debug line. Its class is 1: the memory tier has only one.
pub(super) fn render_inspect(
    sink: &mut impl Sink,
    request: &KeyRequest<'_>,
    outcome: &Outcome<'_>,
    now: Now,
) {
    let item = match outcome {
        Outcome::Item(item) => item,
        Outcome::NotFound => return sink.put(b"EN\r\n"),
        _ => unreachable!("an inspection has no such outcome"),
    };
    let mut decimal = Decimal::new();
    sink.put(b"ME ");
    sink.put(request.key.sent());
    sink.put(b" exp=");
    sink.put(decimal.write_signed(ttl_s(item.expires_s, now)));
    sink.put(b" la=");
    sink.put(decimal.write(idle_s(item, now)));
    sink.put(b" cas=");
    sink.put(decimal.write(item.cas));
    sink.put(b" fetch=");
    sink.put(if item.fetched { b"yes" } else { b"no" });
    sink.put(b" cls=1 size=");
    sink.put(decimal.write(u64::from(item.memory_bytes)));
    sink.put(LINE_END);
}
