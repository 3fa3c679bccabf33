//! What protects the traffic between nodes: authentication and encryption by cluster secrets.
//!
//! Decides which keys are drawn from a secret, what a protected stream and a sealed datagram look
//! like, and whom to refuse, with which words. Refuses to know connections, time, frames other
//! than the refusal, and what is protected.
//!
//! Who knows a cluster secret is trusted with everything; who does not can read nothing, say
//! nothing, and have no answer but a refusal in clear text. Without a secret the same interface
//! passes bytes on as they are, and [`loopback_only`] says where that is allowed.
//!
//! * [`Secrets`]: the first seals, all are accepted, so that they can be rotated: add the new one
//!   behind the old one everywhere, then put it first everywhere, then take the old one away.
//! * [`Stream`]: `Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s`. Its keys are thrown away with the
//!   connection, so who learns the secret later can't read what was recorded earlier.
//! * [`Datagrams`]: XChaCha20-Poly1305. Who learns the secret can read recorded datagrams: gossip
//!   only.
//!
//! Noise as it is used here is no PAKE: who records traffic can try out secrets, which is why
//! they have a least length ([`SECRET_BYTES_MIN`]) and are to be drawn by chance.
//!
//! Entropy comes in as [`Seed`]s; equal seeds and inputs give equal bytes.

mod datagrams;
mod loopback;
mod refusal;
mod secrets;
mod seed;
mod stream;
#[cfg(test)]
mod testing;

use alloc::sync::Arc;
use core::fmt;
use core::net::IpAddr;

use crate::protocol::peer::TEXT_BYTES_MAX;

pub use datagrams::{
    DATAGRAM_BYTES_MAX, DatagramFigures, DatagramRefusal, Datagrams, OVERHEAD_BYTES,
    PAYLOAD_BYTES_MAX, SENDERS_MAX,
};
pub use loopback::{NeedsSecret, loopback_only};
pub use refusal::Refusal;
pub use secrets::{
    SECRET_BYTES_MAX, SECRET_BYTES_MIN, SECRET_FILE_BYTES_MAX, SECRETS_MAX, SecretError, Secrets,
};
pub use seed::{Entropy, Seed};
pub use stream::{
    EARLY_BYTES_MAX, HANDSHAKE_BYTES_MAX, HANDSHAKE_MS_MAX, RECORD_BYTES_MAX, Stream,
};

/// What a node, or a command, has to show and to ask for: cluster secrets and the cluster's name.
/// A clone costs two reference counts.
#[derive(Clone)]
pub struct Credentials {
    secrets: Option<Arc<Secrets>>,
    cluster: Arc<str>,
}

impl Credentials {
    /// For the cluster of this name; an empty one is not known, as to a command, and then any
    /// will do. Without secrets nothing is protected.
    ///
    /// # Panics
    /// If the name is longer than [`TEXT_BYTES_MAX`] bytes: settings are checked at the start.
    #[must_use]
    pub fn new(cluster: &str, secrets: Option<Secrets>) -> Self {
        assert!(cluster.len() <= TEXT_BYTES_MAX, "a cluster's name is short");
        Self {
            secrets: secrets.map(Arc::new),
            cluster: cluster.into(),
        }
    }

    /// Whether peers may be spoken to at, or listened for on, `address`.
    ///
    /// # Errors
    /// When it is not loopback and there is no secret.
    pub fn check_address(&self, address: IpAddr) -> Result<(), NeedsSecret> {
        match self.secrets {
            Some(_) => Ok(()),
            None => loopback_only(address),
        }
    }

    /// Whether another cluster is named; a name that is not known is no other one.
    fn differs(&self, cluster: &str) -> bool {
        !self.cluster.is_empty() && !cluster.is_empty() && *self.cluster != *cluster
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut formatter = formatter.debug_struct("Credentials");
        formatter.field("cluster", &self.cluster);
        formatter.field("secrets", &self.secrets).finish()
    }
}
