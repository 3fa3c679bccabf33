//! A steady get or set allocates nothing in the core.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use zufar_core::disk::Recovery;
use zufar_core::id::{ConnId, WorkerId};
use zufar_core::machine::{Actions, Event, Listener, Machine};
use zufar_core::time::{Now, Time};
use zufar_core::worker::Worker;
use zufar_simulator::rig::{START_UNIX_MS, settings};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator unchanged; counting touches no memory
// that it hands out.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONN: ConnId = ConnId {
    slot: 0,
    generation: 1,
};

/// Sends `request` `times` times, reads all answers, and counts the allocations meanwhile.
fn allocations(worker: &mut Worker, actions: &mut Actions, request: &[u8], times: u32) -> u64 {
    let now = Now {
        time: Time::from_millis(1),
        unix_ms: START_UNIX_MS,
    };
    let before = ALLOCATIONS.with(Cell::get);
    for _ in 0..times {
        actions.clear();
        let bytes = request;
        worker.handle(now, Event::Received { conn: CONN, bytes }, actions);
        let mut slices: [&[u8]; 8] = [&[]; 8];
        let filled = worker.unsent(CONN, &mut slices);
        let bytes = slices[..filled].iter().map(|slice| slice.len()).sum();
        assert!(bytes > 0, "every request is answered");
        worker.sent(CONN, bytes);
    }
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn a_steady_command_allocates_nothing() {
    let settings = Arc::new(settings(1, 64 << 20, false));
    let mut worker = Worker::new(settings, WorkerId(0), &Recovery::default());
    let mut actions = Actions::default();
    let now = Now {
        time: Time::from_millis(1),
        unix_ms: START_UNIX_MS,
    };
    let accepted = Event::Accepted {
        conn: CONN,
        listener: Listener::Client,
        address: "tcp:127.0.0.1:1",
        open: 1,
    };
    worker.handle(now, accepted, &mut actions);
    let value = "v".repeat(100);
    let set = format!("set key:000000000001 0 0 100\r\n{value}\r\n");
    let pipeline = "get key:000000000001\r\n".repeat(32);
    let commands: [&[u8]; 8] = [
        set.as_bytes(),
        b"get key:000000000001\r\n",
        b"get absent\r\n",
        pipeline.as_bytes(),
        b"gets key:000000000001 absent key:000000000001\r\n",
        b"mg key:000000000001 v f t k Oabc\r\n",
        b"touch key:000000000001 100\r\n",
        b"incr absent 1\r\n",
    ];
    for command in commands {
        allocations(&mut worker, &mut actions, command, 100);
    }
    for command in commands {
        let text = String::from_utf8_lossy(command);
        let count = allocations(&mut worker, &mut actions, command, 1000);
        assert_eq!(count, 0, "1000 times {text:?}");
    }
}

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.with(Cell::get);
    drop(std::hint::black_box(vec![0_u8; 100]));
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 1);
}
