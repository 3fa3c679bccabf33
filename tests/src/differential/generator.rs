//! The requests of a stream.
//!
//! Decides which are drawn from a seed, how many at once, on which connection, and how they are
//! cut. All are well-formed as memcached 1.6.45 has it. Refuses to know answers.
//!
//! What can't be told from an answer is made so that it need not be. A request that may be
//! silent is followed by a no-op, as clients do it. One about which the servers are known to
//! disagree is followed by the deletion of its key. Times are far from each other and from now,
//! so that a slow machine doesn't change an outcome.

use crate::random::Random;

use super::Listed;
use super::keys::{self, Family, Key};
use super::ledger::CasChoice;
use super::request::{Batch, Cuts, Piece, Request, Silence};

/// Connections of a stream; they take turns.
pub(super) const CONNECTIONS: usize = 3;
/// Requests of a stream, at least.
const STREAM_REQUESTS: usize = 1500;
/// Most requests that may be silent before a no-op asks whether they are done.
const SILENT_RUN_MAX: usize = 6;
/// Longest value that Zufar takes, in bytes: the default of both programs.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// Values from here on are too large for memcached, which counts its own bookkeeping.
const NEAR_LIMIT_BYTES: usize = VALUE_BYTES_MAX - 16;

/// Exptimes, apart by more than a run takes. Absolute ones lie before the start of either
/// program, or beyond its end.
const EXPTIMES: &[i64] = &[
    0,
    0,
    0,
    0,
    0,
    0,
    1000,
    1000,
    4000,
    20_000,
    86_400,
    2_592_000,
    2_147_483_647,
    1_000_000_000,
    2_592_001,
    -1,
    -100,
    -2_147_483_648,
];

/// Draws requests.
pub(super) struct Generator<'a> {
    pub(super) random: Random,
    pub(super) keys: &'a [Key],
    /// Requests are drawn that set the servers apart.
    pub(super) sets_apart: bool,
    /// The number of the request in its batch.
    number: usize,
}

/// The batches of the stream of this seed. Every other stream has no request that sets the
/// servers apart, so that all that they count can be compared, too.
pub(super) fn stream(seed: u64) -> Vec<Batch> {
    let keys = keys::all();
    let mut generator = Generator {
        random: Random::new(seed),
        keys: &keys,
        sets_apart: seed % 2 == 1,
        number: 0,
    };
    let mut batches = vec![prologue()];
    let mut requests = 0;
    while requests < STREAM_REQUESTS {
        let batch = generator.batch();
        requests += batch.requests.len();
        batches.push(batch);
    }
    batches
}

/// Empties the servers, and has memcached use up the lowest cas unique.
fn prologue() -> Batch {
    let flush = Request::new("flush_all").end();
    let burn = Request::new("set").raw(" burnt 0 0 1").end().data(b"x");
    let delete = Request::new("delete").raw(" burnt").end();
    Batch {
        connection: 0,
        requests: vec![flush, burn, delete],
        cuts: Cuts::Whole,
        quits: false,
    }
}

