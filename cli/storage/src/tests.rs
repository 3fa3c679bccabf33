//! Tests on real files; those of pure functions stand beside them.

mod compaction;
mod crash;
mod damage;
mod directory;
mod full;
mod records;
mod reopening;
mod scanning;
mod support;
