//! How one thread hands things to a worker's thread.
//!
//! Decides when a sleeping worker must be woken. Refuses to know how, and what is handed over.
//!
//! Nothing here bounds a mailbox: machines hold credit for messages and have a bounded number
//! of disk requests and names outstanding, and sockets are bounded by the process's file
//! descriptors.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

/// Wakes one worker's thread, from any other. It is rung only between the moment at which the
/// worker has been told that it may sleep and the next one at which it takes its mail.
pub type Bell = Box<dyn Fn() + Send + Sync>;

/// The worker is awake and has taken all.
const EMPTY: u8 = 0;
/// There is mail that the worker has not taken.
const MAIL: u8 = 1;
/// The worker sleeps, or is about to, and needs the bell.
const ASLEEP: u8 = 2;

/// A queue that one worker empties and any thread fills, in order per sender.
pub(crate) struct Mailbox<T> {
    state: AtomicU8,
    queue: Mutex<Vec<T>>,
    bell: Bell,
}

impl<T> Mailbox<T> {
    pub(crate) fn new(bell: Bell) -> Self {
        Self {
            state: AtomicU8::new(EMPTY),
            queue: Mutex::new(Vec::new()),
            bell,
        }
    }

    /// Moves all of `mail` in, and wakes the worker if it sleeps.
    pub(crate) fn post(&self, mail: &mut Vec<T>) {
        self.with_queue(|queue| queue.append(mail));
    }

    /// Puts one thing in, and wakes the worker if it sleeps.
    pub(crate) fn post_one(&self, mail: T) {
        self.with_queue(|queue| queue.push(mail));
    }

    fn with_queue(&self, fill: impl FnOnce(&mut Vec<T>)) {
        fill(&mut self.queue.lock().expect("panics abort the process"));
        if self.state.swap(MAIL, AcqRel) == ASLEEP {
            (self.bell)();
        }
    }

    /// Moves all mail to the end of `inbox`. The worker's alone to call, after each sleep.
    pub(crate) fn take(&self, inbox: &mut Vec<T>) {
        if self.state.swap(EMPTY, AcqRel) == MAIL {
            let mut queue = self.queue.lock().expect("panics abort the process");
            if inbox.is_empty() {
                std::mem::swap(&mut *queue, inbox);
            } else {
                inbox.append(&mut queue);
            }
        }
    }

    /// Says that the worker is about to sleep. False if there is mail, and then it must not.
    pub(crate) fn may_sleep(&self) -> bool {
        self.state
            .compare_exchange(EMPTY, ASLEEP, AcqRel, Acquire)
            .is_ok()
    }

    /// Whether there is mail that has not been taken.
    pub(crate) fn has_mail(&self) -> bool {
        self.state.load(Acquire) == MAIL
    }
}

impl<T> fmt::Debug for Mailbox<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

/// What one worker has for all workers, gathered over a turn: each destination then costs at
/// most one lock and one wake-up.
#[derive(Debug)]
pub(crate) struct Outboxes<T> {
    own: usize,
    boxes: Vec<Vec<T>>,
}

impl<T> Outboxes<T> {
    /// For worker `own` of `workers`.
    pub(crate) fn new(own: usize, workers: usize) -> Self {
        Self {
            own,
            boxes: (0..workers).map(|_| Vec::new()).collect(),
        }
    }

    /// Puts `mail` aside for worker `to`.
    pub(crate) fn push(&mut self, to: usize, mail: T) {
        self.boxes[to].push(mail);
    }

    /// Sends all; what a worker has for itself goes to the end of its `inbox`.
    pub(crate) fn send(&mut self, mailboxes: &[Mailbox<T>], inbox: &mut Vec<T>) {
        for (to, mail) in self.boxes.iter_mut().enumerate() {
            if mail.is_empty() {
                continue;
            }
            if to == self.own {
                inbox.append(mail);
            } else {
                mailboxes[to].post(mail);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use super::*;

    /// A mailbox, and what receives one thing each time that its bell rings.
    fn mailbox() -> (Mailbox<u32>, Receiver<()>) {
        let (ring, rung) = channel();
        let ring = move || ring.send(()).expect("somebody listens");
        (Mailbox::new(Box::new(ring)), rung)
    }

    #[test]
    fn mail_forbids_sleep_until_it_is_taken() {
        let (mailbox, _rung) = mailbox();
        let mut inbox = Vec::new();
        assert!(!mailbox.has_mail());
        mailbox.post(&mut vec![1, 2]);
        assert!(mailbox.has_mail());
        assert!(!mailbox.may_sleep());
        mailbox.post_one(3);
        mailbox.take(&mut inbox);
        assert!(!mailbox.has_mail());
        assert_eq!(inbox, [1, 2, 3]);
        mailbox.post_one(4);
        mailbox.take(&mut inbox);
        assert_eq!(inbox, [1, 2, 3, 4]);
        assert!(mailbox.may_sleep());
    }

    #[test]
    fn only_a_sleeper_is_woken_and_only_once() {
        let (mailbox, rung) = mailbox();
        mailbox.post_one(1);
        assert_eq!(rung.try_iter().count(), 0, "awake: no wake-up");
        mailbox.take(&mut Vec::new());
        assert!(mailbox.may_sleep());
        mailbox.post_one(2);
        assert_eq!(rung.try_iter().count(), 1);
        mailbox.post_one(3);
        assert_eq!(rung.try_iter().count(), 0, "woken already");
    }

    #[test]
    fn a_turn_s_mail_goes_where_it_should_in_order() {
        let (mailboxes, _rung): (Vec<_>, Vec<_>) = [(); 3].map(|()| mailbox()).into_iter().unzip();
        let mut outboxes = Outboxes::new(1, 3);
        let mut own = vec![0];
        for turn in [10, 20] {
            for to in 0..2 {
                outboxes.push(to, turn);
                outboxes.push(to, turn + 1);
            }
            outboxes.send(&mailboxes, &mut own);
        }
        assert_eq!(own, [0, 10, 11, 20, 21]);
        assert!(mailboxes[1].may_sleep(), "its own mail takes no lock");
        let mut inbox = Vec::new();
        mailboxes[0].take(&mut inbox);
        assert_eq!(inbox, [10, 11, 20, 21]);
        assert!(mailboxes[2].may_sleep(), "nothing was sent there");
    }

    #[test]
    fn no_wake_up_is_lost_between_threads() {
        const SENDERS: u32 = 3;
        const EACH: u32 = 20_000;
        let (mailbox, rung) = mailbox();
        let mailbox = Arc::new(mailbox);
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let mailbox = Arc::clone(&mailbox);
                std::thread::spawn(move || {
                    (0..EACH).for_each(|number| mailbox.post_one(sender * EACH + number));
                })
            })
            .collect();
        let (mut inbox, mut next) = (Vec::new(), [0; SENDERS as usize]);
        while next != [EACH; SENDERS as usize] {
            if mailbox.may_sleep() {
                let woken = rung.recv_timeout(Duration::from_secs(20));
                assert!(woken.is_ok(), "a wake-up was lost at {next:?}");
            }
            mailbox.take(&mut inbox);
            for mail in inbox.drain(..) {
                let sender = (mail / EACH) as usize;
                assert_eq!(mail % EACH, next[sender], "one sender's order");
                next[sender] += 1;
            }
        }
        for sender in senders {
            sender.join().expect("a sender");
        }
    }
}
