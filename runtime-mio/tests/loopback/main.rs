//! The driver on real loopback sockets, under a small echo machine.
//!
//! Decides what a machine may rely on. Refuses to know memcached.

mod closing;
mod crowd;
mod echoing;
mod harness;
mod threads;
