//! The policy of accepting connections.
//!
//! Decides which worker gets the next one, how many are accepted in one turn, how long to wait
//! when the system refuses, and how often the operator hears of that. Refuses to know sockets.

use crate::id::WorkerId;
use crate::notice::Seldom;
use crate::time::Time;

/// Connections that one listener gives in one turn at most.
pub const ACCEPTS_PER_TURN: usize = 64;
/// How long to wait when the system refuses to accept, unless a connection closes before.
const RETRY_MS: u64 = 100;

/// Who gets the next connection, and when. One per process.
#[derive(Debug)]
pub struct AcceptPolicy {
    workers: u16,
    next: u16,
    retry_at: Option<Time>,
    noticed: Seldom,
}

impl AcceptPolicy {
    /// For a process of so many workers, at least one.
    #[must_use]
    pub const fn new(workers: u16) -> Self {
        assert!(workers > 0, "somebody serves the connections");
        Self {
            workers,
            next: 0,
            retry_at: None,
            noticed: Seldom::new(),
        }
    }

    /// The worker that gets the connection that has just been accepted: each in turn.
    pub const fn next_worker(&mut self) -> WorkerId {
        let worker = WorkerId(self.next);
        self.next = (self.next + 1) % self.workers;
        worker
    }

    /// When to try again, after a refusal; None when nothing forbids to accept.
    #[must_use]
    pub const fn retry_at(&self) -> Option<Time> {
        self.retry_at
    }

    /// Whether it may be tried at `now`. A refusal is forgotten once its time is over.
    pub fn may_accept(&mut self, now: Time) -> bool {
        if self.retry_at.is_some_and(|at| at > now) {
            return false;
        }
        self.retry_at = None;
        true
    }

    /// Takes note that the system has refused to accept, most likely for want of descriptors.
    /// True if the operator should hear of it.
    pub fn note_refused(&mut self, now: Time) -> bool {
        self.retry_at = Some(now.plus_millis(RETRY_MS));
        self.noticed.is_due(now)
    }

    /// A connection has been closed: what was refused may work now.
    pub const fn note_closed(&mut self) {
        self.retry_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_gets_one_in_turn() {
        let mut policy = AcceptPolicy::new(3);
        let taken = [(); 7].map(|()| policy.next_worker().0);
        assert_eq!(taken, [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn a_refusal_is_waited_out_unless_a_connection_closes() {
        let mut policy = AcceptPolicy::new(1);
        let at = Time::from_millis;
        assert!(policy.may_accept(at(0)));
        policy.note_refused(at(1000));
        assert_eq!(policy.retry_at(), Some(at(1100)));
        assert!(!policy.may_accept(at(1099)));
        assert!(policy.may_accept(at(1100)));
        assert_eq!(policy.retry_at(), None);
        policy.note_refused(at(1100));
        policy.note_closed();
        assert!(policy.may_accept(at(1101)));
    }

    #[test]
    fn the_operator_hears_of_refusals_once_a_minute() {
        let mut policy = AcceptPolicy::new(1);
        let told = (0..1200)
            .filter(|tenth| policy.note_refused(Time::from_millis(tenth * 100)))
            .count();
        assert_eq!(told, 2);
    }
}
