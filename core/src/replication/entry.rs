//! What is replicated: the state that a command has left of one key.
//!
//! Decides the form of an entry and of a request's name. Refuses to know what a state means.

use bytes::Bytes;

use crate::member::NodeId;

/// The state of one key after one command. Applying it twice, or out of order, does no harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// Of two entries of a key the one with the higher version is the newer.
    pub version: u64,
    /// What the key is now; opaque here.
    pub state: State,
    /// The request that caused it, so that a retry is not carried out again.
    pub request: Option<Request>,
}

/// What a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// An item, in the store's own form.
    Item(Bytes),
    /// Deleted. Kept until no replica can have anything older.
    Tombstone,
}

/// The name of a request, lasting over its retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// The run of the node that a client has sent the request to.
    pub origin: NodeId,
    /// Counted by that node from 1, over all partitions.
    pub sequence: u64,
}

/// A request that has been carried out, and what was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its name.
    pub id: RequestId,
    /// The answer, opaque here.
    pub answer: Bytes,
}

impl Entry {
    /// What an entry is charged with beyond its bytes.
    pub const OVERHEAD_BYTES: usize = size_of::<Self>();

    /// What it takes in memory, roughly, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let state = match &self.state {
            State::Item(bytes) => bytes.len(),
            State::Tombstone => 0,
        };
        let answer = self
            .request
            .as_ref()
            .map_or(0, |request| request.answer.len());
        Self::OVERHEAD_BYTES + self.key.len() + state + answer
    }

    /// The request's name, if it has one.
    #[must_use]
    pub fn request_id(&self) -> Option<RequestId> {
        self.request.as_ref().map(|request| request.id)
    }
}
