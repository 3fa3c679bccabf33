//! Requests as bytes, and what a client makes of the bytes that answer them.
//!
//! Decides both dialects of the protocol as a client speaks them. Refuses to know what is asked
//! for and why.

use crate::operation::{Answer, KeyNumber, Marks, Mode, Operation, Refusal, Value};
use crate::trace::Excerpt;

/// How an answer is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// One line of a classic command.
    Line,
    /// VALUE lines and END.
    Values,
    /// One answer of a meta command.
    Meta,
    /// Answers of quiet meta commands, as far as they have something to say, and MN.
    Quiet,
    /// Nothing at all.
    Silent,
    /// STAT lines and END.
    Stats,
}

/// One request and the commands in it.
#[derive(Clone, Debug)]
pub struct Request {
    /// As the client sends it.
    pub bytes: Vec<u8>,
    /// What it asks, key by key.
    pub commands: Vec<(KeyNumber, Operation)>,
    /// Told back by meta commands, so that each answer is known to be whose it is. Those of a
    /// quiet request count up from here.
    opaque: u32,
    shape: Shape,
}

/// An answer that has been read.
#[derive(Debug)]
pub struct Reading {
    /// Bytes that it took.
    pub bytes: usize,
    /// One for each command.
    pub answers: Vec<Answer>,
    /// STAT lines.
    pub stats: Vec<(String, String)>,
}

/// How a key is written.
#[must_use]
pub fn key_name(number: KeyNumber) -> String {
    match number % 7 {
        3 => format!("k{number:0>249}"),
        5 => format!("some:prefix:{number}"),
        _ => format!("k{number}"),
    }
}

/// What came of looking for an answer.
#[derive(Debug)]
pub enum Looked {
    /// It is there.
    Whole(Reading),
    /// It is not all there: at least so many bytes are needed.
    Short(usize),
}

impl Request {
    fn new(bytes: Vec<u8>, commands: Vec<(KeyNumber, Operation)>, shape: Shape) -> Self {
        Self {
            bytes,
            commands,
            opaque: 0,
            shape,
        }
    }

    /// get, gets or, with an exptime, gat and gats.
    #[must_use]
    pub fn values(keys: &[KeyNumber], with_cas: bool, touch: Option<i32>) -> Self {
        let mut line = match (with_cas, touch) {
            (false, None) => "get".to_owned(),
            (true, None) => "gets".to_owned(),
            (false, Some(exptime)) => format!("gat {exptime}"),
            (true, Some(exptime)) => format!("gats {exptime}"),
        };
        for key in keys {
            line.push(' ');
            line.push_str(&key_name(*key));
        }
        line.push_str("\r\n");
        let fetch = Operation::Fetch {
            meta: false,
            touch,
            vivify: None,
        };
        let commands = keys.iter().map(|key| (*key, fetch.clone())).collect();
        Self::new(line.into_bytes(), commands, Shape::Values)
    }

    /// A classic command on one key.
    #[must_use]
    pub fn classic(key: KeyNumber, operation: Operation, silent: bool) -> Self {
        let name = key_name(key);
        let end = if silent { " noreply\r\n" } else { "\r\n" };
        let mut bytes = match &operation {
            Operation::Touch { exptime } => format!("touch {name} {exptime}"),
            Operation::Delete { .. } => format!("delete {name}"),
            Operation::Count {
                decrement, delta, ..
            } => format!(
                "{} {name} {delta}",
                if *decrement { "decr" } else { "incr" }
            ),
            Operation::Store {
                mode,
                value,
                flags,
                exptime,
                compare,
                ..
            } => {
                let word = match mode {
                    Mode::Set if compare.is_some() => "cas",
                    Mode::Set => "set",
                    Mode::Add => "add",
                    Mode::Replace => "replace",
                    Mode::Append => "append",
                    Mode::Prepend => "prepend",
                };
                let mut line = format!("{word} {name} {flags} {exptime} {}", value.len());
                if let Some(cas) = compare {
                    line.push_str(&format!(" {cas}"));
                }
                line
            }
            Operation::Fetch { .. } | Operation::Flush { .. } => {
                unreachable!("these have their own forms")
            }
        }
        .into_bytes();
        bytes.extend_from_slice(end.as_bytes());
        if let Operation::Store { value, .. } = &operation {
            bytes.extend_from_slice(value.bytes().expect("clients send whole values"));
            bytes.extend_from_slice(b"\r\n");
        }
        let shape = if silent { Shape::Silent } else { Shape::Line };
        Self::new(bytes, vec![(key, operation)], shape)
    }

