//! The differential test: the same requests to a live memcached and to Zufar, and their answers
//! side by side.
//!
//! Decides how streams of random requests are drawn, sent, cut and compared, and which
//! differences are none ([`Listed`]). Refuses to know what a request means beyond that: whatever
//! is not listed must be equal.
//!
//! The memcached is the one of this machine, 1.6.18 in Debian 12; Zufar follows 1.6.45. What the
//! two releases do differently is listed, and so is what Zufar has decided for itself, each with
//! its reason. Lines that are no requests are another matter, because their answers have changed
//! with memcached 1.6.40: see [`malformed`].
//!
//! A run is a number of streams. Each has a seed of its own, and starts on empty servers with
//! fresh connections, so that a failing one can be played alone.

mod answer;
mod classic;
mod comparison;
mod exchange;
mod expiring;
mod generator;
mod keys;
mod ledger;
mod listed;
pub mod malformed;
mod meta;
mod report;
mod request;
mod shrink;
mod stream;
mod tallies;

pub use expiring::expire_alike;
pub use listed::Listed;
pub use report::Report;

use crate::Node;

/// A memcached and a Zufar.
#[derive(Debug)]
pub struct Pair {
    /// The reference.
    pub memcached: Node,
    /// The program under test.
    pub zufar: Node,
}

/// The two programs, in the order in which answers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Memcached,
    Zufar,
}

/// What is played.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Seed of the first stream; the others have the numbers after it.
    pub seed: u64,
    /// How many requests are sent to each of the two, at least.
    pub requests: u64,
}

/// Plays streams until there have been enough requests.
///
/// # Panics
/// At the first difference that is not listed, with the shortest stream that shows it.
#[must_use]
pub fn run(pair: &Pair, plan: Plan) -> Report {
    let mut report = Report::default();
    let mut seed = plan.seed;
    while report.requests() < plan.requests {
        let batches = generator::stream(seed);
        if let Err(failure) = stream::play(pair, seed, &batches, &mut report) {
            panic!("{}", shrink::tell(pair, seed, &batches, failure));
        }
        seed += 1;
    }
    report
}
