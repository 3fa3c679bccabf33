//! What a connection has to say: copied bytes and shared values, in order.
//!
//! Decides what is copied together and what is chained. Refuses to know what the bytes mean.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::protocol::Sink;

/// A copied chunk that has grown over this is closed, so that none moves while it grows.
const CHUNK_BYTES: usize = 64 * 1024;

#[derive(Debug)]
enum Chunk {
    Copied(Vec<u8>),
    Shared(Bytes),
}

impl Chunk {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// Buffers that are lent to whoever needs one for a while.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    spare: Vec<Vec<u8>>,
}

/// Buffers that are kept, and the size above which one is given back to the allocator.
const SPARE_MAX: usize = 512;
const SPARE_BYTES_MAX: usize = 128 * 1024;

impl Buffers {
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    pub(crate) fn give(&mut self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        if capacity > 0 && capacity <= SPARE_BYTES_MAX && self.spare.len() < SPARE_MAX {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

/// A queue of bytes.
#[derive(Debug, Default)]
pub(crate) struct Output {
    chunks: VecDeque<Chunk>,
    /// How much of the first chunk has been sent.
    sent: usize,
    bytes: usize,
}

impl Output {
    /// Bytes that are still to be sent.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Has the next bytes copied into a pooled buffer.
    #[inline]
    pub(crate) fn prepare(&mut self, buffers: &mut Buffers) {
        if self.chunks.is_empty() {
            self.chunks.push_back(Chunk::Copied(buffers.take()));
        }
    }

    /// The unsent bytes, in order.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [&'a [u8]]) -> usize {
        let mut filled = 0;
        let mut skip = self.sent;
        for chunk in &self.chunks {
            let bytes = &chunk.as_slice()[skip..];
            skip = 0;
            if bytes.is_empty() {
                continue;
            }
            let Some(slice) = slices.get_mut(filled) else {
                break;
            };
            *slice = bytes;
            filled += 1;
        }
        filled
    }

    /// Forgets the first `bytes`, which have been sent.
    pub(crate) fn advance(&mut self, bytes: usize, buffers: &mut Buffers) {
        assert!(bytes <= self.bytes, "no more is sent than there was");
        self.bytes -= bytes;
        self.sent += bytes;
        while let Some(first) = self.chunks.front() {
            let length = first.as_slice().len();
            if self.sent < length {
                break;
            }
            self.sent -= length;
            if let Some(Chunk::Copied(buffer)) = self.chunks.pop_front() {
                buffers.give(buffer);
            }
        }
    }

    /// Moves all of `other` behind what is here.
    pub(crate) fn append(&mut self, other: &mut Self, buffers: &mut Buffers) {
        assert!(other.sent == 0, "nothing of it has been sent");
        for chunk in other.chunks.drain(..) {
            match chunk {
                Chunk::Copied(bytes) => {
                    self.put(&bytes);
                    buffers.give(bytes);
                }
                Chunk::Shared(bytes) => self.share(bytes),
            }
        }
        other.bytes = 0;
    }

    /// Takes all of `other`, with its memory.
    pub(crate) fn append_alone(&mut self, other: Self) {
        assert!(other.sent == 0, "nothing of it has been sent");
        self.bytes += other.bytes;
        self.chunks.extend(other.chunks);
    }

    /// Empties it and gives its buffers back.
    pub(crate) fn clear(&mut self, buffers: &mut Buffers) {
        for chunk in self.chunks.drain(..) {
            if let Chunk::Copied(bytes) = chunk {
                buffers.give(bytes);
            }
        }
        self.sent = 0;
        self.bytes = 0;
    }
}

impl Sink for Output {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        if let Some(Chunk::Copied(last)) = self.chunks.back_mut()
            && last.len() < CHUNK_BYTES
        {
            last.extend_from_slice(bytes);
            return;
        }
        self.chunks.push_back(Chunk::Copied(bytes.to_vec()));
    }

    fn share(&mut self, bytes: Bytes) {
        self.bytes += bytes.len();
        self.chunks.push_back(Chunk::Shared(bytes));
    }
}
