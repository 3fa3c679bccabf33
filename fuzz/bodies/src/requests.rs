//! Requests as text again.
//!
//! Decides one spelling for each request: single spaces, numbers without signs, times absolute
//! where they can't be relative. Refuses to know how lines are read.

use std::io::Write;

use zufar_core::command::{Arithmetic, Delete, Expiry, Fetch, Operation, StoreMode};
use zufar_core::protocol::{
    GetRequest, KeyCommand, KeyRequest, Request, StatsRequest, StoreRequest,
};
use zufar_core::time::Now;

/// Times above this are absolute, in exptimes as in the delay of flush_all and in meta `R`.
const RELATIVE_S_MAX: u32 = 60 * 60 * 24 * 30;

/// The line that asks for `request`, without its end.
pub(crate) fn line_of(request: &Request<'_>, now: Now) -> Vec<u8> {
    let mut line = Vec::new();
    match request {
        Request::Get(get) => write_get(&mut line, get),
        Request::Store(store) => match &store.meta {
            None => write_store(&mut line, store),
            Some(meta) => {
                line.extend_from_slice(b"ms ");
                line.extend_from_slice(store.key.sent());
                put(&mut line, store.data_bytes);
                for flag in tokens(meta.flags()) {
                    write_flag(&mut line, flag, store_argument(store, flag[0]));
                }
            }
        },
        Request::Key(key) => write_key(&mut line, key, now),
        other => write_global(&mut line, other, now),
    }
    line
}

/// The words of `line`.
pub(crate) fn tokens(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b' ')
        .filter(|word| !word.is_empty())
}

fn put(line: &mut Vec<u8>, number: impl std::fmt::Display) {
    write!(line, " {number}").expect("memory takes all that is written");
}

fn put_noreply(line: &mut Vec<u8>, noreply: bool) {
    if noreply {
        line.extend_from_slice(b" noreply");
    }
}

fn exptime(expiry: Expiry) -> i64 {
    match expiry {
        Expiry::Never => 0,
        Expiry::At(at_s) if at_s > RELATIVE_S_MAX => i64::from(at_s),
        Expiry::At(_) => -1,
    }
}

fn write_get(line: &mut Vec<u8>, get: &GetRequest<'_>) {
    line.extend_from_slice(if get.touch.is_some() { b"gat" } else { b"get" });
    if get.with_cas {
        line.push(b's');
    }
    if get.located {
        line.push(b'd');
    }
    if let Some(expiry) = get.touch {
        put(line, exptime(expiry));
    }
    for key in get.keys() {
        line.push(b' ');
        line.extend_from_slice(key);
    }
}

fn write_store(line: &mut Vec<u8>, store: &StoreRequest<'_>) {
    let word: &[u8] = match (store.mode, store.compare) {
        (StoreMode::Set, Some(_)) => b"cas",
        (StoreMode::Set, None) => b"set",
        (StoreMode::Add, _) => b"add",
        (StoreMode::Replace, _) => b"replace",
        (StoreMode::Append, _) => b"append",
        (StoreMode::Prepend, _) => b"prepend",
    };
    line.extend_from_slice(word);
    line.extend_from_slice(if store.located { b"d " } else { b" " });
    line.extend_from_slice(store.key.sent());
    put(line, store.flags);
    put(line, exptime(store.expiry));
    put(line, store.data_bytes);
    if let Some(cas) = store.compare {
        put(line, cas);
    }
    put_noreply(line, store.noreply);
}

fn write_key(line: &mut Vec<u8>, request: &KeyRequest<'_>, now: Now) {
    let counts_down = matches!(
        request.operation,
        Operation::Arithmetic(Arithmetic {
            decrement: true,
            ..
        })
    );
    let word: &[u8] = match request.command {
        KeyCommand::Delete => b"delete",
        KeyCommand::Arithmetic if counts_down => b"decr",
        KeyCommand::Arithmetic => b"incr",
        KeyCommand::Touch => b"touch",
        KeyCommand::MetaGet => b"mg",
        KeyCommand::MetaDelete => b"md",
        KeyCommand::MetaArithmetic => b"ma",
        KeyCommand::MetaInspect => b"me",
    };
    line.extend_from_slice(word);
    line.extend_from_slice(if request.located { b"d " } else { b" " });
    line.extend_from_slice(request.key.sent());
    match (request.command, &request.operation) {
        // A key `noreply` must not be the last word.
        (KeyCommand::Delete, _) => put(line, 0),
        (KeyCommand::Arithmetic, Operation::Arithmetic(count)) => put(line, count.delta),
        (KeyCommand::Touch, Operation::Fetch(fetch)) => {
            put(line, exptime(fetch.touch.expect("touch has a time")));
        }
        (KeyCommand::MetaInspect, _) if request.key.is_base64() => line.extend_from_slice(b" b"),
        _ => {}
    }
    for flag in tokens(request.meta.flags()) {
        let argument = match &request.operation {
            Operation::Fetch(fetch) => fetch_argument(fetch, flag[0], now),
            Operation::Delete(delete) => delete_argument(delete, flag[0]),
            Operation::Arithmetic(count) => arithmetic_argument(count, flag[0]),
            Operation::Store(_) | Operation::Inspect => None,
        };
        write_flag(line, flag, argument);
    }
    put_noreply(line, request.noreply);
}

