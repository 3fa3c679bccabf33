//! The task of each socket.
//!
//! Decides what a task awaits: input, once its last input has been read and written for; room,
//! after a write that the socket did not take whole, and while it is on its way to being connected.
//! Refuses to know what is done with either.
//!
//! A task that is woken has the worker read its socket, once, and then rests: its socket is armed
//! again at the end of the turn. So nothing is read twice in a turn, and a turn ends, even while
//! another thread's reactor wakes this one's tasks. A paused connection's socket is not armed.

use std::cell::RefCell;
use std::io;
use std::net::UdpSocket;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use smol::{Async, LocalExecutor, Task};
use zufar_core::id::ConnId;
use zufar_core::machine::Machine;
use zufar_host::{AbortOnPanic, Bound, Connection, Socket, Watcher, Worker};

use crate::breaks::Breaks;

/// A worker, as its tasks share it.
pub(crate) type SharedWorker<M> = RefCell<Worker<M, Tasks<M>>>;

/// A connected socket and its task.
pub(crate) struct Watched {
    socket: Async<Socket>,
    /// The task's, once it has begun.
    waker: Option<Waker>,
    awaits_input: bool,
    awaits_room: bool,
    /// Ends the task when it is dropped.
    _task: Task<()>,
}

impl AsRef<Socket> for Watched {
    fn as_ref(&self) -> &Socket {
        self.socket.get_ref()
    }
}

/// A listening socket and its task.
pub(crate) struct Door {
    listener: Async<Bound>,
    /// The task's, once it has begun.
    waker: Option<Waker>,
    /// Ends the task when it is dropped.
    _task: Task<()>,
}

impl AsRef<Bound> for Door {
    fn as_ref(&self) -> &Bound {
        self.listener.get_ref()
    }
}

/// A socket for datagrams and its task.
pub(crate) struct Datagrams {
    socket: Async<UdpSocket>,
    /// The task's, once it has begun.
    waker: Option<Waker>,
    /// Ends the task when it is dropped.
    _task: Task<()>,
}

impl AsRef<UdpSocket> for Datagrams {
    fn as_ref(&self) -> &UdpSocket {
        self.socket.get_ref()
    }
}

/// One worker's tasks.
pub(crate) struct Tasks<M: Machine + 'static> {
    executor: Rc<LocalExecutor<'static>>,
    worker: Weak<SharedWorker<M>>,
    breaks: Breaks,
    broken: Vec<ConnId>,
    /// Connections that may have something to await.
    unarmed: Vec<ConnId>,
}

impl<M: Machine + 'static> Tasks<M> {
    pub(crate) fn new(
        executor: Rc<LocalExecutor<'static>>,
        worker: Weak<SharedWorker<M>>,
        breaks: Breaks,
    ) -> Self {
        let tasks = Self {
            executor,
            worker,
            breaks,
            broken: Vec::new(),
            unarmed: Vec::new(),
        };
        tasks.spawn(poll_breaks).detach();
        tasks
    }

    pub(crate) fn door(&self, index: usize, listener: Async<Bound>) -> Door {
        Door {
            listener,
            waker: None,
            _task: self.spawn(move |worker, cx| poll_door(worker, index, cx)),
        }
    }

    pub(crate) fn datagrams(&self, socket: Async<UdpSocket>) -> Datagrams {
        Datagrams {
            socket,
            waker: None,
            _task: self.spawn(poll_datagrams),
        }
    }

    /// A task that looks after something of the worker whenever it is woken, until the something
    /// or the worker is gone.
    fn spawn<F>(&self, mut look: F) -> Task<()>
    where
        F: FnMut(&mut Worker<M, Self>, &mut Context<'_>) -> Poll<()> + 'static,
    {
        let worker = Weak::clone(&self.worker);
        self.executor.spawn(async move {
            // The executor catches panics.
            let _guard = AbortOnPanic;
            smol::future::poll_fn(move |cx| match worker.upgrade() {
                Some(worker) => look(&mut worker.borrow_mut(), cx),
                None => Poll::Ready(()),
            })
            .await;
        })
    }
}