    /// A meta command on one key.
    #[must_use]
    pub fn meta(key: KeyNumber, operation: Operation, opaque: u32) -> Self {
        let mut bytes = Vec::new();
        push_meta(&mut bytes, key, &operation, opaque, false);
        let mut request = Self::new(bytes, vec![(key, operation)], Shape::Meta);
        request.opaque = opaque;
        request
    }

    /// Quiet meta commands and a no-op that ends them.
    #[must_use]
    pub fn quiet(commands: Vec<(KeyNumber, Operation)>, opaque: u32) -> Self {
        let mut bytes = Vec::new();
        for (number, (key, operation)) in commands.iter().enumerate() {
            push_meta(&mut bytes, *key, operation, opaque + number as u32, true);
        }
        bytes.extend_from_slice(b"mn\r\n");
        let mut request = Self::new(bytes, commands, Shape::Quiet);
        request.opaque = opaque;
        request
    }

    /// flush_all, of all keys below `keys`.
    #[must_use]
    pub fn flush(keys: u16) -> Self {
        Self::flush_of(0..keys, 0)
    }

    /// flush_all, of these keys, after so many seconds.
    #[must_use]
    pub fn flush_of(keys: impl Iterator<Item = KeyNumber>, delay_s: u32) -> Self {
        let commands = keys.map(|key| (key, Operation::Flush { delay_s }));
        let line = match delay_s {
            0 => "flush_all\r\n".to_owned(),
            _ => format!("flush_all {delay_s}\r\n"),
        };
        Self::new(line.into_bytes(), commands.collect(), Shape::Line)
    }

    /// stats, of the kind named, if any.
    #[must_use]
    pub fn stats(kind: &str) -> Self {
        let line = format!("stats {kind}").trim_end().to_owned() + "\r\n";
        Self::new(line.into_bytes(), Vec::new(), Shape::Stats)
    }

