//! Gossip alone: many membership machines on virtual time, with a network that loses, delays and
//! cuts, and processes that die, hang and come back.
//!
//! Decides what a run does, from its seed, and what must hold while it does and after it has
//! stopped. Refuses to know how a machine comes to what it says.

pub mod check;
pub mod detect;
pub mod host;
pub mod network;
pub mod plan;
pub mod run;
mod streams;
pub mod world;

pub use plan::Plan;
pub use run::{Report, run};
pub use world::World;
