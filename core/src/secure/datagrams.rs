//! Sealed datagrams.
//!
//! Decides their form, which are opened, and what is counted of the rest, which is never
//! answered. Refuses to know addresses, time, and what they hold.
//!
//! ```text
//! sealed   = 1:u8 key-id:u8 nonce ciphertext tag:16    XChaCha20-Poly1305
//! nonce    = cluster:4 run:12 counter:u64
//! in clear = 0:u8 cluster:4 payload                   where there is no secret
//! ```
//!
//! **Keys** are bound to the cluster's name. The associated data are version, key id and the guid
//! of the node that the datagram is for, so it opens nowhere else. The sender is not in it: all
//! who have the secret are trusted with everything, foca's header names the sender inside, and
//! replays are told by the run. So the whole overhead is 42 bytes, and a datagram of 1400 bytes
//! holds a packet of 1358.
//!
//! **No nonce comes twice** under one key. Within a run the counter rises. Runs are told apart by
//! 96 bits that are derived from the run's seed, the node's guid and its generation: they differ
//! by chance, and would if only one of the two were what it should be, since a generation is
//! never used twice even if the seed is (a virtual machine that was started twice from one image).
//! A million runs under one key have two that are alike with a probability of 2⁻⁵⁷.
//!
//! **Replays** are refused as long as the run is remembered: what was opened, and what is older
//! than the newest by more than the window. An attacker can still have a receiver that has
//! restarted, or has forgotten a run, open once what was sent to it earlier. Gossip that is held
//! by datagrams orders itself by generation and incarnation; what could not bear that must not be
//! sent by datagram.

#[cfg(test)]
mod tests;
mod window;

use alloc::vec::Vec;
use core::fmt;

use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::secrets::Secret;
use super::{Credentials, Seed};
use crate::hash::KeyHash;
use crate::member::{GUID_BYTES_MAX, Guid, NodeId};

pub use self::window::SENDERS_MAX;
use self::window::{RUN_BYTES, Run, Windows};

/// Longest datagram, in bytes: what passes where the path takes 1500, with room for tunnels.
pub const DATAGRAM_BYTES_MAX: usize = 1400;
/// What sealing adds, in bytes.
pub const OVERHEAD_BYTES: usize = HEAD_BYTES + NONCE_BYTES + TAG_BYTES;
/// The most that a datagram holds, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - OVERHEAD_BYTES;

const CLEAR: u8 = 0;
const VERSION: u8 = 1;
/// Version and key id.
const HEAD_BYTES: usize = 2;
const NONCE_BYTES: usize = CLUSTER_BYTES + RUN_BYTES + COUNTER_BYTES;
const CLUSTER_BYTES: usize = 4;
const COUNTER_BYTES: usize = 8;
const TAG_BYTES: usize = 16;

/// What tells datagrams of different clusters apart before they are opened.
type ClusterTag = [u8; CLUSTER_BYTES];

/// Seals what one run of a node sends, and opens what it receives.
pub struct Datagrams {
    guid: Guid,
    /// The first seals, all open; none in clear text.
    keys: Vec<Key>,
    clear_tag: ClusterTag,
    run: Run,
    counter: u64,
    windows: Windows,
    figures: DatagramFigures,
}

struct Key {
    id: u8,
    tag: ClusterTag,
    cipher: XChaCha20Poly1305,
}

/// Why a datagram is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DatagramRefusal {
    /// It is too short to be one, or longer than [`DATAGRAM_BYTES_MAX`].
    Length,
    /// Its version is not known: another release, or no datagram of a node.
    Version,
    /// It is in clear text, and there is a secret.
    ClearText,
    /// It is sealed, and there is no secret.
    Encrypted,
    /// It names none of the secrets that are accepted.
    UnknownKey,
    /// It is of another cluster.
    OtherCluster,
    /// It was not sealed with the secret that it names, not for this node, or was altered.
    Forged,
    /// It has been opened before, or is older than can be told.
    Replayed,
}

/// What has been counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatagramFigures {
    /// Sealed, or made in clear text.
    pub sealed: u64,
    /// Opened, or taken in clear text.
    pub opened: u64,
    /// [`DatagramRefusal::Length`].
    pub length: u64,
    /// [`DatagramRefusal::Version`].
    pub version: u64,
    /// [`DatagramRefusal::ClearText`].
    pub clear_text: u64,
    /// [`DatagramRefusal::Encrypted`].
    pub encrypted: u64,
    /// [`DatagramRefusal::UnknownKey`].
    pub unknown_key: u64,
    /// [`DatagramRefusal::OtherCluster`].
    pub other_cluster: u64,
    /// [`DatagramRefusal::Forged`].
    pub forged: u64,
    /// [`DatagramRefusal::Replayed`].
    pub replayed: u64,
    /// Runs that were forgotten because more than [`SENDERS_MAX`] have sent.
    pub senders_evicted: u64,
}

