//! The core of Zufar: a memcached that comes back warm, as a sans-IO machine.
//!
//! Events go in, actions come out ([`machine`]). There is no I/O, clock, thread or entropy in
//! here; equal inputs give equal outputs. Data flows one way: bytes, session, shard, reply.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod accept;
pub mod cache;
mod clock;
pub mod command;
pub mod datagrams;
pub mod disk;
pub mod figures;
#[allow(
    dead_code,
    reason = "the worker gets links to other nodes with the next steps"
)]
mod forwarding;
pub mod hash;
pub mod id;
pub mod layout;
#[allow(
    dead_code,
    reason = "the worker gets links to other nodes with the next steps"
)]
mod link;
pub mod machine;
pub mod member;
pub mod membership;
pub mod message;
pub mod node;
pub mod notes;
pub mod notice;
mod peering;
pub mod placement;
pub mod planted;
pub mod protocol;
pub mod replication;
pub mod secure;
mod session;
pub mod settings;
mod shard;
pub mod slew;
pub mod time;
pub mod worker;
