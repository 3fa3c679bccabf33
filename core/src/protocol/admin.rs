//! The commands that concern no key.
//!
//! Decides their grammar, and what is answered for those of memcached's that govern things that
//! Zufar does not have. Refuses to know how the others are carried out.

use nom::Parser;
use nom::combinator::opt;

use crate::time::Now;

use super::ParseLimits;
use super::number;
use super::refusal::{ErrorLine, Refusal, Then};
use super::request::{Request, StatsRequest};
use super::token::{Tokens, ends_in_noreply, token};

type Parsed<'a> = Result<Request<'a>, Refusal<'a>>;

/// memcached takes nothing shorter for a line.
const COMMAND_BYTES_MIN: usize = 2;
const VERBOSITY_MAX: u32 = 2;
const MEMLIMIT_MIB_MIN: u32 = 8;
const MEMLIMIT_MIB_MAX: u32 = 1_000_000_000;
/// memcached's bound of slab class numbers.
const SLAB_CLASSES: u32 = 64;
/// flush_all delays above this are Unix times, as exptimes are.
const RELATIVE_DELAY_S_MAX: u32 = 60 * 60 * 24 * 30;

/// Reads what is no key command: `line` from its first token on, which may have spaces before.
pub(super) fn command<'a>(line: &'a [u8], now: Now, limits: &ParseLimits) -> Parsed<'a> {
    let (rest, word) = token(line).map_err(|_| ErrorLine::BadFormat)?;
    if line.len() < COMMAND_BYTES_MIN {
        return Err(ErrorLine::BadFormat.into());
    }
    let noreply = ends_in_noreply(rest);
    let read = match word {
        b"flush_all" => flush_all(rest, noreply, now, limits),
        b"verbosity" => verbosity(rest, noreply),
        b"cache_memlimit" => cache_memlimit(rest, noreply),
        b"shutdown" => shutdown(rest, limits),
        b"slabs" => slabs(rest, noreply),
        b"lru_crawler" => lru_crawler(rest, noreply),
        _ => return Err(unknown(rest)),
    };
    read.map_err(|line| Refusal::new(line).silent_if(noreply))
}

/// A line that is no command. One that a browser may have been tricked into sending closes the
/// connection, so that nothing of the page's making behind it is carried out.
fn unknown(rest: &[u8]) -> Refusal<'_> {
    let refusal = Refusal::new(ErrorLine::UnknownCommand);
    match Tokens(rest).last() {
        Some(last) if last.starts_with(b"HTTP/") => Refusal {
            then: Then::Close,
            ..refusal.silent_if(true)
        },
        _ => refusal,
    }
}

fn flush_all(
    rest: &[u8],
    noreply: bool,
    now: Now,
    limits: &ParseLimits,
) -> Result<Request<'static>, ErrorLine> {
    if !limits.flush_enabled {
        return Err(ErrorLine::FlushNotAllowed);
    }
    let delay = match Tokens(rest).next() {
        None => 0,
        Some(b"noreply") if noreply && Tokens(rest).nth(1).is_none() => 0,
        Some(delay) => number::i32(delay).ok_or(ErrorLine::InvalidExptime)?,
    };
    let delay_s = match u32::try_from(delay) {
        Err(_) => 0,
        Ok(delay_s) if delay_s <= RELATIVE_DELAY_S_MAX => delay_s,
        Ok(at_s) => {
            let left_s = u64::from(at_s).saturating_sub(now.unix_s());
            u32::try_from(left_s).unwrap_or(u32::MAX)
        }
    };
    Ok(Request::FlushAll { delay_s, noreply })
}

fn verbosity(rest: &[u8], noreply: bool) -> Result<Request<'static>, ErrorLine> {
    let level = Tokens(rest)
        .next()
        .and_then(number::u32)
        .ok_or(ErrorLine::BadFormat)?;
    Ok(Request::Verbosity {
        level: level.min(VERBOSITY_MAX) as u8,
        noreply,
    })
}

fn cache_memlimit(rest: &[u8], noreply: bool) -> Result<Request<'static>, ErrorLine> {
    let megabytes = Tokens(rest)
        .next()
        .and_then(number::u32)
        .ok_or(ErrorLine::UnknownCommand)?;
    match megabytes {
        ..MEMLIMIT_MIB_MIN => Err(ErrorLine::MemlimitTooSmall),
        MEMLIMIT_MIB_MIN..=MEMLIMIT_MIB_MAX => Ok(Request::CacheMemlimit {
            memory_bytes: u64::from(megabytes) << 20,
            noreply,
        }),
        _ => Err(ErrorLine::MemlimitNotMegabytes),
    }
}

