//! The seam to a partition's data.
//!
//! Decides what replication asks of it. Refuses to know how items are kept.

use alloc::vec::Vec;

use super::entry::Entry;

/// One partition's data on this node.
///
/// Entries that are *set aside* count as absent everywhere but in [`bring_back`] and [`discard`]:
/// they are what a replica held before it is filled anew.
///
/// A store may keep most of its data where reading takes time. Then it does not know at once
/// which version it has of a key, and can't hand out at once what is next in a [`scan`]: it says
/// so, and its owner says [`Input::Scanned`] once the data has come. For the same reason a digest
/// is not over all that a store holds, but over what was handed out, or taken in, in one session
/// of a fill: that is what a fill has to compare, and both ends know the versions of it.
///
/// [`bring_back`]: Self::bring_back
/// [`discard`]: Self::discard
/// [`scan`]: Self::scan
/// [`Input::Scanned`]: super::Input::Scanned
pub trait Store {
    /// Takes in an entry if it is newer than what there is of its key, as far as `arrival` leaves
    /// that open. Returns whether it was.
    fn apply(&mut self, entry: &Entry, arrival: Arrival) -> bool;

    /// Adds entries to `into`, tombstones included, until about `bytes_max` have been added. The
    /// first call passes 0, later ones what the one before returned. What is there during the
    /// whole scan comes at least once, whatever changes meanwhile. The same cursor may be asked
    /// for again until the next one is.
    fn scan(&mut self, cursor: u64, bytes_max: usize, into: &mut Vec<Entry>) -> Scan;

    /// What this session has handed out, as source, or taken in, as target: tombstones included,
    /// of each key the newest. Two ends that have the same digest have the same. O(1).
    fn digest(&self) -> Digest;

    /// No entry that it has ever held has a higher version; 0 for none.
    fn version_highest(&self) -> u64;

    /// Whether there is certainly nothing, set aside or not.
    fn is_empty(&self) -> bool;

    /// Whether what an earlier run would have left is a mixture: a fill is under way, or not all that
    /// it has brought is on disk, or what it has dropped is still there. Then it lacks items, and
    /// may have others that were deleted long ago.
    fn is_mixed(&self) -> bool {
        false
    }

    /// Whether a later run would know that it is a mixture, if it is. Before it does, nobody may
    /// rely on this replica: [`Input::Scanned`] says when.
    ///
    /// [`Input::Scanned`]: super::Input::Scanned
    fn may_vouch(&self) -> bool {
        true
    }

    /// Whether it can take anything in. A replica that can't answers nothing, and so falls out of
    /// sync.
    fn has_room(&self) -> bool {
        true
    }

    /// Sets everything aside. What is applied from now on, until [`discard`](Self::discard) or
    /// [`bring_back`](Self::bring_back), makes up a session as target.
    fn set_aside(&mut self);

    /// Brings back what is set aside, where it is newer.
    fn bring_back(&mut self);

    /// Drops what is set aside.
    fn discard(&mut self);

    /// A session as source begins: what is scanned and what is changed from now on counts.
    fn begin_fill(&mut self) {}

    /// It has ended, if there was one.
    fn end_fill(&mut self) {}

    /// Finds out which versions it has, so that entries may be applied as [`Arrival::Merged`].
    /// Returns whether it knows; if not, it is asked again.
    fn prepare_merge(&mut self) -> bool {
        true
    }

    /// Nothing is merged any more, if anything was.
    fn end_merge(&mut self) {}
}

/// How an entry has come, which says what it may be older than.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// As a change by the primary that this replica follows: nothing newer of its key was ever
    /// here, unless something newer came since the store was set aside.
    Live,
    /// As part of what the source of a fill holds: a newer one may have come live.
    Listed,
    /// From a replica of another lineage, or an older run's disk: anything may be newer. Only
    /// after [`Store::prepare_merge`].
    Merged,
}

/// How far a scan has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// It goes on from this cursor, which is not 0. Nothing may have been added all the same.
    Next(u64),
    /// That was all.
    End,
    /// What is next is still being read. Nothing was added; the same is to be asked again.
    Wait,
}

/// The sum of a hash over every (key, version), and how many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest {
    /// The sum, wrapping.
    pub sum: u64,
    /// Entries, tombstones included.
    pub count: u64,
}
