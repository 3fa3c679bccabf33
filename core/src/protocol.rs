//! The wire protocols.
//!
//! Decides what one complete command line asks for ([`parse`]) and how an outcome is answered
//! ([`render`]). Both are pure functions of their arguments: an answer that comes late is
//! rendered from the saved line, read once more. Refuses to know connections, framing and the
//! order of answers.
//!
//! Words are told apart by one match over the line's first word, and `get`, the commonest, goes
//! ahead of it; behind the word the grammars are nom parsers over tokens.

mod admin;
pub mod forward;
mod integers;
mod key;
mod keys;
pub mod link;
mod meta;
mod number;
pub mod peer;
mod refusal;
mod reply;
mod request;
mod text;
mod token;

#[cfg(test)]
mod tests;

pub use key::{Key, KeyBuffer};
pub use keys::{NextKey, next_key, parse_get_prefix};
pub(crate) use number::Decimal;
pub use refusal::{ErrorLine, Refusal, Then};
pub use reply::{
    END, META_NOOP, OK, RESET, Sink, render, render_key, render_store, render_value,
    render_version, write_location,
};
pub use request::{GetRequest, KeyCommand, KeyRequest, Meta, Request, StatsRequest, StoreRequest};

use crate::command::StoreMode;
use crate::settings::Settings;
use crate::time::Now;

/// What reading a line depends on, beside the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseLimits {
    /// Longest value.
    pub value_bytes_max: u32,
    /// Whether flush_all is allowed.
    pub flush_enabled: bool,
    /// Whether the shutdown command is allowed.
    pub shutdown_enabled: bool,
}

impl From<&Settings> for ParseLimits {
    fn from(settings: &Settings) -> Self {
        Self {
            value_bytes_max: settings.value_bytes_max,
            flush_enabled: settings.flush_enabled,
            shutdown_enabled: settings.shutdown_enabled,
        }
    }
}

/// Reads one command line, without its line end.
///
/// # Errors
/// When it is no request; the [`Refusal`] says what to answer and what to pass over.
#[inline]
pub fn parse<'a>(
    line: &'a [u8],
    now: Now,
    limits: &ParseLimits,
) -> Result<Request<'a>, Refusal<'a>> {
    if let Some(keys) = line.strip_prefix(b"get ") {
        return text::get(keys, false, false);
    }
    parse_other(line, now, limits)
}

fn parse_other<'a>(
    line: &'a [u8],
    now: Now,
    limits: &ParseLimits,
) -> Result<Request<'a>, Refusal<'a>> {
    let (word, rest) = line.split_at(token::space_or_end(line));
    let store = |mode, is_cas, located| text::store(rest, mode, is_cas, located, now, limits);
    match word {
        b"get" => text::get(rest, false, false),
        b"set" => store(StoreMode::Set, false, false),
        b"mg" => meta::get(rest, now),
        b"ms" => meta::store(rest, now, limits),
        b"md" => meta::delete(rest, now),
        b"ma" => meta::arithmetic(rest, now),
        b"me" => meta::inspect(rest),
        b"mn" => Ok(Request::MetaNoop),
        b"gets" => text::get(rest, true, false),
        b"gat" => text::get_and_touch(rest, false, false, now),
        b"gats" => text::get_and_touch(rest, true, false, now),
        b"add" => store(StoreMode::Add, false, false),
        b"replace" => store(StoreMode::Replace, false, false),
        b"append" => store(StoreMode::Append, false, false),
        b"prepend" => store(StoreMode::Prepend, false, false),
        b"cas" => store(StoreMode::Set, true, false),
        b"incr" => text::arithmetic(rest, false, false),
        b"decr" => text::arithmetic(rest, true, false),
        b"touch" => text::touch(rest, false, now),
        b"delete" | b"del" => text::delete(rest, false),
        b"getd" => text::get(rest, false, true),
        b"getsd" => text::get(rest, true, true),
        b"gatd" => text::get_and_touch(rest, false, true, now),
        b"gatsd" => text::get_and_touch(rest, true, true, now),
        b"setd" => store(StoreMode::Set, false, true),
        b"addd" => store(StoreMode::Add, false, true),
        b"replaced" => store(StoreMode::Replace, false, true),
        b"appendd" => store(StoreMode::Append, false, true),
        b"prependd" => store(StoreMode::Prepend, false, true),
        b"casd" => store(StoreMode::Set, true, true),
        b"incrd" => text::arithmetic(rest, false, true),
        b"decrd" => text::arithmetic(rest, true, true),
        b"touchd" => text::touch(rest, true, now),
        b"deleted" | b"deld" => text::delete(rest, true),
        b"stats" => admin::stats(rest),
        b"version" => Ok(Request::Version),
        b"quit" => Ok(Request::Quit),
        b"watch" => Err(ErrorLine::WatchNotAllowed.into()),
        _ => admin::command(line, now, limits),
    }
}