impl<M: Machine + 'static> Watcher for Tasks<M> {
    type Connection = Watched;
    type Door = Door;
    type Datagrams = Datagrams;

    fn watch(&mut self, id: ConnId, socket: Socket) -> io::Result<Watched> {
        Ok(Watched {
            socket: Async::new_nonblocking(socket)?,
            waker: None,
            awaits_input: false,
            awaits_room: false,
            _task: self.spawn(move |worker, cx| poll_connection(worker, id, cx)),
        })
    }

    fn await_input(&mut self, id: ConnId, _: &mut Watched) {
        self.unarmed.push(id);
    }

    fn await_room(&mut self, id: ConnId, _: &mut Watched) -> io::Result<()> {
        self.unarmed.push(id);
        Ok(())
    }

    fn await_break(&mut self, id: ConnId, watched: &mut Watched) -> io::Result<()> {
        self.breaks.watch(id, watched.as_ref())
    }

    fn await_callers(&mut self, _: usize, door: &mut Door) {
        let waker = door.waker.as_ref();
        waker.expect("its task has told of callers").wake_by_ref();
    }

    fn await_datagrams(&mut self, datagrams: &mut Datagrams) {
        let waker = datagrams.waker.as_ref();
        waker.expect("its task has told of some").wake_by_ref();
    }
}

/// Arms what has become ready, or been asked for, since the last time.
pub(crate) fn arm<M: Machine + 'static>(worker: &mut Worker<M, Tasks<M>>) {
    let mut unarmed = std::mem::take(&mut worker.watcher().unarmed);
    for id in unarmed.drain(..) {
        if let Some(connection) = worker.connection(id) {
            arm_connection(connection);
        }
    }
    worker.watcher().unarmed = unarmed;
}

fn arm_connection(connection: &mut Connection<Watched>) {
    let (wants_input, wants_room) = (connection.wants_input(), connection.wants_room());
    let watched = &mut connection.watched;
    let Some(waker) = &watched.waker else {
        // Its task is about to begin with this.
        return;
    };
    let mut cx = Context::from_waker(waker);
    if wants_room && !watched.awaits_room {
        watched.awaits_room = !is_ready(watched.socket.poll_writable(&mut cx));
        assert!(watched.awaits_room, "there was no event to await before");
    }
    if wants_input && !watched.awaits_input {
        watched.awaits_input = !is_ready(watched.socket.poll_readable(&mut cx));
        assert!(watched.awaits_input, "there was no event to await before");
    }
}

fn is_ready(readiness: Poll<io::Result<()>>) -> bool {
    match readiness {
        Poll::Ready(result) => {
            result.expect("a socket that is registered can be watched");
            true
        }
        Poll::Pending => false,
    }
}

fn poll_connection<M: Machine + 'static>(
    worker: &mut Worker<M, Tasks<M>>,
    id: ConnId,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let Some(connection) = worker.connection(id) else {
        return Poll::Ready(());
    };
    let watched = &mut connection.watched;
    if watched.waker.is_none() {
        watched.waker = Some(cx.waker().clone());
        arm_connection(connection);
        return Poll::Pending;
    }
    let has_room = watched.awaits_room && is_ready(watched.socket.poll_writable(cx));
    let has_input = watched.awaits_input && is_ready(watched.socket.poll_readable(cx));
    watched.awaits_room &= !has_room;
    watched.awaits_input &= !has_input;
    if has_room {
        worker.has_room(id);
    }
    if has_input {
        worker.read(id);
    }
    if has_room || has_input {
        worker.watcher().unarmed.push(id);
    }
    Poll::Pending
}

/// Awaits callers only when all that have called have been accepted: otherwise those who can't be
/// would wake this task again and again.
fn poll_door<M: Machine + 'static>(
    worker: &mut Worker<M, Tasks<M>>,
    index: usize,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let Some(door) = worker.door(index) else {
        return Poll::Ready(());
    };
    door.waker.get_or_insert_with(|| cx.waker().clone());
    if is_ready(door.listener.poll_readable(cx)) {
        worker.has_callers(index);
    }
    Poll::Pending
}

/// Awaits datagrams only when all that have come have been read, as with callers.
fn poll_datagrams<M: Machine + 'static>(
    worker: &mut Worker<M, Tasks<M>>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let Some(datagrams) = worker.datagrams() else {
        return Poll::Ready(());
    };
    datagrams.waker.get_or_insert_with(|| cx.waker().clone());
    if is_ready(datagrams.socket.poll_readable(cx)) {
        worker.has_datagrams();
    }
    Poll::Pending
}

fn poll_breaks<M: Machine + 'static>(
    worker: &mut Worker<M, Tasks<M>>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let mut broken = std::mem::take(&mut worker.watcher().broken);
    while worker
        .watcher()
        .breaks
        .poll_broken(cx, &mut broken)
        .is_ready()
    {
        for id in broken.drain(..) {
            worker.has_broken(id);
        }
    }
    worker.watcher().broken = broken;
    Poll::Pending
}
