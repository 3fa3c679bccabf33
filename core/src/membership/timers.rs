//! What is to be done later, in one order.
//!
//! Decides in which order tasks that are due are carried out, and that time in which the process
//! did not run does not count for them. Refuses to know what the tasks do.

use alloc::collections::BinaryHeap;
use core::cmp::{Ordering, Reverse};

use foca::Timer;

use super::identity::Identity;
use crate::member::Guid;
use crate::time::Time;

/// A deadline that is missed by more was missed because the process did not run: it was stopped,
/// starved, or suspended with its host.
pub(super) const STALL_MS_MIN: u64 = 100;
/// After a stall nothing is decided for so long: what has arrived meanwhile is read first.
pub(super) const DRAIN_MS: u64 = 50;

/// Something to be done at its time. One that is no longer needed is harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Foca(Timer<Identity>),
    /// Try the seeds, or take up service without them.
    Join,
    /// Exchange states with somebody.
    Exchange,
    /// Send on what is new about descriptors and the layout.
    Tell,
    /// Come back after having been declared down.
    Return,
    /// Give up on what is not decided yet about a death.
    Verdict(Guid),
}

struct Entry {
    at: Time,
    task: Task,
    number: u64,
}

impl Entry {
    fn order(&self, other: &Self) -> Ordering {
        let by_time = self.at.cmp(&other.at);
        // Foca wants its timers of one moment in the order that it gives them.
        let by_task = match (&self.task, &other.task) {
            (Task::Foca(one), Task::Foca(other)) => one.cmp(other),
            _ => Ordering::Equal,
        };
        by_time.then(by_task).then(self.number.cmp(&other.number))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.order(other).is_eq()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order(other)
    }
}

/// Tasks by their time, which is counted without the stalls.
#[derive(Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<Entry>>,
    stalled_ms: u64,
    numbers: u64,
}

impl Timers {
    pub(super) fn push(&mut self, now: Time, after_ms: u64, task: Task) {
        let at = self.awake(now).plus_millis(after_ms);
        let number = self.numbers;
        self.numbers += 1;
        self.heap.push(Reverse(Entry { at, task, number }));
    }

    /// When the next one is due. O(1).
    pub(super) fn next(&self) -> Option<Time> {
        let Reverse(first) = self.heap.peek()?;
        Some(first.at.plus_millis(self.stalled_ms))
    }

    /// Takes note that time has passed. If it passed without this process, no task is due before
    /// [`DRAIN_MS`] from now: what tells that a peer is alive may wait in a socket. Returns for
    /// how long the process has not run.
    pub(super) fn notice_stall(&mut self, now: Time) -> Option<u64> {
        let late_ms = now.millis_since(self.next()?);
        if late_ms < STALL_MS_MIN {
            return None;
        }
        self.stalled_ms += late_ms + DRAIN_MS;
        Some(late_ms)
    }

    pub(super) fn pop_due(&mut self, now: Time) -> Option<Task> {
        if self.next()? > now {
            return None;
        }
        let Reverse(entry) = self.heap.pop()?;
        Some(entry.task)
    }

    fn awake(&self, now: Time) -> Time {
        let stalled_ns = self.stalled_ms * 1_000_000;
        Time::from_nanos(now.as_nanos().saturating_sub(stalled_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn at(milliseconds: u64) -> Time {
        Time::from_millis(milliseconds)
    }

    fn due(timers: &mut Timers, now: Time) -> Vec<Task> {
        core::iter::from_fn(|| timers.pop_due(now)).collect()
    }

    #[test]
    fn tasks_of_one_moment_come_in_focas_order_and_then_in_their_own() {
        let mut timers = Timers::default();
        let probe = Task::Foca(Timer::ProbeRandomMember(0));
        let gossip = Task::Foca(Timer::PeriodicGossip(0));
        timers.push(at(0), 10, gossip.clone());
        timers.push(at(0), 10, probe.clone());
        timers.push(at(5), 2, Task::Join);
        timers.push(at(5), 2, Task::Tell);
        assert_eq!(timers.next(), Some(at(7)));
        assert_eq!(due(&mut timers, at(6)), vec![]);
        assert_eq!(
            due(&mut timers, at(10)),
            vec![Task::Join, Task::Tell, probe, gossip]
        );
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn time_without_the_process_does_not_count() {
        let mut timers = Timers::default();
        timers.push(at(0), 100, Task::Join);
        timers.push(at(0), 1500, Task::Exchange);
        assert_eq!(timers.notice_stall(at(199)), None);
        assert_eq!(timers.notice_stall(at(5100)), Some(5000));
        assert_eq!(due(&mut timers, at(5100)), vec![], "sockets come first");
        assert_eq!(timers.notice_stall(at(5100)), None, "it is counted once");
        assert_eq!(due(&mut timers, at(5150)), vec![Task::Join]);
        assert_eq!(timers.next(), Some(at(6550)));
        timers.push(at(6000), 10, Task::Tell);
        assert_eq!(timers.next(), Some(at(6010)));
    }
}
