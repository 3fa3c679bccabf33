//! What every driver needs of the operating system, and core must not touch.
//!
//! A driver adds an event loop to this: it waits, and tells a [`Worker`] which sockets are ready.
//! Decides what a turn does with sockets, clocks, threads and the disk, so that no driver decides
//! it again. Refuses to know event loops, and what the bytes mean: it never names a request.
//!
//! A bug of ours, in a machine or on a disk thread, is a panic, and a panic on any thread of
//! the process's node aborts the whole process: a node that lost a thread must not look alive.
#![deny(unsafe_code)]

mod accept;
mod clock;
mod connections;
mod disk_pool;
mod figures;
mod launch;
mod mailbox;
mod resolver;
mod shared;
mod socket;
mod thread;
mod worker;

pub use connections::Connection;
pub use launch::{Launch, Parts, Running, Seat, Stopper, launch};
pub use mailbox::Bell;
pub use socket::{Bound, Socket};
pub use thread::AbortOnPanic;
pub use worker::{Input, Sleep, Watcher, Worker};