    /// Whether no answer comes.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.shape == Shape::Silent
    }

    /// Reads the answer from the beginning of `input`.
    ///
    /// # Errors
    /// When what is there can't be the answer to this request.
    pub fn read(&self, input: &[u8]) -> Result<Looked, String> {
        let mut lines = Input {
            input,
            at: 0,
            needed: input.len() + 1,
        };
        let mut stats = Vec::new();
        let answers = match self.shape {
            Shape::Silent => Some(vec![Answer::Unknown; self.commands.len()]),
            Shape::Line => self.read_line(&mut lines)?,
            Shape::Values => self.read_values(&mut lines)?,
            Shape::Meta => self.read_meta(&mut lines)?,
            Shape::Quiet => self.read_quiet(&mut lines)?,
            Shape::Stats => read_stats(&mut lines, &mut stats)?,
        };
        Ok(match answers {
            Some(answers) => Looked::Whole(Reading {
                bytes: lines.at,
                answers,
                stats,
            }),
            None => Looked::Short(lines.needed),
        })
    }

    fn read_line(&self, lines: &mut Input<'_>) -> Result<Option<Vec<Answer>>, String> {
        let Some(line) = lines.line() else {
            return Ok(None);
        };
        let answer = match line {
            b"STORED" => Answer::Stored(None),
            b"NOT_STORED" => Answer::NotStored,
            b"EXISTS" => Answer::Exists,
            b"NOT_FOUND" => Answer::Miss,
            b"DELETED" | b"TOUCHED" | b"OK" => Answer::Done,
            _ => match number(line) {
                Some(number) => Answer::Number(number),
                None => Answer::Refused(refusal(line).ok_or_else(|| self.wrong(line))?),
            },
        };
        Ok(Some(vec![answer; self.commands.len()]))
    }

    /// Items come in the order of the keys; an error stands in place of END, and then nobody
    /// knows about the keys that did not come.
    fn read_values(&self, lines: &mut Input<'_>) -> Result<Option<Vec<Answer>>, String> {
        let mut answers = Vec::new();
        loop {
            let Some(line) = lines.line() else {
                return Ok(None);
            };
            if line == b"END" {
                answers.resize(self.commands.len(), Answer::Miss);
                return Ok(Some(answers));
            }
            let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
            let [b"VALUE", key, flags, bytes, cas @ ..] = words.as_slice() else {
                if refusal(line).is_none() {
                    return Err(self.wrong(line));
                }
                for answer in &mut answers {
                    if matches!(answer, Answer::Miss) {
                        *answer = Answer::Unknown;
                    }
                }
                answers.resize(self.commands.len(), Answer::Unknown);
                return Ok(Some(answers));
            };
            let at = (answers.len()..self.commands.len())
                .find(|at| key_name(self.commands[*at].0).as_bytes() == *key)
                .ok_or_else(|| self.wrong(line))?;
            answers.resize(at, Answer::Miss);
            let (Some(flags), Some(bytes)) = (number(flags), number(bytes)) else {
                return Err(self.wrong(line));
            };
            let Some(value) = lines.data(bytes as usize)? else {
                return Ok(None);
            };
            answers.push(Answer::Item {
                value: Value::new(value),
                flags: flags as u32,
                cas: cas.first().and_then(|cas| number(cas)),
                marks: None,
            });
        }
    }

    fn read_meta(&self, lines: &mut Input<'_>) -> Result<Option<Vec<Answer>>, String> {
        let Some(line) = lines.line() else {
            return Ok(None);
        };
        if let Some(refusal) = refusal(line) {
            return Ok(Some(vec![Answer::Refused(refusal)]));
        }
        let told = Told::read(line).ok_or_else(|| self.wrong(line))?;
        let (key, operation) = &self.commands[0];
        if told.opaque != Some(self.opaque) || told.key != Some(key_name(*key).as_bytes()) {
            return Err(self.wrong(line));
        }
        let Some(value) = lines.value_of(&told)? else {
            return Ok(None);
        };
        let answer = told
            .answer(operation, value)
            .ok_or_else(|| self.wrong(line))?;
        Ok(Some(vec![answer]))
    }

    fn read_quiet(&self, lines: &mut Input<'_>) -> Result<Option<Vec<Answer>>, String> {
        let mut answers = Vec::new();
        let mut errors = false;
        loop {
            let Some(line) = lines.line() else {
                return Ok(None);
            };
            if line == b"MN" {
                break;
            }
            if refusal(line).is_some() {
                // It does not say whose it is.
                errors = true;
                continue;
            }
            let told = Told::read(line).ok_or_else(|| self.wrong(line))?;
            let at = told
                .opaque
                .and_then(|opaque| opaque.checked_sub(self.opaque))
                .map(|at| at as usize)
                .filter(|at| (answers.len()..self.commands.len()).contains(at))
                .ok_or_else(|| self.wrong(line))?;
            self.fill_silent(&mut answers, at);
            let Some(value) = lines.value_of(&told)? else {
                return Ok(None);
            };
            let (_, operation) = &self.commands[at];
            answers.push(
                told.answer(operation, value)
                    .ok_or_else(|| self.wrong(line))?,
            );
        }
        self.fill_silent(&mut answers, self.commands.len());
        if errors {
            for answer in &mut answers {
                if !matches!(answer, Answer::Item { .. }) {
                    *answer = Answer::Unknown;
                }
            }
        }
        Ok(Some(answers))
    }

    /// What the silence of commands up to `end` says.
    fn fill_silent(&self, answers: &mut Vec<Answer>, end: usize) {
        for (_, operation) in &self.commands[answers.len()..end] {
            answers.push(match operation {
                Operation::Fetch { .. } => Answer::Miss,
                Operation::Store { .. } => Answer::Stored(None),
                _ => Answer::Unknown,
            });
        }
    }

    fn wrong(&self, line: &[u8]) -> String {
        format!(
            "{:?} is no answer to {:?}",
            Excerpt(line),
            Excerpt(&self.bytes)
        )
    }
}