impl Datagrams {
    /// For one run of a node. The seed is for this alone.
    #[must_use]
    pub fn new(credentials: &Credentials, node: NodeId, seed: &Seed) -> Self {
        let cluster = &*credentials.cluster;
        let secrets = credentials.secrets.iter();
        let secrets = secrets.flat_map(|secrets| secrets.iter());
        let generation = node.generation.to_be_bytes();
        let mut run = Run::default();
        let context = [&generation, node.guid.as_str().as_bytes()];
        seed.derive("datagram run 1", &context, &mut run);
        let [a, b, c, d, ..] = KeyHash::of(cluster.as_bytes()).bits().to_be_bytes();
        Self {
            guid: node.guid,
            keys: secrets.map(|secret| Key::new(secret, cluster)).collect(),
            clear_tag: [a, b, c, d],
            run,
            counter: 0,
            windows: Windows::default(),
            figures: DatagramFigures::default(),
        }
    }

    /// Appends a datagram for node `to` to `into`.
    ///
    /// # Panics
    /// If `payload` is longer than [`PAYLOAD_BYTES_MAX`]: whoever packs it knows the limit.
    pub fn seal(&mut self, to: Guid, payload: &[u8], into: &mut Vec<u8>) {
        let bytes = payload.len();
        assert!(bytes <= PAYLOAD_BYTES_MAX, "{bytes} bytes in one datagram");
        self.figures.sealed += 1;
        let Some(key) = self.keys.first() else {
            into.push(CLEAR);
            into.extend_from_slice(&self.clear_tag);
            into.extend_from_slice(payload);
            return;
        };
        let nonce = Nonce {
            cluster: key.tag,
            run: self.run,
            counter: self.counter,
        };
        self.counter += 1;
        key.seal(to, &nonce, payload, into);
    }

    /// Appends what the datagram `bytes` holds to `into`.
    ///
    /// # Errors
    /// When it is refused, which is counted. It is not to be answered.
    pub fn open(&mut self, bytes: &[u8], into: &mut Vec<u8>) -> Result<(), DatagramRefusal> {
        let start = into.len();
        let opened = self.try_open(bytes, into);
        match opened {
            Ok(()) => self.figures.opened += 1,
            Err(refusal) => {
                into.truncate(start);
                self.figures.count(refusal);
            }
        }
        opened
    }

    fn try_open(&mut self, bytes: &[u8], into: &mut Vec<u8>) -> Result<(), DatagramRefusal> {
        if bytes.len() > DATAGRAM_BYTES_MAX {
            return Err(DatagramRefusal::Length);
        }
        match (bytes.first(), self.keys.is_empty()) {
            (None, _) => Err(DatagramRefusal::Length),
            (Some(&CLEAR), true) => self.open_clear(bytes, into),
            (Some(&CLEAR), false) => Err(DatagramRefusal::ClearText),
            (Some(&VERSION), true) => Err(DatagramRefusal::Encrypted),
            (Some(&VERSION), false) => self.open_sealed(bytes, into),
            (Some(_), _) => Err(DatagramRefusal::Version),
        }
    }

    fn open_clear(&self, bytes: &[u8], into: &mut Vec<u8>) -> Result<(), DatagramRefusal> {
        let (tag, payload) = bytes[1..]
            .split_first_chunk()
            .ok_or(DatagramRefusal::Length)?;
        if *tag != self.clear_tag {
            return Err(DatagramRefusal::OtherCluster);
        }
        into.extend_from_slice(payload);
        Ok(())
    }

    fn open_sealed(&mut self, bytes: &[u8], into: &mut Vec<u8>) -> Result<(), DatagramRefusal> {
        let sealed = Sealed::of(bytes).ok_or(DatagramRefusal::Length)?;
        let nonce = Nonce::of(sealed.nonce);
        let mut refusal = DatagramRefusal::UnknownKey;
        // One key, but for two secrets with the same id.
        for key in self.keys.iter().filter(|key| key.id == sealed.key_id) {
            if key.tag != nonce.cluster {
                refusal = refusal.max(DatagramRefusal::OtherCluster);
                continue;
            }
            if key.open(self.guid, &sealed, into) {
                if !self.windows.accept(nonce.run, nonce.counter) {
                    return Err(DatagramRefusal::Replayed);
                }
                return Ok(());
            }
            refusal = DatagramRefusal::Forged;
        }
        Err(refusal)
    }

    /// What has been counted.
    #[must_use]
    pub const fn figures(&self) -> DatagramFigures {
        DatagramFigures {
            senders_evicted: self.windows.evicted(),
            ..self.figures
        }
    }
}

impl DatagramFigures {
    const fn count(&mut self, refusal: DatagramRefusal) {
        let figure = match refusal {
            DatagramRefusal::Length => &mut self.length,
            DatagramRefusal::Version => &mut self.version,
            DatagramRefusal::ClearText => &mut self.clear_text,
            DatagramRefusal::Encrypted => &mut self.encrypted,
            DatagramRefusal::UnknownKey => &mut self.unknown_key,
            DatagramRefusal::OtherCluster => &mut self.other_cluster,
            DatagramRefusal::Forged => &mut self.forged,
            DatagramRefusal::Replayed => &mut self.replayed,
        };
        *figure += 1;
    }
}

