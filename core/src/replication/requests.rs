//! Which requests have been carried out: a retry is answered, not carried out again.
//!
//! Decides how many are remembered and what is said of one that is not. Refuses to know commands.
//!
//! For each origin the highest sequences are kept, up to a bound, and below them a floor: the
//! highest sequence that has been given up. What lies at or below the floor and is not kept is
//! *forgotten*: it may have been carried out, so it is not carried out again, and its outcome is
//! unknown. A later run of an origin makes all of its earlier runs forgotten; nobody waits for
//! them. When there is no room for another origin, its requests count as forgotten.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;

use super::entry::{Request, RequestId};
use crate::member::{Guid, NodeId};

/// What is known of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It has not been carried out.
    New,
    /// It has been, and this was answered.
    Done(Bytes),
    /// It may have been.
    Forgotten,
}

/// The requests that one replica knows to be carried out.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    /// In order of their guids.
    origins: Vec<Origin>,
    kept_max: usize,
    origins_max: usize,
}

/// What is remembered of one origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its latest run that has been met.
    pub node: NodeId,
    /// The highest sequence that has been given up; 0 for none.
    pub floor: u64,
    /// Sequences above the floor with their answers, in order.
    pub kept: VecDeque<(u64, Bytes)>,
}

impl Requests {
    /// None yet. Of each of `origins_max` origins `kept_max` requests are kept.
    pub(crate) const fn new(kept_max: usize, origins_max: usize) -> Self {
        Self {
            origins: Vec::new(),
            kept_max,
            origins_max,
        }
    }

    fn place(&self, guid: Guid) -> Result<usize, usize> {
        self.origins
            .binary_search_by_key(&guid, |origin| origin.node.guid)
    }

    /// What is known of `id`.
    pub(crate) fn look_up(&self, id: RequestId) -> Seen {
        let Ok(place) = self.place(id.origin.guid) else {
            return if self.origins.len() < self.origins_max {
                Seen::New
            } else {
                Seen::Forgotten
            };
        };
        let origin = &self.origins[place];
        if origin.node.generation != id.origin.generation {
            let is_later = id.origin.generation > origin.node.generation;
            return if is_later { Seen::New } else { Seen::Forgotten };
        }
        let found = origin
            .kept
            .binary_search_by_key(&id.sequence, |kept| kept.0);
        match found {
            Ok(at) => Seen::Done(origin.kept[at].1.clone()),
            Err(_) if id.sequence <= origin.floor => Seen::Forgotten,
            Err(_) => Seen::New,
        }
    }

    /// Takes note that `request` has been carried out.
    pub(crate) fn note(&mut self, request: &Request) {
        let Some(place) = self.place_for(request.id.origin) else {
            return;
        };
        let kept_max = self.kept_max;
        self.origins[place].keep(request.id.sequence, &request.answer, kept_max);
    }

    /// Where `node` has its place; none if it has been followed by a later run, or for want of
    /// room.
    fn place_for(&mut self, node: NodeId) -> Option<usize> {
        let place = match self.place(node.guid) {
            Ok(place) => place,
            Err(_) if self.origins.len() >= self.origins_max => return None,
            Err(place) => {
                self.origins.insert(place, Origin::new(node));
                place
            }
        };
        let origin = &mut self.origins[place];
        if origin.node.generation < node.generation {
            *origin = Origin::new(node);
        }
        (origin.node == node).then_some(place)
    }

    /// Forgets all of a node that will never ask again.
    pub(crate) fn forget_origin(&mut self, guid: Guid) {
        if let Ok(place) = self.place(guid) {
            self.origins.remove(place);
        }
    }

    /// Forgets everything: what this replica holds is not what it held.
    pub(crate) fn clear(&mut self) {
        self.origins.clear();
    }

    /// All of it, to be handed to another replica.
    pub(crate) fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// Adds what another replica knows.
    pub(crate) fn merge(&mut self, origins: &[Origin]) {
        for other in origins {
            let Some(place) = self.place_for(other.node) else {
                continue;
            };
            let kept_max = self.kept_max;
            let origin = &mut self.origins[place];
            for (sequence, answer) in &other.kept {
                origin.keep(*sequence, answer, kept_max);
            }
            // What is kept below it stays known: it is no less true for that.
            origin.floor = origin.floor.max(other.floor);
        }
    }
}

impl Origin {
    const fn new(node: NodeId) -> Self {
        Self {
            node,
            floor: 0,
            kept: VecDeque::new(),
        }
    }

    fn keep(&mut self, sequence: u64, answer: &Bytes, kept_max: usize) {
        if sequence <= self.floor {
            return;
        }
        // Sequences come nearly in order: the place is at the end or close to it.
        let at = self.kept.partition_point(|kept| kept.0 < sequence);
        if self.kept.get(at).is_some_and(|kept| kept.0 == sequence) {
            return;
        }
        // A copy: it would keep the whole frame alive that has brought it.
        let answer = Bytes::copy_from_slice(answer);
        self.kept.insert(at, (sequence, answer));
        if self.kept.len() > kept_max
            && let Some((lowest, _)) = self.kept.pop_front()
        {
            self.floor = self.floor.max(lowest);
        }
    }
}