fn push_meta(bytes: &mut Vec<u8>, key: KeyNumber, operation: &Operation, opaque: u32, quiet: bool) {
    let name = key_name(key);
    let end = format!(" k O{opaque}{}\r\n", if quiet { " q" } else { "" });
    let line = match operation {
        Operation::Fetch { touch, vivify, .. } => {
            let touch = touch.map_or(String::new(), |exptime| format!(" T{exptime}"));
            let vivify = vivify.map_or(String::new(), |exptime| format!(" N{exptime}"));
            format!("mg {name} v f c s{touch}{vivify}")
        }
        Operation::Store {
            mode,
            value,
            flags,
            exptime,
            compare,
            invalidate,
        } => {
            let mode = match mode {
                Mode::Set => "S",
                Mode::Add => "E",
                Mode::Replace => "R",
                Mode::Append => "A",
                Mode::Prepend => "P",
            };
            let compare = compare.map_or(String::new(), |cas| format!(" C{cas}"));
            let invalidate = if *invalidate { " I" } else { "" };
            let bytes = value.len();
            format!("ms {name} {bytes} c F{flags} T{exptime} M{mode}{compare}{invalidate}")
        }
        Operation::Delete { compare, stale } => {
            let compare = compare.map_or(String::new(), |cas| format!(" C{cas}"));
            let stale = match stale {
                None => String::new(),
                Some(None) => " I".to_owned(),
                Some(Some(exptime)) => format!(" I T{exptime}"),
            };
            format!("md {name}{compare}{stale}")
        }
        Operation::Count {
            decrement,
            delta,
            initial,
        } => {
            let mode = if *decrement { "D" } else { "I" };
            let initial = initial.map_or(String::new(), |(number, exptime)| {
                format!(" N{exptime} J{number}")
            });
            format!("ma {name} v M{mode} D{delta}{initial}")
        }
        Operation::Touch { .. } | Operation::Flush { .. } => unreachable!("not in this dialect"),
    };
    bytes.extend_from_slice(line.as_bytes());
    bytes.extend_from_slice(end.as_bytes());
    if let Operation::Store { value, .. } = operation {
        bytes.extend_from_slice(value.bytes().expect("clients send whole values"));
        bytes.extend_from_slice(b"\r\n");
    }
}

fn read_stats(
    lines: &mut Input<'_>,
    stats: &mut Vec<(String, String)>,
) -> Result<Option<Vec<Answer>>, String> {
    loop {
        let Some(line) = lines.line() else {
            return Ok(None);
        };
        if line == b"END" {
            return Ok(Some(Vec::new()));
        }
        let line = String::from_utf8_lossy(line).into_owned();
        let rest = line.strip_prefix("STAT ");
        let Some((name, value)) = rest.and_then(|rest| rest.split_once(' ')) else {
            return Err(format!("{line:?} is no line of stats"));
        };
        stats.push((name.to_owned(), value.to_owned()));
    }
}

/// A meta answer's line, taken apart.
struct Told<'a> {
    code: &'a [u8],
    value_bytes: Option<usize>,
    opaque: Option<u32>,
    key: Option<&'a [u8]>,
    cas: Option<u64>,
    flags: u32,
    marks: Marks,
}

