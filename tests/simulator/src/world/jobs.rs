//! The threads of a process that work for its disk.
//!
//! Decides when a request is performed and when its answer is heard. Refuses to know what it
//! asks for.

use std::collections::VecDeque;
use std::sync::Arc;

use zufar_core::disk::{Completion, Lane, Request, perform};
use zufar_core::id::WorkerId;

use super::process::{Mail, Process};
use super::{Happening, HostId, Run, World};

/// Threads for disk requests that keep no order.
const UNORDERED_THREADS: usize = 3;

type Job = (u64, WorkerId, Request);

/// What is to be done, and what the threads are at.
pub(super) struct Jobs {
    has_disk: bool,
    ordered: VecDeque<Job>,
    ordered_job: Option<Job>,
    unordered: VecDeque<Job>,
    unordered_jobs: Vec<Job>,
    submitted: u64,
}

impl Jobs {
    pub(super) fn new(has_disk: bool) -> Self {
        Self {
            has_disk,
            ordered: VecDeque::new(),
            ordered_job: None,
            unordered: VecDeque::new(),
            unordered_jobs: Vec::new(),
            submitted: 0,
        }
    }

    pub(super) fn submit(&mut self, worker: u16, requests: &mut Vec<Request>) {
        assert!(
            requests.is_empty() || self.has_disk,
            "a machine asks only for a disk that there is: {requests:?}"
        );
        for request in requests.drain(..) {
            self.submitted += 1;
            let lane = request.lane();
            let job = (self.submitted, WorkerId(worker), request);
            match lane {
                Lane::Ordered => self.ordered.push_back(job),
                Lane::Unordered => self.unordered.push_back(job),
            }
        }
    }

    /// What the thread for ordered requests is at.
    pub(super) fn take_ordered(&mut self) -> Option<(WorkerId, Request)> {
        let (_, worker, request) = self.ordered_job.take()?;
        Some((worker, request))
    }

    fn take(&mut self, lane: Lane, number: u64) -> (WorkerId, Request) {
        let job = match lane {
            Lane::Ordered => self.ordered_job.take(),
            Lane::Unordered => {
                let mut all = self.unordered_jobs.iter();
                let at = all.position(|one| one.0 == number);
                at.map(|at| self.unordered_jobs.swap_remove(at))
            }
        };
        let Some((_, worker, request)) = job else {
            unreachable!("a job is performed once");
        };
        (worker, request)
    }
}

impl World {
    /// Gives idle disk threads something to do.
    pub(super) fn start_jobs(&mut self, process: &mut Process) {
        let run = process.run;
        let jobs = &mut process.jobs;
        if jobs.ordered_job.is_none()
            && let Some(job) = jobs.ordered.pop_front()
        {
            self.plan_job(run, Lane::Ordered, &job);
            jobs.ordered_job = Some(job);
        }
        while jobs.unordered_jobs.len() < UNORDERED_THREADS
            && let Some(job) = jobs.unordered.pop_front()
        {
            self.plan_job(run, Lane::Unordered, &job);
            jobs.unordered_jobs.push(job);
        }
    }

    fn plan_job(&mut self, run: Run, lane: Lane, (job, _, request): &Job) {
        let delay_us = self.disk_us(run.host, request);
        let job = *job;
        self.plan(delay_us, Happening::Perform { run, lane, job });
    }

    fn disk_us(&mut self, host: HostId, request: &Request) -> u64 {
        let slow = self.time < self.host(host).disk_slow_until;
        match request {
            // A start scans thousands of partitions, most of them empty.
            Request::Scan(_) if !slow => self.random.between(1, 40),
            Request::Scan(_) => self.random.between(1, 2_000),
            _ if slow => self.random.between(1_000, self.disk_plan.slow_us_max),
            _ => self.random.between(5, self.disk_plan.latency_us_max),
        }
    }

    /// A disk thread does its work. What it tells takes effect before anybody hears of it.
    pub(super) fn perform(&mut self, run: Run, lane: Lane, job: u64) {
        self.with_run(run, |world, process| {
            let (worker, request) = process.jobs.take(lane, job);
            let is_scan = matches!(request, Request::Scan(_));
            let disk = Arc::clone(world.disk_of(run.host));
            let completion = perform(&*disk, worker, request);
            let worker = worker.0;
            if is_scan {
                process.tell(worker, Mail::Disk(completion));
                world.wake(process, worker);
            } else {
                let ordered = u64::from(lane == Lane::Ordered);
                world.note(run.host, "disk", worker.into(), ordered);
                world.count_failure(&completion);
                let delay_us = world.random.between(1, world.disk_plan.latency_us_max);
                let completion = Box::new(completion);
                let answer = Happening::Answer {
                    run,
                    worker,
                    completion,
                };
                world.plan(delay_us, answer);
            }
            world.start_jobs(process);
        });
    }

    pub(super) fn answer(&mut self, run: Run, worker: u16, completion: Completion) {
        self.with_run(run, |world, process| {
            process.tell(worker, Mail::Disk(completion));
            world.wake(process, worker);
        });
    }

    fn count_failure(&mut self, completion: &Completion) {
        let (failed, kind) = match completion {
            Completion::Written { result, .. } => (result.is_err(), "failed writes"),
            Completion::Synced { result, .. } => (result.is_err(), "failed syncs"),
            Completion::Loaded { result, .. } => (result.is_err(), "failed reads"),
            Completion::Reopened { .. } => (true, "databases reopened"),
            Completion::Scanned { .. } | Completion::Compacted | Completion::Measured { .. } => {
                (false, "")
            }
        };
        if failed {
            self.count(kind);
        }
    }
}
