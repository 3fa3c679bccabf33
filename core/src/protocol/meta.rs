//! The meta commands: mg, ms, md, ma, me.
//!
//! Decides their flags, what each means to each command, and which of several faults shows.
//! Refuses to know how answers are written.

use nom::Parser;

use crate::command::{Arithmetic, Delete, Expiry, Fetch, Operation, StoreMode};
use crate::time::Now;

use super::ParseLimits;
use super::key::Key;
use super::number;
use super::refusal::{ErrorLine, Refusal};
use super::request::{KeyCommand, KeyRequest, Meta, Request, StoreRequest};
use super::token::{Tokens, token};

type Parsed<'a> = Result<Request<'a>, Refusal<'a>>;

/// Most tokens of a meta command, its name and key included.
const TOKENS_MAX: usize = 20;
/// Longest opaque flag, its letter included.
const OPAQUE_BYTES_MAX: usize = 32;
/// `R` above this is a Unix time, as exptimes are.
const RELATIVE_S_MAX: i32 = 60 * 60 * 24 * 30;

/// What the flags of one command say, for whichever command it is.
#[derive(Default)]
struct Flags {
    base64: bool,
    quiet: bool,
    value: bool,
    no_bump: bool,
    stale: bool,
    drop_value: bool,
    opaque_too_long: bool,
    /// `T` came after `N`: a vivified item gets its expiry from `T`.
    touch_last: bool,
    /// The flag `M` and its argument's first byte.
    mode: Option<Option<u8>>,
    touch: Option<Expiry>,
    vivify: Option<Expiry>,
    recache_s: Option<i32>,
    /// A `T` ahead of `R` leaves fewer seconds than `R` wants.
    recache: bool,
    compare: Option<u64>,
    new_cas: Option<u64>,
    client_flags: u32,
    initial: u64,
    delta: Option<u64>,
}

impl Flags {
    /// The expiry of an item that the command makes for want of one.
    fn vivified_expiry(&self) -> Option<Expiry> {
        let expiry = self.vivify?;
        Some(match self.touch {
            Some(touch) if self.touch_last => touch,
            _ => expiry,
        })
    }
}

/// Reads the flags. `tokens_before` counts the command, its key, and a data length.
///
/// A repeated or unknown flag ends the reading; of several wrong arguments the last one shows.
#[inline]
fn flags(line: &[u8], tokens_before: usize, key: &[u8], now: Now) -> Result<Flags, ErrorLine> {
    let mut flags = Flags::default();
    if line.is_empty() {
        return Ok(flags);
    }
    // A flag takes two bytes at least, so short lines need no counting.
    let room = TOKENS_MAX - tokens_before;
    if line.len() > 2 * room && Tokens(line).nth(room).is_some() {
        return Err(ErrorLine::TooManyFlags);
    }
    let mut seen = 0_u128;
    let mut fault = None;
    for flag in Tokens(line) {
        let letter = flag[0];
        if letter >= 127 || seen >> letter & 1 != 0 {
            return Err(ErrorLine::DuplicateFlag);
        }
        seen |= 1 << letter;
        match flags.take(letter, &flag[1..], key, now) {
            Ok(()) => {}
            Err(ErrorLine::InvalidFlag) => return Err(ErrorLine::InvalidFlag),
            // memcached does not name a wrong `F`.
            Err(ErrorLine::BadFormat) => fault = fault.or(Some(ErrorLine::BadFormat)),
            Err(line) => fault = Some(line),
        }
    }
    fault.map_or(Ok(flags), Err)
}