impl Generator<'_> {
    fn batch(&mut self) -> Batch {
        let most = self.random.pick(&[1, 3, 10, 30, 80]);
        let depth = 1 + self.random.below(most) as usize;
        let mut requests = Vec::new();
        let mut run = 0;
        while requests.len() < depth {
            self.number = requests.len();
            for request in self.draw() {
                let may_be_silent = request.silence != Silence::Never;
                if run > 0 && (!may_be_silent || run == SILENT_RUN_MAX) {
                    requests.push(Request::fence());
                    run = 0;
                }
                run += usize::from(may_be_silent);
                requests.push(request);
            }
        }
        if run > 0 {
            requests.push(Request::fence());
        }
        Batch {
            connection: self.random.below(CONNECTIONS as u64) as usize,
            cuts: self.cuts(&requests),
            requests,
            quits: self.random.once_in(100),
        }
    }

    fn cuts(&mut self, requests: &[Request]) -> Cuts {
        let bytes: usize = requests
            .iter()
            .flat_map(|request| &request.pieces)
            .map(|piece| match piece {
                Piece::Bytes(bytes) => bytes.len(),
                Piece::Cas { .. } => 20,
            })
            .sum();
        match self.random.below(20) {
            0..8 => Cuts::Whole,
            8 if bytes < 600 => Cuts::Every,
            _ => Cuts::Some {
                count: 1 + self.random.below(6) as u32,
                seed: self.random.number(),
            },
        }
    }

    /// One request, and what belongs behind it.
    fn draw(&mut self) -> Vec<Request> {
        match self.random.below(100) {
            0..18 => vec![self.fetch()],
            18..42 => self.store(),
            42..46 => vec![self.delete()],
            46..56 => self.count(),
            56..60 => vec![self.touch()],
            60..62 => self.govern(),
            62..78 => self.meta_get(),
            78..90 => self.meta_store(),
            90..94 => self.meta_delete(),
            94..99 => self.meta_count(),
            _ => vec![self.inspect()],
        }
    }

    /// A request that sets the servers apart, and the deletion that brings them together.
    pub(super) fn set_apart(&self, mut request: Request, listed: Listed) -> Vec<Request> {
        request.apart = Some(listed);
        let key = request.keys[0];
        let mut delete = Request::new("delete").word(&self.keys[key].name).end();
        delete.keys.push(key);
        delete.mends = true;
        vec![request, delete]
    }

    /// A key of any family; those with large values come seldom.
    pub(super) fn key(&mut self) -> usize {
        let family = match self.random.below(200) {
            0 => Family::Big,
            1..70 => Family::Counter,
            _ => Family::Text,
        };
        self.key_of(family)
    }

    pub(super) fn key_of(&mut self, family: Family) -> usize {
        let places: Vec<usize> = (0..self.keys.len())
            .filter(|&at| self.keys[at].family == family)
            .collect();
        self.random.pick(&places)
    }

    /// A key whose value may be added to: a number that memcached has padded would become
    /// another.
    pub(super) fn key_to_append(&mut self) -> usize {
        loop {
            let key = self.key();
            if self.keys[key].family != Family::Counter {
                return key;
            }
        }
    }

    pub(super) fn exptime(&mut self) -> String {
        self.random.pick(EXPTIMES).to_string()
    }

    pub(super) fn client_flags(&mut self) -> u32 {
        self.random.pick(&[0, 0, 1, 42, 65_535, 65_536, u32::MAX])
    }

    pub(super) fn cas_choice(&mut self) -> CasChoice {
        match self.random.below(12) {
            0 => CasChoice::Zero,
            1 => CasChoice::Lower,
            2 => CasChoice::Higher,
            3 | 4 => CasChoice::Shown { before: 1 },
            5 => CasChoice::Shown { before: 4 },
            _ => CasChoice::Shown { before: 0 },
        }
    }

    /// A value for a key, or something to be put before or behind it.
    pub(super) fn value(&mut self, key: usize, extends: bool) -> Vec<u8> {
        match self.keys[key].family {
            Family::Text => {
                let length = self.text_length();
                self.text(length)
            }
            Family::Counter if extends => self.random.pick(&["", "1", "20"]).into(),
            Family::Counter => self.numeral(),
            Family::Big => {
                let length = self.big_length();
                self.text(length)
            }
        }
    }

    /// A value that Zufar just takes and memcached doesn't.
    pub(super) fn value_near_limit(&mut self) -> Vec<u8> {
        let length = NEAR_LIMIT_BYTES + self.random.below(17) as usize;
        self.text(length)
    }

    fn text_length(&mut self) -> usize {
        let most = self.random.pick(&[1, 20, 20, 20, 200, 200, 2000, 5000]);
        self.random.below(most) as usize
    }

    /// Lengths whose sums keep away from the limit, on which the two do not quite agree.
    fn big_length(&mut self) -> usize {
        match self.random.below(12) {
            0..6 => 100_000 * self.random.pick(&[1, 3, 5, 7, 10]),
            6 => VALUE_BYTES_MAX + 1 + self.random.below(40_000) as usize,
            _ => self.random.below(16) as usize,
        }
    }

    /// Bytes that start with a letter, so that they are no number.
    fn text(&mut self, length: usize) -> Vec<u8> {
        let mut text = vec![b'a' + self.random.below(26) as u8; length];
        let disturbed = length.saturating_sub(1).min(40);
        for _ in 0..disturbed {
            let at = 1 + self.random.below(length as u64 - 1) as usize;
            text[at] = self.random.number() as u8;
        }
        if length > 30 && self.random.once_in(4) {
            text[3..10].copy_from_slice(b"\r\nEND\r\n");
        }
        text
    }

    /// What memcached takes for a number, and what is nearly one.
    fn numeral(&mut self) -> Vec<u8> {
        const NUMERALS: &[&str] = &[
            "0",
            "5",
            "9",
            "10",
            "99",
            "100",
            "1000",
            "0012",
            "00",
            "12 ",
            " 12",
            "12 x",
            "+7",
            "7\t",
            "4294967295",
            "4611686018427387904",
            "18446744073709551616",
            "00000000000000000001",
            "000000000000000000001",
            "100000000000000000000",
            "",
            "-1",
            "1.5",
            "12abc",
            "x",
        ];
        if self.random.once_in(3) {
            return self.random.below(2000).to_string().into_bytes();
        }
        self.random.pick(NUMERALS).into()
    }

    /// A number to count by. Up it is none that leads to numbers of 2^63 and more.
    pub(super) fn delta(&mut self, down: bool) -> u64 {
        const DELTAS: &[u64] = &[0, 1, 1, 2, 9, 10, 95, 1000, 1 << 40, u64::MAX - 1, u64::MAX];
        let huge = if down { 0 } else { 2 };
        self.random.pick(&DELTAS[..DELTAS.len() - huge])
    }

    /// A number that has the highest bit of 64, or gets it by counting.
    pub(super) fn huge_number(&mut self) -> u64 {
        self.random
            .pick(&[(1 << 63) - 1, 1 << 63, u64::MAX - 1, u64::MAX])
    }

    /// The number of the request that is being drawn, for opaques.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Ends a line, seldom without a carriage return.
    pub(super) fn end(&mut self, request: Request) -> Request {
        if self.random.once_in(40) {
            request.raw("\n")
        } else {
            request.end()
        }
    }

    /// Puts a second space where one would do, seldom.
    pub(super) fn space(&mut self, request: Request) -> Request {
        if self.random.once_in(60) {
            request.raw(" ")
        } else {
            request
        }
    }
}
