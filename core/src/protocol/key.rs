//! A key as a client sent it.
//!
//! Decides which keys are legal and what base64 keys stand for. Refuses to know where they live.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use crate::command::KEY_BYTES_MAX;

/// Room for any decoded key, and for the engine's estimate of its length.
const DECODED_BYTES_MAX: usize = 192;

/// memcached lets the unused last bits of a base64 key be anything.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// A legal key: plain, or in base64 as meta commands may have it. Both share one key space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    sent: &'a [u8],
    base64: bool,
}

/// Memory for a decoded key; one serves any number of keys in turn.
#[derive(Clone, Debug)]
pub struct KeyBuffer([u8; DECODED_BYTES_MAX]);

impl Default for KeyBuffer {
    fn default() -> Self {
        Self([0; DECODED_BYTES_MAX])
    }
}

impl<'a> Key<'a> {
    /// A plain key of 1 to 250 bytes.
    #[must_use]
    #[inline]
    pub const fn plain(sent: &'a [u8]) -> Option<Self> {
        if sent.is_empty() || sent.len() > KEY_BYTES_MAX {
            return None;
        }
        Some(Self {
            sent,
            base64: false,
        })
    }

    /// A key in base64: at most 250 bytes as sent.
    pub(super) fn encoded(sent: &'a [u8]) -> Option<Self> {
        let key = Self { sent, base64: true };
        if sent.len() > KEY_BYTES_MAX || key.decode(&mut KeyBuffer::default()) == 0 {
            return None;
        }
        Some(key)
    }

    /// A key that [`plain`](Self::plain) or [`encoded`](Self::encoded) has found legal.
    #[inline]
    pub(super) const fn checked(sent: &'a [u8], base64: bool) -> Self {
        Self { sent, base64 }
    }

    /// The key as it was sent.
    #[must_use]
    #[inline]
    pub const fn sent(&self) -> &'a [u8] {
        self.sent
    }

    /// Whether it was sent in base64.
    #[must_use]
    #[inline]
    pub const fn is_base64(&self) -> bool {
        self.base64
    }

    /// The key that it stands for, decoded into `buffer` if need be.
    #[must_use]
    #[inline]
    pub fn bytes<'b>(&self, buffer: &'b mut KeyBuffer) -> &'b [u8]
    where
        'a: 'b,
    {
        if !self.base64 {
            return self.sent;
        }
        let bytes = self.decode(buffer);
        &buffer.0[..bytes]
    }

    /// How many bytes it decodes to; 0 when it is no base64.
    fn decode(&self, buffer: &mut KeyBuffer) -> usize {
        BASE64.decode_slice(self.sent, &mut buffer.0).unwrap_or(0)
    }
}
