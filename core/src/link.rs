//! What one link between two nodes carries: frames, and large values between them.
//!
//! Decides in which order frames and chunks leave, so that a value of a gibibyte holds up nothing
//! that comes behind it, and puts chunks together again. Refuses to know connections, encryption,
//! and what frames mean.

#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use bytes::Bytes;

use crate::protocol::link::{LinkFrame, ValueId, encode};

/// Bytes of a large value in one frame. Also how long others wait for it at a time.
const CHUNK_BYTES: usize = 16 * 1024;
/// Large values that a link brings at a time, at most. No node has more requests under way.
const VALUES_MAX: usize = 64 * 1024;

/// A large value on its way out.
#[derive(Debug)]
struct Leaving {
    value: ValueId,
    rest: Bytes,
}

/// What is to leave over a link.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// Frames, in their order.
    frames: Vec<u8>,
    /// Values of which each in turn sends a chunk.
    leaving: VecDeque<Leaving>,
    leaving_bytes: usize,
}

impl Outgoing {
    /// Where frames are appended, whole.
    pub(crate) const fn frames(&mut self) -> &mut Vec<u8> {
        &mut self.frames
    }

    /// Has a large value follow the frame that announces it, which has been appended before.
    pub(crate) fn push_value(&mut self, value: ValueId, bytes: Bytes) {
        self.leaving_bytes += bytes.len();
        self.leaving.push_back(Leaving { value, rest: bytes });
    }

    /// Bytes that are to leave.
    pub(crate) const fn unsent_bytes(&self) -> usize {
        self.frames.len() + self.leaving_bytes
    }

    /// Gives up what is left of a value, if anything is; its receiver is told.
    pub(crate) fn cancel(&mut self, value: ValueId) {
        let at = self
            .leaving
            .iter()
            .position(|leaving| leaving.value == value);
        if let Some(leaving) = at.and_then(|at| self.leaving.remove(at)) {
            self.leaving_bytes -= leaving.rest.len();
            encode(&LinkFrame::Cancel { value }, &mut self.frames);
        }
    }

    /// Appends to `into` what leaves next: all frames, then chunks until about `bytes_max` bytes
    /// have come together, and one at least, however many frames there are.
    pub(crate) fn take(&mut self, bytes_max: usize, into: &mut Vec<u8>) {
        let start = into.len();
        into.append(&mut self.frames);
        let mut chunks = 0;
        while (chunks == 0 || into.len() - start < bytes_max)
            && let Some(mut leaving) = self.leaving.pop_front()
        {
            chunks += 1;
            let chunk = leaving.rest.split_to(CHUNK_BYTES.min(leaving.rest.len()));
            self.leaving_bytes -= chunk.len();
            let value = leaving.value;
            encode(
                &LinkFrame::Chunk {
                    value,
                    bytes: &chunk,
                },
                into,
            );
            if !leaving.rest.is_empty() {
                self.leaving.push_back(leaving);
            }
        }
    }
}

/// A large value on its way in.
#[derive(Debug)]
struct Arriving {
    value_bytes: usize,
    /// What has come; none if nobody wants it.
    bytes: Option<Vec<u8>>,
    come_bytes: usize,
}

/// What came of a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// More is to come.
    Partial,
    /// That was the last: the value.
    Whole(Vec<u8>),
    /// That was the last of a value that nobody wanted.
    Unwanted,
}

/// A chunk of a value that was never announced, or of more than was, or a value that can't be
/// announced. The link is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unannounced;

/// The large values that a link brings.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    arriving: BTreeMap<ValueId, Arriving>,
}

impl Incoming {
    /// A value has been announced, whose memory has been charged; or it is not `wanted`.
    ///
    /// # Errors
    /// When a value of this name is on its way already, or too many are.
    pub(crate) fn announce(
        &mut self,
        value: ValueId,
        value_bytes: usize,
        wanted: bool,
    ) -> Result<(), Unannounced> {
        assert!(value_bytes > 0, "an empty value is no large one");
        if self.arriving.len() >= VALUES_MAX || self.arriving.contains_key(&value) {
            return Err(Unannounced);
        }
        let arriving = Arriving {
            value_bytes,
            bytes: wanted.then(|| Vec::with_capacity(value_bytes)),
            come_bytes: 0,
        };
        self.arriving.insert(value, arriving);
        Ok(())
    }

    /// Takes a chunk.
    ///
    /// # Errors
    /// When it belongs to nothing that was announced.
    pub(crate) fn chunk(&mut self, value: ValueId, chunk: &[u8]) -> Result<Chunk, Unannounced> {
        let arriving = self.arriving.get_mut(&value).ok_or(Unannounced)?;
        arriving.come_bytes += chunk.len();
        if arriving.come_bytes > arriving.value_bytes {
            return Err(Unannounced);
        }
        if let Some(bytes) = &mut arriving.bytes {
            bytes.extend_from_slice(chunk);
        }
        if arriving.come_bytes < arriving.value_bytes {
            return Ok(Chunk::Partial);
        }
        let arrived = self.arriving.remove(&value).ok_or(Unannounced)?;
        Ok(arrived.bytes.map_or(Chunk::Unwanted, Chunk::Whole))
    }

    /// The rest will not come. Bytes that had been charged for it, if it was wanted.
    pub(crate) fn cancel(&mut self, value: ValueId) -> usize {
        let arriving = self.arriving.remove(&value);
        arriving.map_or(0, |arriving| {
            arriving.bytes.map_or(0, |_| arriving.value_bytes)
        })
    }

    /// Bytes that had been charged for what is on its way.
    pub(crate) fn charged_bytes(&self) -> usize {
        let wanted = self.arriving.values().filter(|it| it.bytes.is_some());
        wanted.map(|it| it.value_bytes).sum()
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_empty(&self) -> bool {
        self.arriving.is_empty()
    }
}
