//! Bugs on purpose, to see whether the simulator finds them.
//!
//! Decides which one is in. Exists in full only with the feature `planted`, which nothing but
//! the simulator's own tests switches on; without it every question is answered by a constant.

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// What a failed sync took along is not written again.
    ForgetDirty = 1,
    /// An answer for a connection that is gone goes to the one that has its slot now.
    StaleTicket,
    /// A delete leaves the record on disk.
    ForgetTombstone,
    /// An answer overtakes the one before it.
    AnswerOutOfOrder,
    /// What was flushed or has expired comes back when it is read from disk.
    ResurrectAtPreload,
    /// A record that is replaced gives back fewer bytes than it took.
    CountBytesWrong,
    /// The lag forgets a flush that the disk has refused.
    LagForgetsFlush,
    /// The lag counts as synced what is only written.
    LagForgetsSync,
    /// After a restart time is taken from the ceiling of versions.
    TimeFromCeiling,
    /// Versions are drawn above a ceiling that the disk does not keep yet.
    DrawUnsafeVersions,
    /// A classic get takes the recache token of a stale item.
    GetTakesToken,
    /// Nobody makes sure that a suspected node hears of it.
    LeaveSuspected,
    /// Nodes that are down are never tried again.
    NeverTryAgain,
    /// A later run of a node is taken for the run that was known.
    HideRestart,
    /// A node that has the name of another one is let in.
    AllowTwins,
    /// A write is answered before all replicas have it.
    AnswerUnacknowledged,
    /// A reading is answered without asking whether this node is still primary.
    ReadUnasked,
    /// A request that comes again is carried out again.
    ForgetRequests,
    /// A request is carried out although one before it was refused.
    IgnoreRefusedEpoch,
    /// A node that is not primary answers readings.
    ReadElsewhere,
    /// What a delete has done is not replicated.
    KeepDeletes,
    /// A flush reaches one node only.
    FlushAlone,
}

impl Bug {
    /// All of them, by the names that `cargo sim --bug` takes.
    pub const ALL: [(&'static str, Self); 11] = [
        ("forget-dirty", Self::ForgetDirty),
        ("stale-ticket", Self::StaleTicket),
        ("forget-tombstone", Self::ForgetTombstone),
        ("answer-out-of-order", Self::AnswerOutOfOrder),
        ("resurrect-at-preload", Self::ResurrectAtPreload),
        ("count-bytes-wrong", Self::CountBytesWrong),
        ("lag-forgets-flush", Self::LagForgetsFlush),
        ("lag-forgets-sync", Self::LagForgetsSync),
        ("time-from-ceiling", Self::TimeFromCeiling),
        ("draw-unsafe-versions", Self::DrawUnsafeVersions),
        ("get-takes-token", Self::GetTakesToken),
    ];

    /// Those that whole clusters must show.
    pub const CLUSTER: [(&'static str, Self); 6] = [
        ("answer-unacknowledged", Self::AnswerUnacknowledged),
        ("read-unasked", Self::ReadUnasked),
        ("forget-requests", Self::ForgetRequests),
        ("ignore-refused-epoch", Self::IgnoreRefusedEpoch),
        ("read-elsewhere", Self::ReadElsewhere),
        ("keep-deletes", Self::KeepDeletes),
    ];

    /// Those that whole clusters must show that have disks and are flushed.
    pub const CLUSTER_FULL: [(&'static str, Self); 3] = [
        ("forget-tombstone", Self::ForgetTombstone),
        ("lag-forgets-sync", Self::LagForgetsSync),
        ("flush-alone", Self::FlushAlone),
    ];

    /// Those that gossip must show.
    pub const GOSSIP: [(&'static str, Self); 4] = [
        ("leave-suspected", Self::LeaveSuspected),
        ("never-try-again", Self::NeverTryAgain),
        ("hide-restart", Self::HideRestart),
        ("allow-twins", Self::AllowTwins),
    ];
}

#[cfg(feature = "planted")]
mod switch {
    use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

    use super::Bug;

    static PLANTED: AtomicU8 = AtomicU8::new(0);

    /// Plants `bug` in every worker of this process, or none.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.store(bug.map_or(0, |bug| bug as u8), Relaxed);
    }

    /// Whether `bug` is in.
    #[must_use]
    pub(crate) fn has(bug: Bug) -> bool {
        PLANTED.load(Relaxed) == bug as u8
    }
}

#[cfg(feature = "planted")]
pub(crate) use switch::has;
#[cfg(feature = "planted")]
pub use switch::plant;

/// Whether `bug` is in: never, in a core that is built to be used.
#[cfg(not(feature = "planted"))]
#[inline(always)]
#[must_use]
pub(crate) const fn has(_: Bug) -> bool {
    false
}
