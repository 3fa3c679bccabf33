//! Two answers to one request, side by side.
//!
//! Decides whether they are the same: byte by byte, but for cas uniques, which are told apart by
//! when they first appeared, for times, which two clocks tell, and for what is listed. Refuses
//! to know how the answers came.

mod fields;

use std::collections::BTreeSet;

use super::Listed;
use super::answer::{Answer, Line};
use super::keys::Key;
use super::ledger::Ledger;
use super::request::{Request, Silence};

use fields::{field, number, trimmed};

/// What the answers so far say about those to come.
pub(super) struct Comparison<'a> {
    keys: &'a [Key],
    pub(super) ledger: Ledger,
    /// Keys of items that have been counted since they were stored: their marks and the spaces
    /// behind their number are memcached's own.
    counted: BTreeSet<usize>,
    /// By how many seconds two times may differ.
    slack_s: i64,
    /// The cas unique that Zufar was sent with the request.
    cas_sent: Option<u64>,
    /// Differences met in this answer.
    met: Vec<Listed>,
}

/// More seconds than any relative exptime: what has so many left expires at a Unix time.
const ABSOLUTE_S: i64 = 60 * 60 * 24 * 31;
/// By how many seconds such times may differ: the two tell them by other clocks, of which
/// memcached's takes no part when the machine sleeps or its time is set.
const ABSOLUTE_SLACK_S: i64 = 60 * 60 * 24;

const NON_NUMERIC: &[u8] = b"CLIENT_ERROR cannot increment or decrement non-numeric value";
const TOO_LARGE: &[u8] = b"SERVER_ERROR object too large for cache";

/// Why two answers are not the same.
type Verdict = Result<(), String>;

fn differ<T>(what: &str) -> Result<T, String> {
    Err(what.to_owned())
}

impl<'a> Comparison<'a> {
    pub(super) fn new(keys: &'a [Key]) -> Self {
        Self {
            keys,
            ledger: Ledger::default(),
            counted: BTreeSet::new(),
            slack_s: 0,
            cas_sent: None,
            met: Vec::new(),
        }
    }

    /// Sets by how many seconds two times may differ.
    pub(super) fn set_slack_s(&mut self, slack_s: i64) {
        self.slack_s = slack_s;
    }

    /// Compares two answers. Gives the listed differences between them.
    ///
    /// # Errors
    /// When there is another difference; says which.
    pub(super) fn compare(
        &mut self,
        request: &Request,
        cas_sent: Option<u64>,
        memcached: &Answer,
        zufar: &Answer,
    ) -> Result<Vec<Listed>, String> {
        self.cas_sent = cas_sent;
        self.met.clear();
        self.judge(request, memcached, zufar)?;
        self.note_state(request, zufar);
        Ok(std::mem::take(&mut self.met))
    }

    fn judge(&mut self, request: &Request, memcached: &Answer, zufar: &Answer) -> Verdict {
        if request.mends {
            return mended(memcached, zufar);
        }
        if let Some(apart) = request.apart {
            return self.apart(request, apart, memcached, zufar);
        }
        if self.is_quiet_vivification(request, memcached, zufar) {
            self.met.push(Listed::QuietVivify);
            return Ok(());
        }
        match request.command {
            "version" => self.version(memcached, zufar),
            "get" | "gets" | "gat" | "gats" => self.values(request, memcached, zufar),
            "mg" | "ms" | "md" | "ma" => self.meta(request, memcached, zufar),
            "me" => self.inspection(request, memcached, zufar),
            _ if memcached == zufar => Ok(()),
            _ => differ("the answers"),
        }
    }

    fn note_state(&mut self, request: &Request, zufar: &Answer) {
        let &[key] = &request.keys[..] else {
            return;
        };
        match request.command {
            "incr" | "decr" | "ma" => {
                self.counted.insert(key);
            }
            "set" | "add" | "replace" | "cas" if zufar.head() == b"STORED" => {
                self.counted.remove(&key);
            }
            "delete" if zufar.head() == b"DELETED" => {
                self.counted.remove(&key);
            }
            "ms" if zufar.code() == b"HD" => {
                let extends = request
                    .flag(b'M')
                    .is_some_and(|mode| matches!(mode, b"MA" | b"MP"));
                if !extends && !request.has(b'I') {
                    self.counted.remove(&key);
                }
            }
            _ => {}
        }
    }