/// A sealed datagram, cut into its parts.
struct Sealed<'a> {
    key_id: u8,
    nonce: &'a [u8; NONCE_BYTES],
    ciphertext: &'a [u8],
    tag: &'a [u8; TAG_BYTES],
}

impl<'a> Sealed<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (&[_, key_id], rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (ciphertext, tag) = rest.split_last_chunk()?;
        Some(Self {
            key_id,
            nonce,
            ciphertext,
            tag,
        })
    }
}

struct Nonce {
    cluster: ClusterTag,
    run: Run,
    counter: u64,
}

impl Nonce {
    fn of(bytes: &[u8; NONCE_BYTES]) -> Self {
        let mut nonce = Self {
            cluster: ClusterTag::default(),
            run: Run::default(),
            counter: 0,
        };
        let (cluster, rest) = bytes.split_at(CLUSTER_BYTES);
        let (run, counter) = rest.split_at(RUN_BYTES);
        nonce.cluster.copy_from_slice(cluster);
        nonce.run.copy_from_slice(run);
        let mut bytes = [0; COUNTER_BYTES];
        bytes.copy_from_slice(counter);
        nonce.counter = u64::from_be_bytes(bytes);
        nonce
    }

    fn bytes(&self) -> [u8; NONCE_BYTES] {
        let mut bytes = [0; NONCE_BYTES];
        let (cluster, rest) = bytes.split_at_mut(CLUSTER_BYTES);
        let (run, counter) = rest.split_at_mut(RUN_BYTES);
        cluster.copy_from_slice(&self.cluster);
        run.copy_from_slice(&self.run);
        counter.copy_from_slice(&self.counter.to_be_bytes());
        bytes
    }
}

impl Key {
    fn new(secret: &Secret, cluster: &str) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        secret.derive("datagram 1", &[cluster.as_bytes()], &mut *key);
        let mut tag = ClusterTag::default();
        secret.derive("datagram cluster 1", &[cluster.as_bytes()], &mut tag);
        Self {
            id: secret.id,
            tag,
            cipher: XChaCha20Poly1305::new((&*key).into()),
        }
    }

    fn seal(&self, to: Guid, nonce: &Nonce, payload: &[u8], into: &mut Vec<u8>) {
        let associated = Associated::new(self.id, to);
        let nonce = nonce.bytes();
        into.extend_from_slice(&[VERSION, self.id]);
        into.extend_from_slice(&nonce);
        let start = into.len();
        into.extend_from_slice(payload);
        let tag = self.cipher.encrypt_in_place_detached(
            XNonce::from_slice(&nonce),
            associated.bytes(),
            &mut into[start..],
        );
        into.extend_from_slice(&tag.expect("a datagram is shorter than 256 GiB"));
    }

    /// Appends what `sealed` holds, if it is authentic.
    fn open(&self, to: Guid, sealed: &Sealed<'_>, into: &mut Vec<u8>) -> bool {
        let associated = Associated::new(self.id, to);
        let start = into.len();
        into.extend_from_slice(sealed.ciphertext);
        let opened = self.cipher.decrypt_in_place_detached(
            XNonce::from_slice(sealed.nonce),
            associated.bytes(),
            &mut into[start..],
            Tag::from_slice(sealed.tag),
        );
        if opened.is_err() {
            into.truncate(start);
        }
        opened.is_ok()
    }
}

/// What is authentic of a datagram without being in its ciphertext: version, key id, recipient.
struct Associated {
    bytes: [u8; HEAD_BYTES + GUID_BYTES_MAX],
    length: usize,
}

impl Associated {
    fn new(key_id: u8, to: Guid) -> Self {
        let mut bytes = [0; HEAD_BYTES + GUID_BYTES_MAX];
        let guid = to.as_str().as_bytes();
        let length = HEAD_BYTES + guid.len();
        bytes[..HEAD_BYTES].copy_from_slice(&[VERSION, key_id]);
        bytes[HEAD_BYTES..length].copy_from_slice(guid);
        Self { bytes, length }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl fmt::Debug for Datagrams {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut formatter = formatter.debug_struct("Datagrams");
        formatter.field("guid", &self.guid);
        formatter
            .field("figures", &self.figures())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for DatagramRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Length => "its length is not that of a datagram",
            Self::Version => "its version is not known",
            Self::ClearText => "it is in clear text, and there is a cluster secret here",
            Self::Encrypted => "it is sealed, and there is no cluster secret here",
            Self::UnknownKey => "its cluster secret is none of those that are accepted here",
            Self::OtherCluster => "it is of another cluster",
            Self::Forged => "it was altered, or is not for this node",
            Self::Replayed => "it has been opened before, or is too old",
        })
    }
}

impl core::error::Error for DatagramRefusal {}
