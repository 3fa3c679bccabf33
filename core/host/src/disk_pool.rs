//! The blocking threads that call the disk.
//!
//! Decides which thread performs which request: those of one lane first come first served, on
//! whichever of the lane's threads is free. Refuses to know what a request does and how many
//! threads a lane has; `zufar_core::disk` knows.
//!
//! The queues have no bound of their own: a machine bounds what it has outstanding.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use zufar_core::disk::{Disk, Lane, Request, perform};
use zufar_core::id::WorkerId;

use crate::shared::{Mail, Shared};
use crate::thread;

#[derive(Default)]
struct Queue {
    requests: VecDeque<(WorkerId, Request)>,
    idle_threads: usize,
    closed: bool,
}

#[derive(Default)]
struct Waiting {
    queue: Mutex<Queue>,
    filled: Condvar,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("panics abort the process")
    }

    fn push(&self, worker: WorkerId, requests: &mut Vec<Request>) {
        if requests.is_empty() {
            return;
        }
        let mut queue = self.lock();
        let wanted = requests.len().min(queue.idle_threads);
        let requests = requests.drain(..).map(|request| (worker, request));
        queue.requests.extend(requests);
        drop(queue);
        for _ in 0..wanted {
            self.filled.notify_one();
        }
    }

    /// Waits for a request. None once the queue is closed and empty.
    fn pop(&self) -> Option<(WorkerId, Request)> {
        let mut queue = self.lock();
        loop {
            if let Some(request) = queue.requests.pop_front() {
                return Some(request);
            }
            if queue.closed {
                return None;
            }
            queue.idle_threads += 1;
            queue = self.filled.wait(queue).expect("panics abort the process");
            queue.idle_threads -= 1;
        }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }
}

/// Where workers put their requests.
#[derive(Default)]
pub(crate) struct Lanes {
    ordered: Waiting,
    unordered: Waiting,
}

impl Lanes {
    const fn of(&self, lane: Lane) -> &Waiting {
        match lane {
            Lane::Ordered => &self.ordered,
            Lane::Unordered => &self.unordered,
        }
    }
}

/// One worker's way to the lanes.
pub(crate) struct Submitter {
    lanes: Arc<Lanes>,
    ordered: Vec<Request>,
    unordered: Vec<Request>,
}

impl Submitter {
    pub(crate) fn new(lanes: Arc<Lanes>) -> Self {
        Self {
            lanes,
            ordered: Vec::new(),
            unordered: Vec::new(),
        }
    }

    /// Hands all `requests` over, with at most one lock a lane.
    pub(crate) fn submit(&mut self, worker: WorkerId, requests: &mut Vec<Request>) {
        for request in requests.drain(..) {
            match request.lane() {
                Lane::Ordered => self.ordered.push(request),
                Lane::Unordered => self.unordered.push(request),
            }
        }
        self.lanes.ordered.push(worker, &mut self.ordered);
        self.lanes.unordered.push(worker, &mut self.unordered);
    }
}

/// The threads.
pub(crate) struct DiskPool {
    lanes: Arc<Lanes>,
    threads: Vec<JoinHandle<()>>,
}

impl DiskPool {
    /// Starts the threads. Answers go to the mailbox of the worker that asked.
    pub(crate) fn start(disk: Arc<dyn Disk>, shared: &Arc<Shared>) -> io::Result<Self> {
        let mut pool = Self {
            lanes: Arc::default(),
            threads: Vec::new(),
        };
        let lanes = Lane::ALL.into_iter();
        let lanes = lanes.flat_map(|lane| std::iter::repeat_n(lane, lane.threads()));
        for (index, lane) in lanes.enumerate() {
            let (lanes, disk, shared) = (pool.lanes(), Arc::clone(&disk), Arc::clone(shared));
            let spawned = thread::spawn(format!("zufar-disk-{index}"), move || {
                while let Some((worker, request)) = lanes.of(lane).pop() {
                    let completion = perform(&*disk, worker, request);
                    shared.mailbox(worker).post_one(Mail::Disk(completion));
                }
            });
            match spawned {
                Ok(thread) => pool.threads.push(thread),
                Err(error) => {
                    pool.finish();
                    return Err(error);
                }
            }
        }
        Ok(pool)
    }

    pub(crate) fn lanes(&self) -> Arc<Lanes> {
        Arc::clone(&self.lanes)
    }

    /// Performs what is left of the ordered lane and ends the threads. Nobody is left who could
    /// use the answers of the other lane, so what waits there is dropped.
    pub(crate) fn finish(self) {
        self.lanes.unordered.lock().requests.clear();
        self.lanes.ordered.close();
        self.lanes.unordered.close();
        for thread in self.threads {
            thread::join(thread);
        }
    }
}

impl std::fmt::Debug for DiskPool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("DiskPool").finish_non_exhaustive()
    }
}
