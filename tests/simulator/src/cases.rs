//! Seeds that are worth keeping, by what they find.
//!
//! Decides nothing: it is a list. A seed is bound to how runs are drawn; whoever changes that
//! looks for new ones with `cargo sim --bug NAME --seeds 1000 --failures 1`.

/// A bug that can be planted, by the name that `cargo sim --bug` takes, and a seed that
/// finds it. Without the bug the same seed must pass.
pub const PLANTED: [(&str, u64); 11] = [
    ("forget-dirty", 44),
    ("stale-ticket", 27),
    ("forget-tombstone", 2),
    ("answer-out-of-order", 2),
    ("resurrect-at-preload", 66),
    ("count-bytes-wrong", 0),
    ("lag-forgets-flush", 912),
    ("lag-forgets-sync", 8),
    ("time-from-ceiling", 2),
    ("draw-unsafe-versions", 1),
    ("get-takes-token", 1),
];

/// Seeds that have found a bug that nobody had planted. They pass since it was mended.
pub const FOUND: [(&str, u64); 3] = [
    (
        "what was changed while a flush went round the workers survived it with its old content",
        269,
    ),
    (
        "a write was refused for waiting too long in a process that had not run",
        2264,
    ),
    (
        "a flush was undone: the note of an earlier one was written once more behind its own",
        8015,
    ),
];

/// Seeds of clusters (`cargo cluster --plain --unbiased`) that have found a bug that nobody had planted. They
/// pass since it was mended. Plain, each means what it did when it was found.
pub const CLUSTER_FOUND: [(&str, u64); 12] = [
    (
        "a node answered from its own memory before it knew its cluster",
        3,
    ),
    (
        "a claim whose messages were all lost was never made again",
        163,
    ),
    (
        "a token's winner was told a later value when it asked again",
        138,
    ),
    (
        "a get was taken again, and showed what its client had set behind it",
        0,
    ),
    (
        "a negative answer was taken again behind a later delete of its client",
        86,
    ),
    (
        "two nodes with old hints referred to each other for ever",
        260,
    ),
    (
        "a partition waited to be recovered by a run that knew nothing",
        10,
    ),
    ("a get overtook what waited for its key", 555),
    (
        "a write that an old hint had sent astray counted as one that may have been carried out",
        437,
    ),
    ("the same, where two nodes had joined", 723),
    (
        "a held reading was taken again behind a write that had been answered meanwhile",
        240,
    ),
    (
        "answers that were held were forgotten when a node went over to another cluster",
        387,
    ),
];

/// The same of `cargo cluster --plain`.
pub const CLUSTER_FOUND_BIASED: [(&str, u64); 1] = [(
    "a recovery did not list a voter that had forgotten, since it was one of another record",
    357,
)];

/// Seeds of clusters with disks, flushes and expiry (`cargo cluster --unbiased`) that have found a bug
/// that nobody had planted. They pass since it was mended.
pub const CLUSTER_FULL_FOUND: [(&str, u64); 7] = [
    (
        "a recovery never asked the one whose disk had the last record, which named it no more",
        3,
    ),
    (
        "a delayed flush left what was written after a restart, whose versions were ahead of time",
        68,
    ),
    (
        "a node's items were on disk ahead of the cluster that they belong to",
        71,
    ),
    ("the same, found once more", 85),
    (
        "a replica that was filled drew versions below those of what was deleted before",
        131,
    ),
    (
        "a node that had not found its cluster flushed itself alone",
        617,
    ),
    (
        "what waited for a flush stayed behind when its partition went to another node, and what its \
         sender asked next went there at once",
        1362,
    ),
];

/// The same with everything (`cargo cluster`).
pub const CLUSTER_ALL_FOUND: [(&str, u64); 8] = [
    (
        "a negative answer that had not left was remembered, and a reading before it was taken again",
        260,
    ),
    ("the same as 1362, once more", 509),
    (
        "a recovery took what was deleted long ago from a disk on which a fill was not finished",
        1003,
    ),
    (
        "two that its mending has found: one that had come back unseen",
        215,
    ),
    ("and a power cut before the disk knew of the mixture", 399),
    (
        "a recovery took what was deleted from one that was in sync before the last record",
        884,
    ),
    (
        "a reading was sent again, and what its client had asked behind it was remembered",
        2035,
    ),
    (
        "a write that was held for too long was said to have changed nothing",
        2116,
    ),
];

/// A wrong variant of the replication protocol, by the name that `zufar-takeover --bug` takes, and
/// the first seed that finds it. Without it the same seed must pass.
pub const TAKEOVER_PLANTED: [(&str, u64); 18] = [
    ("terms-ignored", 32),
    ("ack-before-replication", 2),
    ("no-quorum", 0),
    ("quorum-by-view", 436),
    ("forgetful-voter", 3),
    ("stale-restart-in-sync", 1),
    ("in-sync-by-guid", 59),
    ("target-unverified", 1),
    ("serve-after-cede", 273),
    ("lease-from-receipt", 303),
    ("claim-inside-grant", 41),
    ("serve-while-claiming", 5),
    ("dirty-read", 23),
    ("no-tail-merge", 132),
    ("fill-over-old-entries", 32),
    ("fill-keeps-unlisted", 32),
    ("fill-without-tombstones", 0),
    ("voters-swapped", 1164),
];
