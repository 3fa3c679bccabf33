//! The replication protocol on its own: replicas of a few partitions on a few nodes, virtual
//! time, a network that loses, delays, repeats and parts, pauses, crashes, clocks that drift.
//!
//! [`run`] draws a whole run from a seed and checks it; [`sweep`] runs many.
//!
//! Decides what a run is and what it must satisfy. Refuses to know how a replica decides.

mod check;
mod client;
mod faults;
mod host;
mod plan;
mod run;
mod store;
mod sweep;
mod watch;
mod world;

pub use plan::{Plan, Story};
pub use run::{Report, run};
pub use sweep::{Totals, one, sweep};
