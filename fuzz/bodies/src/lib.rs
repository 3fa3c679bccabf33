//! What the fuzz targets do with their input, one function a target.
//!
//! Decides what must hold of any bytes. Refuses to know libFuzzer: `cargo test` runs the same
//! functions over the corpus and over whatever was once found.
#![forbid(unsafe_code)]

mod cluster;
mod disk_records;
mod hostile_peers;
mod link_frames;
mod node;
mod parsing;
mod peer_frames;
mod requests;
mod says;
mod secure;
mod sessions;
mod sessions_and_faults;
mod simulating;
mod splitting;

pub use disk_records::disk_records;
pub use hostile_peers::hostile_peers;
pub use link_frames::link_frames;
pub use parsing::parsing;
pub use peer_frames::peer_frames;
pub use secure::secure;
pub use sessions_and_faults::sessions_and_faults;
pub use simulating::simulating;
pub use splitting::splitting;

/// A target: what it is called, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("parsing", parsing),
    ("splitting", splitting),
    ("disk_records", disk_records),
    ("peer_frames", peer_frames),
    ("sessions_and_faults", sessions_and_faults),
    ("simulating", simulating),
    ("secure", secure),
    ("link_frames", link_frames),
    ("hostile_peers", hostile_peers),
];
