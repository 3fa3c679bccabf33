//! What the two servers have counted.
//!
//! Decides which counters of `stats` must agree after the same requests. Refuses to know which
//! requests those were.

use super::request::Batch;

/// The counters that say the same of both.
const COUNTERS: &[&str] = &[
    "cmd_get",
    "get_hits",
    "get_misses",
    "cmd_set",
    "cmd_touch",
    "touch_hits",
    "touch_misses",
    "delete_hits",
    "delete_misses",
    "incr_hits",
    "incr_misses",
    "decr_hits",
    "decr_misses",
    "cas_hits",
    "cas_misses",
    "cas_badval",
    "cmd_flush",
    "store_too_large",
    "store_no_memory",
];

/// The counters of memcached and of Zufar.
#[derive(Clone, Debug)]
pub(super) struct Tallies {
    memcached: Vec<u64>,
    zufar: Vec<u64>,
}

impl Tallies {
    /// Takes the counters out of both answers to `stats`.
    pub(super) fn new(stats: &[Vec<(String, String)>; 2]) -> Self {
        let [memcached, zufar] = stats.each_ref().map(|stats| {
            let value = |name: &&str| {
                let found = stats.iter().find(|(known, _)| known == name);
                found.and_then(|(_, value)| value.parse().ok())
            };
            // One that a server does not have never moves.
            let counters = COUNTERS.iter().map(|name| value(name).unwrap_or(0));
            counters.collect()
        });
        Self { memcached, zufar }
    }

    /// Whether both carry out the same requests of these.
    pub(super) fn are_comparable(batches: &[Batch]) -> bool {
        let mut requests = batches.iter().flat_map(|batch| &batch.requests);
        requests.all(|request| request.apart.is_none())
    }

    /// What has been counted since.
    pub(super) fn since(&self, before: &Self) -> Self {
        let less = |after: &[u64], before: &[u64]| {
            let pairs = after.iter().zip(before);
            pairs.map(|(after, before)| after - before).collect()
        };
        Self {
            memcached: less(&self.memcached, &before.memcached),
            zufar: less(&self.zufar, &before.zufar),
        }
    }

    /// Compares them; gives how many there are.
    pub(super) fn compare(&self) -> Result<u64, String> {
        let pairs = self.memcached.iter().zip(&self.zufar);
        let differences: Vec<String> = COUNTERS
            .iter()
            .zip(pairs)
            .filter(|(_, (memcached, zufar))| memcached != zufar)
            .map(|(name, (memcached, zufar))| format!("{name} {memcached} {zufar}"))
            .collect();
        if differences.is_empty() {
            Ok(COUNTERS.len() as u64)
        } else {
            Err(format!(
                "(name, memcached, Zufar) {}",
                differences.join(", ")
            ))
        }
    }
}
