//! Whole clusters: real workers on several hosts, clients of any node, faults, and checks.
//!
//! [`run`] draws a run from a seed and checks it; [`sweep`] runs many.
//!
//! Decides what a run is and what it must satisfy. Refuses to know how nodes decide.

mod bias;
mod check;
mod faults;
mod keys;
mod node;
mod plan;
mod run;
mod settle;
mod sweep;
mod watch;

pub use plan::{Plan, Scope};
pub use run::{Report, run};
pub use sweep::{Totals, checked, sweep};