impl Flags {
    #[inline]
    fn take(&mut self, letter: u8, argument: &[u8], key: &[u8], now: Now) -> Result<(), ErrorLine> {
        let expiry = |argument| {
            number::i32(argument)
                .map(|exptime| Expiry::from_exptime(exptime, now))
                .ok_or(ErrorLine::BadToken)
        };
        let number = |argument| number::u64(argument).ok_or(ErrorLine::BadToken);
        match letter {
            b'k' | b's' | b't' | b'c' | b'f' | b'h' | b'l' | b'P' | b'L' => {}
            b'v' => self.value = true,
            b'q' => self.quiet = true,
            b'u' => self.no_bump = true,
            b'I' => self.stale = true,
            b'x' => self.drop_value = true,
            b'O' => self.opaque_too_long = argument.len() >= OPAQUE_BYTES_MAX,
            b'M' => self.mode = Some(argument.first().copied()),
            b'T' => {
                self.touch = Some(expiry(argument)?);
                self.touch_last = self.vivify.is_some();
            }
            b'N' => self.vivify = Some(expiry(argument)?),
            b'R' => {
                let limit_s = recache_s(argument, now)?;
                match self.touch {
                    None => self.recache_s = Some(limit_s),
                    Some(expiry) => self.recache = leaves_less(expiry, limit_s, now),
                }
            }
            b'C' => self.compare = Some(number(argument)?),
            b'E' => self.new_cas = Some(number(argument)?),
            b'F' => self.client_flags = number::u32(argument).ok_or(ErrorLine::BadFormat)?,
            b'J' => {
                self.initial = number::u64(argument).ok_or(ErrorLine::InvalidMetaInitial)?;
            }
            b'D' => {
                let delta = number::u64(argument).ok_or(ErrorLine::InvalidMetaDelta)?;
                self.delta = Some(delta);
            }
            b'b' => {
                self.base64 = true;
                Key::encoded(key).ok_or(ErrorLine::KeyDecoding)?;
            }
            _ => return Err(ErrorLine::InvalidFlag),
        }
        Ok(())
    }
}

/// `R`: below how many remaining seconds a token is handed out.
fn recache_s(argument: &[u8], now: Now) -> Result<i32, ErrorLine> {
    let limit = number::i32(argument).ok_or(ErrorLine::BadToken)?;
    if limit <= RELATIVE_S_MAX {
        return Ok(limit);
    }
    let now_s = i64::try_from(now.unix_s()).unwrap_or(i64::MAX);
    Ok(i32::try_from(i64::from(limit) - now_s).unwrap_or(i32::MIN))
}

/// Whether an item with this expiry has fewer seconds left; no item has less than none.
fn leaves_less(expiry: Expiry, limit_s: i32, now: Now) -> bool {
    match (expiry, u64::try_from(limit_s)) {
        (Expiry::At(at_s), Ok(limit_s @ 1..)) => u64::from(at_s) < now.unix_s() + limit_s,
        _ => false,
    }
}

/// The key behind a command's name, its length checked, and the line behind it.
#[inline]
fn key(line: &[u8]) -> Result<(&[u8], &[u8]), ErrorLine> {
    let (rest, key) = token(line).map_err(|_| ErrorLine::BadFormat)?;
    Key::plain(key).ok_or(ErrorLine::BadFormat)?;
    Ok((rest, key))
}

#[inline]
fn one_key<'a>(
    command: KeyCommand,
    key: &'a [u8],
    line: &'a [u8],
    flags: &Flags,
    operation: Operation<'static>,
) -> Parsed<'a> {
    if flags.opaque_too_long {
        return Err(ErrorLine::OpaqueTooLong.into());
    }
    Ok(Request::Key(KeyRequest {
        key: Key::checked(key, flags.base64),
        operation,
        command,
        noreply: false,
        located: false,
        meta: Meta {
            flags: line,
            quiet: flags.quiet,
            value: flags.value,
            unless_cas: flags.compare,
        },
    }))
}

/// mg.
#[inline]
pub(super) fn get(line: &[u8], now: Now) -> Parsed<'_> {
    let (line, key) = key(line)?;
    let flags = flags(line, 2, key, now)?;
    let operation = Operation::Fetch(Fetch {
        touch: flags.touch,
        touch_only: false,
        vivify: flags.vivified_expiry(),
        recache_s: flags.recache_s,
        recache: flags.recache,
        new_cas: flags.new_cas,
        no_bump: flags.no_bump,
        meta: true,
    });
    one_key(KeyCommand::MetaGet, key, line, &flags, operation)
}

