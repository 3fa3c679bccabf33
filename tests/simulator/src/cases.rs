//! Seeds that are worth keeping, by what they find.
//!
//! Decides nothing: it is a list. A seed is bound to how runs are drawn; whoever changes that
//! looks for new ones with `cargo sim --bug NAME --seeds 1000 --failures 1`.

/// A bug that can be planted, by the name that `cargo sim --bug` takes, and a seed that
/// finds it. Without the bug the same seed must pass.
pub const PLANTED: [(&str, u64); 11] = [
    ("forget-dirty", 44),
    ("stale-ticket", 23),
    ("forget-tombstone", 2),
    ("answer-out-of-order", 2),
    ("resurrect-at-preload", 66),
    ("count-bytes-wrong", 0),
    ("lag-forgets-flush", 912),
    ("lag-forgets-sync", 8),
    ("time-from-ceiling", 1),
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
