//! A protected stream: bytes of a connection on one side, what they protect on the other.
//!
//! Decides how a stream begins, whom it refuses, and when it is open. Refuses to know what it
//! carries, and time.
//!
//! ```text
//! opening = magic lowest:u8 highest:u8 key-id:u8 length:u16 noise-message   who connects
//! answer  = magic version:u8 length:u16 noise-message                      who accepts
//! record  = length:u16 noise-message                                       both, from then on
//! ```
//!
//! The magic begins with a byte that no frame of the peer protocol, no memcached command, no TLS
//! and no HTTP begins with. A refusal is a frame of the peer protocol in clear text, which begins
//! with 0 like every frame: so who speaks in clear text can read it as well as who encrypts. A
//! stream without a secret is the bytes themselves, as all releases have spoken them.
//!
//! The messages are those of `Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s`, revision 34, with what
//! precedes the opening's length as prologue. What they hold may grow at its end:
//!
//! ```text
//! in the opening = cluster:text                 text = length:u8 utf-8, empty if not known
//! in the answer  = version:u8 cluster:text      the version is there again, so that it is authentic
//! ```
//!
//! The versions say what follows the handshake; the handshake itself has one form under this
//! magic. An opening can be replayed, but without the keys of its sender nothing comes after it:
//! who accepts acts on it only by answering, and takes the stream for open when the first record
//! has come.

mod handshake;
mod records;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use self::handshake::{FIRST_BYTE, Finished, Handshake};
use self::records::Records;
use super::{Credentials, Refusal, Seed};

pub use self::handshake::HANDSHAKE_BYTES_MAX;
pub use self::records::RECORD_BYTES_MAX;

/// Time that a stream has for being open, from the connection on, in milliseconds. The stream has
/// no clock: whoever has the connection is to close it.
pub const HANDSHAKE_MS_MAX: u64 = 2000;
/// Bytes that may be sent before the handshake is over, which are kept until then.
pub const EARLY_BYTES_MAX: usize = 64 * 1024;

/// The first byte of every frame of the peer protocol: they are shorter than 16 MiB.
const CLEAR_FIRST_BYTE: u8 = 0;

/// One end of a stream.
///
/// Whatever a call appends to `output` is to be written to the connection, also when it returns a
/// refusal; after that the connection is to be closed, and nothing more is received or sent.
pub struct Stream {
    initiator: bool,
    state: State,
    /// What waits for the end of the handshake.
    early: Vec<u8>,
    cluster: Option<Box<str>>,
}

enum State {
    Clear { begun: bool },
    Handshake(Box<Handshake>),
    Records(Box<Records>),
    Refused(Refusal),
}

impl Stream {
    /// The end that has connected. Appends what it begins with to `output`.
    ///
    /// The seed is for this stream alone.
    #[must_use]
    pub fn initiator(credentials: &Credentials, seed: Seed, output: &mut Vec<u8>) -> Self {
        let state = match &credentials.secrets {
            Some(secrets) => {
                let handshake = Handshake::initiator(credentials, secrets, &seed, output);
                State::Handshake(Box::new(handshake))
            }
            None => State::Clear { begun: false },
        };
        Self::new(true, state)
    }

    /// The end that has accepted. The seed is for this stream alone.
    #[must_use]
    pub fn responder(credentials: &Credentials, seed: Seed) -> Self {
        let state = match &credentials.secrets {
            Some(secrets) => {
                let handshake = Handshake::responder(credentials, secrets, seed);
                State::Handshake(Box::new(handshake))
            }
            None => State::Clear { begun: false },
        };
        Self::new(false, state)
    }

    fn new(initiator: bool, state: State) -> Self {
        Self {
            initiator,
            state,
            early: Vec::new(),
            cluster: None,
        }
    }