/// md.
pub(super) fn delete(line: &[u8], now: Now) -> Parsed<'_> {
    let (line, key) = key(line)?;
    let flags = flags(line, 2, key, now)?;
    let operation = Operation::Delete(Delete {
        compare: flags.compare,
        new_cas: flags.new_cas,
        stale: flags.stale,
        drop_value: flags.drop_value,
        expiry: flags.touch,
        flags: flags.client_flags,
        refused_store: false,
    });
    one_key(KeyCommand::MetaDelete, key, line, &flags, operation)
}

/// ma.
pub(super) fn arithmetic(line: &[u8], now: Now) -> Parsed<'_> {
    let (line, key) = key(line)?;
    let flags = flags(line, 2, key, now).map_err(|fault| match fault {
        ErrorLine::TooManyFlags => fault,
        _ => ErrorLine::InvalidOrDuplicateFlag,
    })?;
    let decrement = match flags.mode {
        None | Some(Some(b'I' | b'+')) => false,
        Some(Some(b'D' | b'-')) => true,
        Some(_) => return Err(ErrorLine::InvalidArithmeticMode.into()),
    };
    let initial = flags
        .vivified_expiry()
        .map(|expiry| (flags.initial, expiry));
    let operation = Operation::Arithmetic(Arithmetic {
        decrement,
        delta: flags.delta.unwrap_or(1),
        initial,
        touch: flags.touch,
        compare: flags.compare.filter(|&cas| cas != 0),
        new_cas: flags.new_cas,
    });
    one_key(KeyCommand::MetaArithmetic, key, line, &flags, operation)
}

/// me. Its only flag is a `b` right behind the key.
pub(super) fn inspect(line: &[u8]) -> Parsed<'_> {
    let (line, key) = key(line)?;
    let key = if Tokens(line).next() == Some(b"b".as_slice()) {
        Key::encoded(key)
    } else {
        Key::plain(key)
    };
    Ok(Request::Key(KeyRequest {
        key: key.ok_or(ErrorLine::BadFormat)?,
        operation: Operation::Inspect,
        command: KeyCommand::MetaInspect,
        noreply: false,
        located: false,
        meta: Meta::default(),
    }))
}

/// ms.
pub(super) fn store<'a>(line: &'a [u8], now: Now, limits: &ParseLimits) -> Parsed<'a> {
    let (line, (key, length)) = (token, token)
        .parse(line)
        .map_err(|_| ErrorLine::BadFormat)?;
    let data_bytes = number::data_bytes(length).ok_or(ErrorLine::BadFormat)?;
    let refuse = |line| Refusal::new(line).swallowing(data_bytes);
    Key::plain(key).ok_or(refuse(ErrorLine::BadFormat))?;
    let flags = flags(line, 3, key, now).map_err(refuse)?;
    let mode = match flags.mode {
        None | Some(Some(b'S')) => StoreMode::Set,
        Some(Some(b'E')) => StoreMode::Add,
        Some(Some(b'A')) => StoreMode::Append,
        Some(Some(b'P')) => StoreMode::Prepend,
        Some(Some(b'R')) => StoreMode::Replace,
        Some(_) => return Err(refuse(ErrorLine::InvalidStoreMode)),
    };
    let key = Key::checked(key, flags.base64);
    if data_bytes > limits.value_bytes_max {
        return Err(Refusal {
            evict: Some(key),
            ..refuse(ErrorLine::TooLarge)
        });
    }
    if flags.opaque_too_long {
        return Err(refuse(ErrorLine::OpaqueTooLong));
    }
    let extends = matches!(mode, StoreMode::Append | StoreMode::Prepend);
    let compare = match mode {
        StoreMode::Set | StoreMode::Replace => flags.compare,
        StoreMode::Add => None,
        StoreMode::Append | StoreMode::Prepend => flags.compare.filter(|&cas| cas != 0),
    };
    Ok(Request::Store(StoreRequest {
        key,
        mode,
        flags: flags.client_flags,
        expiry: flags.touch.unwrap_or_default(),
        compare,
        new_cas: flags.new_cas,
        invalidate: flags.stale && !extends && compare.is_some(),
        vivify: flags.vivify.filter(|_| extends),
        data_bytes,
        noreply: false,
        located: false,
        meta: Some(Meta {
            flags: line,
            quiet: flags.quiet,
            value: false,
            unless_cas: None,
        }),
    }))
}
