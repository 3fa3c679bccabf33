//! How a protected stream begins: one message each way.
//!
//! Decides what the two messages are, and whom to refuse. Refuses to know what is sent after.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState, TransportState};
use zeroize::Zeroizing;

use super::super::secrets::{Secret, Secrets};
use super::super::{Credentials, Refusal, Seed};
use super::CLEAR_FIRST_BYTE;
use crate::protocol::peer::{self, Frame};

/// Longest opening and longest answer, in bytes. No more is kept of a peer that has not shown
/// that it knows a secret.
pub const HANDSHAKE_BYTES_MAX: usize = 4096;

/// The first byte of the magic.
pub(super) const FIRST_BYTE: u8 = MAGIC[0];
const MAGIC: [u8; 6] = *b"\xfazufar";
/// The lowest version of what follows the handshake that this release speaks.
const VERSION_LOWEST: u8 = 1;
/// The highest.
const VERSION_HIGHEST: u8 = 1;
/// What precedes the length: magic, lowest and highest version, key id.
const OPENING_HEAD_BYTES: usize = MAGIC.len() + 3;
/// What precedes the length: magic, version.
const ANSWER_HEAD_BYTES: usize = MAGIC.len() + 1;
const LENGTH_BYTES: usize = 2;
/// What Noise adds to the payload of either message: a public key and a tag.
const NOISE_BYTES: usize = 32 + 16;

/// Longest refusal in clear text, in bytes: 258 today, and it may grow at its end.
const CLEAR_FRAME_BYTES_MAX: usize = 1024;

const NOISE: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
const KEY_BYTES: usize = 32;
type Key = Zeroizing<[u8; KEY_BYTES]>;

/// What a handshake has come to.
pub(super) struct Finished {
    pub(super) transport: TransportState,
    /// What the peer calls its cluster, if it knows.
    pub(super) cluster: Box<str>,
}

impl Finished {
    fn new(noise: HandshakeState, cluster: Box<str>) -> Self {
        let transport = noise.into_transport_mode();
        let transport = transport.expect("both messages have been exchanged");
        Self { transport, cluster }
    }
}

pub(super) struct Handshake {
    credentials: Credentials,
    side: Side,
    /// What has come of the peer's message.
    input: Vec<u8>,
}

enum Side {
    /// Gone when the answer is there.
    Initiator(Option<Box<HandshakeState>>),
    Responder {
        secrets: Arc<Secrets>,
        seed: Seed,
    },
}

impl Handshake {
    /// Appends the opening to `output`.
    pub(super) fn initiator(
        credentials: &Credentials,
        secrets: &Secrets,
        seed: &Seed,
        output: &mut Vec<u8>,
    ) -> Self {
        let secret = secrets.first();
        let start = output.len();
        output.extend_from_slice(&MAGIC);
        output.extend_from_slice(&[VERSION_LOWEST, VERSION_HIGHEST, secret.id]);
        let mut noise = noise(&psk(secret), &output[start..], &ephemeral(seed), true);
        let mut payload = Vec::new();
        push_text(&credentials.cluster, &mut payload);
        push_message(&mut noise, &payload, output);
        Self {
            credentials: credentials.clone(),
            side: Side::Initiator(Some(Box::new(noise))),
            input: Vec::new(),
        }
    }

    pub(super) fn responder(credentials: &Credentials, secrets: &Arc<Secrets>, seed: Seed) -> Self {
        let secrets = Arc::clone(secrets);
        Self {
            credentials: credentials.clone(),
            side: Side::Responder { secrets, seed },
            input: Vec::new(),
        }
    }

    /// Takes what belongs to the handshake off the front of `bytes`.
    pub(super) fn receive(
        &mut self,
        bytes: &mut &[u8],
        output: &mut Vec<u8>,
    ) -> Result<Option<Finished>, Refusal> {
        loop {
            let needed = self.needed_bytes()?;
            if self.input.len() >= needed {
                return self.finish(output).map(Some);
            }
            if bytes.is_empty() {
                return Ok(None);
            }
            let missing = needed - self.input.len();
            let (now, rest) = bytes.split_at(missing.min(bytes.len()));
            self.input.extend_from_slice(now);
            *bytes = rest;
        }
    }

