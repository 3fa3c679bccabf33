//! The third driver: the core's workers on virtual time, with a disk that can crash.
//!
//! Decides when events happen and what the disk keeps. Refuses to know how the core decides.
#![forbid(unsafe_code)]

pub mod disk;
pub mod random;
pub mod rig;

pub use disk::ModelDisk;
pub use random::Random;
pub use rig::{Client, Rig};
