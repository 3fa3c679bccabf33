//! Why bytes are not a frame.

use core::fmt;

/// Why bytes are not a frame. The connection can't be used any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerError {
    /// The frame is longer than allowed, or this is another protocol.
    TooLong {
        /// The length that it claims, in bytes.
        bytes: u32,
    },
    /// The frame has no kind.
    Empty,
    /// The body does not have the form of its kind.
    Malformed {
        /// The frame's kind.
        kind: u8,
    },
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => write!(f, "a frame of {bytes} bytes is too long"),
            Self::Empty => write!(f, "a frame is empty"),
            Self::Malformed { kind } => write!(f, "a frame of kind {kind} is malformed"),
        }
    }
}

impl core::error::Error for PeerError {}
