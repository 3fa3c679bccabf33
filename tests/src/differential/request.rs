//! One request, as it is sent to both servers.
//!
//! Decides its form and how it is told to a reader. Refuses to know which requests there are.

use crate::client::shown;

use super::Side;
use super::ledger::{CasChoice, Ledger};
use super::listed::Listed;

/// When a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// It always is.
    Never,
    /// The usual outcome is hidden (`q`).
    Usual,
    /// Every outcome is (`noreply`).
    Always,
}

/// A part of a request.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    /// Bytes that are the same for both.
    Bytes(Vec<u8>),
    /// A cas unique of this key, which has another number on each server.
    Cas { key: usize, choice: CasChoice },
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Its first word.
    pub(super) command: &'static str,
    pub(super) pieces: Vec<Piece>,
    /// The keys that it names, in order.
    pub(super) keys: Vec<usize>,
    /// The flags of a meta command, as they are sent; those of cas uniques without their number.
    pub(super) flags: Vec<Vec<u8>>,
    /// Length of its data block, if it has one.
    pub(super) data_bytes: Option<usize>,
    pub(super) silence: Silence,
    /// The servers are known to disagree about it, and its key is deleted right after it.
    pub(super) apart: Option<Listed>,
    /// It deletes what a request that sets the servers apart has left.
    pub(super) mends: bool,
    /// It ends a run of requests that may be silent.
    pub(super) fence: bool,
}

impl Request {
    /// A request of this word, with nothing behind it yet.
    pub(super) fn new(command: &'static str) -> Self {
        Self {
            command,
            pieces: vec![Piece::Bytes(command.as_bytes().to_vec())],
            keys: Vec::new(),
            flags: Vec::new(),
            data_bytes: None,
            silence: Silence::Never,
            apart: None,
            mends: false,
            fence: false,
        }
    }

    /// Adds bytes as they are.
    pub(super) fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        match self.pieces.last_mut() {
            Some(Piece::Bytes(last)) => last.extend_from_slice(bytes.as_ref()),
            _ => self.pieces.push(Piece::Bytes(bytes.as_ref().to_vec())),
        }
        self
    }

    /// Adds a token.
    pub(super) fn word(self, word: impl AsRef<[u8]>) -> Self {
        self.raw(" ").raw(word)
    }

    /// Adds a cas unique.
    pub(super) fn cas(mut self, key: usize, choice: CasChoice) -> Self {
        self.pieces.push(Piece::Cas { key, choice });
        self
    }

    /// Ends the line.
    pub(super) fn end(self) -> Self {
        self.raw("\r\n")
    }

    /// Adds a value and its end.
    pub(super) fn data(mut self, value: &[u8]) -> Self {
        self.data_bytes = Some(value.len());
        self.raw(value).raw("\r\n")
    }

    /// The no-op that a client sends behind quiet requests, to know that they are done.
    pub(super) fn fence() -> Self {
        Self {
            fence: true,
            ..Self::new("mn").end()
        }
    }

    /// Whether a meta command has this flag.
    pub(super) fn has(&self, letter: u8) -> bool {
        self.flags.iter().any(|flag| flag[0] == letter)
    }

    /// The flag of this letter, as it is sent.
    pub(super) fn flag(&self, letter: u8) -> Option<&[u8]> {
        let found = self.flags.iter().find(|flag| flag[0] == letter);
        found.map(Vec::as_slice)
    }

    /// The bytes that one of the servers is sent.
    pub(super) fn bytes(&self, side: Side, ledger: &Ledger) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(piece) => bytes.extend_from_slice(piece),
                Piece::Cas { key, choice } => {
                    let number = ledger.resolve(*key, *choice, side);
                    bytes.extend_from_slice(number.to_string().as_bytes());
                }
            }
        }
        bytes
    }

    /// The cas unique that one of the servers is sent, if there is one.
    pub(super) fn cas_sent(&self, side: Side, ledger: &Ledger) -> Option<u64> {
        self.pieces.iter().find_map(|piece| match piece {
            Piece::Bytes(_) => None,
            Piece::Cas { key, choice } => Some(ledger.resolve(*key, *choice, side)),
        })
    }

    /// The request as a person can read it.
    pub(super) fn told(&self) -> String {
        let parts = self.pieces.iter().map(|piece| match piece {
            Piece::Bytes(bytes) => shown(bytes),
            Piece::Cas { choice, .. } => format!("{{cas: {choice:?}}}"),
        });
        parts.collect::<Vec<_>>().join(" ")
    }
}

/// How the bytes of a batch are cut into writes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cuts {
    /// Not at all.
    Whole,
    /// At this many places, drawn from the seed.
    Some { count: u32, seed: u64 },
    /// Behind every byte.
    Every,
}

/// Requests that are sent at once, on one connection.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    /// Which of the stream's connections.
    pub(super) connection: usize,
    pub(super) requests: Vec<Request>,
    pub(super) cuts: Cuts,
    /// The client says `quit` behind them.
    pub(super) quits: bool,
}