    /// A request about which the two are known to disagree; its key is deleted behind it.
    fn apart(
        &mut self,
        request: &Request,
        apart: Listed,
        memcached: &Answer,
        zufar: &Answer,
    ) -> Verdict {
        let memcached_is_known = match apart {
            Listed::NewerFlag => matches!(
                memcached.head(),
                b"CLIENT_ERROR invalid flag" | b"CLIENT_ERROR invalid or duplicate flag"
            ),
            Listed::AppendVivifies if memcached.code() == b"NS" => true,
            Listed::ItemLimit => memcached.head() == TOO_LARGE,
            Listed::NumberBeyondEnd => memcached.head() == NON_NUMERIC,
            Listed::CountedTouch => memcached.head() != zufar.head(),
            _ => false,
        };
        // These two say nothing about what is new.
        let is_refused = zufar.is_error() && ![NON_NUMERIC, TOO_LARGE].contains(&zufar.head());
        if memcached_is_known && !is_refused && !zufar.is_silent() {
            self.met.push(apart);
            return Ok(());
        }
        match request.command {
            "ms" => self.meta(request, memcached, zufar),
            _ if memcached == zufar => Ok(()),
            _ => differ("the answers"),
        }
    }

    fn is_quiet_vivification(&self, request: &Request, memcached: &Answer, zufar: &Answer) -> bool {
        request.command == "ma"
            && request.silence == Silence::Usual
            && request.has(b'N')
            && zufar.is_silent()
            && matches!(memcached.code(), b"HD" | b"VA")
    }

    fn version(&mut self, memcached: &Answer, zufar: &Answer) -> Verdict {
        self.met.push(Listed::Version);
        if !memcached.head().starts_with(b"VERSION 1.6.") {
            return differ("memcached's version");
        }
        if zufar.head() != b"VERSION 1.6.45" {
            return differ("Zufar's version");
        }
        Ok(())
    }

    fn values(&mut self, request: &Request, memcached: &Answer, zufar: &Answer) -> Verdict {
        if memcached.lines.len() != zufar.lines.len() {
            return differ("the number of lines");
        }
        for (memcached, zufar) in memcached.lines.iter().zip(&zufar.lines) {
            if memcached == zufar && memcached.words().len() < 5 {
                continue;
            }
            self.value(request, memcached, zufar)?;
        }
        Ok(())
    }

    /// `VALUE <key> <flags> <bytes> [<cas>]` and the data.
    fn value(&mut self, request: &Request, memcached: &Line, zufar: &Line) -> Verdict {
        let (one, two) = (memcached.words(), zufar.words());
        if one.len() != two.len() || one.len() < 4 || one[..3] != two[..3] {
            return differ("the line");
        }
        let mut keys = request.keys.iter().copied();
        let Some(key) = keys.find(|&key| self.keys[key].name == one[1]) else {
            return differ("the key, for which nobody asked");
        };
        self.data(key, memcached, zufar)?;
        match (one.get(4), two.get(4)) {
            (Some(one), Some(two)) => self.cas(key, one, two),
            _ => Ok(()),
        }
    }

    fn data(&mut self, key: usize, memcached: &Line, zufar: &Line) -> Verdict {
        if memcached.data == zufar.data {
            return Ok(());
        }
        let (Some(one), Some(two)) = (&memcached.data, &zufar.data) else {
            return differ("whether there is data");
        };
        let padded = self.counted.contains(&key) && one.len() > two.len();
        if padded && trimmed(one) == trimmed(two) {
            self.met.push(Listed::DecrPadding);
            return Ok(());
        }
        differ("the data")
    }

    fn cas(&mut self, key: usize, memcached: &[u8], zufar: &[u8]) -> Verdict {
        let (Some(one), Some(two)) = (number(memcached), number(zufar)) else {
            return differ("the cas unique, which is no number");
        };
        if self.ledger.note(key, one, two) {
            Ok(())
        } else {
            differ("whether the cas unique has been seen before")
        }
    }