fn shutdown(rest: &[u8], limits: &ParseLimits) -> Result<Request<'static>, ErrorLine> {
    if !limits.shutdown_enabled {
        return Err(ErrorLine::ShutdownNotEnabled);
    }
    let mut words = Tokens(rest);
    match (words.next(), words.next()) {
        (None, _) => Ok(Request::Shutdown { graceful: false }),
        (Some(b"graceful"), None) => Ok(Request::Shutdown { graceful: true }),
        _ => Err(ErrorLine::InvalidShutdownMode),
    }
}

/// There are no slab pages to move: only having that switched off succeeds.
fn slabs(rest: &[u8], noreply: bool) -> Result<Request<'static>, ErrorLine> {
    let (rest, word) = token(rest).map_err(|_| ErrorLine::UnknownCommand)?;
    match (word, Tokens(rest).count()) {
        (b"reassign", 2) => Err(ErrorLine::ReassignDisabled),
        (b"automove", 1..) => {
            let (_, (word, value)) = (token, opt(token))
                .parse(rest)
                .map_err(|_| ErrorLine::BadFormat)?;
            match word {
                b"ratio" | b"freeratio" if value.is_none() => Err(ErrorLine::UnknownCommand),
                b"ratio" | b"freeratio" => Err(ErrorLine::ReassignDisabled),
                b"window" => match value.and_then(number::u32) {
                    Some(_) => Err(ErrorLine::ReassignDisabled),
                    None => Err(ErrorLine::BadFormat),
                },
                level => match number::u32(level).ok_or(ErrorLine::BadFormat)? {
                    0 => Ok(Request::Settled { noreply }),
                    1 | 2 => Err(ErrorLine::ReassignDisabled),
                    _ => Err(ErrorLine::UnknownCommand),
                },
            }
        }
        _ => Err(ErrorLine::UnknownCommand),
    }
}

/// There is no LRU crawler: only having it switched off succeeds.
fn lru_crawler(rest: &[u8], noreply: bool) -> Result<Request<'static>, ErrorLine> {
    let (rest, word) = token(rest).map_err(|_| ErrorLine::UnknownCommand)?;
    match (word, Tokens(rest).count()) {
        (b"crawl" | b"metadump" | b"mgdump" | b"tocrawl" | b"sleep", 1) => {
            Err(ErrorLine::CrawlerDisabled)
        }
        (b"enable", 0) => Err(ErrorLine::CrawlerNotStarted),
        (b"disable", 0) => Ok(Request::Settled { noreply }),
        _ => Err(ErrorLine::UnknownCommand),
    }
}

/// stats; `rest` is the line behind the word.
pub(super) fn stats(rest: &[u8]) -> Parsed<'_> {
    let mut words = Tokens(rest);
    let stats = match words.next() {
        None => StatsRequest::General,
        Some(b"settings") => StatsRequest::Settings,
        Some(b"items") => StatsRequest::Items,
        Some(b"slabs") => StatsRequest::Slabs,
        Some(b"sizes") => StatsRequest::Sizes,
        Some(b"conns") => StatsRequest::Connections,
        Some(b"reset") => StatsRequest::Reset,
        Some(b"zufar") => StatsRequest::Zufar,
        Some(b"detail") => match words.next() {
            Some(b"on") => StatsRequest::DetailOn,
            Some(b"off") => StatsRequest::DetailOff,
            Some(b"dump") => StatsRequest::DetailDump,
            _ => return Err(ErrorLine::DetailUsage.into()),
        },
        Some(b"cachedump") => {
            let (Some(class), Some(limit)) = (words.next(), words.next()) else {
                return Err(ErrorLine::BadLine.into());
            };
            return match (number::u32(class), number::u32(limit)) {
                (Some(..SLAB_CLASSES), Some(_)) => Err(ErrorLine::CachedumpNotAllowed.into()),
                (Some(_), Some(_)) => Err(ErrorLine::IllegalSlabId.into()),
                _ => Err(ErrorLine::BadFormat.into()),
            };
        }
        Some(_) => return Err(ErrorLine::UnknownCommand.into()),
    };
    Ok(Request::Stats(stats))
}
