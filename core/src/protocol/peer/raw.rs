//! Where frames begin and end.
//!
//! Decides that from their lengths alone. Refuses to know what they say.

use super::PeerError;

/// Bytes of a frame's length.
pub(super) const LENGTH_BYTES: usize = 4;

/// A frame that is not read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFrame<'a> {
    /// What it says.
    pub kind: u8,
    /// The bytes behind that.
    pub body: &'a [u8],
    /// Bytes of the whole frame, its length included.
    pub frame_bytes: usize,
}

/// The first frame of `input`; none if it is not all there.
///
/// # Errors
/// When it is longer than `frame_bytes_max`, or empty.
pub fn split(input: &[u8], frame_bytes_max: usize) -> Result<Option<RawFrame<'_>>, PeerError> {
    let Some((length, rest)) = input.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let bytes = u32::from_be_bytes(*length);
    let length = usize::try_from(bytes).map_err(|_| PeerError::TooLong { bytes })?;
    if length > frame_bytes_max {
        return Err(PeerError::TooLong { bytes });
    }
    let Some(frame) = rest.get(..length) else {
        return Ok(None);
    };
    let (&kind, body) = frame.split_first().ok_or(PeerError::Empty)?;
    Ok(Some(RawFrame {
        kind,
        body,
        frame_bytes: LENGTH_BYTES + length,
    }))
}