impl<'a> Told<'a> {
    fn read(line: &'a [u8]) -> Option<Self> {
        let mut words = line.split(|byte| *byte == b' ');
        let code = words.next()?;
        let mut told = Self {
            code,
            value_bytes: None,
            opaque: None,
            key: None,
            cas: None,
            flags: 0,
            marks: Marks::default(),
        };
        match code {
            b"VA" => told.value_bytes = Some(number(words.next()?)? as usize),
            b"HD" | b"EN" | b"NS" | b"EX" | b"NF" => {}
            _ => return None,
        }
        for word in words {
            let (letter, rest) = word.split_first()?;
            match letter {
                b'O' => told.opaque = Some(number(rest)? as u32),
                b'k' => told.key = Some(rest),
                b'c' => told.cas = Some(number(rest)?),
                b'f' => told.flags = number(rest)? as u32,
                b's' => {}
                b'W' => told.marks.won = true,
                b'X' => told.marks.stale = true,
                b'Z' => told.marks.token_sent = true,
                _ => return None,
            }
        }
        Some(told)
    }

    fn answer(&self, operation: &Operation, value: &[u8]) -> Option<Answer> {
        Some(match (self.code, operation) {
            (b"VA", Operation::Fetch { .. }) => Answer::Item {
                value: Value::new(value),
                flags: self.flags,
                cas: self.cas,
                marks: Some(self.marks),
            },
            (b"VA", Operation::Count { .. }) => Answer::Number(number(value)?),
            (b"EN", Operation::Fetch { .. }) => Answer::Miss,
            (b"HD", Operation::Store { .. }) => Answer::Stored(self.cas),
            (b"HD", Operation::Delete { .. }) => Answer::Done,
            (b"NS", Operation::Store { .. } | Operation::Count { .. }) => Answer::NotStored,
            (b"EX", Operation::Store { .. } | Operation::Delete { .. }) => Answer::Exists,
            (b"NF", _) => Answer::Miss,
            _ => return None,
        })
    }
}

struct Input<'a> {
    input: &'a [u8],
    at: usize,
    /// Without so many bytes it is not worth looking again.
    needed: usize,
}

impl<'a> Input<'a> {
    fn line(&mut self) -> Option<&'a [u8]> {
        let rest = &self.input[self.at..];
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        self.at += end + 2;
        Some(&rest[..end])
    }

    /// A data block of so many bytes, and its end.
    fn data(&mut self, bytes: usize) -> Result<Option<&'a [u8]>, String> {
        let rest = &self.input[self.at..];
        if rest.len() < bytes + 2 {
            self.needed = self.at + bytes + 2;
            return Ok(None);
        }
        if &rest[bytes..bytes + 2] != b"\r\n" {
            return Err(format!("a value of {bytes} bytes ends elsewhere"));
        }
        self.at += bytes + 2;
        Ok(Some(&rest[..bytes]))
    }

    fn value_of(&mut self, told: &Told<'_>) -> Result<Option<&'a [u8]>, String> {
        match told.value_bytes {
            Some(bytes) => self.data(bytes),
            None => Ok(Some(&[])),
        }
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn refusal(line: &[u8]) -> Option<Refusal> {
    if line.starts_with(b"SERVER_ERROR out of memory") {
        Some(Refusal::OutOfMemory)
    } else if line.starts_with(b"SERVER_ERROR disk") {
        Some(Refusal::Disk)
    } else if line.starts_with(b"SERVER_ERROR no node answers for this key") {
        Some(Refusal::Unreachable)
    } else if line == b"SERVER_ERROR outcome unknown"
        || line.starts_with(b"SERVER_ERROR flush_all has not reached every node")
    {
        Some(Refusal::OutcomeUnknown)
    } else if line.starts_with(b"CLIENT_ERROR cannot increment") {
        Some(Refusal::NonNumeric)
    } else {
        None
    }
}
