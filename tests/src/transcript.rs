//! Transcripts: files of what is sent and exactly what must come back.
//!
//! Decides their form (`transcripts/classic.txt` explains it) and how they are played: step by
//! step, pipelined, or byte by byte. Refuses to know what any command means.

use std::collections::BTreeMap;

use crate::client::{Client, shown};

/// Whose answers a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Those of every memcached.
    Every,
    /// Those of memcached since 1.6.40.
    Recent,
    /// Zufar's own.
    Zufar,
}

/// How a transcript is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Each request waits for the answer to the one before.
    Steps,
    /// All requests are sent at once, as far as they do not depend on an answer.
    Pipelined,
    /// As `Pipelined`, but every byte in a write of its own.
    Bytes,
}

/// Sections over this many bytes are not played byte by byte: they hold one long value, and
/// its bytes teach nothing new.
const BYTEWISE_BYTES_MAX: usize = 16 * 1024;

#[derive(Clone, Debug)]
enum Step {
    Send(Vec<u8>),
    Expect(Vec<u8>),
    ExpectEnd,
}

/// One conversation on one connection.
#[derive(Clone, Debug)]
pub struct Section {
    /// What it is about.
    pub name: String,
    /// Whose answers it holds.
    pub dialect: Dialect,
    steps: Vec<(usize, Step)>,
}

/// Reads a transcript.
///
/// # Panics
/// When it has another form.
#[must_use]
pub fn parse(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        if line.is_empty() || line.starts_with("# ") || line == "#" {
            continue;
        }
        if let Some(title) = line.strip_prefix("== ") {
            sections.push(Section::titled(title));
            continue;
        }
        let section = sections
            .last_mut()
            .unwrap_or_else(|| panic!("line {number} is outside of any section"));
        section.steps.push((number, step(number, line)));
    }
    sections
}

fn step(number: usize, line: &str) -> Step {
    let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut bytes = unescaped(rest);
    match mark {
        ">" => {
            bytes.extend_from_slice(b"\r\n");
            Step::Send(bytes)
        }
        ">>" => Step::Send(bytes),
        "<" => {
            bytes.extend_from_slice(b"\r\n");
            Step::Expect(bytes)
        }
        "<<" => Step::Expect(bytes),
        "<close" => Step::ExpectEnd,
        _ => panic!("line {number} starts with {mark}"),
    }
}

/// Resolves `\r`, `\n`, `\t`, `\\`, `\xHH` and `\*N{BYTES}`.
pub(crate) fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.extend_from_slice(plain.as_bytes());
        let kind = escape
            .chars()
            .next()
            .expect("a backslash escapes something");
        rest = &escape[kind.len_utf8()..];
        match kind {
            'r' => out.push(b'\r'),
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            '\\' => out.push(b'\\'),
            'x' => {
                let (hex, after) = rest.split_at(2);
                out.push(u8::from_str_radix(hex, 16).expect("two hexadecimal digits"));
                rest = after;
            }
            '*' => {
                let (count, after) = rest.split_once('{').expect("a repetition has braces");
                let (bytes, after) = after.split_once('}').expect("a repetition has braces");
                let count = count.parse().expect("a repetition has a count");
                out.extend_from_slice(bytes.repeat(count).as_bytes());
                rest = after;
            }
            other => panic!("\\{other} is no escape"),
        }
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

impl Section {
    fn titled(title: &str) -> Self {
        let (name, dialect) = match title.rsplit_once(" @") {
            None => (title, Dialect::Every),
            Some((name, "1.6.40")) => (name, Dialect::Recent),
            Some((name, "zufar")) => (name, Dialect::Zufar),
            Some((_, other)) => panic!("no dialect is called {other}"),
        };
        Self {
            name: name.to_owned(),
            dialect,
            steps: Vec::new(),
        }
    }

    /// Plays the section on a fresh connection.
    ///
    /// # Errors
    /// With the line and what came instead, when the answers differ.
    pub fn play(&self, client: &mut Client, pace: Pace) -> Result<(), String> {
        let mut names = BTreeMap::new();
        let mut ahead = 0;
        for at in 0..self.steps.len() {
            let (number, step) = &self.steps[at];
            if at >= ahead && matches!(step, Step::Send(_)) {
                ahead = self.send_from(at, client, pace, &names)?;
            }
            let told = |error| format!("{}, line {number}: {error}", self.name);
            match step {
                Step::Send(_) => {}
                Step::Expect(expected) => {
                    expect(client, expected, &mut names).map_err(told)?;
                }
                Step::ExpectEnd => client.expect_end(),
            }
        }
        Ok(())
    }

    /// All that is sent, with 1 for every name.
    #[must_use]
    pub fn sent(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (_, step) in &self.steps {
            if let Step::Send(bytes) = step {
                for part in parts(bytes) {
                    match part {
                        Part::Plain(bytes) => out.extend_from_slice(bytes),
                        Part::Name(_) => out.push(b'1'),
                    }
                }
            }
        }
        out
    }

