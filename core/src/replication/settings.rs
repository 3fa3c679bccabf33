//! How a replica has been told to behave, and the bounds of its patience and memory.
//!
//! Decides names, units and defaults. Refuses to know flags and files.

/// What a part of the cluster does that can't reach a majority of a partition's voters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SplitBrain {
    /// It serves what it has after a while: the *Force*. Both sides may then change the same key.
    #[default]
    Available,
    /// It refuses writes.
    Majority,
}

/// What all replicas of a cluster agree on.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What to do without a majority.
    pub split_brain: SplitBrain,
    /// Writes are refused with fewer in-sync replicas, the primary included.
    pub in_sync_min: usize,
    /// Whether this node keeps records on disk ([`super::Input::Kept`] comes).
    pub disk: bool,
    /// A lease to read, from the sending of what was acknowledged. With clocks that drift apart by
    /// a share d, `grant_ms` must be at least `lease_ms` × (1 + d).
    pub lease_ms: u64,
    /// No claim of a backup for so long after it has acknowledged something, from receipt.
    pub grant_ms: u64,
    /// What is not acknowledged is sent again after so long.
    pub resend_ms: u64,
    /// A claim that has not come through is made anew after so long, and up to twice that.
    pub claim_ms: u64,
    /// How long a claim with its majority waits for in-sync replicas that have not promised.
    pub straggler_ms: u64,
    /// Each rank among those who could take over waits so much longer.
    pub stagger_ms: u64,
    /// With a promise given and no record come of it, a claim is due after so long.
    pub settle_ms: u64,
    /// A backup that answers nothing for so long while something waits for it is dropped.
    pub silent_ms: u64,
    /// Who has ceded claims itself after so long.
    pub cede_ms: u64,
    /// A blank voter asks again after so long.
    pub learn_ms: u64,
    /// A primary looks after its replicas so often while they are not what is wanted.
    pub upkeep_ms: u64,
    /// Force after so long without a majority.
    pub force_ms: u64,
    /// Force after so long if the processes of all who do not answer are known to be dead.
    pub force_dead_ms: u64,
    /// In-sync replicas that seem gone: recovery is tried after so long.
    pub recover_ms: u64,
    /// A recovery goes on without those who do not answer after so long, if it may.
    pub recover_force_ms: u64,
    /// A deadline that is met later than that means that this process did not run.
    pub pause_ms: u64,
    /// Unacknowledged entries above which proposals wait.
    pub tail_entries_max: usize,
    /// Unacknowledged bytes above which proposals wait.
    pub tail_bytes_max: usize,
    /// A fill is given up when its target lags by so many entries.
    pub fill_lag_max: usize,
    /// A fill that gets no further is given up after so long, and so is a recovery that can't find
    /// out what its own disk has.
    pub fill_stuck_ms: u64,
    /// Bytes of one chunk of a fill.
    pub chunk_bytes_max: usize,
    /// Requests remembered of each origin.
    pub requests_max: usize,
    /// Origins remembered.
    pub origins_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            split_brain: SplitBrain::default(),
            in_sync_min: 1,
            disk: true,
            lease_ms: 400,
            grant_ms: 500,
            resend_ms: 100,
            claim_ms: 300,
            straggler_ms: 150,
            stagger_ms: 150,
            settle_ms: 500,
            silent_ms: 1000,
            cede_ms: 300,
            learn_ms: 200,
            upkeep_ms: 100,
            force_ms: 3000,
            force_dead_ms: 700,
            recover_ms: 1000,
            recover_force_ms: 10_000,
            pause_ms: 300,
            tail_entries_max: 4096,
            tail_bytes_max: 8 * 1024 * 1024,
            fill_lag_max: 4096,
            fill_stuck_ms: 30_000,
            chunk_bytes_max: 64 * 1024,
            requests_max: 64,
            origins_max: 4096,
        }
    }
}
