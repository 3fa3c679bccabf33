//! The third driver: the core's workers on virtual time, with a network and a disk that fail.
//!
//! Four ways in. [`run`](run::run) draws a whole run of one node from a seed, faults and all, and
//! checks it; [`cluster::run`] does so for several nodes. [`Rig`] lets a test say itself what happens, one event after the other. And
//! [`World`](world::World) has several hosts, which run whatever machines they are given.
//!
//! Decides when events happen and what the disk keeps. Refuses to know how the core decides.
#![forbid(unsafe_code)]

pub mod cases;
pub mod client;
mod clock;
pub mod cluster;
pub mod disk;
pub mod gossip;
pub mod history;
pub mod load;
pub mod model;
pub mod operation;
mod pipe;
pub mod plan;
pub mod random;
pub mod request;
pub mod rig;
pub mod run;
pub mod sweep;
pub mod takeover;
pub mod trace;
pub mod value;
pub mod world;

pub use disk::ModelDisk;
pub use random::Random;
pub use rig::{Client, Rig};
