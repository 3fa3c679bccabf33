//! Random sessions: what a client may send, well formed or not, as it follows from a seed.
//!
//! Decides the mixture of requests, how they are damaged and where the bytes are cut. Refuses to
//! know what the answers should be: whoever plays a script compares servers with each other.
//!
//! Nothing in here depends on the clock of the server: items expire at once, in a day or never.

use std::io::{self, Write};

use crate::random::Random;

/// A part of what is sent on one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The cas unique that the server has last shown for this key.
    UniqueOf(Vec<u8>),
}

/// All that is sent on one connection.
pub type Round = Vec<Part>;

/// The keys that all rounds share.
#[must_use]
pub fn keys() -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = ["a", "b", "c", "user:x", "user:y", "n", "Zm9v", "foo"]
        .iter()
        .map(|key| key.as_bytes().to_vec())
        .collect();
    keys.push(vec![0xc3, 0xa4, 0xff]);
    keys.push(vec![b'k'; 250]);
    keys
}

/// Seconds until an item expires, as requests say it: none ends while the script is played.
const EXPIRIES: &[&str] = &["0", "0", "0", "100000", "2000000000", "-100000"];
const CLIENT_FLAGS: &[&str] = &["0", "200000", "4294967295"];
const NUMBERS: &[&str] = &["0", "1", "5", "10", "99", "18446744073709551615"];
/// What takes the place of bytes, or comes between them. Nothing that could make another expiry:
/// no digit but 0, and no meta flag that takes one.
const DAMAGE: &[u8] = b" \r\n\t\0\xff-0,Azvqkb/cs";

/// A generator of rounds.
#[derive(Clone, Debug)]
pub struct Script {
    random: Random,
    keys: Vec<Vec<u8>>,
    /// Longest value that the server takes.
    value_bytes_max: usize,
}

impl Script {
    /// The script of `seed`, for a server that takes values up to `value_bytes_max`.
    #[must_use]
    pub fn new(seed: u64, value_bytes_max: usize) -> Self {
        Self {
            random: Random::new(seed),
            keys: keys(),
            value_bytes_max,
        }
    }

    /// The next connection's bytes: `requests` of them, damaged now and then.
    pub fn round(&mut self, requests: usize) -> Round {
        let mut round = Round::new();
        // Half of the rounds are without a fault: a fault near their start would hide the rest.
        let damaged = self.random.below(2) == 0;
        for _ in 0..requests {
            let request = self.request();
            if damaged && self.random.below(12) == 0 {
                let bytes = self.damaged(&request);
                round.push(Part::Bytes(bytes));
            } else {
                round.extend(request);
            }
        }
        match self.random.below(6) {
            0 => round.push(bytes("quit\r\nget a\r\n")),
            1 if damaged => round.push(bytes("set a 0 0 500\r\nleft in the middle")),
            2 if damaged => round.push(Part::Bytes(self.garbage())),
            _ => {}
        }
        round
    }

