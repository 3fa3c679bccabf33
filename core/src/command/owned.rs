//! A command that waits: its key and value in memory of their own.
//!
//! Decides how a command is kept while its session's input is gone. Refuses to know what it
//! waits for.

use alloc::vec::Vec;
use bytes::Bytes;

use super::{Operation, Value};
use crate::hash::KeyHash;
use crate::message::{bare_operation, dressed_operation};

/// One command, owned. Its buffer comes from a pool and goes back to it.
#[derive(Debug)]
pub(crate) struct OwnedCommand {
    pub(crate) hash: KeyHash,
    operation: Operation<'static>,
    /// The key, and a small value behind it.
    buffer: Vec<u8>,
    key_bytes: usize,
    large: Option<Bytes>,
}

impl OwnedCommand {
    /// Keeps a command in `buffer`, which is empty.
    pub(crate) fn new(
        mut buffer: Vec<u8>,
        hash: KeyHash,
        key: &[u8],
        operation: &Operation<'_>,
    ) -> Self {
        buffer.extend_from_slice(key);
        let (bare, value) = bare_operation(operation);
        let mut large = None;
        match value {
            Some(Value::Small(bytes)) => buffer.extend_from_slice(bytes),
            Some(Value::Large(bytes)) => large = Some(bytes.clone()),
            None => {}
        }
        Self {
            hash,
            operation: bare,
            buffer,
            key_bytes: key.len(),
            large,
        }
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.buffer[..self.key_bytes]
    }

    pub(crate) fn operation(&self) -> Operation<'_> {
        let value = match &self.large {
            Some(bytes) => Value::Large(bytes.clone()),
            None => Value::Small(&self.buffer[self.key_bytes..]),
        };
        dressed_operation(&self.operation, value)
    }

    /// Gives it a large value that has come later than the rest.
    pub(crate) fn set_value(&mut self, value: Bytes) {
        self.large = Some(value);
    }

    /// Bytes that it keeps alive.
    pub(crate) fn bytes(&self) -> usize {
        self.buffer.len() + self.large.as_ref().map_or(0, Bytes::len)
    }
}

/// Buffers kept for the next commands that wait.
const BUFFERS_MAX: usize = 256;
/// A buffer that has grown larger is given back to the allocator.
const BUFFER_BYTES_MAX: usize = 8 * 1024;

/// Memory of commands that no longer wait, for those that will.
#[derive(Debug, Default)]
pub(crate) struct CommandBuffers {
    buffers: Vec<Vec<u8>>,
}

impl CommandBuffers {
    /// An empty buffer.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    /// Takes back the memory of a command that is done.
    pub(crate) fn recycle(&mut self, mut command: OwnedCommand) {
        self.empty(&mut command);
    }

    /// The same, of one that stays where it is, without key and value.
    pub(crate) fn empty(&mut self, command: &mut OwnedCommand) {
        command.large = None;
        command.key_bytes = 0;
        self.give(core::mem::take(&mut command.buffer));
    }

    /// Takes back a buffer.
    pub(crate) fn give(&mut self, mut buffer: Vec<u8>) {
        if self.buffers.len() < BUFFERS_MAX && buffer.capacity() <= BUFFER_BYTES_MAX {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}
