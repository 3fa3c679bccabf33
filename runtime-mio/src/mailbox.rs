//! How one thread hands things to a worker's thread.
//!
//! Decides when a sleeping worker must be woken. Refuses to know what is handed over.
//!
//! Nothing here bounds a mailbox: machines hold credit for messages and have a bounded number
//! of disk requests outstanding, and sockets are bounded by the process's file descriptors.

use std::sync::Mutex;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use mio::Waker;

/// The worker is awake and has taken all.
const EMPTY: u8 = 0;
/// There is mail that the worker has not taken.
const MAIL: u8 = 1;
/// The worker sleeps, or is about to, and needs the waker.
const ASLEEP: u8 = 2;

/// A queue that one worker empties and any thread fills, in order per sender.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    state: AtomicU8,
    queue: Mutex<Vec<T>>,
    waker: Waker,
}

impl<T> Mailbox<T> {
    pub(crate) fn new(waker: Waker) -> Self {
        Self {
            state: AtomicU8::new(EMPTY),
            queue: Mutex::new(Vec::new()),
            waker,
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
            self.waker
                .wake()
                .expect("an eventfd of our own can be written");
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

    use mio::{Events, Poll, Token};

    use super::*;

    fn mailbox(poll: &Poll) -> Mailbox<u32> {
        Mailbox::new(Waker::new(poll.registry(), Token(0)).expect("an eventfd"))
    }

    #[test]
    fn mail_forbids_sleep_until_it_is_taken() {
        let mailbox = mailbox(&Poll::new().expect("an epoll instance"));
        let mut inbox = Vec::new();
        mailbox.post(&mut vec![1, 2]);
        assert!(!mailbox.may_sleep());
        mailbox.post_one(3);
        mailbox.take(&mut inbox);
        assert_eq!(inbox, [1, 2, 3]);
        mailbox.post_one(4);
        mailbox.take(&mut inbox);
        assert_eq!(inbox, [1, 2, 3, 4]);
        assert!(mailbox.may_sleep());
    }

    #[test]
    fn only_a_sleeper_is_woken_and_only_once() {
        let mut poll = Poll::new().expect("an epoll instance");
        let mailbox = mailbox(&poll);
        let mut events = Events::with_capacity(4);
        let mut wakes = |poll: &mut Poll| {
            poll.poll(&mut events, Some(std::time::Duration::ZERO))
                .expect("a poll");
            events.iter().count()
        };
        mailbox.post_one(1);
        assert_eq!(wakes(&mut poll), 0, "awake: no wake-up");
        mailbox.take(&mut Vec::new());
        assert!(mailbox.may_sleep());
        mailbox.post_one(2);
        assert_eq!(wakes(&mut poll), 1);
        mailbox.post_one(3);
        assert_eq!(wakes(&mut poll), 0, "woken already");
    }

    #[test]
    fn a_turn_s_mail_goes_where_it_should_in_order() {
        let polls = [(); 3].map(|()| Poll::new().expect("an epoll instance"));
        let mailboxes = polls.each_ref().map(mailbox);
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
        let mut poll = Poll::new().expect("an epoll instance");
        let mailbox = Arc::new(mailbox(&poll));
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let mailbox = Arc::clone(&mailbox);
                std::thread::spawn(move || {
                    (0..EACH).for_each(|number| mailbox.post_one(sender * EACH + number));
                })
            })
            .collect();
        let mut events = Events::with_capacity(4);
        let (mut inbox, mut next) = (Vec::new(), [0; SENDERS as usize]);
        while next != [EACH; SENDERS as usize] {
            if mailbox.may_sleep() {
                let limit = Some(std::time::Duration::from_secs(20));
                poll.poll(&mut events, limit).expect("a poll");
                assert!(!events.is_empty(), "a wake-up was lost at {next:?}");
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