    /// A round that shows what every key holds, and all about it.
    #[must_use]
    pub fn look(&self) -> Round {
        let mut text = b"gets".to_vec();
        for key in &self.keys {
            text.push(b' ');
            text.extend_from_slice(key);
        }
        text.extend_from_slice(b"\r\n");
        for key in &self.keys {
            text.extend_from_slice(b"mg ");
            text.extend_from_slice(key);
            text.extend_from_slice(b" u k c f h l s t\r\n");
        }
        vec![Part::Bytes(text)]
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.random.below(of.len() as u64) as usize]
    }

    fn key(&mut self) -> Vec<u8> {
        match self.random.below(100) {
            0 => vec![b'x'; 251],
            1..5 => vec![b'A' + self.random.below(26) as u8; 3],
            _ => {
                let at = self.random.below(self.keys.len() as u64);
                self.keys[at as usize].clone()
            }
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let near = |middle: u64, random: &mut Random| (middle - 4 + random.below(8)) as usize;
        let length = match self.random.below(200) {
            0..60 => return self.one(NUMBERS).as_bytes().to_vec(),
            60..70 => return b"\r\nEND\r\nVALUE a 0 1\r\nx\r\n".to_vec(),
            70..80 => 0,
            80..84 => near(4096, &mut self.random),
            84..88 => near(65_536, &mut self.random),
            88 => self.value_bytes_max,
            89 => self.value_bytes_max + 1,
            _ => 1 + self.random.below(200) as usize,
        };
        let start = self.random.below(200);
        (0..length)
            .map(|at| ((at as u64 * 7 + start) % 251) as u8)
            .collect()
    }

    /// Sometimes a `d` behind the command word: then the answer says where the record lives.
    fn word(&mut self, word: &str) -> Vec<u8> {
        let located = self.random.below(10) == 0;
        let suffix = if located { "d" } else { "" };
        format!("{word}{suffix}").into_bytes()
    }

    fn request(&mut self) -> Vec<Part> {
        match self.random.below(100) {
            0..18 => self.retrieval(),
            18..42 => self.storage(),
            42..52 => self.arithmetic(),
            52..60 => self.removal(),
            60..72 => self.meta_get(),
            72..83 => self.meta_set(),
            83..88 => self.meta_delete(),
            88..93 => self.meta_arithmetic(),
            _ => self.rest(),
        }
    }

    fn retrieval(&mut self) -> Vec<Part> {
        let word = self.one(&["get", "get", "gets", "gat", "gats"]);
        let mut line = self.word(word);
        if word.starts_with("gat") {
            let expiry = self.one(EXPIRIES);
            line.extend_from_slice(format!(" {expiry}").as_bytes());
        }
        let count = match self.random.below(20) {
            0 => 100,
            1..6 => 5,
            _ => 1,
        };
        for _ in 0..count {
            line.push(b' ');
            line.extend(self.key());
        }
        vec![ended(line)]
    }

    fn storage(&mut self) -> Vec<Part> {
        let words = [
            "set", "set", "set", "add", "replace", "append", "prepend", "cas",
        ];
        let word = self.one(&words);
        let (key, value) = (self.key(), self.value());
        let mut line = self.word(word);
        line.push(b' ');
        line.extend_from_slice(&key);
        let (flags, expiry) = (self.one(CLIENT_FLAGS), self.one(EXPIRIES));
        line.extend_from_slice(format!(" {flags} {expiry} {}", value.len()).as_bytes());
        let mut parts = Vec::new();
        if word == "cas" {
            line.push(b' ');
            parts.push(Part::Bytes(std::mem::take(&mut line)));
            parts.push(self.unique(key));
        }
        if self.random.below(10) == 0 {
            line.extend_from_slice(b" noreply");
        }
        line.extend_from_slice(b"\r\n");
        line.extend_from_slice(&value);
        parts.push(ended(line));
        parts
    }

    /// The right one mostly.
    fn unique(&mut self, key: Vec<u8>) -> Part {
        match self.random.below(4) {
            0 => bytes(self.one(&["0", "1", "18446744073709551615"])),
            _ => Part::UniqueOf(key),
        }
    }

    fn arithmetic(&mut self) -> Vec<Part> {
        let word = self.one(&["incr", "incr", "decr"]);
        let mut line = self.word(word);
        line.push(b' ');
        line.extend(self.key());
        let delta = self.one(&["1", "7", "18446744073709551615", "-1", "x"]);
        let noreply = self.one(&["", "", "", " noreply"]);
        line.extend_from_slice(format!(" {delta}{noreply}").as_bytes());
        vec![ended(line)]
    }

    fn removal(&mut self) -> Vec<Part> {
        let word = self.one(&["delete", "del", "touch"]);
        let mut line = self.word(word);
        line.push(b' ');
        line.extend(self.key());
        if word == "touch" {
            let expiry = self.one(EXPIRIES);
            line.extend_from_slice(format!(" {expiry}").as_bytes());
        }
        line.extend_from_slice(self.one(&["", "", "", " noreply"]).as_bytes());
        vec![ended(line)]
    }

    fn meta_flags(&mut self, most: u64, flags: &[&str]) -> Vec<u8> {
        let mut text = Vec::new();
        for _ in 0..self.random.below(most) {
            text.push(b' ');
            text.extend_from_slice(self.one(flags).as_bytes());
        }
        text
    }

    fn meta_line(&mut self, word: &str) -> Vec<u8> {
        let mut line = word.as_bytes().to_vec();
        line.push(b' ');
        line.extend(self.key());
        line
    }

    fn meta_get(&mut self) -> Vec<Part> {
        let mut line = self.meta_line("mg");
        let flags = "v v v c k f h k l s t u q b Oopaque T100000 T0 N100000 N0 R30 R200000 E77 C1";
        let flags: Vec<&str> = flags.split(' ').collect();
        line.extend(self.meta_flags(6, &flags));
        vec![ended(line)]
    }

    fn meta_set(&mut self) -> Vec<Part> {
        let mut line = self.meta_line("ms");
        let (key, value) = (line[3..].to_vec(), self.value());
        line.extend_from_slice(format!(" {}", value.len()).as_bytes());
        let flags = "c k k s q b I Oopaque T100000 T0 F9 F200000 E1000 MS MA MP ME MR N0 C0 C1";
        let flags: Vec<&str> = flags.split(' ').collect();
        line.extend(self.meta_flags(5, &flags));
        let mut parts = self.compared(line, key);
        let mut data = b"\r\n".to_vec();
        data.extend_from_slice(&value);
        parts.push(ended(data));
        parts
    }

    fn meta_delete(&mut self) -> Vec<Part> {
        let mut line = self.meta_line("md");
        let key = line[3..].to_vec();
        let flags: Vec<&str> = "k q b I x Oopaque T100000 E2000 C1".split(' ').collect();
        line.extend(self.meta_flags(4, &flags));
        let mut parts = self.compared(line, key);
        parts.push(bytes("\r\n"));
        parts
    }

    fn meta_arithmetic(&mut self) -> Vec<Part> {
        let mut line = self.meta_line("ma");
        let key = line[3..].to_vec();
        let flags = "v v c k t q b Oopaque T100000 N0 N100000 J13 D2 D99 MI MD M- E3000 C1";
        let flags: Vec<&str> = flags.split(' ').collect();
        line.extend(self.meta_flags(5, &flags));
        let mut parts = self.compared(line, key);
        parts.push(bytes("\r\n"));
        parts
    }

    /// Sometimes compares the unique of `key`.
    fn compared(&mut self, mut line: Vec<u8>, key: Vec<u8>) -> Vec<Part> {
        if self.random.below(4) != 0 {
            return vec![Part::Bytes(line)];
        }
        line.extend_from_slice(b" C");
        vec![Part::Bytes(line), self.unique(key)]
    }

    fn rest(&mut self) -> Vec<Part> {
        let line = match self.random.below(20) {
            0 => "flush_all".to_owned(),
            1 => "verbosity 0".to_owned(),
            2 => "version".to_owned(),
            3 => "stats nonsense".to_owned(),
            4 => "cache_memlimit 7".to_owned(),
            5 => "shutdown".to_owned(),
            6 => "no such command".to_owned(),
            7 => "GET a".to_owned(),
            8 => "get".to_owned(),
            9 => "set a 0 0".to_owned(),
            10 => "set a 0 0 -1".to_owned(),
            11 => String::new(),
            12 => format!("get {}", "y ".repeat(2000)),
            13 => "cas a 0 0 1 x\r\nx".to_owned(),
            14 => {
                let mut line = self.meta_line("me");
                line.extend_from_slice(b"\r\n");
                return vec![Part::Bytes(line)];
            }
            _ => "mn".to_owned(),
        };
        vec![bytes(&(line + "\r\n"))]
    }

    fn garbage(&mut self) -> Vec<u8> {
        let length = self.random.below(6000);
        (0..length).map(|_| self.random.number() as u8).collect()
    }

    /// The request with bytes replaced, inserted and taken away, or a word said twice.
    fn damaged(&mut self, request: &[Part]) -> Vec<u8> {
        let mut bytes = filled(request, |_| 7);
        if bytes.starts_with(b"flush_all") {
            return bytes;
        }
        for _ in 0..=self.random.below(3) {
            // Near the front, where the line is, and never within a number: half an expiry is
            // one that could end too soon.
            let at = self.random.below(bytes.len().min(60) as u64) as usize;
            if bytes[at].is_ascii_digit() {
                continue;
            }
            let with = DAMAGE[self.random.below(DAMAGE.len() as u64) as usize];
            match self.random.below(5) {
                0 => bytes[at] = with,
                1 => bytes.insert(at, with),
                2 if bytes.len() > 1 => drop(bytes.remove(at)),
                3 => bytes.truncate(at + 1),
                _ => {
                    let end = bytes.len().min(at + 20);
                    let word: Vec<u8> = bytes[at..end]
                        .iter()
                        .copied()
                        .take_while(|byte| !byte.is_ascii_digit())
                        .collect();
                    bytes.splice(at..at, word);
                }
            }
        }
        bytes
    }
}