    /// Sends what can be sent now, from step `at` on; returns the first step that waits.
    fn send_from(
        &self,
        at: usize,
        client: &mut Client,
        pace: Pace,
        names: &BTreeMap<String, Vec<u8>>,
    ) -> Result<usize, String> {
        let mut output = Vec::new();
        let mut next = at;
        for (_, step) in &self.steps[at..] {
            match step {
                Step::Send(bytes) => match filled(bytes, names) {
                    Some(bytes) => output.extend_from_slice(&bytes),
                    None => break,
                },
                Step::Expect(_) | Step::ExpectEnd if pace == Pace::Steps => break,
                Step::Expect(_) | Step::ExpectEnd => {}
            }
            next += 1;
        }
        let whole = pace != Pace::Bytes || output.len() > BYTEWISE_BYTES_MAX;
        let size = if whole { output.len().max(1) } else { 1 };
        for part in output.chunks(size) {
            // A server that closes early may refuse the rest; what it said is judged below.
            if client.try_send(part).is_err() {
                break;
            }
        }
        if next == at {
            return Err(format!("{}: a name is used before it is known", self.name));
        }
        Ok(next)
    }
}

/// Replaces `{name}`s; none if one of them is not known yet.
fn filled(bytes: &[u8], names: &BTreeMap<String, Vec<u8>>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for part in parts(bytes) {
        match part {
            Part::Plain(bytes) => out.extend_from_slice(bytes),
            Part::Name(name) => out.extend_from_slice(names.get(name)?),
        }
    }
    Some(out)
}

enum Part<'a> {
    Plain(&'a [u8]),
    Name(&'a str),
}

fn parts(bytes: &[u8]) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = bytes;
    while let Some(open) = rest.iter().position(|&byte| byte == b'{') {
        let inside = &rest[open + 1..];
        let Some(close) = inside.iter().position(|&byte| byte == b'}') else {
            break;
        };
        let name = std::str::from_utf8(&inside[..close]).expect("names are text");
        parts.push(Part::Plain(&rest[..open]));
        parts.push(Part::Name(name));
        rest = &inside[close + 1..];
    }
    parts.push(Part::Plain(rest));
    parts
}

fn expect(
    client: &mut Client,
    expected: &[u8],
    names: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), String> {
    let differ = |found: &[u8]| {
        Err(format!(
            "\nexpected {}\n   found {}",
            shown(expected),
            shown(found)
        ))
    };
    if let Some(exact) = filled(expected, names) {
        return match client.try_expect(&exact) {
            Ok(None) => Ok(()),
            Ok(Some(found)) => differ(&found),
            Err(error) => Err(format!("expected {}: {error}", shown(&exact))),
        };
    }
    let mut line = client
        .try_line_bytes()
        .map_err(|error| format!("expected {}: {error}", shown(expected)))?;
    line.extend_from_slice(b"\r\n");
    if expected == b"{error}\r\n" {
        let error = [&b"ERROR"[..], b"CLIENT_ERROR ", b"SERVER_ERROR "];
        let is_one = error.iter().any(|start| line.starts_with(start));
        return if is_one { Ok(()) } else { differ(&line) };
    }
    let mut rest = &line[..];
    for part in parts(expected) {
        rest = match part {
            Part::Plain(bytes) => match rest.strip_prefix(bytes) {
                Some(rest) => rest,
                None => return differ(&line),
            },
            Part::Name(name) => {
                let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let (number, after) = rest.split_at(digits);
                let differs = names.get(name).is_some_and(|known| known != number);
                if digits == 0 || differs {
                    return differ(&line);
                }
                if name != "_" {
                    names.insert(name.to_owned(), number.to_vec());
                }
                after
            }
        };
    }
    if rest.is_empty() {
        Ok(())
    } else {
        differ(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        assert_eq!(unescaped(r"a\r\n\x00\\\*3{xy}b"), b"a\r\n\0\\xyxyxyb");
    }

    #[test]
    fn names_are_filled_once_known() {
        let mut names = BTreeMap::new();
        assert_eq!(filled(b"cas {one}", &names), None);
        names.insert("one".to_owned(), b"17".to_vec());
        assert_eq!(filled(b"cas {one}.", &names), Some(b"cas 17.".to_vec()));
    }

    #[test]
    fn sections_have_names_dialects_and_steps() {
        let sections = parse("# x\n== one\n> a\n< b\n\n== two @1.6.40\n>> c\n<close\n");
        assert_eq!(sections.len(), 2);
        assert_eq!(sections[1].dialect, Dialect::Recent);
        assert!(matches!(&sections[0].steps[0].1, Step::Send(bytes) if bytes == b"a\r\n"));
        assert!(matches!(sections[1].steps[1].1, Step::ExpectEnd));
    }
}