    /// How long the peer's message is, as far as can be told from what has come of it.
    fn needed_bytes(&self) -> Result<usize, Refusal> {
        let head_bytes = match self.side {
            Side::Initiator(_) if self.input.first() == Some(&CLEAR_FIRST_BYTE) => {
                return clear_needed_bytes(&self.input);
            }
            Side::Initiator(_) => ANSWER_HEAD_BYTES,
            Side::Responder { .. } => OPENING_HEAD_BYTES,
        };
        if self.input.first() == Some(&CLEAR_FIRST_BYTE) {
            return Err(Refusal::ClearText);
        }
        if !MAGIC.iter().zip(&self.input).all(|(is, came)| is == came) {
            return Err(Refusal::Protocol);
        }
        let length = self.input.get(head_bytes..head_bytes + LENGTH_BYTES);
        let Some(&[high, low]) = length else {
            return Ok(head_bytes + LENGTH_BYTES);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let whole = head_bytes + LENGTH_BYTES + length;
        if length < NOISE_BYTES || whole > HANDSHAKE_BYTES_MAX {
            return Err(Refusal::Malformed);
        }
        Ok(whole)
    }

    /// The peer's message is there.
    fn finish(&mut self, output: &mut Vec<u8>) -> Result<Finished, Refusal> {
        let input = core::mem::take(&mut self.input);
        match &mut self.side {
            Side::Initiator(_) if input[0] == CLEAR_FIRST_BYTE => Err(clear_refusal(&input)),
            Side::Initiator(noise) => {
                let mut noise = noise.take().expect("an answer comes once");
                let cluster = read_answer(&mut noise, &input)?;
                check_cluster(&self.credentials, &cluster)?;
                Ok(Finished::new(*noise, cluster))
            }
            Side::Responder { secrets, seed } => {
                let version = common_version(input[MAGIC.len()], input[MAGIC.len() + 1])?;
                let (mut noise, cluster) = read_opening(secrets, seed, &input)?;
                check_cluster(&self.credentials, &cluster)?;
                output.extend_from_slice(&MAGIC);
                output.push(version);
                let mut payload = alloc::vec![version];
                push_text(&self.credentials.cluster, &mut payload);
                push_message(&mut noise, &payload, output);
                Ok(Finished::new(noise, cluster))
            }
        }
    }
}

fn check_cluster(credentials: &Credentials, cluster: &str) -> Result<(), Refusal> {
    if credentials.differs(cluster) {
        return Err(Refusal::Cluster);
    }
    Ok(())
}

/// The highest version that both this release and `lowest..=highest` speak.
fn common_version(lowest: u8, highest: u8) -> Result<u8, Refusal> {
    let version = highest.min(VERSION_HIGHEST);
    if version < lowest.max(VERSION_LOWEST) {
        return Err(Refusal::Version);
    }
    Ok(version)
}

/// How long a refusal in clear text is.
fn clear_needed_bytes(input: &[u8]) -> Result<usize, Refusal> {
    match peer::decode(input, CLEAR_FRAME_BYTES_MAX) {
        // The rest is not known before the length is, which is worth no second reckoning here.
        Ok(None) => Ok(input.len() + 1),
        Ok(Some((_, bytes))) => Ok(bytes),
        Err(_) => Err(Refusal::ClearText),
    }
}

fn clear_refusal(input: &[u8]) -> Refusal {
    match peer::decode(input, CLEAR_FRAME_BYTES_MAX) {
        Ok(Some((Frame::Refused { reason, text }, _))) => Refusal::refused(reason, text),
        _ => Refusal::ClearText,
    }
}

/// The responder's state after the opening, by the secret that it names, and the cluster in it.
fn read_opening(
    secrets: &Secrets,
    seed: &Seed,
    input: &[u8],
) -> Result<(HandshakeState, Box<str>), Refusal> {
    let (head, message) = input.split_at(OPENING_HEAD_BYTES);
    let message = &message[LENGTH_BYTES..];
    let mut payload = alloc::vec![0; message.len()];
    let id = head[OPENING_HEAD_BYTES - 1];
    let ephemeral = ephemeral(seed);
    for secret in secrets.iter().filter(|secret| secret.id == id) {
        let mut noise = noise(&psk(secret), head, &ephemeral, false);
        if let Ok(bytes) = noise.read_message(message, &mut payload) {
            let cluster = text(&payload[..bytes]).ok_or(Refusal::Malformed)?;
            return Ok((noise, cluster.into()));
        }
    }
    Err(Refusal::Secret)
}

/// The cluster that an answer names.
fn read_answer(noise: &mut HandshakeState, input: &[u8]) -> Result<Box<str>, Refusal> {
    let (head, message) = input.split_at(ANSWER_HEAD_BYTES);
    let message = &message[LENGTH_BYTES..];
    let mut payload = alloc::vec![0; message.len()];
    let bytes = noise
        .read_message(message, &mut payload)
        .map_err(|_| Refusal::Forged)?;
    let (version, rest) = payload[..bytes].split_first().ok_or(Refusal::Malformed)?;
    if *version != head[MAGIC.len()] {
        return Err(Refusal::Forged);
    }
    common_version(*version, *version)?;
    let cluster = text(rest).ok_or(Refusal::Malformed)?;
    Ok(cluster.into())
}

fn text(payload: &[u8]) -> Option<&str> {
    let (&length, rest) = payload.split_first()?;
    let text = rest.get(..usize::from(length))?;
    core::str::from_utf8(text).ok()
}

fn push_text(text: &str, into: &mut Vec<u8>) {
    into.push(u8::try_from(text.len()).expect("names are at most 255 bytes long"));
    into.extend_from_slice(text.as_bytes());
}

/// Appends the next message, and its length before it.
fn push_message(noise: &mut HandshakeState, payload: &[u8], output: &mut Vec<u8>) {
    let bytes = NOISE_BYTES + payload.len();
    let length = u16::try_from(bytes).expect("a handshake is short");
    output.extend_from_slice(&length.to_be_bytes());
    let start = output.len();
    output.resize(start + bytes, 0);
    let written = noise.write_message(payload, &mut output[start..]);
    assert_eq!(written, Ok(bytes), "a message that fits is written");
}

fn psk(secret: &Secret) -> Key {
    let mut key = Key::default();
    secret.derive("stream 1", &[], &mut *key);
    key
}

fn ephemeral(seed: &Seed) -> Key {
    let mut key = Key::default();
    seed.derive("stream ephemeral 1", &[], &mut *key);
    key
}

/// A handshake with this pre-shared key, prologue and ephemeral key.
pub(super) fn noise(
    psk: &Key,
    prologue: &[u8],
    ephemeral: &Key,
    initiator: bool,
) -> HandshakeState {
    let params = NOISE.parse().expect("the pattern is known");
    let resolver = Box::new(Resolver(ephemeral.clone()));
    let builder = Builder::with_resolver(params, resolver)
        .prologue(prologue)
        .and_then(|builder| builder.psk(0, psk));
    let built = builder.and_then(|builder| match initiator {
        true => builder.build_initiator(),
        false => builder.build_responder(),
    });
    built.expect("the pattern needs a pre-shared key and nothing else")
}

/// snow's own primitives, with one ephemeral key instead of the system's entropy.
struct Resolver(Key);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.0.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// Gives one key, once: a second use of it would be a mistake.
struct Once(Option<Key>);

impl Random for Once {
    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), snow::Error> {
        match self.0.take() {
            Some(key) if key.len() == into.len() => {
                into.copy_from_slice(&*key);
                Ok(())
            }
            _ => Err(snow::Error::Rng),
        }
    }
}
