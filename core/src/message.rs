//! What workers of one process say to each other.

/// One message between two workers. It owns what it carries.
#[derive(Debug)]
pub enum Message {}
