//! A client: one operation after the other, each asked again until its outcome is known.
//!
//! Decides what is asked, of whom, and how often. Refuses to know what a node does.

use zufar_core::member::{Guid, NodeId};
use zufar_core::replication::{RequestId, Term};

use super::check::{Told, Wish};
use crate::Random;

/// One attempt of an operation on its way to a node.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) client: usize,
    pub(super) attempt: u64,
    pub(super) partition: u16,
    pub(super) key: u8,
    pub(super) wish: Wish,
    pub(super) id: RequestId,
    /// The term counter that the client knew when it asked for the first time.
    pub(super) since: u64,
    /// The term that this attempt is meant for.
    pub(super) term: Option<Term>,
}

/// What a node says to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Told(Told),
    /// Not here, or not now.
    Refused,
    /// The outcome is unknown.
    Unknown,
}

/// An operation under way.
#[derive(Clone, Debug)]
pub(super) struct Current {
    pub(super) partition: u16,
    pub(super) key: u8,
    pub(super) wish: Wish,
    pub(super) operation: usize,
    since: u64,
    sequence: u64,
    attempts: u64,
}

pub(super) struct Client {
    index: usize,
    origin: NodeId,
    random: Random,
    sequence: u64,
    pub(super) attempt: u64,
    pub(super) current: Option<Current>,
    /// The highest term of each partition that it has heard of.
    pub(super) hints: Vec<Option<Term>>,
    values: u64,
}

const ATTEMPTS_MAX: u64 = 12;

impl Client {
    pub(super) fn new(index: usize, partitions: u16, random: Random) -> Self {
        let guid = Guid::new(&format!("client-{index}")).expect("it is a guid");
        Self {
            index,
            origin: NodeId {
                guid,
                generation: 1,
            },
            random,
            sequence: 0,
            attempt: 0,
            current: None,
            hints: vec![None; usize::from(partitions)],
            values: 0,
        }
    }

    /// Draws the next operation; `operation` is its place in the history.
    pub(super) fn begin(&mut self, partition: u16, key: u8, operation: usize) -> Wish {
        self.values += 1;
        let value = (self.index as u64 + 1) * 1_000_000 + self.values * 1000;
        let wish = self.random.weighted(&[
            (6, Wish::Get),
            (2, Wish::Set(value)),
            (2, Wish::Add(value)),
            (5, Wish::Increase(1)),
            (2, Wish::Delete),
        ]);
        self.sequence += 1;
        self.current = Some(Current {
            partition,
            key,
            wish,
            operation,
            since: self.hints[usize::from(partition)].map_or(1, |term| term.counter),
            sequence: self.sequence,
            attempts: 0,
        });
        wish
    }

    /// The next attempt, and at which node; none if it has tried enough.
    pub(super) fn attempt(&mut self, nodes: &[Guid]) -> Option<(Guid, Ask)> {
        let current = self.current.as_mut()?;
        if current.attempts >= ATTEMPTS_MAX {
            return None;
        }
        current.attempts += 1;
        self.attempt += 1;
        let hint = self.hints[usize::from(current.partition)];
        let node = match hint {
            Some(term) if !self.random.chance(15) => term.node.guid,
            _ => self.random.pick(nodes),
        };
        let ask = Ask {
            client: self.index,
            attempt: self.attempt,
            partition: current.partition,
            key: current.key,
            wish: current.wish,
            id: RequestId {
                origin: self.origin,
                sequence: current.sequence,
            },
            since: current.since,
            term: hint,
        };
        Some((node, ask))
    }
}