/// A meta flag with its argument as it was understood, or else as it was sent.
fn write_flag(line: &mut Vec<u8>, flag: &[u8], argument: Option<String>) {
    line.push(b' ');
    match argument {
        Some(argument) => {
            line.push(flag[0]);
            line.extend_from_slice(argument.as_bytes());
        }
        None => line.extend_from_slice(flag),
    }
}

fn text(number: Option<impl ToString>) -> Option<String> {
    number.map(|number| number.to_string())
}

fn store_argument(store: &StoreRequest<'_>, letter: u8) -> Option<String> {
    match letter {
        b'C' => text(store.compare),
        b'E' => text(store.new_cas),
        b'F' => Some(store.flags.to_string()),
        b'M' => Some(
            match store.mode {
                StoreMode::Set => "S",
                StoreMode::Add => "E",
                StoreMode::Replace => "R",
                StoreMode::Append => "A",
                StoreMode::Prepend => "P",
            }
            .to_owned(),
        ),
        b'N' => text(store.vivify.map(exptime)),
        b'T' => Some(exptime(store.expiry).to_string()),
        _ => None,
    }
}

fn fetch_argument(fetch: &Fetch, letter: u8, now: Now) -> Option<String> {
    match letter {
        b'E' => text(fetch.new_cas),
        // With `T` behind it, `N` is not what an item is vivified with.
        b'N' if fetch.touch.is_none() => text(fetch.vivify.map(exptime)),
        b'R' => fetch.recache_s.map(|left_s| {
            let is_relative = i64::from(left_s) <= i64::from(RELATIVE_S_MAX);
            let now_s = if is_relative { 0 } else { now.unix_s() as i64 };
            (i64::from(left_s) + now_s).to_string()
        }),
        b'T' => text(fetch.touch.map(exptime)),
        _ => None,
    }
}

fn delete_argument(delete: &Delete, letter: u8) -> Option<String> {
    match letter {
        b'C' => text(delete.compare),
        b'E' => text(delete.new_cas),
        b'T' => text(delete.expiry.map(exptime)),
        _ => None,
    }
}

fn arithmetic_argument(count: &Arithmetic, letter: u8) -> Option<String> {
    match letter {
        b'C' => text(count.compare),
        b'D' => Some(count.delta.to_string()),
        b'E' => text(count.new_cas),
        b'J' => text(count.initial.map(|(number, _)| number)),
        b'M' => Some(if count.decrement { "D" } else { "I" }.to_owned()),
        b'N' if count.touch.is_none() => text(count.initial.map(|(_, expiry)| exptime(expiry))),
        b'T' => text(count.touch.map(exptime)),
        _ => None,
    }
}

fn write_global(line: &mut Vec<u8>, request: &Request<'_>, now: Now) {
    match request {
        Request::FlushAll { delay_s, noreply } => {
            let is_relative = *delay_s <= RELATIVE_S_MAX;
            let now_s = if is_relative { 0 } else { now.unix_s() };
            line.extend_from_slice(b"flush_all");
            put(line, u64::from(*delay_s) + now_s);
            put_noreply(line, *noreply);
        }
        Request::Version => line.extend_from_slice(b"version"),
        Request::Verbosity { level, noreply } => {
            line.extend_from_slice(b"verbosity");
            put(line, level);
            put_noreply(line, *noreply);
        }
        Request::CacheMemlimit {
            memory_bytes,
            noreply,
        } => {
            line.extend_from_slice(b"cache_memlimit");
            put(line, memory_bytes >> 20);
            put_noreply(line, *noreply);
        }
        Request::Quit => line.extend_from_slice(b"quit"),
        Request::Shutdown { graceful } => {
            line.extend_from_slice(if *graceful {
                b"shutdown graceful"
            } else {
                b"shutdown"
            });
        }
        Request::Stats(which) => line.extend_from_slice(stats(*which)),
        Request::MetaNoop => line.extend_from_slice(b"mn"),
        Request::Settled { noreply } => {
            line.extend_from_slice(b"slabs automove 0");
            put_noreply(line, *noreply);
        }
        Request::Get(_) | Request::Store(_) | Request::Key(_) => {
            unreachable!("commands of keys are written elsewhere")
        }
    }
}

fn stats(which: StatsRequest) -> &'static [u8] {
    match which {
        StatsRequest::General => b"stats",
        StatsRequest::Settings => b"stats settings",
        StatsRequest::Items => b"stats items",
        StatsRequest::Slabs => b"stats slabs",
        StatsRequest::Sizes => b"stats sizes",
        StatsRequest::Connections => b"stats conns",
        StatsRequest::Reset => b"stats reset",
        StatsRequest::DetailOn => b"stats detail on",
        StatsRequest::DetailOff => b"stats detail off",
        StatsRequest::DetailDump => b"stats detail dump",
        StatsRequest::Zufar => b"stats zufar",
    }
}
