//! The wrong variants of the protocol, planted on purpose: does the simulator find them?
//!
//! Decides which one is in. Exists in full only with the feature `planted`; without it every
//! question is answered by a constant. The numbers are those of the list that the protocol's
//! description ends with.

/// A wrong variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// Entries and acknowledgements count whatever term they are of.
    TermsIgnored = 1,
    /// A write is acknowledged before the backups have it.
    AckBeforeReplication,
    /// A claim needs no majority.
    NoQuorum,
    /// A claim asks whoever this node believes to be alive, not the recorded voters.
    QuorumByView,
    /// A voter that restarts votes at once.
    ForgetfulVoter,
    /// A replica that restarts is what it was before.
    StaleRestartInSync,
    /// Members are told by their nodes, not by their runs.
    InSyncByGuid,
    /// A fill's target is added before anything has been compared, or has even come.
    TargetUnverified,
    /// Who has ceded goes on serving.
    ServeAfterCede,
    /// A lease counts from when the acknowledgement comes in.
    LeaseFromReceipt,
    /// A claim does not wait for the grant to end.
    ClaimInsideGrant,
    /// A primary goes on reading while it claims.
    ServeWhileClaiming,
    /// Reads show what is not acknowledged.
    DirtyRead,
    /// A claim forgets the tails.
    NoTailMerge,
    /// A fill's target keeps what it held, where that is newer.
    FillOverOldEntries,
    /// A fill's target keeps what it held of keys that the source has nothing of.
    FillKeepsUnlisted,
    /// A fill's target drops tombstones.
    FillWithoutTombstones,
    /// A voter is replaced in one step.
    VotersSwapped,
}

impl Bug {
    /// All of them, with the names that a command line takes.
    pub const ALL: [(&'static str, Self); 18] = [
        ("terms-ignored", Self::TermsIgnored),
        ("ack-before-replication", Self::AckBeforeReplication),
        ("no-quorum", Self::NoQuorum),
        ("quorum-by-view", Self::QuorumByView),
        ("forgetful-voter", Self::ForgetfulVoter),
        ("stale-restart-in-sync", Self::StaleRestartInSync),
        ("in-sync-by-guid", Self::InSyncByGuid),
        ("target-unverified", Self::TargetUnverified),
        ("serve-after-cede", Self::ServeAfterCede),
        ("lease-from-receipt", Self::LeaseFromReceipt),
        ("claim-inside-grant", Self::ClaimInsideGrant),
        ("serve-while-claiming", Self::ServeWhileClaiming),
        ("dirty-read", Self::DirtyRead),
        ("no-tail-merge", Self::NoTailMerge),
        ("fill-over-old-entries", Self::FillOverOldEntries),
        ("fill-keeps-unlisted", Self::FillKeepsUnlisted),
        ("fill-without-tombstones", Self::FillWithoutTombstones),
        ("voters-swapped", Self::VotersSwapped),
    ];
}

#[cfg(feature = "planted")]
mod switch {
    use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

    use super::Bug;

    static PLANTED: AtomicU8 = AtomicU8::new(0);

    /// Plants `bug` in every replica of this process, or none.
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
