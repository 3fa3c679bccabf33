//! One worker's thread: turns of its executor.
//!
//! Decides how the thread waits, and that a turn runs every task that is ready. Refuses to know
//! what tasks do.

use std::cell::RefCell;
use std::io;
use std::net::UdpSocket;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};

use smol::future::{or, poll_fn, yield_now};
use smol::{Async, LocalExecutor, Timer};
use zufar_core::machine::{Listener, Machine};
use zufar_core::time::Time;
use zufar_host::{Bound, Parts, Sleep, Worker};

use crate::breaks::Breaks;
use crate::tasks::{SharedWorker, Tasks, arm};

/// What a worker's thread begins with.
pub(crate) struct Station {
    pub(crate) doors: Vec<(Async<Bound>, Listener)>,
    pub(crate) datagrams: Option<Async<UdpSocket>>,
    pub(crate) breaks: Breaks,
    /// Where the thread leaves how to wake it.
    pub(crate) sleeper: Arc<OnceLock<Waker>>,
}

/// Runs until the machine has stopped.
pub(crate) fn run<M: Machine + 'static>(parts: Parts<M>, station: Station) -> io::Result<()> {
    let executor = Rc::new(LocalExecutor::new());
    let worker = Rc::new_cyclic(|worker| {
        let tasks = Tasks::new(Rc::clone(&executor), worker.clone(), station.breaks);
        let doors = station.doors.into_iter().enumerate();
        let doors = doors.map(|(index, (bound, listener))| (tasks.door(index, bound), listener));
        let doors = doors.collect();
        let datagrams = station.datagrams.map(|socket| tasks.datagrams(socket));
        RefCell::new(Worker::new(parts, tasks, doors, datagrams))
    });
    let mut turns = Turns {
        executor,
        worker,
        timer: Timer::never(),
        timer_at: None,
    };
    smol::block_on(turns.run(&station.sleeper));
    turns.worker.borrow_mut().close_all();
    Ok(())
}

struct Turns<M: Machine + 'static> {
    executor: Rc<LocalExecutor<'static>>,
    worker: Rc<SharedWorker<M>>,
    timer: Timer,
    /// When the timer fires, if it will.
    timer_at: Option<Time>,
}

impl<M: Machine + 'static> Turns<M> {
    async fn run(&mut self, sleeper: &OnceLock<Waker>) {
        poll_fn(|cx| {
            sleeper.get_or_init(|| cx.waker().clone());
            Poll::Ready(())
        })
        .await;
        while !self.worker.borrow().is_stopped() {
            self.rest().await;
            self.worker.borrow_mut().begin_turn();
            while self.executor.try_tick() {}
            let mut worker = self.worker.borrow_mut();
            worker.end_turn();
            arm(&mut worker);
        }
    }

    /// Sleeps until there is something to do; that may include the first of the tasks.
    async fn rest(&mut self) {
        let sleep = self.worker.borrow().sleep();
        match sleep {
            // Lets the reactor look for what is ready.
            Sleep::Not => return yield_now().await,
            Sleep::Until(time) => self.set_timer(time),
            Sleep::Long => {}
        }
        let mail = poll_fn(|_| match self.worker.borrow().has_mail() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        });
        let timer = async {
            (&mut self.timer).await;
            self.timer_at = None;
        };
        or(self.executor.tick(), or(mail, timer)).await;
    }

    /// Sees to it that the timer fires no later than at `time`. Firing too soon does no harm, and
    /// is cheaper than setting it whenever the deadline moves.
    fn set_timer(&mut self, time: Time) {
        if self.timer_at.is_none_or(|at| at > time) {
            self.timer_at = Some(time);
            self.timer.set_at(self.worker.borrow().instant(time));
        }
    }
}
