//! Looking names up.
//!
//! Decides how many are looked up at a time, on threads of their own since the system's way of
//! doing it blocks for as long as it likes. Refuses to know what the names are for.
//!
//! A thread is there only while names wait. Nobody waits for its end: the process may be told to
//! stop while the system still asks a server that is gone.

use std::collections::VecDeque;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard};

use zufar_core::id::{Ticket, WorkerId};
use zufar_core::machine::{ADDRESSES_MAX, RESOLVES_MAX};

use crate::shared::{Mail, Shared};
use crate::socket::canonical;
use crate::thread;

/// Names that are looked up at the same time. One that takes long must not hold up all others.
const THREADS_MAX: usize = 4;

/// What a name stands for, at least one; or why there is none.
pub(crate) type Addresses = Result<Vec<SocketAddr>, String>;

struct Request {
    worker: WorkerId,
    ticket: Ticket,
    name: String,
}

impl Request {
    fn answer(self, shared: &Shared, addresses: Addresses) {
        let ticket = self.ticket;
        let mail = Mail::Resolved { ticket, addresses };
        shared.mailbox(self.worker).post_one(mail);
    }
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Request>,
    /// Each has taken a request, or is about to.
    threads: usize,
    /// Requests that are not answered.
    under_way: usize,
}

/// Names that wait. One per process.
#[derive(Default)]
pub(crate) struct Resolver {
    queue: Mutex<Queue>,
}

impl Resolver {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("panics abort the process")
    }

    fn next(&self) -> Option<Request> {
        let mut queue = self.lock();
        let request = queue.waiting.pop_front();
        if request.is_none() {
            queue.threads -= 1;
        }
        request
    }
}

/// Has all of `requests` looked up, or refused if there are too many. The answers go to the
/// mailbox of `worker`.
pub(crate) fn resolve(
    shared: &Arc<Shared>,
    worker: WorkerId,
    requests: &mut Vec<(Ticket, String)>,
) {
    let mut queue = shared.resolver.lock();
    let mut refused = Vec::new();
    for (ticket, name) in requests.drain(..) {
        let request = Request {
            worker,
            ticket,
            name,
        };
        if queue.under_way == RESOLVES_MAX {
            let reason = format!("more than {RESOLVES_MAX} names are being looked up");
            refused.push((request, reason));
        } else {
            queue.under_way += 1;
            queue.waiting.push_back(request);
        }
    }
    for _ in 0..queue.waiting.len() {
        if queue.threads == THREADS_MAX {
            break;
        }
        let theirs = Arc::clone(shared);
        match thread::spawn("zufar-resolver".to_owned(), move || work(&theirs)) {
            Ok(_) => queue.threads += 1,
            Err(error) if queue.threads == 0 => {
                queue.under_way -= queue.waiting.len();
                let waiting = queue.waiting.drain(..);
                refused.extend(waiting.map(|request| (request, error.to_string())));
                break;
            }
            // Those that there are will get to it.
            Err(_) => break,
        }
    }
    drop(queue);
    for (request, reason) in refused {
        request.answer(shared, Err(reason));
    }
}

fn work(shared: &Shared) {
    while let Some(request) = shared.resolver.next() {
        let addresses = look_up(&request.name);
        shared.resolver.lock().under_way -= 1;
        request.answer(shared, addresses);
    }
}

fn look_up(name: &str) -> Addresses {
    let addresses = name.to_socket_addrs().map_err(|error| error.to_string())?;
    let addresses: Vec<_> = addresses.take(ADDRESSES_MAX).map(canonical).collect();
    if addresses.is_empty() {
        return Err("it has no address".to_owned());
    }
    Ok(addresses)
}