fn bytes(text: &str) -> Part {
    Part::Bytes(text.as_bytes().to_vec())
}

fn ended(mut bytes: Vec<u8>) -> Part {
    bytes.extend_from_slice(b"\r\n");
    Part::Bytes(bytes)
}

/// The bytes of a round, with uniques as `unique_of` knows them.
#[must_use]
pub fn filled(round: &[Part], unique_of: impl Fn(&[u8]) -> u64) -> Vec<u8> {
    let mut out = Vec::new();
    for part in round {
        match part {
            Part::Bytes(bytes) => out.extend_from_slice(bytes),
            Part::UniqueOf(key) => out.extend_from_slice(unique_of(key).to_string().as_bytes()),
        }
    }
    out
}

/// How a stream of bytes is cut into writes.
#[derive(Clone, Debug)]
pub struct Cuts {
    random: Random,
    bytes_max: u64,
}

impl Cuts {
    /// The cuts of `seed`: into bytes, into small pieces, into large ones, or none.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let bytes_max = [1, 7, 100, 1500, 70_000, 1 << 30][random.below(6) as usize];
        Self { random, bytes_max }
    }

    /// Writes `bytes`, cut.
    ///
    /// # Errors
    /// When the connection is broken, as it may be if the server closes.
    pub fn write(&mut self, mut bytes: &[u8], writer: &mut dyn Write) -> io::Result<()> {
        // Single bytes of a megabyte teach nothing that those of a page don't.
        const SMALL_BYTES_MAX: usize = 32 * 1024;
        while !bytes.is_empty() {
            let most = if bytes.len() > SMALL_BYTES_MAX {
                self.bytes_max.max(1500)
            } else {
                self.bytes_max
            };
            let length = 1 + self.random.below(most) as usize;
            let (piece, rest) = bytes.split_at(length.min(bytes.len()));
            writer.write_all(piece)?;
            bytes = rest;
            // Lets the server see the piece alone, now and then.
            if self.random.below(8) == 0 {
                std::thread::yield_now();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_scripts() {
        let rounds = |seed| {
            let mut script = Script::new(seed, 5000);
            (0..20).map(|_| script.round(30)).collect::<Vec<_>>()
        };
        assert_eq!(rounds(1), rounds(1));
        assert_ne!(rounds(1), rounds(2));
    }

    #[test]
    fn every_kind_of_request_comes_up() {
        let mut script = Script::new(5, 5000);
        let sent: Vec<u8> = (0..200)
            .flat_map(|_| filled(&script.round(50), |_| 7))
            .collect();
        let words = "get gets gat gats getd set add replace append prepend cas incr decr delete \
                     del touch mg ms md ma me mn flush_all version quit";
        for word in words.split_whitespace() {
            let line = [b"\r\n", word.as_bytes()].concat();
            let found = sent.windows(line.len()).any(|window| window == line);
            assert!(found, "{word}");
        }
    }

    #[test]
    fn cuts_lose_nothing() {
        let bytes: Vec<u8> = (0..100_000).map(|at| at as u8).collect();
        for seed in 0..30 {
            let mut written = Vec::new();
            let result = Cuts::new(seed).write(&bytes, &mut written);
            result.expect("a vector takes everything");
            assert!(written == bytes, "{seed}");
        }
    }
}
