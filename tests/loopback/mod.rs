//! Drivers on real loopback sockets, under a small echo machine.
//!
//! Decides what a machine may rely on, whatever drives it: each driver's tests/loopback.rs runs
//! these cases over its own `launch`. Refuses to know memcached.

mod closing;
mod commands;
mod crowd;
mod datagrams;
mod echoing;
mod harness;
mod outgoing;
mod resolving;
mod threads;