    /// Takes what a read has returned and appends what it protects to `plaintext`: all in all
    /// never more bytes than have come. Keeps at most [`RECORD_BYTES_MAX`] of it, and at most
    /// [`HANDSHAKE_BYTES_MAX`] as long as the peer has not shown that it knows a secret.
    ///
    /// # Errors
    /// When the peer is refused or refuses, now or before. What has been appended to `plaintext`
    /// is still authentic.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        plaintext: &mut Vec<u8>,
        output: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let taken = self.take(bytes, plaintext, output);
        if let Err(refusal) = &taken {
            self.refuse(refusal, output);
        }
        taken
    }

    fn take(
        &mut self,
        mut bytes: &[u8],
        plaintext: &mut Vec<u8>,
        output: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        loop {
            match &mut self.state {
                State::Refused(refusal) => return Err(refusal.clone()),
                _ if bytes.is_empty() => return Ok(()),
                State::Clear { begun } => {
                    if !*begun {
                        check_clear(bytes[0])?;
                        *begun = true;
                    }
                    plaintext.extend_from_slice(bytes);
                    return Ok(());
                }
                State::Records(records) => return records.receive(bytes, plaintext),
                State::Handshake(handshake) => {
                    if let Some(finished) = handshake.receive(&mut bytes, output)? {
                        self.open(finished, output);
                    }
                }
            }
        }
    }

    fn open(&mut self, finished: Finished, output: &mut Vec<u8>) {
        let mut records = Records::new(finished.transport);
        let early = core::mem::take(&mut self.early);
        records.seal(&early, output);
        self.cluster = Some(finished.cluster);
        self.state = State::Records(Box::new(records));
    }

    /// Appends `plaintext`, protected, to `output`. What is sent before the handshake is over is
    /// kept and comes out of [`receive`](Self::receive); what is sent after a refusal is not sent.
    ///
    /// # Panics
    /// If more than [`EARLY_BYTES_MAX`] are sent before the handshake is over: the caller says no
    /// more than its hello until the peer has answered.
    pub fn send(&mut self, plaintext: &[u8], output: &mut Vec<u8>) {
        match &mut self.state {
            State::Clear { .. } => output.extend_from_slice(plaintext),
            State::Handshake(_) => {
                let bytes = self.early.len() + plaintext.len();
                assert!(bytes <= EARLY_BYTES_MAX, "{bytes} bytes before the answer");
                self.early.extend_from_slice(plaintext);
            }
            State::Records(records) => records.seal(plaintext, output),
            State::Refused(_) => {}
        }
    }

    /// Whether the peer has shown that it knows a secret, or, where there is none, that it speaks
    /// the protocol. Nothing that it has sent is to be acted upon before; there is nothing, either.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match &self.state {
            State::Clear { begun } => *begun,
            State::Handshake(_) | State::Refused(_) => false,
            State::Records(records) => self.initiator || records.has_received(),
        }
    }

    /// The cluster that the peer has named in the handshake; none in clear text, and an empty name
    /// when the peer does not know it.
    #[must_use]
    pub fn peer_cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }

    /// Takes note that the peer will send no more.
    ///
    /// # Errors
    /// When that is in the middle of the handshake or of a record, or when the stream has been
    /// refused before. An end between two records is for the protocol above to judge: whoever is
    /// between the two nodes can make one.
    pub fn finish(&mut self) -> Result<(), Refusal> {
        match &self.state {
            State::Refused(refusal) => Err(refusal.clone()),
            State::Records(records) if records.is_between() => Ok(()),
            State::Clear { begun: true } => Ok(()),
            State::Clear { begun: false } | State::Handshake(_) | State::Records(_) => {
                self.state = State::Refused(Refusal::Truncated);
                Err(Refusal::Truncated)
            }
        }
    }

    fn refuse(&mut self, refusal: &Refusal, output: &mut Vec<u8>) {
        let unopened = matches!(self.state, State::Clear { .. } | State::Handshake(_));
        if unopened && !self.initiator {
            refusal.tell(output);
        }
        self.state = State::Refused(refusal.clone());
        self.early = Vec::new();
    }
}

/// Whether a stream in clear text may begin with this byte.
const fn check_clear(byte: u8) -> Result<(), Refusal> {
    match byte {
        CLEAR_FIRST_BYTE => Ok(()),
        FIRST_BYTE => Err(Refusal::Encrypted),
        _ => Err(Refusal::Protocol),
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state: &dyn fmt::Debug = match &self.state {
            State::Clear { .. } => &"clear text",
            State::Handshake(_) => &"handshake",
            State::Records(_) => &"records",
            State::Refused(refusal) => refusal,
        };
        let mut formatter = formatter.debug_struct("Stream");
        formatter.field("initiator", &self.initiator);
        formatter.field("state", state).finish_non_exhaustive()
    }
}
