//! Names for things that leave the core and come back.
//!
//! Decides their width and that each carries a generation. Refuses to know what they name.

/// One client or peer connection of one worker.
///
/// The driver chooses `slot` (small and dense: the core indexes by it) and gives every reuse of
/// a slot a new `generation`, so an event that comes late can't reach the slot's next owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// Index of the connection in its worker.
    pub slot: u32,
    /// Counts the owners that the slot has had.
    pub generation: u32,
}

/// A worker of this process: 0 up to the number of threads less one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u16);

/// Something that a worker waits for: a disk read, an answer of another worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// Index in the table of whoever handed the ticket out.
    pub slot: u32,
    /// Counts the owners that the slot has had.
    pub generation: u32,
}
