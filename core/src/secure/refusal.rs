//! Why a stream is refused, in words for both of its ends.
//!
//! Decides the reasons and what each end is told. Refuses to know when they apply.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::protocol::peer::{self, Frame, Reason};

/// Why a stream came to its end before its time.
///
/// As text ([`Display`](fmt::Display)) it is for the log, or for whoever has run a command, at
/// the end that refuses. What the other end is told is a frame [`Frame::Refused`] in clear text,
/// with the words from there. Who has no secret can send such a frame, too: it ends a stream that
/// has not begun, as a reset does, and means no more than that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The peer speaks another protocol.
    Protocol,
    /// The peer speaks in clear text, and there is a secret.
    ClearText,
    /// The peer encrypts, and there is no secret.
    Encrypted,
    /// There is no version that both speak.
    Version,
    /// The peer's secret is none of those that are accepted.
    Secret,
    /// The peer is of another cluster.
    Cluster,
    /// The peer's handshake or record does not have the form of one.
    Malformed,
    /// What came was altered on its way, or belongs to another connection.
    Forged,
    /// The peer has closed in the middle of the handshake or of a record.
    Truncated,
    /// The peer refuses.
    Refused {
        /// Why, for programs.
        reason: Reason,
        /// Why, for people: what the peer has sent, without control characters.
        text: Box<str>,
    },
}

impl Refusal {
    /// Why, for programs.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Protocol | Self::Malformed | Self::Forged | Self::Truncated => Reason::Frame,
            Self::ClearText | Self::Encrypted | Self::Secret => Reason::Secret,
            Self::Version => Reason::Version,
            Self::Cluster => Reason::Cluster,
            Self::Refused { reason, .. } => *reason,
        }
    }

    /// Whether one of the two has found that they do not belong together. If not, the stream has
    /// come to its end by an accident.
    #[must_use]
    pub const fn is_meant(&self) -> bool {
        match self {
            Self::Refused { .. }
            | Self::ClearText
            | Self::Encrypted
            | Self::Version
            | Self::Secret
            | Self::Cluster => true,
            Self::Protocol | Self::Malformed | Self::Forged | Self::Truncated => false,
        }
    }

    /// What the peer has sent as its refusal, whoever it is.
    pub(super) fn refused(reason: Reason, text: &str) -> Self {
        let shown = |character: char| match character {
            character if character.is_control() => '?',
            character => character,
        };
        let text: String = text.chars().map(shown).collect();
        let text = text.into();
        Self::Refused { reason, text }
    }

    /// Appends what the peer is told, in clear text. It names nothing that was not sent in clear
    /// text.
    pub(super) fn tell(&self, output: &mut Vec<u8>) {
        let text = match self {
            Self::Protocol => "this is a peer port of Zufar, and speaks nothing else",
            Self::ClearText => "this node has a cluster secret: give it as `secret-file`, too",
            Self::Encrypted => {
                "this node has no cluster secret, and you do: take it away here \
                                or set `secret-file` there"
            }
            Self::Version => "no version of the encryption that both speak",
            Self::Secret => "your cluster secret is none of those that this node accepts",
            Self::Cluster => "this node is of another cluster",
            Self::Malformed | Self::Forged | Self::Truncated | Self::Refused { .. } => {
                "the handshake is malformed"
            }
        };
        let reason = self.reason();
        peer::encode(&Frame::Refused { reason, text }, output);
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Protocol => "the peer speaks another protocol",
            Self::ClearText => "the peer speaks in clear text, and there is a cluster secret here",
            Self::Encrypted => "the peer has a cluster secret, and there is none here",
            Self::Version => "the peer speaks no version of the encryption that is spoken here",
            Self::Secret => "the peer's cluster secret is none of those that are accepted here",
            Self::Cluster => "the peer is of another cluster",
            Self::Malformed => "the peer's handshake or record is malformed",
            Self::Forged => "what the peer sent was altered on its way",
            Self::Truncated => "the peer has closed in the middle of something",
            Self::Refused { text, .. } => return write!(formatter, "the peer refuses: {text}"),
        };
        formatter.write_str(text)
    }
}

impl core::error::Error for Refusal {}