    fn meta(&mut self, request: &Request, memcached: &Answer, zufar: &Answer) -> Verdict {
        if memcached.is_silent() || zufar.is_silent() {
            return if memcached == zufar {
                Ok(())
            } else {
                differ("whether it is answered")
            };
        }
        let (one, two) = (&memcached.lines[0], &zufar.lines[0]);
        if memcached.is_error() || zufar.is_error() {
            return if one == two {
                Ok(())
            } else {
                differ("the error")
            };
        }
        let &[key] = &request.keys[..] else {
            return differ("the request, which has no key");
        };
        let (mut one_words, mut two_words) = (one.words(), two.words());
        if self.drops_value(request, &two_words) && one_words[0] == b"VA" {
            if two_words[0] != b"HD" {
                return differ("whether C drops the value");
            }
            self.met.push(Listed::GetCompare);
            one_words.remove(1);
        } else {
            if one_words[0] != two_words[0] {
                return differ("the code");
            }
            self.data(key, one, two)?;
            if one_words[0] == b"VA" {
                one_words.remove(1);
                two_words.remove(1);
            }
        }
        self.flags(request, key, &one_words[1..], &two_words[1..])
    }

    /// Whether `C` of a meta get is the cas unique that the answer shows.
    fn drops_value(&self, request: &Request, zufar: &[&[u8]]) -> bool {
        let shown = zufar[1..].iter().find_map(|word| word.strip_prefix(b"c"));
        request.command == "mg" && request.has(b'C') && shown.and_then(number) == self.cas_sent
    }

    fn flags(
        &mut self,
        request: &Request,
        key: usize,
        memcached: &[&[u8]],
        zufar: &[&[u8]],
    ) -> Verdict {
        let mut one = fields::of_meta(memcached);
        let mut two = fields::of_meta(zufar);
        if request.command == "ms" && request.has(b's') {
            self.stored_size(request, &one, &mut two)?;
        }
        if self.counted.contains(&key) {
            let has_marks = |fields: &[Vec<&[u8]>]| fields.iter().any(|field| is_mark(field[0]));
            if one != two && (has_marks(&one) || has_marks(&two)) {
                self.met.push(Listed::CountedMarks);
            }
            one.retain(|field| !is_mark(field[0]));
            two.retain(|field| !is_mark(field[0]));
        }
        if one.len() != two.len() {
            return differ("the number of flags");
        }
        for (one, two) in one.iter().zip(&two) {
            self.flag(key, one, two)?;
        }
        Ok(())
    }

    /// 1.6.18 has no size in answers to `ms`.
    fn stored_size(
        &mut self,
        request: &Request,
        memcached: &[Vec<&[u8]>],
        zufar: &mut Vec<Vec<&[u8]>>,
    ) -> Verdict {
        let is_size = |field: &[&[u8]]| field[0].starts_with(b"s");
        if memcached.iter().any(|field| is_size(field)) {
            return Ok(());
        }
        let Some(place) = zufar.iter().position(|field| is_size(field)) else {
            return differ("the size of what was stored");
        };
        let size = number(&zufar.remove(place)[0][1..]);
        let extends = matches!(request.flag(b'M'), Some(b"MA" | b"MP"));
        if !extends && size != request.data_bytes.map(|bytes| bytes as u64) {
            return differ("the size of what was stored");
        }
        self.met.push(Listed::StoredSize);
        Ok(())
    }

    fn flag(&mut self, key: usize, memcached: &[&[u8]], zufar: &[&[u8]]) -> Verdict {
        let (one, two) = (memcached[0], zufar[0]);
        if one[0] != two[0] {
            return differ("the order of flags");
        }
        let wrong = || format!("flag {}", one[..1].escape_ascii());
        match one[0] {
            b'c' => self.cas(key, &one[1..], &two[1..]),
            b't' => self.remaining(&one[1..], &two[1..]),
            b'l' => self.idle(&one[1..], &two[1..]),
            b'k' if memcached != zufar => {
                let key = &self.keys[key];
                let encoded = key.encoded().unwrap_or_default();
                let is_one = |field: &[&[u8]]| match field {
                    [plain] => plain[1..] == key.name,
                    [form, _] => form[1..] == encoded,
                    _ => false,
                };
                if !is_one(memcached) || !is_one(zufar) {
                    return Err(wrong());
                }
                self.met.push(Listed::KeyAsSent);
                Ok(())
            }
            b's' if one != two && self.counted.contains(&key) => {
                let (one, two) = (number(&one[1..]), number(&two[1..]));
                if one < two {
                    return Err(wrong());
                }
                self.met.push(Listed::DecrPadding);
                Ok(())
            }
            _ if memcached == zufar => Ok(()),
            _ => Err(wrong()),
        }
    }

    /// Seconds that are left.
    fn remaining(&mut self, memcached: &[u8], zufar: &[u8]) -> Verdict {
        let (Some(one), Some(two)) = (fields::signed(memcached), fields::signed(zufar)) else {
            return differ("the seconds left, which are no number");
        };
        if one > i64::from(i32::MAX) && two == 0 {
            self.met.push(Listed::WrappedTtl);
            return Ok(());
        }
        let is_alike = if one < 0 || two < 0 {
            one == two
        } else {
            self.are_near(one, two)
        };
        if is_alike {
            Ok(())
        } else {
            differ("the seconds left")
        }
    }

    fn are_near(&self, one: i64, two: i64) -> bool {
        let slack_s = if one.min(two) > ABSOLUTE_S {
            ABSOLUTE_SLACK_S
        } else {
            self.slack_s
        };
        (one - two).abs() <= slack_s
    }

    /// Seconds since the last access.
    fn idle(&mut self, memcached: &[u8], zufar: &[u8]) -> Verdict {
        let (Some(one), Some(two)) = (fields::signed(memcached), fields::signed(zufar)) else {
            return differ("the seconds since, which are no number");
        };
        if two > one + self.slack_s {
            return differ("the seconds since the last access");
        }
        if two + self.slack_s < one {
            self.met.push(Listed::LastAccess);
        }
        Ok(())
    }

    /// `ME <key> exp=… la=… cas=… fetch=… cls=… size=…`
    fn inspection(&mut self, request: &Request, memcached: &Answer, zufar: &Answer) -> Verdict {
        if memcached == zufar && memcached.code() != b"ME" {
            return Ok(());
        }
        let (one, two) = (&memcached.lines[0], &zufar.lines[0]);
        let (one, two) = (one.words(), two.words());
        if one.len() != 8 || two.len() != 8 || one[0] != two[0] {
            return differ("the line");
        }
        let key = request.keys[0];
        if one[1] != two[1] {
            let encoded = self.keys[key].encoded().unwrap_or_default();
            if one[1] != encoded || two[1] != self.keys[key].name {
                return differ("the key");
            }
            self.met.push(Listed::KeyAsSent);
        }
        let both = |at: usize, name: &str| Some((field(one[at], name)?, field(two[at], name)?));
        let all = (|| {
            Some((
                both(2, "exp")?,
                both(3, "la")?,
                both(4, "cas")?,
                both(5, "fetch")?,
                both(6, "cls")?,
                both(7, "size")?,
            ))
        })();
        let Some((expiry, idle, cas, fetched, class, size)) = all else {
            return differ("the names");
        };
        self.inspected_expiry(expiry)?;
        self.idle(idle.0, idle.1)?;
        self.cas(key, cas.0, cas.1)?;
        if fetched.0 != fetched.1 {
            if !self.counted.contains(&key) {
                return differ("fetch");
            }
            self.met.push(Listed::CountedMarks);
        }
        if class.0 != class.1 || size.0 != size.1 {
            self.met.push(Listed::InspectMemory);
        }
        Ok(())
    }

    fn inspected_expiry(&mut self, (memcached, zufar): (&[u8], &[u8])) -> Verdict {
        let (Some(one), Some(two)) = (fields::signed(memcached), fields::signed(zufar)) else {
            return differ("exp, which is no number");
        };
        if one == two {
            return Ok(());
        }
        if two < 0 || !self.are_near(-one, two) {
            return differ("exp");
        }
        self.met.push(Listed::InspectExpiry);
        Ok(())
    }
}

/// `h`, `X`, `Z` and `W`.
fn is_mark(word: &[u8]) -> bool {
    matches!(word, b"h0" | b"h1" | b"X" | b"Z" | b"W")
}

fn mended(memcached: &Answer, zufar: &Answer) -> Verdict {
    let is_one = |answer: &Answer| matches!(answer.head(), b"DELETED" | b"NOT_FOUND");
    if is_one(memcached) && is_one(zufar) {
        Ok(())
    } else {
        differ("the answers to a delete")
    }
}

#[cfg(test)]
mod tests;
